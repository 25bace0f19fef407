//! What goes into a node and what comes out of it.

use bytes::Bytes;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use crate::close::CloseReason;
use crate::id::{ConnId, DialId, Direction, VerifiedId};
use crate::mapping::Mapping;
use crate::proto::peer::ban::{Banned, Lifted};
use crate::proto::peer::name::PeerName;
use crate::proto::peer::outbound::AddressFamily;
use crate::proto::sync::DeepBranch;
use crate::proto::sync::chain::{Tip, Verdict};
use crate::wire::{Frame, FrameError, FrameRules, Hash, Kind, Priority};

/// One thing that happened. Feed one, then carry out [`Output`]s until there are none.
#[derive(Debug)]
pub enum Input<'a> {
    /// A connection is open. Nothing was read from it or written to it yet.
    Opened {
        /// Its name.
        conn: ConnId,
        /// The other side's address.
        remote: SocketAddr,
        /// Our side's address, where the driver knows it: by it we know which of our listeners others find there.
        local: Option<SocketAddr>,
        /// Who dialed.
        direction: Direction,
        /// Who it is, as TLS has proven; `None` without TLS.
        identity: Option<VerifiedId>,
    },
    /// An address that was [admitted](crate::proto::Node::admit) became no connection. Each admission is followed by this or
    /// by [`Input::Opened`].
    AdmissionReleased {
        /// The address.
        remote: SocketAddr,
        /// Why.
        reason: CloseReason,
    },
    /// An address that was told to [wait](crate::proto::Admit::Wait) was turned away in the end.
    WaitedInVain {
        /// The address.
        remote: SocketAddr,
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
    /// The peer will send no more, but may still read: what is queued leaves, and with the last of it the connection ends, unless
    /// [`Output::Hold`] follows. [`Input::Closed`] comes in any case.
    HalfClosed {
        /// The connection.
        conn: ConnId,
    },
    /// The answer to [`Output::CountReceived`].
    Received {
        /// The connection.
        conn: ConnId,
        /// What it has received since it was opened.
        received: Received,
    },
    /// An [`Output::Send`] that asked for a report was queued.
    SendAccepted {
        /// The connection.
        conn: ConnId,
    },
    /// An [`Output::Send`] was refused, because the connection's queue or the memory for all queues is full. Comes for every
    /// refused frame, but not for one whose connection is gone or closing.
    SendRefused {
        /// The connection.
        conn: ConnId,
        /// The kind that was to be sent.
        kind: Kind,
        /// Its payload.
        payload: Bytes,
    },
    /// An [`Output::Send`] was refused for good: the queues' limit is below it.
    SendTooLarge {
        /// The connection.
        conn: ConnId,
        /// The kind that was to be sent.
        kind: Kind,
        /// Its payload.
        payload: Bytes,
    },
    /// The connection's queue, or the memory for all queues, has room again after it was full.
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
    /// The connection, which was said to be opened with the input before, is a WebSocket: a browser perhaps, which nobody can dial.
    /// Its address is no node's and is told to nobody, and it has its place among its like.
    OverWebSocket {
        /// The connection.
        conn: ConnId,
    },
    /// The deadline passed.
    Tick,
    /// Everything that came at once is fed: the chain may start one durable write for all of it. A driver without turns says it
    /// after each input.
    TurnEnded,
    /// The embedder wants something.
    Command(Command),
}

/// What a connection has received since it was opened, and what it has taken from us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes read from the socket, those of an unfinished frame included.
    pub bytes: u64,
    /// Frames that were complete.
    pub frames: u64,
    /// Bytes written to the socket, those of an unfinished frame included.
    pub sent_bytes: u64,
    /// Frames that were written to their last byte.
    pub sent_frames: u64,
}

