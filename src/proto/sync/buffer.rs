//! Blocks that came before their turn: of each the first copy, and the bytes of all.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::id::ConnId;
use crate::invariant::{Broken, Invariant};
use crate::proto::counter::lower;
use crate::proto::sync::chain::CheckedBlock;
use crate::sharded::give_back;
use crate::wire::Hash;

/// Blocks of the path that wait for an earlier one, with their senders.
///
/// They are looked for by their hashes several times each, and a download has many thousands of them: nobody goes through them in an
/// order that can be seen.
#[derive(Debug, Default)]
pub(super) struct BlockBuffer {
    blocks: HashMap<Hash, (CheckedBlock, ConnId)>,
    bytes: usize,
}

impl BlockBuffer {
    /// Bytes of all blocks.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn contains(&self, hash: &Hash) -> bool {
        self.blocks.contains_key(hash)
    }

    /// Keeps a block, unless there is a copy of it.
    pub(super) fn insert(&mut self, block: CheckedBlock, from: ConnId) {
        let len = block.bytes().len();
        if let Entry::Vacant(place) = self.blocks.entry(block.hash()) {
            place.insert((block, from));
            self.bytes = self.bytes.saturating_add(len);
        }
    }

    pub(super) fn remove(&mut self, hash: &Hash) -> Option<(CheckedBlock, ConnId)> {
        let removed = self.blocks.remove(hash)?;
        give_back(&mut self.blocks);
        lower(&mut self.bytes, removed.0.bytes().len());
        Some(removed)
    }

    /// Drops the blocks that `keep` does not keep.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&CheckedBlock) -> bool) {
        self.blocks.retain(|_, (block, _)| keep(block));
        give_back(&mut self.blocks);
        self.bytes = self.counted();
    }

    pub(super) fn clear(&mut self) {
        self.blocks.clear();
        give_back(&mut self.blocks);
        self.bytes = 0;
    }

    /// Is the counter right, and within a limit that the largest block may exceed?
    pub(super) fn audit(&self, limit: usize) -> Result<(), Broken> {
        let counted = self.counted();
        Invariant::S6.check(counted == self.bytes, || {
            format!("{counted} bytes of blocks wait, {} by the counter", self.bytes)
        })?;
        // The next block is always taken, whatever waits besides.
        let largest = self.blocks.values().map(|(block, _)| block.bytes().len()).max().unwrap_or(0);
        let most = limit.saturating_add(largest);
        Invariant::S6.check(counted <= most, || format!("{counted} bytes of blocks wait, {most} at most"))
    }

    fn counted(&self) -> usize {
        self.blocks.values().map(|(block, _)| block.bytes().len()).sum()
    }
}
