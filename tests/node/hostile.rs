//! What strangers may cost, and what it costs them.

use std::time::Duration;

use bytes::Bytes;
use spacetime_network::close::{Blame, CloseReason};
use spacetime_network::proto::Event;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::wire::message::{GetHeaders, Ping};
use spacetime_network::wire::{Hash, Kind, Message};

use crate::world::{World, introduction};

const ALICE: &str = "10.0.0.1:8333";

#[test]
fn a_malformed_payload_of_any_kind_closes_that_connection_and_no_other() {
    for kind in Kind::ALL {
        // Whatever a heartbeat or a challenge holds, it is one; a text that is not UTF-8 is not.
        if matches!(kind, Kind::Heartbeat | Kind::NewChallenge) {
            continue;
        }
        let mut world = World::new();
        let alice = world.node("alice", ALICE, |_| {});
        let control = world.peer(alice, "10.9.0.1:1", "control", 2);
        let bad = world.peer(alice, "10.8.0.1:1", "bad", 2);
        world.say_raw(bad, *kind as u8, Bytes::from_static(&[0xff; 3]));
        assert!(world.is_closed(bad), "{}", kind.name());
        assert!(!world.is_closed(control), "{}", kind.name());
        assert!(world.get(alice).peers().get("bad").unwrap().score < 0, "{}", kind.name());
    }
}

#[test]
fn five_violations_blacklist_the_address() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    for round in 0..5u16 {
        let bad = world.peer(alice, &format!("10.8.0.1:{}", 1000 + round), &format!("bad-{round}"), 2);
        world.say_raw(bad, Kind::GetBlock as u8, Bytes::from_static(&[1]));
        assert!(world.is_closed(bad));
        world.advance(Duration::from_secs(2));
    }
    let day = Duration::from_secs(86_400);
    let said = |e: &Event| matches!(e, Event::Blacklisted { reason, duration, .. } if reason.blame() == Blame::Misbehaved && *duration == day);
    assert_eq!(world.count(alice, said), 1, "with the reason, and for how long");
    assert!(world.stranger(alice, "10.8.0.1:2000").is_none());
    assert!(world.stranger(alice, "10.8.0.2:2000").is_some(), "its neighbour is innocent");
    world.advance(Duration::from_secs(86_401));
    assert!(world.stranger(alice, "10.8.0.1:2001").is_some(), "a day later it may try again");
}

#[test]
fn an_id_claimed_by_an_attacker_costs_its_owner_nothing() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    for round in 0..6u16 {
        let Some(thief) = world.stranger(alice, &format!("10.8.0.1:{}", 1000 + round)) else { break };
        world.say(thief, &introduction("honest", 2, 0));
        world.say_raw(thief, Kind::GetBlock as u8, Bytes::new());
        world.advance(Duration::from_secs(2));
    }
    let honest = world.peer(alice, "10.9.0.1:1", "honest", 2);
    assert!(!world.is_closed(honest));
}

#[test]
fn loopback_is_closed_but_never_banned() {
    let mut world = World::new();
    let alice = world.node("alice", "127.0.0.1:8333", |_| {});
    for round in 0..20u16 {
        let bad = world.peer(alice, &format!("127.0.0.1:{}", 1000 + round), &format!("bad-{round}"), 2);
        world.say_raw(bad, Kind::GetBlock as u8, Bytes::new());
        assert!(world.is_closed(bad));
    }
    assert_eq!(world.count(alice, |e| matches!(e, Event::Blacklisted { .. })), 0);
}

#[test]
fn a_block_that_nobody_asked_for_is_a_violation() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bad = world.peer(alice, "10.8.0.1:1", "bad", 2);
    let block = world.block_on(alice, "eve");
    world.say(bad, &Message::Block(&block));
    assert!(world.is_closed(bad));
    assert_eq!(world.get(alice).chain().best().height, 0);
}

