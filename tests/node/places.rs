//! All inbound places are taken: who gets in, and who gives way.

use std::time::Duration;

use spacetime_network::close::CloseReason;
use spacetime_network::proto::Event;
use spacetime_network::proto::event::Command;
use spacetime_network::wire::message::{Extension, Handshake};
use spacetime_network::wire::{Kind, Message};

use crate::world::{Stranger, World, introduction};

const ALICE: &str = "10.0.0.1:8333";

/// Peers that come one after the other and say who they are; those who got in.
fn fill(world: &mut World, node: usize, count: u32, from: impl Fn(u32) -> String) -> Vec<Stranger> {
    let mut peers = Vec::new();
    for n in 0..count {
        if let Some(peer) = world.stranger(node, &from(n)) {
            world.say(peer, &introduction(&format!("crowd-{n}-{}", from(n)), 2, 0));
            peers.push(peer);
        }
        world.advance(Duration::from_millis(120));
    }
    peers
}

/// Peers that answer what they are asked.
fn friends(world: &mut World, node: usize, count: u32) -> Vec<Stranger> {
    let mut peers = Vec::new();
    for n in 0..count {
        peers.push(world.peer(node, &format!("30.{n}.0.1:1"), &format!("friend-{n}"), 2));
        world.advance(Duration::from_millis(120));
    }
    peers
}

fn pong_all(world: &mut World, peers: &[Stranger]) {
    for peer in peers {
        while let Some((kind, payload)) = world.hear(*peer) {
            if kind == Kind::Ping
                && let Ok(Message::Ping(ping)) = Message::decode(kind, &payload)
            {
                world.say(*peer, &Message::Pong(ping));
            }
        }
    }
}

fn evicted(world: &World, node: usize) -> usize {
    world.count(node, |event| matches!(event, Event::PeerDisconnected { reason: CloseReason::LimitReached, .. }))
}

#[test]
fn a_newcomer_gets_a_place_though_one_network_holds_most() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let honest = friends(&mut world, alice, 10);
    // Sixteen in each /24.
    fill(&mut world, alice, 150, |n| format!("91.1.{}.{}:1", n / 4, n % 4));
    assert_eq!(world.get(alice).connected().count(), 104);
    let newcomer = world.peer(alice, "50.0.0.1:1", "newcomer", 2);
    assert!(!world.is_closed(newcomer));
    assert!(honest.iter().all(|peer| !world.is_closed(*peer)), "the crowd gives way");
    assert_eq!(world.get(alice).connected().count(), 104);
    // One more of the crowd drives nobody out.
    let before = evicted(&world, alice);
    let late = world.stranger(alice, "91.1.99.1:1").unwrap();
    world.say(late, &introduction("late", 2, 0));
    assert!(world.is_closed(late) && !world.is_closed(newcomer));
    assert_eq!(evicted(&world, alice), before);
}

/// Each health check drove a peer out of a full node, and always the same one, and was told that all is well.
#[test]
fn nobody_gives_way_to_a_question_that_is_over_in_a_moment() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    fill(&mut world, alice, 104, |n| format!("{}.{}.0.1:1", 60 + n / 50, n));
    assert_eq!((world.get(alice).connected().count(), evicted(&world, alice)), (104, 0));
    let question = |id| {
        let mut message = introduction(id, 2, 0);
        if let Message::Handshake(Handshake { extension: Some(extension), .. }) = &mut message {
            extension.features = Extension::ASKS_ONLY;
        }
        message
    };
    for n in 0..5 {
        let asker = world.stranger(alice, &format!("50.0.{n}.1:1")).unwrap();
        world.say(asker, &question("question"));
        assert!(world.is_closed(asker), "it is told that there is no place");
        // From this machine it gets one beside the others.
        let local = world.stranger(alice, &format!("127.0.0.1:{}", 2 + n)).unwrap();
        world.say(local, &question("health check"));
        assert!(!world.is_closed(local));
        world.advance(Duration::from_secs(1));
        world.hang_up(local);
        world.advance(Duration::from_secs(1));
    }
    assert_eq!(evicted(&world, alice), 0);
    // Who comes to stay still gets one.
    let newcomer = world.peer(alice, "50.0.0.1:1", "newcomer", 2);
    assert!(!world.is_closed(newcomer));
}

