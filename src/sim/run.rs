//! One run: what is built from a seed, the order of its two phases, and what must hold in the second.
//!
//! First chaos: all faults, a workload of blocks and transactions. Then the faults stop, the dead start again, the clocks
//! are set right, and within fixed times the network must be whole again.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::actor::{Actor, Role};
use super::check::{Failure, Invariant};
use super::fault::{Faults, Rates};
use super::host::Host;
use super::net::{Air, End, Event, Partition, PipeId, Side};
use super::port::PortLimits;
use super::scenario::Scenario;
use super::timing;
use super::trace::{NOBODY, Trace, What};
use crate::chain::{Params, ReferenceChain};
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
const CONNECTED: Duration = Duration::from_secs(60);
const LAST_BLOCK: Duration = Duration::from_secs(75);
const AGREED: Duration = Duration::from_secs(120);
const PAID: Duration = Duration::from_secs(125);
pub(super) const HEARD: Duration = Duration::from_secs(135);

/// The milestones, in their order.
const HEAL: u8 = 0;
const CHECK_CONNECTED: u8 = 1;
const MINE_LAST: u8 = 2;
const CHECK_AGREED: u8 = 3;
const PAY_LAST: u8 = 4;
const CHECK_HEARD: u8 = 5;
const END: u8 = 6;

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
    let air = &mut world.air;
    if let Some(error) = air.trace.take_error() {
        return Err(error);
    }
    let height = world.hosts.iter().filter_map(Host::node).map(|node| node.chain().best().height).max().unwrap_or(0);
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
        injected: core::mem::take(&mut air.injected),
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
    /// The transaction that everybody must hear of.
    pub(super) paid: Option<Hash>,
    pub(super) ended: bool,
    /// Wake-ups of the loops when the network was last looked at.
    pub(super) wakes: u64,
}

/// Where host number `index` lives: a subnet of its own.
fn address(index: u32) -> SocketAddr {
    let [_, _, high, low] = index.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(45, high, low, 7)), 8333)
}

