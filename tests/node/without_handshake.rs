//! Clients that do not introduce themselves, as the miner, the discovery and the download of the C# library: what each is told, frame
//! by frame, and what they cost others.

use std::time::Duration;

use bytes::Bytes;
use spacetime_network::address::ExemptRanges;
use spacetime_network::close::CloseReason;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::proto::{Command, Config, Event};
use spacetime_network::wire::message::{GetHeaders, GetPeers, Ping, ProofSubmission, TxPoolRequest};
use spacetime_network::wire::{Hash, Kind, Message};

use crate::recorded::{later, named};
use crate::world::{Stranger, World, introduction};

const NODE: &str = "5.0.0.1:7000";
/// From where clients may come in these tests.
const RANGE: &str = "9.0.0.0/8";

fn lets_clients_in(config: &mut Config) {
    config.outbound = 0;
    config.admission.without_handshake = ExemptRanges(vec![RANGE.parse().unwrap()]);
}

fn world() -> (World, usize) {
    let mut world = World::new();
    let node = world.node("a", NODE, lets_clients_in);
    for _ in 0..3 {
        world.mine(node);
    }
    (world, node)
}

/// What a client has heard, by type byte.
fn heard(world: &mut World, client: Stranger) -> Vec<u8> {
    std::iter::from_fn(|| world.hear(client)).map(|(kind, _)| kind as u8).collect()
}

fn all_headers() -> Message<'static> {
    Message::GetHeaders(GetHeaders { locator: Hash::ZERO, stop: None, max: 2000, more: None })
}

fn blamed(world: &World, node: usize) -> usize {
    world.count(node, |event| matches!(event, Event::Blacklisted { .. }))
        + world.count(node, |event| match event {
            Event::ClientDisconnected { reason: Some(reason), .. } | Event::HandshakeFailed { reason, .. } => {
                reason.consequence().counts_as_failure
            }
            _ => false,
        })
}

/// Each line that a part of the library may begin with, as it was recorded.
#[test]
fn a_connection_may_begin_with_any_recorded_frame_and_is_answered() {
    let accepted: &[u8] = &[0x41];
    let expected: &[(&str, &[u8])] = &[
        ("GetPeers", &[0x11]),
        ("GetHeaders", &[0x21]),
        // A block that is not there has no answer.
        ("GetBlock", &[]),
        ("TxPoolRequest", &[]),
        // It has asked nothing, so it is told where the chain ends.
        ("BlockAccepted", accepted),
        ("Headers", accepted),
        ("Heartbeat", accepted),
        ("Peers", accepted),
        ("ProofSubmission", accepted),
        ("Ping", &[0x05, 0x41]),
        ("AnswerToPong", &[0x05, 0x41]),
    ];
    for (name, (byte, payload)) in later() {
        if name.starts_with("Handshake") {
            continue;
        }
        let (mut world, node) = world();
        let client = world.stranger(node, "9.0.0.1:4000").expect("admitted");
        world.say_raw(client, byte, payload.into());
        let (_, answer) = expected.iter().find(|(of, _)| *of == name).unwrap();
        assert_eq!(heard(&mut world, client), *answer, "{name}");
        assert!(!world.is_closed(client), "{name}");
        let listed: Vec<_> = world.get(node).clients().map(|client| client.name).collect();
        assert_eq!((listed, world.get(node).connected().count()), (vec!["peer_9.0.0.1_4000".to_owned()], 0));
    }
}

#[test]
fn from_anywhere_else_the_same_frame_is_what_it_always_was() {
    let (mut world, node) = world();
    let stranger = world.stranger(node, "10.0.0.1:4000").expect("admitted");
    world.say(stranger, &all_headers());
    assert!(world.is_closed(stranger));
    assert_eq!(world.get(node).clients().count(), 0);
}

