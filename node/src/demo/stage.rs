//! The stage manager: follows the script, hands out transactions, watches the nodes and knows when it is over.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use spacetime_network::proto::Command;
use spacetime_network::rng::Rng;

use crate::cli::DemoArgs;
use crate::demo::agreement::{self, Agreement, NodeView};
use crate::demo::cluster::{DemoTrust, NodeSlot, Seen, Sighting};
use crate::demo::screen::{Row, Screen};
use crate::demo::script::{Cue, Script};
use crate::demo::spread::Spread;
use crate::demo::transfers::Transfer;
use crate::failure::Failure;
use crate::full_node;

/// The whole demo's time.
const TIME_MAX: Duration = Duration::from_secs(60);
/// Time between two looks at all nodes.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Sightings that may wait for the stage manager: thousands of times what comes between two looks.
const SIGHTINGS_MAX: usize = 65_536;
/// How long a node may take to answer a look.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after its start a node counts as present: what is new before it has met anyone cannot reach it at once.
const SETTLING: Duration = Duration::from_millis(200);
/// How long tips may differ after the last block before one more is mined to break the tie.
const TIE_AFTER: Duration = Duration::from_secs(2);
/// How long transactions may be on their way into the chain before those that are not in it are sent once more.
const SEND_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// The stage manager's view of everything.
pub(super) struct Stage {
    pub(super) started: Instant,
    script: Script,
    pub(super) places: Vec<NodeSlot>,
    pub(super) transfers: Vec<Transfer>,
    /// Transactions handed out so far.
    sent: usize,
    /// When the last one was.
    sent_at: Instant,
    /// Every node of the beginning has met another.
    have_met: bool,
    best_height: u64,
    pub(super) blocks: Spread,
    pub(super) objects: Spread,
    rng: Rng,
    screen: Screen,
    sender: SyncSender<Sighting>,
    sightings: Receiver<Sighting>,
    interrupted: Arc<AtomicBool>,
    mining: bool,
    tie_since: Option<Instant>,
}

impl Stage {
    pub(super) fn new(
        args: &DemoArgs,
        directory: &Path,
        transfers: Vec<Transfer>,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| Failure::new("start the demo", error, "try again"))?;
        let (sender, sightings) = sync_channel(SIGHTINGS_MAX);
        let started = Instant::now();
        let trust = DemoTrust::new(args.tls, usize::from(args.nodes), directory)?;
        Ok(Stage {
            started,
            script: Script::new(usize::from(args.nodes), args.blocks, transfers.len()),
            places: (0..usize::from(args.nodes)).map(|index| NodeSlot::new(index, directory, trust.clone())).collect(),
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
    pub(super) fn play(&mut self) -> Result<NodeView, Failure> {
        for index in self.script.first_nodes() {
            self.start(index)?;
        }
        let mut next_look = Instant::now();
        loop {
            self.watch_until(next_look)?;
            next_look = Instant::now() + LOOK_EVERY;
            for cue in self.script.due(self.best_height) {
                self.perform(cue)?;
            }
            let looks = self.look()?;
            self.send_due(&looks)?;
            self.send_again(&looks)?;
            let agreement = agreement::of(&looks, self.script.blocks(), self.places.len());
            if self.mining && self.sent == self.transfers.len() && agreement::is_enough(&looks, self.script.blocks()) {
                self.mining = false;
                self.places.iter().for_each(NodeSlot::stop_mining);
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

    fn check_time(&self, looks: &[Option<NodeView>]) -> Result<(), Failure> {
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

    fn perform(&mut self, cue: Cue) -> Result<(), Failure> {
        match cue {
            Cue::Stop(index) => {
                self.screen.event(&format!("node {index} is stopped"))?;
                self.places.get_mut(index).map_or(Ok(()), NodeSlot::stop)
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
    fn send_due(&mut self, looks: &[Option<NodeView>]) -> Result<(), Failure> {
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
            if !place.running.as_ref().is_some_and(|running| full_node::tell(&running.handle, command)) {
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
    fn send_again(&mut self, looks: &[Option<NodeView>]) -> Result<(), Failure> {
        let is_overdue = self.sent == self.transfers.len() && self.sent_at.elapsed() >= SEND_AGAIN_AFTER;
        let Some(Some(look)) = looks.first().filter(|_| is_overdue && self.mining) else { return Ok(()) };
        let Some(running) = self.places.first().and_then(|place| place.running.as_ref()) else { return Ok(()) };
        self.sent_at = Instant::now();
        for transfer in self.transfers.iter().filter(|transfer| look.missing.contains(&transfer.id)) {
            if full_node::tell(&running.handle, Command::SubmitTransaction(transfer.bytes.clone())) {
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
        place.map_or_else(|| crate::safe_text::clean(id), |place| format!("node {}", place.index))
    }

    fn look(&self) -> Result<Vec<Option<NodeView>>, Failure> {
        let wanted: Arc<[_]> = self.transfers.iter().map(|transfer| transfer.id).collect();
        self.places
            .iter()
            .map(|place| {
                let Some(running) = &place.running else { return Ok(None) };
                let wanted = Arc::clone(&wanted);
                full_node::look(&running.handle, PATIENCE, move |node, _| NodeView::at(node, &wanted))
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

    fn draw(&mut self, looks: &[Option<NodeView>]) -> Result<(), Failure> {
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
}
