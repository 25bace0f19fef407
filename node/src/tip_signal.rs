//! A bell between a node's loop and its miner: it rings when there is something new to mine on.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Rings are counted, so that one that comes while nobody listens is not lost.
#[derive(Debug, Default)]
pub(crate) struct TipSignal {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    rings: u64,
    stopped: bool,
}

/// Why a wait for a new tip is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WakeReason {
    /// Nothing new within the time.
    Timeout,
    /// The best chain ends elsewhere now.
    NewTip,
    /// It is over.
    Stop,
}

impl TipSignal {
    /// The best chain ends elsewhere now.
    pub(crate) fn ring(&self) {
        self.change(|state| state.rings = state.rings.wrapping_add(1));
    }

    /// Nobody needs to mine any more.
    pub(crate) fn stop(&self) {
        self.change(|state| state.stopped = true);
    }

    /// How often it has rung.
    pub(crate) fn rings(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).rings
    }

    /// Waits until it has rung since it had rung `seen` times, at most `patience`; not at all when that is zero.
    pub(crate) fn wait(&self, seen: u64, patience: Duration) -> WakeReason {
        let end = Instant::now() + patience;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.stopped {
                return WakeReason::Stop;
            }
            if state.rings != seen {
                return WakeReason::NewTip;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return WakeReason::Timeout;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether it is over within this time. Rings do not end the wait.
    pub(crate) fn stops_within(&self, patience: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(state, patience, |state| !state.stopped);
        waited.unwrap_or_else(PoisonError::into_inner).0.stopped
    }

    fn change(&self, how: impl FnOnce(&mut State)) {
        how(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::thread;

    #[test]
    fn a_ring_that_nobody_waited_for_is_heard_later() {
        let signal = TipSignal::default();
        let seen = signal.rings();
        assert_eq!(signal.wait(seen, Duration::ZERO), WakeReason::Timeout);
        signal.ring();
        assert_eq!(signal.wait(seen, Duration::ZERO), WakeReason::NewTip);
        assert_eq!(signal.wait(signal.rings(), Duration::ZERO), WakeReason::Timeout);
        signal.stop();
        assert_eq!(signal.wait(seen, Duration::ZERO), WakeReason::Stop);
    }

    #[test]
    fn a_listener_wakes_when_it_rings() {
        let signal = Arc::new(TipSignal::default());
        let listener = {
            let signal = Arc::clone(&signal);
            thread::spawn(move || signal.wait(0, Duration::from_secs(60)))
        };
        signal.ring();
        assert_eq!(listener.join().unwrap(), WakeReason::NewTip);
    }
}
