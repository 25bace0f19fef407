//! What the endpoint knows of the node: what does not change, what the loop tells when it is asked, and what happened lately.
//!
//! The loop is asked by [`Admin::look`] alone, with a bound on how long the answer is waited for. What it does there is a few steps,
//! and where there may be thousands of something it is asked for a piece at a time.

use std::collections::VecDeque;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use spacetime_network::chain::{Health, Params, ReferenceChain, Reorganisations};
use spacetime_network::driver::node::{Look, NodeCommand, NodeMut};
use spacetime_network::driver::{ConnStats, HandleError, Totals};
use spacetime_network::id::ConnId;
use spacetime_network::proto::peer::Reach;
use spacetime_network::proto::sync::chain::{Chain, Tip};
use spacetime_network::proto::{ConnTally, Counters, Event, PeerInfo};
use spacetime_network::time::{Now, UnixTime};
use spacetime_network::wire::Kind;

use super::history::History;
use super::response::Response;
use super::server::Served;
use crate::full_node::{LiveNode, NodeHandle, Sink};
use crate::logging::LogControl;

/// How long the loop may take to answer. A turn takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(3);
/// Peers that are asked for at once: some tens of microseconds of the loop.
const PEERS_AT_ONCE: usize = 128;
/// Tips and refusals that are remembered.
const REMEMBERED: usize = 64;

/// What does not change while a node runs.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) node_id: String,
    pub(crate) listening: Vec<String>,
    pub(crate) params: Params,
    pub(crate) tls: String,
    pub(crate) miner: String,
    pub(crate) connections_max: usize,
    pub(crate) inbound_max: usize,
    pub(crate) outbound: usize,
    pub(crate) started: SystemTime,
    pub(crate) began: Instant,
}

/// The node, as the endpoint sees it.
pub(crate) struct Admin {
    handle: NodeHandle,
    pub(crate) facts: Facts,
    pub(crate) watched: Arc<Watched>,
    pub(crate) log: LogControl,
    pub(crate) served: Arc<Served>,
    pub(crate) history: Mutex<History>,
    /// One submission at a time, so that a refusal is known to be its own.
    submission: Mutex<()>,
}

/// Everything that is counted, at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    pub(crate) now: Now,
    pub(crate) totals: Totals,
    pub(crate) counters: Counters,
    pub(crate) tally: ConnTally,
    pub(crate) connections: usize,
    pub(crate) pending: usize,
    pub(crate) dialing: usize,
    pub(crate) held_bytes: usize,
    pub(crate) queued_bytes: usize,
    pub(crate) pooled_bytes: usize,
    pub(crate) tip: Tip,
    pub(crate) target: u64,
    pub(crate) is_syncing: bool,
    pub(crate) blocks: usize,
    pub(crate) pool: usize,
    pub(crate) pool_bytes: usize,
    pub(crate) addresses: usize,
    pub(crate) known_peers: usize,
    pub(crate) origins: usize,
    pub(crate) bans: usize,
    pub(crate) health: Health,
    pub(crate) reorganisations: Reorganisations,
    pub(crate) reach: Reach,
}

impl Sample {
    /// Looks at all of it: a step for each connection and each origin that is remembered, both bounded.
    pub(crate) fn take(look: &Look<'_, ReferenceChain>) -> Self {
        let (node, net, now) = (look.node, look.net, look.now);
        let (held_bytes, queued_bytes) = net.memory();
        let (target, is_syncing) = node.sync_target();
        let chain = node.chain();
        Sample {
            now,
            totals: net.totals().clone(),
            counters: node.counters().clone(),
            tally: node.tally(),
            connections: net.connections(),
            pending: node.admission().pending(),
            dialing: node.outbound().dialing(),
            held_bytes,
            queued_bytes,
            pooled_bytes: net.pooled_bytes(),
            tip: chain.best(),
            target,
            is_syncing,
            blocks: chain.block_count(),
            pool: chain.pool().len(),
            pool_bytes: chain.pool().bytes(),
            addresses: node.book().len(),
            known_peers: node.peers().len(),
            origins: node.reputation().len(),
            bans: node.ban_count(now),
            health: chain.health(),
            reorganisations: chain.reorganisations(),
            reach: node.reach(),
        }
    }

    /// Peers that have introduced themselves.
    pub(crate) fn peers(&self) -> usize {
        self.tally.inbound + self.tally.outbound
    }
}

/// A peer, with what its connection has carried and what is held against it.
#[derive(Clone, Debug)]
pub(crate) struct PeerSample {
    pub(crate) info: PeerInfo,
    pub(crate) stats: ConnStats,
    pub(crate) score: i32,
    /// For how long it has been here.
    pub(crate) age: Duration,
}

