//! Ids that are only claimed: whoever greets under somebody's id from elsewhere keeps nobody out, ends nothing and learns nothing
//! to be remembered under it.

use std::time::Duration;

use bytes::Bytes;
use spacetime_network::close::CloseReason;
use spacetime_network::proto::{Command, Event};
use spacetime_network::wire::message::{Heartbeat, Ping};
use spacetime_network::wire::{Kind, Message};

use crate::world::{Stranger, World, introduction};

const ALICE: &str = "10.0.0.1:8333";
const BOB: &str = "10.0.1.1:8333";

/// Whoever stays polite while it sits under another's id: it answers what it is asked.
fn answer_pings(world: &mut World, stranger: Stranger) {
    while let Some((kind, payload)) = world.hear(stranger) {
        if let Ok(Message::Ping(ping)) = Message::decode(kind, &payload) {
            world.say(stranger, &Message::Pong(ping));
        }
    }
}

/// Whether the node has a connection of its own making to the peer of this id.
fn dials_reach(world: &World, node: usize, id: &str) -> bool {
    world.get(node).connected().filter(|peer| peer.outbound && peer.node_id == id).count() == 1
}

/// Three strangers, each at one of three nodes under the id of a fourth that was not up yet: it was told "already connected" by
/// all of them, and stayed alone for as long as they did.
#[test]
fn who_sits_under_our_id_at_every_node_does_not_keep_us_out() {
    let mut world = World::new();
    let hosts: Vec<String> = (1..=3).map(|n| format!("10.0.{n}.1:8333")).collect();
    let nodes: Vec<usize> = hosts.iter().map(|at| world.node(&format!("host {at}"), at, |_| {})).collect();
    let squatters: Vec<Stranger> =
        nodes.iter().map(|node| world.peer(*node, &format!("10.8.{node}.1:5000"), "victim", 2)).collect();
    world.advance(Duration::from_secs(20));
    squatters.iter().for_each(|squatter| answer_pings(&mut world, *squatter));
    let victim = world.node("victim", "10.0.9.1:8333", |config| {
        config.connect = hosts.iter().map(|at| at.parse().unwrap()).collect();
    });
    world.advance(Duration::from_secs(2));
    assert_eq!(world.get(victim).connected().filter(|peer| peer.outbound).count(), 3);
    for (node, squatter) in nodes.into_iter().zip(squatters) {
        assert!(!world.is_closed(squatter), "nobody is to blame: the id may be either's");
        assert_eq!(world.get(node).connected().filter(|peer| peer.node_id == "victim").count(), 2);
    }
}

/// The reverse: the stranger was at us, under the id of whom we dial. A dial of ours was dropped for it, whichever id was the
/// smaller once the claim had lasted.
#[test]
fn who_claims_the_id_of_a_peer_does_not_make_us_drop_our_dial_to_it() {
    for (ours, theirs) in [("bob", "alice"), ("alice", "bob")] {
        for early in [0, 30] {
            let mut world = World::new();
            let us = world.node(ours, BOB, |_| {});
            let claimant = world.peer(us, "10.8.0.1:5000", theirs, 2);
            world.advance(Duration::from_secs(early));
            answer_pings(&mut world, claimant);
            world.node(theirs, ALICE, |_| {});
            world.command(us, Command::Connect(ALICE.parse().unwrap()));
            world.advance(Duration::from_secs(2));
            assert!(dials_reach(&world, us, theirs), "{ours} reaches {theirs}");
            world.peer(us, "10.8.1.1:5000", theirs, 2);
            world.advance(Duration::from_secs(30));
            assert!(dials_reach(&world, us, theirs), "and keeps it when another one claims the id");
        }
    }
}

/// A neighbour shares the peer's address, so that an address says nothing between the two. But had the peer known us by the
/// connection that the neighbour holds, it would not have answered our dial.
#[test]
fn a_dial_of_ours_outranks_a_neighbour_of_the_peer_who_claims_its_id_at_its_address() {
    for (ours, theirs) in [("bob", "alice"), ("alice", "bob")] {
        let mut world = World::new();
        let us = world.node(ours, BOB, |_| {});
        let neighbour = world.peer(us, "10.0.0.1:5000", theirs, 2);
        world.advance(Duration::from_secs(30));
        answer_pings(&mut world, neighbour);
        world.node(theirs, ALICE, |_| {});
        world.command(us, Command::Connect(ALICE.parse().unwrap()));
        world.advance(Duration::from_secs(2));
        assert!(dials_reach(&world, us, theirs) && world.is_closed(neighbour));
        world.advance(Duration::from_secs(30));
        let again = world.stranger(us, "10.0.0.1:5001").unwrap();
        world.say(again, &introduction(theirs, 2, 0));
        assert!(dials_reach(&world, us, theirs) && world.is_closed(again), "what stands stays");
    }
}

