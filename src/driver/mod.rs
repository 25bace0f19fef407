//! The real world: an event loop on mio that owns the sockets and the clock.
//!
//! An embedder writes a [`Protocol`] and gives it to a [`Driver`]. The driver turns readiness into [`Event`]s; the
//! protocol answers by calls on [`Net`], which queue and never block. One turn of the event loop is always the same:
//!
//! 1. Wait for readiness, but not past the next deadline.
//! 2. Commands from [`Handle`]s, then new connections, then the connections that are ready, each within its budget.
//! 3. Timers, which no busy socket can postpone past a turn; then notices of what ended.
//! 4. [`Event::TurnEnded`], then everything queued leaves in vectored writes.
//!
//! Readiness is edge-triggered: what a budget left over is remembered and served next turn without waiting.
//! [`Net`] may be called at any point of an event, also to close the very connection that the event is about: nothing
//! comes back into the protocol before it returns.
//!
//! # Backpressure
//!
//! Nothing here queues without a bound, so somebody has to wait, and it is told when it may go on:
//!
//! | what is full | who waits | until |
//! |---|---|---|
//! | one connection's queue, above its high watermark | the protocol, by its own choice | [`Event::Writable`], at the low watermark |
//! | one connection's queue, at its hard limit | the protocol: frames are answered [`SendOutcome::Full`] | the same |
//! | [`Config::send_budget`], over all connections | the protocol: likewise | the same, or when the budget has room again |
//! | [`Config::receive_budget`], over all connections | the peer, whose TCP window closes | a retry each 50 ms |
//! | the protocol itself: [`Net::pause`] | the peer | [`Net::resume`] |
//! | a turn's bytes, frames and [units of work](Net::spend) | the connection, behind all that have caused less | the next turn |
//! | the queue of commands | the other thread: [`HandleError::Full`] | it tries again |
//!
//! # Files
//!
//! | file | owns |
//! |---|---|
//! | `run`, `courtesy` | the turn and its order; how often a loop that looks for work lets others go first |
//! | `shards` | several loops over one port |
//! | `net`, `sending` | what a protocol calls; frames into queues |
//! | `slab` | connections by name; who is ready, who is dirty |
//! | `conn`, `lifecycle` | a connection's states and transitions; how it comes and goes, and its timer |
//! | `listen`, `listener`, `dial` | sockets that come in, when a listener rests, and sockets that go out |
//! | `datagrams`, `mailboxes`, `gateway` | small datagrams, and what a stop waits for; their sockets by name; the router at home |
//! | `handshakes`, `backlog`, `tls` | who may begin TLS, and who waits for a place to; from a socket to a known peer |
//! | `door`, `web_dials`, `web_socket` | by which way connections come: listeners and dials of WebSocket, and its pings |
//! | `waiting_room` | who waits until the protocol has a place for him |
//! | `edge`, `read`, `flush` | one read and its readiness; bytes to frames, and the peer's end; frames to bytes, and ours |
//! | `packing`, `packed` | frames that leave compressed, and come so |
//! | `turn_shares` | who is served first when there is more to do than a turn holds |
//! | `budget` | memory over all connections, and who waits for it |
//! | `turn_times` | how long turns took |
//! | `unsent_bound` | how much the system may hold of one connection that it cannot send |
//! | `timer`, `buffer`, `stats`, `errno`, `handle` | deadlines, the read buffer, counters, errors of our own, other threads |
//! | `system` | the operating system, or the virtual one of a simulation |
//! | [`node`], [`store`] | a whole node on the loop; its files |

#[cfg(feature = "sim")]
mod audit;
mod backlog;
mod bandwidth;
mod budget;
mod buffer;
mod config;
mod conn;
mod courtesy;
mod datagrams;
mod dial;
mod door;
mod edge;
mod errno;
mod flush;
mod gateway;
mod handle;
mod handshakes;
mod lifecycle;
mod listen;
mod listener;
mod mailboxes;
mod meter;
mod net;
#[cfg(feature = "lz4")]
mod packed;
#[cfg(feature = "lz4")]
mod packing;
mod proxy;
mod proxy_dial;
mod read;
mod run;
mod send_room;
mod sending;
mod shards;
mod slab;
mod stats;
mod system;
mod throttled;
mod timer;
mod tls;
mod turn_shares;
mod turn_times;
mod unsent_bound;
mod waiting_room;
mod web_dials;
mod web_socket;

