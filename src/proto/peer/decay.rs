//! Half-life decay in whole numbers, so that every platform forgets at the same pace.
//!
//! The C library's `exp2` differs between platforms in the last bit, and a simulator's trace would with it. Here the
//! elapsed time is a whole number of 65536ths of the half-life, and its bits pick factors from a table.

use core::time::Duration;

use crate::time::Instant;

/// 2^(-2^-k) for k = 1..=16, as 32-bit fractions.
const FACTORS: [u64; 16] = [
    0xb504_f334,
    0xd744_fccb,
    0xeac0_c6e8,
    0xf525_7d15,
    0xfa83_b2db,
    0xfd3e_0c0d,
    0xfe9e_115c,
    0xff4e_cb59,
    0xffa7_5652,
    0xffd3_a752,
    0xffe9_d2b3,
    0xfff4_e91c,
    0xfffa_747f,
    0xfffd_3a3b,
    0xfffe_9d1d,
    0xffff_4e8e,
];
const STEP_BITS: u32 = 16;

/// A number that halves each half-life and reaches zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Decaying {
    value: i64,
    since: Instant,
}

impl Decaying {
    /// The value at `now`.
    pub(super) fn at(mut self, now: Instant, half_life: Duration) -> i64 {
        self.advance(now, half_life);
        self.value
    }

    /// Adds `change` at `now` and stays within `-limit..=limit`.
    pub(super) fn add(&mut self, now: Instant, half_life: Duration, change: i64, limit: i64) {
        self.advance(now, half_life);
        self.value = self.value.saturating_add(change).clamp(-limit, limit);
    }

    fn advance(&mut self, now: Instant, half_life: Duration) {
        let step = u64::try_from(half_life.as_nanos() >> STEP_BITS).unwrap_or(u64::MAX).max(1);
        let elapsed = now.as_nanos().saturating_sub(self.since.as_nanos());
        let steps = elapsed / step;
        // Only whole steps count as elapsed, or a value that is looked at often would never decay.
        self.since = Instant::from_nanos(self.since.as_nanos().saturating_add(steps.saturating_mul(step)));
        let halvings = steps >> STEP_BITS;
        self.value = if halvings >= 63 { 0 } else { self.value / (1i64 << halvings) };
        for (index, factor) in FACTORS.iter().enumerate() {
            let bit = STEP_BITS - 1 - index as u32;
            if steps >> bit & 1 == 1 {
                self.value = ((i128::from(self.value) * i128::from(*factor)) / (1i128 << 32)) as i64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HALF_LIFE: Duration = Duration::from_secs(600);
    const UNIT: i64 = 1_000_000_000;

    proptest! {
        /// However often it is looked at on the way, it is within a millionth of the formula.
        #[test]
        fn it_follows_the_formula(start in -20i64..=20, looks in prop::collection::vec(0u64..400_000, 1..40)) {
            let mut decaying = Decaying::default();
            decaying.add(Instant::ZERO, HALF_LIFE, start * UNIT, 20 * UNIT);
            let mut millis = 0;
            for look in looks {
                millis += look;
                decaying.add(Instant::from_millis(millis), HALF_LIFE, 0, 20 * UNIT);
            }
            let expected = (start as f64) * (-(millis as f64) / 600_000.0).exp2();
            let got = decaying.at(Instant::from_millis(millis), HALF_LIFE) as f64 / UNIT as f64;
            prop_assert!((got - expected).abs() < 1e-3, "{got} {expected}");
        }
    }

    #[test]
    fn it_reaches_zero_from_both_sides() {
        for start in [-20, 20] {
            let mut decaying = Decaying::default();
            decaying.add(Instant::ZERO, HALF_LIFE, start * UNIT, 20 * UNIT);
            assert_eq!(decaying.at(Instant::from_millis(600_000), HALF_LIFE), start * UNIT / 2);
            assert_eq!(decaying.at(Instant::from_millis(600_000 * 60), HALF_LIFE), 0);
            assert_eq!(decaying.at(Instant::NEVER, HALF_LIFE), 0);
        }
    }

    #[test]
    fn time_that_goes_back_changes_nothing() {
        let mut decaying = Decaying::default();
        decaying.add(Instant::from_millis(5_000), HALF_LIFE, 7, 20);
        assert_eq!(decaying.at(Instant::ZERO, HALF_LIFE), 7);
    }
}
