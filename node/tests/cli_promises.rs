//! What the program promises for bad days: damaged stores, full disks, logs that nobody reads, signals that come twice.

#![cfg(unix)]

mod cli_support;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cli_support::{RunningNode, program, wait_for};

fn signal(child: &Child, name: &str) {
    let _ = Command::new("kill").arg(name).arg(child.id().to_string()).stderr(Stdio::null()).status().unwrap();
}

/// Waits until the node is ready; answers where it listens, if anywhere.
fn read_until_ready(child: &mut Child) -> Option<String> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let lines: Vec<String> = lines.take_while(|line| line != "ready").collect();
    assert!(lines.first().is_some_and(|line| line.starts_with("node ")), "{lines:?}");
    lines.iter().find_map(|line| line.strip_prefix("listening ")).map(str::to_owned)
}

/// Changes bytes all over the file, the same ones for the same seed.
fn damage(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut state = seed;
    for _ in 0..50 {
        // Knuth's MMIX generator: any spread will do.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = (state >> 33) as usize % bytes.len();
        bytes[at] ^= 0xff;
    }
    bytes
}

#[test]
fn a_damaged_chain_is_one_line_whatever_is_damaged() {
    let directory = tempfile::tempdir().unwrap();
    let node = RunningNode::start(
        directory.path(),
        &["--listen", "127.0.0.1:0", "--mine", "--block-interval", "0", "--difficulty", "0"],
    );
    let address = node.listening()[0].clone();
    wait_for("a thousand blocks", || {
        let headers = program(&["headers", &address, "--json"]).run().json();
        headers.as_array().unwrap().len() >= 1000
    });
    assert_eq!(node.stop_with("-TERM").code, 0);

    let chain = directory.path().join("chain/00000001.blocks");
    let good = fs::read(&chain).unwrap();
    let mut refused = 0;
    for seed in 0..40 {
        // A node closes its store so that it opens without a repair; the bytes of blocks are read in any case.
        fs::write(&chain, damage(&good, seed)).unwrap();
        let done = program(&["chain", "--verify", "--balances", "--data-dir"]).path(directory.path()).run();
        match done.code {
            0 => assert_eq!(done.stderr, ""),
            1 => {
                refused += 1;
                assert_eq!((done.stdout.as_str(), done.stderr.lines().count()), ("", 1), "seed {seed}: {done:?}");
                assert!(done.stderr.starts_with("error: ") && done.stderr.contains("/chain "), "{done:?}");
            }
            _ => panic!("seed {seed}: {done:?}"),
        }
    }
    assert!(refused > 0);
}

/// A stream that takes not one byte more, and the end that nobody reads.
fn full_stream() -> (OwnedFd, UnixStream) {
    let (mut writer, reader) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    while writer.write(&[0; 4096]).is_ok() {}
    while writer.write(&[0]).is_ok() {}
    writer.set_nonblocking(false).unwrap();
    (writer.into(), reader)
}

#[test]
fn a_node_whose_log_nobody_reads_still_obeys_signals() {
    let directory = tempfile::tempdir().unwrap();
    let start = || {
        let (log, reader) = full_stream();
        let mut command = program(&["run", "--no-listen", "--data-dir"]).path(directory.path()).into_command();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        read_until_ready(&mut child);
        (child, reader)
    };
    // The first signal: everything is saved, and the lines that nobody takes are lost.
    let (mut child, reader) = start();
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    drop(reader);
    // A second one ends it at once, with what a shell reports of the signal.
    for (name, code) in [("-INT", 130), ("-TERM", 143)] {
        let (mut child, reader) = start();
        wait_for("the end", || {
            signal(&child, name);
            child.try_wait().unwrap().is_some()
        });
        assert_eq!(child.wait().unwrap().code(), Some(code));
        drop(reader);
    }
}

#[test]
fn signals_that_come_twice_at_the_same_time_are_one() {
    let directory = tempfile::tempdir().unwrap();
    for round in 0..10 {
        let data = directory.path().join(round.to_string());
        let mut command =
            program(&["run", "--no-listen", "--log-level", "off", "--data-dir"]).path(&data).into_command();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        read_until_ready(&mut child);
        let id = child.id().to_string();
        // One process sends both, as `timeout` does.
        Command::new("sh").args(["-c", "kill -INT $0; kill -TERM $0", &id]).stderr(Stdio::null()).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(data.join("peers.json").exists());
    }
}

