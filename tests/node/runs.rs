//! Runs: several blocks in one question and in one answer, between two that both say that they serve them.

use bytes::Bytes;

use spacetime_network::chain::block::HEADER_LEN;
use spacetime_network::chain::{Miner, Params, ReferenceChain};
use spacetime_network::close::CloseReason;
use spacetime_network::proto::Event;
use spacetime_network::proto::sync::chain::{Chain, Verdict};
use spacetime_network::wire::message::Extension;
use spacetime_network::wire::{FrameError, Hash, Kind, Message};

use crate::world::{Stranger, World, introduction};

const HOST: &str = "10.0.0.1:8333";
/// The bits of one who serves runs.
const BOTH: u64 = Extension::WAITS_WITH_ANSWERS | Extension::SERVES_RUNS;

/// A peer with these feature bits, which has told all it has to tell.
fn guest(world: &mut World, node: usize, features: u64) -> Stranger {
    let stranger = world.stranger(node, "10.0.0.2:1").unwrap();
    let Message::Handshake(mut handshake) = introduction("guest", 2, 0) else { unreachable!() };
    handshake.extension.as_mut().unwrap().features = features;
    world.say(stranger, &Message::Handshake(handshake));
    world.say(stranger, &Message::Headers(vec![]));
    world.hear_all(stranger);
    stranger
}

/// The blocks that it was sent, by frame, and the hashes that were said to be missing.
fn heard(world: &mut World, node: usize, peer: Stranger) -> (Vec<Vec<Hash>>, Vec<Hash>) {
    let (mut runs, mut missing) = (Vec::new(), Vec::new());
    while let Some((kind, payload)) = world.hear(peer) {
        let chain = world.get(node).chain();
        match Message::decode(kind, &payload).unwrap() {
            Message::Blocks(blocks) => {
                runs.push(blocks.iter().map(|block| chain.block_hash(block).unwrap()).collect());
            }
            Message::Block(block) => runs.push(vec![chain.block_hash(block).unwrap()]),
            Message::NotFound(hash) => missing.push(hash),
            _ => {}
        }
    }
    (runs, missing)
}

/// Why the node ended connections.
fn reasons(world: &World, node: usize) -> Vec<CloseReason> {
    let events = world.events.iter().filter(|(index, _)| *index == node);
    let reason = |(_, event): &(usize, Event)| match event {
        Event::PeerDisconnected { reason, .. } => Some(*reason),
        _ => None,
    };
    events.filter_map(reason).collect()
}

#[test]
fn blocks_that_are_asked_for_together_come_together_and_each_has_an_answer() {
    let mut world = World::new();
    let host = world.node("host", HOST, |config| config.outbound = 0);
    let hashes: Vec<Hash> = (0..5).map(|_| world.mine(host)).collect();
    let peer = guest(&mut world, host, BOTH);
    let (one, two) = (Hash([1; 32]), Hash([2; 32]));
    // In whatever order, whatever stands between them, and one of them twice.
    let wanted = vec![hashes[3], one, hashes[0], hashes[0], two, hashes[4]];
    world.say(peer, &Message::GetBlocks(wanted));
    let run = vec![hashes[3], hashes[0], hashes[0], hashes[4]];
    assert_eq!(heard(&mut world, host, peer), (vec![run], vec![one, two]));
    assert_eq!(reasons(&world, host), []);
}

#[test]
fn a_run_that_finds_no_room_comes_later_whole_and_in_its_order() {
    let mut world = World::new();
    let host = world.node("host", HOST, |config| config.outbound = 0);
    let hashes: Vec<Hash> = (0..20).map(|_| world.mine(host)).collect();
    let peer = guest(&mut world, host, BOTH);
    world.take_blocks(peer, 0);
    world.say(peer, &Message::GetBlocks(hashes[..8].to_vec()));
    world.say(peer, &Message::GetBlocks(hashes[8..].to_vec()));
    assert_eq!((heard(&mut world, host, peer).0, world.blocks_offered(peer)), (vec![], 1), "one refusal says enough");
    world.take_blocks(peer, 1);
    assert_eq!(heard(&mut world, host, peer).0.concat(), hashes);
}

#[test]
fn who_does_not_say_so_neither_asks_for_runs_nor_gets_them() {
    for features in [0, Extension::WAITS_WITH_ANSWERS, Extension::SERVES_RUNS] {
        let mut world = World::new();
        let host = world.node("host", HOST, |config| config.outbound = 0);
        let hashes: Vec<Hash> = (0..3).map(|_| world.mine(host)).collect();
        let peer = guest(&mut world, host, features);
        world.take_blocks(peer, 0);
        hashes.iter().for_each(|hash| world.say(peer, &Message::GetBlock(*hash)));
        world.take_blocks(peer, 9);
        let runs: Vec<Vec<Hash>> = hashes.iter().map(|hash| vec![*hash]).collect();
        assert_eq!(heard(&mut world, host, peer).0, runs, "one by one, with {features:#x}");
        for (kind, message) in
            [(Kind::GetBlocks, Message::GetBlocks(hashes.clone())), (Kind::Blocks, Message::Blocks(vec![b"a block"]))]
        {
            let mut world = World::new();
            let host = world.node("host", HOST, |config| config.outbound = 0);
            let peer = guest(&mut world, host, features);
            world.say(peer, &message);
            let unknown = CloseReason::Frame(FrameError::UnknownType(kind as u8));
            assert_eq!(reasons(&world, host), [unknown], "{features:#x}");
        }
    }
}

