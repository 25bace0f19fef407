//! Version 1 peers of both revisions of the C# library: every recorded frame, what shows which of them speaks, and who tries to
//! make something of it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use spacetime_network::address::ExemptRanges;
use spacetime_network::close::CloseReason;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::proto::{Command, Config, Event};
use spacetime_network::wire::message::{BlockAccepted, GetPeers, Heartbeat, Ping, ProofSubmission, TxPoolRequest};
use spacetime_network::wire::{Hash, Kind, Message};

use crate::recorded::{first, later, named};
use crate::world::{Stranger, World, introduction};

const NODE: &str = "5.0.0.1:7000";

fn strict(config: &mut Config) {
    config.outbound = 0;
}

/// A stranger that connects and greets as this recorded dialer.
fn dialer(world: &mut World, node: usize, from: &str, handshake: &(u8, Vec<u8>)) -> Stranger {
    let stranger = world.stranger(node, from).expect("admitted");
    world.say_raw(stranger, handshake.0, handshake.1.clone().into());
    assert_eq!(world.hear(stranger).map(|(kind, _)| kind), Some(Kind::HandshakeAck));
    assert_eq!(world.hear_all(stranger), [Kind::GetHeaders], "and is asked what it has");
    stranger
}

/// A node that has dialed a listener, which says this.
fn listener(world: &mut World, id: &str, ack: &(u8, Vec<u8>)) -> (usize, Stranger) {
    world.traps = Some(|address: &SocketAddr| address.port() == 9999);
    let node = world.node(id, NODE, |config| {
        strict(config);
        config.connect = vec!["6.0.0.1:9999".parse().unwrap()];
    });
    world.settle();
    let stranger = world.trapped.pop().expect("it was dialed");
    assert_eq!(world.hear(stranger).map(|(kind, _)| kind), Some(Kind::Handshake));
    world.say_raw(stranger, ack.0, ack.1.clone().into());
    (node, stranger)
}

fn lost(world: &World, node: usize) -> usize {
    world.count(node, |event| matches!(event, Event::PeerDisconnected { .. } | Event::HandshakeFailed { .. }))
}

/// A line of a record: from which revision, and what the node answers at once.
#[test]
fn every_recorded_frame_of_the_first_revision_is_taken_and_answered() {
    let recorded = first();
    let answers: &[(&str, &[Kind])] = &[
        ("Heartbeat", &[]),
        ("GetPeers", &[Kind::Peers]),
        ("GetHeaders", &[Kind::Headers]),
        // It has neither block, and version 1 has no word for that.
        ("GetBlock", &[]),
        ("Peers", &[]),
        ("Headers", &[]),
    ];
    replay(&recorded, answers);
    // The listener's side of it.
    let mut world = World::new();
    let (node, peer) = listener(&mut world, "a", &named(&recorded, "HandshakeAck"));
    assert_eq!(world.get(node).connected().map(|peer| peer.node_id).collect::<Vec<_>>(), ["csharp-two"]);
    assert_eq!(world.hear_all(peer), [Kind::GetPeers, Kind::GetHeaders]);
}

#[test]
fn every_recorded_frame_of_the_last_revision_is_taken_and_answered() {
    let recorded = later();
    let answers: &[(&str, &[Kind])] = &[
        ("BlockAccepted", &[Kind::GetHeaders]),
        ("GetBlock", &[]),
        ("GetHeaders", &[Kind::Headers]),
        ("GetPeers", &[Kind::Peers]),
        ("Headers", &[]),
        ("Heartbeat", &[]),
        ("Peers", &[]),
        ("Ping", &[Kind::Pong]),
        ("ProofSubmission", &[]),
        // Without data there is no answer that it could read, and the pool is empty.
        ("TxPoolRequest", &[]),
        ("AnswerToPong", &[Kind::Pong]),
    ];
    replay(&recorded, answers);
    let mut world = World::new();
    let (node, peer) = listener(&mut world, "a", &named(&recorded, "HandshakeAck"));
    assert_eq!(world.get(node).connected().map(|peer| peer.node_id).collect::<Vec<_>>(), ["peer_6.0.0.1_9999"]);
    assert_eq!(world.hear_all(peer), [Kind::GetPeers, Kind::GetHeaders]);
}