#[test]
fn two_nodes_behind_one_address_that_dial_each_other_at_once_keep_one_connection() {
    let mut world = World::new();
    let (here, there) = ("10.0.0.1:8333", "10.0.0.1:8334");
    let alice = world.node("alice", here, |_| {});
    let bob = world.node("bob", there, |_| {});
    world.command(alice, Command::Connect(there.parse().unwrap()));
    world.command(bob, Command::Connect(here.parse().unwrap()));
    world.advance(Duration::from_secs(600));
    assert_eq!((world.get(alice).connected().count(), world.get(bob).connected().count()), (1, 1));
    assert!(dials_reach(&world, alice, "bob"), "alice is the smaller id, so her dial stays");
}

/// A peer in the middle of a large frame cannot answer a ping before its end. It had sent whole frames since we looked last, so
/// that what came of this one counted for nothing, and a stranger who only said its name had it closed as dead after 10 s.
#[test]
fn a_peer_from_which_bytes_arrive_lives_whoever_claims_to_be_it() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let carol = world.peer(alice, "10.9.0.1:5000", "carol", 2);
    world.advance(Duration::from_secs(31));
    answer_pings(&mut world, carol);
    world.advance(Duration::from_secs(3));
    world.say(carol, &Message::Heartbeat(Heartbeat::Status { chain_length: 1, node_id: "carol" }));
    world.trickle(carol, 5);
    let claimant = world.stranger(alice, "10.9.0.1:6000").unwrap();
    world.say(claimant, &introduction("carol", 2, 0));
    assert!(world.is_closed(claimant));
    for _ in 0..23 {
        world.advance(Duration::from_secs(1));
        world.trickle(carol, 128_000);
    }
    assert!(!world.is_closed(carol), "2.9 MB have come meanwhile");
    // The frame ends; from then on the peer is dead, and another claim shows it.
    answer_pings(&mut world, carol);
    let claimant = world.stranger(alice, "10.9.0.1:6001").unwrap();
    world.say(claimant, &introduction("carol", 2, 0));
    world.advance(Duration::from_secs(11));
    assert!(world.is_closed(carol));
    let silent = |e: &Event| matches!(e, Event::PeerDisconnected { reason: CloseReason::PingTimeout, .. });
    assert_eq!(world.count(alice, silent), 1);
}

#[test]
fn what_we_know_of_a_peer_that_we_reached_no_claimant_overwrites() {
    for first in ["the peer", "the claimant"] {
        let mut world = World::new();
        let alice = world.node("alice", ALICE, |_| {});
        let bob = world.node("bob", BOB, |_| {});
        world.mine(bob);
        let claim = |world: &mut World| {
            let claimant = world.stranger(alice, "10.8.0.1:5000").unwrap();
            world.say(claimant, &introduction("bob", 2, 9999));
            claimant
        };
        let early = (first == "the claimant").then(|| claim(&mut world));
        world.command(alice, Command::Connect(BOB.parse().unwrap()));
        world.advance(Duration::from_secs(1));
        let claimant = early.unwrap_or_else(|| claim(&mut world));
        world.say(claimant, &Message::Heartbeat(Heartbeat::Status { chain_length: 77, node_id: "bob" }));
        let known = |world: &World, id: &str| world.get(alice).peers().get(id).cloned();
        let before = known(&world, "bob").expect("bob is known");
        assert_eq!((before.address, before.reached, before.connected), (Some(BOB.parse().unwrap()), true, true));
        assert_eq!(before.chain_length, 2, "{first} came first");
        let other = known(&world, "peer_10.8.0.1_9999").expect("the claimant is known by its address");
        assert_eq!((other.chain_length, other.reached, other.connected), (77, false, true));
        // It breaks the protocol: that is its own affair, and so is its leaving.
        world.say_raw(claimant, Kind::Block as u8, Bytes::from_static(&[7]));
        assert!(world.is_closed(claimant));
        let after = known(&world, "bob").unwrap();
        assert_eq!((after.score, after.failures, after.connected), (before.score, before.failures, true));
        assert!(known(&world, "peer_10.8.0.1_9999").unwrap().score < 0);
        // While the peer is away nobody becomes it by saying so.
        world.cut_all(bob);
        let again = world.stranger(alice, "10.8.0.1:5001").unwrap();
        world.say(again, &introduction("bob", 2, 9999));
        assert_eq!(known(&world, "bob").unwrap().address, Some(BOB.parse().unwrap()));
        assert!(known(&world, "bob").unwrap().reached);
    }
}

#[test]
fn a_pong_from_a_claimant_says_nothing_of_the_peer() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let carol = world.peer(alice, "10.9.0.1:5000", "carol", 2);
    let claimant = world.peer(alice, "10.8.0.1:5000", "carol", 2);
    world.advance(Duration::from_secs(30));
    answer_pings(&mut world, claimant);
    world.say(claimant, &Message::Pong(Ping { nonce: 1, unix_millis: 0 }));
    world.advance(Duration::from_secs(31));
    assert!(world.is_closed(carol) && !world.is_closed(claimant), "each answers for itself");
}
