//! Transactions, blocks, challenges, proofs and acceptances: judged by the chain, then passed on.
//!
//! An object goes to each peer at most once, never to one that sent it, and only after the chain accepted it: "seen" is
//! marked after the judgement, so an invalid copy cannot hide a valid original.

use bytes::Bytes;
use core::net::Ipv4Addr;
use core::time::Duration;

use crate::close::CloseReason;
use crate::id::ConnId;
use crate::proto::event::Event;
use crate::proto::node::Node;
use crate::proto::node::known::Pending;
use crate::proto::session::Peer;
use crate::proto::session::speech::Acceptances;
use crate::proto::sync::chain::{Chain, Verdict};
use crate::source::Source;
use crate::time::Now;
use crate::wire::message::BlockAccepted;
use crate::wire::{Hash, Kind, Message};

/// Why we do not say again what everybody was told.
const KNOWN: &str = "it is known already";
/// After so many that are new comes one that the peer was found to lack, however many more are new.
const OFFER_AFTER: u8 = 3;
/// What it costs to note for one peer that it is sent a transaction, and to send it or to put it among those that wait: three
/// tables, and three steps of the shares.
const RELAYED_WORK: usize = 16;
/// The same for a transaction that finds no room there.
const REFUSED_WORK: usize = 4;
/// So many transactions are sent to a peer in one go, and the next a moment later: its pace may allow a burst of thousands.
pub(super) const SENT_AT_ONCE: usize = 100;
/// What waits for a peer's pace waits for the clock to move.
pub(super) const STEP: Duration = Duration::from_millis(1);

impl<C: Chain> Node<C> {
    pub(super) fn on_transaction(&mut self, now: Now, conn: ConnId, bytes: Bytes) {
        if let Some(peer) = self.sessions.peer_mut(conn) {
            peer.pool.passed(now.at);
        }
        self.submit_transaction(now, Some(conn), bytes);
    }

    pub(super) fn submit_transaction(&mut self, now: Now, from: Option<ConnId>, bytes: Bytes) {
        self.work.spend_hashing(bytes.len());
        let Some(id) = self.chain.transaction_id(&bytes) else {
            self.refuse(now, from, Kind::Transaction, "not a transaction");
            return;
        };
        if self.is_old(now, Kind::Transaction, id, from) {
            return;
        }
        let verdict = self.chain.submit_transaction_from(now.unix, self.source_of(from), bytes.clone());
        self.judge(now, verdict, Pending { kind: Kind::Transaction, id, from, payload: bytes });
    }

    pub(super) fn submit_gossip(&mut self, now: Now, from: Option<ConnId>, kind: Kind, payload: Bytes) {
        if !is_gossip(kind) || Message::decode(kind, &payload).is_err() {
            return self.refuse(now, from, kind, "malformed");
        }
        self.work.spend_hashing(payload.len());
        let id = self.chain.gossip_id(kind, &payload);
        if self.is_old(now, kind, id, from) {
            return self.refuse_softly(from, kind, KNOWN);
        }
        let verdict = self.chain.check_gossip(now.unix, kind, &payload);
        self.judge(now, verdict, Pending { kind, id, from, payload });
    }

    /// True for an object that was judged valid lately; its sender is then known to have it.
    pub(super) fn is_old(&mut self, now: Now, kind: Kind, id: Hash, from: Option<ConnId>) -> bool {
        let old = self.known.is_accepted(now.at, &id);
        if old {
            self.has_it(from, kind, id);
        }
        old
    }

    /// Notes that a peer has an object; if it was waiting to be sent there, it waits no longer.
    fn has_it(&mut self, conn: Option<ConnId>, kind: Kind, id: Hash) {
        self.known.learn(conn, id);
        let Some(peer) = conn.and_then(|conn| self.sessions.peer_mut(conn)) else { return };
        peer.pool.has_it(&id);
        if is_gossip(kind) {
            peer.own_gossip.forget(kind, &id);
            peer.relayed.forget(kind, &id);
        } else {
            peer.waiting.remove(&id);
        }
    }

