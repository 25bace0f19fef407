//! Engines that meet over TLS on real sockets: every way to trust, every refusal, and OpenSSL as a foreign peer.
#![cfg(feature = "tls")]

mod engine;
mod meetings;
mod openssl;
