//! A node that dials through a proxy: names that nobody looks up, and what is told and believed of addresses.

use std::net::SocketAddr;
use std::time::Duration;

use spacetime_network::address::stand_in;
use spacetime_network::close::{CloseReason, ProxyFault};
use spacetime_network::proto::{Command, Config, Event};
use spacetime_network::wire::Message;

use crate::world::{World, introduction};

const ALICE: &str = "45.1.1.1:8333";
const BOB: &str = "46.1.1.1:8333";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// A node whose dials go through a proxy, from its first one on.
fn proxied(world: &mut World, change: impl FnOnce(&mut Config)) -> usize {
    world.proxied.insert(world.parties.len());
    world.node("alice", ALICE, change)
}

fn peers(world: &World, node: usize) -> Vec<(String, SocketAddr)> {
    world.get(node).connected().map(|peer| (peer.node_id, peer.remote)).collect()
}

#[test]
fn a_name_leads_to_what_stands_for_it_and_nobody_looks_it_up() {
    for is_seed in [false, true] {
        let mut world = World::new();
        let bob = world.node("bob", BOB, |c| c.outbound = 0);
        let there = stand_in("bob.onion", 8333, 0);
        world.alias(&there.to_string(), bob);
        let alice = proxied(&mut world, |c| {
            let names = if is_seed { &mut c.seed_names } else { &mut c.connect_names };
            names.push("bob.onion:8333".parse().unwrap());
        });
        world.advance(Duration::from_secs(60));
        assert_eq!(peers(&world, alice), [("bob".to_owned(), there)]);
        assert_eq!(world.lookups, []);
        assert_eq!(world.get(alice).book().len(), 0, "nobody but us is there by that address");
        // It listens, asks for addresses and is connected for a while, and nobody hears where it is.
        world.advance(Duration::from_secs(600));
        assert_eq!(world.get(bob).book().len(), 0);
        assert_eq!(world.get(bob).connected().filter(|peer| peer.node_id == "alice").count(), 1);
    }
}

#[test]
fn an_onion_service_is_not_looked_up_without_a_proxy_and_it_is_said_what_is_needed() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |c| c.connect_names.push("bob.onion:8333".parse().unwrap()));
    world.advance(Duration::from_secs(60));
    let told = |event: &Event| matches!(event, Event::NameResolved { addresses: Err(why), .. } if why.contains("give a proxy"));
    assert!(world.count(alice, told) > 0);
    assert_eq!(world.lookups, []);
    // No name server can make us dial what stands for a name elsewhere.
    world.command(alice, Command::ConnectName("c.example:7".parse().unwrap()));
    let answer = Ok(vec![stand_in("bob.onion", 8333, 0)]);
    world.command(alice, Command::Resolved("c.example:7".parse().unwrap(), answer));
    let refused =
        |event: &Event| matches!(event, Event::NameResolved { addresses: Err(why), .. } if why.contains("no address"));
    assert_eq!(world.count(alice, refused), 1);
}

#[test]
fn who_comes_from_nearby_sends_the_proxy_to_no_machine_of_its_own_network() {
    let mut world = World::new();
    let alice = proxied(&mut world, |_| ());
    let near = ["127.0.0.1:22", "10.0.0.1:22", "240.1.2.3:22"].map(at);
    let visitor = world.stranger(alice, "127.0.0.1:5000").unwrap();
    world.say(visitor, &introduction("visitor", 2, 22));
    world.say(visitor, &Message::Peers(near.to_vec()));
    world.say(visitor, &Message::Peers(vec![at("47.1.1.1:7")]));
    world.advance(Duration::from_secs(120));
    let dialed = |address: SocketAddr| move |event: &Event| matches!(event, Event::DialFailed { remote, .. } if *remote == address);
    for address in near {
        assert_eq!(world.count(alice, dialed(address)), 0, "{address}");
    }
    assert!(world.count(alice, dialed(at("47.1.1.1:7"))) > 0, "of the internet it is believed");
}

#[test]
fn a_peer_that_the_proxy_does_not_reach_is_tried_again_and_not_blamed_for_what_the_proxy_does() {
    for (fault, fails) in [(ProxyFault::Failed, false), (ProxyFault::NotAllowed, false), (ProxyFault::Refused, true)] {
        let mut world = World::new();
        world.no_dial = Some(CloseReason::Proxy(fault));
        let bob = world.node("bob", BOB, |c| c.outbound = 0);
        let alice = proxied(&mut world, |c| c.connect.push(at(BOB)));
        let visitor = world.peer(alice, "48.1.1.1:5000", "visitor", 2);
        world.say(visitor, &Message::Peers(vec![at("47.1.1.1:7")]));
        world.advance(Duration::from_secs(120));
        let entry = world.get(alice).book().get(at("47.1.1.1:7"));
        assert_eq!(entry.is_none_or(|entry| entry.failures > 0), fails, "{fault:?}: {entry:?}");
        assert_eq!(world.count(alice, |event| matches!(event, Event::DialsPaused { .. })), 0, "{fault:?}");
        world.no_dial = None;
        world.advance(Duration::from_secs(60));
        assert_eq!(peers(&world, bob).len(), 1, "{fault:?}");
    }
}
