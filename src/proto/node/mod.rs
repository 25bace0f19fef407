//! The node's decisions: one state machine that composes sessions, peers, relay and sync.
//!
//! **Feed one, drain all.** One input into [`Node::handle`], or one address into [`Node::admit`]; then [`Node::poll_output`] until
//! it says `None`; and [`Input::Tick`] no later than at [`Node::deadline`]. Nothing here blocks, reads a clock, touches a socket or
//! allocates without a limit; the same inputs with the same seed give the same outputs. The front page of the crate drives one
//! by hand.
//!
//! | file | what it decides |
//! |---|---|
//! | `greeting` | who the other side is, and which of two connections to it stays |
//! | `banning` | who is kept out: by the rules, or by a person |
//! | `clients` | those who do not introduce themselves, and need not |
//! | `dispatch` | what each message may cost, and who handles it |
//! | `objects` | transactions, blocks and gossip: judged, then passed on |
//! | `pushed_blocks` | blocks that are pushed to us: their headers are judged first |
//! | `own_gossip` | what we say ourselves: paced, or refused with a word |
//! | `serve` | answers to requests |
//! | `reading` | blocks that the chain reads elsewhere, and for whom |
//! | `finishing` | what the chain has judged and read elsewhere |
//! | `pools` | what two pools do not both have |
//! | `reach` | where we can be reached, and who is told |
//! | `addresses` | addresses that are asked for, told and passed on |
//! | `liveness` | who is silent, and who is only slow |
//! | `timers` | what is due, housekeeping and saving |
//! | `dials` | when to dial, and what a failure means |
//! | `turn_away` | who is not let in, and what is said to him |
//! | `places` | who gives way when all inbound places are taken |
//! | `counters` | what it counts |
//! | `commands` | what the embedder wants |
//! | `catching_up` | what the sync engine asks for |
//! | `clock` | when to warn of a clock |
//! | `closing` | what a close means for the peer and for us |
//! | `view` | nothing: what it shows of its tables |
//! | `invariants` | what holds between two inputs; looked at in debug builds |
//!
//! Two tables have rules that only their own files can break: `sessions` (which connections there are, under which ids, and when
//! each is due) and `known` (which objects are known, to whom, and which wait for a verdict).

mod addresses;
mod banning;
mod catching_up;
mod clients;
mod clock;
mod closing;
mod commands;
mod counters;
mod dials;
mod dispatch;
mod finishing;
mod greeting;
mod invariants;
mod known;
mod liveness;
mod objects;
mod own_gossip;
mod places;
mod pools;
mod pushed_blocks;
mod reach;
mod reading;
mod rounds;
mod serve;
mod sessions;
mod timers;
mod turn_away;
mod view;

use core::net::SocketAddr;
use std::collections::VecDeque;

use crate::close::CloseReason;
use crate::config::ConfigErrors;
use crate::id::{ConnId, Direction, VerifiedId};
use crate::proto::budget::PeerBudgets;
use crate::proto::clock::ClockWatch;
use crate::proto::config::Config;
use crate::proto::event::{Event, Input, Output};
use crate::proto::gossip::UnheardGossip;
use crate::proto::gossip::side_blocks::SideBlocks;
pub use crate::proto::node::counters::Counters;
use crate::proto::node::known::KnownObjects;
use crate::proto::node::reading::Reading;
use crate::proto::node::rounds::Rounds;
use crate::proto::node::sessions::Sessions;
pub use crate::proto::node::view::ConnTally;
use crate::proto::peer::address_book::{AddressBook, AddressBookConfig, SavedAddress};
use crate::proto::peer::admission::Admission;
use crate::proto::peer::operator_bans::OperatorBans;
use crate::proto::peer::outbound::{OutboundConfig, OutboundManager};
use crate::proto::peer::own_addresses::{OwnAddresses, any_address};
use crate::proto::peer::peer_table::{PeerRecord, PeerTable, PeerTableConfig};
use crate::proto::peer::reputation::{Reputation, ReputationConfig};
use crate::proto::sync::chain::Chain;
use crate::proto::sync::{BranchProgress, Followed, SyncManager};
use crate::proto::work::Work;
use crate::rng::Rng;
use crate::time::{Instant, Now, UnixTime};
use crate::wire::{FrameRules, Hash, Kind, Message, Priority};

/// A node on chain `C`.
///
/// 1. [`handle`](Self::handle) takes one thing that happened, [`admit`](Self::admit) the address of one who wants to connect.
/// 2. [`poll_output`](Self::poll_output) gives what follows, until it says `None`. Only then comes the next of either.
/// 3. [`deadline`](Self::deadline) says until when nothing needs to come.
/// 4. All other calls read, or prepare the node before it runs.
#[cfg_attr(
    feature = "chain",
    doc = r#"
