//! Blocks of the best chain for whoever looks at a running node: where they stand is asked of the loop, which is a step each, and what
//! is in them is read by whoever asked, on a thread of his own.

use bytes::Bytes;

use crate::chain::reference::ReferenceChain;
use crate::chain::reorganisations::Reorganisations;
use crate::chain::store::Reader;
use crate::proto::sync::chain::Tip;

/// A block that another thread than the loop may read. It does not keep the store open.
pub struct BlockReader {
    tip: Tip,
    reader: Reader,
}

impl core::fmt::Debug for BlockReader {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("BlockReader").field("tip", &self.tip).finish_non_exhaustive()
    }
}

impl BlockReader {
    /// Which block it is.
    pub fn tip(&self) -> Tip {
        self.tip
    }

    /// Its bytes as the store gives them; `None` when it does not, or no longer. Waits for the disk. Whether they are still what they
    /// were is for the reader to say: the header's hash must be that of [`tip`](Self::tip).
    pub fn read(self) -> Option<Bytes> {
        self.reader.read()
    }
}

impl ReferenceChain {
    /// Ways to at most so many blocks of the best chain from a height upwards, in order. A step for each, and nothing is read.
    pub fn block_readers(&self, from_height: u64, most: usize) -> Vec<BlockReader> {
        let nodes = self.index.best_from(from_height).take(most);
        nodes
            .map(|node| {
                let reader = match node.seq {
                    Some(seq) => self.store.reader(seq),
                    None => Reader::Memory(Some(self.genesis_bytes.clone())),
                };
                BlockReader { tip: node.tip, reader }
            })
            .collect()
    }

    /// How often the best chain moved to another branch since it was opened.
    pub fn reorganisations(&self) -> Reorganisations {
        self.reorganisations
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::{Block, Params};

    #[test]
    fn blocks_of_the_best_chain_are_read_from_any_height_on_another_thread() {
        let chain = ReferenceChain::memory(Params::default());
        let mut readers = chain.block_readers(0, 10);
        assert_eq!((readers.len(), chain.block_readers(1, 10).len(), chain.block_readers(0, 0).len()), (1, 0, 0));
        let (tip, reader) = (readers[0].tip(), readers.remove(0));
        let bytes = std::thread::spawn(move || reader.read()).join().unwrap().unwrap();
        assert_eq!(Block::decode(&bytes).unwrap().header.hash(), tip.hash);
    }
}
