//! Those who do not keep the rules: raw frames through the same streams, from hosts that are no nodes.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::net::{Air, Event, PipeId, Side};
use crate::chain::{Block, Header, Miner};
use crate::id::ConnId;
use crate::link::{Inbox, Pool};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::message::{Extension, Handshake};
use crate::wire::{FrameRules, Hash, Kind, Message};

/// Connections that an actor keeps.
const CONNS_MAX: usize = 12;
/// Bytes that it queues to one connection before it waits.
const QUEUE_MAX: usize = 1 << 20;

/// How one misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Never says a word.
    Silent,
    /// Claims a long chain and answers nothing.
    Staller,
    /// Claims a long chain and tells headers that are none.
    Liar,
    /// Sends what it heard again, with a bit changed.
    Mutator,
    /// Sends frames of every type, faster than anybody may.
    Spammer,
    /// Tells addresses where nobody is.
    Poisoner,
    /// Introduces itself with the id of an honest node.
    Thief,
    /// Connects, and connects, and connects.
    Flooder,
    /// Announces real blocks and never gives one.
    Withholder,
}

impl Role {
    pub(super) const ALL: [Role; 9] = [
        Role::Silent,
        Role::Staller,
        Role::Liar,
        Role::Mutator,
        Role::Spammer,
        Role::Poisoner,
        Role::Thief,
        Role::Flooder,
        Role::Withholder,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Role::Silent => "actor: silent",
            Role::Staller => "actor: staller",
            Role::Liar => "actor: liar",
            Role::Mutator => "actor: mutator",
            Role::Spammer => "actor: spammer",
            Role::Poisoner => "actor: poisoner",
            Role::Thief => "actor: thief",
            Role::Flooder => "actor: flooder",
            Role::Withholder => "actor: withholder",
        }
    }

    fn pace(self) -> Duration {
        Duration::from_millis(match self {
            Role::Spammer => 100,
            Role::Flooder => 300,
            _ => 1000,
        })
    }
}

struct Conn {
    pipe: PipeId,
    side: Side,
    inbox: Inbox,
    out: Vec<u8>,
    connected: bool,
    greeted: bool,
}

/// A host that misbehaves.
pub(super) struct Actor {
    index: u32,
    pub(super) address: SocketAddr,
    role: Role,
    genesis: Hash,
    conns: BTreeMap<u32, Conn>,
    next: u32,
    rng: Rng,
    pool: Pool,
    /// Where honest nodes listen.
    targets: Vec<SocketAddr>,
    heard: Option<(u8, Vec<u8>)>,
    tip: Option<Header>,
}

impl Actor {
    pub(super) fn new(
        index: u32,
        address: SocketAddr,
        role: Role,
        genesis: Hash,
        targets: Vec<SocketAddr>,
        seed: u64,
    ) -> Self {
        Actor {
            index,
            address,
            role,
            genesis,
            conns: BTreeMap::new(),
            next: 0,
            rng: Rng::from_seed(seed),
            pool: Pool::new(),
            targets,
            heard: None,
            tip: None,
        }
    }

    /// Its turn to do something: dials, and what its role has it say.
    pub(super) fn act(&mut self, air: &mut Air<'_>) {
        if self.conns.len() < CONNS_MAX
            && let Some(target) = self.rng.index(self.targets.len()).and_then(|at| self.targets.get(at).copied())
        {
            let conn = self.name();
            if let Some(pipe) = air.connect(self.index, conn, target) {
                self.keep(conn, pipe, 0);
            }
        }
        if self.role == Role::Flooder {
            let old: Vec<u32> = self.conns.keys().take(self.conns.len().saturating_sub(4)).copied().collect();
            for key in old {
                self.drop(air, key);
            }
        }
        let keys: Vec<u32> = self.conns.iter().filter(|(_, conn)| conn.greeted).map(|(key, _)| *key).collect();
        for key in keys {
            self.misbehave(key);
            self.flush(air, key);
        }
        let pace = self.rng.jitter(self.role.pace(), 30);
        air.after(pace, Event::Wake(self.index));
    }

