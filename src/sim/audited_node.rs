//! The real node behind the real adapter, as the loop's protocol, with an auditor on both sides of it.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::PoisonError;

use super::auditor::{AuditedNet, Auditor, Note, TOLD};
use super::delivery_checker::digest;
use super::kernel::SharedMachine;
use super::trace::What;
use crate::chain::ReferenceChain;
use crate::chain::block::MAX_TRANSACTIONS;
use crate::driver::node::{NodeCommand, NodeProtocol, Observer};
use crate::driver::{self, Admit, Begun, Event, FrameStart, Meter, Net, Protocol};
use crate::id::{ConnId, Direction};
use crate::invariant::Invariant;
use crate::proto::peer::peer_table::{PeerRecord, PeerTable};
use crate::proto::{self, Node};
use crate::time::{Instant, Now};
use crate::wire::message::Extension;
use crate::wire::{Frame, Kind, Message};

/// How far behind a clock may be before its node cannot tell which block it is that comes from the future.
pub(super) const CLOCK_OFF: i64 = 3_600_000;

/// Transactions that a peer may be sent at once, by its burst.
const TRANSACTIONS_AT_ONCE: usize = 200;

/// Units of work that a frame may cost whatever its length: the longest answer, or a change of branch.
const FRAME_WORK: u64 = 20_000;
/// The same of a Block: others that waited for it are judged with it.
const BLOCK_WORK: u64 = 30_000;
/// The same of the end of a turn, for what was judged and read elsewhere: a slice of what enters the index, and one block of the most
/// transactions that leave the pool together.
const FINISHING_WORK: u64 = BLOCK_WORK + MAX_TRANSACTIONS as u64;
/// Bytes of a frame for which it may cost one more.
const BYTES_PER_WORK: u64 = 2;
/// The same of a block that is asked for: it is read and hashed, and its transactions are told apart.
const BYTES_PER_BLOCK_WORK: u64 = 16;

/// What the node told its embedder since the last look.
#[derive(Default)]
struct Log {
    events: Vec<proto::Event>,
    /// Where its dials found a peer.
    reached: BTreeSet<SocketAddr>,
    /// The peers that are to be saved, and where a peer had been reached when that was said: a turn may reach more afterwards.
    saved: Option<Saved>,
}

/// See [`Log::saved`].
pub(super) struct Saved {
    pub(super) peers: Vec<PeerRecord>,
    pub(super) reached: BTreeSet<SocketAddr>,
}

impl Observer<ReferenceChain> for Log {
    fn on_event(&mut self, _: Now, event: &proto::Event, _: &Node<ReferenceChain>) {
        if let proto::Event::PeerConnected { remote, outbound: true, .. } = event {
            self.reached.insert(*remote);
        }
        self.events.push(event.clone());
    }

    fn save_peers(&mut self, _: Now, peers: &PeerTable) {
        self.saved = Some(Saved { peers: peers.saved_peers().cloned().collect(), reached: self.reached.clone() });
    }
}

/// A hash of a word, for the trace and to compare.
pub(super) fn name(text: &str) -> u64 {
    digest(0, text.as_bytes())
}

pub(super) struct AuditedNode {
    inner: NodeProtocol<ReferenceChain, Log>,
    pub(super) auditor: Auditor,
    machine: SharedMachine,
    node_id: String,
    /// The wall clock is not so far off that the node cannot tell which block is from the future.
    pub(super) knows_its_time: bool,
}

impl AuditedNode {
    pub(super) fn new(node: Node<ReferenceChain>, auditor: Auditor, machine: SharedMachine, node_id: String) -> Self {
        let mut inner = NodeProtocol::new(node, Log::default());
        // From now on they are written down.
        inner.whole_node_mut().take_reputation_moves();
        AuditedNode { inner, auditor, machine, node_id, knows_its_time: true }
    }

    pub(super) fn node(&self) -> &Node<ReferenceChain> {
        self.inner.node()
    }

    pub(super) fn node_mut(&mut self) -> &mut Node<ReferenceChain> {
        self.inner.whole_node_mut()
    }

    /// The peers that the node wants to be saved.
    pub(super) fn take_saved(&mut self) -> Option<Saved> {
        self.inner.observer_mut().saved.take()
    }

    /// How many messages of a kind the node dropped because they came too fast.
    fn over_budget(&self, kind: Option<Kind>) -> u64 {
        let dropped = |kind| self.node().counters().over_budget.get(&kind).copied();
        kind.and_then(dropped).unwrap_or(0)
    }

