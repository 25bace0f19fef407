//! A node under an attack, the honest peers beside it, and what is held against it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use crate::control::{Control, Seen};
use crate::node::{Node, Usage, forget_peak};
use crate::settings::Settings;
use crate::stranger::Crowd;
use crate::words::is_honest;

/// Bounds for the pings of honest peers, in milliseconds.
pub(crate) const PING_P99_MAX: f64 = 50.0;
pub(crate) const STALL_MAX: f64 = 100.0;
/// How much more memory a node may have a while after an attack, and what its allocator keeps in pages that are not empty, in MiB.
const MEMORY_MAX: f64 = 1.1;
const MEMORY_SLACK: f64 = 6.0;
/// How long the node and the peers are left alone before an attack.
const CALM: Duration = Duration::from_secs(2);

/// What came of an attack.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) name: String,
    /// What honest peers saw of it.
    pub(crate) seen: Option<Seen>,
    /// MiB before, at the peak, and after a rest.
    pub(crate) memory: Option<[f64; 3]>,
    /// MiB that it may keep: what it was rightly given.
    pub(crate) kept: f64,
    /// Seconds of processor time while it went on.
    pub(crate) cpu: f64,
    /// Seconds that the loop waited for a processor meanwhile: what others on the machine add to all that is seen.
    pub(crate) waited: f64,
    pub(crate) seconds: f64,
    /// Addresses that were banned, as far as the log names them.
    pub(crate) banned: usize,
    pub(crate) figures: Vec<(String, Value)>,
    /// What must hold, and whether it does.
    pub(crate) checks: Vec<(String, bool)>,
}

impl Report {
    /// An empty one.
    pub(crate) fn new(name: &str) -> Report {
        Report { name: name.to_owned(), ..Report::default() }
    }

    /// Adds a figure.
    pub(crate) fn note(&mut self, name: &str, value: impl Into<Value>) {
        self.figures.push((name.to_owned(), value.into()));
    }

    /// Adds how many of a crowd are still connected, and what the others were told.
    pub(crate) fn crowd(&mut self, crowd: &Crowd) {
        self.note("still_here", format!("{}/{}", crowd.here(), crowd.0.len()));
        let mut complaints = BTreeMap::<&str, usize>::new();
        for complaint in crowd.0.iter().filter_map(|stranger| stranger.complaint.as_deref()) {
            *complaints.entry(complaint).or_default() += 1;
        }
        if !complaints.is_empty() {
            self.note("told", serde_json::json!(complaints));
        }
    }

    /// Adds something that must hold.
    pub(crate) fn check(&mut self, what: impl Into<String>, holds: bool) {
        self.checks.push((what.into(), holds));
    }

    /// Does all hold?
    pub(crate) fn holds(&self) -> bool {
        self.checks.iter().all(|(_, holds)| *holds)
    }

    /// One line.
    pub(crate) fn line(&self) -> String {
        let mut line = format!("{:<18} {}", self.name, if self.holds() { "ok  " } else { "FAIL" });
        if let Some(seen) = &self.seen {
            line += &format!(
                "  ping p50 {:.2} p99 {:.1} max {:.1} ms (timer {:.1}/{:.1})  tx {}/{} within {:.0} ms",
                seen.ping_p50,
                seen.ping_p99,
                seen.ping_max,
                seen.late_p99,
                seen.late_max,
                seen.delivered,
                seen.sent,
                seen.slowest
            );
        }
        if let Some([before, peak, after]) = self.memory {
            line += &format!("  memory {before:.0} > {peak:.0} > {after:.0} MiB");
        }
        if self.seconds > 0.0 {
            line += &format!(
                "  cpu {:.1} (waited {:.1}) of {:.0} s  banned {}",
                self.cpu, self.waited, self.seconds, self.banned
            );
        }
        for (name, value) in &self.figures {
            line += &format!("  {name} {value}");
        }
        let failed: Vec<&str> = self.checks.iter().filter(|(_, holds)| !holds).map(|(what, _)| &what[..]).collect();
        if !failed.is_empty() {
            line += &format!("  NOT: {}", failed.join("; "));
        }
        line
    }
}

