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
use crate::chain::sharded::Sharded;
use crate::proto::sync::chain::Tip;
use crate::proto::work::Work;
use crate::time::UnixTime;
use crate::wire::Hash;

/// Side blocks that are kept besides as many as the best chain has. With them, a competing branch from genesis fits
/// whole, and whoever floods cheap side blocks can at most double what the index holds.
const SIDE_BLOCKS: usize = 10_000;
/// Bytes of side blocks that are kept in the store, besides as many as the best chain has.
const SIDE_BYTES: u64 = 1024 * 1024 * 1024;

/// A block's place in the index. Valid until the block is dropped by [`Index::prune`].
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
    /// Blocks off the best chain that have no child, by arrival.
    side_leaves: BTreeSet<(Option<u64>, NodeId)>,
    side_count: usize,
    side_bytes: u64,
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
        entry.insert(Node { header, tip, seq: None, ids, len, parent: root, jump: root, children: 0 });
        Index {
            nodes,
            by_hash,
            places,
            best: vec![root],
            tip: root,
            best_bytes: len,
            side_leaves: BTreeSet::new(),
            side_count: 0,
            side_bytes: 0,
            work: Work::default(),
        }
    }

    /// Adds a block under `parent`; its ids must have passed [`Index::repeats`]. The best chain does not move yet.
    pub(super) fn insert(&mut self, parent: NodeId, block: NewBlock) -> NodeId {
        let above = &self.nodes[parent];
        let height = above.tip.height.saturating_add(1);
        let tip = Tip { hash: block.hash, height, work: above.tip.work.saturating_add(block.work) };
        let len = block.len as u64;
        let (header, ids) = (block.header.encode(), block.ids.into());
        let jump = self.jump_below(parent);
        let node = Node { header, tip, seq: block.seq, ids, len, parent, jump, children: 0 };
        let id = NodeId(self.nodes.0.insert(node));
        self.by_hash.insert(block.hash, id);
        for transaction in self.nodes[id].ids.iter() {
            self.places.change_or_insert(*transaction, |places| places.push(id), || Places::One(id));
        }
        self.nodes[parent].children += 1;
        let parent_seq = self.nodes[parent].seq;
        self.side_leaves.remove(&(parent_seq, parent));
        self.joins_side(id);
        id
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

    /// Drops side blocks while there are more than the limits allow, the branch first whose end arrived longest ago, from
    /// its end downwards. What was dropped: hash and place in the store.
    pub(super) fn prune(&mut self) -> Vec<(Hash, Option<u64>)> {
        let mut dropped = Vec::new();
        while self.side_count > SIDE_BLOCKS.saturating_add(self.best.len())
            || self.side_bytes > SIDE_BYTES.saturating_add(self.best_bytes)
        {
            let Some((seq, id)) = self.side_leaves.pop_first() else { break };
            dropped.push((self.nodes[id].tip.hash, seq));
            self.remove_leaf(id);
        }
        dropped
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
        self.nodes.0.iter().map(|(_, node)| node)
    }

    /// How many blocks there are, on all branches.
    pub(super) fn len(&self) -> usize {
        self.nodes.0.len()
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
        // Blocks with many transactions in common are asked about once each, and not once for each transaction.
        let mut apart: BTreeSet<NodeId> = BTreeSet::new();
        for places in ids.iter().filter_map(|id| self.places.get(id)).map(Places::as_slice) {
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
            self.side_leaves.insert((node.seq, id));
        }
    }

    fn leaves_side(&mut self, id: NodeId) {
        let node = &self.nodes[id];
        self.side_count -= 1;
        self.side_bytes -= node.len;
        self.side_leaves.remove(&(node.seq, id));
    }

    fn remove_leaf(&mut self, id: NodeId) {
        self.leaves_side(id);
        let node = self.nodes.0.remove(id.0);
        self.by_hash.remove(&node.tip.hash);
        for transaction in node.ids.iter() {
            let mut left = self.places.get(transaction).map_or(Vec::new(), |places| places.as_slice().to_vec());
            self.work.spend(2);
            self.work.spend_light(left.len());
            left.retain(|&place| place != id);
            match left.as_slice() {
                [] => self.places.remove(transaction),
                [one] => self.places.insert(*transaction, Places::One(*one)),
                _ => self.places.insert(*transaction, Places::Many(left)),
            };
        }
        let parent_is_best = self.is_best(node.parent);
        let parent = &mut self.nodes[node.parent];
        parent.children -= 1;
        if parent.children == 0 && !parent_is_best {
            self.side_leaves.insert((parent.seq, node.parent));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::sha256;

    /// An index without real blocks: work 1 each, a hash and a transaction per number.
    struct Bench {
        index: Index,
        count: u64,
    }

    impl Bench {
        fn new() -> Self {
            Bench { index: Index::new(Self::numbered(0)), count: 0 }
        }

        fn numbered(number: u64) -> NewBlock {
            let (hash, time) = (sha256(&number.to_le_bytes()), UnixTime::from_millis(0));
            let zero = Hash::ZERO;
            let header = Header { height: 0, previous: zero, root: zero, time, difficulty: 0, nonce: number };
            let seq = number.checked_sub(1);
            NewBlock { header, hash, work: 1, seq, len: 100, ids: vec![sha256(&hash.0)] }
        }

        fn add(&mut self, parent: NodeId) -> (NodeId, Reorg) {
            self.count += 1;
            let id = self.index.insert(parent, Self::numbered(self.count));
            (id, self.index.follow(id))
        }

        fn run(&mut self, mut parent: NodeId, count: usize) -> (NodeId, Reorg) {
            let mut reorg = Reorg::default();
            for _ in 0..count {
                (parent, reorg) = self.add(parent);
            }
            (parent, reorg)
        }

        fn root(&self) -> NodeId {
            self.index.best[0]
        }
    }

    #[test]
    fn a_fork_of_a_hundred_thousand_blocks_needs_no_stack_and_takes_over_once() {
        const DEPTH: usize = 100_000;
        let mut bench = Bench::new();
        let old = bench.run(bench.root(), DEPTH).0;
        let (level, reorg) = bench.run(bench.root(), DEPTH);
        assert!(reorg.joined.is_empty() && bench.index.tip == old);
        let (new, reorg) = bench.add(level);
        assert_eq!((reorg.left.len(), reorg.joined.len()), (DEPTH, DEPTH + 1));
        assert_eq!(bench.index.tip, new);
        let deep = bench.index.nodes[old].ids.to_vec();
        assert!(!bench.index.repeats(new, &deep) && bench.index.repeats(old, &deep));
        let first = bench.index.at(1).unwrap().ids.to_vec();
        assert!(bench.index.repeats(new, &first) && !bench.index.repeats(old, &first));
    }

    #[test]
    fn ancestors_are_what_following_parents_says() {
        let mut bench = Bench::new();
        let mut ids = vec![bench.root()];
        for n in 1..300usize {
            // Long branches with forks all over them.
            let parent = ids[if n % 7 == 0 { n * 31 % ids.len() } else { ids.len() - 1 }];
            ids.push(bench.add(parent).0);
        }
        for &below in &ids {
            let mut ancestors = vec![below];
            let mut at = below;
            while at != bench.root() {
                at = bench.index.nodes[at].parent;
                ancestors.push(at);
            }
            for &above in &ids {
                assert_eq!(bench.index.is_ancestor(above, below), ancestors.contains(&above));
            }
        }
    }

    /// One body of 32,768 transactions under new headers: each copy was asked about once more for each transaction of the next one.
    #[test]
    fn what_copies_of_a_body_cost_the_next_one_is_no_step_of_the_tree_for_each_transaction() {
        const COPIES: usize = 8;
        let mut bench = Bench::new();
        let parent = bench.run(bench.root(), 3).0;
        let ids: Vec<Hash> = (0..1000_u64).map(|n| sha256(&(n << 32).to_le_bytes())).collect();
        for n in 0..COPIES as u64 {
            bench.index.insert(parent, NewBlock { ids: ids.clone(), ..Bench::numbered(100 + n) });
        }
        bench.index.work.take();
        assert!(!bench.index.repeats(parent, &ids));
        let work = bench.index.work.take() as usize;
        assert!(work <= ids.len() * COPIES / 8 + 4 * COPIES, "{work} units for {} transactions", ids.len());
        // Another one is still found behind all of them.
        let below = bench.index.insert(parent, NewBlock { ids: ids.clone(), ..Bench::numbered(200) });
        assert!(bench.index.repeats(below, &ids[999..]) && !bench.index.repeats(parent, &ids));
    }

    #[test]
    fn side_blocks_beyond_the_limit_go_oldest_branch_first_and_from_its_end() {
        let mut bench = Bench::new();
        let main = bench.run(bench.root(), 100).0;
        let old = bench.run(bench.root(), 50).0;
        let old_end = bench.index.nodes[old].tip.hash;
        // As many as fit besides the old branch and the best chain's 101, each a branch of its own.
        let above = bench.index.nodes[main].parent;
        for _ in 0..SIDE_BLOCKS + 101 - 50 {
            bench.add(above);
        }
        assert!(bench.index.prune().is_empty());
        let last = bench.add(above).0;
        let dropped = bench.index.prune();
        assert_eq!(dropped, [(old_end, Some(149))]);
        assert_eq!(bench.index.find(&old_end), None);
        for _ in 0..49 {
            bench.add(above);
        }
        assert_eq!(bench.index.prune().len(), 49, "the rest of the old branch");
        assert_eq!(bench.index.side_count, SIDE_BLOCKS + 101);
        assert!(bench.index.nodes.0.contains(last.0) && bench.index.tip == main);
        let ids: usize = bench.index.places.len();
        assert_eq!(ids, bench.index.len(), "a dropped block takes its transactions along");
        bench.add(above);
        assert_eq!(bench.index.prune().len(), 1, "then the oldest of the small ones");
    }

    #[test]
    fn side_bytes_have_a_limit_too_and_the_best_chain_is_never_dropped() {
        let mut bench = Bench::new();
        bench.run(bench.root(), 2);
        let root = bench.root();
        let mut large = Bench::numbered(77);
        large.len = usize::try_from(SIDE_BYTES).unwrap() + 301;
        let hash = large.hash;
        let id = bench.index.insert(root, large);
        assert!(bench.index.follow(id).joined.is_empty());
        assert_eq!(bench.index.prune(), [(hash, Some(76))]);
        assert_eq!((bench.index.side_count, bench.index.side_bytes, bench.index.len()), (0, 0, 3));
    }
}