    fn pass(&mut self, now: Now, event: Event<'_, NodeCommand<ReferenceChain>>, net: &mut Net) {
        let AuditedNode { inner, auditor, .. } = self;
        inner.handle_over(now, event, &mut AuditedNet { net, auditor });
    }

    /// Bytes of the blocks that the frame asks for.
    fn asked_blocks(&self, frame: &Frame<'_>) -> u64 {
        let asks = [Kind::GetBlock, Kind::GetBlocks].into_iter().find(|kind| frame.kind == *kind as u8);
        let hashes = match asks.map(|kind| Message::decode(kind, &frame.payload)) {
            Some(Ok(Message::GetBlock(hash))) => vec![hash],
            Some(Ok(Message::GetBlocks(hashes))) => hashes,
            _ => Vec::new(),
        };
        hashes.iter().filter_map(|hash| self.node().chain().block_len(hash)).fold(0, u64::saturating_add)
    }

    fn on_frame(&mut self, now: Now, conn: ConnId, frame: Frame<'_>, net: &mut Net) {
        let hash = digest(frame.kind, &frame.payload);
        self.auditor.line(What::Frame, u64::from(frame.kind), frame.payload.len() as u64);
        let open = self.auditor.entries.get(&conn).is_some_and(|entry| !entry.closing);
        self.auditor.tally.that(Invariant::S2, open, || format!("a frame on connection {conn}, which is closed"));
        if let Some((pipe, side)) = self.auditor.entries.get(&conn).and_then(|entry| entry.pipe) {
            self.auditor.notes.push(Note::FrameDelivered(pipe, side, hash));
        }
        let relayed = Kind::from_byte(frame.kind).filter(|kind| self.knows_its_time && kind.is_relayed());
        let fresh = relayed.is_some_and(|_| self.auditor.received(conn, hash));
        let over = self.over_budget(relayed);
        if frame.kind == Kind::TxPoolRequest as u8 {
            self.auditor.answering = Some(conn);
        }
        let takes_many = takes_many(&frame);
        let brings = |kind: Kind| kind.is_relayed() || matches!(kind, Kind::Block | Kind::Blocks | Kind::Headers);
        let brings = Kind::from_byte(frame.kind).is_some_and(brings);
        self.auditor.heard(conn);
        if let Some(entry) = self.auditor.entries.get_mut(&conn) {
            entry.last_frame = now.at;
            entry.useful |= brings;
            if takes_many {
                entry.send_rate.takes_many();
            }
        }
        let is_block = [Kind::Block, Kind::Blocks].into_iter().any(|kind| frame.kind == kind as u8);
        let base = if is_block { BLOCK_WORK } else { FRAME_WORK };
        let asked = self.asked_blocks(&frame) / BYTES_PER_BLOCK_WORK;
        let bound = base.saturating_add(frame.payload.len() as u64 / BYTES_PER_WORK).saturating_add(asked);
        let frame_kind = frame.kind;
        self.auditor.check_turn(conn);
        self.auditor.work = 0;
        self.pass(now, Event::Frame { conn, frame }, net);
        let work = self.auditor.work;
        self.auditor.worked(conn, work);
        self.auditor.tally.that(Invariant::S22, work <= bound, || {
            format!("a frame of kind {:#04x} costs {work} units where {bound} are allowed", frame_kind)
        });
        self.auditor.answering = None;
        let dropped = self.over_budget(relayed) > over;
        if fresh && dropped {
            self.auditor.forget_received(conn, hash);
        }
        if !dropped && let Some(entry) = self.auditor.entries.get_mut(&conn) {
            entry.owed.remove(&hash);
        }
    }

    fn on_tick(&mut self, now: Now, net: &mut Net) {
        self.auditor.line(What::Tick, self.node().session_count() as u64, 0);
        let due = self.inner.deadline().is_some_and(|at| at <= now.at);
        self.auditor.tally.that(Invariant::S16, due, || "a tick before its deadline".to_owned());
        let blocks = self.node().chain().block_count();
        self.pass(now, Event::Timer, net);
        // Many blocks are submitted a few at a time: then the next tick is due at once.
        let moved = self.node().chain().block_count() > blocks;
        let holds = moved || self.inner.deadline().is_none_or(|at| at > now.at);
        self.auditor.tally.that(Invariant::S16, holds, || "a tick leaves its deadline".to_owned());
    }

