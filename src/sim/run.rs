//! One run: the order of its two phases, and what is looked at in the second.
//!
//! First chaos: all faults, a workload of blocks and transactions. Then the faults stop, the dead start again, the clocks
//! are set right, and within fixed times the network must be whole again.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

use super::adversary::Actor;
use super::check::Failure;
use super::fault::Faults;
use super::host::Host;
use super::scenario::Scenario;
use super::simulation::{Event, SimState};
use super::trace::{Trace, What};
use super::workload::Workload;
use crate::invariant::Invariant;
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
    if let Some(failure) = &world.sim.check.failure {
        world.sim.trace.broken(failure);
    }
    for host in &mut world.hosts {
        host.count_clumsy(&mut world.sim);
        host.count_disk(&mut world.sim);
    }
    let sim = &mut world.sim;
    if let Some(error) = sim.trace.take_error() {
        return Err(error);
    }
    let height = world.hosts.iter().filter_map(Host::height).max().unwrap_or(0);
    Ok(Report {
        seed: options.seed,
        hash: sim.trace.hash(),
        lines: sim.trace.lines(),
        events: sim.check.event,
        simulated: sim.now.since(Instant::ZERO),
        nodes: options.nodes,
        actors: world.actors.len() as u32,
        bytes: sim.bytes,
        height,
        injected: sim.collect_injected(),
        checks: sim.check.counts(),
        spread: core::mem::take(&mut sim.spread),
        payments: core::mem::take(&mut sim.timing.payments),
        caught_up: sim.timing.caught_up(),
        failure: sim.check.failure.take(),
    })
}

pub(super) struct World<'w> {
    pub(super) hosts: Vec<Host>,
    pub(super) actors: Vec<Actor>,
    pub(super) sim: SimState<'w>,
    pub(super) rng: Rng,
    pub(super) chaos: Duration,
    pub(super) healed: bool,
    /// There is a second phase.
    pub(super) heals: bool,
    pub(super) scenario: Option<Scenario>,
    pub(super) load: Workload,
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

impl World<'_> {
    /// What is looked at or done, and how long after the end of the faults.
    pub(super) const MILESTONES: [(u8, Duration); 10] = [
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
    ];

    fn play(&mut self) {
        while !self.ended && self.sim.check.failure.is_none() {
            let Some(event) = self.sim.next() else { return };
            self.step(event);
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Turn(host) => {
                if self.sim.takes_turn(host) {
                    self.turn(host);
                }
            }
            Event::Start(host) => {
                if self.scenario.is_some_and(Scenario::has_latecomer) && host as usize + 1 == self.hosts.len() {
                    if self.waits_for_full_house() {
                        return self.sim.after(KNOCKS, Event::Start(host));
                    }
                    self.note_newcomer(host);
                }
                if let Some(host) = self.hosts.get_mut(host as usize) {
                    host.start(&mut self.sim);
                }
            }
            Event::Syn(id, tries) => self.sim.on_syn(id, tries),
            Event::Connected(id) => self.sim.on_answer(id, false),
            Event::Refused(id) => self.sim.on_answer(id, true),
            Event::Arrive(id, side) => self.sim.land(id, side),
            Event::Window(id, side) => self.sim.send(id, side),
            Event::Reset(id, side) => self.sim.on_reset(id, side),
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
                host.turn(&mut self.sim);
                if index == 0 {
                    self.look_who_is_housed();
                }
            }
            None => {
                if let Some(actor) = self.actors.get_mut(index as usize - self.hosts.len()) {
                    actor.turn(&mut self.sim);
                }
            }
        }
    }

    /// Everybody's kernel and the network do what they should from now on.
    fn heal(&mut self) {
        self.healed = true;
        let sim = &mut self.sim;
        sim.trace.note(sim.now, 0, What::Heal, 0, 0);
        sim.rates.heal();
        for host in 0..sim.machines.len() as u32 {
            let buffer = sim.rates.buffer;
            sim.machine(host).heal(buffer);
            sim.touch(host);
        }
        sim.parted = None;
        sim.unpark();
        let all: Vec<_> = sim.all_pipes().map(|(id, _)| id).collect();
        for id in all {
            // Whoever waited for room in a buffer that has grown.
            sim.send(id, 0);
            sim.send(id, 1);
        }
        for host in &mut self.hosts {
            host.count_clumsy(&mut self.sim);
            host.clock.offset = 0;
            self.sim.thaw(host.index);
            host.count_disk(&mut self.sim);
            if host.has_misread() {
                // Its memory may hold what came wrong from the disk, of blocks that nobody else has. That goes with the process.
                host.kill(&mut self.sim, false);
            }
            host.start(&mut self.sim);
        }
        if self.sim.lost {
            // What one disk alone had is gone; the heaviest is what is left.
            let works = self.hosts.iter().filter_map(Host::node).map(|node| node.chain().best().work);
            self.sim.heaviest = works.max().unwrap_or(0);
        }
    }

    fn milestone(&mut self, number: u8) {
        for host in &mut self.hosts {
            host.audit_node(&mut self.sim);
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
                let core = self.hosts.iter_mut().enumerate().filter(|(at, _)| !self.outside.contains(at));
                if let Some((_, best)) = core.max_by_key(|(_, host)| weight(host)) {
                    best.mine(&mut self.sim, LAST_MOST, 0);
                }
            }
            CHECK_AGREED => self.check_agreed(),
            PAY_LAST => {
                let here = |(at, host): &(usize, &mut Host)| !host.is_gone() && !self.outside.contains(at);
                let mut there: Vec<_> = self.hosts.iter_mut().enumerate().filter(here).collect();
                let payer = self.rng.index(there.len()).and_then(|at| there.get_mut(at)).map(|(_, host)| host);
                self.paid = payer.and_then(|payer| payer.pay(&mut self.sim));
            }
            CHECK_HEARD => {
                self.check_heard();
                (self.turned, self.wakes) = (self.sim.turned, self.sim.wakes);
            }
            STOP => {
                self.check_quiet();
                for host in &mut self.hosts {
                    host.stop(&mut self.sim);
                }
            }
            _ => {
                self.check_stopped();
                self.ended = true;
            }
        }
    }
}
