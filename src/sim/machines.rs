//! The machines of a run, by number and by address: honest nodes first, then attackers.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{MutexGuard, PoisonError};

use super::kernel::{Machine, SharedMachine};
use crate::time::Instant;

/// Where the node that listens at an address takes WebSocket, if it does.
pub(super) fn web_address(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), 8334)
}

#[derive(Default)]
pub(super) struct Machines {
    list: Vec<SharedMachine>,
    ips: Vec<IpAddr>,
    /// Who listens where.
    listeners: BTreeMap<SocketAddr, u32>,
    /// How many of them, from the first on, are honest.
    honest: u32,
}

impl Machines {
    /// One more, with an address.
    pub(super) fn add(&mut self, address: SocketAddr, machine: SharedMachine) {
        self.listeners.insert(address, self.count());
        self.list.push(machine);
        self.ips.push(address.ip());
    }

    /// The last one has this address, too.
    pub(super) fn add_address(&mut self, address: SocketAddr) {
        self.listeners.insert(address, self.count().saturating_sub(1));
    }

    /// Those that there are now are honest; the ones to come are not.
    pub(super) fn end_honest(&mut self) {
        self.honest = self.count();
    }

    pub(super) fn count(&self) -> u32 {
        u32::try_from(self.list.len()).unwrap_or(u32::MAX)
    }

    /// A machine's kernel, which is told the time of the simulation.
    pub(super) fn lock(&self, host: u32, now: Instant) -> MutexGuard<'_, Machine> {
        let mut machine = self.list[host as usize].lock().unwrap_or_else(PoisonError::into_inner);
        machine.sim_time = now;
        machine
    }

    /// Who listens at this address, if anybody does.
    pub(super) fn listener(&self, address: SocketAddr) -> Option<u32> {
        self.listeners.get(&address).copied()
    }

    /// Who has this IP address.
    pub(super) fn by_ip(&self, ip: IpAddr) -> Option<u32> {
        self.ips.iter().position(|other| *other == ip).and_then(|host| u32::try_from(host).ok())
    }

    pub(super) fn has_ip(&self, host: usize, ip: IpAddr) -> bool {
        self.ips.get(host) == Some(&ip)
    }

    /// Is it the machine of an honest node? Nobody's is not.
    pub(super) fn is_honest(&self, host: u32) -> bool {
        host < self.honest
    }

    /// Does an honest node live there?
    pub(super) fn is_honest_ip(&self, ip: IpAddr) -> bool {
        self.by_ip(ip).is_some_and(|host| self.is_honest(host))
    }

    /// What the kernels injected, by name.
    pub(super) fn injected(&self) -> BTreeMap<&'static str, u64> {
        let mut all = BTreeMap::new();
        for machine in &self.list {
            let machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
            for (what, count) in &machine.injected {
                *all.entry(*what).or_default() += count;
            }
        }
        all
    }
}
