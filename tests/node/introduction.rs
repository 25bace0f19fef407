//! How a stranger introduces itself.

use spacetime_network::wire::message::{Extension, Handshake};
use spacetime_network::wire::{Hash, Message};

/// A handshake as a stranger would send it.
pub fn introduction(id: &str, version: u8, port: u16) -> Message<'_> {
    let extension = (version >= 2).then_some(Extension {
        network: Hash::ZERO,
        nonce: id.bytes().fold(7, |n: u64, b| n.wrapping_mul(31).wrapping_add(u64::from(b))),
        listening_port: port,
        features: 0,
        best_height: 0,
        best_hash: Hash::ZERO,
        seen: None,
    });
    Message::Handshake(Handshake {
        version: i32::from(version),
        unix_seconds: 1_700_000_000,
        node_id: id,
        user_agent: "stranger/1",
        extension,
    })
}
