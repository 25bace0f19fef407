//! What a node did with its connections, written down as it happens, and checked where one event is enough to tell.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::check::Tally;
use super::delivery_checker::digest;
use super::pipe::{PipeId, Side};
use super::send_rate_checker::{Allowed, SendRateChecker};
use super::trace::What;
use crate::address::Origin;
use crate::close::{Blame, CloseReason, TlsFault};
use crate::driver::node::NetApi;
use crate::driver::{ConnStats, Net, SendOutcome};
use crate::id::{ConnId, DialId, VerifiedId};
use crate::invariant::Invariant;
use crate::limits::LOOP_WORK;
use crate::proto::Config;
use crate::proto::peer::blacklist::{FAILURE_POINTS, SUCCESS_POINTS};
use crate::time::Instant;
use crate::wire::frame::HEADER_LEN;
use crate::wire::{FrameRules, Hash, Kind, Message, Priority};

/// Objects remembered for each connection to see that none is sent twice.
const RELAYED_MAX: usize = 512;
/// How long an object may not go to the same peer again.
const RELAY_ONCE: Duration = Duration::from_secs(300);

/// Dials to find out that there is no way, and those that look whether there is one now, of a node that is alone.
const AWAY_MAX: usize = 14;
const AWAY_WINDOW: Duration = Duration::from_secs(60);

/// How an address comes into [`Auditor::named`] that others were told of.
pub(super) const TOLD: &str = "told of";

/// What the run must hear after the turn.
#[derive(Debug)]
pub(super) enum Note {
    Line(What, u64, u64),
    /// A frame was queued: the rank of its queue, its digest, its bytes with the header.
    FrameQueued(PipeId, Side, usize, u64, u64),
    /// The queues dropped some.
    FramesDropped(PipeId, Side),
    /// A frame was delivered.
    FrameDelivered(PipeId, Side, u64),
    /// A large frame was not wanted when its front had come: the rank of its queue.
    FrameSkipped(PipeId, Side, usize),
    Opened(PipeId, Side, ConnId),
    Tip(u128, u64, Hash),
    Block(Hash),
    Payment(Hash),
    Closed(ConnId, CloseReason),
    Banned(SocketAddr),
    /// Somebody's reputation moved; downwards for this reason.
    Judged(IpAddr, Option<CloseReason>),
}

/// One connection.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) pipe: Option<(PipeId, Side)>,
    remote: SocketAddr,
    identity: Option<VerifiedId>,
    /// The node has dialed it.
    dialed: bool,
    /// It has brought something that may have been useful.
    pub(super) useful: bool,
    pub(super) send_rate: SendRateChecker,
    /// When it was dialed or accepted, and when the last frame came, by the node's clock.
    since: Instant,
    pub(super) last_frame: Instant,
    /// When bytes were last seen to have come, in the simulation's time, and how many there were.
    pub(super) last_bytes: Option<(Instant, u64)>,
    /// The node has closed it: no frame may come any more.
    pub(super) closing: bool,
    /// Hash of the peer's id, once it is known.
    pub(super) peer: Option<u64>,
    /// The version that was agreed on, once it is.
    pub(super) version: Option<u8>,
    relayed: BTreeMap<u64, Instant>,
    relayed_order: VecDeque<(Instant, u64)>,
    /// What the node said itself and has not sent it yet.
    pub(super) owed: BTreeSet<u64>,
    /// Units of work that its frames have cost in this turn.
    pub(super) turn_work: u64,
    /// It was refused a frame, and has not heard since that there is room.
    pub(super) refused: bool,
}

