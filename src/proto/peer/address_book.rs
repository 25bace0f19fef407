//! The address book: where we may dial, without knowing yet who is there.
//!
//! Addresses come from strangers, so each costs little and promises nothing: at most [`AddressBookConfig::addresses_max`], few per
//! subnet, only where the teller may know them ([`may_pass`]), and an address that does not answer is left alone for longer
//! each time, then gives its place to others. What we reached ourselves is *proven* and comes first.
//!
//! While nobody is connected, a failed dial says something about our own network and is held against no one.
//!
//! There are two back-offs. The general one grows up to an hour and is for nodes that have all the connections they want. A node
//! that lacks some may dial a *verified* address sooner, at its [`AddressEntry::urgent_attempt`]: whoever was there once is
//! likely to be there again when a network has healed, and a failure of the network must not be paid for by an hour alone.
//!
//! This book draws uniformly. Buckets by group and source, which make it costly to fill it with one attacker's addresses, fit
//! behind the same calls and are not built yet.

mod audit;
mod saved;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::retry::Backoff;
use crate::address::{Group, Scope, Subnet, canonical, may_pass};
use crate::id::ConnId;
use crate::proto::counter::lower;
use crate::rng::Rng;
use crate::time::{Instant, Now};

pub use self::saved::SavedAddress;

/// Failed dials after which an address that never answered gives its place to any newcomer.
const DOUBTFUL_FAILURES: u32 = 3;
/// Failed dials after which an address is forgotten. The back-off spreads them over some four hours at least.
const HOPELESS_FAILURES: u32 = 10;
/// "No" said so often in a row is believed even when connections are lacking, and the time until the next dial grows no more:
/// about eight minutes. It takes longer than a dead connection can stand at the other side.
const DECLINED_MAX: u32 = 5;
/// A settled connection that the network cut is replaced after this, plus or minus a half.
const CUT_PAUSE: Duration = Duration::from_secs(2);
/// A proven address is not forgotten before it was silent for so long, an announced one before nobody spoke of it for so long.
const PROVEN_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// So long after the last connection with whoever listens at an address, others are told of it.
const TOLD_FOR: Duration = Duration::from_secs(3 * 3600);
/// An address of which nobody spoke for so long gives its place to any newcomer, unless it is proven.
const FRESH_FOR: Duration = Duration::from_secs(3600);

/// The numbers of a [`AddressBook`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressBookConfig {
    /// Addresses kept at most. Default 10,240, about 3 MiB.
    pub addresses_max: usize,
    /// Addresses per /24, or /48 in IPv6. Default 10.
    pub per_subnet_max: usize,
    /// Take loopback and private addresses from anyone and without the subnet's limit. Default false.
    pub allow_private: bool,
    /// How long an address is left alone after a failed dial or a lost connection. Default 30 s, doubling to 1 h.
    pub backoff: Backoff,
    /// The same for a verified address when connections are lacking. Default 20 s, always.
    pub urgent_backoff: Backoff,
}

impl Default for AddressBookConfig {
    fn default() -> Self {
        AddressBookConfig {
            addresses_max: 10_240,
            per_subnet_max: 10,
            allow_private: false,
            backoff: Backoff { first: Duration::from_secs(30), max: Duration::from_secs(3600) },
            urgent_backoff: Backoff { first: Duration::from_secs(20), max: Duration::from_secs(20) },
        }
    }
}

/// How a connection to an address ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectKind {
    /// Soon after it began, for whatever reason.
    Early,
    /// It had lasted, and the network failed, or the other side ended what it had dialed itself.
    Cut,
    /// It had lasted, and one of the two sides ended it.
    Wanted,
}

/// What became of an address that was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// It is new.
    New,
    /// It was known, and is fresh again.
    Known,
    /// The teller cannot know it, or nothing can be dialed there.
    OutOfScope,
    /// Its subnet has enough addresses here.
    SubnetFull,
    /// The book is full of better addresses.
    BookFull,
    /// It is marked as never to be dialed.
    Never,
}

