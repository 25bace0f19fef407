//! Whom to dial next, and when to look again.
//!
//! 1. Peers that the operator named, by an address or by a name that is [looked up](OutboundManager::next_lookup), are kept
//!    connected, whatever the number of others.
//! 2. Automatic connections are kept at [`OutboundConfig::outbound`]: the [anchors](PeerTable::anchors) first, then the book.
//!    They go to different [groups](crate::address::Group), unless connections are lacking for a while and there are not
//!    enough groups that we know how to reach.
//! 3. While connections are lacking, verified addresses are dialed before their back-off is over, at a rate of their own.
//! 4. When these have nobody to dial and there are too few addresses or no connection, a seed is asked; before them, when fewer
//!    than half of the connections stand for a while. Once reached, it is a peer like any other. Until a first anchor, seed or named
//!    peer was reached in this run, one dial is kept for a seed: all that the book has may be what strangers announced.
//! 5. Who has all the connections it wants keeps one more, the *feeler*, to another node every half a minute. A network can
//!    fall into parts in which everybody has enough connections, and so can one node among attackers; nothing that they see
//!    inside tells them. The feeler leads out, and finds out which addresses are good. It stands until the next one does, so
//!    that blocks and transactions pass all the time.
//!
//! Every dial and the connection that comes of it go by their [`DialId`], which the pool gives and the node hands back:
//! `next_dial` -> `dial_opened` -> [`ready`](OutboundManager::ready) -> [`closed`](OutboundManager::closed), where a dial that fails goes to its end at
//! once. One per address at a time.
//!
//! The pool never spins: an address that failed waits for its back-off, all dials together keep to a rate, and
//! [`OutboundManager::deadline`] is when there may be something to do, not before.

mod choose;
mod link;
mod named;
mod news;
mod own_limits;
mod probes;
mod probing;
mod routes;
mod wishes;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::address_book::{AddressBook, AddressEntry, DisconnectKind};
use super::name::PeerName;
use super::peer_key::PeerKey;
use super::peer_table::PeerTable;
use super::retry::Backoff;
use crate::address::{Group, canonical};
use crate::close::{Blame, CloseReason, Redial, TlsFault};
use crate::id::DialId;
use crate::invariant::{Broken, Invariant};
use crate::rate::{Bucket, Rate};
use crate::rng::Rng;
use crate::time::{Instant, Now};
use link::{Choice, DialState, Link, Purpose};
use named::{Ended, NamedPeers};
use news::News;
use own_limits::OwnLimits;
use probes::Probes;
use routes::Routes;

pub use named::ADDRESSES_PER_NAME_MAX;
pub use routes::{AddressFamily, RouteChange};

/// Without room for another connection, look again after this, unless told earlier by [`OutboundManager::nudge`].
const ROOM_RECHECK: Duration = Duration::from_secs(5);
/// A kept connection must last this long for its back-off to begin anew: else accept-and-close would be a tight loop.
const SETTLED_AFTER: Duration = Duration::from_secs(30);
/// How long a feeler stands, unless somebody says otherwise.
pub const FEELER_EVERY: Duration = Duration::from_secs(35);
/// Time between two feelers that fail, plus or minus a fifth.
const FEELER_RETRY: Duration = Duration::from_secs(5);

/// The numbers of a [`OutboundManager`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboundConfig {
    /// Automatic connections to keep. Default 8.
    pub outbound: usize,
    /// Dials on their way at most. Default 8.
    pub dials_max: usize,
    /// With fewer addresses in the book, seeds are asked. Default 16.
    pub addresses_wanted: usize,
    /// All dials together. Default 10 per second, 16 at once.
    pub rate: Rate,
    /// All dials together while nobody is connected and the last `dials_max` all failed. Default 1 per second.
    pub offline_rate: Rate,
    /// Dials of addresses whose back-off is not over, while connections are lacking. Default 1 per second, 8 at once.
    pub urgent_rate: Rate,
    /// Between dials of a peer the operator named. Default 1 s, doubling to 30 s.
    pub kept_backoff: Backoff,
    /// Between dials of a seed. Default 1 s, doubling to 5 min.
    pub seed_backoff: Backoff,
    /// The longest of these times while fewer than half of the automatic connections stand. Default 30 s.
    pub seed_offline_max: Duration,
    /// How long a feeler stands before the next one goes out, plus or minus a tenth. Default 35 s: two of them within the time
    /// in which a network shall have healed, and each as long as a connection takes to count as settled. `None` for no feelers.
    pub feeler_every: Option<Duration>,
}

