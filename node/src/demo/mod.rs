//! `demo`: the main job in one command. Several full nodes find each other, take in transactions, mine, lose one and get
//! it back, gain one that starts from nothing, and end with the same chain.
//!
//! | file          | why it is there                                 |
//! |---------------|-------------------------------------------------|
//! | `coordinator` | follows the script and knows when it is over    |
//! | `cluster`     | the nodes, started and stopped                  |
//! | `script`      | what happens at which height                    |
//! | `agreement`   | whether all chains are the same and hold it all |
//! | `spread`      | how fast things reach everyone                  |
//! | `sparkline`   | that as a line of bars                          |
//! | `transfers`   | the transactions                                |
//! | `screen`      | what is shown meanwhile                         |
//! | `layout`      | how it fits a terminal                          |

mod agreement;
mod cluster;
mod coordinator;
mod layout;
mod screen;
mod script;
mod sparkline;
mod spread;
mod transfers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use spacetime_network::driver::store::Readers;
use spacetime_network::time::UnixTime;

use crate::cli::DemoArgs;
use crate::client::blocking::unix_millis;
use crate::failure::Failure;
use crate::output::millis;
use crate::{output, signals};
use agreement::NodeView;
use cluster::NodeSlot;
use coordinator::Coordinator;
use spread::Percentiles;

/// Bars of one line at most, and what stands beside them.
const BARS_MAX: usize = 60;
const BARS_MARGIN: usize = 14;

/// What happened, in numbers.
#[derive(Debug, Serialize)]
struct Report {
    nodes: usize,
    height: u64,
    tip: String,
    transactions: usize,
    seconds: f64,
    messages: u64,
    bytes: u64,
    block_spread: Percentiles,
    transaction_spread: Percentiles,
    /// How long each block, in order, took to reach the last node.
    #[serde(skip)]
    slowest: Vec<Duration>,
    /// Characters in a line.
    #[serde(skip)]
    columns: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<PathBuf>,
}

/// Runs the demo.
pub(crate) fn demo(args: &DemoArgs) -> Result<(), Failure> {
    let transfers = transfers::load(args.transactions.as_deref(), UnixTime::from_millis(unix_millis()))?;
    let directory = Directory::new(args.keep.as_deref())?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    let litter = directory.is_temporary.then(|| directory.path.clone());
    let tidy = move || {
        if let Some(path) = &litter {
            remove_in_use(path);
        }
    };
    signals::watch(move || flag.store(true, Ordering::Relaxed), tidy);

    let mut coordinator = Coordinator::new(args, &directory.path, transfers, interrupted)?;
    let agreed = coordinator.run();
    // The nodes are stopped whatever happened, so that their files are whole when they are kept.
    let stopped = coordinator.slots.iter_mut().map(NodeSlot::stop).fold(Ok(()), Result::and);
    let agreed = agreed?;
    stopped?;
    let report = report(&coordinator, &agreed, args.keep.clone());
    output::result(args.output.json, &report, lines)
}

/// Rounds of removing what somebody else removes or fills.
const REMOVALS_MAX: usize = 100;

/// Removes a directory in which nodes may make files until the end: under another name they find it no more. Both the end of the demo
/// and a second signal do so, at the same time if need be, and neither leaves the process before it is gone.
fn remove_in_use(path: &Path) -> bool {
    let aside = path.with_extension("gone");
    let _ = std::fs::rename(path, &aside);
    // Again, for what was being made meanwhile, or removed by the other: each round fails on what it finds gone.
    let removed = |one: &Path| (0..REMOVALS_MAX).any(|_| std::fs::remove_dir_all(one).is_ok() || !one.exists());
    removed(&aside) && removed(path)
}

