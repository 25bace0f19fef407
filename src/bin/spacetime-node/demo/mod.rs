//! `demo`: the main job in one command. Several full nodes find each other, take in transactions, mine, lose one and get
//! it back, gain one that starts from nothing, and end with the same chain.
//!
//! | file        | why it is there                                   |
//! |-------------|---------------------------------------------------|
//! | `cluster`   | the nodes, started and stopped                    |
//! | `script`    | what happens at which height                      |
//! | `agreement` | whether all chains are the same and hold it all   |
//! | `spread`    | how fast things reach everyone                    |
//! | `transfers` | the transactions                                  |
//! | `screen`    | what is shown meanwhile                           |

mod agreement;
mod cluster;
mod screen;
mod script;
mod spread;
mod transfers;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde::Serialize;
use spacetime_network::proto::Command;
use spacetime_network::rng::Rng;
use spacetime_network::time::UnixTime;

use crate::cli::DemoArgs;
use crate::client::talk::unix_millis;
use crate::failure::Failure;
use crate::{node_thread, output, signals};
use agreement::{Agreement, Look};
use cluster::{Place, Seen, Sighting};
use screen::{Row, Screen};
use script::{Cue, Script};
use spread::{Percentiles, Spread};
use transfers::Transfer;

/// The whole demo's time.
const TIME_MAX: Duration = Duration::from_secs(60);
/// Time between two looks at all nodes.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Sightings that may wait for the stage manager: thousands of times what comes between two looks.
const SIGHTINGS_MAX: usize = 65_536;
/// How long a node may take to answer a look.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after its start a node counts as up to date for the measure of propagation.
const SETTLING: Duration = Duration::from_secs(1);
/// How long tips may differ after the last block before one more is mined to break the tie.
const TIE_AFTER: Duration = Duration::from_secs(2);
/// How long transactions may be on their way into the chain before those that are not in it are sent once more.
const SEND_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What happened, in numbers.
#[derive(Debug, Serialize)]
struct Report {
    nodes: usize,
    height: u64,
    tip: String,
    transactions: usize,
    seconds: f64,
    messages: u64,
    bytes: u64,
    blocks: Percentiles,
    transaction_spread: Percentiles,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<PathBuf>,
}

/// Runs the demo.
pub(crate) fn demo(args: &DemoArgs) -> Result<(), Failure> {
    let transfers = transfers::load(args.transactions.as_deref(), UnixTime::from_millis(unix_millis()))?;
    let stage = Directory::new(args.keep.as_deref())?;
    let interrupted = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&interrupted);
    signals::watch(move || flag.store(true, Ordering::Relaxed))?;

    let mut demo = Demo::new(args, &stage.path, transfers, interrupted)?;
    let agreed = demo.play();
    // The nodes are stopped whatever happened, so that their files are whole when they are kept.
    let stopped = demo.places.iter_mut().map(Place::stop).fold(Ok(()), Result::and);
    let agreed = agreed?;
    stopped?;
    let report = demo.report(&agreed, args.keep.clone());
    output::result(args.output.json, &report, lines)
}

fn lines(report: &Report) -> Vec<String> {
    let spread = |name: &str, of: &Percentiles| {
        format!("{name:<13} p50 {:.1} ms, p99 {:.1} ms over {} deliveries", of.p50_ms, of.p99_ms, of.deliveries)
    };
    let mut lines = vec![
        format!("{} nodes agree on block {} {}", report.nodes, report.height, report.tip),
        format!("{} transactions are in the chain of every node", report.transactions),
        format!("time          {:.1} s", report.seconds),
        format!("messages      {}", report.messages),
        format!("bytes         {}", report.bytes),
        spread("blocks", &report.blocks),
        spread("transactions", &report.transaction_spread),
    ];
    lines.extend(report.kept.as_ref().map(|path| format!("kept in       {}", path.display())));
    lines
}

