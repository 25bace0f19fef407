//! SOCKS5 (RFC 1928, RFC 1929): how a proxy is asked to connect us with somebody.
//!
//! [`Handshake`] says what to write and judges each byte that comes; it knows no socket and no clock. It says how many bytes it
//! [wants](Handshake::wanted), so that whoever reads no more than that leaves what the peer says behind the proxy's answer where it
//! is, for whoever speaks with the peer.
//!
//! Names go to the proxy as names: nobody here looks them up.
//!
//! # Examples
//!
//! ```
//! use spacetime_network::link::socks::{Handshake, Proxy, Target};
//!
//! let proxy = Proxy::new("127.0.0.1:9050".parse()?);
//! let mut handshake = Handshake::new(&proxy, Target::name("node.example", 7193)?, 0);
//! assert_eq!(handshake.unsent(), [5, 1, 0]);
//! handshake.wrote(3);
//! // It wants no password.
//! assert_eq!(handshake.take(&mut &[5, 0][..]), Ok(false));
//! assert_eq!(&handshake.unsent()[..5], [5, 1, 0, 3, 12]);
//! handshake.wrote(19);
//! // It is connected; then the peer speaks.
//! let mut input = &b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00hello"[..];
//! assert_eq!((handshake.take(&mut input), input), (Ok(true), &b"hello"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod handshake;
#[cfg(test)]
mod handshake_tests;
mod proxy;

pub use handshake::Handshake;
pub use proxy::{BadText, Credentials, Login, Proxy, Target};
