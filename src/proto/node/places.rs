//! Who gives way when all places for inbound connections are taken.
//!
//! Unfinished handshakes compete for their places by subnet, age and what their address has already, peers for theirs by
//! [`evict`]. Dialed and exempt peers, and those that the operator named, give way to nobody.

use core::cmp::Reverse;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeMap;

use crate::address::Subnet;
use crate::close::CloseReason;
use crate::id::{ConnId, Direction};
use crate::proto::node::Node;
use crate::proto::node::sessions::Session;
use crate::proto::peer::evict::{self, Candidate};
use crate::proto::sync::chain::Chain;
use crate::time::{Instant, Now};
use crate::wire::Kind;

/// How many unfinished handshakes a subnet has, and the oldest of them, by its deadline.
type Crowd = (usize, Reverse<(Instant, ConnId)>);

/// Who competes with whom for the places of inbound peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Takes the place of anybody.
    Node,
    /// Takes that of its like only, so that a page with many visitors cannot crowd out nodes.
    WebSocket,
}

impl Class {
    fn of(session: &Session) -> Self {
        if session.is_web_socket { Class::WebSocket } else { Class::Node }
    }
}

/// A handshake may take so long before it gives way to others, when there is no place left.
const GREETING_SPARED: Duration = Duration::from_secs(1);

impl<C: Chain> Node<C> {
    /// Makes room for a newcomer among the unfinished handshakes: the oldest one of the subnet that has most of them goes, when
    /// that is more than the newcomer's has. So a few subnets cannot keep everybody else out. Where all have as few, the oldest goes
    /// that had time enough to say who it is: of the newcomer's own subnet, if it has one there.
    pub(super) fn evict_pending(&mut self, now: Now, newcomer: SocketAddr) -> bool {
        if !self.admission.may_come(now.at, newcomer) {
            return false;
        }
        let mut crowds: BTreeMap<Subnet, Crowd> = BTreeMap::new();
        for session in self.sessions.iter().filter(|s| !s.is_outbound() && !self.admission.has_client_place(s.conn())) {
            let Some(deadline) = session.greeting_deadline() else { continue };
            let this = Reverse((deadline, session.conn()));
            let crowd = crowds.entry(Subnet::of(session.remote().ip())).or_insert((0, this));
            *crowd = (crowd.0 + 1, crowd.1.max(this));
        }
        let own = crowds.get(&Subnet::of(newcomer.ip())).map_or(0, |crowd| crowd.0);
        let largest = crowds.into_values().max().filter(|(count, _)| *count > own.saturating_add(1));
        let is_near = |ip: IpAddr| own == 0 || Subnet::of(ip) == Subnet::of(newcomer.ip());
        let stalled = || self.oldest_stalled(now, |session| is_near(session.remote().ip()));
        let Some(oldest) = largest.map(|(_, Reverse((_, oldest)))| oldest).or_else(stalled) else { return false };
        self.close(now, oldest, CloseReason::LimitReached);
        true
    }

    /// The oldest inbound handshake that had time enough, of those that match.
    fn oldest_stalled(&self, now: Now, matches: impl Fn(&Session) -> bool) -> Option<ConnId> {
        let spared = now.at + self.config.handshake_timeout.saturating_sub(GREETING_SPARED);
        let takes_place = |s: &&Session| !s.is_outbound() && !self.admission.has_client_place(s.conn());
        let inbound = self.sessions.iter().filter(|s| takes_place(s) && matches(s));
        let stalled = inbound.filter_map(|s| Some((s.greeting_deadline().filter(|at| *at <= spared)?, s.conn())));
        stalled.min().map(|(_, oldest)| oldest)
    }

