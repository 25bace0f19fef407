//! Addresses that go round: asked for, told, and passed on without being asked for.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeSet;

use crate::address::may_pass;
use crate::id::ConnId;
use crate::proto::node::Node;
use crate::proto::node::banning::is_kept_out;
use crate::proto::peer::address_book::Heard;
use crate::proto::peer::peer_key::PeerKey;
use crate::proto::peer::share;
use crate::proto::sync::chain::Chain;
use crate::time::{Instant, Now};
use crate::wire::message::GetPeers;
use crate::wire::{Kind, Message};

/// With fewer addresses than this in the book, a peer we dialed is asked for more.
const ADDRESSES_WANTED: usize = 64;
/// A peer is asked for addresses again after this. Longer than what `default_rate` has for GetPeers: who asks more often than peers
/// let him is not answered.
const ASK_INTERVAL: Duration = Duration::from_secs(120);
/// The same for exempt peers, whose answers are not rationed so hard.
const ASK_EXEMPT_INTERVAL: Duration = Duration::from_secs(10);
/// The other side's clock for the age of a connection starts a little after ours.
const PROBE_MARGIN: Duration = Duration::from_secs(3);
/// Peers that are told of a new address, as in Bitcoin Core: with two, news reaches everyone and dies out.
const SPREAD_PEERS: usize = 2;
/// Time between news and our look: whoever is new there has made its own first dials by then, also to us.
const NEWS_WAIT: Duration = Duration::from_secs(3);
/// What was told unasked and holds more than this is a dump, not news, and is not looked at soon.
const NEWS_MAX: usize = 10;

impl<C: Chain> Node<C> {
    /// A peer that dialed us says where it listens. Others are told when we have seen that somebody does.
    pub(super) fn on_announced(&mut self, now: Now, conn: ConnId, address: SocketAddr) {
        if self.book.announced(address, now) == Heard::OutOfScope && self.is_through_proxy {
            // The proxy would look for it in a network of its own.
            return;
        }
        self.outbound.nudge();
        if let Some(entry) = self.book.get(address).filter(|entry| entry.is_found()) {
            let knowing: Vec<ConnId> = entry.told_by.into_iter().chain([conn]).collect();
            return self.spread(now, address, &knowing);
        }
        let at = self.look_not_before(now, conn);
        self.outbound.probe(address, at);
    }

    /// Of two connections that begin together, the one that the smaller id dialed stays. When a look of ours leads to this peer, it
    /// is not to take the place of the connection that stands.
    fn look_not_before(&self, now: Now, conn: ConnId) -> Instant {
        let Some(peer) = self.sessions.peer(conn) else { return now.at };
        if self.config.node_id.as_bytes() < peer.node_id().as_bytes() {
            now.at.max(peer.since + self.config.handshake_timeout + PROBE_MARGIN)
        } else {
            now.at
        }
    }

    /// Where a dial of ours has just found somebody for the first time, `node` or whoever it met there as one that is connected
    /// already, others do not know it, as we did not: they are told. Not the one who is there, nor the one who told us.
    pub(super) fn tell_found(&mut self, now: Now, node: Option<&PeerKey>) {
        for (address, duplicate_of) in self.outbound.take_found() {
            let there = duplicate_of.as_ref().or(node).and_then(|key| self.sessions.with_key(key));
            let told_by = self.book.get(address).and_then(|entry| entry.told_by);
            let knowing: Vec<ConnId> = there.into_iter().chain(told_by).collect();
            self.spread(now, address, &knowing);
        }
    }

    pub(super) fn on_get_peers(&mut self, now: Now, conn: ConnId, request: &GetPeers<'_>) {
        let Some(session) = self.sessions.get(conn) else { return };
        let (remote, own) = (session.remote(), session.peer().and_then(|p| p.address));
        let (max, excluded): (u32, BTreeSet<SocketAddr>) = match request {
            GetPeers::All => (1000, BTreeSet::new()),
            GetPeers::Limited { max, exclude } => (*max, exclude.iter().filter_map(|text| text.parse().ok()).collect()),
        };
        let listening_port = own.map(|address| address.port());
        let asker = share::Asker { remote, conn: Some(conn), listening_port, max: max as usize, excluded: &excluded };
        let exempt = self.admission.exempt();
        let banned = |ip| !exempt.contains(ip) && is_kept_out((&self.reputation, &self.bans), ip, now.at);
        self.work.spend_light(self.book.len().saturating_mul(4));
        let answer = share::answer(&self.book, asker, now.at, banned, &mut self.rng);
        self.send(conn, &Message::Peers(answer));
    }

