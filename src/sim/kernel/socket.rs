//! One socket of a virtual machine.

use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;

use crate::driver::{Readiness, SocketId};
use crate::sim::pipe::{PipeId, Side};

/// Bytes in a row, taken from the front.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    head: usize,
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.bytes.len() - self.head
    }

    /// Bytes that came as they are: the first of them cost no copy.
    pub(super) fn append(&mut self, bytes: Vec<u8>) {
        if self.len() == 0 {
            (self.bytes, self.head) = (bytes, 0);
        } else {
            self.bytes.extend_from_slice(&bytes);
        }
    }

    /// The first `most` bytes of the slices.
    pub(super) fn push(&mut self, slices: &[IoSlice<'_>], most: usize) {
        let mut left = most;
        for slice in slices {
            let part = &slice[..slice.len().min(left)];
            self.bytes.extend_from_slice(part);
            left -= part.len();
        }
    }

    /// Fills the buffers with at most so many bytes; answers how many.
    pub(super) fn read(&mut self, buffers: &mut [IoSliceMut<'_>], most: usize) -> usize {
        let mut done = 0;
        for buffer in buffers {
            let count = buffer.len().min(most - done).min(self.len());
            buffer[..count].copy_from_slice(&self.bytes[self.head..self.head + count]);
            self.head += count;
            done += count;
        }
        if self.len() == 0 {
            (self.bytes, self.head) = (Vec::new(), 0);
        }
        done
    }

    /// Takes the first `most` bytes out.
    pub(super) fn take(&mut self, most: usize) -> Vec<u8> {
        let mut all = core::mem::take(&mut self.bytes);
        if self.head > 0 {
            all.drain(..core::mem::take(&mut self.head));
        }
        if all.len() > most {
            self.bytes = all.split_off(most);
        }
        all
    }
}

/// A socket's life.
#[derive(Debug)]
pub(super) enum SocketState {
    Listening {
        waiting: VecDeque<SocketId>,
        most: usize,
    },
    Connecting,
    Connected,
    /// Reset or refused: nothing passes any more.
    Dead,
}

#[derive(Debug)]
pub(super) struct Socket {
    /// No two sockets of a machine have the same, while descriptors are used again.
    pub(super) serial: u64,
    pub(super) state: SocketState,
    pub(super) token: Option<usize>,
    /// Among those with news.
    pub(super) noted: bool,
    /// The process has a descriptor of it; not so while it waits to be accepted.
    pub(super) held: bool,
    pub(super) pipe: Option<(PipeId, Side)>,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) error: Option<io::ErrorKind>,
    pub(super) received: Buffer,
    /// How many unread bytes lie before the urgent mark. There is one at most: the next replaces it.
    pub(super) mark: Option<usize>,
    /// Of reading and of writing: has no event been told since a call was last refused? Only a selector that is unarmed by an event
    /// asks.
    pub(super) armed: (bool, bool),
    /// The peer's stream has ended behind `received`.
    pub(super) eof: bool,
    pub(super) unsent: Buffer,
    /// Our stream ends behind `unsent`.
    pub(super) shut: bool,
    /// A write met a full buffer: when there is room again, that is news.
    pub(super) blocked: bool,
    /// The network knows already that there is something to send, or that room was made.
    pub(super) told_output: bool,
    pub(super) told_room: bool,
}

impl Socket {
    pub(super) fn new(serial: u64, state: SocketState, local: SocketAddr, remote: SocketAddr) -> Self {
        Socket {
            serial,
            state,
            token: None,
            noted: false,
            held: false,
            pipe: None,
            local,
            remote,
            error: None,
            received: Buffer::default(),
            mark: None,
            armed: (true, true),
            eof: false,
            unsent: Buffer::default(),
            shut: false,
            blocked: false,
            told_output: false,
            told_room: false,
        }
    }

    pub(super) fn room(&self, buffer: usize) -> usize {
        buffer.saturating_sub(self.unsent.len())
    }

    /// What epoll would say of it: its whole state, whatever the news was.
    pub(super) fn readiness(&self, token: usize, buffer: usize) -> Readiness {
        match &self.state {
            SocketState::Listening { waiting, .. } => {
                Readiness { token, readable: !waiting.is_empty(), ..Readiness::default() }
            }
            SocketState::Connecting => Readiness { token, ..Readiness::default() },
            SocketState::Dead => {
                Readiness { token, readable: true, writable: true, ended: true, urgent: self.mark.is_some() }
            }
            SocketState::Connected => Readiness {
                token,
                readable: self.received.len() > 0 || self.eof,
                // As Linux: not for the first few bytes.
                writable: self.room(buffer) >= buffer / 3,
                ended: self.eof,
                urgent: self.mark.is_some(),
            },
        }
    }

    /// What poll(2) says of it through mio: only what it is armed for, and an event disarms. A failure is told in any case.
    pub(super) fn readiness_once(&mut self, token: usize, buffer: usize) -> Readiness {
        let told = self.readiness(token, buffer);
        if matches!(self.state, SocketState::Dead) {
            return told;
        }
        let (reads, writes) = self.armed;
        self.armed = (reads && !told.readable, writes && !told.writable);
        let readable = told.readable && reads;
        Readiness { readable, writable: told.writable && writes, ended: told.ended && readable, ..told }
    }

    /// So many bytes were read: the mark is nearer, or behind us.
    pub(super) fn pass_mark(&mut self, read: usize) {
        self.mark = self.mark.and_then(|mark| mark.checked_sub(read));
    }
}
