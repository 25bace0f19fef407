//! One run: what is built from a seed, the order of its two phases, and what must hold in the second.
//!
//! First chaos: all faults, a workload of blocks and transactions. Then the faults stop, the dead start again, the clocks
//! are set right, and within fixed times the network must be whole again.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::actor::{Actor, Role};
use super::air::{Air, Event};
use super::check::{Failure, Invariant};
use super::clock::Clock;
use super::fault::{Faults, Rates};
use super::host::Host;
use super::kernel::{Calls, Machine};
use super::load::Load;
use super::scenario::Scenario;
use super::secure::Security;
use super::timing;
use super::trace::{Trace, What};
use crate::chain::{Params, ReferenceChain};
use crate::driver;
use crate::link::OutboxLimits;
use crate::proto::Config;
use crate::proto::sync::chain::Chain;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::Hash;

/// What a run is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything that the other fields leave open.
    pub seed: u64,
    /// Honest nodes, at least 2.
    pub nodes: u32,
    /// How long the faults last; the healing takes [`HEALING`] more.
    pub chaos: Duration,
    /// How much goes wrong.
    pub faults: Faults,
    /// A situation with a name, on top of that.
    pub scenario: Option<Scenario>,
}

/// How long a run goes on after the faults have stopped.
pub const HEALING: Duration = Duration::from_secs(180);
/// When the healed network must be connected, agree, have the transaction, be quiet: after the faults stop.
/// A connection that died in the last moment is noticed a heartbeat and a ping later, after up to 60 s; then it takes a
/// dial.
const CONNECTED: Duration = Duration::from_secs(75);
const LAST_BLOCK: Duration = Duration::from_secs(76);
const AGREED: Duration = Duration::from_secs(120);
const PAID: Duration = Duration::from_secs(125);
pub(super) const HEARD: Duration = Duration::from_secs(135);
pub(super) const QUIET: Duration = Duration::from_secs(170);

/// The most bytes of the last block.
const LAST_MOST: usize = 64 * 1024;
/// When the newcomer comes that every run without a scenario has, and when it must have the chain.
const JOINS: Duration = Duration::from_secs(5);
/// How soon a newcomer must have a place.
pub(super) const HOUSED: Duration = Duration::from_secs(10);
/// How often a newcomer looks whether the house is full.
const KNOCKS: Duration = Duration::from_millis(100);

/// The milestones, in their order.
const HEAL: u8 = 0;
const CHECK_CONNECTED: u8 = 1;
const MINE_LAST: u8 = 2;
const CHECK_AGREED: u8 = 3;
const PAY_LAST: u8 = 4;
const CHECK_HEARD: u8 = 5;
const STOP: u8 = 6;
const END: u8 = 7;
const JOIN: u8 = 8;
const CHECK_JOINED: u8 = 9;
pub(super) const CHECK_HOUSED: u8 = 10;

/// What a run found.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Report {
    /// The seed.
    pub seed: u64,
    /// Proves a replay: FNV-1a 64 of every line of the trace.
    pub hash: u64,
    /// Lines of the trace.
    pub lines: u64,
    /// Events of the network and the clocks.
    pub events: u64,
    /// Simulated time.
    pub simulated: Duration,
    /// Honest nodes and others.
    pub nodes: u32,
    /// See [`Report::nodes`].
    pub actors: u32,
    /// Bytes carried.
    pub bytes: u64,
    /// Height of the highest tip at the end.
    pub height: u64,
    /// What was injected, and how often.
    pub injected: BTreeMap<&'static str, u64>,
    /// How often each invariant was checked.
    pub checks: Vec<(Invariant, u64)>,
    /// How long each block took to each node.
    pub spread: Vec<Duration>,
    /// How long each transaction took to each node, while the faults lasted and after.
    pub payments: Vec<Duration>,
    /// How long the newcomer took from its start to the block that was the best when it started; `None` without one, and
    /// when it never got there.
    pub caught_up: Option<Duration>,
    /// The invariant that did not hold.
    pub failure: Option<Failure>,
}