impl<'w> World<'w> {
    fn new(options: &Options, trace: Trace<'w>) -> Self {
        let mut rng = Rng::from_seed(options.seed);
        let plan = options.faults.plan(options.seed);
        let rates = Rates::of(&plan);
        let mut air = Air::new(Rng::from_seed(rng.next_u64()), rates, trace);
        let nodes = options.nodes.max(2);
        let planned = (u64::from(nodes) * plan.actors / 100) as u32;
        let actor_count = options.scenario.and_then(|scenario| scenario.actors(nodes)).unwrap_or(planned);
        let small = plan.small_limits > 0 && options.scenario.is_none();
        let params = Params::new(1, 50).unwrap_or_default();
        let genesis = ReferenceChain::memory(params).genesis();
        let mut limits = PortLimits {
            outbox: OutboxLimits::default(),
            connections: 1024,
            handshake: Config::default().handshake_timeout,
            idle: Config::default().idle_timeout,
        };
        if small {
            limits.outbox = OutboxLimits { hard: 300 * 1024, high: 8 * 1024, low: 1024 };
            air.count("small limits");
        }
        let mut hosts = Vec::new();
        let history = options.scenario.map_or(0, Scenario::history);
        let (written, blocks) = (air.clocks(0).unix, timing::history(params, history, air.clocks(0).unix));
        for index in 0..nodes {
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
            let mut seeds: BTreeSet<SocketAddr> = (0..3).map(|_| address(rng.below(nodes.into()) as u32)).collect();
            seeds.remove(&address(index));
            if seeds.is_empty() {
                seeds.insert(address((index + 1) % nodes));
            }
            if let Some(scenario) = options.scenario {
                scenario.configure(index, nodes, actor_count, &mut config, &mut seeds, address);
            }
            config.seeds = seeds.into_iter().collect();
            let mut host = Host::new(index, address(index), config, limits, params, rng.next_u64());
            let is_newcomer = options.scenario == Some(Scenario::Newcomer) && index + 1 == nodes;
            if let Some(chain) = host.stored().filter(|_| !is_newcomer) {
                timing::load(chain, written, &blocks);
            }
            hosts.push(host);
            let start = match options.scenario {
                Some(Scenario::FlashCrowd) if index > 0 => Duration::from_secs(20),
                Some(Scenario::Newcomer) if is_newcomer => options.chaos / 3,
                _ => Duration::from_millis(u64::from(index.min(300)) * 20 + rng.below(500)),
            };
            air.after(start, Event::Start(index));
        }
        let targets: Vec<SocketAddr> = hosts.iter().map(|host| host.address).collect();
        let mut actors = Vec::new();
        for number in 0..actor_count {
            let index = nodes + number;
            let drawn = rng.index(Role::ALL.len()).and_then(|at| Role::ALL.get(at).copied()).unwrap_or(Role::Silent);
            let role = options.scenario.and_then(|scenario| scenario.role(number)).unwrap_or(drawn);
            air.count(role.name());
            let targets = match options.scenario {
                Some(Scenario::Eclipse | Scenario::OneHonest) => vec![address(nodes - 1)],
                _ => targets.clone(),
            };
            actors.push(Actor::new(index, address(index), role, genesis, targets, rng.next_u64()));
            air.after(Duration::from_millis(rng.below(3000)), Event::Wake(index));
        }
        for index in 0..nodes + actor_count {
            air.listeners.insert(address(index), index);
            air.ips.push(address(index).ip());
            air.sides.push(0);
        }
        air.honest = nodes;
        air.trace.set_honest(nodes);
        let end = Instant::ZERO + options.chaos;
        for (number, wait) in [
            (HEAL, Duration::ZERO),
            (CHECK_CONNECTED, CONNECTED),
            (MINE_LAST, LAST_BLOCK),
            (CHECK_AGREED, AGREED),
            (PAY_LAST, PAID),
            (CHECK_HEARD, HEARD),
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
            chaos: options.chaos,
            healed: false,
            heals: true,
            scenario: options.scenario,
            paid: None,
            ended: false,
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
            Event::Wake(host) => self.on_wake(host, event),
            Event::Start(host) => {
                if self.scenario == Some(Scenario::Newcomer) && host as usize + 1 == self.hosts.len() {
                    let heights = self.hosts.iter().filter_map(Host::node).map(|node| node.chain().best().height);
                    self.air.timing.joins(host, heights.max().unwrap_or(0), self.air.now);
                }
                if let Some(host) = self.hosts.get_mut(host as usize) {
                    host.start(&mut self.air);
                }
            }
            Event::Syn(id) => self.at_end(id, 1, event),
            Event::Connected(id) | Event::Refused(id) => self.at_end(id, 0, event),
            Event::Arrive(id, side) => {
                if self.air.land(id, side) {
                    self.at_end(id, side, event);
                }
            }
            Event::Unclog(id, side) => {
                if self.air.land(id, side) {
                    self.at_end(id, side, Event::Arrive(id, side));
                }
            }
            Event::Room(id, side) | Event::Reset(id, side) => self.at_end(id, side, event),
            Event::Second => self.second(),
            Event::Mine => {
                let wait = Duration::from_secs(5 + self.rng.below(25));
                if !self.healed {
                    let miner = self.rng.index(self.hosts.len()).and_then(|at| self.hosts.get_mut(at));
                    if let Some(miner) = miner.filter(|miner| miner.frozen <= self.air.now) {
                        miner.mine(&mut self.air);
                    }
                    self.air.after(wait, Event::Mine);
                }
            }
            Event::Pay => {
                let wait = Duration::from_millis(500 + self.rng.below(5000));
                if !self.healed {
                    let payer = self.rng.index(self.hosts.len()).and_then(|at| self.hosts.get_mut(at));
                    if let Some(payer) = payer.filter(|payer| payer.frozen <= self.air.now) {
                        payer.pay(&mut self.air);
                    }
                    self.air.after(wait, Event::Pay);
                }
            }
            Event::Milestone(number) => self.milestone(number),
        }
    }

    fn on_wake(&mut self, index: u32, event: Event) {
        match self.hosts.get_mut(index as usize) {
            Some(host) if host.frozen > self.air.now => self.air.at(host.frozen, event),
            Some(host) => host.wake(&mut self.air),
            None => {
                if let Some(actor) = self.actors.get_mut(index as usize - self.hosts.len()) {
                    actor.act(&mut self.air);
                }
            }
        }
    }