pub mod node;
pub mod store;

use std::net::SocketAddr;

use crate::close::CloseReason;
use crate::id::{ConnId, DatagramId, DialId, Direction, VerifiedId};
use crate::time::{Instant, Now};
use crate::wire::{Frame, FrameError};

pub use crate::admit::Admit;
pub use crate::frame_start::{Begun, FrameStart};
pub use bandwidth::Bandwidth;
pub use config::Config;
#[cfg(feature = "sim")]
pub(crate) use errno::{EMFILE, ENOBUFS};
pub use handle::{Handle, HandleError};
pub use meter::Meter;
pub use net::{Net, SendOutcome};
pub use proxy::NoStandIn;
pub use run::Driver;
pub use shards::Shards;
pub use stats::{ConnStats, Totals};
#[cfg(feature = "sim")]
pub(crate) use system::{Kernel, Readiness, SharedKernel, SocketId};
pub use turn_times::{TurnTimes, WorstTurn};

/// What the loop tells a protocol.
#[derive(Debug)]
pub enum Event<'a, C> {
    /// A connection is open.
    Opened {
        /// Its name.
        conn: ConnId,
        /// The other side, as it was dialed or as it came.
        remote: SocketAddr,
        /// Our side; of a dial through a proxy, our end of the connection to that.
        local: SocketAddr,
        /// Who dialed.
        direction: Direction,
        /// Who TLS has proven the peer to be; `None` without TLS.
        identity: Option<VerifiedId>,
    },
    /// A dial ended without a connection.
    DialFailed {
        /// Its name.
        dial: DialId,
        /// Where to.
        remote: SocketAddr,
        /// Why: `DialTimeout`, `Tls(fault)`, `Io(kind)`, `LocalResource(kind)`, `LimitReached`, `SelfConnection`,
        /// `Proxy(fault)` or `Shutdown`.
        reason: CloseReason,
    },
    /// An address that was admitted became no connection: its socket or its TLS handshake failed, it was evicted for another, or the
    /// loop had no place for it (`LimitReached` both times). Each [`Admit::Accept`] is followed by this or by `Opened`.
    AdmissionReleased {
        /// The address.
        remote: SocketAddr,
        /// Why.
        reason: CloseReason,
    },
    /// An address that was to [wait](Admit::Wait) became no connection: there was no place for it in time, or too many waited.
    WaitedInVain {
        /// The address.
        remote: SocketAddr,
        /// What it is told, where nothing of TLS is in the way.
        last: &'static [u8],
    },
    /// A frame.
    Frame {
        /// Where from.
        conn: ConnId,
        /// The frame.
        frame: Frame<'a>,
    },
    /// The peer sent bytes that can never be a frame. It is not read any more. A protocol may queue a last frame and close; the
    /// loop closes at once what the protocol leaves open.
    BadFrame {
        /// Where from.
        conn: ConnId,
        /// What is wrong with the bytes.
        error: FrameError,
    },
    /// The peer will send no more: it has ended its direction, by the end of the stream or by TLS's close_notify. It may still
    /// read, so what is queued leaves, and what is queued from here on, for [`Config::half_close_drain`] at most. With the last
    /// byte the connection closes, at the end of this turn at the earliest; a protocol with answers still to come calls
    /// [`Net::hold`]. `Closed` follows in any case.
    HalfClosed {
        /// The connection.
        conn: ConnId,
    },
    /// Backpressure is over: the connection's outbox has drained to its low watermark, from above its high watermark or since a
    /// frame was refused; or the loop's send budget, for which it was refused, has room again.
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
    /// A datagram came, on a socket that [`Net::open_datagrams`] has opened.
    Datagram {
        /// Which socket.
        socket: DatagramId,
        /// What it says. Of a long one the end may be missing.
        bytes: &'a [u8],
    },
    /// The protocol's deadline passed.
    Timer,
    /// From a `Handle`.
    Command(C),
    /// A stop was asked for; connections drain after this call.
    Stopping,
    /// The end of the turn, before queued frames are flushed.
    TurnEnded,
}

