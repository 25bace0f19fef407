//! A peer exactly as strict as either revision of the C# library, without sockets and clocks: what it cannot read ends it.
//!
//! It is written from what was recorded and observed of the library, and shares no code with the crate: what both had wrong in
//! common, no test would find.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// Which revision one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Revision {
    First,
    Later,
}

/// Whether it dialed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Dialer,
    Listener,
}

/// A frame: its type byte and its payload.
pub type Said = (u8, Vec<u8>);

/// What the relay of a later revision takes at once, and back in a second.
const RELAY: f64 = 100.0;
const RELAY_PER_SECOND: f64 = 10.0;
/// Failures in a row that are a ban.
const FAILURES: u32 = 5;
/// How often it says that it is there.
const HEARTBEAT: Duration = Duration::from_secs(30);

pub const HANDSHAKE: u8 = 0x01;
pub const HANDSHAKE_ACK: u8 = 0x02;
pub const PING: u8 = 0x04;
pub const GET_PEERS: u8 = 0x10;
pub const PEERS: u8 = 0x11;
pub const GET_HEADERS: u8 = 0x20;
pub const GET_BLOCK: u8 = 0x22;
pub const BLOCK: u8 = 0x23;
pub const TRANSACTION: u8 = 0x30;
pub const NEW_BLOCK: u8 = 0x31;

/// One such peer on one connection.
pub struct StrictPeer {
    pub revision: Revision,
    role: Role,
    name: String,
    greeted: bool,
    /// It never pings, so that nothing shows its dialect.
    pub quiet: bool,
    next_heartbeat: Duration,
    relay: (f64, Duration),
    failures: u32,
    /// The blocks that it has, by what the library takes for their hash: the caller says what that is.
    pub blocks: BTreeMap<[u8; 32], Vec<u8>>,
    pub transactions: BTreeSet<Vec<u8>>,
    pub proofs: BTreeSet<Vec<u8>>,
    pub challenges: BTreeSet<Vec<u8>>,
    pub acceptances: Vec<[u8; 32]>,
    pub heard: BTreeMap<u8, usize>,
    pub said: BTreeMap<u8, usize>,
    /// What its relay counted, and when.
    pub relayed: VecDeque<Duration>,
    hash_of: fn(&[u8]) -> [u8; 32],
    nonce: i64,
}

impl StrictPeer {
    /// One that has just connected, and what it says first. Its first heartbeat and ping come a little after `now`.
    pub fn new(
        revision: Revision,
        role: Role,
        name: &str,
        hash_of: fn(&[u8]) -> [u8; 32],
        now: Duration,
    ) -> (Self, Vec<Said>) {
        let mut peer = StrictPeer {
            revision,
            role,
            name: name.to_owned(),
            greeted: false,
            quiet: false,
            next_heartbeat: now + Duration::from_secs(5),
            relay: (RELAY, now),
            failures: 0,
            blocks: BTreeMap::new(),
            transactions: BTreeSet::new(),
            proofs: BTreeSet::new(),
            challenges: BTreeSet::new(),
            acceptances: Vec::new(),
            heard: BTreeMap::new(),
            said: BTreeMap::new(),
            relayed: VecDeque::new(),
            hash_of,
            nonce: 1,
        };
        let first = match role {
            Role::Dialer => vec![(HANDSHAKE, peer.handshake())],
            Role::Listener => Vec::new(),
        };
        peer.note_said(&first);
        (peer, first)
    }

    fn note_said(&mut self, frames: &[Said]) {
        for (byte, _) in frames {
            *self.said.entry(*byte).or_default() += 1;
        }
    }

    fn handshake(&self) -> Vec<u8> {
        let agent = "Spacetime/1.0.0";
        let mut out = 1i32.to_le_bytes().to_vec();
        out.extend(1_700_000_000i64.to_le_bytes());
        for text in [self.name.as_str(), agent] {
            out.extend((text.len() as i32).to_le_bytes());
            out.extend(text.as_bytes());
        }
        out
    }

    /// Says something of its own.
    pub fn say(&mut self, byte: u8, payload: Vec<u8>) -> Said {
        let frame = (byte, payload);
        self.note_said(std::slice::from_ref(&frame));
        frame
    }

