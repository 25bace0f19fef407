//! The gates one by one, and the counters against a naive list of connections.

use proptest::prelude::*;

use super::*;
use crate::rate::{BUCKETS_MAX, Rate};

fn remote(text: &str) -> SocketAddr {
    SocketAddr::new(text.parse().unwrap(), 4000)
}

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn unrated() -> AdmissionConfig {
    AdmissionConfig { rate: None, rate_per_ip: None, rate_per_subnet: None, ..Default::default() }
}

/// Admits and opens; answers what the gate said.
fn enter(gate: &mut Admission, index: u32, from: &str, now: Instant) -> Result<(), AdmissionRefusal> {
    gate.admit(now, remote(from))?;
    gate.opened(ConnId::new(index, 0), remote(from), true);
    Ok(())
}

#[test]
fn the_fifth_connection_from_one_address_waits_for_the_first_to_leave() {
    let mut gate = Admission::new(unrated());
    for n in 0..4 {
        enter(&mut gate, n, "8.8.8.8", at(0)).unwrap();
    }
    assert_eq!(enter(&mut gate, 4, "::ffff:8.8.8.8", at(0)), Err(AdmissionRefusal::PendingPerIp));
    (0..4).for_each(|n| gate.ready(ConnId::new(n, 0)));
    assert_eq!(enter(&mut gate, 4, "8.8.8.8", at(0)), Err(AdmissionRefusal::InboundPerIp));
    enter(&mut gate, 5, "8.8.8.9", at(0)).unwrap();
    gate.closed(ConnId::new(0, 0));
    enter(&mut gate, 6, "8.8.8.8", at(0)).unwrap();
}

#[test]
fn who_arrives_counts_as_pending_and_leaves_no_trace_when_it_never_opens() {
    let mut gate = Admission::new(unrated());
    let from = |n: u16| SocketAddr::new("8.8.8.8".parse().unwrap(), 4000 + n);
    for n in 0..4 {
        gate.admit(at(7), from(n)).unwrap();
        gate.arriving(at(7), from(n));
    }
    assert_eq!(gate.admit(at(8), from(9)), Err(AdmissionRefusal::PendingPerIp));
    assert_eq!((gate.connections(), gate.inbound(), gate.pending(), gate.room_to_dial(0)), (0, 4, 4, 124));
    assert_eq!(gate.opened(ConnId::new(0, 0), from(0), true), Some(at(7)));
    assert_eq!((gate.connections(), gate.inbound(), gate.pending(), gate.room_to_dial(0)), (1, 4, 4, 124));
    for n in 1..4 {
        assert_eq!(gate.released(from(n)), Some(at(7)));
        assert_eq!(gate.released(from(n)), None, "once");
    }
    assert_eq!((gate.inbound(), gate.pending()), (1, 1));
    gate.closed(ConnId::new(0, 0));
    assert_eq!((gate.inbound(), gate.pending(), gate.room_to_dial(0)), (0, 0, 128));
    assert!(gate.by_ip.is_empty() && gate.by_subnet.is_empty());
    enter(&mut gate, 5, "8.8.8.8", at(9)).unwrap();
}

#[test]
fn a_subnet_gets_sixteen_and_another_subnet_its_own() {
    let mut gate = Admission::new(unrated());
    for n in 0..16 {
        enter(&mut gate, n, &format!("8.8.8.{n}"), at(0)).unwrap();
    }
    assert_eq!(enter(&mut gate, 99, "8.8.8.200", at(0)), Err(AdmissionRefusal::PendingPerSubnet));
    (0..16).for_each(|n| gate.ready(ConnId::new(n, 0)));
    assert_eq!(enter(&mut gate, 99, "8.8.8.200", at(0)), Err(AdmissionRefusal::InboundPerSubnet));
    enter(&mut gate, 99, "8.8.9.200", at(0)).unwrap();
}

#[test]
fn the_totals_bind_the_exempt_too_and_leave_room_for_our_dials() {
    let mut gate = Admission::new(unrated());
    for n in 0..64 {
        enter(&mut gate, n, "127.0.0.1", at(0)).unwrap();
    }
    assert_eq!(enter(&mut gate, 99, "127.0.0.1", at(0)), Err(AdmissionRefusal::Pending));
    for n in 64..112 {
        gate.ready(ConnId::new(n - 64, 0));
        enter(&mut gate, n, "127.0.0.1", at(0)).unwrap();
    }
    gate.ready(ConnId::new(100, 0));
    assert_eq!(enter(&mut gate, 112, "127.0.0.1", at(0)), Err(AdmissionRefusal::Inbound));
    assert_eq!(gate.room_to_dial(10), 6);
    for n in 200..216 {
        gate.opened(ConnId::new(n, 0), remote("8.8.8.8"), false);
    }
    assert_eq!(gate.room_to_dial(0), 0);
    assert_eq!(enter(&mut gate, 113, "9.9.9.9", at(0)), Err(AdmissionRefusal::Connections));
}