    /// Something happens at one end of a pipe, if there still is one.
    fn at_end(&mut self, id: PipeId, side: Side, event: Event) {
        let Some(pipe) = self.air.pipe(id) else { return };
        let End { host: index, conn, open, .. } = pipe.ends[side as usize];
        let air = &mut self.air;
        if !open {
            // Nobody is there any more; the other side learns it.
            if matches!(event, Event::Connected(_)) {
                air.reset(id, 1 - side);
            }
            return;
        }
        if let Some(host) = self.hosts.get_mut(index as usize) {
            if host.frozen > air.now {
                return air.at(host.frozen, event);
            }
            match (event, conn) {
                (Event::Syn(_), _) => host.on_syn(air, id),
                (Event::Connected(_), Some(conn)) => host.on_connected(air, id, conn),
                (Event::Refused(_), Some(conn)) => host.on_reset(air, id, conn, io::ErrorKind::ConnectionRefused),
                (Event::Reset(..), Some(conn)) => host.on_reset(air, id, conn, io::ErrorKind::ConnectionReset),
                (Event::Room(..), Some(conn)) => host.on_room(air, id, conn),
                (Event::Arrive(..), Some(conn)) => host.on_arrive(air, id, side, conn),
                _ => {}
            }
        } else if let Some(actor) = self.actors.get_mut((index as usize).wrapping_sub(self.hosts.len())) {
            match (event, conn) {
                (Event::Syn(_), _) => actor.on_syn(air, id),
                (Event::Connected(_), Some(conn)) => actor.on_connected(air, conn),
                (Event::Refused(_) | Event::Reset(..), Some(conn)) => actor.on_reset(air, conn),
                (Event::Room(..), Some(conn)) => actor.on_room(air, conn),
                (Event::Arrive(..), Some(conn)) => actor.on_arrive(air, id, side, conn),
                _ => {}
            }
        }
    }