/// What is known of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddressEntry {
    /// Who told it last; `None` for ourselves, a file or the operator.
    pub source: Option<IpAddr>,
    /// When it was last told or reached.
    pub heard: Now,
    /// When it was last dialed.
    pub tried: Option<Instant>,
    /// When a dial to it last ended in a finished handshake.
    pub proven: Option<Now>,
    /// A peer at this IP address announced that it listens on this port.
    pub announced: bool,
    /// Somebody answered there when we dialed to see whether somebody is, if only to say no.
    pub answered: bool,
    /// The connection on which it was told last, if it was told.
    pub told_by: Option<ConnId>,
    /// When there was last a connection with who listens there.
    pub alive: Option<Instant>,
    /// Failed dials since it was last reached, counted while somebody was connected.
    pub failures: u32,
    /// How often in a row it answered and had no use for us: it is full, or connected to us already.
    pub declined: u32,
    /// Not to be dialed before.
    pub next_attempt: Instant,
    /// Not to be dialed before even when connections are lacking. Counts for a verified address only.
    pub urgent_attempt: Instant,
}

impl AddressEntry {
    /// Is somebody known to listen there? We reached them, or a peer that has this IP address says so.
    pub fn is_verified(&self) -> bool {
        self.proven.is_some() || self.announced
    }

    /// Has it said no so often that it is believed?
    pub fn is_refusing(&self) -> bool {
        self.declined >= DECLINED_MAX
    }

    /// Did a dial of ours find somebody there? Others are told of no other addresses.
    pub fn is_found(&self) -> bool {
        self.proven.is_some() || self.answered
    }

    /// Was it reached, and is likely to be reached again?
    fn is_sound(&self) -> bool {
        self.proven.is_some() && self.failures < DOUBTFUL_FAILURES
    }
}

/// The address book.
#[derive(Clone, Debug, Default)]
pub struct AddressBook {
    config: AddressBookConfig,
    entries: BTreeMap<SocketAddr, AddressEntry>,
    /// All addresses by the time of their next attempt, the proven ones apart.
    proven_queue: BTreeSet<(Instant, SocketAddr)>,
    queue: BTreeSet<(Instant, SocketAddr)>,
    /// The verified addresses by the time at which they may be dialed when connections are lacking.
    urgent_queue: BTreeSet<(Instant, SocketAddr)>,
    /// Addresses that were reached and do not fail, by group.
    groups: BTreeMap<Group, usize>,
    /// The addresses that are not proven, in the order in which they give way.
    leaving: BTreeSet<(bool, Instant, SocketAddr)>,
    subnets: BTreeMap<Subnet, usize>,
    never: BTreeSet<SocketAddr>,
    /// The same, oldest first, so that the set stays bounded.
    never_order: VecDeque<SocketAddr>,
    is_proxied: bool,
}

impl AddressBook {
    /// An empty book.
    pub fn new(config: AddressBookConfig) -> Self {
        AddressBook { config, ..Default::default() }
    }

    /// All dials go through a proxy. Then no peer's word for a local address counts, not even of one who comes from nearby: the
    /// proxy would dial a machine of its own network.
    pub(crate) fn set_through_proxy(&mut self, is_so: bool) {
        self.is_proxied = is_so;
    }

    /// `source` told us of `address`; `None` for a file or the operator, who may name any address. O(log n).
    pub fn hear(&mut self, address: SocketAddr, source: Option<IpAddr>, now: Now) -> Heard {
        let address = canonical(address);
        let passes = match source {
            Some(_) if self.is_proxied && !self.config.allow_private => Scope::of_socket(address) == Scope::Global,
            Some(peer) => may_pass(address, peer, self.config.allow_private),
            None => Scope::of_socket(address) != Scope::Unusable,
        };
        if !passes {
            return Heard::OutOfScope;
        }
        if self.never.contains(&address) {
            return Heard::Never;
        }
        if self.update(address, |entry| (entry.heard, entry.source) = (now, source)) {
            return Heard::Known;
        }
        let unlimited = self.config.allow_private && Scope::of(address.ip()) != Scope::Global;
        let crowd = self.subnets.get(&Subnet::of(address.ip())).copied().unwrap_or(0);
        if !unlimited && crowd >= self.config.per_subnet_max {
            return Heard::SubnetFull;
        }
        if self.entries.len() >= self.config.addresses_max && !self.make_room(now.at) {
            return Heard::BookFull;
        }
        self.insert(
            address,
            AddressEntry {
                source,
                heard: now,
                tried: None,
                proven: None,
                announced: false,
                answered: false,
                told_by: None,
                alive: None,
                failures: 0,
                declined: 0,
                next_attempt: now.at,
                urgent_attempt: now.at,
            },
        );
        Heard::New
    }

