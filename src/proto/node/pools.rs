//! Pools that differ: asking for the names of what a peer has, and offering what it lacks at the relay's pace.

use core::time::Duration;

use crate::id::ConnId;
use crate::proto::event::Event;
use crate::proto::node::Node;
use crate::proto::node::objects::{SENT_AT_ONCE, STEP};
use crate::proto::node::serve::POOL_IDS_MAX;
use crate::proto::pool::{Manner, PoolQuestion};
use crate::proto::sync::chain::Chain;
use crate::time::{Instant, Now};
use crate::wire::message::TxPoolRequest;
use crate::wire::{Hash, Kind, Message};

/// Transactions we ask a new peer for that offers nothing: what its pool holds and we may have missed.
const POOL_REQUEST_MAX: u32 = 1000;
/// A synchronisation that has not moved our chain for so long is not worth waiting for: less than the time between two looks.
const CATCHING_UP: Duration = Duration::from_secs(20);

/// Names that are looked up in one comparison, of those that the other side does not have: whoever says that it has none chooses
/// how many these are.
const COMPARED_MAX: usize = 2_000;

impl<C: Chain> Node<C> {
    /// Sees to it that what either pool got while a new peer and we were apart reaches the other. One that offers nothing by
    /// itself is asked for the first of what its pool holds.
    pub(super) fn begin_exchange(&mut self, now: Now, conn: ConnId, manner: Manner) {
        if manner == Manner::AskForData {
            let request = TxPoolRequest { max: POOL_REQUEST_MAX, include_data: true };
            self.send(conn, &Message::TxPoolRequest(request));
            let Some(peer) = self.sessions.peer_mut(conn) else { return };
            peer.asked_transactions = POOL_REQUEST_MAX;
            peer.pool.asked(now.at, PoolQuestion::Data);
        }
        self.pace_comparison(conn);
    }

    /// Looks again when the next comparison is due.
    fn pace_comparison(&mut self, conn: ConnId) {
        let due = self.sessions.peer(conn).map_or(Instant::NEVER, |peer| peer.pool.due());
        if due < Instant::NEVER {
            self.sessions.pace(conn, due);
        }
    }

    /// Asks for the names of what a peer has when that is due, to find what it lacks.
    pub(super) fn compare_pools(&mut self, now: Now, conn: ConnId) {
        let Some(peer) = self.sessions.peer_mut(conn) else { return };
        if peer.pool.due() <= now.at {
            // Who catches up does not know yet what still waits, and who has nothing need not compare. One that waits for blocks
            // which never come does not catch up: whoever tells of them and keeps them back must not keep pools apart.
            let moved_lately = self.tip_moved_at.is_some_and(|at| now.at.since(at) < CATCHING_UP);
            let catches_up = self.sync.is_syncing() && moved_lately;
            if catches_up || self.chain.pool_ids(1).is_empty() {
                peer.pool.postpone(now.at, catches_up);
            } else {
                peer.pool.asked(now.at, PoolQuestion::Names);
                let request = TxPoolRequest { max: POOL_IDS_MAX, include_data: false };
                self.send(conn, &Message::TxPoolRequest(request));
            }
        }
        self.pace_comparison(conn);
    }