    fn name(&mut self) -> ConnId {
        self.next += 1;
        ConnId::new(self.next, 0)
    }

    fn keep(&mut self, name: ConnId, pipe: PipeId, side: Side) {
        let (inbox, out) = (Inbox::default(), Vec::new());
        self.conns.insert(name.index(), Conn { pipe, side, inbox, out, connected: side == 1, greeted: false });
    }

    fn drop(&mut self, air: &mut Air<'_>, key: u32) {
        if let Some(conn) = self.conns.remove(&key) {
            air.hang_up(conn.pipe, conn.side, false);
        }
    }

    pub(super) fn on_syn(&mut self, air: &mut Air<'_>, id: PipeId) {
        let conn = self.name();
        air.accept(id, conn);
        self.keep(conn, id, 1);
    }

    pub(super) fn on_connected(&mut self, air: &mut Air<'_>, conn: ConnId) {
        let Some(found) = self.conns.get_mut(&conn.index()) else { return };
        found.connected = true;
        if self.role != Role::Silent {
            self.introduce(conn.index(), Kind::Handshake);
            self.flush(air, conn.index());
        }
    }

    pub(super) fn on_reset(&mut self, air: &mut Air<'_>, conn: ConnId) {
        self.drop(air, conn.index());
    }

    pub(super) fn on_room(&mut self, air: &mut Air<'_>, conn: ConnId) {
        self.flush(air, conn.index());
    }

    pub(super) fn on_arrive(&mut self, air: &mut Air<'_>, id: PipeId, side: Side, conn: ConnId) {
        let key = conn.index();
        let Some((buffer, head, ready)) = air.borrow(id, side) else { return };
        let mut input = &buffer[head..head + ready];
        let mut ended = false;
        if let Some(found) = self.conns.get_mut(&key) {
            let mut inbox = core::mem::take(&mut found.inbox);
            loop {
                match inbox.next(&mut input, FrameRules::version(2), Instant::ZERO, &mut self.pool) {
                    Ok(Some(frame)) => self.hear(key, frame.kind, &frame.payload),
                    Ok(None) => break,
                    Err(_) => {
                        ended = true;
                        break;
                    }
                }
            }
            if let Some(found) = self.conns.get_mut(&key) {
                found.inbox = inbox;
            }
        }
        air.give_back(id, side, buffer, ready);
        ended |= air.pipe(id).is_some_and(|pipe| pipe.streams[side as usize].eof);
        if ended {
            self.drop(air, key);
        } else {
            self.flush(air, key);
        }
    }

    fn hear(&mut self, key: u32, kind: u8, payload: &[u8]) {
        if payload.len() < 4096 {
            self.heard = Some((kind, payload.to_vec()));
        }
        let Some(Ok(message)) = Kind::from_byte(kind).map(|kind| Message::decode(kind, payload)) else { return };
        if self.role == Role::Silent {
            return;
        }
        match message {
            Message::Handshake(_) => {
                self.introduce(key, Kind::HandshakeAck);
                self.greet(key);
            }
            Message::HandshakeAck(_) => self.greet(key),
            Message::Ping(ping) => self.say(key, &Message::Pong(ping)),
            Message::TxPoolRequest(_) => self.say(key, &Message::TxPool(Vec::new())),
            Message::GetPeers(_) if self.role == Role::Poisoner => self.poison(key),
            Message::GetPeers(_) => self.say(key, &Message::Peers(Vec::new())),
            Message::GetHeaders(_) if self.role == Role::Liar => {
                let lie = vec![7u8; 93];
                self.say(key, &Message::Headers(vec![&lie; 50]));
            }
            Message::GetHeaders(_) if !matches!(self.role, Role::Staller | Role::Withholder) => {
                self.say(key, &Message::Headers(Vec::new()));
            }
            Message::GetBlock(hash) if !matches!(self.role, Role::Staller | Role::Withholder) => {
                self.say(key, &Message::NotFound(hash));
            }
            Message::NewBlock(block) => {
                let block = Block::decode(&bytes::Bytes::copy_from_slice(block));
                let header = block.map(|block| block.header);
                if header.is_some_and(|new| self.tip.is_none_or(|old| new.height > old.height)) {
                    self.tip = header;
                }
            }
            _ => {}
        }
    }

