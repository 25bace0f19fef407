//! Any payload of any kind: refused, or a message that encodes to the same bytes again.
//!
//! Input: the type byte, then the payload.

#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use spacetime_network::wire::message::GetPeers;
use spacetime_network::wire::{Kind, Message};

/// The extension block on the wire: magic, body length, body.
const EXTENSION_LEN: usize = 4 + 2 + 90;

fuzz_target!(|input: &[u8]| {
    let Some((byte, payload)) = input.split_first() else { return };
    let Some(kind) = Kind::from_byte(*byte) else { return };
    let Ok(message) = Message::decode(kind, payload) else { return };
    assert_eq!(message.kind(), kind);
    assert!(payload.len() <= kind.max_payload() as usize);
    assert!(allocated(&message) <= 16 * payload.len(), "more allocated than the payload can account for");

    let again = message.to_payload().expect("what was accepted can be sent");
    assert_eq!(Message::decode(kind, &again).as_ref(), Ok(&message));
    match &message {
        Message::Handshake(handshake) | Message::HandshakeAck(Some(handshake)) => {
            // What every decoder ignores is gone: a tail that is no extension, or the body's later fields.
            let extension_len = handshake.extension.map_or(0, |extension| {
                EXTENSION_LEN
                    + match extension.seen {
                        None => 0,
                        Some(SocketAddr::V4(_)) => 7,
                        Some(SocketAddr::V6(_)) => 19,
                    }
            });
            let head = again.len() - extension_len;
            assert_eq!(payload[..head], again[..head]);
            if handshake.extension.is_some() {
                assert_eq!(payload[head..head + 4], again[head..head + 4]);
                assert!(u16::from_le_bytes([payload[head + 4], payload[head + 5]]) >= 90);
                assert!(payload[head + 6..].starts_with(&again[head + 6..]));
            }
        }
        _ => assert_eq!(again, payload),
    }
});

/// Bytes in the lists that decoding allocated.
fn allocated(message: &Message<'_>) -> usize {
    fn of<T>(list: &Vec<T>) -> usize {
        list.capacity() * size_of::<T>()
    }
    match message {
        Message::GetPeers(GetPeers::Limited { exclude, .. }) => of(exclude),
        Message::Peers(peers) => of(peers),
        Message::GetHeaders(request) => request.more.as_ref().map_or(0, of),
        Message::Headers(headers) => of(headers),
        Message::TxPool(ids) => of(ids),
        _ => 0,
    }
}
