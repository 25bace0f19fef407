//! What a process asks of its kernel: the system calls, with what goes wrong in them.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use super::socket::{Socket, SocketState};
use super::{Fate, Machine, Signal};
use crate::driver::{Kernel, Readiness, SocketId};
use crate::time::Now;

/// The device failed.
const EIO: i32 = 5;

impl Machine {
    /// Dials from one of several addresses, of a machine that has them.
    pub(in crate::sim) fn connect_from(&mut self, from: IpAddr, remote: SocketAddr) -> io::Result<SocketId> {
        let mut fate = Fate::Network;
        if let Err(error) = self.out_of_descriptors() {
            self.signals.push(Signal::NoDial { remote });
            return Err(error);
        }
        if remote.is_ipv6() && from.is_ipv4() {
            self.count("no such family here");
            self.signals.push(Signal::NoDial { remote });
            return Err(io::ErrorKind::AddrNotAvailable.into());
        }
        if self.draw(self.calls.connect_error) {
            self.count("connect error");
            let kind = match self.rng.below(23) {
                0 => Some(io::ErrorKind::AddrNotAvailable),
                1 | 2 => Some(io::ErrorKind::NetworkUnreachable),
                drawn => {
                    fate = if drawn % 2 == 0 { Fate::Refused } else { Fate::Lost };
                    None
                }
            };
            if let Some(kind) = kind {
                self.signals.push(Signal::NoDial { remote });
                return Err(kind.into());
            }
        }
        let port = 32_768 + (self.serial % 28_000) as u16;
        let id = self.add(SocketState::Connecting, SocketAddr::new(from, port), remote);
        let socket = self.socket_mut(id)?;
        socket.held = true;
        let serial = socket.serial;
        self.open += 1;
        self.watch_backlog();
        self.signals.push(Signal::Dial { socket: id, serial, from, remote, fate });
        Ok(id)
    }
}

impl Kernel for Machine {
    fn now(&self) -> Now {
        self.now
    }

    fn tells_every_arrival(&self) -> bool {
        self.calls.unarmed == 0
    }

    fn connect(&mut self, remote: SocketAddr) -> io::Result<SocketId> {
        self.connect_from(self.ip, remote)
    }

    fn listen(&mut self, address: SocketAddr, backlog: i32) -> io::Result<SocketId> {
        self.out_of_descriptors()?;
        let most = usize::try_from(backlog).unwrap_or(1);
        let id = self.add(SocketState::Listening { waiting: VecDeque::new(), most }, address, address);
        self.socket_mut(id)?.held = true;
        self.open += 1;
        Ok(id)
    }

    fn accept(&mut self, listener: SocketId) -> io::Result<(SocketId, SocketAddr)> {
        // As Linux: first the descriptor, then a look at who waits.
        self.out_of_descriptors()?;
        self.accept_fault(listener)?;
        let SocketState::Listening { waiting, .. } = &mut self.socket_mut(listener)?.state else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let Some(id) = waiting.pop_front() else {
            self.refused(listener);
            return Err(io::ErrorKind::WouldBlock.into());
        };
        self.waiting -= 1;
        self.open += 1;
        self.could_accept = None;
        self.watch_backlog();
        let socket = self.socket_mut(id)?;
        socket.held = true;
        Ok((id, socket.remote))
    }

    fn register(&mut self, id: SocketId, token: usize) -> io::Result<()> {
        self.socket_mut(id)?.token = Some(token);
        self.note(id);
        Ok(())
    }

    fn deregister(&mut self, id: SocketId) -> io::Result<()> {
        let socket = self.socket_mut(id)?;
        (socket.noted, _) = (false, socket.token.take());
        Ok(())
    }

    fn read(&mut self, id: SocketId, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        let socket = self.socket(id)?;
        if matches!(socket.state, SocketState::Connecting | SocketState::Listening { .. }) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if self.draw(self.calls.read_error) {
            self.count("read error");
            return Err(match self.rng.below(4) {
                0 => io::Error::from_raw_os_error(EIO),
                1 => io::ErrorKind::TimedOut.into(),
                2 => io::ErrorKind::ConnectionReset.into(),
                _ => io::ErrorKind::Interrupted.into(),
            });
        }
        let mut most = usize::MAX;
        if self.socket(id)?.received.len() > 1 && self.draw(self.calls.short_read) {
            most = 1 + self.rng.below(self.socket(id)?.received.len() as u64 - 1) as usize;
        }
        let socket = self.socket_mut(id)?;
        if socket.received.len() == 0 {
            return match socket.error.take() {
                Some(kind) => Err(kind.into()),
                None if socket.eof || matches!(socket.state, SocketState::Dead) => Ok(0),
                None => {
                    self.refused(id);
                    Err(io::ErrorKind::WouldBlock.into())
                }
            };
        }
        // As Linux: a read ends before the marked byte, unless it begins with it. Nothing tells of the rest.
        let mark = socket.mark.filter(|mark| *mark > 0).unwrap_or(usize::MAX);
        let asked: usize = buffers.iter().map(|buffer| buffer.len()).sum();
        let count = socket.received.read(buffers, most.min(mark));
        socket.pass_mark(count);
        let stopped = count == mark;
        let short = count < asked && socket.received.len() > 0 && !stopped;
        if !core::mem::replace(&mut socket.told_room, true) {
            self.signals.push(Signal::Room(id));
        }
        if stopped {
            self.count("urgent mark");
        }
        if short {
            // A reader may take a short read as the last byte that was there. So the others arrive just now: an edge.
            self.count("short read");
            self.note(id);
        }
        Ok(count)
    }

