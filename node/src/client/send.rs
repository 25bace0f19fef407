//! `send-tx`: give a node a transaction, and find out whether it took it.

use std::time::Instant;

use bytes::Bytes;
use serde::Serialize;
use spacetime_network::chain::{Block, Header, Transaction, check_transaction, transaction};
use spacetime_network::time::UnixTime;
use spacetime_network::wire::message::{GetHeaders, TxPoolRequest};
use spacetime_network::wire::{Hash, Message};

use crate::cli::SendTxArgs;
use crate::client::block::fetch;
use crate::client::blocking::{Client, unix_millis};
use crate::failure::Failure;
use crate::output;

/// The most ids that a TxPool holds (`wire::protocol`, section 3).
const POOL_MAX: u32 = 50_000;
/// Blocks that may have come between the greeting and the question: more than a few means we asked far too late.
const NEW_BLOCKS_MAX: u32 = 16;

#[derive(Debug, Serialize)]
struct Report {
    id: String,
    /// "pool", "chain", or "unknown" for a node that cannot be asked.
    accepted: &'static str,
}

/// Sends a transaction and says where it ended up.
pub(crate) fn send_tx(args: &SendTxArgs) -> Result<(), Failure> {
    let operation = format!("send a transaction to {}", args.ask.address);
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(|error| Failure::new(&operation, error, "try again"))?;
    let transfer = Transaction {
        sender: &args.from,
        recipient: &args.to,
        amount: args.amount,
        time: UnixTime::from_millis(unix_millis()),
        nonce: u64::from_le_bytes(random),
    };
    let bytes = valid(&transfer)?;
    let id = transaction::id(&bytes);

    let mut client = Client::open(&args.ask)?;
    let before = client.host().extension.map(|extension| extension.best_hash);
    client.say(&operation, &Message::Transaction(&bytes))?;
    // Transactions are the least urgent of all frames: a question asked now would overtake it.
    client.flush(&operation)?;
    let accepted = match before {
        // Version 1 has no question about the pool, but frames are read in order: an answer to a later question shows
        // that the transaction was read.
        None => {
            new_headers(&mut client, Hash::ZERO, 1)?;
            "unknown"
        }
        Some(_) if is_in_pool(&mut client, id)? => "pool",
        Some(tip) if is_in_new_block(&mut client, id, tip)? => "chain",
        Some(_) => {
            client.leave();
            return Err(Failure::new(
                operation,
                "it was delivered, but the node did not take it up",
                "look into the node's log for the reason",
            ));
        }
    };
    client.leave();
    // Only who has read the whole chain knows what a name has, and the chain's own rules do not ask.
    output::note(format_args!(
        "note: this chain checks no balances: {} may be below zero now; spacetime-node chain --balances shows it",
        args.from
    ));
    let report = Report { id: id.to_string(), accepted };
    output::result(args.ask.output.json, &report, |report| vec![report.id.clone()])
}

/// The bytes of a transfer that every node takes. What is invalid must not be sent: each node that hears it counts it as
/// misbehaviour of ours, and bans the address in the end.
fn valid(transfer: &Transaction<'_>) -> Result<Bytes, Failure> {
    if transfer.is_reward() {
        return Err(Failure::usage(format_args!(
            "--from {}: this name is kept for the rewards of blocks, and every node refuses it as a sender; give another name",
            transfer.sender
        )));
    }
    let bytes = transfer.encode().map_err(|error| Failure::usage(format_args!("{error}; choose other names")))?;
    check_transaction(&bytes).map_err(|refused| {
        Failure::usage(format_args!("every node refuses this transaction: {}; choose other values", refused.why))
    })?;
    Ok(bytes)
}

fn is_in_pool(client: &mut Client, id: Hash) -> Result<bool, Failure> {
    let request = Message::TxPoolRequest(TxPoolRequest { max: POOL_MAX, include_data: false });
    client.ask("its pool", &request, |message| match message {
        Message::TxPool(ids) => Some(ids.contains(&id)),
        _ => None,
    })
}

/// A block may have taken the transaction before the pool was asked for.
fn is_in_new_block(client: &mut Client, id: Hash, tip: Hash) -> Result<bool, Failure> {
    // One time for all of them: a node may answer each question in the last moment.
    let end = Instant::now() + client.timeout();
    for header in new_headers(client, tip, NEW_BLOCKS_MAX)? {
        if Instant::now() >= end {
            break;
        }
        let block = fetch(client, header.hash())?.as_ref().and_then(Block::decode);
        if block.is_some_and(|block| block.ids().contains(&id)) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn new_headers(client: &mut Client, after: Hash, max: u32) -> Result<Vec<Header>, Failure> {
    let more = (client.host().version >= 2).then(Vec::new);
    let request = GetHeaders { locator: after, stop: None, max, more };
    client.ask("headers", &Message::GetHeaders(request), |message| match message {
        Message::Headers(headers) => {
            let asked = headers.iter().take(usize::try_from(max).unwrap_or(usize::MAX));
            Some(asked.filter_map(|bytes| Header::decode(bytes)).collect())
        }
        _ => None,
    })
}