    fn greet(&mut self, key: u32) {
        if let Some(found) = self.conns.get_mut(&key) {
            found.greeted = true;
        }
    }

    fn introduce(&mut self, key: u32, kind: Kind) {
        let node_id = match self.role {
            Role::Thief => format!("n{:05}", self.rng.below(self.targets.len() as u64)),
            _ => format!("x{:05}", self.index),
        };
        let best_height = if matches!(self.role, Role::Liar | Role::Staller) { 1_000_000 } else { 0 };
        let extension = Extension {
            network: self.genesis,
            nonce: self.rng.next_u64(),
            listening_port: self.address.port(),
            features: 0,
            best_height,
            best_hash: Hash([9; 32]),
        };
        let handshake = Handshake {
            version: 2,
            unix_seconds: 0,
            node_id: &node_id,
            user_agent: "actor",
            extension: Some(extension),
        };
        let message = if kind == Kind::Handshake {
            Message::Handshake(handshake)
        } else {
            Message::HandshakeAck(Some(handshake))
        };
        self.say(key, &message);
    }

    fn say(&mut self, key: u32, message: &Message<'_>) {
        if let Some(found) = self.conns.get_mut(&key).filter(|found| found.out.len() < QUEUE_MAX) {
            // A message of ours that breaks its caps is not said; what breaks the rules is written as bytes.
            let _ = message.encode(&mut found.out);
        }
    }

    fn say_bytes(&mut self, key: u32, kind: u8, payload: &[u8]) {
        let Some(found) = self.conns.get_mut(&key).filter(|found| found.out.len() < QUEUE_MAX) else { return };
        let Ok(header) = crate::wire::frame::header(kind, payload.len()) else { return };
        found.out.extend_from_slice(&header);
        found.out.extend_from_slice(payload);
    }

    fn misbehave(&mut self, key: u32) {
        match self.role {
            Role::Mutator => {
                let Some((kind, mut payload)) = self.heard.clone() else { return };
                if let Some(at) = self.rng.index(payload.len()) {
                    payload[at] ^= 1 << self.rng.below(8);
                }
                self.say_bytes(key, kind, &payload);
            }
            Role::Spammer => {
                for _ in 0..20 {
                    let kind = self.rng.index(Kind::ALL.len()).and_then(|at| Kind::ALL.get(at).copied());
                    let len = self.rng.below(200) as usize;
                    let payload: Vec<u8> = (0..len).map(|_| self.rng.next_u64() as u8).collect();
                    if let Some(kind) = kind {
                        self.say_bytes(key, kind as u8, &payload);
                    }
                }
            }
            Role::Poisoner => self.poison(key),
            Role::Withholder => {
                let Some(tip) = self.tip else { return };
                let root = Hash([self.rng.next_u64() as u8; 32]);
                let header = Header { height: tip.height + 1, previous: tip.hash(), root, nonce: 0, ..tip };
                if let Some(header) = Miner::new(header).run(1 << 16) {
                    self.say(key, &Message::Headers(vec![&header.encode()]));
                }
            }
            Role::Silent | Role::Staller | Role::Liar | Role::Thief | Role::Flooder => {}
        }
    }

    fn poison(&mut self, key: u32) {
        let addresses = (0..200)
            .map(|_| {
                let ip = Ipv4Addr::from_bits((self.rng.next_u64() as u32) | 1 << 30);
                SocketAddr::new(IpAddr::V4(ip), 1 + self.rng.below(60_000) as u16)
            })
            .collect();
        self.say(key, &Message::Peers(addresses));
    }

    fn flush(&mut self, air: &mut Air<'_>, key: u32) {
        let Some(found) = self.conns.get_mut(&key).filter(|found| found.connected) else { return };
        while !found.out.is_empty() {
            match air.write(found.pipe, found.side, &[IoSlice::new(&found.out)]) {
                Ok(count) => drop(found.out.drain(..count)),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => return self.drop(air, key),
            }
        }
    }
}
