//! Questions to a running node, over the wire: each connects, greets, asks, prints and leaves.
//!
//! `blocking` is the conversation, on a loop of its own, and `protocol` our side of it. The other files are the questions.

mod block;
pub(crate) mod blocking;
mod lists;
mod ping;
mod protocol;
mod send;
pub(crate) mod view;

pub(crate) use block::{block, fetch as fetch_block};
pub(crate) use lists::{headers, peers, tx_pool};
pub(crate) use ping::ping;
pub(crate) use protocol::is_client;
pub(crate) use send::send_tx;
