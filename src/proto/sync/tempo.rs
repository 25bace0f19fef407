//! How long a block takes of a peer that delivers: what another one's silence is measured by.
//!
//! The time is counted for each peer while it has something to deliver. By a clock on the wall it was as if blocks took seconds where
//! nobody delivered because all that was left to come was due from those who are silent.

use core::time::Duration;

use crate::time::Instant;
use crate::wire::Hash;

/// Deliveries over which the first figure is taken; each further one is over twice as many, up to [`COUNT_MAX`].
const COUNT_FIRST: u32 = 4;
/// The most.
const COUNT_MAX: u32 = 32;
/// A figure is at most this many times the one before, and [`STEP`]: one long silence is somebody's, and not a slower download.
const FACTOR_MAX: u32 = 4;
/// See [`FACTOR_MAX`].
const STEP: Duration = Duration::from_millis(1);

/// The next block holds up the rest, though others could be asked for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stall {
    pub(super) hash: Hash,
    pub(super) since: Instant,
    /// Peers that held it up before.
    pub(super) before: u32,
}

/// The time that a block takes of one peer.
#[derive(Debug)]
pub(super) struct Tempo {
    per_block: Option<Duration>,
    busy: Duration,
    count: u32,
    count_max: u32,
}

impl Tempo {
    /// Blocks were asked for while none was on its way: what was measured before says nothing of these.
    pub(super) fn begin() -> Self {
        Tempo { per_block: None, busy: Duration::ZERO, count: 0, count_max: COUNT_FIRST }
    }

    /// So many blocks came together of a peer that was silent for `gap` before, with something to deliver.
    pub(super) fn delivered(&mut self, gap: Duration, blocks: u32) {
        self.busy = self.busy.saturating_add(gap);
        self.count = self.count.saturating_add(blocks);
        if self.count < self.count_max {
            return;
        }
        let per_block = self.busy / self.count.max(1);
        let most = self.per_block.map(|last| last.saturating_mul(FACTOR_MAX).saturating_add(STEP));
        self.per_block = Some(most.map_or(per_block, |most| per_block.min(most)));
        (self.busy, self.count) = (Duration::ZERO, 0);
        self.count_max = self.count_max.saturating_mul(2).min(COUNT_MAX);
    }

    /// The time of a block; `None` before enough have come.
    pub(super) fn per_block(&self) -> Option<Duration> {
        self.per_block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_long_silence_hardly_counts_and_a_slower_download_is_followed() {
        let mut tempo = Tempo::begin();
        let come = |tempo: &mut Tempo, count: u32, gap: Duration| (0..count).for_each(|_| tempo.delivered(gap, 1));
        let (fast, slow) = (Duration::from_micros(100), Duration::from_millis(50));
        come(&mut tempo, 3, fast);
        assert_eq!(tempo.per_block(), None);
        come(&mut tempo, 300, fast);
        assert_eq!(tempo.per_block(), Some(fast));
        come(&mut tempo, 1, Duration::from_secs(60));
        come(&mut tempo, 32, fast);
        assert!(tempo.per_block().is_some_and(|per_block| per_block <= Duration::from_micros(1400)));
        come(&mut tempo, 64, fast);
        assert_eq!(tempo.per_block(), Some(fast), "and is forgotten");
        come(&mut tempo, 32 * 5, slow);
        assert!(tempo.per_block().is_some_and(|per_block| per_block > slow / 2));
    }

    /// Of a run of blocks that came in one frame all but the first seemed to take no time, and whoever was a frame behind was late.
    #[test]
    fn blocks_that_come_together_take_the_time_since_those_before() {
        let mut tempo = Tempo::begin();
        for _ in 0..20 {
            tempo.delivered(Duration::from_millis(30), 300);
            assert_eq!(tempo.per_block(), Some(Duration::from_micros(100)));
        }
    }
}