    /// The peer of that connection told of the address.
    pub fn told_by(&mut self, address: SocketAddr, conn: ConnId) {
        if let Some(entry) = self.entries.get_mut(&canonical(address)) {
            entry.told_by = Some(conn);
        }
    }

    /// A connected peer announced that it listens at `address`, which is the IP address it has.
    pub fn announced(&mut self, address: SocketAddr, now: Now) -> Heard {
        let heard = self.hear(address, Some(address.ip()), now);
        self.update(canonical(address), |entry| (entry.announced, entry.alive) = (true, Some(now.at)));
        heard
    }

    /// A dial to `address` begins.
    pub fn tried(&mut self, address: SocketAddr, now: Now) {
        self.update(canonical(address), |entry| entry.tried = Some(now.at));
    }

    /// A dial to `address` ended in a finished handshake.
    pub fn reached(&mut self, address: SocketAddr, now: Now) {
        let address = canonical(address);
        self.hear(address, None, now);
        self.update(address, |entry| {
            entry.proven = Some(now);
            entry.alive = Some(now.at);
            entry.failures = 0;
        });
    }

    /// A dial to `address`, or its handshake, failed. With nobody `online` (connected) it does not count, and the address is
    /// left alone for the shortest time.
    pub fn failed(&mut self, address: SocketAddr, now: Now, online: bool, rng: &mut Rng) {
        let address = canonical(address);
        let (backoff, urgent) = (self.config.backoff, self.config.urgent_backoff);
        let mut forget = false;
        self.update(address, |entry| {
            // A dial before its time says nothing that the last one did not: the back-off goes on, and so does the count, or an
            // address would be forgotten within minutes by whoever needs it most.
            if entry.tried.is_some_and(|at| at < entry.next_attempt) {
                entry.urgent_attempt = now.at + urgent.delay(1, rng);
                entry.next_attempt = entry.next_attempt.max(entry.urgent_attempt);
                return;
            }
            entry.failures = entry.failures.saturating_add(u32::from(online));
            let counted = if online { entry.failures } else { 1 };
            entry.next_attempt = now.at + backoff.delay(counted, rng);
            entry.urgent_attempt = entry.next_attempt.min(now.at + urgent.delay(1, rng));
            let known = entry.proven.or(entry.announced.then_some(entry.heard));
            let silent = known.is_none_or(|then| now.at.since(then.at) >= PROVEN_FOR);
            forget = online && silent && entry.failures >= HOPELESS_FAILURES;
        });
        if forget {
            self.remove(address);
        }
    }

    /// A connection to `address` ended: leave it alone for the shortest time. What the network cut may be dialed much sooner by
    /// a node that lacks connections: the other side did not ask to be left alone.
    pub fn left(&mut self, address: SocketAddr, kind: DisconnectKind, now: Now, rng: &mut Rng) {
        let delay = self.config.backoff.delay(1, rng);
        let urgent = if kind == DisconnectKind::Cut { rng.jitter(CUT_PAUSE, 50) } else { delay };
        self.update(canonical(address), |entry| {
            entry.declined = if kind == DisconnectKind::Early { entry.declined } else { 0 };
            (entry.next_attempt, entry.urgent_attempt) = (now.at + delay, now.at + urgent.min(delay));
        });
    }

    /// A dial to `address` was answered and served nothing: it is full, or we are connected to that node already. It may say so
    /// because of a connection that is dead and that it does not know to be dead yet. So a node that lacks connections asks
    /// again after the shortest time, a few times; who wants none more, ever more rarely.
    pub fn declined(&mut self, address: SocketAddr, now: Now, rng: &mut Rng) {
        let backoff = self.config.backoff;
        self.update(canonical(address), |entry| {
            entry.declined = entry.declined.saturating_add(1).min(DECLINED_MAX);
            let urgent = if entry.declined < DECLINED_MAX { 1 } else { DECLINED_MAX };
            entry.urgent_attempt = now.at + backoff.delay(urgent, rng);
            entry.next_attempt = entry.urgent_attempt.max(now.at + backoff.delay(entry.declined, rng));
        });
    }

