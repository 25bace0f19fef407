//! What makes a block valid: each rule is one function, in the order in which the library checks them.
//!
//! A block's hash covers neither signatures nor the proof. So a [`Fault`] says whether it is the block's that the hash names, and
//! will be that of every copy, or may be that of this copy alone.

#![expect(clippy::missing_errors_doc, reason = "each function says what must hold, and its fault is named after that")]

use crate::crypto::{Hash, NO_KEY, is_signed, sha256};
use crate::difficulty::meets;
use crate::format::{Block, Header, Transaction, VERSION};

/// How far ahead of our clock a block's time may be, in seconds.
pub const AHEAD_MAX: i64 = 120;

/// Which rule a block breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the library's")]
pub enum Fault {
    UnsupportedVersion,
    InvalidDifficulty,
    InvalidTimestamp,
    InvalidHeaderSignature,
    InvalidParentHash,
    InvalidHeight,
    InvalidEpoch,
    InvalidChallenge,
    InvalidTransaction,
    InvalidTransactionSignature,
    InvalidTransactionRoot,
    InvalidProof,
    ProofScoreTooHigh,
}

impl Fault {
    /// In words, for a log.
    pub fn why(self) -> &'static str {
        match self {
            Fault::UnsupportedVersion => "its version is unknown",
            Fault::InvalidDifficulty => "its difficulty is not the one that is due",
            Fault::InvalidTimestamp => "its time is too far ahead",
            Fault::InvalidHeaderSignature => "its miner has not signed it so",
            Fault::InvalidParentHash => "it names another parent",
            Fault::InvalidHeight => "its height is not one above its parent's",
            Fault::InvalidEpoch => "its epoch is not its height",
            Fault::InvalidChallenge => "its challenge does not follow from its parent",
            Fault::InvalidTransaction => "a transaction says what none may",
            Fault::InvalidTransactionSignature => "a sender has not signed a transaction so",
            Fault::InvalidTransactionRoot => "its transactions are not the ones of its root",
            Fault::InvalidProof => "its proof does not fit",
            Fault::ProofScoreTooHigh => "its score is not below the target",
        }
    }

    /// May another copy with the same hash be valid?
    pub fn is_of_the_copy(self) -> bool {
        matches!(
            self,
            Fault::InvalidHeaderSignature
                | Fault::InvalidTransaction
                | Fault::InvalidTransactionSignature
                | Fault::InvalidTransactionRoot
                | Fault::InvalidProof
        )
    }
}

/// What a block is measured by: its parent, and the difficulty that is due after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct Place {
    pub parent: Hash,
    pub parent_height: i64,
    pub difficulty: i64,
}

fn holds(rule: bool, fault: Fault) -> Result<(), Fault> {
    if rule { Ok(()) } else { Err(fault) }
}

/// The version is known.
pub fn version(header: &Header) -> Result<(), Fault> {
    holds(header.version == VERSION, Fault::UnsupportedVersion)
}

/// There is a difficulty.
pub fn some_difficulty(header: &Header) -> Result<(), Fault> {
    holds(header.difficulty >= 1, Fault::InvalidDifficulty)
}

/// The time is not far ahead of ours, `now` in seconds.
pub fn time(header: &Header, now: i64) -> Result<(), Fault> {
    holds(header.time <= now.saturating_add(AHEAD_MAX), Fault::InvalidTimestamp)
}

/// The miner has signed.
pub fn miner_signature(header: &Header) -> Result<(), Fault> {
    holds(is_signed(&header.miner, &header.hash(), &header.signature), Fault::InvalidHeaderSignature)
}

/// It names its parent.
pub fn parent(header: &Header, place: &Place) -> Result<(), Fault> {
    holds(header.parent == place.parent, Fault::InvalidParentHash)
}

/// It stands one above its parent.
pub fn height(header: &Header, place: &Place) -> Result<(), Fault> {
    holds(place.parent_height.checked_add(1) == Some(header.height), Fault::InvalidHeight)
}

/// It has the difficulty that is due.
pub fn difficulty(header: &Header, place: &Place) -> Result<(), Fault> {
    holds(header.difficulty == place.difficulty, Fault::InvalidDifficulty)
}

/// Each height is an epoch.
pub fn epoch(header: &Header) -> Result<(), Fault> {
    holds(header.epoch == header.height, Fault::InvalidEpoch)
}

/// What proofs for the block after `parent` are measured against.
pub fn challenge_after(parent: &Hash, epoch: i64) -> Hash {
    sha256(&[parent, &epoch.to_le_bytes()])
}

/// The challenge is the parent's.
pub fn challenge(header: &Header) -> Result<(), Fault> {
    holds(header.challenge == challenge_after(&header.parent, header.epoch), Fault::InvalidChallenge)
}

/// What a transaction says may be said.
pub fn transaction(transaction: &Transaction) -> Result<(), Fault> {
    let numbers = transaction.amount > 0 && transaction.fee >= 0 && transaction.nonce >= 0;
    holds(numbers && transaction.sender != transaction.recipient, Fault::InvalidTransaction)
}

/// The sender has signed it.
pub fn transaction_signature(transaction: &Transaction) -> Result<(), Fault> {
    let hash = transaction.hash();
    let is_signed = transaction.sender != NO_KEY && is_signed(&transaction.sender, &hash, &transaction.signature);
    holds(is_signed, Fault::InvalidTransactionSignature)
}

/// The header names these transactions.
pub fn transaction_root(block: &Block) -> Result<(), Fault> {
    holds(block.header.transaction_root == block.transaction_root(), Fault::InvalidTransactionRoot)
}

/// The score is the leaf's.
pub fn score(block: &Block) -> Result<(), Fault> {
    holds(block.header.score == block.proof.score(&block.header.challenge), Fault::InvalidProof)
}

/// The score is good enough for the difficulty that the header names.
pub fn target(header: &Header) -> Result<(), Fault> {
    holds(meets(&header.score, header.difficulty), Fault::ProofScoreTooHigh)
}

/// The path leads to the root that the header names.
pub fn path(block: &Block) -> Result<(), Fault> {
    holds(block.proof.root() == block.header.plot_root, Fault::InvalidProof)
}

/// What a header shows by itself, signature apart.
pub fn header_alone(header: &Header, now: i64) -> Result<(), Fault> {
    version(header)?;
    some_difficulty(header)?;
    time(header, now)
}

/// What depends on where it stands.
pub fn header_at(header: &Header, place: &Place) -> Result<(), Fault> {
    parent(header, place)?;
    height(header, place)?;
    difficulty(header, place)?;
    epoch(header)?;
    challenge(header)
}

/// What a block shows by itself: dear, and needs nothing but the block.
pub fn body(block: &Block) -> Result<(), Fault> {
    for one in &block.transactions {
        transaction(one)?;
        transaction_signature(one)?;
    }
    transaction_root(block)?;
    score(block)?;
    target(&block.header)?;
    path(block)
}

/// Everything but the accounts, in the library's order.
pub fn judge(block: &Block, place: &Place, now: i64) -> Result<(), Fault> {
    header_alone(&block.header, now)?;
    miner_signature(&block.header)?;
    header_at(&block.header, place)?;
    body(block)
}