    fn write(&mut self, id: SocketId, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let buffer = self.buffer;
        let socket = self.socket_mut(id)?;
        match socket.state {
            SocketState::Connected if !socket.shut => {}
            SocketState::Connected | SocketState::Dead => {
                return Err(socket.error.take().unwrap_or(io::ErrorKind::BrokenPipe).into());
            }
            SocketState::Connecting | SocketState::Listening { .. } => return Err(io::ErrorKind::NotConnected.into()),
        }
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        let mut count = socket.room(buffer).min(total);
        if count == 0 && total > 0 {
            socket.blocked = true;
            self.refused(id);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if self.draw(self.calls.write_error) {
            self.count("write error");
            return Err(match self.rng.below(4) {
                0 => io::Error::from_raw_os_error(EIO),
                1 => io::ErrorKind::TimedOut.into(),
                2 => io::ErrorKind::ConnectionReset.into(),
                _ => io::ErrorKind::Interrupted.into(),
            });
        }
        if count > 1 && self.draw(self.calls.short_write) {
            count = 1 + self.rng.below(count as u64 - 1) as usize;
            self.count("short write");
        }
        let socket = self.socket_mut(id)?;
        socket.unsent.push(slices, count);
        socket.blocked |= count < total;
        self.tell_output(id);
        Ok(count)
    }

    fn shutdown(&mut self, id: SocketId) -> io::Result<()> {
        let socket = self.socket_mut(id)?;
        if !matches!(socket.state, SocketState::Connected) {
            return Err(io::ErrorKind::NotConnected.into());
        }
        socket.shut = true;
        self.tell_output(id);
        Ok(())
    }

    fn take_error(&mut self, id: SocketId) -> io::Result<Option<io::Error>> {
        Ok(self.socket_mut(id)?.error.take().map(io::Error::from))
    }

    fn peer_addr(&self, id: SocketId) -> io::Result<SocketAddr> {
        let socket = self.socket(id)?;
        match socket.state {
            SocketState::Connected => Ok(socket.remote),
            _ => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn local_addr(&self, id: SocketId) -> io::Result<SocketAddr> {
        Ok(self.socket(id)?.local)
    }

    fn close(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get(id as usize) else { return };
        debug_assert!(socket.held, "only what the process holds is closed");
        if let Some(token) = socket.token {
            self.close_token(token);
        }
        self.open -= 1;
        self.remove(id);
        self.watch_backlog();
    }

    fn poll(&mut self, events: &mut Vec<Readiness>) -> io::Result<()> {
        self.woken = false;
        if self.draw(self.calls.interrupt) {
            self.count("interrupted wait");
            // What there was is still there.
            self.woken = !self.news.is_empty();
            return Err(io::ErrorKind::Interrupted.into());
        }
        let mut take = self.news.len();
        if take > 1 && self.draw(self.calls.defer) {
            take = self.rng.below(take as u64) as usize;
            self.count("deferred events");
        }
        for _ in 0..take {
            let Some(id) = self.news.pop_front() else { break };
            let Some(socket) = self.sockets.get_mut(id as usize).filter(|socket| socket.noted) else { continue };
            socket.noted = false;
            let Some(token) = socket.token else { continue };
            let event = if self.calls.unarmed > 0 {
                socket.readiness_once(token, self.buffer)
            } else {
                socket.readiness(token, self.buffer)
            };
            if event.readable || event.writable {
                events.push(event);
            }
        }
        if self.draw(self.calls.spurious) {
            let from = self.rng.index(self.sockets.capacity()).unwrap_or(0);
            let registered = |(key, socket): (usize, &Socket)| socket.token.filter(|_| key >= from);
            if let Some(token) = self.sockets.iter().find_map(registered) {
                self.count("spurious event");
                events.push(Readiness { token, readable: true, writable: true, ..Readiness::default() });
            }
        }
        if self.draw(self.calls.stale)
            && let Some(token) = self.rng.index(self.stale.len()).and_then(|at| self.stale.get(at).copied())
        {
            self.count("stale event");
            events.push(Readiness { token, readable: true, writable: true, ended: true, urgent: false });
        }
        if events.len() > 1 && self.draw(self.calls.reorder) {
            self.count("reordered events");
            self.rng.shuffle(events);
        }
        Ok(())
    }

    fn wake(&mut self) {
        self.woken = true;
    }
}
