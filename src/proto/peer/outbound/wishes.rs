//! What the operator wishes: whom to keep, whom to ask, whom no longer; and what the outbound manager must be told about them.

use core::net::SocketAddr;

use super::named::Target;
use super::{OutboundManager, Purpose};
use crate::address::canonical;
use crate::id::DialId;
use crate::proto::peer::name::PeerName;
use crate::proto::peer::peer_key::PeerKey;
use crate::rng::Rng;
use crate::time::Now;

impl OutboundManager {
    /// Keeps a connection to `address` from now on. An open one to it is kept as it is. False when nothing can be dialed there.
    pub fn keep(&mut self, address: SocketAddr) -> bool {
        let is_kept = self.kept.add_address(address);
        self.adopt_kept();
        is_kept
    }

    /// All dials go through a proxy that looks names up, or none does.
    pub(crate) fn set_through_proxy(&mut self, is_so: bool) {
        self.kept.take_stand_ins(is_so);
        self.seeds.take_stand_ins(is_so);
    }

    /// Keeps a connection from now on to whoever the name leads to, one at a time.
    pub fn keep_name(&mut self, name: PeerName) {
        self.kept.add_name(name);
        self.nudge();
    }

    /// Is a connection kept to whoever this name leads to?
    pub fn is_name_kept(&self, name: &PeerName) -> bool {
        self.kept.has_name(name)
    }

    /// Keeps it no longer; answers the addresses to which the node should close connections: this one, if it was kept and has no
    /// name that still is.
    pub fn unkeep(&mut self, address: SocketAddr) -> Vec<SocketAddr> {
        let gone = self.kept.remove(&Target::Address(canonical(address)));
        self.let_go(gone.unwrap_or_default())
    }

    /// Keeps it no longer; answers the addresses to which the node should close connections.
    pub fn unkeep_name(&mut self, name: PeerName) -> Vec<SocketAddr> {
        let gone = self.kept.remove(&Target::Name(name));
        self.let_go(gone.unwrap_or_default())
    }

    /// Asks `address` for peers when there are too few. False when nothing can be dialed there.
    pub fn add_seed(&mut self, address: SocketAddr) -> bool {
        self.nudge();
        self.seeds.add_address(address)
    }

    /// Asks whoever the name leads to for peers when there are too few.
    pub fn add_seed_name(&mut self, name: PeerName) {
        self.seeds.add_name(name);
        self.nudge();
    }

    /// The next name that must be looked up; the answer is awaited by [`resolved`](Self::resolved). Each is asked for once until
    /// it is answered, however many reasons there are for it, and whoever was named anew meanwhile.
    pub fn next_lookup(&mut self) -> Option<PeerName> {
        while let Some(name) = self.lookups.pop() {
            if self.looked_up.insert(name.clone()) {
                return Some(name);
            }
        }
        None
    }

    /// Takes the addresses that a name leads to; none when the lookup failed. Answers those that can be dialed, at most
    /// [`ADDRESSES_PER_NAME_MAX`](super::ADDRESSES_PER_NAME_MAX), and `None` when nobody was named so.
    pub fn resolved(
        &mut self,
        name: &PeerName,
        addresses: &[SocketAddr],
        now: Now,
        rng: &mut Rng,
    ) -> Option<Vec<SocketAddr>> {
        self.looked_up.remove(name);
        let kept = self.kept.resolved(name, addresses, now.at, self.config.kept_backoff, rng);
        let seeds = self.seeds.resolved(name, addresses, now.at, self.config.seed_backoff, rng);
        self.adopt_kept();
        kept.or(seeds)
    }

    /// The peer that `dial` has led to is connected already: who it is. To be said before [`closed`](Self::closed).
    pub fn duplicate_of(&mut self, dial: DialId, peer: PeerKey) {
        if let Some(link) = self.links.get_mut(&dial) {
            link.duplicate_of = Some(peer);
        }
    }

    /// The last connection to a peer is gone. Who was named by two addresses may be dialed at the other one now.
    pub fn peer_gone(&mut self, gone: &PeerKey, now: Now) {
        self.kept.peer_gone(gone, now.at);
        self.seeds.peer_gone(gone, now.at);
        self.nudge();
    }

    /// Connections to what the operator has named count as that.
    fn adopt_kept(&mut self) {
        for link in self.links.values_mut().filter(|link| self.kept.contains(link.address)) {
            link.purpose = Purpose::Kept;
        }
        self.nudge();
    }

    /// Connections to what is named no longer were not chosen for their groups.
    fn let_go(&mut self, addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
        for address in &addresses {
            if let Some(link) = self.by_address.get(address).and_then(|dial| self.links.get_mut(dial)) {
                (link.purpose, link.doubles) = (Purpose::Automatic, true);
            }
        }
        addresses
    }
}
