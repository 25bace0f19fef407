//! `sync`: downloads the whole chain from given nodes, then leaves.
//!
//! Which network it is, the first node that answers says: its greeting names the genesis block, and that block holds the
//! chain's numbers.

use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use spacetime_network::chain::{Block, Params};
use spacetime_network::proto::sync::chain::{Chain, Tip};
use spacetime_network::proto::{self, Event};
use spacetime_network::time::Now;

use crate::cli::SyncArgs;
use crate::client::blocking::Client;
use crate::client::fetch_block;
use crate::data_dir::DataDir;
use crate::failure::Failure;
use crate::full_node::{self, LiveNode, NodeHandle, Plan, Sink};
use crate::security::Security;
use crate::value::{Endpoint, apart};
use crate::{output, signals};

/// Time between two looks at the node.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long nothing more may be missing before we believe that this is all.
const SETTLED_FOR: Duration = Duration::from_millis(500);
/// Time between two lines where there is no terminal for a bar.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// How long the loop may take to answer a look.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug, Serialize)]
struct Report {
    height: u64,
    tip: String,
    work: String,
    downloaded: u64,
    seconds: f64,
}

/// What a look at the node shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct NodeView {
    best: Tip,
    /// The height that it works towards, and the best that a peer claims.
    target: u64,
    claimed: u64,
    is_syncing: bool,
    peers: usize,
}

/// Downloads the chain.
pub(crate) fn sync(args: &SyncArgs) -> Result<(), Failure> {
    let data = DataDir::create(args.data.data_dir.as_deref())?.with_key_readers(args.tls.key_readers());
    let _lock = data.lock()?;
    let security = Security::of_node(&args.tls, &data)?;
    let params = network_of(args, security.as_ref())?;
    let started = Instant::now();

    let mut config = proto::Config::default();
    config.node_id = match &security {
        Some(security) => security.id().to_string(),
        None => data.node_id()?,
    };
    config.user_agent = concat!("spacetime-node/", env!("CARGO_PKG_VERSION"), " (sync)").to_owned();
    config.outbound = 0;
    (config.connect, config.connect_names) = apart(&args.addresses);
    config.allow_private = true;
    config.dial_timeout = args.timeout;
    config.handshake_timeout = args.timeout;
    let plan = Plan { config, listen: Vec::new(), params, security };
    let ready = full_node::prepare(plan, &data, Box::new(Nobody))?;
    let handle = ready.handle();
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    signals::watch(move || flag.store(true, Ordering::Relaxed), || {});
    let node = thread::Builder::new()
        .name("node".to_owned())
        .spawn(move || ready.run())
        .map_err(|error| Failure::new("start a node", error, "try again"))?;

    let watched = watch(&handle, args.timeout, &interrupted);
    handle.stop();
    let ran = node.join().unwrap_or_else(|_| Err(Failure::new("run the node", "it ended early", "report this")));
    let first = watched?;
    // Blocks may have come between the last look and the stop.
    let best = ran?;
    let report = Report {
        height: best.height,
        tip: best.hash.to_string(),
        work: best.work.to_string(),
        downloaded: best.height.saturating_sub(first.best.height),
        seconds: started.elapsed().as_secs_f64(),
    };
    output::result(args.output.json, &report, |report| {
        vec![
            format!("height      {}", report.height),
            format!("tip         {}", report.tip),
            format!("downloaded  {} blocks in {:.1} s", report.downloaded, report.seconds),
        ]
    })
}

/// Nobody is told what happens: the download is watched from outside.
struct Nobody;

impl Sink for Nobody {
    fn on_event(&mut self, _: Now, _: &Event, _: &LiveNode) {}
}

