//! What a close means: for the connection, the peer's reputation, the next dials and the table of known peers.

use core::net::SocketAddr;
use core::time::Duration;

use crate::close::{Blame, CloseReason, Redial};
use crate::id::{ConnId, DialId, Direction, VerifiedId, unnamed};
use crate::proto::event::{Event, Output};
use crate::proto::node::Node;
use crate::proto::node::banning::origins;
use crate::proto::node::sessions::{SessionState, Was};
use crate::proto::peer::peer_key::PeerKey;
use crate::proto::peer::peer_table::{Evidence, Introduced, PeerRecord};
use crate::proto::session::Peer;
use crate::proto::sync::chain::Chain;
use crate::time::Now;
use crate::wire::Message;

/// How long the queue of a peer that did nothing wrong may take to leave.
const DRAIN: Duration = Duration::from_secs(2);
/// The same for a peer that broke the rules, fell silent or is not one of ours: enough for the last error.
const DRAIN_AFTER_VIOLATION: Duration = Duration::from_millis(500);

impl<C: Chain> Node<C> {
    /// Ends a connection from our side. What the peer did is held against it now; the session waits for the driver's word.
    pub(super) fn close(&mut self, now: Now, conn: ConnId, reason: CloseReason) {
        let is_greeting = self.sessions.get(conn).is_some_and(|s| s.greeting_deadline().is_some() && !s.is_outbound());
        let Some((remote, identity, peer)) = self.sessions.close(conn, reason) else { return };
        if is_greeting && reason.consequence().wastes_its_place {
            self.admission.wasted(now.at, remote);
        }
        self.admission.leave(conn);
        self.on_left(now, conn, (remote, identity), peer.as_deref(), reason);
        let last_error = reason.consequence().last_error.and_then(|text| Message::Error(text).to_payload().ok());
        let drain = match reason.blame() {
            // It has said its last word, and there is nothing to answer.
            _ if reason == CloseReason::RemoteClosed => Duration::ZERO,
            Blame::Misbehaved | Blame::Incompatible | Blame::Lost => DRAIN_AFTER_VIOLATION,
            Blame::Ours => DRAIN,
        };
        self.outputs.push_back(Output::Close { conn, reason, last_error, drain });
    }

    /// The driver's word: the connection is gone.
    pub(super) fn on_closed(&mut self, now: Now, conn: ConnId, reason: CloseReason) {
        let Some(mut session) = self.sessions.remove(conn) else { return };
        let remote_error = session.remote_error.take();
        let (remote, direction, identity) = (session.remote(), session.direction(), session.identity());
        self.admission.closed(conn);
        let was = session.was();
        let reason = match session.into_state() {
            SessionState::Closing { reason, .. } => reason,
            SessionState::Ready(peer) => {
                self.on_left(now, conn, (remote, identity), Some(&peer), reason);
                reason
            }
            SessionState::Greeting { .. } | SessionState::Client(_) => {
                self.on_left(now, conn, (remote, identity), None, reason);
                reason
            }
        };
        *self.counters.closed.entry(reason.label()).or_default() += 1;
        if let Direction::Outbound(dial) = direction {
            if reason == CloseReason::DuplicateConnection {
                self.note_answered(dial);
            }
            if reason.consequence().redial == Redial::Never
                && let Some(address) = self.outbound.address(dial)
            {
                self.peers.forget_address(address, None);
            }
            self.outbound.closed(dial, reason, now, self.is_online(), &mut self.book, &mut self.rng);
            self.tell_found(now, None);
        }
        self.emit(match was {
            Was::Peer(node_id) => Event::PeerDisconnected { conn, node_id, identity, remote, reason, remote_error },
            Was::Client(name) => Event::ClientDisconnected { conn, name, remote, reason: Some(reason), remote_error },
            Was::Nobody => Event::HandshakeFailed { remote, outbound: direction.is_outbound(), reason, remote_error },
        });
    }

    /// A dial of ours ended because there is a connection with that node already: the peer that announced the address is found
    /// there, although it was the one who dialed. Without this a node whose peers all dial it would remember none of them.
    fn note_answered(&mut self, dial: DialId) {
        let Some(address) = self.outbound.address(dial) else { return };
        let announced = self.sessions.ready().find(|(_, peer)| peer.address == Some(address));
        if let Some(known_as) = announced.map(|(_, peer)| peer.known_as.clone()) {
            self.peers.record_reached(&known_as);
        }
    }

