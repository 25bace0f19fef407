//! Looking at a chain that nobody is changing: iteration, balances, and the full check of everything stored.

use core::fmt;
use std::collections::BTreeMap;

use bytes::Bytes;

use crate::chain::block::{Block, HEADER_LEN};
use crate::chain::index::{Index, NewBlock, Node};
use crate::chain::reference::ReferenceChain;
use crate::chain::rules;
use crate::chain::transaction::Transaction;
use crate::proto::sync::chain::{Chain, HeaderError, Tip};
use crate::time::UnixTime;
use crate::wire::Hash;

/// What a full check went through without finding anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Blocks, on all branches, genesis included.
    pub blocks: u64,
    /// Those of them that are not on the best chain.
    pub side_blocks: u64,
    /// Transactions in them, rewards included.
    pub transactions: u64,
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyError {
    /// The block.
    pub hash: Hash,
    /// Its height.
    pub height: u64,
    /// What is wrong with it.
    pub why: &'static str,
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} at height {}: {}", self.hash, self.height, self.why)
    }
}

impl std::error::Error for VerifyError {}

impl ReferenceChain {
    /// The best chain's blocks from a height upwards: where each stands and its bytes, `None` when the store does not give
    /// them. One read per block, when it is asked for.
    pub fn blocks(&self, from_height: u64) -> impl Iterator<Item = (Tip, Option<Bytes>)> {
        self.index.best_from(from_height).map(|node| (node.tip, self.stored(node)))
    }

    /// What every name on the best chain holds; "network" is not among them, since it makes what it pays. Names may be
    /// below zero: the chain orders transfers, it does not police them. Reads the whole chain.
    ///
    /// # Errors
    ///
    /// The first block that the store does not give whole.
    pub fn balances(&self) -> Result<BTreeMap<String, i128>, VerifyError> {
        let mut balances = BTreeMap::new();
        let mut move_by = |name: &str, amount: i128| match balances.get_mut(name) {
            Some(balance) => *balance += amount,
            None => drop(balances.insert(name.to_owned(), amount)),
        };
        // Genesis moves nothing.
        for (tip, bytes) in self.blocks(1) {
            let error = |why| VerifyError { hash: tip.hash, height: tip.height, why };
            let bytes = bytes.ok_or(error("cannot be read"))?;
            let block = Block::decode(&bytes).ok_or(error("is not a block"))?;
            for transaction in &block.transactions {
                let transfer = Transaction::decode(transaction).map_err(|problem| error(problem.why()))?;
                // 2^64 transfers of 2^63 would fit.
                let amount = i128::from(transfer.amount);
                if !transfer.is_reward() {
                    move_by(transfer.sender, -amount);
                }
                move_by(transfer.recipient, amount);
            }
        }
        Ok(balances)
    }

    /// Reads every block on every branch from the store and checks it as if it had just arrived, but for how far its time is
    /// ahead, and that the best chain is the one that comes out. `progress` is told how many of how many are done.
    ///
    /// # Errors
    ///
    /// The first block with which something is wrong.
    pub fn verify(&self, mut progress: impl FnMut(u64, u64)) -> Result<VerifyReport, VerifyError> {
        let mut nodes: Vec<&Node> = self.index.nodes().collect();
        nodes.sort_unstable_by_key(|node| node.seq);
        let total = nodes.len() as u64;
        let mut report = VerifyReport::default();
        let mut rebuilt: Option<Index> = None;
        for node in nodes {
            let (new, previous) = self.recheck(node)?;
            report.blocks += 1;
            report.transactions += new.ids.len() as u64;
            let error = |why| VerifyError { hash: node.tip.hash, height: node.tip.height, why };
            match &mut rebuilt {
                None => rebuilt = Some(Index::new(new)),
                Some(index) => {
                    let parent = index.find(&previous).ok_or(error("its parent comes after it"))?;
                    if index.node(parent).tip.height.checked_add(1) != Some(node.tip.height) {
                        return Err(error("its height is not one above its parent's"));
                    }
                    rules::in_order(index.median_time(parent), new.header.time)
                        .map_err(|rejection| error(rejection.why))?;
                    if index.repeats(parent, &new.ids) {
                        return Err(error("repeats a transaction of an ancestor"));
                    }
                    let id = index.insert(parent, new);
                    index.follow(id);
                }
            }
            progress(report.blocks, total);
        }
        let best = self.best();
        if rebuilt.is_some_and(|index| index.best().tip != best) {
            return Err(VerifyError { hash: best.hash, height: best.height, why: "is not the best tip" });
        }
        report.side_blocks = report.blocks.saturating_sub(best.height.saturating_add(1));
        Ok(report)
    }

    /// Checks all of a stored block that can be checked alone.
    fn recheck(&self, node: &Node) -> Result<(NewBlock, Hash), VerifyError> {
        let error = |why| VerifyError { hash: node.tip.hash, height: node.tip.height, why };
        let bytes = self.read(node).ok_or(error("cannot be read"))?;
        let header = bytes.get(..HEADER_LEN).ok_or(error("is shorter than a header"))?;
        // Its time was checked when it came; what was early then has long been due.
        let due = UnixTime::from_millis(i64::MAX);
        let (header, info) =
            rules::header(&self.params, &self.genesis, due, header).map_err(|problem| match problem {
                HeaderError::Invalid(rejection) => error(rejection.why),
                HeaderError::Early => error("its time is too far ahead"),
            })?;
        if info.hash != node.tip.hash {
            return Err(error("is another block than the one that was stored"));
        }
        // Genesis is compared whole: its reward breaks the rules of all other blocks.
        let ids = if info.hash == self.genesis {
            Block::decode(&bytes).ok_or(error("is not a block"))?.ids()
        } else {
            rules::body(&self.params, &bytes).map_err(|rejection| error(rejection.why))?.1
        };
        let new = NewBlock { header, hash: info.hash, work: info.work, seq: node.seq, len: bytes.len(), ids };
        Ok((new, header.previous))
    }
}