# Examples

Driven by hand, on a clock that is only numbers: a stranger connects and introduces itself, and later the deadline passes.

```
use std::collections::VecDeque;

use spacetime_network::admit::Admit;
use spacetime_network::chain::{Params, ReferenceChain};
use spacetime_network::id::{ConnId, Direction};
use spacetime_network::proto::event::{Event, Input, Output, Received};
use spacetime_network::proto::{Config, Node};
use spacetime_network::time::{Instant, Now, UnixTime};
use spacetime_network::wire::message::{Handshake, Message};
use spacetime_network::wire::{Frame, Kind, Payload};

/// Feeds one input and carries out all that follows. A real driver writes what is sent to sockets; this one lists its kinds.
fn feed(node: &mut Node<ReferenceChain>, now: Now, input: Input<'_>) -> Vec<Kind> {
    let (mut sent, mut answers) = (Vec::new(), VecDeque::new());
    node.handle(now, input);
    loop {
        while let Some(output) = node.poll_output() {
            match output {
                Output::Send { conn, kind, report, .. } => {
                    sent.push(kind);
                    answers.extend(report.then_some(Input::SendAccepted { conn }));
                }
                // A driver counts the bytes of unfinished frames too, which show that a peer is slow but not silent.
                Output::CountReceived { conn } => {
                    answers.push_back(Input::Received { conn, received: Received::default() });
                }
                Output::Event(Event::PeerConnected { node_id, .. }) => assert_eq!(node_id, "stranger"),
                _ => {}
            }
        }
        // The answers are the next inputs, one at a time.
        let Some(answer) = answers.pop_front() else { return sent };
        node.handle(now, answer);
    }
}

let chain = ReferenceChain::memory(Params::default());
let mut node = Node::new(Config::default(), chain, 7, 8)?;
let mut now = Now { at: Instant::from_millis(1), unix: UnixTime::from_secs(1_700_000_000) };
feed(&mut node, now, Input::Tick);

// 1. Somebody wants to connect: the one question, asked before anything is allocated for it.
let remote = "192.0.2.7:40000".parse()?;
assert_eq!(node.admit(now, remote), Admit::Accept);

// 2. The connection is open. The acceptor waits to be greeted.
let conn = ConnId::new(0, 0);
let opened = Input::Opened { conn, remote, local: None, direction: Direction::Inbound, identity: None };
assert_eq!(feed(&mut node, now, opened), []);

// 3. The stranger introduces itself. It is answered, and asked what it has.
let (node_id, user_agent) = ("stranger", "example/1");
let greeting = Handshake { version: 1, unix_seconds: 1_700_000_000, node_id, user_agent, extension: None };
let payload = Payload::Given(Message::Handshake(greeting).to_payload()?);
let frame = Frame { kind: Kind::Handshake as u8, payload };
assert_eq!(feed(&mut node, now, Input::Frame { conn, frame }), [Kind::HandshakeAck, Kind::GetHeaders]);
assert_eq!(node.connected().count(), 1);

// 4. Time passes, from deadline to deadline: a node that knows nobody else asks for addresses, and after half a minute a
//    heartbeat is due.
let mut sent = Vec::new();
while !sent.contains(&Kind::Heartbeat) {
    now.at = now.at.max(node.deadline().expect("there is always something to do later"));
    sent = feed(&mut node, now, Input::Tick);
}
assert_eq!(now.at, Instant::from_millis(30_001));
# Ok::<(), Box<dyn std::error::Error>>(())
```
"#
)]
#[derive(Debug)]
pub struct Node<C> {
    config: Config,
    chain: C,
    rng: Rng,
    /// The number by which we know ourselves when we dial our own address.
    nonce: u64,
    /// Decides what no peer may foresee.
    key: u64,
    sessions: Sessions,
    rounds: Rounds,
    peers: PeerTable,
    reputation: Reputation,
    bans: OperatorBans,
    /// The rules have banned somebody since the bans were saved.
    bans_changed: bool,
    admission: Admission,
    book: AddressBook,
    outbound: OutboundManager,
    sync: SyncManager,
    known: KnownObjects,
    /// What we said ourselves and nobody was told.
    unheard: UnheardGossip,
    /// Blocks that the chain reads for peers.
    reading: Reading,
    side_blocks: SideBlocks,
    own_addresses: OwnAddresses,
    outputs: VecDeque<Output>,
    counters: Counters,
    /// How much of what was not passed on was told.
    told_dropped: u64,
    clocks: ClockWatch,
    work: Work,
    /// When the chain goes on with what it does a slice at a time.
    chain_due: Option<Instant>,
    /// The best block when we last looked.
    tip: Hash,
    tip_moved_at: Option<Instant>,
    stopping: bool,
    /// All dials go through a proxy.
    is_through_proxy: bool,
    /// Old blocks are given to those who ask.
    serves_history: bool,
    #[cfg(feature = "sim")]
    buggify: Option<crate::buggify::Buggify>,
}

