//! Which branches each peer has: the tips that it told, and what is forgotten with them.

use crate::id::ConnId;
use crate::proto::sync::SyncManager;
use crate::proto::sync::peer::{AVOID_MAX, TIPS_MAX};
use crate::proto::sync::tree::HeaderTree;
use crate::time::Instant;
use crate::wire::Hash;

impl SyncManager {
    /// Notes that `conn` has the block of a header in the tree, and so all below it.
    pub(super) fn add_tip(&mut self, conn: ConnId, hash: Hash) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if self.tree.get(&hash).is_none() || peer.tips().contains(&hash) {
            return;
        }
        self.tree.hold(&hash);
        // The tips that this one continues are part of it.
        let tree = &self.tree;
        let is_below = |tip: &&Hash| {
            let height = tree.get(tip).map(|tip| tip.height);
            height.is_some_and(|height| tree.ancestor(&hash, height).as_ref() == Some(tip))
        };
        let mut replaced: Vec<Hash> = peer.tips().iter().filter(is_below).copied().collect();
        peer.add_tip(hash);
        if peer.tips().len() > TIPS_MAX + replaced.len() {
            let lightest = peer.tips().iter().min_by_key(|tip| (self.tree.get(tip).map(|tip| tip.work), **tip));
            replaced.extend(lightest.copied());
        }
        for tip in replaced {
            if peer.drop_tip(&tip) {
                self.tree.release(&tip);
            }
        }
        self.deprioritized.remove(&hash);
    }

    /// Takes back a peer's tips that `keep` does not keep.
    pub(super) fn retain_tips(&mut self, conn: ConnId, keep: impl Fn(&HeaderTree, &Hash) -> bool) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        let dropped: Vec<Hash> = peer.tips().iter().copied().filter(|tip| !keep(&self.tree, tip)).collect();
        for tip in dropped {
            peer.drop_tip(&tip);
            self.tree.release(&tip);
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
        let asked = self.peers.get_mut(&conn).map_or(Vec::new(), |peer| peer.release_blocks());
        asked.iter().for_each(|hash| self.ask_elsewhere(hash, conn));
        self.peers.remove(&conn).is_some()
    }
}
