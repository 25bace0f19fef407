//! A low-level, embeddable peer-to-peer engine for blockchain nodes: one thread, one event loop, frames parsed by
//! hand, and every decision in code that touches no socket, no clock and no file.
//!
//! # Layers, top to bottom
//!
//! | module | is | a normal user touches it |
//! |---|---|---|
//! | [`driver`] | the event loop on mio: sockets, clock, files | always |
//! | [`proto`] | decisions: sessions, peers, relay, sync, as inputs and outputs | to configure a node |
//! | [`link`] | one connection's pipe: bytes in, frames out, and back | hardly |
//! | [`wire`] | frames and messages as pure functions | for a codec or a protocol of one's own |
//! | [`time`], [`rng`], [`id`], [`address`], [`admit`], [`rate`], [`limits`], [`histogram`], [`close`], [`config`], [`invariant`] | values | by their types |
#![cfg_attr(
    feature = "chain",
    doc = "| [`chain`] | the reference chain, behind [`proto::sync::chain::Chain`] | to run one |"
)]
#![cfg_attr(
    feature = "sim",
    doc = "| [`sim`] | many drivers on virtual kernels, from one seed: faults, invariants | to find bugs |\n| [`buggify`] | rare but legal behaviour, made frequent | to find more of them |"
)]
//!
//! An embedder may enter at any of them: `wire` alone is a codec; [`driver::Driver`] with a [`driver::Protocol`] of its
//! own moves frames and knows no blockchain words; [`driver::node`] is the whole node on a
//! [`Chain`](proto::sync::chain::Chain) of its own. Each of the three has an example. What goes over the wire is written
//! down in [`wire::protocol`].
//!
//! # The drive contract: feed one, drain all
//!
//! A [`Node`](proto::Node) waits for nothing and reads nothing. Whoever has the sockets and the clock drives it by four verbs:
//!
//! | family | calls | rule |
//! |---|---|---|
//! | question | [`admit`](proto::Node::admit) | for each address that wants to connect, before anything is allocated for it |
//! | input | [`handle`](proto::Node::handle) | one [`Input`](proto::Input) at a time, with what the clocks said when it came |
//! | output | [`poll_output`](proto::Node::poll_output) | after each of these two, until it says `None`; each [`Output`](proto::Output) is carried out at once |
//! | deadline | [`deadline`](proto::Node::deadline) | the loop sleeps until then at most, and feeds [`Input::Tick`](proto::Input::Tick) |
//! | readers | [`chain`](proto::Node::chain), [`peers`](proto::Node::peers), [`connected`](proto::Node::connected), ... | whenever no output waits |
//!
//! What carrying out an output leads to, as a frame that was refused, is an input like any other: it is kept until no output is
//! left. With debug assertions on, a call before that panics. Nothing else is left to the driver to decide, not even what to say
//! last or how long to wait for it.
//!
//! A driver by hand, for one connection on a network that is a queue:
//!
//! ```
//! use spacetime_network::id::{ConnId, Direction};
//! use spacetime_network::proto::{Admit, Command, Config, Event, Input, Node, Output, Received};
//! use spacetime_network::time::{Instant, Now, UnixTime};
//! use spacetime_network::wire::{Frame, Payload};
//! use std::collections::VecDeque;
//! # use bytes::Bytes;
//! # use spacetime_network::proto::sync::chain::{Chain, CheckedBlock, HeaderError, HeaderInfo, Tip, Verdict};
//! # use spacetime_network::wire::{Hash, Kind};
//! #
//! # /// A chain of one block.
//! # struct Empty;
//! #
//! # impl Chain for Empty {
//! #     fn genesis(&self) -> Hash { Hash([7; 32]) }
//! #     fn best(&self) -> Tip { Tip { hash: self.genesis(), height: 0, work: 0 } }
//! #     fn position(&self, hash: &Hash) -> Option<Tip> { (*hash == self.genesis()).then(|| self.best()) }
//! #     fn locator(&self) -> Vec<Hash> { vec![self.genesis()] }
//! #     fn headers_after(&self, _: &mut dyn Iterator<Item = Hash>, _: Option<Hash>, _: usize) -> Vec<Bytes> { vec![] }
//! #     fn block(&self, _: &Hash) -> Option<Bytes> { None }
//! #     fn check_header(&self, _: UnixTime, _: &[u8]) -> Result<HeaderInfo, HeaderError> { Err(HeaderError::Early) }
//! #     fn check_block_header(&self, _: UnixTime, _: &[u8]) -> Result<HeaderInfo, HeaderError> { Err(HeaderError::Early) }
//! #     fn block_hash(&self, _: &[u8]) -> Option<Hash> { None }
//! #     fn accept_block(&mut self, _: UnixTime, _: CheckedBlock) -> Verdict { Verdict::Ignored("no blocks") }
//! #     fn submit_transaction(&mut self, _: UnixTime, _: Bytes) -> Verdict { Verdict::Ignored("no pool") }
//! #     fn transaction_id(&self, _: &[u8]) -> Option<Hash> { None }
//! #     fn pool_ids(&self, _: usize) -> Vec<Hash> { vec![] }
//! #     fn pool_transaction(&self, _: &Hash) -> Option<Bytes> { None }
//! #     fn check_gossip(&mut self, _: UnixTime, _: Kind, _: &[u8]) -> Verdict { Verdict::Ignored("no gossip") }
//! #     fn gossip_id(&self, _: Kind, _: &[u8]) -> Hash { Hash::ZERO }
//! # }
//!
//! const CONN: ConnId = ConnId::new(0, 0);
//!
//! struct Hand {
//!     node: Node<Empty>,
//!     sent: VecDeque<(u8, Bytes)>,
//!     received: Received,
//!     told: Vec<Event>,
//!     dials: Vec<Output>,
//! }
//!
//! impl Hand {
//!     fn feed(&mut self, now: Now, input: Input<'_>) {
//!         // 1. One input.
//!         self.node.handle(now, input);
//!         // 2. All of its outputs.
//!         let mut answers = self.drain();
//!         // 3. Then what carrying them out has led to, again one by one.
//!         while let Some(answer) = answers.pop_front() {
//!             self.node.handle(now, answer);
//!             answers.extend(self.drain());
//!         }
//!     }
//!
//!     fn drain(&mut self) -> VecDeque<Input<'static>> {
//!         let mut answers = VecDeque::new();
//!         while let Some(output) = self.node.poll_output() {
//!             match output {
//!                 // `Opened` or `DialFailed` says how it went.
//!                 dial @ Output::Dial { .. } => self.dials.push(dial),
//!                 // This network has no names. Where it has some, they are looked up while the loop goes on.
//!                 Output::Resolve { name } => {
//!                     let failed = Command::Resolved(name, Err("there is no resolver".to_owned()));
//!                     answers.push_back(Input::Command(failed));
//!                 }
//!                 // This queue is never full; with a full one: `SendRefused`.
//!                 Output::Send { conn, kind, payload, report, .. } => {
//!                     self.sent.push_back((kind as u8, payload));
//!                     if report {
//!                         answers.push_back(Input::SendAccepted { conn });
//!                     }
//!                 }
//!                 Output::CountReceived { conn } => {
//!                     answers.push_back(Input::Received { conn, received: self.received });
//!                 }
//!                 // For whoever cuts frames from a stream: what may come next, and how large it may be.
//!                 Output::Rules { .. } => {}
//!                 // Only when the peer has said that it will send no more.
//!                 Output::Hold { .. } | Output::Release { .. } => {}
//!                 // The last error goes first if nothing waits; after the drain the connection is gone.
//!                 Output::Close { conn, reason, .. } => answers.push_back(Input::Closed { conn, reason }),
//!                 Output::Event(event) => self.told.push(event),
//!                 // `node.peers()` is worth a file.
//!                 Output::SavePeers | Output::SaveBans => {}
//!             }
//!         }
//!         answers
//!     }
//! }
//!
//! let hand = |name: &str, nonce| {
//!     let mut config = Config::default();
//!     config.node_id = name.to_owned();
//!     let node = Node::new(config, Empty, nonce, nonce).unwrap();
//!     Hand { node, sent: VecDeque::new(), received: Received::default(), told: vec![], dials: vec![] }
//! };
//! let (mut alice, mut bob) = (hand("alice", 1), hand("bob", 2));
//! let (alice_at, bob_at) = ("192.0.2.1:8333".parse().unwrap(), "192.0.2.2:40000".parse().unwrap());
//! let mut now = Now { at: Instant::from_millis(0), unix: UnixTime::from_millis(1_800_000_000_000) };
//!
//! // 4. The embedder wants something: an input.
//! bob.feed(now, Input::Command(Command::Connect(alice_at)));
//! let Some(Output::Dial { dial, address, .. }) = bob.dials.pop() else { panic!("no dial") };
//! assert_eq!(address, alice_at);
//!
//! // 5. Somebody knocks: the one question. A place that is made for him may cost outputs as well.
//! assert_eq!(alice.node.admit(now, bob_at), Admit::Accept);
//! alice.drain();
//!
//! // 6. The connection is open, at both ends.
//! let (inbound, outbound) = (Direction::Inbound, Direction::Outbound(dial));
//! alice.feed(now, Input::Opened { conn: CONN, remote: bob_at, local: None, direction: inbound, identity: None });
//! bob.feed(now, Input::Opened { conn: CONN, remote: alice_at, local: None, direction: outbound, identity: None });
//!
//! // 7. Frames come, and lead to others.
//! fn pass(now: Now, from: &mut Hand, to: &mut Hand) {
//!     while let Some((kind, payload)) = from.sent.pop_front() {
//!         to.received.frames += 1;
//!         to.received.bytes += 5 + payload.len() as u64;
//!         to.feed(now, Input::Frame { conn: CONN, frame: Frame { kind, payload: Payload::Given(payload) } });
//!     }
//! }
//! fn exchange(now: Now, one: &mut Hand, other: &mut Hand) {
//!     while !one.sent.is_empty() || !other.sent.is_empty() {
//!         pass(now, one, other);
//!         pass(now, other, one);
//!     }
//! }
//! exchange(now, &mut alice, &mut bob);
//! for hand in [&alice, &bob] {
//!     assert!(hand.told.iter().any(|event| matches!(event, Event::PeerConnected { .. })));
//! }
//!
//! // 8. Everything that came at once is fed: the end of a turn.
//! alice.feed(now, Input::TurnEnded);
//! bob.feed(now, Input::TurnEnded);
//!
//! // 9. Nothing comes: sleep until the deadline, then tell the time.
//! while now.at < Instant::from_millis(600_000) {
//!     now.at = [&alice, &bob].map(|hand| hand.node.deadline().unwrap()).into_iter().min().unwrap().max(now.at);
//!     for hand in [&mut alice, &mut bob] {
//!         if hand.node.deadline() <= Some(now.at) {
//!             hand.feed(now, Input::Tick);
//!             assert!(hand.node.deadline() > Some(now.at), "it never spins");
//!         }
//!     }
//!     exchange(now, &mut alice, &mut bob);
//! }
//! assert_eq!(alice.node.connected().count(), 1, "heartbeats and pings go on by themselves");
//! ```
//!
//! [`driver::node`] is such a driver on real sockets, and the tests have one on a virtual clock that carries the same adapter. Nothing
//! in `proto` or `link` blocks, reads a clock, or allocates without a limit.
//!
//! # What it does not do
//!
//! It has no async runtime and needs none. It encrypts only when it is told to: see the features below. It has no opinion on
//! what a block means: that is the chain's.
//!
//! # Features
//!
//! None by default: the engine alone builds on mio, slab, bytes, socket2, getrandom and ipnet, and needs no C compiler.
//! `tls-aws-lc` and `tls-ring` are TLS with node identities, on either crypto library; `json` is the file `peers.json`;
//! `chain` the reference chain and its store; `sim` the simulator, with the two before it; `upnp` the third way to ask a router for a
//! port, which needs no crate; `lz4` frames that are compressed between peers that both have it. The program `spacetime-node` is a
//! package of its own.
#![forbid(unsafe_code)]
#![warn(missing_docs, unreachable_pub)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]
#![cfg_attr(docsrs, feature(doc_cfg))]