fn replay(recorded: &[(&str, (u8, Vec<u8>))], answers: &[(&str, &[Kind])]) {
    let handshake = named(recorded, "Handshake");
    for (name, (byte, payload)) in recorded {
        if name.starts_with("Handshake") {
            continue;
        }
        let (_, expected) = answers.iter().find(|(of, _)| of == name).unwrap_or_else(|| panic!("{name} is new"));
        let mut world = World::new();
        let node = world.node("a", NODE, strict);
        let peer = dialer(&mut world, node, "9.0.0.1:1", &handshake);
        world.say(peer, &Message::Headers(vec![]));
        world.say_raw(peer, *byte, payload.clone().into());
        let heard: Vec<Kind> = std::iter::from_fn(|| world.hear(peer)).map(|(kind, _)| kind).collect();
        assert_eq!(heard, *expected, "{name}");
        assert!(!world.is_closed(peer) && lost(&world, node) == 0, "{name}");
    }
    // And all of them on one connection.
    let mut world = World::new();
    let node = world.node("a", NODE, strict);
    let peer = dialer(&mut world, node, "9.0.0.1:1", &handshake);
    for (name, (byte, payload)) in recorded.iter().filter(|(name, _)| !name.starts_with("Handshake")) {
        world.say_raw(peer, *byte, payload.clone().into());
        assert!(!world.is_closed(peer), "{name}");
    }
    assert_eq!(lost(&world, node), 0);
}

fn proof(n: u8) -> Bytes {
    Message::ProofSubmission(ProofSubmission { height: 7, miner: [2; 33], proof: &[n, 8, 7] }).to_payload().unwrap()
}

fn pinged(nonce: i64) -> Message<'static> {
    Message::Ping(Ping { nonce, unix_millis: 0 })
}

/// A peer that has said this after its greeting.
fn shown(world: &mut World, node: usize, from: &str, id: &str, message: Option<&Message<'_>>) -> Stranger {
    let peer = world.peer(node, from, id, 1);
    if let Some(message) = message {
        world.say(peer, message);
    }
    while world.hear(peer).is_some() {}
    peer
}

fn first_dialect() -> Message<'static> {
    Message::Heartbeat(Heartbeat::Status { chain_length: 1, node_id: "first" })
}

/// What a stranger has heard, by type byte.
fn bytes(world: &mut World, peer: Stranger) -> Vec<u8> {
    std::iter::from_fn(|| world.hear(peer)).map(|(kind, _)| kind as u8).filter(|byte| *byte != 0x03).collect()
}

