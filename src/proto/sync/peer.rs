//! What the engine knows of one peer: its claims, what it owes, how late it was.

use std::collections::BTreeMap;

use crate::id::ConnId;
use crate::proto::sync::config::SyncConfig;
use crate::proto::sync::{SyncManager, tree::HeaderTree};
use crate::rate::Pace;
use crate::time::Instant;
use crate::wire::Hash;

/// Branches remembered for each peer; the lightest goes.
const TIPS_MAX: usize = 4;
/// How far below a new claim to look for the claims that it continues.
const CONTINUATION_MAX: usize = 4_096;
/// Answers that a peer may owe. One that owes more is not asked until it answers.
const OWED_MAX: usize = 64;
/// Blocks not to ask a peer for; above it the peer's claims are worth nothing and are dropped.
const AVOID_MAX: usize = 1_024;

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) version: u8,
    /// Ends of the branches it told, all of them entries of the tree and held there.
    tips: Vec<Hash>,
    /// The outstanding GetHeaders.
    pub(super) ask: Option<Ask>,
    /// What to ask next.
    pub(super) next: Option<Next>,
    /// A block that it says it has and whose header we lack.
    pub(super) claim: Option<Hash>,
    /// Where its last run of headers ended, so that an answer that leads nowhere ends the questions.
    pub(super) walked: Option<u64>,
    /// It holds one of the turns to tell headers until then.
    pub(super) turn_until: Instant,
    pub(super) announcements: Pace,
    pub(super) header_requests: Pace,
    pub(super) block_requests: Pace,
    /// Blocks asked of it and not answered, timed out or not.
    asked: BTreeMap<Hash, Asked>,
    live: usize,
    pub(super) avoid: BTreeMap<Hash, Instant>,
    /// Timeouts in a row, for headers and for blocks.
    pub(super) late_headers: u32,
    pub(super) late_blocks: u32,
    /// The height up to which it has the path's blocks, for a generation of the path.
    reach: Option<(u64, Option<u64>)>,
}

/// A GetHeaders under way.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) deadline: Instant,
    pub(super) anchors: Vec<Hash>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// From where our chain and its chain part; waits for a turn, with its place in the line.
    Locate(u64),
    /// From the last header it told on.
    After(Hash),
}

#[derive(Debug)]
struct Asked {
    /// Answers to come: a block may be asked for again after a timeout.
    owed: u32,
    /// When it is late; `None` when nobody waits for it any more.
    deadline: Option<Instant>,
}

impl Peer {
    pub(super) fn new(version: u8, config: &SyncConfig) -> Self {
        Peer {
            version,
            tips: Vec::new(),
            ask: None,
            next: None,
            claim: None,
            walked: None,
            turn_until: Instant::ZERO,
            announcements: Pace::new(config.announcements),
            header_requests: Pace::new(config.header_requests),
            block_requests: Pace::new(config.block_requests),
            asked: BTreeMap::new(),
            live: 0,
            avoid: BTreeMap::new(),
            late_headers: 0,
            late_blocks: 0,
            reach: None,
        }
    }

    pub(super) fn tips(&self) -> &[Hash] {
        &self.tips
    }

    pub(super) fn is_walking(&self) -> bool {
        self.ask.is_some() || matches!(self.next, Some(Next::After(_)))
    }

    /// Blocks it is being waited for.
    pub(super) fn live(&self) -> usize {
        self.live
    }

