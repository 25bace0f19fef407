//! A block on its way into the index, a slice at a time: one of tens of thousands of transactions takes as many look-ups, and as
//! many entries, which would hold the loop for tens of milliseconds.
//!
//! It has a place under its parent from the first slice on, which keeps the parent; nobody finds it there before the last one.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::chain::index::{Index, NewBlock, NodeId};
use crate::wire::Hash;

/// Units of work after which a slice ends: about a millisecond.
const SLICE_WORK: u32 = 8_192;
/// Transactions that are looked at between two looks at the work.
const AT_ONCE: usize = 256;

/// What a slice has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entered {
    /// There is more to do.
    NotYet,
    /// All of it is listed, and it only has to be linked.
    Whole(NodeId),
    /// A transaction of it is in an ancestor, and its place is given up.
    Repeats,
}

/// How far a block has come.
#[derive(Debug)]
pub(super) struct Entering {
    id: NodeId,
    /// Transactions that are in no ancestor.
    looked: usize,
    /// Transactions that are listed.
    listed: usize,
    /// Blocks that share transactions with it and are no ancestors.
    apart: BTreeSet<NodeId>,
}

impl Entering {
    /// A place for it under `parent`.
    pub(super) fn new(index: &mut Index, parent: NodeId, block: NewBlock) -> Self {
        let id = index.reserve(parent, block);
        Entering { id, looked: 0, listed: 0, apart: BTreeSet::new() }
    }

    /// Its place.
    pub(super) fn id(&self) -> NodeId {
        self.id
    }

    /// All of it.
    pub(super) fn finish(&mut self, index: &mut Index) -> Entered {
        loop {
            match self.slice(index) {
                Entered::NotYet => {}
                entered => return entered,
            }
        }
    }

    /// A slice of it.
    pub(super) fn slice(&mut self, index: &mut Index) -> Entered {
        let (parent, count) = (index.node(self.id).parent, index.node(self.id).ids.len());
        let before = index.work.sum();
        while index.work.sum().saturating_sub(before) < SLICE_WORK {
            if self.looked < count {
                let ids = index.node(self.id).ids.iter().skip(self.looked).take(AT_ONCE);
                if index.repeats_beside(parent, ids, &mut self.apart) {
                    index.release(self.id, 0);
                    return Entered::Repeats;
                }
                self.looked = self.looked.saturating_add(AT_ONCE).min(count);
            } else if self.listed < count {
                self.listed = index.list(self.id, self.listed, AT_ONCE);
            } else {
                return Entered::Whole(self.id);
            }
        }
        Entered::NotYet
    }
}

/// A block that is being kept.
#[derive(Debug)]
pub(super) struct Keeping {
    pub(super) entering: Entering,
    pub(super) bytes: Bytes,
}

impl Keeping {
    /// Which block it is.
    pub(super) fn hash(&self, index: &Index) -> Hash {
        index.node(self.entering.id()).tip.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::block::Header;
    use crate::chain::sha256;
    use crate::time::UnixTime;

    fn block(number: u64, ids: Vec<Hash>) -> NewBlock {
        let (hash, time) = (sha256(&number.to_le_bytes()), UnixTime::from_millis(0));
        let header = Header { height: 0, previous: Hash::ZERO, root: Hash::ZERO, time, difficulty: 0, nonce: number };
        NewBlock { header, hash, work: 1, seq: None, len: 100, ids }
    }

    fn names(count: u64, tag: u64) -> Vec<Hash> {
        (0..count).map(|n| sha256(&(n << 16 | tag).to_le_bytes())).collect()
    }

    /// The index took a block whole, however many transactions it had: 32,768 look-ups and as many entries held the loop for 19 ms.
    #[test]
    fn a_block_enters_in_slices_and_nobody_finds_it_before_the_last() {
        let mut index = Index::new(block(0, names(1, 1)));
        let ids = names(30_000, 2);
        let hash = block(1, Vec::new()).hash;
        let root = index.tip();
        let mut entering = Entering::new(&mut index, root, block(1, ids.clone()));
        let (mut slices, mut id) = (0, None);
        while id.is_none() {
            assert_eq!((index.find(&hash), index.len()), (None, 1));
            assert!(!index.repeats(index.tip(), &ids[..1]) && index.best_place(&ids[0]).is_none());
            index.work.take();
            id = match entering.slice(&mut index) {
                Entered::NotYet => None,
                Entered::Whole(id) => Some(id),
                Entered::Repeats => panic!("nothing is repeated"),
            };
            let work = index.work.take();
            assert!(work < SLICE_WORK + 3 * AT_ONCE as u32, "{work} units in slice {slices}");
            slices += 1;
        }
        assert!(slices > 10, "{slices}");
        let id = id.unwrap();
        index.link(id, Some(1));
        assert_eq!((index.find(&hash), index.follow(id).joined.len()), (Some(id), 1));
        assert_eq!(index.best_place(&ids[29_999]).map(|node| node.tip.hash), Some(hash));
        // Its last transaction, once more above it, is found however late it is looked at, and nothing is left of that block.
        let before = index.sizes();
        let mut twice = names(9_999, 3);
        twice.push(ids[29_999]);
        assert_eq!(Entering::new(&mut index, id, block(2, twice)).finish(&mut index), Entered::Repeats);
        assert_eq!(index.sizes(), before);
        let fresh = block(3, names(9_999, 3));
        assert!(matches!(Entering::new(&mut index, id, fresh).finish(&mut index), Entered::Whole(_)));
    }
}
