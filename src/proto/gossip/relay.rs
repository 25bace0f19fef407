//! Who knows what: an object goes to each peer at most once, and never back to where it came from.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::id::ConnId;
use crate::wire::{Hash, Kind};

/// Names remembered for each connection: at 20 transactions per second the last hundred seconds, in 130 KiB.
pub const KNOWN_PER_PEER: usize = 2_000;

/// The recent objects that each connection sent to us or got from us.
#[derive(Clone, Debug, Default)]
pub struct Relay {
    known: BTreeMap<ConnId, Known>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    names: BTreeSet<Hash>,
    order: VecDeque<Hash>,
}

impl Known {
    /// True when it was not known. The oldest name makes room.
    fn insert(&mut self, name: Hash) -> bool {
        let fresh = self.names.insert(name);
        if fresh {
            self.order.push_back(name);
            if self.order.len() > KNOWN_PER_PEER
                && let Some(oldest) = self.order.pop_front()
            {
                self.names.remove(&oldest);
            }
        }
        fresh
    }
}

impl Relay {
    /// Nobody knows anything.
    pub fn new() -> Self {
        Relay::default()
    }

    /// Notes that a peer has an object: it sent it, or we sent it.
    pub fn peer_knows(&mut self, conn: ConnId, name: Hash) {
        self.known.entry(conn).or_default().insert(name);
    }

    /// Forgets a connection.
    pub fn peer_gone(&mut self, conn: ConnId) {
        self.known.remove(&conn);
    }

    /// The peers to send an object of `kind` to, in the order of `peers` (each ready connection with its protocol
    /// version): those that are not known to have it and whose version has the kind. They count as knowing it from now
    /// on, and so does `from`. A kind that is not relayed goes to nobody.
    pub fn relay(
        &mut self,
        name: Hash,
        from: Option<ConnId>,
        peers: impl Iterator<Item = (ConnId, u8)>,
        kind: Kind,
    ) -> Vec<ConnId> {
        if let Some(from) = from {
            self.peer_knows(from, name);
        }
        if !kind.is_relayed() {
            return Vec::new();
        }
        peers
            .filter(|(_, version)| *version >= kind.since())
            .map(|(conn, _)| conn)
            .filter(|conn| self.known.entry(*conn).or_default().insert(name))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(n: u32) -> Hash {
        let mut hash = Hash::ZERO;
        hash.0[..4].copy_from_slice(&n.to_be_bytes());
        hash
    }

    fn conn(n: u32) -> ConnId {
        ConnId::new(n, 1)
    }

    proptest! {
        #[test]
        fn every_peer_gets_an_object_once_unless_it_brought_it(
            moves in prop::collection::vec((0u32..20, prop::option::of(0u32..6), any::<bool>()), 1..200)
        ) {
            let mut relay = Relay::new();
            let mut has: BTreeSet<(u32, u32)> = BTreeSet::new();
            for (object, from, second) in moves {
                let kind = if second { Kind::BlockAccepted } else { Kind::NewBlock };
                // Peers with odd numbers speak version 1.
                let peers = (0..6).map(|n| (conn(n), if n % 2 == 1 { 1 } else { 2 }));
                let sent = relay.relay(name(object), from.map(conn), peers, kind);
                has.extend(from.map(|n| (n, object)));
                let expected: Vec<ConnId> =
                    (0..6).filter(|n| !(second && n % 2 == 1)).filter(|n| has.insert((*n, object))).map(conn).collect();
                prop_assert_eq!(sent, expected);
            }
        }
    }

    #[test]
    fn a_version_1_peer_never_gets_a_version_2_kind() {
        let mut relay = Relay::new();
        let peers = [(conn(1), 1), (conn(2), 2)];
        assert_eq!(relay.relay(name(1), None, peers.into_iter(), Kind::BlockAccepted), [conn(2)]);
        assert_eq!(relay.relay(name(1), None, peers.into_iter(), Kind::NewBlock), [conn(1)]);
    }

    #[test]
    fn answers_are_not_relayed() {
        assert!(Relay::new().relay(name(1), None, [(conn(1), 2)].into_iter(), Kind::Block).is_empty());
    }

    #[test]
    fn a_connection_remembers_so_many_and_nothing_after_it_is_gone() {
        let mut relay = Relay::new();
        for n in 0..3 * KNOWN_PER_PEER as u32 {
            relay.peer_knows(conn(1), name(n));
        }
        let known = &relay.known[&conn(1)];
        assert_eq!((known.names.len(), known.order.len()), (KNOWN_PER_PEER, KNOWN_PER_PEER));
        assert!(relay.relay(name(5999), None, [(conn(1), 2)].into_iter(), Kind::Transaction).is_empty());
        relay.peer_gone(conn(1));
        assert!(relay.known.is_empty());
    }
}