    pub(super) fn judge(&mut self, now: Now, verdict: Verdict, object: Pending) {
        let Pending { kind, id, from, payload } = object;
        match verdict {
            Verdict::Accepted { .. } if from.is_none() && is_gossip(kind) => self.say(now, kind, id, payload),
            Verdict::Accepted { best_changed } => {
                self.known.accept(now.at, id, from);
                if let Some(conn) = from {
                    self.record_success(now, conn);
                    self.note_contribution(now, conn, kind);
                    if let Some(peer) = self.sessions.peer_mut(conn) {
                        peer.pool.has_it(&id);
                    }
                }
                // Who follows the heavier chain has no use for another one's blocks.
                if best_changed || kind != Kind::NewBlock {
                    self.pass_on(now, kind, id, from, &payload);
                }
                match kind {
                    Kind::Transaction => self.emit(Event::TransactionAccepted { id, from }),
                    Kind::NewBlock => {
                        self.emit(Event::BlockAccepted { hash: id, from });
                        if best_changed {
                            self.tip_moved(now);
                        }
                        self.sync.block_arrived(now, id, &self.chain);
                    }
                    _ => self.emit(Event::Gossip { kind, payload, from }),
                }
            }
            Verdict::Known => {
                self.known.accept(now.at, id, from);
                self.has_it(from, kind, id);
                if is_gossip(kind) {
                    self.refuse_softly(from, kind, KNOWN);
                }
            }
            Verdict::Orphan { .. } => match from {
                Some(conn) if kind == Kind::NewBlock => {
                    // It has the block, though we cannot judge it yet: when it comes from another, it must not go back.
                    self.known.learn(from, id);
                    self.sync.peer_announced(now, conn, None, Some(id), &self.chain);
                }
                _ => self.refuse_softly(from, kind, "its parent is unknown"),
            },
            Verdict::Ignored(why) => {
                self.has_it(from, kind, id);
                self.refuse_softly(from, kind, why);
            }
            Verdict::Invalid(rejection) => self.refuse(now, from, kind, rejection.why),
            Verdict::Pending(ticket) => {
                // It must not go back to who sends another copy of it meanwhile.
                self.known.learn(from, id);
                for forgotten in self.known.put_off(ticket, Pending { kind, id, from, payload }) {
                    self.sync.block_judged(&forgotten);
                }
            }
        }
    }

    /// Who brought something that came over this connection; `None` is ourselves.
    pub(super) fn source_of(&self, from: Option<ConnId>) -> Source {
        let Some(conn) = from else { return Source::Own };
        match self.sessions.get(conn) {
            Some(session) => {
                let remote = session.remote();
                Source::peer(remote.ip(), session.is_outbound() || self.is_exempt(remote))
            }
            // It is gone, and with it what is known of it.
            None => Source::Stranger(Ipv4Addr::UNSPECIFIED.into()),
        }
    }

    /// Sends an object to every peer that does not have it.
    fn pass_on(&mut self, now: Now, kind: Kind, id: Hash, from: Option<ConnId>, payload: &Bytes) {
        let source = self.source_of(from);
        if kind == Kind::Transaction {
            return self.pass_on_transaction(now, id, from, source, payload);
        }
        let chain = &self.chain;
        let holds = |hash: &Hash| chain.position(hash).is_some();
        let knows = |peer: &Peer| peer.speech.takes(kind, payload, holds) || peer.speech.may_come_to_know(kind);
        let readers = self.sessions.ready().filter(|(_, peer)| knows(peer)).map(|(session, _)| session.conn());
        let recipients = self.known.recipients(id, from, readers);
        self.work.spend(self.sessions.len().saturating_add(recipients.len().saturating_mul(2)));
        for conn in recipients {
            if is_gossip(kind) {
                self.pass_on_gossip(now, conn, source, (kind, id, payload));
                continue;
            }
            if self.may_pass_on(now, conn, kind) {
                self.send_payload(conn, kind, payload.clone());
            } else if kind == Kind::NewBlock {
                self.owe_tip(now, conn);
            }
        }
        if kind == Kind::NewBlock {
            self.tell_acceptance(now);
        }
    }

