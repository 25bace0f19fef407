//! Ancestors of a header, found in a few steps however long its branch is.
//!
//! Each header points to its parent and, besides, to an ancestor further down whose height follows from its own height alone, as in
//! Bitcoin Core's block index. So two headers of one height jump equally far, and the place where their branches part is found by
//! jumping with both at once. A question walks some dozen headers where a branch has many thousands: how often strangers can make us
//! ask it is their choice.

use super::HeaderTree;
use crate::proto::sync::chain::Tip;
use crate::wire::Hash;

/// The height to which a header of that height points.
const fn jump_height(height: u64) -> u64 {
    /// Without its lowest bit.
    const fn lower(n: u64) -> u64 {
        n & n.saturating_sub(1)
    }
    match height {
        0 | 1 => 0,
        _ if height & 1 == 0 => lower(height),
        _ => lower(lower(height - 1)) + 1,
    }
}

impl HeaderTree {
    /// Where a new header of that height on `parent` points to; `None` when that is not in the tree.
    pub(super) fn jump_from(&self, parent: &Hash, height: u64) -> Option<Hash> {
        self.ancestor(parent, jump_height(height))
    }

    /// The header of that height on the branch that ends in `tip`, which may be itself; `None` when there is none in the tree.
    pub(in crate::proto::sync) fn ancestor(&self, tip: &Hash, height: u64) -> Option<Hash> {
        let mut hash = *tip;
        let mut entry = self.entries.get(&hash)?;
        while entry.header.height() > height {
            self.work.spend(1);
            let at = entry.header.height();
            let (far, next) = (jump_height(at), jump_height(at - 1));
            // One step down, a better jump may begin.
            let may_jump = far == height || (far > height && !(next < far.saturating_sub(2) && next >= height));
            hash = entry.jump.filter(|_| may_jump).unwrap_or(entry.header.previous());
            // Whatever is between the two is there as long as the upper one is, or the lower one is gone too.
            entry = self.entries.get(&hash)?;
        }
        (entry.header.height() == height).then_some(hash)
    }

    /// Height of the highest header that two branches share; `None` when they share none in the tree.
    pub(in crate::proto::sync) fn fork_height(&self, one: Tip, other: Tip) -> Option<u64> {
        let mut height = one.height.min(other.height);
        let mut one = self.ancestor(&one.hash, height)?;
        let mut other = self.ancestor(&other.hash, height)?;
        while one != other {
            self.work.spend(2);
            let (left, right) = (self.entries.get(&one)?, self.entries.get(&other)?);
            (one, other, height) = match (left.jump, right.jump) {
                (Some(left), Some(right))
                    if left != right && self.entries.contains(&left) && self.entries.contains(&right) =>
                {
                    (left, right, jump_height(height))
                }
                _ => (left.header.previous(), right.header.previous(), height.checked_sub(1)?),
            };
        }
        self.entries.contains(&one).then_some(height)
    }

    /// Height of the lowest header of a branch that is in the tree; `None` when its tip is not.
    pub(in crate::proto::sync) fn bottom(&self, tip: &Hash) -> Option<u64> {
        let mut entry = self.entries.get(tip)?;
        loop {
            self.work.spend(1);
            let jump = entry.jump.and_then(|hash| self.entries.get(&hash));
            match jump.or_else(|| self.entries.get(&entry.header.previous())) {
                Some(below) => entry = below,
                None => return Some(entry.header.height()),
            }
        }
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

    /// A tree that hangs from blocks of the chain at different heights; each header as its number, height and parent.
    fn grow(parents: &[(u16, bool)]) -> (HeaderTree, Vec<(u64, Option<usize>)>) {
        let (mut tree, mut model) = (HeaderTree::default(), Vec::<(u64, Option<usize>)>::new());
        for (n, (pick, is_root)) in parents.iter().enumerate() {
            let parent = (!is_root && n > 0).then(|| if *pick % 4 == 0 { usize::from(*pick) % n } else { n - 1 });
            let height = parent.map_or(u64::from(*pick % 7) + 1, |parent| model[parent].0 + 1);
            let previous = parent.map_or(Hash([9; 32]), hash);
            let info = HeaderInfo { hash: hash(n), previous, height, work: 1 };
            tree.insert(CheckedHeader::unchecked(info), u128::from(height), ConnId::new(0, 0));
            model.push((height, parent));
        }
        (tree, model)
    }

    /// The branch of a header, itself first.
    fn branch(model: &[(u64, Option<usize>)], of: usize) -> Vec<usize> {
        core::iter::successors(Some(of), |n| model[*n].1).collect()
    }

    proptest! {
        #[test]
        fn what_is_found_by_jumping_is_what_walking_finds(
            parents in prop::collection::vec((any::<u16>(), prop::bool::weighted(0.03)), 1..200),
            stored in 0usize..20,
        ) {
            let (mut tree, model) = grow(&parents);
            // Blocks that arrive leave the tree from the bottom, and whatever jumps below them finds nothing.
            let mut gone = vec![false; model.len()];
            for n in 0..stored.min(model.len()) {
                if model[n].1.is_none_or(|parent| gone[parent]) {
                    tree.block_stored(&hash(n));
                    gone[n] = true;
                }
            }
            let tip = |n: usize| Tip { hash: hash(n), height: model[n].0, work: 0 };
            for one in (0..model.len()).filter(|n| !gone[*n]) {
                let line: Vec<usize> = branch(&model, one).into_iter().take_while(|n| !gone[*n]).collect();
                prop_assert_eq!(tree.bottom(&hash(one)), line.last().map(|n| model[*n].0));
                for height in 0..=model[one].0 + 1 {
                    let there = line.iter().find(|n| model[**n].0 == height);
                    prop_assert_eq!(tree.ancestor(&hash(one), height), there.map(|n| hash(*n)));
                }
                for other in (0..model.len()).step_by(7).filter(|n| !gone[*n]) {
                    let shared = branch(&model, other).into_iter().find(|n| line.contains(n));
                    prop_assert_eq!(tree.fork_height(tip(one), tip(other)), shared.map(|n| model[n].0));
                }
            }
        }
    }

    #[test]
    fn a_question_about_a_long_branch_takes_few_steps() {
        const LONG: usize = 20_000;
        let mut parents = vec![(1, false); LONG];
        parents[0] = (0, true);
        let (mut tree, _) = grow(&parents);
        let inserting = tree.work.take();
        assert!(inserting < 10 * LONG as u32, "{inserting} steps to make it");
        // A second one that leaves it in the middle.
        for n in 0..LONG / 2 {
            let previous = if n == 0 { hash(LONG / 2) } else { hash(LONG + n - 1) };
            let height = (LONG / 2 + 2 + n) as u64;
            let info = HeaderInfo { hash: hash(LONG + n), previous, height, work: 1 };
            tree.insert(CheckedHeader::unchecked(info), 1, ConnId::new(0, 0));
        }
        tree.work.take();
        let tip = |n: usize, height: usize| Tip { hash: hash(n), height: height as u64, work: 0 };
        let fork = tree.fork_height(tip(LONG - 1, LONG), tip(LONG + LONG / 2 - 1, LONG + 1));
        assert_eq!(fork, Some(LONG as u64 / 2 + 1));
        let steps = tree.work.take();
        assert!(steps < 200, "{steps} steps");
        assert_eq!(tree.bottom(&hash(LONG - 1)), Some(1));
        assert!(tree.work.take() < 100);
    }
}
