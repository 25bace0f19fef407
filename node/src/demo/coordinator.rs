//! The coordinator: follows the script, hands out transactions, watches the nodes and knows when it is over.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use spacetime_network::proto::Command;
use spacetime_network::rng::Rng;

use crate::cli::DemoArgs;
use crate::demo::agreement::{self, Agreement, NodeView};
use crate::demo::cluster::{DemoTrust, NodeSlot, Observation, Observed};
use crate::demo::layout::Row;
use crate::demo::screen::Screen;
use crate::demo::script::{Script, Step};
use crate::demo::spread::Spread;
use crate::demo::transfers::Transfer;
use crate::failure::Failure;
use crate::full_node;
use crate::safe_text::clean;

/// The whole demo's time.
const TIME_MAX: Duration = Duration::from_secs(60);
/// Time between two looks at all nodes.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Observations that may wait to be taken in: thousands of times what comes between two views.
const OBSERVATIONS_MAX: usize = 65_536;
/// How long a node may take to answer a view.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long after its start a node counts as present: what is new before it has met anyone cannot reach it at once.
const SETTLING: Duration = Duration::from_millis(200);
/// How long tips may differ after the last block before one more is mined to break the tie.
const TIE_AFTER: Duration = Duration::from_secs(2);
/// How long transactions may be on their way into the chain before those that are not in it are sent once more.
const SEND_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// Everything that the demo is made of.
pub(super) struct Coordinator {
    pub(super) started: Instant,
    script: Script,
    pub(super) slots: Vec<NodeSlot>,
    pub(super) transfers: Vec<Transfer>,
    /// Transactions handed out so far.
    sent: usize,
    /// When the last one was.
    sent_at: Instant,
    /// Every node of the beginning has met another.
    are_connected: bool,
    best_height: u64,
    pub(super) blocks: Spread,
    pub(super) objects: Spread,
    rng: Rng,
    screen: Screen,
    sender: SyncSender<Observation>,
    observations: Receiver<Observation>,
    interrupted: Arc<AtomicBool>,
    mining: bool,
    tie_since: Option<Instant>,
    /// Nodes that have come and have not caught up.
    behind: Vec<usize>,
}

