//! Runs played in a process of their own, one after the other: whatever ends that process, it is known which run it was at.
//!
//! A panic is caught where it happens, but a panic while another one unwinds, a stack that overflows and a system that is
//! short of memory end a process without asking. A campaign of hours must lose one seed by that, and name it.
//!
//! The player writes a run as a line of JSON and waits for a line of JSON. The worker leaves as soon as nobody holds the
//! other end, so that a campaign that ends in whatever way leaves nothing behind.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use spacetime_network::sim::{Plan, Scenario};

use crate::cli::FaultLevel;
use crate::failure::{Failure, one_line};
use crate::output;
use crate::simulate::case::{Broken, Case};

/// The argument that makes the program a worker. It is nobody's command: settings and environment are not asked.
pub(crate) const ARGUMENT: &str = "simulate-worker";

/// What a process said last is kept, so many lines of it.
const LAST_LINES: usize = 3;

/// A run on its way to a worker.
#[derive(Debug, Serialize, Deserialize)]
struct Question {
    seed: u64,
    nodes: u32,
    minutes: u32,
    level: String,
    faults: Vec<(String, u64)>,
    without: Vec<String>,
    scenario: Option<String>,
}

/// What became of it.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    broken: Option<(String, String)>,
}

impl Question {
    fn of(case: &Case) -> Question {
        let level = case.level.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        Question {
            seed: case.seed,
            nodes: case.nodes,
            minutes: case.minutes,
            level,
            faults: case.faults.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect(),
            without: case.without.iter().map(|name| (*name).to_owned()).collect(),
            scenario: case.scenario.map(|scenario| scenario.name().to_owned()),
        }
    }

    /// The run; `None` when a name in it is unknown, as to a program of another version.
    fn case(&self) -> Option<Case> {
        let class = |name: &str| Plan::CLASSES.iter().find(|class| class.name == name).map(|class| class.name);
        let fault = |(name, rate): &(String, u64)| class(name).map(|name| (name, *rate));
        Some(Case {
            seed: self.seed,
            nodes: self.nodes,
            minutes: self.minutes,
            level: FaultLevel::from_str(&self.level, false).ok()?,
            faults: self.faults.iter().map(fault).collect::<Option<_>>()?,
            without: self.without.iter().map(|name| class(name)).collect::<Option<_>>()?,
            scenario: match &self.scenario {
                Some(name) => Some(Scenario::from_name(name)?),
                None => None,
            },
        })
    }
}

/// Plays runs in a process of its own, which is started when it is needed.
#[derive(Debug, Default)]
pub(super) struct Player {
    worker: Option<Worker>,
}

impl Player {
    /// Plays a run and answers what it breaks, if anything. A process that ends over it breaks S1, as a panic does.
    pub(super) fn broken(&mut self, case: &Case) -> Result<Option<Broken>, Failure> {
        let failed = |error: io::Error| {
            Failure::new("start a process for the runs", error, "free some memory and processes, then try again")
        };
        let mut worker = match self.worker.take() {
            Some(worker) => worker,
            None => Worker::start().map_err(failed)?,
        };
        match worker.play(case) {
            Some(answer) => {
                self.worker = Some(worker);
                Ok(answer.broken.map(|(rule, found)| Broken { rule, found }))
            }
            None => {
                let found = format!("the process that played it has ended: {}", worker.end());
                Ok(Some(Broken { rule: "S1".to_owned(), found: one_line(&found) }))
            }
        }
    }
}

/// A process that plays runs.
#[derive(Debug)]
struct Worker {
    child: Child,
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// Passes on what it says, and answers the last lines.
    listener: Option<JoinHandle<VecDeque<String>>>,
}

