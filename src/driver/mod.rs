//! The real world: one mio loop that owns sockets, clocks and files.
//!
//! SKELETON: signatures are the contract; bodies, splitting into files and docs are the driver author's.

pub mod store;

use bytes::Bytes;
use core::time::Duration;
use std::io;
use std::net::SocketAddr;

use crate::close::CloseReason;
use crate::id::{ConnId, DialId, Direction};
use crate::time::{Instant, Now};
use crate::wire::{Frame, FrameRules, Priority};

/// What the loop tells a protocol.
#[derive(Debug)]
pub enum Event<'a, C> {
    /// A connection stands.
    Opened {
        /// Its name.
        conn: ConnId,
        /// The other side.
        remote: SocketAddr,
        /// Our side.
        local: SocketAddr,
        /// Who dialed.
        direction: Direction,
    },
    /// A dial ended without a connection.
    DialFailed {
        /// Its name.
        dial: DialId,
        /// Where to.
        remote: SocketAddr,
        /// Why: `DialTimeout`, `Io(kind)` or `LocalResource(kind)`.
        reason: CloseReason,
    },
    /// A frame.
    Frame {
        /// Where from.
        conn: ConnId,
        /// The frame.
        frame: Frame<'a>,
    },
    /// The connection's outbox has drained from above its high mark to its low mark.
    Writable {
        /// The connection.
        conn: ConnId,
    },
    /// The connection is gone; exactly once per `Opened`.
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// The protocol's deadline passed.
    Timer,
    /// From a `Handle`.
    Command(C),
    /// A stop was asked for; connections drain after this call.
    Stopping,
}

/// What an embedder writes: events in, calls on `Net` out.
pub trait Protocol {
    /// What handles may send.
    type Command: Send + 'static;

    /// May this address connect? Asked before anything is allocated for it. A refused socket is closed at once.
    fn admit(&mut self, _now: Now, _remote: SocketAddr) -> bool {
        true
    }

    /// One event.
    fn handle(&mut self, now: Now, event: Event<'_, Self::Command>, net: &mut Net);

    /// When `Event::Timer` is wanted next.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The end of a turn, before queued frames are flushed.
    fn turn_ended(&mut self, _now: Now, _net: &mut Net) {}
}

/// What `Net::send` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum SendOutcome {
    /// Queued. `dropped` frames of lower priority had to go for it.
    Accepted {
        /// Frames dropped for this one.
        dropped: u32,
    },
    /// Not queued: the queue is full.
    Full,
    /// Not queued: no such connection, or it is closing.
    Closed,
}

/// The loop's face towards a protocol: connections by name.
#[derive(Debug)]
pub struct Net {}

#[allow(unused_variables, missing_docs, clippy::unimplemented)]
impl Net {
    /// Starts a dial; the answer is always an event, never an error here.
    pub fn dial(&mut self, dial: DialId, remote: SocketAddr, timeout: Duration) {
        unimplemented!()
    }
    /// Queues a frame; the payload is copied into the packing buffer.
    pub fn send(&mut self, conn: ConnId, priority: Priority, kind: u8, payload: &[u8]) -> SendOutcome {
        unimplemented!()
    }
    /// Queues a frame whose payload is shared when large, copied when small.
    pub fn send_shared(&mut self, conn: ConnId, priority: Priority, kind: u8, payload: &Bytes) -> SendOutcome {
        unimplemented!()
    }
    /// Stops reading, flushes what is queued within `drain`, then closes; `Closed{reason}` follows once.
    pub fn close(&mut self, conn: ConnId, reason: CloseReason, drain: Duration) {
        unimplemented!()
    }
    pub fn set_rules(&mut self, conn: ConnId, rules: &'static FrameRules) {
        unimplemented!()
    }
    pub fn pause(&mut self, conn: ConnId) {
        unimplemented!()
    }
    pub fn resume(&mut self, conn: ConnId) {
        unimplemented!()
    }
    pub fn connections(&self) -> usize {
        unimplemented!()
    }
    /// Asks the loop to stop gracefully.
    pub fn stop(&mut self) {
        unimplemented!()
    }
    pub fn conn_stats(&self, conn: ConnId) -> Option<ConnStats> {
        unimplemented!()
    }
    pub fn totals(&self) -> &Totals {
        unimplemented!()
    }
}

/// Counters of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub struct ConnStats {
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub frames_in: u64,
    pub frames_out: u64,
    pub queued_bytes: usize,
    pub queued_frames: usize,
    pub dropped_frames: u64,
}

/// Counters of the whole loop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs)]
pub struct Totals {
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub frames_in: u64,
    pub frames_out: u64,
    pub accepted: u64,
    pub refused: u64,
    pub dialed: u64,
    pub dial_failures: u64,
    pub dropped_frames: u64,
    /// Closes by `CloseReason::label`.
    pub closes: std::collections::BTreeMap<&'static str, u64>,
}

/// Settings of the loop.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Config {}

/// The loop.
#[derive(Debug)]
pub struct Driver<P: Protocol> {
    protocol: P,
}

/// A way into the loop from other threads.
#[derive(Debug)]
pub struct Handle<C>(std::sync::mpsc::SyncSender<C>);

impl<C> Clone for Handle<C> {
    fn clone(&self) -> Self {
        Handle(self.0.clone())
    }
}

/// A command that was not delivered comes back.
#[derive(Debug)]
pub enum HandleError<C> {
    /// The queue is full: the loop is behind.
    Full(C),
    /// The loop is gone.
    Closed(C),
}

#[allow(unused_variables, missing_docs, clippy::unimplemented, clippy::missing_errors_doc)]
impl<C> Handle<C> {
    pub fn send(&self, command: C) -> Result<(), HandleError<C>> {
        unimplemented!()
    }
    /// Asks the loop to stop gracefully; never blocks, cannot be refused.
    pub fn stop(&self) {
        unimplemented!()
    }
}

#[allow(unused_variables, missing_docs, clippy::unimplemented, clippy::missing_errors_doc)]
impl<P: Protocol> Driver<P> {
    pub fn new(config: Config, protocol: P) -> io::Result<Self> {
        unimplemented!()
    }
    /// Binds and listens; answers the real address when port 0 was asked for.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        unimplemented!()
    }
    pub fn handle(&self) -> Handle<P::Command> {
        unimplemented!()
    }
    pub fn protocol(&self) -> &P {
        &self.protocol
    }
    pub fn protocol_mut(&mut self) -> &mut P {
        &mut self.protocol
    }
    /// Gives the protocol access to the connections outside of an event, as at start.
    pub fn with<R>(&mut self, f: impl FnOnce(&mut P, Now, &mut Net) -> R) -> R {
        unimplemented!()
    }
    /// One turn: waits at most `timeout` (`None`: until something happens), handles what is ready, flushes. False once stopped.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        unimplemented!()
    }
    /// Turns until stopped.
    pub fn run(&mut self) -> io::Result<()> {
        while self.turn(None)? {}
        Ok(())
    }
}
