//! Nodes that the operator named: by names that lead to several addresses, move or lead nowhere, and by two addresses of one.

use std::net::SocketAddr;
use std::time::Duration;

use spacetime_network::close::CloseReason;
use spacetime_network::proto::peer::PeerName;
use spacetime_network::proto::{Command, Event};

use crate::world::World;

const ALICE: &str = "10.0.1.1:8333";
const BOB: &str = "10.0.2.1:8333";
const NOBODY: &str = "10.0.9.1:8333";

fn name(text: &str) -> PeerName {
    text.parse().unwrap()
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A node that is to keep a connection to whoever has this name, and has nothing else to dial. Nobody can dial it.
fn seeker(world: &mut World, whom: &str) -> usize {
    let node = world.node("seeker", "10.0.3.1:8333", |config| {
        config.connect_names = vec![name(whom)];
        (config.outbound, config.listening_port) = (0, 0);
    });
    world.advance(Duration::from_millis(1));
    node
}

fn answer(world: &mut World, node: usize, whom: &str, found: &[&str]) {
    world.command(node, Command::Resolved(name(whom), Ok(addresses(found))));
}

fn lookups(world: &World) -> usize {
    world.lookups.len()
}

fn peers(world: &World, node: usize) -> Vec<String> {
    world.get(node).connected().map(|peer| peer.node_id).collect()
}

/// Once only the first address was ever tried: `localhost` was `::1` alone, and a node on 127.0.0.1 was never reached.
#[test]
fn every_address_of_a_name_is_tried_and_one_connection_is_enough() {
    let mut world = World::new();
    world.node("alice", ALICE, |_| ());
    world.node("bob", BOB, |_| ());
    let us = seeker(&mut world, "friends.example:8333");
    assert_eq!(world.lookups, [(us, name("friends.example:8333"))]);
    answer(&mut world, us, "friends.example:8333", &[NOBODY, "0.0.0.0:8333", BOB, ALICE]);
    let seen = addresses(&[NOBODY, BOB, ALICE]);
    let resolved = Event::NameResolved { name: name("friends.example:8333"), addresses: Ok(seen) };
    assert_eq!(world.count(us, |event| *event == resolved), 1, "what cannot be dialed is left out");
    world.advance(Duration::from_secs(1));
    assert_eq!(peers(&world, us), ["bob"]);
    world.advance(Duration::from_secs(300));
    assert_eq!((peers(&world, us), lookups(&world)), (vec!["bob".to_owned()], 1), "nothing more is asked or dialed");
}

/// Once a name that could not be looked up ended the start, and one that was known at the start was never looked up again.
#[test]
fn an_unknown_name_is_asked_for_again_and_a_name_that_moved_is_found() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| ());
    let us = seeker(&mut world, "roamer.example:8333");
    for asked in 1..=5 {
        assert_eq!(lookups(&world), asked);
        world.command(us, Command::Resolved(name("roamer.example:8333"), Err("no such name".to_owned())));
        world.advance(Duration::from_secs(40));
    }
    let failed =
        |event: &Event| matches!(event, Event::NameResolved { addresses: Err(why), .. } if why == "no such name");
    assert_eq!(world.count(us, failed), 5);
    answer(&mut world, us, "roamer.example:8333", &[ALICE]);
    world.advance(Duration::from_secs(60));
    assert_eq!(peers(&world, us), ["alice"]);

    world.node("bob", BOB, |_| ());
    world.black_holes = addresses(&[ALICE]);
    world.cut_all(alice);
    world.advance(Duration::from_secs(2));
    assert_eq!(lookups(&world), 7, "the next round begins with a lookup");
    answer(&mut world, us, "roamer.example:8333", &[BOB]);
    world.advance(Duration::from_secs(1));
    assert_eq!(peers(&world, us), ["bob"]);
}

/// A resolver that does not answer is no reason to forget what it said before, and holds up nobody else.
#[test]
fn while_a_lookup_hangs_the_old_addresses_are_dialed_and_others_at_once() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| ());
    world.node("bob", BOB, |_| ());
    let us = seeker(&mut world, "alice.example:8333");
    world.command(us, Command::Connect(BOB.parse().unwrap()));
    world.advance(Duration::from_millis(200));
    assert_eq!(peers(&world, us), ["bob"], "whoever has an address waits for no name");
    answer(&mut world, us, "alice.example:8333", &[ALICE]);
    world.advance(Duration::from_secs(60));
    world.cut_all(alice);
    world.advance(Duration::from_secs(4));
    assert_eq!((peers(&world, us).len(), lookups(&world)), (1, 2), "it is asked for, and nobody answers");
    world.advance(Duration::from_secs(3));
    assert_eq!(peers(&world, us).len(), 2, "where it was before, it still is");
}