    /// A proof, under this revision's type byte.
    pub fn proof(&mut self, payload: &[u8]) -> Said {
        let byte = if self.revision == Revision::Later { 0x40 } else { 0x41 };
        self.proofs.insert(payload.to_vec());
        self.say(byte, payload.to_vec())
    }

    /// A block of its own, as the revision's miner broadcasts it.
    pub fn block(&mut self, block: &[u8]) -> Said {
        self.blocks.insert((self.hash_of)(block), block.to_vec());
        let byte = if self.revision == Revision::Later { BLOCK } else { NEW_BLOCK };
        self.say(byte, block.to_vec())
    }

    /// What it says as time passes.
    pub fn tick(&mut self, now: Duration) -> Vec<Said> {
        let mut out = Vec::new();
        if !self.greeted || now < self.next_heartbeat {
            return out;
        }
        self.next_heartbeat = now + HEARTBEAT;
        out.push((0x03, Vec::new()));
        if !self.quiet {
            match self.revision {
                Revision::First => out.push((GET_PEERS, Vec::new())),
                Revision::Later => {
                    self.nonce += 1;
                    out.push((PING, ping(self.nonce)));
                    out.push((GET_PEERS, [100i32.to_le_bytes(), 0i32.to_le_bytes()].concat()));
                }
            }
        }
        self.note_said(&out);
        out
    }

    /// Takes a frame.
    ///
    /// # Errors
    ///
    /// What throws in the library: the connection is over.
    pub fn hear(&mut self, now: Duration, byte: u8, payload: &[u8]) -> Result<Vec<Said>, String> {
        *self.heard.entry(byte).or_default() += 1;
        // The type byte is a part of the length.
        if payload.len() >= 16_777_216 {
            return Err(format!("no revision reads a length of {}", payload.len() + 1));
        }
        let mut out = Vec::new();
        match self.revision {
            Revision::First => self.hear_as_first(byte, payload, &mut out)?,
            Revision::Later => self.hear_as_later(now, byte, payload, &mut out)?,
        }
        self.note_said(&out);
        Ok(out)
    }

    fn greet(&mut self, byte: u8, out: &mut Vec<Said>) {
        match (self.role, byte) {
            (Role::Listener, HANDSHAKE) if !self.greeted => {
                let ack = if self.revision == Revision::Later { Vec::new() } else { self.handshake() };
                out.push((HANDSHAKE_ACK, ack));
            }
            (Role::Dialer, HANDSHAKE_ACK) => {}
            _ => return,
        }
        self.greeted = true;
    }

    fn serve(&mut self, byte: u8, payload: &[u8], out: &mut Vec<Said>) {
        match byte {
            GET_PEERS => out.push((PEERS, 0i32.to_le_bytes().to_vec())),
            GET_HEADERS => out.push((0x21, 0i32.to_le_bytes().to_vec())),
            GET_BLOCK => {
                let hash: [u8; 32] = payload.try_into().unwrap_or_default();
                out.extend(self.blocks.get(&hash).map(|block| (BLOCK, block.clone())));
            }
            BLOCK | NEW_BLOCK => {
                self.blocks.insert((self.hash_of)(payload), payload.to_vec());
            }
            TRANSACTION => {
                self.transactions.insert(payload.to_vec());
            }
            _ => {}
        }
    }

    fn hear_as_first(&mut self, byte: u8, payload: &[u8], out: &mut Vec<Said>) -> Result<(), String> {
        match byte {
            HANDSHAKE | HANDSHAKE_ACK => self.greet(byte, out),
            0x40 => drop(self.challenges.insert(payload.to_vec())),
            0x41 => drop(self.proofs.insert(payload.to_vec())),
            0x03 | 0x10 | 0x11 | 0x20..=0x23 | 0x30 | 0x31 | 0xff => {}
            _ => return Err(format!("the first revision knows no 0x{byte:02x}")),
        }
        self.serve(byte, payload, out);
        Ok(())
    }

