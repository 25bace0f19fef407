//! Decisions, without sockets, clocks or files: inputs in, outputs out.
//!
//! [`Node`] is the whole of it. Its parts stand alone, for embedders who want fewer decisions made for them: known peers
//! and reputation ([`peer`]), deduplication and relay ([`gossip`]), catching up with a chain ([`sync`]).

pub mod budget;
mod clock;
pub mod config;
mod counter;
pub mod event;
pub mod gossip;
mod node;
pub mod peer;
mod pool;
mod session;
pub mod sync;
pub(crate) mod work;

pub use crate::admit::Admit;
pub use crate::frame_start::{Begun, FrameStart};
pub use config::Config;
pub use event::{Command, Event, Input, Output, Received};
pub use node::{ConnTally, Counters, Node};
pub use session::{ClientInfo, PeerInfo};