    /// The names that end an answer to a TxPoolRequest of ours.
    pub(super) fn on_pool_names(&mut self, now: Now, conn: ConnId, mut theirs: Vec<Hash>) {
        let Some(peer) = self.sessions.peer_mut(conn) else { return };
        let question = peer.pool.answered();
        if question != Some(PoolQuestion::Names) {
            // What came with data was told by the transactions before it.
            peer.asked_transactions = 0;
            return;
        }
        // A list as long as it may be does not say what its sender lacks, nor that it has room.
        let is_whole = theirs.len() < POOL_IDS_MAX as usize;
        theirs.sort_unstable();
        let ours = if is_whole { self.chain.pool_ids(POOL_IDS_MAX as usize) } else { Vec::new() };
        let start = self.rng.index(ours.len()).unwrap_or(0);
        let Some(peer) = self.sessions.peer(conn) else { return };
        let (known, pool) = (&self.known, &peer.pool);
        let (since, under_way) = (peer.since, pool.is_under_way(now.at));
        let (mut lacking, mut looked) = (Vec::new(), 0);
        let absent = |id: &&Hash| theirs.binary_search(id).is_err();
        // From anywhere, so that each has its turn where they are too many for one comparison.
        for id in ours.iter().skip(start).chain(ours.iter().take(start)).filter(absent).take(COMPARED_MAX) {
            looked += 1;
            let has = known.has(conn, id);
            // What came since the connection stands was passed on, or waits for that.
            let passed_on = known.accepted_at(id).is_some_and(|at| at > since || has);
            let may_have_it = passed_on || has && under_way;
            if !may_have_it || pool.has_missed(id) {
                lacking.push(*id);
            }
        }
        self.work.spend(theirs.len().saturating_add(3 * looked));
        self.work.spend_light(ours.len());
        if let Some(peer) = self.sessions.peer_mut(conn) {
            peer.pool.offer(now.at, lacking.into_iter());
            if looked == COMPARED_MAX {
                // There may be more.
                peer.pool.hurry(now.at);
            }
        }
        self.send_offers(now, conn);
        self.compare_pools(now, conn);
    }

    /// The best chain ends elsewhere, whoever brought the block. Where it does not go on from the last tip, blocks that were
    /// abandoned may have given back what only we have: who never saw them cannot have it.
    pub(super) fn tip_moved(&mut self, now: Now) {
        let (before, best) = (self.tip, self.chain.best());
        self.tip = best.hash;
        self.tip_moved_at = Some(now.at);
        if self.chain.locator().get(1) != Some(&before) {
            self.compare_pools_soon(now);
        }
        self.counters.new_tips += 1;
        self.emit(Event::NewTip(best));
    }

    /// Looks with every peer whether it has what we have, as soon as that may be asked again.
    pub(super) fn compare_pools_soon(&mut self, now: Now) {
        let conns: Vec<ConnId> = self.sessions.ready().map(|(session, _)| session.conn()).collect();
        for conn in conns {
            if let Some(peer) = self.sessions.peer_mut(conn) {
                peer.pool.hurry(now.at);
            }
            self.pace_comparison(conn);
        }
    }

    /// Sends what is on offer as far as the peer's pace allows, when nothing newer waits for it.
    pub(super) fn send_offers(&mut self, now: Now, conn: ConnId) {
        for _ in 0..SENT_AT_ONCE {
            let Some(peer) = self.sessions.peer_mut(conn).filter(|peer| peer.waiting.is_empty()) else { return };
            if peer.pool.offers() == 0 {
                return self.pace_comparison(conn);
            }
            if !self.send_offer(now, conn) {
                return;
            }
        }
        self.sessions.pace(conn, now.at + STEP);
    }

    /// Sends one of the offers. False when the peer's pace allows none: it is looked at again when it does.
    pub(super) fn send_offer(&mut self, now: Now, conn: ConnId) -> bool {
        let Some(peer) = self.sessions.peer_mut(conn) else { return false };
        let Some(id) = peer.pool.first_offer() else { return false };
        // One that has left the pool meanwhile costs a token: a small delay.
        let transaction = self.chain.pool_transaction(&id);
        let len = transaction.as_ref().map_or(0, bytes::Bytes::len);
        if !peer.take_transaction(now.at, len) {
            let again = peer.try_transaction_again(now.at, len);
            self.sessions.pace(conn, again);
            return false;
        }
        peer.pool.next_offer();
        if let Some(transaction) = transaction {
            peer.pool.passed(now.at);
            self.known.learn(Some(conn), id);
            self.send_payload(conn, Kind::Transaction, transaction);
        }
        true
    }
}
