//! Those who do not keep the rules: raw frames through the same streams, from hosts that are no nodes.

mod attacks;
mod body;
mod branches;
mod crowd;
mod role;
mod web;

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::sync::{MutexGuard, PoisonError};

use super::kernel::{Machine, SharedMachine};
use super::machines::web_address;
use super::simulation::SimState;
use crate::chain::{Block, Header};
use crate::driver::{Kernel, SocketId};
use crate::link::{BufferPool, Inbox};
use crate::rng::Rng;
use crate::time::{Instant, UnixTime};
use crate::wire::{FrameRules, Hash, Kind, Message};
use body::{BRANCHES, Body};
pub use role::ATTACKERS;
pub(super) use role::Role;

/// Bytes that it reads at once.
const READ: usize = 16 * 1024;
/// The same for one who reads little.
const READ_LITTLE: usize = 64;
/// Bytes that it queues to one connection before it waits.
const QUEUE_MAX: usize = 1 << 20;

struct Conn {
    inbox: Inbox,
    out: Vec<u8>,
    connected: bool,
    greeted: bool,
    /// It has sent what is sent once.
    filled: bool,
    /// Who of a crowd has dialed it, and since when.
    member: Option<u32>,
    since: Instant,
    /// Headers of each branch that were told.
    told: [usize; BRANCHES],
}

/// What an attacker knows of the network.
#[derive(Clone)]
pub(super) struct Setting {
    pub(super) genesis: Hash,
    /// What a block pays.
    pub(super) reward: u64,
    /// The time by which its blocks are made.
    pub(super) time: UnixTime,
    /// The most transactions in a block that the network can carry.
    pub(super) largest: usize,
    /// Where honest nodes listen.
    pub(super) targets: Vec<SocketAddr>,
}

/// A host that misbehaves.
pub(super) struct Adversary {
    index: u32,
    pub(super) address: SocketAddr,
    role: Role,
    genesis: Hash,
    reward: u64,
    time: UnixTime,
    largest: usize,
    machine: SharedMachine,
    /// Where it accepts; `None` before its first turn.
    listener: Option<SocketId>,
    conns: BTreeMap<SocketId, Conn>,
    /// When it misbehaves next.
    due: Instant,
    rng: Rng,
    /// Transactions with which it has filled pools.
    filled: usize,
    pool: BufferPool,
    /// Where honest nodes listen.
    targets: Vec<SocketAddr>,
    last_heard: Option<(u8, Vec<u8>)>,
    tip: Option<Header>,
    /// The one that the tip stands on.
    below_tip: Option<Header>,
    /// Headers of a thrasher, by branch.
    branches: Vec<Vec<Header>>,
    /// What siblings share.
    body: Option<Body>,
    /// When each of a crowd came last, where they come again and again.
    came: BTreeMap<u32, Instant>,
    /// Huge blocks that it has sent.
    huge: usize,
    /// Nobody is there any more.
    is_gone: bool,
    /// A block that its targets have.
    wanted: Option<Hash>,
    /// An oscillator misbehaves until, or behaves until.
    bad: bool,
    changes: Instant,
    /// Attacks since its last turn, to be counted.
    attacks: Vec<&'static str>,
}

impl Adversary {
    pub(super) fn new(
        index: u32,
        address: SocketAddr,
        role: Role,
        setting: Setting,
        seed: u64,
        machine: SharedMachine,
    ) -> Self {
        let Setting { genesis, reward, time, largest, targets } = setting;
        Adversary {
            index,
            address,
            role,
            genesis,
            reward,
            time,
            largest,
            machine,
            listener: None,
            conns: BTreeMap::new(),
            due: Instant::ZERO,
            rng: Rng::from_seed(seed),
            filled: 0,
            pool: BufferPool::new(),
            targets,
            last_heard: None,
            tip: None,
            below_tip: None,
            branches: Vec::new(),
            body: None,
            came: BTreeMap::new(),
            huge: 0,
            is_gone: false,
            wanted: None,
            bad: false,
            changes: Instant::ZERO,
            attacks: Vec::new(),
        }
    }

