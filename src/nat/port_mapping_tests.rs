//! What users of other nodes meet at home, one conversation each; then any mixture of it.

use core::time::Duration;

use proptest::prelude::*;

use super::virtual_router::{Forward, Home, OTHER, OWN, PORT, PUBLIC, VirtualRouter, network};
use super::{Action, Network, PortMapping, Settings};
use crate::mapping::{Mapping, Unmapped, Via};
use crate::time::Instant;

const ALL: [Via; 3] = [Via::Pcp, Via::NatPmp, Via::Upnp];

fn home(speaks: &[Via]) -> Home {
    Home::new(&ALL, VirtualRouter::new(speaks)).start()
}

#[test]
fn the_first_protocol_that_is_answered_is_used_and_all_three_work() {
    for via in ALL {
        let mut home = home(&[via]);
        home.secs(60);
        let mapped = home.mapped().unwrap();
        assert_eq!((mapped.via, mapped.external_port), (via, PORT));
        assert_eq!(mapped.claimed, Some(PUBLIC.into()));
        assert_eq!(home.forwarded(), [PORT]);
        home.secs(24 * 3600);
        assert_eq!(home.forwarded(), [PORT], "renewed all day by {via}");
        assert_eq!(home.told, [Mapping::Asking, home.told[1]], "and no news of it");
    }
}

#[test]
fn a_router_that_speaks_only_the_older_protocol_says_so_at_once() {
    let home = home(&[Via::NatPmp]);
    assert_eq!(home.mapped().map(|mapped| mapped.via), Some(Via::NatPmp));
}

#[test]
fn nothing_is_sent_before_it_is_started() {
    let mut home = Home::new(&ALL, VirtualRouter::new(&ALL));
    home.secs(3600);
    home.machine.seen_own(home.now, OWN.into());
    home.settle();
    assert_eq!((home.looks, home.router.heard.len(), home.told.len()), (0, 0, 0));
}

#[test]
fn a_lost_datagram_is_sent_again() {
    let mut home = Home::new(&[Via::Pcp], VirtualRouter::new(&ALL));
    home.lost = 3;
    let mut home = home.start();
    home.secs(4);
    assert_eq!(home.forwarded(), [PORT]);
    assert_eq!(home.router.heard, [Via::Pcp]);
}

#[test]
fn a_silent_router_is_asked_ever_more_rarely_and_found_when_it_speaks() {
    let mut home = home(&[]);
    home.secs(20);
    assert_eq!(home.machine.state(), Mapping::Failed(Unmapped::Silent));
    let early = home.router.heard.len();
    home.secs(4 * 3600);
    let rounds = (home.router.heard.len() - early) / 9;
    assert!((10..30).contains(&rounds), "{rounds}");
    home.router.speaks.insert(Via::NatPmp);
    home.secs(20 * 60);
    assert_eq!(home.forwarded(), [PORT]);
    assert_eq!(home.told.len(), 3, "once each: {:?}", home.told);
}

#[test]
fn the_reason_that_says_most_is_told() {
    let mut router = VirtualRouter::new(&[Via::NatPmp]);
    router.refuses = Some(3);
    let mut home = Home::new(&ALL, router).start();
    home.secs(60);
    assert_eq!(home.machine.state(), Mapping::Failed(Unmapped::RouterOffline(Via::NatPmp)));
}

#[test]
fn a_router_that_lost_its_memory_is_asked_again_and_that_is_said() {
    for via in [Via::Pcp, Via::NatPmp] {
        let mut home = home(&[via]);
        home.secs(900);
        home.router.restart(home.now);
        home.secs(1000);
        assert_eq!((home.forwarded(), home.restarts), (vec![PORT], 1), "{via}");
        home.secs(7200);
        assert_eq!(home.restarts, 1, "once");
    }
}

#[test]
fn a_router_that_is_away_for_a_while_costs_nothing_and_one_that_stays_away_the_mapping() {
    let mut home = home(&[Via::Pcp]);
    home.router.is_off = true;
    home.secs(3000);
    assert!(home.mapped().is_some(), "the lease is not over");
    home.router.is_off = false;
    home.secs(600);
    assert!(home.mapped().is_some());
    assert_eq!(home.forwarded(), [PORT]);
    home.router.is_off = true;
    home.secs(3700);
    assert_eq!(home.machine.state(), Mapping::Failed(Unmapped::Silent));
    home.router.is_off = false;
    home.secs(1200);
    assert_eq!(home.forwarded(), [PORT]);
}

#[test]
fn a_port_that_another_machine_has_is_left_to_it() {
    for via in ALL {
        let mut router = VirtualRouter::new(&[via]);
        router.forwards.insert(PORT, Forward { to: (OTHER, 1), until: Instant::NEVER });
        let mut home = Home::new(&ALL, router).start();
        home.secs(60);
        let port = home.mapped().unwrap().external_port;
        assert_ne!(port, PORT, "{via}");
        assert_eq!(home.forwarded(), [port]);
        assert_eq!(home.router.forwards[&PORT].to, (OTHER, 1));
    }
}

