//! What a run is built of: the machines, who lives on them and whom they know, all of it from the options and the seed.

use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::adversary::{Adversary, Role, Setting};
use super::clock::Clock;
use super::counters::TurnCount;
use super::fault::{Faults, Plan, Rates};
use super::guest::{GuestHost, Invitation};
use super::host::Host;
use super::kernel::{Calls, Machine, SharedMachine};
use super::machines::web_address;
use super::run::{Options, World};
use super::scenario::Scenario;
use super::schedule::Event;
use super::simulation::SimState;
use super::timing;
use super::tls::Security;
use super::trace::{Trace, fnv};
use super::workload::Workload;
use crate::chain::block::MAX_TRANSACTIONS;
use crate::chain::{Params, ReferenceChain};
use crate::driver;
use crate::link::OutboxLimits;
use crate::proto::Config;
use crate::proto::sync::chain::Chain;
use crate::rng::Rng;
use crate::time::Instant;

/// Where host number `index` lives: a subnet of its own, and a group of its own among 256. In one group they would all
/// compete for the places that a group may have.
fn address(index: u32) -> SocketAddr {
    let [_, _, high, low] = index.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(45, low, high, 7)), 8333)
}

/// Bytes of the shortest transaction in a block.
const SHORTEST: usize = 35;

/// No host has this number, nor one that is somewhat smaller.
const NOBODY: u32 = 0xffff;

/// The machine of a host, on the network.
fn machine(sim: &mut SimState<'_>, index: u32, calls: Calls, seed: u64) -> SharedMachine {
    let rng = Rng::from_seed(seed ^ 0x6b65_726e_656c);
    let machine = Arc::new(Mutex::new(Machine::new(address(index).ip(), calls, sim.rates.buffer, rng)));
    sim.add(address(index), Arc::clone(&machine));
    machine
}

/// How fast a clock is, in parts of a million, at most so much too fast or too slow.
fn drift(rng: &mut Rng, most: u64) -> i64 {
    let drawn = rng.below(2 * most + 1);
    i64::try_from(drawn).unwrap_or(0) - i64::try_from(most).unwrap_or(0)
}

/// The loop of a small machine: a thousand of them share one.
fn usual_limits() -> driver::Config {
    driver::Config {
        read_buffer: 4096,
        turn_bytes: 64 * 1024,
        turn_frames: 64,
        // A burst of payments and what else a late turn finds.
        commands: 128,
        backlog: 128,
        spin: None,
        ..driver::Config::default()
    }
}

/// Limits so small that everything is full now and then.
fn small_limits(rng: &mut Rng) -> driver::Config {
    let (tight, frames, backlog) = (rng.below(4) as usize, rng.below(64) as usize, rng.below(8) as i32);
    driver::Config {
        outbox: OutboxLimits { hard: 300 * 1024, high: 8 * 1024, low: 1024 },
        read_buffer: 1024 << tight,
        turn_bytes: 1024 << tight,
        turn_frames: 1 + frames,
        turn_accepts: 1 + tight,
        backlog: 1 + backlog,
        connections: 24,
        receive_budget: 512 * 1024,
        send_budget: 512 * 1024,
        ..usual_limits()
    }
}

/// What follows from the options before anything is drawn.
struct Blueprint {
    seed: u64,
    plan: Plan,
    scenario: Option<Scenario>,
    chaos: Duration,
    /// Nodes besides the one that comes when the faults are over, and with it.
    nodes: u32,
    honest: u32,
    /// Those who are there from the start. Nobody's seed is a node that comes late, for whoever knows it alone would measure
    /// nothing but the wait.
    there: u32,
    adversaries: u32,
    small: bool,
    params: Params,
}

impl Blueprint {
    fn new(options: &Options) -> Blueprint {
        let scenario = options.scenario;
        // An outage comes on top of the chaos.
        let outage = match scenario {
            Some(Scenario::Outage) => Duration::from_secs(60 << Rng::from_seed(!options.seed).below(8)),
            _ => Duration::ZERO,
        };
        let mut plan = options.faults.plan(options.seed);
        if let Some(scenario) = scenario.filter(|_| !matches!(options.faults, Faults::Plan(_))) {
            scenario.adapt(&mut plan);
        }
        let nodes = options.nodes.max(2);
        let planned = (u64::from(nodes) * plan.adversaries / 100) as u32;
        Blueprint {
            seed: options.seed,
            plan,
            scenario,
            chaos: options.chaos + outage,
            nodes,
            honest: nodes + u32::from(scenario.is_none()),
            there: nodes - u32::from(scenario.is_some_and(Scenario::has_latecomer) && nodes > 2),
            adversaries: scenario.and_then(|scenario| scenario.adversaries(nodes)).unwrap_or(planned),
            small: plan.small_limits > 0 && scenario.is_none(),
            params: Params::new(1, 50).unwrap_or_default(),
        }
    }

