//! One host's connections: the twin of the loop's `Net`, with the same lives, deadlines and answers.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use bytes::Bytes;
use slab::Slab;

use super::check::{Check, Invariant};
use super::net::{PipeId, Side};
use crate::close::CloseReason;
use crate::driver::node::Carrier;
use crate::driver::{ConnStats, SendOutcome};
use crate::id::{ConnId, DialId, Direction};
use crate::limits;
use crate::link::{Link, OutboxLimits, Pool};
use crate::time::Instant;
use crate::wire::{FrameRules, Kind, Priority};

/// Objects remembered for each connection to see that none is sent twice.
const RELAYED_MAX: usize = 512;
/// How long an object may not go to the same peer again.
pub(super) const RELAY_ONCE: Duration = Duration::from_secs(300);

/// A connection's life, as in the loop.
#[derive(Clone, Copy, Debug)]
pub(super) enum Life {
    Connecting { dial: DialId, until: Instant },
    Open,
    Draining { reason: CloseReason, until: Instant, linger: bool },
    Lingering { reason: CloseReason, until: Instant },
}

/// A connection, as its host sees it.
#[derive(Debug)]
pub(super) struct Conn {
    generation: u32,
    pub(super) life: Life,
    pub(super) pipe: PipeId,
    pub(super) side: Side,
    pub(super) remote: SocketAddr,
    pub(super) direction: Direction,
    pub(super) link: Link,
    pub(super) rules: &'static FrameRules,
    pub(super) stats: ConnStats,
    /// When it was dialed or accepted, and when the last frame or part of one came.
    pub(super) since: Instant,
    pub(super) heard: Instant,
    progressed: Instant,
    /// When its entry among the deadlines is due; `NEVER` without one.
    armed: Instant,
    high: bool,
    dirty: bool,
    /// The pipe does not take more for now.
    pub(super) full: bool,
    /// Hash of the peer's id, once it is known.
    pub(super) peer: Option<u64>,
    relayed: BTreeMap<u64, Instant>,
    relayed_order: VecDeque<(Instant, u64)>,
}

/// What the loop tells the protocol later.
#[derive(Debug)]
pub(super) enum Notice {
    DialFailed(DialId, SocketAddr, CloseReason),
    Writable(ConnId),
    Closed(ConnId, CloseReason),
}

/// What a port may hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct PortLimits {
    pub(super) outbox: OutboxLimits,
    pub(super) connections: usize,
    pub(super) handshake: Duration,
    pub(super) idle: Duration,
}

/// All connections of one host.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) host: u32,
    pub(super) now: Instant,
    pub(super) limits: PortLimits,
    pub(super) conns: Slab<Conn>,
    generations: Vec<u32>,
    pub(super) pool: Pool,
    pub(super) dirty: Vec<ConnId>,
    pub(super) notices: VecDeque<Notice>,
    /// Dials that the host asked for.
    pub(super) dials: VecDeque<(DialId, SocketAddr, Duration)>,
    /// Frames that were queued and must be delivered: the pipe, from which side, the priority, the hash.
    pub(super) owed: Vec<(PipeId, Side, Priority, u64)>,
    /// Streams that lost frames to a full queue.
    pub(super) lossy: Vec<(PipeId, Side)>,
    deadlines: BTreeSet<(Instant, ConnId)>,
    /// Outputs since the last event.
    pub(super) outputs: usize,
    /// What the node did that it must not do; checked after the event.
    pub(super) faults: Vec<(Invariant, String)>,
    /// Relayed objects that were checked.
    pub(super) relays: u64,
    pub(super) timeouts: u64,
    /// The connection whose request for the pool is being answered.
    pub(super) answering: Option<ConnId>,
}

/// A hash of a frame that is quick and depends on every byte.
pub(super) fn digest(kind: u8, payload: &[u8]) -> u64 {
    // Without the shift, a bit flipped here and one flipped there would give the same hash: attackers flip bits.
    let mix = |hash: u64, word: u64| {
        let hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        hash ^ hash >> 32
    };
    let mut hash = 0x9e37_79b9_7f4a_7c15u64 ^ u64::from(kind) ^ ((payload.len() as u64) << 8);
    let mut words = payload.chunks_exact(8);
    for word in &mut words {
        let word = word.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        hash = mix(hash, word);
    }
    for byte in words.remainder() {
        hash = mix(hash, u64::from(*byte));
    }
    hash
}

