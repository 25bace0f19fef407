//! Answers to requests: headers, blocks and the pool.

use bytes::Bytes;

use crate::id::ConnId;
use crate::proto::budget::{BLOCK_REQUESTS_MAX, HEADER_REQUESTS_MAX};
use crate::proto::event::Output;
use crate::proto::node::Node;
use crate::proto::node::reading::Asked;
use crate::proto::sync::answer_get_headers;
use crate::proto::sync::chain::{Chain, Lookup};
use crate::time::Now;
use crate::wire::message::{GetHeaders, TxPoolRequest};
use crate::wire::{Hash, Kind, Message};

/// Bytes of transactions in one answer to a TxPoolRequest: five bytes asked for it.
const POOL_ANSWER_BYTES_MAX: usize = 2 << 20;
/// Transactions in one answer with data: as many as our own questions ask for. Of the smallest, the bytes are tens of thousands.
const POOL_ANSWER_MAX: usize = 1_000;
/// Ids in one TxPool: what the protocol allows.
pub(super) const POOL_IDS_MAX: u32 = 50_000;

impl<C: Chain> Node<C> {
    /// Headers are paid for with the same bytes as blocks, so that who asks for more than its share waits and loses no answer.
    pub(super) fn on_get_headers(&mut self, now: Now, conn: ConnId, request: GetHeaders) {
        let Some(peer) = self.sessions.peer_mut(conn) else { return };
        let ready_at = peer.serving.ready_at();
        if ready_at <= now.at && peer.deferred_headers.is_empty() {
            return self.answer_headers(now, conn, &request);
        }
        if peer.deferred_headers.len() < HEADER_REQUESTS_MAX {
            peer.deferred_headers.push_back(request);
            self.sessions.pace(conn, ready_at);
        } else {
            *self.counters.over_budget.entry(Kind::GetHeaders).or_default() += 1;
        }
    }

    fn answer_headers(&mut self, now: Now, conn: ConnId, request: &GetHeaders) {
        let mut headers = answer_get_headers(&self.chain, request);
        self.work.spend(headers.len());
        if buggify!(self, FewHeaders) {
            headers.truncate(headers.len().div_ceil(2));
        }
        if let Some(peer) = self.sessions.peer_mut(conn) {
            peer.serving.give_headers(now.at, headers.iter().map(|header| header.len()).sum());
        }
        let headers = headers.iter().map(|header| header.as_ref()).collect();
        self.send(conn, &Message::Headers(headers));
    }

    pub(super) fn on_get_block(&mut self, now: Now, conn: ConnId, hash: Hash) {
        let is_reading = self.reading.is_for(conn);
        let Some(peer) = self.sessions.peer_mut(conn) else { return };
        if is_reading || !peer.deferred.is_empty() {
            if peer.deferred.len() < BLOCK_REQUESTS_MAX {
                peer.deferred.push_back(hash);
            } else {
                *self.counters.over_budget.entry(Kind::GetBlock).or_default() += 1;
            }
            return;
        }
        self.answer_block(now, conn, hash);
    }

    /// True when the next one waits, because a block goes out or must wait itself: what else there is to say takes no room worth
    /// waiting for.
    fn answer_block(&mut self, now: Now, conn: ConnId, hash: Hash) -> bool {
        let Some(peer) = self.sessions.peer(conn) else { return false };
        let (version, ready_at) = (peer.version, peer.serving.ready_at());
        if ready_at > now.at {
            self.put_off(conn, hash);
            self.sessions.pace(conn, ready_at);
            return true;
        }
        match self.chain.look_up(self.source_of(Some(conn)), &hash) {
            Lookup::Here(block) => self.give_block(now, conn, hash, block),
            Lookup::Pending(ticket) => {
                self.reading.begin(ticket, Asked { conn, hash });
                // A question that follows an answer at the end of a turn comes behind the chain's own part of it.
                self.look_after_chain(now);
            }
            Lookup::Missing => {
                self.lack_block(conn, version, hash);
                return false;
            }
        }
        true
    }

    pub(super) fn give_block(&mut self, now: Now, conn: ConnId, hash: Hash, block: Bytes) {
        self.work.spend_copying(block.len());
        self.known.learn(Some(conn), hash);
        if let Some(peer) = self.sessions.peer_mut(conn) {
            peer.serving.give(now.at, hash, block.len());
        }
        self.send_payload(conn, Kind::Block, block);
    }

    /// Version 1 has no word for a block that is not there: the asker's deadline decides.
    pub(super) fn lack_block(&mut self, conn: ConnId, version: u8, hash: Hash) {
        if version >= 2 {
            self.send(conn, &Message::NotFound(hash));
        }
    }

    /// Nobody reads for a peer that is gone.
    pub(super) fn stop_reading(&mut self, conn: ConnId) {
        if let Some(ticket) = self.reading.forget(conn) {
            self.chain.cancel(ticket);
        }
    }

