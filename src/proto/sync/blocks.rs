//! Blocks: asking for those in the window, taking them in, submitting them in order.
//!
//! A block is asked for by its header, which was checked when it came. What comes back is found by its hash, and only the
//! chain can say whether the rest of it belongs there. So a delivery changes nothing about what others were asked for until
//! the chain has accepted it.

use bytes::Bytes;
use core::time::Duration;
use std::collections::BTreeMap;

use crate::close::CloseReason;
use crate::id::ConnId;
use crate::proto::sync::chain::{Chain, CheckedBlock, CheckedHeader, HeaderError, Verdict};
use crate::proto::sync::peer::Peer;
use crate::proto::sync::tempo::Tempo;
use crate::proto::sync::{Pending, SyncManager, SyncOutput};
use crate::sharded::give_back;
use crate::time::{Instant, Now};
use crate::wire::message::MAX_RUN;
use crate::wire::{Hash, Kind, Message};

/// Units of work after which one call submits no further block: about a millisecond. The rest follows at once.
const SUBMIT_WORK: u32 = 5_000;
/// What a block counts for that of a chain which does not say what it does: sixteen of them in one call.
const SUBMIT_UNKNOWN: u32 = SUBMIT_WORK / 16;
/// Judgements under way; more blocks than this beside the path are dropped.
const PENDING_MAX: usize = 64;
/// Blocks of the path that may be under judgement at once. Judged one after the other, each would wait for a turn of the loop.
const PATH_PENDING_MAX: usize = 8;
/// Bytes of them, above which the next waits.
const PATH_PENDING_BYTES_MAX: usize = 24 << 20;

/// Blocks that one call asks for: some hundred microseconds with many peers. As many are on their way then, and each that comes goes
/// on.
const ASKS_MAX: usize = 512;
/// Blocks in one question.
const RUN: usize = MAX_RUN as usize;
/// Blocks that nobody has or that nobody is asked for again yet, over which one call steps.
const WITHOUT_MAX: usize = 16;

/// Why nobody is asked for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoProvider {
    /// Who has it has no room for another question.
    Busy,
    /// Nobody has it, or whoever has it is not asked again yet.
    Nobody,
}

impl SyncManager {
    /// A Block frame came.
    ///
    /// Its sender is closed with [`CloseReason::UnrequestedBlock`] when it was not asked for that block, and with
    /// [`CloseReason::Invalid`] when it is none, or not the one that its header names, or not valid.
    pub fn handle_block<C: Chain>(&mut self, now: Now, conn: ConnId, bytes: Bytes, chain: &mut C) {
        self.handle_blocks(now, conn, vec![bytes], chain);
    }

    /// A Blocks frame came: as many blocks, each judged as one that comes alone. What came before one that ends the connection is kept.
    pub fn handle_blocks<C: Chain>(&mut self, now: Now, conn: ConnId, blocks: Vec<Bytes>, chain: &mut C) {
        let count = u32::try_from(blocks.len()).unwrap_or(u32::MAX);
        let peer = self.peers.get(&conn);
        let on_their_way = peer.map_or(0, Peer::in_flight);
        // Those of one frame come together, and what nobody waited for any more says nothing.
        let mut gap = peer.and_then(Peer::silent_since).map(|since| now.at.since(since));
        for bytes in blocks {
            match self.take_delivery(now, conn, (bytes, on_their_way), chain) {
                Ok(block) => {
                    if let Some(gap) = gap.take() {
                        self.tempo.delivered(gap, count);
                    }
                    self.on_delivery(now, conn, block, chain);
                }
                Err(reason) => {
                    self.close(conn, reason);
                    break;
                }
            }
        }
        self.advance(now, chain);
        self.update(now, chain);
    }

    /// Finds what a delivery answers, and with it the proof of its header. So many were on their way when the first of its frame came.
    fn take_delivery<C: Chain>(
        &mut self,
        now: Now,
        conn: ConnId,
        (bytes, on_their_way): (Bytes, usize),
        chain: &C,
    ) -> Result<CheckedBlock, CloseReason> {
        self.work.spend_hashing(bytes.len());
        let peer = self.peers.get_mut(&conn).ok_or(CloseReason::UnrequestedBlock)?;
        let is_asked = peer.deadlines().next().is_some();
        let mut asked_at = None;
        let answered = |hash: &Hash| {
            let (header, asked) = peer.take_answer(hash)?;
            asked_at = Some(asked);
            Some(header)
        };
        let block = CheckedBlock::of_known(chain, bytes, answered).map_err(|bytes| {
            // From one who was asked for another one, it matters for the log whether this is a block at all.
            let is_invalid =
                is_asked && matches!(chain.check_block_header(now.unix, &bytes), Err(HeaderError::Invalid(_)));
            if is_invalid { CloseReason::Invalid(Kind::Block) } else { CloseReason::UnrequestedBlock }
        })?;
        let asked_at = asked_at.unwrap_or(now.at);
        let due = now.at + self.config.block_deadline;
        peer.block_came(now.at, block.bytes().len(), (asked_at, on_their_way), due);
        self.end_request(&block.hash(), conn);
        Ok(block)
    }

