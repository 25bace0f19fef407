//! Answers to requests: headers, blocks and the pool.

use bytes::Bytes;

use crate::close::CloseReason;
use crate::id::ConnId;
use crate::limits::{CHUNK, LARGE_FRAME};
use crate::proto::budget::{BLOCK_REQUESTS_MAX, HEADER_REQUESTS_MAX};
use crate::proto::event::Output;
use crate::proto::node::Node;
use crate::proto::node::reading::Asked;
use crate::proto::session::HeadersWanted;
use crate::proto::sync::answer_get_headers;
use crate::proto::sync::chain::{Chain, Lookup};
use crate::time::Now;
use crate::wire::message::{GetHeaders, MAX_HEADERS, MAX_RUN, TxPoolRequest};
use crate::wire::{DecodeError, Hash, Kind, Message};

/// Bytes of transactions in one answer to a TxPoolRequest: five bytes asked for it.
const POOL_ANSWER_BYTES_MAX: usize = 2 << 20;
/// Transactions in one answer with data: as many as our own questions ask for. Of the smallest, the bytes are tens of thousands.
const POOL_ANSWER_MAX: usize = 1_000;
/// Bytes of blocks in one Blocks of ours, with their lengths: some hundred of the smallest. A frame of that size stands in a read buffer
/// as it came, and is soon over a slow line, so that nobody who gives one is taken for late.
const RUN_BYTES: usize = 48 * 1024;
const _: () = assert!(RUN_BYTES < CHUNK && CHUNK <= LARGE_FRAME);
/// How far below the tip blocks are served whatever history is: whoever keeps up with the chain, or was away for a moment, asks
/// for these.
const RECENT_BLOCKS: u64 = 144;
/// What says how long a block of a run is, in bytes.
const LENGTH_LEN: usize = 4;
/// Ids in one TxPool: what the protocol allows.
pub(super) const POOL_IDS_MAX: u32 = 50_000;

impl<C: Chain> Node<C> {
    /// Headers are paid for with the same bytes as blocks, so that who asks for more than its share waits and loses no answer.
    pub(super) fn on_get_headers(&mut self, now: Now, conn: ConnId, request: GetHeaders) {
        let Some(peer) = self.sessions.asker_mut(conn) else { return };
        if request.max > MAX_HEADERS && !peer.tells_many_headers {
            let error = DecodeError::OutOfRange("max");
            return self.close(now, conn, CloseReason::Payload(Kind::GetHeaders, error));
        }
        let wanted = HeadersWanted { request, goes_on: false };
        let ready_at = peer.serving.ready_at();
        if ready_at <= now.at && peer.deferred_headers.is_empty() {
            self.answer_headers(now, conn, wanted);
            return;
        }
        if peer.deferred_headers.len() < HEADER_REQUESTS_MAX {
            peer.deferred_headers.push_back(wanted);
            self.sessions.pace(conn, ready_at);
        } else {
            *self.counters.over_budget.entry(Kind::GetHeaders).or_default() += 1;
        }
    }

    /// One Headers of an answer goes. True when the rest waits until that is in the queue: a frame at a time, so that neither a turn nor
    /// a queue is filled by one question.
    fn answer_headers(&mut self, now: Now, conn: ConnId, wanted: HeadersWanted) -> bool {
        let HeadersWanted { request, goes_on } = &wanted;
        let mut headers = answer_get_headers(&self.chain, request);
        self.work.spend(headers.len());
        let named = |header: &Bytes| self.chain.check_header(now.unix, header).ok();
        // Where our chain leaves what was told of it, the answer ends: it was right when it was asked for.
        if *goes_on && headers.first().and_then(named).is_none_or(|first| first.previous != request.locator) {
            headers.clear();
        }
        if buggify!(self, FewHeaders) {
            headers.truncate(headers.len().div_ceil(2));
        }
        let left = request.max.saturating_sub(MAX_HEADERS);
        let last = if left > 0 && headers.len() == MAX_HEADERS as usize {
            headers.last().and_then(|header| self.chain.check_header(now.unix, header).ok())
        } else {
            None
        };
        let rest = last.map(|last| {
            let request = GetHeaders { locator: last.hash, stop: request.stop, max: left, more: None };
            HeadersWanted { request, goes_on: true }
        });
        let goes_on = rest.is_some();
        if let Some(peer) = self.sessions.asker_mut(conn) {
            peer.serving.give_headers(now.at, headers.iter().map(|header| header.len()).sum());
            peer.headers_sent = rest.is_some().then_some(wanted);
            rest.into_iter().for_each(|rest| peer.deferred_headers.push_front(rest));
        }
        let headers = headers.iter().map(|header| header.as_ref()).collect();
        self.send(conn, &Message::Headers(headers));
        goes_on
    }

