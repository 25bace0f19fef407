//! Answers to requests: addresses, headers, blocks and the pool.

use bytes::Bytes;
use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;

use crate::address::Origin;
use crate::address::may_pass;
use crate::id::ConnId;
use crate::proto::node::{Node, Timer};
use crate::proto::peer::address_book::Heard;
use crate::proto::peer::share;
use crate::proto::session::DEFERRED_BLOCKS_MAX;
use crate::proto::sync::answer_get_headers;
use crate::proto::sync::chain::Chain;
use crate::time::Now;
use crate::wire::message::{GetHeaders, GetPeers, TxPoolRequest};
use crate::wire::{Hash, Kind, Message};

/// Bytes of transactions in one answer to a TxPoolRequest: five bytes asked for it.
const POOL_ANSWER_BYTES_MAX: usize = 2 << 20;
/// A peer is asked for addresses again after this.
const ASK_INTERVAL: Duration = Duration::from_secs(120);
/// The same for exempt peers, whose answers are not rationed so hard.
const ASK_EXEMPT_INTERVAL: Duration = Duration::from_secs(10);
/// Peers that are told of a new address, as in Bitcoin Core: with two, news reaches everyone and dies out.
const SPREAD_PEERS: usize = 2;
/// Unasked-for answers with more news than this are a dump, not news, and are not passed on.
const SPREAD_ADDRESSES_MAX: usize = 10;
/// Ids in one TxPool: what the protocol allows.
const POOL_IDS_MAX: u32 = 50_000;

impl<C: Chain> Node<C> {
    pub(super) fn on_get_peers(&mut self, now: Now, conn: ConnId, request: &GetPeers<'_>) {
        let Some(session) = self.sessions.get(&conn) else { return };
        let (remote, own) = (session.remote, session.peer().and_then(|p| p.address));
        let (max, excluded): (u32, BTreeSet<SocketAddr>) = match request {
            GetPeers::All => (1000, BTreeSet::new()),
            GetPeers::Limited { max, exclude } => (*max, exclude.iter().filter_map(|text| text.parse().ok()).collect()),
        };
        let listening_port = own.map(|address| address.port());
        let asker = share::Asker { remote, listening_port, max: max as usize, excluded: &excluded };
        let banned = |ip| self.reputation.is_blacklisted(Origin::of(ip), now.at);
        let answer = share::answer(&self.book, asker, banned, &mut self.rng);
        self.send(conn, &Message::Peers(answer));
    }

