//! Transactions that wait for a block: first in, first out, within two limits.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use crate::chain::block::{Block, MAX_TRANSACTIONS};
use crate::wire::Hash;

/// The most transactions that wait: as many ids as one TxPool frame carries.
pub const MAX_COUNT: usize = 50_000;
/// The most bytes that wait: four full blocks.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The pool. Knows nothing of validity: who puts something in has checked it.
#[derive(Debug, Default)]
pub struct Mempool {
    by_id: HashMap<Hash, (u64, Bytes)>,
    by_arrival: BTreeMap<u64, Hash>,
    arrivals: u64,
    bytes: usize,
}

impl Mempool {
    /// Adds a transaction at the end; false when the pool has no room for it. One that is there already stays where it is.
    pub fn insert(&mut self, id: Hash, transaction: Bytes) -> bool {
        if self.by_id.contains_key(&id) {
            return true;
        }
        let bytes = self.bytes.saturating_add(transaction.len());
        if self.is_full() || bytes > MAX_BYTES {
            return false;
        }
        self.bytes = bytes;
        self.by_arrival.insert(self.arrivals, id);
        self.by_id.insert(id, (self.arrivals, transaction));
        self.arrivals += 1;
        true
    }

    /// Takes a transaction out.
    pub fn remove(&mut self, id: &Hash) -> Option<Bytes> {
        let (arrival, transaction) = self.by_id.remove(id)?;
        self.by_arrival.remove(&arrival);
        self.bytes -= transaction.len();
        Some(transaction)
    }

    /// True when it waits here.
    pub fn contains(&self, id: &Hash) -> bool {
        self.by_id.contains_key(id)
    }

    /// Its bytes.
    pub fn get(&self, id: &Hash) -> Option<&Bytes> {
        self.by_id.get(id).map(|(_, transaction)| transaction)
    }

    /// The ids, oldest first.
    pub fn ids(&self) -> impl Iterator<Item = &Hash> {
        self.by_arrival.values()
    }

    /// Transactions for a block, oldest first, that add at most `max_bytes` to it, and as many as a block may have. One that does not fit is passed over.
    pub fn pick(&self, max_bytes: usize) -> Vec<Bytes> {
        let mut room = max_bytes;
        let mut picked = Vec::new();
        for transaction in self.by_arrival.values().filter_map(|id| self.get(id)) {
            // The first place is the reward's.
            if picked.len() + 1 >= MAX_TRANSACTIONS {
                break;
            }
            if let Some(left) = room.checked_sub(Block::cost(transaction)) {
                room = left;
                picked.push(transaction.clone());
            }
        }
        picked
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many bytes wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when not even the smallest transaction has room.
    pub fn is_full(&self) -> bool {
        self.by_id.len() >= MAX_COUNT || self.bytes >= MAX_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::sha256;

    fn numbered(n: u32) -> (Hash, Bytes) {
        let bytes = Bytes::copy_from_slice(&n.to_le_bytes());
        (sha256(&bytes), bytes)
    }

    #[test]
    fn hands_out_in_order_of_arrival() {
        let mut pool = Mempool::default();
        let ids: Vec<Hash> = (0..5).map(|n| numbered(n).0).collect();
        for n in 0..5 {
            assert!(pool.insert(numbered(n).0, numbered(n).1));
        }
        assert!(pool.insert(ids[0], numbered(0).1), "a second copy changes nothing");
        assert_eq!(pool.remove(&ids[1]), Some(numbered(1).1));
        assert_eq!(pool.remove(&ids[1]), None);
        assert_eq!(pool.ids().copied().collect::<Vec<_>>(), [ids[0], ids[2], ids[3], ids[4]]);
        assert_eq!(pool.pick(17), [numbered(0).1, numbered(2).1]);
        assert_eq!((pool.len(), pool.bytes()), (4, 16));
    }

    #[test]
    fn a_large_one_is_passed_over_for_smaller_ones_behind_it() {
        let mut pool = Mempool::default();
        assert!(pool.insert(Hash([9; 32]), Bytes::from(vec![0; 100])));
        assert!(pool.insert(numbered(1).0, numbered(1).1));
        assert_eq!(pool.pick(50), [numbered(1).1]);
    }

    #[test]
    fn both_limits_hold() {
        let mut pool = Mempool::default();
        for n in 0..u32::try_from(MAX_COUNT).unwrap() {
            assert!(pool.insert(numbered(n).0, numbered(n).1));
        }
        assert!(pool.is_full() && !pool.insert(Hash([1; 32]), Bytes::from_static(b"x")));

        let mut pool = Mempool::default();
        let large = Bytes::from(vec![0; MAX_BYTES - 1]);
        assert!(pool.insert(Hash([1; 32]), large));
        assert!(!pool.insert(Hash([2; 32]), Bytes::from_static(b"xy")));
        assert!(pool.insert(Hash([3; 32]), Bytes::from_static(b"x")));
        assert!(pool.is_full());
        pool.remove(&Hash([1; 32]));
        assert_eq!(pool.bytes(), 1);
    }
}
