//! What goes into a node and what comes out of it.

use bytes::Bytes;
use core::net::SocketAddr;
use core::time::Duration;

use crate::close::CloseReason;
use crate::id::{ConnId, DialId, Direction, VerifiedId};
use crate::proto::sync::chain::{Tip, Verdict};
use crate::wire::{Frame, FrameError, FrameRules, Hash, Kind, Priority};

/// One thing that happened. Feed one, then drain [`Output`]s until there are none.
#[derive(Debug)]
pub enum Input<'a> {
    /// A connection stands. Nothing was read from it or written to it yet.
    Opened {
        /// Its name.
        conn: ConnId,
        /// The other side's address.
        remote: SocketAddr,
        /// Who dialed.
        direction: Direction,
        /// Who it is, as TLS has proven; `None` without TLS.
        identity: Option<VerifiedId>,
    },
    /// A dial ended without a connection.
    DialFailed {
        /// The dial's name.
        dial: DialId,
        /// Why.
        reason: CloseReason,
    },
    /// A frame that met the connection's rules.
    Frame {
        /// Where it came from.
        conn: ConnId,
        /// The frame.
        frame: Frame<'a>,
    },
    /// Bytes that can never become a frame; nothing more is read from the connection.
    BadFrame {
        /// Where they came from.
        conn: ConnId,
        /// What is wrong with them.
        error: FrameError,
    },
    /// Bytes of a frame that is not complete yet arrived since the last tick: the peer is slow, not silent.
    Progress {
        /// The connection.
        conn: ConnId,
    },
    /// An [`Output::Send`] was refused because the connection's queue is full.
    Refused {
        /// The connection.
        conn: ConnId,
        /// The kind that was to be sent.
        kind: Kind,
        /// Its payload.
        payload: Bytes,
    },
    /// The connection's queue has drained to its low mark, or has just taken an answer to GetBlock: the next that waits may
    /// try.
    Writable {
        /// The connection.
        conn: ConnId,
    },
    /// The connection is gone. Comes exactly once for each [`Input::Opened`], also after [`Output::Close`].
    Closed {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// The deadline passed.
    Tick,
    /// The embedder wants something.
    Command(Command),
}

/// What an embedder may ask of a running node, from any thread.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command {
    /// Keep a connection to this address, exempt from bans and per-address limits.
    Connect(SocketAddr),
    /// Stop keeping one, and close it.
    Disconnect(SocketAddr),
    /// Ask this address for peers when there are too few.
    AddSeed(SocketAddr),
    /// Validate, keep and relay a transaction of our own.
    SubmitTransaction(Bytes),
    /// Validate, keep and relay a block of our own.
    SubmitBlock(Bytes),
    /// Relay a challenge, a proof or an acceptance of our own: the kind and its encoded payload.
    Gossip(Kind, Bytes),
    /// The verdict that was pending under this number.
    Verdict(u64, Verdict),
    /// Say goodbye to everyone: no more dials, no more connections.
    Stop,
}

/// One thing that the driver must do.
#[derive(Clone, Debug)]
pub enum Output {
    /// Connect to an address; the answer is [`Input::Opened`] or [`Input::DialFailed`] under this name.
    Dial {
        /// The dial's name.
        dial: DialId,
        /// Where to.
        address: SocketAddr,
        /// How long it may take.
        timeout: Duration,
    },
    /// Queue a frame.
    Send {
        /// Where to.
        conn: ConnId,
        /// The kind.
        kind: Kind,
        /// How urgent it is: the kind's own priority, but for answers that must stay in the order of their parts.
        priority: Priority,
        /// The payload; shared when it goes to many.
        payload: Bytes,
    },
    /// From the next frame on, judge the connection's frames by these rules.
    Rules {
        /// The connection.
        conn: ConnId,
        /// The rules.
        rules: &'static FrameRules,
    },
    /// Flush what is queued, then close. Nothing more is read. [`Input::Closed`] follows, with the same reason.
    Close {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
    },
    /// Something the embedder may want to know.
    Event(Event),
    /// The peer table changed enough to be saved; read it from the node.
    SavePeers,
}

/// What a node tells its embedder.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A peer finished its handshake.
    PeerConnected {
        /// Its connection.
        conn: ConnId,
        /// Its id.
        node_id: String,
        /// The connection's remote address.
        remote: SocketAddr,
        /// Who dialed.
        outbound: bool,
        /// The protocol version in force.
        version: u8,
    },
    /// A peer that had finished its handshake is gone.
    PeerDisconnected {
        /// Its connection.
        conn: ConnId,
        /// Its id.
        node_id: String,
        /// Why.
        reason: CloseReason,
    },
    /// A connection ended before its handshake was done.
    HandshakeFailed {
        /// The connection's remote address.
        remote: SocketAddr,
        /// Why.
        reason: CloseReason,
    },
    /// A dial ended without a connection.
    DialFailed {
        /// The address.
        remote: SocketAddr,
        /// Why.
        reason: CloseReason,
    },
    /// A peer reached the blacklist.
    Blacklisted {
        /// Its address.
        remote: SocketAddr,
    },
    /// A peer sent an Error frame; control characters are escaped.
    RemoteError {
        /// The connection.
        conn: ConnId,
        /// Its text.
        text: String,
    },
    /// A transaction was new and valid and is on its way to the other peers.
    TransactionAccepted {
        /// Its id.
        id: Hash,
        /// Where it came from; `None` for our own.
        from: Option<ConnId>,
    },
    /// A block was new and valid.
    BlockAccepted {
        /// Its hash.
        hash: Hash,
        /// Where it came from; `None` for our own.
        from: Option<ConnId>,
    },
    /// The best chain ends elsewhere now.
    NewTip(Tip),
    /// A challenge, proof or acceptance was new and passed the chain's check.
    Gossip {
        /// Which of the three.
        kind: Kind,
        /// Its encoded payload.
        payload: Bytes,
        /// Where it came from; `None` for our own.
        from: Option<ConnId>,
    },
    /// A submission of our own was refused.
    SubmissionRefused {
        /// What it was.
        kind: Kind,
        /// Why.
        why: &'static str,
    },
    /// A catch-up began, moved on or ended.
    Sync {
        /// Height of the best block we hold.
        height: u64,
        /// Height of the best header we know.
        target: u64,
    },
}
