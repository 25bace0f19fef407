//! `peers`, `headers` and `tx-pool`: questions whose answer is a list.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use spacetime_network::chain::{Header, transaction};
use spacetime_network::wire::message::{GetHeaders, GetPeers, TxPoolRequest};
use spacetime_network::wire::{Hash, Message};

use crate::cli::{HeadersArgs, PeersArgs, TxPoolArgs};
use crate::client::blocking::Client;
use crate::client::fetch_block;
use crate::client::view::{HeaderView, TransactionView};
use crate::failure::Failure;
use crate::output;

/// The most ids that a TxPool holds (`wire::protocol`, section 3).
const POOL_MAX: u32 = 50_000;
/// How long transactions may take that are listed and not there yet; after that their ids must do.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// Prints the addresses that a node shares.
pub(crate) fn peers(args: &PeersArgs) -> Result<(), Failure> {
    let mut client = Client::open(&args.ask)?;
    let answer = client.ask("its peers", &Message::GetPeers(GetPeers::All), |message| match message {
        Message::Peers(addresses) => Some(addresses.iter().map(ToString::to_string).collect::<Vec<_>>()),
        _ => None,
    })?;
    client.leave();
    output::result(args.ask.output.json, &answer, Clone::clone)
}

/// Prints headers of a node's best chain.
pub(crate) fn headers(args: &HeadersArgs) -> Result<(), Failure> {
    let mut client = Client::open(&args.ask)?;
    let more = (client.host().version >= 2).then(Vec::new);
    let request = GetHeaders { locator: args.from.unwrap_or(Hash::ZERO), stop: None, max: args.max, more };
    let answer = client.ask("headers", &Message::GetHeaders(request), |message| match message {
        Message::Headers(headers) => {
            Some(headers.iter().map(|bytes| Header::decode(bytes)).collect::<Option<Vec<_>>>())
        }
        _ => None,
    })?;
    let operation = || format!("read the headers of {}", args.ask.address);
    let headers = answer.ok_or_else(|| {
        Failure::new(operation(), "they are not of the reference chain", "ask with a program of that node's own chain")
    })?;
    if let Some(from) = args.from
        && !is_known(&mut client, from, headers.first())?
    {
        return Err(Failure::new(
            operation(),
            format!("block {from} is not on the node's best chain"),
            "check the hash, or leave --from out to start at the first block",
        ));
    }
    client.leave();
    let views: Vec<HeaderView> = headers.iter().map(HeaderView::of).collect();
    output::result(args.ask.output.json, &views, |views| views.iter().map(HeaderView::line).collect())
}

/// Whether the node has the block after which headers were asked for. To what it does not know it answers as if it had been asked
/// for all, and behind its last block there is nothing.
fn is_known(client: &mut Client, from: Hash, first: Option<&Header>) -> Result<bool, Failure> {
    let tip = client.host().extension.map(|extension| extension.best_hash);
    match first {
        Some(first) => Ok(from.is_zero() || first.previous == from),
        None if from.is_zero() || tip == Some(from) => Ok(true),
        // A block may have come since the greeting, and be the last one now.
        None => fetch_block(client, from).map(|block| block.is_some()),
    }
}

#[derive(Debug, Serialize)]
struct Pool {
    count: usize,
    transactions: Vec<TransactionView>,
}

/// Prints the transactions that wait in a node's pool.
pub(crate) fn tx_pool(args: &TxPoolArgs) -> Result<(), Failure> {
    let mut client = Client::open(&args.ask)?;
    refuse_version_1(&client, &format!("ask {} for its pool", args.ask.address))?;
    // The transactions come before the list of ids, but they are less urgent, so the list may overtake them; gossip may
    // come in between, so only what is listed counts.
    let mut seen = BTreeMap::new();
    let request = Message::TxPoolRequest(TxPoolRequest { max: POOL_MAX, include_data: true });
    let ids = client.ask("its pool", &request, |message| match message {
        Message::TxPool(ids) => Some(ids.clone()),
        other => keep(&mut seen, other),
    })?;
    let is_complete = |seen: &BTreeMap<Hash, TransactionView>| ids.iter().all(|id| seen.contains_key(id));
    if !is_complete(&seen) {
        client.listen("ask for its pool", STRAGGLERS, |message| {
            keep::<()>(&mut seen, message);
            is_complete(&seen).then_some(())
        })?;
    }
    client.leave();
    let transactions: Vec<TransactionView> =
        ids.iter().map(|id| seen.remove(id).unwrap_or_else(|| TransactionView::unseen(id))).collect();
    let pool = Pool { count: transactions.len(), transactions };
    output::result(args.ask.output.json, &pool, |pool| pool.transactions.iter().map(TransactionView::line).collect())
}

fn keep<T>(seen: &mut BTreeMap<Hash, TransactionView>, message: &Message<'_>) -> Option<T> {
    if let Message::Transaction(bytes) = message {
        seen.insert(transaction::id(bytes), TransactionView::of(bytes));
    }
    None
}

/// Version 1 has no question about the pool.
fn refuse_version_1(client: &Client, operation: &str) -> Result<(), Failure> {
    if client.host().version >= 2 {
        return Ok(());
    }
    Err(Failure::new(
        operation,
        "it speaks protocol version 1, which cannot ask for the pool",
        "ask a node of version 2",
    ))
}
