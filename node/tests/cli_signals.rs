//! Signals at every moment of a node's life: before it is ready, while it runs, when its terminal is gone.

#![cfg(target_os = "linux")]

mod cli_support;

use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use cli_support::{RunningNode, program, wait_for};

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").arg(name).arg(child.id().to_string()).status().unwrap().success());
}

/// The signals of a mask in what the system says of a process.
fn mask(child: &Child, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let mask = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    u64::from_str_radix(mask.trim(), 16).unwrap()
}

fn has(mask: u64, signal: u32) -> bool {
    mask >> (signal - 1) & 1 == 1
}

/// The command with the default for SIGHUP, whatever these tests were started by: under `nohup` a node ignores it, as it should,
/// and these tests waited for ever.
fn under_a_terminal(command: &Command) -> Command {
    let mut wrapped = Command::new("env");
    wrapped.arg("--default-signal=HUP").arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        wrapped.current_dir(directory);
    }
    wrapped
}

/// A pipe with a name: whoever reads it waits for as long as the answer is kept, and the answer comes when somebody reads.
fn stalling(path: &Path, start: impl FnOnce() -> Child) -> (Child, fs::File) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let mut child = start();
    const NONBLOCK: i32 = 0o4000;
    let mut writer = None;
    wait_for("the reader", || {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it read {}", path.display());
        use std::os::unix::fs::OpenOptionsExt;
        // Refused until somebody has it open to read.
        writer = OpenOptions::new().write(true).custom_flags(NONBLOCK).open(path).ok();
        writer.is_some()
    });
    (child, writer.unwrap())
}

/// A node whose terminal was closed was killed where it stood: nothing saved, nobody told.
#[test]
fn a_node_whose_terminal_is_gone_says_goodbye_and_saves_everything() {
    let directory = tempfile::tempdir().unwrap();
    let peer = RunningNode::start(&directory.path().join("peer"), &["--listen", "127.0.0.1:0"]);
    let address = peer.listening()[0].clone();
    let data = directory.path().join("node");
    let command = program(&["run", "--no-listen", "--connect", &address, "--data-dir"]).path(&data).into_command();
    let mut command = under_a_terminal(&command);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(output.any(|line| line == "ready"));
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    assert!(log.any(|line| line.contains("peer connected")));
    // Nobody reads any more, and whoever writes is told so.
    drop((output, log));
    signal(&child, "-HUP");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let known = program(&["known-peers", "--data-dir"]).path(&data).run();
    assert!(known.stdout.contains(&address), "{known:?}");
    let done = peer.stop_with("-TERM");
    assert!(done.stderr.contains("peer disconnected"), "{done:?}");
    assert!(!done.stderr.contains("reset"), "it was told, not cut off: {done:?}");
}

/// `nohup` says so by ignoring the signal, and a handler of our own took its place.
#[test]
fn a_node_that_outlives_its_terminal_is_not_ended_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let node = program(&["run", "--listen", "127.0.0.1:0", "--data-dir"]).path(directory.path()).into_command();
    let mut child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(node.get_program())
        .args(node.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines: Vec<String> = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap)
        .take_while(|line| line != "ready")
        .collect();
    let address = lines.iter().find_map(|line| line.strip_prefix("listening ")).unwrap();
    signal(&child, "-HUP");
    assert_eq!(program(&["ping", address, "--count", "1"]).run().code, 0);
    assert!(child.try_wait().unwrap().is_none());
    signal(&child, "-TERM");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// The first process of a container has no default handlers: a stop during a long start was lost, and ten seconds later came
/// the kill.
#[test]
fn a_stop_during_a_long_start_ends_it() {
    for (name, number) in [("-TERM", "15"), ("-INT", "2"), ("-HUP", "1")] {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        // The operator's own files may come from whatever he likes, a password manager say.
        let pem = directory.path().join("key.pem");
        let (mut child, held) = stalling(&pem, || {
            let of_files =
                program(&["run", "--no-listen", "--tls", "ca", "--ca"]).path(&pem).args(&["--tls-cert"]).path(&pem);
            let command = of_files.args(&["--tls-key"]).path(&pem).args(&["--data-dir"]).path(&data).into_command();
            let mut command = under_a_terminal(&command);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
        });
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{name}, which is {number}");
        let (mut said, mut printed) = (String::new(), String::new());
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        assert_eq!((said.lines().last(), printed.as_str()), (Some("stopped before it was ready"), ""), "{name}");
        drop(held);
    }
}

#[test]
fn handlers_are_there_before_anything_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("node.toml");
    let (mut child, held) = stalling(&path, || {
        let mut command = under_a_terminal(&program(&["run", "--config"]).path(&path).into_command());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    });
    let caught = mask(&child, "SigCgt:");
    for (name, number) in [("HUP", 1), ("INT", 2), ("TERM", 15), ("XFSZ", 25)] {
        assert!(has(caught, number), "SIG{name} of {caught:x}");
    }
    // Nobody has said what else is to be done: it ends as any program does.
    signal(&child, "-TERM");
    let status = child.wait().unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(15));
    drop(held);
}

/// The limit on the size of files killed the process at once, without a word.
#[test]
fn a_trace_beyond_the_limit_on_files_is_a_failed_write() {
    let directory = tempfile::tempdir().unwrap();
    let trace = directory.path().join("run.txt");
    let node =
        program(&["simulate", "--seed", "1", "--nodes", "4", "--minutes", "1", "--trace"]).path(&trace).into_command();
    let done = Command::new("sh")
        .args(["-c", "ulimit -f 8; exec \"$@\"", "sh"])
        .arg(node.get_program())
        .args(node.get_args())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: cannot write ") && said.contains("the room on the disk"), "{said}");
    assert_eq!((said.lines().count(), done.stdout.len()), (1, 0), "{said}");
    assert!(fs::metadata(&trace).unwrap().len() > 0);
}
