//! How long things took: a plain array of counts, doubling from a microsecond to some seconds.
//!
//! It is no larger than what it says, never allocates, and to record a time costs a few instructions, so that the loop can afford
//! it each turn. Its bounds are the same everywhere: two can be added, and a program shows them as any metrics system wants them.

use core::time::Duration;

/// How many times fell between bounds that double.
///
/// # Examples
///
/// ```
/// use core::time::Duration;
/// use spacetime_network::histogram::Histogram;
///
/// let mut times = Histogram::default();
/// for micros in [3, 4, 900] {
///     times.record(Duration::from_micros(micros));
/// }
/// assert_eq!((times.count(), times.sum()), (3, Duration::from_micros(907)));
/// // Half of them took no longer than this, by the bounds.
/// assert_eq!(times.quantile(0.5), Some(Duration::from_micros(4)));
/// let (bound, count) = times.buckets().nth(2).unwrap();
/// assert_eq!((bound, count), (Some(Duration::from_micros(4)), 2));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    /// How many were above the bound before and not above their own; the last has no bound.
    counts: [u64; BUCKETS],
    sum_nanos: u64,
}

/// Bounds, and what is above the last.
const BUCKETS: usize = 25;

impl Histogram {
    /// How many bounds there are: 1 µs, 2 µs, 4 µs and so on.
    pub const BOUNDS: usize = BUCKETS - 1;

    /// Counts a time.
    #[inline]
    pub fn record(&mut self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        // A bound belongs to what is below it, hence the microseconds that have begun.
        let micros = nanos.div_ceil(1_000).max(1);
        let doubled = u64::BITS - (micros - 1).leading_zeros();
        let index = usize::try_from(doubled).unwrap_or(BUCKETS).min(BUCKETS - 1);
        if let Some(count) = self.counts.get_mut(index) {
            *count = count.saturating_add(1);
        }
        self.sum_nanos = self.sum_nanos.saturating_add(nanos);
    }

    /// Adds what another one has counted.
    pub fn add(&mut self, other: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum = sum.saturating_add(count);
        }
        self.sum_nanos = self.sum_nanos.saturating_add(other.sum_nanos);
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_nanos)
    }

    /// Each bound with how many were between it and the one before, the bound included; the last has none.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> {
        self.counts.iter().enumerate().map(|(index, count)| (Histogram::bound(index), *count))
    }

    /// The bound below which this part of them is, 0.5 for half; `None` without any, and for what is above the last bound.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let rank = (part.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0);
        let mut seen = 0_u64;
        let mut reached = self.buckets().filter_map(|(bound, count)| {
            seen = seen.saturating_add(count);
            (seen as f64 >= rank).then_some(bound)
        });
        reached.next().flatten()
    }

    fn bound(index: usize) -> Option<Duration> {
        let shift = u32::try_from(index).ok().filter(|_| index < Histogram::BOUNDS)?;
        Some(Duration::from_micros(1_u64.checked_shl(shift)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looked for one bound after the other.
    fn naive(time: Duration) -> usize {
        (0..Histogram::BOUNDS)
            .find(|index| Histogram::bound(*index).is_some_and(|bound| time <= bound))
            .unwrap_or(BUCKETS - 1)
    }

    #[test]
    fn each_time_falls_where_a_look_at_one_bound_after_the_other_finds_it() {
        let edges = (0..40).flat_map(|shift| [0, 1, 999, 1_000, 1_001].map(|more| (1_u64 << shift) * 1_000 + more));
        let around = (0..40).map(|shift| (1_u64 << shift) * 1_000 - 1);
        for nanos in edges.chain(around).chain([0, 1, u64::MAX]) {
            let (time, mut one) = (Duration::from_nanos(nanos), Histogram::default());
            one.record(time);
            let found: Vec<usize> = one.buckets().enumerate().filter(|(_, (_, n))| *n > 0).map(|(at, _)| at).collect();
            assert_eq!(found, [naive(time)], "{time:?}");
        }
        let mut longest = Histogram::default();
        longest.record(Duration::MAX);
        assert_eq!((longest.count(), longest.quantile(1.0)), (1, None));
    }

    #[test]
    fn two_of_them_add_up_to_one_that_saw_everything() {
        let times: Vec<Duration> = (0..1000_u64).map(|n| Duration::from_nanos(n * n * n)).collect();
        let (mut one, mut two, mut all) = (Histogram::default(), Histogram::default(), Histogram::default());
        for (at, time) in times.iter().enumerate() {
            if at % 3 == 0 {
                one.record(*time)
            } else {
                two.record(*time)
            }
            all.record(*time);
        }
        one.add(&two);
        assert_eq!(one, all);
        assert_eq!((all.count(), all.sum()), (1000, times.iter().sum()));
    }

    #[test]
    fn a_quantile_is_the_bound_that_so_many_are_not_above() {
        let mut times = Histogram::default();
        assert_eq!(times.quantile(0.5), None);
        for _ in 0..99 {
            times.record(Duration::from_micros(100));
        }
        times.record(Duration::from_millis(50));
        assert_eq!(times.quantile(0.0), Some(Duration::from_micros(128)));
        assert_eq!(times.quantile(0.99), Some(Duration::from_micros(128)));
        assert_eq!(times.quantile(1.0), Some(Duration::from_micros(65_536)));
    }
}
