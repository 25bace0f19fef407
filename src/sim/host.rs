//! An honest node on the virtual network: the real node behind the real adapter, with a loop's turn around it.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use super::check::Invariant;
use super::net::{Air, Event, PipeId, Side, Stream};
use super::port::{Life, Notice, Port, PortLimits, digest};
use super::trace::{What, fnv};
use crate::chain::{Miner, Params, ReferenceChain, Transaction};
use crate::close::CloseReason;
use crate::driver;
use crate::driver::node::{NodeCommand, NodeProtocol};
use crate::id::{ConnId, Direction};
use crate::limits;
use crate::link::Progress;
use crate::proto::peer::manager::PeerRecord;
use crate::proto::sync::chain::Chain;
use crate::proto::{self, Command, Config, Node};
use crate::time::{Instant, Now};
use crate::wire::{Hash, Kind};

/// Frames delivered in one read; more waits, as in the loop's turn.
const TURN_FRAMES: usize = 64;
/// How far a clock may be off before its node does not mine: the chain's rule for blocks from the future.
const MINING_OFFSET: i64 = 3_600_000;

/// What the node told its embedder since the last look.
type Log = Vec<proto::Event>;

impl driver::node::Observer<ReferenceChain> for Log {
    fn on_event(&mut self, _: Now, event: &proto::Event, _: &Node<ReferenceChain>) {
        self.push(event.clone());
    }
}

/// A node and its machine.
pub(super) struct Host {
    pub(super) index: u32,
    pub(super) address: SocketAddr,
    config: Config,
    limits: PortLimits,
    seed: u64,
    starts: u64,
    protocol: Option<NodeProtocol<ReferenceChain, Log>>,
    /// What outlives a kill.
    chain: Option<ReferenceChain>,
    peers: Vec<PeerRecord>,
    pub(super) port: Port,
    /// How far its wall clock is off, in milliseconds.
    pub(super) offset: i64,
    pub(super) frozen: Instant,
    armed: Instant,
    work: u128,
    /// Connections that are open for the embedder, and to whom.
    ready: BTreeMap<ConnId, u64>,
    paid: u64,
}

fn name(text: &str) -> u64 {
    digest(0, text.as_bytes())
}