impl Default for OutboundConfig {
    fn default() -> Self {
        OutboundConfig {
            outbound: 8,
            dials_max: 8,
            addresses_wanted: 16,
            rate: Rate::per_second(10, 16),
            offline_rate: Rate::per_second(1, 1),
            urgent_rate: Rate::per_second(1, 8),
            kept_backoff: Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) },
            seed_backoff: Backoff { first: Duration::from_secs(1), max: Duration::from_secs(300) },
            seed_offline_max: Duration::from_secs(30),
            feeler_every: Some(FEELER_EVERY),
        }
    }
}

/// What the node knows and the pool needs to know at the moment.
#[derive(Debug)]
pub struct DialContext<'a, C, B> {
    /// The addresses.
    pub book: &'a mut AddressBook,
    /// The known peers.
    pub peers: &'a PeerTable,
    /// Is there a connection to the node at this address? Inbound ones count where the peer announced its port.
    pub connected: C,
    /// Is this address blacklisted?
    pub banned: B,
    /// Is anybody connected, handshake done?
    pub online: bool,
    /// How many more connections may be opened, dials on their way taken off:
    /// [`Admission::room_to_dial`](super::admission::Admission::room_to_dial).
    pub room: usize,
}

/// Keeps the outbound connections.
#[derive(Clone, Debug, Default)]
pub struct OutboundManager {
    config: OutboundConfig,
    kept: NamedPeers,
    seeds: NamedPeers,
    /// Names that are to be looked up.
    lookups: Vec<PeerName>,
    /// Names whose lookup is under way.
    looked_up: BTreeSet<PeerName>,
    links: BTreeMap<DialId, Link>,
    by_address: BTreeMap<SocketAddr, DialId>,
    next_id: u64,
    pace: Bucket,
    offline_pace: Bucket,
    urgent_pace: Bucket,
    routes: Routes,
    own_limits: OwnLimits,
    probes: Probes,
    probe_pace: Bucket,
    news: News,
    /// Where somebody was found for the first time, and who, where that is known; nobody was told of it yet.
    found: Vec<(SocketAddr, Option<PeerKey>)>,
    /// An anchor, a seed or a named peer was reached in this run.
    is_grounded: bool,
    /// Since when there are fewer automatic connections than wanted.
    lacking_since: Option<Instant>,
    /// Dials that failed since one succeeded.
    failed_in_row: usize,
    /// When the next feeler goes out; `None` while connections are lacking.
    feeler_at: Option<Instant>,
    /// When to look again; `None` when only an input changes anything.
    wake: Option<Instant>,
    /// Since when there is no room for a dial that the operator's word has made due.
    no_room_since: Option<Instant>,
}

impl OutboundManager {
    /// A pool without connections that looks for some at once.
    pub fn new(config: OutboundConfig) -> Self {
        OutboundManager { config, wake: Some(Instant::ZERO), ..Default::default() }
    }

    /// Something changed that may make a dial possible: addresses were heard, a connection closed, a ban ended.
    pub fn nudge(&mut self) {
        self.wake = Some(Instant::ZERO);
    }

    /// When [`next_dial`](Self::next_dial) may have something.
    pub fn deadline(&self) -> Option<Instant> {
        self.wake
    }

    /// Since when somebody whom the operator named is not dialed because there is no place for another connection.
    pub fn lacks_room_since(&self) -> Option<Instant> {
        self.no_room_since
    }

