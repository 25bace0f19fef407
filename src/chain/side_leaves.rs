//! The ends of the branches off the best chain, and which of them goes first when there are too many side blocks.
//!
//! The branch with the least work goes first, for it is the furthest from ever being the best one. But a branch that is being
//! downloaded has little work until its last blocks are there, so what has just arrived stays; and among equals the oldest goes.

use std::collections::BTreeSet;

/// The last blocks that arrived, of any branch, do not go for want of work.
const YOUNG: u64 = 1024;

/// The end of a branch: its work from genesis on, and when it arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Leaf<Id> {
    pub(super) work: u128,
    pub(super) seq: Option<u64>,
    pub(super) id: Id,
}

/// The ends of the branches off the best chain.
#[derive(Debug)]
pub(super) struct SideLeaves<Id> {
    /// By work.
    old: BTreeSet<Leaf<Id>>,
    /// By arrival.
    young: BTreeSet<(Option<u64>, u128, Id)>,
    /// The last arrival of all.
    newest: u64,
}

impl<Id> Default for SideLeaves<Id> {
    fn default() -> Self {
        SideLeaves { old: BTreeSet::new(), young: BTreeSet::new(), newest: 0 }
    }
}

impl<Id: Ord + Copy> SideLeaves<Id> {
    pub(super) fn insert(&mut self, leaf: Leaf<Id>) {
        // What is the end of a branch again because its child went is as old as it is.
        self.newest = self.newest.max(leaf.seq.unwrap_or(0));
        self.young.insert((leaf.seq, leaf.work, leaf.id));
    }

    pub(super) fn remove(&mut self, leaf: Leaf<Id>) {
        if !self.young.remove(&(leaf.seq, leaf.work, leaf.id)) {
            self.old.remove(&leaf);
        }
    }

    /// Takes out the end that goes first.
    pub(super) fn pop(&mut self) -> Option<Id> {
        let young_from = self.newest.saturating_sub(YOUNG);
        while let Some(&(seq, work, id)) = self.young.first()
            && seq.unwrap_or(0) < young_from
        {
            self.young.pop_first();
            self.old.insert(Leaf { work, seq, id });
        }
        self.old.pop_first().map(|leaf| leaf.id).or_else(|| self.young.pop_first().map(|(_, _, id)| id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(work: u128, seq: u64) -> Leaf<u64> {
        Leaf { work, seq: Some(seq), id: seq }
    }

    #[test]
    fn the_least_work_goes_first_but_for_what_has_just_arrived() {
        let mut leaves = SideLeaves::default();
        // The new one has the least work: a branch on its way.
        let new = 2 * YOUNG;
        for one in [leaf(9, 1), leaf(5, 2), leaf(5, 3), leaf(7, 4), leaf(1, new)] {
            leaves.insert(one);
        }
        let order = core::iter::from_fn(|| leaves.pop());
        assert!(order.eq([2, 3, 4, 1, new]));
    }

    #[test]
    fn among_what_has_just_arrived_the_oldest_goes_first_and_what_is_taken_out_never() {
        let mut leaves = SideLeaves::default();
        for one in [leaf(1, 30), leaf(9, 10), leaf(5, 20), leaf(4, 25)] {
            leaves.insert(one);
        }
        leaves.remove(leaf(5, 20));
        assert_eq!(leaves.pop(), Some(10));
        // The end of another branch makes them old.
        leaves.insert(leaf(8, 30 + 2 * YOUNG));
        assert_eq!(leaves.pop(), Some(30));
        leaves.remove(leaf(4, 25));
        assert_eq!(leaves.pop(), Some(30 + 2 * YOUNG));
        assert_eq!(leaves.pop(), None);
    }
}
