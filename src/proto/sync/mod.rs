//! Catching up with the best chain: headers first, then blocks from several peers.
//!
//! 1. A peer says, in its handshake or later, that it knows more than we do. That is a claim: it makes us ask it for
//!    headers, rationed, and nothing else.
//! 2. Headers are checked, each once, and kept in a bounded tree of what is known but not held. Two peers at a time
//!    tell theirs; the others wait, because mostly they would tell the same. Where those who came to us tell nothing, more of them
//!    have their turns at once.
//! 3. The heaviest branch, if it is heavier than our chain, becomes the path. Its blocks are asked for in a
//!    sliding window, from all peers whose headers end on or above them, and submitted in order, each with the proof that
//!    its header was checked.
//! 4. A branch that is lighter than our chain as far as it was told, and long, is counted before it is stored; it is followed
//!    once it has proven more work than ours.
//! 5. A peer that is silent while others deliver is late: all that it was asked for is asked of others, and it is asked last, also
//!    when it comes again. One that answers nothing for long is closed. A branch whose next block nobody delivers is set aside for
//!    the next heaviest.
//!
//! [`SyncManager`] does no I/O. Its `handle_*` and `peer_*` methods take something in, [`SyncManager::poll_output`] gives
//! what follows from it, [`SyncManager::deadline`] says when to call [`SyncManager::handle_tick`] at the latest. No other
//! state than this and the chain decides, so the same inputs give the same outputs.

pub mod chain;
pub mod config;
pub mod locator;

mod audit;
mod blocks;
mod buffer;
mod deep_branch;
mod headers;
mod late;
mod line;
mod path;
mod peer;
mod presync;
mod records;
mod target;
mod tempo;
mod tips;
mod tree;

use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};

use crate::close::CloseReason;
use crate::id::ConnId;
use crate::proto::sync::buffer::BlockBuffer;
use crate::proto::sync::chain::{Chain, CheckedBlock, Tip};
use crate::proto::sync::path::Path;
use crate::proto::sync::peer::Peer;
use crate::proto::sync::presync::Presync;
use crate::proto::sync::records::Records;
use crate::proto::sync::tempo::{Stall, Tempo};
use crate::proto::sync::tree::HeaderTree;
use crate::proto::work::Work;
use crate::time::{Instant, Now};
use crate::wire::{Hash, Kind, Message};

pub use config::SyncConfig;
pub use locator::answer_get_headers;
pub use presync::DeepBranch;

/// What the node must do for its sync engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyncOutput {
    /// Send a request.
    Send {
        /// Where to.
        conn: ConnId,
        /// GetHeaders, GetBlock or GetBlocks.
        kind: Kind,
        /// The encoded request.
        payload: Bytes,
    },
    /// Close a connection. The engine has forgotten it already.
    Close {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// A block was new and valid.
    Accepted {
        /// The block.
        hash: Hash,
        /// Who sent it.
        from: ConnId,
        /// True when the best chain ends elsewhere now.
        best_changed: bool,
    },
    /// The peer delivered a good block that it was asked for: worth a point.
    Useful {
        /// The connection.
        conn: ConnId,
    },
    /// The peer did not answer in time: a failure to count.
    Slow {
        /// The connection.
        conn: ConnId,
    },
    /// The peer told a header whose time has not come: perhaps our clock is late.
    Early {
        /// The connection.
        conn: ConnId,
    },
    /// A peer told a branch that leaves our chain too far below its tip to be stored on trust.
    DeepBranch {
        /// The peer.
        conn: ConnId,
        /// Height of the last block that it shares with ours.
        fork: u64,
        /// Height up to which it was told.
        height: u64,
        /// What became of it.
        news: DeepBranch,
    },
    /// Our height or the height we are heading for changed. That they are the same is said when no peer is about to tell more.
    Progress {
        /// Height of the best block we hold.
        height: u64,
        /// Height of the tip that is followed; our own when we follow none.
        target: u64,
    },
}

