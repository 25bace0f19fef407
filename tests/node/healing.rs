//! After an outage the network grows together again, soon and without a flood of dials.

use std::time::Duration;

use spacetime_network::proto::{Command, Event};

use crate::world::World;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

fn address(i: usize) -> String {
    format!("10.{i}.0.1:8333")
}

/// Nodes that want `outbound` connections, all of which know the first one.
fn network(count: usize, outbound: usize) -> (World, Vec<usize>) {
    let mut world = World::new();
    let nodes = (0..count)
        .map(|i| {
            world.node(&format!("node-{i}"), &address(i), |config| {
                config.allow_private = true;
                config.outbound = outbound;
                config.seeds = if i == 0 { vec![] } else { vec![address(0).parse().unwrap()] };
            })
        })
        .collect();
    world.advance(2 * MINUTE);
    (world, nodes)
}

/// The rule of the healed network: as many outbound connections as wanted, or one to everybody.
#[track_caller]
fn assert_whole(world: &World, nodes: &[usize], outbound: usize) {
    for node in nodes {
        let peers: Vec<_> = world.get(*node).connected().collect();
        let dialed = peers.iter().filter(|peer| peer.outbound).count();
        assert!(
            dialed >= outbound || peers.len() + 1 >= nodes.len(),
            "node {node}: {dialed} of {} by dialing",
            peers.len()
        );
        let banned = world.count(*node, |event| matches!(event, Event::Blacklisted { .. }));
        assert_eq!(banned, 0, "node {node} blames somebody");
    }
}

#[test]
fn a_minute_after_a_local_outage_everything_is_as_before() {
    for outage in [MINUTE, HOUR] {
        let (mut world, nodes) = network(12, 8);
        assert_whole(&world, &nodes, 8);
        world.wall(|party| u64::from(party == 5));
        world.advance(outage);
        assert_eq!(world.get(nodes[5]).connected().count(), 0);
        world.unwall();
        world.advance(MINUTE);
        assert_whole(&world, &nodes, 8);
    }
}

#[test]
fn three_days_without_a_network_are_over_in_a_minute_too() {
    let (mut world, nodes) = network(4, 8);
    world.wall(|party| u64::from(party == 2));
    world.advance(72 * HOUR);
    assert_eq!(world.get(nodes[2]).connected().count(), 0);
    let failed = world.count(nodes[2], |event| matches!(event, Event::DialFailed { .. }));
    assert!(failed <= 3 * 72 * 3600 / 16 + 100, "{failed} dials of three addresses in three days");
    world.unwall();
    world.advance(MINUTE);
    assert_whole(&world, &nodes, 8);
}

/// Each half still had peers, so that each failed dial into the other half counted: an hour later its addresses rested for up to
/// an hour, and whoever had met only one of his own half stayed with him.
#[test]
fn two_halves_of_a_network_find_together_within_a_minute() {
    let (mut world, nodes) = network(12, 8);
    world.wall(|party| party as u64 % 2);
    world.advance(3 * HOUR);
    world.unwall();
    world.advance(MINUTE);
    assert_whole(&world, &nodes, 8);
}

#[test]
fn the_one_of_twenty_who_is_still_there_is_found_within_a_minute() {
    let (mut world, nodes) = network(21, 20);
    let victim = nodes[20];
    assert_eq!(world.get(victim).connected().count(), 20);
    world.wall(|party| u64::from(party == victim));
    world.advance(HOUR);
    world.wall(|party| u64::from(party == victim || party == nodes[7]));
    world.advance(MINUTE);
    let found: Vec<String> = world.get(victim).connected().map(|peer| peer.node_id).collect();
    assert_eq!(found, ["node-7"]);
}

/// The pool did not wait for an address whose node was connected, and nobody told it when a node left that had come by itself. Who
/// was always reached first stayed alone for good.
#[test]
fn a_node_that_came_by_itself_and_left_is_dialed() {
    let mut world = World::new();
    let bob = world.node("bob", &address(1), |_| {});
    let alice = world.node("alice", &address(0), |config| {
        config.connect = vec![address(1).parse().unwrap()];
        config.outbound = 0;
    });
    world.advance(MINUTE);
    assert!(!world.get(bob).connected().next().unwrap().outbound);
    world.command(alice, Command::Disconnect(address(1).parse().unwrap()));
    assert_eq!(world.get(bob).connected().count(), 0);
    world.advance(MINUTE);
    assert!(world.get(bob).connected().next().unwrap().outbound);
}

/// Addresses were only asked for from peers that the node had dialed. Who had dialed nobody asked nobody.
#[test]
fn who_has_no_peer_of_his_own_asks_whoever_came() {
    let mut world = World::new();
    let bob = world.node("bob", &address(1), |_| {});
    let carol = world.node("carol", &address(2), |_| {});
    let _alice = world.node("alice", &address(0), |config| {
        config.connect = vec![address(2).parse().unwrap(), address(1).parse().unwrap()];
    });
    world.advance(MINUTE);
    let names: Vec<String> = world.get(bob).connected().map(|peer| peer.node_id).collect();
    assert_eq!(names, ["alice", "carol"]);
    assert_eq!(world.get(carol).connected().count(), 2);
}

/// Everybody who is reached from the first node.
fn reached(world: &World, nodes: &[usize]) -> usize {
    let mut waiting = vec![nodes[0]];
    let mut reached = std::collections::BTreeSet::from([nodes[0]]);
    while let Some(at) = waiting.pop() {
        for peer in world.get(at).connected() {
            let index: usize = peer.node_id.trim_start_matches("node-").parse().unwrap();
            if reached.insert(nodes[index]) {
                waiting.push(nodes[index]);
            }
        }
    }
    reached.len()
}

/// Found by simulation: a network came out of its troubles in two parts, six nodes and three, in each of which everybody had the
/// connections he wanted. Nobody looked further, and the parts never met.
#[test]
fn two_halves_in_which_everybody_is_content_find_each_other() {
    let mut world = World::new();
    let nodes: Vec<usize> = (0..40)
        .map(|i| {
            world.node(&format!("node-{i}"), &address(i), |config| {
                config.allow_private = true;
                config.outbound = 2;
                config.seeds = (1..4).map(|next| address((i + next) % 40).parse().unwrap()).collect();
            })
        })
        .collect();
    world.advance(2 * MINUTE);
    world.wall(|party| u64::from(party % 2 == 0));
    world.advance(10 * MINUTE);
    for node in &nodes {
        let dialed = world.get(*node).connected().filter(|peer| peer.outbound).count();
        assert!(dialed >= 2, "node {node} is not content, so it looks further anyway: {dialed}");
    }
    assert_eq!(reached(&world, &nodes), 20);
    world.unwall();
    world.advance(Duration::from_secs(75));
    assert_eq!(reached(&world, &nodes), 40);
}