#[test]
fn a_newcomer_gets_a_place_though_attackers_of_many_networks_hold_all() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    fill(&mut world, alice, 150, |n| format!("{}.{}.0.1:1", 60 + n / 50, n));
    assert_eq!(world.get(alice).connected().count(), 104);
    let newcomer = world.peer(alice, "50.0.0.1:1", "newcomer", 2);
    assert!(!world.is_closed(newcomer));
}

#[test]
fn strangers_that_never_say_who_they_are_do_not_keep_the_last_places() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    fill(&mut world, alice, 120, |n| format!("{}.{}.0.1:1", 60 + n / 50, n));
    let mut n = 0;
    let mut stall = |world: &mut World, millis: u64| {
        n += 1;
        let _ = world.stranger(alice, &format!("70.{n}.0.1:1"));
        world.advance(Duration::from_millis(millis));
    };
    (0..20).for_each(|_| stall(&mut world, 200));
    // Within ten seconds one of a few tries succeeds, while five more come each second.
    let mut tries = 0;
    let newcomer = loop {
        tries += 1;
        assert!(tries <= 3, "no place after {tries} tries");
        match world.stranger(alice, &format!("50.{tries}.0.1:1")) {
            Some(newcomer) => break newcomer,
            None => (0..15).for_each(|_| stall(&mut world, 200)),
        }
    };
    world.say(newcomer, &introduction("newcomer", 2, 0));
    assert!(!world.is_closed(newcomer));
    assert_eq!(
        world.count(alice, |event| matches!(event, Event::PeerConnected { node_id, .. } if node_id == "newcomer")),
        1
    );
}

/// A thousand attackers come one after the other and stay; the twenty who were there, and answer and bring news, stay too.
#[test]
fn churn_does_not_drive_out_those_who_are_useful_and_have_stayed() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let honest = friends(&mut world, alice, 20);
    world.advance(Duration::from_secs(10));
    for n in 0..1000u32 {
        let from = format!("{}.{}.0.1:1", 100 + n / 250, n % 250);
        if let Some(peer) = world.stranger(alice, &from) {
            world.say(peer, &introduction(&format!("attacker-{n}"), 2, 0));
        }
        world.advance(Duration::from_millis(250));
        pong_all(&mut world, &honest);
    }
    let reasons: Vec<&(usize, Event)> = world
        .events
        .iter()
        .filter(|(_, event)| matches!(event, Event::PeerDisconnected { node_id, .. } if node_id.starts_with("friend")))
        .collect();
    assert_eq!(reasons, [] as [&(usize, Event); 0], "honest peers that were driven out");
    assert!(evicted(&world, alice) > 500, "attackers drive out attackers");
}

#[test]
fn dialed_and_named_peers_give_way_to_nobody() {
    let mut world = World::new();
    let bob = "10.77.0.1:8333";
    world.node("bob", bob, |_| {});
    let alice = world.node("alice", ALICE, |config| {
        config.admission.inbound_max = 4;
        config.connect = vec![bob.parse().unwrap()];
    });
    world.advance(Duration::from_secs(1));
    fill(&mut world, alice, 60, |n| format!("{}.{}.0.1:1", 60 + n / 50, n));
    let peers: Vec<_> = world.get(alice).connected().collect();
    assert_eq!(peers.len(), 4, "three places, and the peer that was named");
    assert!(peers.iter().any(|peer| peer.node_id == "bob" && peer.outbound));
    assert!(evicted(&world, alice) > 30);
}

