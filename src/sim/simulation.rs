//! What all hosts share: the time, the order of events, the machines, the auditor of the run.
//!
//! The order of events is total: by time, then by the order in which they were scheduled.

use core::cmp::Reverse;
use core::time::Duration;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::{IpAddr, SocketAddr};

use slab::Slab;

use super::check::Check;
use super::fault::Rates;
use super::kernel::{SharedMachine, Signal};
use super::pipe::{Pipe, PipeId, Side};
use super::timing::Timing;
use super::trace::Trace;
use crate::buggify::Buggify;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::Hash;

/// A turn takes at least so long: the next one of the same host is not before.
const TURN: Duration = Duration::from_micros(50);

/// What happens at some time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A host's process has a turn.
    Turn(u32),
    /// A dial reaches the host at end 1, for the so manieth time.
    Syn(PipeId, u8),
    /// The word that the connection stands reaches end 0.
    Connected(PipeId),
    /// The word that nobody listens reaches end 0.
    Refused(PipeId),
    /// A packet is due at this end, or a clog of this direction is over.
    Arrive(PipeId, Side),
    /// This end may send again.
    Window(PipeId, Side),
    /// A reset reaches this end.
    Reset(PipeId, Side),
    /// A host starts, or starts again.
    Start(u32),
    /// A second has passed: faults are drawn.
    Second,
    /// Somebody mines.
    Mine,
    /// Somebody pays.
    Pay,
    /// A milestone of the run, by its number.
    Milestone(u8),
}

/// When a host's process has its turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Turns {
    /// The next one.
    armed: Instant,
    /// None before that: the last one lasts, or the process is frozen.
    pub(super) not_before: Instant,
}

/// How a partition cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Partition {
    Both,
    OneWay,
}

/// The network and everything that all hosts share.
pub(super) struct SimState<'w> {
    pub(super) now: Instant,
    queue: BinaryHeap<Reverse<(Instant, u64, Slot)>>,
    seq: u64,
    pub(super) rng: Rng,
    pub(super) machines: Vec<SharedMachine>,
    pub(super) turns: Vec<Turns>,
    pub(super) pipes: Slab<Pipe>,
    pub(super) serial: u32,
    /// Who lives where.
    pub(super) listeners: BTreeMap<SocketAddr, u32>,
    pub(super) ips: Vec<IpAddr>,
    /// Which side of a partition each host is on.
    pub(super) sides: Vec<u8>,
    /// A partition is in force; only from side 0 to side 1 when one-way.
    pub(super) parted: Option<Partition>,
    pub(super) rates: Rates,
    pub(super) check: Check,
    pub(super) trace: Trace<'w>,
    /// What was injected, by name; the kernels have their own auditor.
    pub(super) injected: BTreeMap<&'static str, u64>,
    /// A disk has lost blocks: the heaviest chain may be nobody's any more.
    pub(super) lost: bool,
    /// Nodes speak TLS.
    pub(super) secure: bool,
    /// Bytes were corrupted: whoever sent them may be blamed without fault.
    pub(super) corrupted: bool,
    /// Turns, and of these the ones that no news caused.
    pub(super) turned: u64,
    pub(super) wakes: u64,
    pub(super) bytes: u64,
    /// How many of the hosts, from the first on, are honest.
    pub(super) honest: u32,
    /// When each block was mined.
    pub(super) born: BTreeMap<Hash, Instant>,
    /// How long each block took to each node that got it.
    pub(super) spread: Vec<Duration>,
    /// How long payments took, and the newcomer.
    pub(super) timing: Timing,
    /// The most work of any honest node's chain.
    pub(super) heaviest: u128,
    /// At which points the engines of this run misbehave.
    pub(super) buggify: Buggify,
    /// An empty list, to be used again.
    pub(super) signals: Vec<Signal>,
}

/// An event that has an order of its own for the heap: none, for the sequence numbers differ.
#[derive(Clone, Copy, Debug)]
struct Slot(Event);

