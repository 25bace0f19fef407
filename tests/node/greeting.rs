//! The handshake and who stays.

use std::time::Duration;

use bytes::Bytes;
use spacetime_network::close::CloseReason;
use spacetime_network::proto::{Command, Event};
use spacetime_network::wire::message::{Extension, Handshake};
use spacetime_network::wire::{Hash, Kind, Message};

use crate::world::{World, introduction};

const ALICE: &str = "10.0.0.1:8333";
const BOB: &str = "10.0.1.1:8333";

#[test]
fn two_nodes_meet_and_talk_version_2() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", BOB, |c| c.connect = vec![ALICE.parse().unwrap()]);
    world.advance(Duration::from_secs(1));
    for (node, other, outbound) in [(alice, "bob", false), (bob, "alice", true)] {
        let peers: Vec<_> = world.get(node).connected().collect();
        assert_eq!(peers.len(), 1, "{other} is connected once");
        assert_eq!((peers[0].node_id.as_str(), peers[0].version, peers[0].outbound), (other, 2, outbound));
    }
    // Bob announced his port, so Alice knows where others can reach him.
    let bob_seen = world.get(alice).connected().next().unwrap().address;
    assert_eq!(bob_seen, Some(BOB.parse().unwrap()));
}

#[test]
fn a_version_1_peer_gets_a_version_1_answer() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let old = world.stranger(alice, "10.9.0.1:5000").unwrap();
    world.say(old, &introduction("old", 1, 0));
    let (kind, payload) = world.hear(old).unwrap();
    assert_eq!(kind, Kind::HandshakeAck);
    let Ok(Message::HandshakeAck(Some(ack))) = Message::decode(kind, &payload) else { panic!("not an ack") };
    assert_eq!((ack.version, ack.node_id, ack.extension), (1, "alice", None));
    assert_eq!(world.get(alice).connected().next().unwrap().version, 1);
    // Later revisions of the C# library ping, and are answered; no revision has what version 2 alone has.
    while world.hear(old).is_some() {}
    world.say_raw(old, Kind::Ping as u8, Bytes::from_static(&[0; 16]));
    assert_eq!(world.hear_all(old), [Kind::Pong]);
    world.say_raw(old, Kind::NotFound as u8, Bytes::from_static(&[0; 32]));
    assert!(world.is_closed(old));
}

#[test]
fn version_2_without_its_block_is_version_1() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bare = world.stranger(alice, "10.9.0.1:5000").unwrap();
    let handshake = Handshake { version: 2, unix_seconds: 0, node_id: "bare", user_agent: "x", extension: None };
    world.say(bare, &Message::Handshake(handshake));
    assert_eq!(world.get(alice).connected().next().unwrap().version, 1);
}

#[test]
fn versions_below_one_are_turned_away_without_a_penalty() {
    for version in [0, -1, i32::MIN] {
        let mut world = World::new();
        let alice = world.node("alice", ALICE, |_| {});
        let ancient = world.stranger(alice, "10.9.0.1:5000").unwrap();
        let handshake = Handshake { version, unix_seconds: 0, node_id: "ancient", user_agent: "x", extension: None };
        world.say(ancient, &Message::Handshake(handshake));
        assert!(world.is_closed(ancient));
        let reason = CloseReason::VersionTooLow(version);
        assert_eq!(world.count(alice, |e| matches!(e, Event::HandshakeFailed { reason: r, .. } if *r == reason)), 1);
    }
}

#[test]
fn a_version_from_the_future_is_spoken_to_in_ours() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let future = world.stranger(alice, "10.9.0.1:5000").unwrap();
    let Message::Handshake(mut handshake) = introduction("future", 2, 0) else { unreachable!() };
    handshake.version = i32::MAX;
    world.say(future, &Message::Handshake(handshake));
    assert_eq!(world.get(alice).connected().next().unwrap().version, 2);
}

