//! What the program does with files that are links, that cannot be written, or that others have made.

#![cfg(unix)]

mod cli_support;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use cli_support::{RunningNode, program, wait_for};

/// A directory in which a node has run and mined.
fn used(directory: &Path) {
    let flags = ["--listen", "127.0.0.1:0", "--mine", "--block-interval", "0", "--difficulty", "0"];
    let node = RunningNode::start(directory, &flags);
    let address = node.listening()[0].clone();
    wait_for("blocks", || program(&["headers", &address, "--json"]).run().json().as_array().unwrap().len() > 3);
    assert_eq!(node.stop_with("-TERM").code, 0);
}

/// A link to a disk that was not mounted was replaced by an empty chain, by a new table of peers.
#[test]
fn a_link_to_a_disk_that_is_not_mounted_is_an_error_with_a_remedy_and_stays_a_link() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = directory.path().join("mnt");
    fs::create_dir(&elsewhere).unwrap();
    for name in [
        "chain",
        "chain.redb",
        "peers.json",
        "addresses.json",
        "bans.json",
        "node.key",
        "known_identities.json",
        "lock",
    ] {
        let data = directory.path().join(format!("data-{name}"));
        fs::create_dir(&data).unwrap();
        let link = data.join(name);
        symlink(elsewhere.join(name), &link).unwrap();
        for _ in 0..2 {
            let done = program(&["run", "--no-listen", "--tls", "first-use", "--data-dir"]).path(&data).run();
            assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{name}: {done:?}");
            let line = done.stderr.lines().last().unwrap();
            assert!(line.starts_with("error: ") && line.contains("which is not there"), "{name}: {line}");
            assert!(line.contains("is its disk mounted?") && line.contains("remove the link"), "{name}: {line}");
            assert!(link.is_symlink() && fs::read_dir(&elsewhere).unwrap().count() == 0, "{name}");
        }
    }
    let data = directory.path().join("data");
    symlink(elsewhere.join("data"), &data).unwrap();
    for command in [&["run", "--no-listen", "--data-dir"][..], &["chain", "--data-dir"], &["id", "--data-dir"]] {
        let done = program(command).path(&data).run();
        assert_eq!((done.code, done.stderr.lines().count()), (1, 1), "{done:?}");
        assert!(done.stderr.contains("mnt/data, which is not there") && data.is_symlink(), "{done:?}");
    }
    let chain = program(&["chain", "--data-dir"]).path(&directory.path().join("data-chain")).run();
    assert!(chain.code == 1 && chain.stderr.contains("which is not there: bring that back"), "{chain:?}");
}

/// Saves went to a file in the place of the link, and not to the disk where it should be.
#[test]
fn what_a_link_leads_to_is_saved_where_it_leads() {
    let directory = tempfile::tempdir().unwrap();
    let (data, elsewhere) = (directory.path().join("data"), directory.path().join("mnt"));
    used(&data);
    fs::create_dir(&elsewhere).unwrap();
    for name in ["chain", "peers.json", "node.key"] {
        fs::rename(data.join(name), elsewhere.join(name)).unwrap();
        symlink(elsewhere.join(name), data.join(name)).unwrap();
    }
    let before = program(&["chain", "--json", "--data-dir"]).path(&data).run().json();
    fs::write(elsewhere.join("peers.json"), "{}").unwrap();
    used(&data);
    let after = program(&["chain", "--verify", "--json", "--data-dir"]).path(&data).run().json();
    assert!(after["height"].as_u64() > before["height"].as_u64(), "{after}");
    for name in ["chain", "peers.json", "node.key"] {
        assert!(data.join(name).is_symlink(), "{name}");
    }
    assert_ne!(fs::read_to_string(elsewhere.join("peers.json")).unwrap(), "{}", "a node has saved it there");
}

