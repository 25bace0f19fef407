//! What a node says itself: every peer gets it at the pace that it takes, or the node's owner is told that nobody does.

use std::time::Duration;

use bytes::Bytes;
use spacetime_network::chain::{Params, ReferenceChain};
use spacetime_network::id::{ConnId, DialId, Direction};
use spacetime_network::proto::gossip::own::OWN_GOSSIP_MAX;
use spacetime_network::proto::{Command, Config, Event, Input, Node, Output};
use spacetime_network::time::{Instant, Now, UnixTime};
use spacetime_network::wire::{Frame, Kind, Message, Payload};

use crate::world::{World, introduction};

const MINUTE: Duration = Duration::from_secs(60);

fn challenge(n: u32) -> Command {
    Command::Gossip(Kind::NewChallenge, Bytes::copy_from_slice(&n.to_be_bytes()))
}

fn said(world: &World, node: usize) -> usize {
    world.count(node, |event| matches!(event, Event::Gossip { from: None, .. }))
}

fn heard(world: &World, node: usize) -> usize {
    world.count(node, |event| matches!(event, Event::Gossip { from: Some(_), .. }))
}

fn refused(world: &World, node: usize) -> usize {
    world.count(node, |event| matches!(event, Event::SubmissionRefused { .. }))
}

/// 400 challenges in a loop: the peer got 150 of them, and the node's owner was told 400 times that all was well.
#[test]
fn all_of_our_own_gossip_reaches_every_peer_however_fast_it_is_said() {
    for (alice, bob, wait) in
        [("127.0.0.1:8333", "127.0.0.1:8334", 3 * MINUTE), ("10.0.0.1:8333", "10.0.1.1:8333", 40 * MINUTE)]
    {
        let mut world = World::new();
        let speaker = world.node("alice", alice, |_| {});
        let listener = world.node("bob", bob, |c| c.connect = vec![alice.parse().unwrap()]);
        world.advance(Duration::from_secs(5));
        (0..400).for_each(|n| world.command(speaker, challenge(n)));
        assert!(heard(&world, listener) < 400, "they do not all go at once");
        world.advance(wait);
        assert_eq!((said(&world, speaker), heard(&world, listener), refused(&world, speaker)), (400, 400, 0));
        assert_eq!(world.get(listener).counters().over_budget.get(&Kind::NewChallenge), None);
        assert_eq!(world.quarrels, []);
    }
}

#[test]
fn what_no_peer_has_room_for_is_refused_with_a_word_counted_and_taken_later() {
    let mut world = World::new();
    let alice = world.node("alice", "127.0.0.1:8333", |_| {});
    let bob = world.node("bob", "127.0.0.1:8334", |c| c.connect = vec!["127.0.0.1:8333".parse().unwrap()]);
    world.advance(Duration::from_secs(5));
    (0..2_000).for_each(|n| world.command(alice, challenge(n)));
    let (told, no) = (said(&world, alice), refused(&world, alice));
    assert!(told + no == 2_000 && told > OWN_GOSSIP_MAX && no > 500, "{told} said, {no} refused");
    let counted = world.get(alice).counters().submissions_refused.get(&Kind::NewChallenge).copied();
    assert_eq!(counted, Some(no as u64));
    let why = "peers take no more of these now; say it again later";
    let refusal = Event::SubmissionRefused { kind: Kind::NewChallenge, why };
    assert_eq!(world.count(alice, |event| *event == refusal), no);
    world.advance(15 * MINUTE);
    assert_eq!(heard(&world, bob), told, "what was not refused has arrived");
    // The last one was refused, and is not remembered as said.
    world.command(alice, challenge(1_999));
    world.advance(MINUTE);
    assert_eq!((said(&world, alice), heard(&world, bob)), (told + 1, told + 1));
    world.command(alice, challenge(1_999));
    assert_eq!(refused(&world, alice), no + 1, "what was said is not said twice, and that is no silence either");
}

#[test]
fn with_nobody_to_hear_it_our_own_gossip_is_refused_and_may_be_said_again() {
    let mut world = World::new();
    let alice = world.node("alice", "10.0.0.1:8333", |_| {});
    let old = world.peer(alice, "10.9.0.1:1", "old", 1);
    let accepted = Bytes::from(vec![7; 40]);
    world.command(alice, Command::Gossip(Kind::BlockAccepted, accepted));
    assert_eq!(refused(&world, alice), 1, "version 1 has no such message");
    world.hang_up(old);
    world.command(alice, challenge(1));
    assert_eq!((said(&world, alice), refused(&world, alice)), (0, 2));
    let bob = world.node("bob", "10.0.1.1:8333", |c| c.connect = vec!["10.0.0.1:8333".parse().unwrap()]);
    world.advance(Duration::from_secs(5));
    world.command(alice, challenge(1));
    assert_eq!((said(&world, alice), heard(&world, bob)), (1, 1));
}

