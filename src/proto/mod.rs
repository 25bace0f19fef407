//! Decisions, without sockets, clocks or files.

pub mod event;
pub mod peer;
pub mod sync;
