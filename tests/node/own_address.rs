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
        let from_hub = |e: &Event| matches!(e, Event::PeerDisconnected { remote, .. } if *remote == at(HUB));
        assert_eq!(world.count(newcomer, from_hub), 0, "{id}");
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

/// A hub, one that it knows, and one inside a network of its own who says to be reached at two other addresses.
fn one_behind_a_router(world: &mut World) -> [usize; 3] {
    let hub = world.node("hub", HUB, |c| c.outbound = 0);
    let bob = world.node("bob", "46.1.1.1:8333", |c| (c.outbound, c.connect) = (0, vec![at(HUB)]));
    world.advance(Duration::from_secs(5));
    let external = ["50.9.9.9:9000", "[2a00:9::9]:0"];
    let inside = world.node("inside", "47.1.1.1:8333", |c| {
        (c.outbound, c.connect, c.external) = (0, vec![at(HUB)], external.map(at).to_vec());
    });
    [hub, bob, inside]
}

#[test]
fn what_the_operator_says_of_our_external_address_reaches_the_peers_of_our_peers_when_it_was_reached() {
    let mut world = World::new();
    let [hub, bob, inside] = one_behind_a_router(&mut world);
    let external = ["50.9.9.9:9000", "[2a00:9::9]:8333"];
    external.iter().for_each(|address| world.alias(address, inside));
    world.advance(Duration::from_secs(30));
    for address in external.map(at) {
        assert!(world.get(hub).book().get(address).is_some_and(|entry| entry.is_found()), "{address} for the hub");
        assert!(world.get(bob).book().get(address).is_some(), "{address} for bob");
        assert!(world.get(inside).book().get(address).is_none(), "{address} is not told to who lives there");
    }
    assert!(told_by(&mut world, hub, "78.1.1.1:1").contains(&at(external[0])));
    let stands = |e: &Event| matches!(e, Event::PeerDisconnected { remote, .. } if *remote == at(HUB));
    assert_eq!(world.count(inside, stands), 0, "a look does not end what stands");
    let ports =
        world.get(hub).connected().filter(|peer| peer.node_id == "inside").map(|peer| peer.address.unwrap().port());
    assert_eq!(ports.collect::<Vec<_>>(), [9000], "the forwarded port is the one to dial");
}

/// A mistyped `--external` went through the whole network, and everybody dialed it.
#[test]
fn a_false_external_address_is_heard_by_the_peers_it_is_told_to_and_goes_no_further() {
    let mut world = World::new();
    let [hub, bob, _] = one_behind_a_router(&mut world);
    world.advance(10 * MINUTE);
    for address in ["50.9.9.9:9000", "[2a00:9::9]:8333"].map(at) {
        assert!(world.get(hub).book().get(address).is_some_and(|entry| !entry.is_found()), "{address} for the hub");
        assert!(world.get(bob).book().get(address).is_none(), "{address} for bob");
        let dials = |event: &Event| matches!(event, Event::DialFailed { remote, .. } if *remote == address);
        assert_eq!(world.count(hub, dials), 1, "the hub has looked");
    }
    let told = told_by(&mut world, hub, "78.1.1.1:1");
    assert!(told.contains(&at("46.1.1.1:8333")) && told.iter().all(|address| address.port() == 8333), "{told:?}");
    assert!(told.iter().all(SocketAddr::is_ipv4), "{told:?}");
}

/// Somebody waits there and says nothing, or closes: a server of another kind, which nobody shall be sent to.
#[test]
fn an_address_of_a_server_that_is_no_node_goes_no_further() {
    let mut world = World::new();
    world.traps = Some(|address| address.ip().to_string().starts_with("50."));
    let hub = world.node("hub", HUB, |c| c.outbound = 0);
    let bob = world.node("bob", "46.1.1.1:8333", |c| (c.outbound, c.connect) = (0, vec![at(HUB)]));
    world.advance(Duration::from_secs(30));
    let liar = world.peer(hub, "77.1.1.1:5000", "a-liar", 2);
    let victims = ["50.1.1.1:443", "50.2.1.1:443"].map(at);
    world.say(liar, &Message::Peers(victims.to_vec()));
    world.advance(Duration::from_secs(5));
    let first = world.trapped.pop().expect("the hub looks");
    world.hang_up(first);
    world.advance(MINUTE);
    assert_eq!(world.trapped.len(), 1, "the other one is silent");
    for victim in victims {
        assert!(world.get(hub).book().get(victim).is_some_and(|entry| !entry.is_found()), "{victim}");
        assert!(world.get(bob).book().get(victim).is_none(), "{victim}");
        assert!(!told_by(&mut world, hub, "78.1.1.1:1").contains(&victim), "{victim}");
    }
}

#[test]
fn what_was_found_is_told_to_others_and_not_back_to_who_told_it() {
    let mut world = World::new();
    let hub = world.node("hub", HUB, |c| c.outbound = 0);
    let new = world.node("new", "50.1.1.1:8333", |c| c.outbound = 0);
    let teller = world.peer(hub, "77.1.1.1:5000", "teller", 2);
    let other = world.peer(hub, "79.1.1.1:5000", "other", 2);
    world.say(teller, &Message::Peers(vec![at("50.1.1.1:8333")]));
    assert_eq!(world.hear_all(other), [], "nobody was there yet");
    world.advance(Duration::from_secs(20));
    assert!(world.hear_all(other).contains(&Kind::Peers));
    assert!(!world.hear_all(teller).contains(&Kind::Peers));
    assert_eq!(world.get(new).connected().count(), 0, "a look is no connection that stands");
}

/// With one word, told by as many as he likes, somebody had every node dial all ports of a victim.
#[test]
fn the_word_of_strangers_has_a_neighbourhood_dialed_once_in_ten_minutes() {
    let mut world = World::new();
    let hub = world.node("hub", HUB, |c| c.outbound = 0);
    for n in 0..20u16 {
        let liar = world.peer(hub, &format!("77.{n}.1.1:5000"), &format!("liar-{n}"), 2);
        let ports = (0..10).map(|port| SocketAddr::from(([50, 1, 1, n as u8], 1 + 10 * n + port)));
        world.say(liar, &Message::Peers(ports.collect()));
        world.advance(Duration::from_secs(20));
    }
    assert_eq!(world.count(hub, |event| matches!(event, Event::DialFailed { .. })), 1);
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
