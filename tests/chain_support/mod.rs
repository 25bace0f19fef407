//! Blocks and transactions for tests, made without the chain under test: only the formats are shared with it.

#![allow(dead_code, reason = "each test file uses its own part of this")]

use bytes::Bytes;
use spacetime_network::chain::transaction::NETWORK;
use spacetime_network::chain::{Block, Header, Params, Transaction, pow};
use spacetime_network::proto::sync::chain::{Chain, Tip, Verdict};
use spacetime_network::time::UnixTime;
use spacetime_network::wire::Hash;

/// The time at which all tests take place.
pub(crate) const NOW: UnixTime = UnixTime::from_millis(1_800_000_000_000);

/// A new block that moved the best tip.
pub(crate) const BEST: Verdict = Verdict::Accepted { best_changed: true };
/// A new block that did not, or a new transaction.
pub(crate) const KEPT: Verdict = Verdict::Accepted { best_changed: false };

pub(crate) fn params(difficulty: u8) -> Params {
    Params::new(difficulty, 50).unwrap()
}

pub(crate) fn transfer(sender: &str, recipient: &str, amount: u64, nonce: u64) -> Bytes {
    Transaction { sender, recipient, amount, time: NOW, nonce }.encode().unwrap()
}

/// The `tag` makes blocks on the same parent differ.
pub(crate) fn reward(params: &Params, miner: &str, tag: u64) -> Bytes {
    transfer(NETWORK, miner, params.reward(), tag)
}

/// A block with a reward and `transactions` on `parent`, with its root but without work.
pub(crate) fn unmined(params: &Params, parent: Tip, transactions: &[Bytes], tag: u64) -> Block {
    let header = Header {
        height: parent.height + 1,
        previous: parent.hash,
        root: Hash::ZERO,
        time: NOW,
        difficulty: params.difficulty(),
        nonce: 0,
    };
    // Unique on its branch by the height, among its siblings by the tag.
    let mut all = vec![reward(params, "miner", header.height << 16 | tag)];
    all.extend_from_slice(transactions);
    let mut block = Block { header, transactions: all };
    block.seal();
    block
}

/// Finds the work for a block and encodes it.
pub(crate) fn mined(mut block: Block) -> Bytes {
    block.header.nonce = pow::search(&block.header, 0..u64::MAX).unwrap();
    block.encode()
}

/// A valid block on `parent`.
pub(crate) fn block(params: &Params, parent: Tip, transactions: &[Bytes], tag: u64) -> Bytes {
    mined(unmined(params, parent, transactions, tag))
}

pub(crate) fn hash_of(block: &Bytes) -> Hash {
    Block::decode(block).unwrap().header.hash()
}

/// Extends the best tip of `chain` by `count` blocks; their bytes.
pub(crate) fn grow(chain: &mut impl Chain, params: &Params, count: u64) -> Vec<Bytes> {
    (0..count)
        .map(|_| {
            let bytes = block(params, chain.best(), &[], 0);
            assert_eq!(chain.submit_block(NOW, bytes.clone()), BEST);
            bytes
        })
        .collect()
}
