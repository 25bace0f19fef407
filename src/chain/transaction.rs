//! A transfer from one name to another, and its bytes.
//!
//! ```text
//! u8 version (1) | u16 n, n bytes sender | u16 m, m bytes recipient | u64 amount | i64 unix ms | u64 nonce
//! ```
//!
//! The encoding is canonical: bytes that decode encode to the same bytes, so one transfer has one id. There is no limit on
//! a name below the format's own 65,535 bytes; the total is what the wire allows a transaction.

use core::fmt;

use bytes::Bytes;

use crate::chain::{read, sha256};
use crate::time::UnixTime;
use crate::wire::{Hash, Kind};

/// The sender of block rewards. Valid only as the sender of a block's first transaction.
pub const NETWORK: &str = "network";
/// The one version there is.
pub const VERSION: u8 = 1;
/// The largest transaction, in bytes: what the wire carries in one frame.
pub const MAX_LEN: usize = Kind::Transaction.max_payload() as usize;

/// Bytes besides the two names.
const FIXED_LEN: usize = 1 + 2 + 2 + 8 + 8 + 8;

// Two names of full length fit the wire, so the length of names is the only limit an encoder can meet.
const _: () = assert!(FIXED_LEN + 2 * u16::MAX as usize <= MAX_LEN);

/// A transfer. Borrows its names from whoever made it or from the bytes it was decoded from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction<'a> {
    /// Who pays; [`NETWORK`] for a block reward.
    pub sender: &'a str,
    /// Who is paid.
    pub recipient: &'a str,
    /// How much, in the chain's smallest unit.
    pub amount: u64,
    /// When the sender made it. Never checked: two transfers may be told apart by it, nothing more.
    pub time: UnixTime,
    /// Any number that tells this transfer from an equal one.
    pub nonce: u64,
}

/// Why a transaction has no bytes, or why bytes are not a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TransactionError {
    /// The bytes end in the middle.
    Truncated,
    /// Bytes follow the transaction.
    LeftOver,
    /// A version this chain does not have.
    Version,
    /// A name is empty.
    EmptyName,
    /// A name is not UTF-8.
    NotUtf8,
    /// A name is longer than 65,535 bytes.
    NameTooLong,
}

impl TransactionError {
    /// A short text for logs.
    pub const fn why(self) -> &'static str {
        match self {
            TransactionError::Truncated => "transaction is truncated",
            TransactionError::LeftOver => "bytes follow the transaction",
            TransactionError::Version => "unknown transaction version",
            TransactionError::EmptyName => "transaction with an empty name",
            TransactionError::NotUtf8 => "transaction with a name that is not UTF-8",
            TransactionError::NameTooLong => "transaction with a name above 65535 bytes",
        }
    }
}

impl fmt::Display for TransactionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why())
    }
}

impl std::error::Error for TransactionError {}

impl<'a> Transaction<'a> {
    /// The transaction that `bytes` are, all of them.
    ///
    /// # Errors
    ///
    /// What is wrong with the bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, TransactionError> {
        let mut rest = bytes;
        let [version] = read::array(&mut rest).ok_or(TransactionError::Truncated)?;
        if version != VERSION {
            return Err(TransactionError::Version);
        }
        let transaction = Transaction {
            sender: name(&mut rest)?,
            recipient: name(&mut rest)?,
            amount: read::u64(&mut rest).ok_or(TransactionError::Truncated)?,
            time: UnixTime::from_millis(read::i64(&mut rest).ok_or(TransactionError::Truncated)?),
            nonce: read::u64(&mut rest).ok_or(TransactionError::Truncated)?,
        };
        if rest.is_empty() { Ok(transaction) } else { Err(TransactionError::LeftOver) }
    }

    /// Its bytes.
    ///
    /// # Errors
    ///
    /// [`TransactionError::EmptyName`] or [`TransactionError::NameTooLong`].
    pub fn encode(&self) -> Result<Bytes, TransactionError> {
        let mut out = Vec::with_capacity(FIXED_LEN + self.sender.len() + self.recipient.len());
        out.push(VERSION);
        for name in [self.sender, self.recipient] {
            if name.is_empty() {
                return Err(TransactionError::EmptyName);
            }
            let len = u16::try_from(name.len()).map_err(|_| TransactionError::NameTooLong)?;
            out.extend_from_slice(&len.to_le_bytes());
            out.extend_from_slice(name.as_bytes());
        }
        out.extend_from_slice(&self.amount.to_le_bytes());
        out.extend_from_slice(&self.time.as_millis().to_le_bytes());
        out.extend_from_slice(&self.nonce.to_le_bytes());
        Ok(out.into())
    }

    /// True when it claims to be a block reward.
    pub fn is_reward(&self) -> bool {
        self.sender == NETWORK
    }
}

