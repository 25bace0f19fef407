//! What is read of the node, and what an operator does with it. All in JSON, with names as web programs write them.

use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use spacetime_network::proto::peer::PeerName;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::proto::{ClientInfo, Command};
use spacetime_network::wire::Hash;

use super::admin::{Admin, PeerSample, Sample};
use super::conn::Request;
use super::request::parameter;
use super::response::Response;
use crate::cli::LogLevel;
use crate::client::view::TransactionView;
use crate::full_node::tell;
use crate::nat::ReachView;
use crate::value::Endpoint;

/// Peers that one answer has at most, and unless more are asked for.
const PEERS_MAX: usize = 65_536;
const PEERS_USUAL: usize = 1_000;
/// Transactions that one answer has at most, and unless more are asked for.
const PENDING_MAX: usize = 10_000;
const PENDING_USUAL: usize = 100;
/// Bytes of transactions after which an answer ends: one may be a megabyte.
const PENDING_BYTES: usize = 8 * 1024 * 1024;
/// Transactions that are asked for at once.
const PENDING_AT_ONCE: usize = 256;
/// How long a download is waited for at most.
const SYNC_WAIT_MAX: u64 = 60;
const SYNC_WAIT_USUAL: u64 = 10;
/// Lines of the log that one answer has.
const LOG_LINES: usize = 200;

/// What a request says in JSON.
pub(crate) fn body<'a, T: Deserialize<'a>>(request: &'a Request) -> Result<T, Response> {
    serde_json::from_slice(&request.body)
        .map_err(|error| Response::error(400, &format!("the body is not what is expected: {error}")))
}

/// A number of the query, within bounds.
pub(crate) fn number<T: FromStr + PartialOrd + std::fmt::Display>(
    request: &Request,
    name: &str,
    (usual, most): (T, T),
) -> Result<T, Response> {
    match parameter(&request.head.query, name) {
        None => Ok(usual),
        Some(text) => text
            .parse()
            .ok()
            .filter(|number| *number <= most)
            .ok_or_else(|| Response::error(400, &format!("{name} is a whole number up to {most}"))),
    }
}

/// Either.
pub(crate) fn either(result: Result<Response, Response>) -> Response {
    result.unwrap_or_else(|refused| refused)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Ping<'a> {
    node_id: &'a str,
    version: &'static str,
}

pub(super) fn ping(admin: &Admin, _: &Request) -> Response {
    Response::json(&Ping { node_id: &admin.facts.node_id, version: env!("CARGO_PKG_VERSION") })
}

pub(super) fn openapi(_: &Admin, _: &Request) -> Response {
    Response::new("application/json", &include_bytes!("openapi.json")[..])
}

/// How the node is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    node_id: String,
    version: &'static str,
    uptime_seconds: u64,
    unix_millis: i64,
    listening: Vec<String>,
    tls: String,
    network: String,
    /// Blocks on the best chain, genesis included.
    chain_length: u64,
    height: u64,
    tip: String,
    work: String,
    /// The height that is headed for.
    target: u64,
    is_syncing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds_left: Option<u64>,
    reorganisations: u64,
    peers: usize,
    inbound: usize,
    outbound: usize,
    /// Clients that do not introduce themselves; they are no peers.
    clients: usize,
    greeting: usize,
    dialing: usize,
    known_addresses: usize,
    bans: usize,
    pending_transactions: usize,
    pending_bytes: usize,
    bytes_in: u64,
    bytes_out: u64,
    frames_in: u64,
    frames_out: u64,
    held_bytes: usize,
    queued_bytes: usize,
    turns: u64,
    turn_p99_micros: Option<u64>,
    turn_longest_micros: u64,
    round_trip_p50_micros: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    store_error: Option<String>,
    store_backlog_bytes: usize,
    reach: ReachView,
    log_level: String,
}

impl Status {
    pub(crate) fn of(admin: &Admin, sample: &Sample) -> Self {
        let facts = &admin.facts;
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let (totals, tally) = (&sample.totals, &sample.tally);
        Status {
            node_id: facts.node_id.clone(),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: facts.began.elapsed().as_secs(),
            unix_millis: sample.now.unix.as_millis(),
            listening: facts.listening.clone(),
            tls: facts.tls.clone(),
            network: facts.params.to_string(),
            chain_length: sample.tip.height.saturating_add(1),
            height: sample.tip.height,
            tip: sample.tip.hash.to_string(),
            work: sample.tip.work.to_string(),
            target: sample.target,
            is_syncing: sample.is_syncing,
            seconds_left: admin.history().seconds_left(sample.tip.height, sample.target),
            reorganisations: sample.reorganisations.count,
            peers: sample.peers(),
            inbound: tally.inbound,
            outbound: tally.outbound,
            clients: tally.clients,
            greeting: tally.greeting_inbound + tally.greeting_outbound,
            dialing: sample.dialing,
            known_addresses: sample.addresses,
            bans: sample.bans,
            pending_transactions: sample.pool,
            pending_bytes: sample.pool_bytes,
            bytes_in: totals.bytes_in,
            bytes_out: totals.bytes_out,
            frames_in: totals.frames_in,
            frames_out: totals.frames_out,
            held_bytes: sample.held_bytes,
            queued_bytes: sample.queued_bytes,
            turns: totals.turns.count,
            turn_p99_micros: totals.turns.times.quantile(0.99).map(micros),
            turn_longest_micros: micros(totals.turns.worst_lately().time),
            round_trip_p50_micros: sample.counters.round_trips.quantile(0.5).map(micros),
            store_error: sample.health.error.clone(),
            store_backlog_bytes: sample.health.backlog_bytes,
            reach: ReachView::of(&sample.reach),
            log_level: level_name(admin.log.level()),
        }
    }
}

