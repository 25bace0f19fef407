//! Where we can be reached: what we listen at, what a router forwards, what peers see, and what others are told of it.

use core::net::{IpAddr, SocketAddr};

use crate::address::{Group, Scope, may_pass};
use crate::id::ConnId;
use crate::mapping::Mapping;
use crate::proto::event::Event;
use crate::proto::node::Node;
use crate::proto::peer::own_addresses::any_address;
use crate::proto::peer::reach::{Reach, majority};
use crate::proto::sync::chain::Chain;
use crate::time::Now;
use crate::wire::{Kind, Message};

impl<C> Node<C> {
    /// Says which port we accept connections on, on whatever address; peers hear it in the next handshakes.
    pub fn set_listening_port(&mut self, port: u16) {
        self.config.listening_port = port;
        self.own_addresses.set_listening(&any_address(port));
    }

    /// Says at which addresses we accept connections; peers hear in the next handshakes what is true for their connection. See
    /// [`OwnAddresses::set_listening`](crate::proto::peer::own_addresses::OwnAddresses::set_listening).
    pub fn set_listening(&mut self, listening: &[SocketAddr]) {
        self.config.listening_port = listening.first().map_or(0, SocketAddr::port);
        self.own_addresses.set_listening(listening);
    }

    /// Says whether all dials go through a proxy. Then nobody is told where we can be reached, nobody asked where he sees us, and a name
    /// may lead to an address that [stands](crate::address::stand_in) for it.
    pub fn set_through_proxy(&mut self, is_so: bool) {
        if core::mem::replace(&mut self.is_through_proxy, is_so) == is_so {
            return;
        }
        self.own_addresses.set_hidden(is_so);
        self.outbound.set_through_proxy(is_so);
        self.book.set_through_proxy(is_so);
    }

    /// Whether others reach us, and where.
    pub fn reach(&self) -> Reach {
        self.own_addresses.reach()
    }
}

impl<C: Chain> Node<C> {
    /// What the router says, by whoever asks it.
    pub(super) fn on_port_mapping(&mut self, now: Now, mapping: Mapping) {
        let before = self.reach();
        let port = |mapping: &Mapping| mapping.mapped().map(|mapped| (mapped.internal, mapped.external_port));
        let is_reached = before.is_reached && port(&before.mapping) == port(&mapping);
        self.set_reach(now, Reach { mapping, is_reached, ..before });
        self.emit(Event::PortMapping(mapping));
    }

    /// A peer that we chose says at which address it sees us.
    pub(super) fn on_seen_at(&mut self, now: Now, conn: ConnId, seen: IpAddr) {
        if let Some(peer) = self.sessions.get_mut(conn).and_then(|session| session.peer_mut()) {
            peer.sees_us = Some(seen);
        }
        let views = self.sessions.ready().filter_map(|(session, peer)| {
            let seen = peer.sees_us.filter(|seen| seen.is_ipv4() == session.remote().ip().to_canonical().is_ipv4())?;
            // One family at a time: the other has routers and addresses of its own.
            let is_asked = seen.is_ipv4();
            Some((Group::of(session.remote().ip()).filter(|_| is_asked)?, seen))
        });
        let (before, seen) = (self.reach(), majority(views.collect::<Vec<_>>()));
        if seen == before.seen {
            return;
        }
        self.set_reach(now, Reach { seen, ..before });
        if let Some(address) = seen {
            self.emit(Event::SeenAt { address });
        }
    }

    /// Somebody who dialed us has introduced himself: if he comes from the internet, so can others.
    pub(super) fn on_reached_by(&mut self, remote: SocketAddr) {
        let reach = self.reach();
        if !reach.is_reached && reach.mapping != Mapping::Off && Scope::of(remote.ip()) == Scope::Global {
            self.own_addresses.set_reach(Reach { is_reached: true, ..reach });
            self.emit(Event::Reachable { remote });
        }
    }

    /// Where we can be reached is known better. Who is connected already hears it once, for its handshake said another port.
    fn set_reach(&mut self, now: Now, reach: Reach) {
        let before = self.reach().announced();
        self.own_addresses.set_reach(reach);
        if self.is_through_proxy {
            return;
        }
        let Some(address) = reach.announced().filter(|address| Some(*address) != before) else { return };
        let far = |remote: SocketAddr| Scope::of(remote.ip()) == Scope::Global;
        let ready = self.sessions.ready().map(|(session, _)| (session.conn(), session.remote()));
        let told: Vec<(ConnId, SocketAddr)> = ready.filter(|(_, remote)| far(*remote)).collect();
        for (conn, remote) in told {
            if may_pass(address, remote.ip(), self.config.allow_private) && self.may_pass_on(now, conn, Kind::Peers) {
                self.send(conn, &Message::Peers(vec![address]));
            }
        }
    }
}
