//! The blocks to fetch next, in order: the way from the chain to the tip that is being followed.
//!
//! The way is a branch of the tree, and only its next part is written down: to follow another branch, however long, costs what it
//! takes to find where the two part.

use std::collections::{BTreeSet, VecDeque};

use crate::proto::sync::chain::Tip;
use crate::proto::sync::tree::HeaderTree;
use crate::wire::Hash;

/// Blocks that are written down beyond what somebody wants.
const STEP: u64 = 64;

#[derive(Debug, Default)]
pub(super) struct Path {
    /// Height of the first block.
    base: u64,
    /// The first blocks, one after the other.
    front: VecDeque<Hash>,
    /// How many of them were asked for, or need not be; for those at the heights of `again`, that is over.
    asked: usize,
    again: BTreeSet<u64>,
    target: Option<Tip>,
    /// Counts every change by which a block left the way other than at its front.
    forks: u64,
}

impl Path {
    pub(super) fn target(&self) -> Option<Tip> {
        self.target
    }

    /// Height of the first block that is missing, while there is a way.
    pub(super) fn next_height(&self) -> Option<u64> {
        self.target.map(|_| self.base)
    }

    /// How often another branch took the place of a part of the way.
    pub(super) fn forks(&self) -> u64 {
        self.forks
    }

    pub(super) fn front(&self) -> Option<Hash> {
        self.front.front().copied()
    }

    /// The lowest of the first `count` blocks that is to be asked for, with its height. What is not written down of them is now.
    pub(super) fn next_to_ask(&mut self, tree: &HeaderTree, count: usize) -> Option<(u64, Hash)> {
        if self.again.is_empty() && self.asked < count {
            self.fill(tree, self.asked.saturating_add(1));
        }
        let index = |height: u64| height.checked_sub(self.base).and_then(|index| usize::try_from(index).ok());
        let again = self.again.first().and_then(|height| Some((*height, *self.front.get(index(*height)?)?)));
        let next = self.front.get(self.asked).filter(|_| self.asked < count);
        again.or_else(|| next.map(|hash| (self.base.saturating_add(self.asked as u64), *hash)))
    }

    /// The block at this height, which was the next to ask for, was asked for, or need not be.
    pub(super) fn note_asked(&mut self, height: u64) {
        if !self.again.remove(&height) && height == self.base.saturating_add(self.asked as u64) {
            self.asked = self.asked.saturating_add(1).min(self.front.len());
        }
    }

    /// A block that was asked for will not come from whom it was asked of. One that is not on the way is left alone.
    pub(super) fn ask_again(&mut self, height: u64, hash: &Hash) {
        if self.is_near(hash, height, self.asked) {
            self.again.insert(height);
        }
    }

    /// Every block that is written down.
    pub(super) fn written(&self) -> impl Iterator<Item = &Hash> {
        self.front.iter()
    }

    pub(super) fn contains(&self, tree: &HeaderTree, hash: &Hash, height: u64) -> bool {
        let Some(index) = height.checked_sub(self.base).and_then(|index| usize::try_from(index).ok()) else {
            return false;
        };
        match (self.front.get(index), self.target) {
            (Some(there), _) => there == hash,
            (None, Some(target)) => tree.ancestor(&target.hash, height) == Some(*hash),
            (None, None) => false,
        }
    }

    /// Is the block among the first `count`?
    pub(super) fn is_near(&self, hash: &Hash, height: u64, count: usize) -> bool {
        let index = height.checked_sub(self.base).and_then(|index| usize::try_from(index).ok());
        index.is_some_and(|index| index < count && self.front.get(index) == Some(hash))
    }

    /// The first block is in the chain now.
    pub(super) fn pop_front(&mut self) {
        if self.front.pop_front().is_some() {
            self.again.remove(&self.base);
            self.asked = self.asked.saturating_sub(1);
            self.base = self.base.saturating_add(1);
        }
    }

    pub(super) fn clear(&mut self) {
        if self.target.take().is_some() {
            self.front.clear();
            self.forget_asked();
            self.forks = self.forks.wrapping_add(1);
        }
    }

