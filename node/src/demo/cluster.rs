//! The demo's nodes: each a full node with its own loop thread, data directory and sockets, started and stopped at will.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use spacetime_network::chain::Params;
use spacetime_network::driver::Bandwidth;
use spacetime_network::link::tls::trust::Trust;
use spacetime_network::proto::{self, Event};
use spacetime_network::time::Now;
use spacetime_network::wire::Hash;

use crate::cli::DemoTls;
use crate::data_dir::{DataDir, Lock};
use crate::failure::Failure;
use crate::full_node::{self, NodeHandle, Plan, Traffic};
use crate::miner::{self, MinerPlan};
use crate::security::Security;
use crate::tip_signal::TipSignal;

/// Connections that each node dials.
const OUTBOUND: usize = 3;
/// The space between blocks: short, for a demo of some seconds.
const INTERVAL: Duration = Duration::from_millis(450);

/// Whom the nodes trust.
#[derive(Clone, Debug)]
pub(super) enum DemoTrust {
    /// They do not use TLS.
    Plain,
    /// Anybody, or these.
    Known(Trust),
    /// Whoever answers first at an address.
    FirstUse,
}

impl DemoTrust {
    /// What was asked for, of `nodes` nodes below `base`. Pins need the keys of all, those that join late too.
    pub(super) fn new(asked: DemoTls, nodes: usize, base: &Path) -> Result<Self, Failure> {
        Ok(match asked {
            DemoTls::Off => DemoTrust::Plain,
            DemoTls::Any => DemoTrust::Known(Trust::Any),
            DemoTls::FirstUse => DemoTrust::FirstUse,
            DemoTls::Pinned => {
                let id = |index| {
                    let data = DataDir::create(Some(&directory_of(index, base)))?;
                    data.identity().map(|identity| identity.id())
                };
                DemoTrust::Known(Trust::Pinned((0..nodes).map(id).collect::<Result<_, Failure>>()?))
            }
        })
    }

    fn security(&self, data: &DataDir) -> Result<Option<Security>, Failure> {
        match self {
            DemoTrust::Plain => Ok(None),
            DemoTrust::Known(trust) => Security::trusting(data, trust.clone()).map(Some),
            DemoTrust::FirstUse => Security::first_use(data).map(Some),
        }
    }
}

fn directory_of(index: usize, base: &Path) -> PathBuf {
    base.join(format!("node-{index}"))
}

/// What a node saw, for the coordinator.
#[derive(Debug)]
pub(super) struct Observation {
    pub(super) node: usize,
    pub(super) at: Instant,
    pub(super) what: Observed,
}

/// What was seen.
#[derive(Debug)]
pub(super) enum Observed {
    /// A block or a transaction is new and valid here.
    Object(Hash),
    /// The best chain ends here now.
    Tip(u64, Hash),
    /// A peer introduced itself, and whether we dialed it.
    Peer(String, bool),
    /// A peer is gone.
    PeerGone(String),
}

/// A node of the demo, running or not.
#[derive(Debug)]
pub(super) struct NodeSlot {
    pub(super) index: usize,
    directory: PathBuf,
    trust: DemoTrust,
    pub(super) node_id: Option<String>,
    pub(super) running: Option<Running>,
    /// The end of its chain, as it last said.
    pub(super) tip: Option<Hash>,
    /// Bytes of earlier lives.
    bytes_before: u64,
    frames_before: u64,
}

/// A node that runs.
pub(super) struct Running {
    pub(super) handle: NodeHandle,
    pub(super) address: SocketAddr,
    pub(super) since: Instant,
    signal: Arc<TipSignal>,
    traffic: Arc<Traffic>,
    node: JoinHandle<Result<(), Failure>>,
    miner: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("address", &self.address).finish_non_exhaustive()
    }
}

impl NodeSlot {
    pub(super) fn new(index: usize, base: &Path, trust: DemoTrust) -> Self {
        let directory = directory_of(index, base);
        NodeSlot { index, directory, trust, node_id: None, running: None, tip: None, bytes_before: 0, frames_before: 0 }
    }

