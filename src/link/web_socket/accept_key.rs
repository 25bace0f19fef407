//! The key of an upgrade and the answer to it (RFC 6455, section 4.2.2): they show that both ends mean WebSocket, and nothing more.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

/// What is appended to every key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The key of a client, as text.
pub(super) fn key(random: [u8; 16]) -> String {
    STANDARD.encode(random)
}

/// Is this the text of 16 bytes?
pub(super) fn is_key(text: &[u8]) -> bool {
    STANDARD.decode(text).is_ok_and(|bytes| bytes.len() == 16)
}

/// What a server answers to this key.
pub(super) fn accept(key: &[u8]) -> String {
    STANDARD.encode(Sha1::new().chain_update(key).chain_update(GUID).finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6455, section 1.3.
    #[test]
    fn the_answer_is_that_of_the_specification() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(is_key(key([7; 16]).as_bytes()) && is_key(b"dGhlIHNhbXBsZSBub25jZQ=="));
        for bad in [&b""[..], b"dGhl", b"dGhlIHNhbXBsZSBub25jZQ", b"!!!!IHNhbXBsZSBub25jZQ==", &[0xff; 24]] {
            assert!(!is_key(bad), "{bad:?}");
        }
    }
}