/// How far peers have told branches that leave our chain far below its tip. Until one of them is proven neither the height nor the
/// target moves, however long that takes: this does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BranchProgress {
    /// Headers of such branches that came, whether they were told before or not. Never falls.
    pub told: u64,
    /// The most headers of one such branch that were counted, and the most that were fetched again, together. Never falls, and
    /// does not move for who tells the same again.
    pub furthest: u64,
    /// Headers counted of the longest branch that is being counted now; `None` when none is.
    pub counting: Option<u64>,
}

/// A branch with more work than our chain, by checked headers, whose blocks are being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Height of the next of its blocks to come.
    pub next: u64,
    /// Height of its last header that is known.
    pub end: u64,
    /// A peer is about to tell more of it.
    pub goes_on: bool,
}

/// Look-ups that a round of thinking takes for each peer: its claim, its tips, its turn and its deadlines.
const PEER_STEPS: usize = 4;

/// The catch-up engine of one node.
#[derive(Debug)]
pub struct SyncManager {
    config: SyncConfig,
    /// What the bits of long branches are made with.
    salt: u64,
    peers: BTreeMap<ConnId, Peer>,
    tree: HeaderTree,
    path: Path,
    /// Tips whose next block nobody delivers, and until when to prefer others. At most one for each claim of a peer.
    deprioritized: BTreeMap<Hash, Instant>,
    /// Who is being waited for; at most one for each block.
    in_flight: HashMap<Hash, ConnId>,
    /// Blocks of the path that wait for an earlier one.
    buffer: BlockBuffer,
    /// Blocks that the chain judges later, by its ticket.
    pending: BTreeMap<u64, Pending>,
    /// Blocks that came in another way and are being judged, and how many copies of each.
    pending_elsewhere: BTreeMap<Hash, usize>,
    /// The chain could not judge a block before this one of its ancestors: nothing is submitted until that one has its verdict.
    waits_for: Option<Hash>,
    /// The chain ignored the next block; it is submitted again then.
    retry_at: Option<Instant>,
    /// The next block holds up everything else.
    stalled: Option<Stall>,
    /// When the first of those is late who say nothing while others deliver.
    silence_ends: Option<Instant>,
    tempo: Tempo,
    /// Who was late.
    records: Records,
    /// A moving average of the sizes of blocks, once there was one.
    block_bytes: Option<usize>,
    /// When a ration, a wait or a set-aside that keeps us from asking ends.
    wake: Option<Instant>,
    /// The place of the next peer that waits for its turn to tell headers.
    next_place: u64,
    /// Turns to tell headers that peers had whom we did not choose, since one of them was worth it or nobody waited for any.
    turns_given: usize,
    now: Instant,
    best: Option<Tip>,
    reported: (u64, u64),
    /// Headers of long branches that were told.
    branch_told: u64,
    /// The most of one branch, the first time and the second.
    branch_furthest: [u64; 2],
    outputs: VecDeque<SyncOutput>,
    work: Work,
    #[cfg(feature = "sim")]
    buggify: Option<crate::buggify::Buggify>,
}

#[derive(Debug)]
struct Pending {
    from: ConnId,
    block: CheckedBlock,
}

impl SyncManager {
    /// With a salt that no peer can guess, so that none can tell which headers of a long branch are remembered.
    #[must_use]
    pub fn salted(self, salt: u64) -> Self {
        SyncManager { salt, ..self }
    }

    /// An engine that knows no peers.
    pub fn new(config: SyncConfig) -> Self {
        SyncManager {
            config,
            salt: 0,
            peers: BTreeMap::new(),
            tree: HeaderTree::default(),
            path: Path::default(),
            deprioritized: BTreeMap::new(),
            in_flight: HashMap::new(),
            buffer: BlockBuffer::default(),
            pending: BTreeMap::new(),
            pending_elsewhere: BTreeMap::new(),
            waits_for: None,
            retry_at: None,
            stalled: None,
            silence_ends: None,
            tempo: Tempo::begin(),
            records: Records::default(),
            block_bytes: None,
            wake: None,
            next_place: 0,
            turns_given: 0,
            now: Instant::ZERO,
            best: None,
            reported: (0, 0),
            branch_told: 0,
            branch_furthest: [0; 2],
            outputs: VecDeque::new(),
            work: Work::default(),
            #[cfg(feature = "sim")]
            buggify: None,
        }
    }

