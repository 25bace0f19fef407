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
    pub(super) fn read(&self, sim_time: Instant) -> Now {
        let at = Instant::from_nanos(self.drifted(sim_time)) - self.stood;
        let elapsed = i64::try_from(self.drifted(sim_time) / 1_000_000).unwrap_or(i64::MAX);
        let unix = UnixTime::from_millis(EPOCH.saturating_add(elapsed).saturating_add(self.offset));
        Now { at: at.max(self.floor), unix }
    }

    fn drifted(&self, sim_time: Instant) -> u64 {
        let nanos = i128::from(sim_time.as_nanos());
        u64::try_from(nanos + nanos * i128::from(self.drift) / MILLION).unwrap_or(u64::MAX)
    }

    /// When it will show that, in the simulation's time; never early.
    pub(super) fn when(&self, shown: Instant) -> Instant {
        let nanos = i128::from((shown + self.stood).as_nanos());
        let sim_time = nanos * MILLION / (MILLION + i128::from(self.drift)) + 1;
        Instant::from_nanos(u64::try_from(sim_time).unwrap_or(u64::MAX))
    }

    /// The monotonic clock stands still from now on, for so long.
    pub(super) fn stall(&mut self, sim_time: Instant, pause: Duration) {
        self.floor = self.read(sim_time).at;
        self.stood += pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_drifts_and_stands_still_but_never_goes_back() {
        let mut clock = Clock { drift: -200, ..Clock::default() };
        let sim_time = Instant::from_millis(1_000_000);
        assert_eq!(clock.read(sim_time).at, Instant::from_millis(999_800));
        clock.stall(sim_time, Duration::from_secs(10));
        let later = sim_time + Duration::from_secs(4);
        assert_eq!(clock.read(later).at, clock.read(sim_time).at);
        assert!(clock.read(sim_time + Duration::from_secs(11)).at > clock.read(sim_time).at);
        let deadline = clock.read(sim_time).at + Duration::from_secs(30);
        let when = clock.when(deadline);
        assert!(clock.read(when).at >= deadline, "not early");
        assert!(clock.read(when).at.since(deadline) < Duration::from_nanos(10), "nor late");
    }
}
