//! The handshake: who the other side is, in which version we talk, and which of two connections to it stays.
//!
//! 1. The dialer sends Handshake when the connection is open.
//! 2. The acceptor checks it (version, not ourselves, our network), then answers HandshakeAck.
//! 3. Whoever now knows the other's id looks for a second connection to it; `wire::protocol`, section 4, says which one stays, in
//!    a way that both ends decide alike.
//! 4. The version in force is the smaller one; its rules hold from the next frame on.

use core::net::SocketAddr;

use crate::address::canonical;
use crate::close::CloseReason;
use crate::id::{ConnId, Direction, VerifiedId, unnamed};
use crate::proto::budget::{SendBudgets, Serving, TransactionPace};
use crate::proto::clock::PeerClock;
use crate::proto::event::{Event, Output};
use crate::proto::gossip::RelayedGossip;
use crate::proto::node::Node;
use crate::proto::node::sessions::{Session, Was};
use crate::proto::peer::peer_key::PeerKey;
use crate::proto::peer::peer_table::Evidence;
use crate::proto::pool::{Manner, PoolExchange};
use crate::proto::session::Peer;
use crate::proto::session::speech::Speech;
use crate::proto::sync::chain::Chain;
use crate::time::{Now, UnixTime};
use crate::wire::message::{Extension, Handshake};
use crate::wire::{Hash, Kind, Message};

impl<C: Chain> Node<C> {
    /// Greets under another id from now on, as when a renewed certificate has another key. Peers stay, under the id by which
    /// they know us. Whoever has dialed us and is not greeted yet is left, for TLS has shown it the former id.
    pub fn set_node_id(&mut self, now: Now, node_id: impl Into<String>) {
        let node_id = node_id.into();
        if node_id == self.config.node_id {
            return;
        }
        let ungreeted = self.sessions.iter().filter(|s| s.greeting_deadline().is_some() && !s.is_outbound());
        let mut left: Vec<(ConnId, CloseReason)> = ungreeted.map(|s| (s.conn(), CloseReason::Done)).collect();
        let namesakes = self.sessions.ready().filter(|(_, peer)| peer.node_id() == node_id);
        left.extend(namesakes.map(|(session, _)| (session.conn(), CloseReason::SelfConnection)));
        self.config.node_id = node_id;
        for (conn, reason) in left {
            self.close(now, conn, reason);
        }
    }

    /// The feature bits that say so, and that we serve runs and tell many headers, unless we are configured to count questions.
    fn waits_with_answers(&self) -> u64 {
        let counts = [Kind::GetBlock, Kind::GetBlocks, Kind::GetHeaders];
        let counts = counts.iter().any(|kind| self.config.rates.0.contains_key(kind));
        let bulk = Extension::SERVES_RUNS | Extension::TELLS_MANY_HEADERS;
        if counts { 0 } else { Extension::WAITS_WITH_ANSWERS | bulk }
    }

    /// Sends our side of the handshake as `kind`. To a version 1 peer it is, byte for byte, what version 1 sends.
    /// `seen` is where we see it, for one who asked.
    pub(super) fn send_handshake(&mut self, now: Now, conn: ConnId, kind: Kind, version: u8, seen: Option<SocketAddr>) {
        let best = self.chain.best();
        let session = self.sessions.get(conn);
        // Where we only look whether somebody is there, nobody need look back.
        let is_look = |dial| self.outbound.is_look(dial);
        let met = session.filter(|session| !matches!(session.direction(), Direction::Outbound(dial) if is_look(dial)));
        let listening_port = met.map_or(0, |met| self.own_addresses.port_for(met.local, met.remote()));
        let extension = (version >= 2).then(|| Extension {
            network: self.chain.genesis(),
            nonce: self.nonce,
            listening_port,
            features: self.features(),
            best_height: best.height,
            best_hash: best.hash,
            seen,
        });
        let node_id = self.config.node_id.clone();
        let user_agent = self.config.user_agent.clone();
        let handshake = Handshake {
            version: i32::from(version),
            unix_seconds: now.unix.as_secs(),
            node_id: &node_id,
            user_agent: &user_agent,
            extension,
        };
        let message = if kind == Kind::Handshake {
            Message::Handshake(handshake)
        } else {
            Message::HandshakeAck(Some(handshake))
        };
        self.send(conn, &message);
    }

    /// What we say in version 2 that we can do.
    fn features(&self) -> u64 {
        let many = if self.config.many_transactions { Extension::TAKES_MANY_TRANSACTIONS } else { 0 };
        let asks = if self.config.asks_its_address && !self.is_through_proxy { Extension::ASKS_ITS_ADDRESS } else { 0 };
        let pieces = if self.config.pieces { Extension::TAKES_PIECES } else { 0 };
        #[cfg(feature = "lz4")]
        let compressed = if self.config.compression { Extension::TAKES_COMPRESSED } else { 0 };
        #[cfg(not(feature = "lz4"))]
        let compressed = 0;
        Extension::OFFERS_TRANSACTIONS | many | asks | pieces | compressed | self.waits_with_answers()
    }