impl Admin {
    pub(crate) fn new(
        handle: NodeHandle,
        facts: Facts,
        (watched, log, served): (Arc<Watched>, LogControl, Arc<Served>),
    ) -> Self {
        let (history, submission) = (Mutex::default(), Mutex::default());
        Admin { handle, facts, watched, log, served, history, submission }
    }

    /// A way to give the node commands.
    pub(crate) fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// Asks the loop. An error is what the client is told.
    pub(crate) fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(Look<'_, ReferenceChain>) -> T + Send + 'static,
    ) -> Result<T, Response> {
        let answer = self.handle.look(look).map_err(not_taken)?;
        answer.recv_timeout(PATIENCE).map_err(not_answered)
    }

    /// Has the loop change something of the node.
    pub(crate) fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(NodeMut<'_, ReferenceChain>, Now) -> T + Send + 'static,
    ) -> Result<T, Response> {
        let (sender, answer) = sync_channel(1);
        let task = move |node: NodeMut<'_, ReferenceChain>, now: Now| {
            // Whoever asked may have left.
            let _ = sender.try_send(change(node, now));
        };
        self.handle.send(NodeCommand::With(Box::new(task))).map_err(not_taken)?;
        answer.recv_timeout(PATIENCE).map_err(not_answered)
    }

    /// Everything that is counted.
    pub(crate) fn sample(&self) -> Result<Sample, Response> {
        self.look(|look| Sample::take(&look))
    }

    /// The peers, at most so many of them.
    pub(crate) fn peers(&self, most: usize) -> Result<Vec<PeerSample>, Response> {
        let mut peers: Vec<PeerSample> = Vec::new();
        while peers.len() < most {
            let after: Option<ConnId> = peers.last().map(|peer| peer.info.conn);
            let wanted = PEERS_AT_ONCE.min(most - peers.len());
            let more = self.look(move |look| {
                let sample = |info: PeerInfo| PeerSample {
                    stats: look.net.conn_stats(info.conn).unwrap_or_default(),
                    score: look.node.score(info.remote, info.identity, look.now.at),
                    age: look.now.at.since(info.since),
                    info,
                };
                look.node.connected_after(after).take(wanted).map(sample).collect::<Vec<_>>()
            })?;
            let is_last = more.len() < wanted;
            peers.extend(more);
            if is_last {
                break;
            }
        }
        Ok(peers)
    }

    /// Whoever holds this is the only one who submits something.
    pub(crate) fn submit_alone(&self) -> MutexGuard<'_, ()> {
        self.submission.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen of the last hour.
    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn not_taken<C>(error: HandleError<C>) -> Response {
    match error {
        HandleError::Full(_) => Response::error(503, "the node is busy"),
        HandleError::Closed(_) => stopped(),
    }
}

fn not_answered(error: RecvTimeoutError) -> Response {
    match error {
        RecvTimeoutError::Timeout => Response::error(503, "the node is busy"),
        RecvTimeoutError::Disconnected => stopped(),
    }
}

fn stopped() -> Response {
    Response::error(503, "the node has stopped")
}

/// What the loop told without being asked: tips as they came, and why something of our own was refused.
#[derive(Debug, Default)]
pub(crate) struct Watched(Mutex<Lately>);

#[derive(Debug, Default)]
struct Lately {
    tips: VecDeque<(Tip, UnixTime)>,
    refusals: VecDeque<(u64, Kind, &'static str)>,
    /// Refusals so far.
    refused: u64,
}

impl Watched {
    fn lately(&self) -> MutexGuard<'_, Lately> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The last tips and when they came, the newest last.
    pub(crate) fn tips(&self) -> Vec<(Tip, UnixTime)> {
        self.lately().tips.iter().copied().collect()
    }

    /// How many submissions were refused so far.
    pub(crate) fn refused(&self) -> u64 {
        self.lately().refused
    }

    /// Why one of a kind was refused since there were so many refusals.
    pub(crate) fn refusal_since(&self, count: u64, kind: Kind) -> Option<&'static str> {
        let lately = self.lately();
        let mut since = lately.refusals.iter().filter(|(number, of, _)| *number >= count && *of == kind);
        since.next().map(|(_, _, why)| *why)
    }
}

/// The part of it that the loop calls.
pub(crate) struct Watcher(pub(crate) Arc<Watched>);

impl Sink for Watcher {
    fn on_event(&mut self, now: Now, event: &Event, _: &LiveNode) {
        match event {
            Event::NewTip(tip) => {
                let mut lately = self.0.lately();
                if lately.tips.len() >= REMEMBERED {
                    lately.tips.pop_front();
                }
                lately.tips.push_back((*tip, now.unix));
            }
            Event::SubmissionRefused { kind, why } => {
                let mut lately = self.0.lately();
                if lately.refusals.len() >= REMEMBERED {
                    lately.refusals.pop_front();
                }
                let number = lately.refused;
                lately.refusals.push_back((number, *kind, why));
                lately.refused += 1;
            }
            _ => {}
        }
    }
}
