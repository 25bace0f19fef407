//! Blocks: asking for those in the window, taking them in, submitting them in order.
//!
//! A block is named by its header, and only the chain can say whether the rest of it belongs there. So a delivery changes
//! nothing about what others were asked for until the chain has accepted it.

use bytes::Bytes;
use core::time::Duration;

use crate::close::CloseReason;
use crate::id::ConnId;
use crate::proto::sync::chain::{Chain, HeaderError, Verdict};
use crate::proto::sync::{Pending, SyncManager, SyncOutput};
use crate::time::{Instant, Now};
use crate::wire::{Hash, Kind, Message};

/// Blocks submitted in one call, so that one call takes milliseconds; the rest follows at once.
const SUBMITS_MAX: usize = 16;
/// Judgements under way; more blocks than this beside the path are dropped.
const PENDING_MAX: usize = 64;

impl SyncManager {
    /// A Block frame came.
    ///
    /// # Errors
    ///
    /// [`CloseReason::UnrequestedBlock`] when this peer was not asked for it, [`CloseReason::Invalid`] when it is none, or
    /// not the one that its header names, or not valid.
    pub fn handle_block<C: Chain>(
        &mut self,
        now: Now,
        conn: ConnId,
        block: Bytes,
        chain: &mut C,
    ) -> Result<(), CloseReason> {
        let owes = self.peers.get(&conn).is_some_and(|peer| peer.deadlines().next().is_some());
        let info = match chain.check_block_header(now.unix, &block) {
            Ok(info) => info,
            Err(HeaderError::Invalid(_)) if owes => return Err(CloseReason::Invalid(Kind::Block)),
            Err(HeaderError::Invalid(_)) => return Err(CloseReason::UnrequestedBlock),
            // Our clock went back since its header was checked: the deadline of the request decides.
            Err(HeaderError::Early) => return Ok(()),
        };
        let deadline = now.at + self.config.block_deadline;
        let Some(peer) = self.peers.get_mut(&conn) else { return Err(CloseReason::UnrequestedBlock) };
        if !peer.answered(&info.hash) {
            return Err(CloseReason::UnrequestedBlock);
        }
        peer.late_blocks = 0;
        peer.extend(deadline);
        self.block_received(&info.hash, conn);
        let average = self.block_bytes.unwrap_or(block.len());
        self.block_bytes = Some((average.saturating_mul(7).saturating_add(block.len())) / 8);
        if self.path.is_near(&info.hash, info.height, self.config.window_blocks.max(1)) {
            self.keep_block(info.hash, block, conn);
        } else if chain.position(&info.hash).is_none()
            && chain.position(&info.previous).is_some()
            && self.pending.len() < PENDING_MAX
        {
            // The path led elsewhere meanwhile; what was asked for and fits is not wasted.
            let verdict = chain.submit_block(now.unix, block.clone());
            self.judge(now, Pending { hash: info.hash, from: conn, block }, verdict);
        }
        self.advance(now, chain);
        self.update(now, chain);
        self.take_close(conn).map_or(Ok(()), Err)
    }

    /// A peer does not have a block that it was asked for. That is no violation: blocks may be thrown away.
    ///
    /// # Errors
    ///
    /// [`CloseReason::BadAnswer`] when it was not asked.
    pub fn handle_not_found<C: Chain>(
        &mut self,
        now: Now,
        conn: ConnId,
        hash: Hash,
        chain: &C,
    ) -> Result<(), CloseReason> {
        let Some(peer) = self.peers.get_mut(&conn) else { return Ok(()) };
        if !peer.answered(&hash) {
            return Err(CloseReason::BadAnswer(Kind::NotFound));
        }
        self.block_received(&hash, conn);
        if self.tree.get(&hash).is_some() {
            self.avoid(conn, hash, now.at + self.config.avoid);
        }
        self.update(now, chain);
        Ok(())
    }

    /// The verdict on a block that was pending. A ticket of somebody else changes nothing.
    ///
    /// # Errors
    ///
    /// The sender of the block and why to close it.
    pub fn handle_verdict<C: Chain>(
        &mut self,
        now: Now,
        ticket: u64,
        verdict: Verdict,
        chain: &mut C,
    ) -> Result<(), (ConnId, CloseReason)> {
        let Some(pending) = self.pending.remove(&ticket) else { return Ok(()) };
        let from = pending.from;
        self.judge(now, pending, verdict);
        self.advance(now, chain);
        self.update(now, chain);
        self.take_close(from).map_or(Ok(()), |reason| Err((from, reason)))
    }

    /// Submits what is next on the path, as far as it is here.
    pub(super) fn advance<C: Chain>(&mut self, now: Now, chain: &mut C) {
        for _ in 0..SUBMITS_MAX {
            self.stored_front(chain);
            if !self.can_submit() || self.retry_at.is_some_and(|at| at > now.at) {
                return;
            }
            self.retry_at = None;
            let Some(hash) = self.path.front() else { return };
            let Some((block, from)) = self.ready.remove(&hash) else { return };
            self.ready_bytes = self.ready_bytes.saturating_sub(block.len());
            let verdict = chain.submit_block(now.unix, block.clone());
            self.judge(now, Pending { hash, from, block }, verdict);
        }
    }

    /// True when the next block of the path is here and nothing but a retry's time holds it up.
    pub(super) fn can_submit(&self) -> bool {
        self.path.front().is_some_and(|front| self.ready.contains_key(&front) && !self.is_pending(&front))
    }

