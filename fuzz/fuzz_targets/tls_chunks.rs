//! TLS on one connection, met at any point of its life by bytes in any pieces: no panic, bounded memory, and no frames
//! but those that an honest peer sent.
//!
//! Input: a byte of which bit 0 says who is met, a server or a client, and bit 1 whether the handshake is done before; a
//! count, that many lengths (each one less than the piece it cuts, repeated for ever), then steps. A step is a byte, what it
//! does, and what that needs; see [`Play::step`]. Keys are fixed, but a handshake draws random numbers: an input that breaks
//! something by its raw bytes breaks it again, one that changes a byte of ciphertext may need several runs.

#![no_main]

use std::io;
use std::net::SocketAddr;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use spacetime_network::id::{DialId, Direction};
use spacetime_network::limits::HANDSHAKE_BYTES;
use spacetime_network::link::tls::identity::Identity;
use spacetime_network::link::tls::trust::Trust;
use spacetime_network::link::tls::{Tls, TlsOptions};
use spacetime_network::link::{BufferPool, Link, OutboxLimits, Transport, WriteSide};
use spacetime_network::time::Instant;
use spacetime_network::wire::frame::MAX_PAYLOAD;
use spacetime_network::wire::{FrameRules, Priority};

static RULES: FrameRules = FrameRules::any(MAX_PAYLOAD);
static PARTIES: LazyLock<[Tls; 2]> = LazyLock::new(|| {
    [1, 2].map(|seed| {
        // An Ed25519 key as PKCS #8 (RFC 8410).
        let mut key = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
        key.extend_from_slice(&[seed; 32]);
        // Sessions to be resumed would be one input's trace in the next.
        let mut options = TlsOptions::default();
        options.resumption = false;
        Tls::new(&Identity::from_pkcs8(&key).unwrap(), Trust::Any, options).unwrap()
    })
});

/// Bytes of frames that each side sends, but for the last.
const SENT_MAX: usize = 128 * 1024;
/// What a record may be, with its header.
const RECORD: usize = 5 + 16 * 1024 + 2048;
/// Twice what is kept, for a vector that doubles: a handshake's bytes and a record.
const HELD_MAX: usize = 2 * (HANDSHAKE_BYTES + 2 * RECORD);
/// What one round of sealing makes, and what the library sends by itself.
const UNSENT_MAX: usize = 4 * RECORD + 2 * HANDSHAKE_BYTES;

fuzz_target!(|input: &[u8]| {
    let Some(([who, count], rest)) = input.split_first_chunk() else { return };
    let Some((cuts, steps)) = rest.split_at_checked(usize::from(*count)) else { return };
    let mut play = Play::new(who & 1 == 0, cuts.to_vec());
    if who & 2 != 0 {
        play.handshake();
    }
    let mut steps = steps.iter().copied();
    while let Some(step) = steps.next() {
        play.step(step, &mut steps);
    }
});

struct End {
    link: Link,
    pool: BufferPool,
    frames: Vec<Vec<u8>>,
    sent: Vec<Vec<u8>>,
    side: WriteSide,
}

impl End {
    fn new(party: &Tls, direction: Direction) -> Self {
        let remote: SocketAddr = "192.0.2.1:9333".parse().unwrap();
        let transport = Transport::tls(party, remote, direction).unwrap();
        let link = Link { transport, ..Link::default() };
        End { link, pool: BufferPool::new(), frames: Vec::new(), sent: Vec::new(), side: WriteSide::Open }
    }

    fn send(&mut self, len: usize) {
        // Enough for every way to cut it; more would only take time.
        if self.side == WriteSide::Closing || self.sent.iter().map(Vec::len).sum::<usize>() > SENT_MAX {
            return;
        }
        let payload: Vec<u8> = (0..len).map(|at| (at * 31 + self.sent.len()) as u8).collect();
        let queued =
            self.link.outbox.push(Priority::Normal, 1, &payload, &OutboxLimits::default(), &mut self.pool).is_ok();
        if queued {
            self.sent.push(payload);
        }
    }

    /// What the socket takes, of which it takes at most `credit` bytes.
    fn flush(&mut self, mut credit: usize) -> Vec<u8> {
        let mut wire = Vec::new();
        self.link.flush(&mut self.pool, usize::MAX, self.side, |slices| {
            let slice = slices.first().map_or(&[][..], |slice| slice);
            let count = slice.len().min(credit);
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            wire.extend_from_slice(&slice[..count]);
            credit -= count;
            Ok(count)
        });
        assert!(self.link.transport.unsent() <= UNSENT_MAX);
        wire
    }

