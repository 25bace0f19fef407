//! What the hosts are used for: blocks, payments and gossip, and nodes that come and go.
//!
//! All of it is drawn by a generator of its own. Whatever is large suits the network, for one that is given more than it
//! can carry agrees on nothing, and that would say nothing about the node.

use core::time::Duration;
use std::net::SocketAddr;

use super::fault::{Plan, Rates};
use super::host::Host;
use super::run::World;
use super::simulation::Event;
use super::tls::LIVES;
use crate::proto::sync::chain::Chain;
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
/// Payments of a run, at most: what waited through an outage of hours must be passed on in the time that healing has.
const ALL_PAYMENTS: u64 = 1000;
/// Bytes of a challenge or a proof, at most.
const OPAQUE: u64 = 1024;

/// The load of a run.
pub(super) struct Workload {
    rng: Rng,
    plan: Plan,
    /// The most that waiting transactions may fill, and that a block may be filled up to.
    pool_most: usize,
    block_most: usize,
    /// Bytes that may still be filled, and payments that may still be made.
    left: u64,
    payments_left: u64,
}

impl Workload {
    /// The load of a plan on its network. `queue` is what a connection may queue.
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
    fn size(&mut self) -> usize {
        if self.block_most <= KIB {
            return 0;
        }
        let unit = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let size = KIB as f64 * (self.block_most as f64 / KIB as f64).powf(unit);
        let size = (size as u64).min(self.left);
        self.left -= size;
        usize::try_from(size).unwrap_or(0)
    }

