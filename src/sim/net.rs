//! The virtual network: what lies between machines, with latency, bandwidth and what goes wrong on the way.
//!
//! After each turn of a process the network takes what its kernel sends and lets it arrive later. It sends no more than
//! the receiver has room for, so that a reader that stops reading stops its writer, two buffers later.

use core::time::Duration;
use std::io;
use std::net::SocketAddr;

use super::kernel::{Fate, Knock, Signal};
use super::pipe::{End, PipeId, Side, opposite};
use super::schedule::Event;
use super::simulation::{CORRUPTED, SimState};
use super::trace::{NOBODY, What};
use crate::driver::SocketId;
use crate::time::Instant;

/// How long a kernel waits before it dials again when nothing answered; it doubles.
const SYN_AGAIN: Duration = Duration::from_secs(1);
/// How often it does.
const SYN_TRIES: u8 = 5;
/// The bytes with which TLS begins, at most. What a changed one of them leads to depends on randomness that no seed decides.
const TLS_BEGINNING: u64 = 4096;

impl SimState<'_> {
    /// The time of one packet on its way.
    fn latency(&mut self) -> Duration {
        let (time, lost) = self.rates.latency(&mut self.rng);
        if lost {
            self.count("lost packet");
        }
        time
    }

    /// Takes from a machine what its kernel sends.
    pub(super) fn pump(&mut self, host: u32) {
        let mut signals = core::mem::take(&mut self.signals);
        self.machine(host).take_signals(&mut signals);
        for signal in signals.drain(..) {
            match signal {
                Signal::NoDial { remote } => {
                    let to = self.machines.listener(remote).unwrap_or(NOBODY);
                    self.note(host, What::Dial, u64::from(to), 1);
                }
                Signal::Dial { socket, serial, from, remote, fate } => {
                    self.dial(End::new(host, Some(socket)).at(from), serial, remote, fate);
                }
                Signal::Output(socket) => {
                    let named = self.machine(host).heard_output(socket);
                    if let Some((pipe, side)) = named {
                        self.send(pipe, side);
                    }
                }
                Signal::Room(socket) => {
                    let named = self.machine(host).heard_room(socket);
                    if let Some((pipe, side)) = named
                        && let Some(found) = self.pipes.get_mut(pipe)
                        && found.way_mut(side).take_sender_waits()
                    {
                        self.schedule.after(self.rates.latency_min, Event::Window(pipe, opposite(side)));
                    }
                }
                Signal::Gone { pipe, side, rest, ended, abort } => self.gone(pipe, side, rest, ended, abort),
            }
        }
        self.signals = signals;
    }

    fn dial(&mut self, from: End, serial: u64, remote: SocketAddr, fate: Fate) {
        let (host, Some(socket)) = (from.host, from.socket) else { return };
        let to = self.machines.listener(remote).unwrap_or(NOBODY);
        self.note(host, What::Dial, u64::from(to), 0);
        let id = self.pipes.open([from, End::new(to, None).dialed(remote.port())], self.now());
        if !self.machine(host).name(socket, serial, id) {
            self.pipes.remove(id);
            return;
        }
        let wait = self.latency();
        match fate {
            Fate::Lost => {}
            Fate::Refused => self.schedule.after(wait * 2, Event::Refused(id)),
            // An address where nobody listens is a machine that is not there: its answer is silence, or a refusal.
            Fate::Network if to == NOBODY && remote.port().is_multiple_of(2) => {
                self.schedule.after(wait * 2, Event::Refused(id));
            }
            Fate::Network if to == NOBODY => {}
            Fate::Network => self.schedule.after(wait, Event::Syn(id, 0)),
        }
    }

    /// A dial reaches a machine.
    pub(super) fn on_syn(&mut self, id: PipeId, tries: u8) {
        let Some(pipe) = self.pipes.get(id) else { return };
        let (from, to) = (pipe.end(0).host, pipe.end(1).host);
        let knock = if self.partition.is_cut(from, to) || self.partition.is_cut(to, from) {
            Knock::Ignored
        } else {
            let port = pipe.end(1).port;
            let ip = pipe.end(0).ip.unwrap_or_else(|| self.machine(from).ip);
            self.machine(to).knock(SocketAddr::new(ip, id.port()), port, id)
        };
        match knock {
            Knock::Accepted(socket) => {
                let at = self.now() + self.latency();
                if let Some(pipe) = self.pipes.get_mut(id) {
                    pipe.end_mut(1).socket = Some(socket);
                    pipe.way_mut(0).hold_until(at);
                }
                self.schedule.at(at, Event::Connected(id));
                self.schedule.touch(to);
            }
            Knock::Refused => {
                let wait = self.latency();
                self.schedule.after(wait, Event::Refused(id));
            }
            Knock::Ignored if tries < SYN_TRIES => {
                self.schedule.after(SYN_AGAIN * (1 << tries), Event::Syn(id, tries + 1));
            }
            Knock::Ignored => {}
        }
    }

    /// The word that a dial has succeeded reaches the end that dialed.
    pub(super) fn on_connected(&mut self, id: PipeId) {
        if let Some((host, socket)) = self.socket_at(id, 0) {
            self.machine(host).connected(socket);
            self.schedule.touch(host);
        }
    }

    /// The word that nobody listens reaches the end that dialed.
    pub(super) fn on_refused(&mut self, id: PipeId) {
        self.fail(id, 0, io::ErrorKind::ConnectionRefused);
    }

    pub(super) fn on_reset(&mut self, id: PipeId, side: Side) {
        self.fail(id, side, io::ErrorKind::ConnectionReset);
    }

    fn fail(&mut self, id: PipeId, side: Side, kind: io::ErrorKind) {
        if let Some((host, socket)) = self.socket_at(id, side) {
            self.machine(host).fail(socket, kind);
            self.schedule.touch(host);
        }
    }

    /// The open socket at an end.
    fn socket_at(&self, id: PipeId, side: Side) -> Option<(u32, SocketId)> {
        let end = self.pipes.get(id)?.end(side);
        Some((end.host, end.socket.filter(|_| end.open)?))
    }

    /// Sends from this end what the receiver has room for.
    pub(super) fn send(&mut self, id: PipeId, side: Side) {
        let to = opposite(side);
        let Some(pipe) = self.pipes.get(id) else { return };
        let (here, there) = (pipe.end(side), pipe.end(to));
        let (flying, done) = (pipe.way(to).flying(), pipe.way(to).has_ended());
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
            self.schedule.touch(here.host);
        }
        if let Some(pipe) = self.pipes.get_mut(id) {
            pipe.way_mut(to).set_sender_waits(more);
        }
        // Somebody on the way has ended this direction: the rest is lost.
        if !done && (!bytes.is_empty() || fin) {
            self.launch(id, to, bytes, fin);
        }
    }

    /// Puts a packet on its way to this end.
    fn launch(&mut self, id: PipeId, to: Side, mut bytes: Vec<u8>, fin: bool) {
        let rate = self.rates.corruption.saturating_mul(bytes.len() as u64);
        let begins = self.pipes.get(id).is_some_and(|pipe| pipe.way(to).carried() < TLS_BEGINNING);
        let flip = rate > 0 && self.rng.chance(rate, 1 << 30) && !(begins && self.tls);
        if flip && let Some(at) = self.rng.index(bytes.len()) {
            bytes[at] ^= 0x40;
            self.count(CORRUPTED);
        }
        let (latency, transfer) = (self.latency(), self.rates.transfer(bytes.len()));
        self.counters.carry(bytes.len());
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        let way = pipe.way_mut(to);
        if flip {
            way.spoil();
        }
        if let Some(arrives) = way.send(self.schedule.now(), transfer, latency, bytes, fin) {
            self.schedule.at(arrives, Event::Arrive(id, to));
        }
    }

    /// A kernel has closed this end. Bytes that were never read turn into a reset.
    fn gone(&mut self, id: PipeId, side: Side, rest: Vec<u8>, ended: bool, abort: bool) {
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        let other = opposite(side);
        pipe.end_mut(side).close();
        let there = pipe.end(other);
        let done = pipe.way(other).has_ended();
        if !there.open || there.socket.is_none() {
            // The last one, or a dial that was given up before it was answered.
            self.pipes.remove(id);
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
            let Some(pipe) = self.pipes.get_mut(id) else { continue };
            pipe.end_mut(side).close();
            if !pipe.end(opposite(side)).open {
                self.pipes.remove(id);
            }
        }
    }

    /// Sends a reset to this end.
    pub(super) fn reset(&mut self, id: PipeId, to: Side) {
        let wait = self.latency();
        if self.pipes.get_mut(id).is_some_and(|pipe| pipe.end_mut(to).begin_reset()) {
            self.schedule.after(wait, Event::Reset(id, to));
        }
    }

    /// Packets are due at this end: their bytes can be read from now on.
    pub(super) fn arrive(&mut self, id: PipeId, side: Side) {
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        let (here, from) = (pipe.end(side), pipe.end(opposite(side)).host);
        let is_cut = self.partition.is_cut(from, here.host);
        let Some(arrivals) = pipe.way_mut(side).arrivals(self.schedule.now(), is_cut) else { return };
        for at in arrivals.later {
            self.schedule.at(at, Event::Arrive(id, side));
        }
        if arrivals.packets.is_empty() {
            return;
        }
        let Some(socket) = here.socket else {
            // Nobody is there any more; without power, nobody says so.
            if !self.machine(here.host).off {
                self.reset(id, opposite(side));
            }
            return;
        };
        let mut machine = self.machine(here.host);
        for packet in arrivals.packets {
            machine.deliver(socket, packet.bytes, packet.fin);
        }
        drop(machine);
        self.schedule.touch(here.host);
    }

    /// Lets nothing through towards this end until then.
    pub(super) fn clog(&mut self, id: PipeId, side: Side, until: Instant) {
        let Some(pipe) = self.pipes.get_mut(id) else { return };
        pipe.way_mut(side).clog(until);
        if until != Instant::NEVER {
            self.schedule.at(until, Event::Arrive(id, side));
        }
    }

    /// Cuts the stream towards this end short, in the middle of whatever is under way, and ends it.
    pub(super) fn cut_short(&mut self, id: PipeId, side: Side) {
        if let Some(at) = self.pipes.get_mut(id).and_then(|pipe| pipe.way_mut(side).cut_short()) {
            self.schedule.at(at, Event::Arrive(id, side));
        }
    }

    /// Parts of the network grow together again: what waited for that is on its way.
    pub(super) fn rejoin(&mut self) {
        self.partition.end();
        for (id, pipe) in self.pipes.iter() {
            for side in [0, 1] {
                if pipe.way(side).is_parked() {
                    self.schedule.after(Duration::from_millis(1), Event::Arrive(id, side));
                }
            }
        }
    }

    /// A connection at random, for a fault; `None` when there is none.
    pub(super) fn any_pipe(&mut self) -> Option<PipeId> {
        self.pipes.any(&mut self.rng)
    }
}