    /// Looks at what the node told its embedder.
    fn look(&mut self) {
        for event in core::mem::take(&mut self.inner.observer_mut().events) {
            let auditor = &mut self.auditor;
            match event {
                proto::Event::PeerConnected { conn, node_id, version, .. } => {
                    auditor.line(What::Ready, u64::from(conn.index()), u64::from(version));
                    let peer = name(&node_id);
                    let again = auditor.ready.insert(conn, peer).is_some();
                    auditor.tally.that(Invariant::S3, !again, || format!("connection {conn} is ready twice"));
                    if let Some(entry) = auditor.entries.get_mut(&conn) {
                        (entry.peer, entry.version) = (Some(peer), Some(version));
                    }
                    let count = auditor.open_to(conn);
                    auditor.tally.that(Invariant::S7, count <= 1, || format!("{count} connections to {node_id}"));
                    let ours = node_id == self.node_id;
                    auditor.tally.that(Invariant::S7, !ours, || "a connection to itself".to_owned());
                }
                proto::Event::PeerDisconnected { conn, .. } => {
                    auditor.line(What::Gone, u64::from(conn.index()), 0);
                    let known = auditor.ready.remove(&conn).is_some();
                    auditor.tally.that(Invariant::S3, known, || format!("connection {conn} leaves, but was not ready"));
                }
                proto::Event::Gossip { kind, payload, from: None } => auditor.said(kind, &payload),
                proto::Event::Blacklisted { remote, .. } => auditor.notes.push(Note::Banned(remote)),
                proto::Event::NewTip(tip) => auditor.notes.push(Note::Tip(tip.work, tip.height, tip.hash)),
                proto::Event::TransactionAccepted { id, from: Some(_) } => auditor.notes.push(Note::Payment(id)),
                proto::Event::BlockAccepted { hash, from: Some(_) } => auditor.notes.push(Note::Block(hash)),
                _ => {}
            }
        }
    }

    /// S23: a sender who waits after a refusal is not forgotten, nor one who finds its queue at the high watermark.
    fn check_promises(&mut self, net: &Net) {
        let AuditedNode { auditor, .. } = self;
        let refused = auditor.entries.iter().filter(|(_, entry)| entry.refused);
        let forgotten = refused.map(|(conn, _)| *conn).find(|conn| !net.owes_a_word(*conn));
        auditor.tally.that(Invariant::S23, forgotten.is_none(), || {
            format!("connection {forgotten:?} was refused a frame and will not hear that there is room")
        });
        let high = net.config().outbox.high;
        let full = auditor.entries.keys().find(|conn| net.queued_bytes(**conn) >= high && !net.owes_a_word(**conn));
        auditor.tally.that(Invariant::S23, full.is_none(), || {
            format!(
                "the queue of connection {full:?} is at its high watermark, and nobody will hear that it has drained"
            )
        });
    }

    /// After each event: its outputs are bounded, they name nobody who is blacklisted, and the embedder's view is looked at.
    fn after(&mut self, now: Now) {
        self.look();
        let moves = self.inner.whole_node_mut().take_reputation_moves();
        self.auditor.judge(moves);
        for (what, remote) in core::mem::take(&mut self.auditor.named) {
            if what == TOLD {
                self.auditor.check_told(remote);
            }
            // What the operator says of us is told whoever else lives there.
            let banned = self.node().is_blacklisted(now, remote) && !(what == TOLD && self.auditor.is_own(remote));
            self.auditor.tally.that(Invariant::S10, !banned, || format!("{remote} is {what}, and is blacklisted"));
        }
        let outputs = core::mem::take(&mut self.auditor.outputs);
        // What waited for the pace of a peer may all go at once.
        let bound = (10 + TRANSACTIONS_AT_ONCE) * self.auditor.entries.len() + 10 * self.auditor.dials.len() + 1200;
        self.auditor
            .tally
            .that(Invariant::S1, outputs <= bound, || format!("{outputs} outputs where {bound} are allowed"));
    }
}

impl Protocol for AuditedNode {
    type Command = NodeCommand<ReferenceChain>;

