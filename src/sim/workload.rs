//! What the hosts are asked for, and how often: blocks, payments and gossip, and nodes that come and go.
//!
//! All of it is drawn by a generator of its own. Whatever is large suits the network, for one that is given more than it
//! can carry agrees on nothing, and that would say nothing about the node.

use core::time::Duration;

use super::fault::{Plan, Rates};
use crate::rng::Rng;
use crate::wire::message::{BlockAccepted, ProofSubmission};
use crate::wire::{Kind, Message};

const KIB: usize = 1024;
/// Seconds between two blocks, and payments in a thousand seconds, where the plan leaves it open.
const BLOCK_SECONDS: u64 = 17;
const PAYMENTS: u64 = 333;
/// The most bytes of a block that waiting transactions may fill.
const POOL_MOST: usize = 256 * KIB;
/// Whatever the network is, so much of a block is for waiting transactions.
const POOL_LEAST: usize = 16 * KIB;
/// How long the largest block may take over one connection, and all blocks of a run together.
const ONE_BLOCK: u64 = 2;
const ALL_BLOCKS: u64 = 30;
/// Bytes of blocks that all hosts of a run hold together, at most.
const MEMORY: u64 = 256 << 20;
/// Payments of a burst, at most: fewer than a loop takes commands in a turn.
const BURST: u64 = 100;
/// Challenges, proofs and acceptances that one tells at once, at most: what is above a peer's pace goes within the minute or two
/// that a run gives it.
const TALE: u64 = 25;
/// Payments of a run, at most: what waited through an outage of hours must be passed on in the time that healing has.
const ALL_PAYMENTS: u64 = 1000;
/// Bytes of a challenge or a proof, at most.
const OPAQUE: u64 = 1024;

/// What a run asks of its hosts.
pub(super) struct Workload {
    rng: Rng,
    plan: Plan,
    /// The most that waiting transactions may fill, and that a block may be filled up to.
    pool_most: usize,
    block_most: usize,
    /// Bytes that one connection carries in the time that the largest block may take.
    suits: usize,
    /// Bytes that may still be filled, and payments that may still be made.
    left: u64,
    payments_left: u64,
}

impl Workload {
    /// The workload of a plan on its network. `queue` is what a connection may queue.
    pub(super) fn new(plan: &Plan, seed: u64, nodes: u32, queue: usize) -> Workload {
        let rates = Rates::of(plan);
        // Latencies are exponential and packets stay in order, so that the mean of a window is above the mean of a packet.
        let trip = 2 * (rates.latency_min + 2 * rates.latency_mean);
        let window = rates.buffer as f64 / trip.as_secs_f64().max(1e-6);
        let speed = (window as u64).min(rates.bandwidth);
        let suits = usize::try_from(speed * ONE_BLOCK).unwrap_or(usize::MAX).min(queue / 4);
        let asked = usize::try_from(plan.block_size).unwrap_or(usize::MAX).saturating_mul(KIB);
        Workload {
            rng: Rng::from_seed(seed ^ 0x6c6f_6164),
            plan: *plan,
            pool_most: suits.clamp(POOL_LEAST, POOL_MOST),
            block_most: asked.min(suits),
            suits,
            left: (speed * ALL_BLOCKS).min(MEMORY / u64::from(nodes.max(1))),
            payments_left: ALL_PAYMENTS,
        }
    }

