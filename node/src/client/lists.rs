//! `peers`, `headers` and `tx-pool`: questions whose answer is a list.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Serialize;
use spacetime_network::chain::{Header, transaction};
use spacetime_network::wire::message::{GetHeaders, GetPeers, Ping, TxPoolRequest};
use spacetime_network::wire::{Hash, Message};

use crate::cli::{AskArgs, HeadersArgs, PeersArgs, TxPoolArgs};
use crate::client::blocking::{Client, unix_millis};
use crate::client::fetch_block;
use crate::client::view::{HeaderView, TransactionView};
use crate::failure::Failure;
use crate::output;

/// The most ids that a TxPool holds (`wire::protocol`, section 3).
const POOL_MAX: u32 = 50_000;
/// Bytes of transactions that a pool holds, and that are kept of what a node sends.
const POOL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Transactions that are kept: those of a pool, and news that comes in between.
const KEPT_MAX: usize = POOL_MAX as usize + 10_000;
/// How long transactions may take that are listed and not there yet; after that their ids must do.
const STRAGGLERS: Duration = Duration::from_secs(1);

/// Prints the addresses that a node shares.
pub(crate) fn peers(args: &PeersArgs) -> Result<(), Failure> {
    #[cfg(feature = "http")]
    if args.address.is_none() && args.admin.http.is_some() {
        return crate::admin_client::peers(args);
    }
    let Some(address) = args.address.clone() else {
        return Err(Failure::usage(
            "no node was named: give the ADDR of any node, or --http ADDR of one of yours; try --help",
        ));
    };
    let (proxy, tls, data) = (args.proxy.clone(), args.tls.clone(), args.data.clone());
    let ask = AskArgs { address, timeout: args.timeout, proxy, tls, data, output: args.output };
    let mut client = Client::open(&ask)?;
    // A node that has addresses of its own announces them unasked, in a Peers frame too: what comes behind a Pong is the answer.
    // Version 1 knows no Ping.
    let mut is_answer = client.host().version < 2;
    let mut unasked = None;
    if !is_answer {
        client.say("ask for its peers", &Message::Ping(Ping { nonce: 0, unix_millis: unix_millis() }))?;
    }
    let asked = client.ask("its peers", &Message::GetPeers(GetPeers::everybody()), |message| match message {
        Message::Pong(_) => {
            is_answer = true;
            None
        }
        Message::Peers(addresses) => {
            let listed = addresses.iter().map(ToString::to_string).collect::<Vec<_>>();
            if is_answer { Some(listed) } else { unasked.replace(listed).and(None) }
        }
        _ => None,
    });
    // Whoever answers no Ping may have answered this.
    let answer = asked.or_else(|failure| unasked.ok_or(failure))?;
    client.leave();
    output::result(args.output.json, &answer, Clone::clone)
}

/// Prints headers of a node's best chain.
pub(crate) fn headers(args: &HeadersArgs) -> Result<(), Failure> {
    let mut client = Client::open(&args.ask)?;
    let more = (client.host().version >= 2).then(Vec::new);
    let request = GetHeaders { locator: args.from.unwrap_or(Hash::ZERO), stop: None, max: args.max, more };
    let answer = client.ask("headers", &Message::GetHeaders(request), |message| match message {
        Message::Headers(headers) => {
            let is_asked = u32::try_from(headers.len()).is_ok_and(|count| count <= args.max);
            Some(is_asked.then(|| headers.iter().map(|bytes| Header::decode(bytes)).collect::<Option<Vec<_>>>()))
        }
        _ => None,
    })?;
    let answer = answer.ok_or_else(|| more_than_asked(&client, "headers"))?;
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
    /// How many wait in the pool.
    count: usize,
    /// How many of them are listed here.
    shown: usize,
    transactions: Vec<TransactionView>,
}

/// Prints the transactions that wait in a node's pool.
pub(crate) fn tx_pool(args: &TxPoolArgs) -> Result<(), Failure> {
    let mut client = Client::open(&args.ask)?;
    refuse_version_1(&client, &format!("ask {} for its pool", args.ask.address))?;
    // The transactions come before the list of ids, but they are less urgent, so the list may overtake them; gossip may
    // come in between, so only what is listed counts.
    let mut seen = Seen::default();
    let request = Message::TxPoolRequest(TxPoolRequest { max: POOL_MAX, include_data: true });
    let ids = client.ask("its pool", &request, |message| match message {
        Message::TxPool(ids) => Some(Some(ids.clone())),
        other => (!seen.keep(other)).then_some(None),
    })?;
    let ids = ids.ok_or_else(|| more_than_asked(&client, "transactions"))?;
    let is_complete = |seen: &Seen| ids.iter().all(|id| seen.transactions.contains_key(id));
    if !is_complete(&seen) {
        // Whoever sends too much has sent all that is looked at.
        client.listen("ask for its pool", STRAGGLERS, |message| {
            (!seen.keep(message) || (matches!(message, Message::Transaction(_)) && is_complete(&seen))).then_some(())
        })?;
    }
    // With their bytes a node gives only so many at a time; how many there are it says without.
    let all = all_ids(&mut client)?;
    client.leave();
    let transactions: Vec<TransactionView> = ids
        .iter()
        .filter(|id| all.contains(id))
        .map(|id| seen.transactions.remove(id).unwrap_or_else(|| TransactionView::unseen(id)))
        .collect();
    let pool = Pool { count: all.len(), shown: transactions.len(), transactions };
    if pool.shown < pool.count {
        let at_least = if pool.count >= POOL_MAX as usize { "at least " } else { "" };
        output::note(format_args!(
            "note: {} of {at_least}{} shown; a node gives no more of its pool to one who asks",
            pool.shown, pool.count
        ));
    }
    output::result(args.ask.output.json, &pool, |pool| pool.transactions.iter().map(TransactionView::line).collect())
}

/// What waits in the pool, by its ids alone. A transaction that was listed and is not among them has left it meanwhile.
fn all_ids(client: &mut Client) -> Result<BTreeSet<Hash>, Failure> {
    let request = Message::TxPoolRequest(TxPoolRequest { max: POOL_MAX, include_data: false });
    client.ask("the size of its pool", &request, |message| match message {
        Message::TxPool(ids) => Some(ids.iter().copied().collect()),
        _ => None,
    })
}

/// Transactions that a node has sent, up to what a pool holds: which of them it lists is known at the end.
#[derive(Debug, Default)]
struct Seen {
    transactions: BTreeMap<Hash, TransactionView>,
    bytes: usize,
}

impl Seen {
    /// False when it is more than was asked for.
    fn keep(&mut self, message: &Message<'_>) -> bool {
        let Message::Transaction(bytes) = message else { return true };
        let after = self.bytes.saturating_add(bytes.len());
        if self.transactions.len() >= KEPT_MAX || after > POOL_BYTES_MAX {
            return false;
        }
        if self.transactions.insert(transaction::id(bytes), TransactionView::of(bytes)).is_none() {
            self.bytes = after;
        }
        true
    }
}

fn more_than_asked(client: &Client, what: &str) -> Failure {
    Failure::new(
        format!("ask {} for {what}", client.endpoint()),
        "it sends more than was asked for",
        "ask another node: this one does not keep to the protocol",
    )
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
