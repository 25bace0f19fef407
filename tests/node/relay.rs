//! Objects go to everyone once, never back, and only when valid.

use std::time::Duration;

use bytes::Bytes;
use spacetime_network::chain::Transaction;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::proto::{Command, Event};
use spacetime_network::time::UnixTime;
use spacetime_network::wire::message::{BlockAccepted, Heartbeat, ProofSubmission, TxPoolRequest};
use spacetime_network::wire::{Hash, Kind, Message};

use crate::world::World;

const ALICE: &str = "10.0.0.1:8333";

fn transaction(nonce: u64) -> Bytes {
    let time = UnixTime::from_millis(1_800_000_000_000);
    let transaction = Transaction { sender: "ann", recipient: "bob", amount: 5, time, nonce };
    transaction.encode().unwrap()
}

#[test]
fn a_transaction_goes_to_every_other_peer_once() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let from = world.peer(alice, "10.9.0.1:1", "from", 2);
    let (one, two) = (world.peer(alice, "10.8.0.1:1", "one", 2), world.peer(alice, "10.7.0.1:1", "two", 1));
    for _ in 0..3 {
        world.say(from, &Message::Transaction(&transaction(1)));
    }
    world.say(one, &Message::Transaction(&transaction(1)));
    assert_eq!(world.hear_all(one), [Kind::Transaction]);
    assert_eq!(world.hear_all(two), [Kind::Transaction], "version 1 has transactions too");
    assert_eq!(world.hear_all(from), [], "never back to the sender");
    assert_eq!(world.count(alice, |e| matches!(e, Event::TransactionAccepted { .. })), 1);
}

#[test]
fn an_invalid_transaction_is_not_relayed_and_ends_the_connection() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let (bad, other) = (world.peer(alice, "10.9.0.1:1", "bad", 2), world.peer(alice, "10.8.0.1:1", "other", 2));
    let mut bytes = transaction(1).to_vec();
    bytes.push(0);
    world.say(bad, &Message::Transaction(&bytes));
    assert!(world.is_closed(bad) && !world.is_closed(other));
    assert_eq!(world.hear_all(other), []);
}

#[test]
fn a_mined_block_reaches_every_node_of_a_line() {
    let mut world = World::new();
    let ids = ["a", "b", "c", "d", "e"];
    let addresses: Vec<String> = (0..5).map(|i| format!("10.{i}.0.1:8333")).collect();
    let nodes: Vec<usize> = (0..5)
        .map(|i: usize| {
            let before = i.checked_sub(1).map(|j| addresses[j].parse().unwrap());
            world.node(ids[i], &addresses[i], |c| {
                c.connect = before.into_iter().collect();
                c.outbound = 0;
            })
        })
        .collect();
    world.advance(Duration::from_secs(5));
    world.command(nodes[4], Command::SubmitTransaction(transaction(7)));
    let hash = world.mine(nodes[0]);
    for node in &nodes {
        assert_eq!(world.get(*node).chain().best().hash, hash);
        assert_eq!(world.count(*node, |e| matches!(e, Event::BlockAccepted { .. })), 1);
        assert_eq!(world.count(*node, |e| matches!(e, Event::TransactionAccepted { .. })), 1);
    }
}

#[test]
fn an_invalid_block_is_relayed_nowhere() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let (bad, other) = (world.peer(alice, "10.9.0.1:1", "bad", 2), world.peer(alice, "10.8.0.1:1", "other", 2));
    let mut block = world.block_on(alice, "eve").to_vec();
    let last = block.len() - 1;
    block[last] ^= 1;
    world.say(bad, &Message::NewBlock(&block));
    assert!(world.is_closed(bad));
    assert_eq!(world.hear_all(other), []);
    assert_eq!(world.get(alice).chain().best().height, 0);
    // The good block still passes: the bad copy did not mark it as seen.
    let block = world.block_on(alice, "eve");
    let good = world.peer(alice, "10.7.0.1:1", "good", 2);
    world.say(good, &Message::NewBlock(&block));
    assert_eq!(world.get(alice).chain().best().height, 1);
    assert_eq!(world.hear_all(other), [Kind::NewBlock]);
}