    /// The next dial to begin, under a new name. Call until `None`; before [`deadline`](Self::deadline) that takes no time.
    pub fn next_dial<C, B>(
        &mut self,
        now: Now,
        rng: &mut Rng,
        context: DialContext<'_, C, B>,
    ) -> Option<(DialId, SocketAddr)>
    where
        C: Fn(&SocketAddr) -> bool,
        B: Fn(IpAddr) -> bool,
    {
        if self.wake.is_none_or(|wake| wake > now.at) {
            return None;
        }
        self.adopt_feeler(now.at, context.book);
        self.lacking_since = (self.connected() < self.config.outbound).then(|| self.lacking_since.unwrap_or(now.at));
        let wanted = self.lacking_since.is_none() && self.config.outbound > 0;
        self.feeler_at = match self.config.feeler_every.filter(|_| wanted) {
            Some(every) if self.feeler_at.is_none() => Some(now.at + rng.jitter(every, 50)),
            Some(_) => self.feeler_at,
            None => None,
        };
        let dialing = self.dialing();
        if dialing >= self.config.dials_max {
            self.wake = None;
            return None;
        }
        if context.room == 0 {
            self.wake = Some(now.at + ROOM_RECHECK);
            let busy = |address: &SocketAddr| self.by_address.contains_key(address) || (context.connected)(address);
            let waits = self.kept.is_due(now.at, &busy);
            self.no_room_since = waits.then(|| self.no_room_since.unwrap_or(now.at));
            return None;
        }
        self.no_room_since = None;
        if self.own_limits.ready_at() > now.at {
            self.wake = Some(self.own_limits.ready_at());
            return None;
        }
        let offline = !context.online && self.failed_in_row >= self.config.dials_max;
        let paced = self.pace.ready_at(self.config.rate);
        let paced = if offline { paced.max(self.offline_pace.ready_at(self.config.offline_rate)) } else { paced };
        if paced > now.at {
            self.wake = Some(paced);
            return None;
        }
        match self.choose_any(now.at, rng, &context) {
            Ok(choice) => {
                self.pace.take(self.config.rate, now.at);
                self.offline_pace.take(self.config.offline_rate, now.at);
                if choice.urgent {
                    self.urgent_pace.take(self.config.urgent_rate, now.at);
                }
                if choice.purpose == Purpose::Feeler {
                    self.feeler_at = Some(now.at + rng.jitter(FEELER_RETRY, 20));
                }
                context.book.tried(choice.address, now);
                self.routes.tried(choice.address, now.at, context.online, rng);
                self.own_limits.tried(now.at, rng);
                Some((self.begin(&choice, now.at), choice.address))
            }
            Err(wake) => {
                self.wake = wake;
                None
            }
        }
    }

    /// Whom to dial: the operator's first, then whom we choose.
    fn choose_any<C, B>(
        &mut self,
        now: Instant,
        rng: &mut Rng,
        context: &DialContext<'_, C, B>,
    ) -> Result<Choice, Option<Instant>>
    where
        C: Fn(&SocketAddr) -> bool,
        B: Fn(IpAddr) -> bool,
    {
        let book = &*context.book;
        let busy = |address: &SocketAddr| self.by_address.contains_key(address) || (context.connected)(address);
        // The operator's word stands above a blacklist; an address that is ourselves is beyond it.
        let wake = match self.kept.next(now, &busy, &|address| book.is_never(address), &mut self.lookups) {
            Ok(address) => return Ok(Choice::new(address, Purpose::Kept)),
            Err(wake) => wake,
        };
        let wake = match self.choose_probe(now, &context.banned) {
            Ok(address) => return Ok(Choice::new(address, Purpose::Probe)),
            Err(at) => wake.into_iter().chain(at).min(),
        };
        let wake = match self.choose_news(now, context) {
            Ok(address) => return Ok(Choice::new(address, Purpose::News)),
            Err(at) => wake.into_iter().chain(at).min(),
        };
        let book = &*context.book;
        let busy = |address: &SocketAddr| self.by_address.contains_key(address) || (context.connected)(address);
        let few = book.len() < self.config.addresses_wanted
            || !context.online
            || self.is_stranded(now)
            || self.wants_ground(now);
        let seed = if few && self.places_taken(now) < self.config.outbound {
            let busy = |address: &SocketAddr| busy(address) || self.kept.contains(*address);
            let never = |address: SocketAddr| book.is_never(address) || (context.banned)(address.ip());
            self.seeds.next(now, &busy, &never, &mut self.lookups)
        } else {
            Err(None)
        };
        self.choose(now, rng, context, wake, seed)
    }

