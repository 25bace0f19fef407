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
//! ways (complete, need more, never valid); after it said "complete" the payload is a slice of the input, and
//! [`Message::decode`] reads it. The files: [`frame`] and [`kind`] say what a frame is, [`message`] lists the messages, and
//! each family of them has a file of its own behind it; all of them read and write through one bounded cursor. What goes
//! over the wire, and when, is written down in [`protocol`].
//!
//! ```
//! use spacetime_network::wire::message::Ping;
//! use spacetime_network::wire::{FrameRules, Kind, Message, Parse, frame};
//!
//! let ping = Message::Ping(Ping { nonce: 7, unix_millis: 1_700_000_000_000 });
//! let mut bytes = Vec::new();
//! ping.encode(&mut bytes)?;
//!
//! let rules = FrameRules::version(2);
//! assert_eq!(frame::parse(&bytes[..9], rules), Parse::NeedMore { total: Some(21) });
//! let Parse::Complete { kind, payload, rest: [] } = frame::parse(&bytes, rules) else { unreachable!() };
//! assert_eq!(Kind::from_byte(kind), Some(Kind::Ping));
//! assert_eq!(Message::decode(Kind::Ping, payload)?, ping);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod block;
pub mod compressed;
mod cursor;
pub mod dialect;
mod error;
pub mod foreign;
pub mod frame;
mod handshake;
pub mod hash;
mod header;
pub mod kind;
mod liveness;
pub mod message;
pub mod pieces;
mod proof;
mod transaction;
mod wrapper;

#[doc = include_str!("protocol.md")]
pub mod protocol {}

pub use dialect::Dialect;
pub use foreign::Foreign;
pub use frame::{Agreed, Frame, FrameError, FrameRules, Parse, Payload};
pub use hash::Hash;
pub use kind::{Kind, Priority};
pub use message::{DecodeError, EncodeError, Message};
