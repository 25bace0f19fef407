//! The tree of blocks in memory: who descends from whom, with how much work, and which chain is the best.
//!
//! Holds headers and transaction ids but no blocks: about 350 bytes per block and 100 per transaction. Every question is
//! answered without the store, so a slow or failing disk never changes a verdict.
//!
//! Ancestors are found with one jump pointer per block (Myers, "An applicative random-access stack", 1983): a question
//! about a block 10^6 below takes some 40 steps, nothing here recurses, and a reorganisation costs its depth.

use std::collections::BTreeSet;
use std::sync::Arc;

use slab::Slab;

use crate::chain::block::{HEADER_LEN, Header};
use crate::chain::rules::MEDIAN_OF;
use crate::chain::side_leaves::{Leaf, SideLeaves};
use crate::proto::sync::chain::Tip;
use crate::proto::work::Work;
use crate::sharded::Sharded;
use crate::time::UnixTime;
use crate::wire::Hash;

/// Side blocks that are kept besides as many as the best chain has. With them, a competing branch from genesis fits
/// whole, and whoever floods cheap side blocks can at most double what the index holds.
const SIDE_BLOCKS: usize = 10_000;
/// Bytes of side blocks that are kept in the store, besides as many as the best chain has.
const SIDE_BYTES: u64 = 1024 * 1024 * 1024;

/// A block's place in the index. Valid until the block is dropped by [`Index::prune`] and forgotten by [`Index::tidy`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NodeId(usize);

/// The blocks by place, with one way in: a place that is not there is our own mistake, never a peer's.
#[derive(Debug, Default)]
struct Nodes(Slab<Node>);

impl core::ops::Index<NodeId> for Nodes {
    type Output = Node;

    #[allow(clippy::indexing_slicing, reason = "places come from the index itself and are forgotten with their block")]
    fn index(&self, id: NodeId) -> &Node {
        &self.0[id.0]
    }
}

impl core::ops::IndexMut<NodeId> for Nodes {
    #[allow(clippy::indexing_slicing, reason = "places come from the index itself and are forgotten with their block")]
    fn index_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.0[id.0]
    }
}

/// What is kept of a block.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) header: [u8; HEADER_LEN],
    pub(super) tip: Tip,
    /// Where the store has it; `None` for genesis, which is made, not stored. Grows with arrival.
    pub(super) seq: Option<u64>,
    /// Shared with whoever reads the block and compares.
    pub(super) ids: Arc<[Hash]>,
    pub(super) len: u64,
    pub(super) parent: NodeId,
    jump: NodeId,
    children: u32,
    /// Can it be found, and built upon? Not before all of its transactions are listed, and no more once it is dropped.
    is_linked: bool,
}

/// A block that is about to enter the index.
pub(super) struct NewBlock {
    pub(super) header: Header,
    pub(super) hash: Hash,
    pub(super) work: u128,
    pub(super) seq: Option<u64>,
    pub(super) len: usize,
    pub(super) ids: Vec<Hash>,
}

/// How the best chain moved: blocks that left it and blocks that joined it, lowest first.
#[derive(Debug, Default)]
pub(super) struct Reorg {
    pub(super) left: Vec<NodeId>,
    pub(super) joined: Vec<NodeId>,
}

/// The blocks that hold one transaction: one as a rule, one per branch when branches carry the same.
#[derive(Debug)]
enum Places {
    One(NodeId),
    Many(Vec<NodeId>),
}

impl Places {
    fn as_slice(&self) -> &[NodeId] {
        match self {
            Places::One(id) => core::slice::from_ref(id),
            Places::Many(ids) => ids,
        }
    }

    fn push(&mut self, id: NodeId) {
        match self {
            Places::One(first) => *self = Places::Many(vec![*first, id]),
            Places::Many(ids) => ids.push(id),
        }
    }

    /// Takes a block out. True when no other is left.
    fn take_out(&mut self, id: NodeId) -> bool {
        match self {
            Places::One(one) => *one == id,
            Places::Many(ids) => {
                ids.retain(|place| *place != id);
                if let [one] = ids[..] {
                    *self = Places::One(one);
                }
                matches!(self, Places::Many(ids) if ids.is_empty())
            }
        }
    }
}

