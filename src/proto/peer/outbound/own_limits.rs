//! Dials that fail for want of something of our own, or of the proxy that they all go through: one growing pause for all of them, and
//! no address is blamed.
//!
//! Whoever has no descriptor left has none for any address. Without a pause such a node tried ten addresses a second for as long
//! as that lasted, and each of them had failed once more.

use core::time::Duration;

use crate::close::CloseReason;
use crate::proto::peer::retry::Backoff;
use crate::rng::Rng;
use crate::time::Instant;

/// Between two trials. The longest is short: a descriptor may be free at any moment, and one trial costs nothing.
const TRIAL: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(15) };

/// Would any other dial have failed as well?
fn is_of_all_dials(reason: CloseReason) -> bool {
    match reason {
        CloseReason::LocalResource(_) | CloseReason::LimitReached => true,
        CloseReason::Proxy(fault) => fault.is_of_all_dials(),
        _ => false,
    }
}

/// What we lack, and since how many trials.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnLimits {
    failures: u32,
    /// No dial before.
    at: Instant,
    changes: Vec<Option<CloseReason>>,
}

impl OwnLimits {
    /// When a dial may begin: in the past, unless we lack something.
    pub(super) fn ready_at(&self) -> Instant {
        self.at
    }

    /// A dial begins. Where we lacked something it is a trial, and the next one waits.
    pub(super) fn tried(&mut self, now: Instant, rng: &mut Rng) {
        if self.failures > 0 {
            self.failures = self.failures.saturating_add(1);
            self.at = now + TRIAL.delay(self.failures, rng);
        }
    }

    /// A dial has become no connection. True when that is for want of something of our own.
    pub(super) fn ended(&mut self, reason: CloseReason, now: Instant, rng: &mut Rng) -> bool {
        match reason {
            reason if is_of_all_dials(reason) => {
                // Those that began together end together, and count once.
                if self.failures == 0 {
                    self.changes.push(Some(reason));
                    self.failures = 1;
                    self.at = now + TRIAL.delay(1, rng);
                }
                true
            }
            // We end, whatever we have.
            CloseReason::Shutdown => false,
            _ => {
                self.passed();
                false
            }
        }
    }

    /// A dial has left this machine.
    pub(super) fn passed(&mut self) {
        if core::mem::take(&mut self.failures) > 0 {
            self.at = Instant::ZERO;
            self.changes.push(None);
        }
    }

    /// What changed, to be told; oldest first.
    pub(super) fn take_changes(&mut self) -> Vec<Option<CloseReason>> {
        core::mem::take(&mut self.changes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::close::ProxyFault;

    #[test]
    fn a_proxy_that_is_down_pauses_all_dials_and_one_that_refuses_a_peer_pauses_none() {
        let (mut limits, mut rng) = (OwnLimits::default(), Rng::from_seed(1));
        for fault in ProxyFault::ALL {
            let reason = CloseReason::Proxy(fault);
            assert_eq!(limits.ended(reason, Instant::ZERO, &mut rng), fault.is_of_all_dials(), "{fault:?}");
            assert_eq!(limits.ready_at() > Instant::ZERO, fault.is_of_all_dials(), "{fault:?}");
        }
    }

    #[test]
    fn who_lacks_something_tries_ever_more_rarely_says_it_once_and_goes_on_at_once_when_it_is_there() {
        let (mut limits, mut rng) = (OwnLimits::default(), Rng::from_seed(1));
        let none_left = CloseReason::LocalResource(ErrorKind::Other);
        let mut trials = 0;
        for second in 0..600 {
            let now = Instant::from_millis(second * 1000);
            // As many dials as begin before the first has ended.
            let mut begun = 0;
            while begun < 8 && limits.ready_at() <= now {
                limits.tried(now, &mut rng);
                begun += 1;
            }
            trials += begun;
            for _ in 0..begun {
                assert!(limits.ended(none_left, now, &mut rng));
            }
        }
        assert!((40..=65).contains(&trials), "{trials} in ten minutes, the first eight at once");
        assert_eq!(limits.take_changes(), [Some(none_left)]);
        let now = Instant::from_millis(600_000);
        assert!(!limits.ended(CloseReason::DialTimeout, now, &mut rng), "that one had a descriptor");
        assert_eq!((limits.take_changes(), limits.ready_at()), (vec![None], Instant::ZERO));
        limits.passed();
        assert_eq!(limits.take_changes(), []);
    }
}
