//! Where a node says that it listens: what is true for each peer, and what others are told of it.

use std::net::SocketAddr;
use std::time::Duration;

use spacetime_network::proto::Event;
use spacetime_network::wire::message::GetPeers;
use spacetime_network::wire::{Kind, Message};

use crate::world::{World, introduction};

const HUB: &str = "45.1.1.1:8333";
const MINUTE: Duration = Duration::from_secs(60);

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// What a node answers to somebody who asks it for addresses.
fn told_by(world: &mut World, node: usize, asker: &str) -> Vec<SocketAddr> {
    let peer = world.peer(node, asker, asker, 2);
    world.hear_all(peer);
    world.say(peer, &Message::GetPeers(GetPeers::All));
    let answer = std::iter::from_fn(|| world.hear(peer)).find(|(kind, _)| *kind == Kind::Peers);
    world.hang_up(peer);
    let (kind, payload) = answer.expect("an answer");
    match Message::decode(kind, &payload) {
        Ok(Message::Peers(told)) => told,
        other => panic!("{other:?}"),
    }
}

/// A listener for one machine only, a router between: all whom we told dialed in vain.
#[test]
fn an_announced_address_at_which_nobody_listens_is_told_to_nobody() {
    let mut world = World::new();
    let hub = world.node("hub", HUB, |_| {});
    let bob = world.node("bob", "46.1.1.1:8333", |c| c.connect = vec![at(HUB)]);
    world.advance(Duration::from_secs(30));
    let stranger = world.stranger(hub, "77.1.1.1:5000").unwrap();
    world.say(stranger, &introduction("stranger", 2, 9000));
    world.advance(MINUTE / 2);
    assert_eq!(told_by(&mut world, hub, "78.1.1.1:1"), [at("46.1.1.1:8333")]);
    assert!(world.get(bob).book().get(at("77.1.1.1:9000")).is_none());
    let dials = |event: &Event| matches!(event, Event::DialFailed { remote, .. } if *remote == at("77.1.1.1:9000"));
    assert!((1..=3).contains(&world.count(hub, dials)), "it was dialed back");
}

#[test]
fn an_announced_address_that_answers_is_told_and_the_connection_that_stood_stays() {
    for id in ["a-newcomer", "z-newcomer"] {
        let mut world = World::new();
        let hub = world.node("hub", HUB, |_| {});
        let bob = world.node("bob", "46.1.1.1:8333", |c| (c.outbound, c.connect) = (0, vec![at(HUB)]));
        world.advance(Duration::from_secs(30));
        let newcomer = world.node(id, "47.1.1.1:8333", |c| (c.outbound, c.connect) = (0, vec![at(HUB)]));
        world.advance(Duration::from_secs(25));
        assert!(told_by(&mut world, hub, "78.1.1.1:1").contains(&at("47.1.1.1:8333")), "{id}");
        assert!(world.get(bob).book().get(at("47.1.1.1:8333")).is_some(), "{id} is news for bob");
        assert_eq!(world.count(newcomer, |e| matches!(e, Event::PeerDisconnected { .. })), 0, "{id}");
        assert_eq!(world.get(newcomer).connected().filter(|peer| peer.outbound).count(), 1);
    }
}

#[test]
fn who_has_left_for_good_is_not_told_for_ever() {
    let mut world = World::new();
    let hub = world.node("hub", HUB, |c| c.outbound = 1);
    world.node("bob", "46.1.1.1:8333", |c| (c.outbound, c.connect) = (0, vec![at(HUB)]));
    let guest = world.node("guest", "47.1.1.1:8333", |c| (c.outbound, c.connect) = (0, vec![at(HUB)]));
    world.advance(6 * 60 * MINUTE);
    assert!(told_by(&mut world, hub, "78.1.1.1:1").contains(&at("47.1.1.1:8333")), "as long as it is there");
    world.wall(|party| u64::from(party == guest));
    world.advance(4 * 60 * MINUTE);
    let told = told_by(&mut world, hub, "79.1.1.1:1");
    assert_eq!(told, [at("46.1.1.1:8333")], "and not hours later");
}