    #[cfg(feature = "sim")]
    pub(crate) fn set_buggify(&mut self, buggify: crate::buggify::Buggify) {
        self.buggify = Some(buggify);
    }

    #[cfg(feature = "sim")]
    pub(crate) fn buggify_hits(&self) -> BTreeMap<crate::buggify::Point, u64> {
        self.buggify.as_ref().map(|buggify| buggify.hits().clone()).unwrap_or_default()
    }

    /// A block came outside of the sync, and the chain judges it later: it is not asked for meanwhile.
    pub fn block_pending(&mut self, hash: Hash) {
        *self.pending_elsewhere.entry(hash).or_default() += 1;
    }

    /// The chain takes blocks again that it ignored for want of room.
    pub fn chain_has_room<C: Chain>(&mut self, now: Now, chain: &mut C) {
        self.retry_at = None;
        self.advance(now, chain);
        self.update(now, chain);
    }

    /// Such a block was judged, or is forgotten. To be followed by [`block_arrived`](Self::block_arrived) when it was accepted.
    pub fn block_judged(&mut self, hash: &Hash) {
        if let Some(copies) = self.pending_elsewhere.get_mut(hash) {
            *copies = copies.saturating_sub(1);
            if *copies == 0 {
                self.pending_elsewhere.remove(hash);
                self.wake_at(self.now);
            }
        }
    }

    /// A block was accepted outside of the sync: by gossip, or our own.
    pub fn block_arrived<C: Chain>(&mut self, now: Now, hash: Hash, chain: &C) {
        self.block_stored(&hash);
        self.update(now, chain);
    }

    /// Does what is due: timeouts, waits that ended, blocks that can be submitted.
    pub fn handle_tick<C: Chain>(&mut self, now: Now, chain: &mut C) {
        self.expire(now.at);
        self.advance(now, chain);
        self.update(now, chain);
        // Who is released leaves fewer by whom the others are measured, so that one of them may be late as well.
        for _ in 0..=self.peers.len() {
            if self.next_lateness().is_none_or(|at| at > now.at) {
                return;
            }
            self.expire(now.at);
            self.update(now, chain);
        }
    }

    /// When [`SyncManager::handle_tick`] wants to be called; `None` when only new input can change anything.
    pub fn deadline(&self) -> Option<Instant> {
        let submit = self.can_submit().then(|| self.retry_at.unwrap_or(self.now));
        let peers = self.peers.values().flat_map(Peer::deadlines).min();
        [submit, self.next_lateness(), peers, self.wake].into_iter().flatten().min()
    }

    /// Was a block asked of the peer that it may still send? One from any other peer is a violation.
    pub fn may_send_block(&self, conn: ConnId) -> bool {
        self.peers.get(&conn).is_some_and(Peer::may_send_block)
    }

    /// Was this very block asked of the peer, and may still come?
    pub fn is_asked_for_block(&self, conn: ConnId, hash: &Hash) -> bool {
        self.peers.get(&conn).is_some_and(|peer| peer.is_asked_for_block(hash))
    }

    /// Was the peer asked for headers that have not come?
    pub fn is_asked_for_headers(&self, conn: ConnId) -> bool {
        self.peers.get(&conn).is_some_and(|peer| peer.header_request().is_some())
    }

    /// The units of work that calls have cost since the last time this was asked.
    pub fn take_work(&mut self) -> u32 {
        self.work.take().saturating_add(self.tree.work.take())
    }

    /// The next thing to do; call until there is none.
    pub fn poll_output(&mut self) -> Option<SyncOutput> {
        self.outputs.pop_front()
    }

    /// Blocks that came outside of the sync and are being judged, with the number of their copies.
    pub(crate) fn pending_elsewhere(&self) -> &BTreeMap<Hash, usize> {
        &self.pending_elsewhere
    }

    /// True while a branch heavier than our chain is known.
    pub fn is_syncing(&self) -> bool {
        self.path.target().is_some() || self.proven().is_some()
    }

    /// Does a peer go on telling headers after a full answer that ends at our height or above?
    fn is_told_more(&self, height: u64) -> bool {
        let goes_on = |peer: &Peer| peer.headers_end.is_some_and(|end| end >= height) && peer.is_syncing_headers();
        self.peers.values().any(goes_on)
    }

