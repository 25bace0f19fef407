//! The address book by what it promises, and its counts after random use.

use proptest::prelude::*;

use super::*;
use crate::invariant::Invariant;
use crate::rng::Rng;
use crate::time::UnixTime;

fn now(seconds: u64) -> Now {
    Now { at: Instant::from_millis(seconds * 1000), unix: UnixTime::from_secs(1_700_000_000 + seconds as i64) }
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn from(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

fn nobody(_: &SocketAddr) -> bool {
    false
}

/// The n-th address, each in a subnet of its own.
fn nth(n: u32) -> SocketAddr {
    SocketAddr::new(core::net::Ipv4Addr::from_bits(0x0b00_0001 + n * 256).into(), 8333)
}

#[test]
fn strangers_name_no_local_addresses_and_nobody_names_undialable_ones() {
    let mut book = AddressBook::default();
    for bad in ["127.0.0.1:1", "10.0.0.1:1", "[::1]:1", "[fe80::1]:1", "0.0.0.0:1", "8.8.8.8:0", "224.0.0.1:1"] {
        assert_eq!(book.hear(socket(bad), from("9.9.9.9"), now(0)), Heard::OutOfScope, "{bad}");
    }
    assert_eq!(book.hear(socket("127.0.0.1:1"), from("127.0.0.1"), now(0)), Heard::New);
    assert_eq!(book.hear(socket("10.0.0.1:1"), from("192.168.0.1"), now(0)), Heard::New);
    assert_eq!(book.hear(socket("8.8.8.8:0"), None, now(0)), Heard::OutOfScope);
    assert_eq!(book.hear(socket("[::ffff:127.0.0.1]:1"), from("127.0.0.1"), now(1)), Heard::Known);
    let mut open = AddressBook::new(AddressBookConfig { allow_private: true, ..Default::default() });
    assert_eq!(open.hear(socket("127.0.0.1:1"), from("9.9.9.9"), now(0)), Heard::New);
}

#[test]
fn a_subnet_gets_ten_places() {
    let mut book = AddressBook::default();
    let heard = |book: &mut AddressBook, n: u32| book.hear(socket(&format!("8.8.8.{n}:1")), from("9.9.9.9"), now(0));
    assert_eq!((0..50).filter(|n| heard(&mut book, *n) == Heard::New).count(), 10);
    assert_eq!(heard(&mut book, 50), Heard::SubnetFull);
    book.remove(socket("8.8.8.0:1"));
    assert_eq!(heard(&mut book, 50), Heard::New);
    let mut open = AddressBook::new(AddressBookConfig { allow_private: true, ..Default::default() });
    let near = |n: u32| socket(&format!("127.0.0.1:{n}"));
    assert_eq!((1..50).filter(|n| open.hear(near(*n), None, now(0)) == Heard::New).count(), 49);
    assert_eq!((1..50).filter(|n| heard(&mut open, *n) == Heard::New).count(), 10, "the internet stays limited");
}

#[test]
fn a_full_book_takes_a_newcomer_for_a_doubtful_or_forgotten_address_only() {
    let mut book = AddressBook::new(AddressBookConfig { addresses_max: 3, ..Default::default() });
    let mut rng = Rng::from_seed(1);
    (0..3).for_each(|n| assert_eq!(book.hear(nth(n), None, now(0)), Heard::New));
    assert_eq!(book.hear(nth(3), None, now(10)), Heard::BookFull);
    book.reached(nth(0), now(20));
    (0..3).for_each(|_| book.failed(nth(1), now(20), true, &mut rng));
    assert_eq!(book.hear(nth(3), None, now(30)), Heard::New);
    assert!(book.get(nth(1)).is_none());
    assert_eq!(book.hear(nth(4), None, now(3599)), Heard::BookFull);
    assert_eq!(book.hear(nth(4), None, now(3600)), Heard::New);
    assert!(book.get(nth(0)).is_some() && book.get(nth(2)).is_none());
}

#[test]
fn an_address_that_fails_is_left_alone_for_longer_each_time_and_then_forgotten() {
    let mut book = AddressBook::default();
    let mut rng = Rng::from_seed(1);
    book.hear(nth(0), None, now(0));
    let mut second = 0;
    for seconds in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
        book.failed(nth(0), now(second), true, &mut rng);
        let wait = book.get(nth(0)).unwrap().next_attempt.since(now(second).at).as_secs();
        assert!((seconds * 8 / 10 - 1..=seconds * 12 / 10).contains(&wait), "{seconds}: {wait}");
        second += wait + 1;
        assert!(book.is_due(nth(0), now(second).at) && !book.is_due(nth(0), now(second - 2).at));
    }
    book.failed(nth(0), now(second), true, &mut rng);
    assert!(book.is_empty());
}

/// A proven address that failed during a partition rested for up to an hour, and so did a node that had no other.
#[test]
fn a_verified_address_may_be_dialed_soon_when_connections_are_lacking() {
    let mut book = AddressBook::default();
    let mut rng = Rng::from_seed(1);
    book.reached(nth(0), now(0));
    assert_eq!(book.announced(nth(1), now(0)), Heard::New);
    assert_eq!(book.hear(nth(2), None, now(0)), Heard::New);
    for n in 0..8 {
        (0..3).for_each(|n| book.failed(nth(n), now(0), true, &mut rng));
        assert_eq!(book.pick_urgent(now(15).at, &nobody), None, "failure {n}");
        let first = book.next_urgent(&nobody).unwrap();
        assert!((16_000..=24_000).contains(&first.since(now(0).at).as_millis()), "failure {n}");
    }
    assert_eq!(book.pick(now(600).at, &mut rng, &nobody), None);
    let urgent = |but: &dyn Fn(&SocketAddr) -> bool| book.pick_urgent(now(25).at, but);
    let one = urgent(&nobody).unwrap();
    let other = urgent(&|address| *address == one).unwrap();
    assert_eq!(BTreeSet::from([one, other]), BTreeSet::from([nth(0), nth(1)]));
    assert_eq!(urgent(&|address| [one, other].contains(address)), None, "not the one that was only heard of");
}

/// Dialed every twenty seconds for want of others, an announced address was forgotten after ten failures, in three minutes.
#[test]
fn dials_before_their_time_do_not_use_up_an_address() {
    let mut book = AddressBook::default();
    let mut rng = Rng::from_seed(1);
    assert_eq!(book.announced(nth(0), now(0)), Heard::New);
    let mut dials = 0;
    for second in 1..3600 {
        if let Some(address) = book.pick_urgent(now(second).at, &nobody) {
            book.tried(address, now(second));
            book.failed(address, now(second), true, &mut rng);
            dials += 1;
        }
    }
    let entry = book.get(nth(0)).unwrap();
    assert!((150..=225).contains(&dials), "{dials} dials in an hour");
    assert!((6..=8).contains(&entry.failures), "{} failures count, as if there were no haste", entry.failures);
    assert!(entry.is_verified());
}

/// Drawn at random, one of twenty was sometimes not dialed for a minute while the rate of dials was used up by the others.
#[test]
fn proven_addresses_take_turns() {
    let mut book = AddressBook::default();
    let mut rng = Rng::from_seed(1);
    (0..20).for_each(|n| book.reached(nth(n), now(0)));
    for round in 1..10 {
        let mut dialed = BTreeSet::new();
        for second in 0..20 {
            let at = now(round * 60 + second);
            let address = book.pick(at.at, &mut rng, &nobody).unwrap();
            dialed.insert(address);
            book.failed(address, at, false, &mut rng);
        }
        assert_eq!(dialed.len(), 20, "round {round}");
    }
}

#[test]
fn a_polite_no_is_believed_more_each_time() {
    let mut book = AddressBook::default();
    let mut rng = Rng::from_seed(1);
    book.reached(nth(0), now(0));
    let near = |seconds: u64, at: Option<Instant>| {
        let wait = at.unwrap().since(now(0).at).as_millis() as u64;
        assert!((seconds * 800..=seconds * 1200).contains(&wait), "{seconds} s: {wait} ms");
    };
    for (seconds, urgent) in [(30, 30), (60, 30), (120, 30), (240, 30), (480, 480), (480, 480)] {
        book.declined(nth(0), now(0), &mut rng);
        near(seconds, book.next_attempt(&nobody));
        near(urgent, book.next_urgent(&nobody));
    }
    book.left(nth(0), DisconnectKind::Cut, now(0), &mut rng);
    near(30, book.next_attempt(&nobody));
    assert!(book.next_urgent(&nobody).unwrap().since(now(0).at) <= Duration::from_secs(3));
    assert_eq!(book.get(nth(0)).unwrap().declined, 0, "a connection that lasted is no refusal");
}

#[test]
fn a_local_outage_costs_no_address_its_place() {
    let mut book = AddressBook::default();
    let mut rng = Rng::from_seed(1);
    book.hear(nth(0), None, now(0));
    for n in 0..100 {
        book.failed(nth(0), now(n * 60), false, &mut rng);
        assert!(book.is_due(nth(0), now(n * 60 + 37).at), "the shortest wait");
    }
    assert_eq!(book.get(nth(0)).unwrap().failures, 0);
}

#[test]
fn a_proven_address_comes_first_and_outlives_a_bad_week() {
    let mut book = AddressBook::default();
    let mut rng = Rng::from_seed(1);
    (0..20).for_each(|n| assert_eq!(book.hear(nth(n), None, now(0)), Heard::New));
    book.reached(nth(7), now(0));
    for _ in 0..50 {
        assert_eq!(book.pick(now(0).at, &mut rng, &nobody), Some(nth(7)));
        assert_ne!(book.pick(now(0).at, &mut rng, &|a| *a == nth(7)), Some(nth(7)));
    }
    (0..50).for_each(|n| book.failed(nth(7), now(n * 4000), true, &mut rng));
    assert!(book.get(nth(7)).is_some());
    book.failed(nth(7), now(7 * 24 * 3600), true, &mut rng);
    assert!(book.get(nth(7)).is_none());
}

#[test]
fn picks_are_spread_over_all_that_are_due() {
    let mut book = AddressBook::default();
    let mut rng = Rng::from_seed(3);
    (0..8).for_each(|n| assert_eq!(book.hear(nth(n), None, now(0)), Heard::New));
    let mut counts = BTreeMap::new();
    for _ in 0..800 {
        *counts.entry(book.pick(now(0).at, &mut rng, &nobody).unwrap()).or_insert(0) += 1;
    }
    assert!(counts.len() == 8 && counts.values().all(|n| (60..140).contains(n)), "{counts:?}");
}

#[test]
fn an_address_marked_never_is_not_dialed_whoever_tells_it() {
    let mut book = AddressBook::new(AddressBookConfig { addresses_max: 4, ..Default::default() });
    book.hear(nth(0), None, now(0));
    book.mark_never(nth(0));
    assert_eq!(book.hear(nth(0), from("9.9.9.9"), now(0)), Heard::Never);
    book.reached(nth(0), now(0));
    assert!(book.is_never(nth(0)) && book.is_empty());
    (1..5).for_each(|n| book.mark_never(nth(n)));
    assert_eq!((book.never.len(), book.never_order.len(), book.is_never(nth(0))), (4, 4, false));
}

#[test]
fn the_audit_names_what_is_wrong() {
    let whole = || {
        let mut book = AddressBook::default();
        book.reached(nth(0), now(0));
        book.hear(nth(1), None, now(0));
        assert_eq!(book.audit(), Ok(()));
        book
    };
    let broken = |how: fn(&mut AddressBook)| {
        let mut book = whole();
        how(&mut book);
        let broken = book.audit().unwrap_err();
        assert_eq!(broken.rule, Invariant::S17);
        broken.found
    };
    assert_eq!(broken(|book| book.subnets.clear()), "the counts by subnet are wrong");
    assert_eq!(broken(|book| book.groups.clear()), "the counts by group are wrong");
    assert_eq!(broken(|book| book.urgent_queue.clear()), format!("verified {} is not in its queue", nth(0)));
    assert_eq!(broken(|book| book.queue.clear()), format!("{} is in no queue", nth(1)));
    let forgets = |book: &mut AddressBook| book.entries.retain(|address, _| *address != nth(1));
    assert_eq!(broken(forgets), "the queue has addresses that are not known");
}

proptest! {
    /// The queues, the counts and the entries say the same after any use, and every address is found.
    #[test]
    fn the_indices_stay_in_step(moves in prop::collection::vec((0u8..8, 0u32..12, 0u64..2000), 1..150)) {
        let mut book = AddressBook::new(AddressBookConfig { addresses_max: 8, per_subnet_max: 2, ..Default::default() });
        let mut rng = Rng::from_seed(1);
        let mut second = 0;
        for (what, n, passed) in moves {
            second += passed;
            let (now, address) = (now(second), socket(&format!("8.8.{}.{n}:1", n / 4)));
            match what {
                0 | 1 => { book.hear(address, from("9.9.9.9"), now); }
                2 => book.failed(address, now, n % 2 == 0, &mut rng),
                3 => book.reached(address, now),
                4 => book.declined(address, now, &mut rng),
                5 => book.left(address, [DisconnectKind::Early, DisconnectKind::Cut, DisconnectKind::Wanted][n as usize % 3], now, &mut rng),
                6 => { book.announced(address, now); }
                _ => { book.remove(address); }
            }
            prop_assert!(book.len() <= 8);
            prop_assert_eq!(book.audit(), Ok(()));
            let due = book.entries().filter(|(_, entry)| entry.next_attempt <= now.at).count();
            prop_assert_eq!(book.pick(now.at, &mut rng, &nobody).is_some(), due > 0);
            prop_assert_eq!(book.next_attempt(&nobody), book.entries().map(|(_, entry)| entry.next_attempt).min());
        }
    }
}

#[test]
fn an_address_is_told_for_three_hours_after_the_last_connection_with_whoever_is_there() {
    let at = |seconds: u64| Now { at: Instant::from_millis(seconds * 1000), ..Now::default() };
    let told = |book: &AddressBook, seconds: u64| book.may_be_told(at(seconds).at).count();
    let (mut book, mut rng) = (AddressBook::default(), Rng::from_seed(1));
    let (reached, announced) = ("45.1.1.1:7".parse().unwrap(), "46.1.1.1:7".parse().unwrap());
    book.announced(announced, at(0));
    book.reached(reached, at(0));
    assert_eq!(book.may_be_told(at(1).at).collect::<Vec<_>>(), [reached]);
    assert_eq!((told(&book, 3 * 3600 - 1), told(&book, 3 * 3600)), (1, 0));
    book.connected(reached, at(20_000));
    assert_eq!((told(&book, 30_000), told(&book, 20_000 + 3 * 3600)), (1, 0));
    for n in 0..3 {
        book.failed(reached, at(20_000 + 4000 * n), true, &mut rng);
    }
    assert_eq!(told(&book, 28_100), 0, "nor one that does not answer any more");
}
