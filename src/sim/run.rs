//! One run: the order of its two phases, and what is looked at in the second.
//!
//! First chaos: all faults, a workload of blocks and transactions. Then the faults stop, the dead start again, the clocks
//! are set right, and within fixed times the network must be whole again.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Write};

use super::adversary::Adversary;
use super::check::Failure;
use super::counters::TurnCount;
use super::data::Exit;
use super::fault::Faults;
use super::guest::{GuestHost, Invitation};
use super::host::Host;
use super::scenario::Scenario;
use super::schedule::{Event, Milestone};
use super::simulation::SimState;
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
/// When what attackers held must be free again, who left at the end of the quiet time.
const LEFT: Duration = Duration::from_secs(174);

/// The most bytes of the last block.
const LAST_MOST: usize = 64 * 1024;
/// When the newcomer comes that every run without a scenario has, and when it must have the chain.
const JOINS: Duration = Duration::from_secs(5);
/// How soon a newcomer must have a place in a full house.
pub(super) const PLACED: Duration = Duration::from_secs(10);
/// How often a newcomer looks whether the house is full.
const FULL_HOUSE_RECHECK: Duration = Duration::from_millis(100);

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
    /// Honest nodes.
    pub nodes: u32,
    /// Attackers.
    pub adversaries: u32,
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

/// Runs the first phase alone, with guests whom the caller plays among the nodes.
///
/// # Errors
///
/// None, as long as nothing is written.
pub fn run_with_guests(options: &Options, guests: Vec<Invitation>) -> io::Result<Report> {
    let mut world = World::new(options, Trace::new(None));
    world.heals = false;
    world.invite(guests);
    finish(world, options)
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
        host.end_buggify(&mut world.sim);
        host.count_disk(&mut world.sim);
    }
    let sim = &mut world.sim;
    if let Some(error) = sim.trace.take_error() {
        return Err(error);
    }
    let height = world.hosts.iter().filter_map(Host::height).max().unwrap_or(0);
    let (spread, payments) = sim.timing.take_times();
    Ok(Report {
        seed: options.seed,
        hash: sim.trace.hash(),
        lines: sim.trace.lines(),
        events: sim.check.events(),
        simulated: sim.now().since(Instant::ZERO),
        nodes: options.nodes,
        adversaries: world.adversaries.len() as u32,
        bytes: sim.counters.bytes(),
        height,
        injected: sim.counters.take_injected(sim.machines.injected()),
        checks: sim.check.counts(),
        spread,
        payments,
        caught_up: sim.timing.caught_up(),
        failure: sim.check.failure.take(),
    })
}

pub(super) struct World<'w> {
    pub(super) hosts: Vec<Host>,
    pub(super) adversaries: Vec<Adversary>,
    pub(super) guests: Vec<GuestHost>,
    pub(super) sim: SimState<'w>,
    pub(super) rng: Rng,
    pub(super) chaos: Duration,
    pub(super) healed: bool,
    /// There is a second phase.
    pub(super) heals: bool,
    pub(super) scenario: Option<Scenario>,
    pub(super) workload: Workload,
    /// In which second the outage begins, where there is one.
    pub(super) outage_second: u64,
    /// Nothing goes wrong but what the scenario says.
    pub(super) calm: bool,
    /// The points that the nodes gave each other when the outage began.
    pub(super) scores_before: Option<BTreeMap<(u32, String), i32>>,
    /// The newcomer was seen at a place in the full house.
    pub(super) is_placed: bool,
    /// The transaction that everybody must hear of.
    pub(super) last_payment: Option<Hash>,
    pub(super) ended: bool,
    /// Turns of the loops when the network was last looked at.
    pub(super) turns_before: TurnCount,
    /// How heavy the best chain was in each of the last seconds.
    pub(super) works: VecDeque<u128>,
    /// Transactions that waited anywhere then.
    pub(super) waiting_before: BTreeSet<Hash>,
}

