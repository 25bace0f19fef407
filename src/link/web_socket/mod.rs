//! WebSocket (RFC 6455) between a socket, or TLS, and the frames: so that browsers can be peers, and nodes behind HTTP proxies.
//!
//! The byte stream inside the binary messages is the wire protocol. We send each of its frames as one message of one frame, and
//! take any split and any packing. Nothing is compressed: no extension is agreed on.
//!
//! | file | what it is |
//! |---|---|
//! | `stream` | one connection, both ways: upgrade, messages, pings, close |
//! | `upgrade` | the request and the answer to it, in HTTP |
//! | `accept_key` | the key in both |
//! | `target` | what an operator says: [`WebSocketOptions`], [`WebSocketTarget`] |
//! | `frames`, `sender` | frames in, and frames out |
//! | `mask`, `close_code` | the mask, and the codes of close frames |
//!
//! Each file imports only from those below it.

mod accept_key;
mod close_code;
mod frames;
mod mask;
pub(super) mod sender;
pub(super) mod stream;
mod target;
mod upgrade;

pub use stream::WebSocketRole;
pub use target::{NotATarget, WebSocketOptions, WebSocketTarget};

/// What is said to one who asks for a place in WebSocket, where there is none: an answer in HTTP, before a request was read.
pub(crate) const TURNED_AWAY: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 30\r\nContent-Type: text/plain\r\n\
      Content-Length: 30\r\n\r\nThere is no place at present.\n";