pub(super) fn status(admin: &Admin, _: &Request) -> Response {
    either(admin.sample().map(|sample| Response::json(&Status::of(admin, &sample))))
}

/// A peer.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeerView {
    connection: String,
    node_id: String,
    /// Proven by TLS, and not only claimed.
    is_verified: bool,
    remote: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    direction: &'static str,
    user_agent: String,
    protocol_version: u8,
    height: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    round_trip_micros: Option<u64>,
    score: i32,
    connected_seconds: u64,
    /// When it came, by a clock of the node's own: what comes later has more.
    since_micros: u64,
    bytes_in: u64,
    bytes_out: u64,
    frames_in: u64,
    frames_out: u64,
    queued_bytes: usize,
}

impl PeerView {
    pub(crate) fn of(peer: &PeerSample) -> Self {
        let (info, stats) = (&peer.info, &peer.stats);
        PeerView {
            connection: info.conn.to_string(),
            node_id: info.node_id.clone(),
            is_verified: info.identity.is_some(),
            remote: info.remote.to_string(),
            address: info.address.map(|address| address.to_string()),
            direction: if info.outbound { "outbound" } else { "inbound" },
            user_agent: info.user_agent.clone(),
            protocol_version: info.version,
            height: info.chain_length.saturating_sub(1),
            round_trip_micros: info.round_trip.and_then(|time| u64::try_from(time.as_micros()).ok()),
            score: peer.score,
            connected_seconds: peer.age.as_secs(),
            since_micros: info.since.as_nanos() / 1_000,
            bytes_in: stats.bytes_in,
            bytes_out: stats.bytes_out,
            frames_in: stats.frames_in,
            frames_out: stats.frames_out,
            queued_bytes: stats.queued_bytes,
        }
    }
}

pub(super) fn peers(admin: &Admin, request: &Request) -> Response {
    either((|| {
        let most = number(request, "max", (PEERS_USUAL, PEERS_MAX))?;
        let peers = admin.peers(most)?;
        Ok(Response::json(&peers.iter().map(PeerView::of).collect::<Vec<_>>()))
    })())
}

/// A client that does not introduce itself.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientView {
    connection: String,
    name: String,
    /// Its name is what TLS has proven.
    is_verified: bool,
    remote: String,
    /// It has asked something, so that nothing is said to it unasked.
    has_asked: bool,
    connected_seconds: u64,
}

pub(super) fn clients(admin: &Admin, _: &Request) -> Response {
    either((|| {
        let clients = admin.look(|look| {
            let view = |client: ClientInfo| ClientView {
                connection: client.conn.to_string(),
                name: client.name,
                is_verified: client.identity.is_some(),
                remote: client.remote.to_string(),
                has_asked: client.has_asked,
                connected_seconds: look.now.at.since(client.since).as_secs(),
            };
            look.node.clients().take(PEERS_USUAL).map(view).collect::<Vec<_>>()
        })?;
        Ok(Response::json(&clients))
    })())
}

#[derive(Serialize)]
struct Pending {
    count: usize,
    bytes: usize,
    transactions: Vec<TransactionView>,
}

pub(super) fn pending(admin: &Admin, request: &Request) -> Response {
    either((|| {
        let most = number(request, "max", (PENDING_USUAL, PENDING_MAX))?;
        let (count, bytes, ids) = admin.look(move |look| {
            let pool = look.node.chain().pool();
            (pool.len(), pool.bytes(), pool.ids().take(most).copied().collect::<Vec<Hash>>())
        })?;
        let (mut transactions, mut listed) = (Vec::with_capacity(ids.len()), 0_usize);
        for part in ids.chunks(PENDING_AT_ONCE) {
            let part = part.to_vec();
            // Payloads are shared, not copied.
            let found = admin.look(move |look| {
                let pool = look.node.chain().pool();
                part.iter().filter_map(|id| pool.get(id).cloned()).collect::<Vec<_>>()
            })?;
            for bytes in found {
                listed = listed.saturating_add(bytes.len());
                if listed <= PENDING_BYTES {
                    transactions.push(TransactionView::of(&bytes));
                }
            }
            if listed > PENDING_BYTES {
                break;
            }
        }
        Ok(Response::json(&Pending { count, bytes, transactions }))
    })())
}

