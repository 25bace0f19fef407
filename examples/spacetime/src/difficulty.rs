//! Targets, and how the difficulty follows the time that blocks take.

use core::time::Duration;

use crate::crypto::Hash;

/// How a network paces itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// What a block is to take.
    pub target_block_time: Duration,
    /// Blocks between two adjustments.
    pub interval: u64,
    /// By how much an adjustment is weakened.
    pub dampening: u32,
}

/// What a score must be below: `floor((2^256 - 1) / difficulty)`, as a big-endian number.
pub fn target(difficulty: i64) -> Hash {
    let divisor = u128::from(difficulty.max(1).unsigned_abs());
    let (mut target, mut rest) = ([0; 32], 0u128);
    for digit in target.as_chunks_mut::<8>().0 {
        // The rest is below the divisor, which has 63 bits.
        let above = rest << 64 | u128::from(u64::MAX);
        rest = above % divisor;
        *digit = u64::try_from(above / divisor).unwrap_or(u64::MAX).to_be_bytes();
    }
    target
}

/// Is a score good enough?
pub fn meets(score: &Hash, difficulty: i64) -> bool {
    *score < target(difficulty)
}

impl Pace {
    /// Does the difficulty change after the block at this height?
    pub fn adjusts_after(&self, height: i64) -> bool {
        let height = height.unsigned_abs();
        height > 0 && height.checked_rem(self.interval) == Some(0)
    }

    /// The difficulty after blocks of difficulty `now` took from `begun` to `ended`. In double precision, as the library does it.
    pub fn adjusted(&self, now: i64, begun: i64, ended: i64) -> i64 {
        let wanted = self.target_block_time.as_secs_f64() * self.interval as f64;
        let took = ended.saturating_sub(begun).max(1) as f64;
        let now = now as f64;
        let next = now + (now * wanted / took - now) / f64::from(self.dampening.max(1));
        (next.round_ties_even() as i64).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { target_block_time: Duration::from_secs(10), interval: 100, dampening: 4 };

    #[test]
    fn a_target_is_the_largest_number_divided() {
        assert_eq!(target(1), [255; 32]);
        let half: Hash = core::array::from_fn(|at| if at == 0 { 127 } else { 255 });
        assert_eq!(target(2), half);
        assert_eq!(target(255), [1; 32]);
        assert_eq!(target(i64::MAX)[..8], [0, 0, 0, 0, 0, 0, 0, 2]);
    }

    #[test]
    fn a_score_equal_to_the_target_is_not_below_it() {
        assert!(!meets(&[1; 32], 255));
        let below: Hash = core::array::from_fn(|at| u8::from(at < 31));
        assert!(meets(&below, 255));
    }

    #[test]
    fn the_difficulty_follows_a_quarter_of_the_way_and_a_tie_goes_to_the_even_number() {
        assert_eq!(PACE.adjusted(1000, 0, 1000), 1000);
        assert_eq!(PACE.adjusted(1000, 0, 500), 1250);
        assert_eq!(PACE.adjusted(1000, 0, 2000), 875);
        // 2 + (4 - 2) / 4 = 2.5, and 6 + (12 - 6) / 4 = 7.5.
        assert_eq!((PACE.adjusted(2, 0, 500), PACE.adjusted(6, 0, 500)), (2, 8));
        assert_eq!(PACE.adjusted(1, 0, i64::MAX), 1);
        // Times need not grow: what took less than a second took one.
        assert_eq!(PACE.adjusted(1000, 900, 100), 250_750);
        assert_eq!(PACE.adjusted(i64::MAX, 0, 1), i64::MAX);
    }

    #[test]
    fn it_changes_after_each_interval_and_not_after_the_first_block() {
        let changes: Vec<i64> = (0..=250).filter(|height| PACE.adjusts_after(*height)).collect();
        assert_eq!(changes, [100, 200]);
    }
}
