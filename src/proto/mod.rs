//! Decisions, without sockets, clocks or files.

pub mod budget;
pub mod event;
pub mod gossip;
pub mod sync;
