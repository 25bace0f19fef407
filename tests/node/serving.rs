//! Blocks for a peer whose queue is full: each waits for its turn, and is read when there is room for it.

use std::net::SocketAddr;
use std::time::Duration;

use spacetime_network::chain::{Miner, Params, ReferenceChain};
use spacetime_network::id::{ConnId, Direction};
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::proto::{Command, Config, Input, Node, Output};
use spacetime_network::time::{Instant, Now, UnixTime};
use spacetime_network::wire::{Frame, Hash, Kind, Message, Payload};

use crate::world::introduction;

const CONN: ConnId = ConnId::new(0, 0);

/// A node with one peer, whose queue takes as many blocks as the test says.
struct Host {
    node: Node<ReferenceChain>,
    now: Now,
    room: usize,
    delivered: Vec<Hash>,
    /// Blocks that the node had in hand, delivered or not.
    offered: usize,
}

impl Host {
    fn new(version: u8, blocks: usize) -> (Host, Vec<Hash>) {
        let mut config = Config::default();
        config.outbound = 0;
        let chain = ReferenceChain::memory(Params::new(1, 50).unwrap());
        let now = Now { at: Instant::from_millis(1), unix: UnixTime::from_millis(1_800_000_000_000) };
        let node = Node::new(config, chain, 1, 2).unwrap();
        let mut host = Host { node, now, room: 0, delivered: Vec::new(), offered: 0 };
        let mut hashes = Vec::new();
        for _ in 0..blocks {
            let mut block = host.node.chain().template(host.now.unix, "miner", 1 << 20).unwrap();
            block.header = Miner::new(block.header).run(u64::MAX).unwrap();
            hashes.push(block.header.hash());
            host.feed(Input::Command(Command::SubmitBlock(block.encode())));
        }
        let remote: SocketAddr = "10.0.0.2:1".parse().unwrap();
        host.feed(Input::Opened { conn: CONN, remote, direction: Direction::Inbound, identity: None });
        host.say(&introduction("peer", version, 0));
        (host, hashes)
    }

    fn feed(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        while let Some(output) = self.node.poll_output() {
            let Output::Send { conn, kind, payload, .. } = output else { continue };
            match kind {
                Kind::Block if self.room == 0 => {
                    self.offered += 1;
                    self.node.handle(self.now, Input::Refused { conn, kind, payload });
                }
                Kind::Block => {
                    self.offered += 1;
                    self.room -= 1;
                    self.delivered.push(self.node.chain().check_block_header(self.now.unix, &payload).unwrap().hash);
                    self.node.handle(self.now, Input::Writable { conn });
                }
                Kind::NotFound => self.node.handle(self.now, Input::Writable { conn }),
                _ => {}
            }
        }
    }

    fn say(&mut self, message: &Message<'_>) {
        let frame = Frame { kind: message.kind() as u8, payload: Payload::Given(message.to_payload().unwrap()) };
        self.feed(Input::Frame { conn: CONN, frame });
    }

    fn drained(&mut self, room: usize) {
        self.room = room;
        self.now.at = self.now.at + Duration::from_secs(1);
        self.feed(Input::Writable { conn: CONN });
    }
}

#[test]
fn blocks_that_wait_for_room_are_read_when_there_is_room_and_not_all_each_time() {
    let (mut host, hashes) = Host::new(2, 50);
    for hash in &hashes {
        host.say(&Message::GetBlock(*hash));
    }
    assert_eq!(host.offered, 1, "one refusal tells that the rest must wait");
    while host.delivered.len() < hashes.len() {
        let (offered, delivered) = (host.offered, host.delivered.len());
        host.drained(2);
        assert!(host.offered - offered <= 3, "two that fit, and one that showed that no more do");
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
    assert_eq!(host.offered, 0);
    host.say(&Message::GetBlock(Hash([9; 32])));
    host.drained(9);
    assert_eq!(host.delivered, [] as [Hash; 0]);
}

/// A peer that asked for one block a thousand times had it read a thousand times, at 4,000 a second.
#[test]
fn the_same_block_asked_for_a_thousand_times_is_read_at_most_twenty_times_a_second() {
    let (mut host, hashes) = Host::new(2, 3);
    host.room = usize::MAX;
    for _ in 0..1000 {
        host.say(&Message::GetBlock(hashes[0]));
    }
    assert!((5..=20).contains(&host.offered), "{} at once", host.offered);
    for _ in 0..30 {
        let before = host.offered;
        let until = host.now.at + Duration::from_secs(1);
        while let Some(at) = host.node.deadline().filter(|at| *at <= until) {
            host.now.at = host.now.at.max(at);
            host.feed(Input::Tick);
        }
        host.now.at = until;
        assert!(host.offered - before <= 20, "{} in a second", host.offered - before);
    }
    // What waited was not forgotten, and what was too much was dropped.
    assert!((65..=90).contains(&host.offered), "{} in all", host.offered);
    host.say(&Message::GetBlock(hashes[1]));
    assert_eq!(host.delivered.last(), Some(&hashes[1]), "who does not ask too much does not wait");
}