    pub(super) fn on_pool_request(&mut self, now: Now, conn: ConnId, request: TxPoolRequest) {
        let mut max = request.max.min(POOL_IDS_MAX) as usize;
        if request.include_data {
            max = max.min(POOL_ANSWER_MAX);
        }
        let mut ids = self.chain.pool_ids(max);
        self.work.spend_light(ids.len());
        if request.include_data {
            let mut room = POOL_ANSWER_BYTES_MAX;
            let mut sent = 0;
            let peer = self.sessions.peer(conn);
            let was_sent = |id: &Hash| peer.is_some_and(|peer| !peer.waiting.contains(id) && !peer.pool.has_missed(id));
            let repeated = ids.iter().filter(|id| self.known.has(conn, id) && was_sent(id)).copied().collect();
            if let Some(peer) = self.sessions.peer_mut(conn) {
                peer.pool.repeats(repeated);
            }
            for id in &ids {
                let Some(transaction) = self.chain.pool_transaction(id) else { continue };
                let Some(left) = room.checked_sub(transaction.len()) else { break };
                room = left;
                sent += 1;
                self.work.spend(4);
                self.known.learn(Some(conn), *id);
                // In one queue with the list that ends the answer, or it would overtake them.
                self.send_at(Kind::TxPool.priority(), conn, Kind::Transaction, transaction);
            }
            let is_all = ids.len() < max && ids.len() == sent;
            ids.truncate(sent);
            if let Some(peer) = self.sessions.peer_mut(conn) {
                peer.pool.passed(now.at);
                ids.iter().for_each(|id| peer.pool.has_it(id));
                if is_all {
                    peer.pool.told_all(now.at);
                }
            }
            // What waited for the peer's pace has gone there now.
            if let Some(peer) = self.sessions.peer_mut(conn) {
                ids.iter().for_each(|id| {
                    peer.waiting.remove(id);
                });
            }
        }
        self.send(conn, &Message::TxPool(ids));
    }

    /// A full queue refused a frame. Answers to GetBlock and our own gossip wait for their turn; the rest is gone and counted. What
    /// was lost of the pool is found when the pools are compared.
    pub(super) fn on_refused(&mut self, conn: ConnId, kind: Kind, payload: &Bytes) {
        *self.counters.refused.entry(kind).or_default() += 1;
        self.say_again(conn, kind, payload);
        if kind == Kind::Transaction
            && let Some(id) = self.chain.transaction_id(payload)
            && let Some(peer) = self.sessions.peer_mut(conn)
        {
            peer.pool.missed(id);
        }
        if kind != Kind::Block {
            return;
        }
        if let Some(peer) = self.sessions.peer_mut(conn) {
            peer.serving.take_back();
        }
        if let Some(hash) = self.chain.block_hash(payload) {
            self.put_off(conn, hash);
        }
    }

    /// No queue takes the frame. Who asked for the block may ask somebody else, and those that wait behind it are next.
    pub(super) fn on_too_large(&mut self, now: Now, conn: ConnId, kind: Kind, payload: &Bytes) {
        *self.counters.refused.entry(kind).or_default() += 1;
        if kind != Kind::Block {
            return;
        }
        let Some(peer) = self.sessions.peer_mut(conn) else { return };
        peer.serving.take_back();
        let knows_the_word = peer.version >= 2;
        if let Some(hash) = self.chain.block_hash(payload).filter(|_| knows_the_word) {
            self.send(conn, &Message::NotFound(hash));
        }
        self.on_writable(now, conn);
    }

    /// A block that found no room is the next to go.
    fn put_off(&mut self, conn: ConnId, hash: Hash) {
        if let Some(peer) = self.sessions.peer_mut(conn)
            && peer.deferred.len() < BLOCK_REQUESTS_MAX
        {
            peer.deferred.push_front(hash);
        }
    }

    /// One answer at a time: reading all that wait when the queue takes one or two would read each of them many times
    /// over, and hold them all meanwhile. The driver says again that there is room after each block that found some.
    pub(super) fn on_writable(&mut self, now: Now, conn: ConnId) {
        self.send_offers(now, conn);
        while let Some(peer) = self.sessions.peer_mut(conn)
            && let ready_at = peer.serving.ready_at()
            && let Some(request) = peer.deferred_headers.pop_front()
        {
            if ready_at > now.at {
                peer.deferred_headers.push_front(request);
                self.sessions.pace(conn, ready_at);
                return;
            }
            self.answer_headers(now, conn, &request);
        }
        if self.reading.is_for(conn) {
            return;
        }
        // What is refused again comes back through `on_refused`, to the same place.
        while let Some(peer) = self.sessions.peer_mut(conn)
            && let Some(hash) = peer.deferred.pop_front()
        {
            if self.answer_block(now, conn, hash) {
                return;
            }
        }
        if let Some(peer) = self.sessions.peer_mut(conn)
            && core::mem::take(&mut peer.held)
        {
            self.outputs.push_back(Output::Release { conn });
        }
    }

    /// The peer will ask nothing more. What it asked before is answered, also where the answer has to wait.
    pub(super) fn on_half_closed(&mut self, conn: ConnId) {
        let is_reading = self.reading.is_for(conn);
        if let Some(peer) = self
            .sessions
            .peer_mut(conn)
            .filter(|peer| is_reading || !peer.deferred.is_empty() || !peer.deferred_headers.is_empty())
        {
            peer.held = true;
            self.outputs.push_back(Output::Hold { conn });
        }
    }
}
