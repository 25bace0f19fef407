//! The loop's face towards a protocol: connections by name, calls that queue and never block.

use core::fmt;
use core::time::Duration;
use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use slab::Slab;

use super::config::Config;
use super::conn::{Conn, PendingConn};
use super::handshakes::Handshakes;
use super::stats::{ConnStats, Totals};
use super::system::System;
use super::timer::{Due, Timers};
use crate::close::CloseReason;
use crate::id::{ConnId, DialId, Direction};
use crate::limits::SEND_RETRY;
use crate::link::{BufferPool, Full};
use crate::time::{Instant, Now};
use crate::wire::{FrameRules, Priority};

/// Is a budget used up for a connection that holds, or would hold, `own` bytes of the `total`? The first half is for
/// whoever comes; the second is divided into equal shares, so that a few who fill the first leave everyone else theirs.
pub(super) const fn is_over(total: usize, budget: usize, own: usize, connections: usize) -> bool {
    let half = budget / 2;
    let share = match half.checked_div(connections) {
        Some(share) => share,
        None => half,
    };
    total >= half && own > share
}

/// What `Net::send` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum SendOutcome {
    /// Queued. `dropped` frames of lower priority had to go for it.
    Accepted {
        /// Frames dropped for this one.
        dropped: u32,
    },
    /// Not queued: the queue or the loop's send budget is full, or no frame carries a payload of that length.
    Full,
    /// Not queued: no such connection, or it is closing.
    Closed,
}

/// What the loop will tell the protocol when no event is being handled.
#[derive(Debug)]
pub(super) enum Notice {
    DialFailed {
        dial: DialId,
        remote: SocketAddr,
        reason: CloseReason,
    },
    Writable(ConnId),
    Closed(ConnId, CloseReason),
    /// An admitted address that became no connection.
    Released(SocketAddr, CloseReason),
}

/// The loop's face towards a protocol.
///
/// Calls with a [`ConnId`] whose connection is gone do nothing, or say so.
pub struct Net {
    pub(super) system: System,
    pub(super) config: Config,
    pub(super) now: Now,
    pub(super) conns: Slab<Conn>,
    /// The next generation of each slot.
    generations: Vec<u32>,
    /// Connections to serve, each at most once.
    pub(super) ready: VecDeque<ConnId>,
    /// Connections to flush at the end of the turn, each at most once.
    pub(super) dirty: Vec<ConnId>,
    /// Connections that met the receive budget.
    pub(super) receive_waiters: Vec<ConnId>,
    /// The one connection that may exceed the receive budget until its large frame is complete.
    pub(super) receive_exempt: Option<ConnId>,
    /// Connections that met the send budget with a queue too short to tell them when there is room, each at most once.
    send_waiters: VecDeque<ConnId>,
    pub(super) notices: VecDeque<Notice>,
    pub(super) timers: Timers,
    pub(super) pool: BufferPool,
    pub(super) totals: Totals,
    /// Bytes that all inboxes hold.
    pub(super) held: usize,
    /// Connections of which the protocol knows.
    opened: usize,
    /// Inbound connections whose TLS handshake is under way, and the budgets of such.
    pub(super) handshakes: Handshakes,
    /// Those that would begin if there were a budget for them, oldest first: by when their time is up.
    pub(super) handshake_waiters: BTreeSet<(Instant, ConnId)>,
    /// Who gave way or waited last.
    pub(super) pressing: Option<SocketAddr>,
    /// Something changed that the delivery of frames must look at before the next one.
    pub(super) touched: bool,
    pub(super) stop_asked: bool,
    pub(super) stopping: bool,
    /// A simulation has the loop misbehave now and then.
    #[cfg(feature = "sim")]
    pub(super) buggify: Option<crate::buggify::Buggify>,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").field("connections", &self.opened).field("totals", &self.totals).finish_non_exhaustive()
    }
}

