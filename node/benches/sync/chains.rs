//! The chains that are downloaded: many small blocks, or a few large ones, in a directory that any number of nodes reads.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use spacetime_network::chain::{Params, ReferenceChain, Transaction};
use spacetime_network::proto::sync::chain::{Chain, Verdict};
use spacetime_network::time::UnixTime;
use spacetime_network::wire::Hash;

const NOW: UnixTime = UnixTime::from_millis(1_790_000_000_000);
/// Whom small blocks pay: with this name they have 183 bytes.
const MINER: &str = "a-miner-with-a-name-of-forty-six-letters-in-all";
/// The names in a transfer of a large block, in bytes: the longest that there are.
const NAME: usize = 65_000;
/// How long a disk may take for one of the chains.
const PATIENCE: Duration = Duration::from_secs(120);

/// No work to search: what is measured is the download, not the miner.
pub(crate) fn params() -> Params {
    Params::new(0, 50).unwrap()
}

/// A chain in a directory.
#[derive(Debug)]
pub(crate) struct Made {
    /// Its blocks behind genesis, and their hashes.
    pub(crate) blocks: Vec<Bytes>,
    /// The last of them.
    pub(crate) tip: Hash,
}

impl Made {
    /// Bytes of all blocks.
    pub(crate) fn bytes(&self) -> usize {
        self.blocks.iter().map(Bytes::len).sum()
    }
}

/// Writes a chain of `count` blocks of about `len` bytes to `path`.
pub(crate) fn make(path: &Path, count: usize, len: usize) -> Made {
    let mut chain = ReferenceChain::open(params(), path).unwrap();
    let (sender, recipient) = ("s".repeat(NAME), "r".repeat(NAME));
    let mut blocks = Vec::with_capacity(count);
    for height in 0..count as u64 {
        let transfers = (len / (2 * NAME)) as u64;
        for nonce in 0..transfers {
            let nonce = height * transfers + nonce;
            let transfer = Transaction { sender: &sender, recipient: &recipient, amount: 1, time: NOW, nonce };
            let taken = chain.submit_transaction(NOW, transfer.encode().unwrap());
            assert_eq!(taken, Verdict::Accepted { best_changed: false });
        }
        let block = chain.template(NOW, MINER, len.max(1 << 10)).unwrap().encode();
        put(&mut chain, &block);
        blocks.push(block);
    }
    chain.flush(PATIENCE).unwrap();
    Made { tip: chain.best().hash, blocks }
}

/// How long the same blocks take from memory into an empty store at `path`, until the last one is durable.
pub(crate) fn store_alone(path: &Path, made: &Made) -> Duration {
    let mut chain = ReferenceChain::open(params(), path).unwrap();
    let began = Instant::now();
    for blocks in made.blocks.chunks(64) {
        blocks.iter().for_each(|block| put(&mut chain, block));
        chain.turn_ended();
    }
    chain.flush(PATIENCE).unwrap();
    began.elapsed()
}

fn put(chain: &mut ReferenceChain, block: &Bytes) {
    loop {
        match chain.submit_block(NOW, block.clone()) {
            Verdict::Accepted { best_changed: true } => return,
            // The store is behind.
            Verdict::Ignored(_) => chain.flush(PATIENCE).unwrap(),
            other => panic!("a block of our own is {other:?}"),
        }
    }
}