    pub(super) fn on_peers(&mut self, now: Now, conn: ConnId, mut addresses: Vec<SocketAddr>) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let source = session.remote.ip();
        let Some(peer) = session.peer_mut() else { return };
        let asked = core::mem::take(&mut peer.asked_peers);
        let mut news = Vec::new();
        // Which ones are believed is not for their sender to choose.
        self.rng.shuffle(&mut addresses);
        for address in addresses {
            if !session.intake.take(now.at) {
                break;
            }
            if self.book.hear(address, Some(source), now) == Heard::New {
                news.push(address);
            }
        }
        if !news.is_empty() {
            self.outbound.nudge();
        }
        if !asked && news.len() <= SPREAD_ADDRESSES_MAX {
            self.spread(now, conn, &news);
        }
    }

    /// Asks one peer for addresses, unless it was asked lately.
    pub(super) fn ask_for_peers(&mut self, now: Now, conn: ConnId) {
        let Some(session) = self.sessions.get(&conn) else { return };
        let pause = if self.is_exempt(session.remote) { ASK_EXEMPT_INTERVAL } else { ASK_INTERVAL };
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let Some(peer) = session.peer_mut() else { return };
        if peer.asked_peers_at.is_none_or(|at| now.at.since(at) >= pause) {
            peer.asked_peers = true;
            peer.asked_peers_at = Some(now.at);
            session.intake.asked();
            self.send(conn, &Message::GetPeers(GetPeers::All));
        }
    }

    /// Tells a few peers of addresses that just became known, so that news travels without being asked for.
    pub(super) fn spread(&mut self, now: Now, from: ConnId, addresses: &[SocketAddr]) {
        let mut listeners: Vec<(ConnId, SocketAddr, Option<SocketAddr>)> = self
            .sessions
            .values()
            .filter(|s| s.conn != from)
            .filter_map(|s| Some((s.conn, s.remote, s.peer()?.address)))
            .collect();
        self.rng.shuffle(&mut listeners);
        for (conn, remote, own) in listeners.into_iter().take(SPREAD_PEERS) {
            let told = |address: &&SocketAddr| {
                Some(**address) != own
                    && may_pass(**address, remote.ip(), self.config.allow_private)
                    && !self.is_banned(now, **address, None)
            };
            let news: Vec<SocketAddr> = addresses.iter().filter(told).copied().collect();
            if !news.is_empty() && self.may_pass_on(now, conn, Kind::Peers) {
                self.send(conn, &Message::Peers(news));
            }
        }
    }

    pub(super) fn on_get_headers(&mut self, conn: ConnId, request: &GetHeaders) {
        let mut headers = answer_get_headers(&self.chain, request);
        if buggify!(self, FewHeaders) {
            headers.truncate(headers.len().div_ceil(2));
        }
        let headers = headers.iter().map(|header| header.as_ref()).collect();
        self.send(conn, &Message::Headers(headers));
    }

    pub(super) fn on_get_block(&mut self, now: Now, conn: ConnId, hash: Hash) {
        let Some(peer) = self.sessions.get_mut(&conn).and_then(|s| s.peer_mut()) else { return };
        if !peer.deferred.is_empty() {
            if peer.deferred.len() < DEFERRED_BLOCKS_MAX {
                peer.deferred.push_back(hash);
            }
            return;
        }
        self.answer_block(now, conn, hash);
    }

    /// True when the next one waits, because a block goes out or must wait itself: what else there is to say takes no room worth
    /// waiting for.
    fn answer_block(&mut self, now: Now, conn: ConnId, hash: Hash) -> bool {
        let Some(peer) = self.sessions.get(&conn).and_then(|s| s.peer()) else { return false };
        let (version, ready_at) = (peer.version, peer.serving.ready_at());
        if ready_at > now.at {
            self.put_off(conn, hash);
            self.timers.insert((ready_at, Timer::Pace(conn)));
            return true;
        }
        match self.chain.block(&hash) {
            Some(block) => {
                self.relay.learned(Some(conn), hash);
                if let Some(peer) = self.sessions.get_mut(&conn).and_then(|s| s.peer_mut()) {
                    peer.serving.give(now.at, hash, block.len());
                }
                self.send_payload(conn, Kind::Block, block);
            }
            // Version 1 has no word for it: the asker's deadline decides.
            None if version >= 2 => {
                self.send(conn, &Message::NotFound(hash));
                return false;
            }
            None => return false,
        }
        true
    }

    pub(super) fn on_pool_request(&mut self, conn: ConnId, request: TxPoolRequest) {
        let max = request.max.min(POOL_IDS_MAX) as usize;
        let mut ids = self.chain.pool_ids(max);
        if request.include_data {
            let mut room = POOL_ANSWER_BYTES_MAX;
            let mut sent = 0;
            for id in &ids {
                let Some(transaction) = self.chain.pool_transaction(id) else { continue };
                let Some(left) = room.checked_sub(transaction.len()) else { break };
                room = left;
                sent += 1;
                self.relay.learned(Some(conn), *id);
                // In one queue with the list that ends the answer, or it would overtake them.
                self.send_at(Kind::TxPool.priority(), conn, Kind::Transaction, transaction);
            }
            ids.truncate(sent);
            // What waited for the peer's pace has gone there now.
            if let Some(peer) = self.sessions.get_mut(&conn).and_then(|s| s.peer_mut())
                && !peer.waiting.is_empty()
            {
                let told: BTreeSet<&Hash> = ids.iter().collect();
                peer.waiting.retain(|id| !told.contains(id));
            }
        }
        self.send(conn, &Message::TxPool(ids));
    }

    /// A full queue refused a frame. Answers to GetBlock wait for their turn; the rest is gone and counted.
    pub(super) fn on_refused(&mut self, conn: ConnId, kind: Kind, payload: &Bytes) {
        *self.counters.refused.entry(kind).or_default() += 1;
        if kind != Kind::Block {
            return;
        }
        if let Some(peer) = self.sessions.get_mut(&conn).and_then(|s| s.peer_mut()) {
            peer.serving.take_back();
        }
        if let Some(hash) = self.chain.block_hash(payload) {
            self.put_off(conn, hash);
        }
    }

    /// A block that found no room is the next to go.
    fn put_off(&mut self, conn: ConnId, hash: Hash) {
        if let Some(peer) = self.sessions.get_mut(&conn).and_then(|s| s.peer_mut())
            && peer.deferred.len() < DEFERRED_BLOCKS_MAX
        {
            peer.deferred.push_front(hash);
        }
    }

    /// One answer at a time: reading all that wait when the queue takes one or two would read each of them many times
    /// over, and hold them all meanwhile. The driver says again that there is room after each block that found some.
    pub(super) fn on_writable(&mut self, now: Now, conn: ConnId) {
        // What is refused again comes back through `on_refused`, to the same place.
        while let Some(peer) = self.sessions.get_mut(&conn).and_then(|s| s.peer_mut())
            && let Some(hash) = peer.deferred.pop_front()
        {
            if self.answer_block(now, conn, hash) {
                return;
            }
        }
    }
}
