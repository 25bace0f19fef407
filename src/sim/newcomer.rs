//! Those who come late, and those who were away.

use core::time::Duration;

use super::host::Host;
use super::run::{PLACED, World};
use super::scenario::Scenario;
use super::schedule::{Event, Milestone};
use crate::invariant::Invariant;
use crate::proto::PeerInfo;
use crate::proto::peer::admission::AdmissionRefusal;
use crate::proto::sync::chain::Chain;
use crate::time::Instant;

/// What a newcomer may take besides the transfer of the blocks.
const SYNCED: Duration = Duration::from_secs(120);
/// The same for a node that attackers claim long chains at: less than it would take to hear two of sixty at a time.
const SYNCED_AMONG_CLAIMS: Duration = Duration::from_secs(15);
/// Places for unfinished handshakes that are free at some moment although others want all of them.
const FEW: usize = 8;
/// Bytes that honest connections may hold at any moment.
const FREED: usize = 64 * 1024;
/// How far back the chain is that everybody must have although attackers hold memory.
const BLOCKS_ARRIVE: usize = 10;
/// The largest block that is mined here.
const BLOCK: usize = 256 * 1024;

impl World<'_> {
    /// A node without a block is about to start for the first time.
    pub(super) fn note_newcomer(&mut self, host: u32) {
        let height = self.hosts.iter().filter_map(Host::height).max().unwrap_or(0);
        let is_first = self.sim.timing.newcomer().is_none();
        self.sim.timing.newcomer_joins(host, height, self.sim.now());
        if is_first && self.is_crowded() && self.is_besieged() {
            self.sim.count(if self.scenario == Some(Scenario::FullHouse) { "full house" } else { "crowd at the door" });
            self.sim.schedule.after(PLACED, Event::Milestone(Milestone::CheckPlace));
        }
    }

    /// Does the newcomer still wait for the house to be full? Where that never happens, as when attackers have no means to get
    /// in, it comes in the second half all the same, and L7 is not asked for.
    pub(super) fn waits_for_full_house(&self) -> bool {
        let waits = self.is_crowded() && self.sim.timing.newcomer().is_none();
        waits && self.sim.now() < Instant::ZERO + self.chaos / 2 && !self.is_besieged()
    }

    fn is_crowded(&self) -> bool {
        self.scenario.is_some_and(Scenario::is_crowded)
    }

    /// Do attackers hold what the newcomer needs where it knocks?
    fn is_besieged(&self) -> bool {
        let Some(node) = self.hosts.first().and_then(Host::node) else { return false };
        match self.scenario {
            Some(Scenario::PendingHogs) => {
                let unfinished = node.session_count().saturating_sub(node.connected().count());
                unfinished + FEW >= node.config().admission.pending_max
            }
            Some(Scenario::RateSharers) => node.counters().turned_away.contains_key(AdmissionRefusal::Rate.label()),
            _ => self.is_house_full(),
        }
    }

    /// Are all places taken where the newcomer knocks, most of them by attackers? The honest ones that came first keep theirs.
    fn is_house_full(&self) -> bool {
        let Some(node) = self.hosts.first().and_then(Host::node) else { return false };
        let places = node.config().admission.settled_max();
        let inbound: Vec<_> = node.connected().filter(|peer| !peer.outbound).collect();
        let hostile = inbound.iter().filter(|peer| !self.sim.machines.is_honest_ip(peer.remote.ip())).count();
        inbound.len() >= places && hostile * 2 > places
    }

    /// The newcomer of every run comes, once the faults are over.
    pub(super) fn join(&mut self) {
        let Some(at) = self.hosts.iter().position(|host| host.absent) else { return };
        self.note_newcomer(at as u32);
        if let Some(host) = self.hosts.get_mut(at) {
            host.absent = false;
            host.start(&mut self.sim);
        }
    }

    /// L4: the newcomer has the chain.
    pub(super) fn check_joined(&mut self) {
        let Some((node, height, took)) = self.sim.timing.newcomer() else { return };
        let once = self.sim.rates.transfer(BLOCK) + 2 * self.sim.rates.latency_mean;
        let alone = if self.scenario == Some(Scenario::HighClaims) { SYNCED_AMONG_CLAIMS } else { SYNCED };
        let most = alone + once * 2 * u32::try_from(height).unwrap_or(u32::MAX);
        // Who comes while things go wrong has until the end.
        let holds = took.is_some_and(|took| took <= most || self.scenario.is_some() && !self.calm);
        self.sim.check.that(Invariant::L4, node, holds, || {
            format!("the newcomer took {took:?} for {height} blocks, where {most:?} are allowed")
        });
    }

    /// Has the newcomer a place in the full house? Whoever comes next may take it again.
    pub(super) fn look_who_has_a_place(&mut self) {
        if !self.is_crowded() || self.is_placed {
            return;
        }
        let (house, newcomer) = (self.hosts.first().and_then(Host::node), self.hosts.last());
        let Some((house, newcomer)) = house.zip(newcomer.map(|host| host.address.ip())) else { return };
        self.is_placed = house.connected().any(|peer| !peer.outbound && peer.remote.ip() == newcomer);
    }

    /// L7: the newcomer was given a place. It is asked for where nothing else goes wrong: a dial that fails, or a house without
    /// power, says nothing about places.
    pub(super) fn check_place(&mut self) {
        if !self.calm {
            return;
        }
        let node = self.hosts.first().and_then(Host::node);
        let count = node.map_or(0, |node| node.connected().filter(|peer| !peer.outbound).count());
        self.sim.check.that(Invariant::L7, 0, self.is_placed, || {
            format!("the newcomer was never among the {count} inbound peers")
        });
    }

    /// Among those who claim and tell nothing the wait counts from when somebody honest is there.
    pub(super) fn look_who_helps(&mut self) {
        if self.scenario != Some(Scenario::HighClaims) {
            return;
        }
        let Some(node) = self.hosts.last().and_then(Host::node) else { return };
        if node.connected().any(|peer| self.sim.machines.is_honest_ip(peer.remote.ip())) {
            self.sim.timing.newcomer_meets(self.sim.now());
        }
    }

    /// L14, each second: the chain of ten seconds ago is everywhere, whatever attackers do with a node's memory.
    pub(super) fn check_blocks_arrive(&mut self) {
        if self.scenario != Some(Scenario::BufferKeepers) || !self.calm {
            return;
        }
        self.works.push_back(self.sim.best_chain.work());
        if self.works.len() <= BLOCKS_ARRIVE {
            return;
        }
        let Some(work) = self.works.pop_front() else { return };
        for host in &self.hosts {
            let Some(node) = host.node() else { continue };
            let best = node.chain().best();
            self.sim.check.that(Invariant::L14, host.index, best.work >= work, || {
                format!(
                    "its tip is at height {}, with work {} where the best of ten seconds ago had {work}",
                    best.height, best.work
                )
            });
        }
    }

    /// L15: of whom a node dialed since it started again, as many as those who came to it before are such that it had reached
    /// or was given, or it is connected to all of them.
    pub(super) fn check_returned(&mut self) {
        let Some(host) = self.hosts.last() else { return };
        let Some(node) = host.node() else { return };
        let peers: Vec<_> = node.connected().collect();
        let is_honest = |peer: &&crate::proto::PeerInfo| self.sim.machines.is_honest_ip(peer.remote.ip());
        let honest = peers.iter().filter(is_honest).count();
        let outbound = peers.iter().filter(|peer| peer.outbound).count();
        let chosen = peers.iter().filter(|peer| peer.outbound).filter(is_honest).count();
        let others = self.hosts.iter().filter(|other| other.node().is_some()).count().saturating_sub(1);
        let holds = !self.calm || chosen > 0 && chosen * 2 >= outbound || honest >= others;
        self.sim.check.that(Invariant::L15, host.index, holds, || {
            format!("{chosen} of {outbound} outbound connections are with honest nodes, of which it has {honest} of {others}")
        });
    }

    /// L13: attackers are gone, and so is what was held for them.
    pub(super) fn check_freed(&mut self) {
        for host in &self.hosts {
            let (Some(driver), Some(node)) = (host.driver(), host.node()) else { continue };
            let (received, queued) = driver.net().memory();
            self.sim.check.that(Invariant::L13, host.index, received.max(queued) <= FREED, || {
                format!("{received} bytes that came and {queued} that are queued are still held")
            });
            let theirs = node.connected().filter(|peer| !self.sim.machines.is_honest_ip(peer.remote.ip())).count();
            let entries = driver.protocol().auditor.entries.values();
            let open = entries.filter(|entry| !entry.closing && entry.version.is_none()).count();
            self.sim.check.that(Invariant::L13, host.index, theirs == 0 && open <= FEW, || {
                format!("{theirs} attackers have a place, and {open} connections did not introduce themselves")
            });
        }
    }

    /// What the nodes think of each other when the outage begins.
    pub(super) fn note_scores(&mut self) {
        let mut scores = std::collections::BTreeMap::new();
        for host in &self.hosts {
            let known = host.node().into_iter().flat_map(|node| node.peers().known_peers());
            scores.extend(known.map(|peer| ((host.index, peer.node_id.clone()), peer.score)));
        }
        self.scores_before = Some(scores);
    }

    /// L10: whoever was cut off is back, and nobody is blamed for it. L1 was looked at before.
    pub(super) fn check_outlasted(&mut self) {
        let Some(scores) = self.scores_before.take() else { return };
        for host in &self.hosts {
            let Some(node) = host.node() else { continue };
            let peers = node.connected().count();
            self.sim.check.that(Invariant::L10, host.index, peers > 0, || "no peer after the outage".to_owned());
            // Other faults cost a point or two.
            if !self.calm {
                continue;
            }
            for peer in node.peers().known_peers().filter(|peer| peer.node_id.starts_with('n')) {
                let before = scores.get(&(host.index, peer.node_id.clone())).copied().unwrap_or(0);
                self.sim.check.that(Invariant::L10, host.index, peer.score >= before.min(0), || {
                    format!("{} had {before} points before the outage and has {} now", peer.node_id, peer.score)
                });
            }
        }
    }

    /// L6: a node with attackers among its neighbours, and an honest one that it dialed.
    pub(super) fn is_beset(&self, host: &Host) -> bool {
        let Some(node) = host.node() else { return false };
        let honest = |peer: &PeerInfo| self.sim.machines.is_honest_ip(peer.remote.ip());
        let beset = node.connected().any(|peer| !honest(&peer));
        beset && node.connected().any(|peer| peer.outbound && honest(&peer))
    }
}
