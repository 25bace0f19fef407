//! A full node of the reference chain, put together: chain, protocol, loop, observer and the files they use.
//!
//! `run`, `demo` and `sync` differ in what they plan and in what they watch; what is built is the same.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use spacetime_network::chain::{Params, ReferenceChain};
use spacetime_network::driver::node::resolver::Resolver;
use spacetime_network::driver::node::{NodeCommand, NodeDriver, NodeMut, NodeProtocol, Observer};
use spacetime_network::driver::store::check_free;
use spacetime_network::driver::{self, Bandwidth, Handle, Net};
use spacetime_network::link::socks::Proxy;
use spacetime_network::link::tls::Tls;
use spacetime_network::link::web_socket::WebSocketOptions;
use spacetime_network::proto::peer::address_book::{AddressBook, SavedAddress};
use spacetime_network::proto::peer::peer_table::PeerTable;
use spacetime_network::proto::peer::{Ban, PeerName};
use spacetime_network::proto::sync::chain::{Chain, Tip};
use spacetime_network::proto::{self, Command, Event, Node};
use spacetime_network::time::{Instant, Now};

use crate::cli::NatArgs;
use crate::data_dir::DataDir;
use crate::failure::{Failure, disk_remedy};
use crate::keeper::Keeper;
use crate::peers_file::{self, Saver};
use crate::quota::QuotaWatch;
use crate::security::{Security, SecurityWatch};
use crate::stopping::{Progress, Stage};
use crate::tip_signal::TipSignal;
use crate::turn_watch::TurnWatch;
use crate::typed_names::TypedNames;
use crate::value::Quota;
use crate::{addresses_file, bans_file, nat};

/// A node of the reference chain.
pub(crate) type LiveNode = Node<ReferenceChain>;
/// A way into a running node.
pub(crate) type NodeHandle = Handle<NodeCommand<ReferenceChain>>;

/// Who else is told what happens, on the loop's thread.
pub(crate) trait Sink: Send {
    /// Something happened.
    fn on_event(&mut self, now: Now, event: &Event, node: &LiveNode);

    /// A turn of the loop is over.
    fn turn_ended(&mut self, _now: Now, _node: &LiveNode) {}

    /// See [`Observer::deadline`].
    fn deadline(&self) -> Option<Instant> {
        None
    }
}

impl<F: FnMut(Now, &Event, &LiveNode) + Send> Sink for F {
    fn on_event(&mut self, now: Now, event: &Event, node: &LiveNode) {
        self(now, event, node);
    }
}

/// Two who are told the same, one after the other.
#[cfg(feature = "http")]
pub(crate) struct Both<A, B>(pub(crate) A, pub(crate) B);

#[cfg(feature = "http")]
impl<A: Sink, B: Sink> Sink for Both<A, B> {
    fn on_event(&mut self, now: Now, event: &Event, node: &LiveNode) {
        self.0.on_event(now, event, node);
        self.1.on_event(now, event, node);
    }

    fn turn_ended(&mut self, now: Now, node: &LiveNode) {
        self.0.turn_ended(now, node);
        self.1.turn_ended(now, node);
    }

    fn deadline(&self) -> Option<Instant> {
        self.0.deadline().into_iter().chain(self.1.deadline()).min()
    }
}

/// How long the store may take to finish when a node stops; the whole stop has five seconds.
const FLUSH: Duration = Duration::from_secs(2);

/// How long a connection may be quiet before the system asks whether it still stands, where clients come that need not speak.
const KEEP_ALIVE: Duration = Duration::from_secs(60);

/// A book of fewer addresses is saved whenever the peers are, a larger one every few minutes.
const SMALL_BOOK: usize = 1_000;
/// Time between two saves of a large book.
const SAVE_ADDRESSES: Duration = Duration::from_secs(300);

/// What a node is to be.
pub(crate) struct Plan {
    pub(crate) config: proto::Config,
    pub(crate) listen: Vec<SocketAddr>,
    pub(crate) params: Params,
    /// TLS, and who we are under it.
    pub(crate) security: Option<Security>,
    /// Where WebSocket connections are accepted, and from pages of which origins besides.
    pub(crate) web_socket: (Vec<SocketAddr>, Vec<String>),
    /// How many bytes a second may pass.
    pub(crate) bandwidth: Bandwidth,
    /// How much may be sent in a period.
    pub(crate) upload_quota: Option<Quota>,
    /// How a router is asked for a port, if at all.
    pub(crate) nat: Option<NatArgs>,
    /// Through which proxy all dials go.
    pub(crate) proxy: Option<Proxy>,
}

