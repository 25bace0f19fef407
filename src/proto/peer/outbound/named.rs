//! The nodes that the operator named, and when each is dialed again.
//!
//! A node is named by an address, or by a name that leads to some. To reach one, in a *round*:
//!
//! 1. A name is looked up anew, for it may have moved. While nobody answers, what it led to before is tried.
//! 2. Its addresses are dialed one after the other, until one answers.
//! 3. When all have failed, the next round waits for its back-off.
//!
//! Two addresses may be one node's. The second connection to it ends as a duplicate; then the node counts as reached, until
//! the first one ends or a long time has passed.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::address::{Scope, canonical, is_stand_in};
use crate::proto::peer::name::PeerName;
use crate::proto::peer::peer_key::PeerKey;
use crate::proto::peer::retry::Backoff;
use crate::rng::Rng;
use crate::time::Instant;

/// Addresses that are kept of one answer to a lookup.
pub const ADDRESSES_PER_NAME_MAX: usize = 32;
/// How long a lookup may take before what the name led to earlier is dialed.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(5);
/// How long a node that is connected by another address is left alone. Not long at first: who has crashed is connected, for the
/// others, until they notice.
const DUPLICATE_RETRY: Backoff = Backoff { first: Duration::from_secs(30), max: Duration::from_secs(600) };
/// The same, when a peer has left and it is not known whether it was this one.
const DUPLICATE_DOUBT: Duration = Duration::from_secs(30);
/// Time between two lookups of a name that leads to nobody but ourselves and nodes of other networks.
const USELESS_RETRY: Duration = Duration::from_secs(30);

/// What somebody was named by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    Address(SocketAddr),
    Name(PeerName),
}

/// How far the lookup of this round is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lookup {
    /// There is no name.
    Needless,
    /// It was answered.
    Done,
    /// It comes first in the next round.
    Wanted,
    /// It is under way.
    Asked(Instant),
}

/// A connection to the node stands, by another address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Duplicate {
    /// Which node it is, where that is known.
    of: Option<PeerKey>,
    since: Instant,
}

#[derive(Clone, Debug)]
struct NamedPeer {
    addresses: Vec<SocketAddr>,
    /// Those that were not dialed in this round.
    untried: VecDeque<SocketAddr>,
    lookup: Lookup,
    /// Rounds that failed in a row.
    failures: u32,
    /// Rounds in a row that found it connected by another address.
    duplicates: u32,
    /// Nothing is tried before.
    at: Instant,
    duplicate: Option<Duplicate>,
}

/// How a connection to one of the addresses ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It was one to a peer: its handshake was done. `settled` when it lasted.
    Peer { settled: bool },
    /// Another connection to the same node was kept.
    Duplicate { of: Option<PeerKey> },
    /// Nobody was there, or somebody else.
    Failed,
}

/// The nodes that the operator named for one purpose.
#[derive(Clone, Debug, Default)]
pub(super) struct NamedPeers {
    peers: BTreeMap<Target, NamedPeer>,
    /// All their addresses.
    addresses: BTreeSet<SocketAddr>,
    /// A name may lead to an address that stands for it.
    takes_stand_ins: bool,
}

impl NamedPeers {
    /// Adds a node by its address; false when nothing can be dialed there.
    pub(super) fn add_address(&mut self, address: SocketAddr) -> bool {
        let address = canonical(address);
        if Scope::of_socket(address) == Scope::Unusable {
            return false;
        }
        let peer = NamedPeer::new(vec![address], Lookup::Needless);
        self.peers.entry(Target::Address(address)).or_insert(peer);
        self.addresses.insert(address);
        true
    }

    /// Where a proxy looks names up, they lead to addresses that stand for them; elsewhere nobody is at such a one.
    pub(super) fn take_stand_ins(&mut self, takes: bool) {
        self.takes_stand_ins = takes;
    }

    /// Adds a node by its name.
    pub(super) fn add_name(&mut self, name: PeerName) {
        let peer = NamedPeer::new(Vec::new(), Lookup::Wanted);
        self.peers.entry(Target::Name(name)).or_insert(peer);
    }

    /// Was a node named so?
    pub(super) fn has_name(&self, name: &PeerName) -> bool {
        self.peers.contains_key(&Target::Name(name.clone()))
    }

    /// Takes a node out; answers the addresses that no other one has. `None` when it was not there.
    pub(super) fn remove(&mut self, target: &Target) -> Option<Vec<SocketAddr>> {
        let mut gone = self.peers.remove(target)?.addresses;
        self.collect();
        gone.retain(|address| !self.addresses.contains(address));
        Some(gone)
    }

    /// Does one of them have this address?
    pub(super) fn contains(&self, address: SocketAddr) -> bool {
        self.addresses.contains(&canonical(address))
    }

    /// Takes the answer to a lookup: the addresses of the name, or that there are none. Answers what of it can be dialed, and
    /// `None` when nobody has that name.
    pub(super) fn resolved(
        &mut self,
        name: &PeerName,
        addresses: &[SocketAddr],
        now: Instant,
        backoff: Backoff,
        rng: &mut Rng,
    ) -> Option<Vec<SocketAddr>> {
        let takes_stand_ins = self.takes_stand_ins;
        let can_be_dialed = |address: SocketAddr| {
            Scope::of_socket(address) != Scope::Unusable || (takes_stand_ins && is_stand_in(address))
        };
        let peer = self.peers.get_mut(&Target::Name(name.clone()))?;
        let mut usable = Vec::new();
        for address in addresses.iter().map(|address| canonical(*address)) {
            if usable.len() < ADDRESSES_PER_NAME_MAX && can_be_dialed(address) && !usable.contains(&address) {
                usable.push(address);
            }
        }
        peer.lookup = Lookup::Done;
        if !usable.is_empty() {
            peer.addresses.clone_from(&usable);
        }
        peer.begin_round();
        if peer.addresses.is_empty() {
            peer.fail_round(now, backoff, rng);
        }
        self.collect();
        Some(usable)
    }

