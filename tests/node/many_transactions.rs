//! A thousand transactions a second go over every hop whose two ends say that they take so many; nobody else is sent more than before.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use spacetime_network::chain::Transaction;
use spacetime_network::proto::budget::MANY;
use spacetime_network::proto::{Command, Event};
use spacetime_network::time::{Instant, UnixTime};
use spacetime_network::wire::message::{Extension, Heartbeat};
use spacetime_network::wire::{Kind, Message};

use crate::introduction::introduction;
use crate::world::{Stranger, World};

const STEP: Duration = Duration::from_millis(10);

/// One of 256 bytes.
fn transaction(sender: &str, nonce: u64) -> Bytes {
    let time = UnixTime::from_millis(1_800_000_000_000);
    let len = Transaction { sender, recipient: "b", amount: 5, time, nonce }.encode().unwrap().len();
    let recipient = "b".repeat(257 - len);
    Transaction { sender, recipient: &recipient, amount: 5, time, nonce }.encode().unwrap()
}

/// Three nodes in a line, the last of which says that it takes many or does not.
fn line(world: &mut World, takes_many: bool) -> [usize; 3] {
    let addresses = ["10.1.0.1:8333", "10.2.0.1:8333", "10.3.0.1:8333"];
    let nodes = [0, 1, 2].map(|at: usize| {
        let before = at.checked_sub(1).map(|at| addresses[at].parse().unwrap());
        world.node(["a", "b", "c"][at], addresses[at], |config| {
            config.connect = before.into_iter().collect();
            config.outbound = 0;
            config.feeler_every = None;
            config.many_transactions = takes_many || at < 2;
        })
    });
    world.advance(Duration::from_secs(5));
    nodes
}

/// A hop passed 15 a second to a stranger and 150 to an exempt peer, where the engine took in 320: above that the delay grew without
/// end, and what found no room among those that waited came never, without a word.
#[test]
fn a_thousand_transactions_a_second_go_through_three_nodes_in_a_line_and_none_takes_a_second() {
    let mut world = World::new();
    let [first, _, last] = line(&mut world, true);
    world.events.clear();
    let (mut sent, mut took) = (Vec::new(), Vec::new());
    for step in 0..800u64 {
        for n in 0..10 {
            sent.push(world.now.at);
            world.command(first, Command::SubmitTransaction(transaction("ann", step * 10 + n)));
        }
        world.advance(STEP);
        let now = world.now.at;
        let came = world.events.drain(..).filter(|(at, event)| {
            assert!(!matches!(event, Event::RelayDropped { .. }), "nothing is lost");
            *at == last && matches!(event, Event::TransactionAccepted { .. })
        });
        // They come in the order in which they were said.
        came.for_each(|_| took.push(now.since(sent[took.len()])));
    }
    assert!(took.len() > sent.len() - 1_000, "{} of {} came", took.len(), sent.len());
    took.sort_unstable();
    let p99 = took[took.len() * 99 / 100];
    assert!(p99 < Duration::from_secs(1), "p99 is {p99:?}");
    for node in 0..3 {
        assert_eq!(world.get(node).counters().relay_dropped, 0);
        assert!(world.get(node).counters().over_budget.is_empty());
    }
    assert_eq!(world.quarrels, []);
}

/// Of ten thousand payments that a node was given at once, five thousand found no room among what waited for its peer. They came when
/// the pools were compared, two thousand every half a minute: after 61 seconds.
#[test]
fn what_a_node_is_given_at_once_goes_at_the_relays_pace_to_its_end() {
    let mut world = World::new();
    let [first, _, last] = line(&mut world, true);
    for nonce in 0..10_000 {
        world.command(first, Command::SubmitTransaction(transaction("ann", nonce)));
    }
    for _ in 0..900 {
        world.advance(STEP);
    }
    assert_eq!(world.get(last).chain().pool().len(), 10_000);
    assert_eq!(world.get(first).counters().relay_dropped, 0, "none was left out");
    assert_eq!(world.quarrels, []);
}