/// The id of the transaction whose bytes these are.
pub fn id(bytes: &[u8]) -> Hash {
    sha256(bytes)
}

fn name<'a>(rest: &mut &'a [u8]) -> Result<&'a str, TransactionError> {
    let len = read::array(rest).map(u16::from_le_bytes).ok_or(TransactionError::Truncated)?;
    let bytes = read::slice(rest, usize::from(len)).ok_or(TransactionError::Truncated)?;
    let name = core::str::from_utf8(bytes).map_err(|_| TransactionError::NotUtf8)?;
    if name.is_empty() { Err(TransactionError::EmptyName) } else { Ok(name) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Transaction<'static> {
        let time = UnixTime::from_millis(1_700_000_000_001);
        Transaction { sender: "alice", recipient: "bob", amount: 7, time, nonce: 9 }
    }

    #[test]
    fn encodes_to_the_bytes_of_the_protocol() {
        let mut expected = vec![1, 5, 0];
        expected.extend_from_slice(b"alice");
        expected.extend_from_slice(&[3, 0]);
        expected.extend_from_slice(b"bob");
        expected.extend_from_slice(&[7, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(&[0x01, 0x68, 0xe5, 0xcf, 0x8b, 0x01, 0, 0]);
        expected.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(sample().encode().unwrap(), expected);
    }

    #[test]
    fn every_way_to_be_malformed_has_its_error() {
        let good = sample().encode().unwrap().to_vec();
        for len in 0..good.len() {
            assert_eq!(Transaction::decode(&good[..len]), Err(TransactionError::Truncated), "{len}");
        }
        let changed = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            bytes
        };
        assert_eq!(Transaction::decode(&[&good[..], &[0]].concat()), Err(TransactionError::LeftOver));
        assert_eq!(Transaction::decode(&changed(0, 2)), Err(TransactionError::Version));
        assert_eq!(Transaction::decode(&changed(3, 0xff)), Err(TransactionError::NotUtf8));
        assert_eq!(Transaction::decode(&changed(1, 0)), Err(TransactionError::EmptyName));
    }

    #[test]
    fn names_reach_the_format_limit_and_not_beyond() {
        let long = "x".repeat(usize::from(u16::MAX));
        let transaction = Transaction { sender: &long, recipient: &long, ..sample() };
        let bytes = transaction.encode().unwrap();
        assert_eq!(Transaction::decode(&bytes), Ok(transaction));
        let longer = format!("{long}x");
        let refused = Transaction { sender: &longer, ..sample() }.encode();
        assert_eq!(refused, Err(TransactionError::NameTooLong));
        assert_eq!(Transaction { recipient: "", ..sample() }.encode(), Err(TransactionError::EmptyName));
    }

    proptest! {
        #[test]
        fn what_decodes_encodes_to_the_same_bytes(
            sender in ".{1,40}", recipient in ".{1,40}", amount: u64, time: i64, nonce: u64,
            flip in proptest::option::of((0usize..200, 0u8..8)),
        ) {
            let time = UnixTime::from_millis(time);
            let transaction = Transaction { sender: &sender, recipient: &recipient, amount, time, nonce };
            let mut bytes = transaction.encode().unwrap().to_vec();
            prop_assert_eq!(Transaction::decode(&bytes), Ok(transaction));
            if let Some((at, bit)) = flip {
                let at = at % bytes.len();
                bytes[at] ^= 1 << bit;
            }
            if let Ok(read) = Transaction::decode(&bytes) {
                prop_assert_eq!(read.encode().unwrap(), bytes);
            }
        }
    }
}