    /// A frame before the handshake is done.
    pub(super) fn on_greeting(&mut self, now: Now, conn: ConnId, message: &Message<'_>) {
        let Some(session) = self.sessions.get(conn) else { return };
        let outbound = session.is_outbound();
        let (remote, identity) = (session.remote(), session.identity());
        match message {
            Message::Handshake(handshake) if !outbound => match self.check_introduction(handshake, identity) {
                Ok(version) => self.welcome(now, conn, Introduction::new(handshake, version), message),
                Err(reason) => {
                    if reason == CloseReason::SelfConnection {
                        // Our own dialing side learns it from our nonce, and never dials that address again.
                        self.send_handshake(now, conn, Kind::HandshakeAck, self.config.version, None);
                    }
                    self.close(now, conn, reason);
                }
            },
            Message::HandshakeAck(Some(handshake)) if outbound => match self.check_introduction(handshake, identity) {
                Ok(version) => self.welcome(now, conn, Introduction::new(handshake, version), message),
                Err(reason) => self.close(now, conn, reason),
            },
            Message::HandshakeAck(None) if outbound => {
                self.welcome(now, conn, Introduction::anonymous(remote, identity), message);
            }
            Message::Error(text) => {
                self.on_error_text(now, conn, text);
                // It is the last word of whoever says it, and there was no budget for more of them.
                self.close(now, conn, CloseReason::RemoteClosed);
            }
            other => self.close(now, conn, CloseReason::Unexpected(other.kind())),
        }
    }

    /// The version in force with a side that introduced itself so.
    fn check_introduction(&self, handshake: &Handshake<'_>, identity: Option<VerifiedId>) -> Result<u8, CloseReason> {
        // Before all that a claimed id could decide: from here on a node id under TLS is a proven one.
        if identity.is_some_and(|identity| identity.to_string() != handshake.node_id) {
            return Err(CloseReason::IdentityMismatch);
        }
        if handshake.version < 1 {
            return Err(CloseReason::VersionTooLow(handshake.version));
        }
        let Some(extension) = &handshake.extension else {
            return if handshake.node_id == self.config.node_id { Err(CloseReason::SelfConnection) } else { Ok(1) };
        };
        if extension.nonce == self.nonce || handshake.node_id == self.config.node_id {
            return Err(CloseReason::SelfConnection);
        }
        if !extension.network.is_zero() && extension.network != self.chain.genesis() {
            return Err(CloseReason::WrongNetwork);
        }
        Ok(u8::try_from(handshake.version).unwrap_or(u8::MAX).min(self.config.version))
    }

