//! What a protocol calls: connections by name, calls that queue and never block.

use core::fmt;
use core::time::Duration;
use std::collections::VecDeque;
use std::net::SocketAddr;

use super::backlog::Backlog;
use super::bandwidth::Throttle;
use super::budget::{ReceiveBudget, SendBudget};
use super::config::Config;
use super::conn::{Conn, ConnState};
use super::handshakes::Handshakes;
use super::mailboxes::Mailboxes;
use super::proxy_dial::Proxied;
use super::slab::ConnSlab;
use super::stats::{ConnStats, Totals};
use super::system::System;
use super::timer::Timers;
use super::turn_shares::TurnShares;
use super::waiting_room::WaitingRoom;
use super::web_dials::WebSockets;
use crate::close::CloseReason;
use crate::id::{ConnId, DialId};
use crate::link::BufferPool;
use crate::time::Now;
use crate::wire::FrameRules;

/// What `Net::send` answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum SendOutcome {
    /// Queued. `dropped` frames of lower priority had to go for it.
    Accepted {
        /// Frames dropped for this one.
        dropped: u32,
    },
    /// Not queued: the queue or the loop's send budget is full. [`Event::Writable`](super::Event::Writable) follows, unless the
    /// connection closes first.
    Full,
    /// Not queued, and it never could be: no frame carries a payload of that length, or the queue's [hard
    /// limit](crate::link::OutboxLimits) is below it. Nothing follows.
    TooLarge,
    /// Not queued: no such connection, or it is closing.
    Closed,
}

/// What the loop will tell the protocol when no event is being handled: nothing comes back into it before a call on [`Net`]
/// returns.
#[derive(Debug)]
pub(super) enum Notice {
    DialFailed {
        dial: DialId,
        remote: SocketAddr,
        reason: CloseReason,
    },
    Writable(ConnId),
    Closed(ConnId, CloseReason),
    /// An admitted address that became no connection.
    Released(SocketAddr, CloseReason),
}

/// Whether the loop goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Running,
    /// Somebody asked for a stop; the next turn begins it.
    StopAsked,
    /// Nobody is let in any more, and those who are here drain.
    Stopping,
}

/// The connections, as a protocol sees them: what it may ask and do.
///
/// Calls with a [`ConnId`] whose connection is gone do nothing, or say so.
///
/// Nothing here blocks: what is sent waits in a queue and leaves at the end of the turn.
///
/// # Backpressure
///
/// A queue above its high watermark, or a frame that is answered [`SendOutcome::Full`], means that the sender should wait for
/// [`Event::Writable`](super::Event::Writable), which comes when the queue has drained to its low watermark. In the other
/// direction, [`Net::pause`] stops reading a connection, so that its peer has to wait.
///
/// # Examples
///
/// A source that sends as fast as its one reader takes it, with little memory.
///
/// ```
/// use std::io::Read;
///
/// use spacetime_network::driver::{Config, Driver, Event, Net, Protocol, SendOutcome};
/// use spacetime_network::id::ConnId;
/// use spacetime_network::time::Now;
/// use spacetime_network::wire::Priority;
///
/// struct Source {
///     left: u32,
/// }
///
/// impl Source {
///     fn go_on(&mut self, conn: ConnId, net: &mut Net) {
///         while self.left > 0 && net.queued_bytes(conn) < net.config().outbox.high {
///             match net.send(conn, Priority::Normal, 7, &[0; 1000]) {
///                 SendOutcome::Accepted { .. } => self.left -= 1,
///                 SendOutcome::Full | SendOutcome::Closed => return,
///                 SendOutcome::TooLarge => unreachable!("a frame of 1005 bytes fits"),
///             }
///         }
///     }
/// }
///
/// impl Protocol for Source {
///     type Command = ();
///
///     fn handle(&mut self, _now: Now, event: Event<'_, ()>, net: &mut Net) {
///         match event {
///             Event::Opened { conn, .. } | Event::Writable { conn } => self.go_on(conn, net),
///             Event::Closed { .. } => net.stop(),
///             _ => {}
///         }
///     }
/// }
///
/// let mut config = Config::default();
/// (config.outbox.low, config.outbox.high) = (16 << 10, 64 << 10);
/// let mut driver = Driver::new(config, Source { left: 10_000 })?;
/// let address = driver.listen("127.0.0.1:0".parse()?)?;
/// let reader = std::thread::spawn(move || {
///     let mut all = vec![0; 10_000 * 1005]; // a frame's header has five bytes
///     std::net::TcpStream::connect(address)?.read_exact(&mut all)
/// });
/// // Ends when the reader has all and leaves.
/// driver.run()?;
/// reader.join().unwrap()?;
/// assert_eq!(driver.protocol().left, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Net {
    pub(super) system: System,
    pub(super) config: Config,
    pub(super) now: Now,
    pub(super) phase: Phase,
    /// The connections, and who of them is to be served and flushed.
    pub(super) conns: ConnSlab,
    /// The account of received bytes, and who waits for room in it.
    pub(super) receive: ReceiveBudget,
    /// Who waits for room to send. The account of queued bytes is the pool's.
    pub(super) send: SendBudget,
    /// How many bytes a second may pass, and who waits for that.
    pub(super) throttle: Throttle,
    /// Inbound connections whose TLS handshake is under way, their budgets, and who waits for those.
    pub(super) handshakes: Handshakes,
    /// Who waits for a place among them.
    pub(super) backlog: Backlog,
    pub(super) waiting_room: WaitingRoom,
    pub(super) mailboxes: Mailboxes,
    pub(super) timers: Timers,
    pub(super) notices: VecDeque<Notice>,
    pub(super) pool: BufferPool,
    /// What was compressed in this turn.
    #[cfg(feature = "lz4")]
    pub(super) packed: super::packed::Packed,
    pub(super) totals: Totals,
    /// What is left of the turn's work, and who has used how much.
    pub(super) shares: TurnShares,
    /// A call has changed what the delivery of frames goes by: it looks at its connection again before the next frame.
    pub(super) touched: bool,
    /// Whose transport is taken out of its connection while its records are opened, and the bytes that it has still to write.
    pub(super) lent: Option<(ConnId, usize)>,
    pub(super) web: WebSockets,
    /// What dials through a proxy need; none without.
    pub(super) proxied: Option<Box<Proxied>>,
    /// A simulation has the loop misbehave now and then.
    #[cfg(feature = "sim")]
    pub(super) buggify: Option<crate::buggify::Buggify>,
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net")
            .field("connections", &self.conns.opened())
            .field("totals", &self.totals)
            .finish_non_exhaustive()
    }
}

