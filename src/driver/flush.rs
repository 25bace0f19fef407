//! From queues to sockets, and the orderly end of a connection.

use super::conn::Life;
use super::net::{Net, Notice};
use crate::close::CloseReason;
use crate::id::ConnId;
use crate::limits::{LINGER, TURN_WRITE_BYTES};
use crate::link::Progress;

impl Net {
    /// Flushes every connection that has something to write or to end.
    pub(super) fn flush_dirty(&mut self) {
        let mut dirty = core::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            if let Some(conn) = self.conn_mut(id) {
                conn.flags.dirty = false;
                self.flush(id);
            }
        }
        // What became dirty meanwhile is for the next turn; the list's memory is used again.
        if self.dirty.is_empty() {
            self.dirty = dirty;
        } else {
            dirty.append(&mut self.dirty);
            self.dirty = dirty;
        }
    }

    /// Writes as much as the socket takes, within the turn's budget.
    pub(super) fn flush(&mut self, id: ConnId) {
        let now = self.now.at;
        let low = self.config.outbox.low;
        let budget = if buggify!(self, WriteOneByte) { 1 } else { TURN_WRITE_BYTES };
        let index = id.index() as usize;
        let Some(conn) = self.conns.get_mut(index).filter(|conn| conn.generation == id.generation()) else { return };
        if matches!(conn.life, Life::Connecting | Life::Lingering { .. }) {
            return;
        }
        if conn.flags.writable && conn.has_output() {
            let (stream, side) = (&conn.stream, conn.write_side());
            let flush = conn.link.flush(&mut self.pool, budget, side, |slices| stream.write_vectored(slices));
            conn.counters.bytes_out += flush.bytes as u64;
            conn.counters.frames_out += flush.frames as u64;
            self.totals.bytes_out += flush.bytes as u64;
            self.totals.frames_out += flush.frames as u64;
            if flush.bytes > 0 {
                conn.progressed = now;
            }
            if matches!(conn.link.transport.end(), Some(Err(_))) && !conn.flags.ready {
                // Sealing failed; the next read of the connection, which reads nothing, says so.
                conn.flags.ready = true;
                self.ready.push_back(id);
            }
            match flush.progress {
                Progress::Empty => {}
                Progress::Blocked => conn.flags.writable = false,
                Progress::Budget => {
                    if !conn.flags.dirty {
                        conn.flags.dirty = true;
                        self.dirty.push(id);
                    }
                }
                Progress::Failed(error) => {
                    return self.remove(id, CloseReason::Io(error.kind()));
                }
            }
            if conn.flags.high && conn.link.outbox.queued_bytes() <= low {
                conn.flags.high = false;
                self.notices.push_back(Notice::Writable(id));
            }
        }
        self.settle(id);
    }

    /// Arms the deadline of what is still queued, or ends a connection that has drained.
    fn settle(&mut self, id: ConnId) {
        let now = self.now.at;
        let stall = self.config.write_stall;
        let Some(conn) = self.conn_mut(id) else { return };
        let is_empty = !conn.has_output();
        match conn.life {
            Life::Open if !is_empty => {
                let at = conn.progressed + stall;
                self.arm(id, at);
            }
            Life::Draining { reason, linger: false, .. } => self.remove(id, reason),
            Life::Draining { reason, .. } if is_empty => {
                if conn.stream.shutdown_write().is_err() {
                    return self.remove(id, reason);
                }
                let until = now + LINGER;
                conn.life = Life::Lingering { reason, until };
                // There may be bytes that were never read, and no edge for them.
                conn.flags.readable = true;
                self.arm(id, until);
                self.make_ready(id);
            }
            _ => {}
        }
    }
}
