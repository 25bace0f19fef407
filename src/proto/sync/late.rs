//! Lateness: requests that time out, and peers that hold up all others.
//!
//! A deadline is generous, because lines are slow. But while others deliver, the time that their blocks take says what a peer's
//! silence is worth: who says nothing for as long as a number of blocks take and a few of its own answers took is late. Nobody waits
//! for it any more, all that it was asked for is asked of others, and it is asked last. So it is with one that answers everything
//! but the next block, once that holds up the rest. Late in this sense costs a peer nothing else: its line may be slow.

use core::time::Duration;

use crate::close::CloseReason;
use crate::id::ConnId;
use crate::proto::sync::peer::Peer;
use crate::proto::sync::tempo::Stall;
use crate::proto::sync::{SyncManager, SyncOutput};
use crate::time::Instant;

/// Blocks that another peer may deliver before who is silent is late.
const BLOCKS: u32 = 16;
/// Its own usual answers that must have fit into its silence.
const ANSWERS: u32 = 4;
/// An answer takes no longer than this, for who lets us wait for headers is not late the later for it.
const ANSWER_MAX: Duration = Duration::from_millis(500);
/// What is taken for the time of an answer where there was none: who is further away shows that with its first block, and is late
/// until then.
const ANSWER_UNKNOWN: Duration = Duration::from_millis(50);
/// Nobody is late sooner: a turn of a busy loop takes so long.
const SILENCE_MIN: Duration = Duration::from_millis(20);
/// How much longer is waited for a block that holds up the rest, each time it was asked of another peer: it may be a large one.
const AGAIN: u32 = 4;
/// Blocks that one who timed out is not asked for again for a while: the first ones, which others hold up the rest for.
const AVOIDED: usize = 64;

impl SyncManager {
    /// Ends what is overdue.
    pub(super) fn expire(&mut self, now: Instant) {
        if let Some(stall) = self.stalled
            && let Some(holder) = self.in_flight.get(&stall.hash).copied()
            && self.stall_ends(&stall) <= now
        {
            self.stalled = Some(Stall { since: now, before: stall.before.saturating_add(1), ..stall });
            self.avoid(holder, stall.hash, now + self.config.avoid);
            self.release(now, holder);
        }
        let late: Vec<ConnId> =
            self.silences(now).into_iter().filter(|(_, ends)| *ends <= now).map(|(conn, _)| conn).collect();
        late.into_iter().for_each(|conn| self.release(now, conn));
        let conns: Vec<ConnId> = self.peers.keys().copied().collect();
        for conn in conns {
            let Some(peer) = self.peers.get_mut(&conn) else { continue };
            peer.avoid.retain(|_, until| *until > now);
            let headers = peer.header_request().is_some_and(|request| request.deadline <= now);
            if peer.is_overdue(now) {
                self.blocks_timed_out(now, conn);
            }
            if headers {
                self.header_request_timed_out(conn);
            }
        }
    }

    /// The first time at which [`expire`](Self::expire) finds a peer late, or the next block held up for too long.
    pub(super) fn next_lateness(&self) -> Option<Instant> {
        let stall = self.stalled.filter(|stall| self.in_flight.contains_key(&stall.hash));
        stall.map(|stall| self.stall_ends(&stall)).into_iter().chain(self.silence_ends).min()
    }

    /// Notes when the first silent peer is late.
    pub(super) fn watch_silence(&mut self, now: Instant) {
        self.silence_ends = self.silences(now).into_iter().map(|(_, ends)| ends).min();
    }

