//! Running the built program: to its end, or as a node that is asked and then told to stop.

#![allow(dead_code, reason = "a platform without signals uses less of it")]

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up. Far above what is measured: it only bounds a hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command line under construction.
pub(crate) struct Program {
    command: Command,
}

/// A process that has ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Done {
    /// The one document on standard output of a command that has succeeded.
    pub(crate) fn json(&self) -> serde_json::Value {
        assert_eq!(self.code, 0, "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// The program with these arguments, and no setting of the environment.
pub(crate) fn program(arguments: &[&str]) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spacetime-node"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| is_setting(name)) {
        command.env_remove(name);
    }
    command.args(arguments);
    Program { command }
}

fn is_setting(name: &OsString) -> bool {
    name.to_string_lossy().starts_with("SPACETIME_NODE_")
}

impl Program {
    pub(crate) fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self
    }

    pub(crate) fn path(mut self, path: &Path) -> Self {
        self.command.arg(path);
        self
    }

    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// The command itself, for a test that runs it in a way of its own.
    pub(crate) fn into_command(self) -> Command {
        self.command
    }

    /// Runs it to its end.
    pub(crate) fn run(mut self) -> Done {
        let output = self.command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Done { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Runs it with nobody reading its standard output.
    pub(crate) fn run_with_closed_output(mut self) -> Done {
        let mut child =
            self.command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Done { code: child.wait().unwrap().code().unwrap_or(-1), stdout: String::new(), stderr }
    }
}

/// A node that is ready.
pub(crate) struct RunningNode {
    child: Child,
    stderr: Option<JoinHandle<String>>,
    /// What it printed, up to and with `ready`.
    pub(crate) lines: Vec<String>,
}

impl RunningNode {
    /// Starts `run` and waits for `ready`.
    pub(crate) fn start(data: &Path, arguments: &[&str]) -> Self {
        let mut command = program(&["run", "--data-dir"]).path(data).args(arguments).command;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut log = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            log.read_to_string(&mut text).unwrap();
            text
        });
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut lines = Vec::new();
        for line in output.lines() {
            lines.push(line.unwrap());
            if lines.last().is_some_and(|line| line == "ready") {
                return RunningNode { child, stderr: Some(stderr), lines };
            }
        }
        let _ = child.wait();
        panic!("the node was never ready: {lines:?} {}", stderr.join().unwrap());
    }

    /// The addresses that it listens on.
    pub(crate) fn listening(&self) -> Vec<String> {
        self.lines.iter().filter_map(|line| line.strip_prefix("listening ")).map(str::to_owned).collect()
    }

    /// The process, as `kill` takes it.
    pub(crate) fn id(&self) -> String {
        self.child.id().to_string()
    }

    /// Sends a signal, as `kill` takes it, and waits for the end.
    pub(crate) fn stop_with(mut self, signal: &str) -> Done {
        let sent = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let stderr = self.stderr.take().map(|log| log.join().unwrap()).unwrap_or_default();
        Done { code, stdout: String::new(), stderr }
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        // A test that failed must not leave a node behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again and again until it is so; fails the test when that takes too long.
pub(crate) fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::yield_now();
    }
}

/// A node that is ready, and whose log can be read while it runs.
pub(crate) struct LoggedNode {
    child: Child,
    log: PathBuf,
    /// What it printed, up to and with `ready`.
    pub(crate) lines: Vec<String>,
}

impl LoggedNode {
    /// Starts `run` and waits for `ready`. The log stands beside the data directory.
    pub(crate) fn start(data: &Path, arguments: &[&str]) -> Self {
        let log = data.with_extension("log");
        let mut command = program(&["run", "--data-dir"]).path(data).args(arguments).command;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut node = LoggedNode { child, log, lines: Vec::new() };
        for line in output.lines() {
            node.lines.push(line.unwrap());
            if node.lines.last().is_some_and(|line| line == "ready") {
                return node;
            }
        }
        panic!("the node was never ready: {:?} {}", node.lines, node.text());
    }

    /// The addresses that it listens on.
    pub(crate) fn listening(&self) -> Vec<String> {
        self.lines.iter().filter_map(|line| line.strip_prefix("listening ")).map(str::to_owned).collect()
    }

    /// Its log so far.
    pub(crate) fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the log has this in a line; answers that line.
    pub(crate) fn says(&self, part: &str) -> String {
        wait_for(part, || self.text().contains(part));
        self.text().lines().find(|line| line.contains(part)).unwrap().to_owned()
    }

    /// Tells it to stop; answers its whole log.
    pub(crate) fn stop(mut self) -> String {
        let sent = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{}", self.text());
        self.text()
    }
}

impl Drop for LoggedNode {
    fn drop(&mut self) {
        // A test that failed must not leave a node behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