fn first_bytes(hash: &Hash) -> u64 {
    hash.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Host {
    pub(super) fn new(
        index: u32,
        address: SocketAddr,
        config: Config,
        limits: PortLimits,
        params: Params,
        seed: u64,
    ) -> Self {
        Host {
            index,
            address,
            config,
            limits,
            seed,
            starts: 0,
            protocol: None,
            chain: Some(ReferenceChain::memory(params)),
            peers: Vec::new(),
            port: Port::new(index, Instant::ZERO, limits),
            offset: 0,
            frozen: Instant::ZERO,
            armed: Instant::NEVER,
            work: 0,
            ready: BTreeMap::new(),
            paid: 0,
        }
    }

    /// The node, while it runs.
    pub(super) fn node(&self) -> Option<&Node<ReferenceChain>> {
        self.protocol.as_ref().map(NodeProtocol::node)
    }

    pub(super) fn outbound(&self) -> usize {
        self.config.outbound
    }

    /// Starts the process, with what it had stored.
    pub(super) fn start(&mut self, air: &mut Air<'_>) {
        let (None, Some(chain)) = (&self.protocol, self.chain.take()) else { return };
        self.starts += 1;
        let now = air.clocks(self.offset);
        air.trace.note(air.now, self.index, What::Start, chain.best().height, 0);
        self.port = Port::new(self.index, air.now, self.limits);
        self.work = chain.best().work;
        let seed = fnv(self.seed, &[self.starts]);
        let mut node = Node::new(self.config.clone(), chain, seed, seed ^ 0x5eed);
        node.restore_peers(now, core::mem::take(&mut self.peers));
        self.protocol = Some(NodeProtocol::new(node, Log::new()));
        self.ready.clear();
        self.armed = Instant::NEVER;
        self.tell(air, driver::Event::Timer);
        self.settle(air);
    }

    /// Ends the process where it stands. Without `words` the machine is gone: its peers learn nothing.
    pub(super) fn kill(&mut self, air: &mut Air<'_>, silently: bool) {
        let Some(protocol) = self.protocol.take() else { return };
        air.trace.note(air.now, self.index, What::Kill, self.port.conns.len() as u64, u64::from(silently));
        let (mut node, _) = protocol.into_parts();
        self.peers = node.peers().known_peers().cloned().collect();
        let params = node.chain().params();
        self.chain = Some(core::mem::replace(node.chain_mut(), ReferenceChain::memory(params)));
        for (_, conn) in &self.port.conns {
            air.hang_up(conn.pipe, conn.side, silently);
        }
        self.port = Port::new(self.index, air.now, self.limits);
        self.armed = Instant::NEVER;
    }

    /// Its own deadline.
    pub(super) fn wake(&mut self, air: &mut Air<'_>) {
        if self.armed > air.now || self.protocol.is_none() {
            return;
        }
        self.armed = Instant::NEVER;
        self.port.now = air.now;
        air.wakes += 1;
        while let Some((id, reason)) = self.port.due() {
            self.end(air, id, reason);
        }
        if self.deadline().is_some_and(|at| at <= air.now) {
            let sessions = self.node().map_or(0, Node::session_count) as u64;
            air.trace.note(air.now, self.index, What::Tick, sessions, 0);
            self.tell(air, driver::Event::Timer);
            let left = self.deadline().filter(|at| *at <= air.now);
            air.check.that(Invariant::S16, self.index, left.is_none(), || "a tick leaves its deadline".to_owned());
        }
        self.settle(air);
    }

    fn deadline(&self) -> Option<Instant> {
        self.node().and_then(Node::deadline)
    }

    /// Somebody dials us.
    pub(super) fn on_syn(&mut self, air: &mut Air<'_>, id: PipeId) {
        let Some(remote) = air.caller(id) else { return };
        self.port.now = air.now;
        let now = air.clocks(self.offset);
        let full = self.port.is_full();
        let Some(protocol) = &mut self.protocol else { return air.after(Duration::from_millis(1), Event::Refused(id)) };
        if full || !driver::Protocol::admit(protocol, now, remote) {
            // The kernel has accepted already; the process closes at once.
            air.accept(id, ConnId::new(u32::MAX, 0));
            air.hang_up(id, 1, false);
            return;
        }
        let conn = self.port.insert(Life::Open, id, 1, remote, Direction::Inbound);
        air.accept(id, conn);
        air.trace.note(air.now, self.index, What::Open, u64::from(conn.index()), caller(air, id));
        self.tell(
            air,
            driver::Event::Opened { conn, remote, local: self.address, direction: Direction::Inbound, identity: None },
        );
        self.settle(air);
    }

    /// Our dial was answered.
    pub(super) fn on_connected(&mut self, air: &mut Air<'_>, id: PipeId, conn: ConnId) {
        self.port.now = air.now;
        let Some(found) = self.port.conn_mut(conn).filter(|found| found.pipe == id) else { return };
        let Life::Connecting { .. } = found.life else { return };
        found.life = Life::Open;
        let (remote, direction) = (found.remote, found.direction);
        air.trace.note(air.now, self.index, What::Open, u64::from(conn.index()), u64::from(u32::MAX));
        self.tell(air, driver::Event::Opened { conn, remote, local: self.address, direction, identity: None });
        self.settle(air);
    }

    /// The stream failed, or nobody listens.
    pub(super) fn on_reset(&mut self, air: &mut Air<'_>, id: PipeId, conn: ConnId, kind: io::ErrorKind) {
        self.port.now = air.now;
        if self.port.conn(conn).is_some_and(|found| found.pipe == id) {
            self.end(air, conn, CloseReason::Io(kind));
            self.settle(air);
        }
    }

    /// The pipe takes bytes again.
    pub(super) fn on_room(&mut self, air: &mut Air<'_>, id: PipeId, conn: ConnId) {
        self.port.now = air.now;
        let Some(found) = self.port.conn_mut(conn).filter(|found| found.pipe == id) else { return };
        found.full = false;
        self.port.make_dirty(conn);
        self.settle(air);
    }

    /// Bytes, or the end of the stream.
    pub(super) fn on_arrive(&mut self, air: &mut Air<'_>, id: PipeId, side: Side, conn: ConnId) {
        self.port.now = air.now;
        if self.port.conn(conn).is_some_and(|found| found.pipe == id) {
            self.read(air, id, side, conn);
            self.settle(air);
        }
    }

    fn read(&mut self, air: &mut Air<'_>, id: PipeId, side: Side, conn: ConnId) {
        let Some((buffer, head, mut ready)) = air.borrow(id, side) else { return };
        if ready > 1 && air.rng.chance(air.rates.short_read, 1000) {
            ready = 1 + air.rng.below(ready as u64 - 1) as usize;
            air.count("short read");
            let soon = air.now + Duration::from_micros(50);
            air.at(soon, Event::Arrive(id, side));
        }
        let now = air.clocks(self.offset);
        let mut input = &buffer[head..head + ready];
        let mut failed = None;
        let mut left = TURN_FRAMES;
        if let Some(found) = self.port.conn_mut(conn).filter(|found| matches!(found.life, Life::Open)) {
            found.stats.bytes_in += ready as u64;
            let mut inbox = core::mem::take(&mut found.link.inbox);
            while self.port.is_open(conn) {
                let Some(rules) = self.port.conn(conn).map(|found| found.rules) else { break };
                if left == 0 {
                    inbox.stash(&mut input, &mut self.port.pool);
                    air.at(air.now, Event::Arrive(id, side));
                    break;
                }
                left -= 1;
                match inbox.next(&mut input, rules, air.now, &mut self.port.pool) {
                    Ok(None) => break,
                    Err(error) => {
                        failed = Some(error);
                        break;
                    }
                    Ok(Some(frame)) => {
                        let hash = digest(frame.kind, &frame.payload);
                        air.trace.note(
                            air.now,
                            self.index,
                            What::Frame,
                            u64::from(frame.kind),
                            frame.payload.len() as u64,
                        );
                        delivered(air, id, side, self.index, hash);
                        // With a clock this far behind, the node cannot tell which block it is that comes from the future.
                        let knows_its_time = self.offset >= -MINING_OFFSET;
                        let relayed = Kind::from_byte(frame.kind).filter(|kind| knows_its_time && kind.is_relayed());
                        let fresh = relayed.is_some_and(|_| self.port.note_received(conn, hash));
                        let over = self.over_budget(relayed);
                        if frame.kind == Kind::TxPoolRequest as u8 {
                            self.port.answering = Some(conn);
                        }
                        if let Some(found) = self.port.conn_mut(conn) {
                            found.stats.frames_in += 1;
                            found.heard = air.now;
                        }
                        if let Some(protocol) = &mut self.protocol {
                            protocol.take(now, driver::Event::Frame { conn, frame }, &mut self.port);
                        }
                        self.port.answering = None;
                        if fresh && self.over_budget(relayed) > over {
                            self.port.forget_received(conn, hash);
                        }
                    }
                }
            }
            match self.port.conn_mut(conn).filter(|found| matches!(found.life, Life::Open)) {
                Some(found) => found.link.inbox = inbox,
                None => inbox.clear(&mut self.port.pool),
            }
        }
        air.give_back(id, side, buffer, ready);
        if let Some(error) = failed {
            if let Some(protocol) = &mut self.protocol {
                protocol.take_violation(now, conn, error, &mut self.port);
            }
            driver::node::Carrier::close(&mut self.port, conn, CloseReason::Frame(error), Duration::ZERO);
        }
        self.port.rearm(conn);
        let ended = air.pipe(id).is_some_and(|pipe| {
            let stream = &pipe.streams[side as usize];
            stream.eof && stream.is_drained()
        });
        if ended {
            let Some(found) = self.port.conn(conn) else { return };
            let stashed = found.link.inbox.has_stash();
            match found.life {
                Life::Open if stashed => {}
                Life::Open if found.link.inbox.is_at_boundary() => self.end(air, conn, CloseReason::RemoteClosed),
                Life::Open => self.end(air, conn, CloseReason::TruncatedFrame),
                Life::Lingering { reason, .. } => self.end(air, conn, reason),
                Life::Draining { .. } | Life::Connecting { .. } => {}
            }
        }
    }

    /// How many messages of a kind the node dropped because they came too fast.
    fn over_budget(&self, kind: Option<Kind>) -> u64 {
        let dropped = |kind| self.node()?.counters().over_budget.get(&kind).copied();
        kind.and_then(dropped).unwrap_or(0)
    }

    /// Takes a connection out and closes its end.
    fn end(&mut self, air: &mut Air<'_>, conn: ConnId, reason: CloseReason) {
        if let Some((pipe, side)) = self.port.bury(conn, reason) {
            air.trace.note(air.now, self.index, What::Close, u64::from(conn.index()), name(reason.label()));
            air.hang_up(pipe, side, false);
        }
    }

    fn tell(&mut self, air: &Air<'_>, event: driver::Event<'_, NodeCommand<ReferenceChain>>) {
        let now = air.clocks(self.offset);
        if let Some(protocol) = &mut self.protocol {
            protocol.take(now, event, &mut self.port);
        }
    }

    fn command(&mut self, air: &mut Air<'_>, command: Command) {
        self.port.now = air.now;
        self.tell(air, driver::Event::Command(NodeCommand::Do(command)));
        self.settle(air);
    }

    /// The rest of a turn: what the node asked for is done until it asks for nothing more.
    fn settle(&mut self, air: &mut Air<'_>) {
        for _ in 0..1000 {
            self.launch(air);
            self.enter(air);
            let dirty = core::mem::take(&mut self.port.dirty);
            for id in dirty {
                self.port.clean(id);
                self.flush(air, id);
            }
            let Some(notice) = self.port.notices.pop_front() else {
                if self.port.dials.is_empty() && self.port.dirty.is_empty() && self.port.owed.is_empty() {
                    break;
                }
                continue;
            };
            match notice {
                Notice::DialFailed(dial, remote, reason) => {
                    self.tell(air, driver::Event::DialFailed { dial, remote, reason });
                }
                Notice::Writable(conn) if self.port.conn(conn).is_none() => {}
                Notice::Writable(conn) => self.tell(air, driver::Event::Writable { conn }),
                Notice::Closed(conn, reason) => self.tell(air, driver::Event::Closed { conn, reason }),
            }
        }
        if let Some(protocol) = &mut self.protocol {
            protocol.node_mut().turn_ended();
        }
        self.look(air);
        self.port.check(&mut air.check);
        let next = [self.port.deadline(), self.deadline()].into_iter().flatten().min();
        if let Some(at) = next.filter(|at| *at < self.armed) {
            self.armed = at;
            air.at(at, Event::Wake(self.index));
        }
    }

    /// Starts the dials that the node asked for.
    fn launch(&mut self, air: &mut Air<'_>) {
        while let Some((dial, remote, timeout)) = self.port.dials.pop_front() {
            let to = air.listeners.get(&remote).copied().unwrap_or(u32::MAX);
            if self.port.is_full() {
                self.port.notices.push_back(Notice::DialFailed(dial, remote, CloseReason::LimitReached));
                continue;
            }
            let life = Life::Connecting { dial, until: air.now + timeout };
            let nobody = PipeId { index: u32::MAX, serial: 0 };
            let conn = self.port.insert(life, nobody, 0, remote, Direction::Outbound(dial));
            let pipe = air.connect(self.index, conn, remote);
            air.trace.note(air.now, self.index, What::Dial, u64::from(to), u64::from(pipe.is_none()));
            match (pipe, self.port.conn_mut(conn)) {
                (Some(pipe), Some(found)) => found.pipe = pipe,
                _ => {
                    self.port.bury(conn, CloseReason::Io(io::ErrorKind::NetworkUnreachable));
                }
            }
        }
    }

    /// Enters the frames that were queued into the books of their streams.
    fn enter(&mut self, air: &mut Air<'_>) {
        for (id, side, priority, hash) in self.port.owed.drain(..) {
            if let Some(pipe) = air.pipe_mut(id) {
                pipe.streams[1 - side as usize].owed[priority.rank()].push_back(hash);
            }
        }
        for (id, side) in self.port.lossy.drain(..) {
            if let Some(pipe) = air.pipe_mut(id) {
                pipe.streams[1 - side as usize].lossy = true;
            }
        }
    }

    /// Writes what is queued; ends what has drained. The twin of the loop's flush.
    fn flush(&mut self, air: &mut Air<'_>, id: ConnId) {
        let Port { conns, pool, .. } = &mut self.port;
        let Some(conn) = conns.get_mut(id.index() as usize) else { return };
        if matches!(conn.life, Life::Connecting { .. } | Life::Lingering { .. }) {
            return;
        }
        let (pipe, side) = (conn.pipe, conn.side);
        if !conn.full && !conn.link.outbox.is_empty() {
            let flush = conn.link.outbox.flush(pool, limits::TURN_WRITE_BYTES, |slices| air.write(pipe, side, slices));
            match flush.progress {
                Progress::Empty => {}
                Progress::Blocked => conn.full = true,
                Progress::Budget => self.port.make_dirty(id),
                Progress::Failed(error) => return self.end(air, id, CloseReason::Io(error.kind())),
            }
            self.port.note_written(id, flush.bytes, flush.frames);
        }
        let Some(conn) = self.port.conn_mut(id) else { return };
        let is_empty = conn.link.outbox.is_empty();
        match conn.life {
            Life::Open if !is_empty => self.port.rearm(id),
            Life::Draining { reason, linger: false, .. } => self.end(air, id, reason),
            Life::Draining { reason, .. } if is_empty => {
                let until = air.now + limits::LINGER;
                conn.life = Life::Lingering { reason, until };
                air.shutdown(pipe, side);
                self.port.arm(id, until);
                air.at(air.now, Event::Arrive(pipe, side));
            }
            _ => {}
        }
    }

    /// Looks at what the node told its embedder.
    fn look(&mut self, air: &mut Air<'_>) {
        let Some(protocol) = &mut self.protocol else { return };
        let events = core::mem::take(protocol.observer_mut());
        let index = self.index;
        for event in &events {
            match event {
                proto::Event::PeerConnected { conn, node_id, version, .. } => {
                    air.trace.note(air.now, index, What::Ready, u64::from(conn.index()), u64::from(*version));
                    let again = self.ready.insert(*conn, name(node_id)).is_some();
                    air.check.that(Invariant::S3, index, !again, || format!("connection {conn} opens again"));
                    if let Some(found) = self.port.conn_mut(*conn) {
                        found.peer = Some(name(node_id));
                    }
                    let same = |found: &super::port::Conn| {
                        matches!(found.life, Life::Open) && found.peer == Some(name(node_id))
                    };
                    let count = self.port.conns.iter().filter(|(_, found)| same(found)).count();
                    air.check.that(Invariant::S7, index, count <= 1, || format!("{count} connections to {node_id}"));
                    let ours = *node_id == self.config.node_id;
                    air.check.that(Invariant::S7, index, !ours, || "a connection to itself".to_owned());
                }
                proto::Event::PeerDisconnected { conn, .. } => {
                    air.trace.note(air.now, index, What::Gone, u64::from(conn.index()), 0);
                    let known = self.ready.remove(conn).is_some();
                    air.check
                        .that(Invariant::S3, index, known, || format!("connection {conn} closes, but never opened"));
                }
                proto::Event::Blacklisted { remote } => {
                    let who = air.ips.iter().position(|ip| *ip == remote.ip()).map_or(u64::MAX, |who| who as u64);
                    air.trace.note(air.now, index, What::Banned, who, 0);
                    let fair = who >= u64::from(air.honest) || air.corrupted;
                    air.check.that(Invariant::S9, index, fair, || format!("honest node {who} is blacklisted"));
                }
                proto::Event::NewTip(tip) => {
                    air.trace.note(air.now, index, What::Tip, tip.height, first_bytes(&tip.hash));
                    let before = core::mem::replace(&mut self.work, tip.work);
                    let grows = tip.work >= before;
                    air.check.that(Invariant::S12, index, grows, || format!("work fell from {before} to {}", tip.work));
                    air.heaviest = air.heaviest.max(tip.work);
                }
                proto::Event::BlockAccepted { hash, from: Some(_) } => {
                    if let Some(born) = air.born.get(hash) {
                        air.spread.push(air.now.since(*born));
                    }
                }
                _ => {}
            }
        }
    }

    /// Mines a block on its tip. False when it does not run or its clock is off.
    pub(super) fn mine(&mut self, air: &mut Air<'_>) -> bool {
        if self.offset.abs() > MINING_OFFSET {
            return false;
        }
        let now = air.clocks(self.offset);
        let Some(node) = self.node() else { return false };
        let Ok(mut block) = node.chain().template(now.unix, &self.config.node_id, 256 * 1024) else { return false };
        let Some(header) = Miner::new(block.header).run(1 << 20) else { return false };
        block.header = header;
        air.trace.note(air.now, self.index, What::Work, 1, header.height);
        air.born.insert(header.hash(), air.now);
        self.command(air, Command::SubmitBlock(block.encode()));
        true
    }

    /// Pays somebody; the transaction's id when the node runs.
    pub(super) fn pay(&mut self, air: &mut Air<'_>) -> Option<Hash> {
        let now = air.clocks(self.offset);
        self.node()?;
        self.paid += 1;
        let transaction = Transaction {
            sender: &self.config.node_id,
            recipient: "somebody",
            amount: 1,
            time: now.unix,
            nonce: self.paid,
        };
        let bytes = transaction.encode().ok()?;
        let id = crate::chain::transaction::id(&bytes);
        air.trace.note(air.now, self.index, What::Work, 2, self.paid);
        self.command(air, Command::SubmitTransaction(bytes));
        Some(id)
    }
}

fn caller(air: &Air<'_>, id: PipeId) -> u64 {
    air.pipe(id).map_or(0, |pipe| u64::from(pipe.ends[0].host))
}

/// A frame came out of a stream: it must be the oldest of its priority that is owed.
fn delivered(air: &mut Air<'_>, id: PipeId, side: Side, host: u32, hash: u64) {
    let honest = air.honest;
    let Some(pipe) = air.pipes.get_mut(id.index as usize) else { return };
    if pipe.ends[1 - side as usize].host >= honest || pipe.streams[side as usize].spoiled {
        return;
    }
    let stream = &mut pipe.streams[side as usize];
    let mut paid = pay(stream, hash);
    while !paid && untangle(stream) {
        paid = pay(stream, hash);
    }
    if !paid && stream.lossy {
        for line in &mut stream.owed {
            if let Some(at) = line.iter().position(|owed| *owed == hash) {
                line.drain(..=at);
                paid = true;
                break;
            }
        }
    }
    air.check.that(Invariant::S2, host, paid, || "a frame that was not sent, or not in this order".to_owned());
}

/// Takes a frame from the front of the line that owes it.
fn pay(stream: &mut Stream, hash: u64) -> bool {
    let Some(rank) = stream.owed.iter().position(|line| line.front() == Some(&hash)) else { return false };
    if let Some(line) = stream.owed.get_mut(rank) {
        line.pop_front();
    }
    if stream.owed.iter().any(|line| line.contains(&hash)) {
        stream.twins.push((hash, rank));
    }
    true
}

/// Moves a payment to the twin that it was for: the one at the front of its line. False when there is none.
fn untangle(stream: &mut Stream) -> bool {
    let fronts = |twin: &(u64, usize)| stream.owed.iter().any(|line| line.front() == Some(&twin.0));
    let Some(at) = stream.twins.iter().position(fronts) else { return false };
    let (hash, paid) = stream.twins.swap_remove(at);
    if let Some(line) = stream.owed.iter_mut().find(|line| line.front() == Some(&hash)) {
        line.pop_front();
    }
    if let Some(line) = stream.owed.get_mut(paid) {
        line.push_front(hash);
    }
    true
}