impl Coordinator {
    pub(super) fn new(
        args: &DemoArgs,
        directory: &Path,
        transfers: Vec<Transfer>,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Self, Failure> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|error| Failure::new("start the demo", error, "try again"))?;
        let (sender, observations) = sync_channel(OBSERVATIONS_MAX);
        let started = Instant::now();
        let trust = DemoTrust::new(args.tls, usize::from(args.nodes), directory)?;
        Ok(Coordinator {
            started,
            script: Script::new(usize::from(args.nodes), args.blocks, transfers.len()),
            slots: (0..usize::from(args.nodes)).map(|index| NodeSlot::new(index, directory, trust.clone())).collect(),
            transfers,
            sent: 0,
            sent_at: started,
            are_connected: false,
            best_height: 0,
            blocks: Spread::default(),
            objects: Spread::default(),
            rng: Rng::from_seed(u64::from_le_bytes(seed)),
            screen: Screen::new(started, args.output.json),
            sender,
            observations,
            interrupted,
            mining: true,
            tie_since: None,
            behind: Vec::new(),
        })
    }

    /// Everything up to the agreement.
    pub(super) fn run(&mut self) -> Result<NodeView, Failure> {
        let first = self.script.first_nodes();
        let last = self.slots.len().saturating_sub(1);
        self.screen.story(&format!("{} nodes start, two mine; node {last} comes later", first.len()))?;
        for index in first {
            self.start(index)?;
        }
        let mut next_look = Instant::now();
        loop {
            self.watch_until(next_look)?;
            next_look = Instant::now() + LOOK_EVERY;
            for step in self.script.due(self.best_height) {
                self.carry_out(step)?;
            }
            let views = self.look()?;
            self.tell_who_caught_up(&views)?;
            self.send_due(&views)?;
            self.send_again(&views)?;
            let agreement = agreement::of(&views, self.script.blocks(), self.slots.len());
            if self.mining && self.sent == self.transfers.len() && agreement::is_enough(&views, self.script.blocks()) {
                self.mining = false;
                self.slots.iter().for_each(NodeSlot::stop_mining);
                self.screen.story("enough is mined: the miners stop")?;
            }
            match agreement {
                Agreement::Reached(view) if !self.mining && self.script.is_over() => {
                    self.screen.story("every node has the same chain")?;
                    let rows = self.rows(&views);
                    self.screen.finish(&rows)?;
                    return Ok(view);
                }
                Agreement::Tie if !self.mining => self.break_tie()?,
                _ => self.tie_since = None,
            }
            self.draw(&views)?;
            self.check_time(&views)?;
        }
    }

    /// Characters in a line of what is printed at the end.
    pub(super) fn columns(&self) -> usize {
        self.screen.columns()
    }

    fn check_time(&self, views: &[Option<NodeView>]) -> Result<(), Failure> {
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new("finish the demo", "interrupted", "run it again"));
        }
        if self.started.elapsed() < TIME_MAX {
            return Ok(());
        }
        let missing = agreement::what_is_missing(views, self.script.blocks(), self.transfers.len());
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
        let Some(slot) = self.slots.get_mut(index) else { return Ok(()) };
        slot.start(seed, mines, sender)?;
        let address = slot.running.as_ref().map(|running| running.address.to_string()).unwrap_or_default();
        let mining = if mines { ", mining" } else { "" };
        self.screen.event(&format!("node {index} starts on {address}{mining}"))
    }

    fn address_of_seed(&self) -> Option<std::net::SocketAddr> {
        self.slots.first()?.running.as_ref().map(|running| running.address)
    }

    fn carry_out(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::Stop(index) => {
                self.screen.story(&format!("node {index} is stopped"))?;
                self.slots.get_mut(index).map_or(Ok(()), NodeSlot::stop)
            }
            Step::Restart(index) => {
                self.behind.push(index);
                self.screen.story(&format!("node {index} is started again from its data directory"))?;
                self.start(index)
            }
            Step::Join(index) => {
                self.behind.push(index);
                self.screen.story(&format!("node {index} joins late, with nothing"))?;
                self.start(index)
            }
        }
    }

    fn tell_who_caught_up(&mut self, views: &[Option<NodeView>]) -> Result<(), Failure> {
        let best = views.iter().flatten().map(|view| view.tip.height).max().unwrap_or(0);
        let is_there =
            |index: &usize| views.get(*index).and_then(Option::as_ref).is_some_and(|view| view.tip.height >= best);
        let (there, behind) = std::mem::take(&mut self.behind).into_iter().partition::<Vec<_>, _>(is_there);
        self.behind = behind;
        for index in there {
            self.screen.story(&format!("node {index} has caught up, at block {best}"))?;
        }
        Ok(())
    }

    /// Hands the transactions that are due to random nodes, once every node of the beginning has met another: a transaction
    /// that enters at a node without peers stays there.
    fn send_due(&mut self, views: &[Option<NodeView>]) -> Result<(), Failure> {
        self.are_connected |= views.iter().take(self.script.first_nodes().len()).flatten().all(|view| view.peers > 0);
        if !self.are_connected {
            return Ok(());
        }
        let due = self.script.transactions_due(self.best_height);
        while self.sent < due {
            let running: Vec<usize> = self.slots.iter().filter(|p| p.running.is_some()).map(|p| p.index).collect();
            let Some(index) = self.rng.index(running.len()).and_then(|at| running.get(at).copied()) else { break };
            let (Some(slot), Some(transfer)) = (self.slots.get(index), self.transfers.get(self.sent)) else { break };
            let command = Command::SubmitTransaction(transfer.bytes.clone());
            if !slot.running.as_ref().is_some_and(|running| full_node::tell(&running.handle, command)) {
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
    fn send_again(&mut self, views: &[Option<NodeView>]) -> Result<(), Failure> {
        let is_overdue = self.sent == self.transfers.len() && self.sent_at.elapsed() >= SEND_AGAIN_AFTER;
        let Some(Some(view)) = views.first().filter(|_| is_overdue && self.mining) else { return Ok(()) };
        let Some(running) = self.slots.first().and_then(|slot| slot.running.as_ref()) else { return Ok(()) };
        self.sent_at = Instant::now();
        for transfer in self.transfers.iter().filter(|transfer| view.missing.contains(&transfer.id)) {
            if full_node::tell(&running.handle, Command::SubmitTransaction(transfer.bytes.clone())) {
                self.screen.event(&format!("transaction {} is sent again, to node 0", transfer.id.short()))?;
            }
        }
        Ok(())
    }

    /// Takes in what the nodes see, until `end`.
    fn watch_until(&mut self, end: Instant) -> Result<(), Failure> {
        loop {
            match self.observations.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(observation) => self.note(&observation)?,
                // The sender lives as long as we do.
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }

    fn note(&mut self, observation: &Observation) -> Result<(), Failure> {
        let node = observation.node;
        match &observation.what {
            Observed::Object(hash) => {
                let since = self.slots.get(node).and_then(|slot| slot.running.as_ref()).map(|r| r.since + SETTLING);
                if let Some(since) = since {
                    let is_transfer = self.transfers.iter().any(|transfer| transfer.id == *hash);
                    let spread = if is_transfer { &mut self.objects } else { &mut self.blocks };
                    spread.note(*hash, observation.at, since);
                }
                Ok(())
            }
            Observed::Tip(height, hash) => {
                self.best_height = self.best_height.max(*height);
                match self.slots.get_mut(node) {
                    // A node that catches up may say it for every block of a batch.
                    Some(slot) if slot.tip != Some(*hash) => slot.tip = Some(*hash),
                    _ => return Ok(()),
                }
                self.screen.event(&format!("node {node} has block {height} {}", hash.short()))
            }
            Observed::Peer(id, true) => {
                let peer = self.name_of(id);
                self.screen.event(&format!("node {node} connected to {peer}"))
            }
            Observed::Peer(_, false) => Ok(()),
            Observed::PeerGone(id) => {
                let peer = self.name_of(id);
                self.screen.event(&format!("node {node} lost {peer}"))
            }
        }
    }

    fn name_of(&self, id: &str) -> String {
        let slot = self.slots.iter().find(|slot| slot.node_id.as_deref() == Some(id));
        slot.map_or_else(|| clean(id), |slot| format!("node {}", slot.index))
    }

    fn look(&self) -> Result<Vec<Option<NodeView>>, Failure> {
        let wanted: Arc<[_]> = self.transfers.iter().map(|transfer| transfer.id).collect();
        self.slots
            .iter()
            .map(|slot| {
                let Some(running) = &slot.running else { return Ok(None) };
                let wanted = Arc::clone(&wanted);
                full_node::look(&running.handle, PATIENCE, move |node, _| NodeView::at(node, &wanted))
                    .map(Some)
                    .ok_or_else(|| {
                        Failure::new(format!("look at node {}", slot.index), "it does not answer", "try fewer --nodes")
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
        if let Some(running) = self.slots.first().and_then(|slot| slot.running.as_ref())
            && crate::miner::mine_now(&running.handle, "miner-0")
        {
            self.screen.story("two chains are equal: node 0 mines one more block")?;
        }
        Ok(())
    }

    fn draw(&mut self, views: &[Option<NodeView>]) -> Result<(), Failure> {
        let rows = self.rows(views);
        self.screen.draw(&rows)
    }

    fn rows(&self, views: &[Option<NodeView>]) -> Vec<Row> {
        let mining = self.mining;
        self.slots
            .iter()
            .zip(views)
            .map(|(slot, view)| {
                let (bytes, messages) = slot.sent();
                let state = match (view, mining && self.script.mines(slot.index)) {
                    (None, _) if slot.node_id.is_none() => "waiting",
                    (None, _) => "stopped",
                    (Some(_), true) => "mining",
                    (Some(_), false) => "running",
                };
                let row = Row { state, bytes, messages, ..Row::default() };
                match view {
                    None => row,
                    Some(view) => Row {
                        peers: view.peers,
                        height: view.tip.height,
                        tip: view.tip.hash.short(),
                        pool: view.pool,
                        ..row
                    },
                }
            })
            .collect()
    }
}
