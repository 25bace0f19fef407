//! What the embedder wants: each command, and the answers to the lookups that it does for us.

use core::net::SocketAddr;

use crate::address::canonical;
use crate::close::CloseReason;
use crate::id::ConnId;
use crate::proto::event::{Command, Event};
use crate::proto::node::Node;
use crate::proto::node::sessions::Session;
use crate::proto::peer::name::PeerName;
use crate::proto::sync::chain::Chain;
use crate::time::Now;

impl<C: Chain> Node<C> {
    pub(super) fn on_command(&mut self, now: Now, command: Command) {
        match command {
            Command::Connect(address) => {
                if !self.outbound.keep(address) {
                    self.emit(Event::AddressRefused { address });
                }
            }
            Command::ConnectName(name) => self.outbound.keep_name(name),
            Command::Disconnect(address) => {
                let address = canonical(address);
                self.outbound.unkeep(address);
                self.disconnect(now, &[address]);
            }
            Command::DisconnectName(name) => {
                let addresses = self.outbound.unkeep_name(name);
                self.disconnect(now, &addresses);
            }
            Command::AddSeed(address) => {
                if !self.outbound.add_seed(address) {
                    self.emit(Event::AddressRefused { address });
                }
            }
            Command::AddSeedName(name) => self.outbound.add_seed_name(name),
            Command::Resolved(name, addresses) => self.on_resolved(now, name, addresses),
            Command::SubmitTransaction(bytes) => self.submit_transaction(now, None, bytes),
            Command::SubmitBlock(bytes) => self.submit_block(now, None, bytes),
            Command::Gossip(kind, payload) => self.submit_gossip(now, None, kind, payload),
            Command::Verdict(ticket, verdict) => self.on_verdict(now, ticket, verdict),
            Command::Ban { who, term, reason } => {
                if self.ban(now, who, term, &reason).is_err() {
                    self.emit(Event::BanRefused { who });
                }
            }
            Command::LiftBan(who) => {
                self.lift_ban(now, who);
            }
            Command::PortMapping(mapping) => self.on_port_mapping(now, mapping),
            Command::RouterRestarted => self.emit(Event::RouterRestarted),
            Command::Stop => self.stop(now),
        }
    }

    /// Closes the connections with those who are or listen at these addresses.
    fn disconnect(&mut self, now: Now, addresses: &[SocketAddr]) {
        let conns: Vec<ConnId> = self.at(addresses).map(|s| s.conn()).collect();
        for conn in conns {
            self.close(now, conn, CloseReason::Requested);
        }
    }

    /// Those who are or listen at these addresses.
    fn at(&self, addresses: &[SocketAddr]) -> impl Iterator<Item = &Session> {
        let is_one = |address: SocketAddr| addresses.contains(&canonical(address));
        self.sessions
            .iter()
            .filter(move |s| is_one(s.remote()) || s.peer().and_then(|peer| peer.address).is_some_and(is_one))
    }

    /// Is there a connection that [`Command::Disconnect`] of this address would close? A step for each connection.
    pub fn has_connection_with(&self, address: SocketAddr) -> bool {
        self.at(&[canonical(address)]).any(|s| !s.is_closing())
    }

    /// The answer to a lookup. What cannot be dialed is left out of it.
    fn on_resolved(&mut self, now: Now, name: PeerName, answer: Result<Vec<SocketAddr>, String>) {
        let found = answer.as_deref().unwrap_or_default();
        // Who wants the name no longer does not want its addresses.
        let Some(usable) = self.outbound.resolved(&name, found, now, &mut self.rng) else { return };
        let addresses = match answer {
            Ok(_) if usable.is_empty() => Err("it has no address that can be dialed".to_owned()),
            Ok(_) => Ok(usable),
            Err(why) => Err(why),
        };
        self.emit(Event::NameResolved { name, addresses });
    }
}
