//! A node that runs out of descriptors, or whose proxy is down, and that has what it lacks again.

use std::io::ErrorKind;
use std::time::Duration;

use spacetime_network::close::{CloseReason, ProxyFault};
use spacetime_network::proto::Event;
use spacetime_network::wire::Message;

use crate::world::World;

const ALICE: &str = "45.1.1.1:8333";
const BOB: &str = "46.1.1.1:8333";
const KEPT: &str = "48.1.1.1:8333";

/// Ten dials a second went on as long as there was no descriptor, each with a line of its own.
#[test]
fn without_descriptors_all_dials_pause_together_no_address_pays_and_it_is_said_once_and_when_it_is_over() {
    all_dials_pause(CloseReason::LocalResource(ErrorKind::Other));
}

#[test]
fn while_the_proxy_is_down_it_is_the_same() {
    all_dials_pause(CloseReason::Proxy(ProxyFault::Unreachable(ErrorKind::ConnectionRefused)));
    all_dials_pause(CloseReason::Proxy(ProxyFault::Silent));
}

fn all_dials_pause(reason: CloseReason) {
    let mut world = World::new();
    world.no_dial = Some(reason);
    let bob = world.node("bob", BOB, |c| c.outbound = 0);
    let kept = world.node("kept", KEPT, |c| c.outbound = 0);
    let alice = world.node("alice", ALICE, |c| {
        c.seeds = vec![BOB.parse().unwrap()];
        c.connect = vec![KEPT.parse().unwrap()];
    });
    for n in 0..10 {
        let gossip = world.peer(alice, &format!("47.{n}.1.1:1"), &format!("gossip-{n}"), 2);
        let told = (0..4).map(|i| format!("5{n}.{i}.1.1:7").parse().unwrap()).collect();
        world.say(gossip, &Message::Peers(told));
    }
    let dials = |world: &World| world.count(alice, |e| matches!(e, Event::DialFailed { .. }));
    world.advance(Duration::from_secs(600));
    let first = dials(&world);
    assert!((35..=70).contains(&first), "{first} dials in ten minutes, where there were 6,000");
    let paused = |world: &World, over: bool| {
        world.count(alice, |e| matches!(e, Event::DialsPaused { reason } if reason.is_none() == over))
    };
    assert_eq!((paused(&world, false), paused(&world, true)), (1, 0));
    let blamed = world.get(alice).book().entries().filter(|(_, entry)| entry.failures > 0).count();
    assert_eq!(blamed, 0, "an address is not worse for what we lack");

    world.no_dial = None;
    world.advance(Duration::from_secs(20));
    assert_eq!((paused(&world, false), paused(&world, true)), (1, 1));
    for node in [bob, kept] {
        assert_eq!(world.get(node).connected().filter(|peer| peer.node_id == "alice").count(), 1);
    }
}