/// What an embedder may ask of a running node, from any thread.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command {
    /// Keep a connection to this address, exempt from bans and per-address limits. [`Event::AddressRefused`] when nothing can be
    /// dialed there.
    Connect(SocketAddr),
    /// The same to whoever this name leads to, one node at a time. It is looked up by [`Output::Resolve`], again for each
    /// round of dials.
    ConnectName(PeerName),
    /// Stop keeping one, and close it.
    Disconnect(SocketAddr),
    /// The same by its name.
    DisconnectName(PeerName),
    /// Ask this address for peers when there are too few. [`Event::AddressRefused`] when nothing can be dialed there.
    AddSeed(SocketAddr),
    /// The same to whoever this name leads to.
    AddSeedName(PeerName),
    /// The answer to [`Output::Resolve`]: where the name leads to, or why it leads nowhere.
    Resolved(PeerName, Result<Vec<SocketAddr>, String>),
    /// Validate, keep and relay a transaction of our own.
    SubmitTransaction(Bytes),
    /// Validate, keep and relay a block of our own.
    SubmitBlock(Bytes),
    /// Say a challenge, a proof or an acceptance of our own to every peer: the kind and its encoded payload. Each peer gets it at
    /// the pace that it takes. [`Event::Gossip`] when it is on its way, else [`Event::SubmissionRefused`]: nobody is connected
    /// who could be told, a thousand messages or 16 MiB wait for a peer already, or the chain refuses it.
    Gossip(Kind, Bytes),
    /// The verdict that was pending under this number.
    Verdict(u64, Verdict),
    /// Keep somebody out, for this long or until it is lifted: neither let in, nor dialed, nor told to others. Who is connected is
    /// closed. Whoever is exempt stays so. [`Event::Banned`] when it is done, [`Event::BanRefused`] when the list is full.
    Ban {
        /// An address, a range or a proven identity.
        who: Banned,
        /// For how long, by the monotonic clock; `None` until it is lifted.
        term: Option<Duration>,
        /// Why, for whoever reads the list of bans.
        reason: String,
    },
    /// End the bans of somebody and of every part of it, those of the rules too. [`Event::BanLifted`].
    LiftBan(Banned),
    /// How it stands with the port that a router should forward to us, by whoever asks the router. [`Event::PortMapping`]; what others
    /// are told follows from it.
    PortMapping(Mapping),
    /// The router has lost its memory, and was asked anew. [`Event::RouterRestarted`].
    RouterRestarted,
    /// Close every connection; dial and admit nobody any more.
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
    /// Look a name up; the answer is [`Command::Resolved`], and there must be one. Each name is asked for once until it is
    /// answered. However long that takes, nothing else waits for it.
    Resolve {
        /// The name.
        name: PeerName,
    },
    /// Queue a frame.
    Send {
        /// Where to.
        conn: ConnId,
        /// The kind.
        kind: Kind,
        /// The type byte under which the other side knows it: the kind's own, but for some of version 1's dialects.
        byte: u8,
        /// How urgent it is: the kind's own priority, but for answers that must stay in the order of their parts.
        priority: Priority,
        /// The payload; shared when it goes to many.
        payload: Bytes,
        /// Answer with [`Input::SendAccepted`] when the frame is queued. A refused frame is always answered, with
        /// [`Input::SendRefused`] or [`Input::SendTooLarge`].
        report: bool,
    },
    /// Say how much the connection has received, with [`Input::Received`]. Needs no answer when the connection is gone.
    CountReceived {
        /// The connection.
        conn: ConnId,
    },
    /// From the next frame on, judge the connection's frames by these rules.
    Rules {
        /// The connection.
        conn: ConnId,
        /// The rules.
        rules: &'static FrameRules,
    },
    /// Keep a connection that the peer has [half-closed](Input::HalfClosed): answers to it are still to come. A bounded time is
    /// enough.
    Hold {
        /// The connection.
        conn: ConnId,
    },
    /// Keep it no longer than what is queued takes to leave.
    Release {
        /// The connection.
        conn: ConnId,
    },
    /// Flush what is queued, then close. Nothing more is read. [`Input::Closed`] follows, with the same reason.
    ///
    /// The connection holds no place from now on: while its last bytes leave, another may be admitted or dialed. A driver that
    /// has no descriptor left for that one closes at once whoever drains longest.
    Close {
        /// The connection.
        conn: ConnId,
        /// Why.
        reason: CloseReason,
        /// The payload of an Error frame that says why. It goes first if nothing else waits to be sent; who does not read must
        /// not be sent more.
        last_error: Option<Bytes>,
        /// How long the queue may take to leave; nothing at all for a peer that has said its last word itself.
        drain: Duration,
    },
    /// Something the embedder may want to know.
    Event(Event),
    /// The peer table and the address book changed enough to be saved; read them from the node. Now and then, and soon after a peer
    /// was reached that a restart should begin with.
    SavePeers,
    /// The bans changed and are worth a save: [`Node::bans`](crate::proto::Node::bans). Within seconds where the rules banned
    /// somebody, at once where a person did.
    SaveBans,
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
        /// Who TLS had proven it to be; where that is nobody, its id was a claim.
        identity: Option<VerifiedId>,
        /// The connection's remote address.
        remote: SocketAddr,
        /// Why.
        reason: CloseReason,
        /// What it said last, in an Error frame: its words, cut but not escaped; see [`Event::RemoteError`].
        remote_error: Option<String>,
    },
    /// A client that does not introduce itself is let in, from where that is allowed. It is no peer.
    ClientConnected {
        /// Its connection.
        conn: ConnId,
        /// What it is called: by its proven identity, or else `peer_<ip>_<port>`.
        name: String,
        /// The connection's remote address.
        remote: SocketAddr,
    },
    /// Such a client is gone, or has introduced itself and is a peer now.
    ClientDisconnected {
        /// Its connection.
        conn: ConnId,
        /// What it was called.
        name: String,
        /// The connection's remote address.
        remote: SocketAddr,
        /// Why; `None` when it is a peer now.
        reason: Option<CloseReason>,
        /// What it said last, in an Error frame: its words, cut but not escaped; see [`Event::RemoteError`].
        remote_error: Option<String>,
    },
    /// A connection ended before its handshake was done.
    HandshakeFailed {
        /// The connection's remote address.
        remote: SocketAddr,
        /// Who dialed.
        outbound: bool,
        /// Why.
        reason: CloseReason,
        /// What the other side said last, in an Error frame: its words, cut but not escaped; see [`Event::RemoteError`].
        remote_error: Option<String>,
    },
    /// A name was looked up: the addresses that can be dialed, at least one, or why there is none. A failed lookup is tried
    /// again, with back-off, as long as the name is wanted.
    NameResolved {
        /// The name.
        name: PeerName,
        /// Where it leads to.
        addresses: Result<Vec<SocketAddr>, String>,
    },
    /// A command named an address at which nothing can be dialed: unspecified, multicast, broadcast, reserved, port 0, or
    /// link-local without an interface.
    AddressRefused {
        /// The address.
        address: SocketAddr,
    },
    /// How it stands with the port that a router should forward to us has changed.
    PortMapping(Mapping),
    /// The router has lost its memory, and was asked anew.
    RouterRestarted,
    /// Most of those whom we dialed see us at another address than before.
    SeenAt {
        /// The address.
        address: IpAddr,
    },
    /// Somebody has come from the internet: others can reach us, by the port that the router forwards or without.
    Reachable {
        /// Who.
        remote: SocketAddr,
    },
    /// Somebody who wanted to connect was not let in. A flood of strangers is a flood of these.
    TurnedAway {
        /// The address.
        remote: SocketAddr,
        /// The label of the limit, as in [`Counters::turned_away`](crate::proto::Counters::turned_away).
        why: &'static str,
    },
    /// A dial ended without a connection.
    DialFailed {
        /// The address.
        remote: SocketAddr,
        /// Why.
        reason: CloseReason,
    },
    /// No address of one family can be dialed from here, as when IPv6 is switched off, or one can again. Told once; meanwhile such
    /// addresses are dialed every few minutes only.
    RouteChanged {
        /// Which family, and how far.
        family: AddressFamily,
        /// Why it cannot be reached; `None` when it can.
        closed: Option<CloseReason>,
    },
    /// No dial leaves this machine, for want of something of our own such as descriptors or since the proxy that all go through is
    /// down, or dials leave it again. Told once;
    /// meanwhile one is tried ever more rarely, and no address pays for it.
    DialsPaused {
        /// Why; `None` when it is over.
        reason: Option<CloseReason>,
    },
    /// Of what others said, so much was not passed on when it came, for want of room in the lines of peers: what one peer was not
    /// told counts one. Transactions are offered when the pools are compared. Said every ten seconds at most; the sum is
    /// [`Counters::relay_dropped`](crate::proto::Counters::relay_dropped).
    RelayDropped {
        /// How much since it was said last.
        count: u64,
    },
    /// A peer reached the blacklist.
    Blacklisted {
        /// Its address.
        remote: SocketAddr,
        /// What it did last.
        reason: CloseReason,
        /// For how long.
        duration: Duration,
    },
    /// Somebody is kept out from now on, because a person said so.
    Banned {
        /// Whom.
        who: Banned,
        /// For how long; `None` until it is lifted.
        term: Option<Duration>,
    },
    /// The list of bans is full, and nothing changed.
    BanRefused {
        /// Who is not kept out.
        who: Banned,
    },
    /// Bans were lifted, or there was none to lift.
    BanLifted {
        /// Whose, and of all its parts.
        who: Banned,
        /// How many, and what still keeps them out.
        lifted: Lifted,
    },
    /// A peer sent an Error frame.
    RemoteError {
        /// The connection.
        conn: ConnId,
        /// The connection's remote address.
        remote: SocketAddr,
        /// Its words, at most 256 characters as they are shown: cut, but not escaped. Whoever shows them does that, once:
        /// strangers choose what stands there, control characters included.
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
    /// A challenge, proof or acceptance was new and passed the chain's check. One of our own is on its way to every peer.
    Gossip {
        /// Which of the three.
        kind: Kind,
        /// Its encoded payload.
        payload: Bytes,
        /// Where it came from; `None` for our own.
        from: Option<ConnId>,
    },
    /// A submission of our own was refused; nobody was told of it.
    SubmissionRefused {
        /// What it was.
        kind: Kind,
        /// Why.
        why: &'static str,
    },
    /// A peer tells a branch that leaves our chain too far below its tip to be stored on trust: its work is counted first.
    DeepBranch {
        /// The peer's connection.
        conn: ConnId,
        /// Height of the last block that it shares with our chain.
        fork: u64,
        /// Height up to which it was told.
        height: u64,
        /// What became of it.
        news: DeepBranch,
    },
    /// Our clock is off by more than two hours, by the median of the clocks of the peers that we dialed: blocks of ours or of
    /// theirs are refused for their time. Said once, until [`Event::ClockRight`]. Nothing but the operator sets a clock.
    ClockOff {
        /// How many milliseconds the median is ahead of ours; negative when it is behind.
        millis: i64,
        /// How many clocks it is the median of.
        peers: usize,
    },
    /// Our clock was off, and is within an hour of the others' again.
    ClockRight {
        /// As above.
        millis: i64,
        /// As above.
        peers: usize,
    },
    /// A peer told a header or a block whose time is further ahead of our clock than the chain allows. Said once, and again
    /// when our chain has moved since, at most every ten minutes.
    HeadersTooEarly {
        /// The peer's connection.
        conn: ConnId,
        /// How many milliseconds the median of the dialed peers' clocks is ahead of ours, if there is one.
        clock: Option<i64>,
    },
    /// A catch-up began, moved on or ended.
    Sync {
        /// Height of the best block we hold.
        height: u64,
        /// Height of the best header we know.
        target: u64,
    },
}
