//! Any bytes behind an upgrade, in any pieces, against a decoder that is written from RFC 6455 with the whole stream at hand.
//!
//! Input: one byte (the length of pieces), the stream as a client sends it.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use spacetime_network::close::{CloseReason, WebSocketFault};
use spacetime_network::link::web_socket::{WebSocketOptions, WebSocketRole};
use spacetime_network::link::{BufferPool, Transport};
use spacetime_network::time::Instant;

const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
/// As `link::web_socket` bounds them.
const MESSAGE_MAX: u64 = 2 * (16_777_215 + 1024);
const FRAGMENTS_MAX: u32 = 16 * 1024;
const BURST: u32 = 64;

type End = Option<Result<(), WebSocketFault>>;

fn naive(stream: &[u8]) -> (Vec<u8>, End) {
    let mut data = Vec::new();
    let end = naive_end(stream, &mut data);
    (data, end)
}

fn naive_end(stream: &[u8], data: &mut Vec<u8>) -> End {
    use WebSocketFault::*;
    let (mut at, mut in_message, mut bytes, mut fragments, mut idle) = (0, false, 0u64, 0u32, 0u32);
    while let [first, second, ..] = &stream[at..] {
        let (fin, opcode, short) = (first & 0x80 != 0, first & 15, u64::from(second & 127));
        let misplaced = (opcode == 0 && !in_message) || (matches!(opcode, 1 | 2) && in_message);
        if first & 0x70 != 0 || second & 0x80 == 0 || !matches!(opcode, 0 | 1 | 2 | 8 | 9 | 10) || misplaced {
            return Some(Err(Protocol));
        }
        if opcode == 1 {
            return Some(Err(Text));
        }
        if opcode >= 8 && (!fin || short > 125) {
            return Some(Err(Protocol));
        }
        let extra = match short {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let head = 2 + extra + 4;
        if stream.len() - at < head {
            return None;
        }
        let long = stream[at + 2..at + 2 + extra].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let len = if extra == 0 { short } else { long };
        if (extra == 2 && len < 126) || (extra == 8 && len < 65_536) || len >> 63 == 1 {
            return Some(Err(Protocol));
        }
        if opcode < 8 {
            bytes = if in_message { bytes.saturating_add(len) } else { len };
            fragments = if in_message { fragments + 1 } else { 1 };
            in_message = !fin;
            if bytes > MESSAGE_MAX {
                return Some(Err(TooLarge));
            }
            if fragments > FRAGMENTS_MAX {
                return Some(Err(Flooding));
            }
        }
        let key = &stream[at + head - 4..at + head];
        let rest = &stream[at + head..];
        let here = rest.len().min(usize::try_from(len).unwrap());
        let content: Vec<u8> = rest[..here].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect();
        if opcode >= 8 && (here as u64) < len {
            return None;
        }
        if opcode >= 8 || len == 0 {
            idle += 1;
            if idle > BURST {
                return Some(Err(Flooding));
            }
        }
        match opcode {
            8 => {
                return Some(match &content[..] {
                    [] => Ok(()),
                    [_] => Err(Protocol),
                    [high, low, reason @ ..] => match u16::from_be_bytes([*high, *low]) {
                        1000..=1003 | 1007..=1014 | 3000..=4999 => {
                            std::str::from_utf8(reason).map(drop).map_err(|_| BadText)
                        }
                        _ => Err(Protocol),
                    },
                });
            }
            0 | 2 => data.extend(content),
            _ => {}
        }
        at += head + here;
    }
    None
}

fuzz_target!(|input: &[u8]| {
    let [piece, stream @ ..] = input else { return };
    let mut transport = Transport::web_socket(WebSocketRole::Server(Arc::new(WebSocketOptions::default())));
    let (mut pool, mut data) = (BufferPool::new(), Vec::new());
    transport.open(&mut UPGRADE.to_vec(), Instant::ZERO, &mut |_| true);
    assert!(!transport.is_securing());
    let mut pieces = stream.chunks(usize::from(*piece).max(1));
    while transport.end().is_none()
        && let Some(bytes) = pieces.next()
    {
        transport.open(&mut bytes.to_vec(), Instant::ZERO, &mut |content| {
            data.extend_from_slice(content);
            true
        });
        transport.account(&mut pool);
        assert!(transport.held() <= 256 && transport.unsent() <= 4096);
    }
    let (expected, end) = naive(stream);
    assert_eq!(transport.end(), end.map(|end| end.map_err(CloseReason::WebSocket)));
    assert_eq!(data, expected);
});