#[derive(Debug)]
pub(super) struct Index {
    nodes: Nodes,
    by_hash: Sharded<NodeId>,
    places: Sharded<Places>,
    /// The best chain by height.
    best: Vec<NodeId>,
    tip: NodeId,
    best_bytes: u64,
    side_leaves: SideLeaves<NodeId>,
    side_count: usize,
    side_bytes: u64,
    /// Blocks that can be found.
    linked: usize,
    /// Blocks that were dropped, and how many of their transactions are still listed.
    unlisting: Vec<(NodeId, usize)>,
    /// What questions and moves have cost.
    pub(super) work: Work,
}

impl Index {
    /// The tree that holds genesis alone.
    pub(super) fn new(genesis: NewBlock) -> Self {
        let mut nodes = Nodes::default();
        let entry = nodes.0.vacant_entry();
        let root = NodeId(entry.key());
        let tip = Tip { hash: genesis.hash, height: 0, work: genesis.work };
        let (mut by_hash, mut places) = (Sharded::new(), Sharded::new());
        by_hash.insert(genesis.hash, root);
        for id in &genesis.ids {
            places.insert(*id, Places::One(root));
        }
        let len = genesis.len as u64;
        let (header, ids) = (genesis.header.encode(), genesis.ids.into());
        let (parent, jump) = (root, root);
        entry.insert(Node { header, tip, seq: None, ids, len, parent, jump, children: 0, is_linked: true });
        Index {
            nodes,
            by_hash,
            places,
            best: vec![root],
            tip: root,
            best_bytes: len,
            side_leaves: SideLeaves::default(),
            side_count: 0,
            side_bytes: 0,
            linked: 1,
            unlisting: Vec::new(),
            work: Work::default(),
        }
    }

    /// Adds a block under `parent`; its ids must have passed [`Index::repeats`]. The best chain does not move yet.
    pub(super) fn insert(&mut self, parent: NodeId, block: NewBlock) -> NodeId {
        let seq = block.seq;
        let id = self.reserve(parent, block);
        let all = self.nodes[id].ids.len();
        self.list(id, 0, all);
        self.link(id, seq);
        id
    }

    /// Makes a place for a block under `parent`, which stays for as long. Nobody finds the block before it is [linked](Index::link),
    /// and nothing is in it.
    pub(super) fn reserve(&mut self, parent: NodeId, block: NewBlock) -> NodeId {
        let above = &self.nodes[parent];
        let height = above.tip.height.saturating_add(1);
        let tip = Tip { hash: block.hash, height, work: above.tip.work.saturating_add(block.work) };
        let len = block.len as u64;
        let (header, ids) = (block.header.encode(), block.ids.into());
        let jump = self.jump_below(parent);
        let node = Node { header, tip, seq: None, ids, len, parent, jump, children: 0, is_linked: false };
        let id = NodeId(self.nodes.0.insert(node));
        let above = &mut self.nodes[parent];
        above.children += 1;
        let leaf = leaf(parent, above);
        self.side_leaves.remove(leaf);
        id
    }

    /// Lists the transactions of a reserved block from the one at `from` on, at most so many. Answers where to go on.
    pub(super) fn list(&mut self, id: NodeId, from: usize, most: usize) -> usize {
        let mut at = from;
        for transaction in self.nodes[id].ids.iter().skip(from).take(most) {
            self.work.spend(2);
            self.places.change_or_insert(*transaction, |places| places.push(id), || Places::One(id));
            at += 1;
        }
        at
    }

    /// From now on the block is there; all of its transactions are listed.
    pub(super) fn link(&mut self, id: NodeId, seq: Option<u64>) {
        let node = &mut self.nodes[id];
        node.seq = seq;
        node.is_linked = true;
        self.linked += 1;
        self.by_hash.insert(node.tip.hash, id);
        self.joins_side(id);
    }

    /// Gives up a reserved block of which so many transactions are listed.
    pub(super) fn release(&mut self, id: NodeId, listed: usize) {
        self.leaves_parent(self.nodes[id].parent);
        if listed == 0 {
            self.nodes.0.remove(id.0);
        } else {
            self.unlisting.push((id, listed));
        }
    }