fn report(coordinator: &Coordinator, agreed: &NodeView, kept: Option<PathBuf>) -> Report {
    let (bytes, messages) =
        coordinator.slots.iter().map(NodeSlot::sent).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    Report {
        nodes: coordinator.slots.len(),
        height: agreed.tip.height,
        tip: agreed.tip.hash.to_string(),
        transactions: coordinator.transfers.len().saturating_sub(agreed.missing.len()),
        seconds: coordinator.started.elapsed().as_secs_f64(),
        messages,
        bytes,
        block_spread: coordinator.blocks.percentiles(),
        transaction_spread: coordinator.objects.percentiles(),
        slowest: coordinator.blocks.slowest(),
        columns: coordinator.columns(),
        kept,
    }
}

fn lines(report: &Report) -> Vec<String> {
    let spread = |name: &str, of: &Percentiles| {
        format!("{name:<13} p50 {:.1} ms, p99 {:.1} ms over {} deliveries", of.p50_ms, of.p99_ms, of.deliveries)
    };
    let mut lines = vec![
        format!("{} nodes agree on block {}", report.nodes, report.height),
        format!("tip           {}", report.tip),
        format!("{} transactions are in the chain of every node", report.transactions),
        format!("time          {:.1} s", report.seconds),
        format!("messages      {}", report.messages),
        format!("bytes         {}", report.bytes),
        spread("blocks", &report.block_spread),
        spread("transactions", &report.transaction_spread),
    ];
    if !report.slowest.is_empty() {
        let width = report.columns.saturating_sub(BARS_MARGIN).clamp(1, BARS_MAX);
        let bars = sparkline::of(&report.slowest, width, sparkline::is_utf8());
        let longest = report.slowest.iter().copied().max().unwrap_or_default();
        lines.push(format!("each block    {bars}"));
        lines.push(format!("              0 to {:.1} ms until the last node had it", millis(longest)));
    }
    for line in &mut lines {
        *line = layout::cut(line, report.columns);
    }
    // Whole, for it is copied.
    lines.extend(report.kept.as_ref().map(|path| format!("kept in       {}", path.display())));
    lines
}

/// Where the data directories are: kept, or removed at the end.
struct Directory {
    path: PathBuf,
    is_temporary: bool,
}

impl Directory {
    fn new(keep: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = keep {
            if path.join("node-0").exists() {
                return Err(Failure::new(
                    format!("keep the demo in {}", path.display()),
                    "it holds an earlier one",
                    "choose a new directory for --keep",
                ));
            }
            let mut builder = std::fs::DirBuilder::new();
            Readers::All.of_directories(builder.recursive(true)).create(path).map_err(|error| {
                Failure::new(format!("create {}", path.display()), error, "choose another directory for --keep")
            })?;
            return Ok(Directory { path: path.to_path_buf(), is_temporary: false });
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| Failure::new("start the demo", error, "try again"))?;
        let path = std::env::temp_dir().join(format!("spacetime-demo-{:016x}", u64::from_le_bytes(random)));
        Ok(Directory { path, is_temporary: true })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.is_temporary && !remove_in_use(&self.path) {
            output::note(format_args!("note: {} was not removed", self.path.display()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On 60 columns the line about the blocks was one bar, and the tip wrapped.
    #[test]
    fn the_end_is_told_within_the_width_and_with_a_bar_for_each_block() {
        let none = || Percentiles { p50_ms: 0.3, p99_ms: 1234.5, deliveries: 12_345 };
        for (columns, whole) in [(60, false), (80, true), (200, true)] {
            let report = Report {
                nodes: 40,
                height: 20,
                tip: "ab".repeat(32),
                transactions: 40,
                seconds: 10.2,
                messages: 16_173,
                bytes: 1_435_538,
                block_spread: none(),
                transaction_spread: none(),
                slowest: (1..=20).map(Duration::from_millis).collect(),
                columns,
                kept: None,
            };
            let lines = lines(&report);
            assert!(lines.iter().all(|line| line.chars().count() <= columns), "{lines:?}");
            assert_eq!(lines.iter().any(|line| line.ends_with(&report.tip)), whole);
            let bars = lines.iter().find(|line| line.starts_with("each block")).unwrap();
            assert_eq!(bars.chars().count(), BARS_MARGIN + 20, "{bars}");
        }
    }
}