    /// Sends a transaction to every peer that lacks it and whose pace allows, and has it wait for the others. In a flood that is
    /// done ninety times for each of thousands, most of which find no room.
    fn pass_on_transaction(&mut self, now: Now, id: Hash, from: Option<ConnId>, source: Source, payload: &Bytes) {
        self.known.learn(from, id);
        let others = self.sessions.ready().map(|(session, _)| session.conn()).filter(|conn| Some(*conn) != from);
        let others: Vec<ConnId> = others.collect();
        self.work.spend_light(self.sessions.len());
        for conn in others {
            let Some(peer) = self.sessions.peer_mut(conn) else { continue };
            if peer.waiting.refuses(source) {
                self.work.spend(REFUSED_WORK);
                let needs_nothing = self.known.has(conn, &id) || (source == Source::Own && peer.pool.put_off(id));
                if !needs_nothing {
                    self.counters.relay_dropped += 1;
                    peer.pool.missed(id);
                }
                continue;
            }
            self.work.spend(RELAYED_WORK);
            if self.known.tell(conn, id) && self.may_send_now(now, conn, source, (id, payload.len())) {
                self.send_payload(conn, Kind::Transaction, payload.clone());
            }
        }
    }

    /// A peer takes no more blocks from us now, but must hear where the chain ends: by its header, and if that is too much too,
    /// later by the header of what is the tip then.
    fn owe_tip(&mut self, now: Now, conn: ConnId) {
        if let Some(peer) = self.sessions.peer_mut(conn) {
            peer.is_owed_tip = true;
            self.tell_owed_tip(now, conn);
        }
    }

    /// Tells a peer the header of the tip, if it is owed and the peer's pace allows.
    pub(super) fn tell_owed_tip(&mut self, now: Now, conn: ConnId) {
        if self.sessions.peer(conn).is_none_or(|peer| !peer.is_owed_tip) {
            return;
        }
        let Some((tip, payload)) = self.tip_announcement() else { return };
        let Some(peer) = self.sessions.peer_mut(conn) else { return };
        if peer.send_budgets.take(now.at, Kind::Headers, false) {
            peer.is_owed_tip = false;
            self.known.learn(Some(conn), tip);
            self.send_payload(conn, Kind::Headers, payload);
        } else {
            let ready_at = peer.send_budgets.ready_at(Kind::Headers).max(now.at + STEP);
            self.sessions.pace(conn, ready_at);
        }
    }

    /// The header of the tip as a message, and the tip's hash; `None` at genesis.
    fn tip_announcement(&self) -> Option<(Hash, Bytes)> {
        let tip = self.chain.best();
        let parent = self.chain.locator().into_iter().nth(1)?;
        let headers = self.chain.headers_after(&mut core::iter::once(parent), None, 1);
        let payload = Message::Headers(vec![headers.first()?]).to_payload().ok()?;
        Some((tip.hash, payload))
    }

    /// True when a peer takes one more unasked message of `kind` from us. Otherwise it must do without: others tell it.
    pub(super) fn may_pass_on(&mut self, now: Now, conn: ConnId, kind: Kind) -> bool {
        self.sessions.peer_mut(conn).is_some_and(|peer| peer.take_passed_on(now.at, kind))
    }

    /// True when the peer's pace allows one more transaction; otherwise it waits its turn among those of its source.
    fn may_send_now(&mut self, now: Now, conn: ConnId, source: Source, (id, len): (Hash, usize)) -> bool {
        let later = buggify!(self, RelayLater);
        let Some(peer) = self.sessions.peer_mut(conn) else { return false };
        if peer.waiting.is_empty() {
            if !later && peer.take_transaction(now.at, len) {
                peer.pool.has_it(&id);
                return true;
            }
            let again = peer.try_transaction_again(now.at, len);
            self.sessions.pace(conn, again.max(now.at + STEP));
        }
        let Some(peer) = self.sessions.peer_mut(conn) else { return false };
        if let Some((dropped, ())) = peer.waiting.push(source, id, ()) {
            self.known.forget(conn, &dropped);
            // What is ours gives way to nobody's but our own.
            if !(source == Source::Own && dropped == id && peer.pool.put_off(id)) {
                self.counters.relay_dropped += 1;
                // It was not sent, so that comparing the pools may find that the peer lacks it.
                peer.pool.missed(dropped);
            }
        }
        false
    }