impl Port {
    pub(super) fn new(host: u32, now: Instant, limits: PortLimits) -> Self {
        Port {
            host,
            now,
            limits,
            conns: Slab::new(),
            generations: Vec::new(),
            pool: Pool::new(),
            dirty: Vec::new(),
            notices: VecDeque::new(),
            dials: VecDeque::new(),
            owed: Vec::new(),
            lossy: Vec::new(),
            deadlines: BTreeSet::new(),
            outputs: 0,
            faults: Vec::new(),
            relays: 0,
            timeouts: 0,
            answering: None,
        }
    }

    pub(super) fn conn(&self, id: ConnId) -> Option<&Conn> {
        self.conns.get(id.index() as usize).filter(|conn| conn.generation == id.generation())
    }

    pub(super) fn conn_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id.index() as usize).filter(|conn| conn.generation == id.generation())
    }

    pub(super) fn is_open(&self, id: ConnId) -> bool {
        self.conn(id).is_some_and(|conn| matches!(conn.life, Life::Open))
    }

    pub(super) fn is_full(&self) -> bool {
        self.conns.len() >= self.limits.connections
    }

    pub(super) fn insert(
        &mut self,
        life: Life,
        pipe: PipeId,
        side: Side,
        remote: SocketAddr,
        direction: Direction,
    ) -> ConnId {
        let now = self.now;
        let entry = self.conns.vacant_entry();
        let key = entry.key();
        if self.generations.len() <= key {
            self.generations.resize(key + 1, 0);
        }
        let generation = self.generations[key];
        entry.insert(Conn {
            generation,
            life,
            pipe,
            side,
            remote,
            direction,
            link: Link::default(),
            rules: FrameRules::greeting(),
            stats: ConnStats::default(),
            since: now,
            heard: now,
            progressed: now,
            armed: Instant::NEVER,
            high: false,
            dirty: false,
            full: false,
            peer: None,
            relayed: BTreeMap::new(),
            relayed_order: VecDeque::new(),
        });
        let id = ConnId::new(u32::try_from(key).unwrap_or(u32::MAX), generation);
        if let Life::Connecting { until, .. } = life {
            self.arm(id, until);
        }
        id
    }

    pub(super) fn make_dirty(&mut self, id: ConnId) {
        if let Some(conn) = self.conn_mut(id)
            && !conn.dirty
        {
            conn.dirty = true;
            self.dirty.push(id);
        }
    }

    pub(super) fn clean(&mut self, id: ConnId) {
        if let Some(conn) = self.conn_mut(id) {
            conn.dirty = false;
        }
    }

    /// Takes a connection out; the protocol hears of it as a notice. An earlier reason stands. Answers the end to hang up.
    pub(super) fn bury(&mut self, id: ConnId, reason: CloseReason) -> Option<(PipeId, Side)> {
        self.conn(id)?;
        let mut conn = self.conns.remove(id.index() as usize);
        if let Some(generation) = self.generations.get_mut(id.index() as usize) {
            *generation = generation.wrapping_add(1);
        }
        conn.link.clear(&mut self.pool);
        self.notices.push_back(match conn.life {
            Life::Connecting { dial, .. } => Notice::DialFailed(dial, conn.remote, reason),
            Life::Open => Notice::Closed(id, reason),
            Life::Draining { reason, .. } | Life::Lingering { reason, .. } => Notice::Closed(id, reason),
        });
        Some((conn.pipe, conn.side))
    }

    /// When something is due here.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Sees to it that the connection is looked at no later than `at`.
    pub(super) fn arm(&mut self, id: ConnId, at: Instant) {
        if let Some(conn) = self.conn_mut(id)
            && at < conn.armed
        {
            conn.armed = at;
            self.deadlines.insert((at, id));
        }
    }

    /// The next connection whose deadline has come, with the reason to end it.
    pub(super) fn due(&mut self) -> Option<(ConnId, CloseReason)> {
        while let Some((at, id)) = self.deadlines.first().copied().filter(|(at, _)| *at <= self.now) {
            self.deadlines.pop_first();
            match self.conn_mut(id) {
                Some(conn) if conn.armed == at => conn.armed = Instant::NEVER,
                _ => continue,
            }
            match self.conn_deadline(id) {
                Some((real, reason)) if real <= self.now => return Some((id, reason)),
                Some((real, _)) => self.arm(id, real),
                None => {}
            }
        }
        None
    }

    /// As the loop's `Conn::deadline`.
    fn conn_deadline(&self, id: ConnId) -> Option<(Instant, CloseReason)> {
        let conn = self.conn(id)?;
        match conn.life {
            Life::Connecting { until, .. } => Some((until, CloseReason::DialTimeout)),
            Life::Draining { until, reason, .. } | Life::Lingering { until, reason } => Some((until, reason)),
            Life::Open => {
                let frame = conn.link.inbox.deadline(limits::FRAME_STALL).map(|at| (at, CloseReason::FrameTimeout));
                let write = (!conn.link.outbox.is_empty())
                    .then(|| (conn.progressed + limits::WRITE_STALL, CloseReason::WriteTimeout));
                match (frame, write) {
                    (Some(frame), Some(write)) => Some(if write.0 < frame.0 { write } else { frame }),
                    (frame, write) => frame.or(write),
                }
            }
        }
    }

    /// Arms whatever the connection waits for now.
    pub(super) fn rearm(&mut self, id: ConnId) {
        if let Some((at, _)) = self.conn_deadline(id) {
            self.arm(id, at);
        }
    }

    /// Bytes were written.
    pub(super) fn note_written(&mut self, id: ConnId, bytes: usize, frames: usize) {
        let (now, low) = (self.now, self.limits.outbox.low);
        let Some(conn) = self.conn_mut(id) else { return };
        conn.stats.bytes_out += bytes as u64;
        conn.stats.frames_out += frames as u64;
        if bytes > 0 {
            conn.progressed = now;
        }
        if conn.high && conn.link.outbox.queued_bytes() <= low {
            conn.high = false;
            self.notices.push_back(Notice::Writable(id));
        }
    }

    /// The peer sent this object. True when it was not known to have it.
    pub(super) fn note_received(&mut self, id: ConnId, hash: u64) -> bool {
        let now = self.now;
        self.conn_mut(id).is_some_and(|conn| conn.remember(now, hash))
    }

    /// The node dropped the object without a look, so it cannot know who sent it.
    pub(super) fn forget_received(&mut self, id: ConnId, hash: u64) {
        if let Some(conn) = self.conn_mut(id) {
            conn.relayed.remove(&hash);
            conn.relayed_order.retain(|(_, known)| *known != hash);
        }
    }

    /// Checks what a port must keep; called after each event.
    pub(super) fn check(&mut self, check: &mut Check) {
        let host = self.host;
        for (invariant, found) in self.faults.drain(..) {
            check.that(invariant, host, false, || found);
        }
        for _ in 0..core::mem::take(&mut self.relays) {
            check.that(Invariant::S11, host, true, String::new);
        }
        for _ in 0..core::mem::take(&mut self.timeouts) {
            check.that(Invariant::S16, host, true, String::new);
        }
        let (outputs, bound) = (core::mem::take(&mut self.outputs), 10 * self.conns.len() + 1200);
        check.that(Invariant::S1, host, outputs <= bound, || format!("{outputs} outputs where {bound} are allowed"));
        let (count, most) = (self.conns.len(), self.limits.connections);
        check.that(Invariant::S5, host, count <= most, || format!("{count} connections where {most} are allowed"));
    }
}

