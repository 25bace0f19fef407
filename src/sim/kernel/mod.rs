//! One machine's kernel: sockets with buffers, a backlog, descriptors that run out, edge-triggered news.
//!
//! It plays what the loop asks of a system ([`Kernel`]) and behaves as Linux does where Linux has a choice. It knows no
//! other machine: what leaves is a [`Signal`], which the network takes after each turn, and what arrives comes by the
//! calls of `arrive`. So it goes on filling its buffers while its process is frozen, and closes everything when that is
//! killed.

mod arrive;
mod calls;
mod faults;
mod socket;
#[cfg(test)]
mod tests;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use slab::Slab;

use self::socket::{Socket, SocketState};
use super::pipe::{PipeId, Side};
use crate::driver::{EMFILE, ENOBUFS, SocketId};
use crate::rng::Rng;
use crate::time::{Instant, Now};

pub(super) use arrive::Knock;
pub(super) use faults::Calls;

/// A machine, as its process and the network share it.
pub(super) type SharedMachine = Arc<Mutex<Machine>>;

/// No such descriptor.
const EBADF: i32 = 9;

/// Closed tokens that may come up again.
const STALE: usize = 8;

/// What leaves a machine.
#[derive(Debug)]
pub(super) enum Signal {
    /// It dials from one of its addresses; the kernel knows already what will come of it, if it is not left to the network.
    Dial { socket: SocketId, serial: u64, from: IpAddr, remote: SocketAddr, fate: Fate },
    /// It said no to a dial at once.
    NoDial { remote: SocketAddr },
    /// There is something to send.
    Output(SocketId),
    /// There is room for more.
    Room(SocketId),
    /// It has closed an end. `rest` was not yet sent; `abort` means that what it had received was never read.
    Gone { pipe: PipeId, side: Side, rest: Vec<u8>, ended: bool, abort: bool },
}

/// What comes of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Network,
    Refused,
    Lost,
}

pub(super) struct Machine {
    pub(super) ip: IpAddr,
    /// The simulation's time, and what the machine's own clocks say.
    pub(super) sim_time: Instant,
    pub(super) now: Now,
    pub(super) calls: Calls,
    /// Size of a socket's send buffer and of its receive buffer.
    pub(super) buffer: usize,
    rng: Rng,
    sockets: Slab<Socket>,
    serial: u64,
    /// Descriptors of the process.
    open: usize,
    news: VecDeque<SocketId>,
    stale: VecDeque<usize>,
    signals: Vec<Signal>,
    /// Connections that wait to be accepted, and since when one could have been.
    waiting: usize,
    could_accept: Option<Instant>,
    woken: bool,
    /// The power is off: it says nothing to anybody.
    pub(super) off: bool,
    pub(super) injected: BTreeMap<&'static str, u64>,
}

impl Machine {
    pub(super) fn new(ip: IpAddr, calls: Calls, buffer: usize, rng: Rng) -> Self {
        Machine {
            ip,
            sim_time: Instant::ZERO,
            now: Now { at: Instant::ZERO, unix: Default::default() },
            calls,
            buffer,
            rng,
            sockets: Slab::new(),
            serial: 0,
            open: 0,
            news: VecDeque::new(),
            stale: VecDeque::new(),
            signals: Vec::new(),
            waiting: 0,
            could_accept: None,
            woken: false,
            off: false,
            injected: BTreeMap::new(),
        }
    }

    /// Descriptors that the process has open.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// The process should look.
    pub(super) fn has_news(&self) -> bool {
        self.woken || !self.news.is_empty()
    }

    pub(super) fn take_signals(&mut self, into: &mut Vec<Signal>) {
        core::mem::swap(&mut self.signals, into);
    }

    /// A connection's name on the network.
    pub(super) fn pipe_of(&self, socket: SocketId) -> Option<(PipeId, Side)> {
        self.sockets.get(socket as usize)?.pipe
    }

    /// The name of the connection that came from there.
    pub(super) fn pipe_from(&self, remote: SocketAddr) -> Option<(PipeId, Side)> {
        let sockets = self.sockets.iter().map(|(_, socket)| socket);
        sockets.filter(|socket| socket.remote == remote).find_map(|socket| socket.pipe.filter(|(_, side)| *side == 1))
    }

