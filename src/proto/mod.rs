//! Decisions, without sockets, clocks or files: inputs in, outputs out.
//!
//! [`Node`] is the whole of it. Its parts stand alone, for embedders who want fewer decisions made for them: known peers
//! and reputation ([`peer`]), deduplication and relay ([`gossip`]), catching up with a chain ([`sync`]).

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

pub mod budget;
pub mod config;
pub mod event;
pub mod gossip;
mod node;
pub mod peer;
pub mod rate;
mod session;
pub mod sync;

pub use config::Config;
pub use event::{Command, Event, Input, Output};
pub use node::{Counters, Node};
pub use session::PeerInfo;
