//! What holds between two inputs: the tables agree, and keep to their limits.
//!
//! A session is named in several tables (the sessions, admission, relay, sync), and each of them forgets it by a line of its
//! own. This page is what notices a forgotten line: the cheap half after each input in builds with debug
//! assertions, all of it whenever the simulator or a fuzz target asks. Each rule is an [`Invariant`].

use core::net::SocketAddr;

use crate::invariant::{Broken, Invariant};
use crate::proto::budget::{BLOCK_REQUESTS_MAX, HEADER_REQUESTS_MAX};
use crate::proto::node::Node;
use crate::proto::pool::OFFERS_MAX;
use crate::proto::session::WAITING_TRANSACTIONS_MAX;
use crate::proto::sync::chain::Chain;
use crate::time::Now;

impl<C: Chain> Node<C> {
    /// The rules that [`Node::audit`] looks at.
    pub const AUDITED: &'static [Invariant] = &[
        Invariant::S3,
        Invariant::S4,
        Invariant::S5,
        Invariant::S6,
        Invariant::S7,
        Invariant::S8,
        Invariant::S9,
        Invariant::S10,
        Invariant::S13,
        Invariant::S14,
        Invariant::S16,
        Invariant::S17,
        Invariant::S19,
    ];

    /// Looks at all tables: that they agree and are within their limits. Takes O(their size): for the simulator and the fuzz
    /// targets, which ask between two inputs. Callers must have asked [`Node::admit`] for each inbound connection.
    ///
    /// # Errors
    ///
    /// The first rule that is broken, and what was found.
    pub fn audit(&self) -> Result<(), Broken> {
        self.audit_sessions()?;
        self.admission.audit()?;
        self.outbound.audit()?;
        self.book.audit()?;
        self.peers.audit()?;
        self.reputation.audit()?;
        self.bans.audit()?;
        self.known.audit()?;
        self.unheard.audit()?;
        self.sync.audit()?;
        let (judged, expected) = (self.known.pending_blocks(), self.sync.pending_elsewhere());
        Invariant::S6.check(judged == *expected, || {
            format!("{} blocks wait for a verdict, the sync knows of {}", judged.len(), expected.len())
        })?;
        for conn in self.sync.conns() {
            Invariant::S13.check(self.sessions.peer(conn).is_some(), || {
                format!("the sync waits for {conn}, which is not open")
            })?;
        }
        for hash in self.sync.invalid() {
            Invariant::S19
                .check(!self.known.holds(hash), || format!("{hash} is remembered as seen, and as invalid"))?;
        }
        self.audit_places()
    }

    /// Blacklisted addresses that we are connected to or dial, where there should be none.
    pub fn blacklisted_contacts(&self, now: Now) -> Vec<SocketAddr> {
        let open = self.sessions.iter().filter(|session| !session.is_closing());
        let open = open.map(|session| (session.remote(), session.identity()));
        let dialed = self.outbound.dials().map(|(_, address)| (address, None));
        let banned = open.chain(dialed).filter(|(remote, identity)| self.is_banned(now, *remote, *identity));
        banned.map(|(remote, _)| remote).collect()
    }

    /// Is this address blacklisted, and not exempt?
    pub fn is_blacklisted(&self, now: Now, remote: SocketAddr) -> bool {
        self.is_banned(now, remote, None)
    }

    /// Who sits where: inbound peers within their places, the rest of each session within its limits.
    fn audit_places(&self) -> Result<(), Broken> {
        let inbound = self.sessions.ready().filter(|(session, _)| !session.is_outbound());
        let count = inbound.filter(|(session, _)| !self.is_exempt(session.remote())).count();
        let most = self.admission.settled_max();
        Invariant::S8.check(count <= most, || format!("{count} inbound peers, {most} at most"))?;
        for (session, peer) in self.sessions.ready() {
            let (waiting, deferred) = (peer.waiting.len(), peer.deferred.len());
            let headers = peer.deferred_headers.len();
            let is_bounded =
                waiting <= WAITING_TRANSACTIONS_MAX && deferred <= BLOCK_REQUESTS_MAX && headers <= HEADER_REQUESTS_MAX;
            Invariant::S5.check(is_bounded, || {
                format!("{waiting} transactions, {deferred} blocks and {headers} answers wait for {}", session.conn())
            })?;
            peer.waiting.audit()?;
            peer.own_gossip.audit()?;
            peer.relayed.audit()?;
            let (offers, unsent) = (peer.pool.offers(), peer.pool.unsent());
            Invariant::S5.check(offers <= OFFERS_MAX && unsent <= OFFERS_MAX, || {
                format!("{offers} transactions are on offer to {}, {unsent} were missed", session.conn())
            })?;
            Invariant::S7
                .check(peer.node_id() != self.config.node_id, || format!("{} is ourselves", session.conn()))?;
        }
        Ok(())
    }

    /// The cheap half: whoever is ready is known to all, whoever is gone to nobody.
    pub(super) fn audit_sessions(&self) -> Result<(), Broken> {
        self.sessions.audit()?;
        self.known.audit_pending()?;
        let ready = self.sessions.ready_count();
        let (synced, relayed) = (self.sync.peer_count(), self.known.peer_count());
        Invariant::S3.check(synced == ready, || format!("the sync engine knows {synced} of {ready} peers"))?;
        Invariant::S3.check(relayed == ready, || format!("the relay knows {relayed} of {ready} peers"))?;
        let (waiting, numbers) = (self.reading.conns().len(), self.reading.len());
        Invariant::S6.check(waiting == numbers, || format!("{waiting} peers wait for {numbers} blocks"))?;
        let stray = self.reading.conns().find(|conn| self.sessions.asker(*conn).is_none());
        Invariant::S3.check(stray.is_none(), || format!("a block is read for {stray:?}, who is gone"))?;
        let (connections, open) = (self.admission.connections(), self.sessions.len());
        Invariant::S4.check(connections == open, || format!("{connections} connections are counted, {open} are open"))
    }
}
