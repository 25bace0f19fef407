//! What is scarce is shared by those who brought it: whoever floods waits behind himself.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use spacetime_network::chain::Transaction;
use spacetime_network::proto::Command;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::time::{Instant, UnixTime};
use spacetime_network::wire::message::{Extension, Handshake, Heartbeat};
use spacetime_network::wire::{Hash, Kind, Message};

use crate::world::{Stranger, World, introduction};

const ALICE: &str = "10.0.0.1:8333";
const SECOND: Duration = Duration::from_secs(1);

fn transaction(sender: &str, nonce: u64) -> Bytes {
    let time = UnixTime::from_millis(1_800_000_000_000);
    Transaction { sender, recipient: "bob", amount: 5, time, nonce }.encode().unwrap()
}

/// One who leaves the question for its pool open, and so may send a thousand transactions as the answer.
fn owing_peer(world: &mut World, node: usize, from: &str, id: &str) -> Stranger {
    let stranger = world.stranger(node, from).unwrap();
    world.say(stranger, &introduction(id, 2, 0));
    stranger
}

/// Reads what came to a peer, says what keeps the connection alive, and notes when each transaction came for the first time.
fn attend(world: &mut World, peer: Stranger, heard: &mut BTreeMap<Bytes, Instant>) {
    while let Some((kind, payload)) = world.hear(peer) {
        match Message::decode(kind, &payload).unwrap() {
            Message::Ping(ping) => world.say(peer, &Message::Pong(ping)),
            Message::GetHeaders(_) => world.say(peer, &Message::Headers(vec![])),
            Message::Transaction(_) => {
                // One who says that it has nothing is offered again what it got.
                heard.entry(payload).or_insert(world.now.at);
            }
            _ => {}
        }
    }
}

/// A burst of 1,195 transactions in 43 KB and then 19 a second stood before everybody else's in one queue of 10,000 that left at 15 a
/// second: of 64 honest ones 60 had not come after a minute.
#[test]
fn a_stranger_who_floods_with_transactions_delays_nobody_elses() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let receiver = world.peer(alice, "10.6.0.1:1", "receiver", 2);
    let honest = world.peer(alice, "10.5.0.1:1", "honest", 2);
    let bad = owing_peer(&mut world, alice, "10.9.0.1:1", "bad");
    (0..1195).for_each(|n| world.say(bad, &Message::Transaction(&transaction("eve", n))));
    let (mut heard, mut sent, mut own) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    for second in 0..60 {
        (0..19).for_each(|n| world.say(bad, &Message::Transaction(&transaction("eve", 10_000 + second * 19 + n))));
        let paid = transaction("ann", second);
        world.say(honest, &Message::Transaction(&paid));
        sent.insert(paid, world.now.at);
        if second % 10 == 0 {
            let paid = transaction("alice", second);
            world.command(alice, Command::SubmitTransaction(paid.clone()));
            own.insert(paid, world.now.at);
        }
        for _ in 0..20 {
            world.advance(SECOND / 20);
            attend(&mut world, bad, &mut BTreeMap::new());
            attend(&mut world, honest, &mut BTreeMap::new());
            attend(&mut world, receiver, &mut heard);
        }
    }
    assert!(!world.is_closed(bad) && !world.is_closed(honest));
    for (paid, at) in sent.iter().chain(&own) {
        let came = heard.get(paid).copied().expect("it came");
        assert!(came.since(*at) <= SECOND, "it took {:?}", came.since(*at));
    }
    let floods = heard.len() - sent.len() - own.len();
    assert!(floods > 800, "what honest peers leave is for the flood: {floods}");
}

