//! The Spacetime blockchain on the `spacetime-network` engine: a chain that was not made for it, as an example.
//!
//! The lower half knows nothing of the engine: [`codec`], [`crypto`], [`merkle`], [`format`] and [`difficulty`] say what things
//! are, [`rules`] and [`accounts`] what must hold, [`ledger`] which chain is the best, [`pool`] what waits for a block, [`plot`]
//! how a farmer comes by a proof, [`store`] how blocks are kept.
//!
//! The upper half joins them to the engine: [`chain`] is its `Chain`, with [`judges`] and [`gossip`]; [`node`] runs it with a
//! [`farmer`], and [`client`] asks a node that runs.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic))]

pub mod accounts;
pub mod chain;
pub mod client;
pub mod codec;
pub mod crypto;
pub mod difficulty;
pub mod farmer;
pub mod format;
pub mod genesis;
pub mod gossip;
pub mod judges;
pub mod ledger;
pub mod merkle;
pub mod node;
pub mod plot;
pub mod pool;
pub mod rules;
pub mod store;
