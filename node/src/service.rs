//! What a service manager is told: that the node is ready, that it stops, and that its loop turns (sd_notify(3)). Nobody manages it,
//! nothing is told.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::failure::Failure;
use crate::full_node::{NodeHandle, Traffic};

/// The node accepts connections.
pub(crate) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// It says goodbye.
pub(crate) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager is not told; look at NOTIFY_SOCKET");
    }
}

/// Where the manager asks for it, tells as long as the loop turns that it does: one that hangs is started anew.
pub(crate) fn watch(handle: NodeHandle, traffic: Arc<Traffic>) -> Result<(), Failure> {
    let Some(every) = sd_notify::watchdog_enabled() else { return Ok(()) };
    // A third of it: one that is missed is no reason yet.
    let pause = (every / 3).max(Duration::from_millis(10));
    let watchdog = move || {
        let mut told = traffic.turns();
        loop {
            // One that sleeps turns when it is woken.
            handle.wake();
            thread::sleep(pause);
            let turns = traffic.turns();
            if turns != told {
                told = turns;
                tell(&[NotifyState::Watchdog]);
            }
        }
    };
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(watchdog)
        .map(drop)
        .map_err(|error| Failure::new("start the watchdog", error, "try again"))
}
