//! Each way of being clumsy by itself, often: the network does its work all the same.
#![cfg(feature = "sim")]

use std::time::Duration;

use spacetime_network::buggify::{Buggify, Point};
use spacetime_network::chain::Transaction;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::proto::{Command, Config};

use crate::world::World;

const MINUTE: Duration = Duration::from_secs(60);

/// The points of the node; the others are the driver's.
const POINTS: [Point; 6] =
    [Point::WorstSyncPeer, Point::DelaySave, Point::EvictNow, Point::RelayLater, Point::FewHeaders, Point::TimeoutNow];

fn address(i: usize) -> String {
    format!("10.{i}.0.1:8333")
}

/// Five nodes that have met; the last one starts late and has to catch up.
fn network(point: Point) -> (World, Vec<usize>) {
    let mut world = World::new();
    let settings = |i: usize| {
        move |config: &mut Config| {
            config.allow_private = true;
            config.seeds = (0..i.min(3)).map(|seed| address(seed).parse().unwrap()).collect();
        }
    };
    let mut nodes: Vec<usize> = (0..4).map(|i| world.node(&format!("node-{i}"), &address(i), settings(i))).collect();
    for node in &nodes {
        world.buggify(*node, Buggify::only(*node as u64, &[point]));
    }
    world.advance(MINUTE);
    for _ in 0..150 {
        world.mine(nodes[0]);
    }
    nodes.push(world.node("node-4", &address(4), settings(4)));
    world.buggify(nodes[4], Buggify::only(99, &[point]));
    (world, nodes)
}

#[test]
fn a_clumsy_network_catches_up_and_passes_on_what_it_hears() {
    for point in POINTS {
        let (mut world, nodes) = network(point);
        world.advance(10 * MINUTE);
        for _ in 0..80 {
            world.wall(|party| u64::from(party == nodes[4]));
            for _ in 0..3 {
                world.mine(nodes[0]);
            }
            world.unwall();
            world.advance(2 * MINUTE);
        }
        let tip = world.get(nodes[0]).chain().best();
        for round in 0..100usize {
            let nonce = 1 + round as u64;
            let payment = Transaction { sender: "ann", recipient: "bob", amount: 5, time: world.now.unix, nonce };
            world.command(nodes[round % 5], Command::SubmitTransaction(payment.encode().unwrap()));
            world.advance(Duration::from_secs(2));
        }
        world.advance(MINUTE);
        for node in &nodes {
            let state = world.get(*node);
            assert_eq!(state.chain().best(), tip, "{}: node {node}", point.label());
            assert_eq!(state.chain().pool().ids().count(), 100, "{}: node {node}", point.label());
            assert_eq!(state.peers().connected_peers().count(), 4, "{}: node {node}", point.label());
            assert_eq!(state.audit(), Ok(()));
        }
        assert_eq!(world.quarrels, [], "{}", point.label());
        let hits: u64 = nodes.iter().map(|node| world.get(*node).buggify_hits().values().sum::<u64>()).sum();
        assert!(hits > 0, "{} was never hit", point.label());
    }
}