    /// When each silent peer is late, as long as others deliver.
    fn silences(&self, now: Instant) -> Vec<(ConnId, Instant)> {
        let Some(per_block) = self.tempo.per_block() else { return Vec::new() };
        let front = self.path.next_height().unwrap_or(u64::MAX);
        let is_good = |peer: &Peer| {
            peer.has_given && !peer.lateness.is_late(now) && peer.reach().is_some_and(|reach| reach >= front)
        };
        let mut good = self.peers.iter().filter(|(_, peer)| is_good(peer)).map(|(conn, _)| *conn);
        let (one, other) = (good.next(), good.next());
        let judged = self.peers.iter().filter(|(conn, _)| one.is_some_and(|one| one != **conn) || other.is_some());
        let ends = judged.filter_map(|(conn, peer)| {
            let patience = self.patience(peer, per_block).saturating_mul(peer.lateness.factor());
            Some((*conn, peer.silent_since()? + patience))
        });
        ends.collect()
    }

    /// How long this peer may say nothing while a block takes `per_block` of one that delivers.
    fn patience(&self, peer: &Peer, per_block: Duration) -> Duration {
        let others = per_block.saturating_mul(BLOCKS);
        let own = peer.line.answer_time().unwrap_or(ANSWER_UNKNOWN).min(ANSWER_MAX).saturating_mul(ANSWERS);
        others.saturating_add(own).saturating_add(SILENCE_MIN).min(self.config.block_deadline)
    }

    fn stall_ends(&self, stall: &Stall) -> Instant {
        let holder = self.in_flight.get(&stall.hash).and_then(|conn| self.peers.get(conn));
        let patience = match (holder, self.tempo.per_block()) {
            (Some(peer), Some(per_block)) => self.patience(peer, per_block),
            _ => self.config.stall_min,
        };
        let longer = AGAIN.saturating_pow(stall.before);
        stall.since + patience.saturating_mul(longer).min(self.config.stall_max)
    }

    /// A peer leaves. If it never gave what it was asked for, its next connection is no better than this one.
    pub(super) fn note_leaving(&mut self, now: Instant, conn: ConnId) {
        let owing = self.peers.get_mut(&conn).filter(|peer| peer.in_flight() > 0 && !peer.has_given);
        if let Some(peer) = owing {
            self.records.late(now, peer.source, &mut peer.lateness);
        }
    }

    /// A peer is late where others are not: all that it was asked for is asked of others, and it is asked last.
    fn release(&mut self, now: Instant, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let released = peer.release_blocks();
        self.records.late(now, peer.source, &mut peer.lateness);
        self.work.spend(released.len());
        released.iter().for_each(|hash| self.ask_elsewhere(hash, conn));
    }

    /// A peer did not deliver in time: others are asked, and it gets one thing at a time until it delivers.
    fn blocks_timed_out(&mut self, now: Instant, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let late = peer.time_out_blocks();
        let is_last = peer.block_timeouts >= self.config.timeouts_max;
        self.records.late(now, peer.source, &mut peer.lateness);
        self.work.spend(late.len());
        for hash in &late {
            self.ask_elsewhere(hash, conn);
        }
        for hash in late.iter().take(AVOIDED) {
            self.avoid(conn, *hash, now + self.config.avoid);
        }
        self.outputs.push_back(SyncOutput::Slow { conn });
        if is_last {
            self.close(conn, CloseReason::RequestTimeout);
        }
    }

    /// Notes when the next block began to hold up the rest: it is on its way, nothing else is left to ask for, and
    /// another peer could be asked.
    pub(super) fn watch_front(&mut self, now: Instant, nothing_left: bool) {
        let front = self.path.front();
        let stalled = front.filter(|hash| nothing_left && !self.buffer.contains(hash)).and_then(|hash| {
            let holder = self.in_flight.get(&hash).copied()?;
            let header = self.tree.header(&hash)?;
            self.provider(now, &header, Some(holder)).ok().map(|_| hash)
        });
        self.stalled = match (stalled, self.stalled) {
            (Some(hash), Some(stall)) if stall.hash == hash => Some(stall),
            (Some(hash), _) => Some(Stall { hash, since: now, before: 0 }),
            // Asked of another one, it is the same block still.
            (None, Some(stall)) if stall.before > 0 && front == Some(stall.hash) => Some(Stall { since: now, ..stall }),
            (None, _) => None,
        };
    }
}