    /// A Headers found no room. Of an answer that goes on it is the next to go, or what follows would hang from nothing.
    fn headers_refused(&mut self, conn: ConnId) {
        let Some(peer) = self.sessions.asker_mut(conn) else { return };
        if let Some(wanted) = peer.headers_sent.take() {
            // Its rest stands in front.
            peer.deferred_headers.pop_front();
            peer.deferred_headers.push_front(wanted);
        }
    }

    pub(super) fn on_get_block(&mut self, now: Now, conn: ConnId, hash: Hash) {
        self.on_wanted(now, conn, Kind::GetBlock, &[hash]);
    }

    /// Several are asked for in one frame: each waits for its turn as if it were alone.
    pub(super) fn on_get_blocks(&mut self, now: Now, conn: ConnId, hashes: &[Hash]) {
        self.work.spend_light(hashes.len());
        self.on_wanted(now, conn, Kind::GetBlocks, hashes);
    }

    fn on_wanted(&mut self, now: Now, conn: ConnId, kind: Kind, hashes: &[Hash]) {
        let is_reading = self.reading.is_for(conn);
        let Some(peer) = self.sessions.asker_mut(conn) else { return };
        let is_next = !is_reading && peer.deferred.is_empty();
        let room = BLOCK_REQUESTS_MAX.saturating_sub(peer.deferred.len());
        peer.deferred.extend(hashes.iter().take(room).copied());
        let lost = hashes.len().saturating_sub(room) as u64;
        if lost > 0 {
            *self.counters.over_budget.entry(kind).or_default() += lost;
        }
        if is_next {
            self.answer_next(now, conn);
        }
    }

    /// Answers what waits, up to the first that takes room in the queue, or time: true when there was one.
    fn answer_next(&mut self, now: Now, conn: ConnId) -> bool {
        // What is refused again comes back through `on_refused`, to the same place.
        while let Some(peer) = self.sessions.asker_mut(conn)
            && let Some(hash) = peer.deferred.pop_front()
        {
            if self.answer_block(now, conn, hash) {
                return true;
            }
        }
        false
    }

    /// True when the next one waits, because a block goes out or must wait itself: what else there is to say takes no room worth
    /// waiting for.
    fn answer_block(&mut self, now: Now, conn: ConnId, hash: Hash) -> bool {
        let Some(peer) = self.sessions.asker(conn) else { return false };
        let (version, ready_at) = (peer.version, peer.serving.ready_at());
        if ready_at > now.at {
            self.put_off(conn, hash);
            self.sessions.pace(conn, ready_at);
            return true;
        }
        if self.withholds(&hash) {
            self.lack_block(conn, version, hash);
            return false;
        }
        match self.look_up(conn, &hash) {
            Lookup::Here(block) => self.give_block(now, conn, hash, block),
            Lookup::Pending(ticket) => self.await_block(now, conn, hash, ticket),
            Lookup::Missing => {
                self.lack_block(conn, version, hash);
                return false;
            }
        }
        true
    }

    /// Is this a block that is not given to save bandwidth? Those near the tip always are.
    fn withholds(&mut self, hash: &Hash) -> bool {
        if self.serves_history {
            return false;
        }
        self.work.spend(2);
        let recent_from = self.chain.best().height.saturating_sub(RECENT_BLOCKS);
        let is_old = self.chain.position(hash).is_some_and(|place| place.height < recent_from);
        self.counters.history_withheld += u64::from(is_old);
        is_old
    }

    /// Looks for a block, and says what the peer wants behind it.
    fn look_up(&mut self, conn: ConnId, hash: &Hash) -> Lookup {
        self.work.spend(2);
        let source = self.source_of(Some(conn));
        let Some(peer) = self.sessions.asker(conn) else { return Lookup::Missing };
        self.chain.look_up_ahead(source, hash, &mut peer.deferred.iter().copied().filter(|next| next != hash))
    }

    fn await_block(&mut self, now: Now, conn: ConnId, hash: Hash, ticket: u64) {
        self.reading.begin(ticket, Asked { conn, hash });
        // A question that follows an answer at the end of a turn comes behind the chain's own part of it.
        self.look_after_chain(now);
    }

