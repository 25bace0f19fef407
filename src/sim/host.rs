//! An honest node on its machine: the very loop that carries a node in the world, turned when there is news or a deadline.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use super::audited_node::{AuditedNode, CLOCK_OFF, Saved};
use super::auditor::Auditor;
use super::clock::Clock;
use super::data::{Data, Exit};
use super::kernel::SharedMachine;
use super::machines::web_address;
use super::schedule::Event;
use super::simulation::SimState;
use super::timing;
use super::tls::Security;
use super::trace::{What, fnv};
use crate::buggify::Buggify;
use crate::chain::off_loop;
use crate::chain::{Params, ReferenceChain};
use crate::driver::{self, Driver, SharedKernel};
use crate::id::ConnId;
use crate::invariant::Invariant;
use crate::link::web_socket::{WebSocketOptions, WebSocketTarget};
use crate::proto::sync::chain::Chain;
use crate::proto::{Config, Node};
use crate::time::Instant;

/// How long an end may take once it is decided: the queue has two seconds to leave, the socket a quarter of one more,
/// turns are late, and silence is looked at each second.
const CLOSING: Duration = Duration::from_secs(5);
/// What is large for a node that judges large blocks later, in bytes: many are, and most are not.
const LARGE: usize = 1000;

/// How a node leaves for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Departure {
    /// It is asked to stop, if it runs.
    Stopped,
    /// Its process is killed.
    Killed,
}

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
    /// Of its best chain.
    pub(super) work: u128,
    pub(super) turns: u64,
    /// Payments that it made.
    pub(super) payments: u64,
    /// Blacklisted addresses to which it was found connected, and since when.
    pub(super) contacts: BTreeMap<SocketAddr, Instant>,
    /// Where nodes listen for WebSocket, too: the address that it dials by it, if it does.
    pub(super) web: Option<Option<SocketAddr>>,
    /// It is not there yet, and cannot start.
    pub(super) absent: bool,
    /// It was asked to stop.
    stopping: bool,
    /// It has left for good.
    gone: bool,
    /// Nodes that lived here before it, and since when it does.
    lives: u32,
    pub(super) joined: Instant,
    /// Its machine could not run it since then, so what it missed is not its fault.
    pub(super) excused: Instant,
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
            payments: 0,
            contacts: BTreeMap::new(),
            web: None,
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
            if entry.last_bytes.is_none_or(|(_, before)| before != bytes) {
                entry.last_bytes = Some((now, bytes));
            }
            let since = entry.last_bytes.map_or(now, |(at, _)| at).max(self.excused);
            let most = match entry.version {
                None => config.handshake_timeout,
                // A version without pings is found out by its silence alone.
                Some(version) if version.min(config.version) < 2 => config.idle_timeout,
                Some(_) => config.heartbeat + config.ping_timeout,
            };
            silences.push((conn, now.since(since), most + CLOSING));
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
            return sim.schedule.after(Duration::from_secs(1), Event::Start(self.index));
        }
        if self.driver.is_some() || self.absent {
            return;
        }
        let Some(mut chain) = self.data.open_chain(sim, self.index) else {
            // Whoever looks after the machine tries again.
            return sim.schedule.after(Duration::from_secs(2), Event::Start(self.index));
        };
        // A clock that was stopped before may stand still for longer.
        self.excused = self.excused.max(sim.now());
        let now = self.clock.read(sim.now());
        if self.starts == 0 {
            timing::load_blocks(&mut chain, now.unix, &self.history);
            self.joined = sim.now();
            sim.best_chain.reached(chain.best().work);
        }
        self.starts += 1;
        sim.note(self.index, What::Start, chain.best().height, 0);
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
        let mut buggify = sim.draw_buggify();
        if let Some(buggify) = &mut buggify {
            node.set_buggify(buggify.fork());
        }
        // A third of the nodes judges and reads every block later, a third many of them, and a third as the program does.
        match self.index % 3 {
            0 if buggify.is_some() => node.chain_mut().work_in_turns(0),
            1 if buggify.is_some() => node.chain_mut().work_in_turns(LARGE),
            _ => node.chain_mut().work_in_turns(off_loop::LARGE),
        }
        node.restore_peers(now, self.data.load_peers(sim, self.index, now));
        {
            let mut machine = sim.machine(self.index);
            machine.off = false;
            machine.now = now;
        }
        let auditor = Auditor::new(&self.config, self.address, self.limits.turn_work);
        let audited = AuditedNode::new(node, auditor, self.machine.clone(), self.config.node_id.clone());
        let kernel: SharedKernel = self.machine.clone();
        let driver = Driver::on_kernel(self.limits.clone(), audited, &kernel)
            .and_then(|mut driver| self.open(&mut driver).map(|()| driver));
        match driver {
            Ok(mut driver) => {
                driver.set_buggify(buggify);
                self.driver = Some(driver);
            }
            Err(error) => {
                sim.check.that(Invariant::S4, self.index, false, || format!("a node cannot start: {error}"));
            }
        }
        sim.schedule.thaw(self.index);
    }

    /// Listens where it should.
    fn open(&self, driver: &mut Driver<AuditedNode>) -> io::Result<()> {
        driver.listen(self.address)?;
        let Some(dial) = self.web else { return Ok(()) };
        driver.listen_web_socket(web_address(self.address), WebSocketOptions::default())?;
        if let Some(address) = dial
            && let Ok(target) = WebSocketTarget::new(address.to_string(), "/")
        {
            driver.with(|_, _, net| net.set_web_socket(&target, &[address]));
        }
        Ok(())
    }

    /// Ends the process, or the machine, where it stands.
    pub(super) fn kill(&mut self, sim: &mut SimState<'_>, exit: Exit) {
        let Some(driver) = &self.driver else { return };
        let connections = driver.sockets() as u64;
        sim.note(self.index, What::Kill, connections, u64::from(exit == Exit::PowerCut));
        if exit == Exit::PowerCut {
            sim.cut_power(self.index);
        }
        self.exit(sim, exit);
    }

    /// The process is gone.
    fn exit(&mut self, sim: &mut SimState<'_>, exit: Exit) {
        self.end_buggify(sim);
        let Some(mut driver) = self.driver.take() else { return };
        self.contacts.clear();
        let chain = driver.protocol_mut().node_mut().chain_mut();
        let memory = ReferenceChain::memory(chain.params());
        self.data.end(core::mem::replace(chain, memory), exit);
        self.stopping = false;
        drop(driver);
        sim.pump(self.index);
        let open = sim.machine(self.index).open();
        sim.check.that(Invariant::S4, self.index, open == 0, || format!("{open} descriptors outlive their process"));
    }

    /// It is switched off and does not come back.
    pub(super) fn leave(&mut self, sim: &mut SimState<'_>, departure: Departure) {
        sim.note(self.index, What::Work, 4, 0);
        if departure == Departure::Killed || !self.stop(sim) {
            self.kill(sim, Exit::Process);
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
        (self.starts, self.turns, self.payments) = (0, 0, 0);
        self.lives += 1;
        self.history = Arc::default();
        self.data = Data::new(self.data.params(), seed);
        self.config.node_id = format!("n{:05}-{}", self.index, self.lives);
        self.config.seeds = seeds;
        sim.note(self.index, What::Work, 5, u64::from(self.lives()));
        sim.schedule.after(Duration::from_millis(1), Event::Start(self.index));
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
        sim.schedule.touch(self.index);
        true
    }

    /// One turn of the loop.
    pub(super) fn turn(&mut self, sim: &mut SimState<'_>) {
        let Some(driver) = &mut self.driver else { return };
        let now = self.clock.read(sim.now());
        let news = {
            let mut machine = sim.machine(self.index);
            machine.now = now;
            machine.has_news()
        };
        sim.counters.turn(news);
        self.turns += 1;
        driver.protocol_mut().knows_its_time = self.clock.offset >= -CLOCK_OFF;
        let outcome = driver.turn(Some(Duration::ZERO));
        self.report(sim);
        let dies = self.store(sim);
        sim.pump(self.index);
        self.audit(sim);
        if dies {
            let exit = if sim.rng.chance(1, 2) { Exit::PowerCut } else { Exit::Process };
            let wait = Duration::from_secs(1 + sim.rng.below(40));
            self.kill(sim, exit);
            return sim.schedule.after(wait, Event::Start(self.index));
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
        let audited = driver.protocol_mut();
        self.data.look(audited.node().chain());
        let Some(Saved { peers, reached }) = audited.take_saved() else { return false };
        let honest = |address: &&SocketAddr| sim.machines.is_honest_ip(address.ip());
        let is_saved = |address: &SocketAddr| peers.iter().any(|peer| peer.reached && peer.address == Some(*address));
        let lost = reached.iter().filter(honest).find(|address| !is_saved(address));
        // Whose handshake is changed on its way may look like one of another network, and who is of another one is forgotten.
        sim.check.that(Invariant::S20, self.index, lost.is_none() || sim.has_corrupted(), || {
            format!("{lost:?} was reached, and is not among the {} peers that are saved", peers.len())
        });
        self.data.save_peers(sim, &peers)
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
        self.exit(sim, Exit::Process);
    }

    /// Its engine misbehaves no more; where it did is counted.
    pub(super) fn end_buggify(&mut self, sim: &mut SimState<'_>) {
        let Some(driver) = &mut self.driver else { return };
        let loops = driver.set_buggify(None).map(|buggify| buggify.hits().clone()).unwrap_or_default();
        let node = driver.protocol_mut().node_mut();
        let nodes = node.buggify_hits();
        node.set_buggify(Buggify::only(0, &[]));
        for (point, count) in loops.into_iter().chain(nodes) {
            sim.counters.add(point.label(), count);
        }
    }

    /// Counts what its disk has done; from now on that fails as often as the run says.
    pub(super) fn count_disk(&mut self, sim: &mut SimState<'_>) {
        self.data.set_rates(sim);
        for (fault, count) in self.data.take_injected() {
            sim.counters.add(fault, count);
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
            sim.schedule.freeze(self.index, sim.now() + late);
        }
        if sim.machine(self.index).has_news() {
            sim.schedule.touch(self.index);
        }
        if let Some(wait) = driver.next_timeout() {
            let shown = self.clock.read(sim.now()).at + wait;
            sim.schedule.turn_at(self.index, self.clock.when(shown));
        }
    }
}
