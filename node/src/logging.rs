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

/// How many lines of one sort are written: a stranger who causes an event a thousand times a second must not fill a disk, and
/// neither may one who does so for a year.
#[derive(Debug)]
pub(crate) struct LineLimit {
    burst: u32,
    every: Duration,
    /// Lines that may be written at once.
    left: u32,
    /// Up to when `left` is counted.
    counted: Instant,
    withheld: u64,
    /// When a line was written last.
    written: Instant,
}

/// After this it is said how many lines were left out, though no further one may be written.
const TELL_AFTER: Duration = Duration::from_secs(600);

impl LineLimit {
    /// At most `burst` lines at once, and then one in each `every`, a positive time.
    pub(crate) fn new(burst: u32, every: Duration) -> Self {
        LineLimit { burst, every, left: burst, counted: Instant::ZERO, withheld: 0, written: Instant::ZERO }
    }

    /// May this line be written? `Some` with the number of lines withheld since the last one that was, if there were any.
    pub(crate) fn admit(&mut self, now: Instant) -> Option<Option<u64>> {
        let more = now.since(self.counted).as_nanos() / self.every.as_nanos().max(1);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let left = self.left.saturating_add(more).min(self.burst);
        self.counted = if left == self.burst { now } else { self.counted + self.every * more };
        if left > 0 {
            (self.left, self.written) = (left - 1, now);
            let withheld = std::mem::take(&mut self.withheld);
            Some((withheld > 0).then_some(withheld))
        } else {
            self.withheld = self.withheld.saturating_add(1);
            None
        }
    }

    /// Lines that were left out and of which nothing has been said for long.
    pub(crate) fn untold(&mut self, now: Instant) -> Option<u64> {
        if self.withheld == 0 || now.since(self.written) < TELL_AFTER {
            return None;
        }
        self.written = now;
        Some(std::mem::take(&mut self.withheld))
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
        assert_eq!(limit.admit(at(10_000)), None);
        assert_eq!(limit.admit(at(10_001)), Some(Some(2)));
        assert_eq!(limit.admit(at(10_002)), None);
        assert_eq!(limit.admit(at(99_000)), Some(Some(1)));
        assert_eq!(limit.admit(at(99_000)), Some(None));
        assert_eq!(limit.admit(at(99_000)), None);
    }

    /// A minute had thirty lines and an hour eighteen hundred: whoever went on made the log grow by megabytes an hour.
    #[test]
    fn a_flood_of_a_day_has_as_many_lines_as_the_rate_says() {
        let mut limit = LineLimit::new(30, Duration::from_secs(12));
        let (mut lines, mut told) = (0, 0);
        for second in 0..86_400 {
            for _ in 0..3 {
                if let Some(withheld) = limit.admit(Instant::from_millis(second * 1000)) {
                    (lines, told) = (lines + 1, told + withheld.unwrap_or(0));
                }
            }
        }
        assert_eq!(lines, 30 + 86_400 / 12 - 1);
        assert_eq!(lines + told + limit.withheld, 3 * 86_400, "each is written or counted");
    }

    #[test]
    fn what_was_left_out_is_said_though_nothing_comes_any_more() {
        let mut limit = LineLimit::new(1, Duration::from_secs(3600));
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        assert_eq!(limit.untold(at(5000)), None);
        assert_eq!((limit.admit(at(5000)), limit.admit(at(5001)), limit.admit(at(5002))), (Some(None), None, None));
        assert_eq!(limit.untold(at(5599)), None);
        assert_eq!(limit.untold(at(5600)), Some(2));
        assert_eq!(limit.untold(at(9000)), None);
    }
}
