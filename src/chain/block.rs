//! Headers and blocks, and their bytes.
//!
//! ```text
//! header  u32 version (1) | u64 height | 32 previous | 32 root | i64 unix ms | u8 difficulty | u64 nonce     93 bytes
//! block   header | u32 count | count times: u32 length, transaction bytes
//! ```
//!
//! Decoding here is about framing alone: it says which bytes are which transaction, not that they are valid ones. Bytes
//! that decode encode to the same bytes.

use bytes::Bytes;

use crate::chain::{merkle, read, sha256, transaction};
use crate::time::UnixTime;
use crate::wire::Hash;
use crate::wire::frame::MAX_PAYLOAD;

/// The one header version there is.
pub const VERSION: u32 = 1;
/// Bytes of a header.
pub const HEADER_LEN: usize = 93;
/// The largest block, in bytes: what the wire carries in one frame.
pub const MAX_BLOCK_LEN: usize = MAX_PAYLOAD as usize;

/// The most transactions in a block, the reward among them: what is judged, put into the index and served in a few dozen
/// milliseconds. The smallest that the bytes of a block have room for are fifteen times as many, and cost as much as their number.
pub const MAX_TRANSACTIONS: usize = 32_768;

/// Bytes of a header before the nonce, its last field.
pub(super) const NONCE_AT: usize = HEADER_LEN - 8;
/// Bytes before a transaction's own.
const LENGTH_LEN: usize = 4;
/// Bytes of a block without transactions.
const EMPTY_LEN: usize = HEADER_LEN + 4;

/// What a block's first 93 bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Blocks before this one.
    pub height: u64,
    /// The parent's hash.
    pub previous: Hash,
    /// The root over the transactions' ids, see [`merkle::root`].
    pub root: Hash,
    /// When it was made, by the miner's clock.
    pub time: UnixTime,
    /// How many hexadecimal zeros its hash starts with, at least.
    pub difficulty: u8,
    /// What the miner searches.
    pub nonce: u64,
}

impl Header {
    /// The header that `bytes` are; `None` when they are not 93 bytes of version 1.
    pub fn decode(bytes: &[u8]) -> Option<Header> {
        let exact: &[u8; HEADER_LEN] = bytes.try_into().ok()?;
        let mut rest: &[u8] = exact;
        if read::u32(&mut rest)? != VERSION {
            return None;
        }
        let height = read::u64(&mut rest)?;
        let previous = Hash(read::array(&mut rest)?);
        let root = Hash(read::array(&mut rest)?);
        let time = UnixTime::from_millis(read::i64(&mut rest)?);
        let [difficulty] = read::array(&mut rest)?;
        let nonce = read::u64(&mut rest)?;
        Some(Header { height, previous, root, time, difficulty, nonce })
    }

    /// Its bytes.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let fields: [&[u8]; 7] = [
            &VERSION.to_le_bytes(),
            &self.height.to_le_bytes(),
            &self.previous.0,
            &self.root.0,
            &self.time.as_millis().to_le_bytes(),
            &[self.difficulty],
            &self.nonce.to_le_bytes(),
        ];
        for (to, from) in out.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        out
    }

    /// SHA-256 of its bytes: the block's name.
    pub fn hash(&self) -> Hash {
        sha256(&self.encode())
    }
}

/// A header and the transactions under it, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// The transactions' bytes, the reward first. Slices of the block they were decoded from.
    pub transactions: Vec<Bytes>,
}

impl Block {
    /// The block that `bytes` are; `None` when the header or the framing is wrong or bytes are left over.
    pub fn decode(bytes: &Bytes) -> Option<Block> {
        let header = Header::decode(bytes.get(..HEADER_LEN)?)?;
        let mut rest = bytes.get(HEADER_LEN..)?;
        let count = read::u32(&mut rest)?;
        // Each needs its length at least, so a count that the bytes cannot hold allocates nothing.
        if usize::try_from(count).ok()? > rest.len() / LENGTH_LEN {
            return None;
        }
        let mut transactions = Vec::new();
        for _ in 0..count {
            let len = usize::try_from(read::u32(&mut rest)?).ok()?;
            transactions.push(bytes.slice_ref(read::slice(&mut rest, len)?));
        }
        rest.is_empty().then_some(Block { header, transactions })
    }

