//! Decisions, without sockets, clocks or files.

pub mod event;
pub mod sync;
