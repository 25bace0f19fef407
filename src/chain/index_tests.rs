//! Tests of the tree of blocks, without real blocks.

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
    assert!(work <= ids.len() * (2 + COPIES / 8) + 4 * COPIES, "{work} units for {} transactions", ids.len());
    // Another one is still found behind all of them.
    let below = bench.index.insert(parent, NewBlock { ids: ids.clone(), ..Bench::numbered(200) });
    assert!(bench.index.repeats(below, &ids[999..]) && !bench.index.repeats(parent, &ids));
}

#[test]
fn side_blocks_beyond_the_limit_go_least_work_first_and_from_the_end_of_their_branch() {
    let mut bench = Bench::new();
    let main = bench.run(bench.root(), 100).0;
    let old = bench.run(bench.root(), 50).0;
    let old_end = bench.index.nodes[old].tip.hash;
    // As many as fit besides the old branch and the best chain's 101, each a branch of its own.
    let above = bench.index.nodes[main].parent;
    for _ in 0..SIDE_BLOCKS + 101 - 50 {
        bench.add(above);
    }
    assert!(bench.index.prune(usize::MAX).is_empty());
    let last = bench.add(above).0;
    let dropped = bench.index.prune(usize::MAX);
    assert_eq!(dropped, [(old_end, Some(149))]);
    assert_eq!(bench.index.find(&old_end), None);
    for _ in 0..49 {
        bench.add(above);
    }
    assert_eq!(bench.index.prune(usize::MAX).len(), 49, "the rest of the old branch");
    assert_eq!(bench.index.side_count, SIDE_BLOCKS + 101);
    assert!(bench.index.nodes.0.contains(last.0) && bench.index.tip == main);
    bench.index.tidy(usize::MAX);
    let ids: usize = bench.index.places.len();
    assert_eq!(ids, bench.index.len(), "a dropped block takes its transactions along");
    bench.add(above);
    assert_eq!(bench.index.prune(usize::MAX).len(), 1, "then the oldest of the small ones");
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
    assert_eq!(bench.index.prune(usize::MAX), [(hash, Some(76))]);
    assert_eq!((bench.index.side_count, bench.index.side_bytes, bench.index.len()), (0, 0, 3));
}

/// What is dropped, taken back or on its way in at any moment leaves the rest as if it had never been.
#[test]
fn what_enters_keeps_its_parent_and_what_goes_takes_its_transactions_along_a_slice_at_a_time() {
    let mut bench = Bench::new();
    let main = bench.run(bench.root(), 10).0;
    let side = bench.run(bench.root(), 1).0;
    let ids: Vec<Hash> = (0..5_000_u64).map(|n| sha256(&(n << 32).to_le_bytes())).collect();
    let large = NewBlock { ids: ids.clone(), ..Bench::numbered(100) };
    let id = bench.index.reserve(side, large);
    assert_eq!(bench.index.list(id, 0, 3_000), 3_000);
    bench.index.side_bytes += SIDE_BYTES + 2_000;
    assert!(bench.index.is_above_limits() && bench.index.prune(9).is_empty(), "its parent is no end of a branch");
    bench.index.release(id, 3_000);
    let hash = bench.index.nodes[side].tip.hash;
    assert_eq!(bench.index.prune(9), [(hash, Some(10))]);
    bench.index.side_bytes -= SIDE_BYTES + 2_000;
    let mut slices = 0;
    while bench.index.is_untidy() {
        bench.index.work.take();
        bench.index.tidy(1_000);
        assert!(bench.index.work.take() <= 2_100);
        slices += 1;
    }
    assert_eq!((slices, bench.index.places.len(), bench.index.nodes.0.len()), (4, 11, 11));
    assert!(bench.index.is_best(main) && bench.index.len() == 11);
}
