//! Those who come late, and those who were away.

use core::time::Duration;

use super::host::Host;
use super::run::{PLACED, World};
use super::scenario::Scenario;
use super::schedule::{Event, Milestone};
use crate::invariant::Invariant;
use crate::time::Instant;

/// What a newcomer may take besides the transfer of the blocks.
const SYNCED: Duration = Duration::from_secs(120);
/// The largest block that is mined here.
const BLOCK: usize = 256 * 1024;

impl World<'_> {
    /// A node without a block is about to start for the first time.
    pub(super) fn note_newcomer(&mut self, host: u32) {
        let height = self.hosts.iter().filter_map(Host::height).max().unwrap_or(0);
        let is_first = self.sim.timing.newcomer().is_none();
        self.sim.timing.newcomer_joins(host, height, self.sim.now());
        if is_first && self.scenario == Some(Scenario::FullHouse) && self.is_house_full() {
            self.sim.count("full house");
            self.sim.schedule.after(PLACED, Event::Milestone(Milestone::CheckPlace));
        }
    }

    /// Does the newcomer still wait for the house to be full? Where that never happens, as when attackers have no means to get
    /// in, it comes in the second half all the same, and L7 is not asked for.
    pub(super) fn waits_for_full_house(&self) -> bool {
        let waits = self.scenario == Some(Scenario::FullHouse) && self.sim.timing.newcomer().is_none();
        waits && self.sim.now() < Instant::ZERO + self.chaos / 2 && !self.is_house_full()
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
        let most = SYNCED + once * 2 * u32::try_from(height).unwrap_or(u32::MAX);
        // Who comes while things go wrong has until the end.
        let holds = took.is_some_and(|took| took <= most || self.scenario.is_some() && !self.calm);
        self.sim.check.that(Invariant::L4, node, holds, || {
            format!("the newcomer took {took:?} for {height} blocks, where {most:?} are allowed")
        });
    }

    /// Has the newcomer a place in the full house? Whoever comes next may take it again.
    pub(super) fn look_who_has_a_place(&mut self) {
        if self.scenario != Some(Scenario::FullHouse) || self.is_placed {
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
        let honest = |peer: &crate::proto::PeerInfo| self.sim.machines.is_honest_ip(peer.remote.ip());
        let beset = node.connected().any(|peer| !honest(&peer));
        beset && node.connected().any(|peer| peer.outbound && honest(&peer))
    }
}
