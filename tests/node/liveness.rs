//! Heartbeats, pings and silence.

use std::time::Duration;

use spacetime_network::close::CloseReason;
use spacetime_network::proto::Event;
use spacetime_network::wire::message::{Heartbeat, Ping};
use spacetime_network::wire::{Kind, Message};

use crate::world::{World, introduction};

const ALICE: &str = "10.0.0.1:8333";

fn closed_for(reason: CloseReason) -> impl Fn(&Event) -> bool {
    move |event| matches!(event, Event::PeerDisconnected { reason: r, .. } if *r == reason)
}

#[test]
fn every_thirty_seconds_a_heartbeat_and_to_version_2_a_ping() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let (old, new) = (world.peer(alice, "10.9.0.1:1", "old", 1), world.peer(alice, "10.8.0.1:1", "new", 2));
    world.advance(Duration::from_secs(29));
    assert!(world.hear(old).is_none() && world.hear(new).is_none());
    world.advance(Duration::from_secs(1));
    let (kind, payload) = world.hear(old).unwrap();
    let expected = Heartbeat::Status { chain_length: 1, node_id: "alice" };
    assert_eq!(Message::decode(kind, &payload), Ok(Message::Heartbeat(expected)));
    assert!(world.hear(old).is_none(), "version 1 has no ping");
    let kinds = [world.hear(new).unwrap().0, world.hear(new).unwrap().0];
    assert_eq!(kinds, [Kind::Heartbeat, Kind::Ping]);
}

#[test]
fn a_pong_gives_the_round_trip_and_a_wrong_one_gives_nothing() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let peer = world.peer(alice, "10.9.0.1:1", "carol", 2);
    world.advance(Duration::from_secs(30));
    let _heartbeat = world.hear(peer).unwrap();
    let (kind, payload) = world.hear(peer).unwrap();
    let Ok(Message::Ping(ping)) = Message::decode(kind, &payload) else { panic!("not a ping") };
    world.advance(Duration::from_millis(70));
    world.say(peer, &Message::Pong(Ping { nonce: ping.nonce ^ 1, ..ping }));
    assert_eq!(world.get(alice).connected().next().unwrap().round_trip, None);
    world.say(peer, &Message::Pong(ping));
    assert_eq!(world.get(alice).connected().next().unwrap().round_trip, Some(Duration::from_millis(70)));
}

#[test]
fn our_pong_repeats_the_nonce() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let peer = world.peer(alice, "10.9.0.1:1", "carol", 2);
    world.say(peer, &Message::Ping(Ping { nonce: -5, unix_millis: 1 }));
    let (kind, payload) = world.hear(peer).unwrap();
    let Ok(Message::Pong(pong)) = Message::decode(kind, &payload) else { panic!("not a pong") };
    assert_eq!(pong.nonce, -5);
}

#[test]
fn a_peer_that_beats_but_never_pongs_is_closed_thirty_seconds_after_the_ping() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let deaf = world.peer(alice, "10.9.0.1:1", "deaf", 2);
    for _ in 0..5 {
        world.advance(Duration::from_secs(11));
        world.say(deaf, &Message::Heartbeat(Heartbeat::Opaque(&[])));
    }
    assert!(!world.is_closed(deaf), "55 s: the ping of second 30 has until second 60");
    world.advance(Duration::from_secs(6));
    assert!(world.is_closed(deaf));
    assert_eq!(world.count(alice, closed_for(CloseReason::PingTimeout)), 1);
    assert_eq!(world.get(alice).peers().get("deaf").unwrap().failures, 1);
}

#[test]
fn ninety_seconds_of_silence_end_a_version_1_connection() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let silent = world.stranger(alice, "10.9.0.1:1").unwrap();
    world.say(silent, &introduction("silent", 1, 0));
    world.advance(Duration::from_secs(89));
    assert!(!world.is_closed(silent));
    world.advance(Duration::from_secs(2));
    assert!(world.is_closed(silent));
    assert_eq!(world.count(alice, closed_for(CloseReason::IdleTimeout)), 1);
}

