//! Peers find each other, come back, and are not dialed for ever.

use std::net::SocketAddr;
use std::time::Duration;

use spacetime_network::proto::{Command, Event};
use spacetime_network::wire::message::GetPeers;
use spacetime_network::wire::{Kind, Message};

use crate::world::{World, introduction};

fn address(i: usize) -> String {
    format!("10.{i}.0.1:8333")
}

#[test]
fn ten_nodes_that_know_one_address_find_each_other() {
    let mut world = World::new();
    let seed: SocketAddr = address(0).parse().unwrap();
    let nodes: Vec<usize> = (0..10)
        .map(|i| {
            world.node(&format!("node-{i}"), &address(i), |c| {
                c.allow_private = true;
                c.outbound = 4;
                c.seeds = if i == 0 { vec![] } else { vec![seed] };
            })
        })
        .collect();
    world.advance(Duration::from_secs(120));
    for node in nodes {
        let outbound = world.get(node).connected().filter(|p| p.outbound).count();
        // The seed itself may have nobody left to dial: everyone came to it. A feeler is one more.
        assert!(outbound <= 5 && (outbound > 0 || node == 0), "node {node} keeps {outbound} outbound connections");
        let all = world.get(node).connected().count();
        assert!(all >= 3, "node {node} has {all} peers");
    }
}

#[test]
fn a_lost_peer_is_dialed_again() {
    let mut world = World::new();
    let alice = world.node("alice", &address(0), |_| {});
    let bob = world.node("bob", &address(1), |c| c.connect = vec![address(0).parse().unwrap()]);
    world.advance(Duration::from_secs(1));
    world.cut_all(alice);
    assert_eq!(world.get(bob).connected().count(), 0);
    world.advance(Duration::from_secs(60));
    assert_eq!(world.get(bob).connected().count(), 1);
}

#[test]
fn a_dead_address_is_tried_ever_more_rarely() {
    let mut world = World::new();
    let alice = world.node("alice", &address(0), |c| c.seeds = vec!["10.66.0.1:8333".parse().unwrap()]);
    world.advance(Duration::from_secs(3600));
    let failures = |e: &Event| matches!(e, Event::DialFailed { .. });
    let first = world.count(alice, failures);
    assert!((2..400).contains(&first), "{first} dials in an hour");
    world.advance(Duration::from_secs(3600));
    assert!(world.count(alice, failures) - first <= first, "later hours see no more");
}

#[test]
fn addresses_are_shared_with_whoever_asks_but_not_their_own() {
    let mut world = World::new();
    let alice = world.node("alice", "1.2.3.4:8333", |_| {});
    world.node("listener", "5.6.7.8:9000", |c| (c.outbound, c.connect) = (0, vec!["1.2.3.4:8333".parse().unwrap()]));
    world.advance(Duration::from_secs(30));
    let mut ask = |from: &str, port: u16, request: GetPeers<'_>| {
        let asker = world.stranger(alice, from).unwrap();
        world.say(asker, &introduction(from, 2, port));
        world.hear_all(asker);
        world.say(asker, &Message::GetPeers(request));
        let (kind, payload) = world.hear(asker).expect("an answer");
        let Ok(Message::Peers(shared)) = Message::decode(kind, &payload) else { panic!("not peers: {kind:?}") };
        shared
    };
    assert_eq!(ask("9.8.7.6:5000", 9001, GetPeers::All), ["5.6.7.8:9000".parse().unwrap()]);
    assert_eq!(ask("9.8.7.5:5000", 9001, GetPeers::Limited { max: 10, exclude: vec!["5.6.7.8:9000"] }), []);
    assert_eq!(ask("5.6.7.8:5001", 9000, GetPeers::All), [], "its own");
}

#[test]
fn unroutable_gossip_is_not_dialed() {
    let mut world = World::new();
    let alice = world.node("alice", "1.2.3.4:8333", |_| {});
    let liar = world.peer(alice, "5.6.7.8:5000", "liar", 2);
    let lies = ["127.0.0.1:22", "10.0.0.1:22", "192.168.1.1:80", "0.0.0.0:80", "224.0.0.1:80", "[::1]:80", "9.9.9.9:0"];
    world.say(liar, &Message::Peers(lies.iter().map(|a| a.parse().unwrap()).collect()));
    world.advance(Duration::from_secs(600));
    assert_eq!(world.count(alice, |e| matches!(e, Event::DialFailed { .. })), 0);
}

#[test]
fn a_peer_that_is_disconnected_by_hand_is_not_dialed_again() {
    let mut world = World::new();
    // Who does not look for peers herself, or she would dial Bob.
    let _alice = world.node("alice", &address(0), |c| c.outbound = 0);
    let bob = world.node("bob", &address(1), |c| {
        c.connect = vec![address(0).parse().unwrap()];
        c.outbound = 0;
    });
    world.advance(Duration::from_secs(1));
    world.command(bob, Command::Disconnect(address(0).parse().unwrap()));
    world.advance(Duration::from_secs(600));
    assert_eq!(world.get(bob).connected().count(), 0);
    assert_eq!(world.count(bob, |e| matches!(e, Event::PeerConnected { .. })), 1);
}

#[test]
fn a_stop_closes_every_connection_and_admits_nobody_any_more() {
    let mut world = World::new();
    let alice = world.node("alice", &address(0), |_| {});
    let peer = world.peer(alice, "10.9.0.1:1", "carol", 2);
    world.command(alice, Command::Stop);
    assert!(world.is_closed(peer));
    assert_eq!(world.hear(peer).map(|(kind, _)| kind), Some(Kind::Error));
    assert!(world.stranger(alice, "10.9.0.2:1").is_none());
}

/// A fuzzer found the connections above their limit: while a dial was under way, strangers took every place that was left,
/// and then the dial was answered.
#[test]
fn a_dial_under_way_keeps_its_place() {
    let mut world = World::new();
    world.black_holes.push("9.9.9.9:8333".parse().unwrap());
    let node = world.node("a", "45.1.1.1:8333", |config| {
        config.admission.connections_max = 3;
        config.admission.inbound_max = 3;
        config.outbound = 1;
        config.seeds = vec!["9.9.9.9:8333".parse().unwrap()];
    });
    assert!(world.stranger(node, "46.1.1.1:9000").is_some());
    assert!(world.stranger(node, "47.1.1.1:9000").is_some());
    assert!(world.stranger(node, "48.1.1.1:9000").is_none(), "the third place is for whoever is dialed");
}
