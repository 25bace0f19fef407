//! The program's log: text or JSON lines on standard error or in a file, and a limit for lines that strangers can cause.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use indicatif::ProgressBar;
use spacetime_network::time::Instant;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::cli::{LogArgs, LogFormat, LogLevel};
use crate::failure::{Failure, disk_remedy};
use crate::log_file::LogFile;
use crate::log_format::Logfmt;
use crate::log_tail::{Tail, Tee};
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

    fn of(filter: LevelFilter) -> Self {
        let all = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
        all.into_iter().find(|level| level.filter() == filter).unwrap_or(LogLevel::Off)
    }
}

/// Lines that may wait for whoever reads the log; later ones are lost rather than waited for.
const LINES_WAITING_MAX: usize = 4096;

/// A log that is written. Dropping it writes what still waits, for about a second.
pub(crate) struct Log {
    _guard: WorkerGuard,
    control: LogControl,
}

impl Log {
    /// What may be asked of it while it is written.
    pub(crate) fn control(&self) -> LogControl {
        self.control.clone()
    }
}

/// What may be asked of a log while it is written, from any thread.
#[derive(Clone)]
pub(crate) struct LogControl {
    filter: reload::Handle<LevelFilter, Registry>,
    /// Its last lines, for whoever has asked that they be kept.
    pub(crate) tail: Arc<Tail>,
    file: Option<Arc<LogFile>>,
    bar: Option<ProgressBar>,
}

impl LogControl {
    /// Which lines are written.
    pub(crate) fn level(&self) -> LogLevel {
        self.filter.clone_current().map_or(LogLevel::Off, LogLevel::of)
    }

    /// Writes lines of this weight and above from now on. False when there is no log any more.
    pub(crate) fn set_level(&self, level: LogLevel) -> bool {
        self.filter.reload(level.filter()).is_ok()
    }

    /// Has a log in a file begun anew under its name, as after it was moved away. `None` for one that is in none.
    pub(crate) fn reopen(&self) -> Option<impl Fn() + Send + 'static> {
        let file = Arc::clone(self.file.as_ref()?);
        Some(move || file.reopen())
    }

    /// A bar beside which lines are written without spoiling it. `None` where nobody would see one.
    pub(crate) fn bar(&self) -> Option<ProgressBar> {
        self.bar.clone()
    }
}

/// Where lines go.
enum Out {
    Standard(io::Stderr, Option<ProgressBar>),
    File(Arc<LogFile>),
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Out::Standard(out, None) => out.write(bytes),
            Out::Standard(out, Some(bar)) => bar.suspend(|| out.write(bytes)),
            Out::File(file) => file.current().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Out::Standard(out, _) => out.flush(),
            Out::File(file) => file.current().flush(),
        }
    }
}

/// Starts the log for this process. Called once, before anything is logged. Lines are written by a thread of their own,
/// so that a reader that stalls holds up nothing.
pub(crate) fn start(args: &LogArgs) -> Result<Log, Failure> {
    let is_terminal = args.log_file.is_none() && io::stderr().is_terminal();
    let colour = is_terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let lines = match (args.log_format, colour) {
        (LogFormat::Json, _) => Lines::Json,
        (LogFormat::Text, true) => Lines::Coloured,
        (LogFormat::Text, false) => Lines::Plain,
    };
    let bar = is_terminal.then(ProgressBar::hidden);
    let (out, file) = match &args.log_file {
        None => (Out::Standard(io::stderr(), bar.clone()), None),
        Some(path) => {
            let failed =
                |error: io::Error| Failure::new(format!("log to {}", path.display()), &error, disk_remedy(&error));
            let file = Arc::new(LogFile::open(path).map_err(failed)?);
            (Out::File(Arc::clone(&file)), Some(file))
        }
    };
    let tail = Arc::<Tail>::default();
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_WAITING_MAX)
        .lossy(true)
        .thread_name("log")
        .finish(Tee::new(SafeWriter::new(out, lines), Arc::clone(&tail)));
    let (filter, handle) = reload::Layer::new(args.log_level.filter());
    // A log that cannot be written must not become a panic, hence no reports about reports.
    let layer = fmt::layer().with_writer(writer).with_target(false).log_internal_errors(false);
    let layer: Box<dyn Layer<_> + Send + Sync> = match args.log_format {
        LogFormat::Text => layer.fmt_fields(Logfmt).with_ansi(colour).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(filter).with(layer).init();
    Ok(Log { _guard: guard, control: LogControl { filter: handle, tail, file, bar } })
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