impl Net {
    pub(super) fn new(config: Config, system: System, now: Now) -> Self {
        Net {
            system,
            config,
            now,
            conns: Slab::new(),
            generations: Vec::new(),
            ready: VecDeque::new(),
            dirty: Vec::new(),
            receive_waiters: Vec::new(),
            receive_exempt: None,
            send_waiters: VecDeque::new(),
            notices: VecDeque::new(),
            timers: Timers::default(),
            pool: BufferPool::new(),
            totals: Totals::default(),
            held: 0,
            opened: 0,
            handshakes: Handshakes::default(),
            handshake_waiters: BTreeSet::new(),
            pressing: None,
            touched: false,
            stop_asked: false,
            stopping: false,
            #[cfg(feature = "sim")]
            buggify: None,
        }
    }

    /// Queues a frame; the payload is copied.
    #[inline]
    pub fn send(&mut self, conn: ConnId, priority: Priority, kind: u8, payload: &[u8]) -> SendOutcome {
        self.push(conn, priority, payload.len(), |link, config, pool| {
            link.outbox.push(priority, kind, payload, &config.outbox, pool)
        })
    }

    /// Queues a frame whose payload is shared when large, copied when small.
    #[inline]
    pub fn send_shared(&mut self, conn: ConnId, priority: Priority, kind: u8, payload: &Bytes) -> SendOutcome {
        self.push(conn, priority, payload.len(), |link, config, pool| {
            link.outbox.push_shared(priority, kind, payload, &config.outbox, pool)
        })
    }

    #[inline]
    fn push(
        &mut self,
        id: ConnId,
        priority: Priority,
        len: usize,
        push: impl FnOnce(&mut crate::link::Link, &Config, &mut BufferPool) -> Result<u32, Full>,
    ) -> SendOutcome {
        let Some(conn) = self.conns.get_mut(id.index() as usize) else { return SendOutcome::Closed };
        if conn.generation != id.generation() || !conn.is_open() {
            return SendOutcome::Closed;
        }
        let was_empty = conn.link.outbox.is_empty();
        let would_hold = conn.link.outbox.queued_bytes().saturating_add(len);
        let over = priority != Priority::Critical
            && (is_over(self.pool.queued_bytes(), self.config.send_budget, would_hold, self.config.connections)
                || buggify!(self, SendRefused));
        let pushed = if over { Err(Full) } else { push(&mut conn.link, &self.config, &mut self.pool) };
        let Ok(dropped) = pushed else {
            if !over || conn.link.outbox.queued_bytes() > self.config.outbox.low {
                conn.flags.high = true;
            } else if !self.send_waiters.contains(&id) {
                // Nothing of its own will drain that could bring the word that there is room again.
                if self.send_waiters.is_empty() {
                    self.timers.arm(self.now.at + SEND_RETRY, Due::Send);
                }
                self.send_waiters.push_back(id);
            }
            let Some(conn) = self.conns.get_mut(id.index() as usize) else { return SendOutcome::Closed };
            conn.counters.refused = conn.counters.refused.saturating_add(1);
            self.totals.refused_frames += 1;
            return SendOutcome::Full;
        };
        if dropped > 0 {
            conn.counters.dropped = conn.counters.dropped.saturating_add(dropped);
            self.totals.dropped_frames += u64::from(dropped);
        }
        if was_empty {
            conn.progressed = self.now.at;
        }
        if !conn.flags.high && conn.link.outbox.queued_bytes() >= self.config.outbox.high {
            conn.flags.high = true;
        }
        if !conn.flags.dirty {
            conn.flags.dirty = true;
            self.dirty.push(id);
        }
        SendOutcome::Accepted { dropped }
    }

    /// Stops reading, flushes what is queued within `drain`, then closes; `Closed{reason}` follows once.
    ///
    /// With a `drain` of zero the queue gets one attempt at the end of the turn. Otherwise the socket is kept for up to
    /// 250 ms more, so that bytes still arriving do not destroy what was sent last. The first reason given is the one
    /// that counts.
    pub fn close(&mut self, conn: ConnId, reason: CloseReason, drain: Duration) {
        let now = self.now.at;
        self.touched = true;
        let Some(open) = self.open_mut(conn) else { return };
        open.start_draining(reason, now, drain);
        let held = open.link.inbox.held();
        let mut inbox = core::mem::take(&mut open.link.inbox);
        if !open.flags.dirty {
            open.flags.dirty = true;
            self.dirty.push(conn);
        }
        inbox.clear(&mut self.pool);
        self.held = self.held.saturating_sub(held);
        if !drain.is_zero() {
            self.arm(conn, now + drain);
        }
    }