/// Runs one simulation. With a writer, the trace goes there.
///
/// # Errors
///
/// When the trace cannot be written.
pub fn run(options: &Options, trace: Option<&mut dyn Write>) -> io::Result<Report> {
    finish(World::new(options, Trace::new(trace)), options)
}

/// Runs the first phase alone, to measure what happens under faults.
pub(super) fn chaos_only(options: &Options) -> io::Result<Report> {
    let mut world = World::new(options, Trace::new(None));
    world.heals = false;
    finish(world, options)
}

fn finish(mut world: World<'_>, options: &Options) -> io::Result<Report> {
    world.play();
    if let Some(failure) = &world.air.check.failure {
        world.air.trace.broken(failure);
    }
    for host in &mut world.hosts {
        host.count_clumsy(&mut world.air);
        host.count_disk(&mut world.air);
    }
    let air = &mut world.air;
    if let Some(error) = air.trace.take_error() {
        return Err(error);
    }
    let height = world.hosts.iter().filter_map(Host::height).max().unwrap_or(0);
    Ok(Report {
        seed: options.seed,
        hash: air.trace.hash(),
        lines: air.trace.lines(),
        events: air.check.event,
        simulated: air.now.since(Instant::ZERO),
        nodes: options.nodes,
        actors: world.actors.len() as u32,
        bytes: air.bytes,
        height,
        injected: air.collect_injected(),
        checks: air.check.counts(),
        spread: core::mem::take(&mut air.spread),
        payments: core::mem::take(&mut air.timing.payments),
        caught_up: air.timing.caught_up(),
        failure: air.check.failure.take(),
    })
}

pub(super) struct World<'w> {
    pub(super) hosts: Vec<Host>,
    pub(super) actors: Vec<Actor>,
    pub(super) air: Air<'w>,
    pub(super) rng: Rng,
    pub(super) chaos: Duration,
    pub(super) healed: bool,
    /// There is a second phase.
    heals: bool,
    pub(super) scenario: Option<Scenario>,
    pub(super) load: Load,
    /// In which second the outage begins, where there is one.
    pub(super) cut: u64,
    /// Nothing goes wrong but what the scenario says.
    pub(super) calm: bool,
    /// What the nodes thought of each other when the outage began.
    pub(super) names: Option<BTreeMap<(u32, String), i32>>,
    /// The newcomer was seen at a place in the full house.
    pub(super) housed: bool,
    /// Nodes that impostors have cut off; nothing is asked of them.
    pub(super) outside: BTreeSet<usize>,
    /// The transaction that everybody must hear of.
    pub(super) paid: Option<Hash>,
    pub(super) ended: bool,
    /// Turns of the loops when the network was last looked at, and those that no news caused.
    pub(super) turned: u64,
    pub(super) wakes: u64,
}

/// Where host number `index` lives: a subnet of its own, and a group of its own among 256. In one group they would all
/// compete for the places that a group may have.
fn address(index: u32) -> SocketAddr {
    let [_, _, high, low] = index.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(45, low, high, 7)), 8333)
}

/// The machine of a host, on the network.
fn machine(air: &mut Air<'_>, index: u32, honest: bool, seed: u64) -> Arc<Mutex<Machine>> {
    let calls = if honest { air.rates.calls } else { Calls::QUIET };
    let rng = Rng::from_seed(seed ^ 0x6b65_726e_656c);
    let machine = Arc::new(Mutex::new(Machine::new(address(index).ip(), calls, air.rates.buffer, rng)));
    air.add(address(index), Arc::clone(&machine));
    machine
}

/// How fast a clock is, in parts of a million, at most so much too fast or too slow.
fn drift(rng: &mut Rng, most: u64) -> i64 {
    let drawn = rng.below(2 * most + 1);
    i64::try_from(drawn).unwrap_or(0) - i64::try_from(most).unwrap_or(0)
}