/// A node that mines into `data` under `sh -c script`, until its log says that blocks are not stored; then it is asked to stop.
/// Answers that line, the rest of its log and its exit code.
fn mining_until_the_disk_says_no(script: &str, shell: &[&str], data: &Path) -> (String, String, Option<i32>) {
    let node = program(&["run", "--no-listen", "--mine", "--block-interval", "0", "--difficulty", "0", "--data-dir"])
        .path(data)
        .into_command();
    let (first, rest) = shell.split_first().unwrap();
    let mut child = Command::new(first)
        .args(rest)
        .args(["sh", "-c", script, "sh"])
        .arg(node.get_program())
        .args(node.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let told = log.by_ref().lines().map(Result::unwrap).find(|line| line.contains("blocks are not stored"));
    signal(&child, "-TERM");
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    let told = told.unwrap_or_else(|| panic!("{rest}"));
    (told, rest, child.wait().unwrap().code())
}

/// A file that may not grow is told as a disk without room, and is no loss: the next segment takes what the last one could not.
#[test]
fn a_limit_on_the_size_of_files_is_told_and_costs_no_block() {
    let directory = tempfile::tempdir().unwrap();
    // Files may grow to about a megabyte.
    let script = "ulimit -f 2100; exec \"$@\"";
    let (told, rest, code) = mining_until_the_disk_says_no(script, &["env"], directory.path());
    assert_eq!(code, Some(0), "{rest}");
    assert!(!told.contains("make room") && told.contains("ulimit -f"), "{told}");
    let checked = program(&["chain", "--verify", "--data-dir"]).path(directory.path()).run();
    assert_eq!(checked.code, 0, "{checked:?}");
}

/// On a disk of a megabyte, where the system lets us make one.
#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_is_told_while_the_node_runs_and_by_the_exit_code() {
    let directory = tempfile::tempdir().unwrap();
    let mount = format!("mount -t tmpfs -o size=1m none '{}'", directory.path().display());
    let own = ["unshare", "--user", "--map-root-user", "--mount"];
    let possible = Command::new(own[0]).args(&own[1..]).args(["sh", "-c", &mount]).stderr(Stdio::null()).status();
    if !possible.is_ok_and(|status| status.success()) {
        eprintln!("not tried: this system lets nobody mount a small disk of his own");
        return;
    }
    let script = format!("{mount} && exec \"$@\"");
    let (_, rest, code) = mining_until_the_disk_says_no(&script, &own, directory.path());
    assert_eq!(code, Some(1), "{rest}");
    let last = rest.lines().last();
    assert!(last.is_some_and(|line| line.starts_with("error: cannot finish writing the chain")), "{rest}");
}

#[test]
fn a_node_of_another_network_is_named_in_both_logs() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name);
    let here = RunningNode::start(&at("here"), &["--listen", "127.0.0.1:0"]);
    let address = here.listening()[0].clone();
    let mut command = program(&["run", "--no-listen", "--reward", "9", "--connect", &address, "--data-dir"])
        .path(&at("there"))
        .into_command();
    let mut there = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(there.stderr.take().unwrap());
    let (lines, heard) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in log.lines().map(Result::unwrap) {
            let _ = lines.send(line);
        }
    });
    wait_for("the dialer's log", || heard.try_iter().any(|line| line.contains("wrong network")));
    signal(&there, "-TERM");
    assert!(there.wait().unwrap().success());
    reader.join().unwrap();
    let done = here.stop_with("-TERM");
    assert!(done.stderr.contains("wrong-network"), "{done:?}");
}

#[test]
fn an_interrupted_demo_leaves_nothing_behind() {
    for signals in ["kill -INT $0", "kill -INT $0; kill -INT $0", "kill -TERM $0; sleep 0.2; kill -TERM $0"] {
        let directory = tempfile::tempdir().unwrap();
        let mut command = program(&["demo", "--nodes", "3"]).env("TMPDIR", directory.path()).into_command();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(lines.any(|line| line.contains("has block 1 ")));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
        let reader = std::thread::spawn(move || lines.count());
        let id = child.id().to_string();
        Command::new("sh").args(["-c", signals, &id]).stderr(Stdio::null()).status().unwrap();
        assert!(matches!(child.wait().unwrap().code(), Some(1 | 143)));
        reader.join().unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{signals}");
    }
}

#[test]
fn what_stands_where_a_file_should_be_is_named_with_its_remedy() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("node.key")).unwrap();
    fs::create_dir_all(directory.path().join("peers.json")).unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    for (arguments, path, part) in [
        (&["id", "--data-dir"][..], directory.path(), "not a key file"),
        (&["known-peers", "--data-dir"], directory.path(), "move it away"),
        (&["demo", "--keep"], file.as_path(), "--keep"),
    ] {
        let done = program(arguments).path(path).run();
        assert_eq!((done.code, done.stdout.as_str(), done.stderr.lines().count()), (1, "", 1), "{done:?}");
        assert!(done.stderr.contains(part), "{done:?}");
    }
}

#[test]
fn a_node_that_was_stopped_and_continued_by_its_shell_goes_on() {
    // SIGCONT ends the wait for readiness early, with EINTR, whatever the program does about signals.
    let directory = tempfile::tempdir().unwrap();
    let mut command = program(&["run", "--listen", "127.0.0.1:0", "--data-dir"]).path(directory.path()).into_command();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let address = read_until_ready(&mut child).unwrap();
    for _ in 0..5 {
        signal(&child, "-STOP");
        signal(&child, "-CONT");
        let done = program(&["ping", &address, "--count", "1"]).run();
        assert_eq!(done.code, 0, "{done:?}");
    }
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