    /// The heaviest branch that is fetched a piece at a time: more is known of it than the piece.
    fn proven(&self) -> Option<Tip> {
        let branches = self.peers.values().filter_map(|peer| peer.presync.as_ref()?.proven());
        let best = self.best.map_or(0, |best| best.work);
        branches.filter(|branch| branch.work > best).max_by_key(|branch| (branch.work, branch.hash))
    }

    /// Height of the branch that is followed, from checked headers only; our own height when none is.
    pub fn target_height(&self) -> u64 {
        let followed = self.path.target().or(self.best).map_or(0, |tip| tip.height);
        self.proven().map_or(followed, |proven| followed.max(proven.height))
    }

    /// How far branches were told that are counted before they are stored.
    pub fn branch_progress(&self) -> BranchProgress {
        let counted = self.peers.values().filter(|peer| peer.is_syncing_headers());
        let counted = counted.filter_map(|peer| peer.presync.as_ref().filter(|branch| branch.proven().is_none()));
        BranchProgress {
            told: self.branch_told,
            furthest: self.branch_furthest.iter().fold(0, |sum, most| sum.saturating_add(*most)),
            counting: counted.map(Presync::told).max(),
        }
    }

    /// The branch that is being followed; `None` when nothing more is known than our own chain.
    pub fn followed(&self) -> Option<Followed> {
        let height = self.best.map_or(0, |best| best.height);
        let proven = self.peers.values().filter_map(|peer| peer.presync.as_ref()?.proven().and(peer.presync.as_ref()));
        let start = proven.map(|branch| branch.start().height).min().unwrap_or(height);
        let goes_on = self.is_told_more(height);
        let next = self.path.next_height().unwrap_or_else(|| start.saturating_add(1));
        (self.is_syncing() || goes_on).then(|| Followed { next, end: self.target_height(), goes_on })
    }

    /// Headers and bytes of blocks held now.
    pub fn held(&self) -> (usize, usize) {
        let ahead = self.peers.values().filter_map(|peer| peer.presync.as_ref()).map(Presync::held);
        (ahead.fold(self.tree.len(), usize::saturating_add), self.buffer.bytes())
    }

    /// Peers it knows: to check that nobody is forgotten, or left over.
    pub(crate) fn peer_count(&self) -> usize {
        self.peers.len()
    }

    /// What every input ends with: choose where to go, ask for what is missing, say how far we are.
    fn update<C: Chain>(&mut self, now: Now, chain: &C) {
        self.now = now.at;
        self.wake = None;
        let best = chain.best();
        self.work.spend(self.peers.len().saturating_mul(PEER_STEPS));
        self.best = Some(best);
        self.resolve_claims(chain);
        self.believe_all(now, chain);
        self.retarget(now.at, chain);
        self.ask_headers(now.at, chain);
        self.ask_blocks(now.at);
        self.watch_silence(now.at);
        let progress = (best.height, self.target_height());
        // While more headers come on top of what we hold, that everything is here would be said with each answer.
        let is_there = progress.0 >= progress.1;
        if progress != self.reported && !(is_there && self.is_told_more(best.height)) {
            self.reported = progress;
            self.outputs.push_back(SyncOutput::Progress { height: progress.0, target: progress.1 });
        }
    }

    fn wake_at(&mut self, at: Instant) {
        if at < Instant::NEVER {
            self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
        }
    }

    fn send(&mut self, conn: ConnId, message: &Message<'_>) {
        // Requests are built within their limits, so there is nothing to report; a request that cannot be sent times out.
        if let Ok(payload) = message.to_payload() {
            self.outputs.push_back(SyncOutput::Send { conn, kind: message.kind(), payload });
        }
    }

    /// Closes a connection and forgets it: the one way in which this engine ends one.
    fn close(&mut self, conn: ConnId, reason: CloseReason) {
        if self.forget(conn) {
            self.outputs.push_back(SyncOutput::Close { conn, reason });
        }
    }

    fn known<C: Chain>(&self, hash: &Hash, chain: &C) -> Option<Tip> {
        chain.position(hash).or_else(|| self.tree.get(hash))
    }
}