impl<'w> World<'w> {
    fn new(options: &Options, trace: Trace<'w>) -> Self {
        let mut rng = Rng::from_seed(options.seed);
        // An outage comes on top of the chaos.
        let cut = options.chaos.as_secs() / 3;
        let outage = match options.scenario {
            Some(Scenario::Outage) => Duration::from_secs(60 << Rng::from_seed(!options.seed).below(8)),
            _ => Duration::ZERO,
        };
        let chaos = options.chaos + outage;
        let mut plan = options.faults.plan(options.seed);
        if let Some(scenario) = options.scenario.filter(|_| !matches!(options.faults, Faults::Plan(_))) {
            scenario.adapt(&mut plan);
        }
        let rates = Rates::of(&plan);
        let mut air = Air::new(rng.next_u64(), rates, trace);
        let nodes = options.nodes.max(2);
        let planned = (u64::from(nodes) * plan.actors / 100) as u32;
        let actor_count = options.scenario.and_then(|scenario| scenario.actors(nodes)).unwrap_or(planned);
        let small = plan.small_limits > 0 && options.scenario.is_none();
        let params = Params::new(1, 50).unwrap_or_default();
        let genesis = ReferenceChain::memory(params).genesis();
        // The loop of a small machine: a thousand of them share one.
        let mut limits = driver::Config {
            read_buffer: 4096,
            turn_bytes: 64 * 1024,
            turn_frames: 64,
            // A burst of payments and what else a late turn finds.
            commands: 128,
            backlog: 128,
            spin: None,
            ..driver::Config::default()
        };
        let tight = (rng.below(4) as usize, rng.below(64) as usize, rng.below(8) as i32);
        if small {
            limits.outbox = OutboxLimits { hard: 300 * 1024, high: 8 * 1024, low: 1024 };
            limits.read_buffer = 1024 << tight.0;
            limits.turn_bytes = 1024 << tight.0;
            limits.turn_frames = 1 + tight.1;
            limits.turn_accepts = 1 + tight.0;
            limits.backlog = 1 + tight.2;
            limits.connections = 24;
            limits.receive_budget = 512 * 1024;
            limits.send_budget = 512 * 1024;
            air.count("small limits");
        }
        // The one that comes last among them.
        let security = Security::of(&plan, options.seed, nodes + 1).map(Arc::new);
        air.secure = security.is_some();
        let load = Load::new(&plan, options.seed, nodes, limits.outbox.hard);
        let mut hosts = Vec::new();
        let history = options.scenario.map_or(0, Scenario::history).max(plan.history);
        let mut heirs = Rng::from_seed(options.seed ^ 0x6865_6972);
        let history: Arc<[Bytes]> = timing::history(params, history, Clock::default().read(air.now).unix).into();
        // One more comes when the faults are over.
        let honest = nodes + u32::from(options.scenario.is_none());
        // Nobody's seed is a node that comes late, for whoever knows it alone would measure nothing but the wait.
        let there = nodes - u32::from(options.scenario.is_some_and(Scenario::has_latecomer) && nodes > 2);
        for index in 0..honest {
            let mut config = Config {
                node_id: format!("n{index:05}"),
                listening_port: 8333,
                outbound: if small { 3 } else { 8 },
                ..Config::default()
            };
            if small {
                config.admission.connections_max = 16;
                config.admission.inbound_max = 12;
            }
            // A few others; without any, a node that starts again before it met anybody would be alone for good.
            let mut seeds: BTreeSet<SocketAddr> = (0..3).map(|_| address(rng.below(there.into()) as u32)).collect();
            seeds.remove(&address(index));
            if seeds.is_empty() {
                seeds.insert(address((index + 1) % there));
            }
            if index == nodes {
                seeds = seeds.into_iter().take(1).collect();
            }
            if let Some(scenario) = options.scenario {
                scenario.configure(index, nodes, actor_count, &mut config, &mut seeds, address);
            }
            config.seeds = seeds.into_iter().collect();
            let seed = rng.next_u64();
            let machine = machine(&mut air, index, true, seed);
            let mut host = Host::new(index, address(index), config, limits.clone(), params, seed, machine);
            host.absent = index == nodes;
            let is_newcomer = options.scenario.is_some_and(Scenario::has_latecomer) && index + 1 == nodes;
            // Without a scenario every other node, but one at least.
            let inherits = options.scenario.is_some() || index == 0 || heirs.chance(1, 2);
            if inherits && !is_newcomer && !host.absent {
                host.history = Arc::clone(&history);
            }
            host.security.clone_from(&security);
            host.clock.drift = drift(&mut rng, air.rates.drift);
            hosts.push(host);
            let start = match options.scenario {
                Some(Scenario::FlashCrowd) if index > 0 => Duration::from_secs(20),
                Some(_) if is_newcomer => chaos / 3,
                _ => Duration::from_millis(u64::from(index.min(300)) * 20 + rng.below(500)),
            };
            air.after(start, Event::Start(index));
        }
        let targets: Vec<SocketAddr> = (0..nodes).map(address).collect();
        let mut actors = Vec::new();
        for number in 0..actor_count {
            let index = honest + number;
            let drawn = rng.index(Role::ALL.len()).and_then(|at| Role::ALL.get(at).copied()).unwrap_or(Role::Silent);
            let role = options.scenario.and_then(|scenario| scenario.role(number)).unwrap_or(drawn);
            air.count(role.name());
            let targets = match options.scenario {
                Some(Scenario::Eclipse | Scenario::OneHonest) => vec![address(nodes - 1)],
                Some(Scenario::FullHouse) => vec![address(0)],
                _ => targets.clone(),
            };
            let seed = rng.next_u64();
            let machine = machine(&mut air, index, false, seed);
            actors.push(Actor::new(index, address(index), role, genesis, targets, seed, machine));
            let start = air.now + Duration::from_millis(rng.below(3000));
            air.turn_at(index, start);
        }
        air.honest = honest;
        air.trace.set_honest(honest);
        let end = Instant::ZERO + chaos;
        for (number, wait) in [
            (HEAL, Duration::ZERO),
            (JOIN, JOINS),
            (CHECK_CONNECTED, CONNECTED),
            (MINE_LAST, LAST_BLOCK),
            (CHECK_AGREED, AGREED),
            (PAY_LAST, PAID),
            (CHECK_JOINED, QUIET),
            (CHECK_HEARD, HEARD),
            (STOP, QUIET),
            (END, HEALING),
        ] {
            air.at(end + wait, Event::Milestone(number));
        }
        air.after(Duration::from_secs(1), Event::Second);
        air.after(Duration::from_secs(5), Event::Mine);
        air.after(Duration::from_secs(3), Event::Pay);
        World {
            hosts,
            actors,
            air,
            rng,
            chaos,
            healed: false,
            heals: true,
            scenario: options.scenario,
            load,
            cut,
            calm: options.faults == Faults::None,
            names: None,
            housed: false,
            outside: BTreeSet::new(),
            paid: None,
            ended: false,
            turned: 0,
            wakes: 0,
        }
    }