/// What an embedder writes: events in, calls on `Net` out.
///
/// The calls come from one thread, one at a time, and must return soon: nothing else happens meanwhile.
///
/// # Examples
///
/// Who comes from elsewhere is refused, connections that say nothing for a minute are closed, and a command counts those that are
/// open.
///
/// ```
/// use std::collections::BTreeMap;
/// use std::net::SocketAddr;
/// use std::sync::mpsc::Sender;
/// use std::time::Duration;
///
/// use spacetime_network::close::CloseReason;
/// use spacetime_network::driver::{Admit, Config, Driver, Event, Net, Protocol};
/// use spacetime_network::id::ConnId;
/// use spacetime_network::time::{Instant, Now};
///
/// const PATIENCE: Duration = Duration::from_secs(60);
///
/// #[derive(Default)]
/// struct Door {
///     heard: BTreeMap<ConnId, Instant>,
/// }
///
/// impl Protocol for Door {
///     /// Asks how many connections are open.
///     type Command = Sender<usize>;
///
///     fn admit(&mut self, _now: Now, remote: SocketAddr, _net: &mut Net) -> Admit {
///         if remote.ip().is_loopback() { Admit::Accept } else { Admit::Refuse }
///     }
///
///     fn handle(&mut self, now: Now, event: Event<'_, Sender<usize>>, net: &mut Net) {
///         match event {
///             Event::Opened { conn, .. } | Event::Frame { conn, .. } => drop(self.heard.insert(conn, now.at)),
///             Event::Closed { conn, .. } => drop(self.heard.remove(&conn)),
///             Event::Timer => {
///                 for (conn, _) in self.heard.iter().filter(|(_, at)| now.at.since(**at) >= PATIENCE) {
///                     net.close(*conn, CloseReason::IdleTimeout, Duration::ZERO);
///                 }
///             }
///             Event::Command(asker) => drop(asker.send(self.heard.len())),
///             _ => {}
///         }
///     }
///
///     fn deadline(&self) -> Option<Instant> {
///         self.heard.values().min().map(|at| *at + PATIENCE)
///     }
/// }
///
/// let mut driver = Driver::new(Config::default(), Door::default())?;
/// let address = driver.listen("127.0.0.1:0".parse()?)?;
/// let _client = std::net::TcpStream::connect(address)?;
/// while driver.protocol().heard.is_empty() {
///     driver.turn(None)?;
/// }
/// let (asker, answer) = std::sync::mpsc::channel();
/// driver.handle().send(asker).map_err(|error| error.to_string())?;
/// driver.turn(None)?;
/// assert_eq!(answer.recv()?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Protocol {
    /// What handles may send.
    type Command: Send + 'static;

    /// May this address connect? Asked before anything is allocated for it. With TLS, others may be asked about before this one
    /// is opened. After [`Admit::Evict`] it is asked once more, if the other could be found and closed.
    fn admit(&mut self, _now: Now, _remote: SocketAddr, _net: &mut Net) -> Admit {
        Admit::Accept
    }

    /// One event.
    fn handle(&mut self, now: Now, event: Event<'_, Self::Command>, net: &mut Net);

    /// Is a large frame worth its memory? Asked once for each of more than [`LARGE_FRAME`](crate::limits::LARGE_FRAME) bytes, when
    /// the first [`FRAME_START`](crate::limits::FRAME_START) of its payload are there and the rest is not: one that comes whole
    /// in one read is delivered without a question. What else follows from the look is done with the next event,
    /// [`Event::TurnEnded`] at the latest; what the look has cost is spent by `meter`.
    fn begun(&mut self, _now: Now, _start: FrameStart<'_>, _meter: &mut Meter<'_>) -> Begun {
        Begun::Read
    }

    /// When `Event::Timer` is wanted next.
    fn deadline(&self) -> Option<Instant> {
        None
    }
}
