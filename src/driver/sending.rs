//! Frames into queues: whole, compressed or in pieces, as the connection's rules have it, or refused with a word.

use bytes::Bytes;

use super::budget::is_over;
use super::config::Config;
use super::net::{Net, SendOutcome};
use crate::id::ConnId;
use crate::limits::CUT_FROM;
use crate::link::{BufferPool, Link, PushError};
use crate::wire::Priority;
#[cfg(feature = "lz4")]
use crate::wire::compressed::COMPRESSED;

impl Net {
    /// Queues a frame; the payload is copied.
    #[inline]
    pub fn send(&mut self, conn: ConnId, priority: Priority, kind: u8, payload: &[u8]) -> SendOutcome {
        let fails = priority != Priority::Critical && buggify!(self, SendRefused);
        if !fails && self.append(conn, priority, kind, payload) {
            return SendOutcome::Accepted { dropped: 0 };
        }
        if payload.len() > CUT_FROM && self.conns.get(conn).is_some_and(|conn| conn.rules.has_pieces()) {
            let payload = Bytes::copy_from_slice(payload);
            return self.push(conn, priority, payload.len(), fails, |link, config, pool| {
                link.outbox.push_in_pieces(priority, kind, &payload, &config.outbox, pool)
            });
        }
        self.push(conn, priority, payload.len(), fails, |link, config, pool| {
            link.outbox.push(priority, kind, payload, &config.outbox, pool)
        })
    }

    /// The way of nearly all small frames of those who send many: one more behind the last, to a connection that is to be flushed
    /// anyway, where no limit and no mark is near. Answers whether it was that; if not, nothing has changed.
    #[inline]
    fn append(&mut self, id: ConnId, priority: Priority, kind: u8, payload: &[u8]) -> bool {
        if self.pool.queued_bytes() >= self.config.send_budget / 2 || self.lent.is_some() {
            return false;
        }
        match self.conns.dirty_mut(id) {
            // What TLS has still to write counts as well.
            Some(conn) if conn.is_open() && conn.link.transport.is_plain() => {
                conn.link.outbox.append(priority, kind, payload, self.config.outbox.high, &mut self.pool)
            }
            _ => false,
        }
    }

    /// Queues a frame whose payload is shared when large, copied when small. It leaves compressed, or in pieces, where the
    /// connection's [rules](Net::set_rules) say that both sides do that.
    #[inline]
    pub fn send_shared(&mut self, conn: ConnId, priority: Priority, kind: u8, payload: &Bytes) -> SendOutcome {
        let fails = priority != Priority::Critical && buggify!(self, SendRefused);
        #[cfg(feature = "lz4")]
        if let Some(packed) = self.pack(conn, kind, payload) {
            return self.push_shared(conn, priority, COMPRESSED, &packed, fails);
        }
        self.push_shared(conn, priority, kind, payload, fails)
    }

    #[inline]
    fn push_shared(&mut self, conn: ConnId, priority: Priority, kind: u8, payload: &Bytes, fails: bool) -> SendOutcome {
        let cuts = payload.len() > CUT_FROM && self.conns.get(conn).is_some_and(|conn| conn.rules.has_pieces());
        self.push(conn, priority, payload.len(), fails, |link, config, pool| match cuts {
            true => link.outbox.push_in_pieces(priority, kind, payload, &config.outbox, pool),
            false => link.outbox.push_shared(priority, kind, payload, &config.outbox, pool),
        })
    }

    /// Queues a frame by `push`. A simulation may have it refused (`fails`) as if the budget were used up.
    fn push(
        &mut self,
        id: ConnId,
        priority: Priority,
        len: usize,
        fails: bool,
        push: impl FnOnce(&mut Link, &Config, &mut BufferPool) -> Result<u32, PushError>,
    ) -> SendOutcome {
        let lent = self.lent_by(id);
        let Some(mut entry) = self.conns.entry(id).filter(|entry| entry.conn.takes_frames()) else {
            return SendOutcome::Closed;
        };
        let conn = &mut *entry.conn;
        let was_empty = conn.link.outbox.is_empty();
        if !self.config.outbox.fits(len) {
            return self.refuse_for_good(id);
        }
        let would_hold = conn.link.outbox.queued_bytes().saturating_add(len);
        let over = priority != Priority::Critical
            && (is_over(self.pool.queued_bytes(), self.config.send_budget, would_hold, self.config.connections)
                || fails);
        let pushed = if over { Err(PushError::Full) } else { push(&mut conn.link, &self.config, &mut self.pool) };
        let dropped = match pushed {
            Ok(dropped) => dropped,
            Err(PushError::Full) => return self.refuse(id, over),
            Err(PushError::TooLarge) => return self.refuse_for_good(id),
        };
        if dropped > 0 {
            conn.counters.dropped = conn.counters.dropped.saturating_add(dropped);
            self.totals.dropped_frames += u64::from(dropped);
        }
        if was_empty {
            conn.progressed = self.now.at;
        }
        if conn.queued_bytes(lent) >= self.config.outbox.high {
            conn.flags.backpressure = true;
        }
        entry.mark_dirty();
        SendOutcome::Accepted { dropped }
    }

    /// Counts a frame that no queue takes.
    #[cold]
    fn refuse_for_good(&mut self, id: ConnId) -> SendOutcome {
        if let Some(conn) = self.conns.get_mut(id) {
            conn.counters.refused = conn.counters.refused.saturating_add(1);
        }
        self.totals.refused_frames += 1;
        SendOutcome::TooLarge
    }

    /// Counts a frame that was not taken, and sees to it that the sender hears when there is room: from its own queue when that
    /// drains to the low watermark, or from the send budget, for which it was refused, when nothing of its own will drain.
    #[cold]
    fn refuse(&mut self, id: ConnId, over_send_budget: bool) -> SendOutcome {
        let lent = self.lent_by(id);
        let Some(conn) = self.conns.get_mut(id) else { return SendOutcome::Closed };
        conn.counters.refused = conn.counters.refused.saturating_add(1);
        self.totals.refused_frames += 1;
        if !over_send_budget || conn.queued_bytes(lent) > self.config.outbox.low {
            conn.flags.backpressure = true;
        } else {
            self.send.wait(id, self.now.at, &mut self.timers);
        }
        SendOutcome::Full
    }
}
