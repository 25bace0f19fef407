//! Do the tables of the catch-up agree, and keep to their limits?

use std::collections::BTreeMap;

use crate::id::ConnId;
use crate::invariant::{Broken, Invariant};
use crate::proto::budget::BLOCK_REQUESTS_MAX;
use crate::proto::sync::SyncManager;
use crate::proto::sync::locator::HEADERS_ANSWER_MAX;
use crate::wire::Hash;

impl SyncManager {
    /// Counts everything anew. O(headers): for the simulator and the fuzz targets.
    ///
    /// # Errors
    ///
    /// The rule that is broken, and what was found.
    pub fn audit(&self) -> Result<(), Broken> {
        for (hash, conn) in &self.in_flight {
            // One live request for each block: the map has one entry, and these are all that are waited for.
            let asked = self.peers.get(conn).is_some_and(|peer| peer.is_in_flight(hash));
            Invariant::S13.check(asked, || format!("{hash} is waited for from {conn}, who was not asked"))?;
        }
        for (conn, peer) in &self.peers {
            let sound = peer.is_sound();
            Invariant::S13.check(sound, || format!("the requests to {conn} are miscounted or too many"))?;
            let counted = self.in_flight.values().filter(|asked| *asked == conn).count();
            let most = BLOCK_REQUESTS_MAX;
            let live = peer.in_flight();
            Invariant::S13.check(live <= most && counted == live, || {
                format!("{live} blocks are asked of {conn}, {counted} in flight, {most} at most")
            })?;
        }
        self.audit_memory()
    }

    /// Headers that this node holds to be invalid.
    pub(crate) fn invalid(&self) -> impl Iterator<Item = &Hash> {
        self.tree.invalid()
    }

    /// Connections that something is expected of, or waits for.
    pub(crate) fn conns(&self) -> impl Iterator<Item = ConnId> {
        self.peers.keys().copied()
    }

    fn audit_memory(&self) -> Result<(), Broken> {
        let mut claims: BTreeMap<Hash, u32> = BTreeMap::new();
        for tip in self.peers.values().flat_map(|peer| peer.tips()) {
            *claims.entry(*tip).or_default() += 1;
        }
        self.tree.audit(&claims)?;
        let most = self.config.headers_max.saturating_add(HEADERS_ANSWER_MAX as usize);
        let headers = self.tree.len();
        Invariant::S14.check(headers <= most, || format!("{headers} headers are held, {most} at most"))?;
        for (conn, peer) in &self.peers {
            let Some(branch) = &peer.presync else { continue };
            let (held, most) = (branch.held(), branch.held_max(HEADERS_ANSWER_MAX as usize));
            Invariant::S14
                .check(held <= most, || format!("{held} headers of {conn} wait to be believed, {most} at most"))?;
        }
        for hash in self.path.written() {
            let known = self.tree.header(hash).is_some();
            Invariant::S14.check(known, || format!("the path leads over {hash}, which is not in the tree"))?;
        }
        self.buffer.audit(self.config.window_bytes)
    }
}