/// One node's auditor, since its last start.
#[derive(Debug)]
pub(super) struct Auditor {
    pub(super) now: Instant,
    pub(super) entries: BTreeMap<ConnId, Entry>,
    /// Dials under way, since when and whereto.
    pub(super) dials: BTreeMap<DialId, (Instant, SocketAddr)>,
    /// How long each may take.
    dial_timeouts: BTreeMap<DialId, Duration>,
    /// Whom the node dialed and told of in this event: none of them may be blacklisted.
    pub(super) named: Vec<(&'static str, SocketAddr)>,
    /// Addresses that may connect and are not connections yet, and since when: under TLS that takes a while.
    pub(super) admitted: Vec<(SocketAddr, Instant)>,
    /// Connections that are open for the embedder, and to whom.
    pub(super) ready: BTreeMap<ConnId, u64>,
    pub(super) notes: Vec<Note>,
    pub(super) tally: Tally,
    /// When dials failed for want of a family.
    away: VecDeque<Instant>,
    /// Where its dials found somebody of whom others may be told, and what it may say of itself.
    pub(super) found: BTreeSet<SocketAddr>,
    own: Vec<SocketAddr>,
    /// Outputs since the last event.
    pub(super) outputs: usize,
    /// Units of work since the last look.
    pub(super) work: u64,
    /// Units that the frames of this turn have cost.
    turn_work: u64,
    /// What one connection may cause in a turn.
    turn_work_max: u64,
    /// The connection whose request for the pool is being answered.
    pub(super) answering: Option<ConnId>,
    /// Who was closed for breaking the rules in this event, and why: what follows must be held against each of them.
    blamed: Vec<(Origin, IpAddr, CloseReason)>,
    /// Whom the operator named: nothing is held against them.
    kept: BTreeSet<SocketAddr>,
    handshake: Duration,
    idle: Duration,
    allowed: Allowed,
}

impl Auditor {
    /// For a node that listens at `address`.
    pub(super) fn new(config: &Config, address: SocketAddr, turn_work: u32) -> Self {
        let external = config.external.iter().map(|external| match external.port() {
            0 => SocketAddr::new(external.ip(), address.port()),
            _ => *external,
        });
        Auditor {
            now: Instant::ZERO,
            entries: BTreeMap::new(),
            dials: BTreeMap::new(),
            dial_timeouts: BTreeMap::new(),
            named: Vec::new(),
            admitted: Vec::new(),
            ready: BTreeMap::new(),
            notes: Vec::new(),
            tally: Tally::default(),
            away: VecDeque::new(),
            found: BTreeSet::new(),
            own: external.chain([address]).collect(),
            outputs: 0,
            work: 0,
            turn_work: 0,
            turn_work_max: turn_work.into(),
            answering: None,
            blamed: Vec::new(),
            kept: config.connect.iter().copied().collect(),
            handshake: config.handshake_timeout,
            idle: config.idle_timeout,
            allowed: Allowed::by(config),
        }
    }

    pub(super) fn line(&mut self, what: What, a: u64, b: u64) {
        self.notes.push(Note::Line(what, a, b));
    }

    /// Somebody is not let in; one whole frame is the first and last thing that he is told.
    pub(super) fn turned_away(&mut self, pipe: Option<(PipeId, Side)>, frame: &[u8]) {
        if let Some((pipe, side)) = pipe
            && let Some((kind, payload)) = frame.get(HEADER_LEN - 1..).and_then(<[u8]>::split_first)
        {
            self.notes.push(Note::FrameQueued(pipe, side, 0, digest(*kind, payload), frame.len() as u64));
        }
    }

    /// A connection stands; `since` is when it was dialed or accepted.
    pub(super) fn opened(
        &mut self,
        conn: ConnId,
        (remote, identity): (SocketAddr, Option<VerifiedId>),
        dialed: bool,
        pipe: Option<(PipeId, Side)>,
        since: Instant,
    ) {
        let entry = Entry {
            pipe,
            remote,
            identity,
            dialed,
            useful: false,
            send_rate: SendRateChecker::default(),
            since,
            last_frame: self.now,
            last_bytes: None,
            closing: false,
            peer: None,
            version: None,
            relayed: BTreeMap::new(),
            relayed_order: VecDeque::new(),
            owed: BTreeSet::new(),
            turn_work: 0,
            refused: false,
        };
        if let Some((pipe, side)) = pipe {
            self.notes.push(Note::Opened(pipe, side, conn));
        }
        let again = self.entries.insert(conn, entry).is_some();
        self.tally.that(Invariant::S3, !again, || format!("connection {conn} opens again"));
    }