#[test]
fn a_mapping_that_was_stolen_is_replaced_at_the_next_renewal() {
    for via in ALL {
        let mut home = home(&[via]);
        home.secs(60);
        home.router.forwards.insert(PORT, Forward { to: (OTHER, 1), until: Instant::NEVER });
        home.secs(1800);
        let port = home.mapped().unwrap().external_port;
        assert_eq!(home.forwarded(), [port], "{via}");
        assert!(home.told.iter().any(|told| told.mapped().is_some_and(|mapped| mapped.external_port == port)));
    }
}

#[test]
fn a_mapping_that_vanished_without_a_word_is_there_again_after_a_renewal() {
    for via in ALL {
        let mut home = home(&[via]);
        home.secs(60);
        home.router.forwards.clear();
        home.secs(1800);
        assert_eq!(home.forwarded(), [PORT], "{via}");
    }
}

#[test]
fn a_short_lease_is_renewed_as_often_as_it_needs_and_no_oftener_than_once_a_second() {
    for lease in [1, 4, 60] {
        let mut router = VirtualRouter::new(&[Via::Pcp]);
        router.lease_max = lease;
        let mut home = Home::new(&[Via::Pcp], router).start();
        home.secs(600);
        assert_eq!(home.mapped().map(|mapped| mapped.external_port), Some(PORT));
        let heard = home.router.heard.len();
        assert!(heard <= 602 && heard >= (600 / lease) as usize, "{heard} for {lease} s");
    }
}

#[test]
fn a_router_that_knows_only_permanent_mappings_is_looked_at_and_nothing_is_left_there() {
    let mut router = VirtualRouter::new(&[Via::Upnp]);
    router.only_permanent = true;
    let mut home = Home::new(&[Via::Upnp], router).start();
    assert_eq!(home.mapped().map(|mapped| mapped.lease), Some(None));
    home.secs(3 * 3600);
    assert!((4..10).contains(&home.router.heard.len()), "{:?}", home.router.heard);
    home.machine.stop(home.now);
    home.settle();
    assert!(home.is_released && home.router.forwards.is_empty());
}

#[test]
fn nothing_is_left_mapped_after_a_stop_whatever_it_was_at() {
    for via in ALL {
        let mut home = home(&[via]);
        home.secs(60);
        home.machine.stop(home.now);
        home.settle();
        assert!(home.is_released && home.forwarded().is_empty(), "{via}");
        assert_eq!(home.machine.deadline(), None);
        home.secs(24 * 3600);
        assert!(home.forwarded().is_empty(), "{via}");
        assert_eq!(home.told.last(), Some(&Mapping::Off));
    }
}

#[test]
fn a_stop_waits_no_longer_than_two_seconds_for_a_router_that_is_gone() {
    for via in ALL {
        let mut home = home(&[via]);
        home.secs(60);
        home.router.is_off = true;
        home.machine.stop(home.now);
        home.settle();
        home.secs(2);
        assert!(home.is_released, "{via}");
    }
}

#[test]
fn a_stop_while_the_answer_is_on_its_way_gives_back_what_it_may_have_granted() {
    let mut home = Home::new(&[Via::Pcp], VirtualRouter::new(&[Via::Pcp]));
    home.machine.start(home.now);
    assert_eq!(home.machine.poll_action(), Some(Action::Look));
    home.machine.network(home.now, home.network);
    while let Some(action) = home.machine.poll_action() {
        if let Action::Send(datagram) = action {
            home.router.answer(home.now, OWN, datagram.bytes()).unwrap();
        }
    }
    assert_eq!(home.forwarded(), [PORT]);
    home.machine.stop(home.now);
    home.settle();
    assert!(home.is_released && home.forwarded().is_empty());
}

#[test]
fn without_a_network_at_start_it_is_looked_for_until_there_is_one() {
    let mut home = Home::new(&ALL, VirtualRouter::new(&ALL));
    home.network = Err(Unmapped::NoRouter);
    let mut home = home.start();
    home.secs(120);
    assert_eq!(home.machine.state(), Mapping::Failed(Unmapped::NoRouter));
    home.network = Ok(network(OWN));
    // A connection leaves: that is worth a look before it would be time.
    home.machine.seen_own(home.now, OWN.into());
    home.settle();
    assert_eq!(home.forwarded(), [PORT]);
}

#[test]
fn a_new_address_of_ours_gets_a_mapping_of_its_own() {
    for via in ALL {
        let mut home = home(&[via]);
        home.secs(60);
        let other = core::net::Ipv4Addr::new(192, 168, 1, 77);
        home.network = Ok(network(other));
        home.machine.seen_own(home.now, other.into());
        home.settle();
        home.secs(15);
        let mapped = home.mapped().unwrap();
        assert_eq!(mapped.internal, (other, PORT).into(), "{via}");
        assert_eq!(home.router.forwards[&mapped.external_port].to, (other, PORT));
    }
}

