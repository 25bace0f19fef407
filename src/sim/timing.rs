//! How long things took to reach everybody: blocks, payments, and the chain as a newcomer gets it.

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::chain::{Miner, Params, ReferenceChain};
use crate::proto::sync::chain::{Chain, Verdict};
use crate::time::{Instant, UnixTime};
use crate::wire::Hash;

/// Time between two blocks of a history, in milliseconds.
const BLOCK_MILLIS: u64 = 10_000;

/// A run's stop-watch.
#[derive(Debug, Default)]
pub(super) struct Timing {
    mined: BTreeMap<Hash, Instant>,
    block_times: Vec<Duration>,
    paid: BTreeMap<Hash, Instant>,
    payment_times: Vec<Duration>,
    newcomer: Option<Newcomer>,
}

#[derive(Debug)]
struct Newcomer {
    node: u32,
    /// The height of the best block that anybody had when it joined.
    target: u64,
    since: Instant,
    /// When it met somebody who can help it, where that is waited for.
    met: Option<Instant>,
    took: Option<Duration>,
}

impl Timing {
    pub(super) fn block_mined(&mut self, hash: Hash, now: Instant) {
        self.mined.insert(hash, now);
    }

    /// A node, which came at that time, took a block from a peer. What is older than the node is not counted.
    pub(super) fn block_received(&mut self, node: u32, came: Instant, hash: &Hash, now: Instant) {
        if let Some(mined) = self.mined.get(hash).filter(|mined| **mined >= came && !self.is_newcomer(node)) {
            self.block_times.push(now.since(*mined));
        }
    }

    pub(super) fn payment_made(&mut self, id: Hash, now: Instant) {
        self.paid.insert(id, now);
    }

    /// The same as for a block.
    pub(super) fn payment_received(&mut self, node: u32, came: Instant, id: &Hash, now: Instant) {
        if let Some(paid) = self.paid.get(id).filter(|paid| **paid >= came && !self.is_newcomer(node)) {
            self.payment_times.push(now.since(*paid));
        }
    }

    /// How long each block, and each payment, took to each node that got it.
    pub(super) fn take_times(&mut self) -> (Vec<Duration>, Vec<Duration>) {
        (core::mem::take(&mut self.block_times), core::mem::take(&mut self.payment_times))
    }

    /// A node without a block joins. It joins once: a start after a kill has some of the way behind it.
    pub(super) fn newcomer_joins(&mut self, node: u32, target: u64, now: Instant) {
        self.newcomer.get_or_insert(Newcomer { node, target, since: now, met: None, took: None });
    }

    /// The node that joins has met somebody who can help it: from now on its time counts.
    pub(super) fn newcomer_meets(&mut self, now: Instant) {
        if let Some(newcomer) = &mut self.newcomer {
            newcomer.met.get_or_insert(now);
        }
    }

    /// A node's best block has this height now.
    pub(super) fn tip_reached(&mut self, node: u32, height: u64, now: Instant) {
        if let Some(newcomer) = &mut self.newcomer
            && newcomer.node == node
            && height >= newcomer.target
        {
            newcomer.took.get_or_insert(now.since(newcomer.met.unwrap_or(newcomer.since)));
        }
    }

    /// What it gets late was not there to be got earlier.
    pub(super) fn is_newcomer(&self, node: u32) -> bool {
        self.newcomer.as_ref().is_some_and(|newcomer| newcomer.node == node)
    }

    /// Who it is, the height that it needed, and how long it took.
    pub(super) fn newcomer(&self) -> Option<(u32, u64, Option<Duration>)> {
        self.newcomer.as_ref().map(|newcomer| (newcomer.node, newcomer.target, newcomer.took))
    }

    pub(super) fn caught_up(&self) -> Option<Duration> {
        self.newcomer.as_ref()?.took
    }
}

/// A chain of so many blocks that ends shortly before `now`, without its genesis block.
pub(super) fn history(params: Params, blocks: u64, now: UnixTime) -> Vec<Bytes> {
    let mut chain = ReferenceChain::memory(params);
    let mut history = Vec::new();
    for left in (1..=blocks).rev() {
        let age = i64::try_from(left.saturating_mul(BLOCK_MILLIS)).unwrap_or(i64::MAX);
        let then = UnixTime::from_millis(now.as_millis().saturating_sub(age));
        let Ok(mut block) = chain.template(then, "history", 1 << 16) else { break };
        let Some(header) = Miner::new(block.header).run(u64::MAX) else { break };
        block.header = header;
        let bytes = block.encode();
        load_blocks(&mut chain, now, core::slice::from_ref(&bytes));
        history.push(bytes);
    }
    history
}

/// Puts blocks into a chain, as far as its disk takes them.
pub(super) fn load_blocks(chain: &mut ReferenceChain, now: UnixTime, blocks: &[Bytes]) {
    for block in blocks {
        if chain.submit_block(now, block.clone()) != (Verdict::Accepted { best_changed: true }) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_a_chain_that_everybody_takes() {
        let params = Params::new(1, 50).unwrap();
        let now = UnixTime::from_millis(1_800_000_000_000);
        let mut chain = ReferenceChain::memory(params);
        load_blocks(&mut chain, now, &history(params, 30, now));
        assert_eq!(chain.best().height, 30);
        assert_eq!(history(params, 30, now), history(params, 30, now));
    }

    #[test]
    fn the_newcomer_has_caught_up_once_it_has_the_block_that_was_best_when_it_joined() {
        let at = Instant::from_millis;
        let mut timing = Timing::default();
        timing.tip_reached(3, 9, at(1));
        timing.newcomer_joins(3, 9, at(10));
        timing.tip_reached(2, 9, at(11));
        timing.tip_reached(3, 8, at(12));
        assert_eq!(timing.caught_up(), None);
        timing.tip_reached(3, 9, at(15));
        timing.newcomer_joins(3, 9, at(20));
        timing.tip_reached(3, 10, at(30));
        assert_eq!(timing.caught_up(), Some(Duration::from_millis(5)));
    }

    #[test]
    fn a_block_and_a_payment_are_timed_at_every_node_that_was_there_and_gets_them() {
        let at = Instant::from_millis;
        let mut timing = Timing::default();
        timing.payment_made(Hash([1; 32]), at(10));
        timing.block_mined(Hash([1; 32]), at(11));
        for (node, came, hash, now) in [(0, 0, 1, 15), (1, 10, 1, 30), (0, 0, 2, 40), (2, 12, 1, 40)] {
            timing.payment_received(node, at(came), &Hash([hash; 32]), at(now));
            timing.block_received(node, at(came), &Hash([hash; 32]), at(now));
        }
        timing.newcomer_joins(7, 0, at(40));
        timing.payment_received(7, at(0), &Hash([1; 32]), at(50));
        timing.block_received(7, at(0), &Hash([1; 32]), at(50));
        let millis = Duration::from_millis;
        assert_eq!(timing.take_times(), (vec![millis(4), millis(19)], vec![millis(5), millis(20)]));
    }
}
