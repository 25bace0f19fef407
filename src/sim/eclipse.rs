//! Whom attackers have cut off: nodes alone among them, and pairs that know only each other and them.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::host::Host;
use super::run::World;
use crate::proto::PeerInfo;

/// Within this news reaches every node that has an honest neighbour (L2, L3): a connection that is younger carries none yet.
const NEWS_TAKES: Duration = Duration::from_secs(10);

impl World<'_> {
    /// Whether news of the others cannot reach a node, because of attackers of whom one has an address in each of many subnets: as
    /// many nodes of the network as there are honest ones, or more, so that nodes which dial by chance may end among them. What an
    /// address book does against that is another matter than whether news is passed on.
    pub(super) fn is_eclipsed(&self, host: &Host) -> bool {
        let has_crowd = self.adversaries.iter().any(|one| one.role().crowd() > 0);
        has_crowd && host.node().is_some() && !self.mainland().contains(&(host.index as usize))
    }

    /// The nodes of the largest part of the network that honest connections hold together.
    fn mainland(&self) -> BTreeSet<usize> {
        let names: BTreeMap<&str, usize> =
            self.hosts.iter().map(|host| (host.node_id(), host.index as usize)).collect();
        let mut near: Vec<Vec<usize>> = Vec::new();
        for host in &self.hosts {
            let clock = host.clock.read(self.sim.now());
            let honest = |peer: &PeerInfo| {
                let other = names.get(peer.node_id.as_str()).copied()?;
                let is_it = self.sim.machines.has_ip(other, peer.remote.ip());
                (is_it && clock.at.since(peer.since) >= NEWS_TAKES).then_some(other)
            };
            near.push(
                host.node().map_or(Vec::new(), |node| node.connected().filter_map(|peer| honest(&peer)).collect()),
            );
        }
        let mut largest = BTreeSet::new();
        for host in self.hosts.iter().filter(|host| !host.is_gone()) {
            if !largest.contains(&(host.index as usize)) {
                let part = reached_from(host.index as usize, &near);
                largest = if part.len() > largest.len() { part } else { largest };
            }
        }
        largest
    }
}

/// Who is reached from a node over connections in either direction, itself among them.
pub(super) fn reached_from(start: usize, near: &[Vec<usize>]) -> BTreeSet<usize> {
    let mut reached = BTreeSet::from([start]);
    let mut waiting = vec![start];
    while let Some(at) = waiting.pop() {
        let forward = near.get(at).into_iter().flatten().copied();
        let back = near.iter().enumerate().filter(|(_, peers)| peers.contains(&at)).map(|(other, _)| other);
        for other in forward.chain(back) {
            if reached.insert(other) {
                waiting.push(other);
            }
        }
    }
    reached
}
