//! From queues to sockets, and the orderly end of a connection.

use super::conn::ConnState;
use super::net::{Net, Notice};
use crate::close::CloseReason;
use crate::id::ConnId;
use crate::limits::TURN_WRITE_BYTES;
use crate::link::{OutboxLimits, Progress, WriteBudget};

impl Net {
    /// Flushes every connection that has something to write or to end. What becomes dirty meanwhile is for the next turn.
    pub(super) fn flush_dirty(&mut self) {
        #[cfg(feature = "lz4")]
        self.packed.clear();
        for _ in 0..self.conns.dirty_len() {
            let Some(id) = self.conns.pop_dirty() else { return };
            self.flush(id);
        }
    }

    /// Writes as much as the socket takes, within the turn's budget, and within the limits of bandwidth where there are some.
    pub(super) fn flush(&mut self, id: ConnId) {
        if !self.throttle.limits_upload() {
            return self.flush_within(id, None);
        }
        let wants = self.conns.get(id).is_some_and(|conn| conn.flags.writable && conn.has_output());
        match if wants { self.upload_share(id) } else { Some(0) } {
            Some(most) => self.flush_within(id, Some(most)),
            None => self.after_flush(id),
        }
    }

    /// The same, of at most so many bytes.
    pub(super) fn flush_within(&mut self, id: ConnId, most: Option<usize>) {
        let now = self.now.at;
        let OutboxLimits { low, high, .. } = self.config.outbox;
        let Some(mut entry) = self.conns.entry(id) else { return };
        let conn = &mut *entry.conn;
        let budget = match most {
            _ if buggify!(self, WriteOneByte) => WriteBudget::About(1),
            None => WriteBudget::About(TURN_WRITE_BYTES),
            Some(most) => WriteBudget::Exactly(most.min(TURN_WRITE_BYTES)),
        };
        if matches!(conn.state, ConnState::Connecting | ConnState::Lingering { .. }) {
            return;
        }
        if conn.flags.writable && conn.has_output() {
            let (stream, side) = (&conn.stream, conn.write_side());
            let writes = &mut self.totals.writes;
            let flush = conn.link.flush(&mut self.pool, budget, side, |slices| {
                *writes += 1;
                stream.write_vectored(slices)
            });
            conn.counters.bytes_out += flush.bytes as u64;
            conn.counters.frames_out += flush.frames as u64;
            self.totals.bytes_out += flush.bytes as u64;
            self.totals.frames_out += flush.frames as u64;
            if flush.bytes > 0 {
                conn.progressed = now;
                let more = !matches!(flush.progress, Progress::Empty);
                if let Some(bound) = conn.unsent.wrote(now, flush.bytes, more) {
                    conn.stream.set_unsent_bound(bound);
                }
            }
            let has_more = matches!(flush.progress, Progress::Budget);
            // One that drains is read no more: nobody would hear of it, and it would be ready again in each turn until its end.
            let sealing_failed = !conn.is_draining() && matches!(conn.link.transport.end(), Some(Err(_)));
            match flush.progress {
                Progress::Empty | Progress::Budget => {}
                Progress::Blocked => conn.flags.writable = false,
                Progress::Failed(error) => return self.remove(id, CloseReason::Io(error.kind())),
            }
            let queued = conn.queued_bytes(0);
            if queued >= high {
                // Sealed, it may have grown past the mark.
                conn.flags.backpressure |= conn.takes_frames();
            } else if conn.flags.backpressure && queued <= low {
                conn.flags.backpressure = false;
                self.notices.push_back(Notice::Writable(id));
            }
            let written = flush.bytes;
            if has_more && most.is_none() {
                entry.mark_dirty();
            }
            if sealing_failed {
                // The next read of the connection, which reads nothing, says so.
                entry.mark_ready();
            }
            if most.is_some() {
                self.uploaded(id, written);
                if has_more {
                    self.goes_on_later(id);
                }
            }
        }
        self.after_flush(id);
    }

    /// Arms the deadline of what is still queued, or ends a connection that has drained.
    fn after_flush(&mut self, id: ConnId) {
        let stall = self.config.write_stall;
        let Some(mut entry) = self.conns.entry(id) else { return };
        let conn = &mut *entry.conn;
        let is_empty = !conn.has_output();
        match conn.state {
            ConnState::Open if !is_empty => {
                let at = conn.progressed + stall;
                self.arm(id, at);
            }
            ConnState::HalfClosed { held: false, .. } if is_empty => {
                conn.end_half_closed();
                if conn.discards() {
                    // There may be bytes of which no event will tell, or the end of the stream.
                    entry.mark_ready();
                }
                // TLS's close_notify is still to be written, and there may be nothing else to wait for.
                self.flush(id);
            }
            ConnState::Draining { reason, one_attempt: true, .. } => self.remove(id, reason),
            ConnState::Draining { reason, until, .. } if is_empty => {
                // Behind the peer's end nothing arrives that could become a reset: the system delivers the rest.
                if conn.flags.finished || conn.stream.shutdown_write().is_err() {
                    return self.remove(id, reason);
                }
                conn.start_lingering(reason, until);
            }
            _ => {}
        }
    }
}