    /// Draws the faults of one second.
    fn second(&mut self) {
        if self.healed {
            return;
        }
        let rates = self.air.rates.clone();
        let pipes = self.air.pipes.len() as u64;
        let draw = |air: &mut Air<'_>, rate: u64, count: u64| {
            // At most one of each kind in a second; the chance is that of all together.
            rate > 0 && air.rng.chance(rate.saturating_mul(count).min(1_000_000), 1_000_000)
        };
        for (fault, rate) in [
            ("clog", rates.clog),
            ("black hole", rates.black_hole),
            ("reset", rates.reset),
            ("cut short", rates.cut_short),
        ] {
            if !draw(&mut self.air, rate, pipes) {
                continue;
            }
            let Some(id) = self.air.any_pipe() else { continue };
            let side = self.air.rng.below(2) as Side;
            let air = &mut self.air;
            air.count(fault);
            let host = air.pipe(id).map_or(0, |pipe| pipe.ends[side as usize].host);
            air.trace.fault(air.now, host, fault, Some(id.index));
            match fault {
                "clog" => {
                    let length = Duration::from_millis(1 << air.rng.below(14));
                    let until = air.now + length;
                    air.clog(id, side, until);
                }
                "black hole" => {
                    air.clog(id, 0, Instant::NEVER);
                    air.clog(id, 1, Instant::NEVER);
                }
                "reset" => {
                    air.reset(id, 0);
                    air.reset(id, 1);
                }
                _ => air.cut_short(id, side),
            }
        }
        self.part(&rates);
        let nodes = self.hosts.len() as u64;
        for (fault, rate) in [("kill", rates.kill), ("freeze", rates.freeze), ("wall jump", rates.wall_jump)] {
            if !draw(&mut self.air, rate * 10, nodes) {
                continue;
            }
            let air = &mut self.air;
            let Some(host) = air.rng.index(self.hosts.len()).and_then(|at| self.hosts.get_mut(at)) else { continue };
            air.count(fault);
            air.trace.fault(air.now, host.index, fault, None);
            match fault {
                "kill" => {
                    let silently = air.rng.chance(3, 10);
                    host.kill(air, silently);
                    let wait = Duration::from_secs(1 + air.rng.below(40));
                    air.after(wait, Event::Start(host.index));
                }
                "freeze" => host.frozen = air.now + Duration::from_secs(1 + air.rng.below(60)),
                _ => {
                    let reach = 1000u64 << air.rng.below(29);
                    let jump = air.rng.below(reach) as i64;
                    host.offset += if air.rng.chance(1, 2) { jump } else { -jump };
                }
            }
        }
        if let Some(scenario) = self.scenario {
            let second = self.air.now.since(Instant::ZERO).as_secs();
            self.stage(scenario, second);
        }
        self.air.after(Duration::from_secs(1), Event::Second);
    }

    /// What a scenario has happen at a certain second.
    fn stage(&mut self, scenario: Scenario, second: u64) {
        let third = self.chaos.as_secs() / 3;
        let air = &mut self.air;
        match scenario {
            Scenario::Partition if second == third => {
                let half = self.hosts.len() / 2;
                air.sides.iter_mut().enumerate().for_each(|(at, side)| *side = u8::from(at < half));
                air.parted = Some(Partition::Both);
                air.count("partition");
            }
            Scenario::Partition if second == 2 * third => {
                air.parted = None;
                air.unpark();
            }
            Scenario::MassRestart if second == third => {
                let most = self.hosts.len() * 9 / 10;
                for host in self.hosts.iter_mut().take(most) {
                    host.kill(air, false);
                    air.count("kill");
                    air.after(Duration::from_secs(5), Event::Start(host.index));
                }
            }
            Scenario::SlowMajority if second == 10 => {
                let pipes: Vec<PipeId> = air.all_pipes().map(|(id, _)| id).collect();
                let until = air.now + Duration::from_secs(self.chaos.as_secs().saturating_sub(10));
                for id in pipes.into_iter().filter(|id| id.index % 5 != 0) {
                    air.clog(id, 0, until);
                    air.count("clog");
                }
            }
            _ => {}
        }
    }

    fn part(&mut self, rates: &Rates) {
        let air = &mut self.air;
        if air.parted.is_some() {
            if self.scenario.is_none() && air.rng.chance(rates.rejoin, 1000) {
                air.parted = None;
                air.unpark();
            }
        } else if air.rng.chance(rates.part, 1000) {
            let alone = air.rng.chance(1, 3);
            let chosen = air.rng.index(air.sides.len());
            for at in 0..air.sides.len() {
                let side = if alone { Some(at) == chosen } else { air.rng.chance(1, 2) };
                air.sides[at] = u8::from(side);
            }
            let one_way = air.rng.chance(1, 3);
            air.parted = Some(if one_way { Partition::OneWay } else { Partition::Both });
            let fault = if one_way { "one-way partition" } else { "partition" };
            air.count(fault);
            air.trace.fault(air.now, NOBODY, fault, None);
        }
        if air.rng.chance(rates.swizzle * 10, 1_000_000) {
            air.count("swizzle-clog");
            let pipes: Vec<PipeId> = air.all_pipes().map(|(id, _)| id).collect();
            for id in pipes {
                if air.rng.chance(1, 2) {
                    let until = air.now + Duration::from_millis(air.rng.below(10_000));
                    air.clog(id, 0, until);
                    air.clog(id, 1, until);
                }
            }
        }
    }

    fn rejoin(&mut self) {
        self.air.parted = None;
        self.air.unpark();
    }

    fn milestone(&mut self, number: u8) {
        match number {
            HEAL if !self.heals => self.ended = true,
            HEAL => {
                self.healed = true;
                self.air.trace.note(self.air.now, 0, What::Heal, 0, 0);
                self.air.rates.heal();
                self.rejoin();
                for host in &mut self.hosts {
                    host.offset = 0;
                    host.frozen = host.frozen.min(self.air.now);
                    host.start(&mut self.air);
                }
            }
            CHECK_CONNECTED => self.check_connected(),
            MINE_LAST => {
                let weight = |host: &Host| host.node().map_or(0, |node| node.chain().best().work);
                if let Some(best) = self.hosts.iter_mut().max_by_key(|host| weight(host)) {
                    best.mine(&mut self.air);
                }
            }
            CHECK_AGREED => self.check_agreed(),
            PAY_LAST => {
                let payer = self.rng.index(self.hosts.len()).and_then(|at| self.hosts.get_mut(at));
                self.paid = payer.and_then(|payer| payer.pay(&mut self.air));
            }
            CHECK_HEARD => {
                self.check_heard();
                self.wakes = self.air.wakes;
            }
            _ => {
                self.check_quiet();
                self.ended = true;
            }
        }
    }
}
