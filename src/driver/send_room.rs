//! Room in the send budget: who is told of it, and who has to make it.

use super::budget::{free_half, is_over};
use super::conn::Conn;
use super::net::{Net, Notice};
use crate::close::CloseReason;
use crate::limits::SCARCE_WRITE_STALL;

impl Net {
    /// Tells the connection that waits longest for the send budget that there is room, if there is. Where there is none, somebody who
    /// does not read what is queued for him gives his part of it back first.
    pub(super) fn wake_sender(&mut self) {
        if self.is_send_budget_short() && !self.send.is_idle() {
            self.cut_stalled_reader();
        }
        let has_room = !self.is_send_budget_short();
        let Net { send, conns, timers, .. } = self;
        let woken = send.wake(has_room, |id| conns.get(id).is_some(), self.now.at, timers);
        self.notices.extend(woken.map(Notice::Writable));
    }

    fn is_send_budget_short(&self) -> bool {
        self.pool.queued_bytes() >= free_half(self.config.send_budget)
    }

    /// Ends the connection that holds most of the send budget, of those that hold more than an equal share of what is left and whose
    /// peers have read nothing for a while: a few who ask for much and read none of it would keep everybody else from getting
    /// a large frame until their own deadlines. O(connections), and only while somebody waits.
    fn cut_stalled_reader(&mut self) {
        let (now, config) = (self.now.at, &self.config);
        let (total, stall) = (self.pool.queued_bytes(), SCARCE_WRITE_STALL.min(config.write_stall));
        let holds = |conn: &Conn| conn.link.queued_bytes();
        let stalls = |conn: &Conn| conn.has_output() && now.since(conn.progressed) >= stall;
        let stalled = self.conns.iter().filter(|(_, conn)| conn.is_open() && stalls(conn));
        let above = stalled.filter(|(_, conn)| is_over(total, config.send_budget, holds(conn), config.connections));
        if let Some((_, id)) = above.map(|(id, conn)| (holds(conn), id)).max() {
            self.remove(id, CloseReason::WriteTimeout);
        }
    }
}