/// The rule was in the adapter for real sockets, and no test that plays with the clock had it.
#[test]
fn a_peer_in_the_middle_of_a_large_frame_is_slow_and_not_silent() {
    for version in [1, 2] {
        let mut world = World::new();
        let alice = world.node("alice", ALICE, |_| {});
        // It answers nothing any more: its next frame has begun.
        let slow = world.stranger(alice, "10.9.0.1:1").unwrap();
        world.say(slow, &introduction("slow", version, 0));
        world.say(slow, &Message::Headers(vec![]));
        for _ in 0..60 {
            world.trickle(slow, 1);
            world.advance(Duration::from_secs(10));
        }
        assert!(!world.is_closed(slow), "ten minutes for sixty bytes");
        // At the last look there were new bytes; at the next ones there are none.
        world.advance(Duration::from_secs(60));
        assert_eq!(world.is_closed(slow), version == 2, "a ping waits for as long as a ping may");
        world.advance(Duration::from_secs(60));
        assert!(world.is_closed(slow), "and silence for as long as silence may");
        let reason = if version == 2 { CloseReason::PingTimeout } else { CloseReason::IdleTimeout };
        assert_eq!(world.count(alice, closed_for(reason)), 1);
    }
}

/// A reader of 100 kB/s, faster than the slowest that we allow, was cut in the middle of a block of 14 MiB: our ping waited
/// behind the block, and nobody can answer what he has not got.
#[test]
fn a_peer_that_takes_a_large_frame_slowly_is_not_blamed_for_the_ping_behind_it() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let slow = world.stranger(alice, "10.9.0.1:1").unwrap();
    world.say(slow, &introduction("slow", 2, 0));
    world.say(slow, &Message::Headers(vec![]));
    // Ten minutes, at 20 kB/s.
    for _ in 0..60 {
        world.advance(Duration::from_secs(10));
        world.takes(slow, 200_000);
    }
    assert!(!world.is_closed(slow), "what it takes shows that it is there");
    // The ping has left with the end of the frame, and has its time from then on.
    world.takes_the_rest(slow);
    world.advance(Duration::from_secs(29));
    assert!(!world.is_closed(slow));
    world.advance(Duration::from_secs(60));
    assert!(world.is_closed(slow), "and no more than its time");
    assert_eq!(world.count(alice, closed_for(CloseReason::PingTimeout)), 1);
}

#[test]
fn a_peer_that_takes_a_byte_each_second_is_not_there() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let sipper = world.stranger(alice, "10.9.0.1:1").unwrap();
    world.say(sipper, &introduction("sipper", 2, 0));
    world.say(sipper, &Message::Headers(vec![]));
    for _ in 0..65 {
        world.advance(Duration::from_secs(1));
        world.takes(sipper, 1);
    }
    assert!(world.is_closed(sipper));
    assert_eq!(world.count(alice, closed_for(CloseReason::PingTimeout)), 1);
}

#[test]
fn a_peer_that_takes_frame_after_frame_and_answers_no_ping_is_closed() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let deaf = world.stranger(alice, "10.9.0.1:1").unwrap();
    world.say(deaf, &introduction("deaf", 2, 0));
    world.say(deaf, &Message::Headers(vec![]));
    for _ in 0..65 {
        world.advance(Duration::from_secs(1));
        world.takes(deaf, 1_000_000);
        world.takes_the_rest(deaf);
    }
    assert!(world.is_closed(deaf), "between two frames there was room for the ping");
}

#[test]
fn peers_unseen_for_five_minutes_are_no_longer_known() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let peer = world.peer(alice, "10.9.0.1:1", "carol", 2);
    world.hang_up(peer);
    assert!(world.get(alice).peers().get("carol").is_some());
    world.advance(Duration::from_secs(299));
    assert!(world.get(alice).peers().get("carol").is_some());
    world.advance(Duration::from_secs(15));
    assert!(world.get(alice).peers().get("carol").is_none());
}

#[test]
fn two_idle_nodes_stay_connected_for_a_day() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", "10.0.1.1:8333", |c| c.connect = vec![ALICE.parse().unwrap()]);
    world.advance(Duration::from_secs(86_400));
    assert_eq!(world.count(alice, |e| matches!(e, Event::PeerConnected { .. })), 1);
    assert_eq!(world.get(bob).connected().count(), 1);
    assert!(world.get(bob).connected().next().unwrap().round_trip.is_some());
    assert!(world.get(alice).peers().get("bob").is_some(), "a connected peer is not stale");
}
