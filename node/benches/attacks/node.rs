//! The node that is attacked: the built program, with what the system says of its memory and processor time.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Ticks of processor time per second, on every Linux that is used.
const TICKS: f64 = 100.0;

/// The program with no setting of the environment.
pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spacetime-node"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("SPACETIME_NODE_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// What a process has used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Resident memory in MiB.
    pub(crate) memory: f64,
    /// The most that it was since [`forget_peak`], in MiB.
    pub(crate) peak: f64,
    /// Processor time in seconds.
    pub(crate) cpu: f64,
    /// Seconds that its first thread, the loop, was ready to run while the machine had no processor for it.
    pub(crate) waited: f64,
}

/// What a process has used so far; nothing where it is gone.
pub(crate) fn usage(id: u32) -> Usage {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let mib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0
    };
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: f64 = fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    let schedule = fs::read_to_string(format!("/proc/{id}/task/{id}/schedstat")).unwrap_or_default();
    let waited =
        schedule.split_whitespace().nth(1).and_then(|nanos| nanos.parse::<f64>().ok()).unwrap_or_default() / 1e9;
    Usage { memory: mib("VmRSS:"), peak: mib("VmHWM:"), cpu: ticks / TICKS, waited }
}

/// Has the system forget the most memory that a process had.
pub(crate) fn forget_peak(id: u32) {
    // Where that is not allowed, the peak is that of the whole run.
    let _ = fs::write(format!("/proc/{id}/clear_refs"), "5");
}

/// A node that is ready.
#[derive(Debug)]
pub(crate) struct Node {
    child: Child,
    data: PathBuf,
    log: PathBuf,
    /// Its node id.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// How long it took to be ready.
    pub(crate) started_in: Duration,
}

impl Node {
    /// Starts `run` in this data directory, on a port that the system gives, and waits until it is ready. Nobody is exempt, and
    /// blocks need no work: a bench must not mine.
    pub(crate) fn start(data: &Path, flags: &[impl AsRef<OsStr>]) -> Node {
        Node::start_at(data, "127.0.0.1:0", flags)
    }

    /// The same at an address of one's own.
    pub(crate) fn start_at(data: &Path, listen: &str, flags: &[impl AsRef<OsStr>]) -> Node {
        let began = Instant::now();
        let log = data.with_extension("log");
        let mut command = program();
        command.args(["run", "--exempt", "none", "--difficulty", "0", "--listen", listen, "--data-dir"]).arg(data);
        command.args(flags).stdout(Stdio::piped());
        // A node that is started again goes on with its log.
        command.stderr(File::options().create(true).append(true).open(&log).unwrap());
        let mut child = command.spawn().unwrap();
        let (mut name, mut address) = (String::new(), None);
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(listening) = line.strip_prefix("listening ") {
                address = Some(listening.parse().unwrap());
            }
            if let Some(id) = line.strip_prefix("node ") {
                name = id.to_owned();
            }
            if line == "ready" {
                let (data, address) = (data.to_owned(), address.unwrap());
                return Node { child, data, log, name, address, started_in: began.elapsed() };
            }
        }
        let _ = child.wait();
        panic!("the node was never ready: {}", fs::read_to_string(&log).unwrap_or_default());
    }

    /// The process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has used.
    pub(crate) fn usage(&self) -> Usage {
        usage(self.id())
    }

    /// Its log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Who was banned, as the log says it. It withholds some where there are many.
    pub(crate) fn banned(&self) -> Vec<String> {
        let log = self.log();
        let lines = log.lines().filter(|line| line.contains("address banned"));
        lines.filter_map(|line| line.split("remote=").nth(1)?.split_whitespace().next().map(str::to_owned)).collect()
    }

    /// One question of the program; what it printed as JSON.
    pub(crate) fn ask(&self, question: &str, flags: &[&str]) -> Option<serde_json::Value> {
        let address = self.address.to_string();
        let output = program().args([question, &address, "--json"]).args(flags).output().unwrap();
        output.status.success().then(|| serde_json::from_slice(&output.stdout).ok()).flatten()
    }

    /// Tells it to stop, and waits. Whether it ended as it should.
    pub(crate) fn stop(&mut self) -> bool {
        if let Ok(Some(status)) = self.child.try_wait() {
            return status.success();
        }
        let told = Command::new("kill").arg("-TERM").arg(self.id().to_string()).status();
        told.is_ok_and(|status| status.success()) && self.child.wait().is_ok_and(|status| status.success())
    }

    /// Stops it and starts it again in the same data directory and at the same address.
    pub(crate) fn restart(&mut self, flags: &[impl AsRef<OsStr>]) {
        self.stop();
        *self = Node::start_at(&self.data.clone(), &self.address.to_string(), flags);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // Nothing of an attack that failed may stay behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