    fn kernel(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Its turn: whatever its sockets have for it, and in its own time what its role has it do.
    pub(super) fn turn(&mut self, sim: &mut SimState<'_>) {
        if self.is_gone {
            return;
        }
        // Its kernel learns the time.
        drop(sim.machine(self.index));
        if self.listener.is_none() {
            let address = self.address;
            let mut kernel = self.kernel();
            let listener = kernel.listen(address, 1024).ok();
            if let Some(socket) = listener {
                let _ = kernel.register(socket, socket as usize);
            }
            drop(kernel);
            self.listener = listener;
            self.due = sim.now();
        }
        let mut events = Vec::new();
        // Its kernel has no faults, so a wait does not fail.
        let _ = self.kernel().poll(&mut events);
        for event in events {
            let socket = event.token as SocketId;
            if self.listener == Some(socket) {
                self.accept(sim.now());
            } else {
                self.serve(socket);
            }
        }
        if self.due <= sim.now() {
            self.oscillate(sim.now());
            self.act(sim.now());
            self.due = sim.now() + self.rng.jitter(self.role.pace(), 30);
        }
        self.attacks.drain(..).for_each(|attack| sim.count(attack));
        sim.pump(self.index);
        if self.kernel().has_news() {
            sim.schedule.touch(self.index);
        }
        sim.schedule.turn_at(self.index, self.due);
    }

    /// It closes everything and is not heard of again.
    pub(super) fn leave(&mut self, sim: &mut SimState<'_>) {
        self.is_gone = true;
        drop(sim.machine(self.index));
        let open: Vec<SocketId> = self.conns.keys().copied().chain(self.listener.take()).collect();
        open.into_iter().for_each(|socket| self.kernel().close(socket));
        self.conns.clear();
        sim.pump(self.index);
    }

    fn accept(&mut self, now: Instant) {
        let Some(listener) = self.listener else { return };
        loop {
            let accepted = self.kernel().accept(listener);
            let Ok((socket, _)) = accepted else { return };
            self.keep(socket, None, now);
            if let Some(conn) = self.conns.get_mut(&socket) {
                conn.connected = true;
            }
        }
    }

    fn keep(&mut self, socket: SocketId, member: Option<u32>, since: Instant) {
        let _ = self.kernel().register(socket, socket as usize);
        let conn = Conn {
            inbox: Inbox::default(),
            out: Vec::new(),
            connected: false,
            greeted: false,
            filled: false,
            member,
            since,
            told: [0; BRANCHES],
        };
        self.conns.insert(socket, conn);
    }

    fn drop(&mut self, key: SocketId) {
        if self.conns.remove(&key).is_some() {
            self.kernel().close(key);
        }
    }

    /// Dials, and what its role has it say.
    fn act(&mut self, now: Instant) {
        if self.role.crowd() > 0 {
            self.besiege(now);
        } else if self.conns.len() < self.role.conns_max()
            && let Some(target) = self.rng.index(self.targets.len()).and_then(|at| self.targets.get(at).copied())
        {
            let target = if self.role == Role::WebBreaker { web_address(target) } else { target };
            let dialed = self.kernel().connect(target);
            if let Ok(socket) = dialed {
                self.keep(socket, None, now);
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
            if self.role != Role::Trickle {
                self.flush(key);
            }
        }
        if self.role == Role::Trickle {
            let keys: Vec<u32> = self.conns.keys().copied().collect();
            for key in keys {
                self.write(key, 1);
                self.read(key, READ_LITTLE);
            }
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
            if self.role == Role::WebBreaker {
                self.break_web_socket(key);
            } else if !self.role.is_silent() {
                self.send_handshake(key, Kind::Handshake);
            }
        }
        if self.role == Role::Trickle {
            // In its own time.
            return;
        }
        while self.read(key, READ) {}
        self.flush(key);
    }

    /// Reads once; true when there may be more.
    fn read(&mut self, key: SocketId, most: usize) -> bool {
        let Some(conn) = self.conns.get(&key) else { return false };
        if conn.greeted && self.role == Role::ZeroWindow || !conn.connected {
            return false;
        }
        let mut buffer = vec![0; most];
        let outcome = self.kernel().read(key, &mut [IoSliceMut::new(&mut buffer)]);
        let count = match outcome {
            Ok(count) if count > 0 => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            Ok(_) | Err(_) => {
                self.drop(key);
                return false;
            }
        };
        if self.role == Role::WebBreaker {
            // It does not care what it is told.
            return true;
        }
        let Some(conn) = self.conns.get_mut(&key) else { return false };
        let mut inbox = core::mem::take(&mut conn.inbox);
        let mut input = &buffer[..count];
        loop {
            match inbox.next(&mut input, FrameRules::version(2), Instant::ZERO, &mut self.pool) {
                Ok(Some(frame)) => self.hear(key, frame.kind, &frame.payload),
                Ok(None) => break,
                Err(_) => {
                    self.drop(key);
                    return false;
                }
            }
        }
        if let Some(conn) = self.conns.get_mut(&key) {
            conn.inbox = inbox;
        }
        true
    }

    fn hear(&mut self, key: u32, kind: u8, payload: &[u8]) {
        if payload.len() < 4096 {
            self.last_heard = Some((kind, payload.to_vec()));
        }
        let Some(Ok(message)) = Kind::from_byte(kind).map(|kind| Message::decode(kind, payload)) else { return };
        if self.role.is_silent() {
            return;
        }
        match message {
            Message::Handshake(handshake) => {
                self.wanted = handshake.extension.map(|extension| extension.best_hash).or(self.wanted);
                self.send_handshake(key, Kind::HandshakeAck);
                self.greet(key);
            }
            Message::HandshakeAck(ack) => {
                let extension = ack.and_then(|handshake| handshake.extension);
                self.wanted = extension.map(|extension| extension.best_hash).or(self.wanted);
                self.greet(key);
            }
            Message::Ping(ping) => self.say(key, &Message::Pong(ping)),
            // As long as it owes the answer, it may send more than others.
            Message::TxPoolRequest(_) if self.role == Role::PoolFiller => {}
            Message::TxPoolRequest(_) => self.say(key, &Message::TxPool(Vec::new())),
            Message::GetPeers(_) if self.role == Role::Poisoner => self.poison(key),
            Message::GetPeers(_) => self.say(key, &Message::Peers(Vec::new())),
            Message::GetHeaders(_) if self.role == Role::Liar => {
                let lie = vec![7u8; 93];
                self.say(key, &Message::Headers(vec![&lie; 50]));
            }
            Message::GetHeaders(_) if self.role == Role::HeaderThrasher && !self.branches.is_empty() => {
                let longest = (0..BRANCHES).max_by_key(|at| self.branches.get(*at).map_or(0, Vec::len));
                self.tell_branch(key, longest.unwrap_or(0), 0);
            }
            Message::GetHeaders(_) if !self.role.answers_nothing() => {
                self.say(key, &Message::Headers(Vec::new()));
            }
            Message::GetBlock(hash) if !self.role.answers_nothing() => {
                self.say(key, &Message::NotFound(hash));
            }
            Message::NewBlock(block) => {
                let block = Block::decode(&bytes::Bytes::copy_from_slice(block));
                let header = block.map(|block| block.header);
                if header.is_some_and(|new| self.tip.is_none_or(|old| new.height > old.height)) {
                    let stands_on = |old: &Header| header.is_some_and(|new| new.previous == old.hash());
                    self.below_tip = self.tip.filter(stands_on);
                    self.tip = header;
                    self.wanted = header.map(|header| header.hash());
                }
            }
            _ => {}
        }
    }

    fn greet(&mut self, key: u32) {
        if let Some(found) = self.conns.get_mut(&key) {
            found.greeted = true;
        }
        if self.role == Role::ZeroWindow {
            self.attacks.push("closed window");
        }
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

    fn flush(&mut self, key: SocketId) {
        while self.write(key, usize::MAX) {}
    }

    /// Writes once, at most so many bytes; true when there may be room for more.
    fn write(&mut self, key: SocketId, most: usize) -> bool {
        let Some(found) = self.conns.get_mut(&key).filter(|found| found.connected && !found.out.is_empty()) else {
            return false;
        };
        let bytes = found.out.get(..most).unwrap_or(&found.out);
        let outcome = self.machine.lock().unwrap_or_else(PoisonError::into_inner).write(key, &[IoSlice::new(bytes)]);
        match outcome {
            Ok(count) => {
                found.out.drain(..count);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(_) => {
                self.drop(key);
                false
            }
        }
    }
}
