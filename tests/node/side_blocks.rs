//! Blocks that are pushed and do not move the tip, and more blocks than a neighbour takes.

use std::time::Duration;

use bytes::Bytes;
use spacetime_network::address::ExemptRanges;
use spacetime_network::chain::{Miner, Params, ReferenceChain};
use spacetime_network::proto::Event;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::time::UnixTime;
use spacetime_network::wire::{Kind, Message};

use crate::world::World;

const ALICE: &str = "10.0.0.1:8333";
const BOB: &str = "10.0.1.1:8333";
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A block of height 1 that pays somebody: as cheap as a block can be.
fn first_block(miner: &str) -> Bytes {
    let chain = ReferenceChain::memory(Params::new(1, 50).unwrap());
    let mut block = chain.template(NOW, miner, 1 << 20).unwrap();
    block.header = Miner::new(block.header).run(u64::MAX).unwrap();
    block.encode()
}

/// Forty-four strangers, each within his budget, pushed blocks of height 1. All of them were judged, kept and passed on, and the
/// neighbour banned who passed them on.
#[test]
fn side_blocks_that_strangers_push_far_below_the_tip_are_neither_kept_nor_passed_on() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", BOB, |c| c.connect = vec![ALICE.parse().unwrap()]);
    world.advance(Duration::from_secs(5));
    for _ in 0..20 {
        world.mine(alice);
    }
    world.advance(Duration::from_secs(5));
    for i in 0..44 {
        let stranger = world.peer(alice, &format!("77.{i}.0.1:1"), &format!("pusher-{i}"), 2);
        for j in 0..20 {
            world.say(stranger, &Message::NewBlock(&first_block(&format!("{i} and {j}"))));
        }
        assert!(!world.is_closed(stranger), "it may be one that catches up");
    }
    assert_eq!(world.get(alice).chain().block_count(), 21);
    assert_eq!(world.get(bob).counters().received.get(&Kind::NewBlock), Some(&20));
    assert_eq!(world.quarrels, []);
}

/// Beside the tip a few are kept, for one of them may be the next best chain, and none is passed on.
#[test]
fn a_few_blocks_beside_the_tip_are_kept_and_whoever_builds_on_one_of_the_others_is_followed_all_the_same() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", BOB, |c| c.connect = vec![ALICE.parse().unwrap()]);
    let far = world.node("far", "10.7.0.1:8333", |_| {});
    world.advance(Duration::from_secs(5));
    world.mine(alice);
    let stranger = world.peer(alice, "77.1.0.1:1", "pusher", 2);
    for n in 0..30 {
        world.say(stranger, &Message::NewBlock(&first_block(&format!("rival {n}"))));
    }
    assert_eq!(world.get(alice).chain().block_count(), 1 + 1 + 8);
    assert_eq!(world.get(bob).chain().block_count(), 2, "only the first, which moved the tip, was passed on");
    // Somebody mines on a block that was not kept.
    world.command(far, spacetime_network::proto::Command::SubmitBlock(first_block("rival 29")));
    world.mine(far);
    let tip = world.get(far).chain().best();
    world.command(far, spacetime_network::proto::Command::Connect(ALICE.parse().unwrap()));
    world.advance(Duration::from_secs(60));
    for node in [alice, bob] {
        assert_eq!(world.get(node).chain().best(), tip);
    }
}

/// A miner without a pause sent its neighbour more blocks than that takes of anybody, and was banned for a day within 25 seconds.
#[test]
fn a_miner_without_pause_sends_its_neighbour_no_more_blocks_than_it_takes_and_the_tip_all_the_same() {
    let mut world = World::new();
    let (alice, bob) = ("127.0.0.1:8333", "127.0.0.1:8334");
    let strict = world.node("alice", alice, |c| c.admission.exempt = ExemptRanges::NONE);
    let miner = world.node("bob", bob, |c| c.connect = vec![alice.parse().unwrap()]);
    world.advance(Duration::from_secs(5));
    for _ in 0..30 {
        for _ in 0..100 {
            world.mine(miner);
        }
        world.advance(Duration::from_secs(1));
    }
    assert_eq!(world.quarrels, []);
    assert_eq!(world.count(strict, |e| matches!(e, Event::PeerDisconnected { .. })), 0);
    world.advance(Duration::from_secs(20));
    assert_eq!(world.get(miner).chain().best().height, 3_000);
    assert_eq!(world.get(strict).chain().best(), world.get(miner).chain().best(), "what was not pushed is asked for");
}

/// Who passes on what others say does not choose how much that is.
#[test]
fn far_too_many_blocks_of_one_peer_are_dropped_and_ban_nobody() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let pusher = world.peer(alice, "77.1.0.1:1", "pusher", 2);
    let block = first_block("again and again");
    for _ in 0..20_000 {
        world.say(pusher, &Message::NewBlock(&block));
    }
    assert!(!world.is_closed(pusher));
    let dropped = world.get(alice).counters().over_budget.get(&Kind::NewBlock).copied();
    assert!(dropped.is_some_and(|dropped| dropped > 18_000), "{dropped:?}");
    assert_eq!(world.get(alice).chain().best().height, 1);
}