/// A node, with a fresh data directory, and its honest peers.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) node: Node,
    pub(crate) report: Report,
    control: Control,
    before: Usage,
    directory: tempfile::TempDir,
}

/// A place for a data directory, and that directory in it.
pub(crate) fn place() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("node");
    (directory, data)
}

impl<'a> Scene<'a> {
    /// A node that knows nothing.
    pub(crate) fn new(name: &str, settings: &'a Settings, flags: &[&str]) -> Scene<'a> {
        let (directory, data) = place();
        let node = Node::start(&data, flags);
        Scene::of(name, settings, directory, node)
    }

    /// A node that stands already.
    pub(crate) fn of(name: &str, settings: &'a Settings, directory: tempfile::TempDir, node: Node) -> Scene<'a> {
        let control = Control::start(node.address);
        thread::sleep(CALM.min(settings.seconds));
        let before = node.usage();
        Scene { settings, node, report: Report::new(name), control, before, directory }
    }

    /// Where the node keeps its data.
    pub(crate) fn data(&self) -> PathBuf {
        self.directory.path().join("node")
    }

    /// The node was given this rightly: so many MiB may stay.
    pub(crate) fn keeps(&mut self, mib: f64) {
        self.report.kept += mib;
    }

    /// Runs the attack, which ends at the moment that it is told, and notes what the honest peers see meanwhile.
    pub(crate) fn under<T>(&mut self, attack: impl FnOnce(&Node, Instant) -> T) -> T {
        self.under_for(self.settings.seconds, attack)
    }

    /// The same for a time of its own.
    pub(crate) fn under_for<T>(&mut self, time: Duration, attack: impl FnOnce(&Node, Instant) -> T) -> T {
        forget_peak(self.node.id());
        self.control.begin();
        let (began, start) = (Instant::now(), self.node.usage());
        let out = attack(&self.node, began + time);
        let (seen, usage) = (self.control.seen(), self.node.usage());
        self.report.seconds = began.elapsed().as_secs_f64();
        self.report.cpu = usage.cpu - start.cpu;
        self.report.waited = usage.waited - start.waited;
        self.report.memory = Some([self.before.memory, usage.peak, usage.memory]);
        self.judge(&seen);
        self.report.seen = Some(seen);
        out
    }

    fn judge(&mut self, seen: &Seen) {
        let report = &mut self.report;
        report.check(format!("p99 of pings at most {PING_P99_MAX} ms"), seen.ping_p99 <= PING_P99_MAX);
        report.check(format!("no stall above {STALL_MAX} ms"), seen.ping_max <= STALL_MAX);
        report.check("each honest transaction arrives within 2 s", seen.delivered == seen.sent);
        let lost = seen.lost.as_deref();
        report.check(format!("honest peers stay ({})", lost.unwrap_or("all here")), lost.is_none());
    }

    /// Leaves the node alone for a while and looks at it again.
    pub(crate) fn finish(mut self) -> Report {
        thread::sleep(self.settings.rest);
        let usage = self.node.usage();
        let report = &mut self.report;
        if let Some([before, _, after]) = &mut report.memory {
            *after = usage.memory;
            let most = *before * MEMORY_MAX + MEMORY_SLACK + report.kept;
            let holds = *after <= most;
            report.check(format!("memory back at {most:.0} MiB"), holds);
        }
        let answers = self.node.ask("ping", &["--count", "1"]).is_some();
        report.check("the node answers afterwards", answers);
        let banned = self.node.banned();
        let honest: Vec<&String> = banned.iter().filter(|address| is_honest(address)).collect();
        report.check(format!("nobody honest is banned ({honest:?})"), honest.is_empty());
        report.banned = banned.len();
        let log = self.node.log();
        let bad = log.lines().find(|line| line.contains("panicked") || line.contains(" ERROR "));
        report.check(format!("no error in the log ({})", bad.unwrap_or("none")), bad.is_none());
        let stops = self.node.stop();
        self.report.check("the node stops as it should", stops);
        self.report
    }
}