    /// A dial has become a connection, or has failed; exactly one of both, once.
    /// Answers when it began.
    pub(super) fn dial_ended(&mut self, dial: DialId, failed: Option<CloseReason>) -> Instant {
        let known = self.dials.remove(&dial);
        let least = self.dial_timeouts.remove(&dial).unwrap_or_default();
        self.tally.that(Invariant::S3, known.is_some(), || format!("dial {dial:?} ends, but is not under way"));
        if let (Some((_, remote)), Some(reason)) = (known, failed) {
            self.found_no_way(remote, reason);
            if reason == CloseReason::Tls(TlsFault::TurnedAway) {
                self.found.insert(remote);
            }
            self.blame(remote, None, reason);
        }
        if failed == Some(CloseReason::DialTimeout) {
            let waited = known.map_or(Duration::ZERO, |(since, _)| self.now.since(since));
            self.tally.that(Invariant::S16, waited >= least, || format!("a dial of {least:?} is over in {waited:?}"));
        }
        known.map_or(self.now, |(since, _)| since)
    }

    /// What the end of a connection with this peer is held against, if it is.
    pub(super) fn blame(&mut self, remote: SocketAddr, identity: Option<VerifiedId>, reason: CloseReason) {
        if reason.blame() == Blame::Misbehaved {
            if self.kept.contains(&remote) {
                // An honest one gives no cause for it all the same.
                return self.notes.push(Note::Judged(remote.ip(), Some(reason)));
            }
            let origins = [Some(Origin::of(remote.ip())), identity.map(Origin::Identity)];
            self.blamed.extend(origins.into_iter().flatten().map(|origin| (origin, remote.ip(), reason)));
        }
    }

    /// A frame came: who is there speaks our protocol.
    pub(super) fn heard(&mut self, conn: ConnId) {
        if let Some(entry) = self.entries.get(&conn).filter(|entry| entry.dialed) {
            self.found.insert(entry.remote);
        }
    }

    /// A frame is given to a connection: may it still cause work in this turn?
    pub(super) fn check_turn(&mut self, conn: ConnId) {
        let own = self.entries.get(&conn).map_or(0, |entry| entry.turn_work);
        let all = self.turn_work;
        let holds = own < self.turn_work_max && all < u64::from(LOOP_WORK);
        self.tally.that(Invariant::S25, holds, || {
            format!("a frame after {own} units of connection {conn} and {all} of all in this turn")
        });
    }

    /// A frame has cost so much.
    pub(super) fn worked(&mut self, conn: ConnId, units: u64) {
        self.turn_work = self.turn_work.saturating_add(units);
        if let Some(entry) = self.entries.get_mut(&conn) {
            entry.turn_work = entry.turn_work.saturating_add(units);
        }
    }

    /// The next turn has its own work.
    pub(super) fn end_turn(&mut self) {
        if core::mem::take(&mut self.turn_work) > 0 {
            self.entries.values_mut().for_each(|entry| entry.turn_work = 0);
        }
    }

    /// Whoever was told in this event of an address, it was one at which somebody was found, or the node's own.
    pub(super) fn check_told(&mut self, told: SocketAddr) {
        let holds = self.found.contains(&told) || self.is_own(told);
        self.tally.that(Invariant::S24, holds, || format!("others are told of {told}"));
    }

    /// Is this an address that the node may say of itself?
    pub(super) fn is_own(&self, address: SocketAddr) -> bool {
        self.own.contains(&address)
    }

    /// The reputations that moved in this event: down by the rule's points for each of those to blame and for nobody else, up
    /// by one at most, for a peer that brought something.
    pub(super) fn judge(&mut self, moves: Vec<(Origin, i32)>) {
        for (origin, points) in moves {
            let (holds, note) = if points < 0 {
                let at = self.blamed.iter().position(|(blamed, ..)| *blamed == origin);
                let blamed = at.map(|at| self.blamed.swap_remove(at));
                (blamed.is_some() && points == FAILURE_POINTS, blamed.map(|(_, ip, reason)| (ip, Some(reason))))
            } else {
                let brought = |entry: &&Entry| {
                    let is_it = entry.identity.map(Origin::Identity) == Some(origin);
                    entry.useful && (is_it || Origin::of(entry.remote.ip()) == origin)
                };
                let who = self.entries.values().find(brought).map(|entry| entry.remote.ip());
                (who.is_some() && points <= SUCCESS_POINTS, who.map(|ip| (ip, None)))
            };
            self.tally.that(Invariant::S9, holds, || format!("{origin} has {points} points, and did nothing for it"));
            self.notes.extend(note.map(|(ip, reason)| Note::Judged(ip, reason)));
        }
        let spared = self.blamed.drain(..).next();
        self.tally.that(Invariant::S9, spared.is_none(), || format!("{spared:?} is not held against anybody"));
    }