/// Ninety networks flood at once, and each had a turn for each transaction of one who pays once in a second: of thirty 22 had not come
/// after a minute.
#[test]
fn a_crowd_that_floods_from_many_networks_does_not_delay_one_who_pays_once_in_a_second() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let receiver = world.peer(alice, "10.6.0.1:1", "receiver", 2);
    let honest = world.peer(alice, "10.5.0.1:1", "honest", 2);
    for n in 0..60u64 {
        let bad = owing_peer(&mut world, alice, &format!("11.{n}.0.1:1"), &format!("bad{n}"));
        (0..100).for_each(|k| world.say(bad, &Message::Transaction(&transaction(&format!("eve{n}"), k))));
        world.advance(SECOND / 20);
    }
    let (mut heard, mut sent) = (BTreeMap::new(), BTreeMap::new());
    for second in 0..30 {
        let paid = transaction("ann", second);
        world.say(honest, &Message::Transaction(&paid));
        sent.insert(paid, world.now.at);
        for _ in 0..20 {
            world.advance(SECOND / 20);
            attend(&mut world, honest, &mut BTreeMap::new());
            attend(&mut world, receiver, &mut heard);
        }
    }
    for (paid, at) in &sent {
        let came = heard.get(paid).copied().expect("it came");
        assert!(came.since(*at) <= SECOND, "it took {:?}", came.since(*at));
    }
    assert!(heard.len() > 400, "what he leaves is for the crowd: {}", heard.len());
}

/// What gives way is not lost: the peer lacks it when the pools are compared, and gets it even while there is always something new.
#[test]
fn transactions_that_gave_way_are_counted_and_come_when_the_pools_are_compared() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let receiver = world.peer(alice, "10.6.0.1:1", "receiver", 2);
    for from in 1..=6u8 {
        let bad = owing_peer(&mut world, alice, &format!("10.9.{from}.1:1"), &format!("bad{from}"));
        let sender = format!("eve{from}");
        (0..1195).for_each(|n| world.say(bad, &Message::Transaction(&transaction(&sender, n))));
    }
    assert_eq!(world.get(alice).chain().pool().len(), 6 * 1195);
    let dropped = world.get(alice).counters().relay_dropped;
    assert!((1_000..20_000).contains(&dropped), "{dropped} gave way");
    let honest = world.peer(alice, "10.5.0.1:1", "honest", 2);
    let mut heard = BTreeMap::new();
    for minute in 0..30 {
        for peer in [receiver, honest] {
            world.say(peer, &Message::Heartbeat(Heartbeat::Status { chain_length: 1, node_id: "peer" }));
        }
        for second in 0..60 {
            (0..2).for_each(|n| {
                let paid = transaction("ann", minute * 1_000 + second * 2 + n);
                world.say(honest, &Message::Transaction(&paid));
            });
            world.advance(SECOND);
            attend(&mut world, receiver, &mut heard);
            attend(&mut world, honest, &mut BTreeMap::new());
        }
    }
    let waiting = world.get(alice).chain().pool_ids(usize::MAX);
    let missing = waiting.iter().filter_map(|id| world.get(alice).chain().pool_transaction(id));
    let missing = missing.filter(|paid| !heard.contains_key(paid)).count();
    assert!(missing <= 2, "{missing} of {} did not come", waiting.len());
}

/// 64 MiB came from one stranger within a second, and nobody's transaction was taken any more.
#[test]
fn a_stranger_who_fills_the_pool_keeps_nobody_out_of_it() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let receiver = world.peer(alice, "10.6.0.1:1", "receiver", 2);
    let honest = world.peer(alice, "10.5.0.1:1", "honest", 2);
    let bad = owing_peer(&mut world, alice, "10.9.0.1:1", "bad");
    let name = "e".repeat(65_535);
    let time = UnixTime::from_millis(1_800_000_000_000);
    let huge = |nonce| Transaction { sender: &name, recipient: &name, amount: 1, time, nonce }.encode().unwrap();
    (0..600).for_each(|n| world.say(bad, &Message::Transaction(&huge(n))));
    // To the brim.
    for len in (1..17).rev().map(|bits| 1usize << bits) {
        let recipient = "e".repeat(len.saturating_sub(40).max(1));
        let small = Transaction { sender: "e", recipient: &recipient, amount: 1, time, nonce: 0 }.encode().unwrap();
        world.say(bad, &Message::Transaction(&small));
    }
    let before = world.get(alice).chain().pool().bytes();
    assert!(before > (64 << 20) - (140 << 10), "{before}");
    let mut heard = BTreeMap::new();
    for n in 0..50 {
        let paid = transaction("ann", n);
        world.say(honest, &Message::Transaction(&paid));
        for _ in 0..10 {
            world.advance(SECOND / 10);
            attend(&mut world, receiver, &mut heard);
            attend(&mut world, honest, &mut BTreeMap::new());
        }
        let id = world.get(alice).chain().transaction_id(&paid).unwrap();
        assert!(world.get(alice).chain().pool().contains(&id), "transaction {n} is not taken");
        assert!(heard.contains_key(&paid), "transaction {n} did not come");
    }
    assert!(world.get(alice).chain().pool().bytes() <= 64 << 20);
}