    /// The dial ended in a connection. Answers when it began.
    pub fn dial_opened(&mut self, dial: DialId) -> Option<Instant> {
        let link = self.links.get_mut(&dial)?;
        link.advance(DialState::Greeting);
        let since = link.since;
        self.routes.reached(link.address);
        self.own_limits.passed();
        self.nudge();
        Some(since)
    }

    /// The dial's connection is a WebSocket: what listens at its address takes no frames from others, and is told to nobody.
    pub fn over_web_socket(&mut self, dial: DialId) {
        if let Some(link) = self.links.get_mut(&dial) {
            link.is_web_socket = true;
        }
    }

    /// The connection's handshake is done. Answers the dial whose connection has served its purpose with that, if there is one:
    /// the node should close it.
    pub fn ready(&mut self, dial: DialId, now: Now, book: &mut AddressBook, rng: &mut Rng) -> Option<DialId> {
        let is_full = self.connected() >= self.config.outbound;
        let link = self.links.get_mut(&dial)?;
        link.advance(DialState::Ready(now.at));
        if is_full && link.purpose.is_automatic() {
            // It was slow, and another one has its place.
            (link.purpose, link.doubles) = (Purpose::Feeler, false);
        }
        let feels = link.purpose == Purpose::Feeler;
        self.is_grounded |= link.is_grounded;
        self.failed_in_row = 0;
        self.kept.reached(link.address, false);
        self.seeds.reached(link.address, true);
        let is_look = link.purpose.is_look();
        let (address, is_web_socket) = (link.address, link.is_web_socket);
        self.looked_at(address);
        if !is_web_socket {
            let is_first = book.get(address).is_none_or(|entry| !entry.is_found());
            book.reached(address, now);
            if is_first {
                self.found.push((address, None));
            }
        }
        self.nudge();
        if is_look {
            return Some(dial);
        }
        let every = self.config.feeler_every.filter(|_| feels)?;
        self.feeler_at = Some(now.at + rng.jitter(every, 10));
        self.feelers()
            .find(|(other, link)| *other != dial && matches!(link.state, DialState::Ready(_)))
            .map(|(dial, _)| dial)
    }