impl Worker {
    fn start() -> io::Result<Worker> {
        let mut command = Command::new(program()?);
        command.arg(ARGUMENT).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // What a terminal sends to whoever is in front of it is for the campaign alone.
        #[cfg(unix)]
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut child = command.spawn()?;
        let missing = || io::Error::other("the process has no pipes");
        let questions = child.stdin.take().ok_or_else(missing)?;
        let answers = BufReader::new(child.stdout.take().ok_or_else(missing)?);
        let said = child.stderr.take().ok_or_else(missing)?;
        let listener = thread::Builder::new().name("listener".to_owned()).spawn(move || {
            let mut last = VecDeque::new();
            for line in BufReader::new(said).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                output::note(&line);
                last.push_back(line);
                if last.len() > LAST_LINES {
                    last.pop_front();
                }
            }
            last
        })?;
        Ok(Worker { child, questions: Some(questions), answers, listener: Some(listener) })
    }

    /// `None` when the process has ended over it.
    fn play(&mut self, case: &Case) -> Option<Answer> {
        let mut line = serde_json::to_string(&Question::of(case)).ok()?;
        line.push('\n');
        self.questions.as_mut()?.write_all(line.as_bytes()).ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).ok()?;
        serde_json::from_str(&answer).ok()
    }

    /// How it ended, and what it said last.
    fn end(mut self) -> String {
        self.questions = None;
        let how = self.child.wait().map_or_else(|error| error.to_string(), how_it_ended);
        let last = self.listener.take().and_then(|listener| listener.join().ok()).unwrap_or_default();
        let last: Vec<String> = last.into_iter().filter(|line| !line.trim().is_empty()).collect();
        if last.is_empty() { how } else { format!("{how}, after it said: {}", last.join(" / ")) }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It leaves when nobody asks any more. One that was given up over a broken answer may be in the middle of a run.
        self.questions = None;
        let _ = self.child.wait();
    }
}

/// This very program, also when its file was replaced meanwhile: a campaign goes on while the next version is built.
fn program() -> io::Result<OsString> {
    if cfg!(target_os = "linux") && std::path::Path::new("/proc/self/exe").exists() {
        return Ok("/proc/self/exe".into());
    }
    std::env::current_exe().map(Into::into)
}

fn how_it_ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return match signal_hook::low_level::signal_name(signal) {
            Some(name) => format!("signal {signal}, {name}"),
            None => format!("signal {signal}"),
        };
    }
    status.to_string()
}

/// The worker's whole life.
pub(crate) fn work() -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new("play runs for another process", error, "try again");
    for line in lines().map_err(failed)? {
        let question: Question = serde_json::from_str(&line)
            .map_err(|error| Failure::new("read a run", error, "this is for `simulate` alone: use that"))?;
        let case = question
            .case()
            .ok_or_else(|| Failure::new("read a run", "an unknown name", "this is for `simulate` alone: use that"))?;
        let broken = case.broken().map(|broken| (broken.rule, broken.found));
        output::json(&Answer { broken })?;
    }
    Ok(())
}

/// The lines of standard input. When it ends, the process ends, in the middle of a run too.
fn lines() -> io::Result<Receiver<String>> {
    let (say, lines) = channel();
    thread::Builder::new().name("questions".to_owned()).spawn(move || {
        for line in io::stdin().lines().map_while(Result::ok) {
            if say.send(line).is_err() {
                break;
            }
        }
        std::process::exit(0);
    })?;
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_arrives_as_it_was_sent() {
        let case = Case {
            seed: u64::MAX,
            nodes: 7,
            minutes: 3,
            level: FaultLevel::Full,
            faults: vec![("kill", 600), ("bit-flip", 4)],
            without: vec!["part"],
            scenario: Some(Scenario::ALL[0]),
        };
        let line = serde_json::to_string(&Question::of(&case)).unwrap();
        let question: Question = serde_json::from_str(&line).unwrap();
        assert_eq!(question.case(), Some(case));
        let unknown = Question { faults: vec![("no-such-fault".to_owned(), 1)], ..question };
        assert_eq!(unknown.case(), None);
    }
}
