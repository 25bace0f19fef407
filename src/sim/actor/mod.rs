//! Those who do not keep the rules: raw frames through the same streams, from hosts that are no nodes.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{MutexGuard, PoisonError};

use super::air::Air;
use super::kernel::{Machine, SharedMachine};
use crate::chain::{Block, Header, Miner};
use crate::driver::{Kernel, SocketId};
use crate::link::{Inbox, Pool};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::message::{Extension, Handshake};
use crate::wire::{FrameRules, Hash, Kind, Message};

/// Connections that an actor keeps.
const CONNS_MAX: usize = 12;
/// Bytes that it reads at once.
const READ: usize = 16 * 1024;
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
    /// Keeps every place that it gets, each under another name, and is polite.
    Squatter,
}

impl Role {
    pub(super) const ALL: [Role; 10] = [
        Role::Silent,
        Role::Staller,
        Role::Liar,
        Role::Mutator,
        Role::Spammer,
        Role::Poisoner,
        Role::Thief,
        Role::Flooder,
        Role::Withholder,
        Role::Squatter,
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
            Role::Squatter => "actor: squatter",
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
    machine: SharedMachine,
    /// Where it accepts; `None` before its first turn.
    listener: Option<SocketId>,
    conns: BTreeMap<SocketId, Conn>,
    /// When it misbehaves next.
    due: Instant,
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
        machine: SharedMachine,
    ) -> Self {
        Actor {
            index,
            address,
            role,
            genesis,
            machine,
            listener: None,
            conns: BTreeMap::new(),
            due: Instant::ZERO,
            rng: Rng::from_seed(seed),
            pool: Pool::new(),
            targets,
            heard: None,
            tip: None,
        }
    }

    fn kernel(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its turn: whatever its sockets have for it, and in its own time what its role has it do.
    pub(super) fn turn(&mut self, air: &mut Air<'_>) {
        air.machine(self.index).world = air.now;
        if self.listener.is_none() {
            let address = self.address;
            let mut kernel = self.kernel();
            let listener = kernel.listen(address, 1024).ok();
            if let Some(socket) = listener {
                let _ = kernel.register(socket, socket as usize);
            }
            drop(kernel);
            self.listener = listener;
            self.due = air.now;
        }
        let mut events = Vec::new();
        // Its kernel has no faults, so a wait does not fail.
        let _ = self.kernel().poll(&mut events);
        for event in events {
            let socket = event.token as SocketId;
            if self.listener == Some(socket) {
                self.accept();
            } else {
                self.serve(socket);
            }
        }
        if self.due <= air.now {
            self.act();
            self.due = air.now + self.rng.jitter(self.role.pace(), 30);
        }
        air.pump(self.index);
        if self.kernel().has_news() {
            air.touch(self.index);
        }
        air.turn_at(self.index, self.due);
    }

    fn accept(&mut self) {
        let Some(listener) = self.listener else { return };
        loop {
            let accepted = self.kernel().accept(listener);
            let Ok((socket, _)) = accepted else { return };
            self.keep(socket, true);
        }
    }

    fn keep(&mut self, socket: SocketId, connected: bool) {
        let _ = self.kernel().register(socket, socket as usize);
        let conn = Conn { inbox: Inbox::default(), out: Vec::new(), connected, greeted: false };
        self.conns.insert(socket, conn);
    }

    fn drop(&mut self, key: SocketId) {
        if self.conns.remove(&key).is_some() {
            self.kernel().close(key);
        }
    }

    /// Dials, and what its role has it say.
    fn act(&mut self) {
        if self.conns.len() < CONNS_MAX
            && let Some(target) = self.rng.index(self.targets.len()).and_then(|at| self.targets.get(at).copied())
        {
            let dialed = self.kernel().connect(target);
            if let Ok(socket) = dialed {
                self.keep(socket, false);
            }
        }
        if self.role == Role::Flooder {
            let old: Vec<u32> = self.conns.keys().take(self.conns.len().saturating_sub(4)).copied().collect();
            for key in old {
                self.drop(key);
            }
        }
        let keys: Vec<u32> = self.conns.iter().filter(|(_, conn)| conn.greeted).map(|(key, _)| *key).collect();
        for key in keys {
            self.misbehave(key);
            self.flush(key);
        }
    }

    /// A connection has news.
    fn serve(&mut self, key: SocketId) {
        let Some(conn) = self.conns.get_mut(&key) else { return };
        if !conn.connected {
            if self.machine.lock().unwrap_or_else(PoisonError::into_inner).peer_addr(key).is_err() {
                return self.drop(key);
            }
            conn.connected = true;
            if self.role != Role::Silent {
                self.introduce(key, Kind::Handshake);
            }
        }
        let mut buffer = vec![0; READ];
        loop {
            let outcome = self.kernel().read(key, &mut [IoSliceMut::new(&mut buffer)]);
            let count = match outcome {
                Ok(count) if count > 0 => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(_) | Err(_) => return self.drop(key),
            };
            let Some(conn) = self.conns.get_mut(&key) else { return };
            let mut inbox = core::mem::take(&mut conn.inbox);
            let mut input = &buffer[..count];
            loop {
                match inbox.next(&mut input, FrameRules::version(2), Instant::ZERO, &mut self.pool) {
                    Ok(Some(frame)) => self.hear(key, frame.kind, &frame.payload),
                    Ok(None) => break,
                    Err(_) => return self.drop(key),
                }
            }
            if let Some(conn) = self.conns.get_mut(&key) {
                conn.inbox = inbox;
            }
        }
        self.flush(key);
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
            Role::Squatter => format!("s{:05}-{key}", self.index),
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
            Role::Silent | Role::Staller | Role::Liar | Role::Thief | Role::Flooder | Role::Squatter => {}
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

    fn flush(&mut self, key: SocketId) {
        let Some(found) = self.conns.get_mut(&key).filter(|found| found.connected) else { return };
        while !found.out.is_empty() {
            let mut kernel = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
            match kernel.write(key, &[IoSlice::new(&found.out)]) {
                Ok(count) => drop(found.out.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    drop(kernel);
                    return self.drop(key);
                }
            }
        }
    }
}
