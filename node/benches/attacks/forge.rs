//! Blocks and transactions as attackers make them: valid, cheap, and as large or as many as the rules let them be.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use spacetime_network::chain::transaction::NETWORK;
use spacetime_network::chain::{Block, Header, Params, ReferenceChain, Transaction};
use spacetime_network::proto::sync::chain::{Chain, Verdict};
use spacetime_network::time::UnixTime;
use spacetime_network::wire::{Hash, Kind, frame};

use crate::words::now;

/// The chain whose blocks need no work.
pub(crate) fn params() -> Params {
    Params::new(0, 50).unwrap()
}

/// A block that others build on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parent {
    pub(crate) hash: Hash,
    pub(crate) height: u64,
}

impl Parent {
    /// The first block.
    pub(crate) fn genesis() -> Parent {
        Parent { hash: params().genesis().header.hash(), height: 0 }
    }

    /// This one.
    pub(crate) fn of(header: &Header) -> Parent {
        Parent { hash: header.hash(), height: header.height }
    }
}

/// A transfer of this number. Its time is its number too, so that the same one is made again.
pub(crate) fn transfer(sender: &str, recipient: &str, nonce: u64) -> Bytes {
    Transaction { sender, recipient, amount: 1, time: UnixTime::from_secs(1), nonce }.encode().unwrap()
}

/// So many of the smallest transactions that there are.
pub(crate) fn smallest(count: usize) -> Vec<Bytes> {
    (0..count as u64).map(|nonce| transfer("s", "r", nonce)).collect()
}

/// Transactions of about 120 KB that are as many bytes in all.
pub(crate) fn large(bytes: usize, tag: u64) -> Vec<Bytes> {
    const EACH: usize = 120_000;
    let (sender, recipient) = ("s".repeat(EACH / 2), "r".repeat(EACH / 2));
    (0..bytes.div_ceil(EACH) as u64).map(|nonce| transfer(&sender, &recipient, tag << 32 | nonce)).collect()
}

/// A valid block on `parent`; the tag tells it from its siblings.
pub(crate) fn block(parent: Parent, tag: u64, transactions: &[Bytes]) -> Block {
    let height = parent.height + 1;
    let reward = Transaction {
        sender: NETWORK,
        recipient: "m",
        amount: 50,
        time: UnixTime::from_secs(1),
        nonce: height << 32 | tag,
    };
    let mut all = vec![reward.encode().unwrap()];
    all.extend_from_slice(transactions);
    let header = Header { height, previous: parent.hash, root: Hash::ZERO, time: now(), difficulty: 0, nonce: tag };
    let mut block = Block { header, transactions: all };
    block.seal();
    block
}

/// Headers of a branch on `parent`, of blocks with nothing but a reward; another one for each tag.
pub(crate) fn branch(parent: Parent, tag: u64, count: usize) -> Vec<Header> {
    let mut parent = parent;
    (0..count)
        .map(|_| {
            let header = block(parent, tag, &[]).header;
            parent = Parent::of(&header);
            header
        })
        .collect()
}

/// What follows the header in a block's bytes.
pub(crate) fn body(block: &Block) -> Bytes {
    let bytes = block.encode();
    bytes.slice(block.header.encode().len()..)
}

/// A frame with a block of this header and body, in two pieces: one body serves under many headers.
pub(crate) fn block_frame(kind: Kind, header: &Header, body: &Bytes) -> [Bytes; 2] {
    let head = header.encode();
    let start = frame::header(kind as u8, head.len() + body.len()).unwrap();
    [Bytes::from([&start[..], &head[..]].concat()), body.clone()]
}

/// Puts these blocks into the data directory of a node that does not run.
pub(crate) fn store(data: &Path, blocks: impl IntoIterator<Item = Block>) {
    std::fs::create_dir_all(data).unwrap();
    let mut chain = ReferenceChain::open(params(), &data.join("chain")).unwrap();
    for block in blocks {
        let verdict = chain.submit_block(now(), block.encode());
        assert!(matches!(verdict, Verdict::Accepted { .. }), "{verdict:?}");
        // What is written waits in memory until then.
        chain.flush(Duration::from_secs(60)).unwrap();
    }
}