    /// Changes which frames the connection accepts, from the next frame on, also of those received already.
    pub fn set_rules(&mut self, conn: ConnId, rules: &'static FrameRules) {
        self.touched = true;
        if let Some(conn) = self.open_mut(conn) {
            conn.rules = rules;
        }
    }

    /// Delivers no further frame of the connection, and reads nothing from it, until [`Net::resume`].
    pub fn pause(&mut self, conn: ConnId) {
        self.touched = true;
        if let Some(conn) = self.open_mut(conn) {
            conn.flags.paused = true;
        }
    }

    /// Delivers frames again. The time of the pause does not count against an unfinished frame.
    pub fn resume(&mut self, id: ConnId) {
        let now = self.now.at;
        if let Some(conn) = self.open_mut(id)
            && conn.flags.paused
        {
            conn.flags.paused = false;
            conn.link.inbox.restart(now);
            self.make_ready(id);
        }
    }

    /// Connections opened and not yet closed, those that drain included.
    pub fn connections(&self) -> usize {
        self.opened
    }

    /// Asks the loop to stop gracefully.
    pub fn stop(&mut self) {
        self.stop_asked = true;
    }

    /// Bytes that wait to be written to a connection; 0 when it is gone.
    #[inline]
    pub fn queued_bytes(&self, conn: ConnId) -> usize {
        self.conn(conn).map_or(0, |conn| conn.link.queued_bytes())
    }

    /// Memory that all connections hold for received and unfinished frames, and for queued ones, in bytes.
    pub fn memory(&self) -> (usize, usize) {
        (self.held, self.pool.queued_bytes())
    }

    /// Memory that the loop keeps warm for its connections, in bytes; bounded, whatever their number.
    pub fn pooled_bytes(&self) -> usize {
        self.pool.kept_bytes()
    }

    /// One connection's counters.
    pub fn conn_stats(&self, conn: ConnId) -> Option<ConnStats> {
        let conn = self.conn(conn).filter(|conn| conn.pending.is_none())?;
        Some(ConnStats {
            bytes_in: conn.counters.bytes_in,
            bytes_out: conn.counters.bytes_out,
            frames_in: conn.counters.frames_in,
            frames_out: conn.counters.frames_out,
            queued_bytes: conn.link.queued_bytes(),
            queued_frames: conn.link.outbox.queued_frames(),
            dropped_frames: conn.counters.dropped.into(),
            refused_frames: conn.counters.refused.into(),
            held_bytes: conn.link.held(),
        })
    }

    /// The loop's counters.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Whose TLS handshake gave way to a newcomer or had to wait last: among those who come too often, if there are any.
    pub fn pressing(&self) -> Option<SocketAddr> {
        self.pressing
    }

    /// The loop's settings.
    #[inline]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the clocks said last.
    pub fn now(&self) -> Now {
        self.now
    }

    #[inline]
    pub(super) fn conn(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(id.index() as usize).filter(|conn| conn.generation == id.generation())
    }