#[test]
fn rates_refuse_a_flood_per_address_and_subnet_before_it_costs_the_others() {
    let mut gate = Admission::default();
    let admitted = |gate: &mut Admission, from: &str, tries: u32| {
        (0..tries).filter(|_| gate.admit(at(1000), remote(from)).is_ok()).count()
    };
    assert_eq!(admitted(&mut gate, "8.8.8.8", 1000), 5);
    let rest: usize = (10..40).map(|n| admitted(&mut gate, &format!("8.8.8.{n}"), 2)).sum();
    assert_eq!(rest, 15);
    let others: usize = (0..200).map(|n| admitted(&mut gate, &format!("9.9.{n}.1"), 1)).sum();
    assert_eq!(others, 80, "a hundred at once in all");
    assert_eq!(admitted(&mut gate, "127.0.0.1", 50), 50);
    assert_eq!(gate.admit(at(1000), remote("7.7.7.7")), Err(AdmissionRefusal::Rate));
    assert_eq!(gate.admit(at(1020), remote("7.7.7.7")), Ok(()));
}

#[test]
fn the_bucket_tables_stay_bounded_without_a_rate_for_all() {
    let mut gate = Admission::new(AdmissionConfig { rate: None, ..Default::default() });
    for n in 0..10_000u32 {
        let ip = core::net::Ipv4Addr::from_bits(0x0b00_0000 + n * 256);
        gate.admit(at(u64::from(n)), SocketAddr::new(ip.into(), 1)).unwrap();
    }
    assert!(gate.ip_buckets.len() <= BUCKETS_MAX && gate.subnet_buckets.len() <= BUCKETS_MAX);
}

#[test]
fn without_exempt_ranges_loopback_is_like_any_other() {
    let mut gate = Admission::new(AdmissionConfig { exempt: ExemptRanges::NONE, ..Default::default() });
    assert_eq!((0..9).filter(|n| enter(&mut gate, *n, "127.0.0.1", at(0)).is_ok()).count(), 4);
}

#[derive(Clone, Debug)]
enum Move {
    Enter(u32, u8),
    Dial(u32, u8),
    Ready(u32),
    Close(u32),
}

proptest! {
    /// The naive gatekeeper counts a list of the connections, each time.
    #[test]
    fn the_counters_agree_with_a_list_and_return_to_zero(
        moves in prop::collection::vec((0u32..30, 0u8..6, 0u8..4).prop_map(|(slot, ip, what)| match what {
            0 => Move::Enter(slot, ip),
            1 => Move::Dial(slot, ip),
            2 => Move::Ready(slot),
            _ => Move::Close(slot),
        }), 1..150)
    ) {
        let config = AdmissionConfig {
            connections_max: 12, inbound_max: 8, pending_max: 5, pending_per_ip: Some(2), pending_per_subnet: Some(3),
            inbound_per_ip: Some(3), inbound_per_subnet: Some(5), ..unrated()
        };
        let mut gate = Admission::new(config);
        // Slot -> (address, inbound, pending).
        let mut naive: BTreeMap<u32, (u8, bool, bool)> = BTreeMap::new();
        // Addresses 0..3 share a subnet, 3..5 another, 5 is exempt.
        let ip = |n: u8| match n { 0..3 => format!("8.8.8.{n}"), 3..5 => format!("9.9.9.{n}"), _ => "127.0.0.1".into() };
        for step in moves {
            match step {
                Move::Enter(slot, from) if !naive.contains_key(&slot) => {
                    let count = |f: &dyn Fn(&(u8, bool, bool)) -> bool| naive.values().filter(|visit| f(visit)).count();
                    let totals = naive.len() < 12 && count(&|v| v.1) < 8 && count(&|v| v.1 && v.2) < 5;
                    let near = |other: u8| (other < 3) == (from < 3) && other < 5;
                    let shares = count(&|v| v.1 && v.2 && v.0 == from) < 2
                        && count(&|v| v.1 && v.2 && near(v.0)) < 3
                        && count(&|v| v.1 && v.0 == from) < 3
                        && count(&|v| v.1 && near(v.0)) < 5;
                    let expected = totals && (from == 5 || shares);
                    prop_assert_eq!(enter(&mut gate, slot, &ip(from), at(0)).is_ok(), expected);
                    if expected { naive.insert(slot, (from, true, true)); }
                }
                Move::Dial(slot, to) if !naive.contains_key(&slot) && gate.room_to_dial(0) > 0 => {
                    gate.opened(ConnId::new(slot, 0), remote(&ip(to)), false);
                    naive.insert(slot, (to, false, false));
                }
                Move::Ready(slot) => {
                    gate.ready(ConnId::new(slot, 0));
                    naive.entry(slot).and_modify(|visit| visit.2 = false);
                }
                Move::Close(slot) => {
                    gate.closed(ConnId::new(slot, 0));
                    naive.remove(&slot);
                }
                _ => {}
            }
            prop_assert_eq!(gate.connections(), naive.len());
            prop_assert_eq!(gate.inbound(), naive.values().filter(|v| v.1).count());
            prop_assert_eq!(gate.pending(), naive.values().filter(|v| v.1 && v.2).count());
        }
        for slot in 0..30 {
            gate.closed(ConnId::new(slot, 0));
        }
        prop_assert_eq!((gate.connections(), gate.inbound(), gate.pending()), (0, 0, 0));
        prop_assert!(gate.by_ip.is_empty() && gate.by_subnet.is_empty());
    }
}

