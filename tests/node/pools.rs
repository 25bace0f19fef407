//! Pools that differ come to agree: newcomers, partitions, reorganisations, full queues.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use spacetime_network::chain::Transaction;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::proto::{Command, Event};
use spacetime_network::time::UnixTime;
use spacetime_network::wire::message::{Extension, Handshake, TxPoolRequest};
use spacetime_network::wire::{Hash, Kind, Message};

use crate::world::{World, introduction};

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

/// Of 3,000 transactions a newcomer, say a miner, got the 1,000 that it asked for; 2,000 stayed where they were for ever.
#[test]
fn a_newcomer_gets_a_pool_of_three_thousand_whole_at_the_pace_of_the_relay() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |c| c.many_transactions = false);
    submit(&mut world, alice, 0..3000);
    let bob = world.node("bob", BOB, |c| c.connect = vec![ALICE.parse().unwrap()]);
    // They meet at the end of a step.
    world.advance(Duration::from_millis(1));
    world.advance(Duration::from_secs(3));
    assert!(
        (150..=200).contains(&pool(&world, bob).len()),
        "a burst comes at once, and then {}",
        pool(&world, bob).len()
    );
    world.advance(Duration::from_secs(200));
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

/// Every new connection began with up to 2 MiB of transactions in each direction, and a node keeps a feeler that goes on to
/// another peer every half a minute: pools that had agreed for long were sent whole again and again.
#[test]
fn pools_that_agree_are_not_sent_to_a_new_peer_again() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", BOB, |_| {});
    submit(&mut world, alice, 0..501);
    submit(&mut world, bob, 0..500);
    world.command(bob, Command::Connect(ALICE.parse().unwrap()));
    world.advance(Duration::from_secs(2));
    assert_eq!(pool(&world, bob), pool(&world, alice), "what lacks comes soon");
    world.advance(Duration::from_secs(60));
    let sent = |node: usize| world.get(node).counters().sent.get(&Kind::Transaction).copied();
    assert_eq!((sent(alice), sent(bob)), (Some(1), None), "and nothing else");
}

/// Whether a peer offers what we lack it says in its handshake; one that does not must be asked for it.
#[test]
fn a_peer_that_offers_nothing_is_asked_for_transactions_and_one_that_offers_for_names() {
    for features in [0, !Extension::OFFERS_TRANSACTIONS, Extension::OFFERS_TRANSACTIONS, u64::MAX] {
        let mut world = World::new();
        let alice = world.node("alice", ALICE, |_| {});
        submit(&mut world, alice, 0..10);
        let stranger = world.stranger(alice, "10.9.0.1:1").unwrap();
        let mut greeting = introduction("stranger", 2, 0);
        if let Message::Handshake(Handshake { extension: Some(extension), .. }) = &mut greeting {
            extension.features = features;
        }
        world.say(stranger, &greeting);
        let questions = |world: &mut World| {
            let mut questions = Vec::new();
            while let Some((kind, payload)) = world.hear(stranger) {
                if let Ok(Message::TxPoolRequest(request)) = Message::decode(kind, &payload) {
                    questions.push(request);
                }
            }
            questions
        };
        let data = TxPoolRequest { max: 1000, include_data: true };
        let names = TxPoolRequest { max: 50_000, include_data: false };
        let offers = features & Extension::OFFERS_TRANSACTIONS != 0;
        assert_eq!(questions(&mut world), if offers { vec![] } else { vec![data] });
        world.advance(Duration::from_secs(2));
        assert_eq!(questions(&mut world), if offers { vec![names] } else { vec![] });
        world.advance(Duration::from_secs(5));
        assert_eq!(questions(&mut world), if offers { vec![] } else { vec![names] });
        // Whoever asks for data is given it.
        world.say(stranger, &Message::TxPoolRequest(data));
        assert_eq!(world.hear_all(stranger).iter().filter(|kind| **kind == Kind::Transaction).count(), 10);
    }
}

/// Two blocks were found at once. Whoever held the one that lost took up the next block as it was pushed, got the transactions of
/// its own back, and compared pools only after a synchronisation: five minutes later, as if nothing had happened.
#[test]
fn what_a_pushed_block_makes_us_abandon_reaches_the_others_soon() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", BOB, |_| {});
    submit(&mut world, alice, 0..20);
    let (ours, theirs) = (world.block_on(alice, "alice"), world.block_on(bob, "bob"));
    for (node, first, second) in [(alice, &ours, &theirs), (bob, &theirs, &ours)] {
        world.command(node, Command::SubmitBlock(first.clone()));
        world.command(node, Command::SubmitBlock(second.clone()));
    }
    world.command(bob, Command::Connect(ALICE.parse().unwrap()));
    world.advance(Duration::from_secs(20));
    assert_ne!(world.get(alice).chain().best(), world.get(bob).chain().best());
    assert_eq!((pool(&world, alice).len(), pool(&world, bob).len()), (0, 0));
    world.mine(bob);
    assert_eq!(world.get(alice).chain().best(), world.get(bob).chain().best());
    assert_eq!((pool(&world, alice).len(), pool(&world, bob).len()), (20, 0));
    world.advance(Duration::from_secs(35));
    assert_eq!(pool(&world, bob), pool(&world, alice));
    // A block on top gives nothing back, and nobody compares for it.
    let questions = |world: &World| world.get(alice).counters().sent[&Kind::TxPoolRequest];
    world.advance(Duration::from_secs(60));
    let before = questions(&world);
    submit(&mut world, bob, 20..21);
    for _ in 0..5 {
        world.mine(bob);
        world.advance(Duration::from_secs(10));
    }
    assert_eq!(questions(&world), before);
}