/// A node that was named and for which there was no place was never dialed, and nobody was told.
#[test]
fn a_named_node_that_waits_for_a_place_is_known_to_wait() {
    let mut world = World::new();
    let named = ["10.71.0.1:8333", "10.72.0.1:8333", "10.73.0.1:8333"];
    for address in named {
        world.node(address, address, |_| {});
    }
    let alice = world.node("alice", ALICE, |config| {
        (config.admission.connections_max, config.admission.inbound_max, config.outbound) = (2, 1, 1);
        config.connect = named.map(|address| address.parse().unwrap()).to_vec();
    });
    world.advance(Duration::from_secs(30));
    assert_eq!(world.get(alice).connected().count(), 2);
    assert!(world.get(alice).outbound().lacks_room_since().is_some(), "the third has no place");
    // As soon as one of them need not be kept, the third is dialed.
    let there = world.get(alice).connected().next().unwrap().remote;
    world.command(alice, Command::Disconnect(there));
    world.advance(Duration::from_secs(30));
    assert_eq!(world.get(alice).outbound().lacks_room_since(), None);
}

/// Found by simulation: attackers who had places came again and again for more, and their handshakes held all places that are
/// kept for newcomers; each that got free was taken before an honest newcomer came again.
#[test]
fn who_has_places_and_comes_for_more_keeps_nobody_out_who_has_none() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let address = |n: u32| format!("{}.{}.0.1:{}", 60 + n % 104 / 50, n % 104, 1 + n / 104);
    fill(&mut world, alice, 104, address);
    world.advance(Duration::from_secs(5));
    // A second connection from each, and not a word on it: all places are taken.
    let held: Vec<Stranger> = (104..208).filter_map(|n| world.stranger(alice, &address(n))).collect();
    assert_eq!(held.len(), 8);
    assert!(world.stranger(alice, &address(2 * 104 + 90)).is_none(), "who has a place is not given another's");
    let newcomer = world.peer(alice, "50.0.0.1:1", "newcomer", 2);
    assert!(!world.is_closed(newcomer));
    assert_eq!(held.iter().filter(|peer| world.is_closed(**peer)).count(), 1, "one gives way");
}

/// Seed 500128 of the simulator with small limits: the node's own dials had taken places, so that the limit of all connections was
/// met before the one of inbound ones, for which alone silent handshakes gave way; for a minute a newcomer was told that all is full.
#[test]
fn silent_strangers_hold_no_place_of_a_newcomer_whichever_limit_is_met() {
    for dials in [false, true] {
        let mut world = World::new();
        let bob = "10.77.0.1:8333";
        world.node("bob", bob, |_| {});
        let alice = world.node("alice", ALICE, |config| {
            config.admission.inbound_max = 12;
            config.admission.connections_max = 12;
            config.admission.rate = None;
            config.connect = if dials { vec![bob.parse().unwrap()] } else { Vec::new() };
        });
        world.advance(Duration::from_secs(1));
        let dialed = usize::from(dials);
        assert_eq!(world.get(alice).connected().count(), dialed);
        let silent = (0..40).filter_map(|n| {
            world.advance(Duration::from_millis(20));
            world.stranger(alice, &format!("{}.{n}.0.1:1", 60 + n))
        });
        assert_eq!(silent.count(), 12 - dialed, "all places, within less than a second");
        assert!(world.stranger(alice, "49.0.0.1:1").is_none(), "each has a moment to say who it is");
        world.advance(Duration::from_secs(1));
        for n in 0..5 {
            let newcomer = world.peer(alice, &format!("50.{n}.0.1:1"), &format!("newcomer-{n}"), 2);
            assert!(!world.is_closed(newcomer), "newcomer {n}, and {dialed} dialed");
        }
        assert_eq!(world.get(alice).connected().count(), 5 + dialed);
    }
}