    /// An admitted address has become a connection, or never will. Answers since when it was admitted.
    pub(super) fn released(&mut self, remote: SocketAddr) -> Instant {
        let at = self.admitted.iter().position(|(admitted, _)| *admitted == remote);
        self.tally.that(Invariant::S3, at.is_some(), || format!("{remote} was not admitted"));
        at.map_or(self.now, |at| self.admitted.remove(at).1)
    }

    pub(super) fn closed(&mut self, conn: ConnId, reason: CloseReason) {
        let known = self.entries.remove(&conn);
        self.tally.that(Invariant::S3, known.is_some(), || format!("connection {conn} closes, but is not open"));
        // Whom the node closed, it has judged then.
        if let Some(entry) = known.filter(|entry| !entry.closing) {
            self.blame(entry.remote, entry.identity, reason);
        }
    }

    /// The peer sent this object. True when it was not known to have it.
    pub(super) fn received(&mut self, conn: ConnId, hash: u64) -> bool {
        let now = self.now;
        self.entries.get_mut(&conn).is_some_and(|entry| entry.remember(now, hash))
    }

    /// The node dropped the object without a look, so it cannot know who sent it.
    pub(super) fn forget_received(&mut self, conn: ConnId, hash: u64) {
        if let Some(entry) = self.entries.get_mut(&conn) {
            entry.relayed.remove(&hash);
            entry.relayed_order.retain(|(_, known)| *known != hash);
        }
    }

    /// The node says that something of its own is on its way to all peers.
    pub(super) fn said(&mut self, kind: Kind, payload: &Bytes) {
        let hash = digest(kind as u8, payload);
        for entry in self.entries.values_mut().filter(|entry| !entry.closing) {
            if entry.version.is_some_and(|version| version >= kind.since()) && !entry.relayed.contains_key(&hash) {
                entry.owed.insert(hash);
            }
        }
    }

    /// A dial has failed. No machine has IPv6; what fails before that is seen says nothing.
    fn found_no_way(&mut self, remote: SocketAddr, reason: CloseReason) {
        let now = self.now;
        self.away.retain(|at| now.since(*at) < AWAY_WINDOW);
        if remote.is_ipv6() && matches!(reason, CloseReason::Io(_)) {
            self.away.push_back(now);
        }
        let count = self.away.len();
        self.tally.that(Invariant::S21, count <= AWAY_MAX, || format!("{count} dials over IPv6 in {AWAY_WINDOW:?}"));
    }

    /// Open connections to the node of this one: who is proven to be the same, or claims it at the same address.
    pub(super) fn open_to(&self, conn: ConnId) -> usize {
        let key = |entry: &Entry| {
            let from = if entry.identity.is_some() { None } else { Some(Origin::of(entry.remote.ip())) };
            entry.peer.map(|peer| (peer, from))
        };
        let this = self.entries.get(&conn).and_then(key);
        self.entries.values().filter(|entry| !entry.closing && key(entry) == this).count()
    }