/// The two quotas are two: whoever makes a node pass on as much as it may does not silence the node.
#[test]
fn a_crowd_that_uses_up_what_a_node_passes_on_does_not_silence_it() {
    let mut world = World::new();
    let alice = world.node("alice", "10.0.0.1:8333", |_| {});
    let bob = world.node("bob", "10.0.1.1:8333", |c| c.connect = vec!["10.0.0.1:8333".parse().unwrap()]);
    world.advance(Duration::from_secs(5));
    let mut next = 1_000_000u32;
    for minute in 0..10u32 {
        // Strangers who answer no ping are gone within a minute or so.
        let name = |i: u32| format!("crowd-{minute}-{i}");
        let crowd: Vec<_> = (0..20).map(|i| world.peer(alice, &format!("77.{i}.{minute}.1:1"), &name(i), 2)).collect();
        (0..5).for_each(|n| world.command(alice, challenge(minute * 5 + n)));
        for second in 0..60 {
            for stranger in crowd.iter().skip(second % 4).step_by(4) {
                next += 1;
                world.say(*stranger, &Message::NewChallenge(&next.to_be_bytes()));
            }
            world.advance(Duration::from_secs(1));
        }
        crowd.into_iter().for_each(|stranger| world.hang_up(stranger));
    }
    world.advance(MINUTE);
    let own = |event: &Event| match event {
        Event::Gossip { payload, from: Some(_), .. } => payload[..] < 1_000_000u32.to_be_bytes()[..],
        _ => false,
    };
    assert_eq!((said(&world, alice), world.count(bob, own)), (50, 50));
    let others = heard(&world, bob) - 50;
    assert!(others > 50, "and what others say is passed on as well: {others}");
    assert_eq!(world.get(bob).counters().over_budget.get(&Kind::NewChallenge), None);
}

#[test]
fn own_gossip_that_found_a_full_queue_goes_when_the_queue_has_room() {
    let mut config = Config::default();
    config.outbound = 0;
    let mut node = Node::new(config, ReferenceChain::memory(Params::default()), 1, 1).unwrap();
    let now = Now { at: Instant::from_millis(1), unix: UnixTime::from_secs(1_800_000_000) };
    let conn = ConnId::new(1, 0);
    let mut feed = |input: Input<'_>| {
        node.handle(now, input);
        let outputs: Vec<Output> = core::iter::from_fn(|| node.poll_output()).collect();
        let sent = |output| match output {
            Output::Send { kind: Kind::NewChallenge, payload, .. } => Some(payload),
            _ => None,
        };
        outputs.into_iter().filter_map(sent).collect::<Vec<Bytes>>()
    };
    let remote = "10.1.0.1:1".parse().unwrap();
    feed(Input::Tick);
    feed(Input::Opened { conn, remote, local: None, direction: Direction::Outbound(DialId(9)), identity: None });
    let Message::Handshake(greeting) = introduction("peer", 2, 0) else { unreachable!() };
    let ack = Message::HandshakeAck(Some(greeting));
    let payload = Payload::Given(ack.to_payload().unwrap());
    feed(Input::Frame { conn, frame: Frame { kind: Kind::HandshakeAck as u8, payload } });
    let sent = feed(Input::Command(challenge(1)));
    assert_eq!(sent, [&1u32.to_be_bytes()[..]]);
    assert!(feed(Input::SendRefused { conn, kind: Kind::NewChallenge, payload: sent[0].clone() }).is_empty());
    assert!(feed(Input::Command(challenge(2))).is_empty(), "nor do later ones overtake it");
    let others = Bytes::from_static(b"others said it");
    assert!(feed(Input::SendRefused { conn, kind: Kind::NewChallenge, payload: others }).is_empty());
    assert_eq!(feed(Input::Writable { conn }), [&1u32.to_be_bytes()[..], &2u32.to_be_bytes()[..]]);
}

/// A node said 60 challenges to its only peer, which left after twelve and came back: 48 were lost, and nobody was told.
#[test]
fn what_waited_for_a_peer_that_leaves_is_told_to_the_next_or_refused_with_a_word() {
    let mut world = World::new();
    let alice = world.node("alice", "10.0.0.1:8333", |_| {});
    let bob = world.peer(alice, "10.0.1.1:1", "bob", 2);
    (0..60).for_each(|n| world.command(alice, challenge(n)));
    // It answers pings, and notes challenges.
    let heard = |world: &mut World, peer| {
        let mut challenges = Vec::new();
        while let Some((kind, payload)) = world.hear(peer) {
            match Message::decode(kind, &payload) {
                Ok(Message::Ping(ping)) => world.say(peer, &Message::Pong(ping)),
                Ok(Message::NewChallenge(bytes)) => challenges.push(u32::from_be_bytes(bytes.try_into().unwrap())),
                _ => {}
            }
        }
        challenges
    };
    let first = heard(&mut world, bob);
    assert!(!first.is_empty() && first.len() < 60);
    world.hang_up(bob);
    world.advance(Duration::from_secs(2));
    let again = world.peer(alice, "10.0.1.1:2", "bob", 2);
    let mut rest = heard(&mut world, again);
    for _ in 0..100 {
        world.advance(Duration::from_secs(6));
        rest.extend(heard(&mut world, again));
    }
    assert_eq!([first, rest].concat(), (0..60).collect::<Vec<u32>>(), "each once, in their order");
    assert_eq!((said(&world, alice), refused(&world, alice)), (60, 0));

    (100..160).for_each(|n| world.command(alice, challenge(n)));
    let left = 60 - heard(&mut world, again).len();
    world.hang_up(again);
    world.advance(11 * MINUTE);
    assert_eq!(refused(&world, alice), left, "nobody came for ten minutes");
    assert_eq!(world.get(alice).audit(), Ok(()));
}