    /// The other side is acceptable: decides which connection to it stays, then opens the session.
    fn welcome(&mut self, now: Now, conn: ConnId, introduction: Introduction, said: &Message<'_>) {
        let Some(session) = self.sessions.get(conn) else { return };
        let (key, came_from) = (session.key(&introduction.node_id), session.remote());
        if !session.is_outbound() {
            // Whichever of two connections stays.
            self.on_reached_by(came_from);
        }
        if let Some(other) = self.sessions.with_key(&key) {
            if self.keeps_older(now, other, conn, &key) {
                self.doubt(now, other);
                self.close_duplicate(now, conn, key);
                return;
            }
            self.close_duplicate(now, other, key.clone());
        }
        let Some(session) = self.sessions.get(conn) else { return };
        let evidence = match (session.identity(), session.is_outbound()) {
            (Some(_), _) => Evidence::Proven,
            (None, true) => Evidence::Dialed,
            (None, false) => Evidence::Claimed,
        };
        let (remote, direction, outbound) = (session.remote(), session.direction(), session.is_outbound());
        let is_web_socket = session.is_web_socket;
        let asks_only = introduction.features & Extension::ASKS_ONLY != 0;
        if !outbound && (!self.leave_client_place(now, conn) || !self.make_place(now, conn, asks_only)) {
            self.close(now, conn, CloseReason::LimitReached);
            return;
        }
        if !outbound {
            let seen = introduction.features & Extension::ASKS_ITS_ADDRESS != 0;
            let seen = seen.then(|| canonical(remote));
            self.send_handshake(now, conn, Kind::HandshakeAck, introduction.version.min(self.config.version), seen);
        }
        let address = match (outbound, introduction.listening_port) {
            // What is there is no port for our frames, and behind a browser there is none at all.
            _ if is_web_socket => None,
            (true, _) => Some(remote),
            (false, 0) => None,
            // With the interface, where the address needs one.
            (false, port) => {
                let mut address = remote;
                address.set_port(port);
                Some(canonical(address))
            }
        };
        let next_heartbeat = now.at + self.config.heartbeat;
        let in_exempt_range = self.admission.exempt().contains(remote.ip());
        let manner = introduction.manner();
        let both = self.features() & introduction.features;
        let takes_many = both & Extension::TAKES_MANY_TRANSACTIONS != 0;
        let mut speech = Speech::new(introduction.version, &self.config.rates);
        speech.note(said);
        let client = self.sessions.get(conn).and_then(Session::client);
        if introduction.version < 2 && client.is_some_and(|client| client.has_spoken) {
            // What it has shown before it introduced itself holds. Who was only slow has shown nothing.
            speech = Speech::unintroduced(&self.config.rates);
        }
        let mut peer = Peer::new(
            (introduction.node_id.clone(), introduction.user_agent, introduction.version, speech),
            (now.at, next_heartbeat),
            TransactionPace::new(self.config.rates.for_sending(Kind::Transaction, in_exempt_range), takes_many),
            (
                SendBudgets::new(&self.config.rates, in_exempt_range),
                Serving::new(self.config.serving_rate, self.is_exempt(remote)),
                RelayedGossip::new(&self.config.rates, in_exempt_range),
            ),
            PoolExchange::new(now.at, manner, self.rng.next_u64()),
        );
        // What only one of us can do is nothing that the other may count on.
        peer.serves_runs = [introduction.features, self.features()].into_iter().all(Extension::serves_runs);
        peer.tells_many_headers =
            [introduction.features, self.features()].into_iter().all(Extension::tells_many_headers);
        peer.takes_pieces = both & Extension::TAKES_PIECES != 0;
        peer.takes_compressed = both & Extension::TAKES_COMPRESSED != 0;
        let bulk = Extension::SERVES_RUNS | Extension::TELLS_MANY_HEADERS;
        let features = introduction.features & (!bulk | self.features());
        peer.address = address;
        peer.clock = introduction.clock.map(|clock| PeerClock::read(now.at, clock));
        peer.chain_length = introduction.best.map_or(0, |(height, _)| height.saturating_add(1));
        let (version, rules) = (peer.version, peer.rules());
        peer.known_as = self.remember_peer(now, (remote, evidence), &peer);
        let known_as = peer.known_as.clone();
        if let Some(Was::Client(name)) = self.sessions.get(conn).map(Session::was) {
            self.stop_reading(conn);
            self.emit(Event::ClientDisconnected { conn, name, remote, reason: None, remote_error: None });
        }
        self.sessions.introduce(conn, peer, next_heartbeat);
        let is_exempt = self.is_exempt(remote);
        if let Some(session) = self.sessions.get_mut(conn).filter(|_| takes_many) {
            session.budgets.take_many_transactions(is_exempt);
        }
        self.admission.ready(conn);
        self.known.peer_ready(conn);
        let mut is_spent = false;
        if let Direction::Outbound(dial) = direction {
            self.peers.record_reached(&known_as);
            if self.outbound.is_chosen(dial) {
                self.peers.set_anchor(&known_as);
                self.save_soon(now);
            }
            let spent = self.outbound.ready(dial, now, &mut self.book, &mut self.rng).map(Direction::Outbound);
            self.tell_found(now, Some(&key));
            let spent = self.sessions.iter().find(|s| Some(s.direction()) == spent).map(|s| s.conn());
            is_spent = spent == Some(conn);
            if let Some(spent) = spent.filter(|_| !is_spent) {
                self.close(now, spent, CloseReason::Done);
            }
        } else if let Some(address) = address {
            self.on_announced(now, conn, address);
        }
        self.outputs.push_back(Output::Rules { conn, rules });
        self.emit(Event::PeerConnected { conn, node_id: introduction.node_id, remote, outbound, version });
        if outbound {
            self.compare_clocks(now);
            let is_chosen = matches!(direction, Direction::Outbound(dial) if self.outbound.is_chosen(dial));
            if let Some(seen) =
                introduction.seen.filter(|_| is_chosen && self.config.asks_its_address && !self.is_through_proxy)
            {
                self.on_seen_at(now, conn, seen.ip().to_canonical());
            }
        }
        if outbound && version < 2 {
            // Its content shows at once that we speak as the first revision does, where the other side is one of us.
            self.send_heartbeat(now, conn);
        }
        self.first_questions(now, conn, manner, outbound);
        let source = self.source_of(Some(conn));
        let introduced = (version, features, source);
        self.sync.peer_ready(now, conn, introduced, introduction.best, &self.chain);
        if is_spent {
            // It was dialed to see whether somebody is there.
            self.close(now, conn, CloseReason::Done);
        }
    }