    /// The session ends, here or there: everything else that counts on its peer forgets it.
    fn on_left(
        &mut self,
        now: Now,
        conn: ConnId,
        from: (SocketAddr, Option<VerifiedId>),
        peer: Option<&Peer>,
        reason: CloseReason,
    ) {
        self.stop_reading(conn);
        if let Some(peer) = peer {
            self.peers.set_connected(&peer.known_as, false, now);
            if reason != CloseReason::Shutdown && reason.blame() != Blame::Lost {
                self.peers.end_anchor(&peer.known_as);
            }
            if reason != CloseReason::DuplicateConnection {
                self.outbound.peer_gone(&PeerKey::new(peer.node_id(), from.0, from.1), now);
            }
            if let Some(address) = peer.address.filter(|_| reason != CloseReason::DuplicateConnection) {
                // Of the connections that it dialed itself, the outbound manager knows nothing, and did not wait for their end.
                self.outbound.left(address, peer.since, reason, now, &mut self.book, &mut self.rng);
            }
            self.known.peer_gone(conn);
            self.sync.peer_gone(now, conn, &self.chain);
            self.keep_unheard(now, peer.own_gossip.waiting());
        }
        self.hold_against(now, from, peer, reason);
    }

    /// Reputation: by the address that the peer did not choose and the identity that it has proven, and in the table by
    /// the id under which it is known there.
    pub(super) fn hold_against(
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
            self.peers.record_failure(&peer.known_as);
        }
        if reason.blame() == Blame::Misbehaved {
            if self.is_exempt(remote) {
                return;
            }
            let mut banned = false;
            for origin in origins(remote, identity) {
                banned |= self.reputation.record_violation(origin, reason.label(), now.at);
            }
            if banned {
                self.bans_changed = true;
                self.counters.blacklisted += 1;
                self.emit(Event::Blacklisted { remote, reason, duration: self.config.blacklist.duration });
                self.close_banned(now);
            }
        }
    }

    /// Something useful came that was asked for, or was new and valid.
    pub(super) fn record_success(&mut self, now: Now, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        let Some(peer) = session.peer() else { return };
        self.peers.record_success(&peer.known_as);
        for origin in origins(session.remote(), session.identity()) {
            self.reputation.record_success(origin, now.at);
        }
    }

    /// A request that was not answered in time; slowness alone never bans.
    pub(super) fn record_slowness(&mut self, conn: ConnId) {
        if let Some(peer) = self.sessions.peer(conn) {
            self.peers.record_failure(&peer.known_as);
        }
    }

    /// An admitted address that became no connection: mostly, its TLS handshake failed.
    pub(super) fn on_admission_released(&mut self, now: Now, remote: SocketAddr, reason: CloseReason) {
        self.admission.released(remote);
        if reason.consequence().wastes_its_place {
            self.admission.wasted(now.at, remote);
        }
        *self.counters.closed.entry(reason.label()).or_default() += 1;
        self.hold_against(now, (remote, None), None, reason);
        self.emit(Event::HandshakeFailed { remote, outbound: false, reason, remote_error: None });
    }

    /// Puts a peer that introduced itself into the table of known peers. Answers under which id it is there.
    pub(super) fn remember_peer(&mut self, now: Now, session: (SocketAddr, Evidence), peer: &Peer) -> String {
        let (remote, evidence) = session;
        // Where others prove their ids, one that is only claimed must not stand beside them.
        let is_nobody = self.config.secured && evidence != Evidence::Proven;
        let node_id = if is_nobody { unnamed(peer.address.unwrap_or(remote)) } else { peer.node_id().to_owned() };
        let record = PeerRecord {
            connected: true,
            seen_from: Some(remote),
            chain_length: peer.chain_length,
            protocol_version: i32::from(peer.version),
            user_agent: peer.user_agent.clone(),
            ..PeerRecord::new(node_id, peer.address, now)
        };
        // The table is for dials and reports: a peer that finds no room in it is served all the same.
        let Introduced { known_as, displaced } = self.peers.introduce(record, evidence);
        if let Some(displaced) = displaced {
            self.sessions.rename(&known_as, displaced);
        }
        known_as
    }

    /// Closes every connection, and asks for a last save.
    pub(super) fn stop(&mut self, now: Now) {
        self.stopping = true;
        self.outputs.extend([Output::SavePeers, Output::SaveBans]);
        let conns: Vec<ConnId> = self.sessions.iter().map(|s| s.conn()).collect();
        for conn in conns {
            self.close(now, conn, CloseReason::Shutdown);
        }
    }
}
