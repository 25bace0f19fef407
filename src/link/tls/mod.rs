//! TLS for a node: our identity, whom we trust, and what rustls is to do with both.
//!
//! rustls's own types stay out of the public interface, for its next release renames much of what is used here.
//!
//! | file | what it is |
//! |---|---|
//! | `stream` | one connection's records, both ways: handshake, frames, close_notify |
//! | `record` | what is not opened yet; what waits for the socket is in `link::unsent` |
//! | `rustls_connection` | rustls's two state machines as one |
//! | `sealing` | how plaintext becomes full records |
//! | `context` | what all connections share: [`Tls`] |
//! | `verify` | the verification of a certificate, as rustls asks for it |
//! | [`trust`] | whom to believe |
//! | [`identity`] | our key and the certificate made of it |
//! | `fault`, `refusal`, `error` | what went wrong: with a peer, for the operator, and with what the operator gave |
//! | `alpn`, `clients` | the protocol inside; what those who dial us must show |
//! | `provider` | which crypto library does what |
//!
//! Each file imports only from those below it.

pub(super) mod alpn;
mod clients;
mod context;
mod effort;
mod error;
mod fault;
pub mod identity;
mod provider;
mod record;
mod refusal;
mod rustls_connection;
pub(super) mod sealing;
pub(super) mod stream;
pub mod trust;
mod verify;

pub use clients::TlsClients;
pub use context::{Tls, TlsOptions};
pub use error::TlsError;
pub use refusal::TlsRefusal;
