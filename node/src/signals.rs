//! Signals: SIGINT and SIGTERM ask the program to stop, and a second one ends it at once. SIGHUP says that the terminal is
//! gone, or, to a node with certificates from files, that there are new ones.
//!
//! The handlers are the first thing that is installed: the first process of a container has no default ones, and what comes
//! before is lost there. Until somebody says what else is to be done, a signal ends the program as it ends any other.
//!
//! All of it holds when the program is stuck, as on a standard error that nobody reads: the thread that watches never writes.

use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;

use crate::failure::Failure;
use crate::output;

/// How long a stop may take before the process ends without having saved everything. With [`LAST_WORDS`] it is below the
/// five seconds that a stop has.
const PATIENCE: Duration = Duration::from_millis(4_500);
/// How long the line about why the process ends may take to be written.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// Signals this close together are one request: `timeout` and shells that pass on what their whole group was sent deliver
/// each twice, which must not cut short a stop that takes some milliseconds. Nobody's finger is that fast.
const SAME_REQUEST: Duration = Duration::from_millis(100);

/// What is done when a signal comes.
enum Action {
    /// What the system does with a program that says nothing about signals.
    End,
    /// There is nothing to be saved yet: this is said, and the process ends as one that was stopped.
    Leave(&'static str),
    /// A stop is asked for.
    Stop(Box<dyn FnOnce() + Send>, AtOnce),
    /// It was.
    Stopping(Instant, AtOnce),
}

/// What is done before the process ends without having stopped.
type AtOnce = Arc<dyn Fn() + Send + Sync>;

struct State {
    action: Action,
    /// What SIGHUP is for, when it is not for a stop.
    reload: Option<Box<dyn Fn() + Send>>,
    /// The process was started by `nohup`, or in another way that says that it outlives its terminal.
    outlives_terminal: bool,
}

static STATE: Mutex<State> = Mutex::new(State { action: Action::End, reload: None, outlives_terminal: false });

fn state() -> MutexGuard<'static, State> {
    STATE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Installs the handlers. Called once, before anything else.
pub(crate) fn install() -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new("watch for signals", error, "try again");
    // Before our own handler takes the place of what the parent has asked for.
    state().outlives_terminal = ignores(SIGHUP);
    // With a handler, whatever it does, a write beyond `ulimit -f` fails as it does on a full disk; without, the process ends.
    signal_hook::flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false))).map_err(failed)?;
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
    let handle = signals.handle();
    let watch = move || signals.forever().for_each(arrived);
    thread::Builder::new().name("signals".to_owned()).spawn(watch).map(drop).map_err(|error| {
        handle.close();
        failed(error)
    })
}

/// Until [`watch`] is called, there is nothing to be saved: a signal ends the process with success, and `line` says so.
pub(crate) fn may_leave(line: &'static str) {
    state().action = Action::Leave(line);
}

/// Calls `stop` on the first signal, from a thread of its own. `stop` must not wait for anything: the second signal is not
/// heard before it returns. `at_once` is what is done before the process ends without having stopped.
pub(crate) fn watch(stop: impl FnOnce() + Send + 'static, at_once: impl Fn() + Send + Sync + 'static) {
    state().action = Action::Stop(Box::new(stop), Arc::new(at_once));
}

/// Calls `reload` on SIGHUP, which then stops nothing. `reload` must not wait for anything.
pub(crate) fn reload_on_hangup(reload: impl Fn() + Send + 'static) {
    state().reload = Some(Box::new(reload));
}

fn arrived(signal: i32) {
    let mut state = state();
    if signal == SIGHUP {
        if let Some(reload) = &state.reload {
            return reload();
        }
        // A terminal that is closed says so more than once, and is in no hurry: its user may have pressed Ctrl-C before.
        if state.outlives_terminal || matches!(state.action, Action::Stopping(..)) {
            return;
        }
    }
    match std::mem::replace(&mut state.action, Action::End) {
        Action::End => end(signal),
        Action::Leave(line) => say_and_leave(line, 0),
        Action::Stop(stop, at_once) => {
            state.action = Action::Stopping(Instant::now(), Arc::clone(&at_once));
            drop(state);
            limit_the_wait(move || at_once());
            stop();
        }
        Action::Stopping(asked, at_once) if asked.elapsed() < SAME_REQUEST => {
            state.action = Action::Stopping(asked, at_once);
        }
        Action::Stopping(_, at_once) => {
            at_once();
            // What a shell reports of a process that the signal killed.
            std::process::exit(128 + signal);
        }
    }
}

/// Ends the process as the signal would have.
fn end(signal: i32) {
    // The first process of a container is not ended by a signal that it sends itself.
    if std::process::id() != 1 {
        let _lives_on = signal_hook::low_level::emulate_default_handler(signal);
    }
    std::process::exit(128 + signal);
}

/// Whether the process was started with this signal ignored, as far as the system tells.
fn ignores(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or_default();
    u64::from_str_radix(mask.trim(), 16).is_ok_and(|mask| mask >> (signal - 1) & 1 == 1)
}

fn limit_the_wait(at_once: impl FnOnce() + Send + 'static) {
    let overdue = || {
        thread::sleep(PATIENCE);
        at_once();
        say_and_leave("error: cannot stop in time: something was not flushed or saved; look at the log above", 1);
    };
    // Without that thread nothing limits the stop but the second signal.
    let _ = thread::Builder::new().name("stopping".to_owned()).spawn(overdue);
}

fn say_and_leave(line: &'static str, code: i32) -> ! {
    let (said, heard) = sync_channel(1);
    let speaker = move || {
        output::note(line);
        // Nobody waits any more when this fails.
        let _ = said.try_send(());
    };
    if thread::Builder::new().name("last words".to_owned()).spawn(speaker).is_ok() {
        // The answer is the same when the line cannot be written.
        let _ = heard.recv_timeout(LAST_WORDS);
    }
    std::process::exit(code)
}
