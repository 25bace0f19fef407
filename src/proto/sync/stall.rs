//! Lateness: requests that time out, and the one peer that holds up all others.
//!
//! A deadline is generous, because lines are slow. But when everything else in the window is here or on its way, one
//! missing block stops the download, so the next block gets a shorter time of its own. That time doubles with each stall
//! and shrinks with each block, to find what the lines can do.

use crate::close::CloseReason;
use crate::id::ConnId;
use crate::proto::sync::{SyncManager, SyncOutput};
use crate::time::Instant;
use crate::wire::Hash;

impl SyncManager {
    /// Ends what is overdue.
    pub(super) fn expire(&mut self, now: Instant) {
        if let Some((hash, since)) = self.stalled
            && since + self.stall_timeout <= now
        {
            self.stalled = None;
            if let Some(holder) = self.in_flight.get(&hash).copied() {
                self.stall_timeout = self.stall_timeout.saturating_mul(2).min(self.config.stall_max);
                self.block_requests_timed_out(now, holder, &[hash]);
            }
        }
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        for conn in conns {
            let Some(peer) = self.peers.get_mut(&conn) else { continue };
            peer.avoid.retain(|_, until| *until > now);
            let expired = peer.expired(now);
            let headers = peer.header_request().is_some_and(|request| request.deadline <= now);
            if !expired.is_empty() {
                self.block_requests_timed_out(now, conn, &expired);
            }
            if headers {
                self.header_request_timed_out(conn);
            }
        }
    }

    /// A peer did not deliver in time: others are asked, and it gets one thing at a time until it delivers.
    fn block_requests_timed_out(&mut self, now: Instant, conn: ConnId, blocks: &[Hash]) {
        for hash in blocks {
            self.end_request(hash, conn);
            self.avoid(conn, *hash, now + self.config.avoid);
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        blocks.iter().for_each(|hash| peer.cancel_wait(hash));
        peer.block_timeouts = peer.block_timeouts.saturating_add(1);
        let is_last = peer.block_timeouts >= self.config.timeouts_max;
        self.outputs.push_back(SyncOutput::Slow { conn });
        if is_last {
            self.close(conn, CloseReason::RequestTimeout);
        }
    }

    /// Notes when the next block began to hold up the rest: it is on its way, nothing else is left to ask for, and
    /// another peer could be asked.
    pub(super) fn watch_front(&mut self, now: Instant, front: Option<&Hash>, nothing_left: bool, limit: usize) {
        let stalled = front.copied().filter(|hash| nothing_left && !self.buffer.contains(hash)).and_then(|hash| {
            let holder = self.in_flight.get(&hash).copied()?;
            let header = self.tree.header(&hash)?;
            self.provider(now, &header, limit, Some(holder)).map(|_| hash)
        });
        self.stalled = match (stalled, self.stalled) {
            (Some(hash), Some((old, since))) if old == hash => Some((hash, since)),
            (Some(hash), _) => Some((hash, now)),
            (None, _) => None,
        };
    }

    /// A block was accepted: the next stall is looked for a little sooner.
    pub(super) fn shorten_stall_timeout(&mut self) {
        self.stall_timeout = (self.stall_timeout / 8).saturating_mul(7).max(self.config.stall_min);
    }
}
