//! One run, with a report for people, and its trace and plot as files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use spacetime_network::sim::{Report, run};

use crate::cli::SimulateArgs;
use crate::failure::Failure;
use crate::output;
use crate::simulate::case::Case;
use crate::simulate::plot;

/// Time between two signs of life on a terminal.
const TICK: Duration = Duration::from_millis(200);

/// Plays one run and prints what it found.
pub(super) fn one(args: &SimulateArgs, case: &Case) -> Result<(), Failure> {
    let begun = Instant::now();
    let failed = |path: &Path, error| {
        Failure::new(format!("write {}", path.display()), error, "check the directory and the room on the disk")
    };
    let style = ProgressStyle::with_template("{spinner} seed {msg}, {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner());
    let watch = ProgressBar::new_spinner()
        .with_style(style)
        .with_message(format!("{}: {} nodes, {} minutes", case.seed, case.nodes, case.minutes));
    watch.enable_steady_tick(TICK);
    let played = match &args.trace {
        Some(path) => File::create(path)
            .and_then(|file| {
                let mut file = BufWriter::new(file);
                let report = run(&case.options(), Some(&mut file))?;
                file.flush()?;
                Ok(report)
            })
            .map_err(|error| failed(path, error)),
        None => case.play(),
    };
    watch.finish_and_clear();
    let report = played?;
    let took = begun.elapsed();
    if let Some(path) = &args.plot {
        std::fs::write(path, plot::spread(&report)).map_err(|error| failed(path, error))?;
    }
    output::result(args.output.json, &Run::of(case, &report, took), |_| lines(case, &report, took))?;
    match &report.failure {
        None => Ok(()),
        Some(failure) => Err(Failure::new(
            format!("keep every invariant with seed {}", case.seed),
            failure,
            format!("replay with: {} --trace run.txt; narrow it down with --shrink", case.command()),
        )),
    }
}

/// What a run found, for scripts. Apart from `took_seconds`, the same for the same seed and options.
#[derive(Debug, Serialize)]
struct Run {
    seed: u64,
    /// Hexadecimal: numbers of 64 bits are not safe in every reader of JSON.
    hash: String,
    lines: u64,
    events: u64,
    simulated_seconds: f64,
    took_seconds: f64,
    nodes: u32,
    adversaries: u32,
    bytes: u64,
    height: u64,
    plan: BTreeMap<&'static str, u64>,
    injected: BTreeMap<&'static str, u64>,
    checks: BTreeMap<&'static str, u64>,
    failure: Option<Broke>,
    command: String,
}

/// The invariant that did not hold.
#[derive(Debug, Serialize)]
struct Broke {
    invariant: &'static str,
    rule: &'static str,
    node: u32,
    event: u64,
    seconds: f64,
    found: String,
}

impl Run {
    fn of(case: &Case, report: &Report, took: Duration) -> Run {
        Run {
            seed: report.seed,
            hash: format!("{:016x}", report.hash),
            lines: report.lines,
            events: report.events,
            simulated_seconds: report.simulated.as_secs_f64(),
            took_seconds: took.as_secs_f64(),
            nodes: report.nodes,
            adversaries: report.adversaries,
            bytes: report.bytes,
            height: report.height,
            plan: case.plan().active().map(|(class, rate)| (class.name, rate)).collect(),
            injected: report.injected.clone(),
            checks: report.checks.iter().map(|(invariant, count)| (invariant.name(), *count)).collect(),
            failure: report.failure.as_ref().map(|failure| Broke {
                invariant: failure.invariant.name(),
                rule: failure.invariant.text(),
                node: failure.node,
                event: failure.event,
                seconds: failure.at.as_nanos() as f64 / 1e9,
                found: failure.found.clone(),
            }),
            command: case.command(),
        }
    }
}

fn lines(case: &Case, report: &Report, took: Duration) -> Vec<String> {
    let simulated = report.simulated.as_secs_f64();
    let rates: Vec<String> = case.plan().active().map(|(class, rate)| format!("{}={rate}", class.name)).collect();
    let mut lines = vec![
        format!("seed      {}", report.seed),
        format!("hash      {:016x} of {} lines", report.hash, report.lines),
        format!("plan      {}", rates.join(" ")),
        format!("nodes     {} honest, {} others", report.nodes, report.adversaries),
        format!(
            "time      {simulated:.0} s simulated in {:.2} s: {:.0} node-seconds per second, {} events",
            took.as_secs_f64(),
            simulated * f64::from(report.nodes) / took.as_secs_f64(),
            report.events
        ),
        format!("carried   {} bytes; the highest block is {}", report.bytes, report.height),
    ];
    if let Some(peak) = peak_memory() {
        lines.push(format!("memory    {} KiB at most, {} KiB per node", peak, peak / u64::from(report.nodes)));
    }
    lines.extend(spread("blocks", &report.spread));
    lines.extend(spread("payments", &report.payments));
    lines.extend(report.caught_up.map(|took| format!("newcomer  has all blocks after {took:.1?}")));
    lines.extend(report.injected.iter().map(|(what, count)| format!("injected  {count:>9}  {what}")));
    lines.extend(
        report
            .checks
            .iter()
            .map(|(invariant, count)| format!("checked   {count:>9}  {:<3} {}", invariant.name(), invariant.text())),
    );
    lines
}

fn spread(what: &str, times: &[Duration]) -> Option<String> {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = |percent: usize| times.get(times.len().saturating_sub(1) * percent / 100).copied();
    let (half, most, last) = (at(50)?, at(99)?, at(100)?);
    Some(format!("{what:<9} reach half of the nodes in {half:.1?}, 99 % in {most:.1?}, the last in {last:.1?}"))
}

/// The most memory that the process held, in KiB; `None` where the system does not say.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}