    /// The dial failed, or the connection that came of it is gone. With nobody else `online`, a failure is not held against the
    /// address.
    pub fn closed(
        &mut self,
        dial: DialId,
        reason: CloseReason,
        now: Now,
        online: bool,
        book: &mut AddressBook,
        rng: &mut Rng,
    ) {
        let Some(link) = self.links.remove(&dial) else { return };
        let named = self.by_address.remove(&link.address);
        debug_assert_eq!(named, Some(dial), "{} is dialed under another name", link.address);
        self.nudge();
        if link.purpose == Purpose::Feeler && self.feelers().next().is_none() {
            let soon = now.at + rng.jitter(FEELER_RETRY, 20);
            self.feeler_at = self.feeler_at.map(|at| at.min(soon));
        }
        if link.state == DialState::Dialing && self.own_limits.ended(reason, now.at, rng) {
            // It never left this machine: the address is as it was, and waits with all others.
            return;
        }
        let no_way = link.state == DialState::Dialing && self.routes.failed(link.address, reason, now.at, online, rng);
        // A part of the world that is out of reach as a whole says nothing about one address in it.
        let online = online && !no_way;
        let settled = matches!(link.state, DialState::Ready(since) if now.at.since(since) >= SETTLED_AFTER);
        let mut seed_backoff = self.config.seed_backoff;
        if !online || self.has_few() {
            // The seed is as unlikely to be at fault as any other address, and may be all that we have.
            seed_backoff.max = seed_backoff.max.min(self.config.seed_offline_max);
        }
        let ended = match link.state {
            _ if reason == CloseReason::DuplicateConnection => Ended::Duplicate { of: link.duplicate_of.clone() },
            DialState::Ready(_) => Ended::Peer { settled },
            _ => Ended::Failed,
        };
        self.kept.closed(link.address, &ended, now.at, self.config.kept_backoff, rng);
        self.seeds.closed(link.address, &ended, now.at, seed_backoff, rng);
        if reason.consequence().redial == Redial::Never {
            book.mark_never(link.address);
            self.looked_at(link.address);
            return;
        }
        if link.purpose.is_look() {
            return self.look_ended(link, reason, now, online, book, rng);
        }
        let kind = kind(settled, reason);
        match (link.state, reason) {
            (_, CloseReason::DuplicateConnection) => book.declined(link.address, now, rng),
            // It let us in and gave our place to the next one: a full house, where the same will happen again.
            (DialState::Ready(_), CloseReason::RemoteClosed) if !settled => book.declined(link.address, now, rng),
            (DialState::Ready(_), _) => book.left(link.address, kind, now, rng),
            // It answers, and says no: it is full, or has us already by a connection whose address we do not know it by.
            (_, CloseReason::RemoteClosed | CloseReason::Tls(TlsFault::TurnedAway))
                if book.get(link.address).is_some_and(AddressEntry::is_verified) =>
            {
                book.declined(link.address, now, rng);
            }
            // What the proxy does not do for this address it may do another time: it is asked ever more rarely.
            (_, CloseReason::Proxy(fault)) if fault.blame() == Blame::Ours => book.declined(link.address, now, rng),
            // Our own fault says nothing about the address.
            (_, reason) if reason.blame() == Blame::Ours => book.left(link.address, DisconnectKind::Early, now, rng),
            _ => {
                self.failed_in_row = self.failed_in_row.saturating_add(1);
                book.failed(link.address, now, online, rng);
            }
        }
    }

    /// A peer that can be dialed at `address` is gone, whoever dialed; its handshake was done at `since`.
    pub fn left(
        &mut self,
        address: SocketAddr,
        since: Instant,
        reason: CloseReason,
        now: Now,
        book: &mut AddressBook,
        rng: &mut Rng,
    ) {
        self.nudge();
        self.looked_at(canonical(address));
        if !self.by_address.contains_key(&canonical(address)) {
            let kind = match kind(now.at.since(since) >= SETTLED_AFTER, reason) {
                // It ended its own dial, as it does with feelers. That says nothing against one of ours.
                DisconnectKind::Wanted if reason == CloseReason::RemoteClosed => DisconnectKind::Cut,
                kind => kind,
            };
            book.left(address, kind, now, rng);
        }
    }

    /// The parts of the world that became unreachable or can be reached again, each once.
    pub fn take_route_changes(&mut self) -> Vec<RouteChange> {
        self.routes.take_changes()
    }

    /// Why no dial leaves this machine since the last call, or `None` where they do again; oldest first.
    pub fn take_pauses(&mut self) -> Vec<Option<CloseReason>> {
        self.own_limits.take_changes()
    }

    /// The address that the dial goes or went to, while it or its connection lives.
    pub fn address(&self, dial: DialId) -> Option<SocketAddr> {
        self.links.get(&dial).map(|link| link.address)
    }

    /// Did the operator name this address? Such peers are disconnected when they misbehave, but not banned.
    pub fn is_kept(&self, address: SocketAddr) -> bool {
        self.kept.contains(address)
    }

    /// Dials on their way.
    pub fn dialing(&self) -> usize {
        self.dials().count()
    }

    /// The dials on their way, and where they go.
    pub fn dials(&self) -> impl Iterator<Item = (DialId, SocketAddr)> {
        let dialing = self.links.iter().filter(|(_, link)| link.state == DialState::Dialing);
        dialing.map(|(dial, link)| (*dial, link.address))
    }

    /// Automatic connections whose handshake is done.
    fn connected(&self) -> usize {
        let ready = |link: &&Link| link.purpose.is_automatic() && matches!(link.state, DialState::Ready(_));
        self.links.values().filter(ready).count()
    }

