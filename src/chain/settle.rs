//! What a move of the best chain means for the pool: transactions that joined it leave the pool, those that left it come back.
//!
//! A move may be as deep as the chain is long, and the call that makes it must return soon. So what must hold at once is done at
//! once, at a cost that the pool bounds: nothing waits that is in the chain. What comes back is read from the disk, a few blocks
//! with the move itself and the rest a slice at a time, at the ends of the turns that follow.

use std::sync::Arc;

use bytes::Bytes;

use crate::chain::index::Reorg;
use crate::chain::mempool::NoRoom;
use crate::chain::reference::ReferenceChain;
use crate::chain::returning::{Part, Returning};
use crate::source::Source;
use crate::wire::Hash;

/// Blocks whose transactions are looked at in one slice.
const BLOCKS_AT_ONCE: usize = 256;
/// Transactions that are looked at in one slice, from whichever blocks: about a millisecond.
const TRANSACTIONS_AT_ONCE: usize = 2_048;
/// Bytes of blocks after which a slice ends.
const BYTES_AT_ONCE: usize = 1 << 20;

impl ReferenceChain {
    /// Takes the transactions of joined blocks out of the pool, and begins to put those of abandoned ones back.
    pub(super) fn settle(&mut self, reorg: &Reorg) {
        let joined: usize = reorg.joined.iter().map(|id| self.index.node(*id).ids.len()).sum();
        self.work.spend(joined.min(self.pool.len().saturating_mul(2)));
        if joined <= self.pool.len() {
            self.pool.remove_all(reorg.joined.iter().flat_map(|id| self.index.node(*id).ids.iter()));
        } else {
            let mined = self.pool.ids().filter(|id| self.index.best_place(id).is_some());
            let mined: Vec<Hash> = mined.copied().collect();
            self.pool.remove_all(&mined);
        }
        // Rewards never return, so a block of one transaction need not be looked at.
        let left = reorg.left.iter().map(|id| self.index.node(*id)).filter(|node| node.ids.len() > 1);
        self.returning.abandoned.extend(left.map(|node| node.tip.hash));
        self.return_some();
    }

    /// Is there another slice to come, or to be told that there was?
    pub(super) fn is_settling(&self) -> bool {
        self.returning.has_work() || self.returning.has_news()
    }

    /// Puts back what the next abandoned blocks held and the best chain does not, as far as the pool has room.
    pub(super) fn return_some(&mut self) {
        let (mut blocks, mut transactions, mut bytes) = (0, 0, 0usize);
        while blocks < BLOCKS_AT_ONCE
            && transactions < TRANSACTIONS_AT_ONCE
            && bytes < BYTES_AT_ONCE
            && self.returning.has_work()
        {
            if let Some(part) = self.returning.part.take() {
                let Some(looked) = self.return_part(part, TRANSACTIONS_AT_ONCE - transactions) else {
                    // The pool takes no more.
                    self.returning = Returning { returned: self.returning.returned, ..Returning::default() };
                    return;
                };
                transactions += looked;
            } else if let Some(hash) = self.returning.abandoned.pop_front() {
                blocks += 1;
                let (looked, read) = self.fetch_abandoned(&hash);
                transactions = transactions.saturating_add(looked);
                bytes = bytes.saturating_add(read);
            }
        }
    }

    /// Gets a block that holds something worth returning, or has it read. How many transactions were looked up a second time and
    /// how many bytes were read for it here.
    fn fetch_abandoned(&mut self, hash: &Hash) -> (usize, usize) {
        let Some(id) = self.index.find(hash).filter(|id| !self.index.is_best(*id)) else { return (0, 0) };
        let ids = Arc::clone(&self.index.node(id).ids);
        let missing = |id: &Hash| self.index.best_place(id).is_none() && !self.pool.contains(id);
        let Some(first) = ids.iter().skip(1).position(missing) else { return (ids.len(), 0) };
        let (bytes, read) = match self.read_elsewhere(Source::Own, hash) {
            Some(ticket) => {
                self.returning.reading = Some((ticket, ids));
                return (first, 0);
            }
            None => {
                let bytes = self.stored(self.index.node(id));
                let read = bytes.as_ref().map_or(0, Bytes::len);
                (bytes, read)
            }
        };
        // For the moment between the two.
        self.returning.reading = Some((0, ids));
        self.returning.arrived(bytes);
        (first, read)
    }

    /// How many of at most so many were looked at; `None` when the pool takes no more.
    fn return_part(&mut self, mut part: Part, most: usize) -> Option<usize> {
        let slice = part.transactions.iter().zip(&part.ids[..]).skip(part.at).take(most);
        let mut looked = 0;
        for (bytes, id) in slice {
            looked += 1;
            if self.index.best_place(id).is_none() {
                // A copy of its own: a slice would keep the whole block in memory.
                match self.pool.give_back(*id, Bytes::copy_from_slice(bytes), self.now) {
                    Ok(()) => self.returning.returned = self.returning.returned.saturating_add(1),
                    Err(NoRoom::Full) => return None,
                    Err(_) => {}
                }
            }
        }
        self.work.spend(looked);
        part.at = part.at.saturating_add(looked);
        if part.at < part.transactions.len() {
            self.returning.part = Some(part);
        }
        Some(looked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::block::MAX_BLOCK_LEN;
    use crate::chain::genesis::Params;
    use crate::chain::transaction::Transaction;
    use crate::proto::sync::chain::{Chain, Finished, Verdict};
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
        let (mut slices, mut told) = (0, 0);
        while ours.has_work() {
            let before = ours.pool().len();
            told += usize::from(ours.poll(NOW) == Some(Finished::Returned));
            ours.turn_ended();
            assert!(ours.pool().len() - before <= BLOCKS_AT_ONCE);
            slices += 1;
        }
        assert_eq!(told, 1, "when all are back");
        assert!(slices >= 2, "{slices} slices for {depth} blocks");
        let waiting: Vec<Hash> = ours.pool_ids(usize::MAX);
        let abandoned: Vec<Hash> = paid.iter().skip(1).step_by(2).copied().collect();
        assert_eq!(waiting, abandoned, "what is in the new chain does not wait, and the rest does, oldest first");
    }
}