impl Net {
    pub(super) fn new(config: Config, system: System, now: Now) -> Self {
        Net {
            system,
            throttle: Throttle::new(config.bandwidth, now.at),
            config,
            now,
            phase: Phase::Running,
            conns: ConnSlab::default(),
            receive: ReceiveBudget::default(),
            send: SendBudget::default(),
            handshakes: Handshakes::default(),
            backlog: Backlog::default(),
            waiting_room: WaitingRoom::default(),
            mailboxes: Mailboxes::default(),
            timers: Timers::default(),
            notices: VecDeque::new(),
            pool: BufferPool::new(),
            #[cfg(feature = "lz4")]
            packed: Default::default(),
            totals: Totals::default(),
            shares: TurnShares::default(),
            touched: false,
            lent: None,
            web: WebSockets::default(),
            proxied: None,
            #[cfg(feature = "sim")]
            buggify: None,
        }
    }

    /// Takes and delivers no more frames, flushes what is queued, then closes; `Closed{reason}` follows once.
    ///
    /// With a `drain` of zero the queue gets one attempt at the end of the turn. Otherwise the socket is kept until the peer has
    /// ended its direction too, which it does when it has read ours, and no longer than `drain` in all. What it sends meanwhile is
    /// read and thrown away: unread, it would become a reset that destroys what the peer has not read yet, and a peer that cannot
    /// write may not read. When the loop is full, whoever drains longest gives way at once to a connection that comes or is dialed.
    /// The first reason given is the one that counts.
    pub fn close(&mut self, conn: ConnId, reason: CloseReason, drain: Duration) {
        let now = self.now.at;
        self.touched = true;
        let Some(mut entry) = self.conns.entry(conn).filter(|entry| entry.conn.takes_frames()) else { return };
        entry.conn.start_draining(reason, now, drain);
        entry.mark_dirty();
        // There may be bytes of which no event will tell.
        entry.mark_ready();
        self.drop_input(conn);
        if !drain.is_zero() {
            self.arm(conn, now + drain);
        }
    }