    pub(super) fn can_take_more(&self, limit: usize) -> bool {
        // After a timeout one at a time, until it delivers.
        let limit = if self.late_blocks > 0 { 1 } else { limit.max(1) };
        self.live < limit && self.asked.len() < OWED_MAX
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = Instant> {
        let blocks = self.asked.values().filter_map(|asked| asked.deadline);
        blocks.chain(self.ask.as_ref().map(|ask| ask.deadline))
    }

    /// Notes a request for a block.
    pub(super) fn expect(&mut self, hash: Hash, deadline: Instant) {
        let asked = self.asked.entry(hash).or_insert(Asked { owed: 0, deadline: None });
        asked.owed = asked.owed.saturating_add(1);
        if asked.deadline.replace(deadline).is_none() {
            self.live += 1;
        }
    }

    /// An answer for `hash` came. False when none was owed.
    pub(super) fn answered(&mut self, hash: &Hash) -> bool {
        self.stop_waiting(hash);
        let Some(asked) = self.asked.get_mut(hash) else { return false };
        asked.owed = asked.owed.saturating_sub(1);
        if asked.owed == 0 {
            self.asked.remove(hash);
        }
        true
    }

    /// Nobody waits for this answer any more. It may still come.
    pub(super) fn stop_waiting(&mut self, hash: &Hash) {
        if let Some(asked) = self.asked.get_mut(hash)
            && asked.deadline.take().is_some()
        {
            self.live = self.live.saturating_sub(1);
        }
    }

    /// It delivers, so what it was asked for besides gets at least until `deadline`.
    pub(super) fn extend(&mut self, deadline: Instant) {
        for asked in self.asked.values_mut() {
            asked.deadline = asked.deadline.map(|old| old.max(deadline));
        }
    }

    /// Is this block being waited for from this peer?
    pub(super) fn is_awaited(&self, hash: &Hash) -> bool {
        self.asked.get(hash).is_some_and(|asked| asked.deadline.is_some())
    }

    /// Are the counts right, and the limits kept?
    pub(super) fn is_sound(&self) -> bool {
        let live = self.asked.values().filter(|asked| asked.deadline.is_some()).count();
        live == self.live
            && self.asked.len() <= OWED_MAX
            && self.asked.values().all(|asked| asked.owed > 0)
            && self.tips.len() <= TIPS_MAX
            && self.avoid.len() <= AVOID_MAX
    }

    pub(super) fn expired(&self, now: Instant) -> Vec<Hash> {
        let late = self.asked.iter().filter(|(_, asked)| asked.deadline.is_some_and(|deadline| deadline <= now));
        late.map(|(hash, _)| *hash).collect()
    }

    /// How far up the path it has blocks.
    pub(super) fn reach(&self) -> Option<u64> {
        self.reach.and_then(|(_, height)| height)
    }

    pub(super) fn update_reach(&mut self, path: &super::path::Path, tree: &HeaderTree) {
        if self.reach.map(|(generation, _)| generation) != Some(path.generation()) {
            let tips = self.tips.iter().filter_map(|tip| tree.get(tip));
            let height = tips.filter_map(|tip| path.shared_with(tree, tip)).max();
            self.reach = Some((path.generation(), height));
        }
    }

    /// Forgets a claim without touching the tree.
    pub(super) fn drop_tip(&mut self, hash: &Hash) -> bool {
        let before = self.tips.len();
        self.tips.retain(|tip| tip != hash);
        let dropped = self.tips.len() < before;
        if dropped {
            self.reach = None;
        }
        dropped
    }
}

impl SyncManager {
    /// Notes that `conn` has the block of a header in the tree, and so all below it.
    pub(super) fn tell(&mut self, conn: ConnId, hash: Hash) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if self.tree.get(&hash).is_none() || peer.tips.contains(&hash) {
            return;
        }
        self.tree.hold(&hash);
        // The claims that this one continues are part of it.
        let mut replaced = Vec::new();
        let mut below = hash;
        for _ in 0..CONTINUATION_MAX {
            let Some(previous) = self.tree.previous(&below) else { break };
            below = previous;
            if peer.tips.contains(&below) {
                replaced.push(below);
            }
        }
        peer.tips.push(hash);
        if peer.tips.len() > TIPS_MAX + replaced.len() {
            let lightest = peer.tips.iter().min_by_key(|tip| (self.tree.get(tip).map(|tip| tip.work), **tip));
            replaced.extend(lightest.copied());
        }
        for tip in replaced {
            if peer.drop_tip(&tip) {
                self.tree.release(&tip);
            }
        }
        peer.reach = None;
        self.shelved.remove(&hash);
    }

    /// Takes back a peer's claims that `keep` does not keep.
    pub(super) fn retain_tips(&mut self, conn: ConnId, keep: impl Fn(&HeaderTree, &Hash) -> bool) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let (kept, dropped): (Vec<Hash>, Vec<Hash>) = peer.tips.iter().partition(|tip| keep(&self.tree, tip));
        if !dropped.is_empty() {
            peer.tips = kept;
            peer.reach = None;
            dropped.iter().for_each(|tip| self.tree.release(tip));
        }
    }

    /// Do not ask `conn` for this block until then.
    pub(super) fn avoid(&mut self, conn: ConnId, hash: Hash, until: Instant) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if peer.avoid.len() >= AVOID_MAX {
            peer.avoid.clear();
            self.retain_tips(conn, |_, _| false);
        } else {
            peer.avoid.insert(hash, until);
        }
    }

    /// Forgets a connection and everything that only it told or was asked for. False when it was not known.
    pub(super) fn forget(&mut self, conn: ConnId) -> bool {
        self.retain_tips(conn, |_, _| false);
        self.in_flight.retain(|_, holder| *holder != conn);
        self.peers.remove(&conn).is_some()
    }
}
