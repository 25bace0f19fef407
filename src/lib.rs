//! A low-level, embeddable peer-to-peer engine for blockchain nodes: one thread, one readiness loop, frames parsed by
//! hand, and every decision in code that touches no socket, no clock and no file.
//!
//! # Layers, top to bottom
//!
//! | module | is | a normal user touches it |
//! |---|---|---|
//! | [`driver`] | the mio loop: sockets, clock, files | always |
//! | [`proto`] | decisions: sessions, peers, relay, sync, as inputs and outputs | to configure a node |
//! | [`link`] | one connection's pipe: bytes in, frames out, and back | hardly |
//! | [`wire`] | frames and messages as pure functions | for a codec or a protocol of one's own |
//! | [`time`], [`rng`], [`id`], [`address`], [`rate`], [`limits`], [`close`], [`config`], [`invariant`] | values | by their types |
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
//! [`Chain`](proto::sync::chain::Chain) of its own. Each of the three has an example.
//!
//! # The drive contract: feed one, drain all
//!
//! 1. Give [`proto::Node::handle`] one [`proto::Input`], with what the clocks said when it arrived.
//! 2. Carry out every [`proto::Output`] of [`proto::Node::poll_output`], until there is none.
//! 3. Sleep until the next input, but not past [`proto::Node::deadline`]; then feed [`proto::Input::Tick`].
//!
//! [`driver::node`] does this on real sockets. Nothing in `proto` or `link` blocks, reads a clock, or allocates without a
//! limit, so the same code runs under a virtual clock in a test.
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
//! `chain` the reference chain and its store; `sim` the simulator, with the two before it. The program `spacetime-node` is a
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
pub mod id;
pub mod invariant;
pub mod limits;
pub mod link;
pub mod proto;
pub mod rate;
pub mod rng;
#[cfg(feature = "sim")]
pub mod sim;
pub mod time;
pub mod wire;

/// The front page's code, compiled as it stands.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