    /// The time to the next of what comes by itself, on average so long after the last.
    fn wait(&mut self, mean: Duration) -> Duration {
        // 1 - u is never zero, so the logarithm is finite.
        let unit = 1.0 - (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        Duration::from_nanos((-unit.ln() * mean.as_nanos() as f64) as u64)
    }

    /// What a block is filled up to: log-uniform from 1 KiB, and nothing when that is not asked for or all is used up.
    pub(super) fn size(&mut self) -> usize {
        if self.block_most <= KIB {
            return 0;
        }
        let unit = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let size = KIB as f64 * (self.block_most as f64 / KIB as f64).powf(unit);
        let size = (size as u64).min(self.left);
        self.left -= size;
        usize::try_from(size).unwrap_or(0)
    }

    /// One of so many, at random.
    pub(super) fn pick(&mut self, count: usize) -> Option<usize> {
        self.rng.index(count)
    }

    /// Heads or tails.
    pub(super) fn toss(&mut self) -> bool {
        self.rng.chance(1, 2)
    }

    /// A seed for somebody new.
    pub(super) fn next_seed(&mut self) -> u64 {
        self.rng.next_u64()
    }

    /// The time to the next block.
    pub(super) fn next_block(&mut self) -> Duration {
        let seconds = if self.plan.block_interval == 0 { BLOCK_SECONDS } else { self.plan.block_interval };
        self.wait(Duration::from_secs(seconds))
    }

    /// Do two find the next block at once?
    pub(super) fn forks(&mut self) -> bool {
        self.rng.chance(self.plan.forks, 1000)
    }

    /// Bytes that a block may have on this network, whoever makes it.
    pub(super) fn suits(&self) -> usize {
        self.suits
    }

    /// The most bytes that waiting transactions may fill in a block.
    pub(super) fn pool_most(&self) -> usize {
        self.pool_most
    }

    /// The time to the next payment.
    pub(super) fn next_payment(&mut self) -> Duration {
        let payments = if self.plan.payments == 0 { PAYMENTS } else { self.plan.payments };
        self.wait(Duration::from_secs(1000) / u32::try_from(payments).unwrap_or(u32::MAX))
    }

    pub(super) fn has_payments(&self) -> bool {
        self.payments_left > 0
    }

    /// How many of so many payments may still be made; they count as made.
    pub(super) fn take_payments(&mut self, wanted: u64) -> u64 {
        let taken = wanted.min(self.payments_left);
        self.payments_left -= taken;
        taken
    }

    /// Is there a burst of payments in this second?
    pub(super) fn bursts(&mut self) -> bool {
        self.rng.chance(self.plan.bursts, 1000)
    }

    /// How many payments a burst has.
    pub(super) fn burst(&mut self) -> u64 {
        let drawn = 1 + self.rng.below(BURST);
        self.take_payments(drawn)
    }

    /// Does somebody tell a challenge, a proof or an acceptance in this second? At most one does; the rate is that low.
    pub(super) fn challenges(&mut self) -> bool {
        self.rng.chance(self.plan.challenges.min(1000), 1000)
    }

    /// How many one tells at once: mostly one, now and then more than a peer takes in a minute.
    pub(super) fn challenges_at_once(&mut self) -> u64 {
        if self.rng.chance(1, 8) { 1 + self.rng.below(TALE) } else { 1 }
    }

    /// Does somebody come or go for good in this second?
    pub(super) fn churns(&mut self) -> bool {
        self.rng.chance(self.plan.churn, 1000)
    }

    /// Which of the three, about this tip.
    pub(super) fn challenge(&mut self, tip: BlockAccepted) -> Option<(Kind, bytes::Bytes)> {
        let opaque: Vec<u8> = (0..=self.rng.below(OPAQUE)).map(|_| self.rng.next_u64() as u8).collect();
        let height = tip.height;
        let (kind, message) = match self.rng.below(3) {
            0 => (Kind::NewChallenge, Message::NewChallenge(&opaque)),
            1 => {
                let proof = ProofSubmission { height, miner: [2; 33], proof: &opaque };
                (Kind::ProofSubmission, Message::ProofSubmission(proof))
            }
            _ => (Kind::BlockAccepted, Message::BlockAccepted(tip)),
        };
        Some((kind, message.to_payload().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workload(plan: &Plan) -> Workload {
        Workload::new(plan, 1, 8, 24 << 20)
    }

    #[test]
    fn blocks_suit_the_network_and_come_to_an_end() {
        let slow = Plan { block_size: 16_384, bandwidth: 64, ..Plan::default() };
        let mut slow = workload(&slow);
        assert_eq!(slow.block_most, 128 * KIB);
        let sizes: Vec<usize> = (0..1000).map(|_| slow.size()).collect();
        assert!(sizes.iter().all(|size| *size <= 128 * KIB));
        assert_eq!(sizes.iter().sum::<usize>(), 30 * 64 * KIB, "and no more");
        let far = Plan { block_size: 16_384, buffer: 2, latency_mean: 1000, ..Plan::default() };
        assert_eq!((workload(&far).size(), workload(&far).pool_most), (0, POOL_LEAST));
        assert_eq!(workload(&Plan::default()).size(), 0, "nobody asked for large ones");
    }

    #[test]
    fn sizes_are_log_uniform() {
        let mut workload = workload(&Plan { block_size: 1024, ..Plan::default() });
        workload.left = u64::MAX;
        let small = (0..1000).filter(|_| workload.size() < 32 * KIB).count();
        assert!((440..560).contains(&small), "{small} of 1000 below the geometric mean");
    }

    #[test]
    fn waits_are_exponential() {
        let mut workload = workload(&Plan::default());
        let waits: Vec<Duration> = (0..4000).map(|_| workload.wait(Duration::from_secs(10))).collect();
        let mean = waits.iter().sum::<Duration>() / 4000;
        assert!((Duration::from_millis(9500)..Duration::from_millis(10_500)).contains(&mean), "{mean:?}");
        let above = waits.iter().filter(|wait| **wait > Duration::from_secs(20)).count();
        assert!((470..620).contains(&above), "{above} of 4000 above twice the mean, where 541 are expected");
    }
}
