//! How fast things reach everyone: for each block and transaction the time from the first node that had it to each other.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use spacetime_network::wire::Hash;

use crate::output::millis;

/// Who had what, when.
#[derive(Debug, Default)]
pub(super) struct Spread {
    /// When the first node had it, and how long the slowest took.
    seen: BTreeMap<Hash, (Instant, Duration)>,
    delays: Vec<Duration>,
}

/// The middle and the slow end of the delays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Percentiles {
    pub(super) deliveries: usize,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
}

impl Spread {
    /// A node has something since `at`. `since` is when the node was there and up to date: what existed before reaches it
    /// by catching up, which is another measure.
    pub(super) fn note(&mut self, object: Hash, at: Instant, since: Instant) {
        let Some((first, slowest)) = self.seen.get_mut(&object) else {
            self.seen.insert(object, (at, Duration::ZERO));
            return;
        };
        if *first >= since {
            let delay = at.saturating_duration_since(*first);
            *slowest = delay.max(*slowest);
            self.delays.push(delay);
        }
    }

    /// How long each took to reach the last node that was there, in the order in which they came up.
    pub(super) fn slowest(&self) -> Vec<Duration> {
        let mut seen: Vec<(Instant, Duration)> = self.seen.values().copied().collect();
        seen.sort_unstable();
        seen.into_iter().map(|(_, slowest)| slowest).collect()
    }

    /// Zero for everything when nothing was delivered.
    pub(super) fn percentiles(&self) -> Percentiles {
        let mut sorted = self.delays.clone();
        sorted.sort_unstable();
        // Nearest rank: the smallest delay that at least that share of all does not exceed.
        let rank = |percent: usize| {
            let index = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            millis(sorted.get(index).copied().unwrap_or_default())
        };
        Percentiles { deliveries: sorted.len(), p50_ms: rank(50), p99_ms: rank(99) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_count_from_the_first_node_and_only_for_nodes_that_were_there() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut spread = Spread::default();
        for delay in 0..=100 {
            let object = Hash([delay as u8; 32]);
            spread.note(object, at(1000), at(0));
            spread.note(object, at(1000 + delay), at(0));
            spread.note(object, at(9000), at(5000));
        }
        assert_eq!(spread.percentiles(), Percentiles { deliveries: 101, p50_ms: 50.0, p99_ms: 99.0 });
        assert_eq!(spread.slowest().iter().max(), Some(&Duration::from_millis(100)));
        assert_eq!(spread.slowest().len(), 101);
        assert_eq!(Spread::default().percentiles(), Percentiles { deliveries: 0, p50_ms: 0.0, p99_ms: 0.0 });
    }
}
