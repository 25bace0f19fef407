//! Who is to blame: a node that passes on what others said is not made to pay for them.

use std::time::Duration;

use bytes::Bytes;
use spacetime_network::address::ExemptRanges;
use spacetime_network::chain::block::HEADER_LEN;
use spacetime_network::chain::{Block, Miner, Params, ReferenceChain, Transaction};
use spacetime_network::id::{ConnId, Direction};
use spacetime_network::limits::OUTBOX_HARD;
use spacetime_network::proto::sync::chain::{Chain, Verdict};
use spacetime_network::proto::{Command, Config, Event, Input, Node, Output};
use spacetime_network::time::{Instant, Now, UnixTime};
use spacetime_network::wire::message::BlockAccepted;
use spacetime_network::wire::{Frame, Kind, Message, Payload};

use crate::world::{World, introduction};

const ALICE: &str = "10.0.0.1:8333";
const BOB: &str = "10.0.1.1:8333";

fn transaction(nonce: u64) -> Bytes {
    let time = UnixTime::from_millis(1_800_000_000_000);
    Transaction { sender: "ann", recipient: "bob", amount: 5, time, nonce }.encode().unwrap()
}

/// Twenty strangers who each keep to their budget used to make a node break the one that it has at its neighbour.
#[test]
fn a_crowd_of_strangers_does_not_make_a_node_flood_its_neighbour_with_challenges() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", BOB, |c| c.connect = vec![ALICE.parse().unwrap()]);
    world.advance(Duration::from_secs(5));
    let heard = |world: &World| world.count(bob, |e| matches!(e, Event::Gossip { .. }));
    for i in 0..20u32 {
        let stranger = world.peer(alice, &format!("77.{i}.0.1:1"), &format!("crowd-{i}"), 2);
        for j in 0..20u32 {
            world.say(stranger, &Message::NewChallenge(&(i * 1000 + j).to_be_bytes()));
        }
    }
    assert_eq!(world.quarrels, []);
    assert_eq!(world.count(bob, |e| matches!(e, Event::PeerDisconnected { .. })), 0);
    assert!((10..=45).contains(&heard(&world)), "what fits the budget still comes");
    assert_eq!(world.get(bob).counters().over_budget.get(&Kind::NewChallenge), None);
}

/// Each address that a stranger tells, and at which we find somebody, is news for two peers; thirty a second were a flood to
/// them.
#[test]
fn strangers_that_come_and_go_do_not_make_a_node_flood_its_neighbour_with_addresses() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", BOB, |c| c.connect = vec![ALICE.parse().unwrap()]);
    let carol = world.node("carol", "45.0.0.1:8333", |c| c.outbound = 0);
    world.advance(Duration::from_secs(5));
    for i in 0..300u32 {
        world.alias(&format!("78.{}.{}.1:8334", i % 30, i / 30), carol);
        if let Some(stranger) = world.stranger(alice, &format!("77.{}.{}.1:1", i % 30, i / 30)) {
            world.say(stranger, &introduction(&format!("guest-{i}"), 2, 8333));
            let address = format!("78.{}.{}.1:8334", i % 30, i / 30).parse().unwrap();
            world.say(stranger, &Message::Peers(vec![address]));
            world.hang_up(stranger);
        }
        world.advance(Duration::from_millis(30));
    }
    world.advance(Duration::from_secs(60));
    assert_eq!(world.quarrels, []);
    let from_alice = |e: &Event| matches!(e, Event::PeerDisconnected { node_id, .. } if node_id == "alice");
    assert_eq!(world.count(bob, from_alice), 0);
    assert_eq!(world.get(bob).counters().over_budget.get(&Kind::Peers), None);
    assert!(world.get(bob).book().len() > 4, "some of the news arrives");
}

/// An operator's `--connect` widened what we sent, although the other side knows nothing of it.
#[test]
fn a_node_that_names_its_peer_sends_it_no_more_than_a_stranger_may() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", BOB, |c| c.connect = vec![ALICE.parse().unwrap()]);
    world.advance(Duration::from_secs(5));
    for nonce in 0..3_000 {
        world.command(bob, Command::SubmitTransaction(transaction(nonce)));
    }
    world.advance(Duration::from_secs(240));
    assert_eq!(world.quarrels, []);
    assert_eq!(world.get(alice).counters().over_budget.get(&Kind::Transaction), None);
    assert_eq!(world.get(alice).chain().pool().len(), 3_000);
}

/// The same where our side exempts a range and the other one nobody: fewer may arrive, but nobody is an enemy.
#[test]
fn a_node_that_exempts_a_range_is_no_flood_to_one_that_does_not() {
    let mut world = World::new();
    let (alice, bob) = ("127.0.0.1:8333", "127.0.0.1:8334");
    world.node("alice", alice, |c| c.admission.exempt = ExemptRanges::NONE);
    let open = world.node("bob", bob, |c| c.connect = vec![alice.parse().unwrap()]);
    world.advance(Duration::from_secs(5));
    for nonce in 0..5_000 {
        world.command(open, Command::SubmitTransaction(transaction(nonce)));
    }
    world.advance(Duration::from_secs(30));
    assert_eq!(world.quarrels, []);
}

