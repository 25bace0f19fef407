//! How fast blocks come, from everybody together: what one peer's silence is measured by.

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

/// The time that a block takes while blocks are on their way.
#[derive(Debug)]
pub(super) struct Tempo {
    per_block: Option<Duration>,
    since: Instant,
    count: u32,
    count_max: u32,
}

impl Tempo {
    /// Blocks were asked for while none was on its way: what was measured before says nothing of these.
    pub(super) fn begin(now: Instant) -> Self {
        Tempo { per_block: None, since: now, count: 0, count_max: COUNT_FIRST }
    }

    /// A block came that was asked for.
    pub(super) fn delivered(&mut self, now: Instant) {
        self.count = self.count.saturating_add(1);
        if self.count < self.count_max {
            return;
        }
        let per_block = now.since(self.since) / self.count.max(1);
        let most = self.per_block.map(|last| last.saturating_mul(FACTOR_MAX).saturating_add(STEP));
        self.per_block = Some(most.map_or(per_block, |most| per_block.min(most)));
        (self.since, self.count) = (now, 0);
        self.count_max = self.count_max.saturating_mul(2).min(COUNT_MAX);
    }

    /// The time between two blocks; `None` before enough have come.
    pub(super) fn per_block(&self) -> Option<Duration> {
        self.per_block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_long_silence_hardly_counts_and_a_slower_download_is_followed() {
        let mut now = Instant::from_millis(100);
        let mut tempo = Tempo::begin(now);
        let mut come = |tempo: &mut Tempo, count: u32, gap: Duration| {
            for _ in 0..count {
                now = now + gap;
                tempo.delivered(now);
            }
        };
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
}
