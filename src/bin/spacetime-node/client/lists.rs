//! `peers`, `headers` and `tx-pool`: questions whose answer is a list.

use std::collections::BTreeMap;

use serde::Serialize;
use spacetime_network::chain::Header;
use spacetime_network::wire::message::{GetHeaders, GetPeers, TxPoolRequest};
use spacetime_network::wire::{Hash, Message};

use crate::cli::{HeadersArgs, PeersArgs, TxPoolArgs};
use crate::client::talk::Talk;
use crate::client::view::{HeaderView, TransactionView};
use crate::failure::Failure;
use crate::output;

/// The most ids that a TxPool holds (protocol, section 3).
const POOL_MAX: u32 = 50_000;

/// Prints the addresses that a node shares.
pub(crate) fn peers(args: &PeersArgs) -> Result<(), Failure> {
    let mut talk = Talk::open(&args.ask.address, args.ask.timeout)?;
    let answer = talk.ask("its peers", &Message::GetPeers(GetPeers::All), |message| match message {
        Message::Peers(addresses) => Some(addresses.iter().map(ToString::to_string).collect::<Vec<_>>()),
        _ => None,
    })?;
    talk.leave();
    output::result(args.ask.output.json, &answer, Clone::clone)
}

/// Prints headers of a node's best chain.
pub(crate) fn headers(args: &HeadersArgs) -> Result<(), Failure> {
    let mut talk = Talk::open(&args.ask.address, args.ask.timeout)?;
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
    let mut talk = Talk::open(&args.ask.address, args.ask.timeout)?;
    refuse_version_1(&talk, &format!("ask {} for its pool", args.ask.address))?;
    // Transactions come before the list of ids; gossip may come in between, so only what is listed counts.
    let mut seen = BTreeMap::new();
    let request = Message::TxPoolRequest(TxPoolRequest { max: POOL_MAX, include_data: true });
    let ids = talk.ask("its pool", &request, |message| match message {
        Message::Transaction(bytes) => {
            let view = TransactionView::of(bytes);
            seen.insert(view.id.clone(), view);
            None
        }
        Message::TxPool(ids) => Some(ids.clone()),
        _ => None,
    })?;
    talk.leave();
    let transactions: Vec<TransactionView> = ids
        .iter()
        .map(ToString::to_string)
        .map(|id| seen.remove(&id).unwrap_or(TransactionView { id, transfer: None }))
        .collect();
    let pool = Pool { count: transactions.len(), transactions };
    output::result(args.ask.output.json, &pool, |pool| pool.transactions.iter().map(TransactionView::line).collect())
}

/// Version 1 has no question about the pool.
pub(crate) fn refuse_version_1(talk: &Talk, tried: &str) -> Result<(), Failure> {
    if talk.host().version >= 2 {
        return Ok(());
    }
    Err(Failure::new(tried, "it speaks protocol version 1, which cannot ask for the pool", "ask a node of version 2"))
}
