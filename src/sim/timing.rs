//! How long things took to reach everybody: payments, and the chain as a newcomer gets it.

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
    sent: BTreeMap<Hash, Instant>,
    /// How long each transaction took to each node that got it.
    pub(super) payments: Vec<Duration>,
    newcomer: Option<Newcomer>,
}

#[derive(Debug)]
struct Newcomer {
    node: u32,
    /// The height of the best block that anybody had when it joined.
    target: u64,
    since: Instant,
    took: Option<Duration>,
}

impl Timing {
    pub(super) fn paid(&mut self, id: Hash, now: Instant) {
        self.sent.insert(id, now);
    }

    /// A node, which came at that time, took a transaction from a peer. What is older than the node is not counted.
    pub(super) fn heard(&mut self, node: u32, came: Instant, id: &Hash, now: Instant) {
        if let Some(sent) = self.sent.get(id).filter(|sent| **sent >= came && !self.is_newcomer(node)) {
            self.payments.push(now.since(*sent));
        }
    }

    /// A node without a block joins. It joins once: a start after a kill has some of the way behind it.
    pub(super) fn joins(&mut self, node: u32, target: u64, now: Instant) {
        self.newcomer.get_or_insert(Newcomer { node, target, since: now, took: None });
    }

    /// A node's best block has this height now.
    pub(super) fn tip(&mut self, node: u32, height: u64, now: Instant) {
        if let Some(newcomer) = &mut self.newcomer
            && newcomer.node == node
            && height >= newcomer.target
        {
            newcomer.took.get_or_insert(now.since(newcomer.since));
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
        load(&mut chain, now, core::slice::from_ref(&bytes));
        history.push(bytes);
    }
    history
}

/// Puts blocks into a chain, as far as its disk takes them.
pub(super) fn load(chain: &mut ReferenceChain, now: UnixTime, blocks: &[Bytes]) {
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
        load(&mut chain, now, &history(params, 30, now));
        assert_eq!(chain.best().height, 30);
        assert_eq!(history(params, 30, now), history(params, 30, now));
    }

    #[test]
    fn the_newcomer_has_caught_up_once_it_has_the_block_that_was_best_when_it_joined() {
        let at = Instant::from_millis;
        let mut timing = Timing::default();
        timing.tip(3, 9, at(1));
        timing.joins(3, 9, at(10));
        timing.tip(2, 9, at(11));
        timing.tip(3, 8, at(12));
        assert_eq!(timing.caught_up(), None);
        timing.tip(3, 9, at(15));
        timing.joins(3, 9, at(20));
        timing.tip(3, 10, at(30));
        assert_eq!(timing.caught_up(), Some(Duration::from_millis(5)));
    }

    #[test]
    fn a_payment_is_timed_at_every_node_that_hears_of_it() {
        let mut timing = Timing::default();
        timing.paid(Hash([1; 32]), Instant::from_millis(10));
        timing.heard(0, Instant::ZERO, &Hash([1; 32]), Instant::from_millis(15));
        timing.heard(1, Instant::from_millis(10), &Hash([1; 32]), Instant::from_millis(30));
        timing.heard(0, Instant::ZERO, &Hash([2; 32]), Instant::from_millis(40));
        timing.heard(2, Instant::from_millis(11), &Hash([1; 32]), Instant::from_millis(40));
        timing.joins(7, 0, Instant::from_millis(40));
        timing.heard(7, Instant::ZERO, &Hash([1; 32]), Instant::from_millis(50));
        assert_eq!(timing.payments, [Duration::from_millis(5), Duration::from_millis(20)]);
    }
}
