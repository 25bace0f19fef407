//! Peers over WebSocket: they have places of their own, and nobody is told where they are.

use std::time::Duration;

use spacetime_network::proto::Event;

use crate::world::{Stranger, World, introduction};

const ALICE: &str = "10.0.0.1:8333";

/// A browser comes and says who it is, and that it listens on a port, which none does.
fn browser(world: &mut World, node: usize, from: &str) -> Option<Stranger> {
    let party = world.parties.len();
    world.browsers.insert(party);
    let Some(browser) = world.stranger(node, from) else {
        world.browsers.remove(&party);
        return None;
    };
    world.say(browser, &introduction(&format!("page-{from}"), 2, 7777));
    Some(browser)
}

fn crowd(world: &mut World, node: usize, count: u32) -> Vec<Stranger> {
    let mut all = Vec::new();
    for n in 0..count {
        all.extend(browser(world, node, &format!("{}.{}.0.1:1", 60 + n / 200, n % 200)));
        world.advance(Duration::from_millis(120));
    }
    all
}

fn here(world: &World, all: &[Stranger]) -> usize {
    all.iter().filter(|one| !world.is_closed(**one)).count()
}

#[test]
fn a_page_with_many_visitors_has_half_of_the_places_and_drives_out_no_node() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let most = world.get(alice).config().admission.web_sockets_max();
    let mut nodes = Vec::new();
    for n in 0..30 {
        nodes.push(world.peer(alice, &format!("30.{n}.0.1:1"), &format!("node-{n}"), 2));
        world.advance(Duration::from_millis(120));
    }
    let browsers = crowd(&mut world, alice, 300);
    assert_eq!(here(&world, &browsers), most);
    assert_eq!(here(&world, &nodes), nodes.len(), "no node gives way to a browser");
    // Each newcomer takes the place of another visitor: the last has one.
    let late = browser(&mut world, alice, "99.0.0.1:1").unwrap();
    assert!(!world.is_closed(late));
    assert_eq!(here(&world, &browsers), most - 1);
    // Nodes find the other half free.
    for n in 0..15 {
        let node = world.peer(alice, &format!("40.{n}.0.1:1"), &format!("later-{n}"), 2);
        assert!(!world.is_closed(node));
        world.advance(Duration::from_millis(120));
    }
}

#[test]
fn what_a_browser_says_of_its_port_is_neither_dialed_nor_told() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    browser(&mut world, alice, "60.1.0.1:5").unwrap();
    assert_eq!(world.count(alice, |event| matches!(event, Event::PeerConnected { .. })), 1);
    world.advance(Duration::from_secs(60));
    assert_eq!(world.get(alice).book().len(), 0, "there is nothing to dial, and nothing to tell");
}