/// A node that listens and is ready to run.
pub(crate) struct Ready {
    driver: NodeDriver<ReferenceChain, Watch>,
    data: DataDir,
    listening: Vec<SocketAddr>,
    listening_ws: Vec<SocketAddr>,
    signal: Arc<TipSignal>,
    traffic: Arc<Traffic>,
    progress: Arc<Progress>,
    security: Option<SecurityWatch>,
    quota: Option<QuotaWatch>,
    turn_times: TurnWatch,
}

/// What a node has sent so far and has open, for other threads to read at any time.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    bytes: AtomicU64,
    frames: AtomicU64,
    turns: AtomicU64,
    connections: AtomicU64,
    queued: AtomicU64,
}

impl Traffic {
    /// Bytes and frames.
    pub(crate) fn sent(&self) -> (u64, u64) {
        (self.bytes.load(Ordering::Relaxed), self.frames.load(Ordering::Relaxed))
    }

    /// How often the loop has turned.
    pub(crate) fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    /// Connections that are open, and bytes that wait to be written to them.
    pub(crate) fn open(&self) -> (u64, u64) {
        (self.connections.load(Ordering::Relaxed), self.queued.load(Ordering::Relaxed))
    }

    fn note(&self, net: &Net) {
        let (totals, (_, queued)) = (net.totals(), net.memory());
        self.bytes.store(totals.bytes_out, Ordering::Relaxed);
        self.frames.store(totals.frames_out, Ordering::Relaxed);
        self.turns.store(totals.turns.count, Ordering::Relaxed);
        self.connections.store(net.connections() as u64, Ordering::Relaxed);
        self.queued.store(queued as u64, Ordering::Relaxed);
    }
}

/// The observer: rings the miner's bell, hands peers to the saver, has names looked up, tells the sink.
pub(crate) struct Watch {
    signal: Arc<TipSignal>,
    saver: Saver,
    bans: Keeper<Vec<Ban>>,
    addresses: Keeper<Vec<SavedAddress>>,
    /// When the addresses were given to be saved last: there may be thousands, and few change.
    addresses_saved: Option<Instant>,
    resolver: Option<Resolver>,
    names: TypedNames,
    tls: Option<Tls>,
    sink: Box<dyn Sink>,
}

impl Observer<ReferenceChain> for Watch {
    fn on_event(&mut self, now: Now, event: &Event, node: &LiveNode) {
        match event {
            Event::NewTip(_) => self.signal.ring(),
            Event::NameResolved { name, addresses: Ok(addresses) } => {
                for (address, names) in self.names.found(name, addresses) {
                    // Names of the operator's have passed as names.
                    let _ = self.tls.as_ref().map(|tls| tls.expect_names(address, &names));
                }
            }
            _ => {}
        }
        self.sink.on_event(now, event, node);
    }

    fn turn_ended(&mut self, now: Now, node: &LiveNode) {
        // What could not be handed over.
        self.bans.keep(None);
        self.addresses.keep(None);
        self.sink.turn_ended(now, node);
    }

    fn deadline(&self) -> Option<Instant> {
        self.sink.deadline()
    }

    fn save_addresses(&mut self, now: Now, book: &AddressBook) {
        let is_small = book.len() < SMALL_BOOK;
        if is_small || self.addresses_saved.is_none_or(|saved| now.at.since(saved) >= SAVE_ADDRESSES) {
            self.addresses_saved = Some(now.at);
            self.addresses.keep(Some(book.saved()));
        }
    }

    fn save_bans(&mut self, _: Now, bans: Vec<Ban>) {
        self.bans.keep(Some(bans));
    }

    fn resolve(&mut self, _: Now, name: &PeerName) -> bool {
        self.resolver.as_ref().is_some_and(|resolver| resolver.look_up(name))
    }

    fn save_peers(&mut self, _: Now, peers: &PeerTable) {
        self.saver.save(peers);
    }
}

