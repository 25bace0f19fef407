//! The pool in a small world on a virtual clock: some addresses answer, others do not.

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;

use proptest::prelude::*;

use super::super::address_book::AddressBookConfig;
use super::super::peer_table::PeerRecord;
use super::*;
use crate::rng::Rng;
use crate::time::UnixTime;

/// A node's dialing side and the network around it.
pub(super) struct World {
    pub(super) pool: OutboundManager,
    book: AddressBook,
    peers: PeerTable,
    rng: Rng,
    millis: u64,
    /// Who answers a dial.
    pub(super) alive: BTreeSet<SocketAddr>,
    /// After how many milliseconds.
    pub(super) delay: u64,
    /// Those who answer do their handshake as well.
    greets: bool,
    banned: BTreeSet<IpAddr>,
    /// What a failed dial fails with, and after how many milliseconds.
    pub(super) failure: (CloseReason, u64),
    /// When each dial ends.
    pending: BTreeMap<DialId, (u64, SocketAddr)>,
    pub(super) ready: BTreeMap<DialId, SocketAddr>,
    /// Somebody has dialed us.
    inbound: bool,
    /// Every dial: when, and where to.
    pub(super) dials: Vec<(u64, SocketAddr)>,
}

/// The n-th address, each in a group of its own.
pub(super) fn nth(n: u32) -> SocketAddr {
    SocketAddr::new(core::net::Ipv4Addr::from_bits(0x0b00_0001 + (n << 16)).into(), 8333)
}

impl World {
    /// Without feelers: they are not what most of these tests are about.
    fn new(config: OutboundConfig) -> Self {
        World::with_feelers(OutboundConfig { feeler_every: None, ..config })
    }