    /// Its bytes. Longer than [`MAX_BLOCK_LEN`] when the transactions are too many: no chain accepts it then.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.len());
        out.extend_from_slice(&self.header.encode());
        out.extend_from_slice(&u32::try_from(self.transactions.len()).unwrap_or(u32::MAX).to_le_bytes());
        for transaction in &self.transactions {
            out.extend_from_slice(&u32::try_from(transaction.len()).unwrap_or(u32::MAX).to_le_bytes());
            out.extend_from_slice(transaction);
        }
        out.into()
    }

    /// How many bytes [`Block::encode`] gives.
    #[allow(clippy::len_without_is_empty, reason = "a block is never empty: it has a header")]
    pub fn len(&self) -> usize {
        EMPTY_LEN + self.transactions.iter().map(Self::cost).sum::<usize>()
    }

    /// The transactions' ids, in order.
    pub fn ids(&self) -> Vec<Hash> {
        self.transactions.iter().map(|bytes| transaction::id(bytes)).collect()
    }

    /// Makes the header's root the one of the transactions.
    pub fn seal(&mut self) {
        self.header.root = merkle::root(&self.ids());
    }

    /// How many bytes a transaction adds to a block.
    pub(super) fn cost(transaction: &Bytes) -> usize {
        transaction.len().saturating_add(LENGTH_LEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            height: 0x0102,
            previous: Hash([0xaa; 32]),
            root: Hash([0xbb; 32]),
            time: UnixTime::from_millis(-2),
            difficulty: 5,
            nonce: 0x0304,
        }
    }

    #[test]
    fn a_header_is_the_protocols_93_bytes() {
        let mut expected = vec![1, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0];
        expected.extend_from_slice(&[0xaa; 32]);
        expected.extend_from_slice(&[0xbb; 32]);
        expected.extend_from_slice(&[0xfe, 255, 255, 255, 255, 255, 255, 255, 5, 4, 3, 0, 0, 0, 0, 0, 0]);
        assert_eq!(header().encode()[..], expected[..]);
        assert_eq!(expected.len(), HEADER_LEN);
        assert_eq!(Header::decode(&expected), Some(header()));
        assert_eq!(Header::decode(&expected[..92]), None);
        expected[0] = 2;
        assert_eq!(Header::decode(&expected), None);
    }

    #[test]
    fn a_block_that_is_cut_or_padded_is_none() {
        let block = Block { header: header(), transactions: vec![Bytes::from_static(b"one"), Bytes::from_static(b"")] };
        let bytes = block.encode();
        assert_eq!(bytes.len(), block.len());
        assert_eq!(Block::decode(&bytes), Some(block));
        for len in 0..bytes.len() {
            assert_eq!(Block::decode(&bytes.slice(..len)), None, "{len}");
        }
        assert_eq!(Block::decode(&[&bytes[..], &[0]].concat().into()), None);
    }

    #[test]
    fn a_count_beyond_the_bytes_is_refused_before_anything_is_read() {
        let mut bytes = header().encode().to_vec();
        bytes.extend_from_slice(&u32::MAX.to_le_bytes());
        bytes.extend_from_slice(&[0; 64]);
        assert_eq!(Block::decode(&bytes.into()), None);
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(
            transactions in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..9),
            flip in proptest::option::of((0usize..400, 0u8..8)),
        ) {
            let transactions = transactions.into_iter().map(Bytes::from).collect();
            let block = Block { header: header(), transactions };
            let mut bytes = block.encode().to_vec();
            if let Some((at, bit)) = flip {
                let at = at % bytes.len();
                bytes[at] ^= 1 << bit;
            }
            let bytes = Bytes::from(bytes);
            if let Some(read) = Block::decode(&bytes) {
                prop_assert_eq!(read.encode(), bytes);
            }
        }
    }
}