    pub(super) fn on_peers(&mut self, now: Now, conn: ConnId, mut addresses: Vec<SocketAddr>) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let source = session.remote().ip();
        let Some(peer) = session.peer_mut() else { return };
        let asked = core::mem::take(&mut peer.asked_peers);
        let mut news = Vec::new();
        self.work.spend(addresses.len());
        // Which ones are believed is not for their sender to choose.
        self.rng.shuffle(&mut addresses);
        for address in addresses {
            if !session.intake.take(now.at) {
                break;
            }
            if self.book.hear(address, Some(source), now) == Heard::New {
                news.push(address);
            }
            self.book.told_by(address, conn);
        }
        if !news.is_empty() {
            self.outbound.nudge();
        }
        if !asked && news.len() <= NEWS_MAX {
            let at = self.look_not_before(now, conn).max(now.at + NEWS_WAIT);
            for address in news {
                self.outbound.hear_of(address, source, self.config.allow_private, (now.at, at));
            }
        }
    }

    /// Tells a peer where else we can be reached than at the port of our handshake.
    pub(super) fn tell_own_addresses(&mut self, now: Now, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        let told = self.own_addresses.to_tell(session.local, session.remote(), self.config.allow_private);
        if !told.is_empty() && self.may_pass_on(now, conn, Kind::Peers) {
            self.send(conn, &Message::Peers(told));
        }
    }

    /// Asks one peer for addresses, unless it was asked lately.
    pub(super) fn ask_for_peers(&mut self, now: Now, conn: ConnId) {
        let Some(session) = self.sessions.get(conn) else { return };
        let pause = if self.is_exempt(session.remote()) { ASK_EXEMPT_INTERVAL } else { ASK_INTERVAL };
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let Some(peer) = session.peer_mut() else { return };
        if peer.asked_peers_at.is_none_or(|at| now.at.since(at) >= pause) {
            peer.asked_peers = true;
            peer.asked_peers_at = Some(now.at);
            session.intake.asked();
            self.send(conn, &Message::GetPeers(GetPeers::everybody()));
        }
    }

    /// Tells a few peers, none of the `knowing`, of an address at which we found somebody, so that news travels without being
    /// asked for.
    fn spread(&mut self, now: Now, address: SocketAddr, knowing: &[ConnId]) {
        if self.is_banned(now, address, None) {
            return;
        }
        let ready = self.sessions.ready().filter(|(session, peer)| {
            let is_there = peer.address == Some(address) || session.remote() == address;
            !is_there && !knowing.contains(&session.conn())
        });
        let mut listeners: Vec<(ConnId, SocketAddr)> =
            ready.map(|(session, _)| (session.conn(), session.remote())).collect();
        self.rng.shuffle(&mut listeners);
        for (conn, remote) in listeners.into_iter().take(SPREAD_PEERS) {
            if may_pass(address, remote.ip(), self.config.allow_private) && self.may_pass_on(now, conn, Kind::Peers) {
                self.send(conn, &Message::Peers(vec![address]));
            }
        }
    }

    /// With too few addresses in the book, asks for more.
    pub(super) fn seek_addresses(&mut self, now: Now) {
        if !self.stopping && self.book.len() < ADDRESSES_WANTED {
            self.ask_someone_for_peers(now);
        }
    }

    /// Too few addresses: asks one of those we dialed, seeds among them. Who has none of these asks whoever came: a node that all
    /// others reached first would never learn of another address.
    fn ask_someone_for_peers(&mut self, now: Now) {
        let ready = || self.sessions.ready().map(|(session, _)| session);
        let mut conns: Vec<ConnId> = ready().filter(|s| s.is_outbound()).map(|s| s.conn()).collect();
        if conns.is_empty() {
            conns = ready().map(|s| s.conn()).collect();
        }
        if let Some(conn) = self.rng.index(conns.len()).and_then(|i| conns.get(i)) {
            self.ask_for_peers(now, *conn);
        }
    }
}