impl<C: Chain> Node<C> {
    /// A node at rest. `seed` decides every choice it makes; `nonce` must differ between running nodes.
    ///
    /// Dials begin with the first [`Input::Tick`].
    ///
    /// # Errors
    ///
    /// What [`Config::validate`] finds; the chain is dropped then.
    pub fn new(config: Config, chain: C, seed: u64, nonce: u64) -> Result<Self, ConfigErrors> {
        config.validate()?;
        let mut outbound = OutboundManager::new(OutboundConfig {
            outbound: config.outbound,
            feeler_every: config.feeler_every,
            ..OutboundConfig::default()
        });
        for address in &config.connect {
            outbound.keep(*address);
        }
        for address in &config.seeds {
            outbound.add_seed(*address);
        }
        config.connect_names.iter().for_each(|name| outbound.keep_name(name.clone()));
        config.seed_names.iter().for_each(|name| outbound.add_seed_name(name.clone()));
        let tip = chain.best().hash;
        let mut own_addresses = OwnAddresses::new(&config.external);
        own_addresses.set_listening(&any_address(config.listening_port));
        Ok(Node {
            chain,
            rng: Rng::from_seed(seed),
            nonce,
            key: Rng::from_seed(!seed).next_u64(),
            sessions: Sessions::default(),
            rounds: Rounds::default(),
            peers: PeerTable::new(PeerTableConfig {
                stale_after: config.stale_after,
                blacklist: config.blacklist.clone(),
                ..PeerTableConfig::default()
            }),
            reputation: Reputation::new(ReputationConfig {
                blacklist: config.blacklist.clone(),
                ..ReputationConfig::default()
            }),
            bans: OperatorBans::default(),
            bans_changed: false,
            admission: Admission::new(config.admission.clone()),
            book: AddressBook::new(AddressBookConfig {
                allow_private: config.allow_private,
                ..AddressBookConfig::default()
            }),
            outbound,
            sync: SyncManager::new(config.sync.clone()).salted(Rng::from_seed(seed.rotate_left(32)).next_u64()),
            known: KnownObjects::default(),
            unheard: UnheardGossip::default(),
            reading: Reading::default(),
            side_blocks: SideBlocks::default(),
            own_addresses,
            outputs: VecDeque::new(),
            counters: Counters::default(),
            told_dropped: 0,
            clocks: ClockWatch::default(),
            work: Work::default(),
            chain_due: None,
            tip,
            tip_moved_at: None,
            stopping: false,
            is_through_proxy: false,
            serves_history: true,
            #[cfg(feature = "sim")]
            buggify: None,
            config,
        })
    }