#[test]
fn a_node_that_does_not_say_that_it_takes_many_drops_none_of_what_it_is_sent() {
    let mut world = World::new();
    let [first, middle, last] = line(&mut world, false);
    for step in 0..500u64 {
        world.command(first, Command::SubmitTransaction(transaction("ann", step)));
        world.advance(STEP);
    }
    assert_eq!(world.get(middle).counters().received[&Kind::Transaction], 500);
    let received = world.get(last).counters().received[&Kind::Transaction];
    assert!((150..250).contains(&received), "{received} in five seconds and a burst");
    assert!(world.get(last).counters().over_budget.is_empty());
}

/// A peer that sets the bit.
fn modern(world: &mut World, node: usize, from: &str, id: &str) -> Stranger {
    let stranger = world.stranger(node, from).unwrap();
    let Message::Handshake(mut handshake) = introduction(id, 2, 0) else { unreachable!() };
    let extension = handshake.extension.as_mut().unwrap();
    extension.features = Extension::OFFERS_TRANSACTIONS | Extension::TAKES_MANY_TRANSACTIONS;
    world.say(stranger, &Message::Handshake(handshake));
    stranger
}

fn attend(world: &mut World, peer: Stranger, heard: &mut BTreeMap<Bytes, Instant>) {
    while let Some((kind, payload)) = world.hear(peer) {
        match Message::decode(kind, &payload).unwrap() {
            Message::Ping(ping) => world.say(peer, &Message::Pong(ping)),
            Message::GetHeaders(_) => world.say(peer, &Message::Headers(vec![])),
            Message::TxPoolRequest(_) => world.say(peer, &Message::TxPool(vec![])),
            Message::Transaction(_) => {
                heard.entry(payload).or_insert(world.now.at);
            }
            _ => {}
        }
    }
}

#[test]
fn a_stranger_who_floods_at_the_rate_of_many_gets_what_others_leave_and_delays_none_of_theirs() {
    let mut world = World::new();
    let alice = world.node("alice", "10.0.0.1:8333", |_| {});
    let receiver = modern(&mut world, alice, "10.6.0.1:1", "receiver");
    let honest = modern(&mut world, alice, "10.5.0.1:1", "honest");
    let floods: Vec<Stranger> =
        (0..2u8).map(|n| modern(&mut world, alice, &format!("10.9.{n}.1:1"), &format!("bad{n}"))).collect();
    let (mut heard, mut paid) = (BTreeMap::new(), BTreeMap::new());
    let mut nonce = 0;
    for second in 0..5u64 {
        for (n, flood) in floods.iter().enumerate() {
            // More than it may.
            for _ in 0..if second == 0 { 2 * MANY.burst } else { 2_000 } {
                nonce += 1;
                world.say(*flood, &Message::Transaction(&transaction(&format!("eve{n}"), nonce)));
            }
        }
        for n in 0..10 {
            let payment = transaction("ann", second * 10 + n);
            world.say(honest, &Message::Transaction(&payment));
            paid.insert(payment, world.now.at);
            world.advance(Duration::from_millis(100));
            attend(&mut world, receiver, &mut heard);
            attend(&mut world, honest, &mut BTreeMap::new());
            floods.iter().for_each(|flood| attend(&mut world, *flood, &mut BTreeMap::new()));
        }
        let alive = Message::Heartbeat(Heartbeat::Status { chain_length: 1, node_id: "peer" });
        floods.iter().chain([&receiver, &honest]).for_each(|peer| world.say(*peer, &alive));
    }
    for (payment, at) in &paid {
        let came = heard.get(payment).copied().expect("it came");
        assert!(came.since(*at) <= Duration::from_secs(1), "it took {:?}", came.since(*at));
    }
    let counters = world.get(alice).counters();
    assert!(counters.over_budget[&Kind::Transaction] > 5_000 && counters.relay_dropped > 0);
    assert!(floods.iter().all(|flood| !world.is_closed(*flood)), "who passes on what others say is not to blame");
    let floods = heard.len() - paid.len();
    assert!((5_000..2_100 + 6 * 1_050).contains(&floods), "{floods} of theirs came");
    let told = world.events.iter().filter_map(|(_, event)| match event {
        Event::RelayDropped { count } => Some(*count),
        _ => None,
    });
    let told: u64 = told.sum();
    world.advance(Duration::from_secs(11));
    let later = world.events.iter().filter(|(_, event)| matches!(event, Event::RelayDropped { .. })).count();
    assert!(told > 0 || later > 0, "what was not passed on is told");
}