/// The miner says nothing until it gets an acceptance; its first frame comes long after.
#[test]
fn a_miner_that_says_nothing_is_told_of_every_tip_and_takes_part_when_it_speaks() {
    let (mut world, node) = world();
    let miner = world.stranger(node, "9.0.0.1:4000").expect("admitted");
    world.advance(Duration::from_secs(9));
    assert_eq!(heard(&mut world, miner), [] as [u8; 0], "it may still introduce itself");
    world.advance(Duration::from_secs(2));
    assert_eq!(heard(&mut world, miner), [0x41]);
    world.mine(node);
    assert_eq!(heard(&mut world, miner), [0x41]);
    // Nobody minds that it is silent for an hour.
    world.advance(Duration::from_secs(3600));
    assert_eq!(heard(&mut world, miner), [] as [u8; 0]);
    let block = world.block_on(node, "csharp");
    world.say_raw(miner, Kind::Block as u8, block);
    assert_eq!(heard(&mut world, miner), [0x41]);
    assert_eq!(world.get(node).chain().best().height, 5);
    let proof = ProofSubmission { height: 7, miner: [2; 33], proof: &[1] };
    let hearer = world.peer(node, "10.0.1.1:1", "hearer", 2);
    while world.hear(hearer).is_some() {}
    world.say_raw(miner, 0x40, Message::ProofSubmission(proof).to_payload().unwrap());
    assert_eq!(world.hear_all(hearer), [Kind::ProofSubmission]);
    assert!(!world.is_closed(miner) && blamed(&world, node) == 0);
}

/// After a request it takes the next frame, whatever it is, for the answer.
#[test]
fn who_has_asked_gets_answers_in_the_order_of_asking_and_nothing_else() {
    let (mut world, node) = world();
    let client = world.stranger(node, "9.0.0.1:4000").expect("admitted");
    let tip = world.get(node).chain().best().hash;
    for _ in 0..33 {
        world.say(client, &Message::GetBlock(tip));
        world.say(client, &all_headers());
        world.say(client, &Message::GetBlock(Hash([9; 32])));
    }
    world.say(client, &Message::GetPeers(GetPeers::everybody()));
    world.mine(node);
    world.command(node, Command::Gossip(Kind::NewChallenge, Bytes::from_static(b"c")));
    world.advance(Duration::from_secs(300));
    let expected: Vec<u8> = [0x23, 0x21].repeat(33).into_iter().chain([0x11]).collect();
    assert_eq!(heard(&mut world, client), expected);
    assert!(!world.is_closed(client) && blamed(&world, node) == 0);
}

#[test]
fn a_question_waits_for_the_answer_before_it_though_the_queue_is_full() {
    let (mut world, node) = world();
    let client = world.stranger(node, "9.0.0.1:4000").expect("admitted");
    let tip = world.get(node).chain().best().hash;
    world.take_blocks(client, 0);
    world.say(client, &Message::GetBlock(tip));
    world.say(client, &all_headers());
    assert_eq!(heard(&mut world, client), [] as [u8; 0]);
    world.take_blocks(client, 9);
    assert_eq!(heard(&mut world, client), [0x23, 0x21]);
}

#[test]
fn the_pool_is_given_as_transactions() {
    let (mut world, node) = world();
    let time = world.now.unix;
    for nonce in 0..5 {
        let payment = spacetime_network::chain::Transaction { sender: "ann", recipient: "bob", amount: 1, time, nonce };
        world.command(node, Command::SubmitTransaction(payment.encode().unwrap()));
    }
    let client = world.stranger(node, "9.0.0.1:4000").expect("admitted");
    world.say(client, &Message::TxPoolRequest(TxPoolRequest { max: 100, include_data: true }));
    assert_eq!(heard(&mut world, client), [0x30; 5]);
}

#[test]
fn who_asks_more_often_than_it_may_is_closed_without_blame() {
    let (mut world, node) = world();
    let client = world.stranger(node, "9.0.0.1:4000").expect("admitted");
    for _ in 0..100 {
        world.say(client, &Message::GetPeers(GetPeers::everybody()));
    }
    assert!(world.is_closed(client));
    let too_fast = |event: &Event| {
        matches!(event, Event::ClientDisconnected { reason: Some(CloseReason::ClientTooFast(Kind::GetPeers)), .. })
    };
    assert_eq!((world.count(node, too_fast), blamed(&world, node)), (1, 0));
    assert_eq!(heard(&mut world, client).iter().filter(|byte| **byte == 0x11).count(), 3);
    // Pings without end are no other thing.
    let client = world.stranger(node, "9.0.0.2:4000").expect("admitted");
    for nonce in 0..1000 {
        world.say(client, &Message::Ping(Ping { nonce, unix_millis: 0 }));
    }
    assert!(world.is_closed(client));
    assert_eq!(blamed(&world, node), 0);
}