    fn sent(&mut self, conn: ConnId, priority: Priority, kind: u8, payload: &Bytes, dropped: u32) {
        let (now, answering) = (self.now, self.answering);
        let Some(entry) = self.entries.get_mut(&conn) else { return };
        let hash = digest(kind, payload);
        if let Some(kind) = Kind::from_byte(kind) {
            let kept = entry.send_rate.add(now, kind, (payload.len(), hash), answering == Some(conn), &self.allowed);
            self.tally.that(Invariant::S15, kept.is_ok(), || format!("{} to {conn}", kept.err().unwrap_or_default()));
        }
        if Kind::from_byte(kind).is_some_and(Kind::is_relayed) {
            let fresh = entry.remember(now, hash);
            entry.owed.remove(&hash);
            // Whoever asks for the pool is told of all of it.
            let first = entry.relayed.get(&hash).copied().unwrap_or_default();
            self.tally.that(Invariant::S11, fresh || answering == Some(conn), || {
                let since = now.since(first);
                format!("frame of type {kind} on connection {conn} again; the first passed {since:?} ago")
            });
        }
        let pipe = entry.pipe;
        if kind == Kind::Peers as u8
            && let Ok(Message::Peers(told)) = Message::decode(Kind::Peers, payload)
        {
            self.named.extend(told.into_iter().map(|address| (TOLD, address)));
        }
        let Some((pipe, side)) = pipe else { return };
        if dropped > 0 {
            self.notes.push(Note::FramesDropped(pipe, side));
        }
        self.notes.push(Note::FrameQueued(pipe, side, priority.rank(), hash, (HEADER_LEN + payload.len()) as u64));
    }

    fn closes(&mut self, conn: ConnId, reason: CloseReason) {
        let now = self.now;
        let Some(entry) = self.entries.get_mut(&conn).filter(|entry| !entry.closing) else { return };
        entry.closing = true;
        let (remote, identity) = (entry.remote, entry.identity);
        let (waited, least) = match reason {
            CloseReason::HandshakeTimeout => (now.since(entry.since), self.handshake),
            CloseReason::IdleTimeout => (now.since(entry.last_frame), self.idle),
            _ => return self.blame(remote, identity, reason),
        };
        self.tally.that(Invariant::S16, waited >= least, || {
            format!("{} after {waited:?} on connection {conn}", reason.label())
        });
    }
}

impl Entry {
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

/// The loop's `Net`, for a node whose auditor writes down what it asks for.
pub(super) struct AuditedNet<'a> {
    pub(super) net: &'a mut Net,
    pub(super) auditor: &'a mut Auditor,
}

impl NetApi for AuditedNet<'_> {
    fn dial(&mut self, dial: DialId, remote: SocketAddr, timeout: Duration) {
        self.auditor.outputs += 1;
        self.auditor.named.push(("dialed", remote));
        let again = self.auditor.dials.insert(dial, (self.auditor.now, remote)).is_some();
        self.auditor.dial_timeouts.insert(dial, timeout);
        self.auditor.tally.that(Invariant::S3, !again, || format!("dial {dial:?} begins twice"));
        self.net.dial(dial, remote, timeout);
    }

    fn send_shared(&mut self, conn: ConnId, priority: Priority, kind: u8, payload: &Bytes) -> SendOutcome {
        self.auditor.outputs += 1;
        let outcome = self.net.send_shared(conn, priority, kind, payload);
        if let SendOutcome::Accepted { dropped } = outcome {
            self.auditor.sent(conn, priority, kind, payload, dropped);
        }
        if outcome == SendOutcome::Full
            && let Some(entry) = self.auditor.entries.get_mut(&conn)
        {
            entry.refused = true;
        }
        outcome
    }

    fn set_rules(&mut self, conn: ConnId, rules: &'static FrameRules) {
        self.net.set_rules(conn, rules);
    }

    fn close(&mut self, conn: ConnId, reason: CloseReason, drain: Duration) {
        self.auditor.outputs += 1;
        self.auditor.closes(conn, reason);
        self.net.close(conn, reason, drain);
    }

    fn hold(&mut self, conn: ConnId) {
        self.auditor.outputs += 1;
        self.net.hold(conn);
    }

    fn release(&mut self, conn: ConnId) {
        self.auditor.outputs += 1;
        self.net.release(conn);
    }

    fn conn_stats(&self, conn: ConnId) -> Option<ConnStats> {
        self.net.conn_stats(conn)
    }

    fn spend(&mut self, units: u32) {
        self.auditor.work = self.auditor.work.saturating_add(units.into());
        self.net.spend(units);
    }

    fn net(&self) -> Option<&Net> {
        Some(self.net)
    }
}
