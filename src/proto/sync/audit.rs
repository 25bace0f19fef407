//! Do the tables of the catch-up agree, and keep to their limits?

use std::collections::BTreeMap;

use crate::id::ConnId;
use crate::proto::sync::SyncManager;
use crate::proto::sync::locator::HEADERS_ANSWER_MAX;
use crate::wire::Hash;

impl SyncManager {
    /// Counts everything anew. O(headers): for the simulator and the fuzz targets.
    ///
    /// # Errors
    ///
    /// What is wrong, first the name of the rule.
    pub fn audit(&self) -> Result<(), String> {
        for (hash, conn) in &self.in_flight {
            // One live request for each block: the map has one entry, and these are all that are waited for.
            let awaited = self.peers.get(conn).is_some_and(|peer| peer.is_awaited(hash));
            if !awaited {
                return Err(format!("S13: {hash} is waited for from {conn}, who was not asked"));
            }
        }
        for (conn, peer) in &self.peers {
            if !peer.is_sound() {
                return Err(format!("S13: the requests to {conn} are miscounted or too many"));
            }
            let counted = self.in_flight.values().filter(|asked| *asked == conn).count();
            let most = self.config.blocks_per_peer.max(self.config.small_blocks_per_peer).max(1);
            if peer.live() > most || counted > peer.live() {
                return Err(format!(
                    "S13: {} blocks are asked of {conn}, {counted} in flight, {most} at most",
                    peer.live()
                ));
            }
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

    fn audit_memory(&self) -> Result<(), String> {
        let mut claims: BTreeMap<Hash, u32> = BTreeMap::new();
        for tip in self.peers.values().flat_map(|peer| peer.tips()) {
            *claims.entry(*tip).or_default() += 1;
        }
        self.tree.audit(&claims)?;
        let most = self.config.headers_max.saturating_add(HEADERS_ANSWER_MAX as usize);
        if self.tree.len() > most {
            return Err(format!("S14: {} headers are held, {most} at most", self.tree.len()));
        }
        let bytes: usize = self.ready.values().map(|(block, _)| block.len()).sum();
        if bytes != self.ready_bytes {
            return Err(format!("S6: {bytes} bytes of blocks wait, {} by the counter", self.ready_bytes));
        }
        // The next block is always taken, whatever waits besides.
        let largest = self.ready.values().map(|(block, _)| block.len()).max().unwrap_or(0);
        if bytes > self.config.window_bytes.saturating_add(largest) {
            return Err(format!("S6: {bytes} bytes of blocks wait"));
        }
        Ok(())
    }
}