    /// What is no longer written down was not asked for.
    fn forget_asked(&mut self) {
        self.asked = self.asked.min(self.front.len());
        self.again.split_off(&self.base.saturating_add(self.asked as u64));
    }

    /// Makes this the way to `target`, all of whose missing ancestors are in the tree.
    pub(super) fn lead_to(&mut self, tree: &HeaderTree, target: Tip) {
        if self.target.map(|tip| tip.hash) == Some(target.hash) {
            return;
        }
        let Some(base) = tree.bottom(&target.hash) else { return self.clear() };
        let old = self.target.replace(target);
        let shared = old.and_then(|old| tree.fork_height(old, target));
        if old.is_none() || shared != old.map(|old| old.height) {
            self.forks = self.forks.wrapping_add(1);
        }
        match shared {
            Some(shared) => {
                let kept = shared.saturating_add(1).saturating_sub(self.base);
                self.front.truncate(usize::try_from(kept).unwrap_or(usize::MAX));
            }
            None => self.front.clear(),
        }
        self.forget_asked();
        if self.front.is_empty() {
            self.base = base;
        }
    }

    /// Writes down at least the first `count` blocks, as far as there are so many.
    pub(super) fn fill(&mut self, tree: &HeaderTree, count: usize) {
        let Some(target) = self.target.filter(|_| self.front.len() < count) else { return };
        if self.front.is_empty() {
            // Blocks may have left the tree meanwhile.
            let Some(base) = tree.bottom(&target.hash) else { return };
            self.base = base;
        }
        // More than are asked for, so that it is not done for each one.
        let end = self.base.saturating_add((count as u64).saturating_add(STEP)).min(target.height.saturating_add(1));
        let from = self.base.saturating_add(self.front.len() as u64);
        let mut fresh = Vec::new();
        let mut at = end.checked_sub(1).filter(|last| *last >= from).and_then(|last| tree.ancestor(&target.hash, last));
        while let Some(hash) = at.filter(|_| (fresh.len() as u64) < end.saturating_sub(from)) {
            fresh.push(hash);
            at = tree.previous(&hash);
        }
        tree.work.spend(fresh.len());
        self.front.extend(fresh.into_iter().rev());
    }

