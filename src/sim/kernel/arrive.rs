//! What a machine hears from the network.

use std::io;
use std::net::SocketAddr;

use super::socket::{Socket, SocketState};
use super::{Calls, Machine, SocketId};
use crate::sim::pipe::{PipeId, Side};

/// What a kernel answers a stranger that dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) enum Knock {
    /// The connection stands, whether or not the process ever looks.
    Accepted(SocketId),
    /// Nobody listens.
    Refused,
    /// Nothing: the backlog is full, or there is no power.
    Ignored,
}

impl Machine {
    /// Somebody dials this port.
    pub(in crate::sim) fn knock(&mut self, remote: SocketAddr, port: u16, pipe: PipeId) -> Knock {
        if self.off {
            return Knock::Ignored;
        }
        let listens =
            |socket: &Socket| matches!(socket.state, SocketState::Listening { .. }) && socket.local.port() == port;
        let Some(listener) = self.sockets.iter().find(|(_, socket)| listens(socket)).map(|(key, _)| key) else {
            return Knock::Refused;
        };
        let local = self.sockets[listener].local;
        if let SocketState::Listening { waiting, most } = &self.sockets[listener].state
            && waiting.len() >= *most
        {
            self.count("full backlog");
            return Knock::Ignored;
        }
        let id = self.add(SocketState::Connected, local, remote);
        self.sockets[id as usize].pipe = Some((pipe, 1));
        if let SocketState::Listening { waiting, .. } = &mut self.sockets[listener].state {
            waiting.push_back(id);
        }
        self.waiting += 1;
        self.watch_backlog();
        self.note(listener as SocketId);
        Knock::Accepted(id)
    }

    /// A dial has a name on the network. False when it was given up in the same moment.
    pub(in crate::sim) fn name(&mut self, id: SocketId, serial: u64, pipe: PipeId) -> bool {
        let Some(socket) = self.sockets.get_mut(id as usize).filter(|socket| socket.serial == serial) else {
            return false;
        };
        socket.pipe = Some((pipe, 0));
        true
    }

    /// A dial has succeeded.
    pub(in crate::sim) fn connected(&mut self, id: SocketId) {
        if let Some(socket) = self.sockets.get_mut(id as usize) {
            socket.state = SocketState::Connected;
            self.note(id);
        }
    }

    /// A dial, or a connection, has failed. What arrived before can still be read.
    pub(in crate::sim) fn fail(&mut self, id: SocketId, kind: io::ErrorKind) {
        if let Some(socket) = self.sockets.get_mut(id as usize) {
            socket.state = SocketState::Dead;
            socket.error = Some(kind);
            socket.unsent.take(usize::MAX);
            self.note(id);
        }
    }

    /// Bytes, and perhaps the end of the stream behind them.
    pub(in crate::sim) fn deliver(&mut self, id: SocketId, bytes: Vec<u8>, fin: bool) {
        let has_mark = !bytes.is_empty() && self.draw(self.calls.urgent);
        let at = if has_mark { self.rng.index(bytes.len()) } else { None };
        if let Some(socket) = self.sockets.get_mut(id as usize) {
            if let Some(at) = at {
                socket.mark = Some(socket.received.len() + at);
            }
            socket.received.append(bytes);
            socket.eof |= fin;
            self.note(id);
        }
    }

    /// Bytes that wait to be read.
    pub(in crate::sim) fn unread(&self, id: SocketId) -> usize {
        self.sockets.get(id as usize).map_or(0, |socket| socket.received.len())
    }

    /// The process may be told of room again.
    pub(in crate::sim) fn heard_room(&mut self, id: SocketId) -> Option<(PipeId, Side)> {
        let socket = self.sockets.get_mut(id as usize)?;
        socket.told_room = false;
        socket.pipe
    }

    /// The network has a look at what is to be sent.
    pub(in crate::sim) fn heard_output(&mut self, id: SocketId) -> Option<(PipeId, Side)> {
        let socket = self.sockets.get_mut(id as usize)?;
        socket.told_output = false;
        socket.pipe
    }

    /// Takes up to so many bytes to send; with them the end of the stream, when it is behind them, and whether there is
    /// more.
    pub(in crate::sim) fn send(&mut self, id: SocketId, most: usize) -> (Vec<u8>, bool, bool) {
        let buffer = self.buffer;
        let Some(socket) = self.sockets.get_mut(id as usize) else { return (Vec::new(), false, false) };
        let bytes = if most == 0 { Vec::new() } else { socket.unsent.take(most) };
        let more = socket.unsent.len() > 0;
        let fin = socket.shut && !more;
        let room = socket.room(buffer);
        if socket.blocked && room > 0 && room >= buffer / 3 {
            socket.blocked = false;
            self.note(id);
        }
        (bytes, fin, more)
    }

    /// The power goes: every socket is forgotten, without a word. Answers whose ends they were.
    pub(in crate::sim) fn cut_power(&mut self) -> Vec<(PipeId, Side)> {
        self.off = true;
        let pipes = self.sockets.iter().filter_map(|(_, socket)| socket.pipe).collect();
        self.sockets.clear();
        self.news.clear();
        self.signals.clear();
        (self.open, self.waiting, self.could_accept) = (0, 0, None);
        pipes
    }

    /// From now on its calls do what they should, its buffers are large, and there are descriptors for all.
    pub(in crate::sim) fn heal(&mut self, buffer: usize) {
        self.calls = Calls::QUIET;
        self.buffer = buffer;
        self.watch_backlog();
        let blocked: Vec<usize> =
            self.sockets.iter().filter(|(_, socket)| socket.blocked).map(|(key, _)| key).collect();
        for key in blocked {
            self.sockets[key].blocked = false;
            self.note(key as SocketId);
        }
    }
}
