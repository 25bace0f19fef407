//! A token bucket in one number: when it will be full again.
//!
//! The generic cell rate algorithm: a bucket of `burst` tokens that gains one each `interval` is full at some instant, and
//! taking a token moves that instant one interval on. There is no level to refill, so there is no timer and no rounding,
//! and a bucket that is full says nothing that a new one would not: tables of buckets forget those.

use core::time::Duration;

use crate::config::{ConfigCheck, ConfigErrors};
use crate::time::Instant;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// One token arrives each `interval`.
    pub interval: Duration,
    /// So many may be used at once.
    pub burst: u32,
}

impl Rate {
    /// `count` per second, up to `burst` at once. A `count` of 0 means one per second.
    pub const fn per_second(count: u32, burst: u32) -> Self {
        Rate::per(count, Duration::from_secs(1), burst)
    }

    /// `count` in each `period`, up to `burst` at once. A `count` of 0 counts as 1.
    pub const fn per(count: u32, period: Duration, burst: u32) -> Self {
        Rate { interval: shorten(period, count), burst }
    }

    /// This rate `factor` times as wide, in speed and in burst. A factor of 0 counts as 1.
    pub const fn times(self, factor: u32) -> Rate {
        let burst = self.burst.saturating_mul(if factor == 0 { 1 } else { factor });
        Rate { interval: shorten(self.interval, factor), burst }
    }

    /// Three groups of this rate, for our own sending: the network may bunch up what we send evenly, and the other
    /// side's bucket must not overflow then.
    pub const fn for_sending(self) -> Rate {
        let third = shorten(self.interval, 3).saturating_add(Duration::from_nanos(1));
        Rate { interval: self.interval.saturating_add(third), burst: self.burst - self.burst / 4 }
    }

    /// Checks that the rate ever lets anything through.
    ///
    /// # Errors
    ///
    /// A burst of 0.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut check = ConfigCheck::default();
        check.require(self.burst >= 1, "burst", "must be at least 1, or it never lets anything through");
        check.finish()
    }

    /// One each `interval`, up to `burst` at once.
    pub const fn every(interval: Duration, burst: u32) -> Self {
        Rate { interval, burst }
    }
}

/// `duration` over `count`, rounded down.
const fn shorten(duration: Duration, count: u32) -> Duration {
    match duration.checked_div(count) {
        Some(part) => part,
        None => duration,
    }
}

/// What is left of a [`Rate`]. Starts full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    full_at: Instant,
}

impl Bucket {
    /// A bucket of which nothing was taken yet.
    pub const FULL: Bucket = Bucket { full_at: Instant::ZERO };

    /// When a token will be there: `now` or earlier when there is one, [`Instant::NEVER`] for a burst of 0.
    pub fn ready_at(&self, rate: Rate) -> Instant {
        match rate.burst.checked_sub(1) {
            Some(spare) => self.full_at - rate.interval.saturating_mul(spare),
            None => Instant::NEVER,
        }
    }

    /// Is there a token?
    pub fn has(&self, rate: Rate, now: Instant) -> bool {
        self.ready_at(rate) <= now
    }

    /// Takes a token if there is one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        let has = self.has(rate, now);
        if has {
            self.full_at = self.full_at.max(now) + rate.interval;
        }
        has
    }

    /// How long until it is full again: the more was taken of it lately, the longer.
    pub fn owed(&self, now: Instant) -> Duration {
        self.full_at.since(now)
    }

    /// Has nothing been taken lately? Such a bucket equals a new one.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

/// A [`Rate`] and what is left of it, for when both belong to one owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    rate: Rate,
    bucket: Bucket,
}

impl Pace {
    /// Nothing taken yet.
    pub const fn new(rate: Rate) -> Self {
        Pace { rate, bucket: Bucket::FULL }
    }

    /// When a token will be there; see [`Bucket::ready_at`].
    pub fn ready_at(&self) -> Instant {
        self.bucket.ready_at(self.rate)
    }

    /// Takes a token if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        self.bucket.take(self.rate, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_is_spent_at_once_and_comes_back_one_by_one() {
        let rate = Rate::per_second(1, 5);
        let mut bucket = Bucket::default();
        let at = Instant::from_millis;
        assert_eq!((0..9).filter(|_| bucket.take(rate, at(100_000))).count(), 5);
        assert!(!bucket.take(rate, at(100_999)));
        assert!(bucket.take(rate, at(101_000)));
        assert!(!bucket.take(rate, at(101_000)));
        assert_eq!(bucket.ready_at(rate), at(102_000));
        assert!(bucket.is_full(at(106_000)) && !bucket.is_full(at(105_999)));
    }

    #[test]
    fn our_own_sending_stays_below_what_the_other_side_allows() {
        let rate = Rate::per(2, Duration::from_secs(1), 20);
        let sending = rate.for_sending();
        assert!(sending.burst < rate.burst && sending.burst > 0);
        assert!(sending.interval > rate.interval);
        assert_eq!(Rate::per_second(1, 1).for_sending().burst, 1);
        assert_eq!(rate.times(4), Rate::per(8, Duration::from_secs(1), 80));
        assert_eq!(Rate::per(0, Duration::from_secs(3), 1).interval, Duration::from_secs(3));
    }

    proptest! {
        #[test]
        fn a_bucket_at_the_end_of_time_neither_panics_nor_gives_without_end(
            interval in any::<u64>(), burst in any::<u32>(), times in prop::collection::vec(any::<u64>(), 1..50)
        ) {
            let rate = Rate::every(Duration::from_nanos(interval), burst);
            let mut bucket = Bucket::FULL;
            for time in times {
                bucket.take(rate, Instant::from_nanos(time));
            }
        }
    }

    #[test]
    fn a_burst_of_nothing_never_gives() {
        let rate = Rate::per_second(1, 0);
        assert!(!Bucket::default().take(rate, Instant::from_millis(1_000_000)));
        assert!(rate.validate().unwrap_err().names("burst"), "and no configuration may ask for it");
    }

    proptest! {
        /// The naive bucket counts tokens, in nanoseconds of their making.
        #[test]
        fn it_agrees_with_a_bucket_that_counts(
            interval in 1u64..1000, burst in 1u32..20, steps in prop::collection::vec(0u64..2000, 1..200)
        ) {
            let rate = Rate::every(Duration::from_nanos(interval), burst);
            let (mut bucket, mut now) = (Bucket::default(), 0u64);
            let full = interval * u64::from(burst);
            let mut level = full;
            for step in steps {
                now += step;
                level = (level + step).min(full);
                let expected = level >= interval;
                if expected { level -= interval; }
                prop_assert_eq!(bucket.take(rate, Instant::from_nanos(now)), expected);
                prop_assert_eq!(bucket.is_full(Instant::from_nanos(now)), level == full);
            }
        }
    }
}