    /// Makes a place for an address from which there is no connection, when all that are kept for such are taken: the unfinished
    /// handshake of the address goes that costs us most, when that is more than the newcomer will. Those who have a place, and
    /// come again and again for a second one, would take each that gets free, and whoever comes for his first would find none.
    /// Where nobody costs more, the oldest goes that had time enough to say who it is.
    pub(super) fn make_way(&mut self, now: Now, newcomer: SocketAddr) -> bool {
        let Some(own) = self.admission.load(now.at, newcomer).filter(|own| own.by_ip == 0) else { return false };
        if !self.admission.may_come(now.at, newcomer) {
            return false;
        }
        let own = self.admission.with_one_more(own);
        let inbound = self.sessions.iter().filter(|s| !s.is_outbound() && !self.admission.has_client_place(s.conn()));
        let pending = inbound.filter_map(|session| {
            let deadline = session.greeting_deadline()?;
            Some((self.admission.load(now.at, session.remote())?, Reverse(deadline), session.conn()))
        });
        let costly = pending.max().filter(|(load, ..)| *load > own).map(|(.., conn)| conn);
        let Some(conn) = costly.or_else(|| self.oldest_stalled(now, |_| true)) else { return false };
        self.close(now, conn, CloseReason::LimitReached);
        true
    }

    /// The last place was taken by an unfinished handshake: one that stalls makes it free again for the next stranger.
    pub(super) fn evict_stalled(&mut self, now: Now) {
        if let Some(oldest) = self.oldest_stalled(now, |_| true) {
            self.close(now, oldest, CloseReason::LimitReached);
        }
    }

    /// Makes a place for an inbound peer whose handshake is about to be done; false when nobody gives way to it, as to one who
    /// `asks_only`: it is gone in a moment, and who gave way would have to come again.
    pub(super) fn make_place(&mut self, now: Now, newcomer: ConnId, asks_only: bool) -> bool {
        let Some((remote, class)) = self.sessions.get(newcomer).map(|s| (s.remote(), Class::of(s))) else {
            return false;
        };
        let settled = self.sessions.iter().filter(|s| !s.is_outbound() && s.peer().is_some()).count();
        if settled < self.admission.settled_max() {
            if buggify!(self, EvictNow) {
                self.evict_one(now, remote, class);
            }
            return true;
        }
        (!asks_only && self.evict_one(now, remote, class)) || self.is_exempt(remote)
    }

    /// A connection is a WebSocket. Where there are too many from others, one of them gives way.
    pub(super) fn on_web_socket(&mut self, now: Now, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn).filter(|session| !session.is_closing()) else { return };
        session.is_web_socket = true;
        if let Direction::Outbound(dial) = session.direction() {
            return self.outbound.over_web_socket(dial);
        }
        let remote = session.remote();
        let is_one = |s: &&Session| s.is_web_socket && !s.is_outbound() && !s.is_closing();
        if self.sessions.iter().filter(is_one).count() <= self.config.admission.web_sockets_max()
            || self.evict_one(now, remote, Class::WebSocket)
        {
            return;
        }
        let stalled = self.oldest_stalled(now, |session| session.is_web_socket && session.conn() != conn);
        self.close(now, stalled.unwrap_or(conn), CloseReason::LimitReached);
    }

    /// Ends the inbound peer that gives way to a newcomer from `remote`; false when there is none. A WebSocket takes no node's place.
    pub(super) fn evict_one(&mut self, now: Now, remote: SocketAddr, newcomer: Class) -> bool {
        let gives_way = |s: &Session| newcomer == Class::Node || s.is_web_socket;
        let inbound = self.sessions.iter().filter(|s| !s.is_outbound() && gives_way(s) && !self.is_exempt(s.remote()));
        let candidates = inbound.filter_map(|session| {
            let peer = session.peer()?;
            let kept = peer.address.is_some_and(|address| self.outbound.is_kept(address));
            (!kept).then_some(Candidate {
                conn: session.conn(),
                ip: session.remote().ip(),
                since: peer.since,
                round_trip: peer.round_trip,
                transaction: peer.transaction_at,
                block: peer.block_at,
            })
        });
        let Some(victim) = evict::choose(candidates.collect(), remote.ip(), self.key) else { return false };
        self.close(now, victim, CloseReason::LimitReached);
        true
    }

    /// A peer brought something that was new and valid.
    pub(super) fn note_contribution(&mut self, now: Now, conn: ConnId, kind: Kind) {
        let Some(peer) = self.sessions.peer_mut(conn) else { return };
        match kind {
            Kind::Transaction => peer.transaction_at = Some(now.at),
            Kind::Block | Kind::NewBlock => peer.block_at = Some(now.at),
            _ => {}
        }
    }
}
