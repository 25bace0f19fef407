//! One run, with a report for people, and its trace and plot as files.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use spacetime_network::sim::{Report, run};

use crate::cli::SimulateArgs;
use crate::failure::Failure;
use crate::output;
use crate::simulate::case::Case;
use crate::simulate::plot;

/// Plays one run and prints what it found.
pub(super) fn one(args: &SimulateArgs, case: &Case) -> Result<(), Failure> {
    let begun = Instant::now();
    let failed = |path: &Path, error| {
        Failure::new(format!("write {}", path.display()), error, "check the directory and the room on the disk")
    };
    let report = match &args.trace {
        Some(path) => File::create(path)
            .and_then(|file| {
                let mut file = BufWriter::new(file);
                let report = run(&case.options(), Some(&mut file))?;
                file.flush()?;
                Ok(report)
            })
            .map_err(|error| failed(path, error))?,
        None => case.play()?,
    };
    let took = begun.elapsed();
    if let Some(path) = &args.plot {
        std::fs::write(path, plot::spread(&report)).map_err(|error| failed(path, error))?;
    }
    output::lines(lines(case, &report, took))?;
    match &report.failure {
        None => Ok(()),
        Some(failure) => Err(Failure::new(
            format!("keep every invariant with seed {}", case.seed),
            failure,
            format!("replay with: {} --trace run.txt; narrow it down with --shrink", case.command()),
        )),
    }
}

fn lines(case: &Case, report: &Report, took: Duration) -> Vec<String> {
    let simulated = report.simulated.as_secs_f64();
    let rates: Vec<String> = case.plan().active().map(|(class, rate)| format!("{}={rate}", class.name)).collect();
    let mut lines = vec![
        format!("seed      {}", report.seed),
        format!("hash      {:016x} of {} lines", report.hash, report.lines),
        format!("plan      {}", rates.join(" ")),
        format!("nodes     {} honest, {} others", report.nodes, report.actors),
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