    pub(super) fn is_pending(&self, hash: &Hash) -> bool {
        self.pending.values().any(|pending| pending.hash == *hash)
    }

    fn judge(&mut self, now: Now, block: Pending, verdict: Verdict) {
        let Pending { hash, from, .. } = block;
        match verdict {
            Verdict::Accepted { best_changed } => {
                self.block_stored(&hash);
                self.relax();
                self.outputs.push_back(SyncOutput::Accepted { hash, from, best_changed });
                if self.peers.contains_key(&from) {
                    self.outputs.push_back(SyncOutput::Useful { conn: from });
                }
            }
            Verdict::Known => self.block_stored(&hash),
            Verdict::Pending(ticket) => {
                self.pending.insert(ticket, block);
            }
            Verdict::Ignored(_) => {
                if self.path.front() == Some(hash) {
                    self.keep_block(hash, block.block, from);
                    self.retry_at = Some(now.at + self.config.retry);
                }
            }
            // The chain let go of the parent. What hangs from it has to be told anew.
            Verdict::Orphan { .. } => {
                let cut = self.tree.cut(hash, false);
                let tellers: Vec<ConnId> = self
                    .peers
                    .iter_mut()
                    .filter_map(|(c, p)| cut.iter().any(|tip| p.drop_tip(tip)).then_some(*c))
                    .collect();
                tellers.into_iter().for_each(|conn| self.plan_header_request(conn, None));
            }
            Verdict::Invalid(rejection) if rejection.mutated => self.close(from, CloseReason::Invalid(Kind::Block)),
            Verdict::Invalid(_) => {
                let cut = self.tree.cut(hash, true);
                let tellers = self.peers.iter().filter(|(_, peer)| peer.tips().iter().any(|tip| cut.contains(tip)));
                let tellers: Vec<ConnId> = tellers.map(|(conn, _)| *conn).collect();
                self.close(from, CloseReason::Invalid(Kind::Block));
                tellers.into_iter().for_each(|conn| self.close(conn, CloseReason::Invalid(Kind::Block)));
            }
        }
    }

    /// Keeps a block until its turn comes. The first copy stays; what the window has no room for is asked for again.
    fn keep_block(&mut self, hash: Hash, block: Bytes, from: ConnId) {
        let fits = self.ready_bytes.saturating_add(block.len()) <= self.config.window_bytes;
        if (fits || self.path.front() == Some(hash)) && !self.ready.contains_key(&hash) && !self.is_pending(&hash) {
            self.ready_bytes = self.ready_bytes.saturating_add(block.len());
            self.ready.insert(hash, (block, from));
        }
    }

    fn block_received(&mut self, hash: &Hash, conn: ConnId) {
        if self.in_flight.get(hash) == Some(&conn) {
            self.in_flight.remove(hash);
        }
    }

    /// Asks for the blocks of the window that are neither here nor on their way.
    pub(super) fn ask_blocks(&mut self, now: Instant) {
        let average = self.block_bytes.unwrap_or(usize::MAX);
        let small = average <= self.config.small_block_bytes;
        let limit = if small { self.config.small_blocks_per_peer } else { self.config.blocks_per_peer };
        let window = self.path.next(self.config.window_blocks.max(1));
        let mut nothing_left = true;
        for (index, &(height, hash)) in window.iter().enumerate() {
            if self.ready.contains_key(&hash) || self.in_flight.contains_key(&hash) || self.is_pending(&hash) {
                continue;
            }
            let expected = self.in_flight.len().saturating_add(1).saturating_mul(self.block_bytes.unwrap_or(0));
            if index > 0 && self.ready_bytes.saturating_add(expected) > self.config.window_bytes {
                break;
            }
            match self.provider(now, height, &hash, limit, None) {
                Some(conn) => self.ask_for_block(now, conn, hash),
                None => nothing_left = false,
            }
        }
        self.watch_front(now, window.first().copied(), nothing_left, limit);
    }

    /// Whom to ask for a block: who has it, is not avoided and has room; the punctual and idle first.
    pub(super) fn provider(
        &mut self,
        now: Instant,
        height: u64,
        hash: &Hash,
        limit: usize,
        other_than: Option<ConnId>,
    ) -> Option<ConnId> {
        let worst = buggify!(self, WorstSyncPeer);
        let mut best = None;
        let mut wake = Instant::NEVER;
        for (conn, peer) in &self.peers {
            if Some(*conn) == other_than
                || peer.reach().is_none_or(|reach| reach < height)
                || !peer.can_take_more(limit)
            {
                continue;
            }
            let avoided = peer.avoid.get(hash).copied().unwrap_or(Instant::ZERO);
            let ready_at = avoided.max(peer.block_requests.ready_at());
            if ready_at > now {
                wake = wake.min(ready_at);
                continue;
            }
            let key = (peer.late_blocks, peer.live(), *conn);
            if best.is_none_or(|other| (key < other) != worst) {
                best = Some(key);
            }
        }
        if best.is_none() {
            self.wake_at(wake);
        }
        best.map(|(_, _, conn)| conn)
    }

    fn ask_for_block(&mut self, now: Instant, conn: ConnId, hash: Hash) {
        let hurried = buggify!(self, TimeoutNow);
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.block_requests.take(now);
        let mut patience = self.config.block_deadline.saturating_mul(1 << peer.late_blocks.min(4));
        if hurried {
            patience = Duration::from_millis(1);
        }
        peer.expect(hash, now + patience);
        peer.avoid.remove(&hash);
        self.in_flight.insert(hash, conn);
        self.send(conn, &Message::GetBlock(hash));
    }
}
