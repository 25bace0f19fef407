//! The blocks to fetch next, in order: the way from the chain to the tip that is being followed.

use std::collections::VecDeque;

use crate::proto::sync::chain::Tip;
use crate::proto::sync::tree::HeaderTree;
use crate::wire::Hash;

/// How far below a tip to look for the place where its branch leaves the path. A fork longer than this counts as a chain
/// of its own: the peer is then not asked for the part that both share.
const FORK_DEPTH_MAX: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Path {
    /// Height of the first block.
    base: u64,
    blocks: VecDeque<Hash>,
    target: Option<Tip>,
    /// Counts every change other than a block leaving at the front.
    generation: u64,
}

impl Path {
    pub(super) fn target(&self) -> Option<Tip> {
        self.target
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn front(&self) -> Option<Hash> {
        self.blocks.front().copied()
    }

    /// The next `count` blocks.
    pub(super) fn next(&self, count: usize) -> Vec<Hash> {
        self.blocks.iter().copied().take(count).collect()
    }

    /// All of them.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &Hash> {
        self.blocks.iter()
    }

    pub(super) fn contains(&self, hash: &Hash, height: u64) -> bool {
        let index = height.checked_sub(self.base).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.blocks.get(index)) == Some(hash)
    }

    /// True when the block is among the next `count`.
    pub(super) fn is_near(&self, hash: &Hash, height: u64, count: usize) -> bool {
        self.contains(hash, height) && height.saturating_sub(self.base) < count as u64
    }

    pub(super) fn pop_front(&mut self) {
        if self.blocks.pop_front().is_some() {
            self.base = self.base.saturating_add(1);
        }
    }

    pub(super) fn clear(&mut self) {
        if self.target.take().is_some() {
            self.blocks.clear();
            self.generation = self.generation.wrapping_add(1);
        }
    }

    /// Leads to `target` from now on. Keeps what both ways share, so that following a growing chain costs its growth.
    pub(super) fn lead_to(&mut self, tree: &HeaderTree, target: Tip) {
        if self.target.map(|tip| tip.hash) == Some(target.hash) {
            return;
        }
        let mut fresh = Vec::new();
        let (mut hash, mut height) = (target.hash, target.height);
        let kept = loop {
            if self.contains(&hash, height) {
                break height.saturating_sub(self.base).saturating_add(1);
            }
            let Some(previous) = tree.previous(&hash) else { break 0 };
            fresh.push(hash);
            (hash, height) = (previous, height.saturating_sub(1));
        };
        self.blocks.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
        if kept == 0 {
            self.base = height.saturating_add(1);
        }
        self.blocks.extend(fresh.into_iter().rev());
        self.target = Some(target);
        self.generation = self.generation.wrapping_add(1);
    }

    /// The height up to which a chain that ends in `tip` has the path's blocks; `None` when it has none of them.
    pub(super) fn shared_with(&self, tree: &HeaderTree, tip: Tip) -> Option<u64> {
        let (mut hash, mut height) = (tip.hash, tip.height);
        for _ in 0..FORK_DEPTH_MAX {
            if self.contains(&hash, height) {
                return Some(height);
            }
            if height < self.base {
                return None;
            }
            hash = tree.previous(&hash)?;
            height = height.checked_sub(1)?;
        }
        None
    }
}
