//! Blocks for a peer whose queue is full: each waits for its turn, and is read when there is room for it.

use std::time::Duration;

use spacetime_network::proto::budget::SERVING_RATE;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::wire::message::GetHeaders;
use spacetime_network::wire::{Hash, Kind, Message};

use crate::world::{Stranger, World, introduction};

/// A node with one peer, whose queue takes as many blocks as the test says.
struct Host {
    world: World,
    node: usize,
    peer: Stranger,
    delivered: Vec<Hash>,
}

impl Host {
    /// A host with so many blocks, and their hashes.
    fn new(version: u8, blocks: usize) -> (Host, Vec<Hash>) {
        Host::giving(SERVING_RATE, version, blocks)
    }

    /// The same, of which a peer is given so many bytes a second.
    fn giving(rate: u64, version: u8, blocks: usize) -> (Host, Vec<Hash>) {
        let mut world = World::new();
        let node = world.node("host", "10.0.0.1:8333", |config| (config.outbound, config.serving_rate) = (0, rate));
        let hashes = (0..blocks).map(|_| world.mine(node)).collect();
        let peer = world.stranger(node, "10.0.0.2:1").unwrap();
        world.take_blocks(peer, 0);
        world.say(peer, &introduction("peer", version, 0));
        (Host { world, node, peer, delivered: Vec::new() }, hashes)
    }

    fn say(&mut self, message: &Message<'_>) {
        self.world.say(self.peer, message);
        self.listen();
    }

    /// A second later its queue has room for so many blocks.
    fn drained(&mut self, room: usize) {
        self.world.now.at = self.world.now.at + Duration::from_secs(1);
        self.world.take_blocks(self.peer, room);
        self.listen();
    }

    fn listen(&mut self) {
        while let Some((kind, payload)) = self.world.hear(self.peer) {
            if kind == Kind::Block {
                let chain = self.world.get(self.node).chain();
                self.delivered.push(chain.check_block_header(self.world.now.unix, &payload).unwrap().hash);
            }
        }
    }

    /// Blocks that the node had in hand, delivered or not.
    fn offered(&self) -> usize {
        self.world.blocks_offered(self.peer)
    }
}

#[test]
fn blocks_that_wait_for_room_are_read_when_there_is_room_and_not_all_each_time() {
    let (mut host, hashes) = Host::new(2, 50);
    for hash in &hashes {
        host.say(&Message::GetBlock(*hash));
    }
    assert_eq!(host.offered(), 1, "one refusal tells that the rest must wait");
    while host.delivered.len() < hashes.len() {
        let (offered, delivered) = (host.offered(), host.delivered.len());
        host.drained(2);
        assert!(host.offered() - offered <= 3, "two that fit, and one that showed that no more do");
        assert!(host.delivered.len() > delivered, "the peer gets on");
    }
    assert_eq!(host.delivered, hashes, "in the order of the questions");
}

#[test]
fn unknown_blocks_among_those_that_wait_do_not_hold_up_the_others() {
    for version in [1, 2] {
        let (mut host, hashes) = Host::new(version, 3);
        let unknown = Hash([1; 32]);
        for hash in [hashes[0], unknown, unknown, hashes[1], unknown, hashes[2]] {
            host.say(&Message::GetBlock(hash));
        }
        host.drained(usize::MAX);
        assert_eq!(host.delivered, hashes, "version {version}");
    }
}

#[test]
fn what_was_never_asked_for_does_not_come_of_a_drained_queue() {
    let (mut host, _) = Host::new(2, 2);
    host.drained(9);
    assert_eq!(host.offered(), 0);
    host.say(&Message::GetBlock(Hash([9; 32])));
    host.drained(9);
    assert_eq!(host.delivered, [] as [Hash; 0]);
}

/// A peer that asked for one block a thousand times had it read a thousand times, at 4,000 a second.
#[test]
fn the_same_block_asked_for_two_hundred_times_is_read_at_most_twenty_times_a_second() {
    let (mut host, hashes) = Host::new(2, 3);
    host.world.take_blocks(host.peer, usize::MAX);
    for _ in 0..200 {
        host.say(&Message::GetBlock(hashes[0]));
    }
    assert!((5..=20).contains(&host.offered()), "{} at once", host.offered());
    for _ in 0..30 {
        let before = host.offered();
        host.world.advance(Duration::from_secs(1));
        assert!(host.offered() - before <= 20, "{} in a second", host.offered() - before);
    }
    assert_eq!(host.offered(), 200, "what waits is not forgotten");
    host.say(&Message::GetBlock(hashes[1]));
    assert_eq!(host.delivered.last(), Some(&hashes[1]), "who does not ask too much does not wait");
}

/// A download of small blocks stood still at 4,000 a second, and for headers at two answers a second, however idle both sides were:
/// what was above that was lost.
#[test]
fn questions_are_bounded_by_what_their_answers_cost_and_not_by_their_number() {
    let (mut host, _) = Host::new(2, 3);
    let mut questions = |count: usize, question: &Message<'_>| {
        let (node, peer) = (host.node, host.peer);
        (0..count).for_each(|_| host.world.say(peer, question));
        assert!(!host.world.is_closed(peer), "{node} blames nobody");
        core::iter::from_fn(|| host.world.hear(peer)).map(|(kind, _)| kind).collect::<Vec<_>>()
    };
    let missing = questions(9_000, &Message::GetBlock(Hash([7; 32])));
    assert_eq!(missing.iter().filter(|kind| **kind == Kind::NotFound).count(), 9_000);
    let from_genesis = GetHeaders { locator: Hash::ZERO, stop: None, max: 2_000, more: None };
    let told = questions(100, &Message::GetHeaders(from_genesis));
    assert_eq!(told.iter().filter(|kind| **kind == Kind::Headers).count(), 100);
}

#[test]
fn who_asks_for_more_headers_than_it_is_given_waits_and_loses_no_answer_to_a_few_questions() {
    // Each answer counts as 4 KiB at least, so ten can go at once.
    let (mut host, _) = Host::giving(40_960, 2, 3);
    let question = Message::GetHeaders(GetHeaders { locator: Hash::ZERO, stop: None, max: 2_000, more: None });
    let told = |host: &mut Host| {
        let peer = host.peer;
        core::iter::from_fn(|| host.world.hear(peer)).filter(|(kind, _)| *kind == Kind::Headers).count()
    };
    (0..100).for_each(|_| host.world.say(host.peer, &question));
    let first = told(&mut host);
    assert!((10..=12).contains(&first), "{first} at once");
    host.world.advance(Duration::from_secs(20));
    assert_eq!(told(&mut host), 4, "so many wait, and the rest is lost");
    host.world.say(host.peer, &question);
    assert_eq!(told(&mut host), 1, "who does not ask too much does not wait");
}
