//! Those who break WebSocket: its upgrade, its frames and masks, its patience, and the place that somebody has by it.

use super::Adversary;
use crate::driver::SocketId;
use crate::wire::Kind;

/// A request that is granted, but for its end.
const UPGRADE: &[u8] = b"GET / HTTP/1.1\r\nHost: node.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";
const KEY: [u8; 4] = [0x5a, 0x00, 0xff, 0x17];

/// One way to break it.
#[derive(Clone, Copy)]
enum Breach {
    /// In place of a request, or within it, bytes that are none.
    Garbage,
    /// A request that never ends.
    Unfinished,
    /// A page of somebody else's.
    Origin,
    Unmasked,
    /// Fragments of one byte each.
    Fragments,
    Pings,
    /// A frame of 2^62 bytes.
    Claim,
    Text,
    /// The beginning of a frame's header, and no more of it.
    HalfHeader,
    /// Bytes of the wire protocol that are none, in messages that are.
    BadFrames,
    /// It greets, answers nothing and keeps its place as long as it can.
    Squat,
}

const BREACHES: [(Breach, &str); 11] = [
    (Breach::Garbage, "upgrade of garbage"),
    (Breach::Unfinished, "unfinished upgrade"),
    (Breach::Origin, "upgrade from a foreign page"),
    (Breach::Unmasked, "unmasked message"),
    (Breach::Fragments, "message in single bytes"),
    (Breach::Pings, "pings without end"),
    (Breach::Claim, "claimed message"),
    (Breach::Text, "text message"),
    (Breach::HalfHeader, "half a header"),
    (Breach::BadFrames, "garbage in messages"),
    (Breach::Squat, "place by web socket"),
];

impl Adversary {
    /// What it says where it has just connected.
    pub(super) fn break_web_socket(&mut self, key: SocketId) {
        let drawn = self.rng.index(BREACHES.len()).and_then(|at| BREACHES.get(at).copied());
        let Some((breach, name)) = drawn else { return };
        self.attacks.push(name);
        let end: &[u8] = match breach {
            Breach::Unfinished => b"X-Slow: ",
            Breach::Origin => b"Origin: https://evil.example\r\n\r\n",
            _ => b"\r\n",
        };
        let mut out = [UPGRADE, end].concat();
        match breach {
            Breach::Garbage => {
                let from = self.rng.index(out.len()).unwrap_or(0);
                out.truncate(from);
                out.extend((0..200).map(|_| self.rng.next_u64() as u8));
            }
            Breach::Unfinished | Breach::Origin => {}
            Breach::Unmasked => out.extend_from_slice(&[0x82, 3, 1, 2, 3]),
            Breach::Fragments => {
                put(&mut out, 0x02, &[0]);
                (0..20_000).for_each(|_| put(&mut out, 0x00, &[0]));
            }
            Breach::Pings => (0..2_000).for_each(|_| put(&mut out, 0x89, b"still there?")),
            Breach::Claim => out.extend_from_slice(&[0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
            Breach::Text => put(&mut out, 0x81, b"hello"),
            Breach::HalfHeader => out.extend_from_slice(&[0x82, 0xfe, 1]),
            Breach::BadFrames => {
                let bytes: Vec<u8> = (0..4_000).map(|_| self.rng.next_u64() as u8).collect();
                bytes.chunks(100).for_each(|piece| put(&mut out, 0x82, piece));
            }
            Breach::Squat => {
                self.send_handshake(key, Kind::Handshake);
                let said = self.conns.get_mut(&key).map(|conn| core::mem::take(&mut conn.out)).unwrap_or_default();
                // In pieces that no limit of the frames' own would see.
                said.chunks(60).for_each(|piece| put(&mut out, 0x82, piece));
            }
        }
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.out = out;
        }
    }
}

/// A masked frame of at most 125 bytes.
fn put(out: &mut Vec<u8>, first: u8, content: &[u8]) {
    out.extend_from_slice(&[first, 0x80 | content.len() as u8]);
    out.extend_from_slice(&KEY);
    out.extend(content.iter().zip(KEY.iter().cycle()).map(|(byte, key)| byte ^ key));
}
