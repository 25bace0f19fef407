//! A whole node on real sockets, and strangers with plain ones: the wire as others see it.
#![cfg(feature = "chain")]

mod friends;
mod half_close;
#[path = "../node/introduction.rs"]
mod introduction;
mod look;
mod malformed;
mod stranger;
#[cfg(feature = "tls")]
#[path = "../tls_support/mod.rs"]
mod tls_support;
mod vectors;
