//! The thread that watches the node for whoever views it: a sample of the last hour each ten seconds, and, while somebody views, the
//! whole state each second as one piece of news (server-sent events, in the HTML standard). Nobody views, nothing is made.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use spacetime_network::chain::Block;
use spacetime_network::proto::sync::chain::Tip;
use spacetime_network::time::UnixTime;
use spacetime_network::wire::Hash;

use super::admin::{Admin, Sample};
use super::api::{PeerView, Status};
use super::history::EVERY;
use super::response::Response;
use super::server::Viewers;
use crate::failure::Failure;

/// Time between two pieces of news.
const NEWS_EVERY: Duration = Duration::from_secs(1);
/// The same where there are many peers to tell of.
const MANY_EVERY: Duration = Duration::from_secs(2);
const MANY: usize = 250;
/// Peers that are told of.
const PEERS_MAX: usize = 2_000;
/// Blocks and lines of the log that are told.
const BLOCKS: usize = 12;
const LOG_LINES: usize = 40;

/// A block that came.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Came {
    height: u64,
    hash: String,
    unix_millis: i64,
    transactions: usize,
    bytes: usize,
    miner: String,
    /// From the time in its header to its coming here.
    age_millis: i64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct News<'a> {
    status: Status,
    peers: Vec<PeerView>,
    blocks: Vec<&'a Came>,
    log_first: u64,
    log: Vec<String>,
}

/// The running thread; dropping it ends it.
pub(crate) struct Pulse {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A question to the node that is under way has a bound of its own.
            let _ = thread.join();
        }
    }
}

impl Pulse {
    /// Starts it.
    pub(crate) fn start(admin: Arc<Admin>, viewers: Viewers) -> Result<Self, Failure> {
        let stop = Arc::<AtomicBool>::default();
        let theirs = Arc::clone(&stop);
        let watcher = move || {
            let mut watching = Watching { admin, viewers, blocks: VecDeque::new() };
            let (mut sampled, mut told): (Option<Instant>, Option<Instant>) = (None, None);
            let mut every = NEWS_EVERY;
            while !theirs.load(Ordering::SeqCst) {
                let now = Instant::now();
                let is_due = |last: Option<Instant>, every: Duration| last.is_none_or(|last| now >= last + every);
                if is_due(sampled, EVERY) {
                    sampled = Some(now);
                    watching.remember();
                }
                let is_viewed = watching.viewers.count() > 0;
                if is_viewed && is_due(told, every) {
                    told = Some(now);
                    every = if watching.tell() > MANY { MANY_EVERY } else { NEWS_EVERY };
                }
                let next = [sampled.map(|at| at + EVERY), told.filter(|_| is_viewed).map(|at| at + every)];
                let next = next.into_iter().flatten().min().unwrap_or(now + EVERY);
                thread::park_timeout(next.saturating_duration_since(Instant::now()).max(Duration::from_millis(5)));
            }
        };
        let thread = thread::Builder::new()
            .name("http-pulse".to_owned())
            .spawn(watcher)
            .map_err(|error| Failure::new("start the administration endpoint", error, "try again"))?;
        Ok(Pulse { stop, thread: Some(thread) })
    }

    /// Whom to wake when a viewer comes.
    pub(crate) fn thread(&self) -> Option<Thread> {
        self.thread.as_ref().map(|thread| thread.thread().clone())
    }
}

struct Watching {
    admin: Arc<Admin>,
    viewers: Viewers,
    /// The last blocks, the newest first.
    blocks: VecDeque<(Hash, Came)>,
}

impl Watching {
    fn remember(&mut self) {
        let age = self.look_at_blocks();
        if let Ok(sample) = self.admin.sample() {
            self.admin.history().add(sample, age);
        }
    }

    /// Tells everybody how it is; answers how many peers there are.
    fn tell(&mut self) -> usize {
        self.look_at_blocks();
        let told = (|| -> Result<usize, Response> {
            let sample: Sample = self.admin.sample()?;
            let peers = self.admin.peers(PEERS_MAX)?;
            let (log_first, log) = self.admin.log.tail.last(LOG_LINES);
            let news = News {
                status: Status::of(&self.admin, &sample),
                peers: peers.iter().map(PeerView::of).collect(),
                blocks: self.blocks.iter().map(|(_, came)| came).collect(),
                log_first,
                log,
            };
            let mut text = b"event: state\ndata: ".to_vec();
            // A document on one line, as an event wants it.
            serde_json::to_writer(&mut text, &news).map_err(|_| Response::error(500, ""))?;
            text.extend_from_slice(b"\n\n");
            self.viewers.tell(Bytes::from(text));
            Ok(sample.peers())
        })();
        told.unwrap_or(0)
    }

    /// Looks into the blocks that came since; answers how old the newest of those was.
    fn look_at_blocks(&mut self) -> Option<i64> {
        let tips = self.admin.watched.tips();
        let known = self.blocks.front().map(|(hash, _)| *hash);
        let from = tips.iter().rposition(|(tip, _)| Some(tip.hash) == known).map_or(0, |at| at + 1);
        let news: Vec<(Tip, UnixTime)> = tips.get(from..).unwrap_or_default().to_vec();
        let skipped = news.len().saturating_sub(BLOCKS);
        let mut age = None;
        for (tip, at) in news.into_iter().skip(skipped) {
            let Some(came) = self.came(tip, at) else { continue };
            age = Some(came.age_millis);
            self.blocks.push_front((tip.hash, came));
            self.blocks.truncate(BLOCKS);
        }
        age
    }

    fn came(&self, tip: Tip, at: UnixTime) -> Option<Came> {
        let height = tip.height;
        let reader = self.admin.look(move |look| look.node.chain().block_readers(height, 1).pop()).ok().flatten()?;
        let bytes = reader.read()?;
        // The chain may have moved meanwhile.
        let block = Block::decode(&bytes).filter(|block| block.header.hash() == tip.hash)?;
        let reward = block.transactions.first();
        let miner = reward.and_then(|bytes| spacetime_network::chain::Transaction::decode(bytes).ok());
        Some(Came {
            height,
            hash: tip.hash.to_string(),
            unix_millis: at.as_millis(),
            transactions: block.transactions.len(),
            bytes: bytes.len(),
            miner: miner.map(|reward| reward.recipient.to_owned()).unwrap_or_default(),
            age_millis: at.as_millis().saturating_sub(block.header.time.as_millis()),
        })
    }
}