/// Opens the chain, restores the peers, binds the listeners. Nothing is dialed before [`Ready::run`].
pub(crate) fn prepare(plan: Plan, data: &DataDir, sink: Box<dyn Sink>) -> Result<Ready, Failure> {
    let mut config = plan.config;
    let names = TypedNames::new(config.connect.iter().chain(&config.seeds).copied());
    let named = names.known();
    if let Some(security) = &plan.security {
        // What every peer compares with the certificate.
        config.node_id = security.id().to_string();
        config.secured = true;
    }
    // Before anybody is greeted; where a port is 0 it is asked for below.
    let external = config.external.clone();
    config.asks_its_address = plan.nat.is_some_and(|args| nat::request(&args, &plan.listen, &external).is_some());
    let mut loop_config = driver::Config::default();
    let clients = config.admission.clients_max();
    loop_config.connections = config.admission.connections_max.saturating_add(clients);
    // Of one who need not say anything nobody else finds out that he is gone.
    loop_config.keep_alive = (clients > 0).then_some(KEEP_ALIVE);
    loop_config.bandwidth = plan.bandwidth;
    loop_config.proxy = plan.proxy;
    loop_config.tls = plan.security.as_ref().map(Security::tls);
    // Before a file is opened.
    config.validate().and_then(|()| loop_config.validate()).map_err(|errors| Failure::settings(&errors))?;
    let chain = open_chain(plan.params, data)?;
    let random = |error: getrandom::Error| Failure::new("start a node", error, "try again");
    let (mut seed, mut nonce) = ([0; 8], [0; 8]);
    getrandom::fill(&mut seed).map_err(random)?;
    getrandom::fill(&mut nonce).map_err(random)?;
    let node = Node::new(config, chain, u64::from_le_bytes(seed), u64::from_le_bytes(nonce))
        .map_err(|errors| Failure::settings(&errors))?;

    let signal = Arc::new(TipSignal::default());
    let (saver, bans, tls) = (Saver::start(&data.peers())?, bans_file::keeper(&data.bans())?, loop_config.tls.clone());
    let watch = Watch {
        signal: Arc::clone(&signal),
        saver,
        bans,
        addresses: addresses_file::keeper(&data.addresses())?,
        addresses_saved: None,
        resolver: None,
        names,
        tls,
        sink,
    };
    let security = plan.security.as_ref().map(|security| security.watch(named)).transpose()?;
    let quota = plan.upload_quota.map(|quota| QuotaWatch::start(&data.upload_quota(), quota)).transpose()?;
    let mut driver = NodeDriver::new(loop_config, NodeProtocol::new(node, watch))
        .map_err(|error| Failure::new("start a loop", error, "free some files and memory, then try again"))?;
    let handle = driver.handle();
    let (waker, nat_waker) = (handle.clone(), handle.clone());
    driver.protocol_mut().node_mut().chain_mut().work_off_loop(move || waker.wake());
    driver.protocol_mut().observer_mut().resolver = Some(Resolver::system(handle));
    let listening = plan.listen.iter().map(|address| listen(&mut driver, *address)).collect::<Result<Vec<_>, _>>()?;
    driver.protocol_mut().node_mut().set_listening(&listening);
    let (addresses, origins) = &plan.web_socket;
    let listening_ws = addresses.iter().map(|address| {
        let mut options = WebSocketOptions::default();
        options.origins.clone_from(origins);
        driver.listen_web_socket(*address, options).map_err(|error| cannot_listen(*address, error, "--listen-ws"))
    });
    let listening_ws = listening_ws.collect::<Result<Vec<_>, _>>()?;
    if let Some(request) = plan.nat.and_then(|args| nat::request(&args, &listening, &external)) {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(random)?;
        driver.protocol_mut().request_port(request, u64::from_le_bytes(seed), move || nat_waker.wake());
    }
    driver.with(|protocol, now, _| {
        bans_file::restore(&data.bans(), protocol.node_mut(), now)?;
        addresses_file::restore(&data.addresses(), protocol.node_mut(), now)?;
        peers_file::restore(&data.peers(), protocol.node_mut(), now)
    })?;
    Ok(Ready {
        driver,
        data: data.clone(),
        listening,
        listening_ws,
        signal,
        traffic: Arc::default(),
        progress: Arc::default(),
        security,
        quota,
        turn_times: TurnWatch::default(),
    })
}

fn open_chain(params: Params, data: &DataDir) -> Result<ReferenceChain, Failure> {
    if let Some(earlier) = data.earlier_chain() {
        return Err(earlier_chain(&earlier));
    }
    // The chain's own errors say what was tried and what to do.
    ReferenceChain::open(params, &data.chain())
        .map_err(|error| Failure::Failed(crate::failure::one_line(&error.to_string())))
}

/// Why a store of an earlier version is not opened. It is left as it is.
pub(crate) fn earlier_chain(path: &Path) -> Failure {
    if let Err(error) = check_free(path) {
        // Nobody knows what is there when its disk is.
        return Failure::new(format!("open {}", path.display()), &error, disk_remedy(&error));
    }
    Failure::new(
        format!("open {}", path.display()),
        "an earlier version wrote it in a format that this one does not read",
        "move it away and start again to download the chain anew, or, if nobody else has the chain, let the earlier \
         version run with it and sync this one from there into another --data-dir",
    )
}

fn listen(driver: &mut NodeDriver<ReferenceChain, Watch>, address: SocketAddr) -> Result<SocketAddr, Failure> {
    driver.listen(address).map_err(|error| cannot_listen(address, error, "--listen"))
}