    /// Forgets `address` and never dials it again in this run: it is ourselves, or on another network.
    pub fn mark_never(&mut self, address: SocketAddr) {
        let address = canonical(address);
        self.remove(address);
        if self.never.insert(address) {
            self.never_order.push_back(address);
        }
        // As many as addresses, for the same reason: whoever is dialed can make us write one here.
        if self.never_order.len() > self.config.addresses_max
            && let Some(oldest) = self.never_order.pop_front()
        {
            self.never.remove(&oldest);
        }
    }

    /// Forgets an address.
    pub fn remove(&mut self, address: SocketAddr) -> Option<AddressEntry> {
        let address = canonical(address);
        let entry = self.entries.remove(&address)?;
        self.unindex(address, &entry);
        let subnet = Subnet::of(address.ip());
        if let Some(crowd) = self.subnets.get_mut(&subnet) {
            lower(crowd, 1);
            if *crowd == 0 {
                self.subnets.remove(&subnet);
            }
        }
        Some(entry)
    }

    /// An address to dial now: the proven one that has been due for longest, so that each has its turn however few dials there
    /// may be, else any other; uniform among these, for strangers must not decide when they are dialed. O(those due).
    pub fn pick(&self, now: Instant, rng: &mut Rng, exclude: &dyn Fn(&SocketAddr) -> bool) -> Option<SocketAddr> {
        oldest(&self.proven_queue, now, exclude).or_else(|| draw(&self.queue, now, rng, exclude))
    }

    /// An address to try now that we never reached. Uniform; O(those due).
    pub fn pick_unproven(
        &self,
        now: Instant,
        rng: &mut Rng,
        exclude: &dyn Fn(&SocketAddr) -> bool,
    ) -> Option<SocketAddr> {
        draw(&self.queue, now, rng, exclude)
    }

    /// The verified address to dial now because connections are lacking: the one that has been due for longest. O(excluded
    /// ones due).
    pub fn pick_urgent(&self, now: Instant, exclude: &dyn Fn(&SocketAddr) -> bool) -> Option<SocketAddr> {
        oldest(&self.urgent_queue, now, exclude)
    }

    /// When [`pick`](Self::pick) may find something: the earliest next attempt. O(excluded ones due).
    pub fn next_attempt(&self, exclude: &dyn Fn(&SocketAddr) -> bool) -> Option<Instant> {
        [first(&self.proven_queue, exclude), first(&self.queue, exclude)].into_iter().flatten().min()
    }

    /// When [`pick_urgent`](Self::pick_urgent) may find something. O(excluded ones due).
    pub fn next_urgent(&self, exclude: &dyn Fn(&SocketAddr) -> bool) -> Option<Instant> {
        first(&self.urgent_queue, exclude)
    }

    /// In how many groups there are addresses that we reached and that do not fail.
    pub fn sound_groups(&self) -> usize {
        self.groups.len()
    }

    /// May `address` be dialed now? False when it is unknown.
    pub fn is_due(&self, address: SocketAddr, now: Instant) -> bool {
        self.get(address).is_some_and(|entry| entry.next_attempt <= now)
    }

    /// Is `address` marked as never to be dialed?
    pub fn is_never(&self, address: SocketAddr) -> bool {
        self.never.contains(&canonical(address))
    }

    /// What is known of `address`.
    pub fn get(&self, address: SocketAddr) -> Option<&AddressEntry> {
        self.entries.get(&canonical(address))
    }

    /// All addresses, in order: for a file.
    pub fn entries(&self) -> impl Iterator<Item = (SocketAddr, &AddressEntry)> {
        self.entries.iter().map(|(address, entry)| (*address, entry))
    }

    /// The addresses that may be told to others: those at which a dial of ours found somebody, where one of us was connected
    /// within the last hours and dials do not fail. Who has left for good is not told for ever.
    pub fn may_be_told(&self, now: Instant) -> impl Iterator<Item = SocketAddr> {
        let fresh = move |entry: &AddressEntry| entry.alive.is_some_and(|at| now.since(at) < TOLD_FOR);
        let told = move |entry: &AddressEntry| entry.is_found() && fresh(entry) && entry.failures < DOUBTFUL_FAILURES;
        self.entries.iter().filter(move |(_, entry)| told(entry)).map(|(address, _)| *address)
    }

    /// Somebody is at `address`, and had no use for a connection of ours, as who has one already.
    pub fn answered(&mut self, address: SocketAddr, now: Now) {
        self.update(canonical(address), |entry| (entry.answered, entry.alive) = (true, Some(now.at)));
    }