    /// Sends waiting transactions as far as the peer's pace allows. What left the pool meanwhile is not sent, and is missed if a
    /// reorganisation brings it back.
    pub(super) fn send_waiting(&mut self, now: Now, conn: ConnId) {
        for _ in 0..SENT_AT_ONCE {
            let Some(peer) = self.sessions.peer_mut(conn) else { return };
            let Some((_, id)) = peer.waiting.next() else { return self.send_offers(now, conn) };
            if peer.waited_in_a_row >= OFFER_AFTER && peer.pool.offers() > 0 {
                peer.waited_in_a_row = 0;
                if !self.send_offer(now, conn) {
                    return;
                }
                continue;
            }
            let Some(transaction) = self.chain.pool_transaction(&id) else {
                peer.waiting.remove(&id);
                peer.pool.missed(id);
                continue;
            };
            if !peer.take_transaction(now.at, transaction.len()) {
                let again = peer.try_transaction_again(now.at, transaction.len());
                return self.sessions.pace(conn, again);
            }
            peer.waiting.serve(&id);
            peer.waited_in_a_row = peer.waited_in_a_row.saturating_add(1);
            peer.pool.has_it(&id);
            self.send_payload(conn, Kind::Transaction, transaction);
        }
        self.sessions.pace(conn, now.at + STEP);
    }

    /// Says that our tip is part of the chain to those who are told so of what we hold ourselves, once.
    fn tell_acceptance(&mut self, now: Now) {
        let is_told = |peer: &Peer| peer.speech.acceptances() == Acceptances::OfOurs;
        let told = self.sessions.ready().filter(|(_, peer)| is_told(peer)).map(|(session, _)| session.conn());
        let told: Vec<ConnId> = told.collect();
        self.work.spend_light(self.sessions.len());
        self.tell_clients(now);
        if told.is_empty() {
            return;
        }
        let Some((id, payload)) = self.tip_acceptance() else { return };
        for conn in self.known.recipients(id, None, told.into_iter()) {
            self.work.spend(2);
            // What finds no room is lost: nothing but the newest is worth a wait, and that says so itself.
            if self.may_pass_on(now, conn, Kind::BlockAccepted) {
                self.send_payload(conn, Kind::BlockAccepted, payload.clone());
            }
        }
    }

    /// The acceptance of our tip, and its name among other gossip.
    pub(super) fn tip_acceptance(&self) -> Option<(Hash, Bytes)> {
        let tip = self.chain.best();
        let payload = Message::BlockAccepted(BlockAccepted { hash: tip.hash, height: tip.height }).to_payload().ok()?;
        Some((self.chain.gossip_id(Kind::BlockAccepted, &payload), payload))
    }

    /// Tells every peer of a tip that came by catching up, with its header: whoever lacks the block will ask for it.
    pub(super) fn announce_tip(&mut self, now: Now) {
        let Some((tip, payload)) = self.tip_announcement() else { return };
        let ready = self.sessions.ready().map(|(session, _)| session.conn());
        for conn in self.known.recipients(tip, None, ready) {
            if self.may_pass_on(now, conn, Kind::Headers) {
                self.send_payload(conn, Kind::Headers, payload.clone());
            } else {
                self.owe_tip(now, conn);
            }
        }
        self.tell_acceptance(now);
    }

    /// Something that can never be valid: its sender loses the connection, an embedder learns why.
    pub(super) fn refuse(&mut self, now: Now, from: Option<ConnId>, kind: Kind, why: &'static str) {
        match from {
            Some(conn) => self.close(now, conn, CloseReason::Invalid(kind)),
            None => self.refuse_own(kind, why),
        }
    }

    /// Something that is nobody's fault.
    pub(super) fn refuse_softly(&mut self, from: Option<ConnId>, kind: Kind, why: &'static str) {
        if from.is_none() {
            self.refuse_own(kind, why);
        }
    }

    /// A word to the embedder for what it asked in vain.
    pub(super) fn refuse_own(&mut self, kind: Kind, why: &'static str) {
        *self.counters.submissions_refused.entry(kind).or_default() += 1;
        self.emit(Event::SubmissionRefused { kind, why });
    }

    pub(super) fn note_height(&mut self, conn: ConnId, height: u64) {
        if let Some(peer) = self.sessions.peer_mut(conn) {
            peer.chain_length = peer.chain_length.max(height.saturating_add(1));
            let (id, length) = (peer.known_as.clone(), peer.chain_length);
            self.peers.update_chain_length(&id, length);
        }
    }
}

/// A challenge, a proof or an acceptance: nobody keeps it, so that it comes when it is said or not at all.
pub(super) const fn is_gossip(kind: Kind) -> bool {
    matches!(kind, Kind::NewChallenge | Kind::ProofSubmission | Kind::BlockAccepted)
}
