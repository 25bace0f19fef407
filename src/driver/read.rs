//! From readiness to frames: one connection's share of a turn.

use std::io::{self, IoSliceMut, Read};

use super::conn::Life;
use super::net::{Net, is_over};
use super::timer::Due;
use super::{Driver, Event, Protocol};
use crate::close::CloseReason;
use crate::id::ConnId;
use crate::limits::RECEIVE_RETRY;
use crate::link::Inbox;
use crate::wire::{Frame, FrameError, FrameRules, Payload};

/// Why reading a connection stopped.
pub(super) enum Pause {
    /// The socket has no more.
    Drained,
    /// The budget is used up.
    Budget,
    /// The protocol asked for it, or closed the connection.
    Protocol,
    /// The loop holds too much already.
    OverReceiveBudget,
    /// The bytes can never be a frame.
    Violation(FrameError),
    /// The stream ended or failed.
    Ended(CloseReason),
}

impl<P: Protocol> Driver<P> {
    /// Reads and delivers until the socket is drained or the connection's budget is used up.
    pub(super) fn read(&mut self, id: ConnId) {
        let net = &mut self.net;
        let Some(conn) = net.conn_mut(id).filter(|conn| conn.is_open() && !conn.flags.paused) else { return };
        if !conn.flags.readable && !conn.link.inbox.has_stash() && conn.link.transport.end().is_none() {
            return;
        }
        let is_plain = conn.link.transport.is_plain();
        let held = conn.link.held();
        // Taken out while frames are lent from it, so that the protocol may do anything to the connection meanwhile.
        let mut inbox = core::mem::take(&mut conn.link.inbox);
        net.held = net.held.saturating_sub(held);
        let pause = if is_plain { self.read_into(id, &mut inbox) } else { self.read_sealed(id, &mut inbox) };

        let net = &mut self.net;
        let now = net.now.at;
        let stall = net.config.frame_stall;
        match net.conn_mut(id) {
            Some(conn) if conn.is_open() => {
                if matches!(pause, Pause::OverReceiveBudget) {
                    inbox.excuse(now);
                }
                conn.link.inbox = inbox;
                let (held, deadline) = (conn.link.held(), conn.link.deadline(stall));
                net.held += held;
                if let Some(deadline) = deadline {
                    net.arm(id, deadline);
                }
            }
            other => {
                let held = other.map_or(0, |conn| conn.link.held());
                net.held += held;
                inbox.clear(&mut net.pool);
            }
        }
        match pause {
            Pause::Drained | Pause::Protocol => {}
            Pause::Budget => net.make_ready(id),
            Pause::OverReceiveBudget => net.starve(id),
            Pause::Ended(reason) if is_plain => net.remove(id, reason),
            Pause::Ended(reason) => net.end_sealed(id, reason),
            Pause::Violation(error) => {
                self.protocol.handle(net.now, Event::BadFrame { conn: id, error }, net);
                net.close(id, CloseReason::Frame(error), core::time::Duration::ZERO);
            }
        }
    }

    fn read_into(&mut self, id: ConnId, inbox: &mut Inbox) -> Pause {
        let Driver { protocol, net, buffer, .. } = self;
        let (mut frames_left, mut bytes_left) = net.turn_budget();
        if inbox.has_stash()
            && let Some(pause) = deliver(protocol, net, id, inbox, &[], &mut frames_left)
        {
            return pause;
        }
        loop {
            if bytes_left == 0 {
                return Pause::Budget;
            }
            if inbox.is_large() {
                let (own, budget) = (inbox.held(), net.config.receive_budget);
                if is_over(net.held + own, budget, own, net.config.connections) && !net.may_exceed_receive_budget(id) {
                    return Pause::OverReceiveBudget;
                }
            }
            let now = net.now.at;
            let Some(conn) = net.conn_mut(id) else { return Pause::Protocol };
            let size = buffer.len().min(bytes_left);
            let mut position = conn.counters.bytes_in;
            let (outcome, direct) = match inbox.space() {
                // What a large frame misses goes where it belongs, what follows it into the buffer: one call for both.
                Some(space) => {
                    let direct = space.len();
                    position += direct as u64;
                    let room = buffer.room(position, size);
                    (conn.stream.read_vectored(&mut [IoSliceMut::new(space), IoSliceMut::new(room)]), direct)
                }
                None => (conn.stream.read(buffer.room(position, size)), 0),
            };
            let count = match outcome {
                Ok(0) if inbox.is_at_boundary() => return Pause::Ended(CloseReason::RemoteClosed),
                Ok(0) => return Pause::Ended(CloseReason::TruncatedFrame),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    conn.flags.readable = false;
                    return Pause::Drained;
                }
                Err(error) => return Pause::Ended(CloseReason::Io(error.kind())),
            };
            conn.counters.bytes_in += count as u64;
            // A short read has emptied the socket, and what comes later is a new edge. After the peer's end there is no
            // later edge, so then the socket is read until it says so itself.
            let drained = count < direct + size && !conn.flags.ended;
            if drained {
                conn.flags.readable = false;
            }
            net.totals.bytes_in += count as u64;
            bytes_left = bytes_left.saturating_sub(count);
            if direct > 0 {
                inbox.advance(count.min(direct), now);
            }
            let input = buffer.filled(position, count.saturating_sub(direct));
            if let Some(pause) = deliver(protocol, net, id, inbox, input, &mut frames_left) {
                return pause;
            }
            if drained {
                return Pause::Drained;
            }
        }
    }

    /// Throws away what arrives on a connection that lingers, until the peer ends it.
    pub(super) fn discard(&mut self, id: ConnId) {
        let Driver { net, buffer, .. } = self;
        let Some(conn) = net.conn_mut(id) else { return };
        let Life::Lingering { reason, .. } = conn.life else { return };
        if !conn.flags.readable {
            return;
        }
        match conn.stream.read(buffer.room(0, usize::MAX)) {
            Ok(0) => net.remove(id, reason),
            Ok(_) => net.make_ready(id),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => net.make_ready(id),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => conn.flags.readable = false,
            Err(_) => net.remove(id, reason),
        }
    }
}

