//! Dials: begun when the outbound manager says so and there is room, and what follows from their failure.

use core::net::{IpAddr, SocketAddr};
use std::collections::BTreeSet;

use crate::close::CloseReason;
use crate::id::DialId;
use crate::proto::event::{Event, Output};
use crate::proto::node::Node;
use crate::proto::node::banning::is_kept_out;
use crate::proto::peer::outbound::{DialContext, RouteChange};
use crate::proto::sync::chain::Chain;
use crate::time::Now;

impl<C: Chain> Node<C> {
    /// Starts the dials that are due, as long as there is room for them.
    pub(super) fn dial_more(&mut self, now: Now) {
        if self.stopping || self.outbound.deadline().is_none_or(|at| at > now.at) {
            return;
        }
        // Nobody connects or leaves in the loop, so that one look at the sessions is enough.
        let dialed = self.sessions.iter().filter(|s| s.is_outbound()).map(|s| s.remote());
        let announced = self.sessions.iter().filter_map(|s| s.peer()?.address);
        let taken: BTreeSet<SocketAddr> = dialed.chain(announced).collect();
        let online = self.is_online();
        loop {
            let connected = |address: &SocketAddr| taken.contains(address);
            let (judges, exempt) = ((&self.reputation, &self.bans), self.admission.exempt());
            let banned = |ip: IpAddr| !exempt.contains(ip) && is_kept_out(judges, ip, now.at);
            let room = self.admission.room_to_dial(self.outbound.dialing());
            let context = DialContext { book: &mut self.book, peers: &self.peers, connected, banned, online, room };
            let Some((dial, address)) = self.outbound.next_dial(now, &mut self.rng, context) else { break };
            let timeout = self.config.dial_timeout.min(self.config.handshake_timeout);
            self.outputs.push_back(Output::Dial { dial, address, timeout });
        }
        for RouteChange { family, closed } in self.outbound.take_route_changes() {
            self.emit(Event::RouteChanged { family, closed });
        }
        for reason in self.outbound.take_pauses() {
            self.emit(Event::DialsPaused { reason });
        }
        while let Some(name) = self.outbound.next_lookup() {
            self.outputs.push_back(Output::Resolve { name });
        }
    }

    /// A dial that ended without a connection.
    pub(super) fn on_dial_failed(&mut self, now: Now, dial: DialId, reason: CloseReason) {
        let Some((_, remote)) = self.outbound.dials().find(|(other, _)| *other == dial) else { return };
        self.outbound.closed(dial, reason, now, self.is_online(), &mut self.book, &mut self.rng);
        self.hold_against(now, (remote, None), None, reason);
        self.emit(Event::DialFailed { remote, reason });
    }

    /// At least one peer answers, so an address that does not is to blame for it.
    pub(super) fn is_online(&self) -> bool {
        self.sessions.ready_count() > 0
    }
}