    fn hear_as_later(&mut self, now: Duration, byte: u8, payload: &[u8], out: &mut Vec<Said>) -> Result<(), String> {
        let mut reader = Reader(payload);
        let broken = || format!("the later revision cannot read 0x{byte:02x} of {} bytes", payload.len());
        let check = |holds: bool| if holds { Ok(()) } else { Err(broken()) };
        match byte {
            HANDSHAKE => {
                check(payload.len() >= 16)?;
                let fields = (reader.i32(), reader.i64(), reader.text(), reader.text());
                check(matches!(fields, (Some(_), Some(_), Some(_), Some(_))))?;
                self.greet(byte, out);
            }
            HANDSHAKE_ACK => self.greet(byte, out),
            0x03 => {}
            0x04 | 0x05 => {
                check(payload.len() >= 16)?;
                // Both are the same to it, and are answered alike.
                out.push((PING, payload.to_vec()));
            }
            0x10 => {
                check(payload.len() >= 8)?;
                check(reader.i32().is_some_and(|max| (1..=1000).contains(&max)))?;
                let count = reader.i32().filter(|count| (0..=1000).contains(count)).ok_or_else(broken)?;
                for _ in 0..count {
                    reader.text().ok_or_else(broken)?;
                }
            }
            0x11 => {
                let count = reader.i32().filter(|count| (0..=1000).contains(count)).ok_or_else(broken)?;
                for _ in 0..count {
                    let len = reader.i32().filter(|len| [4, 16].contains(len)).ok_or_else(broken)?;
                    reader.take(len as usize).ok_or_else(broken)?;
                    check(reader.i32().is_some_and(|port| (0..=65535).contains(&port)))?;
                }
            }
            0x20 => {
                check(payload.len() >= 37)?;
                reader.take(32);
                if reader.take(1) == Some(&[1]) {
                    reader.take(32).ok_or_else(broken)?;
                }
                check(reader.i32().is_some_and(|max| max >= 1))?;
            }
            0x21 => {
                let count = reader.i32().filter(|count| (0..=2000).contains(count)).ok_or_else(broken)?;
                for _ in 0..count {
                    let len = reader.i32().filter(|len| (0..=10 << 20).contains(len)).ok_or_else(broken)?;
                    reader.take(len as usize).ok_or_else(broken)?;
                }
            }
            0x22 => check(payload.len() == 32)?,
            0x23 => check(!payload.is_empty())?,
            0x31 => {
                check(!payload.is_empty())?;
                self.relay(now)?;
            }
            0x30 => {
                check((1..=1 << 20).contains(&payload.len()))?;
                self.relay(now)?;
            }
            0x32 => {
                check(reader.i32().is_some_and(|max| max >= 1))?;
                check(reader.take(1).is_some())?;
            }
            0x40 => {
                check(reader.i64().is_some_and(|height| height >= 0))?;
                reader.take(33).ok_or_else(broken)?;
                check(reader.i32().is_some_and(|len| (0..=1 << 20).contains(&len)))?;
                check(!reader.0.is_empty())?;
                self.relay(now)?;
                self.proofs.insert(payload.to_vec());
            }
            0x41 => {
                check(payload.len() == 40)?;
                let hash = reader.take(32).ok_or_else(broken)?;
                check(reader.i64().is_some_and(|height| height >= 0))?;
                self.relay(now)?;
                self.acceptances.push(hash.try_into().unwrap_or_default());
            }
            _ => return Err(broken()),
        }
        self.serve(byte, payload, out);
        Ok(())
    }

    /// Its relay takes one more, or holds it against the peer.
    fn relay(&mut self, now: Duration) -> Result<(), String> {
        self.relayed.push_back(now);
        let (left, since) = self.relay;
        let left = (left + now.saturating_sub(since).as_secs_f64() * RELAY_PER_SECOND).min(RELAY);
        let fits = left >= 1.0;
        self.relay = (if fits { left - 1.0 } else { left }, now);
        self.failures = if fits { 0 } else { self.failures + 1 };
        if self.failures >= FAILURES {
            Err("the later revision bans for what its relay was sent".to_owned())
        } else {
            Ok(())
        }
    }
}

/// A ping's payload.
pub fn ping(nonce: i64) -> Vec<u8> {
    [nonce.to_le_bytes(), 1_700_000_000_000i64.to_le_bytes()].concat()
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn i32(&mut self) -> Option<i32> {
        Some(i32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn i64(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.i32()?).ok()?;
        core::str::from_utf8(self.take(len)?).ok()
    }
}