/// Who told of headers and kept their blocks back had a node catch up for ever, and whoever catches up does not compare.
#[test]
fn blocks_that_never_come_do_not_keep_pools_apart() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let bob = world.node("bob", BOB, |_| {});
    let carol = world.node("carol", "10.0.2.1:8333", |_| {});
    submit(&mut world, alice, 0..10);
    for _ in 0..3 {
        world.mine(carol);
    }
    let chain = world.get(carol).chain();
    let headers = chain.headers_after(&mut std::iter::once(chain.genesis()), None, 10);
    let liar = world.peer(alice, "10.9.0.1:1", "liar", 2);
    world.say(liar, &Message::Headers(headers.iter().map(|header| header.as_ref()).collect()));
    assert!(world.get(alice).sync_target().1, "it waits for the blocks");
    world.command(bob, Command::Connect(ALICE.parse().unwrap()));
    world.advance(Duration::from_secs(5));
    assert!(world.get(alice).sync_target().1);
    assert_eq!(pool(&world, bob), pool(&world, alice));
}

/// It counted as passed on for five minutes, to a peer that had never been sent it.
#[test]
fn what_was_mined_while_it_waited_is_offered_when_its_block_is_abandoned() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let carol = world.node("carol", BOB, |_| {});
    let stranger = world.peer(alice, "10.9.0.1:1", "stranger", 2);
    world.advance(Duration::from_secs(7));
    submit(&mut world, alice, 0..250);
    let transactions = |world: &mut World| {
        let heard = world.hear_all(stranger);
        heard.iter().filter(|kind| **kind == Kind::Transaction).count()
    };
    assert_eq!(transactions(&mut world), 150, "and 100 wait for its pace");
    world.mine(alice);
    world.advance(Duration::from_secs(8));
    assert_eq!(transactions(&mut world), 0, "what is mined need not be told");
    for _ in 0..2 {
        let block = world.block_on(carol, "carol");
        world.command(carol, Command::SubmitBlock(block.clone()));
        world.command(alice, Command::SubmitBlock(block));
    }
    assert_eq!(pool(&world, alice).len(), 250);
    world.advance(Duration::from_secs(33));
    assert_eq!(transactions(&mut world), 100, "those that it was not sent, and no other");
}

/// The queue was full, and for five minutes the peer counted as having what had found no room.
#[test]
fn what_found_no_room_in_a_queue_is_offered_at_the_next_comparison() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let stranger = world.peer(alice, "10.9.0.1:1", "stranger", 2);
    world.advance(Duration::from_secs(1));
    world.take_transactions(stranger, false);
    submit(&mut world, alice, 0..20);
    world.take_transactions(stranger, true);
    submit(&mut world, alice, 20..25);
    world.advance(Duration::from_secs(10));
    let heard = world.hear_all(stranger);
    assert_eq!(heard.iter().filter(|kind| **kind == Kind::Transaction).count(), 25, "{heard:?}");
}

/// A peer asked for the pool, whose transactions it had, and its queue took none of the answer. They counted as never sent, and
/// went to it again when the pools were compared.
#[test]
fn an_answer_that_found_no_room_makes_nobody_lack_what_he_was_sent_before() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    submit(&mut world, alice, 0..20);
    let stranger = world.stranger(alice, "10.9.0.1:1").unwrap();
    world.say(stranger, &introduction("stranger", 2, 0));
    let everything = Message::TxPoolRequest(TxPoolRequest { max: 20, include_data: true });
    let count = |heard: Vec<Kind>| heard.iter().filter(|kind| **kind == Kind::Transaction).count();
    world.say(stranger, &everything);
    assert_eq!(count(world.hear_all(stranger)), 20);
    world.advance(Duration::from_secs(6));
    assert!(world.hear_all(stranger).contains(&Kind::TxPoolRequest));
    world.take_transactions(stranger, false);
    submit(&mut world, alice, 20..25);
    world.say(stranger, &everything);
    world.take_transactions(stranger, true);
    world.say(stranger, &Message::TxPool(vec![]));
    world.advance(Duration::from_secs(20));
    assert_eq!(count(world.hear_all(stranger)), 5, "what it never had");
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
