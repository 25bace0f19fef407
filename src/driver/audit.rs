//! What the loop really holds, counted anew, for whoever checks its books.

use super::net::Net;
use super::system::SocketId;
use super::{Driver, Protocol};
use crate::id::ConnId;

/// A count of everything, made by looking at each connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Audit {
    /// Connections, dials under way included.
    pub(crate) connections: usize,
    /// Of these, the ones that the protocol knows.
    pub(crate) opened: usize,
    /// Bytes that the inboxes hold.
    pub(crate) held: usize,
    /// Bytes that the outboxes hold, and the longest queue.
    pub(crate) queued: usize,
    pub(crate) longest: usize,
}

impl<P: Protocol> Driver<P> {
    pub(crate) fn audit(&self) -> Audit {
        let mut audit = Audit::default();
        for (_, conn) in &self.net.conns {
            let queued = conn.link.outbox.queued_bytes();
            audit.connections += 1;
            audit.opened += usize::from(!conn.is_connecting());
            audit.held += conn.link.inbox.held();
            audit.queued += queued + conn.link.outbox.begun_bytes();
            audit.longest = audit.longest.max(queued);
        }
        audit
    }

    /// Sockets that the loop must hold at this moment: connections, dials and listeners.
    pub(crate) fn sockets(&self) -> usize {
        self.net.conns.len() + self.listeners.len()
    }
}

impl Net {
    /// A connection's descriptor on a virtual system.
    pub(crate) fn socket(&self, conn: ConnId) -> Option<SocketId> {
        self.conn(conn)?.stream.socket()
    }
}
