//! What the hosts do by themselves: they mine, pay, tell something; some leave for good, and others take their places.

use std::net::SocketAddr;

use super::host::{Departure, Host};
use super::run::World;
use super::schedule::Event;
use super::tls::LIVES;
use crate::proto::sync::chain::Chain;
use crate::wire::message::BlockAccepted;

impl World<'_> {
    /// Somebody who can do something: it is there and awake.
    fn somebody(&mut self) -> Option<usize> {
        let at = self.workload.pick(self.hosts.len())?;
        let able = |host: &&Host| host.node().is_some() && !self.sim.schedule.is_frozen(host.index);
        self.hosts.get(at).filter(able).map(|_| at)
    }

    /// A block is found; now and then two at once.
    pub(super) fn mine(&mut self) {
        self.sim.schedule.after(self.workload.next_block(), Event::Mine);
        let Some(at) = self.somebody() else { return };
        let tip = |host: &Host| host.node().map(|node| node.chain().best().hash);
        let parent = self.hosts.get(at).and_then(tip);
        let forks = self.workload.forks();
        let rival = self.somebody().filter(|rival| forks && *rival != at);
        let rival = rival.filter(|rival| self.hosts.get(*rival).and_then(tip) == parent);
        for at in core::iter::once(at).chain(rival) {
            let size = self.workload.size();
            let Some(host) = self.hosts.get_mut(at) else { continue };
            host.mine(&mut self.sim, self.workload.pool_most(), size);
        }
        if rival.is_some() {
            self.sim.count("fork");
        }
    }

    /// Somebody pays.
    pub(super) fn pay(&mut self) {
        self.sim.schedule.after(self.workload.next_payment(), Event::Pay);
        if self.workload.has_payments()
            && let Some(payer) = self.somebody().and_then(|at| self.hosts.get_mut(at))
        {
            self.workload.take_payments(1);
            payer.pay(&mut self.sim);
        }
    }

    /// The rest of what one second brings.
    pub(super) fn second_of_workload(&mut self) {
        if self.workload.bursts()
            && let Some(payer) = self.somebody().and_then(|at| self.hosts.get_mut(at))
        {
            for _ in 0..self.workload.burst() {
                payer.pay(&mut self.sim);
            }
            self.sim.count("burst of payments");
        }
        if self.workload.challenges()
            && let Some(at) = self.somebody()
            && let Some(tip) = self.hosts.get(at).and_then(Host::node).map(|node| node.chain().best())
        {
            for _ in 0..self.workload.challenges_at_once() {
                let Some(host) = self.hosts.get_mut(at) else { break };
                let tip = BlockAccepted { hash: tip.hash, height: tip.height };
                let Some((kind, payload)) = self.workload.challenge(tip) else { break };
                host.tell(&mut self.sim, kind, payload);
                self.sim.count("challenge, proof or acceptance");
            }
        }
        if self.scenario.is_none() && self.workload.churns() {
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
        if enough && (left.is_empty() || self.workload.toss()) {
            let Some(at) = self.workload.pick(there.len()).map(|at| there[at]) else { return };
            if self.is_last_contact(at, &there) {
                return;
            }
            let departure = if self.workload.toss() { Departure::Stopped } else { Departure::Killed };
            let leaver = self.hosts[at].address;
            self.hosts[at].leave(&mut self.sim, departure);
            // Operators hear of it: whoever starts again asks somebody who is there.
            for host in 0..self.hosts.len() {
                let seed = self.other(&there, &[at, host]);
                self.hosts[host].replace_seed(leaver, seed);
            }
            // What it alone had is gone.
            self.sim.best_chain.lose();
            self.sim.count("leave");
        } else if let Some(at) = self.workload.pick(left.len()).map(|at| left[at])
            && self.hosts[at].lives() < LIVES
        {
            let seeds = (0..3).filter_map(|_| self.other(&there, &[at])).collect();
            let seed = self.workload.next_seed();
            if self.hosts[at].replace(&mut self.sim, seeds, seed) {
                self.sim.count("join");
            }
        }
    }

    /// Is it the only one of these that a node knows which runs? Without it, that node could never meet anybody again.
    fn is_last_contact(&self, at: usize, there: &[usize]) -> bool {
        self.hosts.iter().filter(|host| host.index as usize != at).any(|host| {
            let knows = |other: usize| {
                let address = self.hosts[other].address;
                host.node()
                    .is_some_and(|node| node.config().seeds.contains(&address) || node.book().get(address).is_some())
            };
            let others = there.iter().copied().filter(|other| *other != at && *other != host.index as usize);
            knows(at) && !others.into_iter().any(knows)
        })
    }

    /// The address of one of these, but not of those.
    fn other(&mut self, these: &[usize], not: &[usize]) -> Option<SocketAddr> {
        let these: Vec<usize> = these.iter().copied().filter(|at| !not.contains(at)).collect();
        self.workload.pick(these.len()).map(|at| self.hosts[these[at]].address)
    }
}
