//! The files of a data directory against what a process inherits and what others leave there: any umask, and things that are
//! no files under a file's name.

#![cfg(unix)]

mod cli_support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cli_support::{RunningNode, program, wait_for};

/// Everything under a directory, and the directory.
fn all(directory: &Path) -> Vec<PathBuf> {
    let mut found = vec![directory.to_owned()];
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(all(&path)) } else { found.push(path) }
    }
    found
}

/// Service managers and container runtimes start programs with umask 0: peers, lock, chain and the identities of others were
/// writable by everybody on the machine.
#[test]
fn whatever_the_umask_nobody_but_the_owner_can_write_what_the_program_makes() {
    let directory = tempfile::tempdir().unwrap();
    let (data, other) = (directory.path().join("data"), directory.path().join("other"));
    let with_no_umask = |arguments: &[&str], data: &Path| {
        let made = program(arguments).path(data).into_command();
        let mut command = Command::new("sh");
        command.args(["-c", "umask 0; exec \"$@\"", "sh"]).arg(made.get_program()).args(made.get_args());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let first = RunningNode::start(&other, &["--listen", "127.0.0.1:0", "--tls", "any"]);
    let peer = first.listening()[0].clone();
    let flags = ["run", "--no-listen", "--mine", "--difficulty", "0", "--block-interval", "0"];
    let tls = ["--tls", "first-use", "--connect", &peer, "--data-dir"];
    let mut node = with_no_umask(&[&flags[..], &tls].concat(), &data).spawn().unwrap();
    wait_for("an identity", || {
        fs::read_to_string(data.join("known_identities.json")).is_ok_and(|text| text.contains(&peer))
    });
    assert!(Command::new("kill").args(["-TERM", &node.id().to_string()]).status().unwrap().success());
    assert_eq!(node.wait().unwrap().code(), Some(0));
    let question = with_no_umask(&["peers", &peer, "--tls", "any", "--data-dir"], &data).output().unwrap();
    assert!(question.status.success(), "{question:?}");
    let made = all(&data);
    for name in ["peers.json", "lock", "known_identities.json", "node.key", "00000001.blocks", "client"] {
        assert!(made.iter().any(|path| path.ends_with(name)), "{name}: {made:?}");
    }
    for path in made {
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let forbidden = if path.ends_with("node.key") { 0o077 } else { 0o022 };
        assert_eq!(mode & forbidden, 0, "{}: {mode:o}", path.display());
    }
    assert_eq!(first.stop_with("-TERM").code, 0);
}

/// A FIFO in a file's place held up the start for ever and without a word; a lock on `/dev/null` was one on everybody's.
#[test]
fn what_is_no_file_in_a_files_place_is_an_error_with_a_remedy_and_never_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let names = [
        "lock",
        "node.key",
        "peers.json",
        "peers.json.copy",
        "known_identities.json",
        "chain",
        "chain/lock",
        "chain/00000001.blocks",
    ];
    for name in names {
        for kind in ["a FIFO", "a socket", "a device", "a directory"] {
            if (name, kind) == ("chain", "a directory") {
                continue;
            }
            let data = directory.path().join(format!("{name} {kind}").replace('/', "-"));
            let place = data.join(name);
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            let _socket = match kind {
                "a FIFO" => {
                    assert!(Command::new("mkfifo").arg(&place).status().unwrap().success());
                    None
                }
                // Its name is too long for an address where it is.
                "a socket" => {
                    let short = directory.path().join("s");
                    let socket = UnixListener::bind(&short).unwrap();
                    fs::rename(short, &place).unwrap();
                    Some(socket)
                }
                "a device" => symlink("/dev/null", &place).map(|()| None).unwrap(),
                _ => fs::create_dir(&place).map(|()| None).unwrap(),
            };
            let done = program(&["run", "--no-listen", "--tls", "first-use", "--data-dir"]).path(&data).run();
            assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{name}, {kind}: {done:?}");
            let line = done.stderr.lines().last().unwrap();
            assert!(line.contains(kind) && line.contains("move "), "{name}, {kind}: {line}");
            assert!(line.contains(name.split('/').next().unwrap()), "{name}, {kind}: {line}");
            assert!(fs::symlink_metadata(&place).is_ok(), "{name}, {kind}: it was left as it is");
        }
    }
}
