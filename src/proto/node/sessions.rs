//! The sessions, the ids of those who are introduced, and when each is due: one table, whose calls keep all three alike.
//!
//! A session goes from *greeting* to *ready* to *closing* and is gone then; it may skip steps, and never goes back. Nobody but
//! this file changes its state, so that what follows from it cannot be forgotten:
//!
//! - a session that is not closing has one timer, which is due when it says, and one that is closing has none;
//! - a [`PeerKey`] names the one ready session whose peer has it, and each ready session is named by its own;
//! - a session is awaited when the driver was asked what it has received, and has not said.

use core::net::SocketAddr;
use core::ops::Bound;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::close::CloseReason;
use crate::id::{ConnId, Direction, VerifiedId};
use crate::invariant::{Broken, Invariant};
use crate::proto::budget::PeerBudgets;
use crate::proto::peer::peer_key::PeerKey;
use crate::proto::peer::share::Intake;
use crate::proto::session::Peer;
use crate::proto::session::client::Client;
use crate::proto::session::speech::{read_greeting, read_unintroduced};
use crate::time::Instant;
use crate::wire::dialect::{Meaning, ReadError};

/// A session that was due, and whose timer nothing set anew, is due again after this. A driver that does not say within it what
/// a connection has received has nothing to say in the peer's favour.
const DUE_AGAIN: Duration = Duration::from_secs(1);

/// All connections between their opening and the driver's word that they are gone.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    all: BTreeMap<ConnId, Session>,
    index: Index,
}

/// What those have that are not closing.
#[derive(Debug, Default)]
struct Index {
    by_key: BTreeMap<PeerKey, ConnId>,
    timers: BTreeSet<(Instant, Timer)>,
    awaited: usize,
}

/// Whose timer it is, and for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Handshake, heartbeat, silence.
    Session(ConnId),
    /// Something waits for a peer's pace.
    Pace(ConnId),
}

/// What is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// The driver is to say what it has received, before its silence is judged.
    Count(ConnId),
    /// Its silence is judged now.
    Judge(ConnId),
    /// What waits for its pace may go.
    Pace(ConnId),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Session {
    conn: ConnId,
    remote: SocketAddr,
    /// Our side of it, where that is known.
    pub(super) local: Option<SocketAddr>,
    direction: Direction,
    identity: Option<VerifiedId>,
    state: SessionState,
    /// When its timer is due.
    due: Instant,
    /// When what waits for its pace may go; a timer of its own.
    pace_at: Option<Instant>,
    awaited: bool,
    last_received: Instant,
    pub(super) budgets: PeerBudgets,
    /// It comes from where nobody need introduce himself.
    pub(super) may_be_client: bool,
    /// It is a WebSocket.
    pub(super) is_web_socket: bool,
    /// How many addresses it may still tell us.
    pub(super) intake: Intake,
    /// What it said last in an Error frame, cut.
    pub(super) remote_error: Option<String>,
}

/// How far a session has come.
#[derive(Debug)]
pub(super) enum SessionState {
    /// Waits for the other side's introduction.
    Greeting {
        /// Then the session is closed.
        deadline: Instant,
    },
    /// It is one who need not introduce himself, and has not.
    Client(Box<Client>),
    /// Both sides know each other.
    Ready(Box<Peer>),
    /// We asked the driver to close it; nothing that still arrives counts.
    Closing {
        /// Why.
        reason: CloseReason,
        /// Who it was.
        was: Was,
    },
}

/// Who was there, of one who is going.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Was {
    /// One who had not said so.
    Nobody,
    /// One who need not.
    Client(String),
    /// The peer of this id.
    Peer(String),
}

impl Sessions {
    /// A connection is open, and its handshake has until the deadline.
    pub(super) fn open(
        &mut self,
        conn: ConnId,
        (remote, direction, identity): (SocketAddr, Direction, Option<VerifiedId>),
        (now, deadline): (Instant, Instant),
        budgets: PeerBudgets,
    ) {
        let earlier = self.remove(conn);
        debug_assert!(earlier.is_none(), "connection {conn} opens twice");
        let session = Session {
            conn,
            remote,
            local: None,
            direction,
            identity,
            state: SessionState::Greeting { deadline },
            due: deadline,
            pace_at: None,
            awaited: false,
            last_received: now,
            budgets,
            may_be_client: false,
            is_web_socket: false,
            intake: Intake::new(),
            remote_error: None,
        };
        self.index.timers.insert((deadline, Timer::Session(conn)));
        self.all.insert(conn, session);
    }