impl PartialEq for Slot {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Slot {}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Slot {
    fn cmp(&self, _: &Self) -> core::cmp::Ordering {
        core::cmp::Ordering::Equal
    }
}

impl<'w> SimState<'w> {
    pub(super) fn new(seed: u64, rates: Rates, trace: Trace<'w>) -> Self {
        SimState {
            now: Instant::ZERO,
            queue: BinaryHeap::new(),
            seq: 0,
            rng: Rng::from_seed(seed),
            machines: Vec::new(),
            turns: Vec::new(),
            pipes: Slab::new(),
            serial: 0,
            listeners: BTreeMap::new(),
            ips: Vec::new(),
            sides: Vec::new(),
            parted: None,
            rates,
            check: Check::new(),
            trace,
            injected: BTreeMap::new(),
            lost: false,
            secure: false,
            corrupted: false,
            turned: 0,
            wakes: 0,
            bytes: 0,
            honest: 0,
            born: BTreeMap::new(),
            spread: Vec::new(),
            timing: Timing::default(),
            heaviest: 0,
            buggify: Buggify::new(seed),
            signals: Vec::new(),
        }
    }

    /// How an engine that starts now misbehaves: at the points of this run, with choices of its own.
    pub(super) fn clumsy(&mut self) -> Option<Buggify> {
        (self.rates.clumsy > 0).then(|| self.buggify.fork().with_rate(self.rates.clumsy))
    }

    /// Does an honest node live there?
    pub(super) fn is_honest(&self, ip: IpAddr) -> bool {
        self.ips.iter().take(self.honest as usize).any(|honest| *honest == ip)
    }

    /// A machine joins, with an address.
    pub(super) fn add(&mut self, address: SocketAddr, machine: SharedMachine) {
        self.listeners.insert(address, self.machines.len() as u32);
        self.machines.push(machine);
        self.ips.push(address.ip());
        self.sides.push(0);
        self.turns.push(Turns { armed: Instant::NEVER, not_before: Instant::ZERO });
    }

    pub(super) fn at(&mut self, at: Instant, event: Event) {
        self.seq += 1;
        self.queue.push(Reverse((at.max(self.now), self.seq, Slot(event))));
    }

    pub(super) fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    /// The next event; the clock moves to it.
    pub(super) fn next(&mut self) -> Option<Event> {
        let Reverse((at, _, Slot(event))) = self.queue.pop()?;
        self.now = at;
        self.check.at = at;
        self.check.event += 1;
        Some(event)
    }

    /// A host has something to do.
    pub(super) fn touch(&mut self, host: u32) {
        self.turn_at(host, self.now);
    }

    /// A host's turn comes no later than that, unless it is frozen.
    pub(super) fn turn_at(&mut self, host: u32, at: Instant) {
        let turns = &mut self.turns[host as usize];
        let at = at.max(self.now).max(turns.not_before);
        if at < turns.armed {
            turns.armed = at;
            self.at(at, Event::Turn(host));
        }
    }

    /// Is it really this host's turn? An event that was overtaken, or met a frozen process, says no.
    pub(super) fn takes_turn(&mut self, host: u32) -> bool {
        let now = self.now;
        let turns = &mut self.turns[host as usize];
        if turns.armed != now {
            return false;
        }
        turns.armed = Instant::NEVER;
        if turns.not_before > now {
            let at = turns.not_before;
            self.turn_at(host, at);
            return false;
        }
        turns.not_before = now + TURN;
        true
    }

    /// The host's process does nothing until then.
    pub(super) fn freeze(&mut self, host: u32, until: Instant) {
        let turns = &mut self.turns[host as usize];
        turns.not_before = turns.not_before.max(until);
    }

    /// The host's process is awake from now on.
    pub(super) fn thaw(&mut self, host: u32) {
        let now = self.now;
        let turns = &mut self.turns[host as usize];
        (turns.not_before, turns.armed) = (now, Instant::NEVER);
        self.touch(host);
    }

    /// Not merely late.
    pub(super) fn is_frozen(&self, host: u32) -> bool {
        self.turns[host as usize].not_before > self.now + Duration::from_millis(500)
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.injected.entry(what).or_default() += 1;
    }
}