    /// Moves the best chain to `id` when that has more work than its end; nothing moves among equals.
    pub(super) fn follow(&mut self, id: NodeId) -> Reorg {
        let mut reorg = Reorg::default();
        if self.nodes[id].tip.work <= self.nodes[self.tip].tip.work {
            return reorg;
        }
        let mut fork = id;
        while !self.is_best(fork) {
            reorg.joined.push(fork);
            fork = self.nodes[fork].parent;
        }
        reorg.joined.reverse();
        self.work.spend(reorg.joined.len());
        let keep = usize::try_from(self.nodes[fork].tip.height).unwrap_or(usize::MAX).saturating_add(1);
        reorg.left = self.best.split_off(keep.min(self.best.len()));
        self.work.spend(reorg.left.len());
        for &left in &reorg.left {
            self.best_bytes -= self.nodes[left].len;
            self.joins_side(left);
        }
        for &joined in &reorg.joined {
            self.leaves_side(joined);
            self.best_bytes += self.nodes[joined].len;
            self.best.push(joined);
        }
        self.tip = id;
        reorg
    }

    /// Drops side blocks while there are more than the limits allow, from the ends of branches downwards and at most so many; see
    /// [`SideLeaves`] for the order. What was dropped: hash and place in the store.
    pub(super) fn prune(&mut self, most: usize) -> Vec<(Hash, Option<u64>)> {
        let mut dropped = Vec::new();
        while self.is_above_limits() && dropped.len() < most {
            let Some(id) = self.side_leaves.pop() else { break };
            let node = &self.nodes[id];
            dropped.push((node.tip.hash, node.seq));
            self.drop_leaf(id);
        }
        dropped
    }

    /// Are there more side blocks than the limits allow?
    pub(super) fn is_above_limits(&self) -> bool {
        self.side_count > SIDE_BLOCKS.saturating_add(self.best.len())
            || self.side_bytes > SIDE_BYTES.saturating_add(self.best_bytes)
    }

    /// Forgets at most so many of the transactions that dropped blocks held.
    pub(super) fn tidy(&mut self, most: usize) {
        let mut left = most;
        while let Some((id, listed)) = self.unlisting.pop() {
            let stay = listed.saturating_sub(left);
            let ids = Arc::clone(&self.nodes[id].ids);
            for transaction in ids.iter().take(listed).skip(stay) {
                self.unlist(transaction, id);
            }
            left -= listed - stay;
            if stay > 0 {
                self.unlisting.push((id, stay));
                return;
            }
            self.nodes.0.remove(id.0);
        }
    }

    /// Is there something for [`Index::tidy`] to do?
    pub(super) fn is_untidy(&self) -> bool {
        !self.unlisting.is_empty()
    }

    /// Where a block is.
    pub(super) fn find(&self, hash: &Hash) -> Option<NodeId> {
        self.by_hash.get(hash).copied()
    }

