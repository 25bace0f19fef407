//! What a close means: for the connection, the peer's standing, the pool and the table of known peers.

use core::net::SocketAddr;
use core::time::Duration;

use crate::close::{Blame, CloseReason};
use crate::id::{ConnId, DialId, Direction, VerifiedId};
use crate::proto::event::{Event, Output};
use crate::proto::node::{Node, Timer, origins};
use crate::proto::peer::peer_table::PeerRecord;
use crate::proto::session::{Peer, SessionState};
use crate::proto::sync::chain::Chain;
use crate::time::Now;
use crate::wire::Message;

/// How long the queue of a peer that did nothing wrong may take to leave.
const DRAIN: Duration = Duration::from_secs(2);
/// The same for a peer that broke the rules, fell silent or is not one of ours: enough for the last error.
const DRAIN_AFTER_VIOLATION: Duration = Duration::from_millis(500);

impl<C: Chain> Node<C> {
    /// Ends a connection from our side. What the peer did is settled now; the session waits for the driver's word.
    pub(super) fn close(&mut self, now: Now, conn: ConnId, reason: CloseReason) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if session.is_closing() {
            return;
        }
        let from = (session.remote, session.identity);
        self.timers.remove(&(session.timer, Timer::Session(conn)));
        let state = core::mem::replace(&mut session.state, SessionState::Closing { reason, node_id: None });
        let node_id = self.settle(now, conn, from, state, reason);
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.state = SessionState::Closing { reason, node_id };
        }
        let last_error = reason.consequence().last_error.and_then(|text| Message::Error(text).to_payload().ok());
        let drain = match reason.blame() {
            Blame::Misbehaved | Blame::Incompatible | Blame::Lost => DRAIN_AFTER_VIOLATION,
            Blame::Ours => DRAIN,
        };
        self.outputs.push_back(Output::Close { conn, reason, last_error, drain });
    }

    /// The driver's word: the connection is gone.
    pub(super) fn on_closed(&mut self, now: Now, conn: ConnId, reason: CloseReason) {
        let Some(session) = self.sessions.remove(&conn) else { return };
        self.timers.remove(&(session.timer, Timer::Session(conn)));
        let (remote, identity, state) = (session.remote, session.identity, session.state);
        self.admission.closed(conn);
        let (reason, node_id) = match state {
            SessionState::Closing { reason, node_id } => (reason, node_id),
            state => (reason, self.settle(now, conn, (remote, identity), state, reason)),
        };
        *self.counters.closed.entry(reason.label()).or_default() += 1;
        if let Direction::Outbound(dial) = session.direction {
            self.outbound.closed(dial, reason, now, self.is_online(), &mut self.book, &mut self.rng);
        }
        self.emit(match node_id {
            Some(node_id) => Event::PeerDisconnected { conn, node_id, reason },
            None => Event::HandshakeFailed { remote, reason },
        });
    }

    /// Takes a session out of everything that counts on it; answers the peer's id when it had introduced itself.
    fn settle(
        &mut self,
        now: Now,
        conn: ConnId,
        from: (SocketAddr, Option<VerifiedId>),
        state: SessionState,
        reason: CloseReason,
    ) -> Option<String> {
        let peer = match state {
            SessionState::Ready(peer) => Some(peer),
            _ => None,
        };
        if let Some(peer) = &peer {
            self.counting -= usize::from(peer.counting);
            if self.by_id.get(&peer.node_id) == Some(&conn) {
                self.by_id.remove(&peer.node_id);
                self.peers.set_connected(&peer.node_id, false, now);
            }
            if let Some(address) = peer.address.filter(|_| reason != CloseReason::DuplicateConnection) {
                // Of the connections that it dialed itself, the pool knows nothing, and did not wait for their end.
                self.outbound.left(address, peer.since, reason, now, &mut self.book, &mut self.rng);
            }
            self.relay.peer_gone(conn);
            self.sync.peer_gone(now, conn, &self.chain);
        }
        self.hold_against(now, from, peer.as_deref(), reason);
        peer.map(|peer| peer.node_id)
    }

    /// Reputation: by the address that the peer did not choose and the identity that it has proven, and in the table by the
    /// id that it gave.
    fn hold_against(
        &mut self,
        now: Now,
        (remote, identity): (SocketAddr, Option<VerifiedId>),
        peer: Option<&Peer>,
        reason: CloseReason,
    ) {
        if !reason.consequence().counts_as_failure {
            return;
        }
        if let Some(peer) = peer {
            self.peers.record_failure(&peer.node_id);
        }
        if reason.blame() == Blame::Misbehaved {
            if self.is_exempt(remote) {
                return;
            }
            let mut banned = false;
            for origin in origins(remote, identity) {
                banned |= self.reputation.record_violation(origin, now.at);
            }
            if banned {
                self.ban(now, remote);
            }
        }
    }

    /// Closes every connection of a blacklisted address or identity.
    fn ban(&mut self, now: Now, remote: SocketAddr) {
        self.emit(Event::Blacklisted { remote });
        let same: Vec<ConnId> = self
            .sessions
            .values()
            .filter(|s| !s.is_closing() && self.is_banned(now, s.remote, s.identity))
            .map(|s| s.conn)
            .collect();
        for conn in same {
            self.close(now, conn, CloseReason::Blacklisted);
        }
    }

    /// Something useful came that was asked for, or was new and valid.
    pub(super) fn record_success(&mut self, now: Now, conn: ConnId) {
        let Some(session) = self.sessions.get(&conn) else { return };
        let Some(peer) = session.peer() else { return };
        self.peers.record_success(&peer.node_id);
        for origin in origins(session.remote, session.identity) {
            self.reputation.record_success(origin, now.at);
        }
    }

    /// A request that was not answered in time; slowness alone never bans.
    pub(super) fn record_slowness(&mut self, conn: ConnId) {
        if let Some(peer) = self.sessions.get(&conn).and_then(|s| s.peer()) {
            self.peers.record_failure(&peer.node_id);
        }
    }

    /// An admitted address that became no connection: mostly, its TLS handshake failed.
    pub(super) fn on_admission_released(&mut self, now: Now, remote: SocketAddr, reason: CloseReason) {
        self.admission.released(remote);
        *self.counters.closed.entry(reason.label()).or_default() += 1;
        self.hold_against(now, (remote, None), None, reason);
        self.emit(Event::HandshakeFailed { remote, reason });
    }

    /// A dial that ended without a connection.
    pub(super) fn on_dial_failed(&mut self, now: Now, dial: DialId, reason: CloseReason) {
        let Some((remote, _)) = self.dials.remove(&dial) else { return };
        self.outbound.closed(dial, reason, now, self.is_online(), &mut self.book, &mut self.rng);
        self.hold_against(now, (remote, None), None, reason);
        self.emit(Event::DialFailed { remote, reason });
    }

    /// At least one peer answers, so an address that does not is to blame for it.
    fn is_online(&self) -> bool {
        !self.by_id.is_empty()
    }

    /// Puts a peer that introduced itself into the table of known peers.
    pub(super) fn remember_peer(&mut self, now: Now, remote: SocketAddr, peer: &Peer) {
        let record = PeerRecord {
            connected: true,
            seen_from: Some(remote),
            chain_length: peer.chain_length,
            protocol_version: i32::from(peer.version),
            user_agent: peer.user_agent.clone(),
            ..PeerRecord::new(peer.node_id.clone(), peer.address, now)
        };
        // The table is for dials and reports: a peer that finds no room in it is served all the same.
        let _ = self.peers.add(record);
    }

    /// Says goodbye to everyone.
    pub(super) fn stop(&mut self, now: Now) {
        self.stopping = true;
        self.outputs.push_back(Output::SavePeers);
        let conns: Vec<ConnId> = self.sessions.keys().copied().collect();
        for conn in conns {
            self.close(now, conn, CloseReason::Shutdown);
        }
    }
}