/// Seventy silent sockets from seventy networks held all sixty-four places of those who have not introduced themselves, and each that
/// timed out was taken at once: of thirty newcomers none got in.
#[test]
fn silent_strangers_of_many_networks_keep_no_newcomer_out() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let mut silent: Vec<Stranger> = Vec::new();
    for n in 0..70 {
        silent.extend(world.stranger(alice, &format!("60.{n}.0.1:1")));
        world.advance(Duration::from_millis(20));
    }
    assert!(silent.len() >= 64);
    world.advance(Duration::from_secs(1));
    for n in 0..30 {
        let newcomer = world.peer(alice, &format!("50.{n}.0.1:1"), &format!("newcomer-{n}"), 2);
        assert!(!world.is_closed(newcomer));
        // The silent ones come back as soon as they are put out.
        silent.retain(|one| !world.is_closed(*one));
        for m in 0..3 {
            silent.extend(world.stranger(alice, &format!("61.{}.0.1:1", 3 * n + m)));
        }
        world.advance(Duration::from_millis(300));
    }
    assert_eq!(world.get(alice).connected().count(), 30);
    let refused = |event: &Event| matches!(event, Event::TurnedAway { .. });
    assert!(world.count(alice, refused) < 30, "and of the others few were turned away");
}

/// Whoever has had a second is not driven out by one who had less, and a flood from one place by its own.
#[test]
fn who_has_just_come_is_left_the_time_to_introduce_himself() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |config| config.admission.pending_max = 4);
    let first = world.stranger(alice, "60.1.0.1:1").unwrap();
    world.advance(Duration::from_millis(600));
    let others: Vec<Stranger> = (2..5).map(|n| world.stranger(alice, &format!("60.{n}.0.1:1")).unwrap()).collect();
    assert!(world.stranger(alice, "50.1.0.1:1").is_none(), "all had less than a second");
    world.advance(Duration::from_millis(500));
    assert!(world.stranger(alice, "60.2.0.1:2").is_none(), "the one of its own network has just come");
    assert!(world.stranger(alice, "50.1.0.1:2").is_some() && world.is_closed(first));
    assert!(others.iter().all(|other| !world.is_closed(*other)));
}

/// Sixty addresses, each within its own rate of a connection a second, used up the rate of all: two of three newcomers were refused
/// for as long as that went on, and with three hundred all of them.
#[test]
fn who_keeps_coming_from_many_networks_leaves_a_share_of_the_rate_to_newcomers() {
    for askers in [60, 300] {
        let mut world = World::new();
        let alice = world.node("alice", ALICE, |_| {});
        let mut refused = 0;
        for milli in 0..10_000u32 {
            for asker in (0..askers).filter(|asker| asker * 1000 / askers == milli % 1000) {
                let from = format!("{}.{}.0.1:{}", 60 + asker / 250, asker % 250, 1 + milli);
                if let Some(stranger) = world.stranger(alice, &from) {
                    world.hang_up(stranger);
                }
            }
            // Each of three hundred comes for the first time once, and is a newcomer then.
            if milli >= 6000 && milli % 300 == 100 {
                let from = format!("50.{}.0.1:1", milli / 300);
                match world.stranger(alice, &from) {
                    Some(newcomer) => world.hang_up(newcomer),
                    None => refused += 1,
                }
            }
            world.advance(Duration::from_millis(1));
        }
        assert_eq!(refused, 0, "{askers} who keep coming");
    }
}

/// Two hundred strange lengths in a tenth of a second, and the next honest stranger was refused.
#[test]
fn who_breaks_the_rules_at_once_does_not_use_up_the_rate_of_all() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    for n in 0..200u32 {
        let stranger = world.stranger(alice, &format!("60.{n}.0.1:1")).expect("each has its own network");
        world.say_raw(stranger, 0x77, bytes::Bytes::new());
        assert!(world.is_closed(stranger));
    }
    assert!(world.stranger(alice, "50.1.0.1:1").is_some());
    // His own rate is used up all the same.
    let again = (0..9).filter(|n| world.stranger(alice, &format!("60.7.0.1:{}", 2 + n)).is_some()).count();
    assert_eq!(again, 4);
}