    fn receive(&mut self, mut bytes: &mut [u8]) {
        let End { link: Link { transport, inbox, .. }, pool, frames, .. } = self;
        // As the loop does: no more is read at once than may be, and nothing once it is over.
        while !bytes.is_empty() && transport.end().is_none() {
            let (now, later) = bytes.split_at_mut(transport.room().min(bytes.len()));
            bytes = later;
            transport.open(now, Instant::ZERO, &mut |mut plaintext| {
                while let Some(frame) = inbox.next(&mut plaintext, &RULES, Instant::ZERO, pool).unwrap() {
                    frames.push(frame.payload.to_vec());
                }
                true
            });
        }
        assert!(transport.held() <= HELD_MAX, "{} bytes are held", transport.held());
        assert!(transport.end().is_none() || transport.held() == 0, "nothing is kept for nothing");
        assert!(transport.identity().is_none() || !transport.is_securing());
    }
}

struct Play {
    met: End,
    peer: End,
    cuts: std::iter::Cycle<std::vec::IntoIter<usize>>,
    /// Every byte so far is one that the peer sent, in order.
    honest: bool,
}

impl Play {
    fn new(met_is_server: bool, cuts: Vec<u8>) -> Self {
        let [one, two] = &*PARTIES;
        let ours = if met_is_server { Direction::Inbound } else { Direction::Outbound(DialId(1)) };
        let theirs = if met_is_server { Direction::Outbound(DialId(1)) } else { Direction::Inbound };
        let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| usize::from(cut) + 1).collect();
        if cuts.is_empty() {
            cuts.push(usize::MAX);
        }
        let cuts = cuts.into_iter().cycle();
        Play { met: End::new(one, ours), peer: End::new(two, theirs), cuts, honest: true }
    }

    fn handshake(&mut self) {
        for _ in 0..4 {
            let mut there = self.peer.flush(usize::MAX);
            self.met.receive(&mut there);
            let mut back = self.met.flush(usize::MAX);
            self.peer.receive(&mut back);
        }
        assert!(!self.met.link.transport.is_securing() && !self.peer.link.transport.is_securing());
    }

    fn step(&mut self, step: u8, rest: &mut impl Iterator<Item = u8>) {
        let mut byte = || rest.next().unwrap_or_default();
        match step % 8 {
            // Raw bytes.
            0 => {
                let mut bytes: Vec<u8> = (0..byte()).map(|_| byte()).collect();
                self.honest &= bytes.is_empty();
                self.give(&mut bytes);
            }
            // What the peer sends, as it is, or with one byte of it changed.
            1 => {
                let mut wire = self.peer.flush(usize::MAX);
                self.give(&mut wire);
            }
            2 => {
                let (at, flip) = (usize::from(u16::from_le_bytes([byte(), byte()])), byte());
                let mut wire = self.peer.flush(usize::MAX);
                let len = wire.len().max(1);
                if let Some(victim) = wire.get_mut(at % len) {
                    *victim ^= flip;
                    self.honest &= flip == 0;
                }
                self.give(&mut wire);
            }
            // The peer sends a part, and the rest is lost with the next step.
            3 => {
                let mut wire = self.peer.flush(usize::MAX);
                let kept = usize::from(u16::from_le_bytes([byte(), byte()])).min(wire.len());
                self.honest &= kept == wire.len();
                self.give(&mut wire[..kept]);
            }
            // Frames, either way.
            4 => self.peer.send(usize::from(u16::from_le_bytes([byte(), byte()]))),
            5 => self.met.send(usize::from(u16::from_le_bytes([byte(), byte()]))),
            // What we send reaches the peer, as far as the socket takes it.
            6 => {
                let mut wire = self.met.flush(256 * usize::from(byte()));
                self.peer.receive(&mut wire);
            }
            _ => {
                for end in [&mut self.met, &mut self.peer] {
                    if byte() == 0 && !end.link.transport.is_securing() {
                        end.side = WriteSide::Closing;
                    }
                }
            }
        }
    }

    /// The bytes reach whom we meet, in pieces.
    fn give(&mut self, bytes: &mut [u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let len = self.cuts.next().unwrap_or(rest.len()).min(rest.len());
            let (piece, later) = rest.split_at_mut(len);
            self.met.receive(piece);
            rest = later;
        }
        let (got, sent) = (&self.met.frames, &self.peer.sent);
        assert!(got.len() <= sent.len() && got.iter().zip(sent).all(|(got, sent)| got == sent));
        if self.honest {
            assert!(!matches!(self.met.link.transport.end(), Some(Err(_))), "{:?}", self.met.link.transport);
        }
    }
}