/// Every file under a directory: its name, when it was written, what it holds.
fn contents(directory: &Path) -> Vec<(PathBuf, SystemTime, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let modified = fs::metadata(&path).unwrap().modified().unwrap();
            found.push((path.clone(), modified, fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

fn set_modes(directory: &Path, of_directories: u32, of_files: u32) {
    fs::set_permissions(directory, Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            set_modes(&path, of_directories, of_files);
        } else {
            fs::set_permissions(&path, Permissions::from_mode(of_files)).unwrap();
        }
    }
    fs::set_permissions(directory, Permissions::from_mode(of_directories)).unwrap();
}

/// A snapshot of a data directory could not be looked at where it was; and where it could, looking changed it. The rights
/// stop a user, and to root, whom nothing stops, nothing may have happened all the same.
#[test]
fn a_read_only_copy_can_be_looked_at_and_looking_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    used(&data);
    let mut peers = fs::read_to_string(data.join("peers.json")).unwrap();
    let peer = r#"{"x": {"NodeId": "x", "Address": "192.0.2.7:1", "LastSeen": "2024-01-02T03:04:05Z", "IsConnected": false, "ChainLength": 1}}"#;
    peers.clear();
    peers.push_str(peer);
    fs::write(data.join("peers.json"), peers).unwrap();
    for with_lock in [true, false] {
        if !with_lock {
            fs::remove_file(data.join("lock")).unwrap();
        }
        set_modes(&data, 0o500, 0o400);
        let before = contents(&data);
        for (arguments, part) in [
            (&["chain", "--verify", "--balances"][..], "all good"),
            (&["chain", "--verify", "--json"], "\"verified\""),
            (&["known-peers"], "192.0.2.7:1"),
            (&["known-peers", "--json"], "192.0.2.7:1"),
            (&["id"], ""),
        ] {
            let done = program(arguments).args(&["--data-dir"]).path(&data).run();
            assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{done:?}");
            assert!(done.stdout.contains(part), "{done:?}");
            assert!(contents(&data) == before, "{arguments:?} with a lock: {with_lock}");
        }
        set_modes(&data, 0o700, 0o600);
    }
}

/// The program, run by somebody whom modes keep out: ourselves, or nobody where we are root. `None` where root cannot become
/// nobody. `home` holds the program for him, who may not go where it was built.
fn as_a_user(home: &Path, arguments: &[&str], path: &Path) -> Option<Command> {
    let command = program(arguments).path(path).into_command();
    let locked = home.join("locked");
    if !locked.exists() {
        fs::write(&locked, b"").unwrap();
    }
    fs::set_permissions(&locked, Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&locked).is_err() {
        return Some(command);
    }
    let copy = home.join("program");
    if !copy.exists() && fs::hard_link(command.get_program(), &copy).is_err() {
        fs::copy(command.get_program(), &copy).unwrap();
    }
    fs::set_permissions(home, Permissions::from_mode(0o755)).unwrap();
    let mut nobody = Command::new("setpriv");
    nobody.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
    let can = Command::new("setpriv").args(["--reuid=65534", "--regid=65534", "--clear-groups", "true"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this is root, who may read everything, and setpriv cannot make somebody else of it");
        return None;
    }
    nobody.arg(copy).args(command.get_args());
    Some(nobody)
}

/// It said that there was no chain.
#[test]
fn a_chain_that_may_not_be_read_is_said_to_be_unreadable_and_not_to_be_missing() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    used(&data);
    let open = |path: &Path, mode: u32| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    set_modes(&data, 0o755, 0o644);
    let outer = directory.path().join("outer");
    fs::create_dir(&outer).unwrap();
    fs::rename(&data, outer.join("data")).unwrap();
    let data = outer.join("data");
    let chain = data.join("chain");
    let record = fs::read_dir(&chain).unwrap().next().unwrap().unwrap().path();
    for (closed, before) in [(&outer, 0o755), (&data, 0o755), (&chain, 0o755), (&record, 0o644)] {
        open(closed, 0o000);
        let Some(mut command) = as_a_user(directory.path(), &["chain", "--data-dir"], &data) else { return };
        let output = command.stdin(Stdio::null()).output().unwrap();
        let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        open(closed, before);
        assert_eq!((output.status.code(), stdout.as_str(), stderr.lines().count()), (Some(1), "", 1), "{stderr}");
        assert!(stderr.contains("ermission denied") && stderr.contains("readable"), "{}: {stderr}", closed.display());
        assert!(!stderr.contains("there is none"), "{}: {stderr}", closed.display());
    }
    let Some(mut command) = as_a_user(directory.path(), &["chain", "--data-dir"], &data) else { return };
    let output = command.output().unwrap();
    assert!(output.status.success(), "and it was for the modes alone: {output:?}");
}

/// A shell with mounts of its own that runs `script`, where the system lets us; the script's first argument is the program.
#[cfg(target_os = "linux")]
fn with_mounts(script: &str, arguments: &[&Path]) -> Option<Command> {
    let own = ["--user", "--map-root-user", "--mount"];
    let probe = "d=$(mktemp -d) && mount --bind $d $d && umount $d && rmdir $d";
    let mut possible = Command::new("unshare");
    possible.args(own).args(["sh", "-c", probe]).stdout(Stdio::null()).stderr(Stdio::null());
    if !possible.status().is_ok_and(|status| status.success()) {
        eprintln!("no mounts here: not tried");
        return None;
    }
    let program = program(&[]).into_command();
    let mut command = Command::new("unshare");
    command.args(own).args(["sh", "-c", script, "sh"]).arg(program.get_program()).args(arguments).stdin(Stdio::null());
    Some(command)
}

/// `docker run -v .../peers.json:/data/peers.json`: each save was a warning, and the last one ended the node with exit 1.
#[cfg(target_os = "linux")]
#[test]
fn peers_that_are_mounted_alone_are_saved_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let (data, mounted) = (directory.path().join("data"), directory.path().join("mounted.json"));
    fs::create_dir(&data).unwrap();
    fs::write(data.join("peers.json"), "").unwrap();
    fs::write(&mounted, "damaged").unwrap();
    let script = "mount --bind \"$3\" \"$2/peers.json\" && exec \"$1\" run --no-listen --data-dir \"$2\"";
    let Some(mut node) = with_mounts(script, &[&data, &mounted]) else { return };
    let mut node = node.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut printed = BufReader::new(node.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(printed.any(|line| line == "ready"));
    assert!(Command::new("kill").args(["-TERM", &node.id().to_string()]).status().unwrap().success());
    let done = node.wait_with_output().unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(0), "{said}");
    assert!(!said.contains("not saved"), "{said}");
    assert_eq!(fs::read_to_string(&mounted).unwrap(), "{\n}\n", "{said}");
    let names: Vec<String> =
        fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(!names.iter().any(|name| name.ends_with(".copy") || name.ends_with(".tmp")), "{names:?}");
    let aside = names.iter().find(|name| name.starts_with("peers.json.damaged-")).unwrap();
    assert_eq!(fs::read_to_string(data.join(aside)).unwrap(), "damaged");
}

