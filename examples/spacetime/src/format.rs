//! Headers, transactions, proofs and blocks, byte for byte.
//!
//! Nothing here is judged but what cannot be decoded. Bytes behind the end are refused, which the C# library ignores: nobody honest
//! makes them.

use crate::codec::{Reader, put_count};
use crate::crypto::{Hash, PublicKey, SecretKey, SignatureBytes, sha256};
use crate::merkle;

/// Of a header with its signature.
pub const HEADER_LEN: usize = 290;
/// Of a transaction with its signature.
pub const TRANSACTION_LEN: usize = 155;
/// The longest path of a proof.
pub const PATH_MAX: usize = 64;
/// The version of headers, transactions and plots.
pub const VERSION: u8 = 1;

/// Where a block stands and who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub struct Header {
    pub version: u8,
    pub parent: Hash,
    pub height: i64,
    /// Seconds since 1970.
    pub time: i64,
    pub difficulty: i64,
    pub epoch: i64,
    pub challenge: Hash,
    pub plot_root: Hash,
    pub score: Hash,
    pub transaction_root: Hash,
    pub miner: PublicKey,
    pub signature: SignatureBytes,
}

impl Header {
    /// Everything that the hash covers.
    fn signed(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER_LEN);
        out.push(self.version);
        out.extend_from_slice(&self.parent);
        for number in [self.height, self.time, self.difficulty, self.epoch] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for hash in [&self.challenge, &self.plot_root, &self.score, &self.transaction_root] {
            out.extend_from_slice(hash);
        }
        out.extend_from_slice(&self.miner);
        out
    }

    /// The header's name and its block's: covers neither the signature nor the proof.
    pub fn hash(&self) -> Hash {
        sha256(&[&self.signed()])
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.signed();
        out.extend_from_slice(&self.signature);
        out
    }

    /// From the front of `reader`.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let header = Header {
            version: reader.byte()?,
            parent: reader.array()?,
            height: reader.i64()?,
            time: reader.i64()?,
            difficulty: reader.i64()?,
            epoch: reader.i64()?,
            challenge: reader.array()?,
            plot_root: reader.array()?,
            score: reader.array()?,
            transaction_root: reader.array()?,
            miner: reader.array()?,
            signature: reader.array()?,
        };
        (header.height >= 0 && header.time >= 0 && header.epoch >= 0).then_some(header)
    }

    /// From all of `bytes`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let header = Header::read(&mut reader)?;
        reader.end(header)
    }

    /// Signs it.
    pub fn sign(&mut self, key: &SecretKey) {
        self.signature = key.sign(&self.hash());
    }
}

/// Moves coins.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub struct Transaction {
    pub version: u8,
    pub sender: PublicKey,
    pub recipient: PublicKey,
    pub amount: i64,
    pub nonce: i64,
    pub fee: i64,
    pub signature: SignatureBytes,
}

impl Transaction {
    fn signed(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(TRANSACTION_LEN);
        out.push(self.version);
        out.extend_from_slice(&self.sender);
        out.extend_from_slice(&self.recipient);
        for number in [self.amount, self.nonce, self.fee] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out
    }

    /// Its name, which does not cover the signature.
    pub fn hash(&self) -> Hash {
        sha256(&[&self.signed()])
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.signed();
        out.extend_from_slice(&self.signature);
        out
    }

    /// From all of `bytes`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let transaction = Transaction {
            version: reader.byte()?,
            sender: reader.array()?,
            recipient: reader.array()?,
            amount: reader.i64()?,
            nonce: reader.i64()?,
            fee: reader.i64()?,
            signature: reader.array()?,
        };
        reader.end(transaction)
    }

    /// Signs it.
    pub fn sign(&mut self, key: &SecretKey) {
        self.signature = key.sign(&self.hash());
    }

    /// What the sender has less afterwards; `None` above what a balance can be.
    pub fn cost(&self) -> Option<i64> {
        self.amount.checked_add(self.fee)
    }
}

/// That a leaf stands in a plot.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub struct Proof {
    pub leaf: Hash,
    pub leaf_index: i64,
    /// Siblings from the leaf to the root; true for one on the right.
    pub path: Vec<(Hash, bool)>,
    pub leaf_count: i64,
    pub plot_id: Hash,
    pub plot_header: Hash,
    pub plot_version: u8,
}

impl Proof {
    /// Where the path leads.
    pub fn root(&self) -> Hash {
        merkle::follow(&self.leaf, self.path.iter().copied())
    }

    /// What the leaf is worth against a challenge: the lower the better.
    pub fn score(&self, challenge: &Hash) -> Hash {
        sha256(&[challenge, &self.leaf])
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.leaf.to_vec();
        out.extend_from_slice(&self.leaf_index.to_le_bytes());
        put_count(&mut out, self.path.len());
        self.path.iter().for_each(|(sibling, _)| out.extend_from_slice(sibling));
        put_count(&mut out, self.path.len());
        out.extend(self.path.iter().map(|(_, is_right)| u8::from(*is_right)));
        out.extend_from_slice(&self.leaf_count.to_le_bytes());
        out.extend_from_slice(&self.plot_id);
        out.extend_from_slice(&self.plot_header);
        out.push(self.plot_version);
        out
    }

    /// From all of `bytes`. Whatever is not zero means "right", as in the library.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let (leaf, leaf_index) = (reader.array()?, reader.i64()?);
        let count = reader.count(32)?;
        let siblings: Option<Vec<Hash>> = (0..count).map(|_| reader.array()).collect();
        let siblings = siblings.filter(|siblings| siblings.len() <= PATH_MAX)?;
        let count = reader.count(1).filter(|count| *count == siblings.len())?;
        let sides = reader.take(count)?;
        let proof = Proof {
            leaf,
            leaf_index,
            path: siblings.into_iter().zip(sides.iter().map(|side| *side != 0)).collect(),
            leaf_count: reader.i64()?,
            plot_id: reader.array()?,
            plot_header: reader.array()?,
            plot_version: reader.byte()?,
        };
        if proof.leaf_index < 0 || proof.leaf_count < 1 {
            return None;
        }
        reader.end(proof)
    }
}

/// A header, what it pays, and the proof that it may.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the format")]
pub struct Block {
    pub header: Header,
    pub transactions: Vec<Transaction>,
    pub proof: Proof,
}

impl Block {
    /// The root that its header must name.
    pub fn transaction_root(&self) -> Hash {
        let hashes: Vec<Hash> = self.transactions.iter().map(Transaction::hash).collect();
        merkle::root(hashes.iter())
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.header.encode();
        put_count(&mut out, self.transactions.len());
        for transaction in &self.transactions {
            let bytes = transaction.encode();
            put_count(&mut out, bytes.len());
            out.extend_from_slice(&bytes);
        }
        out.extend_from_slice(&self.proof.encode());
        out
    }

    /// From all of `bytes`.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let header = Header::read(&mut reader)?;
        let count = reader.count(TRANSACTION_LEN)?;
        let transactions: Option<Vec<Transaction>> = (0..count)
            .map(|_| {
                let len = reader.count(1)?;
                Transaction::decode(reader.take(len)?)
            })
            .collect();
        Some(Block { header, transactions: transactions?, proof: Proof::decode(reader.rest())? })
    }
}