    /// The other side has introduced itself, as somebody whom no other session leads to. The session is due next at that time.
    pub(super) fn introduce(&mut self, conn: ConnId, peer: Peer, due: Instant) {
        let Some(session) = self.all.get_mut(&conn) else { return };
        debug_assert!(
            matches!(session.state, SessionState::Greeting { .. } | SessionState::Client(_)),
            "{conn} is introduced, and was {session:?}"
        );
        let earlier = self.index.by_key.insert(session.key(peer.node_id()), conn);
        debug_assert!(earlier.is_none(), "{conn} leads to the node of {earlier:?}");
        session.state = SessionState::Ready(Box::new(peer));
        self.index.reschedule(session, due);
    }

    /// The other side will not introduce itself, and need not. The session is due next at that time.
    pub(super) fn let_in_client(&mut self, conn: ConnId, client: Client, due: Instant) {
        let Some(session) = self.all.get_mut(&conn) else { return };
        debug_assert!(
            matches!(session.state, SessionState::Greeting { .. }),
            "{conn} is a client, and was {session:?}"
        );
        session.state = SessionState::Client(Box::new(client));
        self.index.reschedule(session, due);
    }

    /// Whoever is answered there, peer or client.
    pub(super) fn asker(&self, conn: ConnId) -> Option<&Peer> {
        self.all.get(&conn)?.asker()
    }

    /// The same, to change it.
    pub(super) fn asker_mut(&mut self, conn: ConnId) -> Option<&mut Peer> {
        self.all.get_mut(&conn)?.asker_mut()
    }

    /// The client, if it is one.
    pub(super) fn client_mut(&mut self, conn: ConnId) -> Option<&mut Client> {
        self.all.get_mut(&conn)?.client_mut()
    }

    /// Those who have not introduced themselves and need not.
    pub(super) fn clients(&self) -> impl Iterator<Item = (&Session, &Client)> {
        self.all.values().filter_map(|session| Some((session, session.client()?)))
    }

    /// We ask for its close: where it came from, and who it was, if it was introduced. `None` when it is gone, or was closed
    /// before.
    pub(super) fn close(
        &mut self,
        conn: ConnId,
        reason: CloseReason,
    ) -> Option<(SocketAddr, Option<VerifiedId>, Option<Box<Peer>>)> {
        let session = self.all.get_mut(&conn).filter(|session| !session.is_closing())?;
        self.index.leave(session);
        let was = session.was();
        let before = core::mem::replace(&mut session.state, SessionState::Closing { reason, was });
        let peer = match before {
            SessionState::Ready(peer) => Some(peer),
            _ => None,
        };
        Some((session.remote, session.identity, peer))
    }

    /// The driver's word: the connection is gone.
    pub(super) fn remove(&mut self, conn: ConnId) -> Option<Session> {
        let mut session = self.all.remove(&conn)?;
        if session.is_closing() {
            debug_assert!(
                session.pace_at.is_none() && !session.awaited,
                "{conn} was closing, and something waits for it"
            );
        } else {
            self.index.leave(&mut session);
        }
        Some(session)
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&Session> {
        self.all.get(&conn)
    }

    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Session> {
        self.all.get_mut(&conn)
    }

    /// The peer, once both sides know each other and neither is leaving.
    pub(super) fn peer(&self, conn: ConnId) -> Option<&Peer> {
        self.all.get(&conn)?.peer()
    }

    /// The same, to change it.
    pub(super) fn peer_mut(&mut self, conn: ConnId) -> Option<&mut Peer> {
        self.all.get_mut(&conn)?.peer_mut()
    }

    /// The ready session that leads to this peer.
    pub(super) fn with_key(&self, key: &PeerKey) -> Option<ConnId> {
        self.index.by_key.get(key).copied()
    }

    /// Whoever the table of known peers had under this id, it has under another.
    pub(super) fn rename(&mut self, known_as: &str, now_known_as: String) {
        let mut peers = self.all.values_mut().filter_map(Session::peer_mut);
        if let Some(peer) = peers.find(|peer| peer.known_as == known_as) {
            peer.known_as = now_known_as;
        }
    }

    /// All of them, in the order of their connections.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Session> {
        self.all.values()
    }

    /// The same from one on.
    pub(super) fn from(&self, from: Bound<ConnId>) -> impl Iterator<Item = &Session> {
        self.all.range((from, Bound::Unbounded)).map(|(_, session)| session)
    }