#[test]
fn a_flood_of_pings_is_first_dropped_then_ended() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bad = world.peer(alice, "10.8.0.1:1", "bad", 2);
    let mut sent = 0;
    while !world.is_closed(bad) {
        sent += 1;
        assert!(sent < 10_000, "a flood is ended");
        world.say(bad, &Message::Ping(Ping { nonce: sent, unix_millis: 0 }));
    }
    let pongs = world.hear_all(bad).iter().filter(|k| **k == Kind::Pong).count();
    assert!((1..sent as usize).contains(&pongs), "{pongs} of {sent} answered");
}

/// Error frames had no price before the greeting, and ended nothing: 48 connections that said nothing else took a whole core.
#[test]
fn an_error_before_the_greeting_is_the_last_word() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let stranger = world.stranger(alice, "10.8.0.1:1").unwrap();
    for _ in 0..1000 {
        world.say(stranger, &Message::Error("no\u{1b}[2J \\ \"you\""));
    }
    assert!(world.is_closed(stranger) && world.hear(stranger).is_none(), "without an answer");
    assert_eq!(world.count(alice, |event| matches!(event, Event::RemoteError { .. })), 1);
    let said = |event: &Event| match event {
        Event::HandshakeFailed { reason: CloseReason::RemoteClosed, remote_error, .. } => remote_error.clone(),
        _ => None,
    };
    // As it was said: who shows it escapes it, and that once.
    assert_eq!(world.count(alice, |event| said(event).as_deref() == Some("no\u{1b}[2J \\ \"you\"")), 1);
    assert!(world.stranger(alice, "10.8.0.1:2").is_some(), "it is no violation");
}

/// Two hundred and fifty-six characters became two thousand in the log.
#[test]
fn what_is_kept_of_an_error_is_bounded_by_what_it_shows() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    for (at, (text, kept)) in [("\u{e0001}", 28), ("a", 256), ("\n", 128)].into_iter().enumerate() {
        let peer = world.peer(alice, &format!("10.{at}.0.1:1"), &format!("peer-{at}"), 2);
        world.say(peer, &Message::Error(&text.repeat(300.min(1024 / text.len()))));
        let is_it =
            |event: &Event| matches!(event, Event::RemoteError { text: said, .. } if *said == text.repeat(kept));
        assert_eq!(world.count(alice, is_it), 1, "{text:?}");
    }
}

#[test]
fn lies_about_height_cost_one_question_each() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let liar = world.stranger(alice, "10.8.0.1:1").unwrap();
    let Message::Handshake(mut handshake) = introduction("liar", 2, 0) else { unreachable!() };
    if let Some(extension) = &mut handshake.extension {
        extension.best_height = u64::MAX;
        extension.best_hash = Hash([7; 32]);
    }
    world.say(liar, &Message::Handshake(handshake));
    assert_eq!(world.hear_all(liar), [Kind::HandshakeAck, Kind::TxPoolRequest, Kind::GetHeaders]);
    world.say(liar, &Message::Headers(vec![]));
    world.advance(Duration::from_secs(20));
    assert!(world.hear_all(liar).len() <= 2);
    assert_eq!(world.get(alice).sync_target(), (0, false));
}

#[test]
fn headers_are_served_up_to_the_limit_of_the_request() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    for _ in 0..5 {
        world.mine(alice);
    }
    let peer = world.peer(alice, "10.8.0.1:1", "carol", 2);
    world.say(peer, &Message::GetHeaders(GetHeaders { locator: Hash::ZERO, stop: None, max: 3, more: None }));
    let headers = loop {
        let (kind, payload) = world.hear(peer).expect("an answer");
        if kind == Kind::Headers {
            break payload;
        }
    };
    let Ok(Message::Headers(headers)) = Message::decode(Kind::Headers, &headers) else { panic!("not headers") };
    assert_eq!(headers.len(), 3);
    assert!(headers.iter().all(|h| h.len() == 93));
}

