//! How connections come into the loop and leave it, and their one timer.
//!
//! Every end goes through [`Net::take_out`]: the memory goes back, the accounts are settled, and the protocol hears of it once,
//! as what it knew: a connection, a dial or an admitted address.

use std::io;
use std::net::SocketAddr;

use super::conn::{Conn, PendingConn};
use super::net::{Net, Notice};
use super::timer::Due;
use crate::close::CloseReason;
use crate::id::{ConnId, DialId, Direction};
use crate::time::Instant;

impl Net {
    /// True when no further connection fits.
    pub(super) fn is_full(&self) -> bool {
        self.conns.len() + self.backlog.len() >= self.config.connections
    }

    /// Whoever gives way when one more connection must fit and none does: of those that only drain, one that has said all before
    /// one that has not, and of these the first whose time would be up. Whoever comes needs the descriptor more.
    pub(super) fn oldest_drain(&self) -> Option<ConnId> {
        if !self.is_full() {
            return None;
        }
        let draining = self.conns.iter().filter_map(|(id, conn)| Some((conn.is_draining(), conn.drains_until()?, id)));
        draining.min().map(|(.., id)| id)
    }

    /// Ends the drain of a connection at once.
    pub(super) fn cut_drain(&mut self, id: ConnId) {
        self.totals.drains_cut += 1;
        self.remove(id, CloseReason::LimitReached);
    }

    /// Gives the connection a slot and its readiness a token.
    pub(super) fn insert(&mut self, conn: Conn) -> io::Result<ConnId> {
        debug_assert!(conn.is_connecting() && conn.pending.is_some(), "a life begins with connecting");
        self.conns.insert(conn, |conn, token| self.system.register(&mut conn.stream, token))
    }

    /// Takes a connection out of the loop, with its memory, and tells the protocol later. An earlier reason stands.
    pub(super) fn remove(&mut self, id: ConnId, reason: CloseReason) {
        if let Some(notice) = self.take_out(id, reason) {
            self.notices.push_back(notice);
        }
    }

    /// The same, for a caller who tells the protocol.
    pub(super) fn take_out(&mut self, id: ConnId, reason: CloseReason) -> Option<Notice> {
        let reason = self.conns.get(id)?.reason_of(reason);
        self.leave_securing(id);
        let mut conn = self.conns.remove(id)?;
        // Closing the descriptor would do as much, but not before everyone who shares it has.
        let _ = self.system.deregister(&mut conn.stream);
        self.receive.release(conn.link.held());
        self.throttle.forget(id);
        conn.clear(&mut self.pool);
        Some(match conn.pending.map(|pending| *pending) {
            None => {
                *self.totals.closes.entry(reason.label()).or_insert(0) += 1;
                Notice::Closed(id, reason)
            }
            Some(PendingConn { direction: Direction::Outbound(dial), remote, .. }) => {
                self.totals.dial_failures += 1;
                if matches!(reason, CloseReason::Tls(_)) {
                    *self.totals.tls_dial_failures.entry(reason.label()).or_insert(0) += 1;
                }
                Notice::DialFailed { dial, remote, reason }
            }
            Some(PendingConn { direction: Direction::Inbound, remote, told, .. }) => {
                let failures = match reason {
                    CloseReason::WebSocket(_) => &mut self.totals.web_socket_failures,
                    _ => &mut self.totals.tls_failures,
                };
                *failures.entry(reason.label()).or_insert(0) += 1;
                if told {
                    return None;
                }
                Notice::Released(remote, reason)
            }
        })
    }

    /// A dial that became no connection at all.
    pub(super) fn fail_dial(&mut self, dial: DialId, remote: SocketAddr, reason: CloseReason) {
        self.totals.dial_failures += 1;
        self.notices.push_back(Notice::DialFailed { dial, remote, reason });
    }

    /// Puts the connection among those to flush, if it has something to write.
    pub(super) fn mark_dirty_if_queued(&mut self, id: ConnId) {
        if let Some(mut entry) = self.conns.entry(id)
            && entry.conn.has_output()
        {
            entry.mark_dirty();
        }
    }

    /// Sees to it that the connection's deadline is looked at no later than `at`.
    pub(super) fn arm(&mut self, id: ConnId, at: Instant) {
        if let Some(conn) = self.conns.get_mut(id)
            && at < conn.armed
        {
            conn.armed = at;
            self.timers.arm(at, Due::Conn(id));
        }
    }

    /// A connection's entry came due: the entry may be out of date.
    pub(super) fn check_deadline(&mut self, id: ConnId, entry: Instant) {
        let now = self.now.at;
        let Some(conn) = self.conns.get_mut(id).filter(|conn| conn.armed == entry) else { return };
        conn.armed = Instant::NEVER;
        match conn.deadline(&self.config) {
            Some((at, reason)) if at <= now => self.remove(id, reason),
            Some((at, _)) => self.arm(id, at),
            None => {}
        }
        #[cfg(feature = "ws")]
        if let Some(at) = self.keep_open(id) {
            self.arm(id, at);
        }
    }
}
