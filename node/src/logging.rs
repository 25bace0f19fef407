//! The program's log: text or JSON lines on standard error, and a limit for lines that strangers can cause.

use std::io::{self, IsTerminal};
use std::time::Duration;

use spacetime_network::time::Instant;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;

use crate::cli::{LogArgs, LogFormat, LogLevel};
use crate::log_format::Logfmt;
use crate::safe_text::{Lines, SafeWriter};

impl LogLevel {
    fn filter(self) -> LevelFilter {
        match self {
            LogLevel::Off => LevelFilter::OFF,
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
            LogLevel::Trace => LevelFilter::TRACE,
        }
    }
}

/// Lines that may wait for whoever reads the log; later ones are lost rather than waited for.
const LINES_WAITING_MAX: usize = 4096;

/// Starts the log for this process. Called once, before anything is logged. Lines are written by a thread of their own,
/// so that a reader that stalls holds up nothing; dropping the answer writes what still waits, for about a second.
pub(crate) fn start(args: LogArgs) -> WorkerGuard {
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = match (args.log_format, colour) {
        (LogFormat::Json, _) => Lines::Json,
        (LogFormat::Text, true) => Lines::Coloured,
        (LogFormat::Text, false) => Lines::Plain,
    };
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_WAITING_MAX)
        .lossy(true)
        .thread_name("log")
        .finish(SafeWriter::new(io::stderr(), lines));
    // A log that cannot be written must not become a panic, hence no reports about reports.
    let builder =
        fmt().with_writer(writer).with_max_level(args.log_level.filter()).with_target(false).log_internal_errors(false);
    match args.log_format {
        LogFormat::Text => builder.fmt_fields(Logfmt).with_ansi(colour).init(),
        LogFormat::Json => builder.json().flatten_event(true).init(),
    }
    guard
}

/// How many lines of one sort are written: a stranger who causes an event a thousand times a second must not fill a disk.
#[derive(Debug)]
pub(crate) struct LineLimit {
    lines_max: u32,
    period: Duration,
    started: Instant,
    lines: u32,
    withheld: u64,
}

impl LineLimit {
    /// At most `lines_max` lines in each `period`.
    pub(crate) fn new(lines_max: u32, period: Duration) -> Self {
        LineLimit { lines_max, period, started: Instant::ZERO, lines: 0, withheld: 0 }
    }

    /// May this line be written? `Some` with the number of lines withheld since the last one that was, if there were any.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<Option<u64>> {
        if now.since(self.started) >= self.period {
            self.started = now;
            self.lines = 0;
        }
        if self.lines < self.lines_max {
            self.lines += 1;
            let withheld = std::mem::take(&mut self.withheld);
            Some((withheld > 0).then_some(withheld))
        } else {
            self.withheld = self.withheld.saturating_add(1);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_lets_a_few_lines_through_and_counts_the_rest() {
        let mut limit = LineLimit::new(2, Duration::from_secs(10));
        let at = Instant::from_millis;
        assert_eq!(limit.admit(at(1)), Some(None));
        assert_eq!(limit.admit(at(2)), Some(None));
        assert_eq!(limit.admit(at(3)), None);
        assert_eq!(limit.admit(at(9_999)), None);
        assert_eq!(limit.admit(at(10_000)), Some(Some(2)));
        assert_eq!(limit.admit(at(10_001)), Some(None));
        assert_eq!(limit.admit(at(10_002)), None);
    }
}
