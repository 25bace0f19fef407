//! An honest node on its machine: the very loop that carries a node in the world, turned when there is news or a deadline.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::air::{Air, Event};
use super::books::{Books, Note};
use super::check::Invariant;
use super::clock::Clock;
use super::data::Data;
use super::kernel::SharedMachine;
use super::pipe::{PipeId, Side};
use super::secure::Security;
use super::timing;
use super::trace::{What, fnv};
use super::watched::{CLOCK_OFF, Watched};
use crate::buggify::Buggify;
use crate::chain::{Params, ReferenceChain};
use crate::close::CloseReason;
use crate::driver::{self, Driver, SharedKernel};
use crate::id::ConnId;
use crate::proto::sync::chain::Chain;
use crate::proto::{Config, Node};
use crate::time::Instant;
use crate::wire::Hash;

/// How long an end may take once it is decided: the queue has two seconds to leave, the socket a quarter of one more,
/// turns are late, and silence is looked at each second.
const FAREWELL: Duration = Duration::from_secs(5);
/// A node and its machine.
pub(super) struct Host {
    pub(super) index: u32,
    pub(super) address: SocketAddr,
    pub(super) config: Config,
    pub(super) limits: driver::Config,
    seed: u64,
    starts: u64,
    pub(super) driver: Option<Driver<Watched>>,
    machine: SharedMachine,
    /// What outlives a kill.
    data: Data,
    /// Blocks that it has from before its first start.
    pub(super) history: Arc<[Bytes]>,
    pub(super) clock: Clock,
    /// Under TLS, who it is and whom it trusts.
    pub(super) security: Option<Arc<Security>>,
    work: u128,
    pub(super) turns: u64,
    /// Payments that it made.
    pub(super) paid: u64,
    /// Blacklisted addresses to which it was found connected, and since when.
    pub(super) contacts: BTreeMap<SocketAddr, Instant>,
    /// It is not there yet, and cannot start.
    pub(super) absent: bool,
    /// It was asked to stop.
    stopping: bool,
    /// It has left for good.
    gone: bool,
    /// Nodes that lived here before it, and since when it does.
    lives: u32,
    joined: Instant,
    /// Its machine could not run it since then, so what it missed is not its fault.
    pub(super) excused: Instant,
}