#[test]
fn a_handshake_makes_a_client_a_peer_at_any_time() {
    for asks in [true, false] {
        let (mut world, node) = world();
        let client = world.stranger(node, "9.0.0.1:4000").expect("admitted");
        if asks {
            world.say(client, &all_headers());
            assert_eq!(heard(&mut world, client), [0x21]);
        } else {
            world.advance(Duration::from_secs(11));
            assert_eq!(heard(&mut world, client), [0x41]);
        }
        assert_eq!(world.get(node).clients().count(), 1);
        let (byte, payload) = named(&later(), "Handshake");
        world.say_raw(client, byte, payload.into());
        assert_eq!(heard(&mut world, client), [0x02, 0x20]);
        assert_eq!(world.get(node).clients().count(), 0);
        let peers: Vec<_> = world.get(node).connected().map(|peer| peer.node_id).collect();
        assert_eq!(peers, ["csharp-late"]);
        // It speaks as a later revision, if it has shown that before: who was only slow has shown nothing.
        world.mine(node);
        assert_eq!(heard(&mut world, client), if asks { vec![0x31, 0x41] } else { vec![0x31] });
        assert!(blamed(&world, node) == 0 && world.get(node).audit().is_ok());
    }
}

#[test]
fn a_handshake_first_is_a_peer_as_from_anywhere() {
    let (mut world, node) = world();
    let peer = world.stranger(node, "9.0.0.1:4000").expect("admitted");
    world.say(peer, &introduction("p", 2, 0));
    assert_eq!(world.hear(peer).map(|(kind, _)| kind), Some(Kind::HandshakeAck));
    assert_eq!((world.get(node).clients().count(), world.get(node).connected().count()), (0, 1));
    assert_eq!(world.count(node, |event| matches!(event, Event::ClientConnected { .. })), 0);
}

/// A miner's first word is a block, and was refused by its length as if a stranger had sent it.
#[test]
fn a_first_frame_may_be_as_long_as_its_kind_with_a_place_and_as_a_greeting_without() {
    let mut world = World::new();
    let node = world.node("a", NODE, |config| {
        lets_clients_in(config);
        // One place for a client.
        config.admission.inbound_max = 8;
    });
    let client = world.stranger(node, "9.0.0.1:4000").expect("admitted");
    let other = world.stranger(node, "9.0.0.2:4000").expect("as a stranger");
    // Nothing of these is true, and nobody asked for them.
    let headers = Message::Headers(vec![&[7; 100][..]; 30]).to_payload().unwrap();
    assert!(headers.len() > 1024);
    world.say_raw(client, Kind::Headers as u8, headers.clone());
    assert!(!world.is_closed(client));
    world.say_raw(other, Kind::Headers as u8, headers);
    assert!(world.is_closed(other));
    let refused = |event: &Event| matches!(event, Event::HandshakeFailed { reason: CloseReason::Frame(_), .. });
    assert_eq!(world.count(node, refused), 1);
}

/// A download asks for the pool again and again, and was told the same eighty each time.
#[test]
fn a_client_that_asks_for_the_pool_again_is_told_first_what_it_was_not() {
    let (mut world, node) = world();
    let time = world.now.unix;
    for nonce in 0..200 {
        let payment = spacetime_network::chain::Transaction { sender: "ann", recipient: "bob", amount: 1, time, nonce };
        world.command(node, Command::SubmitTransaction(payment.encode().unwrap()));
    }
    let client = world.stranger(node, "9.0.0.1:4000").expect("admitted");
    let mut told = std::collections::BTreeSet::new();
    for (question, all) in [(1, 80), (2, 160), (3, 200)] {
        world.say(client, &Message::TxPoolRequest(TxPoolRequest { max: 1000, include_data: true }));
        while let Some((kind, payload)) = world.hear(client) {
            assert_eq!(kind, Kind::Transaction);
            told.insert(payload);
        }
        assert_eq!(told.len(), all, "after question {question}");
        world.advance(Duration::from_secs(60));
    }
}

