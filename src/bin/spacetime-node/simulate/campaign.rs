//! Many seeds on all processors. The seeds that fail are kept in a file, each as the command that replays it.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::SimulateArgs;
use crate::failure::Failure;
use crate::output;
use crate::signals;
use crate::simulate::case::Case;

/// What the workers and the signal say to whoever keeps the books.
enum News {
    /// A seed was played: nothing was broken, or this line is to be kept.
    Done(Option<String>),
    /// Every seed was played.
    Out,
    /// The operator wants to stop.
    Stop,
}

/// Runs many seeds, from that of `first` upwards.
///
/// One thread writes the file of failures and the report, so that a signal finds every line whole: what the workers are in
/// the middle of is left undone.
pub(super) fn campaign(args: &SimulateArgs, first: &Case) -> Result<(), Failure> {
    let begun = Instant::now();
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {msg} failed, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(args.seeds).with_style(style).with_message("0");
    let (say, news) = channel();
    let stop = say.clone();
    signals::watch(move || drop(stop.send(News::Stop)), || {})?;
    let workers = start(first, args.seeds, &say);
    let (done, failed, stopped) = count(args, workers, &bar, &news)?;
    bar.finish_and_clear();
    let left = if stopped { format!(" of {}, stopped by a signal", args.seeds) } else { String::new() };
    output::line(format!(
        "{done} seeds{left}, from {} in {:.1} s, {failed} failed",
        first.seed,
        begun.elapsed().as_secs_f64()
    ))?;
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::new(
        format!("keep every invariant with {failed} of {done} seeds"),
        format!("they are in {}", args.failures.display()),
        "replay one with the command of its line",
    ))
}

/// Starts the workers and answers how many. They end with the process when a signal comes first: a run can take minutes.
fn start(first: &Case, seeds: u64, say: &Sender<News>) -> usize {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let next = Arc::new(Mutex::new(0..seeds));
    for _ in 0..workers {
        let (first, next, say) = (first.clone(), Arc::clone(&next), say.clone());
        thread::spawn(move || {
            loop {
                let Some(number) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else { break };
                let case = first.with_seed(first.seed.wrapping_add(number));
                let line = case.broken().map(|broken| format!("{} # {}", case.command(), broken.found));
                if say.send(News::Done(line)).is_err() {
                    break;
                }
            }
            // Nobody listens any more once the campaign was stopped.
            let _ = say.send(News::Out);
        });
    }
    workers
}

/// Keeps the books until every worker is out, or a signal comes. Answers how many seeds were played, how many of them failed,
/// and whether it was stopped.
fn count(
    args: &SimulateArgs,
    workers: usize,
    bar: &ProgressBar,
    news: &Receiver<News>,
) -> Result<(u64, u64, bool), Failure> {
    let (mut done, mut failed, mut out) = (0, 0, 0);
    while out < workers {
        match news.recv() {
            Ok(News::Done(line)) => {
                done += 1;
                if let Some(line) = line {
                    failed += 1;
                    bar.set_message(failed.to_string());
                    bar.suspend(|| output::note(&line));
                    keep(args, &line)?;
                }
                bar.inc(1);
            }
            Ok(News::Out) => out += 1,
            Ok(News::Stop) => return Ok((done, failed, true)),
            Err(_) => break,
        }
    }
    Ok((done, failed, false))
}

/// Adds a line to the file of seeds that fail, in one write.
fn keep(args: &SimulateArgs, line: &str) -> Result<(), Failure> {
    let path = &args.failures;
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .and_then(|mut file: File| file.write_all(format!("{line}\n").as_bytes()))
        .map_err(|error| Failure::new(format!("write {}", path.display()), error, "give another file with --failures"))
}
