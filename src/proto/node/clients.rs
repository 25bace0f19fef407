//! Clients that do not introduce themselves, as the miner, the discovery and the download of the C# library: answered, and no peers.
//!
//! 1. From the ranges of the configuration a connection may begin with any frame of version 1, or say nothing until its handshake is
//!    overdue: then it is one. A Handshake makes it a peer at any time.
//! 2. It is answered in the order of asking, one question after the other, for it takes the next frame for the answer.
//! 3. As long as it has asked nothing it is told the acceptance of our tip, and of each new one. Nothing else is said to it unasked.
//!
//! It has a place of its own from the moment of its admission, is in no table of peers, and is neither dialed nor told of.

use crate::close::CloseReason;
use crate::id::{ConnId, unnamed};
use crate::proto::budget::{Charge, SendBudgets, Serving, TransactionPace};
use crate::proto::event::{Event, Output};
use crate::proto::gossip::RelayedGossip;
use crate::proto::node::Node;
use crate::proto::node::objects::STEP;
use crate::proto::pool::{Manner, PoolExchange};
use crate::proto::session::client::Client;
use crate::proto::session::speech::Speech;
use crate::proto::session::{ClientInfo, Peer};
use crate::proto::sync::chain::Chain;
use crate::time::{Instant, Now};
use crate::wire::{Frame, Kind, Message};

impl<C: Chain> Node<C> {
    /// Nobody introduces himself here: a frame came, or the time for it is over. False when he has no place as a client.
    pub(super) fn let_in_client(&mut self, now: Now, conn: ConnId) -> bool {
        if !self.admission.has_client_place(conn) {
            // Others are here already, of whom it could be told that they are too many.
            self.close(now, conn, CloseReason::LimitReached);
            return false;
        }
        let Some(session) = self.sessions.get(conn) else { return false };
        let (remote, identity) = (session.remote(), session.identity());
        let name = identity.map_or_else(|| unnamed(remote), |identity| identity.to_string());
        let rates = &self.config.rates;
        let mut asker = Peer::new(
            (name.clone(), String::new(), 1, Speech::unintroduced(rates)),
            (now.at, Instant::NEVER),
            TransactionPace::new(rates.for_sending(Kind::Transaction, false), false),
            (
                SendBudgets::new(rates, false),
                Serving::new(self.config.serving_rate, self.is_exempt(remote)),
                RelayedGossip::new(rates, false),
            ),
            PoolExchange::new(now.at, Manner::News, 0),
        );
        asker.known_as = String::new();
        let rules = asker.rules();
        self.sessions.let_in_client(conn, Client::new(asker), Instant::NEVER);
        self.outputs.push_back(Output::Rules { conn, rules });
        self.emit(Event::ClientConnected { conn, name, remote });
        true
    }

    /// A frame of one whose place is a client's, and who has not introduced himself.
    pub(super) fn on_client_frame(&mut self, now: Now, conn: ConnId, message: &Message<'_>, frame: &Frame<'_>) {
        let kind = message.kind();
        if let Some(client) = self.sessions.client_mut(conn) {
            client.has_spoken = true;
            client.asker.speech.note(message);
        }
        if let Message::Ping(ping) = message
            && self.on_echo(now, conn, ping)
        {
            return;
        }
        // A block that it broadcasts is a new one, for nobody asks it for any.
        let charged = if kind == Kind::Block { Kind::NewBlock } else { kind };
        if self.charge(now, conn, charged, frame.payload.len()) != Charge::Ok {
            return self.close(now, conn, CloseReason::ClientTooFast(charged));
        }
        match message {
            Message::GetPeers(_) | Message::GetHeaders(_) | Message::GetBlock(_) | Message::TxPoolRequest(_) => {
                let Some(client) = self.sessions.client_mut(conn) else { return };
                if client.ask(kind, frame.payload.keep(&frame.payload)) {
                    self.answer_questions(now, conn);
                } else {
                    self.close(now, conn, CloseReason::ClientTooFast(kind));
                }
                return;
            }
            Message::Ping(ping) => self.on_ping(now, conn, ping),
            Message::Transaction(bytes) => self.submit_transaction(now, Some(conn), frame.payload.keep(bytes)),
            Message::Block(bytes) | Message::NewBlock(bytes) => {
                self.on_new_block(now, conn, frame.payload.keep(bytes));
            }
            Message::ProofSubmission(_) | Message::BlockAccepted(_) => {
                self.submit_gossip(now, Some(conn), kind, frame.payload.keep(&frame.payload));
            }
            Message::HandshakeAck(_) => return self.close(now, conn, CloseReason::Unexpected(kind)),
            Message::Error(text) => self.on_error_text(now, conn, text),
            // It says what a peer would; nobody asked for it, and it is told nothing back.
            _ => {}
        }
        self.tell_client(now, conn);
    }