    /// The next address to dial, or when to look again. `lookups` gets the names that must be looked up first. An address that
    /// is `never` to be dialed is passed over.
    pub(super) fn next(
        &mut self,
        now: Instant,
        busy: &dyn Fn(&SocketAddr) -> bool,
        never: &dyn Fn(SocketAddr) -> bool,
        lookups: &mut Vec<PeerName>,
    ) -> Result<SocketAddr, Option<Instant>> {
        let mut wake: Option<Instant> = None;
        let mut later = |at: Instant| wake = Some(wake.map_or(at, |wake| wake.min(at)));
        for (target, peer) in &mut self.peers {
            if peer.addresses.iter().any(busy) {
                continue;
            }
            if peer.at > now {
                later(peer.at);
                continue;
            }
            if let (Lookup::Wanted, Target::Name(name)) = (peer.lookup, target) {
                peer.lookup = Lookup::Asked(now);
                lookups.push(name.clone());
            }
            let at = match peer.lookup {
                Lookup::Asked(since) => since + LOOKUP_PATIENCE,
                _ => now,
            };
            match peer.untried.iter().copied().find(|address| !never(*address)) {
                Some(address) if at <= now => return Ok(address),
                Some(_) => later(at),
                None if peer.lookup == Lookup::Done => {
                    (peer.lookup, peer.at) = (Lookup::Wanted, now + USELESS_RETRY);
                    later(peer.at);
                }
                // An answer wakes us, or nothing does.
                None => {}
            }
        }
        Err(wake)
    }

    /// Is there one who would be dialed, or looked up, now?
    pub(super) fn is_due(&self, now: Instant, busy: &dyn Fn(&SocketAddr) -> bool) -> bool {
        self.peers.values().any(|peer| peer.at <= now && !peer.addresses.iter().any(busy))
    }

    /// The connection or the dial to an address has ended.
    pub(super) fn closed(&mut self, address: SocketAddr, ended: &Ended, now: Instant, backoff: Backoff, rng: &mut Rng) {
        if !self.addresses.contains(&address) {
            return;
        }
        for peer in self.peers.values_mut() {
            if !peer.addresses.contains(&address) {
                continue;
            }
            match ended {
                Ended::Peer { settled: true } => {
                    peer.failures = 0;
                    peer.end_round(now, backoff, rng);
                }
                Ended::Peer { settled: false } => peer.fail_round(now, backoff, rng),
                Ended::Duplicate { of } => {
                    peer.failures = 0;
                    peer.duplicates = peer.duplicates.saturating_add(1);
                    peer.end_round(now, backoff, rng);
                    peer.duplicate = Some(Duplicate { of: of.clone(), since: now });
                    peer.at = now + DUPLICATE_RETRY.delay(peer.duplicates, rng);
                }
                Ended::Failed => {
                    peer.untried.retain(|one| *one != address);
                    if peer.untried.is_empty() {
                        peer.fail_round(now, backoff, rng);
                    }
                }
            }
        }
    }

    /// This peer is gone: whoever was the same node is dialed again.
    pub(super) fn peer_gone(&mut self, gone: &PeerKey, now: Instant) {
        for peer in self.peers.values_mut() {
            let Some(duplicate) = &peer.duplicate else { continue };
            let again = match &duplicate.of {
                Some(key) if key == gone => now,
                Some(_) => continue,
                None => now.max(duplicate.since + DUPLICATE_DOUBT),
            };
            (peer.duplicate, peer.duplicates) = (None, 0);
            peer.at = peer.at.min(again);
        }
    }

    /// A connection to this address has done its handshake. Those who `forgive` forget the failures before it.
    pub(super) fn reached(&mut self, address: SocketAddr, forgive: bool) {
        for peer in self.peers.values_mut().filter(|peer| peer.addresses.contains(&address)) {
            (peer.duplicate, peer.duplicates) = (None, 0);
            if forgive {
                peer.failures = 0;
            }
        }
    }

    fn collect(&mut self) {
        self.addresses = self.peers.values().flat_map(|peer| peer.addresses.iter().copied()).collect();
    }
}

impl NamedPeer {
    fn new(addresses: Vec<SocketAddr>, lookup: Lookup) -> Self {
        let mut peer = NamedPeer {
            addresses,
            untried: VecDeque::new(),
            lookup,
            failures: 0,
            duplicates: 0,
            at: Instant::ZERO,
            duplicate: None,
        };
        peer.begin_round();
        peer
    }

    fn begin_round(&mut self) {
        self.untried = self.addresses.iter().copied().collect();
    }

    /// The round has led nowhere.
    fn fail_round(&mut self, now: Instant, backoff: Backoff, rng: &mut Rng) {
        self.failures = self.failures.saturating_add(1);
        self.end_round(now, backoff, rng);
    }

    fn end_round(&mut self, now: Instant, backoff: Backoff, rng: &mut Rng) {
        self.begin_round();
        self.duplicate = None;
        self.at = now + backoff.delay(self.failures, rng);
        if self.lookup == Lookup::Done {
            self.lookup = Lookup::Wanted;
        }
    }
}
