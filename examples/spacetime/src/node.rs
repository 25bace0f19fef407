//! A full node, from its flags to its end.

use core::net::SocketAddr;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use spacetime_network::address::ExemptRanges;
use spacetime_network::driver;
use spacetime_network::driver::node::{NodeDriver, NodeProtocol, Observer};
use spacetime_network::proto::{self, Event, Node};
use spacetime_network::time::Now;

use crate::chain::SpacetimeChain;
use crate::codec::to_hex;
use crate::farmer::{self, Bell};
use crate::genesis::Genesis;
use crate::store::StoreError;

/// What a node is to be.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "the names are those of the flags")]
pub struct Plan {
    pub genesis: Genesis,
    pub listen: Vec<SocketAddr>,
    pub connect: Vec<SocketAddr>,
    pub data_dir: Option<PathBuf>,
    pub farm: Vec<PathBuf>,
    pub without_handshake: Vec<IpNet>,
}

/// A node's loop.
pub type Loop<O> = NodeDriver<SpacetimeChain, O>;

/// So many random bytes name a node that has no certificate.
const ID_LEN: usize = 8;

/// A chain behind a loop that is told what happens.
///
/// # Errors
///
/// What the system refuses.
pub fn assemble<O: Observer<SpacetimeChain>>(
    mut config: proto::Config,
    chain: SpacetimeChain,
    observer: O,
) -> Result<Loop<O>, StoreError> {
    let mut random = [[0; ID_LEN]; 3];
    random.iter_mut().try_for_each(|bytes| getrandom::fill(bytes))?;
    let [id, seed, nonce] = random;
    config.node_id = to_hex(&id);
    config.user_agent = concat!("spacetime-example/", env!("CARGO_PKG_VERSION")).to_owned();
    let mut loop_config = driver::Config::default();
    loop_config.connections = config.admission.connections_max.saturating_add(config.admission.clients_max());
    let node = Node::new(config, chain, u64::from_le_bytes(seed), u64::from_le_bytes(nonce))?;
    let mut driver = NodeDriver::new(loop_config, NodeProtocol::new(node, observer))?;
    let handle = driver.handle();
    driver.protocol_mut().node_mut().chain_mut().judge_elsewhere(move || handle.wake())?;
    Ok(driver)
}

/// Runs a node until a signal ends it.
///
/// # Errors
///
/// Why it cannot run, or could not save everything.
pub fn run(plan: Plan) -> Result<(), StoreError> {
    let chain = match &plan.data_dir {
        Some(directory) => {
            std::fs::create_dir_all(directory)?;
            SpacetimeChain::open(&plan.genesis, &directory.join("chain.redb"))?
        }
        None => SpacetimeChain::memory(&plan.genesis)?,
    };
    let mut config = proto::Config::default();
    config.connect = plan.connect;
    config.admission.without_handshake = ExemptRanges(plan.without_handshake);
    let bell = Arc::new(Bell::default());
    let rung = Arc::clone(&bell);
    let mut driver = assemble(config, chain, move |_: Now, event: &Event, node: &Node<SpacetimeChain>| {
        if matches!(event, Event::NewTip(_)) {
            rung.ring();
        }
        tell(event, node);
    })?;
    let listening = plan.listen.iter().map(|address| driver.listen(*address)).collect::<Result<Vec<_>, _>>()?;
    driver.protocol_mut().node_mut().set_listening(&listening);
    let handle = driver.handle();
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for _ in signals.forever() {
            handle.stop();
        }
    })?;
    say(format_args!("node {}", driver.protocol().node().config().node_id))?;
    listening.iter().try_for_each(|address| say(format_args!("listening {address}")))?;
    let farmer = match plan.farm.as_slice() {
        [] => None,
        plots => Some(farmer::start(plots, driver.handle(), Arc::clone(&bell))?),
    };
    say(format_args!("ready"))?;
    let ran = driver.run();
    bell.stop();
    // Before the farmer is waited for: who asks a loop that is gone is told so.
    let mut protocol = driver.into_protocol();
    if farmer.is_some_and(|farmer| farmer.join().is_err()) {
        eprintln!("the farmer ended early");
    }
    protocol.node_mut().chain_mut().finish()?;
    Ok(ran?)
}

fn say(line: core::fmt::Arguments<'_>) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// One line for what an operator wants to know. What strangers chose is shown escaped.
fn tell(event: &Event, node: &Node<SpacetimeChain>) {
    match event {
        Event::NewTip(tip) => {
            let waiting = node.chain().pool().len();
            eprintln!("block {} {} ({waiting} transactions wait)", tip.height, tip.hash);
            if let Some(failure) = node.chain().store().failure() {
                eprintln!("{failure}; free the disk and start again");
            }
        }
        Event::PeerConnected { remote, node_id, .. } => eprintln!("connected to {remote} {node_id:?}"),
        Event::PeerDisconnected { remote, reason, .. } => eprintln!("disconnected from {remote}: {reason}"),
        Event::HandshakeFailed { remote, reason, .. } => eprintln!("no handshake with {remote}: {reason}"),
        Event::Blacklisted { remote, reason, .. } => eprintln!("banned {remote}: {reason}"),
        Event::SubmissionRefused { kind, why } => eprintln!("our own {} was refused: {why}", kind.name()),
        _ => {}
    }
}