/// The challenges that came to a peer, which says what keeps its connection alive.
fn challenges(world: &mut World, to: Stranger) -> Vec<Bytes> {
    let mut heard = Vec::new();
    while let Some((kind, payload)) = world.hear(to) {
        if let Ok(Message::Ping(ping)) = Message::decode(kind, &payload) {
            world.say(to, &Message::Pong(ping));
        }
        heard.extend((kind == Kind::NewChallenge).then_some(payload));
    }
    heard
}

/// 20 junk challenges used up what every peer takes of them, and five honest ones were never passed on.
#[test]
fn a_stranger_who_says_much_silences_nobody_else() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let receiver = world.peer(alice, "10.6.0.1:1", "receiver", 2);
    let (honest, bad) = (world.peer(alice, "10.5.0.1:1", "honest", 2), world.peer(alice, "10.9.0.1:1", "bad", 2));
    (0..60u8).for_each(|n| world.say(bad, &Message::NewChallenge(&[1, n])));
    let junk = challenges(&mut world, receiver);
    assert!((8..20).contains(&junk.len()), "{} of 60 went at once", junk.len());
    (0..4u8).for_each(|n| world.say(honest, &Message::NewChallenge(&[2, n])));
    let heard = challenges(&mut world, receiver);
    assert_eq!(heard, (0..4).map(|n| Bytes::copy_from_slice(&[2, n])).collect::<Vec<_>>());
    // The stranger goes on at the pace that he has; what others say now and then comes soon all the same.
    for minute in 0..20u8 {
        for quarter in 0..4u8 {
            (0..15u8).for_each(|n| world.say(bad, &Message::NewChallenge(&[3, minute, quarter, n])));
            let words = [4, minute, quarter];
            if quarter == 0 {
                world.say(honest, &Message::NewChallenge(&words));
            }
            world.advance(15 * SECOND);
            let heard = challenges(&mut world, receiver);
            assert_eq!(heard.contains(&Bytes::copy_from_slice(&words)), quarter == 0, "minute {minute}");
            challenges(&mut world, honest);
            challenges(&mut world, bad);
            for peer in [receiver, honest, bad] {
                world.say(peer, &Message::Heartbeat(Heartbeat::Status { chain_length: 1, node_id: "peer" }));
            }
        }
    }
    assert!(world.get(alice).counters().relay_dropped > 0 && !world.is_closed(bad));
}

/// Twenty of as many subnets, who say all that they may, left no place to five others: none of these was heard within a minute,
/// for one in four seconds went out, and each of the twenty had its turn before.
#[test]
fn twenty_subnets_that_say_all_they_may_keep_five_honest_ones_back_for_seconds() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |_| {});
    let receiver = world.peer(alice, "10.6.0.1:1", "receiver", 2);
    let junkers: Vec<Stranger> =
        (0..20).map(|n| world.peer(alice, &format!("10.9.{n}.1:1"), &format!("junk{n}"), 2)).collect();
    let honest: Vec<Stranger> =
        (0..5).map(|n| world.peer(alice, &format!("10.5.{n}.1:1"), &format!("honest{n}"), 2)).collect();
    for (from, junker) in (0u8..).zip(&junkers) {
        (0..60u8).for_each(|n| world.say(*junker, &Message::NewChallenge(&[1, from, n])));
    }
    challenges(&mut world, receiver);
    for round in 0..4u8 {
        (0u8..).zip(&honest).for_each(|(from, one)| world.say(*one, &Message::NewChallenge(&[2, round, from])));
        let (mut came, mut junk) = (0, 0);
        for second in 0..60u8 {
            (0u8..).zip(&junkers).for_each(|(from, junker)| {
                world.say(*junker, &Message::NewChallenge(&[3, round, from, second]));
            });
            let heard = challenges(&mut world, receiver);
            came += heard.iter().filter(|words| words.starts_with(&[2, round])).count();
            junk += heard.iter().filter(|words| !words.starts_with(&[2])).count();
            assert!(second < 8 || came == 5, "round {round}: {came} of 5 after 8 s");
            world.advance(SECOND);
            if second % 20 == 0 {
                for peer in junkers.iter().chain(&honest).chain([&receiver]) {
                    world.say(*peer, &Message::Heartbeat(Heartbeat::Status { chain_length: 1, node_id: "peer" }));
                }
            }
            for peer in junkers.iter().chain(&honest) {
                challenges(&mut world, *peer);
            }
        }
        // In a minute 45 go, of which at first some places become free again.
        assert!(junk >= 15, "what they leave is for the twenty: {junk}");
    }
    assert!(junkers.iter().chain(&honest).all(|peer| !world.is_closed(*peer)));
}

