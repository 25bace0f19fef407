//! The limits of bandwidth where they meet the connections: what a flush may write, what a slice may read, and whose turn it is.

use super::bandwidth::{Bandwidth, Class};
use super::conn::Conn;
use super::net::Net;
use crate::id::ConnId;

fn class_of(conn: &Conn) -> Class {
    if conn.link.outbox.has_news() { Class::News } else { Class::Answers }
}

impl Net {
    /// How many bytes a second may leave and come.
    pub fn bandwidth(&self) -> Bandwidth {
        self.config.bandwidth
    }

    /// Changes how many bytes a second may leave and come, from now on.
    pub fn set_bandwidth(&mut self, limits: Bandwidth) {
        self.config.bandwidth = limits;
        self.throttle.set(limits, self.now.at);
        self.throttle.look_again(self.now.at, &mut self.timers);
    }

    /// How many bytes the connection may be written at the end of a turn. `None`: it waits for its turn by the limits.
    pub(super) fn upload_share(&mut self, id: ConnId) -> Option<usize> {
        let now = self.now.at;
        let conn = self.conns.get_mut(id)?;
        // A handshake of TLS is neither long nor what a limit is for.
        let urgent = if conn.is_securing() { conn.link.queued_bytes() } else { conn.link.urgent_bytes() };
        let (class, queued) = (class_of(conn), conn.link.queued_bytes() as u64);
        let share = if self.throttle.has_line() { Err(None) } else { self.throttle.writable(id, queued, now) };
        match share {
            Ok(share) => Some(usize::try_from(share).unwrap_or(usize::MAX).max(urgent)),
            Err(_) if urgent > 0 => Some(urgent),
            Err(own) => {
                // We hold it back, not the peer.
                conn.progressed = now;
                match own {
                    Some(at) => self.throttle.wait_for_own_bucket(id, at),
                    None => self.throttle.wait_to_write(id, class),
                }
                self.throttle.arm_upload(now, &mut self.timers);
                None
            }
        }
    }

    /// So many bytes of a connection have left.
    #[inline]
    pub(super) fn uploaded(&mut self, id: ConnId, bytes: usize) {
        if self.throttle.limits_upload() {
            self.throttle.charge_upload(id, bytes as u64, self.now.at);
        }
    }

    /// The buckets have gained something: each that waits writes a share, in turn, as far as it goes.
    pub(super) fn serve_upload(&mut self) {
        let now = self.now.at;
        self.throttle.upload_timer_came();
        while let Some(id) = self.throttle.next_of_own_bucket(now) {
            self.mark_dirty_if_queued(id);
        }
        for _ in 0..self.throttle.in_line() {
            if self.throttle.is_spent(now) {
                break;
            }
            let contested = self.throttle.is_contested();
            let Some((id, class)) = self.throttle.next_writer() else { break };
            let Some(conn) = self.conns.get_mut(id) else { continue };
            conn.progressed = now;
            let share = self.throttle.writable(id, conn.link.queued_bytes() as u64, now);
            match share {
                Ok(share) => {
                    let before = self.totals.bytes_out;
                    self.flush_within(id, Some(usize::try_from(share).unwrap_or(usize::MAX)));
                    let written = self.totals.bytes_out.saturating_sub(before);
                    self.totals.upload_held_back += written;
                    self.throttle.note_turn(class, written, contested);
                }
                Err(Some(at)) => self.throttle.wait_for_own_bucket(id, at),
                Err(None) => self.throttle.wait_to_write(id, class),
            }
        }
        self.throttle.arm_upload(now, &mut self.timers);
    }

    /// What is left to write waits for its turn, where there is a limit; else it goes on in the next turn of the loop.
    pub(super) fn goes_on_later(&mut self, id: ConnId) {
        if !self.throttle.limits_upload() || !self.throttle.has_line() {
            if let Some(mut entry) = self.conns.entry(id) {
                entry.mark_dirty();
            }
            return;
        }
        let Some(conn) = self.conns.get(id) else { return };
        self.throttle.wait_to_write(id, class_of(conn));
        self.throttle.arm_upload(self.now.at, &mut self.timers);
    }

    /// How many bytes may be read of the connection in its slice of the turn; 0 when it has to wait for its turn by the limit.
    #[inline]
    pub(super) fn download_share(&mut self, id: ConnId) -> usize {
        if !self.throttle.limits_download() {
            return usize::MAX;
        }
        usize::try_from(self.throttle.readable(id, self.now.at)).unwrap_or(usize::MAX)
    }

    /// So many bytes of a connection have come.
    #[inline]
    pub(super) fn downloaded(&mut self, id: ConnId, bytes: usize) {
        if self.throttle.limits_download() {
            self.throttle.charge_download(id, bytes as u64, self.now.at);
        }
    }

    /// The connection has something to read, and is not read before its turn.
    pub(super) fn wait_to_read(&mut self, id: ConnId) {
        self.totals.download_held_back += 1;
        self.throttle.wait_to_read(id, self.now.at, &mut self.timers);
    }

    /// The bucket has gained something: each that waits is read a share, in turn, as far as it goes.
    pub(super) fn serve_download(&mut self) {
        for id in self.throttle.next_readers(self.now.at) {
            self.conns.mark_ready(id);
        }
        self.throttle.arm_download(self.now.at, &mut self.timers);
    }
}