/// Gives every whole frame to the protocol, within the budget. `None` when more bytes are needed.
pub(super) fn deliver<P: Protocol>(
    protocol: &mut P,
    net: &mut Net,
    id: ConnId,
    inbox: &mut Inbox,
    input: &[u8],
    frames_left: &mut usize,
) -> Option<Pause> {
    let before = *frames_left;
    let pause = deliver_each(protocol, net, id, inbox, input, frames_left);
    let delivered = (before - *frames_left) as u64;
    net.totals.frames_in += delivered;
    if let Some(conn) = net.conn_mut(id) {
        conn.counters.frames_in += delivered;
    }
    pause
}

fn deliver_each<P: Protocol>(
    protocol: &mut P,
    net: &mut Net,
    id: ConnId,
    inbox: &mut Inbox,
    mut input: &[u8],
    frames_left: &mut usize,
) -> Option<Pause> {
    let now = net.now;
    let mut rules: &'static FrameRules = net.conn(id)?.rules;
    net.touched = false;
    loop {
        if *frames_left == 0 {
            inbox.stash(&mut input, &mut net.pool);
            return Some(Pause::Budget);
        }
        // The way of nearly all frames. A copy of the input that nothing else borrows stays in registers meanwhile.
        let (mut rest, mut left) = (input, *frames_left);
        while left > 0
            && !net.touched
            && let Some((kind, payload)) = inbox.next_complete(&mut rest, rules)
        {
            left -= 1;
            let frame = Frame { kind, payload: Payload::Lent(payload) };
            protocol.handle(now, Event::Frame { conn: id, frame }, net);
        }
        (input, *frames_left) = (rest, left);
        if *frames_left > 0 && !net.touched {
            let frame = match inbox.next(&mut input, rules, now.at, &mut net.pool) {
                Ok(Some(frame)) => frame,
                Ok(None) => return None,
                Err(error) => return Some(Pause::Violation(error)),
            };
            *frames_left -= 1;
            // A second hold on a buffer of its own, to have it back if the protocol does not keep it.
            let spare = match &frame.payload {
                Payload::Given(bytes) => Some(bytes.clone()),
                Payload::Lent(_) => None,
            };
            protocol.handle(now, Event::Frame { conn: id, frame }, net);
            if let Some(spare) = spare {
                net.pool.recycle(spare);
            }
        }
        if net.touched {
            net.touched = false;
            match net.conn(id) {
                Some(conn) if conn.is_open() && !conn.flags.paused => rules = conn.rules,
                Some(conn) if conn.is_open() => {
                    inbox.stash(&mut input, &mut net.pool);
                    return Some(Pause::Protocol);
                }
                _ => return Some(Pause::Protocol),
            }
        }
    }
}

impl Net {
    /// How many frames and bytes a connection may deliver in its turn.
    pub(super) fn turn_budget(&mut self) -> (usize, usize) {
        let frames = if buggify!(self, OneFrame) { 1 } else { self.config.turn_frames };
        let bytes = if buggify!(self, ReadOneByte) { 1 } else { self.config.turn_bytes };
        (frames, bytes)
    }

    /// True for the one connection that may finish its large frame above the receive budget. Without it, frames that
    /// together fill the budget would wait for each other until all of them time out.
    pub(super) fn may_exceed_receive_budget(&mut self, id: ConnId) -> bool {
        let other = self.receive_exempt.filter(|other| *other != id);
        let stands = |other: ConnId| {
            self.conn(other).is_some_and(|conn| conn.is_open() && !conn.flags.paused && conn.link.inbox.is_large())
        };
        if other.is_some_and(stands) {
            return false;
        }
        self.receive_exempt = Some(id);
        true
    }

    /// Lets a connection wait until memory may have become free.
    fn starve(&mut self, id: ConnId) {
        if self.receive_waiters.is_empty() {
            self.timers.arm(self.now.at + RECEIVE_RETRY, Due::Receive);
        }
        if !self.receive_waiters.contains(&id) {
            self.receive_waiters.push(id);
        }
    }

    /// Lets the connections that wait for memory try again.
    pub(super) fn wake_receive_waiters(&mut self) {
        for id in core::mem::take(&mut self.receive_waiters) {
            self.make_ready(id);
        }
    }
}