/// Who counts questions may be configured to, and counts each of them.
#[test]
fn a_node_that_counts_questions_serves_no_runs() {
    let mut world = World::new();
    let rate = spacetime_network::rate::Rate::per(10, core::time::Duration::from_secs(1), 10);
    let host = world.node("host", HOST, |config| {
        config.outbound = 0;
        config.rates.0.insert(Kind::GetBlock, rate);
    });
    let peer = guest(&mut world, host, BOTH);
    world.say(peer, &Message::GetBlocks(vec![Hash([1; 32])]));
    let unknown = CloseReason::Frame(FrameError::UnknownType(Kind::GetBlocks as u8));
    assert_eq!(reasons(&world, host), [unknown]);
}

/// A node that was told headers by a peer, the blocks that it asked for in one question, and these.
fn asked(count: usize) -> (World, usize, Stranger, Vec<Bytes>) {
    let mut world = World::new();
    let node = world.node("node", HOST, |config| config.outbound = 0);
    let mut theirs = ReferenceChain::memory(Params::new(1, 50).unwrap());
    let mut blocks = Vec::new();
    for _ in 0..count {
        let mut block = theirs.template(world.now.unix, "miner", 1 << 20).unwrap();
        block.header = Miner::new(block.header).run(u64::MAX).unwrap();
        assert_eq!(theirs.submit_block(world.now.unix, block.encode()), Verdict::Accepted { best_changed: true });
        blocks.push(block.encode());
    }
    let peer = guest(&mut world, node, BOTH);
    world.say(peer, &Message::Headers(blocks.iter().map(|block| &block[..HEADER_LEN]).collect()));
    // A stranger is asked for few before it has shown anything.
    let mut delivered = 0;
    while delivered < 2 {
        let Some((kind, payload)) = world.hear(peer) else { break };
        if let Ok(Message::GetBlocks(hashes)) = Message::decode(kind, &payload) {
            assert_eq!(hashes.len(), 2, "what it may be asked for is asked in one question");
            delivered += hashes.len();
        }
    }
    assert_eq!(delivered, 2);
    (world, node, peer, blocks)
}

#[test]
fn a_run_is_taken_in_whatever_order_it_comes_and_the_next_question_is_larger() {
    let (mut world, node, peer, blocks) = asked(40);
    world.say(peer, &Message::Blocks(vec![&blocks[1], &blocks[0]]));
    let mut next = 2;
    while next < blocks.len() {
        let mut wanted = 0;
        while let Some((kind, payload)) = world.hear(peer) {
            match Message::decode(kind, &payload).unwrap() {
                Message::GetBlocks(hashes) => wanted += hashes.len(),
                Message::GetBlock(_) => wanted += 1,
                _ => {}
            }
        }
        assert!(wanted >= next.min(blocks.len() - next), "{wanted} after {next}");
        let run: Vec<&[u8]> = blocks[next..next + wanted].iter().map(|block| &block[..]).collect();
        world.say(peer, &Message::Blocks(run));
        next += wanted;
    }
    assert_eq!((world.get(node).chain().best().height, reasons(&world, node)), (40, vec![]));
}

#[test]
fn a_hostile_run_ends_the_connection_and_what_was_good_of_it_is_kept() {
    type Make = fn(&[Bytes]) -> Vec<Bytes>;
    let runs: [(Make, u64); 4] = [
        // One that was not asked for, at the end.
        (|blocks| blocks[..3].to_vec(), 2),
        // The same twice.
        (|blocks| vec![blocks[0].clone(), blocks[0].clone()], 1),
        // Only others.
        (|blocks| vec![blocks[5].clone()], 0),
        // All that there are, and some more, for ever.
        (|blocks| blocks.iter().cycle().take(1000).cloned().collect(), 2),
    ];
    for (make, height) in runs {
        let (mut world, node, peer, blocks) = asked(10);
        let run = make(&blocks);
        world.say(peer, &Message::Blocks(run.iter().map(|block| &block[..]).collect()));
        assert_eq!(reasons(&world, node), [CloseReason::UnrequestedBlock]);
        assert_eq!(world.get(node).chain().best().height, height);
    }
    // A block whose body is another one's, and one that is none.
    let (mut world, node, peer, blocks) = asked(10);
    let mutated = [&blocks[0][..HEADER_LEN], &blocks[1][HEADER_LEN..]].concat();
    world.say(peer, &Message::Blocks(vec![&mutated, &blocks[1]]));
    assert_eq!(reasons(&world, node), [CloseReason::Invalid(Kind::Block)]);
    let (mut world, node, peer, _) = asked(10);
    world.say(peer, &Message::Blocks(vec![b"no block"]));
    assert_eq!(reasons(&world, node), [CloseReason::Invalid(Kind::Block)]);
    // An empty one breaks the layout.
    let (mut world, node, peer, _) = asked(10);
    world.say_raw(peer, Kind::Blocks as u8, Bytes::from_static(&[0; 4]));
    assert!(matches!(reasons(&world, node)[..], [CloseReason::Payload(Kind::Blocks, _)]));
}

/// As a Block: refused by its header, before memory is held for it.
#[test]
fn a_run_that_nobody_asked_for_is_refused_before_it_is_there() {
    let mut world = World::new();
    let node = world.node("node", HOST, |config| config.outbound = 0);
    let peer = guest(&mut world, node, BOTH);
    world.say(peer, &Message::Blocks(vec![b"a block"]));
    assert_eq!(reasons(&world, node), [CloseReason::UnrequestedBlock]);
}
