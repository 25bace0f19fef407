//! What holds between two inputs: the tables agree, and keep to their limits.
//!
//! A session is named in several places (its timer, its peer's id, the gatekeeper, relay, sync), and each of them forgets it
//! by a line of its own. This page is what notices a forgotten line: the cheap half after each input in builds with debug
//! assertions, all of it whenever the simulator or a fuzz target asks. Each rule has the letter and number of the test plan.

use core::net::SocketAddr;

use crate::proto::node::objects::{PENDING_BYTES_MAX, PENDING_MAX};
use crate::proto::node::{Node, Timer};
use crate::proto::session::{DEFERRED_BLOCKS_MAX, Session, SessionState, WAITING_TRANSACTIONS_MAX};
use crate::proto::sync::chain::Chain;
use crate::time::Now;

/// The rule holds, or this was found.
fn rule(holds: bool, found: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(found()) }
}

impl<C: Chain> Node<C> {
    /// Looks at all tables: that they agree and are within their limits. Takes O(their size): for the simulator and the fuzz
    /// targets, which ask between two inputs. Callers must have asked [`Node::admit`] for each inbound connection.
    ///
    /// # Errors
    ///
    /// The first rule that is broken, by its letter and number, and what was found.
    pub fn audit(&self) -> Result<(), String> {
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
            rule(live, || format!("S13: the sync waits for {conn}, which is not open"))?;
        }
        for hash in self.sync.invalid() {
            rule(!self.seen.holds(hash), || format!("S19: {hash} is remembered as seen, and as invalid"))?;
        }
        self.audit_places()?;
        let (objects, bytes) = (self.pending.len(), self.pending_bytes);
        rule(objects <= PENDING_MAX && bytes <= PENDING_BYTES_MAX, || {
            format!("S5: {objects} objects of {bytes} bytes wait for a verdict")
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
    fn audit_places(&self) -> Result<(), String> {
        let settled = |session: &&Session| {
            !session.direction.is_outbound() && session.peer().is_some() && !self.is_exempt(session.remote)
        };
        let (count, most) = (self.sessions.values().filter(settled).count(), self.admission.settled_max());
        rule(count <= most, || format!("S8: {count} inbound peers, {most} at most"))?;
        for session in self.sessions.values() {
            let Some(peer) = session.peer() else { continue };
            let (waiting, deferred) = (peer.waiting.len(), peer.deferred.len());
            rule(waiting <= WAITING_TRANSACTIONS_MAX && deferred <= DEFERRED_BLOCKS_MAX, || {
                format!("S5: {waiting} transactions and {deferred} blocks wait for {}", session.conn)
            })?;
            rule(peer.node_id != self.config.node_id, || format!("S7: {} is ourselves", session.conn))?;
        }
        Ok(())
    }

    /// The cheap half: whoever is ready is known to all, whoever is gone to nobody.
    pub(super) fn audit_sessions(&self) -> Result<(), String> {
        let mut ready = 0;
        let mut live = 0;
        for session in self.sessions.values() {
            let conn = session.conn;
            let timed = self.timers.contains(&(session.timer, Timer::Session(conn)));
            live += usize::from(!session.is_closing());
            rule(timed != session.is_closing(), || format!("S16: {conn} is live and has no timer, or the reverse"))?;
            if let SessionState::Ready(peer) = &session.state {
                ready += 1;
                let found = self.by_id.get(&peer.node_id);
                rule(found == Some(&conn), || format!("S7: {conn} is {:?}, and so is {found:?}", peer.node_id))?;
            }
        }
        rule(self.by_id.len() == ready, || format!("S7: {} ids for {ready} peers", self.by_id.len()))?;
        let (synced, relayed) = (self.sync.peer_count(), self.relay.peer_count());
        rule(synced == ready, || format!("S3: the sync engine knows {synced} of {ready} peers"))?;
        rule(relayed == ready, || format!("S3: the relay knows {relayed} of {ready} peers"))?;
        let count = |wanted: fn(&Timer) -> bool| self.timers.iter().filter(|(_, timer)| wanted(timer)).count();
        let (sessions, rounds) =
            (count(|timer| matches!(timer, Timer::Session(_))), count(|timer| *timer == Timer::Housekeeping));
        rule(sessions == live, || format!("S16: {sessions} timers for {live} live sessions"))?;
        rule(rounds == 1, || format!("S16: {rounds} next rounds of housekeeping"))?;
        let bytes = self.bytes_under_judgement();
        rule(self.pending_bytes == bytes, || {
            format!("S6: {bytes} bytes wait for a verdict, {} by the counter", self.pending_bytes)
        })?;
        let (connections, dialing) = (self.admission.connections(), self.outbound.dialing());
        rule(connections == self.sessions.len(), || {
            format!("S4: {connections} connections are counted, {} are open", self.sessions.len())
        })?;
        rule(dialing == self.dials.len(), || {
            format!("S4: the pool has {dialing} dials under way, the node {}", self.dials.len())
        })
    }
}
