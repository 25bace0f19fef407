//! The heaviest chain that any honest node has had: all must have it in the end, unless what carried it is gone.

/// How heavy it is.
#[derive(Debug, Default)]
pub(super) struct BestChain {
    work: u128,
    /// A disk has lost blocks, or a node has left with its own: the heaviest chain may be nobody's any more.
    lost: bool,
}

impl BestChain {
    /// An honest node has a chain of this work.
    pub(super) fn reached(&mut self, work: u128) {
        self.work = self.work.max(work);
    }

    /// Blocks that one node alone may have had are gone.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// From now on it is the heaviest of these.
    pub(super) fn settle(&mut self, works: impl Iterator<Item = u128>) {
        self.work = works.max().unwrap_or(0);
    }

    pub(super) fn work(&self) -> u128 {
        self.work
    }
}