/// One machine of a range that may come without a handshake kept all the places, and could for ever.
#[test]
fn one_address_has_as_many_places_of_clients_as_of_peers() {
    let mut world = World::new();
    let node = world.node("a", NODE, |config| {
        lets_clients_in(config);
        config.admission.inbound_max = 64;
        config.admission.connections_max = 64;
        config.admission.rate_per_ip = None;
    });
    let mut ask = |from: String| {
        let client = world.stranger(node, &from).expect("as a client or as a stranger");
        world.say(client, &all_headers());
        !world.is_closed(client)
    };
    let of_one: Vec<bool> = (0..6).map(|port| ask(format!("9.0.0.1:{}", 4000 + port))).collect();
    assert_eq!(of_one, [true, true, true, true, false, false]);
    assert!((1..5).all(|machine| ask(format!("9.0.{machine}.1:4000"))), "the other places are for others");
    assert_eq!((world.get(node).clients().count(), world.get(node).audit()), (8, Ok(())));
}

/// They have an eighth of the inbound places, beside these, and whoever comes from there besides must introduce himself.
#[test]
fn clients_have_places_of_their_own_and_take_none_of_the_peers() {
    let mut world = World::new();
    let node = world.node("a", NODE, |config| {
        lets_clients_in(config);
        config.admission.inbound_max = 16;
        config.admission.connections_max = 16;
        config.admission.newcomers = 0;
    });
    let clients: Vec<Stranger> = (0..2)
        .map(|n| {
            let client = world.stranger(node, &format!("9.0.{n}.1:4000")).expect("a place of its own");
            world.say(client, &all_headers());
            client
        })
        .collect();
    assert_eq!(world.get(node).clients().count(), 2);
    // A third is let in as anybody, and is told that there are too many when it does not introduce itself.
    let third = world.stranger(node, "9.0.2.1:4000").expect("as a stranger");
    world.say(third, &all_headers());
    assert!(world.is_closed(third) && blamed(&world, node) == 0);
    let polite = world.stranger(node, "9.0.3.1:4000").expect("as a stranger");
    world.say(polite, &introduction("polite", 2, 0));
    assert!(!world.is_closed(polite));
    // All the places of peers are free.
    for n in 1..16 {
        let peer = world.stranger(node, &format!("10.{n}.0.1:4000")).expect("a place");
        world.say(peer, &introduction(&format!("peer-{n}"), 2, 0));
        assert!(!world.is_closed(peer), "{n}");
    }
    assert_eq!((world.get(node).connected().count(), world.get(node).clients().count()), (16, 2));
    // Now a client that introduces itself finds none of these, and the others do not make way for what it was.
    world.say(clients[0], &introduction("late", 2, 0));
    assert_eq!((world.get(node).connected().count(), world.get(node).clients().count()), (16, 1));
    world.hang_up(clients[1]);
    assert_eq!(world.get(node).clients().count(), 0);
    assert!(world.stranger(node, "9.0.4.1:4000").is_some(), "its place is free again");
    assert_eq!(world.get(node).audit(), Ok(()));
}

#[test]
fn a_client_is_neither_dialed_nor_told_of() {
    let (mut world, node) = world();
    let client = world.stranger(node, "9.0.0.1:4000").expect("admitted");
    world.say(client, &all_headers());
    world.advance(Duration::from_secs(120));
    assert!(world.get(node).book().get("9.0.0.1:4000".parse().unwrap()).is_none());
    assert_eq!(world.get(node).peers().len(), 0);
    let asks = world.peer(node, "10.0.1.1:1", "asks", 2);
    world.say(asks, &Message::GetPeers(GetPeers::everybody()));
    while let Some((kind, payload)) = world.hear(asks) {
        if kind == Kind::Peers {
            assert_eq!(Message::decode(kind, &payload), Ok(Message::Peers(vec![])));
        }
    }
}