    pub(super) fn with_feelers(config: OutboundConfig) -> Self {
        World {
            pool: OutboundManager::new(config),
            book: AddressBook::new(AddressBookConfig::default()),
            peers: PeerTable::default(),
            rng: Rng::from_seed(7),
            millis: 0,
            alive: BTreeSet::new(),
            delay: 20,
            greets: true,
            banned: BTreeSet::new(),
            failure: (CloseReason::Io(ErrorKind::ConnectionRefused), 1),
            pending: BTreeMap::new(),
            ready: BTreeMap::new(),
            inbound: false,
            dials: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now { at: Instant::from_millis(self.millis), unix: UnixTime::from_millis(self.millis as i64) }
    }

    pub(super) fn hear(&mut self, range: core::ops::Range<u32>) {
        let now = self.now();
        range.for_each(|n| {
            self.book.hear(nth(n), None, now);
        });
        self.pool.nudge();
    }

    pub(super) fn close(&mut self, dial: DialId, reason: CloseReason) {
        self.ready.remove(&dial);
        let (now, online) = (self.now(), self.inbound || !self.ready.is_empty());
        self.pool.closed(dial, reason, now, online, &mut self.book, &mut self.rng);
    }

    fn close_address(&mut self, address: SocketAddr, reason: CloseReason) {
        let dial = *self.ready.iter().find(|(_, to)| **to == address).unwrap().0;
        self.close(dial, reason);
    }

    /// Takes all dials there are, then moves to the next thing that happens; false when nothing will.
    fn step(&mut self, until: u64) -> bool {
        let now = self.now();
        loop {
            let ready: BTreeSet<SocketAddr> = self.ready.values().copied().collect();
            let banned = self.banned.clone();
            let context = DialContext {
                book: &mut self.book,
                peers: &self.peers,
                connected: |address: &SocketAddr| ready.contains(address),
                banned: |ip: IpAddr| banned.contains(&ip),
                online: self.inbound || !ready.is_empty(),
                room: 100usize.saturating_sub(self.pending.len() + ready.len()),
            };
            let Some((dial, address)) = self.pool.next_dial(now, &mut self.rng, context) else { break };
            assert!(self.pending.values().all(|(_, other)| *other != address), "two dials to {address}");
            assert!(!ready.contains(&address), "dialed {address}, which is connected");
            let delay = if self.alive.contains(&address) { self.delay } else { self.failure.1 };
            self.pending.insert(dial, (self.millis + delay, address));
            self.dials.push((self.millis, address));
            assert!(self.pending.len() <= self.pool.config.dials_max);
        }
        let wake = self.pool.deadline().map(|at| at.as_nanos().div_ceil(1_000_000));
        assert!(wake.is_none_or(|wake| wake > self.millis), "the pool spins");
        let next = self.pending.values().map(|(at, _)| *at).chain(wake).min();
        match next {
            Some(next) if next <= until => self.millis = next,
            _ => {
                self.millis = until;
                return false;
            }
        }
        let ended: Vec<_> =
            self.pending.iter().filter(|(_, (at, _))| *at <= self.millis).map(|(id, to)| (*id, to.1)).collect();
        for (dial, address) in ended {
            self.pending.remove(&dial);
            let (now, online) = (self.now(), self.inbound || !self.ready.is_empty());
            if self.alive.contains(&address) {
                self.pool.dial_opened(dial);
                let greeted = self.greets.then(|| self.pool.ready(dial, now, &mut self.book, &mut self.rng));
                if let Some(spent) = greeted.flatten() {
                    self.close(spent, CloseReason::Done);
                }
                self.ready.insert(dial, address);
            } else {
                self.pool.closed(dial, self.failure.0, now, online, &mut self.book, &mut self.rng);
            }
        }
        true
    }

    pub(super) fn run(&mut self, seconds: u64) {
        let until = self.millis + seconds * 1000;
        while self.step(until) {}
    }

    fn dials_to(&self, address: SocketAddr) -> usize {
        self.dials.iter().filter(|(_, to)| *to == address).count()
    }
}

#[test]
fn eight_connections_are_kept_and_a_lost_one_is_replaced() {
    let mut world = World::new(OutboundConfig::default());
    world.alive = (0..30).map(nth).collect();
    world.hear(0..30);
    world.run(10);
    assert_eq!((world.ready.len(), world.dials.len()), (8, 8));
    world.run(3600);
    assert_eq!(world.dials.len(), 8, "nothing to do");
    let first = *world.ready.keys().next().unwrap();
    world.close(first, CloseReason::RemoteClosed);
    world.run(10);
    assert_eq!((world.ready.len(), world.dials.len()), (8, 9));
}

#[test]
fn a_dead_network_is_dialed_ever_more_rarely_and_never_in_a_spin() {
    let mut world = World::new(OutboundConfig::default());
    world.alive.insert(nth(5000));
    world.pool.keep(nth(5000));
    world.run(5);
    world.hear(0..1000);
    world.run(12 * 3600);
    assert_eq!(world.ready.len(), 1);
    let dials = world.dials.len() - 1;
    // Ten each, spread by the back-off, and then they are forgotten.
    assert!(world.book.len() < 10 && (9_000..=10_000).contains(&dials), "{dials} dials");
    for second in 0..12 * 3600 {
        let from = world.dials.partition_point(|(at, _)| *at < second * 1000);
        let to = world.dials.partition_point(|(at, _)| *at < second * 1000 + 1000);
        assert!(to - from <= 26, "{} dials in second {second}", to - from);
    }
}

#[test]
fn an_outage_of_our_own_costs_no_address_and_is_over_within_a_minute() {
    let mut world = World::new(OutboundConfig::default());
    let all: BTreeSet<_> = (0..200).map(nth).collect();
    world.alive = all.clone();
    world.hear(0..200);
    world.run(60);
    assert_eq!(world.ready.len(), 8);
    world.alive.clear();
    world.failure = (CloseReason::Io(ErrorKind::NetworkUnreachable), 0);
    let open: Vec<_> = world.ready.keys().copied().collect();
    world.ready.clear();
    open.into_iter().for_each(|dial| world.close(dial, CloseReason::IdleTimeout));
    let before = world.dials.len();
    world.run(600);
    let during = world.dials.len() - before;
    assert!((50..=100).contains(&during), "{during} dials in ten minutes, one per ten seconds or so");
    assert!(world.book.len() == 200 && world.book.entries().all(|(_, entry)| entry.failures == 0));
    world.alive = all;
    world.run(60);
    assert_eq!(world.ready.len(), 8);
}

#[test]
fn a_kept_peer_is_dialed_until_it_answers_and_again_when_it_leaves() {
    let mut world = World::new(OutboundConfig { outbound: 0, ..Default::default() });
    assert!(world.pool.keep(nth(1)) && !world.pool.keep("0.0.0.0:1".parse().unwrap()));
    world.run(3600);
    let dials = world.dials_to(nth(1));
    assert!((100..=160).contains(&dials), "{dials} dials in an hour: once per 30 s");
    world.alive.insert(nth(1));
    world.run(40);
    assert_eq!(world.ready.len(), 1);
    world.run(60);
    world.close_address(nth(1), CloseReason::RemoteClosed);
    let left = world.millis;
    world.run(10);
    assert_eq!(world.ready.len(), 1);
    assert!((800..=1300).contains(&(world.dials.last().unwrap().0 - left)), "a settled peer is dialed after a second");
}

#[test]
fn a_kept_peer_that_accepts_and_closes_at_once_is_not_dialed_in_a_loop() {
    let mut world = World::new(OutboundConfig { outbound: 0, ..Default::default() });
    world.alive.insert(nth(1));
    world.pool.keep(nth(1));
    let until = 3_600_000;
    while world.step(until) {
        world
            .ready
            .keys()
            .copied()
            .collect::<Vec<_>>()
            .into_iter()
            .for_each(|id| world.close(id, CloseReason::RemoteClosed));
    }
    assert!((100..=160).contains(&world.dials.len()), "{} dials", world.dials.len());
}

#[test]
fn ourselves_and_other_networks_are_dialed_once() {
    for reason in [CloseReason::SelfConnection, CloseReason::WrongNetwork] {
        let mut world = World::new(OutboundConfig::default());
        world.alive.extend([nth(1), nth(2), nth(3)]);
        world.pool.keep(nth(1));
        world.pool.add_seed(nth(2));
        world.hear(3..4);
        world.run(1);
        for n in 1..4 {
            world.close_address(nth(n), reason);
        }
        world.hear(1..4);
        world.run(24 * 3600);
        assert_eq!(world.dials.len(), 3);
        assert_eq!(world.pool.deadline(), None);
    }
}

#[test]
fn seeds_are_asked_when_there_is_nobody_else() {
    let mut world = World::new(OutboundConfig::default());
    world.pool.add_seed(nth(100));
    world.run(600);
    let dials = world.dials_to(nth(100));
    assert!((20..=28).contains(&dials), "{dials} dials of a dead seed in ten minutes: once per 30 s");
    world.alive.extend((0..101).map(nth));
    world.run(400);
    assert_eq!(world.ready.len(), 1);
    assert!(world.book.get(nth(100)).unwrap().proven.is_some(), "a seed that was reached is an ordinary address");
    world.hear(0..50);
    world.run(10);
    assert_eq!((world.ready.len(), world.pool.automatic()), (8, 8));
    let asked = world.dials_to(nth(100));
    world.close_address(nth(100), CloseReason::RemoteClosed);
    world.run(3600);
    assert!(world.ready.len() == 8 && world.dials_to(nth(100)) <= asked + 1);
}

/// Two attackers dialed a node and told it of a thousand addresses where nobody is: with somebody connected and a book that
/// always had somebody due, its honest seeds were never asked again.
#[test]
fn a_book_full_of_lies_does_not_keep_us_from_the_seeds() {
    let mut world = World::new(OutboundConfig::default());
    world.pool.add_seed(nth(5000));
    world.hear(0..1000);
    world.inbound = true;
    world.run(120);
    let dials = world.dials_to(nth(5000));
    assert!((3..=12).contains(&dials), "{dials} dials of a dead seed in two minutes: by its own back-off");
    assert!(world.dials.len() > 500, "the book has its turns too: {}", world.dials.len());
    world.alive.insert(nth(5000));
    world.run(45);
    assert_eq!(world.ready.values().collect::<Vec<_>>(), [&nth(5000)]);
}

/// A node whose seed was down for its first minute met one attacker, whose addresses led nowhere: with one connection it did
/// not look for its seed again (simulated seed 3100383).
#[test]
fn a_liar_whom_we_reached_does_not_keep_us_from_the_seeds() {
    let mut world = World::new(OutboundConfig::default());
    world.pool.add_seed(nth(5000));
    world.hear(3..4);
    world.alive.insert(nth(3));
    world.run(5);
    world.hear(0..1000);
    world.run(600);
    assert_eq!(world.ready.values().collect::<Vec<_>>(), [&nth(3)]);
    world.alive.insert(nth(5000));
    world.run(45);
    assert_eq!(world.ready.len(), 2);
}

#[test]
fn anchors_go_before_strangers_and_the_blacklisted_not_at_all() {
    let mut world = World::new(OutboundConfig { outbound: 2, ..Default::default() });
    world.alive.extend((0..20).map(nth));
    for (n, id) in [(3, "first"), (4, "later"), (5, "banned")] {
        let seen = Now { unix: UnixTime::from_secs(n.into()), ..Now::default() };
        world.peers.add(PeerRecord { reached: true, anchor: true, ..PeerRecord::new(id, Some(nth(n)), seen) });
    }
    // A good name is earned by coming and sending what is new: it orders no dials.
    for n in 7..20 {
        world.peers.add(PeerRecord { score: 20, ..PeerRecord::new(format!("{n}"), Some(nth(n)), Now::default()) });
    }
    world.banned.insert(nth(5).ip());
    world.banned.insert(nth(6).ip());
    world.hear(0..20);
    world.run(10);
    assert_eq!(world.dials.iter().map(|(_, to)| *to).collect::<Vec<_>>(), [nth(4), nth(3)], "the last seen first");
    world.alive.remove(&nth(3));
    world.close_address(nth(3), CloseReason::RemoteClosed);
    (0..20).filter(|n| ![4, 5, 6].contains(n)).for_each(|n| {
        world.alive.remove(&nth(n));
    });
    world.run(3600);
    assert!(world.dials_to(nth(5)) == 0 && world.dials_to(nth(6)) == 0);
}

/// Forty strangers who had come and announced themselves filled the book, so that no seed was asked after a restart.
#[test]
fn who_knows_only_what_strangers_announced_asks_a_seed_first_and_no_more_than_one() {
    let mut world = World::new(OutboundConfig { outbound: 4, ..Default::default() });
    world.alive.extend((0..40).chain(5000..5003).map(nth));
    (5000..5003).for_each(|n| assert!(world.pool.add_seed(nth(n))));
    world.hear(0..40);
    world.run(60);
    let seeds = |world: &World| world.ready.values().filter(|to| (5000..5003).any(|n| **to == nth(n))).count();
    assert_eq!((seeds(&world), world.ready.len()), (1, 4));
    // One that is not there leads to the next.
    let mut world = World::new(OutboundConfig { outbound: 4, ..Default::default() });
    world.alive.extend((0..40).map(nth));
    world.alive.insert(nth(5002));
    (5000..5003).for_each(|n| assert!(world.pool.add_seed(nth(n))));
    world.hear(0..3);
    world.run(60);
    assert_eq!(seeds(&world), 1);
}

#[test]
fn a_kept_address_counts_not_as_automatic_and_can_be_let_go() {
    let mut world = World::new(OutboundConfig { outbound: 2, ..Default::default() });
    world.alive.extend((0..20).map(nth));
    world.hear(0..20);
    world.run(5);
    let first = *world.ready.values().next().unwrap();
    world.pool.keep(first);
    world.run(5);
    assert_eq!((world.ready.len(), world.pool.automatic()), (3, 2));
    assert_eq!(world.pool.unkeep(first), [first]);
    assert!(world.pool.unkeep(first).is_empty() && !world.pool.is_kept(first));
    world.close_address(first, CloseReason::Requested);
    world.run(60);
    assert_eq!((world.ready.len(), world.pool.automatic()), (2, 2));
}

#[test]
fn without_room_nothing_is_dialed() {
    let mut pool = OutboundManager::new(OutboundConfig::default());
    let (mut book, peers, mut rng) = (AddressBook::default(), PeerTable::default(), Rng::from_seed(1));
    book.hear(nth(0), None, Now::default());
    for room in [0, 1] {
        let context = DialContext {
            book: &mut book,
            peers: &peers,
            connected: |_: &_| false,
            banned: |_| false,
            online: false,
            room,
        };
        pool.nudge();
        let dial = pool.next_dial(Now::default(), &mut rng, context);
        assert_eq!(dial.is_some(), room > 0);
        assert!(pool.deadline().is_some());
    }
}

proptest! {
    /// Whatever comes and goes, no address is dialed twice at once (asserted in the world), and with enough addresses alive the
    /// pool ends with exactly as many connections as it should keep.
    #[test]
    fn after_any_weather_the_pool_is_full(
        weather in prop::collection::vec((0u32..40, any::<bool>(), 0u64..120), 1..40), outbound in 1usize..9,
        feels in any::<bool>()
    ) {
        let config = OutboundConfig { outbound, ..Default::default() };
        let mut world = if feels { World::with_feelers(config) } else { World::new(config) };
        // The kept one, and a feeler.
        let extra = 1 + usize::from(feels);
        world.pool.keep(nth(50));
        world.pool.add_seed(nth(51));
        world.hear(0..40);
        for (n, alive, seconds) in weather {
            if alive {
                world.alive.insert(nth(n));
            } else if world.alive.remove(&nth(n)) && world.ready.values().any(|to| *to == nth(n)) {
                world.close_address(nth(n), CloseReason::Io(ErrorKind::ConnectionReset));
            }
            world.run(seconds);
            prop_assert!(world.pool.automatic() <= outbound);
            prop_assert!(world.ready.len() <= outbound + extra);
        }
        world.alive.extend((0..52).map(nth));
        world.run(2 * 3600);
        prop_assert_eq!(world.ready.len(), outbound + extra);
        prop_assert_eq!(world.pool.automatic(), outbound);
        // The next feeler may be on its way.
        prop_assert!(world.pool.dialing() < extra);
    }
}

/// A node that is connected to us under another address says "already connected" to each dial. Ten of those and it was
/// forgotten as hopeless.
#[test]
fn a_node_that_we_once_reached_and_that_says_no_is_asked_rarely_and_not_forgotten() {
    let mut world = World::new(OutboundConfig::default());
    world.hear(0..2);
    let mut polite = |n: u32, reached: bool| {
        let mut dials = 0;
        if reached {
            let now = world.now();
            world.book.reached(nth(n), now);
        }
        for _ in 0..24 * 60 {
            world.millis += 60_000;
            let now = world.now();
            if world.book.is_due(nth(n), now.at) {
                let dial = world.pool.begin(&Choice::new(nth(n), Purpose::Automatic), now.at);
                world.pool.dial_opened(dial);
                world.pool.closed(dial, CloseReason::RemoteClosed, now, true, &mut world.book, &mut world.rng);
                dials += 1;
            }
        }
        (dials, world.book.get(nth(n)).map(|entry| entry.failures))
    };
    let (dials, failures) = polite(0, true);
    assert_eq!(failures, Some(0));
    assert!((20..=400).contains(&dials), "{dials} dials in a day");
    assert_eq!(polite(1, false).1, None, "a stranger that always says no makes room");
}

#[test]
fn a_thousand_peers_that_died_are_dialed_at_a_slow_and_steady_rate() {
    let mut world = World::new(OutboundConfig::default());
    let now = world.now();
    (0..1000).for_each(|n| world.book.reached(nth(n), now));
    world.alive.insert(nth(5000));
    world.pool.keep(nth(5000));
    world.run(600);
    let first = world.dials.len();
    world.run(3600);
    assert_eq!(world.ready.len(), 1);
    let hourly = world.dials.len() - first;
    assert!((3000..=7000).contains(&hourly), "{hourly} dials in an hour: one a second, and what the back-off allows");
    for second in 0..4200 {
        let dials = world.dials.iter().filter(|(at, _)| at / 1000 == second).count();
        assert!(dials <= 26, "{dials} dials in second {second}");
    }
    for n in 0..1000 {
        let times: Vec<u64> = world.dials.iter().filter(|(_, to)| *to == nth(n)).map(|(at, _)| *at).collect();
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= 16_000), "address {n} is dialed again at once");
    }
}

