//! Pools that differ come to agree: newcomers, partitions, reorganisations, full queues.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use spacetime_network::chain::Transaction;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::proto::{Command, Event};
use spacetime_network::time::UnixTime;
use spacetime_network::wire::message::TxPoolRequest;
use spacetime_network::wire::{Hash, Kind, Message};

use crate::world::World;

const ALICE: &str = "10.0.0.1:8333";
const BOB: &str = "10.0.1.1:8333";

fn transaction(nonce: u64) -> Bytes {
    let time = UnixTime::from_millis(1_800_000_000_000);
    let transaction = Transaction { sender: "ann", recipient: "bob", amount: 5, time, nonce };
    transaction.encode().unwrap()
}

fn submit(world: &mut World, node: usize, nonces: std::ops::Range<u64>) {
    for nonce in nonces {
        world.command(node, Command::SubmitTransaction(transaction(nonce)));
    }
}

fn pool(world: &World, node: usize) -> BTreeSet<Hash> {
    world.get(node).chain().pool_ids(usize::MAX).into_iter().collect()
}

fn over_budget(world: &World, node: usize) -> Vec<Kind> {
    let dropped = world.get(node).counters().over_budget.keys().copied();
    dropped.filter(|kind| matches!(kind, Kind::Transaction | Kind::TxPoolRequest | Kind::TxPool)).collect()
}

/// Of 3,000 transactions a newcomer, say a miner, got the 1,000 that it asks for; 2,000 stayed where they were for ever.
#[test]
fn a_newcomer_gets_a_pool_of_three_thousand_whole_at_the_pace_of_the_relay() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    submit(&mut world, alice, 0..3000);
    let bob = world.node("bob", BOB, |c| c.connect = vec![ALICE.parse().unwrap()]);
    world.advance(Duration::from_secs(3));
    assert_eq!(pool(&world, bob).len(), 1000, "what it asked for comes at once");
    world.advance(Duration::from_secs(180));
    assert_eq!(pool(&world, bob).len(), 3000);
    assert_eq!(pool(&world, bob), pool(&world, alice));
    assert_eq!((over_budget(&world, alice), over_budget(&world, bob)), (vec![], vec![]));
    let sent = world.get(alice).counters().sent[&Kind::Transaction];
    assert_eq!(sent, 3000, "each goes once");
    assert_eq!(world.get(bob).counters().sent.get(&Kind::Transaction), None, "and none comes back");
    // While pools agree, little is asked.
    let questions = |world: &World| world.get(alice).counters().sent[&Kind::TxPoolRequest];
    let before = questions(&world);
    world.advance(Duration::from_secs(3600));
    assert!(questions(&world) - before <= 13, "{} questions in an hour", questions(&world) - before);
}

#[test]
fn two_pools_that_share_a_part_agree_in_both_directions() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", BOB, |_| {});
    submit(&mut world, alice, 0..2500);
    submit(&mut world, bob, 2000..4000);
    world.command(bob, Command::Connect(ALICE.parse().unwrap()));
    world.advance(Duration::from_secs(240));
    assert_eq!((pool(&world, alice).len(), pool(&world, bob).len()), (4000, 4000));
    assert_eq!((over_budget(&world, alice), over_budget(&world, bob)), (vec![], vec![]));
}

#[test]
fn pools_agree_after_a_partition_and_news_does_not_wait_behind_what_is_offered() {
    let mut world = World::new();
    let addresses: Vec<String> = (0..4).map(|n| format!("10.{n}.0.1:8333")).collect();
    let nodes: Vec<usize> = (0..4usize)
        .map(|n| {
            let others = addresses[..n].iter().map(|address| address.parse().unwrap()).collect();
            world.node(&format!("n{n}"), &addresses[n], |c| c.connect = others)
        })
        .collect();
    world.advance(Duration::from_secs(5));
    world.wall(|party| party as u64 % 2);
    submit(&mut world, nodes[0], 0..1800);
    submit(&mut world, nodes[1], 5000..6800);
    world.advance(Duration::from_secs(150));
    assert_eq!(pool(&world, nodes[2]), pool(&world, nodes[0]));
    world.unwall();
    world.advance(Duration::from_secs(45));
    submit(&mut world, nodes[3], 9999..10_000);
    world.advance(Duration::from_secs(2));
    let news = world.get(nodes[3]).chain().transaction_id(&transaction(9999)).unwrap();
    for node in &nodes {
        assert!(world.get(*node).chain().pool().contains(&news), "what is new goes first");
    }
    world.advance(Duration::from_secs(200));
    for node in &nodes {
        assert_eq!(pool(&world, *node).len(), 3601);
        assert_eq!(over_budget(&world, *node), []);
        assert_eq!(world.count(*node, |event| matches!(event, Event::Blacklisted { .. })), 0);
    }
}

/// What an abandoned block gave back was known to nobody but the node that had it.
#[test]
fn what_a_reorganisation_brings_back_reaches_the_others() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", BOB, |_| {});
    submit(&mut world, alice, 0..20);
    world.mine(alice);
    for _ in 0..3 {
        world.mine(bob);
    }
    world.command(alice, Command::Connect(BOB.parse().unwrap()));
    world.advance(Duration::from_secs(60));
    assert_eq!(world.get(alice).chain().best(), world.get(bob).chain().best());
    assert_eq!((pool(&world, alice).len(), pool(&world, bob).len()), (20, 20));
}

/// Names that nobody asked for offer nothing, and a list as long as it may be says nothing of what its sender lacks.
#[test]
fn only_names_that_were_asked_for_lead_to_offers() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    submit(&mut world, alice, 0..1500);
    world.advance(Duration::from_secs(1));
    let stranger = world.peer(alice, "10.9.0.1:1", "stranger", 2);
    for _ in 0..3 {
        world.say(stranger, &Message::TxPool(vec![]));
    }
    assert_eq!(world.hear_all(stranger), []);
    world.say(stranger, &Message::TxPoolRequest(TxPoolRequest { max: 1000, include_data: true }));
    assert_eq!(world.hear_all(stranger).len(), 1001);
    // It is asked what it has, says that it has nothing, and is offered the rest.
    world.advance(Duration::from_secs(50));
    let heard = world.hear_all(stranger);
    assert_eq!(heard.iter().filter(|kind| **kind == Kind::Transaction).count(), 500, "{heard:?}");
}
