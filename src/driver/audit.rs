//! What the loop really holds, counted anew, for whoever checks its books.

use super::net::{Net, Notice};
use super::system::SocketId;
use super::{Driver, Protocol};
use crate::buggify::Buggify;
use crate::id::{ConnId, Direction};

/// A count of everything, made by looking at each connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Audit {
    /// Connections, those that the protocol does not know yet included.
    pub(crate) connections: usize,
    /// Of these, the ones that it knows.
    pub(crate) opened: usize,
    /// Admitted, and the protocol knows neither the connection nor its end yet.
    pub(crate) securing: usize,
    /// Bytes that the inboxes hold.
    pub(crate) held: usize,
    /// Bytes that the outboxes hold, and the longest queue.
    pub(crate) queued: usize,
    pub(crate) longest: usize,
    /// The most that one outbox holds, with what it has written of a payload that it must keep until the end.
    pub(crate) fullest: usize,
}

impl<P: Protocol> Driver<P> {
    pub(crate) fn audit(&self) -> Audit {
        let waits = |notice: &&Notice| matches!(notice, Notice::Released(..));
        let mut audit = Audit { securing: self.net.notices.iter().filter(waits).count(), ..Audit::default() };
        for (_, conn) in self.net.conns.iter() {
            let queued = conn.link.queued_bytes();
            audit.connections += 1;
            audit.opened += usize::from(conn.pending.is_none());
            let inbound = conn.pending.as_ref().is_some_and(|pending| pending.direction == Direction::Inbound);
            audit.securing += usize::from(inbound);
            audit.held += conn.link.held();
            let holds = queued + conn.link.outbox.begun_bytes();
            audit.queued += holds;
            audit.fullest = audit.fullest.max(holds);
            audit.longest = audit.longest.max(queued);
        }
        audit
    }

    /// From now on, the loop misbehaves now and then in ways that are legal; with `None`, no more.
    /// Answers who did until now.
    pub(crate) fn set_buggify(&mut self, buggify: Option<Buggify>) -> Option<Buggify> {
        core::mem::replace(&mut self.net.buggify, buggify)
    }

    /// Sockets that the loop must hold at this moment: connections, dials and listeners.
    pub(crate) fn sockets(&self) -> usize {
        self.net.conns.len() + self.listeners.len()
    }
}

impl Net {
    /// A connection's descriptor on a virtual system.
    pub(crate) fn socket(&self, conn: ConnId) -> Option<SocketId> {
        self.conns.get(conn)?.stream.socket()
    }
}