    /// Starts the node from its data directory. `seed` is the one address that it is given.
    pub(super) fn start(
        &mut self,
        seed: Option<SocketAddr>,
        mines: bool,
        observations: SyncSender<Observation>,
    ) -> Result<(), Failure> {
        let data = DataDir::create(Some(&self.directory))?;
        let lock = data.lock()?;
        let node_id = data.node_id()?;
        let security = self.trust.security(&data)?;
        let mut config = proto::Config::default();
        config.node_id.clone_from(&node_id);
        config.user_agent = concat!("spacetime-node/", env!("CARGO_PKG_VERSION"), " (demo)").to_owned();
        config.outbound = OUTBOUND;
        config.seeds = seed.into_iter().collect();
        config.allow_private = true;
        let plan = Plan {
            config,
            listen: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            params: Params::default(),
            security,
            web_socket: Default::default(),
            bandwidth: Bandwidth::UNLIMITED,
            upload_quota: None,
            nat: None,
            proxy: None,
        };
        let index = self.index;
        let sink = Box::new(move |_: Now, event: &Event, _: &full_node::LiveNode| {
            if let Some(what) = observed(event) {
                // A full queue costs a line and a measurement, never the node's time.
                let _ = observations.try_send(Observation { node: index, at: Instant::now(), what });
            }
        });
        let ready = full_node::prepare(plan, &data, sink)?;
        let Some(&address) = ready.listening().first() else {
            return Err(Failure::new(format!("start node {index}"), "it does not listen", "report this"));
        };
        let (handle, signal, traffic) = (ready.handle(), ready.signal(), ready.traffic());
        let node = thread::Builder::new()
            .name(format!("node-{index}"))
            .spawn(move || {
                let _lock: Lock = lock;
                ready.run().map(drop)
            })
            .map_err(|error| Failure::new(format!("start node {index}"), error, "run fewer --nodes"))?;
        self.node_id = Some(node_id);
        let mut running = Running { handle, address, since: Instant::now(), signal, traffic, node, miner: None };
        if mines {
            let plan = MinerPlan { name: format!("miner-{index}"), interval: INTERVAL };
            running.miner = Some(miner::start(plan, running.handle.clone(), Arc::clone(&running.signal))?);
        }
        self.running = Some(running);
        Ok(())
    }

    /// Stops the node and waits until all of it is saved.
    pub(super) fn stop(&mut self) -> Result<(), Failure> {
        let Some(running) = self.running.take() else { return Ok(()) };
        running.signal.stop();
        running.handle.stop();
        if running.miner.is_some_and(|miner| miner.join().is_err()) {
            return Err(self.ended_early());
        }
        let ran = running.node.join().unwrap_or_else(|_| Err(self.ended_early()));
        let (bytes, frames) = running.traffic.sent();
        self.bytes_before += bytes;
        self.frames_before += frames;
        ran
    }

    /// Ends the mining; the node goes on.
    pub(super) fn stop_mining(&self) {
        if let Some(running) = &self.running {
            running.signal.stop();
        }
    }

    /// Bytes and messages that this node has sent, in all of its lives.
    pub(super) fn sent(&self) -> (u64, u64) {
        let (bytes, frames) = self.running.as_ref().map_or((0, 0), |running| running.traffic.sent());
        (self.bytes_before + bytes, self.frames_before + frames)
    }

    fn ended_early(&self) -> Failure {
        Failure::new(format!("run node {}", self.index), "a thread of it ended early", "report this with its log")
    }
}

fn observed(event: &Event) -> Option<Observed> {
    match event {
        Event::BlockAccepted { hash, .. } => Some(Observed::Object(*hash)),
        Event::TransactionAccepted { id, .. } => Some(Observed::Object(*id)),
        Event::NewTip(tip) => Some(Observed::Tip(tip.height, tip.hash)),
        Event::PeerConnected { node_id, outbound, .. } => Some(Observed::Peer(node_id.clone(), *outbound)),
        Event::PeerDisconnected { node_id, .. } => Some(Observed::PeerGone(node_id.clone())),
        _ => None,
    }
}
