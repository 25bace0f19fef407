//! Where others see us, what a router forwards, and who is told of it.

use std::net::SocketAddr;
use std::time::Duration;

use spacetime_network::mapping::{Mapped, Mapping, Unmapped, Via};
use spacetime_network::proto::{Command, Event};
use spacetime_network::wire::message::Extension;
use spacetime_network::wire::{Kind, Message};

use crate::introduction::introduction;
use crate::world::World;

const HUB: &str = "45.1.1.1:8333";
const HOME: &str = "47.1.1.1:8333";

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn mapped(external_port: u16) -> Mapping {
    let internal = at("192.168.1.2:8333");
    Mapping::Mapped(Mapped { via: Via::Pcp, internal, external_port, claimed: None, lease: None })
}

/// What the hub answers to a stranger's handshake.
fn answered(asks: bool, version: u8) -> Option<Extension> {
    let mut world = World::new();
    let hub = world.node("hub", HUB, |_| {});
    let stranger = world.stranger(hub, "77.1.1.1:5000").unwrap();
    let Message::Handshake(mut handshake) = introduction("stranger", version, 0) else { unreachable!() };
    if let Some(extension) = &mut handshake.extension {
        extension.features = if asks { Extension::ASKS_ITS_ADDRESS } else { 0 };
    }
    world.say(stranger, &Message::Handshake(handshake));
    let answer = std::iter::from_fn(|| world.hear(stranger)).find(|(kind, _)| *kind == Kind::HandshakeAck);
    let (kind, payload) = answer.expect("an answer");
    match Message::decode(kind, &payload) {
        Ok(Message::HandshakeAck(Some(answer))) => answer.extension,
        other => panic!("{other:?}"),
    }
}

#[test]
fn who_asks_is_told_at_which_address_he_is_seen_and_nobody_else_is() {
    assert_eq!(answered(true, 2).unwrap().seen, Some(at("77.1.1.1:5000")));
    assert_eq!(answered(false, 2).unwrap().seen, None);
    assert_eq!(answered(true, 1), None, "version 1 has no place for it");
}

/// A hub, one that it knows, and one at home who asks, if he does.
fn at_home(asks: bool) -> (World, [usize; 3]) {
    let mut world = World::new();
    let hub = world.node("hub", HUB, |c| c.outbound = 0);
    let bob = world.node("bob", "46.1.1.1:8333", |c| (c.outbound, c.connect) = (0, vec![at(HUB)]));
    let home = world.node("home", HOME, |c| {
        (c.outbound, c.connect, c.asks_its_address) = (0, vec![at(HUB)], asks);
    });
    world.advance(Duration::from_secs(30));
    (world, [hub, bob, home])
}

#[test]
fn those_whom_we_dialed_say_where_they_see_us_when_we_ask() {
    let (world, [_, _, home]) = at_home(true);
    assert_eq!(world.get(home).reach().seen, Some(at(HOME).ip()));
    let told = |event: &Event| matches!(event, Event::SeenAt { address } if *address == at(HOME).ip());
    assert_eq!(world.count(home, told), 1);
    let (world, [_, _, home]) = at_home(false);
    assert_eq!(world.get(home).reach().seen, None);
}

#[test]
fn a_port_that_is_forwarded_later_is_told_to_who_is_connected_once_and_goes_round_when_it_was_reached() {
    let (mut world, [hub, bob, home]) = at_home(true);
    let forwarded = at("47.1.1.1:4000");
    world.alias("47.1.1.1:4000", home);
    world.command(home, Command::PortMapping(Mapping::Asking));
    world.command(home, Command::PortMapping(mapped(4000)));
    world.advance(Duration::from_secs(30));
    assert_eq!(world.get(home).reach().announced(), Some(forwarded));
    assert!(world.get(hub).book().get(forwarded).is_some_and(|entry| entry.is_found()), "the hub has looked");
    assert!(world.get(bob).book().get(forwarded).is_some(), "and told bob");
    let said = |world: &World| world.get(home).counters().sent.get(&Kind::Peers).copied().unwrap_or(0);
    let before = said(&world);
    world.command(home, Command::PortMapping(mapped(4000)));
    world.advance(Duration::from_secs(1));
    assert_eq!(said(&world), before, "once");
}

#[test]
fn a_forwarded_port_is_told_to_nobody_before_we_know_where_we_are_seen() {
    let (mut world, [hub, _, home]) = at_home(false);
    world.command(home, Command::PortMapping(mapped(4000)));
    world.advance(Duration::from_secs(30));
    assert_eq!(world.get(home).reach().announced(), None);
    assert!(world.get(hub).book().get(at("47.1.1.1:4000")).is_none());
}

#[test]
fn who_comes_from_the_internet_makes_us_reachable_until_the_port_is_another() {
    let (mut world, [_, _, home]) = at_home(true);
    world.command(home, Command::PortMapping(mapped(4000)));
    assert!(!world.get(home).reach().is_reached);
    let near = world.peer(home, "192.168.1.9:5000", "neighbour", 2);
    assert!(!world.get(home).reach().is_reached, "from next door anybody comes");
    world.hang_up(near);
    world.peer(home, "77.1.1.1:5000", "stranger", 2);
    assert!(world.get(home).reach().is_reached);
    world.peer(home, "78.1.1.1:5000", "another", 2);
    assert_eq!(world.count(home, |event| matches!(event, Event::Reachable { .. })), 1, "said once");
    world.command(home, Command::PortMapping(mapped(4000)));
    assert!(world.get(home).reach().is_reached, "renewed");
    world.command(home, Command::PortMapping(Mapping::Failed(Unmapped::Silent)));
    assert!(!world.get(home).reach().is_reached);
}