/// Whoever accepts and leaves at once, or is full, is not dialed in a loop however much connections are lacking.
#[test]
fn peers_that_accept_and_close_are_not_dialed_in_a_loop() {
    for greets in [true, false] {
        let mut world = World::new(OutboundConfig::default());
        world.alive = (0..4).map(nth).collect();
        world.hear(0..4);
        let mut dials = 0;
        while world.step(3_600_000) {
            // All of them were reached once.
            world.greets = greets || dials < 4;
            for dial in world.ready.keys().copied().collect::<Vec<_>>() {
                dials += 1;
                world.close(dial, CloseReason::RemoteClosed);
            }
        }
        let most = if greets { 4 * 3600 / 24 + 4 } else { 4 * 15 };
        assert!((20..=most).contains(&dials), "{dials} dials of four addresses in an hour, greets: {greets}");
    }
}

/// Nine of ten addresses are in one network.
#[test]
fn a_network_that_fills_the_book_gets_one_connection_as_long_as_there_are_others() {
    let crowd = |n: u32| SocketAddr::new(core::net::Ipv4Addr::from_bits(0x5b01_0001 + n * 256).into(), 8333);
    let mut world = World::new(OutboundConfig::default());
    let now = world.now();
    (0..200).for_each(|n| {
        world.book.hear(crowd(n), None, now);
    });
    world.alive = (0..200).map(crowd).chain((0..20).map(nth)).collect();
    world.hear(0..20);
    world.run(60);
    assert_eq!(world.ready.len(), 8);
    let crowded = |world: &World| world.ready.values().filter(|to| to.ip().to_string().starts_with("91.1.")).count();
    assert!(crowded(&world) <= 1, "{} of 8 in one network", crowded(&world));
    // Two of them leave, and nobody else answers any more: that network gets no second connection all the same.
    world.alive.retain(|to| to.ip().to_string().starts_with("91.1."));
    let left: Vec<_> =
        world.ready.values().filter(|to| !to.ip().to_string().starts_with("91.1.")).copied().take(2).collect();
    left.into_iter().for_each(|to| world.close_address(to, CloseReason::RemoteClosed));
    world.run(60);
    assert!(crowded(&world) <= 1, "{} of {} in one network", crowded(&world), world.ready.len());
}

#[test]
fn a_network_of_one_group_connects_all_the_same() {
    let near = |n: u32| SocketAddr::new(core::net::Ipv4Addr::from_bits(0x5b01_0001 + n * 256).into(), 8333);
    let mut world = World::new(OutboundConfig::default());
    let now = world.now();
    world.alive = (0..20).map(near).collect();
    (0..20).for_each(|n| {
        world.book.hear(near(n), None, now);
    });
    world.pool.nudge();
    world.run(20);
    assert_eq!(world.ready.len(), 8);
    // Lies about other networks, each of which takes a place for ten seconds, do not keep the peers of before from coming back.
    world.failure = (CloseReason::DialTimeout, 10_000);
    world.hear(0..2000);
    let open: Vec<_> = world.ready.keys().copied().collect();
    open.into_iter().for_each(|dial| world.close(dial, CloseReason::PingTimeout));
    world.run(60);
    assert!(world.ready.len() >= 7, "{} of 8", world.ready.len());
}
