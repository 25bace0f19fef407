//! A node on the loop: what the driver sees becomes the node's inputs, what the node wants becomes calls on the driver.
//!
//! It decides nothing. The one rule it adds is the order: one input in, all outputs out, before the next.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use bytes::Bytes;

use crate::close::{Blame, CloseReason};
use crate::driver::{self, ConnStats, Driver, Net, Protocol, SendOutcome};
use crate::id::{ConnId, DialId};
use crate::proto::Node;
use crate::proto::event::{Command, Event, Input, Output};
use crate::proto::peer::peer_table::PeerTable;
use crate::proto::sync::chain::Chain;
use crate::time::{Instant, Now};
use crate::wire::{FrameError, FrameRules, Kind, Message, Priority};

/// How long a farewell to a peer that broke the rules may take.
const DRAIN_AFTER_VIOLATION: Duration = Duration::from_millis(500);
/// How long the queue of a peer that did nothing wrong may take to leave.
const DRAIN: Duration = Duration::from_secs(2);

/// A node's driver.
pub type NodeDriver<C, O> = Driver<NodeProtocol<C, O>>;
/// A way into a running node from other threads.
pub type NodeHandle<C> = driver::Handle<NodeCommand<C>>;

/// Something to do with a running node, on the loop's thread.
pub type NodeTask<C> = Box<dyn FnOnce(&mut Node<C>, Now) + Send>;

/// What other threads may ask of a running node.
pub enum NodeCommand<C> {
    /// One of the protocol's commands.
    Do(Command),
    /// Runs on the loop's thread with the node at hand: to read its state, or to make a block template from its chain.
    /// It must return soon, since nothing else happens meanwhile.
    With(NodeTask<C>),
}

impl<C> fmt::Debug for NodeCommand<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeCommand::Do(command) => f.debug_tuple("Do").field(command).finish(),
            NodeCommand::With(_) => f.write_str("With(..)"),
        }
    }
}

/// Who is told what happens, on the loop's thread. A closure that takes events is one.
pub trait Observer<C> {
    /// Something happened.
    fn on_event(&mut self, now: Now, event: &Event, node: &Node<C>);

    /// The table of known peers is due to be saved.
    fn save_peers(&mut self, _now: Now, _peers: &PeerTable) {}
}

impl<C, F: FnMut(Now, &Event, &Node<C>)> Observer<C> for F {
    fn on_event(&mut self, now: Now, event: &Event, node: &Node<C>) {
        self(now, event, node);
    }
}

/// Who carries a node's bytes: the loop's [`Net`], or somebody in front of it. The calls are those of [`Net`].
pub trait NetApi {
    /// See [`Net::dial`].
    fn dial(&mut self, dial: DialId, remote: SocketAddr, timeout: Duration);
    /// See [`Net::send_shared`].
    fn send_shared(&mut self, conn: ConnId, priority: Priority, kind: u8, payload: &Bytes) -> SendOutcome;
    /// See [`Net::set_rules`].
    fn set_rules(&mut self, conn: ConnId, rules: &'static FrameRules);
    /// See [`Net::close`].
    fn close(&mut self, conn: ConnId, reason: CloseReason, drain: Duration);
    /// See [`Net::conn_stats`].
    fn conn_stats(&self, conn: ConnId) -> Option<ConnStats>;
}

impl NetApi for Net {
    fn dial(&mut self, dial: DialId, remote: SocketAddr, timeout: Duration) {
        Net::dial(self, dial, remote, timeout);
    }

    fn send_shared(&mut self, conn: ConnId, priority: Priority, kind: u8, payload: &Bytes) -> SendOutcome {
        Net::send_shared(self, conn, priority, kind, payload)
    }

    fn set_rules(&mut self, conn: ConnId, rules: &'static FrameRules) {
        Net::set_rules(self, conn, rules);
    }

    fn close(&mut self, conn: ConnId, reason: CloseReason, drain: Duration) {
        Net::close(self, conn, reason, drain);
    }

    fn conn_stats(&self, conn: ConnId) -> Option<ConnStats> {
        Net::conn_stats(self, conn)
    }
}

/// A [`Node`] as a [`Protocol`] of the loop.
#[derive(Debug)]
pub struct NodeProtocol<C, O> {
    node: Node<C>,
    observer: O,
    /// Bytes and frames of connections that were looked at in the middle of a frame, to see whether they move.
    progress: BTreeMap<ConnId, (u64, u64)>,
}

impl<C: Chain, O: Observer<C>> NodeProtocol<C, O> {
    /// Joins a node and whoever wants to know what it does.
    pub fn new(node: Node<C>, observer: O) -> Self {
        NodeProtocol { node, observer, progress: BTreeMap::new() }
    }

    /// The node.
    pub fn node(&self) -> &Node<C> {
        &self.node
    }

    /// The node, to change it before the loop runs or between two turns.
    pub fn node_mut(&mut self) -> &mut Node<C> {
        &mut self.node
    }

    /// The observer.
    pub fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    /// Takes both apart again.
    pub fn into_parts(self) -> (Node<C>, O) {
        (self.node, self.observer)
    }

