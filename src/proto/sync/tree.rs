//! Headers whose blocks are missing: a bounded forest that hangs from blocks we hold.
//!
//! A header stays while a peer claims it, itself or through a descendant. So each entry counts its children and the peers
//! whose claim ends in it, and whatever reaches zero falls off with its lonely ancestors: the cost of forgetting a peer is
//! the number of headers that only it told.

mod ancestry;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::id::ConnId;
use crate::invariant::{Broken, Invariant};
use crate::proto::counter::lower;
use crate::proto::sync::chain::{CheckedHeader, Tip};
use crate::proto::work::Work;
use crate::sharded::Sharded;
use crate::wire::Hash;

/// Headers remembered as invalid, so that telling one again is recognised; each cost its teller a header that proves work.
const INVALID_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(super) struct HeaderTree {
    entries: Sharded<Entry>,
    count: usize,
    owned: BTreeMap<ConnId, usize>,
    invalid: BTreeSet<Hash>,
    invalid_order: VecDeque<Hash>,
    /// What questions about ancestors have cost.
    pub(super) work: Work,
}

#[derive(Debug)]
struct Entry {
    header: CheckedHeader,
    /// Of all headers up to and including this one.
    work: u128,
    /// Who told it first.
    owner: ConnId,
    /// An ancestor further down, unless that was not in the tree.
    jump: Option<Hash>,
    children: u32,
    holders: u32,
}

impl Entry {
    fn add_child(&mut self) {
        self.children = self.children.saturating_add(1);
    }

    fn drop_child(&mut self) {
        debug_assert!(self.children > 0, "{} loses a child that it does not have", self.header.hash());
        self.children = self.children.saturating_sub(1);
    }
}

impl HeaderTree {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Are the counts right? Every header must be claimed by somebody, itself or through what stands on it.
    pub(super) fn audit(&self, claims: &BTreeMap<Hash, u32>) -> Result<(), Broken> {
        let (mut owned, mut children) = (BTreeMap::new(), BTreeMap::new());
        Invariant::S14.check(self.entries.len() == self.count, || "the headers are miscounted".to_owned())?;
        for (_, entry) in self.entries.iter() {
            *owned.entry(entry.owner).or_insert(0usize) += 1;
            *children.entry(entry.header.previous()).or_insert(0u32) += 1;
        }
        Invariant::S14.check(owned == self.owned, || "the headers by owner are miscounted".to_owned())?;
        for (hash, entry) in self.entries.iter() {
            let (held, standing) = (claims.get(hash).copied().unwrap_or(0), children.get(hash).copied().unwrap_or(0));
            let counted = (entry.holders, entry.children);
            Invariant::S14.check(counted == (held, standing), || {
                format!("claims and children of {hash} are {held} and {standing}, not {counted:?}")
            })?;
            Invariant::S14.check(held + standing > 0, || format!("nobody claims the header {hash}"))?;
        }
        let (known, ordered) = (self.invalid.len(), self.invalid_order.len());
        Invariant::S14.check(known <= INVALID_MAX && known == ordered, || {
            format!("{known} headers are remembered as invalid, {ordered} in order")
        })
    }

    /// Headers remembered as invalid.
    pub(super) fn invalid(&self) -> impl Iterator<Item = &Hash> {
        self.invalid.iter()
    }

    /// Headers that came first from `conn`.
    pub(super) fn owned_by(&self, conn: ConnId) -> usize {
        self.owned.get(&conn).copied().unwrap_or(0)
    }

    pub(super) fn get(&self, hash: &Hash) -> Option<Tip> {
        self.entries.get(hash).map(|entry| Tip { hash: *hash, height: entry.header.height(), work: entry.work })
    }

    pub(super) fn previous(&self, hash: &Hash) -> Option<Hash> {
        self.entries.get(hash).map(|entry| entry.header.previous())
    }

    /// The proof that a header was checked, for whoever asks for its block.
    pub(super) fn header(&self, hash: &Hash) -> Option<CheckedHeader> {
        self.entries.get(hash).map(|entry| entry.header)
    }

    pub(super) fn is_invalid(&self, hash: &Hash) -> bool {
        self.invalid.contains(hash)
    }

    /// Adds a header whose parent is an entry or a block we hold; `work` is that of both. Until it is held it must get a child
    /// that is.
    pub(super) fn insert(&mut self, header: CheckedHeader, work: u128, owner: ConnId) {
        let hash = header.hash();
        debug_assert!(!self.is_invalid(&hash), "{hash} is known to be invalid");
        if self.entries.contains(&hash) {
            return;
        }
        if let Some(parent) = self.entries.get_mut(&header.previous()) {
            debug_assert_eq!(
                parent.header.height().checked_add(1),
                Some(header.height()),
                "{hash} is not above its parent"
            );
            parent.add_child();
        }
        let jump = self.jump_from(&header.previous(), header.height());
        self.entries.insert(hash, Entry { header, work, owner, jump, children: 0, holders: 0 });
        self.count = self.count.saturating_add(1);
        *self.owned.entry(owner).or_default() += 1;
    }

    /// One more peer's claim ends here.
    pub(super) fn hold(&mut self, hash: &Hash) {
        if let Some(entry) = self.entries.get_mut(hash) {
            entry.holders = entry.holders.saturating_add(1);
        }
    }