#[test]
fn challenges_proofs_and_acceptances_are_relayed_once_to_those_who_know_them() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let from = world.peer(alice, "10.9.0.1:1", "from", 2);
    let (new, old) = (world.peer(alice, "10.8.0.1:1", "new", 2), world.peer(alice, "10.7.0.1:1", "old", 1));
    // As our own nodes do in version 1.
    world.say(old, &Message::Heartbeat(Heartbeat::Status { chain_length: 1, node_id: "old" }));
    let proof = ProofSubmission { height: 7, miner: [2; 33], proof: &[9, 8, 7] };
    for _ in 0..2 {
        world.say(from, &Message::NewChallenge(b"challenge"));
        world.say(from, &Message::ProofSubmission(proof.clone()));
        world.say(from, &Message::BlockAccepted(BlockAccepted { hash: Hash([0xaa; 32]), height: 42 }));
    }
    let all = [Kind::NewChallenge, Kind::ProofSubmission, Kind::BlockAccepted];
    assert_eq!(world.hear_all(new), all);
    assert_eq!(world.hear_all(old), all[..2], "version 1 does not know BlockAccepted");
    assert!(!world.hear_all(from).iter().any(|k| all.contains(k)));
}

#[test]
fn a_pool_is_handed_to_whoever_asks() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    for nonce in 0..5 {
        world.command(alice, Command::SubmitTransaction(transaction(nonce)));
    }
    let peer = world.peer(alice, "10.9.0.1:1", "carol", 2);
    let request =
        |include_data| Message::TxPoolRequest(spacetime_network::wire::message::TxPoolRequest { max: 3, include_data });
    world.say(peer, &request(false));
    assert_eq!(world.hear_all(peer), [Kind::TxPool]);
    world.say(peer, &request(true));
    assert_eq!(world.hear_all(peer), [Kind::Transaction, Kind::Transaction, Kind::Transaction, Kind::TxPool]);
}

#[test]
fn a_node_that_joins_late_gets_the_chain_and_the_pool() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let mut tip = Hash::ZERO;
    for nonce in 0..50 {
        world.command(alice, Command::SubmitTransaction(transaction(nonce)));
        tip = world.mine(alice);
    }
    world.command(alice, Command::SubmitTransaction(transaction(99)));
    let late = world.node("late", "10.0.1.1:8333", |c| c.connect = vec![ALICE.parse().unwrap()]);
    world.advance(Duration::from_secs(5));
    assert_eq!(world.get(late).chain().best().hash, tip);
    world.advance(Duration::from_secs(2));
    assert_eq!(world.get(late).chain().pool().len(), 1);
}

#[test]
fn after_a_partition_the_longer_chain_wins_and_its_loser_returns_the_transactions() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", "10.0.1.1:8333", |_| {});
    world.command(alice, Command::SubmitTransaction(transaction(1)));
    world.mine(alice);
    let mut tip = Hash::ZERO;
    for _ in 0..3 {
        tip = world.mine(bob);
    }
    world.command(alice, Command::Connect("10.0.1.1:8333".parse().unwrap()));
    world.advance(Duration::from_secs(5));
    assert_eq!(world.get(alice).chain().best().hash, tip);
    assert_eq!(world.get(alice).chain().pool().len(), 1, "the abandoned block's transaction waits again");
}

