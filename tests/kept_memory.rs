//! What is kept of what strangers send: the memory behind it, counted, against what the budgets think it takes.
//!
//! Bytes go through an inbox into a node as the loop's do, so that what is kept has the buffer that it has there. One test, for the
//! count is the whole process's.
#![cfg(feature = "chain")]

#[path = "memory_support/counting.rs"]
mod counting;

use std::time::Duration;

use bytes::Bytes;
use counting::live;
use spacetime_network::admit::Admit;
use spacetime_network::chain::{Params, ReferenceChain, Transaction};
use spacetime_network::close::CloseReason;
use spacetime_network::id::{ConnId, Direction};
use spacetime_network::link::{BufferPool, Inbox};
use spacetime_network::proto::{Config, Input, Node, Output};
use spacetime_network::time::{Instant, Now, UnixTime};
use spacetime_network::wire::message::{Extension, Handshake, ProofSubmission};
use spacetime_network::wire::{FrameRules, Hash, Message, Payload};

const MIB: usize = 1 << 20;
/// What the loop's pool keeps, and the tables of a node with peers: far below what an attack is about.
const SLACK: usize = 6 * MIB;

/// A node, and what a loop has for it.
struct Table {
    now: Now,
    node: Node<ReferenceChain>,
    pool: BufferPool,
    peers: Vec<(ConnId, Inbox)>,
}

impl Table {
    fn new() -> Self {
        let now = Now { at: Instant::from_millis(1), unix: UnixTime::from_secs(1_800_000_000) };
        let chain = ReferenceChain::memory(Params::default());
        let node = Node::new(Config::default(), chain, 1, 2).unwrap();
        Table { now, node, pool: BufferPool::new(), peers: Vec::new() }
    }

    fn feed(&mut self, input: Input<'_>) {
        self.node.handle(self.now, input);
        while let Some(output) = self.node.poll_output() {
            if let Output::Close { conn, reason, .. } = output {
                panic!("{conn} is closed: {reason}");
            }
        }
    }

    /// A stranger from an address of its own connects and introduces itself.
    fn stranger(&mut self) -> usize {
        let at = self.peers.len();
        let remote = format!("10.{}.{}.1:1", at / 200, at % 200).parse().unwrap();
        self.now.at = self.now.at + Duration::from_secs(1);
        assert_eq!(self.node.admit(self.now, remote), Admit::Accept);
        let conn = ConnId::new(u32::try_from(at).unwrap(), 0);
        self.peers.push((conn, Inbox::default()));
        self.feed(Input::Opened { conn, remote, local: None, direction: Direction::Inbound, identity: None });
        let id = format!("peer{at}");
        let extension = Extension {
            network: Hash::ZERO,
            nonce: 100 + at as u64,
            listening_port: 0,
            features: 0,
            best_height: 0,
            best_hash: self.node.chain().params().genesis().header.hash(),
            seen: None,
        };
        let (node_id, user_agent) = (id.as_str(), "stranger/1");
        let greeting = Handshake { version: 2, unix_seconds: 0, node_id, user_agent, extension: Some(extension) };
        self.say(at, &Message::Handshake(greeting), usize::MAX);
        at
    }

    /// A frame arrives, cut after so many bytes.
    fn say(&mut self, peer: usize, message: &Message<'_>, cut: usize) {
        let mut bytes = Vec::new();
        message.encode(&mut bytes).unwrap();
        let (first, rest) = bytes.split_at(cut.min(bytes.len()));
        for mut part in [first, rest] {
            loop {
                let (conn, mut inbox) = (self.peers[peer].0, std::mem::take(&mut self.peers[peer].1));
                let frame = inbox.next(&mut part, FrameRules::version(2), self.now.at, &mut self.pool).unwrap();
                let Some(frame) = frame else {
                    self.peers[peer].1 = inbox;
                    break;
                };
                let spare = if let Payload::Given(bytes) = &frame.payload { Some(bytes.clone()) } else { None };
                self.node.handle(self.now, Input::Frame { conn, frame });
                self.peers[peer].1 = inbox;
                while let Some(output) = self.node.poll_output() {
                    assert!(!matches!(output, Output::Close { .. }), "{output:?}");
                }
                spare.into_iter().for_each(|spare| self.pool.recycle(spare));
            }
        }
    }

    fn leave(&mut self) {
        for (conn, _) in std::mem::take(&mut self.peers) {
            self.feed(Input::Closed { conn, reason: CloseReason::RemoteClosed });
        }
    }

    /// Minutes later, and days by a wall clock that goes faster: nothing waits any more.
    fn days_later(&mut self) {
        for _ in 0..15 * 24 * 6 {
            self.now.at = self.now.at + Duration::from_secs(6);
            self.now.unix = self.now.unix.plus(Duration::from_secs(10 * 60));
            self.feed(Input::Tick);
        }
    }
}

fn pay(nonce: u64, sender: &str, recipient: &str) -> Bytes {
    let transfer = Transaction { sender, recipient, amount: 1, time: UnixTime::from_millis(0), nonce };
    transfer.encode().unwrap()
}

/// A transaction that came behind a large frame kept that frame's buffer: 58 MiB in the pool, 1,073 MiB in the process.
fn small_things_behind_large_frames() {
    let before = live();
    let mut table = Table::new();
    let long = "x".repeat(65_000);
    let proof = ProofSubmission { height: 1, miner: [2; 33], proof: &vec![7; MIB] };
    for _ in 0..5 {
        let peer = table.stranger();
        for n in 0..150 {
            table.say(peer, &Message::ProofSubmission(proof.clone()), 1000);
            table.say(peer, &Message::Transaction(&pay(n, &long, &format!("{peer}{}", "y".repeat(700)))), 100);
        }
    }
    let (pool, held) = (table.node.chain().pool().bytes(), live() - before);
    assert!(pool > 45 * MIB, "{pool}");
    assert!(held <= pool + pool / 8 + SLACK, "{held} bytes of memory for {pool} in the pool");
    table.leave();
    table.days_later();
    let left = live() - before;
    assert!(table.node.chain().pool().is_empty() && left < SLACK, "{left} bytes are left");
}

/// A pool full of small ones, and for twenty peers all that may wait for them.
fn a_flood_that_waits_for_many_peers() {
    let before = live();
    let mut table = Table::new();
    (0..20).for_each(|_| {
        table.stranger();
    });
    let idle = live() - before;
    for from in 0..20 {
        for n in 0..1000 {
            table.say(from, &Message::Transaction(&pay(n, &format!("{from}"), "y")), usize::MAX);
        }
    }
    let (count, held) = (table.node.chain().pool().len(), live() - before);
    assert_eq!(count, 20_000);
    let waiting = 20 * 5_000 * 250 + 20 * 2_000 * 150;
    assert!(held <= idle + count * 1_000 + waiting, "{held} bytes of memory for {count} transactions");
    table.leave();
    table.days_later();
    let left = live() - before;
    assert!(left < SLACK + count * 150, "{left} bytes are left: the names of what expired, and no more");
}

#[test]
fn what_is_kept_takes_the_memory_that_it_is_counted_for() {
    // What is made once for all.
    drop(Table::new());
    let before = live();
    small_things_behind_large_frames();
    a_flood_that_waits_for_many_peers();
    let after = live();
    assert!(after < before + MIB, "{before} bytes before, {after} after");
}
