//! Proof of work: what counts as work, and the search for it.
//!
//! A header's work is valid when its hash, written in hexadecimal, starts with `difficulty` zeros; on average that takes
//! 16^difficulty tries, and that is what the header counts for.

use core::ops::Range;

use sha2::{Digest, Sha256};

use crate::chain::block::{Header, NONCE_AT};
use crate::wire::Hash;

/// The largest difficulty: 16^30 = 2^120 still leaves room to add up blocks in a `u128`.
pub const MAX_DIFFICULTY: u8 = 30;

/// The work that a header of this difficulty counts for: 16^difficulty, saturating.
pub const fn work(difficulty: u8) -> u128 {
    16u128.saturating_pow(difficulty as u32)
}

/// True when `hash`, in hexadecimal, starts with at least `difficulty` zeros.
pub fn meets(hash: &Hash, difficulty: u8) -> bool {
    let mut zeros = 0;
    for byte in hash.0 {
        zeros += byte.leading_zeros() / 4;
        if byte != 0 {
            break;
        }
    }
    zeros >= u32::from(difficulty)
}

/// The first nonce in `nonces` that makes `header` valid work, whatever nonce it holds now.
pub fn search(header: &Header, nonces: Range<u64>) -> Option<u64> {
    let bytes = header.encode();
    let (before_nonce, _) = bytes.split_at(NONCE_AT);
    // The first 64 of 93 bytes are one SHA-256 block: hashed once here, not once per nonce.
    let start = Sha256::new_with_prefix(before_nonce);
    nonces.into_iter().find(|nonce| {
        let hash = Hash(start.clone().chain_update(nonce.to_le_bytes()).finalize().into());
        meets(&hash, header.difficulty)
    })
}

/// A search that is done in slices, so that whoever runs it can look up in between: at a flag, a new tip, a clock.
#[derive(Clone, Debug)]
pub struct Miner {
    header: Header,
    tried: u64,
}

impl Miner {
    /// Will look for work for `header`, from the nonce it holds upwards, wrapping around.
    pub fn new(header: Header) -> Self {
        Miner { header, tried: 0 }
    }

    /// Tries at most `tries` more nonces; the header with valid work when one was found. Does at most `tries` hashes.
    pub fn run(&mut self, tries: u64) -> Option<Header> {
        let first = self.header.nonce;
        let end = first.saturating_add(tries);
        let found = search(&self.header, first..end);
        let next = found.map_or(end, |nonce| nonce.saturating_add(1));
        self.tried = self.tried.saturating_add(next - first);
        self.header.nonce = if next == u64::MAX { 0 } else { next };
        found.map(|nonce| Header { nonce, ..self.header })
    }

    /// How many nonces were tried so far.
    pub fn tried(&self) -> u64 {
        self.tried
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::UnixTime;

    fn header(difficulty: u8) -> Header {
        let time = UnixTime::from_millis(1);
        Header { height: 1, previous: Hash::ZERO, root: Hash::ZERO, time, difficulty, nonce: 0 }
    }

    #[test]
    fn zeros_are_counted_in_hexadecimal_digits() {
        let mut hash = Hash([0; 32]);
        hash.0[1] = 0x0f;
        for difficulty in 0..=64 {
            assert_eq!(meets(&hash, difficulty), hash.to_string().starts_with(&"0".repeat(usize::from(difficulty))));
        }
        assert!(meets(&Hash::ZERO, 64) && !meets(&Hash::ZERO, 65));
        hash.0[0] = 0x07; // Five zero bits are one digit, not two.
        assert!(meets(&hash, 1) && !meets(&hash, 2));
    }

    #[test]
    fn work_is_a_power_of_sixteen_that_saturates() {
        assert_eq!(work(0), 1);
        assert_eq!(work(2), 256);
        assert_eq!(work(MAX_DIFFICULTY), 1 << 120);
        assert_eq!(work(32), u128::MAX);
    }

    #[test]
    fn a_search_in_slices_finds_what_one_search_finds() {
        let whole = search(&header(2), 0..u64::MAX).unwrap();
        assert!(meets(&Header { nonce: whole, ..header(2) }.hash(), 2));
        assert_eq!(search(&header(2), 0..whole), None);
        let mut miner = Miner::new(header(2));
        let found = core::iter::repeat_with(|| miner.run(7)).find_map(|found| found).unwrap();
        assert_eq!((found.nonce, miner.tried()), (whole, whole + 1));
        let next = core::iter::repeat_with(|| miner.run(7)).find_map(|found| found).unwrap();
        assert!(next.nonce > whole && meets(&next.hash(), 2));
    }

    #[test]
    fn a_search_wraps_around_at_the_last_nonce() {
        let mut miner = Miner::new(Header { nonce: u64::MAX - 3, ..header(30) });
        assert_eq!(miner.run(100), None);
        assert_eq!(miner.tried(), 3);
        assert_eq!(miner.run(5), None);
        assert_eq!(miner.tried(), 8);
    }
}