#[test]
fn transactions_leave_at_a_pace_that_the_other_side_takes_and_all_arrive() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", "10.0.1.1:8333", |c| c.connect = vec![ALICE.parse().unwrap()]);
    let far = world.node("far", "10.0.2.1:8333", |c| c.seeds = vec!["10.0.1.1:8333".parse().unwrap()]);
    world.advance(Duration::from_secs(5));
    for nonce in 0..600 {
        world.command(alice, Command::SubmitTransaction(transaction(nonce)));
    }
    world.advance(Duration::from_secs(60));
    for node in [bob, far] {
        assert_eq!(world.get(node).chain().pool().len(), 600);
        assert_eq!(world.get(node).counters().over_budget.get(&Kind::Transaction), None);
    }
}

#[test]
fn a_chain_that_is_mined_as_fast_as_it_can_does_not_make_its_peers_enemies() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", "10.0.1.1:8333", |c| c.connect = vec![ALICE.parse().unwrap()]);
    world.advance(Duration::from_secs(5));
    let mut tip = Hash::ZERO;
    for _ in 0..3000 {
        tip = world.mine(alice);
        world.advance(Duration::from_millis(2));
    }
    world.advance(Duration::from_secs(60));
    assert_eq!(world.get(bob).chain().best().hash, tip);
    assert_eq!(world.count(bob, |e| matches!(e, Event::PeerDisconnected { .. })), 0);
}

/// Found by the simulator: a node that catches up hears of the newest block first from a peer that has it.
#[test]
fn a_block_that_came_too_early_does_not_go_back_to_who_sent_it() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let miner = world.node("miner", "10.0.0.2:8333", |_| {});
    let blocks: Vec<Bytes> = (0..2)
        .map(|_| {
            let hash = world.mine(miner);
            world.get(miner).chain().block(&hash).unwrap()
        })
        .collect();
    let (early, other) = (world.peer(alice, "10.9.0.1:1", "early", 2), world.peer(alice, "10.8.0.1:1", "other", 2));
    world.say(early, &Message::NewBlock(&blocks[1]));
    assert_eq!(world.get(alice).chain().best().height, 0, "its parent is unknown");
    world.say(other, &Message::NewBlock(&blocks[0]));
    world.say(other, &Message::NewBlock(&blocks[1]));
    assert_eq!(world.get(alice).chain().best().height, 2);
    assert_eq!(world.hear_all(early), [Kind::NewBlock], "the first block, not the one it sent itself");
}

/// Found by the simulator: what waits for a peer's pace is forgotten when the peer has it from elsewhere.
#[test]
fn a_transaction_that_waits_for_a_peer_is_not_sent_once_the_peer_sent_it() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let slow = world.peer(alice, "10.9.0.1:1", "slow", 2);
    for nonce in 0..400 {
        world.command(alice, Command::SubmitTransaction(transaction(nonce)));
    }
    assert!(world.hear_all(slow).len() < 400, "some wait");
    world.say(slow, &Message::Transaction(&transaction(399)));
    world.advance(Duration::from_secs(60));
    while let Some((kind, payload)) = world.hear(slow) {
        assert!(kind != Kind::Transaction || payload != transaction(399), "it went back to its sender");
    }
}

/// Found by the simulator: an answer to TxPoolRequest holds what waits for the asker's pace.
#[test]
fn a_transaction_that_waits_for_a_peer_is_not_sent_after_the_peer_asked_for_the_pool() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let slow = world.peer(alice, "10.9.0.1:1", "slow", 2);
    for nonce in 0..400 {
        world.command(alice, Command::SubmitTransaction(transaction(nonce)));
    }
    let at_once = world.hear_all(slow).len();
    assert!(at_once < 400, "some wait");
    world.say(slow, &Message::TxPoolRequest(TxPoolRequest { max: 1000, include_data: true }));
    let answer = world.hear_all(slow);
    assert_eq!(answer.len(), 401, "every transaction, and the list of them");
    world.say(slow, &Message::Heartbeat(Heartbeat::Opaque(&[])));
    world.advance(Duration::from_secs(60));
    assert!(!world.hear_all(slow).contains(&Kind::Transaction), "none comes again");
}