#[derive(Serialize)]
struct Log {
    level: String,
    /// The number of the first of these lines; the next ones count on.
    first: u64,
    lines: Vec<String>,
}

pub(super) fn log(admin: &Admin, _: &Request) -> Response {
    let (first, lines) = admin.log.tail.last(LOG_LINES);
    Response::json(&Log { level: level_name(admin.log.level()), first, lines })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetLog {
    level: String,
}

#[derive(Serialize)]
struct LevelView {
    level: String,
}

pub(super) fn set_log(admin: &Admin, request: &Request) -> Response {
    either((|| {
        let asked: SetLog = body(request)?;
        let level = LogLevel::from_str(&asked.level, true)
            .map_err(|_| Response::error(422, "the level is one of off, error, warn, info, debug and trace"))?;
        if !admin.log.set_level(level) {
            return Err(Response::error(503, "the log has ended"));
        }
        let level = level_name(level);
        tracing::info!(level, "the log level was changed");
        Ok(Response::json(&LevelView { level }))
    })())
}

fn level_name(level: LogLevel) -> String {
    level.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Points<T> {
    every_seconds: u64,
    points: T,
}

pub(super) fn history(admin: &Admin, _: &Request) -> Response {
    let points = admin.history().points();
    Response::json(&Points { every_seconds: super::history::EVERY.as_secs(), points })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    address: String,
}

#[derive(Serialize)]
struct Done {
    done: String,
}

fn done(what: String) -> Response {
    Response { status: 202, ..Response::json(&Done { done: what }) }
}

fn endpoint(request: &Request) -> Result<Endpoint, Response> {
    let asked: Target = body(request)?;
    asked.address.parse().map_err(|why: String| Response::error(422, &why))
}

/// Gives the node a command for an address or a name.
fn command(
    admin: &Admin,
    endpoint: &Endpoint,
    of_address: fn(std::net::SocketAddr) -> Command,
    of_name: fn(PeerName) -> Command,
) -> Result<(), Response> {
    let command = match endpoint {
        Endpoint::Address(address) => of_address(*address),
        Endpoint::Name(name) => of_name(name.clone()),
    };
    if tell(admin.handle(), command) { Ok(()) } else { Err(Response::error(503, "the node is busy, or has stopped")) }
}

pub(super) fn connect(admin: &Admin, request: &Request) -> Response {
    either((|| {
        let endpoint = endpoint(request)?;
        command(admin, &endpoint, Command::Connect, Command::ConnectName)?;
        tracing::info!(%endpoint, "a connection was asked for");
        Ok(done(format!("{endpoint} is dialed, and kept connected from now on")))
    })())
}

pub(super) fn disconnect(admin: &Admin, request: &Request) -> Response {
    either((|| {
        let endpoint = endpoint(request)?;
        let asked = endpoint.clone();
        let is_there = admin.look(move |look| match &asked {
            Endpoint::Address(address) => {
                look.node.has_connection_with(*address) || look.node.outbound().is_kept(*address)
            }
            Endpoint::Name(name) => look.node.outbound().is_name_kept(name),
        })?;
        if !is_there {
            return Err(Response::error(404, &format!("no connection with {endpoint} is there or wished for")));
        }
        command(admin, &endpoint, Command::Disconnect, Command::DisconnectName)?;
        tracing::info!(%endpoint, "a disconnect was asked for");
        Ok(done(format!("connections with {endpoint} are closed, and it is no longer kept connected")))
    })())
}

/// What asks for nothing but itself: a field would be one that does nothing.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Synced {
    is_synced: bool,
    height: u64,
    target: u64,
    peers: usize,
}

/// Waits until no peer is known to have more than we have, at most as long as was asked for.
pub(super) fn sync(admin: &Admin, request: &Request) -> Response {
    either((|| {
        let wait = number(request, "wait", (SYNC_WAIT_USUAL, SYNC_WAIT_MAX))?;
        if !request.body.is_empty() {
            let Nothing {} = body(request)?;
        }
        let until = Instant::now() + Duration::from_secs(wait);
        loop {
            let (height, target, is_syncing, tally) = admin.look(|look| {
                let (target, is_syncing) = look.node.sync_target();
                (look.node.chain().best().height, target, is_syncing, look.node.tally())
            })?;
            let peers = tally.inbound + tally.outbound;
            let is_synced = peers > 0 && !is_syncing && height >= target;
            if is_synced || Instant::now() >= until {
                return Ok(Response::json(&Synced { is_synced, height, target, peers }));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    })())
}

/// As SIGTERM does it, with its bounds on the time.
pub(super) fn stop(_: &Admin, _: &Request) -> Response {
    tracing::info!("a stop was asked for");
    match signal_hook::low_level::raise(signal_hook::consts::SIGTERM) {
        Ok(()) => done("the node says goodbye and stops within five seconds".to_owned()),
        Err(error) => Response::error(500, &format!("the stop cannot be asked for: {error}")),
    }
}
