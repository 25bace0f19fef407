//! What a host counts anew now and then: its loop's auditor, its node's tables, and whom it is connected to.

use core::time::Duration;
use std::net::SocketAddr;

use super::check::Invariant;
use super::host::Host;
use super::simulation::SimState;
use crate::limits::SHARE_FROM;
use crate::wire::frame::MAX_PAYLOAD;

/// The loop's auditor are counted anew once in so many turns: that looks at each connection.
const AUDIT: u64 = 8;
/// The node's tables once in so many, and at each milestone: that looks at each address, object and header.
const NODE_AUDIT: u64 = 16;
/// How long a connection may stay open after its address is blacklisted.
const PARTED: Duration = Duration::from_secs(1);
/// What an audit of a node looks at when it finds nothing.
const AUDITED: [Invariant; 8] = [
    Invariant::S5,
    Invariant::S6,
    Invariant::S7,
    Invariant::S8,
    Invariant::S13,
    Invariant::S14,
    Invariant::S17,
    Invariant::S19,
];

impl Host {
    /// Counts what the loop holds anew, and compares it with the loop's own auditor and its limits.
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

    /// Compares what the connections hold with the loop's own auditor and its limits.
    fn audit_loop(&mut self, sim: &mut SimState<'_>) {
        let Some(driver) = &self.driver else { return };
        let index = self.index;
        let (audit, net) = (driver.audit(), driver.net());
        let (admitted, unborn) = (driver.protocol().auditor.admitted.len(), audit.securing);
        sim.check.that(Invariant::S3, index, admitted == unborn, || {
            format!("{admitted} addresses are admitted and {unborn} connections come from them")
        });
        let (received, queued) = net.memory();
        let limits = &self.limits;
        sim.check.that(Invariant::S5, index, audit.connections <= limits.connections, || {
            format!("{} connections where {} are allowed", audit.connections, limits.connections)
        });
        sim.check.that(Invariant::S5, index, audit.longest <= limits.outbox.hard, || {
            format!("{} bytes are queued to one connection", audit.longest)
        });
        let frame = usize::try_from(MAX_PAYLOAD).unwrap_or(usize::MAX);
        for (held, budget) in [(received, limits.receive_budget), (queued, limits.send_budget)] {
            // One frame above the budget may be finished, whatever its size.
            sim.check.that(Invariant::S5, index, held <= budget + frame, || {
                format!("{held} bytes are held where {budget} and a frame are allowed")
            });
        }
        sim.check.that(Invariant::S6, index, received == audit.held && audit.opened == net.connections(), || {
            let opened = net.connections();
            format!("{received} bytes are held by the auditor and {} by the inboxes; {opened} opened", audit.held)
        });
        // A payload that many queues share counts once, so the sum may be more; small ones are copied.
        let equal = if audit.fullest < SHARE_FROM { queued == audit.queued } else { queued <= audit.queued };
        sim.check.that(Invariant::S6, index, equal, || {
            format!("{queued} bytes are queued by the auditor and {} by the outboxes", audit.queued)
        });
    }

    /// Has the node look at its own tables, and looks whom it is connected to.
    pub(super) fn audit_node(&mut self, sim: &mut SimState<'_>) {
        let Some(driver) = &self.driver else { return };
        let (index, node) = (self.index, driver.protocol().node());
        match node.audit() {
            Ok(()) => AUDITED.iter().for_each(|rule| sim.check.that(*rule, index, true, String::new)),
            Err(found) => {
                // Whatever is no rule of the list is a bound that was not kept.
                let rule = Invariant::of_audit(&found).unwrap_or(Invariant::S5);
                sim.check.that(rule, index, false, || found);
            }
        }
        let now = self.clock.read(sim.now);
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