    /// What is kept of a block.
    pub(super) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    /// Every block, in no order.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.0.iter().map(|(_, node)| node).filter(|node| node.is_linked)
    }

    /// How many blocks there are, on all branches.
    pub(super) fn len(&self) -> usize {
        self.linked
    }

    /// How many blocks and transactions there are, those included that nobody finds.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.nodes.0.len(), self.places.len())
    }

    /// The end of the best chain.
    pub(super) fn best(&self) -> &Node {
        &self.nodes[self.tip]
    }

    /// The median of the times of a block and the ten before it, or of as many as there are.
    pub(super) fn median_time(&self, id: NodeId) -> UnixTime {
        let (mut times, mut at) = (Vec::with_capacity(MEDIAN_OF), id);
        while times.len() < MEDIAN_OF {
            let node = &self.nodes[at];
            times.extend(Header::decode(&node.header).map(|header| header.time));
            if node.parent == at {
                break;
            }
            at = node.parent;
        }
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }

    /// The end of the best chain, as a place.
    pub(super) fn tip(&self) -> NodeId {
        self.tip
    }

    /// The best chain's block at a height.
    pub(super) fn at(&self, height: u64) -> Option<&Node> {
        let id = self.best.get(usize::try_from(height).ok()?)?;
        Some(&self.nodes[*id])
    }

    /// The best chain's blocks from a height upwards.
    pub(super) fn best_from(&self, height: u64) -> impl Iterator<Item = &Node> {
        let from = usize::try_from(height).unwrap_or(usize::MAX);
        self.best.iter().skip(from).map(|&id| &self.nodes[id])
    }

    /// True when a block is on the best chain.
    pub(super) fn is_best(&self, id: NodeId) -> bool {
        let height = usize::try_from(self.nodes[id].tip.height).unwrap_or(usize::MAX);
        self.best.get(height) == Some(&id)
    }

    /// The best chain's block that holds a transaction.
    pub(super) fn best_place(&self, transaction: &Hash) -> Option<&Node> {
        let places = self.places.get(transaction)?;
        places.as_slice().iter().find(|&&id| self.is_best(id)).map(|&id| &self.nodes[id])
    }

    /// True when one of `ids` is in `parent` or an ancestor of it.
    pub(super) fn repeats(&self, parent: NodeId, ids: &[Hash]) -> bool {
        self.repeats_beside(parent, ids, &mut BTreeSet::new())
    }

    /// The same, where some blocks are known not to be ancestors: those with many transactions in common are asked about once each,
    /// and not once for each transaction. Those that were found are added.
    pub(super) fn repeats_beside<'a>(
        &self,
        parent: NodeId,
        ids: impl IntoIterator<Item = &'a Hash>,
        apart: &mut BTreeSet<NodeId>,
    ) -> bool {
        for id in ids {
            self.work.spend(2);
            let places = self.places.get(id).map_or(&[][..], Places::as_slice);
            self.work.spend_light(places.len());
            for &place in places {
                if apart.contains(&place) {
                    continue;
                }
                if self.is_ancestor(place, parent) {
                    return true;
                }
                apart.insert(place);
            }
        }
        false
    }

    fn is_ancestor(&self, above: NodeId, below: NodeId) -> bool {
        self.work.spend(1);
        if self.is_best(below) {
            return self.is_best(above) && self.nodes[above].tip.height <= self.nodes[below].tip.height;
        }
        let height = self.nodes[above].tip.height;
        let mut at = below;
        while self.nodes[at].tip.height > height {
            let node = &self.nodes[at];
            self.work.spend(1);
            at = if self.nodes[node.jump].tip.height >= height { node.jump } else { node.parent };
        }
        at == above
    }

    /// Where a child of `parent` jumps to: two jumps of equal length below it become one.
    fn jump_below(&self, parent: NodeId) -> NodeId {
        let height = |id: NodeId| self.nodes[id].tip.height;
        let first = self.nodes[parent].jump;
        let second = self.nodes[first].jump;
        if height(parent) - height(first) == height(first) - height(second) { second } else { parent }
    }

    fn joins_side(&mut self, id: NodeId) {
        let node = &self.nodes[id];
        self.side_count += 1;
        self.side_bytes += node.len;
        if node.children == 0 {
            self.side_leaves.insert(leaf(id, node));
        }
    }

    fn leaves_side(&mut self, id: NodeId) {
        let node = &self.nodes[id];
        self.side_count -= 1;
        self.side_bytes -= node.len;
        self.side_leaves.remove(leaf(id, node));
    }

    fn drop_leaf(&mut self, id: NodeId) {
        self.leaves_side(id);
        self.linked -= 1;
        let node = &mut self.nodes[id];
        node.is_linked = false;
        let (hash, parent, listed) = (node.tip.hash, node.parent, node.ids.len());
        self.by_hash.remove(&hash);
        self.work.spend(2);
        self.leaves_parent(parent);
        self.unlisting.push((id, listed));
    }

    /// A child fewer, of a block that may be the end of a branch then.
    fn leaves_parent(&mut self, parent: NodeId) {
        let is_best = self.is_best(parent);
        let node = &mut self.nodes[parent];
        node.children -= 1;
        if node.children == 0 && !is_best {
            let leaf = leaf(parent, node);
            self.side_leaves.insert(leaf);
        }
    }

    fn unlist(&mut self, transaction: &Hash, id: NodeId) {
        self.work.spend(2);
        let Some(places) = self.places.get_mut(transaction) else { return };
        self.work.spend_light(places.as_slice().len());
        if places.take_out(id) {
            self.places.remove(transaction);
        }
    }
}

fn leaf(id: NodeId, node: &Node) -> Leaf<NodeId> {
    Leaf { work: node.tip.work, seq: node.seq, id }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
