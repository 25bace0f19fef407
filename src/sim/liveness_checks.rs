//! What must hold once the faults have stopped: connected, agreed, reached, quiet.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::adversary::{Adversary, Role};
use super::auditor::Entry;
use super::eclipse::reached_from;
use super::host::Host;
use super::pipe::opposite;
use super::run::{HEARD, QUIET, World};
use crate::id::ConnId;
use crate::invariant::Invariant;
use crate::proto::peer::address_book::AddressEntry;
use crate::proto::sync::chain::Chain;
use crate::time::Instant;
use crate::wire::Hash;

impl World<'_> {
    /// L1: who is connected to whom.
    pub(super) fn check_connected(&mut self) {
        let names: BTreeMap<String, usize> =
            self.hosts.iter().map(|host| (host.node_id().to_owned(), host.index as usize)).collect();
        let mut near: Vec<Vec<usize>> = Vec::new();
        for host in &self.hosts {
            let Some(node) = host.node() else {
                near.push(Vec::new());
                continue;
            };
            let peers: Vec<_> = node.connected().collect();
            let honest: Vec<usize> = peers
                .iter()
                .filter_map(|peer| names.get(&peer.node_id).copied())
                .filter(|other| peers.iter().any(|peer| self.sim.machines.has_ip(*other, peer.remote.ip())))
                .collect();
            // As many outbound connections as it wants, or nobody left whom it could know to be there: it reached them once, or
            // they said where they listen. A "no" is an excuse for a while, for the other side may not have noticed yet that a
            // connection is dead. That one sits there under this one's name, or here under the other's, is none.
            let outbound = peers.iter().filter(|peer| peer.outbound).count();
            let now = self.sim.now();
            let missing = |other: &&Host| {
                let lately = |at: Instant| now.since(at) <= Duration::from_secs(35);
                let refuses =
                    |entry: &AddressEntry| entry.is_refusing() || entry.declined > 0 && entry.tried.is_some_and(lately);
                let entry = node.book().get(other.address);
                let known = entry.is_some_and(|entry| entry.is_verified() && !refuses(entry));
                // Where bytes are changed on their way, whom that happens to may be blacklisted for it; else S9 is broken.
                let clock = host.clock.read(now);
                // It left in this moment, or is being dialed: feelers come and go.
                let soon = |entry: &AddressEntry| {
                    let tried = entry.tried.is_some_and(|at| clock.at.since(at) <= SOON);
                    tried || entry.urgent_attempt > clock.at && entry.urgent_attempt.since(clock.at) <= SOON
                };
                let excused = node.is_blacklisted(clock, other.address) || entry.is_some_and(soon);
                known
                    && !excused
                    && !other.is_gone()
                    && other.index != host.index
                    && !honest.contains(&(other.index as usize))
            };
            let left = self.hosts.iter().filter(missing).count();
            // Whatever it knows: two, where there are two others, and none that was blamed for bytes which were changed on their
            // way.
            let blames = |other: &Host| node.is_blacklisted(host.clock.read(now), other.address);
            let robbed = self.hosts.iter().any(blames);
            let few = if robbed { 0 } else { host.outbound().min(self.hosts.len() - 1).min(2) };
            // One that ended just now, or is ending, is about to be replaced.
            let outbound = outbound + node.ending_outbound();
            let clock = host.clock.read(now);
            let lacks_lately = node.lacking_since().is_some_and(|since| clock.at.since(since) <= SOON);
            let holds = peers.len() >= few && (outbound >= host.outbound() || left == 0 || lacks_lately);
            let index = host.index;
            self.sim.check.that(Invariant::L1, index, holds, || {
                let wanted = host.outbound();
                format!(
                    "{outbound} of {wanted} outbound connections, {} in all, and {left} nodes left to dial",
                    peers.len()
                )
            });
            near.push(honest);
        }
        let there: Vec<usize> =
            self.hosts.iter().filter(|host| !host.is_gone()).map(|host| host.index as usize).collect();
        let mut core = BTreeSet::new();
        for start in &there {
            if !core.contains(start) {
                let part = reached_from(*start, &near);
                core = if part.len() > core.len() { part } else { core };
            }
        }
        let lost: Vec<usize> = there.into_iter().filter(|host| !core.contains(host)).collect();
        self.sim.check.that(Invariant::L1, lost.first().copied().unwrap_or(0) as u32, lost.is_empty(), || {
            format!("{} of {} nodes are connected with each other", core.len(), core.len() + lost.len())
        });
    }

    pub(super) fn check_agreed(&mut self) {
        let heaviest = self.sim.best_chain.work();
        let mut first = None;
        for host in &self.hosts {
            let Some(node) = host.node().filter(|_| !self.is_eclipsed(host)) else { continue };
            let tip = node.chain().best();
            let same = *first.get_or_insert(tip.hash) == tip.hash;
            let holds = same && tip.work >= heaviest;
            if self.is_beset(host) {
                self.sim
                    .check
                    .that(Invariant::L6, host.index, holds, || format!("tip {} is not the heaviest", tip.hash));
            }
            self.sim.check.that(Invariant::L2, host.index, holds, || {
                format!("tip {} at height {} with work {} of {heaviest}", tip.hash, tip.height, tip.work)
            });
        }
    }

    pub(super) fn check_heard(&mut self) {
        let Some(id) = self.last_payment else { return };
        for host in &self.hosts {
            let Some(node) = host.node().filter(|_| !self.is_eclipsed(host)) else { continue };
            let heard = node.chain().pool().contains(&id);
            if self.is_beset(host) {
                self.sim.check.that(Invariant::L6, host.index, heard, || format!("transaction {id} is not there"));
            }
            self.sim.check.that(Invariant::L3, host.index, heard, || format!("transaction {id} is not there"));
        }
    }

    /// L8: what is left to do when nothing happens.
    pub(super) fn check_quiet(&mut self) {
        let seconds = QUIET.saturating_sub(HEARD).as_secs().max(1);
        let (before, now) = (self.turns_before, self.sim.counters.turns());
        let (wakes, turns) = (now.without_news - before.without_news, now.all - before.all);
        let connections: usize = self.hosts.iter().filter_map(Host::driver).map(|driver| driver.sockets()).sum();
        // A heartbeat, a ping and housekeeping for each connection and node come to less than this, and so do the places that
        // attackers try to get.
        let mut most = seconds * (connections as u64 + 4 * self.hosts.len() as u64 + 4 * self.adversaries.len() as u64);
        for role in self.adversaries.iter().map(Adversary::role).collect::<BTreeSet<_>>() {
            let count = self.adversaries.iter().filter(|one| one.role() == role).count() as u64;
            let (wakes, goes_round) = role.wakes();
            most += seconds * wakes * if goes_round { connections as u64 } else { count };
            if role == Role::HighClaimer {
                // To each of its connections, which tell nothing of what they have, a node tells its pool at the relay's pace.
                most += count * u64::from(role.crowd()) * self.waiting_before.len() as u64;
            }
        }
        self.sim.check.that(Invariant::L8, 0, wakes <= most, || {
            format!("{wakes} wake-ups where {most} are enough, {} transactions wait", self.waiting_before.len())
        });
        if self.adversaries.is_empty() {
            let most = 4 * most;
            self.sim.check.that(Invariant::L8, 0, turns <= most, || format!("{turns} turns where {most} are enough"));
        }
        for host in &self.hosts {
            let Some(driver) = host.driver() else { continue };
            let entries = driver.protocol().auditor.entries.iter();
            let honest = entries.filter(|(_, entry)| {
                let pipe = entry.pipe.and_then(|(id, side)| Some((self.sim.pipes.get(id)?, side)));
                pipe.is_some_and(|(pipe, side)| self.sim.machines.is_honest(pipe.end(opposite(side)).host))
            });
            let owed =
                driver.protocol().auditor.entries.values().filter(|entry| !entry.closing && !entry.owed.is_empty());
            let owed = owed.count();
            self.sim.check.that(Invariant::L11, host.index, owed == 0, || {
                format!("{owed} peers were not sent what the node said itself")
            });
            let waits = |(conn, entry): &(&ConnId, &Entry)| {
                entry.refused && !entry.closing && driver.net().queued_bytes(**conn) == 0
            };
            let waiting = driver.protocol().auditor.entries.iter().filter(waits).count();
            self.sim.check.that(Invariant::S23, host.index, waiting == 0, || {
                format!("{waiting} connections with nothing queued wait for the word that there is room")
            });
            let queued: usize = honest.map(|(conn, _)| driver.net().queued_bytes(*conn)).sum();
            self.sim
                .check
                .that(Invariant::L8, host.index, queued < 4096, || format!("{queued} bytes are still queued"));
        }
    }

    /// L12: what waits for a block waits everywhere, whoever was apart and whatever was abandoned.
    pub(super) fn check_pools(&mut self) {
        // Who fills pools fills them faster than the relay's pace until the end, and version 1 has no word to compare pools by.
        let fills = self.adversaries.iter().any(|one| one.role() == Role::PoolFiller);
        let is_old = |host: &Host| host.node().is_some_and(|node| node.config().version < 2);
        if fills || self.hosts.iter().any(is_old) {
            return;
        }
        let there = self.waiting_transactions();
        // What somebody told one of them in the last moment is still on its way.
        let on_its_way = |id: &Hash| !self.waiting_before.contains(id);
        let all: BTreeSet<Hash> = there.values().flatten().filter(|id| !on_its_way(id)).copied().collect();
        let is_eclipsed = |index: u32| self.hosts.iter().any(|host| host.index == index && self.is_eclipsed(host));
        let apart: BTreeSet<u32> = there.keys().copied().filter(|index| is_eclipsed(*index)).collect();
        for (index, pool) in there.iter().filter(|(index, _)| !apart.contains(index)) {
            let lacks: Vec<String> = all.difference(pool).take(3).map(|id| id.to_string()).collect();
            self.sim.check.that(Invariant::L12, *index, lacks.is_empty(), || {
                format!(
                    "{} transactions wait at it, {} everywhere; it lacks {}",
                    pool.len(),
                    all.len(),
                    lacks.join(", ")
                )
            });
        }
    }

    /// What waits for a block at each node.
    pub(super) fn waiting_transactions(&self) -> BTreeMap<u32, BTreeSet<Hash>> {
        let pool = |host: &Host| Some((host.index, host.node()?.chain().pool().ids().copied().collect()));
        self.hosts.iter().filter_map(pool).collect()
    }

    /// S4: everything that was asked to stop has stopped.
    pub(super) fn check_stopped(&mut self) {
        for host in &self.hosts {
            let (runs, open) = (host.driver().is_some(), self.sim.machine(host.index).open());
            self.sim.check.that(Invariant::S4, host.index, !runs && open == 0, || {
                format!("after a stop, {open} descriptors are open and the loop runs: {runs}")
            });
        }
    }

    /// Each second, L5 and L9: nobody waits for ever.
    pub(super) fn check_each_second(&mut self) {
        let now = self.sim.now();
        for host in &mut self.hosts {
            let frozen = self.sim.schedule.is_frozen(host.index);
            if frozen {
                host.excused = host.excused.max(now);
            }
            if frozen || host.excused >= now {
                self.sim.machine(host.index).excuse();
            }
            let waited = self.sim.machine(host.index).waited().unwrap_or_default();
            self.sim.check.that(Invariant::L9, host.index, waited <= ACCEPTED, || {
                format!("a connection waits for {waited:?}, although there are descriptors")
            });
            for (conn, silent, most) in host.silences(now) {
                self.sim.check.that(Invariant::L5, host.index, silent <= most, || {
                    format!("nothing came on connection {conn} for {silent:?}, and it is open")
                });
            }
        }
    }
}

/// A dial that will begin so soon, or began so lately, is as good as a connection.
const SOON: Duration = Duration::from_secs(4);

/// How long a connection may wait although there are descriptors; a look each second adds one.
const ACCEPTED: Duration = Duration::from_secs(2);