#[test]
fn what_shows_a_dialect_decides_under_which_type_a_proof_comes() {
    let shows: [(Message<'_>, &[u8]); 7] = [
        (pinged(1), &[0x40]),
        (Message::Pong(Ping { nonce: 9, unix_millis: 0 }), &[0x40]),
        (Message::TxPoolRequest(TxPoolRequest { max: 1, include_data: false }), &[0x40]),
        (first_dialect(), &[0x41]),
        (Message::GetPeers(GetPeers::All), &[0x41]),
        // Neither is said by one revision alone.
        (Message::GetPeers(GetPeers::everybody()), &[]),
        (Message::Heartbeat(Heartbeat::Opaque(&[])), &[]),
    ];
    for (message, expected) in &shows {
        let mut world = World::new();
        let node = world.node("a", NODE, strict);
        let peer = shown(&mut world, node, "9.0.0.1:1", "p", Some(message));
        world.command(node, Command::Gossip(Kind::ProofSubmission, proof(1)));
        assert_eq!(bytes(&mut world, peer), *expected, "{message:?}");
    }
}

/// A proof and a challenge wait for a peer that has not shown how it speaks, in both cases for what it can read.
#[test]
fn what_was_said_before_the_dialect_was_shown_follows_when_it_is() {
    for (message, expected) in [(first_dialect(), vec![0x40, 0x41]), (pinged(1), vec![0x05, 0x40])] {
        let mut world = World::new();
        let node = world.node("a", NODE, strict);
        let peer = shown(&mut world, node, "9.0.0.1:1", "p", None);
        world.command(node, Command::Gossip(Kind::NewChallenge, Bytes::from_static(b"challenge")));
        world.command(node, Command::Gossip(Kind::ProofSubmission, proof(1)));
        assert_eq!(bytes(&mut world, peer), [] as [u8; 0]);
        world.say(peer, &message);
        world.advance(Duration::from_secs(1));
        let mut heard = bytes(&mut world, peer);
        heard.sort_unstable();
        assert_eq!(heard, expected);
    }
}

/// Whoever says nothing for ever must not keep a node from speaking to the others.
#[test]
fn a_peer_that_never_shows_its_dialect_keeps_nobody_from_hearing_a_proof() {
    let mut world = World::new();
    let node = world.node("a", NODE, strict);
    let silent = shown(&mut world, node, "9.0.0.1:1", "silent", None);
    let hearer = world.peer(node, "9.0.1.1:1", "hearer", 2);
    while world.hear(hearer).is_some() {}
    let mut heard = 0;
    for n in 0..1200u32 {
        let payload = [&n.to_le_bytes()[..], b"challenge"].concat();
        world.command(node, Command::Gossip(Kind::NewChallenge, payload.into()));
        world.advance(Duration::from_secs(2));
        for stranger in [silent, hearer] {
            world.say(stranger, &Message::Heartbeat(Heartbeat::Opaque(&[])));
            while let Some((kind, payload)) = world.hear(stranger) {
                heard += usize::from(kind == Kind::NewChallenge);
                if let Ok(Message::Ping(ping)) = Message::decode(kind, &payload) {
                    world.say(stranger, &Message::Pong(ping));
                }
            }
        }
    }
    assert!(!world.is_closed(silent));
    assert_eq!(world.count(node, |event| matches!(event, Event::SubmissionRefused { .. })), 0);
    assert!(heard >= 1150, "{heard}");
}

/// What is shown first holds: a peer of the first dialect that pings is answered, and its 0x40 stays a challenge.
#[test]
fn a_dialect_that_changes_its_mind_changes_nothing() {
    let mut world = World::new();
    let node = world.node("a", NODE, strict);
    let peer = shown(&mut world, node, "9.0.0.1:1", "p", Some(&first_dialect()));
    let hearer = world.peer(node, "9.0.1.1:1", "hearer", 2);
    while world.hear(hearer).is_some() {}
    world.say(peer, &pinged(1));
    assert_eq!(bytes(&mut world, peer), [0x05]);
    world.say_raw(peer, 0x40, proof(1));
    assert_eq!(world.hear_all(hearer), [Kind::NewChallenge]);
    // And the other way round.
    let peer = shown(&mut world, node, "9.0.2.1:1", "q", Some(&pinged(1)));
    world.say(peer, &first_dialect());
    world.say_raw(peer, 0x40, proof(2));
    assert_eq!(world.hear_all(hearer), [Kind::ProofSubmission]);
    assert_eq!(lost(&world, node), 0);
}

/// An honest peer of the first revision passes on what somebody made to look like a proof, before anything has shown how it speaks.
#[test]
fn a_challenge_that_is_also_a_proof_is_dropped_while_nobody_knows_which_and_nobody_is_blamed() {
    let mut world = World::new();
    let node = world.node("a", NODE, strict);
    let peer = shown(&mut world, node, "9.0.0.1:1", "p", None);
    let hearer = world.peer(node, "9.0.1.1:1", "hearer", 2);
    while world.hear(hearer).is_some() {}
    world.say_raw(peer, 0x40, proof(1));
    assert_eq!(world.hear_all(hearer), []);
    assert_eq!(world.get(node).counters().ambiguous, 1);
    // With a byte left over it is no proof, and so a challenge.
    let mut challenge = proof(2).to_vec();
    challenge.push(0);
    world.say_raw(peer, 0x40, challenge.into());
    assert_eq!(world.hear_all(hearer), [Kind::NewChallenge]);
    world.say(peer, &first_dialect());
    world.say_raw(peer, 0x40, proof(1));
    assert_eq!(world.hear_all(hearer), [Kind::NewChallenge]);
    assert_eq!(lost(&world, node), 0);
}

/// Eight gigabytes of them came in five seconds from one who showed nothing, and no counter moved.
#[test]
fn challenges_that_could_be_proofs_are_counted_and_soon_over_the_budget() {
    let mut world = World::new();
    let node = world.node("a", NODE, strict);
    let peer = shown(&mut world, node, "9.0.0.1:1", "p", None);
    (0..100).for_each(|_| world.say_raw(peer, 0x40, proof(1)));
    let counters = world.get(node).counters();
    assert_eq!((counters.ambiguous, counters.received[&Kind::NewChallenge]), (100, 100));
    assert!(counters.over_budget[&Kind::NewChallenge] >= 40);
    assert_eq!(lost(&world, node), 0, "and nobody is blamed");
}

#[test]
fn what_is_too_large_for_a_challenge_and_no_proof_is_a_violation() {
    let mut world = World::new();
    let node = world.node("a", NODE, strict);
    let peer = shown(&mut world, node, "9.0.0.1:1", "p", None);
    let large = Message::ProofSubmission(ProofSubmission { height: 7, miner: [2; 33], proof: &[1; 5000] });
    world.say_raw(peer, 0x40, large.to_payload().unwrap());
    assert!(!world.is_closed(peer));
    world.say_raw(peer, 0x40, vec![0xff; 4097].into());
    assert!(world.is_closed(peer));
    let wrong = |event: &Event| {
        matches!(event, Event::PeerDisconnected { reason: CloseReason::Payload(Kind::NewChallenge, _), .. })
    };
    assert_eq!(world.count(node, wrong), 1);
}

#[test]
fn an_acceptance_is_told_from_a_proof_by_its_length_and_goes_on_under_the_type_of_each_version() {
    let mut world = World::new();
    let node = world.node("a", NODE, strict);
    let from = shown(&mut world, node, "9.0.0.1:1", "p", Some(&pinged(1)));
    let first = shown(&mut world, node, "9.0.1.1:1", "first", Some(&first_dialect()));
    let second = world.peer(node, "9.0.2.1:1", "second", 2);
    while world.hear(second).is_some() {}
    let accepted = BlockAccepted { hash: Hash([0xaa; 32]), height: 0 };
    world.say_raw(from, 0x41, Message::BlockAccepted(accepted).to_payload().unwrap());
    assert_eq!(bytes(&mut world, second), [0x42]);
    assert_eq!(bytes(&mut world, first), [] as [u8; 0]);
    world.say_raw(first, 0x41, proof(1));
    assert_eq!(bytes(&mut world, second), [0x41]);
    assert_eq!(bytes(&mut world, from), [0x40]);
    // To a later revision only what we hold is an acceptance, and an empty proof is nothing at all.
    world.say_raw(
        second,
        0x42,
        Message::BlockAccepted(BlockAccepted { hash: Hash([1; 32]), height: 0 }).to_payload().unwrap(),
    );
    let empty = Message::ProofSubmission(ProofSubmission { height: 7, miner: [3; 33], proof: &[] });
    world.say_raw(second, 0x41, empty.to_payload().unwrap());
    assert_eq!(bytes(&mut world, from), [] as [u8; 0]);
    assert_eq!(bytes(&mut world, first), [0x41]);
    assert_eq!(lost(&world, node), 0);
}

#[test]
fn a_new_tip_goes_to_a_later_peer_with_its_acceptance_once() {
    let mut world = World::new();
    let node = world.node("a", NODE, strict);
    let later = shown(&mut world, node, "9.0.0.1:1", "later", Some(&pinged(1)));
    let second = world.peer(node, "9.0.2.1:1", "second", 2);
    while world.hear(second).is_some() {}
    let hash = world.mine(node);
    assert_eq!(bytes(&mut world, later), [0x31, 0x41]);
    assert_eq!(bytes(&mut world, second), [0x31], "version 2 says it by the block");
    // The word of another of the same block.
    let accepted = Message::BlockAccepted(BlockAccepted { hash, height: 1 });
    world.say(second, &accepted);
    assert_eq!(bytes(&mut world, later), [] as [u8; 0]);
    // One that it mined itself, as its miner broadcasts it, comes back as an acceptance alone.
    world.advance(Duration::from_secs(1));
    let block = world.block_on(node, "csharp");
    world.say_raw(later, Kind::Block as u8, block);
    assert_eq!(bytes(&mut world, later), [0x41]);
    assert_eq!(bytes(&mut world, second), [0x31]);
    assert_eq!(world.get(node).chain().best().height, 2);
}

#[test]
fn a_block_that_is_pushed_as_block_is_judged_and_charged_as_a_new_one() {
    let mut world = World::new();
    let node = world.node("a", NODE, strict);
    let peer = shown(&mut world, node, "9.0.0.1:1", "p", None);
    world.say_raw(peer, Kind::Block as u8, Bytes::from_static(b"no block"));
    assert!(world.is_closed(peer));
    let wrong =
        |event: &Event| matches!(event, Event::PeerDisconnected { reason: CloseReason::Invalid(Kind::NewBlock), .. });
    assert_eq!(world.count(node, wrong), 1);
    let peer = shown(&mut world, node, "9.0.1.1:1", "q", None);
    let block = world.block_on(node, "m");
    for _ in 0..1100 {
        world.say_raw(peer, Kind::Block as u8, block.clone());
    }
    assert!(world.get(node).counters().over_budget[&Kind::NewBlock] > 0);
    assert_eq!(world.get(node).chain().best().height, 1);
    // In version 2 it is still the answer to nothing.
    let second = world.peer(node, "9.0.2.1:1", "second", 2);
    world.say_raw(second, Kind::Block as u8, block);
    assert!(world.is_closed(second));
}

/// It answered a Pong by a Ping of the same nonce, and we that by a Pong: 20,000 a second.
#[test]
fn pings_do_not_echo_for_ever() {
    let mut world = World::new();
    let node = world.node("a", NODE, strict);
    let peer = shown(&mut world, node, "9.0.0.1:1", "p", None);
    for nonce in 0..30 {
        world.say(peer, &pinged(nonce));
        assert_eq!(bytes(&mut world, peer), [0x05], "{nonce}");
        world.say(peer, &pinged(nonce));
        assert_eq!(bytes(&mut world, peer), [] as [u8; 0], "the echo of {nonce}");
    }
    // Our own ping, which it gets since it pings, is answered by one, which is the end of it.
    world.advance(Duration::from_secs(31));
    let mut asked = None;
    while let Some((kind, payload)) = world.hear(peer) {
        if let Ok(Message::Ping(ping)) = Message::decode(kind, &payload) {
            asked = Some(ping);
        }
    }
    let asked = asked.expect("a ping of ours");
    world.say(peer, &Message::Ping(asked));
    assert_eq!(bytes(&mut world, peer), [] as [u8; 0]);
    assert!(world.get(node).connected().all(|peer| peer.round_trip.is_some()));
    assert_eq!(lost(&world, node), 0);
}

#[test]
fn who_pings_a_thousand_times_a_second_is_closed_even_where_nobody_is_limited() {
    for exempt in ["9.0.0.0/8", "10.0.0.0/8"] {
        let mut world = World::new();
        let node = world.node("a", NODE, |config| {
            strict(config);
            config.admission.exempt = ExemptRanges(vec![exempt.parse().unwrap()]);
        });
        let peer = shown(&mut world, node, "9.0.0.1:1", "p", None);
        let mut sent = 0;
        while !world.is_closed(peer) && sent < 5000 {
            world.say(peer, &pinged(sent));
            world.advance(Duration::from_millis(1));
            sent += 1;
        }
        assert!(world.is_closed(peer) && sent < 1000, "{exempt}: after {sent}");
        let flooding =
            |event: &Event| matches!(event, Event::PeerDisconnected { reason: CloseReason::Flooding(Kind::Ping), .. });
        assert_eq!(world.count(node, flooding), 1);
    }
}

/// A later peer that asks for the pool gets what its relay takes, and the rest at that pace.
#[test]
fn the_pool_goes_to_a_version_1_peer_as_transactions_and_by_its_bucket() {
    let mut world = World::new();
    let node = world.node("a", NODE, strict);
    let now = world.now.unix;
    for n in 0..300u64 {
        let transaction =
            spacetime_network::chain::Transaction { sender: "ann", recipient: "bob", amount: 1, time: now, nonce: n };
        world.command(node, Command::SubmitTransaction(transaction.encode().unwrap()));
    }
    let peer = shown(&mut world, node, "9.0.0.1:1", "p", None);
    world.say(peer, &Message::TxPoolRequest(TxPoolRequest { max: 1000, include_data: false }));
    assert_eq!(bytes(&mut world, peer), [] as [u8; 0]);
    world.say(peer, &Message::TxPoolRequest(TxPoolRequest { max: 1000, include_data: true }));
    let at_once = bytes(&mut world, peer);
    assert!(at_once.len() == 80 && at_once.iter().all(|byte| *byte == 0x30), "{}", at_once.len());
    world.advance(Duration::from_secs(10));
    let later = bytes(&mut world, peer).len();
    assert!((70..=82).contains(&later), "{later}");
    world.advance(Duration::from_secs(20));
    assert_eq!(at_once.len() + later + bytes(&mut world, peer).len(), 300);
}

/// A stranger that makes us pass on as much as it may costs no later peer, and no silent one, its patience; and proofs find a place.
#[test]
fn one_stranger_who_makes_us_relay_gets_no_later_peer_more_than_its_bucket() {
    let mut world = World::new();
    let node = world.node("a", NODE, |config| {
        strict(config);
        config.admission.exempt = ExemptRanges(vec!["8.0.0.0/8".parse().unwrap()]);
    });
    let later = shown(&mut world, node, "9.0.0.1:1", "later", Some(&pinged(1)));
    let silent = shown(&mut world, node, "9.0.1.1:1", "silent", None);
    let loud = world.peer(node, "8.0.0.1:1", "loud", 2);
    let now = world.now.unix;
    let (mut counts, mut proofs) = ([0usize; 2], 0);
    for second in 0..120u64 {
        for n in 0..40 {
            let transaction = spacetime_network::chain::Transaction {
                sender: "ann",
                recipient: "bob",
                amount: 1,
                time: now,
                nonce: second * 100 + n,
            };
            world.say_raw(loud, Kind::Transaction as u8, transaction.encode().unwrap());
        }
        if second.is_multiple_of(10) {
            let one = ProofSubmission { height: second, miner: [2; 33], proof: &[1] };
            world.say(loud, &Message::ProofSubmission(one));
            world.mine(node);
        }
        world.advance(Duration::from_secs(1));
        while let Some((kind, payload)) = world.hear(loud) {
            if let Ok(Message::Ping(ping)) = Message::decode(kind, &payload) {
                world.say(loud, &Message::Pong(ping));
            }
        }
        for (peer, count) in [later, silent].into_iter().zip(&mut counts) {
            let mut heard = Vec::new();
            while let Some((kind, payload)) = world.hear(peer) {
                heard.push(kind as u8);
                if let Ok(Message::Ping(ping)) = Message::decode(kind, &payload) {
                    world.say(peer, &Message::Ping(ping));
                }
            }
            *count += heard.iter().filter(|byte| [0x30, 0x31, 0x40, 0x41].contains(byte)).count();
            proofs += heard.iter().filter(|byte| **byte == 0x40).count();
            world.say(peer, &Message::Heartbeat(Heartbeat::Opaque(&[])));
            let most = 102 + 8 * (second as usize + 1);
            assert!(*count <= most, "{count} of {most}");
        }
    }
    let ended: Vec<_> =
        world.events.iter().filter(|(_, event)| matches!(event, Event::PeerDisconnected { .. })).collect();
    assert!(ended.is_empty(), "{ended:?}");
    assert_eq!(proofs, 12, "each proof of the stranger's came, though transactions would fill the bucket");
    assert!(counts.iter().all(|count| *count > 900), "{counts:?}");
    assert_eq!(lost(&world, node), 0);
}

/// Two of our own nodes, one of which is set to version 1, know each other as the first dialect at once, on both sides.
#[test]
fn our_own_nodes_in_version_1_know_each_other_at_once() {
    for [one, two] in [[1, 1], [1, 2], [2, 1]] {
        let mut world = World::new();
        let node = world.node("a", NODE, |config| {
            strict(config);
            config.version = one;
        });
        let other = world.node("b", "6.0.0.1:7000", |config| {
            strict(config);
            config.version = two;
            config.connect = vec![NODE.parse().unwrap()];
        });
        world.advance(Duration::from_secs(1));
        for from in [node, other] {
            let payload = Bytes::from(format!("challenge of {from}"));
            world.command(from, Command::Gossip(Kind::NewChallenge, payload));
            world.command(from, Command::Gossip(Kind::ProofSubmission, proof(from as u8)));
            world.mine(from);
        }
        world.advance(Duration::from_secs(200));
        for to in [node, other] {
            let heard = |event: &Event| matches!(event, Event::Gossip { from: Some(_), .. });
            assert_eq!(world.count(to, heard), 2, "{one} {two}");
            assert_eq!((world.get(to).chain().best().height, lost(&world, to)), (2, 0));
        }
        assert!(world.quarrels.is_empty());
    }
}

/// A later revision that says nothing after its handshake gets only what both revisions can read.
#[test]
fn a_later_peer_that_says_nothing_after_its_handshake_is_sent_what_all_can_read() {
    let mut world = World::new();
    let node = world.node("a", NODE, strict);
    let peer = shown(&mut world, node, "9.0.0.1:1", "p", None);
    let second = world.peer(node, "9.0.2.1:1", "second", 2);
    world.say(second, &Message::NewChallenge(b"c"));
    world.say_raw(second, 0x41, proof(1));
    world.mine(node);
    world.say(second, &introduction("second", 2, 0));
    world.advance(Duration::from_secs(80));
    let heard = bytes(&mut world, peer);
    assert_eq!(heard.iter().filter(|byte| ![0x31, 0x10].contains(byte)).count(), 0, "{heard:02x?}");
    assert!(!world.is_closed(peer));
}
