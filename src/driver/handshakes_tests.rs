//! What crowds and floods of handshakes do to those who are not part of them.

use super::*;
use crate::rate::BUCKETS_MAX;

fn remote(text: &str) -> SocketAddr {
    SocketAddr::new(text.parse().unwrap(), 1)
}

fn conn(n: u32) -> ConnId {
    ConnId::new(n, 0)
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(1_000_000 + millis)
}

/// Handshakes with these addresses, oldest first.
fn under_way<S: AsRef<str>>(addresses: impl IntoIterator<Item = S>) -> Handshakes {
    let mut handshakes = Handshakes::default();
    for (n, address) in (0..).zip(addresses) {
        handshakes.enter(at(u64::from(n)), conn(n), remote(address.as_ref()));
    }
    handshakes
}

#[test]
fn the_oldest_of_the_most_crowded_address_gives_way() {
    let held = ["20.0.0.1", "30.0.0.1", "40.0.0.1", "30.0.0.1", "50.0.0.1"];
    assert_eq!(under_way(held).eviction_candidate(remote("60.0.0.1")).map(|victim| victim.conn), Some(conn(1)));
    // The same address, dressed up as IPv6.
    let held = ["20.0.0.1", "30.0.0.1", "::ffff:30.0.0.1", "40.0.0.1"];
    assert_eq!(under_way(held).eviction_candidate(remote("60.0.0.1")).map(|victim| victim.conn), Some(conn(1)));
    // One host's /64.
    let held = ["2001:db8:1:1::1", "2001:db8:2:1::1", "2001:db8:2:1::2"];
    assert_eq!(under_way(held).eviction_candidate(remote("60.0.0.1")).map(|victim| victim.conn), Some(conn(1)));
    assert_eq!(under_way([""; 0]).eviction_candidate(remote("60.0.0.1")), None);
}

/// An address with two handshakes is a small crowd beside a /48 that has sixty, with no address twice.
#[test]
fn a_subnet_of_many_addresses_is_a_crowd_too() {
    let crowd = (0..60).map(|n| format!("2001:db8:7:{n:x}::1"));
    let handshakes = under_way(["20.0.0.1", "20.0.0.1"].map(str::to_owned).into_iter().chain(crowd));
    assert_eq!(handshakes.eviction_candidate(remote("60.0.0.1")).map(|victim| victim.conn), Some(conn(2)));
}

#[test]
fn whoever_crowds_drives_out_only_himself() {
    let crowd = || (0..40).map(|_| "30.0.0.1".to_owned());
    let others = || (0..24).map(|n| format!("20.{n}.0.1"));
    let handshakes = under_way(others().chain(crowd()));
    assert_eq!(handshakes.eviction_candidate(remote("30.0.0.1")).map(|victim| victim.conn), Some(conn(24)));
    // Also when he is not yet the largest crowd, and becomes it by coming.
    let handshakes = under_way(others().chain(["30.0.0.1".to_owned()]));
    assert_eq!(handshakes.eviction_candidate(remote("30.0.0.1")).map(|victim| victim.conn), Some(conn(24)));
}

#[test]
fn among_strangers_who_are_all_alone_the_oldest_gives_way() {
    let handshakes = under_way((0..64).map(|n| format!("20.{n}.0.1")));
    assert_eq!(handshakes.eviction_candidate(remote("60.0.0.1")).map(|victim| victim.conn), Some(conn(0)));
}

/// Behind one address, somebody opened thousands of silent connections a second and drove out whoever shook hands.
#[test]
fn of_one_crowd_the_silent_give_way_before_those_who_have_begun() {
    let mut handshakes = under_way(["30.0.0.1"; 6]);
    for n in [0, 1, 3] {
        handshakes.begin(&Config::default(), (at(n), conn(n as u32)), remote("30.0.0.1"), at(9));
    }
    for silent in [2, 4, 5, 0] {
        assert_eq!(handshakes.eviction_candidate(remote("30.0.0.1")).map(|victim| victim.conn), Some(conn(silent)));
        handshakes.leave(at(silent.into()), conn(silent));
    }
    // But a smaller crowd is not driven out by a larger one for its silence.
    let mut handshakes = under_way(["20.0.0.1", "30.0.0.1", "30.0.0.1"]);
    handshakes.begin(&Config::default(), (at(1), conn(1)), remote("30.0.0.1"), at(9));
    handshakes.begin(&Config::default(), (at(2), conn(2)), remote("30.0.0.1"), at(9));
    assert_eq!(handshakes.eviction_candidate(remote("60.0.0.1")).map(|victim| victim.conn), Some(conn(1)));
}

