//! `simulate`: many nodes on a virtual network, one seed or a campaign of them.

mod plot;

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use indicatif::{ProgressBar, ProgressStyle};
use spacetime_network::sim::{Faults, Options, Report, run};

use crate::cli::{FaultLevel, SimulateArgs};
use crate::failure::Failure;
use crate::output;

/// Runs what was asked for.
pub(crate) fn simulate(args: &SimulateArgs) -> Result<(), Failure> {
    let seed = args.seed.unwrap_or_else(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros() % 1_000_000_000).unwrap_or(1)
    });
    if args.seeds == 1 {
        return one(args, seed);
    }
    if args.trace.is_some() || args.plot.is_some() {
        return Err(Failure::usage("--trace and --plot are of one seed: leave out --seeds"));
    }
    campaign(args, seed)
}

fn options(args: &SimulateArgs, seed: u64) -> Options {
    let faults = match args.faults {
        FaultLevel::None => Faults::None,
        FaultLevel::Light => Faults::Light,
        FaultLevel::Full => Faults::Full,
    };
    let chaos = Duration::from_secs(u64::from(args.minutes) * 60);
    Options { seed, nodes: args.nodes, chaos, faults, scenario: args.scenario }
}

/// The command that plays a seed again.
fn replay(args: &SimulateArgs, seed: u64) -> String {
    let level = format!("{:?}", args.faults).to_lowercase();
    let scenario = args.scenario.map_or_else(String::new, |scenario| format!(" --scenario {}", scenario.name()));
    format!(
        "spacetime-node simulate --seed {seed} --nodes {} --minutes {} --faults {level}{scenario}",
        args.nodes, args.minutes
    )
}

fn one(args: &SimulateArgs, seed: u64) -> Result<(), Failure> {
    let begun = Instant::now();
    let failed = |path: &Path, error| {
        Failure::new(format!("write {}", path.display()), error, "check the directory and the room on the disk")
    };
    let report = match &args.trace {
        Some(path) => File::create(path)
            .and_then(|file| {
                let mut file = BufWriter::new(file);
                let report = run(&options(args, seed), Some(&mut file))?;
                file.flush()?;
                Ok(report)
            })
            .map_err(|error| failed(path, error))?,
        None => run(&options(args, seed), None)
            .map_err(|error| Failure::new("run the simulation", error, "report this with the seed"))?,
    };
    if let Some(path) = &args.plot {
        std::fs::write(path, plot::spread(&report)).map_err(|error| failed(path, error))?;
    }
    output::lines(lines(&report, begun.elapsed()))?;
    match &report.failure {
        None => Ok(()),
        Some(failure) => Err(Failure::new(
            format!("keep every invariant with seed {seed}"),
            failure,
            format!("replay with: {} --trace run.txt", replay(args, seed)),
        )),
    }
}

fn lines(report: &Report, took: Duration) -> Vec<String> {
    let simulated = report.simulated.as_secs_f64();
    let mut lines = vec![
        format!("seed      {}", report.seed),
        format!("hash      {:016x} of {} lines", report.hash, report.lines),
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
    let mut spread = report.spread.clone();
    spread.sort_unstable();
    let at = |percent: usize| spread.get(spread.len().saturating_sub(1) * percent / 100).copied();
    if let (Some(half), Some(most), Some(last)) = (at(50), at(99), at(100)) {
        lines.push(format!(
            "blocks    reach half of the nodes in {half:.1?}, 99 % in {most:.1?}, the last in {last:.1?}"
        ));
    }
    lines.extend(report.injected.iter().map(|(what, count)| format!("injected  {count:>9}  {what}")));
    lines.extend(
        report
            .checks
            .iter()
            .map(|(invariant, count)| format!("checked   {count:>9}  {:<3} {}", invariant.name(), invariant.text())),
    );
    lines
}

/// The most memory that the process held, in KiB; `None` where the system does not say.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Runs many seeds on all processors.
fn campaign(args: &SimulateArgs, first: u64) -> Result<(), Failure> {
    let begun = Instant::now();
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {msg} failed, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(args.seeds).with_style(style).with_message("0");
    let (next, failed, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let trouble: Mutex<Option<Failure>> = Mutex::new(None);
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= args.seeds {
                return;
            }
            let seed = first.wrapping_add(number);
            let broken = match run(&options(args, seed), None) {
                Ok(report) => report.failure.map(|failure| failure.to_string()),
                Err(error) => Some(error.to_string()),
            };
            if let Some(failure) = broken {
                let count = failed.fetch_add(1, Ordering::Relaxed) + 1;
                bar.set_message(count.to_string());
                let line = format!("{} # {failure}", replay(args, seed));
                bar.suspend(|| output::note(&line));
                if let Err(failure) = keep(&args.failures, &line) {
                    stop.store(true, Ordering::Relaxed);
                    *trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(failure);
                }
            }
            bar.inc(1);
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    bar.finish_and_clear();
    if let Some(failure) = trouble.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(failure);
    }
    let failed = failed.into_inner();
    output::line(format!(
        "{} seeds from {first} in {:.1} s, {failed} failed",
        args.seeds,
        begun.elapsed().as_secs_f64()
    ))?;
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::new(
        format!("keep every invariant with {failed} of {} seeds", args.seeds),
        format!("they are in {}", args.failures.display()),
        "replay one with the command of its line",
    ))
}

/// Adds a line to the file of seeds that fail.
fn keep(path: &Path, line: &str) -> Result<(), Failure> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file| writeln!(file, "{line}"))
        .map_err(|error| Failure::new(format!("write {}", path.display()), error, "give another file with --failures"))
}
