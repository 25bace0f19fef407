//! From readiness to frames: one connection's share of a turn.

use std::io::{IoSlice, IoSliceMut, Read};

use super::conn::ConnState;
use super::edge::{Received, read_some};
use super::meter::Meter;
use super::net::Net;
use super::{Begun, Driver, Event, FrameStart, Protocol};
use crate::close::CloseReason;
use crate::id::ConnId;
use crate::link::Inbox;
use crate::wire::{Foreign, Frame, FrameError, FrameRules, Payload};

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
    /// Others are read first, for we take only so many bytes a second.
    Throttled,
    /// The bytes can never be a frame.
    Violation(FrameError),
    /// The peer has ended its direction, and so will the connection for this reason.
    PeerFinished(CloseReason, Finish),
    /// The stream failed.
    Failed(CloseReason),
}

/// How the peer has ended its direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finish {
    /// By TLS's close_notify. Bytes may follow, and mean nothing.
    OfFrames,
    /// By the end of the stream.
    OfStream,
}

impl<P: Protocol> Driver<P> {
    /// Reads and delivers until the socket is drained or the connection's budget is used up.
    pub(super) fn read(&mut self, id: ConnId) {
        let net = &mut self.net;
        let Some(conn) = net.conns.get_mut(id).filter(|conn| conn.is_open() && !conn.flags.paused) else { return };
        if !conn.flags.readable && !conn.link.inbox.has_stash() && conn.link.transport.end().is_none() {
            return;
        }
        let is_plain = conn.link.transport.is_plain();
        let held = conn.link.held();
        // Taken out, of the account too, while frames are lent from it: the protocol may do anything to the connection meanwhile.
        let mut inbox = core::mem::take(&mut conn.link.inbox);
        net.receive.release(held);
        let pause = if is_plain { self.read_into(id, &mut inbox) } else { self.read_sealed(id, &mut inbox) };

        let net = &mut self.net;
        let now = net.now.at;
        let stall = net.config.frame_stall;
        match net.conns.get_mut(id) {
            Some(conn) if conn.is_open() => {
                match pause {
                    Pause::OverReceiveBudget => inbox.excuse(now),
                    // How slow it is, is our doing.
                    Pause::Throttled => inbox.restart(now),
                    _ => {}
                }
                conn.link.inbox = inbox;
                let (held, deadline) = (conn.link.held(), conn.link.deadline(stall));
                net.receive.charge(held);
                if let Some(deadline) = deadline {
                    net.arm(id, deadline);
                }
            }
            other => {
                net.receive.charge(other.map_or(0, |conn| conn.link.held()));
                inbox.clear(&mut net.pool);
            }
        }
        match pause {
            Pause::Drained | Pause::Protocol => {}
            Pause::Budget => net.conns.mark_ready(id),
            Pause::OverReceiveBudget => net.receive.wait(id, now, &mut net.timers),
            Pause::Throttled => net.wait_to_read(id),
            Pause::PeerFinished(reason, finish) => self.on_peer_finished(id, reason, finish),
            Pause::Failed(reason) if is_plain => net.remove(id, reason),
            Pause::Failed(reason) => net.end_sealed(id, reason),
            Pause::Violation(error) => {
                if let FrameError::Foreign(foreign) = error {
                    answer_foreign(net, id, foreign);
                }
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
        let share = net.download_share(id);
        if share == 0 {
            return Pause::Throttled;
        }
        bytes_left = bytes_left.min(share);
        loop {
            if bytes_left == 0 {
                return Pause::Budget;
            }
            if !net.receive.admits(id, inbox, &net.config, (net.now.at, &net.conns)) {
                return Pause::OverReceiveBudget;
            }
            let now = net.now.at;
            let Some(conn) = net.conns.get_mut(id) else { return Pause::Protocol };
            let size = buffer.len().min(bytes_left);
            let mut position = conn.counters.bytes_in;
            let room_of_frame = inbox.space().map_or(0, |space| space.len());
            let direct = room_of_frame.min(if share == usize::MAX { usize::MAX } else { bytes_left });
            let is_last = direct == room_of_frame && inbox.space_ends(direct);
            let (received, direct) = match inbox.space() {
                // More of a large frame would only be copied there.
                Some(space) if !is_last => {
                    let space = space.get_mut(..direct).unwrap_or_default();
                    (read_some(conn, &mut net.totals, direct, |stream| stream.read(space)), direct)
                }
                // What a large frame misses goes where it belongs, what follows it into the buffer: one call for both.
                Some(space) => {
                    position += direct as u64;
                    let room = buffer.room(position, size);
                    let received = read_some(conn, &mut net.totals, direct + size, |stream| {
                        stream.read_vectored(&mut [IoSliceMut::new(space), IoSliceMut::new(room)])
                    });
                    (received, direct)
                }
                None => {
                    let room = buffer.room(position, size);
                    (read_some(conn, &mut net.totals, size, |stream| stream.read(room)), 0)
                }
            };
            let (count, drained) = match received {
                Received::Bytes { count, drained } => (count, drained),
                Received::Nothing => return Pause::Drained,
                Received::End => {
                    let reason = reason_of_end(inbox, CloseReason::RemoteClosed);
                    return Pause::PeerFinished(reason, Finish::OfStream);
                }
                Received::Failed(reason) => return Pause::Failed(reason),
            };
            net.downloaded(id, count);
            // What went straight to a large frame may be more than what was left.
            bytes_left = bytes_left.saturating_sub(count);
            if direct > 0 {
                inbox.advance(count.min(direct), now);
            }
            let input = buffer.filled(position, count.saturating_sub(direct));
            if let Some(pause) = deliver(protocol, net, id, inbox, input, &mut frames_left) {
                return pause;
            }
            if net.shares.is_spent() {
                return Pause::Budget;
            }
            if drained {
                return Pause::Drained;
            }
        }
    }

    /// The end of reading does not end writing: what is queued leaves, and what the protocol still queues, until the deadline.
    /// Whether the peer reads on or is gone for good, only writing tells.
    fn on_peer_finished(&mut self, id: ConnId, reason: CloseReason, finish: Finish) {
        let net = &mut self.net;
        let until = net.now.at + net.config.half_close_drain;
        let Some(conn) = net.conns.get_mut(id).filter(|conn| conn.is_open()) else { return };
        conn.half_close(reason, until, finish == Finish::OfStream);
        net.drop_input(id);
        net.arm(id, until);
        net.conns.mark_dirty(id);
        self.protocol.handle(net.now, Event::HalfClosed { conn: id }, net);
    }

    /// Throws away what arrives on a connection that is being closed: one read in each turn, until the peer ends it.
    pub(super) fn discard(&mut self, id: ConnId) {
        let Driver { net, buffer, .. } = self;
        let Some(mut entry) = net.conns.entry(id).filter(|entry| entry.conn.discards()) else { return };
        if !entry.conn.flags.readable {
            return;
        }
        let room = buffer.room(0, net.config.turn_bytes);
        match read_some(entry.conn, &mut net.totals, room.len(), |stream| stream.read(room)) {
            Received::Bytes { drained: true, .. } | Received::Nothing => {}
            Received::Bytes { drained: false, .. } => entry.mark_ready(),
            Received::End => match entry.conn.state {
                ConnState::Lingering { reason, .. } => net.remove(id, reason),
                // It may read on, and has the rest of its time for that.
                _ => entry.conn.flags.finished = true,
            },
            Received::Failed(reason) => net.remove(id, reason),
        }
    }
}

/// Why a connection ends whose peer has ended its direction, by a word that is `orderly`: not so within a frame.
pub(super) fn reason_of_end(inbox: &Inbox, orderly: CloseReason) -> CloseReason {
    if inbox.is_at_boundary() { orderly } else { CloseReason::TruncatedFrame }
}

/// Says no in the language of whoever took us for something else, where nothing of ours was written before: one attempt, for a
/// new socket takes these few bytes, and whoever makes it refuse them learns no more.
fn answer_foreign(net: &mut Net, id: ConnId, foreign: Foreign) {
    let Some(conn) = net.conns.get_mut(id).filter(|conn| conn.counters.bytes_out == 0) else { return };
    let answer = foreign.answer();
    if answer.is_empty() || !conn.link.transport.is_plain() || !conn.link.outbox.is_empty() {
        return;
    }
    net.totals.writes += 1;
    if let Ok(count) = conn.stream.write_vectored(&[IoSlice::new(answer)]) {
        conn.counters.bytes_out += count as u64;
        net.totals.bytes_out += count as u64;
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
    if let Some(conn) = net.conns.get_mut(id) {
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
    let mut rules: &'static FrameRules = net.conns.get(id)?.rules;
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
            let next = inbox.next(&mut input, rules, now.at, &mut net.pool);
            #[cfg(feature = "lz4")]
            let next = next.and_then(|frame| frame.map(|frame| net.expand(frame, rules)).transpose());
            let frame = match next {
                Ok(Some(frame)) => frame,
                Ok(None) => {
                    while let Some((kind, len, head)) = inbox.take_start() {
                        let start = FrameStart { conn: id, kind, len, head };
                        if protocol.begun(now, start, &mut Meter::of(net)) == Begun::Skip {
                            inbox.skip(&mut net.pool);
                            net.totals.frames_skipped += 1;
                        }
                    }
                    return None;
                }
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
            match net.conns.get(id) {
                Some(conn) if conn.is_open() && !conn.flags.paused && net.shares.is_spent() => {
                    inbox.stash(&mut input, &mut net.pool);
                    return Some(Pause::Budget);
                }
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
    /// Forgets what came and is not delivered.
    pub(super) fn drop_input(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        let mut inbox = core::mem::take(&mut conn.link.inbox);
        self.receive.release(inbox.held());
        inbox.clear(&mut self.pool);
    }

    /// How many frames and bytes a connection may deliver in its turn, before limits of bandwidth.
    pub(super) fn turn_budget(&mut self) -> (usize, usize) {
        let frames = if buggify!(self, OneFrame) { 1 } else { self.config.turn_frames };
        let bytes = if buggify!(self, ReadOneByte) { 1 } else { self.config.turn_bytes };
        (frames, bytes)
    }
}