/// With two listeners of two families everybody was told the port of the first.
#[test]
fn each_peer_is_told_the_port_that_is_true_for_its_connection() {
    let mut world = World::new();
    let listeners = ["0.0.0.0:8001", "[::]:8002"];
    for (ours, hub, port) in [("45.2.2.2:8001", HUB, Some(8001)), ("[2a00:2::2]:8002", "[2a00:1::1]:8333", Some(8002))]
    {
        let there = world.node(&format!("hub of {ours}"), hub, |c| c.outbound = 0);
        let here = world.node(&format!("node at {ours}"), ours, |c| c.outbound = 0);
        world.listen(here, &listeners);
        world.command(here, spacetime_network::proto::Command::Connect(at(hub)));
        world.advance(Duration::from_secs(5));
        let seen: Vec<Option<u16>> = world.get(there).connected().map(|peer| peer.address.map(|a| a.port())).collect();
        assert_eq!(seen, [port]);
    }
    let hub = world.node("far", "48.1.1.1:8333", |c| c.outbound = 0);
    let near = world.node("near", "45.3.3.3:9", |c| c.outbound = 0);
    world.listen(near, &["127.0.0.1:9"]);
    world.command(near, spacetime_network::proto::Command::Connect(at("48.1.1.1:8333")));
    world.advance(Duration::from_secs(5));
    assert!(world.get(hub).connected().all(|peer| peer.address.is_none()), "nobody else can reach 127.0.0.1");
}

#[test]
fn what_the_operator_says_of_our_external_address_reaches_the_peers_of_our_peers() {
    let mut world = World::new();
    let hub = world.node("hub", HUB, |c| c.outbound = 0);
    let bob = world.node("bob", "46.1.1.1:8333", |c| (c.outbound, c.connect) = (0, vec![at(HUB)]));
    world.advance(Duration::from_secs(5));
    let external = ["50.9.9.9:9000", "[2a00:9::9]:0"];
    world.node("inside", "47.1.1.1:8333", |c| {
        (c.outbound, c.connect, c.external) = (0, vec![at(HUB)], external.map(at).to_vec());
    });
    world.advance(Duration::from_secs(5));
    for node in [hub, bob] {
        for address in ["50.9.9.9:9000", "[2a00:9::9]:8333"] {
            assert!(world.get(node).book().get(at(address)).is_some(), "{address}");
        }
    }
    let ports =
        world.get(hub).connected().filter(|peer| peer.node_id == "inside").map(|peer| peer.address.unwrap().port());
    assert_eq!(ports.collect::<Vec<_>>(), [9000], "the forwarded port is the one to dial");
}

/// A hub that keeps no outbound connections of its own choice dialed nobody back, and so told nobody of anybody.
#[test]
fn a_node_that_keeps_no_outbound_connections_dials_back_all_the_same_and_passes_on_what_it_has_reached() {
    let mut world = World::new();
    let hub = world.node("hub", HUB, |c| c.outbound = 0);
    let bob = world.node("bob", "46.1.1.1:8333", |c| (c.outbound, c.connect) = (0, vec![at(HUB)]));
    world.advance(Duration::from_secs(30));
    world.node("newcomer", "47.1.1.1:8333", |c| (c.outbound, c.connect) = (0, vec![at(HUB)]));
    let liar = world.stranger(hub, "77.1.1.1:5000").unwrap();
    world.say(liar, &introduction("liar", 2, 9000));
    world.advance(MINUTE);
    assert!(world.get(bob).book().get(at("47.1.1.1:8333")).is_some(), "what answered is news for bob");
    assert!(world.get(bob).book().get(at("77.1.1.1:9000")).is_none(), "what did not is not");
    let told = told_by(&mut world, hub, "78.1.1.1:1");
    assert!(told.contains(&at("47.1.1.1:8333")) && !told.contains(&at("77.1.1.1:9000")), "{told:?}");
    assert!(world.get(hub).connected().all(|peer| !peer.outbound), "a look is no connection that it keeps");
}