    /// One claim less ends here; what nobody claims any more goes.
    pub(super) fn release(&mut self, hash: &Hash) {
        if let Some(entry) = self.entries.get_mut(hash) {
            debug_assert!(entry.holders > 0, "{hash} is released by one who does not hold it");
            entry.holders = entry.holders.saturating_sub(1);
        }
        self.prune(*hash);
    }

    /// The chain holds the block of this header now: the header goes, and its children hang from the chain.
    pub(super) fn block_stored(&mut self, hash: &Hash) -> bool {
        let Some(entry) = self.remove(hash) else { return false };
        if let Some(parent) = self.entries.get_mut(&entry.header.previous()) {
            parent.drop_child();
        }
        true
    }

    /// Removes a header and all that stands on it, and returns them. With `blame` it is remembered as invalid.
    pub(super) fn cut(&mut self, root: Hash, blame: bool) -> BTreeSet<Hash> {
        if blame && self.invalid.insert(root) {
            self.invalid_order.push_back(root);
            if self.invalid_order.len() > INVALID_MAX
                && let Some(oldest) = self.invalid_order.pop_front()
            {
                self.invalid.remove(&oldest);
            }
        }
        let mut cut = BTreeSet::new();
        let Some(height) = self.entries.get(&root).map(|entry| entry.header.height()) else { return cut };
        // Parents come before children in the order of heights.
        let headers = self.entries.iter().map(|(_, entry)| entry.header);
        let above = headers.filter(|header| header.height() > height);
        let mut above: Vec<(u64, Hash, Hash)> = above.map(|h| (h.height(), h.hash(), h.previous())).collect();
        above.sort_unstable();
        cut.insert(root);
        for (_, hash, previous) in above {
            if cut.contains(&previous) {
                cut.insert(hash);
            }
        }
        let parent = self.previous(&root);
        for hash in &cut {
            self.remove(hash);
        }
        if let Some(parent) = parent {
            if let Some(entry) = self.entries.get_mut(&parent) {
                entry.drop_child();
            }
            self.prune(parent);
        }
        cut
    }

    fn prune(&mut self, mut hash: Hash) {
        while self.entries.get(&hash).is_some_and(|entry| entry.children == 0 && entry.holders == 0) {
            let Some(entry) = self.remove(&hash) else { return };
            hash = entry.header.previous();
            if let Some(parent) = self.entries.get_mut(&hash) {
                parent.drop_child();
            }
        }
    }

    fn remove(&mut self, hash: &Hash) -> Option<Entry> {
        let entry = self.entries.remove(hash)?;
        lower(&mut self.count, 1);
        let owned = self.owned.get_mut(&entry.owner);
        debug_assert!(owned.is_some(), "{} told a header and is counted for none", entry.owner);
        if let Some(count) = owned {
            lower(count, 1);
            if *count == 0 {
                self.owned.remove(&entry.owner);
            }
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::sync::chain::HeaderInfo;

    fn hash(n: u8) -> Hash {
        Hash([n; 32])
    }

    fn conn(n: u32) -> ConnId {
        ConnId::new(n, 0)
    }

    /// Headers `(name, parent)`, all of work 1; 0 stands in the chain at height 0.
    fn tree(headers: &[(u8, u8)]) -> HeaderTree {
        let mut tree = HeaderTree::default();
        for &(name, parent) in headers {
            let below = tree.get(&hash(parent)).map_or((0, 0), |tip| (tip.height, tip.work));
            let info = HeaderInfo { hash: hash(name), previous: hash(parent), height: below.0 + 1, work: 1 };
            tree.insert(CheckedHeader::unchecked(info), below.1 + 1, conn(0));
        }
        tree
    }

    #[test]
    fn a_branch_falls_off_down_to_the_fork_when_its_last_claim_goes() {
        let mut tree = tree(&[(1, 0), (2, 1), (3, 2), (4, 2)]);
        tree.hold(&hash(3));
        tree.hold(&hash(4));
        tree.release(&hash(3));
        assert!(tree.get(&hash(3)).is_none() && tree.get(&hash(2)).is_some());
        tree.release(&hash(4));
        assert_eq!((tree.len(), tree.owned_by(conn(0))), (0, 0));
    }

    #[test]
    fn a_claim_in_the_middle_keeps_what_is_below_it() {
        let mut tree = tree(&[(1, 0), (2, 1), (3, 2)]);
        tree.hold(&hash(2));
        tree.hold(&hash(3));
        tree.release(&hash(3));
        assert_eq!(tree.len(), 2);
        assert!(tree.block_stored(&hash(1)));
        tree.release(&hash(2));
        assert_eq!(tree.len(), 0);
    }

    #[test]
    fn an_invalid_header_takes_its_descendants_along_and_only_them() {
        let mut tree = tree(&[(1, 0), (2, 1), (3, 2), (4, 3), (5, 1)]);
        tree.hold(&hash(4));
        tree.hold(&hash(5));
        assert_eq!(tree.cut(hash(2), true), [2, 3, 4].map(hash).into());
        assert!(tree.is_invalid(&hash(2)) && !tree.is_invalid(&hash(3)));
        assert_eq!(tree.len(), 2);
        tree.release(&hash(5));
        assert_eq!(tree.len(), 0);
    }
}
