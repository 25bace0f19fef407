//! Exponential back-off with jitter: how long to leave an address alone.

use core::time::Duration;

use crate::rng::Rng;

/// Peers that failed together must not come back together: each delay moves by up to this share of itself.
const JITTER_PERCENT: u64 = 20;

/// A delay that doubles from `first` to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The delay after the first failure.
    pub first: Duration,
    /// The longest delay, before jitter.
    pub max: Duration,
}

impl Backoff {
    /// The delay after `failures` failures in a row, plus or minus a fifth; `failures` of 0 counts as 1.
    pub fn delay(&self, failures: u32, rng: &mut Rng) -> Duration {
        let factor = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        rng.jitter(self.first.saturating_mul(factor).min(self.max), JITTER_PERCENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest() {
        let mut rng = Rng::from_seed(1);
        let backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) };
        for (failures, seconds) in [(0, 1), (1, 1), (2, 2), (3, 4), (5, 16), (6, 30), (33, 30), (u32::MAX, 30)] {
            let delay = backoff.delay(failures, &mut rng).as_millis();
            let (low, high) = (seconds * 800, seconds * 1200);
            assert!((low..=high).contains(&delay), "{failures}: {delay}");
        }
    }
}