impl Conn {
    /// False when it was sent or received within the last five minutes.
    fn remember(&mut self, now: Instant, hash: u64) -> bool {
        while self.relayed_order.len() >= RELAYED_MAX
            || self.relayed_order.front().is_some_and(|(at, _)| now.since(*at) >= RELAY_ONCE)
        {
            if let Some((_, old)) = self.relayed_order.pop_front() {
                self.relayed.remove(&old);
            }
        }
        let std::collections::btree_map::Entry::Vacant(place) = self.relayed.entry(hash) else { return false };
        place.insert(now);
        self.relayed_order.push_back((now, hash));
        true
    }
}

impl Carrier for Port {
    fn dial(&mut self, dial: DialId, remote: SocketAddr, timeout: Duration) {
        self.outputs += 1;
        self.dials.push_back((dial, remote, timeout));
    }

    fn send_shared(&mut self, id: ConnId, priority: Priority, kind: u8, payload: &Bytes) -> SendOutcome {
        self.outputs += 1;
        let (now, limits, answering) = (self.now, self.limits.outbox, self.answering);
        let pool = &mut self.pool;
        let Some(conn) = self.conns.get_mut(id.index() as usize).filter(|conn| conn.generation == id.generation())
        else {
            return SendOutcome::Closed;
        };
        if !matches!(conn.life, Life::Open) {
            return SendOutcome::Closed;
        }
        let was_empty = conn.link.outbox.is_empty();
        let Ok(dropped) = conn.link.outbox.push_shared(priority, kind, payload, &limits, pool) else {
            conn.stats.refused_frames += 1;
            return SendOutcome::Full;
        };
        let hash = digest(kind, payload);
        if Kind::from_byte(kind).is_some_and(Kind::is_relayed) {
            let fresh = conn.remember(now, hash);
            // Whoever asks for the pool is told of all of it.
            if !fresh && answering != Some(id) {
                let first = conn.relayed.get(&hash).copied().unwrap_or_default();
                self.faults.push((
                    Invariant::S11,
                    format!(
                        "frame of type {kind} on connection {id} again; the first passed {:?} ago",
                        now.since(first)
                    ),
                ));
            }
            self.relays += 1;
        }
        if dropped > 0 {
            conn.stats.dropped_frames += u64::from(dropped);
            self.lossy.push((conn.pipe, conn.side));
        }
        if was_empty {
            conn.progressed = now;
        }
        conn.high |= conn.link.outbox.queued_bytes() >= limits.high;
        let queued = conn.link.outbox.queued_bytes();
        if queued > limits.hard {
            self.faults.push((Invariant::S5, format!("{queued} bytes are queued to connection {id}")));
        }
        self.owed.push((conn.pipe, conn.side, priority, hash));
        self.make_dirty(id);
        SendOutcome::Accepted { dropped }
    }

