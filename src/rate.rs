//! A token bucket in one number: when it will be full again.
//!
//! The generic cell rate algorithm: a bucket of `burst` tokens that gains one each `interval` is full at some instant, and
//! taking a token moves that instant one interval on. There is no level to refill, so there is no timer and no rounding,
//! and a bucket that is full says nothing that a new one would not: a [`BucketTable`] forgets those first.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

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
        self.ready_for(rate, 1)
    }

    /// When so many tokens will be there at once. For more than a burst has, when it is full.
    pub fn ready_for(&self, rate: Rate, tokens: u32) -> Instant {
        if rate.burst == 0 {
            return Instant::NEVER;
        }
        self.full_at - rate.interval.saturating_mul(rate.burst.saturating_sub(tokens))
    }

    /// Is there a token?
    pub fn has(&self, rate: Rate, now: Instant) -> bool {
        self.ready_at(rate) <= now
    }

    /// Takes a token if there is one.
    pub fn take(&mut self, rate: Rate, now: Instant) -> bool {
        self.take_many(rate, 1, now)
    }

    /// Takes so many tokens at once, if they are there. More than a burst has are taken from a full bucket, and owed.
    pub fn take_many(&mut self, rate: Rate, tokens: u32, now: Instant) -> bool {
        let has = self.ready_for(rate, tokens) <= now;
        if has {
            self.full_at = self.full_at.max(now) + rate.interval.saturating_mul(tokens);
        }
        has
    }

    /// Puts a token back that was taken.
    pub fn give_back(&mut self, rate: Rate) {
        self.full_at = self.full_at - rate.interval;
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

    /// When so many tokens will be there at once; see [`Bucket::ready_for`].
    pub fn ready_for(&self, tokens: u32) -> Instant {
        self.bucket.ready_for(self.rate, tokens)
    }

    /// Takes so many tokens at once, if they are there; see [`Bucket::take_many`].
    pub fn take_many(&mut self, now: Instant, tokens: u32) -> bool {
        self.bucket.take_many(self.rate, tokens, now)
    }
}

/// So many bytes in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteRate {
    per_second: u64,
    burst: u64,
}

impl ByteRate {
    /// The slowest rate, in bytes per second: below it no frame of any size would ever end.
    pub const SLOWEST: u64 = 1024;

    /// `per_second` bytes, [`ByteRate::SLOWEST`] at least; up to a tenth of it at once.
    pub const fn new(per_second: u64) -> Self {
        let per_second = if per_second < ByteRate::SLOWEST { ByteRate::SLOWEST } else { per_second };
        ByteRate { per_second, burst: per_second / 10 }
    }

    /// `per_second` bytes, [`ByteRate::SLOWEST`] at least, up to `burst` at once.
    pub const fn with_burst(per_second: u64, burst: u64) -> Self {
        ByteRate { burst, ..ByteRate::new(per_second) }
    }

    /// Bytes in a second.
    pub const fn per_second(self) -> u64 {
        self.per_second
    }

    /// How many bytes one of many takes in its turn: a fiftieth of a second's, between 1 KiB and 64 KiB, and never more than there
    /// can be at once.
    pub const fn quantum(self) -> u64 {
        let quantum = match self.per_second / 50 {
            small if small < 1024 => 1024,
            large if large > 64 * 1024 => 64 * 1024,
            other => other,
        };
        if quantum < self.burst { quantum } else { self.burst }
    }

