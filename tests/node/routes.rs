//! Parts of the world that a machine has no way to.

use std::net::SocketAddr;
use std::time::Duration;

use spacetime_network::proto::Event;
use spacetime_network::wire::Message;

use crate::world::World;

const ALICE: &str = "45.1.1.1:8333";
const BOB: &str = "46.1.1.1:8333";
const SIX: &str = "[2a00:1::1]:8333";

/// IPv6 was switched off: 60 dials in 30 s, for ever, each with the advice to free files and memory.
#[test]
fn without_ipv6_its_addresses_are_tried_rarely_nobody_is_forgotten_for_it_and_it_is_said_once() {
    let mut world = World::new();
    world.no_ipv6 = true;
    world.node("bob", BOB, |_| {});
    let six = world.node("six", SIX, |c| c.outbound = 0);
    let alice = world.node("alice", ALICE, |c| c.seeds = vec![BOB.parse().unwrap()]);
    world.advance(Duration::from_secs(5));
    for n in 0..10 {
        // Each is believed a few.
        let gossip = world.peer(alice, &format!("47.{n}.1.1:1"), &format!("gossip-{n}"), 2);
        let mut told: Vec<SocketAddr> =
            (0..4).map(|i| format!("[2a00:{}:{i}::1]:7", 16 + n).parse().unwrap()).collect();
        told.push(SIX.parse().unwrap());
        world.say(gossip, &Message::Peers(told));
    }
    let heard = world.get(alice).book().len();
    assert!(heard > 20, "{heard}");
    let dials =
        |world: &World| world.count(alice, |e| matches!(e, Event::DialFailed { remote, .. } if remote.is_ipv6()));
    world.advance(Duration::from_secs(150));
    let first = dials(&world);
    assert!((4..=10).contains(&first), "{first} dials in 150 s, where there were 300");
    world.advance(Duration::from_secs(3600));
    assert!(dials(&world) - first <= 12, "{} in the next hour", dials(&world) - first);
    assert_eq!(world.count(alice, |e| matches!(e, Event::RouteChanged { closed: Some(_), .. })), 1);
    assert_eq!(world.get(alice).book().len(), heard, "no address pays for it");
    world.no_ipv6 = false;
    world.alias("[2a00:16::1]:7", six);
    world.advance(Duration::from_secs(1200));
    assert_eq!(world.count(alice, |e| matches!(e, Event::RouteChanged { closed: None, .. })), 1);
    assert!(world.get(alice).connected().any(|peer| peer.node_id == "six"), "and what is back is found");
}