    /// How long a connection has waited although there was a descriptor for it.
    pub(super) fn waited(&self) -> Option<Duration> {
        self.could_accept.map(|since| self.sim_time.since(since))
    }

    /// The process cannot accept for another reason, until now.
    pub(super) fn excuse(&mut self) {
        self.could_accept = None;
        self.watch_backlog();
    }

    fn count(&mut self, what: &'static str) {
        *self.injected.entry(what).or_default() += 1;
    }

    fn draw(&mut self, per_thousand: u64) -> bool {
        per_thousand > 0 && self.rng.chance(per_thousand, 1000)
    }

    fn socket(&self, id: SocketId) -> io::Result<&Socket> {
        self.sockets.get(id as usize).ok_or_else(|| io::Error::from_raw_os_error(EBADF))
    }

    fn socket_mut(&mut self, id: SocketId) -> io::Result<&mut Socket> {
        self.sockets.get_mut(id as usize).ok_or_else(|| io::Error::from_raw_os_error(EBADF))
    }

    fn add(&mut self, state: SocketState, local: SocketAddr, remote: SocketAddr) -> SocketId {
        self.serial += 1;
        let key = self.sockets.insert(Socket::new(self.serial, state, local, remote));
        u32::try_from(key).unwrap_or(u32::MAX)
    }

    /// There is news of a socket.
    fn note(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(id as usize)
            && socket.token.is_some()
            && !socket.noted
        {
            socket.noted = true;
            self.news.push_back(id);
        }
    }

    /// A call found nothing to do: with a selector that was unarmed by its last event, that is what arms it again.
    fn refused(&mut self, id: SocketId) {
        if self.calls.unarmed > 0
            && let Some(socket) = self.sockets.get_mut(id as usize)
        {
            socket.armed = (true, true);
            self.note(id);
        }
    }

    /// Could a connection be accepted that is not?
    fn watch_backlog(&mut self) {
        if self.waiting == 0 || self.open >= self.calls.descriptors {
            self.could_accept = None;
        } else if self.could_accept.is_none() {
            self.could_accept = Some(self.sim_time);
        }
    }

    fn tell_output(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(id as usize)
            && !core::mem::replace(&mut socket.told_output, true)
        {
            self.signals.push(Signal::Output(id));
        }
    }

    /// Takes a socket out of the kernel; the network hears of it.
    fn remove(&mut self, id: SocketId) {
        let Some(mut socket) = self.sockets.try_remove(id as usize) else { return };
        if let SocketState::Listening { waiting, .. } = &socket.state {
            self.waiting -= waiting.len();
            for id in waiting.clone() {
                self.remove(id);
            }
        }
        if let Some((pipe, side)) = socket.pipe {
            let connecting = matches!(socket.state, SocketState::Connecting);
            let abort = !socket.held || connecting || socket.received.len() > 0;
            let rest = socket.unsent.take(usize::MAX);
            self.signals.push(Signal::Gone { pipe, side, rest, ended: socket.shut, abort });
        }
    }

    fn out_of_descriptors(&mut self) -> io::Result<()> {
        if self.open < self.calls.descriptors {
            return Ok(());
        }
        self.count("out of descriptors");
        Err(io::Error::from_raw_os_error(EMFILE))
    }

    fn accept_fault(&mut self, listener: SocketId) -> io::Result<()> {
        if !self.draw(self.calls.accept_error) {
            return Ok(());
        }
        self.count("accept error");
        match self.rng.below(10) {
            0..5 => {
                self.excuse();
                Err(io::Error::from_raw_os_error(EMFILE))
            }
            5 => {
                self.excuse();
                Err(io::Error::from_raw_os_error(ENOBUFS))
            }
            6 => Err(io::ErrorKind::Interrupted.into()),
            _ => {
                let SocketState::Listening { waiting, .. } = &mut self.socket_mut(listener)?.state else {
                    return Ok(());
                };
                // The connection that was waiting is gone already.
                let Some(gone) = waiting.pop_front() else { return Ok(()) };
                self.waiting -= 1;
                self.remove(gone);
                self.excuse();
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }
}

impl Machine {
    fn close_token(&mut self, token: usize) {
        if self.stale.len() == STALE {
            self.stale.pop_front();
        }
        self.stale.push_back(token);
    }
}