fn cannot_listen(address: SocketAddr, error: io::Error, flag: &str) -> Failure {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => format!("stop the program that uses it or choose another {flag}"),
        io::ErrorKind::AddrNotAvailable => "choose an address of this machine, or 0.0.0.0 for all".to_owned(),
        io::ErrorKind::PermissionDenied => "choose a port above 1023, or run with the right to use it".to_owned(),
        _ => format!("choose another {flag}"),
    };
    Failure::new(format!("listen on {address}"), error, remedy)
}

impl Ready {
    /// The real addresses of the listeners, in the order they were asked for.
    pub(crate) fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// The same of WebSocket.
    pub(crate) fn listening_ws(&self) -> &[SocketAddr] {
        &self.listening_ws
    }

    /// A way into the node once it runs.
    pub(crate) fn handle(&self) -> NodeHandle {
        self.driver.handle()
    }

    /// Rings when there is something new to mine on.
    pub(crate) fn signal(&self) -> Arc<TipSignal> {
        Arc::clone(&self.signal)
    }

    /// What it sends, counted while it runs.
    pub(crate) fn traffic(&self) -> Arc<Traffic> {
        Arc::clone(&self.traffic)
    }

    /// How far a stop is.
    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Runs the loop until it is stopped, then saves everything. Answers where the saved chain ends.
    pub(crate) fn run(mut self) -> Result<Tip, Failure> {
        let ran = self.turns();
        tracing::info!("stopping");
        self.turn_times.finish(&self.driver.net().totals().turns);
        self.signal.stop();
        self.progress.at(Stage::Peers);
        let protocol = self.driver.protocol_mut();
        protocol.observer_mut().saver.finish();
        let book = protocol.node().book().saved();
        protocol.observer_mut().addresses.keep(Some(book));
        let noted = protocol.observer_mut().addresses.finish();
        let kept = protocol.observer_mut().bans.finish();
        if let Err(failure) = &kept {
            // Also when it is not the first thing that went wrong.
            tracing::error!("{failure}; who was banned since is let in again");
        }
        let counted = self.quota.as_mut().map_or(Ok(()), QuotaWatch::finish);
        self.progress.at(Stage::Identities);
        let remembered = self.security.as_mut().map_or(Ok(()), SecurityWatch::finish);
        if let Err(failure) = &remembered {
            // Also when it is not the first thing that went wrong.
            tracing::error!("{failure}; whoever was met since is met as if for the first time");
        }
        self.progress.at(Stage::Peers);
        let saved = peers_file::save(&self.data.peers(), protocol.node().peers());
        self.progress.at(Stage::Chain);
        let flushed = protocol.node_mut().chain_mut().flush(FLUSH);
        // Blocks that were being judged may have joined it.
        let best = protocol.node().chain().best();
        ran.map_err(|error| Failure::new("wait for events", error, "look at the system's limits and log"))?;
        flushed.map_err(|error| Failure::plain("finish writing the chain", error))?;
        remembered?;
        kept?;
        noted?;
        counted?;
        saved?;
        Ok(best)
    }

    fn turns(&mut self) -> io::Result<()> {
        loop {
            let goes_on = self.driver.turn(None)?;
            let now = self.driver.net().now().at;
            if let Some(security) = &mut self.security {
                security.look(now);
                security.log_overload(now, self.driver.net());
            }
            if let Some(quota) = &mut self.quota {
                let (both, sent) = (self.driver.net().now(), self.driver.net().totals().bytes_out);
                if let Some(serves) = quota.look(both, sent) {
                    self.driver.protocol_mut().node_mut().set_serves_history(serves);
                }
            }
            self.turn_times.look(now, &self.driver.net().totals().turns);
            self.traffic.note(self.driver.net());
            if !goes_on {
                return Ok(());
            }
        }
    }
}

/// Runs `look` on the node's own thread and brings back its answer; `None` when the node is gone or too busy.
pub(crate) fn look<T: Send + 'static>(
    handle: &NodeHandle,
    patience: Duration,
    look: impl FnOnce(&LiveNode, Now) -> T + Send + 'static,
) -> Option<T> {
    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let command = NodeCommand::With(Box::new(move |node: NodeMut<'_, ReferenceChain>, now: Now| {
        // Nobody waits any more when this fails, so nobody misses the answer.
        let _ = sender.try_send(look(&node, now));
    }));
    handle.send(command).ok()?;
    receiver.recv_timeout(patience).ok()
}

/// Gives the node a command; false when it is gone or its queue is full.
pub(crate) fn tell(handle: &NodeHandle, command: Command) -> bool {
    handle.send(NodeCommand::Do(command)).is_ok()
}
