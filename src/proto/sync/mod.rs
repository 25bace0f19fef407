//! Catching up with the best chain: headers first, then blocks from several peers.

pub mod chain;
