//! SIGINT and SIGTERM: the first asks the node to stop, the second ends the process at once.
//!
//! Both hold when the node is stuck, as on a standard error that nobody reads: the thread that watches never writes.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;
use crate::output;

/// How long a stop may take before the process ends without having saved everything. With [`LAST_WORDS`] it is below the
/// five seconds that a stop has.
const PATIENCE: Duration = Duration::from_millis(4_500);
/// How long the line about a stop that took too long may take to be written.
const LAST_WORDS: Duration = Duration::from_millis(250);
/// Signals this close together are one request: `timeout` and shells that pass on what their whole group was sent deliver
/// each twice, which must not cut short a stop that takes some milliseconds. Nobody's finger is that fast.
const SAME_REQUEST: Duration = Duration::from_millis(100);

/// Calls `stop` on the first signal, from a thread of its own. `stop` must not wait for anything: the second signal is not
/// heard before it returns. `at_once` is what is done before the process ends without having stopped.
pub(crate) fn watch(
    stop: impl FnOnce() + Send + 'static,
    at_once: impl Fn() + Send + Sync + 'static,
) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new("watch for signals", error, "try again");
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let (mut stop, mut asked) = (Some(stop), Instant::now());
    let at_once = Arc::new(at_once);
    let handle = signals.handle();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                match stop.take() {
                    Some(stop) => {
                        asked = Instant::now();
                        let at_once = Arc::clone(&at_once);
                        limit_the_wait(move || at_once());
                        stop();
                    }
                    None if asked.elapsed() < SAME_REQUEST => {}
                    None => {
                        at_once();
                        // What a shell reports of a process that the signal killed.
                        std::process::exit(128 + signal);
                    }
                }
            }
        })
        .map_err(|error| {
            handle.close();
            failed(error)
        })?;
    Ok(())
}

fn limit_the_wait(at_once: impl FnOnce() + Send + 'static) {
    let overdue = || {
        thread::sleep(PATIENCE);
        at_once();
        say_and_leave();
    };
    // Without that thread nothing limits the stop but the second signal.
    let _ = thread::Builder::new().name("stopping".to_owned()).spawn(overdue);
}

fn say_and_leave() -> ! {
    let (said, heard) = sync_channel(1);
    let speaker = move || {
        output::note("error: cannot stop in time: something was not flushed or saved; look at the log above");
        // Nobody waits any more when this fails.
        let _ = said.try_send(());
    };
    if thread::Builder::new().name("last words".to_owned()).spawn(speaker).is_ok() {
        // The answer is the same when the line cannot be written.
        let _ = heard.recv_timeout(LAST_WORDS);
    }
    std::process::exit(1)
}