    /// How long it takes until there is one [quantum](Self::quantum) more.
    pub fn turn(self) -> Duration {
        let nanos = u128::from(self.quantum()) * NANOS.unsigned_abs() / u128::from(self.per_second.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// A token bucket for bytes that may run into debt: as long as it is not in debt more may be taken than it holds, and nothing
/// after that until the debt is paid. So what cannot be cut is never larger than the bucket. Starts full. Exact: what was taken in
/// any time is the rate times that, a burst and the last debt at most.
#[derive(Clone, Copy, Debug)]
pub struct ByteBucket {
    rate: ByteRate,
    /// Bytes times [`NANOS`]; below zero a debt.
    level: i128,
    at: Instant,
}

/// In a second.
const NANOS: i128 = 1_000_000_000;

impl ByteBucket {
    /// A full bucket.
    pub const fn new(rate: ByteRate, now: Instant) -> Self {
        ByteBucket { rate, level: rate.burst as i128 * NANOS, at: now }
    }

    /// Its rate.
    pub const fn rate(&self) -> ByteRate {
        self.rate
    }

    /// From now on it fills at another rate. What it holds or owes it keeps, as far as the new burst has room for it.
    pub fn set_rate(&mut self, rate: ByteRate, now: Instant) {
        self.fill(now);
        self.rate = rate;
        self.level = self.level.min(i128::from(rate.burst) * NANOS);
    }

    /// Bytes that are there; 0 in debt.
    pub fn available(&mut self, now: Instant) -> u64 {
        self.fill(now);
        u64::try_from(self.level.max(0) / NANOS).unwrap_or(0)
    }

    /// How long until the debt is paid; zero without one.
    pub fn debt(&mut self, now: Instant) -> Duration {
        self.ready_at(0, now).since(now)
    }

    /// Takes so many bytes, whether they are there or not.
    pub fn take(&mut self, bytes: u64, now: Instant) {
        self.fill(now);
        self.level -= i128::from(bytes) * NANOS;
    }

    /// When so many bytes will be there, of a burst at most: `now` when they are.
    pub fn ready_at(&mut self, bytes: u64, now: Instant) -> Instant {
        self.fill(now);
        let missing = i128::from(bytes.min(self.rate.burst)) * NANOS - self.level;
        if missing <= 0 {
            return now;
        }
        let rate = i128::from(self.rate.per_second);
        let nanos = u64::try_from((missing + rate - 1) / rate).unwrap_or(u64::MAX);
        now + Duration::from_nanos(nanos)
    }

    fn fill(&mut self, now: Instant) {
        let nanos = i128::try_from(now.since(self.at).as_nanos()).unwrap_or(i128::MAX / NANOS);
        let full = i128::from(self.rate.burst) * NANOS;
        self.level = self.level.saturating_add(nanos.saturating_mul(i128::from(self.rate.per_second))).min(full);
        self.at = self.at.max(now);
    }
}

/// Keys that a table has room for, unless it is told otherwise: with the default rates at most some 800 are ever in use, since
/// the rate of all bounds them.
pub const BUCKETS_MAX: usize = 4096;

/// A bucket for each of many keys, such as the addresses of strangers, in bounded memory.
///
/// A key that it does not know has a full bucket. When there is no room for another one, the bucket that will be full soonest is
/// forgotten: its owner gains the least, and nothing if it is full already. A limit of `None` is no limit, and takes nothing.
/// Every call is O(log n).
#[derive(Clone, Debug)]
pub struct BucketTable<K> {
    buckets: BTreeMap<K, Bucket>,
    /// The same buckets in the order in which they will be full.
    by_full_at: BTreeSet<(Instant, K)>,
    keys_max: usize,
}

impl<K: Ord + Copy> Default for BucketTable<K> {
    /// With room for [`BUCKETS_MAX`] keys.
    fn default() -> Self {
        BucketTable::new(BUCKETS_MAX)
    }
}

impl<K: Ord + Copy> BucketTable<K> {
    /// An empty table with room for so many keys, one at least.
    pub fn new(keys_max: usize) -> Self {
        BucketTable { buckets: BTreeMap::new(), by_full_at: BTreeSet::new(), keys_max: keys_max.max(1) }
    }

    /// Is there a token for `key`?
    pub fn has(&self, key: K, rate: Option<Rate>, now: Instant) -> bool {
        rate.is_none_or(|rate| self.get(key).has(rate, now))
    }

    /// Takes a token of `key`'s if there is one.
    pub fn take(&mut self, key: K, rate: Option<Rate>, now: Instant) -> bool {
        let Some(rate) = rate else { return true };
        let before = self.get(key);
        let mut bucket = before;
        if !bucket.take(rate, now) {
            return false;
        }
        if !self.by_full_at.remove(&(before.full_at, key))
            && self.buckets.len() >= self.keys_max
            && let Some((_, forgotten)) = self.by_full_at.pop_first()
        {
            self.buckets.remove(&forgotten);
        }
        self.buckets.insert(key, bucket);
        self.by_full_at.insert((bucket.full_at, key));
        debug_assert!(self.buckets.len() == self.by_full_at.len() && self.buckets.len() <= self.keys_max);
        true
    }

    /// When there will be a token for `key`; see [`Bucket::ready_at`].
    pub fn ready_at(&self, key: K, rate: Rate) -> Instant {
        self.get(key).ready_at(rate)
    }

    /// How long until `key`'s bucket is full again; see [`Bucket::owed`].
    pub fn owed(&self, key: K, now: Instant) -> Duration {
        self.get(key).owed(now)
    }

    /// Keys that are known: at most as many as the table has room for.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    /// True when no key is known.
    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    fn get(&self, key: K) -> Bucket {
        self.buckets.get(&key).copied().unwrap_or(Bucket::FULL)
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
            interval in 1u64..1000, burst in 1u32..20, steps in prop::collection::vec((0u64..2000, 1u32..6), 1..200)
        ) {
            let rate = Rate::every(Duration::from_nanos(interval), burst);
            let (mut bucket, mut now) = (Bucket::default(), 0u64);
            let full = interval * u64::from(burst);
            let mut level = full;
            for (step, tokens) in steps {
                let tokens = tokens.min(burst);
                now += step;
                level = (level + step).min(full);
                let price = interval * u64::from(tokens);
                let expected = level >= price;
                if expected { level -= price; }
                prop_assert_eq!(bucket.ready_for(rate, tokens) <= Instant::from_nanos(now), expected);
                prop_assert_eq!(bucket.take_many(rate, tokens, Instant::from_nanos(now)), expected);
                prop_assert_eq!(bucket.is_full(Instant::from_nanos(now)), level == full);
            }
        }
    }
    proptest! {
        /// The naive table has a bucket for every key that there is; a full one of ours looks for the one to forget.
        #[test]
        fn a_table_agrees_with_a_bucket_for_each_key_and_is_lenient_only_to_those_whom_it_forgot(
            keys_max in 1usize..6, steps in prop::collection::vec((0u8..8, 0u64..40, any::<bool>()), 1..300)
        ) {
            let (slow, fast) = (Rate::every(Duration::from_nanos(100), 3), Rate::every(Duration::from_nanos(10), 2));
            let mut table = BucketTable::new(keys_max);
            let mut naive: BTreeMap<u8, Bucket> = BTreeMap::new();
            let mut now = 1_000;
            for (key, step, is_slow) in steps {
                now += step;
                let (at, rate) = (Instant::from_nanos(now), if is_slow { slow } else { fast });
                prop_assert!(table.has(key, None, at) && table.take(key, None, at), "no limit, no bucket");
                let mut bucket = naive.get(&key).copied().unwrap_or_default();
                let expected = bucket.take(rate, at);
                prop_assert_eq!(table.has(key, Some(rate), at), expected);
                prop_assert_eq!(table.take(key, Some(rate), at), expected);
                if expected {
                    if !naive.contains_key(&key) && naive.len() >= keys_max {
                        let soonest = naive.iter().min_by_key(|(key, bucket)| (bucket.full_at, **key));
                        let forgotten = *soonest.unwrap().0;
                        naive.remove(&forgotten);
                    }
                    naive.insert(key, bucket);
                }
                prop_assert!(table.len() <= keys_max);
                for key in 0..8 {
                    prop_assert_eq!(table.owed(key, at), naive.get(&key).copied().unwrap_or_default().owed(at));
                }
            }
        }
    }

    #[test]
    fn a_bucket_of_bytes_lends_what_cannot_be_cut_and_gives_nothing_until_that_is_paid() {
        let at = Instant::from_millis;
        let mut bucket = ByteBucket::new(ByteRate::new(1 << 20), at(0));
        assert_eq!(bucket.available(at(0)), (1 << 20) / 10);
        // A frame of 16 seconds.
        bucket.take(16 << 20, at(0));
        assert_eq!((bucket.debt(at(15_000)).as_millis(), bucket.available(at(15_899))), (900, 0));
        assert!(bucket.available(at(15_901)) > 0 && bucket.ready_at(1 << 12, at(15_901)) > at(15_901));
        // Half as fast from here on, and no more at once than that has.
        bucket.set_rate(ByteRate::new(1 << 19), at(100_000));
        assert_eq!(bucket.available(at(100_000)), (1 << 19) / 10);
        assert_eq!(bucket.ready_at(u64::MAX, at(100_000)), at(100_000), "never more than a burst is waited for");
        assert_eq!(ByteRate::new(0).per_second(), ByteRate::SLOWEST);
        for per_second in [0, 1 << 10, 1 << 14, 1 << 20, 1 << 40, u64::MAX] {
            let rate = ByteRate::new(per_second);
            assert!(rate.quantum() > 0 && rate.quantum() <= rate.burst, "{rate:?}: a turn must come");
        }
    }

    proptest! {
        /// Whoever takes whenever there is something, whatever the frames are like, gets the rate: no more than it and a burst in
        /// any time, and no less where he always wants more.
        #[test]
        fn bytes_are_neither_lost_nor_gained(
            per_second in 1024u64..1 << 40, steps in prop::collection::vec((1u64..200_000_000, 0u64..1 << 20), 1..300)
        ) {
            let rate = ByteRate::new(per_second);
            let mut bucket = ByteBucket::new(rate, Instant::ZERO);
            let (mut now, mut taken, mut level) = (0u64, 0u128, u128::from(rate.burst) * 1_000_000_000);
            let mut debt = 0u128;
            for (nanos, bytes) in steps {
                now += nanos;
                // The naive one keeps what is there and what is owed apart.
                let gain = u128::from(nanos) * u128::from(per_second);
                let paid = gain.min(debt);
                debt -= paid;
                level = (level + gain - paid).min(u128::from(rate.burst) * 1_000_000_000);
                let at = Instant::from_nanos(now);
                prop_assert_eq!(u128::from(bucket.available(at)), level / 1_000_000_000);
                prop_assert_eq!(bucket.debt(at).is_zero(), debt == 0);
                if debt == 0 {
                    bucket.take(bytes, at);
                    taken += u128::from(bytes);
                    let price = u128::from(bytes) * 1_000_000_000;
                    (level, debt) = (level.saturating_sub(price), price.saturating_sub(level));
                }
                let most = u128::from(per_second) * u128::from(now) / 1_000_000_000 + u128::from(rate.burst) + (1 << 20);
                prop_assert!(taken <= most);
            }
        }

        #[test]
        fn a_bucket_of_bytes_at_the_end_of_time_does_not_panic(
            rate in any::<u64>(), steps in prop::collection::vec((any::<u64>(), any::<u64>()), 1..50)
        ) {
            let mut bucket = ByteBucket::new(ByteRate::new(rate), Instant::ZERO);
            for (time, bytes) in steps {
                let at = Instant::from_nanos(time);
                bucket.take(bytes, at);
                bucket.ready_at(bytes, at);
            }
        }
    }

    #[test]
    fn a_full_table_forgets_who_has_paid_before_who_owes() {
        let rate = Some(Rate::per_second(1, 5));
        let mut table = BucketTable::new(2);
        let at = Instant::from_millis;
        assert!((0..5).all(|_| table.take("pushy", rate, at(100_000))) && !table.take("pushy", rate, at(100_000)));
        for (second, name) in (0..).zip(["a", "b", "c", "d"]) {
            assert!(table.take(name, rate, at(100_000 + second)));
        }
        assert_eq!(table.len(), 2);
        assert!(!table.take("pushy", rate, at(100_010)), "whoever owes the most is forgotten last");
    }
}