    fn set_rules(&mut self, id: ConnId, rules: &'static FrameRules) {
        if let Some(conn) = self.conn_mut(id) {
            conn.rules = rules;
        }
    }

    fn close(&mut self, id: ConnId, reason: CloseReason, drain: Duration) {
        self.outputs += 1;
        let now = self.now;
        let limits = self.limits;
        let Some(conn) = self.conns.get_mut(id.index() as usize).filter(|conn| conn.generation == id.generation())
        else {
            return;
        };
        if !matches!(conn.life, Life::Open) {
            return;
        }
        let (waited, least) = match reason {
            CloseReason::HandshakeTimeout => (now.since(conn.since), limits.handshake),
            CloseReason::IdleTimeout => (now.since(conn.heard), limits.idle),
            _ => (Duration::ZERO, Duration::ZERO),
        };
        if waited < least {
            self.faults.push((Invariant::S16, format!("{} after {waited:?} on connection {id}", reason.label())));
        }
        self.timeouts += u64::from(!least.is_zero());
        conn.life = Life::Draining { reason, until: now + drain, linger: !drain.is_zero() };
        conn.high = false;
        conn.link.inbox.clear(&mut self.pool);
        self.make_dirty(id);
        self.arm(id, now + drain);
    }

    fn conn_stats(&self, id: ConnId) -> Option<ConnStats> {
        let conn = self.conn(id).filter(|conn| !matches!(conn.life, Life::Connecting { .. }))?;
        Some(ConnStats {
            queued_bytes: conn.link.outbox.queued_bytes(),
            queued_frames: conn.link.outbox.queued_frames(),
            held_bytes: conn.link.inbox.held(),
            ..conn.stats
        })
    }
}
