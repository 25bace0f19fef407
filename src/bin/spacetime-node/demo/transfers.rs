//! The demo's transactions: lines of `sender,recipient,amount`.

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
            let file = File::open(path)
                .map_err(|error| Failure::new(format!("read {}", path.display()), error, "check --transactions"))?;
            parse(file, &path.display().to_string(), time)
        }
    }
}

fn parse(source: impl Read, name: &str, time: UnixTime) -> Result<Vec<Transfer>, Failure> {
    let wrong =
        |line: u64, why: &str| Failure::new(format!("read {name}, line {line}"), why, "write lines like alice,bob,5");
    let mut reader =
        csv::ReaderBuilder::new().has_headers(false).flexible(true).trim(csv::Trim::All).from_reader(source);
    let mut transfers = Vec::new();
    for (number, record) in (0u64..).zip(reader.records()) {
        let record =
            record.map_err(|error| Failure::new(format!("read {name}"), error, "write lines like alice,bob,5"))?;
        let line = record.position().map_or(number + 1, csv::Position::line);
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
