//! From a frame to whoever handles it: decoded once, charged once, then routed to one place.

use crate::close::CloseReason;
use crate::id::{ConnId, Direction, VerifiedId};
use crate::proto::budget::Charge;
use crate::proto::event::{Event, Output};
use crate::proto::node::Node;
use crate::proto::peer::peer_key::PeerKey;
use crate::proto::sync::chain::Chain;
use crate::proto::work::FRAME;
use crate::time::Now;
use crate::wire::dialect::{Meaning, ReadError};
use crate::wire::message::Heartbeat;
use crate::wire::{Frame, Kind, Message};

/// Characters that are kept of what a peer says in an Error frame, as they are shown: `\u{e0001}` is nine.
const ERROR_TEXT_MAX: usize = 256;

impl<C: Chain> Node<C> {
    pub(super) fn on_frame(&mut self, now: Now, conn: ConnId, frame: Frame<'_>) {
        self.work.spend(FRAME);
        self.work.spend_copying(frame.payload.len());
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if session.is_closing() {
            return;
        }
        session.heard(now.at);
        let (kind, message) = match session.read(frame.kind, &frame.payload) {
            Ok(Meaning::Said(message)) => (message.kind(), message),
            Ok(Meaning::Ambiguous) => {
                self.counters.ambiguous += 1;
                // It is one or the other, and counts as the first: who says many is over his budget all the same.
                let (kind, len) = (Kind::NewChallenge, frame.payload.len());
                self.counters.note_received(kind, len);
                if self.charge(now, conn, kind, len) != Charge::Ok {
                    *self.counters.over_budget.entry(kind).or_default() += 1;
                }
                return;
            }
            Err(ReadError::Type(error)) => return self.close(now, conn, CloseReason::Frame(error)),
            Err(ReadError::Payload(kind, error)) => {
                self.counters.note_received(kind, frame.payload.len());
                return self.close(now, conn, CloseReason::Payload(kind, error));
            }
        };
        self.counters.note_received(kind, frame.payload.len());
        let (greets, may_be_client) = (session.greeting_deadline().is_some(), session.may_be_client);
        let introduces = matches!(kind, Kind::Handshake) || greets && matches!(kind, Kind::HandshakeAck | Kind::Error);
        if may_be_client && !introduces && session.peer().is_none() {
            if !greets || self.let_in_client(now, conn) {
                self.on_client_frame(now, conn, &message, &frame);
            }
            return;
        }
        if greets || session.client().is_some() {
            self.on_greeting(now, conn, &message);
            return;
        }
        if session.peer_mut().is_some_and(|peer| peer.speech.note(&message)) {
            self.on_shown(now, conn);
        }
        if let Message::Ping(ping) = &message
            && self.on_echo(now, conn, ping)
        {
            return;
        }
        // In version 1 a block that was not asked for is a new one, and costs as much.
        let (kind, message) = match message {
            Message::Block(block) if self.is_pushed_block(conn, block) => (Kind::NewBlock, Message::NewBlock(block)),
            message => (kind, message),
        };
        match self.charge(now, conn, kind, frame.payload.len()) {
            Charge::Ok => self.on_message(now, conn, message, &frame),
            // Who passes on what others say does not choose how much that is.
            Charge::Over => *self.counters.over_budget.entry(kind).or_default() += 1,
            Charge::Flood if kind.is_relayed() => *self.counters.over_budget.entry(kind).or_default() += 1,
            Charge::Flood => self.close(now, conn, CloseReason::Flooding(kind)),
        }
    }

    /// What a message of this kind costs its sender. Answers to our own questions are free: the question was the budget.
    pub(super) fn charge(&mut self, now: Now, conn: ConnId, kind: Kind, len: usize) -> Charge {
        let Some(session) = self.sessions.get_mut(conn) else { return Charge::Over };
        if let Some(peer) = session.peer_mut() {
            if kind == Kind::Transaction && peer.asked_transactions > 0 {
                peer.asked_transactions -= 1;
                return Charge::Ok;
            }
            if kind == Kind::Headers && self.sync.is_asked_for_headers(conn) {
                return Charge::Ok;
            }
            if kind == Kind::Peers && peer.asked_peers {
                return Charge::Ok;
            }
        }
        let charge = session.budgets.charge(now.at, kind, len);
        let peer = session.asker_mut().filter(|_| kind == Kind::Ping);
        if peer.is_some_and(|peer| peer.speech.is_ping_flood(now.at)) { Charge::Flood } else { charge }
    }

    /// A version 1 peer has shown how it speaks: what waited for that may go.
    fn on_shown(&mut self, now: Now, conn: ConnId) {
        let Some(peer) = self.sessions.peer(conn) else { return };
        let rules = peer.rules();
        self.outputs.push_back(Output::Rules { conn, rules });
        self.say_waiting(now, conn);
        self.pass_on_waiting(now, conn);
    }

