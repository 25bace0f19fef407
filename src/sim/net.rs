//! The virtual network: what lies between machines, with latency, bandwidth and what goes wrong on the way.
//!
//! After each turn of a process the network takes what its kernel sends and lets it arrive later. It sends no more than
//! the receiver has room for, so that a reader that stops reading stops its writer, two buffers later.

use core::time::Duration;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{MutexGuard, PoisonError};

use super::kernel::{Fate, Knock, Machine, Signal};
use super::pipe::{End, Pipe, PipeId, Side, Way};
use super::simulation::{Event, Partition, SimState};
use super::trace::What;
use crate::driver::SocketId;
use crate::time::Instant;

/// How long a kernel waits before it dials again when nothing answered; it doubles.
const SYN_AGAIN: Duration = Duration::from_secs(1);
/// How often it does.
const SYN_TRIES: u8 = 5;
/// The bytes with which TLS begins, at most. What a changed one of them leads to depends on randomness that no seed decides.
const TLS_BEGINNING: u64 = 4096;

impl SimState<'_> {
    /// A machine's kernel, with its clock set.
    pub(super) fn machine(&self, host: u32) -> MutexGuard<'_, Machine> {
        let mut machine = self.machines[host as usize].lock().unwrap_or_else(PoisonError::into_inner);
        machine.world = self.now;
        machine
    }

    /// The time of one packet on its way.
    fn latency(&mut self) -> Duration {
        let (time, lost) = self.rates.latency(&mut self.rng);
        if lost {
            self.count("lost packet");
        }
        time
    }

    pub(super) fn pipe(&self, id: PipeId) -> Option<&Pipe> {
        self.pipes.get(id.index as usize).filter(|pipe| pipe.serial == id.serial)
    }

    pub(super) fn pipe_mut(&mut self, id: PipeId) -> Option<&mut Pipe> {
        self.pipes.get_mut(id.index as usize).filter(|pipe| pipe.serial == id.serial)
    }

    /// Is the way from one host to another cut?
    fn is_cut(&self, from: u32, to: u32) -> bool {
        let (from, to) = (self.sides.get(from as usize), self.sides.get(to as usize));
        match self.parted {
            None => false,
            Some(Partition::Both) => from != to,
            Some(Partition::OneWay) => from < to,
        }
    }

    /// Takes from a machine what its kernel sends.
    pub(super) fn pump(&mut self, host: u32) {
        let mut signals = core::mem::take(&mut self.signals);
        self.machine(host).take_signals(&mut signals);
        for signal in signals.drain(..) {
            match signal {
                Signal::NoDial { remote } => {
                    let to = self.listeners.get(&remote).copied().unwrap_or(u32::MAX);
                    self.trace.note(self.now, host, What::Dial, u64::from(to), 1);
                }
                Signal::Dial { socket, serial, remote, fate } => self.dial(host, socket, serial, remote, fate),
                Signal::Output(socket) => {
                    let named = self.machine(host).heard_output(socket);
                    if let Some((pipe, side)) = named {
                        self.send(pipe, side);
                    }
                }
                Signal::Room(socket) => {
                    let named = self.machine(host).heard_room(socket);
                    if let Some((pipe, side)) = named
                        && let Some(found) = self.pipe_mut(pipe)
                        && core::mem::take(&mut found.ways[side as usize].starved)
                    {
                        let wait = self.rates.latency_min;
                        self.after(wait, Event::Window(pipe, 1 - side));
                    }
                }
                Signal::Gone { pipe, side, rest, ended, abort } => self.gone(pipe, side, rest, ended, abort),
            }
        }
        self.signals = signals;
    }

    fn dial(&mut self, host: u32, socket: SocketId, serial: u64, remote: SocketAddr, fate: Fate) {
        let to = self.listeners.get(&remote).copied().unwrap_or(u32::MAX);
        self.trace.note(self.now, host, What::Dial, u64::from(to), 0);
        self.serial = self.serial.wrapping_add(1);
        let end = |host, socket| End { host, socket, open: true, reset: false };
        let ends = [end(host, Some(socket)), end(to, None)];
        let ways = [Way::new(self.now), Way::new(self.now)];
        let index = self.pipes.insert(Pipe { serial: self.serial, ends, ways });
        let id = PipeId { index: u32::try_from(index).unwrap_or(u32::MAX), serial: self.serial };
        if !self.machine(host).name(socket, serial, id) {
            self.pipes.remove(index);
            return;
        }
        let wait = self.latency();
        match fate {
            Fate::Lost => {}
            Fate::Refused => self.after(wait * 2, Event::Refused(id)),
            // An address where nobody listens is a machine that is not there: its answer is silence, or a refusal.
            Fate::Network if to == u32::MAX && remote.port().is_multiple_of(2) => {
                self.after(wait * 2, Event::Refused(id));
            }
            Fate::Network if to == u32::MAX => {}
            Fate::Network => self.after(wait, Event::Syn(id, 0)),
        }
    }

    /// A dial reaches a machine.
    pub(super) fn on_syn(&mut self, id: PipeId, tries: u8) {
        let Some(pipe) = self.pipe(id) else { return };
        let (from, to) = (pipe.ends[0].host, pipe.ends[1].host);
        let knock = if self.is_cut(from, to) || self.is_cut(to, from) {
            Knock::Ignored
        } else {
            let ip = self.machine(from).ip;
            let remote = SocketAddr::new(ip, 32_768 + (id.serial % 28_000) as u16);
            self.machine(to).knock(remote, id)
        };
        match knock {
            Knock::Accepted(socket) => {
                let at = self.now + self.latency();
                if let Some(pipe) = self.pipe_mut(id) {
                    pipe.ends[1].socket = Some(socket);
                    pipe.ways[0].last = at;
                }
                self.at(at, Event::Connected(id));
                self.touch(to);
            }
            Knock::Refused => {
                let wait = self.latency();
                self.after(wait, Event::Refused(id));
            }
            Knock::Ignored if tries < SYN_TRIES => self.after(SYN_AGAIN * (1 << tries), Event::Syn(id, tries + 1)),
            Knock::Ignored => {}
        }
    }

    /// The word that a dial has succeeded, or not, reaches the end that dialed.
    pub(super) fn on_answer(&mut self, id: PipeId, refused: bool) {
        let Some(End { host, socket: Some(socket), open: true, .. }) = self.pipe(id).map(|pipe| pipe.ends[0]) else {
            return;
        };
        if refused {
            self.machine(host).fail(socket, io::ErrorKind::ConnectionRefused);
        } else {
            self.machine(host).connected(socket);
        }
        self.touch(host);
    }

    /// Sends from this end what the receiver has room for.
    pub(super) fn send(&mut self, id: PipeId, side: Side) {
        let to = 1 - side as usize;
        let Some(pipe) = self.pipe(id) else { return };
        let (here, there) = (pipe.ends[side as usize], pipe.ends[to]);
        let (flying, done) = (pipe.ways[to].flying, pipe.ways[to].ended);
        let Some(socket) = here.socket else { return };
        let room = match there.socket {
            Some(far) => {
                let far_unread = self.machine(there.host).unread(far);
                self.rates.buffer.saturating_sub(far_unread + flying)
            }
            // Nobody is there: the bytes go, and a reset comes back.
            None => usize::MAX,
        };
        let (bytes, fin, more) = self.machine(here.host).send(socket, room);
        if self.machine(here.host).has_news() {
            self.touch(here.host);
        }
        if let Some(pipe) = self.pipe_mut(id) {
            pipe.ways[to].starved = more;
        }
        // Somebody on the way has ended this direction: the rest is lost.
        if !done && (!bytes.is_empty() || fin) {
            self.launch(id, to as Side, bytes, fin);
        }
    }

    /// Puts a packet on its way to this end.
    fn launch(&mut self, id: PipeId, to: Side, mut bytes: Vec<u8>, fin: bool) {
        let rate = self.rates.corruption.saturating_mul(bytes.len() as u64);
        let begins = self.pipe(id).is_some_and(|pipe| pipe.ways[to as usize].carried < TLS_BEGINNING);
        let flip = rate > 0 && self.rng.chance(rate, 1 << 30) && !(begins && self.secure);
        if flip && let Some(at) = self.rng.index(bytes.len()) {
            bytes[at] ^= 0x40;
            self.corrupted = true;
            self.count("corrupted byte");
        }
        let (latency, transfer) = (self.latency(), self.rates.transfer(bytes.len()));
        let now = self.now;
        self.bytes += bytes.len() as u64;
        let Some(pipe) = self.pipe_mut(id) else { return };
        let way = &mut pipe.ways[to as usize];
        way.spoiled |= flip;
        way.free = way.free.max(now) + transfer;
        let arrives = (way.free + latency).max(way.last);
        way.push(arrives, bytes, fin);
        if !way.parked {
            self.at(arrives, Event::Arrive(id, to));
        }
    }

    /// A kernel has closed this end. Bytes that were never read turn into a reset.
    fn gone(&mut self, id: PipeId, side: Side, rest: Vec<u8>, ended: bool, abort: bool) {
        let Some(pipe) = self.pipe_mut(id) else { return };
        let other = 1 - side;
        (pipe.ends[side as usize].open, pipe.ends[side as usize].socket) = (false, None);
        let there = pipe.ends[other as usize];
        let done = pipe.ways[other as usize].ended;
        if !there.open || there.socket.is_none() {
            // The last one, or a dial that was given up before it was answered.
            self.pipes.remove(id.index as usize);
        } else if abort {
            self.reset(id, other);
        } else if !done && (!ended || !rest.is_empty()) {
            // The kernel goes on sending what the process had written, and ends the stream behind it.
            self.launch(id, other, rest, true);
        }
    }

    /// A machine has lost its power: whoever sends to it gets no answer.
    pub(super) fn cut_power(&mut self, host: u32) {
        let ends = self.machine(host).cut_power();
        for (id, side) in ends {
            let Some(pipe) = self.pipe_mut(id) else { continue };
            (pipe.ends[side as usize].open, pipe.ends[side as usize].socket) = (false, None);
            if !pipe.ends[1 - side as usize].open {
                self.pipes.remove(id.index as usize);
            }
        }
    }

    /// Sends a reset to this end.
    pub(super) fn reset(&mut self, id: PipeId, to: Side) {
        let wait = self.latency();
        let Some(pipe) = self.pipe_mut(id) else { return };
        let end = &mut pipe.ends[to as usize];
        if end.open && !end.reset {
            end.reset = true;
            self.after(wait, Event::Reset(id, to));
        }
    }

    pub(super) fn on_reset(&mut self, id: PipeId, side: Side) {
        let Some(End { host, socket: Some(socket), open: true, .. }) =
            self.pipe(id).map(|pipe| pipe.ends[side as usize])
        else {
            return;
        };
        self.machine(host).fail(socket, io::ErrorKind::ConnectionReset);
        self.touch(host);
    }

    /// Packets are due at this end: their bytes can be read from now on.
    pub(super) fn land(&mut self, id: PipeId, side: Side) {
        let now = self.now;
        let Some(pipe) = self.pipe(id) else { return };
        let End { host, socket, .. } = pipe.ends[side as usize];
        let cut = self.is_cut(pipe.ends[1 - side as usize].host, host);
        let Some(pipe) = self.pipe_mut(id) else { return };
        let way = &mut pipe.ways[side as usize];
        if cut || way.clogged > now {
            way.parked = true;
            return;
        }
        let was_parked = core::mem::take(&mut way.parked);
        let mut landed = Vec::new();
        while way.flight.front().is_some_and(|packet| packet.arrives <= now) {
            let Some(packet) = way.flight.pop_front() else { break };
            way.flying -= packet.bytes.len();
            landed.push(packet);
        }
        if was_parked {
            // What was written meanwhile was not announced.
            let later: Vec<Instant> = way.flight.iter().map(|packet| packet.arrives).collect();
            for at in later {
                self.at(at, Event::Arrive(id, side));
            }
        }
        if landed.is_empty() {
            return;
        }
        let Some(socket) = socket else {
            // Nobody is there any more; without power, nobody says so.
            if !self.machine(host).off {
                self.reset(id, 1 - side);
            }
            return;
        };
        let mut machine = self.machine(host);
        for packet in landed {
            machine.deliver(socket, packet.bytes, packet.fin);
        }
        drop(machine);
        self.touch(host);
    }

    /// Lets nothing through towards this end until then.
    pub(super) fn clog(&mut self, id: PipeId, side: Side, until: Instant) {
        let Some(pipe) = self.pipe_mut(id) else { return };
        let way = &mut pipe.ways[side as usize];
        way.clogged = way.clogged.max(until);
        if until != Instant::NEVER {
            self.at(until, Event::Arrive(id, side));
        }
    }

    /// Cuts the stream towards this end short, in the middle of whatever is under way, and ends it.
    pub(super) fn cut_short(&mut self, id: PipeId, side: Side) {
        let Some(pipe) = self.pipe_mut(id) else { return };
        let way = &mut pipe.ways[side as usize];
        if way.ended {
            return;
        }
        way.halve();
        let at = way.last;
        way.push(at, Vec::new(), true);
        self.at(at, Event::Arrive(id, side));
    }

    /// Everything that waited for a partition is on its way again.
    pub(super) fn unpark(&mut self) {
        let parked: Vec<(PipeId, Side)> = self
            .all_pipes()
            .flat_map(|(id, pipe)| {
                [0u8, 1].into_iter().filter(|side| pipe.ways[*side as usize].parked).map(move |side| (id, side))
            })
            .collect();
        for (id, side) in parked {
            self.after(Duration::from_millis(1), Event::Arrive(id, side));
        }
    }

    /// A connection at random, for a fault; `None` when there is none.
    pub(super) fn any_pipe(&mut self) -> Option<PipeId> {
        let slots = self.pipes.capacity();
        for _ in 0..8 {
            let index = self.rng.index(slots)?;
            if let Some(pipe) = self.pipes.get(index).filter(|pipe| pipe.ends[1].socket.is_some()) {
                return Some(PipeId { index: u32::try_from(index).unwrap_or(u32::MAX), serial: pipe.serial });
            }
        }
        None
    }

    /// All connections and dials.
    pub(super) fn all_pipes(&self) -> impl Iterator<Item = (PipeId, &Pipe)> {
        self.pipes.iter().map(|(index, pipe)| {
            (PipeId { index: u32::try_from(index).unwrap_or(u32::MAX), serial: pipe.serial }, pipe)
        })
    }

    /// What the kernels injected, into the auditor of the run.
    pub(super) fn collect_injected(&mut self) -> BTreeMap<&'static str, u64> {
        let mut all = core::mem::take(&mut self.injected);
        for machine in &self.machines {
            let machine = machine.lock().unwrap_or_else(PoisonError::into_inner);
            for (what, count) in &machine.injected {
                *all.entry(what).or_default() += count;
            }
        }
        all
    }
}