/// Misbehave here? Never, and at no cost, unless a simulation switched it on: see the module `buggify` of the crate.
macro_rules! buggify {
    ($owner:expr, $point:ident) => {{
        #[cfg(feature = "sim")]
        let hit = $owner.buggify.as_mut().is_some_and(|buggify| buggify.hit(crate::buggify::Point::$point));
        #[cfg(not(feature = "sim"))]
        let hit = false;
        hit
    }};
}

#[cfg(all(feature = "tls", not(any(feature = "tls-aws-lc", feature = "tls-ring"))))]
compile_error!(
    "the feature `tls` is internal: enable `tls-aws-lc` or `tls-ring`, which bring a crypto library with it"
);

pub mod address;
pub mod admit;
#[cfg(feature = "sim")]
pub mod buggify;
#[cfg(feature = "chain")]
pub mod chain;
pub mod close;
pub mod config;
pub mod driver;
mod files;
pub mod frame_start;
pub mod histogram;
pub mod id;
pub mod invariant;
pub mod limits;
pub mod link;
pub mod mapping;
pub mod nat;
pub mod proto;
pub mod rate;
pub mod rng;
mod sharded;
pub mod shares;
#[cfg(feature = "sim")]
pub mod sim;
pub mod source;
pub mod time;
pub mod wire;

/// The front page's code, compiled as it stands.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