#[cfg(target_os = "linux")]
#[test]
fn a_data_directory_on_a_read_only_file_system_can_be_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    used(&data);
    let script = "mount --bind \"$2\" \"$2\" && mount -o remount,ro,bind \"$2\" || exit 99; touch \"$2/x\" && exit 98; \
                  \"$1\" chain --verify --data-dir \"$2\" && \"$1\" known-peers --data-dir \"$2\" && \"$1\" id --data-dir \"$2\" || exit; \
                  \"$1\" run --no-listen --data-dir \"$2\"";
    let Some(mut looked) = with_mounts(script, &[&data]) else { return };
    let done = looked.output().unwrap();
    let (said, printed) = (String::from_utf8(done.stderr).unwrap(), String::from_utf8(done.stdout).unwrap());
    assert!(printed.contains("all good"), "{said}");
    let id = program(&["id", "--data-dir"]).path(&data).run().stdout;
    assert!(printed.ends_with(&id), "{printed}{said}");
    // To run is another matter.
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(
        said.lines().last().unwrap().contains("make the file system writable, or choose another --data-dir"),
        "{said}"
    );
}

/// Looking does not disturb a node, and who looks is not told something that changes meanwhile.
#[test]
fn a_chain_in_use_is_not_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let node = RunningNode::start(directory.path(), &["--no-listen"]);
    let done = program(&["chain", "--data-dir"]).path(directory.path()).run();
    assert!(done.code == 1 && done.stderr.contains("another process is using it"), "{done:?}");
    assert_eq!(node.stop_with("-TERM").code, 0);
    assert_eq!(program(&["chain", "--data-dir"]).path(directory.path()).run().code, 0);
}

/// One address with a typing error cost the whole table.
#[test]
fn one_bad_entry_of_the_peers_costs_that_entry_and_the_file_is_copied_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("peers.json");
    let entry = |id: &str, address: &str| {
        format!(
            "\"{id}\": {{\"NodeId\": \"{id}\", \"Address\": \"{address}\", \"LastSeen\": \"{}\", \
             \"IsConnected\": false, \"ChainLength\": 1}}",
            humantime::format_rfc3339_seconds(SystemTime::now())
        )
    };
    let text =
        format!("{{\n{},\n{},\n{}\n}}\n", entry("a", "192.0.2.1:1"), entry("b", "typo"), entry("c", "192.0.2.3:3"));
    fs::write(&path, &text).unwrap();
    let look = |kept: &str| {
        let done = program(&["known-peers", "--data-dir"]).path(directory.path()).run();
        assert_eq!((done.code, done.stdout.lines().count()), (0, 2), "{done:?}");
        assert!(done.stderr.contains(kept), "{done:?}");
    };
    look("one entry cannot be used: \"b\": invalid socket address");
    assert_eq!(fs::read_to_string(&path).unwrap(), text, "a look changes nothing");
    let done = RunningNode::start(directory.path(), &["--no-listen"]).stop_with("-TERM");
    assert_eq!(done.code, 0);
    assert!(done.stderr.contains("starting with the rest of the saved peers"), "{done:?}");
    let aside: Vec<PathBuf> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().contains("peers.json.damaged-"))
        .collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read_to_string(&aside[0]).unwrap(), text);
    look("");
    assert!(!fs::read_to_string(&path).unwrap().contains("typo"));
}

/// Kubernetes gives a pod's files to a group (`fsGroup`) and lets it read them.
#[test]
fn a_key_of_a_trusted_group_is_used_when_that_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let id = program(&["id", "--data-dir"]).path(directory.path()).run().stdout;
    let key = directory.path().join("node.key");
    fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    let done = program(&["id", "--data-dir"]).path(directory.path()).run();
    assert!(done.code == 1 && done.stderr.contains("or give --key-mode-group"), "{done:?}");
    let done = program(&["id", "--key-mode-group", "--data-dir"]).path(directory.path()).run();
    assert_eq!((done.code, done.stdout.as_str()), (0, id.as_str()), "{done:?}");
    let done = program(&["id", "--data-dir"]).path(directory.path()).env("SPACETIME_NODE_KEY_MODE_GROUP", "true").run();
    assert_eq!((done.code, done.stdout), (0, id), "{}", done.stderr);
    let node = RunningNode::start(directory.path(), &["--no-listen", "--tls", "any", "--key-mode-group"]);
    assert_eq!(node.stop_with("-TERM").code, 0);
}