    fn play(&mut self) {
        while !self.ended && self.air.check.failure.is_none() {
            let Some(event) = self.air.next() else { return };
            self.step(event);
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Turn(host) => {
                if self.air.takes_turn(host) {
                    self.turn(host);
                }
            }
            Event::Start(host) => {
                if self.scenario.is_some_and(Scenario::has_latecomer) && host as usize + 1 == self.hosts.len() {
                    if self.waits_for_full_house() {
                        return self.air.after(KNOCKS, Event::Start(host));
                    }
                    self.note_newcomer(host);
                }
                if let Some(host) = self.hosts.get_mut(host as usize) {
                    host.start(&mut self.air);
                }
            }
            Event::Syn(id, tries) => self.air.on_syn(id, tries),
            Event::Connected(id) => self.air.on_answer(id, false),
            Event::Refused(id) => self.air.on_answer(id, true),
            Event::Arrive(id, side) => self.air.land(id, side),
            Event::Window(id, side) => self.air.send(id, side),
            Event::Reset(id, side) => self.air.on_reset(id, side),
            Event::Second => self.second(),
            Event::Mine if !self.healed => self.mine(),
            Event::Pay if !self.healed => self.pay(),
            Event::Mine | Event::Pay => {}
            Event::Milestone(number) => self.milestone(number),
        }
    }

