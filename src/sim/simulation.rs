//! What all hosts share, each part of it with an owner that keeps its rule.
//!
//! | part | keeps |
//! |---|---|
//! | `schedule` | the time, the order of events, whose turn it is |
//! | `machines` | who lives where, and who of them is honest |
//! | `pipes` | what lies between two machines |
//! | `partition` | which hosts cannot reach which |
//! | `best_chain`, `timing` | the heaviest chain, and how blocks and payments spread |
//! | `counters`, `check`, `trace` | what was injected, what was checked, what happened |

use std::net::SocketAddr;
use std::sync::MutexGuard;

use super::best_chain::BestChain;
use super::check::Check;
use super::counters::Counters;
use super::fault::Rates;
use super::kernel::{Machine, SharedMachine, Signal};
use super::machines::Machines;
use super::partition::Partition;
use super::pipe::Pipes;
use super::schedule::{Event, Schedule};
use super::timing::Timing;
use super::trace::{Trace, What};
use crate::buggify::Buggify;
use crate::rng::Rng;
use crate::time::Instant;

/// What a changed byte is counted as.
pub(super) const CORRUPTED: &str = "corrupted byte";

/// The network and everything that all hosts share.
pub(super) struct SimState<'w> {
    pub(super) schedule: Schedule,
    pub(super) rng: Rng,
    pub(super) machines: Machines,
    pub(super) pipes: Pipes,
    pub(super) partition: Partition,
    /// How often what goes wrong.
    pub(super) rates: Rates,
    pub(super) check: Check,
    pub(super) trace: Trace<'w>,
    pub(super) counters: Counters,
    pub(super) best_chain: BestChain,
    pub(super) timing: Timing,
    /// Nodes speak TLS.
    pub(super) tls: bool,
    /// At which points the engines of this run misbehave.
    buggify: Buggify,
    /// An empty list, to be used again.
    pub(super) signals: Vec<Signal>,
}

impl<'w> SimState<'w> {
    pub(super) fn new(seed: u64, rates: Rates, trace: Trace<'w>) -> Self {
        SimState {
            schedule: Schedule::new(),
            rng: Rng::from_seed(seed),
            machines: Machines::default(),
            pipes: Pipes::default(),
            partition: Partition::default(),
            rates,
            check: Check::new(),
            trace,
            counters: Counters::default(),
            best_chain: BestChain::default(),
            timing: Timing::default(),
            tls: false,
            buggify: Buggify::new(seed),
            signals: Vec::new(),
        }
    }

    /// The time of the simulation; a machine's own clocks may say something else.
    pub(super) fn now(&self) -> Instant {
        self.schedule.now()
    }

    /// How an engine that starts now misbehaves: at the points of this run, with choices of its own.
    pub(super) fn draw_buggify(&mut self) -> Option<Buggify> {
        (self.rates.clumsy > 0).then(|| self.buggify.fork().with_rate(self.rates.clumsy))
    }

    /// A machine joins, with an address.
    pub(super) fn add(&mut self, address: SocketAddr, machine: SharedMachine) {
        self.machines.add(address, machine);
        self.schedule.add_host();
    }

    /// A machine's kernel, with its clock set.
    pub(super) fn machine(&self, host: u32) -> MutexGuard<'_, Machine> {
        self.machines.lock(host, self.now())
    }

    /// The next event; the clock moves to it.
    pub(super) fn next(&mut self) -> Option<Event> {
        let event = self.schedule.next()?;
        self.check.event_begins(self.now());
        Some(event)
    }

    /// Something was injected.
    pub(super) fn count(&mut self, what: &'static str) {
        self.counters.count(what);
    }

    /// Something happened at a host.
    pub(super) fn note(&mut self, host: u32, what: What, a: u64, b: u64) {
        self.trace.note(self.schedule.now(), host, what, a, b);
    }

    /// Something was broken on purpose at a host, on this connection of the network.
    pub(super) fn note_fault(&mut self, host: u32, fault: &'static str, pipe: Option<u32>) {
        self.trace.fault(self.schedule.now(), host, fault, pipe);
    }

    /// Were bytes corrupted? Whoever sent them may be blamed without fault.
    pub(super) fn has_corrupted(&self) -> bool {
        self.counters.has(CORRUPTED)
    }
}