    /// Answers what waits, up to the first answer that takes time or room.
    pub(super) fn answer_questions(&mut self, now: Now, conn: ConnId) {
        while !self.is_answering(conn)
            && let Some((kind, payload)) = self.sessions.client_mut(conn).and_then(Client::next_question)
        {
            match Message::decode(kind, &payload) {
                Ok(Message::GetPeers(request)) => self.on_get_peers(now, conn, &request),
                Ok(Message::GetHeaders(request)) => self.on_get_headers(now, conn, request),
                Ok(Message::GetBlock(hash)) => self.on_get_block(now, conn, hash),
                Ok(Message::TxPoolRequest(request)) => self.on_pool_request(now, conn, request),
                _ => debug_assert!(false, "a {} is no question", kind.name()),
            }
        }
    }

    /// Is an answer to a client on its way that is not in its queue yet?
    fn is_answering(&self, conn: ConnId) -> bool {
        let waits = |peer: &Peer| !peer.deferred.is_empty() || !peer.deferred_headers.is_empty();
        self.reading.is_for(conn) || self.sessions.asker(conn).is_some_and(waits)
    }

    /// Questions of a client that wait for others to be answered.
    pub(super) fn questions(&self, conn: ConnId) -> usize {
        self.sessions.get(conn).and_then(|session| session.client()).map_or(0, Client::waiting)
    }

    /// Tells a client that has asked nothing the acceptance of our tip, once; if its relay takes no more, when it does.
    pub(super) fn tell_client(&mut self, now: Now, conn: ConnId) {
        let tip = self.chain.best().hash;
        let Some(client) = self.sessions.client_mut(conn) else { return };
        if client.has_asked || client.told == Some(tip) {
            return;
        }
        if !client.asker.take_passed_on(now.at, Kind::BlockAccepted) {
            let ready_at = client.asker.ready_at(Kind::BlockAccepted).max(now.at + STEP);
            return self.sessions.pace(conn, ready_at);
        }
        client.told = Some(tip);
        if let Some((_, payload)) = self.tip_acceptance() {
            self.send_payload(conn, Kind::BlockAccepted, payload);
        }
    }

    /// The tip has moved.
    pub(super) fn tell_clients(&mut self, now: Now) {
        let clients: Vec<ConnId> = self.sessions.clients().map(|(session, _)| session.conn()).collect();
        self.work.spend_light(self.sessions.len());
        clients.into_iter().for_each(|conn| self.tell_client(now, conn));
    }

    /// One who has a client's place introduces himself: he needs one among the peers. False when there is none.
    pub(super) fn leave_client_place(&mut self, now: Now, conn: ConnId) -> bool {
        if !self.admission.has_client_place(conn) {
            return true;
        }
        let Some(remote) = self.sessions.get(conn).map(|session| session.remote()) else { return false };
        if self.admission.client_becomes_peer(conn, remote) {
            return true;
        }
        self.make_way(now, remote) && self.admission.client_becomes_peer(conn, remote)
    }
}

/// What an embedder may read between two inputs.
impl<C> Node<C> {
    /// Those who are answered and are no peers, for they do not introduce themselves, in the order of their connections.
    pub fn clients(&self) -> impl Iterator<Item = ClientInfo> + '_ {
        self.sessions.clients().map(|(session, client)| ClientInfo {
            conn: session.conn(),
            name: client.asker.node_id().to_owned(),
            identity: session.identity(),
            remote: session.remote(),
            has_asked: client.has_asked,
            since: client.asker.since,
        })
    }
}