    /// Does this node come in the middle of the run, without a block?
    fn is_latecomer(&self, index: u32) -> bool {
        self.scenario.is_some_and(Scenario::has_latecomer) && index + 1 == self.nodes
    }

    /// A few others; without any, a node that starts again before it met anybody would be alone for good. Everybody but the first
    /// knows one of those before it: two that knew only each other would never hear of the rest.
    fn seeds(&self, index: u32, rng: &mut Rng) -> BTreeSet<SocketAddr> {
        let mut seeds: BTreeSet<SocketAddr> = (0..3)
            .map(|nth| if nth == 0 && index > 0 { index.min(self.there) } else { self.there })
            .map(|below| address(rng.below(below.into()) as u32))
            .collect();
        seeds.remove(&address(index));
        if seeds.is_empty() {
            seeds.insert(address((index + 1) % self.there));
        }
        if index == self.nodes {
            seeds = seeds.into_iter().take(1).collect();
        }
        seeds
    }

    fn config(&self, index: u32, rng: &mut Rng) -> Config {
        let mut config = Config {
            node_id: format!("n{index:05}"),
            listening_port: 8333,
            outbound: if self.small { 3 } else { 8 },
            ..Config::default()
        };
        if self.small {
            config.serving_rate = 256 * 1024;
            config.admission.connections_max = 16;
            config.admission.inbound_max = 12;
        }
        let mut seeds = self.seeds(index, rng);
        if let Some(scenario) = self.scenario {
            scenario.configure(index, self.nodes, self.adversaries, &mut config, &mut seeds, address);
        }
        config.seeds = seeds.into_iter().collect();
        config.external.extend(self.false_external(index));
        config
    }

    /// Do the nodes listen for WebSocket, too?
    fn takes_web_sockets(&self) -> bool {
        self.plan.web_socket > 0 || self.plan.web_breakers > 0
    }

    fn web_breakers(&self) -> u32 {
        let count = u64::from(self.nodes).saturating_mul(self.plan.web_breakers) / 100;
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// With whom this node keeps a connection over WebSocket, if it does. Drawn apart, so that it changes nothing else.
    fn web_dial(&self, index: u32) -> Option<SocketAddr> {
        let mut rng = Rng::from_seed(fnv(self.seed ^ 0x7765_6273_6f63, &[index.into()]));
        let (dials, whom) = (rng.chance(self.plan.web_socket, 100), rng.below(self.there.into()) as u32);
        (dials && whom != index).then(|| web_address(address(whom)))
    }

    /// What the operator of this node says falsely of its address: one where nobody lives, or another's. Drawn apart, so that it
    /// changes nothing else.
    fn false_external(&self, index: u32) -> Option<SocketAddr> {
        let mut rng = Rng::from_seed(fnv(self.seed ^ 0x6661_6c73_6500, &[index.into()]));
        let lies = rng.chance(self.plan.false_external, 100);
        let others = u64::from(self.nodes + self.adversaries);
        let whose = if rng.chance(1, 2) { rng.below(others) as u32 } else { NOBODY - index };
        (lies && whose != index).then(|| address(whose))
    }

    /// When a node is switched on.
    fn start(&self, index: u32, rng: &mut Rng) -> Duration {
        match self.scenario {
            Some(Scenario::FlashCrowd) if index > 0 => Duration::from_secs(20),
            // Those who claim are there before it, and nobody had time to find out about them.
            Some(Scenario::HighClaims) if index == 0 => self.chaos / 3 + Duration::from_secs(3),
            Some(_) if self.is_latecomer(index) => self.chaos / 3,
            _ => Duration::from_millis(u64::from(index.min(300)) * 20 + rng.below(500)),
        }
    }

    /// The nodes, on their machines, each with the time of its start.
    fn hosts(&self, limits: &driver::Config, sim: &mut SimState<'_>, rng: &mut Rng) -> Vec<Host> {
        // The one that comes last among them.
        let security = Security::of(self.plan.tls > 0, self.seed, self.nodes + 1).map(Arc::new);
        sim.tls = security.is_some();
        let blocks = self.scenario.map_or(0, Scenario::history).max(self.plan.history);
        let history: Arc<[Bytes]> = timing::history(self.params, blocks, Clock::default().read(sim.now()).unix).into();
        let mut history_rng = Rng::from_seed(self.seed ^ 0x6865_6972);
        let mut host = |index| {
            let config = self.config(index, rng);
            let seed = rng.next_u64();
            let mut calls = sim.rates.calls;
            if self.takes_web_sockets() {
                // For the second listener.
                calls.descriptors = calls.descriptors.saturating_add(1);
            }
            let machine = machine(sim, index, calls, seed);
            if self.takes_web_sockets() {
                sim.machines.add_address(web_address(address(index)));
            }
            let mut limits = limits.clone();
            if let Some(scenario) = self.scenario {
                scenario.limit(index, &mut limits);
            }
            let mut host = Host::new(index, address(index), config, limits, self.params, seed, machine);
            host.absent = index == self.nodes;
            host.web = self.takes_web_sockets().then(|| self.web_dial(index));
            host.config.connect.extend(host.web.flatten());
            // Without a scenario every other node, but one at least.
            let inherits = self.scenario.is_some() || index == 0 || history_rng.chance(1, 2);
            if inherits && !self.is_latecomer(index) && !host.absent {
                host.history = Arc::clone(&history);
            }
            host.security.clone_from(&security);
            host.clock.drift = drift(rng, sim.rates.drift);
            sim.schedule.after(self.start(index, rng), Event::Start(index));
            host
        };
        let hosts = (0..self.honest).map(&mut host).collect();
        sim.machines.end_honest();
        hosts
    }

    /// Those who do not keep the rules, on their machines.
    fn adversaries(&self, workload: &Workload, sim: &mut SimState<'_>, rng: &mut Rng) -> Vec<Adversary> {
        let target = self.scenario.and_then(|scenario| scenario.target(self.nodes));
        let targets: Vec<SocketAddr> = target.map_or(0..self.nodes, |one| one..one + 1).map(address).collect();
        let setting = Setting {
            genesis: ReferenceChain::memory(self.params).genesis(),
            reward: self.params.reward(),
            time: Clock::default().read(sim.now()).unix,
            largest: MAX_TRANSACTIONS.min(workload.suits() / SHORTEST),
            targets,
        };
        let mut adversary = |number| {
            let index = self.honest + number;
            let drawn = rng.index(Role::DRAWN.len()).and_then(|at| Role::DRAWN.get(at).copied());
            let drawn = if number < self.adversaries { drawn.unwrap_or(Role::Silent) } else { Role::WebBreaker };
            let role = self.scenario.and_then(|scenario| scenario.role(number)).unwrap_or(drawn);
            sim.count(role.name());
            let seed = rng.next_u64();
            let machine = machine(sim, index, Calls::QUIET, seed);
            sim.schedule.turn_at(index, sim.now() + Duration::from_millis(rng.below(3000)));
            let adversary = Adversary::new(index, address(index), role, setting.clone(), seed, machine);
            adversary.listens().for_each(|address| sim.machines.add_address(address));
            adversary
        };
        (0..self.adversaries + self.web_breakers()).map(&mut adversary).collect()
    }
}

impl World<'_> {
    /// Guests come, before anything has begun, each to a machine of its own.
    pub(super) fn invite(&mut self, invitations: Vec<Invitation>) {
        for Invitation { guest, dials, dialed_by } in invitations {
            let index = (self.hosts.len() + self.adversaries.len() + self.guests.len()) as u32;
            let machine = machine(&mut self.sim, index, Calls::QUIET, u64::from(index));
            if let Some(host) = dialed_by.and_then(|host| self.hosts.get_mut(host as usize)) {
                host.config.connect.push(address(index));
            }
            self.guests.push(GuestHost::new((index, address(index)), guest, dials.map(address), machine));
            // The nodes are there by then.
            self.sim.schedule.turn_at(index, self.sim.now() + Duration::from_secs(2));
        }
    }
}