    /// Keeps a half-closed connection although nothing is queued for it: there is more to say, and it is not known yet. Called
    /// while [`Event::HalfClosed`](super::Event::HalfClosed) is handled. It ends by [`Net::release`], by [`Net::close`], or when
    /// [`Config::half_close_drain`] is over.
    ///
    /// # Examples
    ///
    /// Answers that another thread works out, for clients that say all their questions, end their direction and read.
    ///
    /// ```
    /// use std::collections::BTreeMap;
    /// use std::io::{Read, Write};
    /// use std::net::{Shutdown, TcpStream};
    ///
    /// use spacetime_network::driver::{Config, Driver, Event, Handle, Net, Protocol};
    /// use spacetime_network::id::ConnId;
    /// use spacetime_network::time::Now;
    /// use spacetime_network::wire::{FrameRules, Priority};
    ///
    /// static RULES: FrameRules = FrameRules::any(64);
    ///
    /// #[derive(Default)]
    /// struct Worker {
    ///     /// Questions that are not answered.
    ///     open: BTreeMap<ConnId, usize>,
    ///     way_back: Option<Handle<(ConnId, u8)>>,
    /// }
    ///
    /// impl Protocol for Worker {
    ///     type Command = (ConnId, u8);
    ///
    ///     fn handle(&mut self, _now: Now, event: Event<'_, (ConnId, u8)>, net: &mut Net) {
    ///         match event {
    ///             Event::Frame { conn, frame } => {
    ///                 *self.open.entry(conn).or_default() += 1;
    ///                 let (way_back, question) = (self.way_back.clone().unwrap(), frame.kind);
    ///                 std::thread::spawn(move || way_back.send((conn, question * 2)));
    ///             }
    ///             Event::HalfClosed { conn } if self.open.get(&conn).is_some_and(|open| *open > 0) => net.hold(conn),
    ///             Event::Command((conn, answer)) => {
    ///                 let _gone_meanwhile = net.send(conn, Priority::Normal, answer, b"");
    ///                 let open = self.open.entry(conn).or_default();
    ///                 *open -= 1;
    ///                 if *open == 0 {
    ///                     net.release(conn);
    ///                 }
    ///             }
    ///             Event::Closed { .. } => net.stop(),
    ///             _ => {}
    ///         }
    ///     }
    /// }
    ///
    /// let mut config = Config::default();
    /// config.rules = &RULES;
    /// let mut driver = Driver::new(config, Worker::default())?;
    /// driver.protocol_mut().way_back = Some(driver.handle());
    /// let address = driver.listen("127.0.0.1:0".parse()?)?;
    /// let client = std::thread::spawn(move || -> std::io::Result<Vec<u8>> {
    ///     let mut stream = TcpStream::connect(address)?;
    ///     stream.write_all(&[1, 0, 0, 0, 21])?;
    ///     stream.shutdown(Shutdown::Write)?;
    ///     let mut answer = Vec::new();
    ///     stream.read_to_end(&mut answer)?;
    ///     Ok(answer)
    /// });
    /// driver.run()?;
    /// assert_eq!(client.join().unwrap()?, [1, 0, 0, 0, 42]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn hold(&mut self, conn: ConnId) {
        self.set_held(conn, true);
    }

    /// A half-closed connection that was [held](Net::hold) ends with the last byte that is queued.
    pub fn release(&mut self, conn: ConnId) {
        self.set_held(conn, false);
    }

    fn set_held(&mut self, conn: ConnId, hold: bool) {
        if let Some(mut entry) = self.conns.entry(conn)
            && let ConnState::HalfClosed { held, .. } = &mut entry.conn.state
        {
            *held = hold;
            entry.mark_dirty();
        }
    }

    /// Changes which frames the connection accepts, from the next frame on, also of those received already. Rules [with
    /// pieces](FrameRules::with_pieces) or with compressed frames say that the other side takes them too.
    pub fn set_rules(&mut self, conn: ConnId, rules: &'static FrameRules) {
        self.touched = true;
        if let Some(conn) = self.open_mut(conn) {
            conn.rules = rules;
        }
    }

    /// Delivers no further frame of the connection, and reads nothing from it, until [`Net::resume`].
    pub fn pause(&mut self, conn: ConnId) {
        self.touched = true;
        if let Some(conn) = self.open_mut(conn) {
            conn.flags.paused = true;
        }
    }

    /// Delivers frames again. The time of the pause does not count against an unfinished frame.
    pub fn resume(&mut self, id: ConnId) {
        let now = self.now.at;
        if let Some(conn) = self.open_mut(id)
            && conn.flags.paused
        {
            conn.flags.paused = false;
            conn.link.inbox.restart(now);
            self.conns.mark_ready(id);
        }
    }

    /// Says what the event that is being handled has cost, in units of work: about a fifth of a microsecond each. See
    /// [`limits::TURN_WORK`](crate::limits::TURN_WORK).
    ///
    /// When a connection has caused [`Config::turn_work`] in a turn, its next frames come in a later one, after those of connections
    /// that have caused less. A frame costs nothing unless somebody says so here; what frames and bytes cost by themselves has
    /// limits of its own.
    ///
    /// # Examples
    ///
    /// ```
    /// use spacetime_network::driver::{Event, Net, Protocol};
    /// use spacetime_network::time::Now;
    ///
    /// struct Squares;
    ///
    /// impl Protocol for Squares {
    ///     type Command = ();
    ///
    ///     fn handle(&mut self, _now: Now, event: Event<'_, ()>, net: &mut Net) {
    ///         if let Event::Frame { frame, .. } = event {
    ///             // Takes a step for each pair of bytes.
    ///             let steps = frame.payload.len().pow(2);
    ///             // ...
    ///             net.spend(u32::try_from(steps / 100).unwrap_or(u32::MAX));
    ///         }
    ///     }
    /// }
    /// ```
    #[inline]
    pub fn spend(&mut self, units: u32) {
        self.totals.work += u64::from(units);
        if self.shares.spend(units) {
            self.touched = true;
        }
    }

    /// Connections opened and not yet closed, those that drain included.
    pub fn connections(&self) -> usize {
        self.conns.opened()
    }

    /// Asks the loop to stop gracefully.
    pub fn stop(&mut self) {
        if self.phase == Phase::Running {
            self.phase = Phase::StopAsked;
        }
    }

    /// Bytes that wait to be written to a connection, under TLS those included that are sealed and not written; 0 when it is gone.
    ///
    /// This is the sum that the watermarks are compared with: whoever finds it at [`high`](crate::link::OutboxLimits::high) or above,
    /// in whatever event and however it came to be so, is told by [`Event::Writable`](super::Event::Writable) when it has come down
    /// to [`low`](crate::link::OutboxLimits::low).
    #[inline]
    pub fn queued_bytes(&self, conn: ConnId) -> usize {
        let lent = self.lent_by(conn);
        self.conns.get(conn).map_or(0, |conn| conn.queued_bytes(lent))
    }

    /// What a transport has to write that is not with its connection at the moment.
    #[inline]
    pub(super) fn lent_by(&self, id: ConnId) -> usize {
        self.lent.map_or(0, |(conn, unsent)| if conn == id { unsent } else { 0 })
    }

    /// The protocol is owed an event when what waits is at the high watermark, also where no frame of its own has brought it there:
    /// TLS has words of its own, and its records are longer than what is in them. To be called wherever that may have grown, before
    /// the protocol can look.
    pub(super) fn note_backpressure(&mut self, id: ConnId) {
        let (high, lent) = (self.config.outbox.high, self.lent_by(id));
        if let Some(conn) = self.conns.get_mut(id)
            && conn.takes_frames()
            && conn.queued_bytes(lent) >= high
        {
            conn.flags.backpressure = true;
        }
    }

    /// Memory that all connections hold for received and unfinished frames, and for queued ones, in bytes.
    pub fn memory(&self) -> (usize, usize) {
        (self.receive.held(), self.pool.queued_bytes())
    }

    /// Memory that the loop keeps warm for its connections, in bytes; bounded, whatever their number.
    pub fn pooled_bytes(&self) -> usize {
        self.pool.kept_bytes()
    }

    /// One connection's counters.
    pub fn conn_stats(&self, conn: ConnId) -> Option<ConnStats> {
        let lent = self.lent_by(conn);
        let conn = self.conns.get(conn).filter(|conn| conn.pending.is_none())?;
        Some(ConnStats {
            bytes_in: conn.counters.bytes_in,
            bytes_out: conn.counters.bytes_out,
            frames_in: conn.counters.frames_in,
            frames_out: conn.counters.frames_out,
            queued_bytes: conn.queued_bytes(lent),
            queued_frames: conn.link.outbox.queued_frames(),
            dropped_frames: conn.counters.dropped.into(),
            refused_frames: conn.counters.refused.into(),
            held_bytes: conn.link.held(),
        })
    }

    /// The loop's counters.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Whose TLS handshake was evicted for a newcomer or had to wait last: among those who come too often, if there are any.
    pub fn last_throttled_handshake(&self) -> Option<SocketAddr> {
        self.handshakes.last_throttled()
    }

    /// The loop's settings.
    #[inline]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the clocks said last.
    pub fn now(&self) -> Now {
        self.now
    }

    fn open_mut(&mut self, id: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(id).filter(|conn| conn.is_open())
    }
}