/// Of a hundred friends who dialed at once, thirty-six were driven out by those who came a moment later.
#[test]
fn nobody_gives_way_at_once_to_a_newcomer_who_crowds_as_much() {
    let crowds_more = |held: &[&str], newcomer: &str| {
        under_way(held.iter().copied()).eviction_candidate(remote(newcomer)).unwrap().crowds_more
    };
    assert!(!crowds_more(&["20.0.0.1", "30.0.0.1", "40.0.0.1"], "60.0.0.1"), "all alone");
    assert!(!crowds_more(&["20.0.0.1"; 64], "20.0.0.1"), "his own crowd");
    assert!(!crowds_more(&["20.0.0.1", "20.0.0.1", "30.0.0.1"], "30.0.0.1"), "a crowd as large as his will be");
    assert!(crowds_more(&["20.0.0.1"; 64], "30.0.0.1"));
    assert!(crowds_more(&["20.0.0.1", "20.0.0.1", "30.0.0.1"], "60.0.0.1"));
}

#[test]
fn who_waits_for_a_place_gets_that_of_the_longest_silent_and_then_of_those_who_do_not_go_on() {
    let mut handshakes = under_way(["20.0.0.1", "30.0.0.1", "40.0.0.1", "50.0.0.1"]);
    for n in [0, 2] {
        handshakes.begin(&Config::default(), (at(n), conn(n as u32)), remote("20.0.0.1"), at(9));
    }
    assert_eq!(handshakes.stalled(at(0), at(0)), [conn(0)], "who has not had his time is spared");
    assert_eq!(handshakes.stalled(at(3), at(1)), [conn(1), conn(3), conn(0)]);
}

#[test]
fn an_address_that_comes_too_fast_uses_up_its_own_budget_and_nobody_elses() {
    let config = Config::default();
    let mut handshakes = Handshakes::default();
    let (pushy, honest) = (remote("127.0.0.2"), remote("127.0.0.1"));
    let begun = (0..25_000).filter(|n| {
        let now = at(n / 10);
        let may = handshakes.may_begin(&config, pushy, now);
        if may {
            handshakes.begin(&config, (now, conn(0)), pushy, now);
        }
        assert!(handshakes.may_begin(&config, honest, now));
        may
    });
    // 64 at once and 20 in each of 2.5 seconds.
    assert_eq!(begun.count(), 64 + 49);
}

/// Eight subnets of enough addresses ask for eight times fifty handshakes a second, where two hundred are for all.
#[test]
fn when_all_together_come_too_fast_a_subnet_that_is_not_among_them_is_served_first() {
    let config = Config::default();
    let mut handshakes = Handshakes::default();
    let mut begun = 0;
    for n in 0..40_000_u64 {
        let now = at(n / 4);
        let pushy = remote(&format!("30.{}.0.{}", n % 8, n / 8 % 200));
        if handshakes.may_begin(&config, pushy, now) {
            handshakes.begin(&config, (now, conn(0)), pushy, now);
            begun += 1;
        }
        if n % 2000 == 0 {
            let honest = remote(&format!("20.{}.0.1", n / 2000));
            assert!(handshakes.may_begin(&config, honest, now), "{honest} after {n}");
            handshakes.begin(&config, (now, conn(0)), honest, now);
        }
    }
    // The budget of all is used: 200 in each of ten seconds, and half the burst.
    assert!((1950..=2140).contains(&begun), "{begun}");
}

#[test]
fn the_tables_stay_bounded() {
    let config = Config { tls_rate: Rate::per_second(1_000_000_000, u32::MAX), ..Config::default() };
    let mut handshakes = Handshakes::default();
    for n in 0..20_000_u32 {
        let ip = core::net::IpAddr::from((0x1400_0000 + n * 256).to_be_bytes());
        handshakes.begin(&config, (at(0), conn(0)), SocketAddr::new(ip, 1), at(0));
    }
    for len in [handshakes.by_ip.len(), handshakes.by_subnet.len(), handshakes.short.len()] {
        assert!(len <= BUCKETS_MAX, "{len}");
    }
}

#[test]
fn who_is_throttled_waits_once_oldest_first_and_one_timer_wakes_them_all() {
    let (mut handshakes, mut timers) = (Handshakes::default(), Timers::default());
    let wait = |handshakes: &mut Handshakes, timers: &mut Timers, n: u32| {
        handshakes.wait((at(u64::from(n)), conn(n)), remote(&format!("20.0.0.{n}")), at(0), timers);
    };
    for n in [2, 1, 2] {
        wait(&mut handshakes, &mut timers, n);
    }
    assert_eq!(handshakes.last_throttled(), Some(remote("20.0.0.2")));
    assert_eq!(timers.pop(Instant::NEVER), Some((at(0) + TLS_RETRY, Due::Handshakes)));
    assert_eq!(timers.next(), None);
    let woken: Vec<_> = handshakes.take_waiters().into_iter().map(|(_, id)| id).collect();
    assert_eq!(woken, [conn(1), conn(2)]);
    // Whoever is throttled again arms it again.
    wait(&mut handshakes, &mut timers, 1);
    assert!(timers.next().is_some());
}