#[test]
fn another_network_is_told_so_and_left_alone() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let other = world.stranger(alice, "10.9.0.1:5000").unwrap();
    let Message::Handshake(mut handshake) = introduction("other", 2, 0) else { unreachable!() };
    handshake.extension = handshake.extension.map(|e| Extension { network: Hash([9; 32]), ..e });
    world.say(other, &Message::Handshake(handshake));
    let (kind, text) = world.hear(other).unwrap();
    assert_eq!((kind, text.as_ref()), (Kind::Error, b"wrong network".as_ref()));
    assert!(world.is_closed(other));
    assert_eq!(world.count(alice, |e| matches!(e, Event::Blacklisted { .. })), 0);
}

#[test]
fn a_node_that_dials_itself_notices_and_never_dials_that_address_again() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |c| c.connect = vec![ALICE.parse().unwrap()]);
    world.advance(Duration::from_secs(3600));
    assert_eq!(world.get(alice).connected().count(), 0);
    let selfs = |e: &Event| matches!(e, Event::HandshakeFailed { reason: CloseReason::SelfConnection, .. });
    assert_eq!(world.count(alice, selfs), 2, "one dial, seen from both of its ends");
}

#[test]
fn an_empty_ack_names_the_peer_by_its_address() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    // Only the acceptor sends acks: one from a dialer is out of place.
    let odd = world.stranger(alice, "10.9.0.1:5000").unwrap();
    world.say(odd, &Message::HandshakeAck(None));
    assert!(world.is_closed(odd));
    assert_eq!(world.get(alice).connected().count(), 0);
}

#[test]
fn nothing_but_the_handshake_is_heard_before_it() {
    for kind in Kind::ALL.iter().filter(|k| !matches!(k, Kind::Handshake | Kind::Error)) {
        let mut world = World::new();
        let alice = world.node("alice", ALICE, |_| {});
        let hasty = world.stranger(alice, "10.9.0.1:5000").unwrap();
        world.say_raw(hasty, *kind as u8, Bytes::new());
        assert!(world.is_closed(hasty), "{} before the handshake", kind.name());
    }
}

#[test]
fn a_stranger_that_says_nothing_is_closed_after_ten_seconds() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let mute = world.stranger(alice, "10.9.0.1:5000").unwrap();
    world.advance(Duration::from_millis(9_900));
    assert!(!world.is_closed(mute));
    world.advance(Duration::from_millis(200));
    assert!(world.is_closed(mute));
    assert_eq!(world.get(alice).session_count(), 0);
}

#[test]
fn the_same_handshake_again_is_dropped_and_another_identity_is_not() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let peer = world.peer(alice, "10.9.0.1:5000", "carol", 2);
    world.say(peer, &introduction("carol", 2, 0));
    assert!(!world.is_closed(peer));
    world.say(peer, &introduction("mallory", 2, 0));
    assert!(world.is_closed(peer));
    assert_eq!(world.get(alice).connected().count(), 0);
}

#[test]
fn of_two_connections_by_the_same_side_the_older_stays() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let first = world.peer(alice, "10.9.0.1:5000", "carol", 2);
    let second = world.stranger(alice, "10.9.0.1:5002").unwrap();
    world.say(second, &introduction("carol", 2, 0));
    assert!(world.is_closed(second) && !world.is_closed(first));
    // The identity is released with its connection: nobody is locked out for ever.
    world.hang_up(first);
    let third = world.peer(alice, "10.9.0.1:5003", "carol", 2);
    assert!(!world.is_closed(third));
}

#[test]
fn when_both_dial_at_once_both_keep_the_connection_of_the_smaller_id() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", BOB, |_| {});
    world.command(alice, Command::Connect(BOB.parse().unwrap()));
    world.command(bob, Command::Connect(ALICE.parse().unwrap()));
    world.advance(Duration::from_secs(600));
    let alices: Vec<_> = world.get(alice).connected().collect();
    let bobs: Vec<_> = world.get(bob).connected().collect();
    assert_eq!((alices.len(), bobs.len()), (1, 1));
    assert!(alices[0].outbound && !bobs[0].outbound, "alice is the smaller id, so her dial stays");
    let churn = |e: &Event| matches!(e, Event::PeerConnected { .. });
    assert!(world.count(alice, churn) <= 2, "no reconnect storm");
    for node in [alice, bob] {
        assert!(world.get(node).peers().known_peers().all(|peer| peer.score >= 0), "nobody is to blame");
    }
}

