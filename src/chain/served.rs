//! Large blocks that were read lately: many peers ask for the same one when it is new, and reading and hashing it anew for each
//! would take milliseconds of the loop.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

use crate::wire::Hash;

/// Smaller ones are read as fast as they are found here.
const LARGE: usize = 128 * 1024;
/// What is kept at most, in bytes: two of the largest.
const KEPT: usize = 32 * 1024 * 1024;

/// The blocks, the latest last. Behind a lock because reading is done through a shared reference; only one thread does.
#[derive(Debug, Default)]
pub(super) struct Served(Mutex<VecDeque<(Hash, Bytes)>>);

impl Served {
    /// A block that was read and checked lately.
    pub(super) fn find(&self, hash: &Hash) -> Option<Bytes> {
        let blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.iter().find(|(kept, _)| kept == hash).map(|(_, bytes)| bytes.clone())
    }

    /// A block was read and is whole.
    pub(super) fn keep(&self, hash: Hash, bytes: &Bytes) {
        if bytes.len() < LARGE {
            return;
        }
        let mut blocks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept: usize = blocks.iter().map(|(_, bytes)| bytes.len()).sum();
        blocks.push_back((hash, bytes.clone()));
        kept = kept.saturating_add(bytes.len());
        while kept > KEPT
            && let Some((_, oldest)) = blocks.pop_front()
        {
            kept = kept.saturating_sub(oldest.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_large_ones_are_kept_within_the_limit_and_small_ones_never() {
        let served = Served::default();
        let block = |len: usize| Bytes::from(vec![0; len]);
        served.keep(Hash([9; 32]), &block(LARGE - 1));
        assert_eq!(served.find(&Hash([9; 32])), None);
        for n in 0..40 {
            served.keep(Hash([n; 32]), &block(1 << 20));
        }
        let found: Vec<u8> = (0..40).filter(|n| served.find(&Hash([*n; 32])).is_some()).collect();
        assert_eq!(found, (8..40).collect::<Vec<u8>>());
    }
}