    /// Those whose peer is introduced.
    pub(super) fn ready(&self) -> impl Iterator<Item = (&Session, &Peer)> {
        self.all.values().filter_map(|session| Some((session, session.peer()?)))
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// How many peers are introduced.
    pub(super) fn ready_count(&self) -> usize {
        self.index.by_key.len()
    }

    /// Sets a session's timer anew, unless it is closing.
    pub(super) fn reschedule(&mut self, conn: ConnId, due: Instant) {
        if let Some(session) = self.all.get_mut(&conn).filter(|session| !session.is_closing()) {
            self.index.reschedule(session, due);
        }
    }

    /// Something waits for the peer's pace until then; it may be looked at sooner, for something else that waits.
    pub(super) fn pace(&mut self, conn: ConnId, at: Instant) {
        let Some(session) = self.all.get_mut(&conn).filter(|session| session.asker().is_some()) else { return };
        if session.pace_at.is_none_or(|before| at < before) {
            self.index.pace(session, Some(at));
        }
    }

    /// The earliest thing that is due, once; what it is for must set its timer anew.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Due> {
        let (_, timer) = self.index.timers.first().copied().filter(|(at, _)| *at <= now)?;
        let (Timer::Session(conn) | Timer::Pace(conn)) = timer;
        let session = self.all.get_mut(&conn);
        debug_assert!(session.is_some(), "{timer:?} outlives its session");
        let Some(session) = session else {
            self.index.timers.pop_first();
            return None;
        };
        if matches!(timer, Timer::Pace(_)) {
            self.index.pace(session, None);
            return Some(Due::Pace(conn));
        }
        self.index.reschedule(session, now + DUE_AGAIN);
        let asks = session.peer().is_some() && !session.awaited;
        self.index.set_awaited(session, asks);
        Some(if asks { Due::Count(conn) } else { Due::Judge(conn) })
    }

    /// The driver says what it was asked. False when it was not, or when nobody waits for it any more.
    pub(super) fn answered(&mut self, conn: ConnId) -> bool {
        let Some(session) = self.all.get_mut(&conn).filter(|session| session.awaited) else { return false };
        self.index.set_awaited(session, false);
        true
    }

    /// Is there a question that the driver has not answered?
    pub(super) fn is_waiting(&self) -> bool {
        self.index.awaited > 0
    }

    /// When something is due next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.index.timers.first().map(|(at, _)| *at)
    }

    /// Counts anew what the calls keep.
    pub(super) fn audit(&self) -> Result<(), Broken> {
        let (mut ready, mut timers, mut awaited) = (0, 0, 0);
        let index = &self.index;
        for (conn, session) in &self.all {
            let timed = index.timers.contains(&(session.due, Timer::Session(*conn)));
            Invariant::S16
                .check(timed != session.is_closing(), || format!("{conn} is live and has no timer, or the reverse"))?;
            let paced = session.pace_at.is_none_or(|at| index.timers.contains(&(at, Timer::Pace(*conn))));
            Invariant::S16.check(paced, || format!("{conn} waits for its pace, and nobody wakes it"))?;
            timers += usize::from(timed) + usize::from(session.pace_at.is_some());
            awaited += usize::from(session.awaited);
            if let Some(peer) = session.peer() {
                ready += 1;
                let key = session.key(peer.node_id());
                let found = self.with_key(&key);
                Invariant::S7.check(found == Some(*conn), || format!("{conn} is {key}, and so is {found:?}"))?;
            }
        }
        let keys = index.by_key.len();
        Invariant::S7.check(keys == ready, || format!("{keys} keys for {ready} peers"))?;
        let kept = index.timers.len();
        Invariant::S16.check(kept == timers, || format!("{kept} timers, {timers} of sessions that are there"))?;
        let kept = index.awaited;
        Invariant::S16.check(kept == awaited, || format!("{kept} answers are awaited, {awaited} by sessions"))
    }
}

impl Index {
    fn reschedule(&mut self, session: &mut Session, due: Instant) {
        let known = self.timers.remove(&(session.due, Timer::Session(session.conn)));
        debug_assert!(known, "{} is live and has no timer", session.conn);
        session.due = due;
        self.timers.insert((due, Timer::Session(session.conn)));
    }

    fn pace(&mut self, session: &mut Session, at: Option<Instant>) {
        if let Some(before) = core::mem::replace(&mut session.pace_at, at) {
            let known = self.timers.remove(&(before, Timer::Pace(session.conn)));
            debug_assert!(known, "{} waits for its pace, and nobody wakes it", session.conn);
        }
        self.timers.extend(at.map(|at| (at, Timer::Pace(session.conn))));
    }

