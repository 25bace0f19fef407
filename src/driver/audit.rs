//! The loop's rules about itself, checked by counting everything anew.

use super::net::{Net, Notice};
use super::system::SocketId;
use super::{Driver, Protocol};
use crate::buggify::Buggify;
use crate::id::{ConnId, Direction};
use crate::invariant::{Broken, Invariant};
use crate::limits::SHARE_FROM;
use crate::wire::frame::MAX_PAYLOAD;

/// A count of everything, made by looking at each connection.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    /// Connections that the protocol knows.
    opened: usize,
    /// Bytes that the inboxes hold.
    received: usize,
    /// Bytes that the outboxes hold.
    queued: usize,
    /// The longest queue.
    longest: usize,
    /// The most that one outbox holds, with what it has written of a payload that it must keep until the end.
    fullest: usize,
}

impl<P: Protocol> Driver<P> {
    /// The rules that [`Driver::audit`] looks at.
    pub(crate) const AUDITED: &'static [Invariant] = &[Invariant::S5, Invariant::S6];

    /// Do the counters say what the connections hold, and is that within the limits? O(connections).
    pub(crate) fn audit(&self) -> Result<(), Broken> {
        let (counted, config) = (self.counted(), &self.net.config);
        let (connections, most) = (self.net.conns.len(), config.connections);
        Invariant::S5.check(connections <= most, || format!("{connections} connections where {most} are allowed"))?;
        let (longest, most) = (counted.longest, config.outbox.hard);
        Invariant::S5.check(longest <= most, || format!("{longest} bytes are queued to one connection of {most}"))?;
        let frame = usize::try_from(MAX_PAYLOAD).unwrap_or(usize::MAX);
        let (received, queued) = self.net.memory();
        for (held, budget) in [(received, config.receive_budget), (queued, config.send_budget)] {
            // One frame above the budget may be finished, whatever its size.
            Invariant::S5.check(held <= budget.saturating_add(frame), || {
                format!("{held} bytes are held where {budget} and a frame are allowed")
            })?;
        }
        let opened = self.net.connections();
        Invariant::S6.check(received == counted.received && opened == counted.opened, || {
            format!("{received} bytes received and {opened} connections by the counters, in truth {counted:?}")
        })?;
        // A payload that many queues share counts once, so the sum may be more; small ones are copied.
        let shares = counted.fullest >= SHARE_FROM;
        let equal = if shares { queued <= counted.queued } else { queued == counted.queued };
        Invariant::S6.check(equal, || format!("{queued} bytes queued by the counter, in truth {counted:?}"))
    }

    fn counted(&self) -> Counted {
        let mut counted = Counted::default();
        for (_, conn) in self.net.conns.iter() {
            let queued = conn.link.queued_bytes();
            let holds = conn.link.outbox.charged_bytes() + conn.link.transport.unsent();
            counted.opened += usize::from(conn.pending.is_none());
            counted.received += conn.link.held();
            counted.queued += holds;
            counted.fullest = counted.fullest.max(holds);
            counted.longest = counted.longest.max(queued);
        }
        counted
    }

    /// Addresses that were admitted and of which the protocol knows neither the connection nor its end yet.
    pub(crate) fn admitted(&self) -> usize {
        let waiting = |notice: &&Notice| matches!(notice, Notice::Released(..));
        let pending = self.net.conns.iter().filter_map(|(_, conn)| conn.pending.as_ref());
        let inbound = pending.filter(|pending| pending.direction == Direction::Inbound && !pending.told).count();
        inbound + self.net.notices.iter().filter(waiting).count()
    }

    /// From now on, the loop misbehaves now and then in ways that are legal; with `None`, no more.
    /// Answers who did until now.
    pub(crate) fn set_buggify(&mut self, buggify: Option<Buggify>) -> Option<Buggify> {
        core::mem::replace(&mut self.net.buggify, buggify)
    }

    /// Sockets that the loop must hold at this moment: connections, dials, those that wait to become one, and listeners.
    pub(crate) fn sockets(&self) -> usize {
        let waiting = self.net.backlog.len() + self.net.waiting_room.len();
        self.net.conns.len() + waiting + self.listeners.len()
    }
}

impl Net {
    /// Will the protocol hear of this connection, that it is writable or that it is closed?
    pub(crate) fn owes_a_word(&self, id: ConnId) -> bool {
        let told = |notice: &Notice| matches!(notice, Notice::Writable(conn) | Notice::Closed(conn, _) if *conn == id);
        self.conns.get(id).is_some_and(|conn| conn.flags.backpressure || !conn.takes_frames())
            || self.send.is_waiting(id)
            || self.notices.iter().any(told)
    }

    /// A connection's descriptor on a virtual system.
    pub(crate) fn socket(&self, conn: ConnId) -> Option<SocketId> {
        self.conns.get(conn)?.stream.socket()
    }
}