    /// A block goes, and with it small ones that were asked for behind it and are at hand, if the peer knows the word for that.
    pub(super) fn give_block(&mut self, now: Now, conn: ConnId, hash: Hash, block: Bytes) {
        self.work.spend_copying(block.len());
        self.known.learn(Some(conn), hash);
        let Some(peer) = self.sessions.asker_mut(conn) else { return };
        peer.serving.give(now.at, hash, block.len());
        let mut len = block.len().saturating_add(LENGTH_LEN);
        if !peer.serves_runs || len >= RUN_BYTES {
            return self.send_payload(conn, Kind::Block, block);
        }
        let mut run = vec![block];
        while run.len() < MAX_RUN as usize
            && let Some(peer) = self.sessions.asker(conn)
            && peer.serving.ready_at() <= now.at
            && let Some(hash) = peer.deferred.front().copied()
        {
            // The next answer says that it is withheld.
            if self.withholds(&hash) {
                break;
            }
            let found = self.look_up(conn, &hash);
            let Some(peer) = self.sessions.asker_mut(conn) else { return };
            match found {
                Lookup::Here(block) => {
                    len = len.saturating_add(block.len()).saturating_add(LENGTH_LEN);
                    if len > RUN_BYTES {
                        break;
                    }
                    peer.deferred.pop_front();
                    peer.serving.give_with_it(now.at, hash, block.len());
                    self.known.learn(Some(conn), hash);
                    run.push(block);
                }
                Lookup::Pending(ticket) => {
                    peer.deferred.pop_front();
                    self.await_block(now, conn, hash, ticket);
                    break;
                }
                Lookup::Missing => {
                    peer.deferred.pop_front();
                    let version = peer.version;
                    self.lack_block(conn, version, hash);
                }
            }
        }
        self.work.spend_copying(len);
        match &run[..] {
            [block] => self.send_payload(conn, Kind::Block, block.clone()),
            run => self.send(conn, &Message::Blocks(run.iter().map(|block| &block[..]).collect())),
        }
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
        if self.sessions.asker(conn).is_some_and(|peer| peer.speech.is_version_1()) {
            return self.on_pool_request_of_version_1(now, conn, request);
        }
        let mut max = request.max.min(POOL_IDS_MAX) as usize;
        if request.include_data {
            max = max.min(POOL_ANSWER_MAX);
        }
        let mut ids = self.chain.pool_ids(max);
        self.work.spend_light(ids.len());
        if request.include_data {
            let mut room = POOL_ANSWER_BYTES_MAX;
            let mut sent = 0;
            let peer = self.sessions.asker(conn);
            let was_sent = |id: &Hash| peer.is_some_and(|peer| !peer.waiting.contains(id) && !peer.pool.has_missed(id));
            let repeated = ids.iter().filter(|id| self.known.has(conn, id) && was_sent(id)).copied().collect();
            if let Some(peer) = self.sessions.asker_mut(conn) {
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
            if let Some(peer) = self.sessions.asker_mut(conn) {
                peer.pool.passed(now.at);
                ids.iter().for_each(|id| peer.pool.has_it(id));
                if is_all {
                    peer.pool.told_all(now.at);
                }
            }
            // What waited for the peer's pace has gone there now.
            if let Some(peer) = self.sessions.asker_mut(conn) {
                ids.iter().for_each(|id| {
                    peer.waiting.remove(id);
                });
            }
        }
        self.send(conn, &Message::TxPool(ids));
    }

    /// Version 1 has no list of names, so that there is no answer without data, and none that says that there is nothing. What the
    /// peer's relay does not take at once follows at its pace.
    fn on_pool_request_of_version_1(&mut self, now: Now, conn: ConnId, request: TxPoolRequest) {
        if !request.include_data {
            return;
        }
        let mut ids = self.chain.pool_ids((request.max as usize).min(POOL_ANSWER_MAX));
        self.work.spend_light(ids.len());
        if let Some(client) = self.sessions.client_mut(conn) {
            // Nothing follows later: it asks again.
            client.put_untold_first(&mut ids);
        }
        let source = self.source_of(Some(conn));
        let mut room = POOL_ANSWER_BYTES_MAX;
        for id in ids {
            let Some(transaction) = self.chain.pool_transaction(&id) else { continue };
            let Some(left) = room.checked_sub(transaction.len()) else { break };
            room = left;
            self.work.spend(4);
            let Some(peer) = self.sessions.asker_mut(conn) else { return };
            let waits = peer.waiting.contains(&id);
            if peer.take_transaction(now.at, transaction.len()) {
                peer.waiting.remove(&id);
                self.known.learn(Some(conn), id);
                self.send_payload(conn, Kind::Transaction, transaction);
                if let Some(client) = self.sessions.client_mut(conn) {
                    client.tells(id);
                }
            } else if self.sessions.peer(conn).is_none() {
                // Nothing waits for a client that would be said to it later.
                return;
            } else if !waits {
                let Some(peer) = self.sessions.peer_mut(conn) else { return };
                let again = peer.try_transaction_again(now.at, transaction.len());
                if let Some((dropped, ())) = peer.waiting.push(source, id, ()) {
                    self.counters.relay_dropped += 1;
                    self.known.forget(conn, &dropped);
                }
                self.sessions.pace(conn, again);
            }
        }
    }

    /// A full queue refused a frame. Answers to GetBlock and our own gossip wait for their turn; the rest is gone and counted. What
    /// was lost of the pool is found when the pools are compared.
    pub(super) fn on_refused(&mut self, conn: ConnId, kind: Kind, payload: &Bytes) {
        *self.counters.refused.entry(kind).or_default() += 1;
        self.say_again(conn, kind, payload);
        if kind == Kind::Transaction
            && let Some(id) = self.chain.transaction_id(payload)
            && let Some(peer) = self.sessions.asker_mut(conn)
        {
            peer.pool.missed(id);
        }
        if kind == Kind::Headers {
            return self.headers_refused(conn);
        }
        if !matches!(kind, Kind::Block | Kind::Blocks) {
            return;
        }
        let hashes = self.hashes_in(kind, payload);
        if let Some(peer) = self.sessions.asker_mut(conn) {
            peer.serving.take_back();
        }
        // The first of them is the next again.
        hashes.into_iter().rev().for_each(|hash| self.put_off(conn, hash));
    }

    /// The blocks in a frame of ours, in its order.
    fn hashes_in(&self, kind: Kind, payload: &Bytes) -> Vec<Hash> {
        let blocks = match kind {
            Kind::Block => vec![&payload[..]],
            Kind::Blocks => match Message::decode(kind, payload) {
                Ok(Message::Blocks(blocks)) => blocks,
                _ => Vec::new(),
            },
            _ => Vec::new(),
        };
        self.work.spend(blocks.len().saturating_mul(2));
        blocks.into_iter().filter_map(|block| self.chain.block_hash(block)).collect()
    }

    /// No queue takes the frame. Who asked for the block may ask somebody else, and those that wait behind it are next.
    pub(super) fn on_too_large(&mut self, now: Now, conn: ConnId, kind: Kind, payload: &Bytes) {
        *self.counters.refused.entry(kind).or_default() += 1;
        if !matches!(kind, Kind::Block | Kind::Blocks) {
            return;
        }
        let hashes = self.hashes_in(kind, payload);
        let Some(peer) = self.sessions.asker_mut(conn) else { return };
        peer.serving.take_back();
        let version = peer.version;
        hashes.into_iter().for_each(|hash| self.lack_block(conn, version, hash));
        self.on_writable(now, conn);
    }

    /// A block that found no room is the next to go.
    fn put_off(&mut self, conn: ConnId, hash: Hash) {
        if let Some(peer) = self.sessions.asker_mut(conn)
            && peer.deferred.len() < BLOCK_REQUESTS_MAX
        {
            peer.deferred.push_front(hash);
        }
    }

    /// One answer at a time: reading all that wait when the queue takes one or two would read each of them many times
    /// over, and hold them all meanwhile. The driver says again that there is room after each block that found some.
    pub(super) fn on_writable(&mut self, now: Now, conn: ConnId) {
        self.send_offers(now, conn);
        while let Some(peer) = self.sessions.asker_mut(conn)
            && let ready_at = peer.serving.ready_at()
            && let Some(wanted) = peer.deferred_headers.pop_front()
        {
            // What went before is in the queue.
            peer.headers_sent = None;
            if ready_at > now.at {
                peer.deferred_headers.push_front(wanted);
                self.sessions.pace(conn, ready_at);
                return;
            }
            if self.answer_headers(now, conn, wanted) {
                return;
            }
        }
        if self.reading.is_for(conn) || self.answer_next(now, conn) {
            return;
        }
        self.answer_questions(now, conn);
        if self.reading.is_for(conn) || self.questions(conn) > 0 {
            return;
        }
        if let Some(peer) = self.sessions.asker_mut(conn)
            && core::mem::take(&mut peer.held)
        {
            self.outputs.push_back(Output::Release { conn });
        }
    }

    /// The peer will ask nothing more. What it asked before is answered, also where the answer has to wait.
    pub(super) fn on_half_closed(&mut self, conn: ConnId) {
        let is_reading = self.reading.is_for(conn) || self.questions(conn) > 0;
        if let Some(peer) = self
            .sessions
            .asker_mut(conn)
            .filter(|peer| is_reading || !peer.deferred.is_empty() || !peer.deferred_headers.is_empty())
        {
            peer.held = true;
            self.outputs.push_back(Output::Hold { conn });
        }
    }
}