    fn turn(&mut self, index: u32) {
        match self.hosts.get_mut(index as usize) {
            Some(host) => {
                host.turn(&mut self.air);
                if index == 0 {
                    self.look_who_is_housed();
                }
            }
            None => {
                if let Some(actor) = self.actors.get_mut(index as usize - self.hosts.len()) {
                    actor.turn(&mut self.air);
                }
            }
        }
    }

    /// Everybody's kernel and the network do what they should from now on.
    fn heal(&mut self) {
        self.healed = true;
        let air = &mut self.air;
        air.trace.note(air.now, 0, What::Heal, 0, 0);
        air.rates.heal();
        for host in 0..air.machines.len() as u32 {
            let buffer = air.rates.buffer;
            air.machine(host).heal(buffer);
            air.touch(host);
        }
        air.parted = None;
        air.unpark();
        let all: Vec<_> = air.all_pipes().map(|(id, _)| id).collect();
        for id in all {
            // Whoever waited for room in a buffer that has grown.
            air.send(id, 0);
            air.send(id, 1);
        }
        for host in &mut self.hosts {
            host.count_clumsy(&mut self.air);
            host.clock.offset = 0;
            self.air.thaw(host.index);
            host.count_disk(&mut self.air);
            host.start(&mut self.air);
        }
        if self.air.lost {
            // What one disk alone had is gone; the heaviest is what is left.
            let works = self.hosts.iter().filter_map(Host::node).map(|node| node.chain().best().work);
            self.air.heaviest = works.max().unwrap_or(0);
        }
    }

    fn milestone(&mut self, number: u8) {
        for host in &mut self.hosts {
            host.audit_node(&mut self.air);
        }
        match number {
            HEAL if !self.heals => self.ended = true,
            HEAL => self.heal(),
            JOIN => self.join(),
            CHECK_JOINED => self.check_joined(),
            CHECK_HOUSED => self.check_housed(),
            CHECK_CONNECTED => {
                self.check_connected();
                self.check_outlasted();
            }
            MINE_LAST => {
                let weight = |host: &Host| host.node().map_or(0, |node| node.chain().best().work);
                if let Some(best) = self.hosts.iter_mut().max_by_key(|host| weight(host)) {
                    best.mine(&mut self.air, LAST_MOST, 0);
                }
            }
            CHECK_AGREED => self.check_agreed(),
            PAY_LAST => {
                let here = |(at, host): &(usize, &mut Host)| !host.is_gone() && !self.outside.contains(at);
                let mut there: Vec<_> = self.hosts.iter_mut().enumerate().filter(here).collect();
                let payer = self.rng.index(there.len()).and_then(|at| there.get_mut(at)).map(|(_, host)| host);
                self.paid = payer.and_then(|payer| payer.pay(&mut self.air));
            }
            CHECK_HEARD => {
                self.check_heard();
                (self.turned, self.wakes) = (self.air.turned, self.air.wakes);
            }
            STOP => {
                self.check_quiet();
                for host in &mut self.hosts {
                    host.stop(&mut self.air);
                }
            }
            _ => {
                self.check_stopped();
                self.ended = true;
            }
        }
    }
}
