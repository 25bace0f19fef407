//! How much the system may hold of one connection that it cannot send yet: nothing urgent overtakes it.
//!
//! About 20 ms of what the line takes, by what was written while more waited. So a ping on a slow line waits behind little, and a
//! fast one never runs dry between two turns of the loop.

use core::time::Duration;

use crate::time::Instant;

/// What the system takes at first, and at least.
pub(super) const UNSENT_MIN: u32 = 64 * 1024;
/// The most: 20 ms at 1.6 Gbit/s.
pub(super) const UNSENT_MAX: u32 = 4 * 1024 * 1024;
/// So long a line is looked at before its rate is believed.
const MEASURED: Duration = Duration::from_millis(50);
/// The part of a second that may wait.
const PART: u64 = 50;

/// The bound of one connection, and what its rate is measured by.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnsentBound {
    /// Since when more waits than was written, so that the time says what the line takes; `NEVER` when nothing does.
    busy: Instant,
    bytes: u32,
    bound: u32,
}

impl Default for UnsentBound {
    fn default() -> Self {
        UnsentBound { busy: Instant::NEVER, bytes: 0, bound: UNSENT_MIN }
    }
}

impl UnsentBound {
    /// So many bytes were written, and `more` waits. Answers the bound when it is to be another one.
    #[inline]
    pub(super) fn wrote(&mut self, now: Instant, bytes: usize, more: bool) -> Option<u32> {
        let began = self.busy;
        if began == Instant::NEVER || !more {
            // What the system took into an empty buffer says nothing of the line.
            (self.busy, self.bytes) = (if more { now } else { Instant::NEVER }, 0);
            return None;
        }
        self.bytes = self.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        let time = now.since(began);
        if time < MEASURED { None } else { self.judge(now, time) }
    }

    #[cold]
    fn judge(&mut self, now: Instant, time: Duration) -> Option<u32> {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).max(1);
        let rate = u64::from(self.bytes).saturating_mul(1000) / millis;
        (self.busy, self.bytes) = (now, 0);
        let wanted = u32::try_from(rate / PART).unwrap_or(u32::MAX).clamp(UNSENT_MIN, UNSENT_MAX);
        // Each change is a system call: by halves and doubles, but for the least.
        let is_far = wanted / 2 >= self.bound || wanted <= self.bound / 2 || wanted == UNSENT_MIN;
        if !is_far || wanted == self.bound {
            return None;
        }
        self.bound = wanted;
        Some(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line that takes so many bytes per millisecond, looked at each ten: the bounds that it is given.
    fn bounds(bound: &mut UnsentBound, from: u64, rate: usize) -> Vec<u32> {
        (from..from + 20).filter_map(|n| bound.wrote(Instant::from_millis(n * 10), rate * 10, true)).collect()
    }

    #[test]
    fn the_bound_is_twenty_milliseconds_of_the_line_and_never_less_than_the_least() {
        for (rate, expected) in
            [(500, &[][..]), (10_000, &[200_000]), (125_000, &[2_500_000]), (1_000_000, &[UNSENT_MAX])]
        {
            let mut bound = UnsentBound::default();
            assert_eq!(bounds(&mut bound, 0, rate), expected, "one change, and then it is right");
            assert_eq!(
                bounds(&mut bound, 20, 100).last().copied(),
                expected.last().map(|_| UNSENT_MIN),
                "it becomes slow"
            );
        }
    }

    #[test]
    fn what_an_idle_line_takes_at_once_says_nothing_of_it() {
        let mut bound = UnsentBound::default();
        for second in 0..100 {
            assert_eq!(bound.wrote(Instant::from_millis(second * 1000), 1 << 20, false), None);
        }
        assert_eq!(bound.wrote(Instant::from_millis(200_000), 8 << 20, true), None, "into an empty buffer");
        assert_eq!(bound.wrote(Instant::from_millis(200_100), 1000, true), None, "the line is slow");
    }
}