/// The network of the first node that answers.
fn network_of(args: &SyncArgs, security: Option<&Security>) -> Result<Params, Failure> {
    let mut last = Failure::usage("give the address of at least one node");
    for endpoint in &args.addresses {
        match ask_network(endpoint, args.timeout, security) {
            Ok(params) => return Ok(params),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

fn ask_network(endpoint: &Endpoint, timeout: Duration, security: Option<&Security>) -> Result<Params, Failure> {
    let mut client = Client::open_as(endpoint, timeout, security)?;
    let Some(extension) = client.host().extension else {
        // A node of version 1 cannot say; it is taken for one of the default network.
        client.leave();
        return Ok(Params::default());
    };
    let genesis = fetch_block(&mut client, extension.network)?;
    client.leave();
    genesis.as_ref().and_then(Block::decode).as_ref().and_then(Params::of_genesis).ok_or_else(|| {
        Failure::new(
            format!("download the chain of {endpoint}"),
            "its first block is not one of the reference chain",
            "use a program of that node's own chain",
        )
    })
}

/// How often the best height that peers claim must be reached before a chain that grows all the while is said to be there.
const ROUNDS: u32 = 3;

/// The end of a download that cannot catch up: a chain may grow as fast as it is downloaded, and who follows its tip never stops.
/// Only what peers claim counts. The headers that are known so far grow too, while a long chain is still on its way.
#[derive(Debug, Default)]
struct Rounds {
    /// What is to be reached in this one.
    goal: Option<u64>,
    done: u32,
}

impl Rounds {
    /// True when what was claimed at the beginning of each round was reached in all of them.
    fn are_over(&mut self, height: u64, claimed: u64) -> bool {
        if self.goal.is_some_and(|goal| height >= goal) {
            (self.goal, self.done) = (None, self.done + 1);
        }
        if claimed > height {
            self.goal.get_or_insert(claimed);
        }
        self.done >= ROUNDS
    }
}

/// Waits until nothing more is missing. Answers the first look.
fn watch(handle: &NodeHandle, timeout: Duration, interrupted: &AtomicBool) -> Result<NodeView, Failure> {
    let operation = "download the chain";
    let mut progress = Progress::start();
    let first = look(handle)?;
    let (mut last, mut moved, mut settled) = (first, Instant::now(), None);
    let mut rounds = Rounds::default();
    loop {
        thread::sleep(LOOK_EVERY);
        if interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new(operation, "interrupted", "run the command again to go on from here"));
        }
        let now = look(handle)?;
        progress.show(&now);
        if now != last {
            (last, moved) = (now, Instant::now());
        }
        if rounds.are_over(now.best.height, now.claimed) {
            progress.finish();
            return Ok(first);
        }
        if now.peers > 0 && !now.is_syncing && now.best.height >= now.target {
            if settled.get_or_insert_with(Instant::now).elapsed() >= SETTLED_FOR {
                progress.finish();
                return Ok(first);
            }
        } else {
            settled = None;
        }
        if moved.elapsed() >= timeout {
            let happened = match now.peers {
                0 => "no node is connected".to_owned(),
                _ => format!("nothing came for {timeout:?} at height {} of {}", now.best.height, now.target),
            };
            return Err(Failure::new(
                operation,
                happened,
                "run the command again to go on from here, or name other nodes",
            ));
        }
    }
}

fn look(handle: &NodeHandle) -> Result<NodeView, Failure> {
    full_node::look(handle, PATIENCE, |node, _| {
        let (target, is_syncing) = node.sync_target();
        // Peers say how many blocks they have, genesis included.
        let claimed = node.connected().map(|peer| peer.chain_length.saturating_sub(1)).max().unwrap_or(0);
        let (best, peers) = (node.chain().best(), node.connected().count());
        NodeView { best, target: target.max(claimed), claimed, is_syncing, peers }
    })
    .ok_or_else(|| Failure::new("download the chain", "the node has stopped", "look at the lines above"))
}

/// A bar on a terminal, a line now and then elsewhere.
#[derive(Debug)]
struct Progress {
    bar: Option<ProgressBar>,
    line: Instant,
}

impl Progress {
    fn start() -> Self {
        let style = ProgressStyle::with_template("{bar:40} {pos}/{len} blocks, {per_sec}, {eta} left  {msg}");
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(0);
            if let Ok(style) = style {
                bar.set_style(style);
            }
            bar
        });
        Progress { bar, line: Instant::now() }
    }

    fn show(&mut self, look: &NodeView) {
        match &self.bar {
            Some(bar) => {
                bar.set_length(look.target);
                bar.set_position(look.best.height);
                bar.set_message(format!("{} peers", look.peers));
            }
            None if self.line.elapsed() >= LINE_EVERY => {
                self.line = Instant::now();
                output::note(format_args!("height {} of {}, {} peers", look.best.height, look.target, look.peers));
            }
            None => {}
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node that mined a thousand blocks a second was followed for ever.
    #[test]
    fn a_chain_that_grows_as_fast_as_it_comes_is_there_when_its_height_was_reached_three_times() {
        let mut rounds = Rounds::default();
        assert!(!(0..10).any(|_| rounds.are_over(0, 0)), "nobody has said how long the chain is");
        let (mut height, mut looks) = (0, 0);
        while !rounds.are_over(height, height + 100) {
            (height, looks) = (height + 10, looks + 1);
            assert!(looks < 100);
        }
        assert_eq!(looks, 30);
        // Of peers that claim nothing only headers are known, and those come by the thousand: nothing ends on the way.
        let mut rounds = Rounds::default();
        assert!(!(0..9000).any(|height| rounds.are_over(height, 0)));
        // Somebody comes late with a long chain: all of it is waited for.
        let mut rounds = Rounds::default();
        assert!(!rounds.are_over(0, 5) && !rounds.are_over(5, 9000) && !rounds.are_over(8999, 9000));
    }
}
