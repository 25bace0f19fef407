//! Choosing the branch to follow: the heaviest one that is heavier than our chain and whose next block somebody delivers.

use crate::proto::sync::SyncManager;
use crate::proto::sync::chain::{Chain, Tip};
use crate::sharded::give_back;
use crate::time::Instant;
use crate::wire::Hash;

/// Branches tried in one go when the next blocks of the heaviest ones are withheld.
const CANDIDATES_MAX: usize = 8;

impl SyncManager {
    pub(super) fn retarget<C: Chain>(&mut self, now: Instant, chain: &C) {
        let best = chain.best();
        self.skip_stored(chain);
        self.drop_light_tips(best);
        let mut candidates = self.candidates(best);
        let known: Vec<Hash> = candidates.iter().map(|tip| tip.hash).collect();
        self.deprioritized.retain(|hash, until| *until > now && known.contains(hash));
        // Those whose blocks are withheld come last, in the same order: with nothing else to do they are as good as any.
        candidates.sort_by_key(|tip| self.deprioritized.contains_key(&tip.hash));
        for tip in candidates.iter().take(CANDIDATES_MAX) {
            self.follow(*tip);
            if self.deprioritized.contains_key(&tip.hash) {
                break;
            }
            match self.blocked_until(now) {
                Some(until) => self.deprioritized.insert(tip.hash, until),
                None => break,
            };
        }
        match candidates.first() {
            None => {
                self.path.clear();
                self.buffer.clear();
            }
            // All tried ones are withheld: stay with the heaviest.
            Some(heaviest) if self.path.target().is_some_and(|tip| self.deprioritized.contains_key(&tip.hash)) => {
                self.follow(*heaviest);
            }
            Some(_) => {}
        }
        if let Some(until) = self.deprioritized.values().min().copied() {
            self.wake_at(until);
        }
    }

    /// Leads the path to `tip`, and drops the waiting blocks that are not on it.
    fn follow(&mut self, tip: Tip) {
        let forks = self.path.forks();
        self.path.lead_to(&self.tree, tip);
        self.path.fill(&self.tree, 1);
        if self.path.forks() != forks {
            let (path, tree) = (&self.path, &self.tree);
            self.buffer.retain(|block| {
                let hash = block.hash();
                tree.get(&hash).is_some() && path.contains(tree, &hash, block.header().height())
            });
        }
        for peer in self.peers.values_mut() {
            peer.update_reach(&self.path, &self.tree);
        }
    }

    /// Tips of branches that are known to be heavier than `best`, heaviest first; among equals the one that is followed, for "first seen" holds here too.
    fn candidates(&self, best: Tip) -> Vec<Tip> {
        let followed = self.path.target().map(|tip| tip.hash);
        let mut tips: Vec<(u128, Tip)> = Vec::new();
        for peer in self.peers.values() {
            let proven =
                peer.presync.as_ref().and_then(|branch| Some((branch.believed()?.hash, branch.proven()?.work)));
            for tip in peer.tips().iter().filter_map(|tip| self.tree.get(tip)) {
                // The rest of it is known to be there, and to be heavy.
                let rest = proven.filter(|(believed, _)| *believed == tip.hash).map_or(0, |(_, work)| work);
                tips.push((tip.work.max(rest), tip));
            }
        }
        tips.retain(|(work, _)| *work > best.work);
        tips.sort_by_key(|(work, tip)| (core::cmp::Reverse(*work), Some(tip.hash) != followed, tip.hash));
        let mut tips: Vec<Tip> = tips.into_iter().map(|(_, tip)| tip).collect();
        let mut seen = std::collections::BTreeSet::new();
        tips.retain(|tip| seen.insert(tip.hash));
        tips
    }

    /// When somebody may be asked for the next block again, if nobody may now.
    fn blocked_until(&self, now: Instant) -> Option<Instant> {
        let front = self.path.front()?;
        if self.in_flight.contains_key(&front) || self.buffer.contains(&front) || self.is_pending(&front) {
            return None;
        }
        let height = self.tree.get(&front)?.height;
        let mut until = None;
        for peer in self.peers.values().filter(|peer| peer.reach().is_some_and(|reach| reach >= height)) {
            match peer.avoid.get(&front) {
                Some(end) if *end > now => until = Some(until.map_or(*end, |until: Instant| until.min(*end))),
                _ => return None,
            }
        }
        until
    }

    /// A peer that has told all it has keeps only the claims that are worth a download.
    fn drop_light_tips(&mut self, best: Tip) {
        let idle = self.peers.iter().filter(|(_, peer)| !peer.is_syncing_headers() && !peer.tips().is_empty());
        let idle: Vec<_> = idle.map(|(conn, _)| *conn).collect();
        for conn in idle {
            self.retain_tips(conn, |tree, tip| tree.get(tip).is_some_and(|tip| tip.work > best.work));
        }
    }

    /// The chain holds this block now, and so those that it stands on: nothing here is about them any more.
    pub(super) fn block_stored(&mut self, hash: &Hash) {
        let mut stored = Some(*hash);
        while let Some(hash) = stored {
            stored = self.tree.previous(&hash).filter(|previous| self.tree.get(previous).is_some());
            self.forget_block(&hash);
        }
    }

    fn forget_block(&mut self, hash: &Hash) {
        if self.path.front().as_ref() == Some(hash) {
            self.path.pop_front();
            self.retry_at = None;
        }
        self.tree.block_stored(hash);
        self.buffer.remove(hash);
        let holder = self.in_flight.remove(hash);
        give_back(&mut self.in_flight);
        if let Some(peer) = holder.and_then(|holder| self.peers.get_mut(&holder)) {
            peer.cancel_wait(hash);
        }
        for peer in self.peers.values_mut() {
            peer.drop_tip(hash);
            peer.avoid.remove(hash);
        }
    }

    /// Takes the blocks off the path that the chain got by itself.
    pub(super) fn skip_stored<C: Chain>(&mut self, chain: &C) {
        while let Some(front) = self.path.front()
            && chain.position(&front).is_some()
        {
            self.block_stored(&front);
            if self.path.front().is_none() {
                self.path.fill(&self.tree, 1);
            }
        }
    }
}
