//! TLS on real sockets: two drivers, or a driver and a plain socket that lies, cuts, stalls or speaks something else.
#![cfg(feature = "tls")]

mod budget;
mod end;
#[path = "../driver/fill.rs"]
mod fill;
mod half_close;
#[cfg(feature = "chain")]
mod last_word;
#[path = "../driver/party.rs"]
#[allow(dead_code, reason = "the loop's own tests use the rest of it")]
mod party;
#[path = "../driver/promise.rs"]
mod promise;
mod refusal;
mod setting;
#[path = "../tls_support/mod.rs"]
mod tls_support;
mod traffic;