    fn set_awaited(&mut self, session: &mut Session, awaited: bool) {
        let before = core::mem::replace(&mut session.awaited, awaited);
        debug_assert!(!before || self.awaited > 0, "{} is awaited, and nothing is", session.conn);
        self.awaited = self.awaited.saturating_sub(usize::from(before)) + usize::from(awaited);
    }

    /// It begins to close, or is gone.
    fn leave(&mut self, session: &mut Session) {
        debug_assert!(!session.is_closing(), "{} leaves twice", session.conn);
        self.set_awaited(session, false);
        self.pace(session, None);
        let timed = self.timers.remove(&(session.due, Timer::Session(session.conn)));
        debug_assert!(timed, "{} is live and has no timer", session.conn);
        if let Some(peer) = session.peer() {
            let key = session.key(peer.node_id());
            let named = self.by_key.remove(&key);
            debug_assert_eq!(named, Some(session.conn), "{key} is somebody else");
        }
    }
}

impl Session {
    pub(super) fn conn(&self) -> ConnId {
        self.conn
    }

    pub(super) fn remote(&self) -> SocketAddr {
        self.remote
    }

    pub(super) fn direction(&self) -> Direction {
        self.direction
    }

    pub(super) fn is_outbound(&self) -> bool {
        self.direction.is_outbound()
    }

    /// Who it is, as TLS has proven.
    pub(super) fn identity(&self) -> Option<VerifiedId> {
        self.identity
    }

    /// Who the other side is, when it says that this is its id.
    pub(super) fn key(&self, node_id: &str) -> PeerKey {
        PeerKey::new(node_id, self.remote, self.identity)
    }

    /// When the last frame, or the last part of a large one, came.
    pub(super) fn last_received(&self) -> Instant {
        self.last_received
    }

    /// Reads a frame as this side says it.
    pub(super) fn read<'a>(&self, byte: u8, payload: &'a [u8]) -> Result<Meaning<'a>, ReadError> {
        match self.asker() {
            Some(peer) => peer.speech.read(byte, payload),
            None if self.may_be_client => read_unintroduced(byte, payload),
            None => read_greeting(byte, payload),
        }
    }

    /// Whoever is answered here, peer or client.
    pub(super) fn asker(&self) -> Option<&Peer> {
        match &self.state {
            SessionState::Ready(peer) => Some(peer),
            SessionState::Client(client) => Some(&client.asker),
            _ => None,
        }
    }

    /// The same, to change it.
    pub(super) fn asker_mut(&mut self) -> Option<&mut Peer> {
        match &mut self.state {
            SessionState::Ready(peer) => Some(peer),
            SessionState::Client(client) => Some(&mut client.asker),
            _ => None,
        }
    }

    /// The client, if it is one.
    pub(super) fn client(&self) -> Option<&Client> {
        match &self.state {
            SessionState::Client(client) => Some(client),
            _ => None,
        }
    }

    /// The same, to change it.
    pub(super) fn client_mut(&mut self) -> Option<&mut Client> {
        match &mut self.state {
            SessionState::Client(client) => Some(client),
            _ => None,
        }
    }

    /// Who is there.
    pub(super) fn was(&self) -> Was {
        match &self.state {
            SessionState::Ready(peer) => Was::Peer(peer.node_id().to_owned()),
            SessionState::Client(client) => Was::Client(client.asker.node_id().to_owned()),
            SessionState::Closing { was, .. } => was.clone(),
            SessionState::Greeting { .. } => Was::Nobody,
        }
    }

    /// The peer, once both sides know each other and neither is leaving.
    pub(super) fn peer(&self) -> Option<&Peer> {
        match &self.state {
            SessionState::Ready(peer) => Some(peer),
            _ => None,
        }
    }

    /// The same, to change it.
    pub(super) fn peer_mut(&mut self) -> Option<&mut Peer> {
        match &mut self.state {
            SessionState::Ready(peer) => Some(peer),
            _ => None,
        }
    }

    /// Until when the other side may introduce itself, while it has not.
    pub(super) fn greeting_deadline(&self) -> Option<Instant> {
        match &self.state {
            SessionState::Greeting { deadline } => Some(*deadline),
            _ => None,
        }
    }

    /// True once we asked for its close.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.state, SessionState::Closing { .. })
    }

    /// Something came: the peer is not silent, and the connection not in doubt.
    pub(super) fn heard(&mut self, at: Instant) {
        debug_assert!(at >= self.last_received, "the clock of {} goes back", self.conn);
        self.last_received = at;
        if let Some(peer) = self.peer_mut() {
            peer.doubted = None;
        }
    }

    /// How far it had come, when it is gone.
    pub(super) fn into_state(self) -> SessionState {
        self.state
    }
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;
