//! What a host has counted anew now and then: its descriptors, its loop's counters, its node's tables, and whom it is
//! connected to.

use core::time::Duration;
use std::net::SocketAddr;

use super::audited_node::AuditedNode;
use super::host::Host;
use super::simulation::SimState;
use crate::chain::ReferenceChain;
use crate::driver::Driver;
use crate::invariant::Invariant;
use crate::proto::Node;

/// The loop's counters are checked once in so many turns: that looks at each connection.
const AUDIT: u64 = 8;
/// The node's tables once in so many, and at each milestone: that looks at each address, object and header.
const NODE_AUDIT: u64 = 16;
/// How long a connection may stay open after its address is blacklisted.
const PARTED: Duration = Duration::from_secs(1);
impl Host {
    /// After a turn: compares the descriptors with what the loop holds, and now and then looks at more.
    pub(super) fn audit(&mut self, sim: &mut SimState<'_>) {
        let Some(driver) = &self.driver else { return };
        let index = self.index;
        let (open, held) = (sim.machine(index).open(), driver.sockets());
        sim.check.that(Invariant::S4, index, open == held, || {
            format!("{open} descriptors are open, for {held} connections, dials and listeners")
        });
        if self.turns.is_multiple_of(AUDIT) {
            self.audit_loop(sim);
        }
        if self.turns.is_multiple_of(NODE_AUDIT) {
            self.audit_node(sim);
        }
    }

    /// Has the loop count its connections anew, and compares those that it admitted with those that the protocol let in.
    fn audit_loop(&mut self, sim: &mut SimState<'_>) {
        let Some(driver) = &self.driver else { return };
        let (index, admitted, known) = (self.index, driver.protocol().auditor.admitted.len(), driver.admitted());
        sim.check.that(Invariant::S3, index, admitted == known, || {
            format!("{admitted} addresses are admitted and {known} connections come from them")
        });
        sim.check.audited(Driver::<AuditedNode>::AUDITED, index, driver.audit());
    }

    /// Has the node look at its own tables, and looks whom it is connected to.
    pub(super) fn audit_node(&mut self, sim: &mut SimState<'_>) {
        let Some(driver) = &self.driver else { return };
        let (index, node) = (self.index, driver.protocol().node());
        sim.check.audited(Node::<ReferenceChain>::AUDITED, index, node.audit());
        let now = self.clock.read(sim.now());
        // A dial cannot be taken back; the connection is closed as soon as it stands.
        let dialed = |address: &SocketAddr| driver.protocol().auditor.dials.values().any(|(_, to)| to == address);
        let mut contacts = node.blacklisted_contacts(now);
        contacts.retain(|address| !dialed(address));
        self.contacts.retain(|address, _| contacts.contains(address));
        for address in &contacts {
            let since = *self.contacts.entry(*address).or_insert(now.at);
            let waited = now.at.since(since);
            sim.check.that(Invariant::S10, index, waited <= PARTED, || {
                format!("a connection with {address} is open {waited:?} after it was blacklisted")
            });
        }
        sim.check.that(Invariant::S10, index, true, String::new);
    }
}
