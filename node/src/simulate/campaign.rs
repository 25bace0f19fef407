//! Many seeds on all processors. The seeds that fail are kept in a file, each as the command that replays it.
//!
//! They are played by other processes of this program, so that a seed that ends its process is a seed that fails, and the
//! others are played.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::cli::SimulateArgs;
use crate::failure::Failure;
use crate::output;
use crate::signals;
use crate::simulate::case::Case;
use crate::simulate::worker::Player;

/// What the workers and the signal say to whoever keeps the books.
enum News {
    /// A seed was played: nothing was broken, or this.
    Done(Option<Failed>),
    /// No seed can be played.
    Failed(Failure),
    /// Every seed was played.
    Out,
    /// The operator wants to stop.
    Stop,
}

/// A seed that fails.
#[derive(Debug, Serialize)]
struct Failed {
    seed: u64,
    invariant: String,
    found: String,
    command: String,
}

/// What a campaign found, for scripts.
#[derive(Debug, Serialize)]
struct Campaign {
    first: u64,
    seeds: u64,
    played: u64,
    stopped: bool,
    took_seconds: f64,
    failed: Vec<Failed>,
}

/// Runs many seeds, from that of `first` upwards.
///
/// One thread writes the file of failures and the report, so that a signal finds every line whole: what the workers are in
/// the middle of is left undone.
pub(super) fn campaign(args: &SimulateArgs, first: &Case) -> Result<(), Failure> {
    let begun = Instant::now();
    probe(&args.failures)?;
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} seeds, {msg} failed, {eta} left")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(args.seeds).with_style(style).with_message("0");
    let (say, news) = channel();
    let stop = say.clone();
    signals::watch(move || drop(stop.send(News::Stop)), || {});
    let workers = start(first, args.seeds, &say);
    let (done, mut list, stopped) = count(args, workers, &bar, &news)?;
    bar.finish_and_clear();
    list.sort_by_key(|failed| failed.seed);
    let failed = list.len();
    let found = Campaign {
        first: first.seed,
        seeds: args.seeds,
        played: done,
        stopped,
        took_seconds: begun.elapsed().as_secs_f64(),
        failed: list,
    };
    output::result(args.output.json, &found, |found| {
        let left = if stopped { format!(" of {}, stopped by a signal", args.seeds) } else { String::new() };
        vec![format!("{done} seeds{left}, from {} in {:.1} s, {failed} failed", found.first, found.took_seconds)]
    })?;
    if failed == 0 {
        return Ok(());
    }
    Err(Failure::new(
        format!("keep every invariant with {failed} of {done} seeds"),
        format!("they are in {}", args.failures.display()),
        "replay one with the command of its line",
    ))
}

/// Starts the workers and answers how many. Each plays in a process of its own, which leaves with this one, in whatever way
/// that ends: a run can take minutes.
fn start(first: &Case, seeds: u64, say: &Sender<News>) -> usize {
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let next = Arc::new(Mutex::new(0..seeds));
    for _ in 0..workers {
        let (first, next, say) = (first.clone(), Arc::clone(&next), say.clone());
        thread::spawn(move || {
            let mut player = Player::default();
            loop {
                let Some(number) = next.lock().unwrap_or_else(PoisonError::into_inner).next() else { break };
                let case = first.with_seed(first.seed.saturating_add(number));
                let news = match player.broken(&case) {
                    Ok(broken) => News::Done(broken.map(|broken| Failed {
                        seed: case.seed,
                        invariant: broken.rule,
                        found: broken.found,
                        command: case.command(),
                    })),
                    Err(failure) => News::Failed(failure),
                };
                if say.send(news).is_err() {
                    break;
                }
            }
            // Nobody listens any more once the campaign was stopped.
            let _ = say.send(News::Out);
        });
    }
    workers
}

/// Keeps the books until every worker is out, or a signal comes. Answers how many seeds were played, which of them failed,
/// and whether it was stopped.
fn count(
    args: &SimulateArgs,
    workers: usize,
    bar: &ProgressBar,
    news: &Receiver<News>,
) -> Result<(u64, Vec<Failed>, bool), Failure> {
    let (mut done, mut failed, mut out) = (0, Vec::new(), 0);
    while out < workers {
        match news.recv() {
            Ok(News::Done(broken)) => {
                done += 1;
                if let Some(broken) = broken {
                    let line = format!("{} # {}", broken.command, broken.found);
                    failed.push(broken);
                    bar.set_message(failed.len().to_string());
                    bar.suspend(|| output::note(&line));
                    keep(&args.failures, &line)?;
                }
                bar.inc(1);
            }
            Ok(News::Failed(failure)) => return Err(failure),
            Ok(News::Out) => out += 1,
            Ok(News::Stop) => return Ok((done, failed, true)),
            Err(_) => break,
        }
    }
    Ok((done, failed, false))
}

/// Finds out now whether the file can be written, not at the first failure, which may be hours away.
///
/// A file that was not there is gone again before the first seed, so that however the campaign ends there is none without a
/// failure in it.
fn probe(path: &Path) -> Result<(), Failure> {
    let made = OpenOptions::new().append(true).create_new(true).open(path).is_ok();
    if made {
        return std::fs::remove_file(path).map_err(|error| cannot_write(path, &error));
    }
    open(path).map(drop).map_err(|error| cannot_write(path, &error))
}

/// Adds a line to the file of seeds that fail, in one write.
fn keep(path: &Path, line: &str) -> Result<(), Failure> {
    open(path)
        .and_then(|mut file| file.write_all(format!("{line}\n").as_bytes()))
        .map_err(|error| cannot_write(path, &error))
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn cannot_write(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("write {}", path.display()), error, "give another file with --failures")
}
