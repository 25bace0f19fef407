//! Blocks that were read lately: many peers ask for the same one when it is new, and who downloads asks for the next ones. Reading
//! and hashing them anew for each would take the loop's time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::wire::Hash;

/// From so many bytes on a block is a large one. Both sorts have room of their own, so that neither pushes the other out.
pub(super) const LARGE: usize = 64 * 1024;
/// What is kept of large ones at most, in bytes: two of the largest.
const LARGE_KEPT: usize = 32 * 1024 * 1024;
/// The same of small ones: of sixteen downloads what each asks for next.
const SMALL_KEPT: usize = 8 * 1024 * 1024;
/// What keeping a block takes besides its bytes.
const ENTRY: usize = 256;

/// The blocks. Behind a lock because reading is done through a shared reference; only one thread does.
#[derive(Debug, Default)]
pub(super) struct Served(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    blocks: BTreeMap<Hash, Bytes>,
    /// Their names, the latest last.
    large: VecDeque<Hash>,
    small: VecDeque<Hash>,
    large_bytes: usize,
    small_bytes: usize,
}

impl Served {
    /// A block that was read and checked lately.
    pub(super) fn find(&self, hash: &Hash) -> Option<Bytes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).blocks.get(hash).cloned()
    }

    /// Was a block read lately?
    pub(super) fn holds(&self, hash: &Hash) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).blocks.contains_key(hash)
    }

    /// A block was read and is whole.
    pub(super) fn keep(&self, hash: Hash, bytes: &Bytes) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { blocks, large, small, large_bytes, small_bytes } = &mut *kept;
        if blocks.insert(hash, bytes.clone()).is_some() {
            return;
        }
        let (names, sum, most) =
            if bytes.len() >= LARGE { (large, large_bytes, LARGE_KEPT) } else { (small, small_bytes, SMALL_KEPT) };
        names.push_back(hash);
        *sum = sum.saturating_add(bytes.len() + ENTRY);
        while *sum > most
            && let Some(oldest) = names.pop_front()
        {
            let len = blocks.remove(&oldest).map_or(0, |bytes| bytes.len() + ENTRY);
            *sum = sum.saturating_sub(len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_within_the_limits_and_small_ones_beside_the_large() {
        let served = Served::default();
        let block = |len: usize| Bytes::from(vec![0; len]);
        served.keep(Hash([99; 32]), &block(LARGE - 1));
        for n in 0..40 {
            // Once more changes nothing.
            (0..2).for_each(|_| served.keep(Hash([n; 32]), &block((1 << 20) - ENTRY)));
        }
        let found: Vec<u8> = (0..40).filter(|n| served.find(&Hash([*n; 32])).is_some()).collect();
        assert_eq!(found, (8..40).collect::<Vec<u8>>());
        assert!(served.find(&Hash([99; 32])).is_some());
        for n in 100..=255 {
            served.keep(Hash([n; 32]), &block(LARGE - ENTRY));
        }
        let found = (100..=255).filter(|n| served.find(&Hash([*n; 32])).is_some()).count();
        assert_eq!((found, served.find(&Hash([99; 32]))), (SMALL_KEPT / LARGE, None));
        let kept = served.0.lock().unwrap();
        assert_eq!(kept.blocks.len(), kept.large.len() + kept.small.len());
    }
}