/// 60 strangers who claimed a long chain and told nothing of it had two seconds each, two at a time, before a node was asked that we
/// had dialed: the sync began after 62 s.
#[test]
fn strangers_with_high_claims_do_not_delay_the_sync_from_a_node_that_we_dialed() {
    let mut world = World::new();
    let bob = world.node("bob", "10.1.0.1:8333", |_| {});
    for _ in 0..3 {
        world.mine(bob);
    }
    let alice = world.node("alice", ALICE, |_| {});
    for n in 0..60 {
        let liar = world.stranger(alice, &format!("10.9.{n}.1:1")).unwrap();
        claim(&mut world, liar, n);
        world.advance(SECOND / 20);
    }
    world.command(alice, Command::Connect("10.1.0.1:8333".parse().unwrap()));
    world.advance(2 * SECOND);
    assert_eq!(world.get(alice).chain().best().height, 3);
}

/// Where nobody is chosen, subnets take turns: a crowd in one subnet has one turn, and then the others have theirs.
#[test]
fn a_crowd_with_high_claims_shares_one_turn_with_those_of_its_subnet() {
    let mut world = World::new();
    let bob = world.node("bob", "10.1.0.1:8333", |_| {});
    for _ in 0..3 {
        world.mine(bob);
    }
    let alice = world.node("alice", ALICE, |_| {});
    for n in 0..8 {
        let liar = world.stranger(alice, &format!("10.9.0.{}:1", n + 1)).unwrap();
        claim(&mut world, liar, n);
        world.advance(2 * SECOND / 5);
    }
    world.command(bob, Command::Connect(ALICE.parse().unwrap()));
    world.advance(5 * SECOND);
    assert_eq!(world.get(alice).chain().best().height, 3);
}

/// The same where the honest node came to us as well, and last: 60 subnets with two seconds each, two at a time, kept it waiting
/// for a minute. The more of them say nothing, the more are asked at once.
#[test]
fn strangers_with_high_claims_of_many_subnets_delay_the_sync_from_another_stranger_by_a_few_turns() {
    let mut world = World::new();
    let bob = world.node("bob", "10.1.0.1:8333", |_| {});
    for _ in 0..3 {
        world.mine(bob);
    }
    let alice = world.node("alice", ALICE, |_| {});
    for n in 0..60 {
        let liar = world.stranger(alice, &format!("10.9.{n}.1:1")).unwrap();
        claim(&mut world, liar, n);
        world.advance(SECOND / 50);
    }
    world.command(bob, Command::Connect(ALICE.parse().unwrap()));
    world.advance(12 * SECOND);
    assert_eq!(world.get(alice).chain().best().height, 3);
}

/// Introduces a stranger as one with a chain of a million blocks.
fn claim(world: &mut World, stranger: Stranger, n: u8) {
    let id = format!("liar{n}");
    let extension = Extension {
        network: Hash::ZERO,
        nonce: 1000 + u64::from(n),
        listening_port: 0,
        features: 0,
        best_height: 1_000_000,
        best_hash: Hash([n; 32]),
        seen: None,
    };
    let (node_id, user_agent) = (id.as_str(), "liar/1");
    let greeting = Handshake { version: 2, unix_seconds: 0, node_id, user_agent, extension: Some(extension) };
    world.say(stranger, &Message::Handshake(greeting));
}