#[test]
fn connections_from_two_addresses_do_not_have_it_look_for_each() {
    let mut home = home(&[Via::Pcp]);
    home.secs(60);
    let before = home.looks;
    for _ in 0..1000 {
        home.machine.seen_own(home.now, OTHER.into());
        home.settle();
        home.pass(Duration::from_millis(10));
    }
    assert!(home.looks - before <= 2, "{}", home.looks - before);
}

#[test]
fn an_ipv6_host_asks_for_a_pinhole_by_the_one_protocol_that_has_them() {
    let settings = Settings { methods: ALL.to_vec(), internal_port: PORT, lease: Duration::from_secs(3600) };
    let mut machine = PortMapping::new(settings, 7);
    machine.start(Instant::ZERO);
    let network = Network { own: "2001:db8::2".parse().unwrap(), router: "fe80::1".parse().unwrap() };
    machine.network(Instant::ZERO, Ok(network));
    let mut now = Instant::ZERO;
    let mut sent = 0;
    while now < Instant::from_millis(5_000) {
        while let Some(action) = machine.poll_action() {
            match action {
                Action::Send(datagram) => {
                    assert_eq!(datagram.bytes()[0], 2);
                    sent += 1;
                }
                Action::Upnp(job) => panic!("{job:?}"),
                _ => {}
            }
        }
        now = machine.deadline().unwrap();
        machine.tick(now);
    }
    assert_eq!((sent, machine.state()), (4, Mapping::Failed(Unmapped::Silent)));
}

#[derive(Clone, Copy, Debug)]
enum Happening {
    Pass(u16),
    Restart,
    Off(bool),
    Steal,
    Vanish,
    Lose(u8),
    Move(bool),
    NoNetwork,
    Refuse(Option<u8>),
    Lease(u16),
    Noise(u8),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (1u16..4000).prop_map(Happening::Pass),
        Just(Happening::Restart),
        any::<bool>().prop_map(Happening::Off),
        Just(Happening::Steal),
        Just(Happening::Vanish),
        (0u8..6).prop_map(Happening::Lose),
        any::<bool>().prop_map(Happening::Move),
        Just(Happening::NoNetwork),
        proptest::option::of(1u8..12).prop_map(Happening::Refuse),
        (1u16..4000).prop_map(Happening::Lease),
        any::<u8>().prop_map(Happening::Noise),
    ]
}

proptest! {
    /// Whatever has happened: when the router is well again, the port is forwarded within a pause and a lease, to where we are; what is
    /// believed is true; and after a stop nothing is left.
    #[test]
    fn whatever_happens_at_home_a_router_that_is_well_again_forwards_the_port(
        speaks in proptest::sample::subsequence(ALL.to_vec(), 1..=3),
        story in proptest::collection::vec(happening(), 0..25),
    ) {
        let mut home = Home::new(&ALL, VirtualRouter::new(&speaks)).start();
        for happening in story {
            match happening {
                Happening::Pass(secs) => home.secs(secs.into()),
                Happening::Restart => home.router.restart(home.now),
                Happening::Off(is_off) => home.router.is_off = is_off,
                Happening::Steal => {
                    home.router.forwards.insert(PORT, Forward { to: (OTHER, 1), until: Instant::NEVER });
                }
                Happening::Vanish => home.router.forwards.clear(),
                Happening::Lose(count) => home.lost = count.into(),
                Happening::Move(there) => {
                    let own = if there { core::net::Ipv4Addr::new(192, 168, 1, 77) } else { OWN };
                    home.network = Ok(network(own));
                }
                Happening::NoNetwork => home.network = Err(Unmapped::NoRouter),
                Happening::Refuse(code) => home.router.refuses = code,
                Happening::Lease(secs) => home.router.lease_max = secs.into(),
                Happening::Noise(byte) => {
                    home.machine.datagram(home.now, &[byte; 60]);
                    home.settle();
                }
            }
            prop_assert!(home.machine.deadline().is_some(), "it never sleeps for good");
        }
        home.network = Ok(network(OWN));
        (home.router.is_off, home.router.refuses, home.lost, home.router.lease_max) = (false, None, 0, 7200);
        home.secs(2 * 3600);
        let mapped = home.mapped();
        prop_assert!(mapped.is_some(), "{:?}", home.machine.state());
        prop_assert_eq!(home.forwarded(), vec![mapped.unwrap().external_port]);
        home.machine.stop(home.now);
        home.settle();
        prop_assert!(home.is_released);
        prop_assert_eq!(home.forwarded(), Vec::<u16>::new());
    }
}