#[test]
fn unknown_blocks_are_not_found_in_version_2_and_nothing_in_version_1() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let (old, new) = (world.peer(alice, "10.9.0.1:1", "old", 1), world.peer(alice, "10.8.0.1:1", "new", 2));
    world.say(old, &Message::GetBlock(Hash([1; 32])));
    world.say(new, &Message::GetBlock(Hash([1; 32])));
    assert!(!world.hear_all(old).contains(&Kind::NotFound));
    assert!(world.hear_all(new).contains(&Kind::NotFound));
    assert!(!world.is_closed(old) && !world.is_closed(new));
}

#[test]
fn inbound_connections_are_limited_and_outbound_places_are_kept() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    for i in 0..200u16 {
        let from = format!("11.{}.{}.1:1", i / 8, i);
        if let Some(peer) = world.stranger(alice, &from) {
            world.say(peer, &introduction(&format!("peer-{i}"), 2, 0));
        }
        assert!(world.get(alice).session_count() <= 112, "112 of 128 places are for inbound peers");
        world.advance(Duration::from_millis(100));
    }
    assert_eq!(world.get(alice).connected().count(), 104, "eight are kept for newcomers");
}

/// Sixteen addresses were enough to fill all places for unfinished handshakes, for as long as they liked.
#[test]
fn silent_strangers_of_a_few_subnets_do_not_keep_a_newcomer_out() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let mut silent = Vec::new();
    for i in 0..64u16 {
        // Sixteen from each of four subnets, four from each address.
        silent.extend(world.stranger(alice, &format!("11.0.{}.{}:{i}", i % 4, i / 16)));
        world.advance(Duration::from_millis(100));
    }
    assert_eq!(silent.len(), 64);
    let newcomer = world.peer(alice, "12.0.0.1:1", "newcomer", 2);
    assert!(!world.is_closed(newcomer));
    let gone: Vec<usize> = (0..64).filter(|i| world.is_closed(silent[*i])).collect();
    assert!(gone.len() == 1 && gone[0] < 4, "one of the oldest went, not {gone:?}");
    assert!(world.stranger(alice, "13.0.0.1:1").is_some(), "the newcomer's place is free again");
    let gone = |world: &World| (0..64).filter(|i| world.is_closed(silent[*i])).collect::<Vec<usize>>();
    let before = gone(&world);
    assert!(world.stranger(alice, "11.0.0.77:1").is_some());
    let after = gone(&world);
    let gave_way: Vec<&usize> = after.iter().filter(|i| !before.contains(i)).collect();
    assert!(gave_way.len() == 1 && gave_way[0].is_multiple_of(4), "a crowd makes room for its own, not {gave_way:?}");
    // Of as many subnets as there are places, the one that has said nothing for longest gives way.
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let mut silent = Vec::new();
    for i in 0..64u16 {
        silent.push(world.stranger(alice, &format!("11.0.{i}.1:1")).unwrap());
        world.advance(Duration::from_millis(50));
    }
    assert!(world.stranger(alice, "12.0.0.1:1").is_some());
    assert!(world.is_closed(silent[0]) && silent[1..].iter().all(|stranger| !world.is_closed(*stranger)));
}

#[test]
fn answers_to_no_question_and_endless_introductions_are_floods_too() {
    let pong = Message::Pong(Ping { nonce: 1, unix_millis: 0 });
    for message in [pong, introduction("bad", 2, 0)] {
        let mut world = World::new();
        let alice = world.node("alice", ALICE, |_| {});
        let bad = world.peer(alice, "10.8.0.1:1", "bad", 2);
        for _ in 0..3 {
            world.say(bad, &message);
        }
        assert!(!world.is_closed(bad), "a few may happen");
        let mut sent = 0;
        while !world.is_closed(bad) {
            sent += 1;
            assert!(sent < 10_000, "a flood of {} is ended", message.kind().name());
            world.say(bad, &message);
        }
    }
}