    #[inline]
    pub(super) fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.index() as usize).filter(|conn| conn.generation == id.generation())
    }

    fn open_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conn_mut(id).filter(|conn| conn.is_open())
    }

    /// True when no further connection fits.
    pub(super) fn is_full(&self) -> bool {
        self.conns.len() >= self.config.connections
    }

    /// Gives the connection a slot and its readiness a token.
    pub(super) fn insert(&mut self, mut conn: Conn) -> io::Result<ConnId> {
        let entry = self.conns.vacant_entry();
        let index = u32::try_from(entry.key()).map_err(io::Error::other)?;
        self.system.register(&mut conn.stream, entry.key())?;
        if self.generations.len() <= entry.key() {
            self.generations.resize(entry.key() + 1, 0);
        }
        conn.generation = self.generations.get(entry.key()).copied().unwrap_or_default();
        let id = ConnId::new(index, conn.generation);
        if conn.pending.is_none() {
            self.opened += 1;
        }
        entry.insert(conn);
        Ok(id)
    }

    /// The protocol is about to know the connection.
    pub(super) fn count_opened(&mut self) {
        self.opened += 1;
    }

    /// Takes a connection out of the loop, with its memory, and tells the protocol later. An earlier reason stands.
    pub(super) fn remove(&mut self, id: ConnId, reason: CloseReason) {
        if let Some(notice) = self.take_out(id, reason) {
            self.notices.push_back(notice);
        }
    }

    /// The same, for a caller who tells the protocol.
    pub(super) fn take_out(&mut self, id: ConnId, reason: CloseReason) -> Option<Notice> {
        let reason = self.conn(id)?.reason_of(reason);
        self.leave_securing(id);
        let mut conn = self.conns.remove(id.index() as usize);
        if let Some(generation) = self.generations.get_mut(id.index() as usize) {
            *generation = generation.wrapping_add(1);
        }
        // Closing the descriptor would do as much, but not before everyone who shares it has.
        let _ = self.system.deregister(&mut conn.stream);
        self.held = self.held.saturating_sub(conn.link.held());
        conn.link.clear(&mut self.pool);
        Some(match conn.pending.map(|pending| *pending) {
            None => {
                self.opened -= 1;
                *self.totals.closes.entry(reason.label()).or_insert(0) += 1;
                Notice::Closed(id, reason)
            }
            Some(PendingConn { direction: Direction::Outbound(dial), remote, .. }) => {
                self.totals.dial_failures += 1;
                Notice::DialFailed { dial, remote, reason }
            }
            Some(PendingConn { direction: Direction::Inbound, remote, .. }) => {
                *self.totals.tls_failures.entry(reason.label()).or_insert(0) += 1;
                Notice::Released(remote, reason)
            }
        })
    }

    pub(super) fn fail_dial(&mut self, dial: DialId, remote: SocketAddr, reason: CloseReason) {
        self.totals.dial_failures += 1;
        self.notices.push_back(Notice::DialFailed { dial, remote, reason });
    }

    /// Tells the connection that waits longest for the send budget that there is room; one at a time, since what it then
    /// queues may use the room up.
    pub(super) fn wake_send_waiters(&mut self) {
        if self.pool.queued_bytes() < self.config.send_budget / 2
            && let Some(id) = self.send_waiters.pop_front()
        {
            self.notices.push_back(Notice::Writable(id));
        }
        let waiters = core::mem::take(&mut self.send_waiters);
        self.send_waiters = waiters.into_iter().filter(|id| self.conn(*id).is_some()).collect();
        if !self.send_waiters.is_empty() {
            self.timers.arm(self.now.at + SEND_RETRY, Due::Send);
        }
    }

    /// Puts the connection among those to flush, if it has something to write.
    pub(super) fn make_dirty_if_queued(&mut self, id: ConnId) {
        if self.conn(id).is_some_and(|conn| !conn.flags.dirty && conn.has_output()) {
            self.make_dirty(id);
        }
    }

    /// Puts the connection among those to flush.
    pub(super) fn make_dirty(&mut self, id: ConnId) {
        if let Some(conn) = self.conn_mut(id)
            && !conn.flags.dirty
        {
            conn.flags.dirty = true;
            self.dirty.push(id);
        }
    }

    /// Puts the connection among those to serve.
    pub(super) fn make_ready(&mut self, id: ConnId) {
        if let Some(conn) = self.conn_mut(id)
            && !conn.flags.ready
        {
            conn.flags.ready = true;
            self.ready.push_back(id);
        }
    }

    /// Sees to it that the connection's deadline is looked at no later than `at`.
    pub(super) fn arm(&mut self, id: ConnId, at: Instant) {
        if let Some(conn) = self.conn_mut(id)
            && at < conn.armed
        {
            conn.armed = at;
            self.timers.arm(at, Due::Conn(id));
        }
    }

    /// A connection's entry came due: the entry may be out of date.
    pub(super) fn check_deadline(&mut self, id: ConnId, entry: Instant) {
        let now = self.now.at;
        let Some(conn) = self.conns.get_mut(id.index() as usize).filter(|conn| conn.generation == id.generation())
        else {
            return;
        };
        if conn.armed != entry {
            return;
        }
        conn.armed = Instant::NEVER;
        match conn.deadline(&self.config) {
            Some((at, reason)) if at <= now => self.remove(id, reason),
            Some((at, _)) => self.arm(id, at),
            None => {}
        }
    }
}