#[test]
fn a_name_that_is_wanted_no_longer_is_left() {
    let mut world = World::new();
    world.node("alice", ALICE, |_| ());
    let us = seeker(&mut world, "alice.example:8333");
    answer(&mut world, us, "alice.example:8333", &[ALICE]);
    world.advance(Duration::from_secs(1));
    assert_eq!(peers(&world, us), ["alice"]);
    world.command(us, Command::DisconnectName(name("alice.example:8333")));
    world.advance(Duration::from_secs(120));
    assert_eq!((peers(&world, us).len(), lookups(&world)), (0, 1));
    answer(&mut world, us, "alice.example:8333", &[ALICE]);
    world.advance(Duration::from_secs(60));
    assert_eq!(peers(&world, us).len(), 0, "an answer that comes too late leads nowhere");
}

#[test]
fn a_seed_with_a_name_is_looked_up_when_there_is_nobody_else() {
    let mut world = World::new();
    world.node("alice", ALICE, |_| ());
    let us = world.node("us", "10.0.3.1:8333", |config| config.seed_names = vec![name("seed.example:8333")]);
    world.advance(Duration::from_millis(1));
    assert_eq!(lookups(&world), 1);
    answer(&mut world, us, "seed.example:8333", &[NOBODY, ALICE]);
    world.advance(Duration::from_secs(3));
    assert_eq!(peers(&world, us), ["alice"]);
}

/// Once a node that was named by two addresses was dialed at the second one every half a minute, for ever.
#[test]
fn a_node_that_was_named_by_two_addresses_is_dialed_at_the_second_only_rarely() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| ());
    let other = "10.0.1.2:8333";
    world.alias(other, alice);
    let us = world.node("us", "10.0.3.1:8333", |config| {
        config.connect = addresses(&[ALICE, other]);
        config.outbound = 0;
    });
    world.advance(Duration::from_secs(3600));
    assert_eq!(peers(&world, us), ["alice"]);
    let duplicate =
        |event: &Event| matches!(event, Event::HandshakeFailed { reason: CloseReason::DuplicateConnection, .. });
    let tries = world.count(us, duplicate);
    assert!((2..=12).contains(&tries), "{tries} dials in an hour");

    // The first address dies: the second is dialed at once, without waiting for its turn.
    world.black_holes = addresses(&[ALICE]);
    world.cut_all(alice);
    world.advance(Duration::from_secs(31));
    assert_eq!(peers(&world, us), ["alice"]);
}

/// Whoever crashes is connected, for those who have not noticed, when it comes back. For a while that was believed for ten minutes.
#[test]
fn a_node_that_crashed_is_connected_again_when_the_others_have_noticed() {
    for named in [&[ALICE][..], &[ALICE, BOB]] {
        let mut world = World::new();
        let alice = world.node("alice", ALICE, |config| config.outbound = 0);
        world.node("bob", BOB, |config| config.outbound = 0);
        // The connection of the run before, at whose other end nobody is any more.
        world.peer(alice, "10.0.3.1:4000", "us", 2);
        // Longer than a handshake takes: the older of the two stays.
        world.advance(Duration::from_secs(15));
        let us = world.node("us", "10.0.3.1:8333", |config| {
            config.connect = addresses(named);
            config.outbound = 0;
        });
        world.advance(Duration::from_secs(1));
        let refused = |event: &Event| matches!(event, Event::HandshakeFailed { .. });
        assert_eq!(world.count(us, refused), 1, "alice has us already");
        world.advance(Duration::from_secs(120));
        assert_eq!(peers(&world, us).len(), named.len());
    }
}

/// Once it was dropped without a word.
#[test]
fn an_address_at_which_nothing_can_be_dialed_is_refused_with_an_event() {
    let mut world = World::new();
    let us = world.node("us", "10.0.3.1:8333", |_| ());
    let bad = addresses(&[
        "0.0.0.0:1",
        "[::]:1",
        "127.0.0.1:0",
        "224.0.0.1:1",
        "255.255.255.255:1",
        "[ff02::1]:1",
        "[fe80::1]:1",
    ]);
    for address in &bad {
        world.command(us, Command::Connect(*address));
        world.command(us, Command::AddSeed(*address));
        let refused = |event: &Event| *event == Event::AddressRefused { address: *address };
        assert_eq!(world.count(us, refused), 2, "{address}");
    }
    world.command(us, Command::Connect("[fe80::1%2]:1".parse().unwrap()));
    assert_eq!(world.count(us, |event| matches!(event, Event::AddressRefused { .. })), 2 * bad.len());
}

/// Found by a fuzzer: a name that was dropped and named again while it was looked up, or was a seed's too, was looked up once more.
#[test]
fn a_name_is_looked_up_once_until_that_is_answered_whoever_wants_it() {
    let mut world = World::new();
    let us = seeker(&mut world, "friends.example:8333");
    assert_eq!(lookups(&world), 1);
    world.command(us, Command::AddSeedName(name("friends.example:8333")));
    world.advance(Duration::from_secs(1));
    world.command(us, Command::DisconnectName(name("friends.example:8333")));
    world.command(us, Command::ConnectName(name("friends.example:8333")));
    world.advance(Duration::from_secs(60));
    assert_eq!(lookups(&world), 1);
    world.node("alice", ALICE, |_| ());
    answer(&mut world, us, "friends.example:8333", &[ALICE]);
    world.advance(Duration::from_secs(1));
    assert_eq!(peers(&world, us), ["alice"], "the one answer does for all");
}
