//! Engines that meet over TLS on real sockets: every way to trust, every refusal, and OpenSSL as a foreign peer.
#![cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]

mod engine;
mod meetings;
mod openssl;
