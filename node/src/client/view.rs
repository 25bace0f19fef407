//! What is shown of headers, blocks and transactions: the fields of the reference chain, or the bytes when they are not
//! of it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::Serialize;
use spacetime_network::chain::{Block, Header, Transaction, transaction};
use spacetime_network::time::UnixTime;
use spacetime_network::wire::Hash;

/// The last second of the year 9999, beyond which RFC 3339 has no form.
const RFC3339_SECS_MAX: u64 = 253_402_300_799;

/// A header, for people and for scripts.
#[derive(Debug, Serialize)]
pub(crate) struct HeaderView {
    pub(crate) hash: String,
    pub(crate) height: u64,
    pub(crate) previous: String,
    pub(crate) root: String,
    pub(crate) unix_millis: i64,
    pub(crate) difficulty: u8,
    pub(crate) nonce: u64,
}

impl HeaderView {
    pub(crate) fn of(header: &Header) -> Self {
        HeaderView {
            hash: header.hash().to_string(),
            height: header.height,
            previous: header.previous.to_string(),
            root: header.root.to_string(),
            unix_millis: header.time.as_millis(),
            difficulty: header.difficulty,
            nonce: header.nonce,
        }
    }

    /// One line: height, hash, time.
    pub(crate) fn line(&self) -> String {
        format!("{:>8}  {}  {}", self.height, self.hash, time(self.unix_millis))
    }
}

/// A transaction, for people and for scripts.
#[derive(Debug, Serialize)]
pub(crate) struct TransactionView {
    pub(crate) id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) transfer: Option<TransferView>,
}

/// What a transaction says.
#[derive(Debug, Serialize)]
pub(crate) struct TransferView {
    pub(crate) sender: String,
    pub(crate) recipient: String,
    pub(crate) amount: u64,
    pub(crate) unix_millis: i64,
    pub(crate) nonce: u64,
}

impl TransactionView {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        let transfer = Transaction::decode(bytes).ok().map(|transfer| TransferView {
            sender: transfer.sender.to_owned(),
            recipient: transfer.recipient.to_owned(),
            amount: transfer.amount,
            unix_millis: transfer.time.as_millis(),
            nonce: transfer.nonce,
        });
        TransactionView { id: transaction::id(bytes).to_string(), transfer }
    }

    /// A transaction of which only the id is known.
    pub(crate) fn unseen(id: &Hash) -> Self {
        TransactionView { id: id.to_string(), transfer: None }
    }

    /// One line: id, from, to, amount.
    pub(crate) fn line(&self) -> String {
        match &self.transfer {
            Some(transfer) => {
                let (sender, recipient) = (&transfer.sender, &transfer.recipient);
                format!("{}  {sender} -> {recipient}  {}", self.id, transfer.amount)
            }
            None => self.id.clone(),
        }
    }
}

/// A block, for people and for scripts.
#[derive(Debug, Serialize)]
pub(crate) struct BlockView {
    #[serde(flatten)]
    pub(crate) header: HeaderView,
    pub(crate) bytes: usize,
    pub(crate) transactions: Vec<TransactionView>,
}

impl BlockView {
    /// `None` when the bytes are not a block of the reference chain.
    pub(crate) fn of(bytes: &Bytes) -> Option<Self> {
        let block = Block::decode(bytes)?;
        Some(BlockView {
            header: HeaderView::of(&block.header),
            bytes: bytes.len(),
            transactions: block.transactions.iter().map(|bytes| TransactionView::of(bytes)).collect(),
        })
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        let header = &self.header;
        let mut lines = vec![
            format!("hash          {}", header.hash),
            format!("height        {}", header.height),
            format!("previous      {}", header.previous),
            format!("root          {}", header.root),
            format!("time          {}", time(header.unix_millis)),
            format!("difficulty    {}", header.difficulty),
            format!("nonce         {}", header.nonce),
            format!("bytes         {}", self.bytes),
            format!("transactions  {}", self.transactions.len()),
        ];
        lines.extend(self.transactions.iter().map(|transaction| format!("  {}", transaction.line())));
        lines
    }
}

/// RFC 3339 in UTC, or the bare number where a remote clock says something that has no such form.
pub(crate) fn time(unix_millis: i64) -> String {
    let unix = UnixTime::from_millis(unix_millis);
    match u64::try_from(unix.as_millis()) {
        Ok(millis) if millis / 1000 <= RFC3339_SECS_MAX => {
            humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + Duration::from_millis(millis)).to_string()
        }
        _ => unix.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_any_remote_clock_are_shown() {
        assert_eq!(time(1_700_000_000_000), "2023-11-14T22:13:20.000Z");
        assert_eq!(time(253_402_300_799_999), "9999-12-31T23:59:59.999Z");
        assert_eq!(time(253_402_300_800_000), "253402300800000 ms");
        assert_eq!(time(-1), "-1 ms");
        assert_eq!(time(i64::MAX), format!("{} ms", i64::MAX));
    }
}