fn first_bytes(hash: &Hash) -> u64 {
    hash.0.iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

impl Host {
    pub(super) fn new(
        index: u32,
        address: SocketAddr,
        config: Config,
        limits: driver::Config,
        params: Params,
        seed: u64,
        machine: SharedMachine,
    ) -> Self {
        Host {
            index,
            address,
            config,
            limits,
            seed,
            starts: 0,
            driver: None,
            machine,
            data: Data::new(params, seed),
            history: Arc::default(),
            clock: Clock::default(),
            security: None,
            work: 0,
            turns: 0,
            paid: 0,
            contacts: BTreeMap::new(),
            absent: false,
            stopping: false,
            gone: false,
            lives: 0,
            joined: Instant::ZERO,
            excused: Instant::ZERO,
        }
    }

    /// The node, while it runs and has not left.
    pub(super) fn node(&self) -> Option<&Node<ReferenceChain>> {
        self.driver.as_ref().filter(|_| !self.gone).map(|driver| driver.protocol().node())
    }

    /// The loop, while it runs.
    pub(super) fn driver(&self) -> Option<&Driver<Watched>> {
        self.driver.as_ref()
    }

    pub(super) fn node_id(&self) -> &str {
        &self.config.node_id
    }

    pub(super) fn outbound(&self) -> usize {
        self.config.outbound
    }

    /// Height of its tip, whether it runs or not. None once it has left: what it alone had is gone with it.
    pub(super) fn height(&self) -> Option<u64> {
        self.node().map(|node| node.chain().best().height).or(self.data.height()).filter(|_| !self.gone)
    }

    /// How long nothing has come on each connection, and how long that may be.
    pub(super) fn silences(&mut self, now: Instant) -> Vec<(ConnId, Duration, Duration)> {
        let Some(driver) = &mut self.driver else { return Vec::new() };
        let conns: Vec<ConnId> = driver.protocol().books.entries.keys().copied().collect();
        let bytes: Vec<u64> =
            conns.iter().map(|conn| driver.net().conn_stats(*conn).map_or(0, |stats| stats.bytes_in)).collect();
        let config = &self.config;
        let mut silences = Vec::new();
        for (conn, bytes) in conns.into_iter().zip(bytes) {
            let Some(entry) = driver.protocol_mut().books.entries.get_mut(&conn) else { continue };
            if entry.moved.is_none_or(|(_, before)| before != bytes) {
                entry.moved = Some((now, bytes));
            }
            let since = entry.moved.map_or(now, |(at, _)| at).max(self.excused);
            let most = match entry.version {
                None => config.handshake_timeout,
                // A version without pings is found out by its silence alone.
                Some(version) if version.min(config.version) < 2 => config.idle_timeout,
                Some(_) => config.heartbeat + config.ping_timeout,
            };
            silences.push((conn, now.since(since), most + FAREWELL));
        }
        silences
    }

    /// Starts the process, with what it had stored.
    pub(super) fn start(&mut self, air: &mut Air<'_>) {
        if self.gone {
            return;
        }
        if self.stopping {
            // The last one is not gone yet.
            return air.after(Duration::from_secs(1), Event::Start(self.index));
        }
        if self.driver.is_some() || self.absent {
            return;
        }
        let Some(mut chain) = self.data.open_chain(air, self.index) else {
            // Whoever looks after the machine tries again.
            return air.after(Duration::from_secs(2), Event::Start(self.index));
        };
        // A clock that was stopped before may stand still for longer.
        self.excused = self.excused.max(air.now);
        let now = self.clock.read(air.now);
        if self.starts == 0 {
            timing::load(&mut chain, now.unix, &self.history);
            self.joined = air.now;
            air.heaviest = air.heaviest.max(chain.best().work);
        }
        self.starts += 1;
        air.trace.note(air.now, self.index, What::Start, chain.best().height, 0);
        self.work = chain.best().work;
        if let Some(security) = &self.security
            && let Some(id) = security.equip(self.index, self.lives, &self.machine, &mut self.limits)
        {
            self.config.node_id = id;
        }
        let seed = fnv(self.seed, &[self.starts]);
        let mut node = Node::new(self.config.clone(), chain, seed, seed ^ 0x5eed);
        let mut clumsy = air.clumsy();
        if let Some(clumsy) = &mut clumsy {
            node.set_buggify(clumsy.fork());
        }
        node.restore_peers(now, self.data.load_peers(air, self.index, now));
        {
            let mut machine = air.machine(self.index);
            machine.off = false;
            machine.now = now;
        }
        let books = Books::new(&self.config);
        let watched = Watched::new(node, books, self.machine.clone(), self.config.node_id.clone());
        let kernel: SharedKernel = self.machine.clone();
        let driver = Driver::on_kernel(self.limits.clone(), watched, &kernel)
            .and_then(|mut driver| driver.listen(self.address).map(|_| driver));
        match driver {
            Ok(mut driver) => {
                driver.set_buggify(clumsy);
                self.driver = Some(driver);
            }
            Err(error) => {
                air.check.that(Invariant::S4, self.index, false, || format!("a node cannot start: {error}"));
            }
        }
        air.thaw(self.index);
    }

    /// Ends the process where it stands; its kernel closes everything. Silently, the whole machine is gone, and its peers
    /// learn nothing.
    pub(super) fn kill(&mut self, air: &mut Air<'_>, silently: bool) {
        let Some(driver) = &self.driver else { return };
        let connections = driver.sockets() as u64;
        air.trace.note(air.now, self.index, What::Kill, connections, u64::from(silently));
        if silently {
            air.cut_power(self.index);
        }
        self.exit(air, !silently);
    }

    /// The process is gone; with the power, or without.
    fn exit(&mut self, air: &mut Air<'_>, power: bool) {
        self.count_clumsy(air);
        let Some(mut driver) = self.driver.take() else { return };
        self.contacts.clear();
        let chain = driver.protocol_mut().node_mut().chain_mut();
        let memory = ReferenceChain::memory(chain.params());
        self.data.end(core::mem::replace(chain, memory), power);
        self.stopping = false;
        drop(driver);
        air.pump(self.index);
        let open = air.machine(self.index).open();
        air.check.that(Invariant::S4, self.index, open == 0, || format!("{open} descriptors outlive their process"));
    }

    /// It is switched off and does not come back.
    pub(super) fn leave(&mut self, air: &mut Air<'_>, gently: bool) {
        air.trace.note(air.now, self.index, What::Work, 4, 0);
        if !gently || !self.stop(air) {
            self.kill(air, false);
        }
        self.gone = true;
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// How many nodes have lived here.
    pub(super) fn lives(&self) -> u32 {
        self.lives + 1
    }

    /// Another node takes the place of one that has left: the same address, an empty disk. False while that one still stops.
    pub(super) fn replace(&mut self, air: &mut Air<'_>, seeds: Vec<SocketAddr>, seed: u64) -> bool {
        if self.driver.is_some() {
            return false;
        }
        self.count_disk(air);
        (self.gone, self.seed) = (false, seed);
        (self.starts, self.turns, self.paid) = (0, 0, 0);
        self.lives += 1;
        self.history = Arc::default();
        self.data = Data::new(self.data.params(), seed);
        self.config.node_id = format!("n{:05}-{}", self.index, self.lives);
        self.config.seeds = seeds;
        air.trace.note(air.now, self.index, What::Work, 5, u64::from(self.lives()));
        air.after(Duration::from_millis(1), Event::Start(self.index));
        true
    }

    /// From its next start on it asks somebody else.
    pub(super) fn replace_seed(&mut self, old: SocketAddr, new: Option<SocketAddr>) {
        let Some(at) = self.config.seeds.iter().position(|seed| *seed == old) else { return };
        self.config.seeds.remove(at);
        self.config.seeds.extend(new.filter(|new| !self.config.seeds.contains(new)));
    }

    /// Asks the process to stop, as SIGTERM does. False when it does not run.
    pub(super) fn stop(&mut self, air: &mut Air<'_>) -> bool {
        let Some(driver) = &self.driver else { return false };
        driver.handle().stop();
        self.stopping = true;
        air.touch(self.index);
        true
    }

    /// One turn of the loop.
    pub(super) fn turn(&mut self, air: &mut Air<'_>) {
        let Some(driver) = &mut self.driver else { return };
        let now = self.clock.read(air.now);
        let news = {
            let mut machine = air.machine(self.index);
            machine.now = now;
            machine.has_news()
        };
        air.turned += 1;
        air.wakes += u64::from(!news);
        self.turns += 1;
        driver.protocol_mut().knows_its_time = self.clock.offset >= -CLOCK_OFF;
        let outcome = driver.turn(Some(Duration::ZERO));
        self.settle(air);
        let dies = self.store(air);
        air.pump(self.index);
        self.audit(air);
        if dies {
            let (silently, wait) = (air.rng.chance(1, 2), Duration::from_secs(1 + air.rng.below(40)));
            self.kill(air, silently);
            return air.after(wait, Event::Start(self.index));
        }
        match outcome {
            Ok(true) => self.schedule(air),
            Ok(false) => {
                let open = air.machine(self.index).open();
                air.check.that(Invariant::S4, self.index, open == 0, || format!("{open} descriptors after a stop"));
                self.finish(air);
            }
            Err(error) => air.check.that(Invariant::S1, self.index, false, || format!("the loop fails: {error}")),
        }
    }

    /// Has saved what the node asked to be saved. True when that was the end of the process.
    fn store(&mut self, air: &mut Air<'_>) -> bool {
        let Some(driver) = &mut self.driver else { return false };
        let watched = driver.protocol_mut();
        self.data.look(watched.node().chain());
        watched.take_saved().is_some_and(|peers| self.data.save_peers(air, &peers))
    }

    /// The process ends in order: as the program does, it waits for its blocks to be durable.
    fn finish(&mut self, air: &mut Air<'_>) {
        if let Some(driver) = &mut self.driver {
            let chain = driver.protocol_mut().node_mut().chain_mut();
            if chain.flush(Duration::ZERO).is_err() {
                air.count("stop with blocks not stored");
            }
            self.data.look(chain);
        }
        self.exit(air, true);
    }

    /// Where its engine misbehaved, into the books of the run; from now on it does not.
    pub(super) fn count_clumsy(&mut self, air: &mut Air<'_>) {
        let Some(driver) = &mut self.driver else { return };
        let loops = driver.set_buggify(None).map(|clumsy| clumsy.hits().clone()).unwrap_or_default();
        let node = driver.protocol_mut().node_mut();
        let nodes = node.buggify_hits();
        node.set_buggify(Buggify::only(0, &[]));
        for (point, count) in loops.into_iter().chain(nodes) {
            *air.injected.entry(point.label()).or_default() += count;
        }
    }

    /// What its disk has done, into the books of the run; from now on it fails as often as the run says.
    pub(super) fn count_disk(&mut self, air: &mut Air<'_>) {
        self.data.set_rates(air);
        for (fault, count) in self.data.take_injected() {
            *air.injected.entry(fault).or_default() += count;
        }
    }

    /// Did its disk give it other bits of the chain than it had been given?
    pub(super) fn has_misread(&self) -> bool {
        self.data.has_misread()
    }

    /// When its next turn is.
    fn schedule(&mut self, air: &mut Air<'_>) {
        let Some(driver) = &self.driver else { return };
        if air.rng.chance(air.rates.calls.late_turn, 1000) {
            let late = Duration::from_millis(10 + air.rng.below(490));
            air.count("late turn");
            air.freeze(self.index, air.now + late);
        }
        if air.machine(self.index).has_news() {
            air.touch(self.index);
        }
        if let Some(wait) = driver.next_timeout() {
            let shown = self.clock.read(air.now).at + wait;
            air.turn_at(self.index, self.clock.when(shown));
        }
    }

    /// Enters what happened in the turn into the books of the run.
    fn settle(&mut self, air: &mut Air<'_>) {
        let Some(driver) = &mut self.driver else { return };
        let books = &mut driver.protocol_mut().books;
        let index = self.index;
        air.check.take(index, &mut books.tally);
        let mut notes = core::mem::take(&mut books.notes);
        for note in notes.drain(..) {
            match note {
                Note::Line(what, a, b) => air.trace.note(air.now, index, what, a, b),
                Note::Opened(pipe, side, conn) => {
                    let other = air.pipe(pipe).map_or(u32::MAX, |pipe| pipe.ends[1 - side as usize].host);
                    air.trace.note(air.now, index, What::Open, u64::from(conn.index()), u64::from(other));
                }
                Note::Owed(pipe, side, rank, hash, len) => {
                    if let Some(pipe) = air.pipe_mut(pipe) {
                        let way = &mut pipe.ways[1 - side as usize];
                        way.owed.enter(rank, hash);
                        way.waits.enter(rank, hash, len);
                    }
                }
                Note::Lossy(pipe, side) => {
                    if let Some(pipe) = air.pipe_mut(pipe) {
                        let way = &mut pipe.ways[1 - side as usize];
                        way.owed.lossy = true;
                        way.waits.give_up();
                    }
                }
                Note::Paid(pipe, side, hash) => delivered(air, pipe, side, index, hash),
                Note::Closed(conn, reason) => air.trace.close(air.now, index, conn.index(), reason),
                Note::Payment(id) => air.timing.heard(index, self.joined, &id, air.now),
                Note::Tip(work, height, hash) => {
                    air.timing.tip(index, height, air.now);
                    air.trace.note(air.now, index, What::Tip, height, first_bytes(&hash));
                    let before = core::mem::replace(&mut self.work, work);
                    air.check
                        .that(Invariant::S12, index, work >= before, || format!("work fell from {before} to {work}"));
                    air.heaviest = air.heaviest.max(work);
                }
                Note::Block(hash) => {
                    if let Some(born) =
                        air.born.get(&hash).filter(|born| !air.timing.is_newcomer(index) && **born >= self.joined)
                    {
                        air.spread.push(air.now.since(*born));
                    }
                }
                Note::Judged(ip, reason) => {
                    // A stream that the network cut in the middle of a frame looks like a peer that did.
                    let fair = reason.is_none_or(|reason| reason == CloseReason::TruncatedFrame);
                    let fair = fair || air.corrupted || !air.is_honest(ip);
                    air.check.that(Invariant::S9, index, fair, || format!("honest {ip} is blamed: {reason:?}"));
                }
                Note::Banned(remote) => {
                    let who = air.ips.iter().position(|ip| *ip == remote.ip()).map_or(u64::MAX, |who| who as u64);
                    air.trace.note(air.now, index, What::Banned, who, 0);
                    let fair = who >= u64::from(air.honest) || air.corrupted;
                    air.check.that(Invariant::S9, index, fair, || format!("honest node {who} is blacklisted"));
                }
            }
        }
        books.notes = notes;
    }
}

/// A frame came out of a connection: it must be the oldest of its priority that is owed.
fn delivered(air: &mut Air<'_>, id: PipeId, side: Side, host: u32, hash: u64) {
    let (honest, secure) = (air.honest, air.secure);
    let Some(pipe) = air.pipe_mut(id) else { return };
    // Under TLS a stream that was changed ends there: it never yields another frame.
    let spoiled = pipe.ways[side as usize].spoiled && !secure;
    if pipe.ends[1 - side as usize].host >= honest || spoiled {
        return;
    }
    let way = &mut pipe.ways[side as usize];
    let (paid, starved) = (way.owed.pay(hash), way.waits.pay(hash));
    air.check.that(Invariant::S2, host, paid, || "a frame that was not sent, or not in this order".to_owned());
    air.check.that(Invariant::S15, host, starved.is_none(), || format!("more passed a frame than may: {starved:?}"));
}
