//! Abandoned blocks on the way back: which are to be read, which is being read, and how far the one that was read has come.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::chain::block::Block;
use crate::wire::Hash;

/// Blocks that left the best chain and whose transactions are not back in the pool yet.
#[derive(Debug, Default)]
pub(super) struct Returning {
    /// Those that were not looked at, lowest first.
    pub(super) abandoned: VecDeque<Hash>,
    /// The one that is being read elsewhere: under which number, and what it holds.
    pub(super) reading: Option<(u64, Arc<[Hash]>)>,
    /// The one that was read.
    pub(super) part: Option<Part>,
    /// How many came back since that was told.
    pub(super) returned: usize,
}

/// A block of which a part is back.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) ids: Arc<[Hash]>,
    pub(super) transactions: Vec<Bytes>,
    pub(super) at: usize,
}

impl Returning {
    /// Is there a slice to be done now?
    pub(super) fn has_work(&self) -> bool {
        self.reading.is_none() && (self.part.is_some() || !self.abandoned.is_empty())
    }

    /// Did transactions come back, and is nothing left that may bring more? True once.
    pub(super) fn take_news(&mut self) -> bool {
        let is_over = self.reading.is_none() && !self.has_work();
        is_over && core::mem::take(&mut self.returned) > 0
    }

    /// Will that be told?
    pub(super) fn has_news(&self) -> bool {
        self.returned > 0 && self.reading.is_none() && !self.has_work()
    }

    /// Is this the number of the block that is being read?
    pub(super) fn is_waiting_for(&self, ticket: u64) -> bool {
        self.reading.as_ref().is_some_and(|(reading, _)| *reading == ticket)
    }

    /// The block that was being read is here. What cannot be read cannot return: its senders still have it.
    pub(super) fn arrived(&mut self, bytes: Option<Bytes>) {
        let Some((_, ids)) = self.reading.take() else { return };
        let Some(block) = bytes.as_ref().and_then(Block::decode) else { return };
        // The reward never returns.
        self.part = Some(Part { ids, transactions: block.transactions, at: 1 });
    }
}
