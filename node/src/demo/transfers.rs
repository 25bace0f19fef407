//! The demo's transactions: lines of `sender,recipient,amount`.

use std::fmt::Display;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use bytes::Bytes;
use spacetime_network::chain::Transaction;
use spacetime_network::chain::transaction::{self, NETWORK};
use spacetime_network::time::UnixTime;
use spacetime_network::wire::Hash;

use crate::failure::Failure;

/// Used when no file is given.
const BUNDLED: &str = include_str!("transactions.csv");
/// More than this many would not fit into the minute that a demo has.
const TRANSFERS_MAX: usize = 10_000;

/// Room for so many long lines; a file beyond that is something else, and is not read into memory.
const FILE_LEN_MAX: u64 = 16 * 1024 * 1024;
/// What some editors put before a text in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A transaction that is to end up in every chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transfer {
    pub(super) id: Hash,
    pub(super) bytes: Bytes,
}

/// The transactions of the file, or the bundled ones. `time` is when they are made.
pub(super) fn load(path: Option<&Path>, time: UnixTime) -> Result<Vec<Transfer>, Failure> {
    match path {
        None => parse(BUNDLED.as_bytes(), "the bundled examples", time),
        Some(path) => {
            let name = path.display().to_string();
            let failed = |error: &dyn Display| Failure::new(format!("read {name}"), error, "check --transactions");
            let mut text = Vec::new();
            File::open(path)
                .and_then(|file| file.take(FILE_LEN_MAX + 1).read_to_end(&mut text))
                .map_err(|error| failed(&error))?;
            if text.len() as u64 > FILE_LEN_MAX {
                return Err(failed(&format_args!("it is longer than {FILE_LEN_MAX} bytes")));
            }
            parse(&text, &name, time)
        }
    }
}

fn parse(text: &[u8], name: &str, time: UnixTime) -> Result<Vec<Transfer>, Failure> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let wrong =
        |line: usize, why: &str| Failure::new(format!("read {name}, line {line}"), why, "write lines like alice,bob,5");
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(text);
    let mut transfers = Vec::new();
    for (number, record) in (0u64..).zip(reader.records()) {
        let record =
            record.map_err(|error| Failure::new(format!("read {name}"), error, "write lines like alice,bob,5"))?;
        let line = line_at(text, record.position().map_or(0, csv::Position::byte));
        let fields: Vec<&str> = record.iter().collect();
        let &[sender, recipient, amount] = fields.as_slice() else {
            return Err(wrong(line, "not three fields"));
        };
        if number == 0 && amount.eq_ignore_ascii_case("amount") {
            continue;
        }
        let amount = amount.parse().map_err(|_| wrong(line, "the amount is not a whole number"))?;
        if sender == NETWORK {
            return Err(wrong(line, "only a block's reward comes from \"network\""));
        }
        // The line's number tells equal transfers apart.
        let transfer = Transaction { sender, recipient, amount, time, nonce: number };
        let bytes = transfer.encode().map_err(|error| wrong(line, &error.to_string()))?;
        transfers.push(Transfer { id: transaction::id(&bytes), bytes });
        if transfers.len() > TRANSFERS_MAX {
            return Err(wrong(line, "more than 10000 transactions"));
        }
    }
    if transfers.is_empty() {
        return Err(Failure::new(format!("read {name}"), "it holds no transactions", "write lines like alice,bob,5"));
    }
    Ok(transfers)
}

/// The line of the record that is read at this byte. The reader's own count stops before line ends that it skips: empty
/// lines, and the second half of those of Windows.
fn line_at(text: &[u8], byte: u64) -> usize {
    let start = usize::try_from(byte).unwrap_or(usize::MAX).min(text.len());
    let (before, rest) = text.split_at(start);
    let skipped = rest.iter().take_while(|byte| matches!(byte, b'\r' | b'\n'));
    1 + before.iter().chain(skipped).filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: UnixTime = UnixTime::from_millis(1);

    #[test]
    fn the_bundled_examples_are_forty_different_transactions() {
        let transfers = load(None, TIME).unwrap();
        let ids: std::collections::BTreeSet<Hash> = transfers.iter().map(|transfer| transfer.id).collect();
        assert_eq!((transfers.len(), ids.len()), (40, 40));
    }

    #[test]
    fn a_first_line_may_be_a_heading_and_equal_lines_are_different_transactions() {
        let with = parse(&b"Sender,Recipient,Amount\na,b,1\na, b ,1\n"[..], "x", TIME).unwrap();
        assert_eq!(with.len(), 2);
        assert_ne!(with[0].id, with[1].id);
        assert_eq!(parse(&b"a,b,1\n"[..], "x", TIME).unwrap().len(), 1);
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, part) in [
            ("a,b\n", "line 1: not three fields"),
            ("a,b,1\na,b,c\n", "line 2: the amount"),
            ("a,b,1\r\na,b,c\r\n", "line 2: the amount"),
            ("a,b,1\n\n\r\na,b,c\n", "line 4: the amount"),
            ("\u{feff}a,b,1\n\"x\ny\",b,1\na,b,c\n", "line 4: the amount"),
            ("a,b,-1\n", "line 1: the amount"),
            ("network,b,1\n", "line 1: only"),
            (",b,1\n", "line 1: transaction with an empty name"),
            ("", "no transactions"),
            ("sender,recipient,amount\n", "no transactions"),
        ] {
            let why = parse(text.as_bytes(), "x", TIME).unwrap_err().to_string();
            assert!(why.contains(part), "{why}");
        }
    }
}