#[test]
fn whoever_claims_the_id_of_a_peer_does_not_end_its_connection() {
    for (ours, theirs) in [("bob", "alice"), ("alice", "bob")] {
        let mut world = World::new();
        let us = world.node(ours, BOB, |_| {});
        let friend = world.node(theirs, ALICE, |_| {});
        world.command(us, Command::Connect(ALICE.parse().unwrap()));
        world.advance(Duration::from_secs(30));
        let before: Vec<_> = world.get(us).connected().map(|peer| peer.conn).collect();
        assert_eq!(before.len(), 1);
        let thief = world.stranger(us, "10.0.0.1:1").unwrap();
        world.say(thief, &introduction(theirs, 2, 0));
        assert!(world.is_closed(thief));
        let after: Vec<_> = world.get(us).connected().map(|peer| peer.conn).collect();
        assert_eq!(after, before, "{ours} keeps its connection to {theirs}");
        assert_eq!(world.get(friend).connected().count(), 1);
    }
}

#[test]
fn a_peer_that_comes_back_from_a_crash_is_not_locked_out_by_its_own_half_open_connection() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let dead = world.peer(alice, "10.9.0.1:5000", "carol", 2);
    world.advance(Duration::from_secs(15));
    let early = world.stranger(alice, "10.9.0.1:5001").unwrap();
    world.say(early, &introduction("carol", 2, 0));
    assert!(world.is_closed(early) && !world.is_closed(dead));
    // Alice asks the old connection whether it is still alive, and it is not.
    assert_eq!(world.hear(dead).map(|(kind, _)| kind), Some(Kind::Heartbeat));
    assert_eq!(world.hear(dead).map(|(kind, _)| kind), Some(Kind::Ping));
    world.advance(Duration::from_secs(11));
    assert!(world.is_closed(dead));
    let back = world.peer(alice, "10.9.0.1:5002", "carol", 2);
    assert!(!world.is_closed(back));
}

#[test]
fn whoever_claims_the_id_of_a_peer_that_answers_gets_nothing() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let carol = world.peer(alice, "10.9.0.1:5000", "carol", 2);
    for port in 0..5 {
        world.advance(Duration::from_secs(12));
        let thief = world.stranger(alice, &format!("10.9.0.1:{}", 6000 + port)).unwrap();
        world.say(thief, &introduction("carol", 2, 0));
        assert!(world.is_closed(thief));
        while let Some((kind, payload)) = world.hear(carol) {
            if let Ok(Message::Ping(ping)) = Message::decode(kind, &payload) {
                world.say(carol, &Message::Pong(ping));
            }
        }
    }
    world.advance(Duration::from_secs(12));
    assert!(!world.is_closed(carol));
}

/// Each claim had us ask the peer at once whether it is still alive. Thieves at its own address, one claim a second, made us break
/// the peer's budget for heartbeats.
#[test]
fn thieves_do_not_make_us_ask_a_peer_more_often_than_it_allows() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let carol = world.peer(alice, "10.9.0.1:5000", "carol", 2);
    while world.hear(carol).is_some() {}
    let mut asked = 0;
    for second in 0..20u16 {
        let thief = world.stranger(alice, &format!("10.9.0.1:{}", 6000 + second)).unwrap();
        world.say(thief, &introduction("carol", 2, 0));
        assert!(world.is_closed(thief));
        while let Some((kind, payload)) = world.hear(carol) {
            asked += u32::from(kind == Kind::Heartbeat);
            if let Ok(Message::Ping(ping)) = Message::decode(kind, &payload) {
                world.say(carol, &Message::Pong(ping));
            }
        }
        world.advance(Duration::from_secs(1));
    }
    assert!((2..=5).contains(&asked), "{asked} in 20 s");
}