    fn on_message(&mut self, now: Now, conn: ConnId, message: Message<'_>, frame: &Frame<'_>) {
        match message {
            Message::Handshake(handshake) => self.on_late_handshake(now, conn, Kind::Handshake, Some(&handshake)),
            Message::HandshakeAck(ack) => self.on_late_handshake(now, conn, Kind::HandshakeAck, ack.as_ref()),
            Message::Heartbeat(heartbeat) => self.on_heartbeat(now, conn, &heartbeat),
            Message::Ping(ping) => self.on_ping(now, conn, &ping),
            Message::Pong(pong) => self.on_pong(now, conn, &pong),
            Message::GetPeers(request) => self.on_get_peers(now, conn, &request),
            Message::Peers(addresses) => self.on_peers(now, conn, addresses),
            Message::GetHeaders(request) => self.on_get_headers(now, conn, request),
            Message::Headers(headers) => self.sync.handle_headers(now, conn, &headers, &self.chain),
            Message::GetBlock(hash) => self.on_get_block(now, conn, hash),
            Message::Block(block) => {
                self.sync.handle_block(now, conn, frame.payload.keep(block), &mut self.chain);
                self.expect_blocks(conn);
            }
            Message::GetBlocks(hashes) => self.on_get_blocks(now, conn, &hashes),
            Message::Blocks(blocks) => {
                let blocks = blocks.into_iter().map(|block| frame.payload.keep(block)).collect();
                self.sync.handle_blocks(now, conn, blocks, &mut self.chain);
                self.expect_blocks(conn);
            }
            Message::NotFound(hash) => {
                self.sync.handle_not_found(now, conn, hash, &self.chain);
                self.expect_blocks(conn);
            }
            Message::Transaction(bytes) => self.on_transaction(now, conn, frame.payload.keep(bytes)),
            Message::NewBlock(bytes) => self.on_new_block(now, conn, frame.payload.keep(bytes)),
            Message::TxPoolRequest(request) => self.on_pool_request(now, conn, request),
            Message::TxPool(names) => self.on_pool_names(now, conn, names),
            Message::NewChallenge(_) | Message::ProofSubmission(_) => {
                self.submit_gossip(now, Some(conn), message.kind(), frame.payload.keep(&frame.payload));
            }
            Message::BlockAccepted(accepted) => {
                self.submit_gossip(now, Some(conn), Kind::BlockAccepted, frame.payload.keep(&frame.payload));
                // Who passes an acceptance on does not say that it has the block, so that the hash is no claim of its own: it
                // could not deliver, and must not answer for what somebody else made up.
                if self.chain.position(&accepted.hash).is_none() {
                    self.sync.peer_announced(now, conn, Some(accepted.height), None, &self.chain);
                }
            }
            Message::Error(text) => self.on_error_text(now, conn, text),
        }
    }

    fn on_heartbeat(&mut self, now: Now, conn: ConnId, heartbeat: &Heartbeat<'_>) {
        let Heartbeat::Status { chain_length, .. } = heartbeat else { return };
        let Some(peer) = self.sessions.peer_mut(conn) else { return };
        peer.chain_length = u64::try_from(*chain_length).unwrap_or(0);
        let (id, length) = (peer.known_as.clone(), peer.chain_length);
        self.peers.update_chain_length(&id, length);
        let height = length.saturating_sub(1);
        if height > self.chain.best().height {
            self.sync.peer_announced(now, conn, Some(height), None, &self.chain);
        }
    }

    /// The text goes to the log and nowhere else, but for one that says that the other side knows us by another connection: it
    /// ends this one, and we must know that it was not for any fault of the address.
    pub(super) fn on_error_text(&mut self, now: Now, conn: ConnId, text: &str) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let is_duplicate = Some(text) == CloseReason::DuplicateConnection.consequence().last_error;
        let is_full = Some(text) == CloseReason::LimitReached.consequence().last_error;
        let mut shown = 0;
        let fits = |c: &char| {
            shown += c.escape_debug().count();
            shown <= ERROR_TEXT_MAX
        };
        let text: String = text.chars().take_while(fits).collect();
        session.remote_error = Some(text.clone());
        let (remote, direction, identity) = (session.remote(), session.direction(), session.identity());
        let greets = session.greeting_deadline().is_some();
        // Whoever says so of a connection that we do not have means one of an earlier run of ours, or lies.
        let is_duplicate = is_duplicate && self.may_be_connected(conn, identity);
        self.emit(Event::RemoteError { conn, remote, text });
        let Direction::Outbound(dial) = direction else { return };
        if greets && is_full {
            self.outbound.is_full(dial);
        }
        if greets && is_duplicate {
            if let Some(identity) = identity {
                self.outbound.duplicate_of(dial, PeerKey::new(&identity.to_string(), remote, Some(identity)));
            }
            self.close(now, conn, CloseReason::DuplicateConnection);
        }
    }

    /// Whether there is another connection that may lead to the same node.
    fn may_be_connected(&self, conn: ConnId, identity: Option<VerifiedId>) -> bool {
        let mut others = self.sessions.iter().filter(|session| session.conn() != conn && !session.is_closing());
        others.any(|other| identity.is_none() || other.identity() == identity)
    }
}
