//! Large blocks that are pushed: what they are is known by their headers, before the rest has cost its memory.

use std::time::Duration;

use bytes::Bytes;
use spacetime_network::chain::{Block, Header, Miner, Params, ReferenceChain};
use spacetime_network::limits::LARGE_FRAME;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::time::UnixTime;
use spacetime_network::wire::{Kind, Message};

use crate::world::{Stranger, World};

const ALICE: &str = "10.0.0.1:8333";
const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

/// A block of height 1 that nobody needs; its header is changed before it is mined.
fn first_block(miner: &str, change: impl FnOnce(&mut Header)) -> Bytes {
    let chain = ReferenceChain::memory(Params::new(1, 50).unwrap());
    let mut block = chain.template(NOW, miner, 1 << 20).unwrap();
    change(&mut block.header);
    block.header = Miner::new(block.header).run(u64::MAX).unwrap();
    block.encode()
}

/// The same block, with so much behind it that it is a large frame.
fn padded(block: &[u8]) -> Vec<u8> {
    let mut bytes = block.to_vec();
    bytes.resize(LARGE_FRAME + 1, 0);
    bytes
}

/// Frames that were skipped, and NewBlocks that came whole.
fn counts(world: &World, node: usize) -> (u64, u64) {
    let counters = world.get(node).counters();
    (counters.blocks_skipped, counters.received.get(&Kind::NewBlock).copied().unwrap_or(0))
}

struct Table {
    world: World,
    alice: usize,
    stranger: Stranger,
}

fn table() -> Table {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    world.advance(Duration::from_secs(5));
    for _ in 0..20 {
        world.mine(alice);
    }
    let stranger = world.peer(alice, "77.1.0.1:1", "pusher", 2);
    Table { world, alice, stranger }
}

/// Sixteen MiB that we have, or that stand far below the tip, were kept until the last byte before their header was looked at: ten
/// connections with such frames, never finished, held up whoever had a block that was asked for.
#[test]
fn a_large_block_that_we_have_or_do_not_want_is_not_read_on_and_its_sender_is_not_blamed() {
    let Table { mut world, alice, stranger } = table();
    let tip = world.get(alice).chain().best().hash;
    let known = world.get(alice).chain().block(&tip).unwrap();
    world.say(stranger, &Message::NewBlock(&padded(&known)));
    assert_eq!(counts(&world, alice), (1, 0));
    world.say(stranger, &Message::NewBlock(&padded(&first_block("far below", |_| {}))));
    assert_eq!(counts(&world, alice), (2, 0));
    let ahead = |header: &mut Header| header.time = UnixTime::from_millis(world.now.unix.as_millis() + 86_400_000);
    let early = first_block("early", ahead);
    world.say(stranger, &Message::NewBlock(&padded(&early)));
    assert_eq!(counts(&world, alice), (3, 0));
    assert!(!world.is_closed(stranger));
    // A parent that we lack may be on its way.
    let orphan = first_block("an orphan", |header| (header.height, header.previous) = (22, tip_of_nobody()));
    world.say(stranger, &Message::NewBlock(&padded(&orphan)));
    assert_eq!(counts(&world, alice), (3, 1), "it is read");
    assert_eq!(world.quarrels, []);
}

fn tip_of_nobody() -> spacetime_network::wire::Hash {
    spacetime_network::wire::Hash([7; 32])
}

#[test]
fn a_large_block_whose_header_is_wrong_ends_the_connection_before_the_rest_has_come() {
    let Table { mut world, alice, stranger } = table();
    let mut block = padded(&first_block("forged", |_| {}));
    let last = Block::decode(&first_block("forged", |_| {})).unwrap().header.encode().len() - 1;
    while world.get(alice).chain().check_block_header(world.now.unix, &block).is_ok() {
        block[last] = block[last].wrapping_add(1);
    }
    world.say(stranger, &Message::NewBlock(&block));
    assert_eq!(counts(&world, alice), (1, 0));
    assert!(world.is_closed(stranger));
    assert!(world.hear_all(stranger).contains(&Kind::Error));
}

/// What is not read on is no cheaper for its sender's budget than what is.
#[test]
fn whoever_pushes_what_nobody_wants_again_and_again_uses_up_his_budget_and_is_not_banned_for_it() {
    let Table { mut world, alice, stranger } = table();
    let tip = world.get(alice).chain().best().hash;
    let known = padded(&world.get(alice).chain().block(&tip).unwrap());
    for _ in 0..1_100 {
        world.say(stranger, &Message::NewBlock(&known));
    }
    assert_eq!(counts(&world, alice), (1_100, 0));
    let over = world.get(alice).counters().over_budget.get(&Kind::NewBlock).copied();
    assert!(over.is_some_and(|over| over >= 50), "{over:?}");
    assert!(!world.is_closed(stranger));
}
