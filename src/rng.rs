//! The engine's generator: small, seeded by the driver, the same on every platform.
//!
//! It decides whom to dial and when to jitter, never a secret: the keys that must not be guessed come from the operating
//! system. xoshiro256** by Blackman and Vigna, seeded through splitmix64 as its authors advise
//! (<https://prng.di.unimi.it>).

/// A deterministic generator of 64-bit numbers.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator that `seed` names: the same seed gives the same numbers, everywhere.
    pub fn from_seed(seed: u64) -> Self {
        let mut z = seed;
        let mut next = || {
            z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut x = z;
            x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            x ^ (x >> 31)
        };
        Rng { state: [next(), next(), next(), next()] }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number in `0..bound`; 0 when `bound` is 0. Unbiased enough for choices: the error is below `bound / 2^64`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// An index into something of `len` items; `None` when there are none.
    pub fn index(&mut self, len: usize) -> Option<usize> {
        if len == 0 { None } else { usize::try_from(self.below(len as u64)).ok() }
    }

    /// True `numerator` times out of `denominator`.
    pub fn chance(&mut self, numerator: u64, denominator: u64) -> bool {
        self.below(denominator) < numerator
    }

    /// `duration` plus or minus up to `percent` of it, so that peers that start together do not act together.
    pub fn jitter(&mut self, duration: core::time::Duration, percent: u64) -> core::time::Duration {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let reach = nanos / 100 * percent.min(100);
        let moved = (nanos - reach).saturating_add(self.below(reach.saturating_mul(2).saturating_add(1)));
        core::time::Duration::from_nanos(moved)
    }

    /// Shuffles `items` in place (Fisher-Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            if let Some(other) = self.index(last + 1) {
                items.swap(last, other);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut a, mut b) = (Rng::from_seed(7), Rng::from_seed(7));
        let first: Vec<u64> = (0..8).map(|_| a.next_u64()).collect();
        assert_eq!(first, (0..8).map(|_| b.next_u64()).collect::<Vec<_>>());
        assert_ne!(first[0], Rng::from_seed(8).next_u64());
    }

    #[test]
    fn choices_stay_in_range_and_reach_every_value() {
        let mut rng = Rng::from_seed(1);
        let mut seen = [0u32; 6];
        for _ in 0..600 {
            seen[rng.index(6).unwrap()] += 1;
        }
        assert!(seen.iter().all(|&n| n > 50), "{seen:?}");
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.index(0), None);
    }

    #[test]
    fn jitter_stays_within_its_percentage() {
        let mut rng = Rng::from_seed(2);
        for _ in 0..100 {
            let moved = rng.jitter(Duration::from_secs(30), 20);
            assert!((24..=36).contains(&moved.as_secs()), "{moved:?}");
        }
        assert_eq!(rng.jitter(Duration::ZERO, 20), Duration::ZERO);
    }
}
