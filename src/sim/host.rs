//! An honest node on its machine: the very loop that carries a node in the world, turned when there is news or a deadline.

use core::time::Duration;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::audited_node::{AuditedNode, CLOCK_OFF};
use super::auditor::{Auditor, Note};
use super::clock::Clock;
use super::data::Data;
use super::kernel::SharedMachine;
use super::pipe::{PipeId, Side};
use super::simulation::{Event, SimState};
use super::timing;
use super::tls::Security;
use super::trace::{What, fnv};
use crate::buggify::Buggify;
use crate::chain::{Params, ReferenceChain};
use crate::driver::{self, Driver, SharedKernel};
use crate::id::ConnId;
use crate::invariant::Invariant;
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
    pub(super) driver: Option<Driver<AuditedNode>>,
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
    pub(super) fn driver(&self) -> Option<&Driver<AuditedNode>> {
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
        let conns: Vec<ConnId> = driver.protocol().auditor.entries.keys().copied().collect();
        let bytes: Vec<u64> =
            conns.iter().map(|conn| driver.net().conn_stats(*conn).map_or(0, |stats| stats.bytes_in)).collect();
        let config = &self.config;
        let mut silences = Vec::new();
        for (conn, bytes) in conns.into_iter().zip(bytes) {
            let Some(entry) = driver.protocol_mut().auditor.entries.get_mut(&conn) else { continue };
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
    pub(super) fn start(&mut self, sim: &mut SimState<'_>) {
        if self.gone {
            return;
        }
        if self.stopping {
            // The last one is not gone yet.
            return sim.after(Duration::from_secs(1), Event::Start(self.index));
        }
        if self.driver.is_some() || self.absent {
            return;
        }
        let Some(mut chain) = self.data.open_chain(sim, self.index) else {
            // Whoever looks after the machine tries again.
            return sim.after(Duration::from_secs(2), Event::Start(self.index));
        };
        // A clock that was stopped before may stand still for longer.
        self.excused = self.excused.max(sim.now);
        let now = self.clock.read(sim.now);
        if self.starts == 0 {
            timing::load(&mut chain, now.unix, &self.history);
            self.joined = sim.now;
            sim.heaviest = sim.heaviest.max(chain.best().work);
        }
        self.starts += 1;
        sim.trace.note(sim.now, self.index, What::Start, chain.best().height, 0);
        self.work = chain.best().work;
        if let Some(security) = &self.security
            && let Some(id) = security.equip(self.index, self.lives, &self.machine, &mut self.limits)
        {
            self.config.node_id = id;
        }
        let seed = fnv(self.seed, &[self.starts]);
        let mut node = match Node::new(self.config.clone(), chain, seed, seed ^ 0x5eed) {
            Ok(node) => node,
            Err(errors) => {
                return sim.check.that(Invariant::S4, self.index, false, || format!("a node cannot start: {errors}"));
            }
        };
        let mut clumsy = sim.clumsy();
        if let Some(clumsy) = &mut clumsy {
            node.set_buggify(clumsy.fork());
        }
        node.restore_peers(now, self.data.load_peers(sim, self.index, now));
        {
            let mut machine = sim.machine(self.index);
            machine.off = false;
            machine.now = now;
        }
        let auditor = Auditor::new(&self.config);
        let watched = AuditedNode::new(node, auditor, self.machine.clone(), self.config.node_id.clone());
        let kernel: SharedKernel = self.machine.clone();
        let driver = Driver::on_kernel(self.limits.clone(), watched, &kernel)
            .and_then(|mut driver| driver.listen(self.address).map(|_| driver));
        match driver {
            Ok(mut driver) => {
                driver.set_buggify(clumsy);
                self.driver = Some(driver);
            }
            Err(error) => {
                sim.check.that(Invariant::S4, self.index, false, || format!("a node cannot start: {error}"));
            }
        }
        sim.thaw(self.index);
    }

    /// Ends the process where it stands; its kernel closes everything. Silently, the whole machine is gone, and its peers
    /// learn nothing.
    pub(super) fn kill(&mut self, sim: &mut SimState<'_>, silently: bool) {
        let Some(driver) = &self.driver else { return };
        let connections = driver.sockets() as u64;
        sim.trace.note(sim.now, self.index, What::Kill, connections, u64::from(silently));
        if silently {
            sim.cut_power(self.index);
        }
        self.exit(sim, !silently);
    }

    /// The process is gone; with the power, or without.
    fn exit(&mut self, sim: &mut SimState<'_>, power: bool) {
        self.count_clumsy(sim);
        let Some(mut driver) = self.driver.take() else { return };
        self.contacts.clear();
        let chain = driver.protocol_mut().node_mut().chain_mut();
        let memory = ReferenceChain::memory(chain.params());
        self.data.end(core::mem::replace(chain, memory), power);
        self.stopping = false;
        drop(driver);
        sim.pump(self.index);
        let open = sim.machine(self.index).open();
        sim.check.that(Invariant::S4, self.index, open == 0, || format!("{open} descriptors outlive their process"));
    }

    /// It is switched off and does not come back.
    pub(super) fn leave(&mut self, sim: &mut SimState<'_>, gently: bool) {
        sim.trace.note(sim.now, self.index, What::Work, 4, 0);
        if !gently || !self.stop(sim) {
            self.kill(sim, false);
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
    pub(super) fn replace(&mut self, sim: &mut SimState<'_>, seeds: Vec<SocketAddr>, seed: u64) -> bool {
        if self.driver.is_some() {
            return false;
        }
        self.count_disk(sim);
        (self.gone, self.seed) = (false, seed);
        (self.starts, self.turns, self.paid) = (0, 0, 0);
        self.lives += 1;
        self.history = Arc::default();
        self.data = Data::new(self.data.params(), seed);
        self.config.node_id = format!("n{:05}-{}", self.index, self.lives);
        self.config.seeds = seeds;
        sim.trace.note(sim.now, self.index, What::Work, 5, u64::from(self.lives()));
        sim.after(Duration::from_millis(1), Event::Start(self.index));
        true
    }

    /// From its next start on it asks somebody else.
    pub(super) fn replace_seed(&mut self, old: SocketAddr, new: Option<SocketAddr>) {
        let Some(at) = self.config.seeds.iter().position(|seed| *seed == old) else { return };
        self.config.seeds.remove(at);
        self.config.seeds.extend(new.filter(|new| !self.config.seeds.contains(new)));
    }

    /// Asks the process to stop, as SIGTERM does. False when it does not run.
    pub(super) fn stop(&mut self, sim: &mut SimState<'_>) -> bool {
        let Some(driver) = &self.driver else { return false };
        driver.handle().stop();
        self.stopping = true;
        sim.touch(self.index);
        true
    }

    /// One turn of the loop.
    pub(super) fn turn(&mut self, sim: &mut SimState<'_>) {
        let Some(driver) = &mut self.driver else { return };
        let now = self.clock.read(sim.now);
        let news = {
            let mut machine = sim.machine(self.index);
            machine.now = now;
            machine.has_news()
        };
        sim.turned += 1;
        sim.wakes += u64::from(!news);
        self.turns += 1;
        driver.protocol_mut().knows_its_time = self.clock.offset >= -CLOCK_OFF;
        let outcome = driver.turn(Some(Duration::ZERO));
        self.settle(sim);
        let dies = self.store(sim);
        sim.pump(self.index);
        self.audit(sim);
        if dies {
            let (silently, wait) = (sim.rng.chance(1, 2), Duration::from_secs(1 + sim.rng.below(40)));
            self.kill(sim, silently);
            return sim.after(wait, Event::Start(self.index));
        }
        match outcome {
            Ok(true) => self.schedule(sim),
            Ok(false) => {
                let open = sim.machine(self.index).open();
                sim.check.that(Invariant::S4, self.index, open == 0, || format!("{open} descriptors after a stop"));
                self.finish(sim);
            }
            Err(error) => sim.check.that(Invariant::S1, self.index, false, || format!("the loop fails: {error}")),
        }
    }

    /// Has saved what the node asked to be saved. True when that was the end of the process.
    fn store(&mut self, sim: &mut SimState<'_>) -> bool {
        let Some(driver) = &mut self.driver else { return false };
        let watched = driver.protocol_mut();
        self.data.look(watched.node().chain());
        watched.take_saved().is_some_and(|peers| self.data.save_peers(sim, &peers))
    }

    /// The process ends in order: as the program does, it waits for its blocks to be durable.
    fn finish(&mut self, sim: &mut SimState<'_>) {
        if let Some(driver) = &mut self.driver {
            let chain = driver.protocol_mut().node_mut().chain_mut();
            if chain.flush(Duration::ZERO).is_err() {
                sim.count("stop with blocks not stored");
            }
            self.data.look(chain);
        }
        self.exit(sim, true);
    }

    /// Where its engine misbehaved, into the auditor of the run; from now on it does not.
    pub(super) fn count_clumsy(&mut self, sim: &mut SimState<'_>) {
        let Some(driver) = &mut self.driver else { return };
        let loops = driver.set_buggify(None).map(|clumsy| clumsy.hits().clone()).unwrap_or_default();
        let node = driver.protocol_mut().node_mut();
        let nodes = node.buggify_hits();
        node.set_buggify(Buggify::only(0, &[]));
        for (point, count) in loops.into_iter().chain(nodes) {
            *sim.injected.entry(point.label()).or_default() += count;
        }
    }

    /// What its disk has done, into the auditor of the run; from now on it fails as often as the run says.
    pub(super) fn count_disk(&mut self, sim: &mut SimState<'_>) {
        self.data.set_rates(sim);
        for (fault, count) in self.data.take_injected() {
            *sim.injected.entry(fault).or_default() += count;
        }
    }

    /// Did its disk give it other bits of the chain than it had been given?
    pub(super) fn has_misread(&self) -> bool {
        self.data.has_misread()
    }

    /// When its next turn is.
    fn schedule(&mut self, sim: &mut SimState<'_>) {
        let Some(driver) = &self.driver else { return };
        if sim.rng.chance(sim.rates.calls.late_turn, 1000) {
            let late = Duration::from_millis(10 + sim.rng.below(490));
            sim.count("late turn");
            sim.freeze(self.index, sim.now + late);
        }
        if sim.machine(self.index).has_news() {
            sim.touch(self.index);
        }
        if let Some(wait) = driver.next_timeout() {
            let shown = self.clock.read(sim.now).at + wait;
            sim.turn_at(self.index, self.clock.when(shown));
        }
    }

    /// Enters what happened in the turn into the auditor of the run.
    fn settle(&mut self, sim: &mut SimState<'_>) {
        let Some(driver) = &mut self.driver else { return };
        let auditor = &mut driver.protocol_mut().auditor;
        let index = self.index;
        sim.check.take(index, &mut auditor.tally);
        let mut notes = core::mem::take(&mut auditor.notes);
        for note in notes.drain(..) {
            match note {
                Note::Line(what, a, b) => sim.trace.note(sim.now, index, what, a, b),
                Note::Opened(pipe, side, conn) => {
                    let other = sim.pipe(pipe).map_or(u32::MAX, |pipe| pipe.ends[1 - side as usize].host);
                    sim.trace.note(sim.now, index, What::Open, u64::from(conn.index()), u64::from(other));
                }
                Note::DeliveryChecker(pipe, side, rank, hash, len) => {
                    if let Some(pipe) = sim.pipe_mut(pipe) {
                        let way = &mut pipe.ways[1 - side as usize];
                        way.delivery.enter(rank, hash);
                        way.fairness.enter(rank, hash, len);
                    }
                }
                Note::Lossy(pipe, side) => {
                    if let Some(pipe) = sim.pipe_mut(pipe) {
                        let way = &mut pipe.ways[1 - side as usize];
                        way.delivery.lossy = true;
                        way.fairness.give_up();
                    }
                }
                Note::Paid(pipe, side, hash) => delivered(sim, pipe, side, index, hash),
                Note::Closed(conn, reason) => sim.trace.close(sim.now, index, conn.index(), reason),
                Note::Payment(id) => sim.timing.heard(index, self.joined, &id, sim.now),
                Note::Tip(work, height, hash) => {
                    sim.timing.tip(index, height, sim.now);
                    sim.trace.note(sim.now, index, What::Tip, height, first_bytes(&hash));
                    let before = core::mem::replace(&mut self.work, work);
                    sim.check
                        .that(Invariant::S12, index, work >= before, || format!("work fell from {before} to {work}"));
                    sim.heaviest = sim.heaviest.max(work);
                }
                Note::Block(hash) => {
                    if let Some(born) =
                        sim.born.get(&hash).filter(|born| !sim.timing.is_newcomer(index) && **born >= self.joined)
                    {
                        sim.spread.push(sim.now.since(*born));
                    }
                }
                Note::Judged(ip, reason) => {
                    let fair = reason.is_none() || sim.corrupted || !sim.is_honest(ip);
                    sim.check.that(Invariant::S9, index, fair, || format!("honest {ip} is blamed: {reason:?}"));
                }
                Note::Banned(remote) => {
                    let who = sim.ips.iter().position(|ip| *ip == remote.ip()).map_or(u64::MAX, |who| who as u64);
                    sim.trace.note(sim.now, index, What::Banned, who, 0);
                    let fair = who >= u64::from(sim.honest) || sim.corrupted;
                    sim.check.that(Invariant::S9, index, fair, || format!("honest node {who} is blacklisted"));
                }
            }
        }
        auditor.notes = notes;
    }
}

/// A frame came out of a connection: it must be the oldest of its priority that is owed.
fn delivered(sim: &mut SimState<'_>, id: PipeId, side: Side, host: u32, hash: u64) {
    let (honest, secure) = (sim.honest, sim.secure);
    let Some(pipe) = sim.pipe_mut(id) else { return };
    // Under TLS a stream that was changed ends there: it never yields another frame.
    let spoiled = pipe.ways[side as usize].spoiled && !secure;
    if pipe.ends[1 - side as usize].host >= honest || spoiled {
        return;
    }
    let way = &mut pipe.ways[side as usize];
    let (paid, starved) = (way.delivery.pay(hash), way.fairness.pay(hash));
    sim.check.that(Invariant::S2, host, paid, || "a frame that was not sent, or not in this order".to_owned());
    sim.check.that(Invariant::S15, host, starved.is_none(), || format!("more passed a frame than may: {starved:?}"));
}