    /// There is a connection to whoever listens at `address`.
    pub fn connected(&mut self, address: SocketAddr, now: Now) {
        self.update(canonical(address), |entry| entry.alive = Some(now.at));
    }

    /// How many addresses there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is the book empty?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Do loopback and private addresses pass everywhere?
    pub fn allow_private(&self) -> bool {
        self.config.allow_private
    }

    /// Removes the address that gives way first, if one does.
    fn make_room(&mut self, now: Instant) -> bool {
        let Some((sound, heard, address)) = self.leaving.first().copied() else { return false };
        let gives_way = !sound || now.since(heard) >= FRESH_FOR;
        gives_way && self.remove(address).is_some()
    }

    fn insert(&mut self, address: SocketAddr, entry: AddressEntry) {
        *self.subnets.entry(Subnet::of(address.ip())).or_default() += 1;
        self.index(address, &entry);
        self.entries.insert(address, entry);
    }

    /// Changes an entry and keeps the queues in step; false when there is none.
    fn update(&mut self, address: SocketAddr, how: impl FnOnce(&mut AddressEntry)) -> bool {
        let Some(mut entry) = self.entries.remove(&address) else { return false };
        self.unindex(address, &entry);
        how(&mut entry);
        self.index(address, &entry);
        self.entries.insert(address, entry);
        true
    }

    fn index(&mut self, address: SocketAddr, entry: &AddressEntry) {
        if entry.is_verified() {
            self.urgent_queue.insert((entry.urgent_attempt, address));
        }
        if let Some(group) = Group::of(address.ip()).filter(|_| entry.is_sound()) {
            *self.groups.entry(group).or_default() += 1;
        }
        if entry.proven.is_some() {
            self.proven_queue.insert((entry.next_attempt, address));
        } else {
            self.queue.insert((entry.next_attempt, address));
            self.leaving.insert(place(address, entry));
        }
    }

    fn unindex(&mut self, address: SocketAddr, entry: &AddressEntry) {
        if entry.is_verified() {
            self.urgent_queue.remove(&(entry.urgent_attempt, address));
        }
        if let Some(group) = Group::of(address.ip()).filter(|_| entry.is_sound())
            && let Some(count) = self.groups.get_mut(&group)
        {
            lower(count, 1);
            if *count == 0 {
                self.groups.remove(&group);
            }
        }
        if entry.proven.is_some() {
            self.proven_queue.remove(&(entry.next_attempt, address));
        } else {
            self.queue.remove(&(entry.next_attempt, address));
            self.leaving.remove(&place(address, entry));
        }
    }
}

/// Any of the addresses in `queue` whose time has come.
fn draw(
    queue: &BTreeSet<(Instant, SocketAddr)>,
    now: Instant,
    rng: &mut Rng,
    exclude: &dyn Fn(&SocketAddr) -> bool,
) -> Option<SocketAddr> {
    let mut chosen = None;
    let due = queue.iter().take_while(|(at, _)| *at <= now).map(|(_, address)| address);
    for (seen, address) in (1u64..).zip(due.filter(|address| !exclude(address))) {
        // Each of the first `seen` is the chosen one with the same probability.
        if rng.chance(1, seen) {
            chosen = Some(*address);
        }
    }
    chosen
}

/// The address in `queue` whose time came first, if it has come.
fn oldest(
    queue: &BTreeSet<(Instant, SocketAddr)>,
    now: Instant,
    exclude: &dyn Fn(&SocketAddr) -> bool,
) -> Option<SocketAddr> {
    let mut due = queue.iter().take_while(|(at, _)| *at <= now).map(|(_, address)| *address);
    due.find(|address| !exclude(address))
}

/// When the first address in `queue` is due.
fn first(queue: &BTreeSet<(Instant, SocketAddr)>, exclude: &dyn Fn(&SocketAddr) -> bool) -> Option<Instant> {
    queue.iter().find(|(_, address)| !exclude(address)).map(|(at, _)| *at)
}

/// The doubtful first, then those not heard of for longest.
fn place(address: SocketAddr, entry: &AddressEntry) -> (bool, Instant, SocketAddr) {
    (entry.failures < DOUBTFUL_FAILURES, entry.heard.at, address)
}

#[cfg(test)]
#[path = "address_book_tests.rs"]
mod tests;
