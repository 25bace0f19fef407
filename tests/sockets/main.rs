//! A whole node on real sockets, and strangers with plain ones: the wire as others see it.
#![cfg(feature = "chain")]

mod half_close;
mod malformed;
mod stranger;
mod vectors;
