//! A machine's two clocks: the monotonic one drifts and may stand still, the wall clock jumps as well.

use core::time::Duration;

use crate::time::{Instant, Now, UnixTime};

/// Where the wall clocks start, in Unix milliseconds.
const EPOCH: i64 = 1_800_000_000_000;
const MILLION: i128 = 1_000_000;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Clock {
    /// How many parts in a million it is too fast.
    pub(super) drift: i64,
    /// How long it has stood still, the present pause included.
    stood: Duration,
    /// What it showed when it stopped last.
    floor: Instant,
    /// How far the wall clock is off, in milliseconds.
    pub(super) offset: i64,
}

impl Clock {
    /// What it shows at that time of the simulation.
    pub(super) fn read(&self, world: Instant) -> Now {
        let at = Instant::from_nanos(self.drifted(world)) - self.stood;
        let elapsed = i64::try_from(self.drifted(world) / 1_000_000).unwrap_or(i64::MAX);
        let unix = UnixTime::from_millis(EPOCH.saturating_add(elapsed).saturating_add(self.offset));
        Now { at: at.max(self.floor), unix }
    }

    fn drifted(&self, world: Instant) -> u64 {
        let nanos = i128::from(world.as_nanos());
        u64::try_from(nanos + nanos * i128::from(self.drift) / MILLION).unwrap_or(u64::MAX)
    }

    /// When it will show that, in the simulation's time; never early.
    pub(super) fn when(&self, shown: Instant) -> Instant {
        let nanos = i128::from((shown + self.stood).as_nanos());
        let world = nanos * MILLION / (MILLION + i128::from(self.drift)) + 1;
        Instant::from_nanos(u64::try_from(world).unwrap_or(u64::MAX))
    }

    /// The monotonic clock stands still from now on, for so long.
    pub(super) fn stall(&mut self, world: Instant, pause: Duration) {
        self.floor = self.read(world).at;
        self.stood += pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_drifts_and_stands_still_but_never_goes_back() {
        let mut clock = Clock { drift: -200, ..Clock::default() };
        let world = Instant::from_millis(1_000_000);
        assert_eq!(clock.read(world).at, Instant::from_millis(999_800));
        clock.stall(world, Duration::from_secs(10));
        let later = world + Duration::from_secs(4);
        assert_eq!(clock.read(later).at, clock.read(world).at);
        assert!(clock.read(world + Duration::from_secs(11)).at > clock.read(world).at);
        let deadline = clock.read(world).at + Duration::from_secs(30);
        let when = clock.when(deadline);
        assert!(clock.read(when).at >= deadline, "not early");
        assert!(clock.read(when).at.since(deadline) < Duration::from_nanos(10), "nor late");
    }
}