/// The stage manager's view of everything.
struct Demo {
    started: Instant,
    script: Script,
    places: Vec<Place>,
    transfers: Vec<Transfer>,
    /// Transactions handed out so far.
    sent: usize,
    /// When the last one was.
    sent_at: Instant,
    /// Every node of the beginning has met another.
    have_met: bool,
    best_height: u64,
    blocks: Spread,
    objects: Spread,
    rng: Rng,
    screen: Screen,
    sender: SyncSender<Sighting>,
    sightings: Receiver<Sighting>,
    interrupted: Arc<AtomicBool>,
    mining: bool,
    tie_since: Option<Instant>,
}

impl Demo {
    fn new(
        args: &DemoArgs,
        directory: &Path,
        transfers: Vec<Transfer>,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| Failure::new("start the demo", error, "try again"))?;
        let (sender, sightings) = sync_channel(SIGHTINGS_MAX);
        let started = Instant::now();
        Ok(Demo {
            started,
            script: Script::new(usize::from(args.nodes), args.blocks, transfers.len()),
            places: (0..usize::from(args.nodes)).map(|index| Place::new(index, directory)).collect(),
            transfers,
            sent: 0,
            sent_at: started,
            have_met: false,
            best_height: 0,
            blocks: Spread::default(),
            objects: Spread::default(),
            rng: Rng::from_seed(u64::from_le_bytes(seed)),
            screen: Screen::new(started, args.output.json),
            sender,
            sightings,
            interrupted,
            mining: true,
            tie_since: None,
        })
    }

    /// Everything up to the agreement.
    fn play(&mut self) -> Result<Look, Failure> {
        for index in self.script.first_nodes() {
            self.start(index)?;
        }
        let mut next_look = Instant::now();
        loop {
            self.watch_until(next_look)?;
            next_look = Instant::now() + LOOK_EVERY;
            for cue in self.script.due(self.best_height) {
                self.obey(cue)?;
            }
            let looks = self.look()?;
            self.send_due(&looks)?;
            self.send_again(&looks)?;
            let agreement = agreement::of(&looks, self.script.blocks(), self.places.len());
            if self.mining && self.sent == self.transfers.len() && agreement::is_enough(&looks, self.script.blocks()) {
                self.mining = false;
                self.places.iter().for_each(Place::stop_mining);
                self.screen.event("enough is mined: the miners stop")?;
            }
            match agreement {
                Agreement::Reached(look) if !self.mining && self.script.is_over() => {
                    self.screen.event("every node has the same chain")?;
                    self.draw(&looks)?;
                    return Ok(look);
                }
                Agreement::Tie if !self.mining => self.break_tie()?,
                _ => self.tie_since = None,
            }
            self.draw(&looks)?;
            self.check_time(&looks)?;
        }
    }

    fn check_time(&self, looks: &[Option<Look>]) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new("finish the demo", "interrupted", "run it again"));
        }
        if self.started.elapsed() < TIME_MAX {
            return Ok(());
        }
        let missing = agreement::what_is_missing(looks, self.script.blocks(), self.transfers.len());
        Err(Failure::new(
            format!("finish the demo in {} s", TIME_MAX.as_secs()),
            missing,
            "try fewer --nodes or --blocks, or --keep DIR to look at what each has",
        ))
    }

    fn start(&mut self, index: usize) -> Result<(), Failure> {
        let seed = if index == 0 { None } else { self.address_of_seed() };
        let mines = self.mining && self.script.mines(index);
        let sender = self.sender.clone();
        let Some(place) = self.places.get_mut(index) else { return Ok(()) };
        place.start(seed, mines, sender)?;
        let address = place.running.as_ref().map(|running| running.address.to_string()).unwrap_or_default();
        let mining = if mines { ", mining" } else { "" };
        self.screen.event(&format!("node {index} starts on {address}{mining}"))
    }

    fn address_of_seed(&self) -> Option<std::net::SocketAddr> {
        self.places.first()?.running.as_ref().map(|running| running.address)
    }

    fn obey(&mut self, cue: Cue) -> Result<(), Failure> {
        match cue {
            Cue::Stop(index) => {
                self.screen.event(&format!("node {index} is stopped"))?;
                self.places.get_mut(index).map_or(Ok(()), Place::stop)
            }
            Cue::Restart(index) => {
                self.screen.event(&format!("node {index} is started again from its data directory"))?;
                self.start(index)
            }
            Cue::Join(index) => {
                self.screen.event(&format!("node {index} joins late, with nothing"))?;
                self.start(index)
            }
        }
    }

    /// Hands the transactions that are due to random nodes, once every node of the beginning has met another: a transaction
    /// that enters at a node without peers stays there.
    fn send_due(&mut self, looks: &[Option<Look>]) -> Result<(), Failure> {
        self.have_met |= looks.iter().take(self.script.first_nodes().len()).flatten().all(|look| look.peers > 0);
        if !self.have_met {
            return Ok(());
        }
        let due = self.script.transactions_due(self.best_height);
        while self.sent < due {
            let running: Vec<usize> = self.places.iter().filter(|p| p.running.is_some()).map(|p| p.index).collect();
            let Some(index) = self.rng.index(running.len()).and_then(|at| running.get(at).copied()) else { break };
            let (Some(place), Some(transfer)) = (self.places.get(index), self.transfers.get(self.sent)) else { break };
            let command = Command::SubmitTransaction(transfer.bytes.clone());
            if !place.running.as_ref().is_some_and(|running| node_thread::tell(&running.handle, command)) {
                // Its queue is full for the moment; the next look tries again.
                break;
            }
            self.sent += 1;
            self.sent_at = Instant::now();
            self.screen.event(&format!("transaction {} enters at node {index}", transfer.id.short()))?;
        }
        Ok(())
    }

    /// Pools are not kept on disk, so what only a node had that was stopped is lost. Its sender would send it again.
    fn send_again(&mut self, looks: &[Option<Look>]) -> Result<(), Failure> {
        let is_overdue = self.sent == self.transfers.len() && self.sent_at.elapsed() >= SEND_AGAIN_AFTER;
        let Some(Some(look)) = looks.first().filter(|_| is_overdue && self.mining) else { return Ok(()) };
        let Some(running) = self.places.first().and_then(|place| place.running.as_ref()) else { return Ok(()) };
        self.sent_at = Instant::now();
        for transfer in self.transfers.iter().filter(|transfer| look.missing.contains(&transfer.id)) {
            if node_thread::tell(&running.handle, Command::SubmitTransaction(transfer.bytes.clone())) {
                self.screen.event(&format!("transaction {} is sent again, to node 0", transfer.id.short()))?;
            }
        }
        Ok(())
    }

    /// Takes in what the nodes see, until `end`.
    fn watch_until(&mut self, end: Instant) -> Result<(), Failure> {
        loop {
            match self.sightings.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(sighting) => self.note(&sighting)?,
                // The sender lives as long as we do.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn note(&mut self, sighting: &Sighting) -> Result<(), Failure> {
        let node = sighting.node;
        match &sighting.what {
            Seen::Object(hash) => {
                let since = self.places.get(node).and_then(|place| place.running.as_ref()).map(|r| r.since + SETTLING);
                if let Some(since) = since {
                    let is_transfer = self.transfers.iter().any(|transfer| transfer.id == *hash);
                    let spread = if is_transfer { &mut self.objects } else { &mut self.blocks };
                    spread.note(*hash, sighting.at, since);
                }
                Ok(())
            }
            Seen::Tip(height, hash) => {
                self.best_height = self.best_height.max(*height);
                match self.places.get_mut(node) {
                    // A node that catches up may say it for every block of a batch.
                    Some(place) if place.tip != Some(*hash) => place.tip = Some(*hash),
                    _ => return Ok(()),
                }
                self.screen.event(&format!("node {node} has block {height} {}", hash.short()))
            }
            Seen::Peer(id, true) => {
                let peer = self.name_of(id);
                self.screen.event(&format!("node {node} connected to {peer}"))
            }
            Seen::Peer(_, false) => Ok(()),
            Seen::PeerGone(id) => {
                let peer = self.name_of(id);
                self.screen.event(&format!("node {node} lost {peer}"))
            }
        }
    }

    fn name_of(&self, id: &str) -> String {
        let place = self.places.iter().find(|place| place.node_id.as_deref() == Some(id));
        place.map_or_else(|| crate::output::clean(id), |place| format!("node {}", place.index))
    }

    fn look(&self) -> Result<Vec<Option<Look>>, Failure> {
        let wanted: Arc<[_]> = self.transfers.iter().map(|transfer| transfer.id).collect();
        self.places
            .iter()
            .map(|place| {
                let Some(running) = &place.running else { return Ok(None) };
                let wanted = Arc::clone(&wanted);
                node_thread::look(&running.handle, PATIENCE, move |node, _| Look::at(node, &wanted))
                    .map(Some)
                    .ok_or_else(|| {
                        Failure::new(format!("look at node {}", place.index), "it does not answer", "try fewer --nodes")
                    })
            })
            .collect()
    }

    /// Two chains of the same work stay apart until one grows: node 0 mines the block that decides.
    fn break_tie(&mut self) -> Result<(), Failure> {
        if self.tie_since.get_or_insert_with(Instant::now).elapsed() < TIE_AFTER {
            return Ok(());
        }
        self.tie_since = None;
        if let Some(running) = self.places.first().and_then(|place| place.running.as_ref())
            && crate::miner::mine_now(&running.handle, "miner-0")
        {
            self.screen.event("two chains have the same work: node 0 mines one more block")?;
        }
        Ok(())
    }

    fn draw(&mut self, looks: &[Option<Look>]) -> Result<(), Failure> {
        let mining = self.mining;
        let rows: Vec<Row> = self
            .places
            .iter()
            .zip(looks)
            .map(|(place, look)| {
                let (bytes, messages) = place.sent();
                let state = match (look, mining && self.script.mines(place.index)) {
                    (None, _) if place.node_id.is_none() => "waiting",
                    (None, _) => "stopped",
                    (Some(_), true) => "mining",
                    (Some(_), false) => "running",
                };
                let row = Row { state, bytes, messages, ..Row::default() };
                match look {
                    None => row,
                    Some(look) => Row {
                        peers: look.peers,
                        height: look.tip.height,
                        tip: look.tip.hash.short(),
                        pool: look.pool,
                        ..row
                    },
                }
            })
            .collect();
        self.screen.draw(&rows)
    }

    fn report(&self, agreed: &Look, kept: Option<PathBuf>) -> Report {
        let (bytes, messages) =
            self.places.iter().map(Place::sent).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        Report {
            nodes: self.places.len(),
            height: agreed.tip.height,
            tip: agreed.tip.hash.to_string(),
            transactions: self.transfers.len().saturating_sub(agreed.missing.len()),
            seconds: self.started.elapsed().as_secs_f64(),
            messages,
            bytes,
            blocks: self.blocks.percentiles(),
            transaction_spread: self.objects.percentiles(),
            kept,
        }
    }
}

/// Where the data directories are: kept, or removed at the end.
struct Directory {
    path: PathBuf,
    is_temporary: bool,
}

impl Directory {
    fn new(keep: Option<&Path>) -> Result<Self, Failure> {
        if let Some(path) = keep {
            if path.join("node-0").exists() {
                return Err(Failure::new(
                    format!("keep the demo in {}", path.display()),
                    "it holds an earlier one",
                    "choose a new directory for --keep",
                ));
            }
            return Ok(Directory { path: path.to_path_buf(), is_temporary: false });
        }
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| Failure::new("start the demo", error, "try again"))?;
        let path = std::env::temp_dir().join(format!("spacetime-demo-{:016x}", u64::from_le_bytes(random)));
        Ok(Directory { path, is_temporary: true })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.is_temporary && std::fs::remove_dir_all(&self.path).is_err() && self.path.exists() {
            output::note(format_args!("note: {} was not removed", self.path.display()));
        }
    }
}