    /// Height of the last block of the way that the branch up to `tip` shares with it; `None` when it shares none.
    pub(super) fn shared_with(&self, tree: &HeaderTree, tip: Tip) -> Option<u64> {
        tree.fork_height(tip, self.target?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ConnId;
    use crate::proto::sync::chain::{CheckedHeader, HeaderInfo};
    use proptest::prelude::*;

    fn hash(n: usize) -> Hash {
        let mut hash = Hash::ZERO;
        hash.0[..8].copy_from_slice(&(n as u64 + 1).to_le_bytes());
        hash
    }

    #[derive(Clone, Debug)]
    enum Op {
        /// A header on one of those there are.
        Grow(usize),
        Lead(usize),
        Fill(usize),
        /// The chain gets the first block.
        Store,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            6 => (0usize..1000).prop_map(|n| Op::Grow(if n < 800 { 0 } else { n })),
            2 => (0usize..1000).prop_map(Op::Lead),
            2 => (1usize..8).prop_map(Op::Fill),
            2 => Just(Op::Store),
        ]
    }

    proptest! {
        /// The model writes the whole way down, as the path once did.
        #[test]
        fn what_is_written_down_is_the_beginning_of_the_whole_way(ops in prop::collection::vec(op(), 1..120)) {
            let (mut tree, mut path) = (HeaderTree::default(), Path::default());
            // Of each header, its parent; the first one hangs from the chain.
            let mut parents: Vec<Option<usize>> = Vec::new();
            let mut stored: Vec<bool> = Vec::new();
            let (mut target, mut forks, mut asked_again) = (None::<usize>, path.forks(), 0);
            let line = |parents: &[Option<usize>], stored: &[bool], of: usize| -> Vec<usize> {
                let mut line: Vec<usize> =
                    core::iter::successors(Some(of), |n| parents[*n]).take_while(|n| !stored[*n]).collect();
                line.reverse();
                line
            };
            let height = |parents: &[Option<usize>], of: usize| core::iter::successors(Some(of), |n| parents[*n]).count() as u64;
            for op in ops {
                let live: Vec<usize> = (0..parents.len()).filter(|n| !stored[*n]).collect();
                match op {
                    Op::Grow(pick) => {
                        let parent = if pick == 0 { live.last() } else { live.get(pick % live.len().max(1)) }.copied();
                        if parent.is_none() && !parents.is_empty() {
                            continue;
                        }
                        let n = parents.len();
                        parents.push(parent);
                        stored.push(false);
                        let previous = parent.map_or(Hash([9; 32]), hash);
                        let info = HeaderInfo { hash: hash(n), previous, height: height(&parents, n), work: 1 };
                        tree.insert(CheckedHeader::unchecked(info), 1, ConnId::new(0, 0));
                        tree.hold(&hash(n));
                    }
                    Op::Lead(pick) if !live.is_empty() => {
                        let to = live[pick % live.len()];
                        path.lead_to(&tree, Tip { hash: hash(to), height: height(&parents, to), work: 0 });
                        let goes_on = target.is_some_and(|old| line(&parents, &stored, to).contains(&old));
                        prop_assert_eq!(path.forks() == forks, goes_on, "a fork is counted, and only a fork");
                        (target, forks) = (Some(to), path.forks());
                    }
                    Op::Fill(count) => {
                        path.fill(&tree, count);
                        let whole = target.map_or(Vec::new(), |to| line(&parents, &stored, to));
                        let next: Vec<Hash> = whole.iter().take(count).map(|n| hash(*n)).collect();
                        let written: Vec<Hash> = path.written().copied().take(count).collect();
                        prop_assert_eq!(written, next);
                        // Whatever was asked for before, all of these are, the lowest first.
                        let mut last = None;
                        while let Some((at, next)) = path.next_to_ask(&tree, count) {
                            prop_assert!(last < Some(at) && path.is_near(&next, at, usize::MAX));
                            path.note_asked(at);
                            last = Some(at);
                        }
                        for (index, n) in whole.iter().take(count).enumerate() {
                            path.ask_again(height(&parents, *n), &hash(*n));
                            if index % 2 == 0 {
                                prop_assert_eq!(path.next_to_ask(&tree, count), Some((height(&parents, *n), hash(*n))));
                                path.note_asked(height(&parents, *n));
                            } else if index == 1 {
                                asked_again += 1;
                                break;
                            }
                        }
                    }
                    Op::Store => {
                        let Some(first) = target.and_then(|to| line(&parents, &stored, to).first().copied()) else { continue };
                        if Some(first) == target {
                            // With its last block the way ends.
                            path.clear();
                            (target, forks) = (None, path.forks());
                        } else if path.front() == Some(hash(first)) {
                            path.pop_front();
                        } else {
                            continue;
                        }
                        tree.block_stored(&hash(first));
                        stored[first] = true;
                        // What stood beside it stands on a block that the chain has.
                    }
                    Op::Lead(_) => {}
                }
                let whole = target.map_or(Vec::new(), |to| line(&parents, &stored, to));
                let written: Vec<Hash> = path.written().copied().collect();
                let beginning: Vec<Hash> = whole.iter().take(written.len()).map(|n| hash(*n)).collect();
                prop_assert_eq!(&written, &beginning);
                prop_assert!(path.asked <= written.len() && path.again.len() <= asked_again);
                prop_assert!(path.again.iter().all(|at| (path.base..path.base + path.asked as u64).contains(at)));
                if path.front().is_some() {
                    for n in (0..parents.len()).filter(|n| !stored[*n]) {
                        let on = path.contains(&tree, &hash(n), height(&parents, n));
                        prop_assert_eq!(on, whole.contains(&n));
                    }
                }
            }
        }
    }
}