impl<'w> World<'w> {
    /// Everything that there is when a run begins, and what comes by itself.
    pub(super) fn new(options: &Options, trace: Trace<'w>) -> Self {
        let blueprint = Blueprint::new(options);
        let mut rng = Rng::from_seed(options.seed);
        let mut sim = SimState::new(rng.next_u64(), Rates::of(&blueprint.plan), trace);
        // Drawn in any case, so that small limits change nothing else.
        let small = small_limits(&mut rng);
        let limits = if blueprint.small { small } else { usual_limits() };
        if blueprint.small {
            sim.count("small limits");
        }
        let workload = Workload::new(&blueprint.plan, options.seed, blueprint.nodes, limits.outbox.hard);
        let hosts = blueprint.hosts(&limits, &mut sim, &mut rng);
        let adversaries = blueprint.adversaries(&workload, &mut sim, &mut rng);
        sim.trace.set_honest(blueprint.honest);
        for (milestone, wait) in World::MILESTONES {
            sim.schedule.at(Instant::ZERO + blueprint.chaos + wait, Event::Milestone(milestone));
        }
        sim.schedule.after(Duration::from_secs(1), Event::Second);
        sim.schedule.after(Duration::from_secs(5), Event::Mine);
        sim.schedule.after(Duration::from_secs(3), Event::Pay);
        World {
            hosts,
            adversaries,
            guests: Vec::new(),
            sim,
            rng,
            chaos: blueprint.chaos,
            healed: false,
            heals: true,
            scenario: options.scenario,
            workload,
            outage_second: options.chaos.as_secs() / 3,
            calm: blueprint.plan.is_calm(),
            scores_before: None,
            is_placed: false,
            last_payment: None,
            ended: false,
            turns_before: TurnCount::default(),
            works: VecDeque::new(),
            waiting_before: BTreeSet::new(),
        }
    }
}
