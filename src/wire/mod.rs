//! Bytes and messages: the frame, the message kinds and their payloads, as pure functions.
//!
//! ```text
//!  0        4        5                       4 + length
//!  +--------+--------+-----------------------+
//!  | length |  type  |  payload              |      length: u32, little-endian, counts the type byte
//!  +--------+--------+-----------------------+
//! ```
//!
//! Nothing here panics, allocates ahead of the bytes that arrived, or knows a policy. [`frame::parse`] answers in three
//! ways (complete, need more, never valid); after it said "complete" the payload is a slice of the input.

mod address;
mod block;
mod cursor;
mod error;
pub mod frame;
mod handshake;
pub mod hash;
mod header;
pub mod kind;
mod liveness;
pub mod message;
mod proof;
mod transaction;

pub use frame::{Frame, FrameError, FrameRules, Parse, Payload};
pub use hash::Hash;
pub use kind::{Kind, Priority};
pub use message::{DecodeError, EncodeError, Message};