    fn admit(&mut self, now: Now, remote: SocketAddr, net: &mut Net) -> Admit {
        let AuditedNode { inner, auditor, .. } = self;
        let answer = inner.admit_over(now, remote, &mut AuditedNet { net, auditor });
        match answer {
            Admit::Accept => self.auditor.admitted.push((remote, now.at)),
            Admit::TurnAway(frame) => {
                let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
                self.auditor.turned_away(machine.pipe_from(remote), frame);
            }
            Admit::Refuse | Admit::Evict(_) | Admit::Wait(_) => {}
        }
        answer
    }

    fn begun(&mut self, now: Now, start: FrameStart<'_>, meter: &mut Meter<'_>) -> Begun {
        let (begun, work) = self.inner.begun_over(now, start);
        meter.spend(work);
        self.auditor.tally.that(Invariant::S22, u64::from(work) <= FRAME_WORK, || {
            format!("a look at the front of a frame costs {work} units where {FRAME_WORK} are allowed")
        });
        let rank = Kind::from_byte(start.kind).map_or(0, |kind| kind.priority().rank());
        if begun == Begun::Skip
            && let Some((pipe, side)) = self.auditor.entries.get(&start.conn).and_then(|entry| entry.pipe)
        {
            self.auditor.notes.push(Note::FrameSkipped(pipe, side, rank));
        }
        begun
    }

    fn handle(&mut self, now: Now, event: driver::Event<'_, Self::Command>, net: &mut Net) {
        self.auditor.now = now.at;
        match event {
            Event::Opened { conn, remote, direction, identity, .. } => {
                let socket = net.socket(conn);
                let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
                let pipe = socket.and_then(|socket| machine.pipe_of(socket));
                drop(machine);
                // Connect, TLS and the handshake together have their time.
                let since = match direction {
                    Direction::Outbound(dial) => self.auditor.dial_ended(dial, None),
                    Direction::Inbound => self.auditor.released(remote),
                };
                let dialed = direction.is_outbound();
                self.auditor.opened(conn, (remote, identity), dialed, pipe, since);
                self.pass(now, event, net);
            }
            Event::AdmissionReleased { remote, reason } => {
                self.auditor.released(remote);
                self.auditor.blame(remote, None, reason);
                self.pass(now, event, net);
            }
            Event::WaitedInVain { remote, last } => {
                let machine = self.machine.lock().unwrap_or_else(PoisonError::into_inner);
                self.auditor.turned_away(machine.pipe_from(remote), last);
                drop(machine);
                self.pass(now, event, net);
            }
            Event::DialFailed { dial, reason, .. } => {
                self.auditor.dial_ended(dial, Some(reason));
                self.pass(now, event, net);
            }
            Event::Frame { conn, frame } => self.on_frame(now, conn, frame, net),
            Event::Closed { conn, reason } => {
                self.auditor.notes.push(Note::Closed(conn, reason));
                self.auditor.closed(conn, reason);
                self.pass(now, event, net);
            }
            Event::BadFrame { conn, .. } => {
                self.pass(now, event, net);
                if let Some(entry) = self.auditor.entries.get_mut(&conn) {
                    entry.closing = true;
                }
            }
            Event::Timer => self.on_tick(now, net),
            Event::TurnEnded => {
                self.check_promises(net);
                self.auditor.end_turn();
                self.auditor.work = 0;
                self.pass(now, event, net);
                let (work, bound) = (self.auditor.work, FINISHING_WORK);
                self.auditor.tally.that(Invariant::S22, work <= bound, || {
                    format!("the end of a turn costs {work} units where {bound} are allowed")
                });
            }
            Event::Writable { conn } => {
                if let Some(entry) = self.auditor.entries.get_mut(&conn) {
                    entry.refused = false;
                }
                self.pass(now, event, net);
            }
            Event::HalfClosed { .. } | Event::Datagram { .. } | Event::Command(_) | Event::Stopping => {
                self.pass(now, event, net);
            }
        }
        self.after(now);
    }

    fn deadline(&self) -> Option<Instant> {
        self.inner.deadline()
    }
}

/// Does the peer say with this frame that it takes many transactions?
fn takes_many(frame: &Frame<'_>) -> bool {
    let kind = Kind::from_byte(frame.kind).filter(|kind| matches!(kind, Kind::Handshake | Kind::HandshakeAck));
    let extension = match kind.map(|kind| Message::decode(kind, &frame.payload)) {
        Some(Ok(Message::Handshake(handshake) | Message::HandshakeAck(Some(handshake)))) => handshake.extension,
        _ => None,
    };
    extension.is_some_and(|extension| extension.features & Extension::TAKES_MANY_TRANSACTIONS != 0)
}
