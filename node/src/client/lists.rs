//! `peers`, `headers` and `tx-pool`: questions whose answer is a list.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use spacetime_network::chain::{Header, transaction};
use spacetime_network::wire::message::{GetHeaders, GetPeers, TxPoolRequest};
use spacetime_network::wire::{Hash, Message};

use crate::cli::{HeadersArgs, PeersArgs, TxPoolArgs};
use crate::client::blocking::Client;
use crate::client::view::{HeaderView, TransactionView};
use crate::failure::Failure;
use crate::output;

/// The most ids that a TxPool holds (`wire::protocol`, section 3).
const POOL_MAX: u32 = 50_000;
/// How long transactions may take that are listed and not there yet; after that their ids must do.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// Prints the addresses that a node shares.
pub(crate) fn peers(args: &PeersArgs) -> Result<(), Failure> {
    let mut talk = Client::open(&args.ask)?;
    let answer = talk.ask("its peers", &Message::GetPeers(GetPeers::All), |message| match message {
        Message::Peers(addresses) => Some(addresses.iter().map(ToString::to_string).collect::<Vec<_>>()),
        _ => None,
    })?;
    talk.leave();
    output::result(args.ask.output.json, &answer, Clone::clone)
}

/// Prints headers of a node's best chain.
pub(crate) fn headers(args: &HeadersArgs) -> Result<(), Failure> {
    let mut talk = Client::open(&args.ask)?;
    let more = (talk.host().version >= 2).then(Vec::new);
    let request = GetHeaders { locator: args.from.unwrap_or(Hash::ZERO), stop: None, max: args.max, more };
    let answer = talk.ask("headers", &Message::GetHeaders(request), |message| match message {
        Message::Headers(headers) => {
            Some(headers.iter().map(|bytes| Header::decode(bytes)).collect::<Option<Vec<_>>>())
        }
        _ => None,
    })?;
    talk.leave();
    let headers = answer.ok_or_else(|| {
        Failure::new(
            format!("read the headers of {}", args.ask.address),
            "they are not of the reference chain",
            "ask with a program of that node's own chain",
        )
    })?;
    let views: Vec<HeaderView> = headers.iter().map(HeaderView::of).collect();
    output::result(args.ask.output.json, &views, |views| views.iter().map(HeaderView::line).collect())
}

#[derive(Debug, Serialize)]
struct Pool {
    count: usize,
    transactions: Vec<TransactionView>,
}

/// Prints the transactions that wait in a node's pool.
pub(crate) fn tx_pool(args: &TxPoolArgs) -> Result<(), Failure> {
    let mut talk = Client::open(&args.ask)?;
    refuse_version_1(&talk, &format!("ask {} for its pool", args.ask.address))?;
    // The transactions come before the list of ids, but they are less urgent, so the list may overtake them; gossip may
    // come in between, so only what is listed counts.
    let mut seen = BTreeMap::new();
    let request = Message::TxPoolRequest(TxPoolRequest { max: POOL_MAX, include_data: true });
    let ids = talk.ask("its pool", &request, |message| match message {
        Message::TxPool(ids) => Some(ids.clone()),
        other => keep(&mut seen, other),
    })?;
    let is_complete = |seen: &BTreeMap<Hash, TransactionView>| ids.iter().all(|id| seen.contains_key(id));
    if !is_complete(&seen) {
        talk.listen("ask for its pool", STRAGGLERS, |message| {
            keep::<()>(&mut seen, message);
            is_complete(&seen).then_some(())
        })?;
    }
    talk.leave();
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
fn refuse_version_1(talk: &Client, tried: &str) -> Result<(), Failure> {
    if talk.host().version >= 2 {
        return Ok(());
    }
    Err(Failure::new(tried, "it speaks protocol version 1, which cannot ask for the pool", "ask a node of version 2"))
}