/// A node that lacks the block cannot check an acceptance, and passes it on to those who can.
#[test]
fn an_acceptance_at_a_wrong_height_is_dropped_and_its_bearer_stays() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let hash = world.mine(alice);
    let bearer = world.peer(alice, "10.9.0.1:1", "bearer", 2);
    let other = world.peer(alice, "10.8.0.1:1", "other", 2);
    world.say(bearer, &Message::BlockAccepted(BlockAccepted { hash, height: 7 }));
    assert!(!world.is_closed(bearer));
    assert_eq!(world.hear_all(other), []);
    world.say(bearer, &Message::BlockAccepted(BlockAccepted { hash, height: 1 }));
    assert_eq!(world.hear_all(other), [Kind::BlockAccepted]);
}

/// Whoever repeated the acceptance of a block counted as having it, and fell with it.
#[test]
fn an_acceptance_of_an_invalid_block_costs_its_maker_and_not_those_who_repeat_it() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    world.command(alice, Command::SubmitTransaction(transaction(1)));
    world.mine(alice);
    // It holds a transaction of its ancestor: its bytes are those of its header, and it is never valid.
    let mut block = Block::decode(&world.block_on(alice, "eve")).unwrap();
    block.transactions.push(transaction(1));
    block.seal();
    block.header = Miner::new(block.header).run(u64::MAX).unwrap();
    let hash = block.header.hash();
    let bytes = block.encode();
    let honest = world.peer(alice, "10.9.0.1:1", "honest", 2);
    let eve = world.peer(alice, "10.8.0.1:1", "eve", 2);
    world.say(eve, &Message::Headers(vec![&bytes[..HEADER_LEN]]));
    world.say(honest, &Message::BlockAccepted(BlockAccepted { hash, height: 2 }));
    assert!(world.hear_all(eve).contains(&Kind::GetBlock));
    assert!(!world.hear_all(honest).contains(&Kind::GetBlock), "it did not say that it has the block");
    world.say(eve, &Message::Block(&bytes));
    assert!(world.is_closed(eve));
    assert!(!world.is_closed(honest));
}

/// Each time that a part of its queue had left, everything that a slow reader had asked for was read again.
#[test]
fn a_slow_reader_does_not_make_us_read_more_than_its_queue_takes() {
    let mut chain = ReferenceChain::memory(Params::new(1, 50).unwrap());
    let now = Now { at: Instant::from_millis(1), unix: UnixTime::from_millis(1_800_000_000_000) };
    let memo = "x".repeat(60_000);
    for nonce in 0..40 {
        let transaction = Transaction { sender: &memo, recipient: "bob", amount: 1, time: now.unix, nonce };
        assert!(matches!(chain.submit_transaction(now.unix, transaction.encode().unwrap()), Verdict::Accepted { .. }));
    }
    let mut block = chain.template(now.unix, "miner", 16 << 20).unwrap();
    block.header = Miner::new(block.header).run(u64::MAX).unwrap();
    let (hash, bytes) = (block.header.hash(), block.encode());
    assert!(matches!(chain.submit_block(now.unix, bytes.clone()), Verdict::Accepted { .. }));
    let mut node = Node::new(Config::default(), chain, 1, 1).unwrap();
    let conn = ConnId::new(1, 0);
    // Feeds one input, and counts the blocks that come of it.
    let mut feed = |input: Input<'_>| {
        node.handle(now, input);
        let block = |output: &Output| matches!(output, Output::Send { kind: Kind::Block, .. });
        core::iter::from_fn(|| node.poll_output()).filter(block).count()
    };
    let say = |message: Message<'static>| {
        let payload = Payload::Given(message.to_payload().unwrap());
        Input::Frame { conn, frame: Frame { kind: message.kind() as u8, payload } }
    };
    // An exempt one, whose repeated questions are answered sooner.
    let remote = "127.0.0.1:1".parse().unwrap();
    feed(Input::Opened { conn, remote, local: None, direction: Direction::Inbound, identity: None });
    feed(say(introduction("slow", 2, 0)));
    let sent: usize = (0..40).map(|_| feed(say(Message::GetBlock(hash)))).sum();
    assert_eq!(sent, 40);
    assert_eq!(feed(Input::SendRefused { conn, kind: Kind::Block, payload: bytes.clone() }), 0);
    let sent: usize = (0..63).map(|_| feed(say(Message::GetBlock(hash)))).sum();
    assert_eq!(sent, 0, "the others wait behind the refused one");
    let (mut served, mut rounds) = (0, 0);
    while served < 64 {
        let count = feed(Input::Writable { conn });
        assert!(count > 0 && count * bytes.len() < OUTBOX_HARD + bytes.len(), "{count} at once");
        served += count;
        rounds += 1;
    }
    assert_eq!(served, 64, "every question is answered");
    assert!(rounds > 3);
}
