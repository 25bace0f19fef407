//! What becomes of a block that was found right by itself: whether it is right where it stands, its entry in the index, its way to
//! the store, and the move of the best chain.

use bytes::Bytes;

use crate::chain::entering::{Entered, Entering, Keeping};
use crate::chain::index::{NewBlock, NodeId};
use crate::chain::off_loop::Body;
use crate::chain::reference::ReferenceChain;
use crate::chain::rules;
use crate::proto::sync::chain::{CheckedHeader, Rejection, Verdict};

/// Side blocks above the limits that go at once: a block of 16 MiB outweighs 90,000 of the smallest.
const DROPPED_AT_ONCE: usize = 512;

fn repeated() -> Rejection {
    Rejection::invalid("transaction is in an ancestor already")
}

impl ReferenceChain {
    /// What is left once a block was found right by itself: whether it is right where it stands, and keeping it.
    pub(super) fn keep(
        &mut self,
        parent: NodeId,
        info: CheckedHeader,
        bytes: Bytes,
        body: Body,
    ) -> Result<Verdict, Rejection> {
        let mut block = self.begin_to_keep(parent, info, bytes, body)?;
        match block.entering.finish(&mut self.index) {
            Entered::Whole(id) => Ok(self.kept(id, block.bytes)),
            Entered::Repeats | Entered::NotYet => Err(repeated()),
        }
    }

    /// A place for a block that was found right by itself, if it is right under its parent but for what its transactions say.
    pub(super) fn begin_to_keep(
        &mut self,
        parent: NodeId,
        info: CheckedHeader,
        bytes: Bytes,
        body: Body,
    ) -> Result<Keeping, Rejection> {
        let (header, ids) = body?;
        rules::in_order(self.index.median_time(parent), header.time)?;
        debug_assert_eq!(header.hash(), info.hash(), "the header was checked by a chain with other rules");
        let block = NewBlock { header, hash: info.hash(), work: info.work(), seq: None, len: bytes.len(), ids };
        Ok(Keeping { entering: Entering::new(&mut self.index, parent, block), bytes })
    }

    /// A slice of it; the verdict when it was the last one.
    pub(super) fn keep_on(&mut self, mut block: Keeping) -> Result<Verdict, Keeping> {
        match block.entering.slice(&mut self.index) {
            Entered::NotYet => Err(block),
            Entered::Repeats => Ok(Verdict::Invalid(repeated())),
            Entered::Whole(id) => Ok(self.kept(id, block.bytes)),
        }
    }

    /// Stores a block whose transactions are all listed, and lets the best chain move.
    fn kept(&mut self, id: NodeId, bytes: Bytes) -> Verdict {
        let node = self.index.node(id);
        let (hash, count) = (node.tip.hash, node.ids.len());
        if self.index.find(&hash).is_some() {
            // Another copy of it was quicker.
            self.index.release(id, count);
            return Verdict::Known;
        }
        let seq = Some(self.store.append(bytes));
        self.index.link(id, seq);
        let reorg = self.index.follow(id);
        self.reorganisations.note(reorg.left.len());
        let best_changed = !reorg.joined.is_empty();
        self.settle(&reorg);
        let has_dropped = self.drop_some();
        if self.off_loop.is_none() {
            // Who does all in one call leaves nothing behind.
            while has_dropped && self.drop_some() {}
            self.index.tidy(usize::MAX);
        }
        match self.index.find(&hash) {
            Some(_) => Verdict::Accepted { best_changed },
            None => Verdict::Ignored("too many side blocks"),
        }
    }

    /// Drops some of the side blocks that are above the limits. False when there were none.
    pub(super) fn drop_some(&mut self) -> bool {
        let dropped = self.index.prune(DROPPED_AT_ONCE);
        for seq in dropped.iter().filter_map(|(_, seq)| *seq) {
            self.store.remove(seq);
        }
        !dropped.is_empty()
    }
}