    /// Takes one input. What follows from it waits in [`Node::poll_output`].
    ///
    /// # Panics
    ///
    /// In builds with debug assertions, when outputs of an earlier call are still waiting there.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        debug_assert!(self.outputs.is_empty(), "all outputs are carried out before the next input");
        match input {
            Input::Opened { conn, remote, local, direction, identity } => {
                self.on_opened(now, conn, (remote, local), direction, identity);
            }
            Input::OverWebSocket { conn } => self.on_web_socket(now, conn),
            Input::AdmissionReleased { remote, reason } => self.on_admission_released(now, remote, reason),
            Input::WaitedInVain { remote } => self.waited_in_vain(remote),
            Input::DialFailed { dial, reason } => self.on_dial_failed(now, dial, reason),
            Input::Frame { conn, frame } => self.on_frame(now, conn, frame),
            Input::BadFrame { conn, error } => self.on_bad_frame(now, conn, error),
            Input::HalfClosed { conn } => self.on_half_closed(conn),
            Input::Received { conn, received } => self.on_received(now, conn, received),
            Input::SendRefused { conn, kind, payload } => self.on_refused(conn, kind, &payload),
            Input::SendTooLarge { conn, kind, payload } => self.on_too_large(now, conn, kind, &payload),
            // There was room for one, so the next that waits may try.
            Input::SendAccepted { conn } | Input::Writable { conn } => {
                self.say_now(now, conn);
                self.on_writable(now, conn);
            }
            Input::Closed { conn, reason } => self.on_closed(now, conn, reason),
            Input::Tick => {
                self.chain_due = None;
                self.on_tick(now);
                // The rest follows the last answer.
                if self.sessions.is_waiting() {
                    return;
                }
            }
            Input::TurnEnded => {
                let is_finished = self.finish_some(now);
                self.chain.turn_ended();
                self.look_after_chain(now);
                if !is_finished {
                    // It comes after others, which left nothing else to do.
                    return;
                }
            }
            Input::Command(command) => self.on_command(now, command),
        }
        self.drain_sync(now);
        self.dial_more(now);
        debug_assert_eq!(self.audit_sessions(), Ok(()));
    }

    /// The units of work that inputs have cost since the last call, for [`Net::spend`](crate::driver::Net::spend): who drives a
    /// node by something else may charge them to the connection that the input came from. The number depends on the inputs
    /// alone. See [`limits::TURN_WORK`](crate::limits::TURN_WORK).
    pub fn take_work(&mut self) -> u32 {
        let others = self.sync.take_work().saturating_add(self.chain.take_work());
        self.work.take().saturating_add(others)
    }

    /// The next thing for the driver to do; `None` when everything is said.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Tick`] is due at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        let first = Some(self.rounds.deadline()).into_iter().chain(self.sessions.deadline()).min();
        if self.sessions.is_waiting() {
            return first;
        }
        let dial = if self.stopping { None } else { self.outbound.deadline() };
        [first, dial, self.sync.deadline(), self.chain_due].into_iter().flatten().min()
    }

    fn on_opened(
        &mut self,
        now: Now,
        conn: ConnId,
        (remote, local): (SocketAddr, Option<SocketAddr>),
        direction: Direction,
        identity: Option<VerifiedId>,
    ) {
        let arrived = self.admission.opened(conn, remote, !direction.is_outbound());
        let started = match direction {
            Direction::Outbound(dial) => self.outbound.dial_opened(dial),
            Direction::Inbound => arrived,
        };
        let deadline = started.unwrap_or(now.at) + self.config.handshake_timeout;
        let budgets = PeerBudgets::new(&self.config.rates, self.is_exempt(remote));
        self.sessions.open(conn, (remote, direction, identity), (now.at, deadline), budgets);
        if let Some(session) = self.sessions.get_mut(conn) {
            session.local = local;
        }
        let may_be_client = !direction.is_outbound() && self.admission.is_of_clients(remote);
        if let Some(session) = self.sessions.get_mut(conn) {
            session.may_be_client = may_be_client;
        }
        let rules = match may_be_client {
            // A miner begins with its block. There are few such places.
            true if self.admission.has_client_place(conn) => FrameRules::client(),
            true => FrameRules::unintroduced(),
            false => FrameRules::greeting(),
        };
        self.outputs.push_back(Output::Rules { conn, rules });
        if !direction.is_outbound() && self.admission.is_full() {
            self.evict_stalled(now);
        }
        if self.stopping {
            self.close(now, conn, CloseReason::Shutdown);
        } else if self.is_banned(now, remote, identity) {
            // Whom an identity is banned for is known only now, wherever it comes from.
            self.close(now, conn, CloseReason::Blacklisted);
        } else if direction.is_outbound() {
            self.send_handshake(now, conn, Kind::Handshake, self.config.version, None);
        }
    }

    /// Queues a message for one connection. A message that breaks its own caps is our mistake and is not sent.
    fn send(&mut self, conn: ConnId, message: &Message<'_>) {
        if let Ok(payload) = message.to_payload() {
            self.send_payload(conn, message.kind(), payload);
        } else {
            debug_assert!(false, "a {} of ours breaks its caps", message.kind().name());
        }
    }

    fn send_payload(&mut self, conn: ConnId, kind: Kind, payload: bytes::Bytes) {
        self.send_at(kind.priority(), conn, kind, payload);
    }

    fn send_at(&mut self, priority: Priority, conn: ConnId, kind: Kind, payload: bytes::Bytes) {
        // What the other side cannot read is not said, and there is nothing that it could read instead.
        let byte = match self.sessions.asker(conn) {
            Some(peer) => peer.speech.type_byte(kind, &payload),
            None => Some(kind as u8),
        };
        let Some(byte) = byte else { return };
        // A client takes answers in the order in which it has asked.
        let is_client = self.sessions.get(conn).is_some_and(|session| session.client().is_some());
        let priority = if is_client { Priority::Normal } else { priority };
        *self.counters.sent.entry(kind).or_default() += 1;
        *self.counters.sent_bytes.entry(kind).or_default() += payload.len() as u64;
        // What waits for the queue may try as soon as this is in it.
        let rest = kind == Kind::Headers && self.sessions.asker(conn).is_some_and(|peer| peer.headers_sent.is_some());
        let report = rest || matches!(kind, Kind::Block | Kind::Blocks);
        self.outputs.push_back(Output::Send { conn, kind, byte, priority, payload, report });
    }

    fn emit(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

/// What an embedder may read between two inputs.
impl<C> Node<C> {
    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Whether blocks further below the tip than the last 144 are given to those who ask; they are told that there are none
    /// otherwise, which saves most of what a node sends. True unless it is set.
    pub fn set_serves_history(&mut self, serves: bool) {
        self.serves_history = serves;
    }

    /// The chain.
    pub fn chain(&self) -> &C {
        &self.chain
    }

    /// The chain, to change it. Blocks and transactions should come as commands, so that peers hear of them.
    pub fn chain_mut(&mut self) -> &mut C {
        &mut self.chain
    }

    /// The known peers.
    pub fn peers(&self) -> &PeerTable {
        &self.peers
    }

    /// Takes over the peers that an earlier run saved: all of them disconnected, and worth a dial.
    pub fn restore_peers(&mut self, now: Now, records: impl IntoIterator<Item = PeerRecord>) {
        let mut records: Vec<PeerRecord> = records.into_iter().collect();
        // Where a subnet has too many, anchors come first, then those that we once reached, and of these the last seen.
        records.sort_by_key(|record| (!record.anchor, !record.reached, core::cmp::Reverse(record.last_seen)));
        for record in records {
            if let Some(address) = record.address {
                self.book.hear(address, None, now);
            }
            // A full table keeps the better ones; that is what it is for.
            let _ = self.peers.add(PeerRecord { connected: false, seen_at: now.at, ..record });
        }
        self.outbound.nudge();
    }

    /// Takes over the addresses that an earlier run saved, as far as the limits of the book go. Answers how many.
    pub fn restore_addresses(&mut self, now: Now, saved: impl IntoIterator<Item = SavedAddress>) -> usize {
        let taken = self.book.restore(saved, now, &mut self.rng);
        self.outbound.nudge();
        taken
    }

    /// From now on, misbehaves now and then in ways that are legal.
    #[cfg(feature = "sim")]
    pub fn set_buggify(&mut self, mut buggify: crate::buggify::Buggify) {
        self.sync.set_buggify(buggify.fork());
        self.buggify = Some(buggify);
    }

    /// What it held against whom, and for whom, since the last call; nothing at the first one.
    #[cfg(feature = "sim")]
    pub fn take_reputation_moves(&mut self) -> Vec<(crate::address::Origin, i32)> {
        self.reputation.take_moves()
    }

    /// Connections that it dialed and is ending: what they held is free once they are gone.
    #[cfg(feature = "sim")]
    pub fn ending_outbound(&self) -> usize {
        self.sessions.iter().filter(|session| session.is_outbound() && session.is_closing()).count()
    }

    /// Since when it has fewer automatic connections than it wants.
    #[cfg(feature = "sim")]
    pub fn lacking_since(&self) -> Option<crate::time::Instant> {
        self.outbound.lacking_since()
    }

    /// How often it misbehaved at each point.
    #[cfg(feature = "sim")]
    pub fn buggify_hits(&self) -> std::collections::BTreeMap<crate::buggify::Point, u64> {
        let mut hits = self.sync.buggify_hits();
        for (point, count) in self.buggify.iter().flat_map(|buggify| buggify.hits()) {
            *hits.entry(*point).or_default() += count;
        }
        hits
    }

    /// The addresses that it may dial.
    pub fn book(&self) -> &AddressBook {
        &self.book
    }

    /// What it counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Connections, introduced or not.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// The height of the best header that is known to be valid, and whether blocks towards it are being fetched.
    pub fn sync_target(&self) -> (u64, bool) {
        (self.sync.target_height(), self.sync.is_syncing())
    }

    /// The branch whose blocks are being fetched, as far as checked headers prove it.
    pub fn followed(&self) -> Option<Followed> {
        self.sync.followed()
    }

    /// How far branches were told that leave our chain far below its tip, and are counted before they are stored: while that takes
    /// its time, [`sync_target`](Self::sync_target) stands still.
    pub fn branch_progress(&self) -> BranchProgress {
        self.sync.branch_progress()
    }
}

/// What both clocks said at `at`, as far as the monotonic one can tell.
fn moment(now: Now, at: Instant) -> Now {
    let age = i64::try_from(now.at.since(at).as_millis()).unwrap_or(i64::MAX);
    Now { at, unix: UnixTime::from_millis(now.unix.as_millis().saturating_sub(age)) }
}