    /// One event, over any carrier.
    pub fn take(&mut self, now: Now, event: driver::Event<'_, NodeCommand<C>>, net: &mut impl NetApi) {
        let input = match event {
            driver::Event::Opened { conn, remote, direction, identity, .. } => {
                Input::Opened { conn, remote, direction, identity }
            }
            driver::Event::DialFailed { dial, reason, .. } => Input::DialFailed { dial, reason },
            driver::Event::Frame { conn, frame } => Input::Frame { conn, frame },
            driver::Event::Writable { conn } => Input::Writable { conn },
            driver::Event::Closed { conn, reason } => {
                self.progress.remove(&conn);
                Input::Closed { conn, reason }
            }
            driver::Event::Timer => {
                self.note_progress(now, net);
                Input::Tick
            }
            driver::Event::Command(NodeCommand::Do(command)) => Input::Command(command),
            driver::Event::Command(NodeCommand::With(look)) => {
                look(&mut self.node, now);
                return self.drain(now, net);
            }
            driver::Event::Stopping => Input::Command(Command::Stop),
        };
        self.feed(now, input, net);
    }

    /// Bytes that can never be a frame, over any carrier.
    pub fn take_violation(&mut self, now: Now, conn: ConnId, error: FrameError, net: &mut impl NetApi) {
        self.feed(now, Input::BadFrame { conn, error }, net);
    }

    fn feed(&mut self, now: Now, input: Input<'_>, net: &mut impl NetApi) {
        self.node.handle(now, input);
        self.drain(now, net);
    }

    fn drain(&mut self, now: Now, net: &mut impl NetApi) {
        while let Some(output) = self.node.poll_output() {
            match output {
                Output::Dial { dial, address, timeout } => net.dial(dial, address, timeout),
                Output::Send { conn, kind, priority, payload } => {
                    match net.send_shared(conn, priority, kind as u8, &payload) {
                        SendOutcome::Full => self.node.handle(now, Input::Refused { conn, kind, payload }),
                        // There was room for one, so the next that waits may try.
                        SendOutcome::Accepted { .. } if matches!(kind, Kind::Block | Kind::NotFound) => {
                            self.node.handle(now, Input::Writable { conn });
                        }
                        // The word that it is gone is on its way.
                        SendOutcome::Accepted { .. } | SendOutcome::Closed => {}
                    }
                }
                Output::Rules { conn, rules } => net.set_rules(conn, rules),
                Output::Close { conn, reason } => Self::close(net, conn, reason),
                Output::Event(event) => self.observer.on_event(now, &event, &self.node),
                Output::SavePeers => self.observer.save_peers(now, self.node.peers()),
            }
        }
    }

    /// An Error frame goes first when nothing else waits; then the connection has a moment to take what is queued.
    fn close(net: &mut impl NetApi, conn: ConnId, reason: CloseReason) {
        let is_empty = net.conn_stats(conn).is_some_and(|stats| stats.queued_bytes == 0);
        if let Some(text) = reason.consequence().last_error.filter(|_| is_empty)
            && let Ok(payload) = Message::Error(text).to_payload()
        {
            // A refusal changes nothing: the connection ends either way.
            let _ = net.send_shared(conn, Kind::Error.priority(), Kind::Error as u8, &payload);
        }
        let drain = match reason.blame() {
            Blame::Misbehaved | Blame::Incompatible | Blame::Lost => DRAIN_AFTER_VIOLATION,
            Blame::Ours => DRAIN,
        };
        net.close(conn, reason, drain);
    }

    /// Tells slow peers from silent ones: bytes came since the last look, but no whole frame.
    fn note_progress(&mut self, now: Now, net: &impl NetApi) {
        for conn in self.node.due_sessions(now) {
            let Some(stats) = net.conn_stats(conn) else { continue };
            let seen = (stats.bytes_in, stats.frames_in);
            let before = self.progress.insert(conn, seen);
            if before.is_some_and(|(bytes, frames)| stats.bytes_in > bytes && stats.frames_in == frames) {
                self.node.handle(now, Input::Progress { conn });
            }
        }
    }
}

impl<C: Chain + 'static, O: Observer<C>> Protocol for NodeProtocol<C, O> {
    type Command = NodeCommand<C>;

    fn admit(&mut self, now: Now, remote: SocketAddr) -> bool {
        self.node.admit(now, remote)
    }

    fn eviction_candidate(&self, now: Now, newcomer: SocketAddr) -> Option<SocketAddr> {
        self.node.eviction_candidate(now, newcomer)
    }

    fn admission_released(&mut self, now: Now, remote: SocketAddr, reason: CloseReason) {
        self.node.admission_released(now, remote, reason);
    }

    fn handle(&mut self, now: Now, event: driver::Event<'_, NodeCommand<C>>, net: &mut Net) {
        self.take(now, event, net);
    }

    fn violation(&mut self, now: Now, conn: ConnId, error: FrameError, net: &mut Net) {
        self.take_violation(now, conn, error, net);
    }

    fn deadline(&self) -> Option<Instant> {
        self.node.deadline()
    }

    fn turn_ended(&mut self, now: Now, net: &mut Net) {
        // What admissions have led to: they come without a carrier.
        self.drain(now, net);
        self.node.turn_ended();
    }
}