    /// Did we choose the peer at the other end of this dial, or the operator? A feeler and a look whether somebody is there are
    /// another matter.
    pub fn is_chosen(&self, dial: DialId) -> bool {
        self.links.get(&dial).is_some_and(|link| link.purpose.is_automatic() || link.purpose == Purpose::Kept)
    }

    /// Automatic connections and dials.
    pub fn automatic(&self) -> usize {
        self.links.values().filter(|link| link.purpose.is_automatic()).count()
    }

    /// Since when there are fewer automatic connections than wanted.
    #[cfg(feature = "sim")]
    pub(crate) fn lacking_since(&self) -> Option<Instant> {
        self.lacking_since
    }

    fn feelers(&self) -> impl Iterator<Item = (DialId, &Link)> {
        self.links.iter().filter(|(_, link)| link.purpose == Purpose::Feeler).map(|(dial, link)| (*dial, link))
    }

    /// Where a connection is lacking, the feeler is one: it stands already. It keeps to the rule about groups as any other.
    fn adopt_feeler(&mut self, now: Instant, book: &AddressBook) {
        if self.places_taken(now) >= self.config.outbound {
            return;
        }
        let doubling = self.doubles_at(book).is_some_and(|at| at <= now);
        let fits = |link: &Link| doubling || !self.is_in_used_group(link.address.ip());
        let Some(dial) = self.feelers().filter(|(_, link)| fits(link)).map(|(dial, _)| dial).last() else { return };
        let Some(address) = self.address(dial) else { return };
        let doubles = self.is_in_used_group(address.ip());
        if let Some(link) = self.links.get_mut(&dial) {
            (link.purpose, link.doubles) = (Purpose::Automatic, doubles);
        }
    }

    /// Do the tables agree, and do automatic connections go to different groups?
    ///
    /// # Errors
    ///
    /// The rule that is broken, and what was found.
    pub fn audit(&self) -> Result<(), Broken> {
        self.probes.audit()?;
        self.news.audit()?;
        let (dialing, most) = (self.dialing(), self.config.dials_max);
        Invariant::S5.check(dialing <= most, || format!("{dialing} dials of {most} are under way"))?;
        let mut groups = BTreeSet::new();
        for (dial, link) in &self.links {
            let found = self.by_address.get(&link.address) == Some(dial);
            Invariant::S8.check(found, || format!("the dial to {} is not found by its address", link.address))?;
            let group = Group::of(link.address.ip()).filter(|_| link.purpose.is_automatic() && !link.doubles);
            let alone = group.is_none_or(|group| groups.insert(group));
            Invariant::S8.check(alone, || format!("{} is the second of its group without need", link.address))?;
        }
        let live = self.by_address.len() == self.links.len();
        Invariant::S8.check(live, || "an address is taken by a dial that is gone".to_owned())
    }

    fn begin(&mut self, choice: &Choice, since: Instant) -> DialId {
        let Choice { address, purpose, anchor, .. } = *choice;
        let is_grounded = anchor || matches!(purpose, Purpose::Seed | Purpose::Kept);
        let dial = DialId(self.next_id);
        self.next_id = self.next_id.wrapping_add(1);
        let doubles = self.is_in_used_group(address.ip());
        let state = DialState::Dialing;
        let (duplicate_of, is_full, is_web_socket) = (None, false, false);
        let link = Link { address, purpose, duplicate_of, is_full, is_grounded, doubles, is_web_socket, state, since };
        let twin = self.links.insert(dial, link);
        let other = self.by_address.insert(address, dial);
        debug_assert!(twin.is_none() && other.is_none(), "{address} is dialed already, or a name is used twice");
        dial
    }
}

fn kind(settled: bool, reason: CloseReason) -> DisconnectKind {
    match reason {
        _ if !settled => DisconnectKind::Early,
        CloseReason::RemoteClosed => DisconnectKind::Wanted,
        reason if reason.blame() == Blame::Lost => DisconnectKind::Cut,
        _ => DisconnectKind::Wanted,
    }
}

#[cfg(test)]
#[path = "outbound_feeler_tests.rs"]
mod feeler_tests;
#[cfg(test)]
#[path = "outbound_tests.rs"]
mod tests;
