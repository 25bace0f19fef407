//! What a move of the best chain means for the pool: transactions that joined it leave the pool, those that left it come back.
//!
//! A move may be as deep as the chain is long, and the call that makes it must return soon. So what must hold at once is done at
//! once, at a cost that the pool bounds: nothing waits that is in the chain. What comes back is read from the disk, a few blocks
//! with the move itself and the rest a slice at a time, at the ends of the turns that follow.

use bytes::Bytes;

use crate::chain::block::Block;
use crate::chain::index::{NodeId, Reorg};
use crate::chain::mempool::NoRoom;
use crate::chain::reference::ReferenceChain;
use crate::wire::Hash;

/// Blocks whose transactions are looked at in one slice.
const BLOCKS_AT_ONCE: usize = 256;
/// Bytes of blocks after which a slice ends.
const BYTES_AT_ONCE: usize = 1 << 20;

impl ReferenceChain {
    /// Takes the transactions of joined blocks out of the pool, and begins to put those of abandoned ones back.
    pub(super) fn settle(&mut self, reorg: &Reorg) {
        let joined: usize = reorg.joined.iter().map(|id| self.index.node(*id).ids.len()).sum();
        self.work.spend(joined.min(self.pool.len().saturating_mul(2)));
        if joined <= self.pool.len() {
            for transaction in reorg.joined.iter().flat_map(|id| &self.index.node(*id).ids) {
                self.pool.remove(transaction);
            }
        } else {
            let mined = self.pool.ids().filter(|id| self.index.best_place(id).is_some());
            let mined: Vec<Hash> = mined.copied().collect();
            mined.iter().for_each(|id| {
                self.pool.remove(id);
            });
        }
        // Rewards never return, so a block of one transaction need not be looked at.
        let left = reorg.left.iter().map(|id| self.index.node(*id)).filter(|node| node.ids.len() > 1);
        self.abandoned.extend(left.map(|node| node.tip.hash));
        self.return_some();
    }

    /// Is there another slice to come?
    pub(super) fn is_settling(&self) -> bool {
        !self.abandoned.is_empty()
    }

    /// Puts back what the next abandoned blocks held and the best chain does not, as far as the pool has room.
    pub(super) fn return_some(&mut self) {
        let mut bytes = 0usize;
        for _ in 0..BLOCKS_AT_ONCE {
            if bytes >= BYTES_AT_ONCE {
                return;
            }
            let Some(hash) = self.abandoned.pop_front() else { return };
            if let Some(id) = self.index.find(&hash).filter(|id| !self.index.is_best(*id)) {
                match self.return_block(id) {
                    Some(read) => bytes = bytes.saturating_add(read),
                    None => return self.abandoned.clear(),
                }
            }
        }
    }

    /// How many bytes were read for it; `None` when the pool takes no more.
    fn return_block(&mut self, id: NodeId) -> Option<usize> {
        let node = self.index.node(id);
        let missing = |id: &Hash| self.index.best_place(id).is_none() && !self.pool.contains(id);
        if !node.ids.iter().skip(1).any(missing) {
            return Some(0);
        }
        // What cannot be read cannot return: its senders still have it.
        let Some(bytes) = self.stored(node) else { return Some(0) };
        let Some(block) = Block::decode(&bytes) else { return Some(0) };
        for (bytes, id) in block.transactions.iter().zip(&node.ids).skip(1) {
            if self.index.best_place(id).is_none() {
                // A copy of its own: a slice would keep the whole block in memory.
                if self.pool.give_back(*id, Bytes::copy_from_slice(bytes), self.now) == Err(NoRoom::Full) {
                    return None;
                }
            }
        }
        Some(bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::block::MAX_BLOCK_LEN;
    use crate::chain::genesis::Params;
    use crate::chain::transaction::Transaction;
    use crate::proto::sync::chain::{Chain, Verdict};
    use crate::time::UnixTime;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn mine(chain: &mut ReferenceChain, miner: &str) {
        let block = chain.template(NOW, miner, MAX_BLOCK_LEN).unwrap();
        assert_eq!(chain.submit_block(NOW, block.encode()), Verdict::Accepted { best_changed: true });
    }

    /// A move of 106,000 blocks read all of them in one call, and nothing else moved meanwhile.
    #[test]
    fn a_deep_reorganisation_returns_its_transactions_a_slice_at_a_time_and_none_is_lost() {
        let params = Params::new(0, 50).unwrap();
        let (mut ours, mut theirs) = (ReferenceChain::memory(params), ReferenceChain::memory(params));
        let depth = 3 * BLOCKS_AT_ONCE;
        let mut paid = Vec::new();
        for nonce in 0..depth as u64 {
            let payment = Transaction { sender: "ann", recipient: "bob", amount: 1, time: NOW, nonce };
            let payment = payment.encode().unwrap();
            paid.push(ours.transaction_id(&payment).unwrap());
            assert_eq!(ours.submit_transaction(NOW, payment.clone()), Verdict::Accepted { best_changed: false });
            if nonce % 2 == 0 {
                // Every second one is in both chains.
                assert_eq!(theirs.submit_transaction(NOW, payment), Verdict::Accepted { best_changed: false });
            }
            mine(&mut ours, "ours");
            mine(&mut theirs, "theirs");
        }
        mine(&mut theirs, "theirs");
        assert!(ours.pool().is_empty());
        for height in 1..=theirs.best().height {
            let bytes = theirs.block(&theirs.index.at(height).unwrap().tip.hash).unwrap();
            assert!(matches!(ours.submit_block(NOW, bytes), Verdict::Accepted { .. }));
        }
        assert_eq!(ours.best(), theirs.best());
        let mut slices = 0;
        while ours.has_work() {
            let before = ours.pool().len();
            ours.turn_ended();
            assert!(ours.pool().len() - before <= BLOCKS_AT_ONCE);
            slices += 1;
        }
        assert!(slices >= 2, "{slices} slices for {depth} blocks");
        let waiting: Vec<Hash> = ours.pool_ids(usize::MAX);
        let abandoned: Vec<Hash> = paid.iter().skip(1).step_by(2).copied().collect();
        assert_eq!(waiting, abandoned, "what is in the new chain does not wait, and the rest does, oldest first");
    }
}
