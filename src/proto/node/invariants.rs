//! What holds between two inputs: the tables agree, and keep to their limits.
//!
//! A session is named in several places (its timer, its peer's id, the gatekeeper, relay, sync), and each of them forgets it
//! by a line of its own. This page is what notices a forgotten line: the cheap half after each input in builds with debug
//! assertions, all of it whenever the simulator or a fuzz target asks. Each rule is an [`Invariant`].

use core::net::SocketAddr;

use crate::invariant::{Broken, Invariant};
use crate::proto::node::objects::{PENDING_BYTES_MAX, PENDING_MAX};
use crate::proto::node::{Node, Timer};
use crate::proto::session::{DEFERRED_BLOCKS_MAX, Session, SessionState, WAITING_TRANSACTIONS_MAX};
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
        self.seen.audit()?;
        self.relay.audit()?;
        self.sync.audit()?;
        for conn in self.sync.conns() {
            let live = self.sessions.get(&conn).is_some_and(|session| session.peer().is_some());
            Invariant::S13.check(live, || format!("the sync waits for {conn}, which is not open"))?;
        }
        for hash in self.sync.invalid() {
            Invariant::S19.check(!self.seen.holds(hash), || format!("{hash} is remembered as seen, and as invalid"))?;
        }
        self.audit_places()?;
        let (objects, bytes) = (self.pending.len(), self.pending_bytes);
        Invariant::S5.check(objects <= PENDING_MAX && bytes <= PENDING_BYTES_MAX, || {
            format!("{objects} objects of {bytes} bytes wait for a verdict")
        })
    }

    /// Blacklisted addresses that we are connected to or dial, where there should be none.
    pub fn blacklisted_contacts(&self, now: Now) -> Vec<SocketAddr> {
        let open = self.sessions.values().filter(|session| !session.is_closing());
        let open = open.map(|session| (session.remote, session.identity));
        let dialed = self.dials.values().map(|(address, _)| (*address, None));
        let banned = open.chain(dialed).filter(|(remote, identity)| self.is_banned(now, *remote, *identity));
        banned.map(|(remote, _)| remote).collect()
    }

    /// Is this address blacklisted, and not exempt?
    pub fn is_blacklisted(&self, now: Now, remote: SocketAddr) -> bool {
        self.is_banned(now, remote, None)
    }

    /// Who sits where: inbound peers within their places, the rest of each session within its limits.
    fn audit_places(&self) -> Result<(), Broken> {
        let settled = |session: &&Session| {
            !session.direction.is_outbound() && session.peer().is_some() && !self.is_exempt(session.remote)
        };
        let (count, most) = (self.sessions.values().filter(settled).count(), self.admission.settled_max());
        Invariant::S8.check(count <= most, || format!("{count} inbound peers, {most} at most"))?;
        for session in self.sessions.values() {
            let Some(peer) = session.peer() else { continue };
            let (waiting, deferred) = (peer.waiting.len(), peer.deferred.len());
            Invariant::S5.check(waiting <= WAITING_TRANSACTIONS_MAX && deferred <= DEFERRED_BLOCKS_MAX, || {
                format!("{waiting} transactions and {deferred} blocks wait for {}", session.conn)
            })?;
            Invariant::S7.check(peer.node_id != self.config.node_id, || format!("{} is ourselves", session.conn))?;
        }
        Ok(())
    }

    /// The cheap half: whoever is ready is known to all, whoever is gone to nobody.
    pub(super) fn audit_sessions(&self) -> Result<(), Broken> {
        let mut ready = 0;
        let mut live = 0;
        for session in self.sessions.values() {
            let conn = session.conn;
            let timed = self.timers.contains(&(session.timer, Timer::Session(conn)));
            live += usize::from(!session.is_closing());
            Invariant::S16
                .check(timed != session.is_closing(), || format!("{conn} is live and has no timer, or the reverse"))?;
            if let SessionState::Ready(peer) = &session.state {
                ready += 1;
                let found = self.by_id.get(&peer.node_id);
                Invariant::S7
                    .check(found == Some(&conn), || format!("{conn} is {:?}, and so is {found:?}", peer.node_id))?;
            }
        }
        Invariant::S7.check(self.by_id.len() == ready, || format!("{} ids for {ready} peers", self.by_id.len()))?;
        let (synced, relayed) = (self.sync.peer_count(), self.relay.peer_count());
        Invariant::S3.check(synced == ready, || format!("the sync engine knows {synced} of {ready} peers"))?;
        Invariant::S3.check(relayed == ready, || format!("the relay knows {relayed} of {ready} peers"))?;
        let count = |wanted: fn(&Timer) -> bool| self.timers.iter().filter(|(_, timer)| wanted(timer)).count();
        let (sessions, rounds) =
            (count(|timer| matches!(timer, Timer::Session(_))), count(|timer| *timer == Timer::Housekeeping));
        Invariant::S16.check(sessions == live, || format!("{sessions} timers for {live} live sessions"))?;
        Invariant::S16.check(rounds == 1, || format!("{rounds} next rounds of housekeeping"))?;
        let bytes = self.bytes_under_judgement();
        Invariant::S6.check(self.pending_bytes == bytes, || {
            format!("{bytes} bytes wait for a verdict, {} by the counter", self.pending_bytes)
        })?;
        let (connections, dialing) = (self.admission.connections(), self.outbound.dialing());
        Invariant::S4.check(connections == self.sessions.len(), || {
            format!("{connections} connections are counted, {} are open", self.sessions.len())
        })?;
        Invariant::S4.check(dialing == self.dials.len(), || {
            format!("the pool has {dialing} dials under way, the node {}", self.dials.len())
        })
    }
}
