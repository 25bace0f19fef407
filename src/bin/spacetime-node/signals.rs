//! SIGINT and SIGTERM: the first asks the node to stop, the second ends the process at once.

use std::io;
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::Failure;
use crate::output;

/// How long a stop may take before the process ends without having saved everything.
const PATIENCE: Duration = Duration::from_secs(5);

/// Calls `stop` on the first signal, from a thread of its own.
pub(crate) fn watch(stop: impl FnOnce() + Send + 'static) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new("watch for signals", error, "try again");
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(failed)?;
    let mut stop = Some(stop);
    let handle = signals.handle();
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            for signal in signals.forever() {
                match stop.take() {
                    Some(stop) => {
                        stop();
                        limit_the_wait();
                    }
                    // What a shell reports of a process that the signal killed.
                    None => std::process::exit(128 + signal),
                }
            }
        })
        .map_err(|error| {
            handle.close();
            failed(error)
        })?;
    Ok(())
}

fn limit_the_wait() {
    let overdue = || {
        thread::sleep(PATIENCE);
        output::note("error: cannot stop in time: something was not flushed or saved; look at the log above");
        std::process::exit(1);
    };
    if thread::Builder::new().name("stopping".to_owned()).spawn(overdue).is_err() {
        tracing::warn!("no thread to limit the stop to {PATIENCE:?}");
    }
}