/// A gate of four pending places, of which the crowd holds three that are open, and who arrives.
fn crowded(arriving: &str) -> Admission {
    let mut gate = Admission::new(AdmissionConfig { pending_max: 4, ..AdmissionConfig::default() });
    for index in 0..3 {
        enter(&mut gate, index, "8.8.8.8", at(0)).unwrap();
    }
    gate.admit(at(0), remote(arriving)).unwrap();
    gate.arriving(at(0), remote(arriving));
    gate
}

/// Those who had all places but the last knocked on, and each knock drove out the one stranger who was still in TLS.
#[test]
fn who_arrives_gives_way_to_a_smaller_crowd_and_to_none_that_is_larger() {
    let gate = crowded("20.0.0.1");
    assert_eq!(gate.eviction_candidate(at(0), remote("8.8.8.8")), None, "the crowd");
    assert_eq!(gate.eviction_candidate(at(0), remote("30.0.0.1")), None, "one who is as alone");
    assert_eq!(gate.eviction_candidate(at(1000), remote("30.0.0.1")), Some(remote("20.0.0.1")), "but not for long");
    let gate = crowded("8.8.8.8");
    assert_eq!(gate.eviction_candidate(at(0), remote("30.0.0.1")), Some(remote("8.8.8.8")));
    let gate = crowded("8.8.8.7");
    assert_eq!(gate.eviction_candidate(at(0), remote("30.0.0.1")), Some(remote("8.8.8.7")), "its subnet is the crowd");
    // Loopback is in no table of shares, and no exception here.
    let mut gate = Admission::new(AdmissionConfig { pending_max: 4, ..AdmissionConfig::default() });
    for from in ["127.0.0.2", "127.0.0.1", "127.0.0.1", "20.0.0.1"] {
        gate.arriving(at(0), remote(from));
    }
    assert_eq!(gate.eviction_candidate(at(0), remote("30.0.0.1")), Some(remote("127.0.0.1")));
}

#[test]
fn nobody_gives_way_for_nothing() {
    let mut gate = crowded("8.8.8.8");
    gate.config.rate_per_ip = Some(Rate::per_second(1, 0));
    assert_eq!(gate.eviction_candidate(at(0), remote("30.0.0.1")), None, "it would be refused all the same");
    let mut gate = crowded("8.8.8.8");
    gate.released(remote("8.8.8.8"));
    assert_eq!(gate.eviction_candidate(at(0), remote("30.0.0.1")), None, "there is a place");
}

/// Three hundred subnets that dialed again twenty times a second filled the room where others wait: who only waited paid nothing.
#[test]
fn who_waits_pays_once_and_who_comes_again_and_again_to_wait_is_refused() {
    let mut gate = Admission::new(AdmissionConfig { pending_max: 1, ..Default::default() });
    enter(&mut gate, 0, "9.9.9.9", at(0)).unwrap();
    let from = |port: u16| SocketAddr::new("8.8.8.8".parse().unwrap(), port);
    // One that is asked about again and again has paid already.
    for millis in 0..1000 {
        assert_eq!(gate.admit(at(millis), from(1)), Err(AdmissionRefusal::Pending));
        assert!(gate.wait(at(millis), from(1)) && gate.may_come(at(millis), from(1)));
    }
    let came = (2..200).take_while(|port| gate.wait(at(1000), from(*port))).count();
    assert!((1..20).contains(&came), "{came} waited");
    gate.closed(ConnId::new(0, 0));
    assert_eq!(gate.admit(at(1000), from(1)), Ok(()), "his place was paid for");
    gate.arriving(at(1000), from(1));
    gate.released(from(1));
    assert_eq!(gate.admit(at(1000), from(500)), Err(AdmissionRefusal::RatePerIp));
    // Who has waited in vain is a newcomer again.
    gate.waited_in_vain(from(2));
    assert!(gate.may_come(at(1000), from(3)) && !gate.may_come(at(1000), from(2)));
}

/// Whoever embeds a node without a word for those who gave up filled the table for ever: then nobody could wait.
#[test]
fn those_of_whom_nothing_is_said_any_more_keep_nobody_from_waiting() {
    let mut gate = Admission::new(AdmissionConfig { pending_max: 1, ..unrated() });
    enter(&mut gate, 0, "9.9.9.9", at(0)).unwrap();
    let from = |n: usize| SocketAddr::from(([8, 8, (n / 200) as u8, (n % 200) as u8], 7));
    assert!((0..WAITING_MAX).all(|n| gate.wait(at(0), from(n))));
    assert!(!gate.wait(at(0), from(WAITING_MAX)), "a flood fills it for a while");
    assert!(gate.wait(at(60_000), from(WAITING_MAX)));
    assert_eq!(gate.waiting.len(), 1);
}