    fn challenge(&mut self, tip: BlockAccepted) -> Option<(Kind, bytes::Bytes)> {
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

impl World<'_> {
    /// Somebody who can do something: it is there and awake.
    fn somebody(&mut self) -> Option<usize> {
        let at = self.load.rng.index(self.hosts.len())?;
        let able = |host: &&Host| host.node().is_some() && !self.sim.is_frozen(host.index);
        self.hosts.get(at).filter(able).map(|_| at)
    }

    /// A block is found; now and then two at once.
    pub(super) fn mine(&mut self) {
        let seconds = if self.load.plan.block_interval == 0 { BLOCK_SECONDS } else { self.load.plan.block_interval };
        let wait = self.load.wait(Duration::from_secs(seconds));
        self.sim.after(wait, Event::Mine);
        let Some(at) = self.somebody() else { return };
        let tip = |host: &Host| host.node().map(|node| node.chain().best().hash);
        let parent = self.hosts.get(at).and_then(tip);
        let forks = self.load.rng.chance(self.load.plan.forks, 1000);
        let rival = self.somebody().filter(|rival| forks && *rival != at);
        let rival = rival.filter(|rival| self.hosts.get(*rival).and_then(tip) == parent);
        for at in core::iter::once(at).chain(rival) {
            let size = self.load.size();
            let Some(host) = self.hosts.get_mut(at) else { continue };
            host.mine(&mut self.sim, self.load.pool_most, size);
        }
        if rival.is_some() {
            self.sim.count("fork");
        }
    }

    /// Somebody pays.
    pub(super) fn pay(&mut self) {
        let payments = if self.load.plan.payments == 0 { PAYMENTS } else { self.load.plan.payments };
        let wait = self.load.wait(Duration::from_secs(1000) / u32::try_from(payments).unwrap_or(u32::MAX));
        self.sim.after(wait, Event::Pay);
        if self.load.payments_left > 0
            && let Some(payer) = self.somebody().and_then(|at| self.hosts.get_mut(at))
        {
            self.load.payments_left -= 1;
            payer.pay(&mut self.sim);
        }
    }

    /// The rest of what one second brings.
    pub(super) fn look_for_work(&mut self) {
        let plan = self.load.plan;
        if self.load.rng.chance(plan.bursts, 1000)
            && let Some(payer) = self.somebody().and_then(|at| self.hosts.get_mut(at))
        {
            let count = (1 + self.load.rng.below(BURST)).min(self.load.payments_left);
            self.load.payments_left -= count;
            for _ in 0..count {
                payer.pay(&mut self.sim);
            }
            self.sim.count("burst of payments");
        }
        // At most one in a second; the rate is that low.
        if self.load.rng.chance(plan.challenges.min(1000), 1000)
            && let Some(at) = self.somebody()
            && let Some(tip) = self.hosts.get(at).and_then(Host::node).map(|node| node.chain().best())
            && let Some((kind, payload)) = self.load.challenge(BlockAccepted { hash: tip.hash, height: tip.height })
            && let Some(host) = self.hosts.get_mut(at)
        {
            host.tell(&mut self.sim, kind, payload);
            self.sim.count("challenge, proof or acceptance");
        }
        if self.scenario.is_none() && self.load.rng.chance(plan.churn, 1000) {
            self.come_or_go();
        }
    }

    /// A node leaves for good, or another one, without a block, takes the place of one that has left.
    fn come_or_go(&mut self) {
        let left: Vec<usize> = (0..self.hosts.len()).filter(|at| self.hosts[*at].is_gone()).collect();
        let is_there = |host: &Host| !host.is_gone() && !host.absent;
        let there: Vec<usize> = (0..self.hosts.len()).filter(|at| is_there(&self.hosts[*at])).collect();
        // Those who stay must be enough to know each other.
        let enough = there.len() > (self.hosts.len() * 2 / 3).max(2);
        if enough && (left.is_empty() || self.load.rng.chance(1, 2)) {
            let Some(at) = self.load.rng.index(there.len()).map(|at| there[at]) else { return };
            let gently = self.load.rng.chance(1, 2);
            let leaver = self.hosts[at].address;
            self.hosts[at].leave(&mut self.sim, gently);
            // Operators hear of it: whoever starts again asks somebody who is there.
            for host in 0..self.hosts.len() {
                let seed = self.other(&there, &[at, host]);
                self.hosts[host].replace_seed(leaver, seed);
            }
            // What it alone had is gone.
            self.sim.lost = true;
            self.sim.count("leave");
        } else if let Some(at) = self.load.rng.index(left.len()).map(|at| left[at])
            && self.hosts[at].lives() < LIVES
        {
            let seeds = (0..3).filter_map(|_| self.other(&there, &[at])).collect();
            let seed = self.load.rng.next_u64();
            if self.hosts[at].replace(&mut self.sim, seeds, seed) {
                self.sim.count("join");
            }
        }
    }

    /// The address of one of these, but not of those.
    fn other(&mut self, these: &[usize], not: &[usize]) -> Option<SocketAddr> {
        let these: Vec<usize> = these.iter().copied().filter(|at| !not.contains(at)).collect();
        self.load.rng.index(these.len()).map(|at| self.hosts[these[at]].address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(plan: &Plan) -> Workload {
        Workload::new(plan, 1, 8, 24 << 20)
    }

    #[test]
    fn blocks_suit_the_network_and_come_to_an_end() {
        let slow = Plan { block_size: 16_384, bandwidth: 64, ..Plan::default() };
        let mut slow = load(&slow);
        assert_eq!(slow.block_most, 128 * KIB);
        let sizes: Vec<usize> = (0..1000).map(|_| slow.size()).collect();
        assert!(sizes.iter().all(|size| *size <= 128 * KIB));
        assert_eq!(sizes.iter().sum::<usize>(), 30 * 64 * KIB, "and no more");
        let far = Plan { block_size: 16_384, buffer: 2, latency_mean: 1000, ..Plan::default() };
        assert_eq!((load(&far).size(), load(&far).pool_most), (0, POOL_LEAST));
        assert_eq!(load(&Plan::default()).size(), 0, "nobody asked for large ones");
    }

    #[test]
    fn sizes_are_log_uniform() {
        let mut load = load(&Plan { block_size: 1024, ..Plan::default() });
        load.left = u64::MAX;
        let small = (0..1000).filter(|_| load.size() < 32 * KIB).count();
        assert!((440..560).contains(&small), "{small} of 1000 below the geometric mean");
    }

    #[test]
    fn waits_are_exponential() {
        let mut load = load(&Plan::default());
        let waits: Vec<Duration> = (0..4000).map(|_| load.wait(Duration::from_secs(10))).collect();
        let mean = waits.iter().sum::<Duration>() / 4000;
        assert!((Duration::from_millis(9500)..Duration::from_millis(10_500)).contains(&mean), "{mean:?}");
        let above = waits.iter().filter(|wait| **wait > Duration::from_secs(20)).count();
        assert!((470..620).contains(&above), "{above} of 4000 above twice the mean, where 541 are expected");
    }
}