impl World<'_> {
    /// What is looked at or done, and how long after the end of the faults.
    pub(super) const MILESTONES: [(Milestone, Duration); 11] = [
        (Milestone::Heal, Duration::ZERO),
        (Milestone::Join, JOINS),
        (Milestone::CheckConnected, CONNECTED),
        (Milestone::MineLast, LAST_BLOCK),
        (Milestone::CheckAgreed, AGREED),
        (Milestone::PayLast, PAID),
        (Milestone::CheckJoined, QUIET),
        (Milestone::CheckHeard, HEARD),
        (Milestone::Leave, QUIET),
        (Milestone::Stop, LEFT),
        (Milestone::End, HEALING),
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
                if self.sim.schedule.takes_turn(host) {
                    self.turn(host);
                }
            }
            Event::Start(host) => {
                if self.scenario.is_some_and(Scenario::has_latecomer) && host as usize + 1 == self.hosts.len() {
                    if self.waits_for_full_house() {
                        return self.sim.schedule.after(FULL_HOUSE_RECHECK, Event::Start(host));
                    }
                    self.note_newcomer(host);
                }
                if let Some(host) = self.hosts.get_mut(host as usize) {
                    host.start(&mut self.sim);
                }
            }
            Event::Syn(id, tries) => self.sim.on_syn(id, tries),
            Event::Connected(id) => self.sim.on_connected(id),
            Event::Refused(id) => self.sim.on_refused(id),
            Event::Arrive(id, side) => self.sim.arrive(id, side),
            Event::Window(id, side) => self.sim.send(id, side),
            Event::Reset(id, side) => self.sim.on_reset(id, side),
            Event::Second => self.second(),
            Event::Mine if !self.healed => self.mine(),
            Event::Pay if !self.healed => self.pay(),
            Event::Mine | Event::Pay => {}
            Event::Milestone(milestone) => self.milestone(milestone),
        }
    }

    fn turn(&mut self, index: u32) {
        match self.hosts.get_mut(index as usize) {
            Some(host) => {
                host.turn(&mut self.sim);
                if index == 0 {
                    self.look_who_has_a_place();
                }
                if index + 1 == self.hosts.len() as u32 {
                    self.look_who_helps();
                }
            }
            None => {
                let other = index as usize - self.hosts.len();
                if let Some(adversary) = self.adversaries.get_mut(other) {
                    adversary.turn(&mut self.sim);
                } else if let Some(guest) = self.guests.get_mut(other - self.adversaries.len()) {
                    guest.turn(&mut self.sim);
                }
            }
        }
    }

    /// Everybody's kernel and the network do what they should from now on.
    fn heal(&mut self) {
        self.healed = true;
        let sim = &mut self.sim;
        sim.note(0, What::Heal, 0, 0);
        sim.rates.heal();
        for host in 0..sim.machines.count() {
            let buffer = sim.rates.buffer;
            sim.machine(host).heal(buffer);
            sim.schedule.touch(host);
        }
        sim.rejoin();
        let all: Vec<_> = sim.pipes.iter().map(|(id, _)| id).collect();
        for id in all {
            // Whoever waited for room in a buffer that has grown.
            sim.send(id, 0);
            sim.send(id, 1);
        }
        for host in &mut self.hosts {
            host.end_buggify(&mut self.sim);
            host.clock.offset = 0;
            self.sim.schedule.thaw(host.index);
            host.count_disk(&mut self.sim);
            if host.has_misread() {
                // Its memory may hold what came wrong from the disk, of blocks that nobody else has. That goes with the process.
                host.kill(&mut self.sim, Exit::Process);
            }
            host.start(&mut self.sim);
        }
        if self.sim.best_chain.is_lost() {
            // What one disk alone had is gone; the heaviest is what is left.
            let works = self.hosts.iter().filter_map(Host::node).map(|node| node.chain().best().work);
            self.sim.best_chain.settle(works);
        }
    }

    fn milestone(&mut self, milestone: Milestone) {
        for host in &mut self.hosts {
            host.audit_node(&mut self.sim);
        }
        match milestone {
            Milestone::Heal if !self.heals => self.ended = true,
            Milestone::Heal => self.heal(),
            Milestone::Join => self.join(),
            Milestone::CheckJoined => self.check_joined(),
            Milestone::CheckPlace => self.check_place(),
            Milestone::CheckConnected => {
                self.check_connected();
                self.check_outlasted();
            }
            Milestone::MineLast => {
                let weight = |host: &Host| host.node().map_or(0, |node| node.chain().best().work);
                if let Some(best) = self.hosts.iter_mut().max_by_key(|host| weight(host)) {
                    best.mine(&mut self.sim, LAST_MOST, 0);
                }
            }
            Milestone::CheckAgreed => self.check_agreed(),
            Milestone::PayLast => {
                let is_there = |host: &Host| !host.is_gone() && !self.is_eclipsed(host);
                let there: Vec<u32> = self.hosts.iter().filter(|host| is_there(host)).map(|host| host.index).collect();
                let payer = self.rng.index(there.len()).and_then(|at| there.get(at).copied());
                let payer = self.hosts.iter_mut().find(|host| Some(host.index) == payer);
                self.last_payment = payer.and_then(|payer| payer.pay(&mut self.sim));
            }
            Milestone::CheckHeard => {
                self.check_heard();
                self.turns_before = self.sim.counters.turns();
                self.waiting_before = self.waiting_transactions().into_values().flatten().collect();
            }
            Milestone::Leave => {
                self.check_quiet();
                self.check_pools();
                for adversary in &mut self.adversaries {
                    adversary.leave(&mut self.sim);
                }
            }
            Milestone::CheckReturned => self.check_returned(),
            Milestone::Stop => {
                self.check_freed();
                for host in &mut self.hosts {
                    host.stop(&mut self.sim);
                }
            }
            Milestone::End => {
                self.check_stopped();
                self.ended = true;
            }
        }
    }
}
