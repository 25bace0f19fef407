//! Who knows what: an object goes to each peer at most once, and never back to where it came from.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::id::ConnId;
use crate::invariant::{Broken, Invariant};
use crate::wire::Hash;

/// Names remembered for each connection, in 200 KiB: at a thousand transactions per second two seconds, which is longer than two
/// sides take to tell each other the same.
pub const KNOWN_PER_PEER: usize = 2_000;

/// The recent objects that each connection sent to us or got from us.
#[derive(Clone, Debug, Default)]
pub struct Relay {
    known: BTreeMap<ConnId, Known>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    /// In one piece, which is given back with the connection: many small ones would lie among what stays. Nobody goes through it.
    names: HashMap<Hash, u64>,
    /// The same, oldest first, with some that were removed since: their number is not that of the name.
    order: VecDeque<(u64, Hash)>,
    next: u64,
}

impl Known {
    /// True when it was not known. The oldest name makes room.
    fn insert(&mut self, name: Hash) -> bool {
        let Entry::Vacant(place) = self.names.entry(name) else { return false };
        place.insert(self.next);
        self.order.push_back((self.next, name));
        self.next = self.next.wrapping_add(1);
        while self.names.len() > KNOWN_PER_PEER
            && let Some((serial, oldest)) = self.order.pop_front()
        {
            if self.names.get(&oldest) == Some(&serial) {
                self.names.remove(&oldest);
            }
        }
        if self.order.len() > 2 * KNOWN_PER_PEER {
            let names = &self.names;
            self.order.retain(|(serial, name)| names.get(name) == Some(serial));
        }
        true
    }

    fn remove(&mut self, name: &Hash) {
        self.names.remove(name);
    }
}

impl Relay {
    /// Nobody knows anything.
    pub fn new() -> Self {
        Relay::default()
    }

    /// A connection finished its handshake. Only such connections are remembered.
    pub fn peer_ready(&mut self, conn: ConnId) {
        self.known.entry(conn).or_default();
    }

    /// Notes that a peer has an object: it sent it, asked for it, or got it from us. `None` is ourselves.
    pub fn learned(&mut self, conn: Option<ConnId>, name: Hash) {
        if let Some(known) = conn.and_then(|conn| self.known.get_mut(&conn)) {
            known.insert(name);
        }
    }

    /// A peer is about to be sent an object, unless it has it: true when that was not known.
    pub fn tell(&mut self, conn: ConnId, name: Hash) -> bool {
        self.known.get_mut(&conn).is_some_and(|known| known.insert(name))
    }

    /// Is a peer remembered to have an object?
    pub fn knows(&self, conn: ConnId, name: &Hash) -> bool {
        self.known.get(&conn).is_some_and(|known| known.names.contains_key(name))
    }

    /// The object that was to go to a peer does not.
    pub fn forget(&mut self, conn: ConnId, name: &Hash) {
        if let Some(known) = self.known.get_mut(&conn) {
            known.remove(name);
        }
    }

    /// Forgets a connection.
    pub fn peer_gone(&mut self, conn: ConnId) {
        self.known.remove(&conn);
    }

    /// Connections it remembers: to check that none is forgotten, or left over.
    pub(crate) fn peer_count(&self) -> usize {
        self.known.len()
    }

    /// Is what is remembered of each connection within its limit?
    pub(crate) fn audit(&self) -> Result<(), Broken> {
        for (conn, known) in &self.known {
            let (names, places) = (known.names.len(), known.order.len());
            let ordered = known.order.iter().filter(|(serial, name)| known.names.get(name) == Some(serial)).count();
            let bounded = names <= KNOWN_PER_PEER && places <= 2 * KNOWN_PER_PEER;
            Invariant::S5.check(names == ordered && bounded, || {
                format!("{names} objects are known of {conn}, {ordered} in {places} places")
            })?;
        }
        Ok(())
    }

    /// The peers to send an object to, in the order of `peers`, who are the ready connections that can read it: those that are
    /// not known to have it. They count as knowing it from now on, and so does `from`.
    pub fn relay(&mut self, name: Hash, from: Option<ConnId>, peers: impl Iterator<Item = ConnId>) -> Vec<ConnId> {
        self.learned(from, name);
        peers.filter(|conn| self.tell(*conn, name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn name(n: u32) -> Hash {
        let mut hash = Hash::ZERO;
        hash.0[..4].copy_from_slice(&n.to_be_bytes());
        hash
    }

    fn conn(n: u32) -> ConnId {
        ConnId::new(n, 1)
    }

    fn ready(peers: u32) -> Relay {
        let mut relay = Relay::new();
        (0..peers).for_each(|n| relay.peer_ready(conn(n)));
        relay
    }

    proptest! {
        #[test]
        fn every_peer_gets_an_object_once_unless_it_brought_it(
            moves in prop::collection::vec((0u32..20, prop::option::of(0u32..6), any::<bool>()), 1..200)
        ) {
            let mut relay = ready(6);
            let mut has: BTreeSet<(u32, u32)> = BTreeSet::new();
            for (object, from, second) in moves {
                // Peers with odd numbers cannot read some objects.
                let peers = (0..6).filter(|n| !(second && n % 2 == 1)).map(conn);
                let sent = relay.relay(name(object), from.map(conn), peers);
                has.extend(from.map(|n| (n, object)));
                let expected: Vec<ConnId> =
                    (0..6).filter(|n| !(second && n % 2 == 1)).filter(|n| has.insert((*n, object))).map(conn).collect();
                prop_assert_eq!(sent, expected);
            }
        }
    }

    #[test]
    fn a_connection_that_is_not_ready_gets_nothing_and_leaves_no_trace() {
        let mut relay = ready(1);
        relay.learned(Some(conn(9)), name(1));
        assert!(relay.relay(name(1), None, [conn(9)].into_iter()).is_empty());
        assert_eq!(relay.known.len(), 1);
    }

    #[test]
    fn a_connection_remembers_so_many_and_nothing_after_it_is_gone() {
        let mut relay = ready(2);
        for n in 0..3 * KNOWN_PER_PEER as u32 {
            relay.learned(Some(conn(1)), name(n));
        }
        let known = &relay.known[&conn(1)];
        assert_eq!((known.names.len(), known.order.len()), (KNOWN_PER_PEER, KNOWN_PER_PEER));
        // One that is forgotten and told again is as new as the time says, and no list grows by it.
        for _ in 0..3 * KNOWN_PER_PEER {
            relay.forget(conn(1), &name(4000));
            relay.learned(Some(conn(1)), name(4000));
            assert!(relay.known[&conn(1)].order.len() <= 2 * KNOWN_PER_PEER);
        }
        assert!(relay.knows(conn(1), &name(4001)) && relay.knows(conn(1), &name(4000)));
        relay.learned(Some(conn(1)), name(6000));
        assert!(!relay.knows(conn(1), &name(4001)) && relay.knows(conn(1), &name(4000)), "the oldest goes");
        assert!(relay.relay(name(5999), None, [conn(1)].into_iter()).is_empty());
        relay.forget(conn(1), &name(5999));
        assert_eq!(relay.relay(name(5999), None, [conn(1)].into_iter()), [conn(1)]);
        assert_eq!(relay.audit(), Ok(()));
        relay.peer_gone(conn(1));
        assert!(!relay.known.contains_key(&conn(1)));
    }
}