    fn on_delivery<C: Chain>(&mut self, now: Now, conn: ConnId, block: CheckedBlock, chain: &mut C) {
        let len = block.bytes().len();
        let average = self.block_bytes.unwrap_or(len);
        self.block_bytes = Some((average.saturating_mul(7).saturating_add(len)) / 8);
        let header = block.header();
        if self.path.is_near(&header.hash(), header.height(), self.config.window_blocks.max(1)) {
            self.buffer_block(block, conn);
        } else if chain.position(&header.hash()).is_none()
            && chain.position(&header.previous()).is_some()
            && self.pending.len() < PENDING_MAX
        {
            // The path led elsewhere meanwhile; what was asked for and fits is not wasted.
            let verdict = chain.accept_block(now.unix, block.clone());
            self.judge(now, Pending { from: conn, block }, verdict);
        }
    }

    /// A peer does not have a block that it was asked for. That is no violation: blocks may be thrown away.
    ///
    /// Its sender is closed with [`CloseReason::BadAnswer`] when it was not asked.
    pub fn handle_not_found<C: Chain>(&mut self, now: Now, conn: ConnId, hash: Hash, chain: &C) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if peer.take_answer(&hash).is_none() {
            self.close(conn, CloseReason::BadAnswer(Kind::NotFound));
        } else {
            self.ask_elsewhere(&hash, conn);
            if self.tree.get(&hash).is_some() {
                self.avoid(conn, hash, now.at + self.config.avoid);
            }
        }
        self.update(now, chain);
    }

    /// The verdict on a block that was pending. A ticket of somebody else changes nothing, and is false.
    ///
    /// The sender of an invalid block is closed, and so is everyone who said that it has the block.
    pub fn handle_verdict<C: Chain>(&mut self, now: Now, ticket: u64, verdict: Verdict, chain: &mut C) -> bool {
        let Some(pending) = self.pending.remove(&ticket) else { return false };
        self.judge(now, pending, verdict);
        self.advance(now, chain);
        self.update(now, chain);
        true
    }

    /// Submits what is next on the path, as far as it is here.
    pub(super) fn advance<C: Chain>(&mut self, now: Now, chain: &mut C) {
        let mut work = 0;
        while work < SUBMIT_WORK {
            self.skip_stored(chain);
            if self.retry_at.is_some_and(|at| at > now.at) {
                return;
            }
            let Some(hash) = self.next_to_submit() else { return };
            self.retry_at = None;
            let Some((block, from)) = self.buffer.remove(&hash) else { return };
            let verdict = chain.accept_block(now.unix, block.clone());
            let spent = chain.take_work();
            self.work.spend(spent as usize);
            work = work.saturating_add(if spent == 0 { SUBMIT_UNKNOWN } else { spent });
            self.judge(now, Pending { from, block }, verdict);
        }
    }

    /// True when the next block of the path is here and nothing but a retry's time holds it up.
    pub(super) fn can_submit(&self) -> bool {
        self.next_to_submit().is_some()
    }

    /// The first block of the path that is not under judgement, if it is here and not too many are.
    fn next_to_submit(&self) -> Option<Hash> {
        if self.waits_for.is_some_and(|ancestor| self.is_pending(&ancestor)) {
            return None;
        }
        let (mut bytes, mut last) = (0usize, None);
        for hash in self.path.written().take(PATH_PENDING_MAX) {
            if self.buffer.contains(hash) && !self.pending_elsewhere.contains_key(hash) {
                last = Some(*hash);
                break;
            }
            bytes = bytes.saturating_add(self.pending_len(hash)?);
        }
        last.filter(|_| bytes < PATH_PENDING_BYTES_MAX)
    }

    pub(super) fn is_pending(&self, hash: &Hash) -> bool {
        self.pending_len(hash).is_some()
    }

    /// Bytes of a block that is under judgement, as far as they are held here.
    fn pending_len(&self, hash: &Hash) -> Option<usize> {
        let ours = self.pending.values().find(|pending| pending.block.hash() == *hash);
        let ours = ours.map(|pending| pending.block.bytes().len());
        ours.or_else(|| self.pending_elsewhere.contains_key(hash).then_some(0))
    }

    fn judge(&mut self, now: Now, block: Pending, verdict: Verdict) {
        let (hash, from) = (block.block.hash(), block.from);
        match verdict {
            Verdict::Accepted { best_changed } => {
                self.block_stored(&hash);
                self.outputs.push_back(SyncOutput::Accepted { hash, from, best_changed });
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.delivered();
                    self.outputs.push_back(SyncOutput::Useful { conn: from });
                }
            }
            Verdict::Known => self.block_stored(&hash),
            Verdict::Pending(ticket) => {
                self.pending.insert(ticket, block);
            }
            Verdict::Ignored(_) => {
                if self.is_soon(&block.block) {
                    self.buffer_block(block.block, from);
                    self.retry_at = Some(now.at + self.config.retry);
                }
            }
            // It was submitted while its parent was judged: not every chain can do with that, and the parent may have to be
            // submitted again.
            Verdict::Orphan { parent } if self.buffer.contains(&parent) || self.is_pending(&parent) => {
                self.waits_for = Some(parent);
                if self.is_soon(&block.block) {
                    self.buffer_block(block.block, from);
                }
            }
            // The chain let go of the parent. What hangs from it has to be announced anew.
            Verdict::Orphan { .. } => {
                let cut = self.tree.cut(hash, false);
                let holders: Vec<ConnId> = self
                    .peers
                    .iter_mut()
                    .filter_map(|(c, p)| cut.iter().any(|tip| p.drop_tip(tip)).then_some(*c))
                    .collect();
                holders.into_iter().for_each(|conn| self.plan_header_request(conn, None));
            }
            Verdict::Invalid(rejection) if rejection.mutated => self.close(from, CloseReason::Invalid(Kind::Block)),
            Verdict::Invalid(_) => {
                let cut = self.tree.cut(hash, true);
                let holders = self.peers.iter().filter(|(_, peer)| peer.tips().iter().any(|tip| cut.contains(tip)));
                let holders: Vec<ConnId> = holders.map(|(conn, _)| *conn).collect();
                self.close(from, CloseReason::Invalid(Kind::Block));
                holders.into_iter().for_each(|conn| self.close(conn, CloseReason::Invalid(Kind::Block)));
            }
        }
    }

    /// Is it among those of the path that may be under judgement together?
    fn is_soon(&self, block: &CheckedBlock) -> bool {
        self.path.is_near(&block.hash(), block.header().height(), PATH_PENDING_MAX)
    }

    /// Keeps a block until its turn comes. The first copy stays; what the window has no room for is asked for again.
    fn buffer_block(&mut self, block: CheckedBlock, from: ConnId) {
        let fits = self.buffer.bytes().saturating_add(block.bytes().len()) <= self.config.window_bytes;
        let hash = block.hash();
        if (fits || self.path.front() == Some(hash)) && !self.is_pending(&hash) {
            self.buffer.insert(block, from);
        } else {
            self.path.ask_again(block.header().height(), &hash);
        }
    }

    /// Nobody waits for this block from `conn` any more: it came, or will not come.
    pub(super) fn end_request(&mut self, hash: &Hash, conn: ConnId) {
        if self.in_flight.get(hash) == Some(&conn) {
            self.in_flight.remove(hash);
            give_back(&mut self.in_flight);
        }
    }

    /// The same for one that will not come: it is asked of others.
    pub(super) fn ask_elsewhere(&mut self, hash: &Hash, conn: ConnId) {
        self.end_request(hash, conn);
        if let Some(header) = self.tree.get(hash) {
            self.path.ask_again(header.height, hash);
        }
    }

    /// Asks for the blocks of the window that are neither here nor on their way: only for those of which that is not known.
    pub(super) fn ask_blocks(&mut self, now: Instant) {
        let window = self.config.window_blocks.max(1);
        if let (Some(front), Some(height)) = (self.path.front(), self.path.next_height())
            && !self.is_here_or_coming(&front)
        {
            // Whatever became of it: without this one there is no other.
            self.path.ask_again(height, &front);
        }
        let mut nothing_left = true;
        let mut without: Vec<(u64, Hash)> = Vec::new();
        let mut asked = 0;
        let mut questions: BTreeMap<ConnId, Vec<Hash>> = BTreeMap::new();
        while let Some((height, hash)) = self.path.next_to_ask(&self.tree, window) {
            // The next block to come goes on with it.
            if asked >= ASKS_MAX {
                nothing_left = false;
                break;
            }
            self.work.spend(1);
            if self.is_here_or_coming(&hash) {
                self.path.note_asked(height);
                continue;
            }
            let Some(header) = self.tree.header(&hash) else {
                debug_assert!(false, "the path leads over {hash}, which is not in the tree");
                break;
            };
            let expected = self.in_flight.len().saturating_add(1).saturating_mul(self.block_bytes.unwrap_or(0));
            let is_front = self.path.front() == Some(hash);
            if !is_front && self.buffer.bytes().saturating_add(expected) > self.config.window_bytes {
                break;
            }
            match self.provider(now, &header, None) {
                Ok(conn) => {
                    asked += 1;
                    self.work.spend(1);
                    self.work.spend_light(self.peers.len());
                    self.path.note_asked(height);
                    self.note_request(now, conn, header);
                    questions.entry(conn).or_default().push(hash);
                }
                Err(NoProvider::Busy) => {
                    nothing_left = false;
                    break;
                }
                Err(NoProvider::Nobody) => {
                    nothing_left = false;
                    self.path.note_asked(height);
                    without.push((height, hash));
                    if without.len() >= WITHOUT_MAX {
                        break;
                    }
                }
            }
        }
        for (height, hash) in without {
            self.path.ask_again(height, &hash);
        }
        for (conn, hashes) in questions {
            self.ask_for(conn, &hashes);
        }
        self.watch_front(now, nothing_left);
    }

    fn is_here_or_coming(&self, hash: &Hash) -> bool {
        self.buffer.contains(hash) || self.in_flight.contains_key(hash) || self.is_pending(hash)
    }

    /// Whom to ask for a block: who has it, is not avoided and has room; the punctual, the proven and the idle first.
    pub(super) fn provider(
        &mut self,
        now: Instant,
        header: &CheckedHeader,
        other_than: Option<ConnId>,
    ) -> Result<ConnId, NoProvider> {
        let worst = buggify!(self, WorstSyncPeer);
        let mut best = None;
        let mut wake = Instant::NEVER;
        let (mut has_punctual, mut has_proven, mut is_busy) = (false, false, false);
        for (conn, peer) in &self.peers {
            if Some(*conn) == other_than || peer.reach().is_none_or(|reach| reach < header.height()) {
                continue;
            }
            let is_late = peer.lateness.is_late(now);
            let avoided = peer.avoid.get(&header.hash()).copied().unwrap_or(Instant::ZERO);
            if avoided > now {
                wake = wake.min(avoided);
                continue;
            }
            has_punctual |= !is_late;
            has_proven |= !is_late && peer.has_given;
            let ready_at = peer.block_request_pace.map_or(Instant::ZERO, |pace| pace.ready_at());
            if !peer.can_take_more(self.limit_of(peer)) || ready_at > now {
                is_busy = true;
                if ready_at > now {
                    wake = wake.min(ready_at);
                }
                continue;
            }
            let key = (is_late, peer.block_timeouts, !peer.has_given, peer.in_flight(), *conn);
            if best.is_none_or(|other| (key < other) != worst) {
                best = Some(key);
            }
        }
        // Rather than of one who was late it is asked a moment later of another one; but who never delivered keeps nobody who did from
        // being asked.
        let has_better = |is_new: bool| if is_new { has_punctual } else { has_proven };
        let best = best.filter(|(is_late, _, is_new, ..)| !is_late || !has_better(*is_new));
        if best.is_none() {
            self.wake_at(wake);
        }
        best.map(|(.., conn)| conn).ok_or(if is_busy { NoProvider::Busy } else { NoProvider::Nobody })
    }

    /// Blocks that a peer may be asked for at a time: as many as keep its line busy, and no more than so many bytes.
    fn limit_of(&self, peer: &Peer) -> usize {
        let few = self.config.blocks_per_peer;
        let most = self.block_bytes.map_or(few, |average| (self.config.bytes_in_flight / average.max(1)).max(few));
        peer.line.window().min(most)
    }

    /// Asks for blocks whose requests are noted: together, where the peer knows the word for that.
    fn ask_for(&mut self, conn: ConnId, hashes: &[Hash]) {
        let together = self.peers.get(&conn).is_some_and(|peer| peer.serves_runs);
        for run in hashes.chunks(if together { RUN } else { 1 }) {
            match run {
                [hash] => self.send(conn, &Message::GetBlock(*hash)),
                run => self.send(conn, &Message::GetBlocks(run.to_vec())),
            }
        }
    }

    fn note_request(&mut self, now: Instant, conn: ConnId, header: CheckedHeader) {
        let hurried = buggify!(self, TimeoutNow);
        if self.in_flight.is_empty() {
            self.tempo = Tempo::begin();
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if let Some(pace) = &mut peer.block_request_pace {
            pace.take(now);
        }
        let mut patience = self.config.block_deadline.saturating_mul(1 << peer.block_timeouts.min(4));
        if hurried {
            patience = Duration::from_millis(1);
        }
        peer.request_block(now, header, now + patience);
        peer.avoid.remove(&header.hash());
        let other = self.in_flight.insert(header.hash(), conn);
        debug_assert_eq!(other, None, "{} is asked of {conn} as well", header.hash());
    }
}