    /// Ends a connection because another one to the same node stays.
    fn close_duplicate(&mut self, now: Now, conn: ConnId, peer: PeerKey) {
        if let Some(Direction::Outbound(dial)) = self.sessions.get(conn).map(|s| s.direction()) {
            self.outbound.duplicate_of(dial, peer);
        }
        self.close(now, conn, CloseReason::DuplicateConnection);
    }

    /// Of two connections to one node, the one dialed by the node with the smaller id stays; when the same side dialed
    /// both, the older. Only two that began at about the same time need that rule; one that lasted longer than a handshake
    /// takes stays, or whoever claims a peer's id could end our connection to it. Under TLS nobody else can claim it, and the
    /// rule is the same, for two nodes that dial each other again and again must agree on one connection all the same.
    ///
    /// In the clear a neighbour of the peer can claim its id at its address, so that a connection that we want and dialed outranks what only came: the
    /// node there would not have answered it, had it known us by the other one.
    fn keeps_older(&self, now: Now, older: ConnId, newer: ConnId, peer: &PeerKey) -> bool {
        let since = self.sessions.peer(older).map(|peer| peer.since);
        let dialed_by_us = |conn| self.sessions.get(conn).is_some_and(|s| s.is_outbound());
        // A look whether somebody is there ends at once, and must not end what stands.
        let is_chosen = match self.sessions.get(newer).map(|s| s.direction()) {
            Some(Direction::Outbound(dial)) => self.outbound.is_chosen(dial),
            _ => false,
        };
        let (older, newer) = (dialed_by_us(older), dialed_by_us(newer));
        if since.is_some_and(|since| now.at.since(since) > self.config.handshake_timeout) {
            return peer.is_proven() || older || !is_chosen;
        }
        let we_are_smaller = self.config.node_id.as_bytes() < peer.node_id().as_bytes();
        older == newer || older == we_are_smaller
    }

    /// What we want to know first.
    fn first_questions(&mut self, now: Now, conn: ConnId, manner: Manner, outbound: bool) {
        self.tell_own_addresses(now, conn);
        if outbound {
            self.ask_for_peers(now, conn);
        }
        self.begin_exchange(now, conn, manner);
        self.tell_unheard(now, conn);
    }

    /// A second handshake: the same again is dropped, another identity ends the connection.
    pub(super) fn on_late_handshake(&mut self, now: Now, conn: ConnId, kind: Kind, handshake: Option<&Handshake<'_>>) {
        let Some(session) = self.sessions.get(conn) else { return };
        let expected = if session.is_outbound() { Kind::HandshakeAck } else { Kind::Handshake };
        let same = match (handshake, session.peer()) {
            (Some(handshake), Some(peer)) => handshake.node_id == peer.node_id(),
            _ => true,
        };
        if kind != expected {
            self.close(now, conn, CloseReason::Unexpected(kind));
        } else if !same {
            self.close(now, conn, CloseReason::IdentityChanged);
        }
    }
}

/// What is kept of the other side's handshake.
struct Introduction {
    node_id: String,
    user_agent: String,
    version: u8,
    listening_port: u16,
    /// What its clock says, when it says that.
    clock: Option<UnixTime>,
    best: Option<(u64, Hash)>,
    features: u64,
    /// Where it sees us.
    seen: Option<SocketAddr>,
}

impl Introduction {
    fn new(handshake: &Handshake<'_>, version: u8) -> Self {
        // A side that announces version 2 without the block is treated as version 1, and one in version 1 has none.
        let extension = handshake.extension.filter(|_| version >= 2);
        Introduction {
            node_id: handshake.node_id.to_owned(),
            user_agent: handshake.user_agent.to_owned(),
            version,
            listening_port: extension.map_or(0, |e| e.listening_port),
            clock: Some(UnixTime::from_secs(handshake.unix_seconds)),
            best: extension.map(|e| (e.best_height, e.best_hash)),
            features: extension.map_or(0, |e| e.features),
            seen: extension.and_then(|e| e.seen),
        }
    }

    /// For an empty HandshakeAck, as later revisions of the C# library send it.
    fn anonymous(remote: SocketAddr, identity: Option<VerifiedId>) -> Self {
        Introduction {
            node_id: identity.map_or_else(|| unnamed(remote), |identity| identity.to_string()),
            user_agent: "unknown".to_owned(),
            version: 1,
            listening_port: 0,
            clock: None,
            best: None,
            features: 0,
            seen: None,
        }
    }

    /// How its pool and ours come together.
    fn manner(&self) -> Manner {
        match self.version {
            ..2 => Manner::News,
            _ if self.features & Extension::OFFERS_TRANSACTIONS != 0 => Manner::Offer,
            _ => Manner::AskForData,
        }
    }
}
