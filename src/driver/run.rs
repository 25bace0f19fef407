//! The turn: in which order things happen, and for how long.

use core::fmt;
use core::time::Duration;
use std::io;
use std::time::Instant as SystemInstant;

use super::buffer::ReadBuffer;
use super::config::Config;
use super::courtesy::Courtesy;
use super::handle::{Commands, Handle};
use super::listener::{Listener, WAKER, listener_index};
use super::mailboxes::datagram_index;
use super::net::{Net, Notice, Phase};
use super::system::{Clock, Poller};
use super::timer::Due;
use super::turn_shares::TurnShares;
use super::{Event, Protocol};
use crate::close::CloseReason;
use crate::id::ConnId;
use crate::limits::{SPIN_START, TURN_TIME};
use crate::time::{Instant, Now};

/// The loop: a protocol, its connections and the thread that calls [`Driver::run`] or [`Driver::turn`].
///
/// # Examples
///
/// An echo server, and a client on a plain socket. Both share this thread here; a program calls [`Driver::run`] on a thread of its
/// own.
///
/// ```
/// use std::io::{Read, Write};
/// use std::time::Duration;
///
/// use spacetime_network::driver::{Config, Driver, Event, Net, Protocol};
/// use spacetime_network::time::Now;
/// use spacetime_network::wire::{FrameRules, Priority};
///
/// static RULES: FrameRules = FrameRules::any(1024); // any type, payloads up to 1 KiB
///
/// struct Echo;
///
/// impl Protocol for Echo {
///     type Command = ();
///
///     fn handle(&mut self, _now: Now, event: Event<'_, ()>, net: &mut Net) {
///         if let Event::Frame { conn, frame } = event {
///             // Never blocks. A full queue refuses, and an `Event::Writable` follows when it has room again.
///             let _ = net.send(conn, Priority::Normal, frame.kind, &frame.payload);
///         }
///     }
/// }
///
/// // 1. The loop, with the rules for what every new connection may send.
/// let mut config = Config::default();
/// config.rules = &RULES;
/// let mut driver = Driver::new(config, Echo)?;
/// let address = driver.listen("127.0.0.1:0".parse()?)?;
///
/// // 2. A client says one frame: a length that counts the type byte, the type, the payload.
/// let frame = [3, 0, 0, 0, 0x42, b'h', b'i'];
/// let mut client = std::net::TcpStream::connect(address)?;
/// client.write_all(&frame)?;
/// client.set_nonblocking(true)?;
///
/// // 3. Turn the loop until it has answered.
/// let (mut answer, mut bytes) = (Vec::new(), [0; 64]);
/// while answer.len() < frame.len() {
///     driver.turn(Some(Duration::from_millis(10)))?;
///     match client.read(&mut bytes) {
///         Ok(0) => panic!("the server has closed"),
///         Ok(count) => answer.extend_from_slice(&bytes[..count]),
///         Err(_would_block) => {}
///     }
/// }
/// assert_eq!(answer, frame);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Driver<P: Protocol> {
    pub(super) protocol: P,
    pub(super) net: Net,
    pub(super) buffer: ReadBuffer,
    pub(super) listeners: Vec<Listener>,
    commands: Commands<P::Command>,
    clock: Clock,
    poller: Poller,
    /// How long to look for work before sleeping; follows how long the last waits were.
    window: Duration,
    finished: bool,
}

impl<P: Protocol + fmt::Debug> fmt::Debug for Driver<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("protocol", &self.protocol).field("net", &self.net).finish_non_exhaustive()
    }
}

impl<P: Protocol> Driver<P> {
    /// A loop without listeners and connections.
    ///
    /// # Errors
    ///
    /// `InvalidInput` with the [`ConfigErrors`](crate::config::ConfigErrors) when the settings cannot work; what the system
    /// says when it has no descriptor for the loop.
    pub fn new(config: Config, protocol: P) -> io::Result<Self> {
        Driver::on(config, protocol, Clock::new(), Poller::new)
    }

    /// A loop on a virtual system. Whoever plays it calls [`Driver::turn`] when a socket has become ready or a deadline has come.
    #[cfg(feature = "sim")]
    pub(crate) fn on_kernel(mut config: Config, protocol: P, kernel: &super::SharedKernel) -> io::Result<Self> {
        use std::sync::Arc;
        // Looking for work without sleeping would look at the real clock.
        config.spin = None;
        let clock = Clock::Virtual(Arc::clone(kernel));
        Driver::on(config, protocol, clock, || Ok(Poller::Virtual { kernel: Arc::clone(kernel), events: Vec::new() }))
    }

    fn on(config: Config, protocol: P, clock: Clock, poller: impl FnOnce() -> io::Result<Poller>) -> io::Result<Self> {
        config.validate().map_err(|errors| io::Error::new(io::ErrorKind::InvalidInput, errors))?;
        let poller = poller()?;
        let commands = Commands::new(poller.waker(WAKER)?, config.commands)?;
        let system = poller.system()?;
        Ok(Driver {
            protocol,
            buffer: ReadBuffer::new(config.read_buffer),
            net: Net::new(config, system, clock.now()),
            listeners: Vec::new(),
            commands,
            clock,
            poller,
            window: Duration::ZERO,
            finished: false,
        })
    }

    /// A way into the loop for other threads.
    pub fn handle(&self) -> Handle<P::Command> {
        self.commands.handle()
    }

    /// The protocol.
    pub fn protocol(&self) -> &P {
        &self.protocol
    }

    /// The protocol, of a loop that is needed no longer. Connections that are left are closed without a word.
    pub fn into_protocol(self) -> P {
        self.protocol
    }

    /// The protocol, to change.
    pub fn protocol_mut(&mut self) -> &mut P {
        &mut self.protocol
    }

    /// The connections, to look at.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// Gives the protocol access to the connections outside of an event, as at start.
    pub fn with<R>(&mut self, f: impl FnOnce(&mut P, Now, &mut Net) -> R) -> R {
        self.net.now = self.clock.now();
        f(&mut self.protocol, self.net.now, &mut self.net)
    }

    /// Turns until stopped.
    ///
    /// # Errors
    ///
    /// As [`Driver::turn`].
    pub fn run(&mut self) -> io::Result<()> {
        while self.turn(None)? {}
        Ok(())
    }

    /// One turn: waits at most `timeout` (`None`: until something happens), handles what is ready, flushes. False once
    /// stopped. May return early and without having done anything.
    ///
    /// # Errors
    ///
    /// Only when the system's readiness interface itself fails; errors of sockets are events.
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        if self.finished {
            return Ok(false);
        }
        self.wait(timeout)?;
        self.net.now = self.clock.now();
        let (started, work) = (self.net.now.at, self.net.totals.work);
        self.note_readiness();
        self.run_commands();
        if self.net.phase == Phase::StopAsked {
            self.begin_stop();
        }
        self.net.shares.begin_turn(started);
        self.serve_ready(started);
        self.serve_datagrams();
        self.run_timers();
        self.deliver_notices();
        // Behind all that may free a place.
        self.accept_all();
        self.attend_waiting_room();
        self.protocol.handle(self.net.now, Event::TurnEnded, &mut self.net);
        self.net.flush_dirty();
        self.net.now = self.clock.now();
        self.net.totals.turns.ended(started, self.net.now.at, self.net.totals.work - work);
        let is_empty = self.net.conns.is_empty() && self.net.notices.is_empty();
        if self.net.phase == Phase::Stopping && is_empty && !self.net.is_stop_delayed() {
            self.finished = true;
            self.commands.end();
        }
        Ok(!self.finished)
    }

    /// How long the next turn may wait: for embedders that nest the loop's descriptor in a loop of their own. `None`:
    /// until the descriptor is readable.
    pub fn next_timeout(&self) -> Option<Duration> {
        if self.has_work() {
            return Some(Duration::ZERO);
        }
        let stop = self.net.mailboxes.stop_waits.filter(|_| self.net.is_stop_delayed());
        let deadline = [self.net.timers.next(), self.protocol.deadline(), stop].into_iter().flatten().min();
        deadline.filter(|at| *at != Instant::NEVER).map(|at| at.since(self.clock.now().at))
    }

    /// True when there is something to do that no readiness announces.
    fn has_work(&self) -> bool {
        let net = &self.net;
        net.conns.ready_len() > 0
            || net.conns.dirty_len() > 0
            || !net.notices.is_empty()
            || self.commands.is_awake()
            || net.has_place_for_backlog()
            || net.phase == Phase::StopAsked
            || (net.phase == Phase::Stopping && net.conns.is_empty() && !net.is_stop_delayed())
            || net.mailboxes.has_ready()
            || self.listeners.iter().any(Listener::is_waiting)
    }

    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let wait = match (timeout, self.next_timeout()) {
            (Some(asked), Some(next)) => Some(asked.min(next)),
            (asked, next) => asked.or(next),
        };
        match self.net.config.spin {
            Some(most) if wait != Some(Duration::ZERO) => self.wait_awake(wait, most),
            _ => self.poller.poll(wait),
        }
    }

    /// Waits, at first without sleeping: being woken costs more than a short look around.
    ///
    /// The window for that is learned as KVM's halt polling learns its own: a sleep that turns out shorter than `most`
    /// doubles it up to `most`, a longer one closes it. A loop whose events come seldom sleeps at once, and one whose
    /// events come in close succession never does. Between looks other threads of the same core may go first, see [`Courtesy`].
    fn wait_awake(&mut self, wait: Option<Duration>, most: Duration) -> io::Result<()> {
        let start = SystemInstant::now();
        let window = wait.map_or(self.window, |wait| wait.min(self.window));
        let (mut courtesy, mut at) = (Courtesy::default(), Duration::ZERO);
        while at < window {
            self.poller.poll(Some(Duration::ZERO))?;
            if !self.poller.is_empty() || self.commands.is_awake() {
                return Ok(());
            }
            at = start.elapsed();
            if courtesy.is_due() {
                std::thread::yield_now();
                let offered = at;
                at = start.elapsed();
                courtesy.came_back_after(at.saturating_sub(offered));
            }
        }
        self.poller.poll(wait.map(|wait| wait.saturating_sub(start.elapsed())))?;
        if !self.poller.is_empty() {
            self.window = next_window(self.window, start.elapsed(), most);
        }
        Ok(())
    }

    /// Turns events into flags before anything is handled, so that no event can meet the next owner of a slot.
    fn note_readiness(&mut self) {
        let Driver { poller, net, listeners, .. } = self;
        poller.each(|readiness| {
            if readiness.token == WAKER {
                return;
            }
            match listeners.get_mut(listener_index(readiness.token)) {
                Some(listener) => listener.note_readiness(),
                None => match datagram_index(readiness.token) {
                    Some(index) => net.mailboxes.note_readiness(index),
                    None => net.conns.note_readiness(readiness),
                },
            }
        });
    }

    fn run_commands(&mut self) {
        if !self.commands.is_awake() {
            return;
        }
        self.commands.rearm();
        if self.commands.stop_asked() {
            self.net.stop();
        }
        for _ in 0..self.net.config.commands {
            let Some(command) = self.commands.next() else { return };
            self.protocol.handle(self.net.now, Event::Command(command), &mut self.net);
        }
        self.commands.keep_awake();
    }

    /// Serves each connection that was ready when the turn began once, as long as the turn's time and work last.
    fn serve_ready(&mut self, started: Instant) {
        let slice = TurnShares::slice(self.net.conns.ready_len(), self.net.config.turn_work);
        if self.net.shares.is_uneven() {
            return self.serve_in_order(started, slice);
        }
        for _ in 0..self.net.conns.ready_len() {
            let Some(id) = self.net.conns.pop_ready() else { return };
            self.serve(id, slice);
            if self.is_turn_over(started) {
                return;
            }
        }
    }

    /// The same, those first that have caused least work of late. Who is not reached is ready still.
    fn serve_in_order(&mut self, started: Instant, slice: u32) {
        let net = &mut self.net;
        let mut order = Vec::with_capacity(net.conns.ready_len());
        while let Some(id) = net.conns.pop_ready() {
            order.push((net.shares.rank(net.conns.get(id).and_then(|conn| conn.source)), id));
        }
        // Among equals it stays.
        order.sort_by_key(|(rank, _)| *rank);
        let mut order = order.into_iter().map(|(_, id)| id);
        for id in order.by_ref() {
            self.serve(id, slice);
            if self.is_turn_over(started) {
                break;
            }
        }
        order.for_each(|id| self.net.conns.mark_ready(id));
    }

    fn is_turn_over(&mut self, started: Instant) -> bool {
        self.net.now = self.clock.now();
        self.net.now.at.since(started) > TURN_TIME || self.net.shares.is_turn_spent()
    }

    /// One connection's slice of the turn, of so many units of work.
    fn serve(&mut self, id: ConnId, slice: u32) {
        let Some(conn) = self.net.conns.get(id) else { return };
        let (is_pending, source) = (conn.pending.is_some(), conn.source);
        self.net.shares.begin_slice(slice);
        if is_pending {
            self.advance_pending(id);
        }
        self.net.mark_dirty_if_queued(id);
        self.read(id);
        self.discard(id);
        self.net.shares.end_slice(source);
    }

    fn run_timers(&mut self) {
        let now = self.net.now.at;
        while let Some((at, due)) = self.net.timers.pop(now) {
            match due {
                Due::Conn(id) => self.net.check_deadline(id, at),
                Due::Listener(index) => {
                    if let Some(listener) = self.listeners.get_mut(index) {
                        listener.wake();
                    }
                }
                Due::Receive => {
                    for id in self.net.receive.take_waiters(&self.net.conns) {
                        self.net.conns.mark_ready(id);
                    }
                }
                Due::Send => self.net.wake_sender(),
                Due::Upload => self.net.serve_upload(),
                Due::Download => self.net.serve_download(),
                Due::Backlog => self.check_backlog(),
                // Looked at behind all that may free a place.
                Due::WaitingRoom => self.net.waiting_room.due = None,
                Due::Handshakes => {
                    for (_, id) in self.net.handshakes.take_waiters() {
                        self.net.conns.mark_ready(id);
                    }
                }
            }
        }
        if self.protocol.deadline().is_some_and(|at| at <= now) {
            self.protocol.handle(self.net.now, Event::Timer, &mut self.net);
        }
    }

    /// Tells what happened outside of events. Notices that this causes are for the next turn.
    fn deliver_notices(&mut self) {
        for _ in 0..self.net.notices.len() {
            let event = match self.net.notices.pop_front() {
                Some(Notice::DialFailed { dial, remote, reason }) => Event::DialFailed { dial, remote, reason },
                Some(Notice::Writable(conn)) if self.net.conns.get(conn).is_none() => continue,
                Some(Notice::Writable(conn)) => Event::Writable { conn },
                Some(Notice::Closed(conn, reason)) => Event::Closed { conn, reason },
                Some(Notice::Released(remote, reason)) => Event::AdmissionReleased { remote, reason },
                None => return,
            };
            self.protocol.handle(self.net.now, event, &mut self.net);
        }
    }

    /// No new connections; those that are open drain.
    fn begin_stop(&mut self) {
        self.net.phase = Phase::Stopping;
        self.listeners.clear();
        self.net.backlog.clear();
        self.net.waiting_room.clear();
        self.protocol.handle(self.net.now, Event::Stopping, &mut self.net);
        let drain = self.net.config.stop_drain;
        let ids: Vec<_> = self.net.conns.iter().map(|(id, conn)| (id, conn.pending.is_some())).collect();
        for (id, pending) in ids {
            if pending {
                self.net.remove(id, CloseReason::Shutdown);
            } else {
                self.net.close(id, CloseReason::Shutdown, drain);
            }
        }
    }
}

// poll(2) has no descriptor of its own to nest.
#[cfg(all(unix, not(mio_unsupported_force_poll_poll)))]
impl<P: Protocol> std::os::fd::AsRawFd for Driver<P> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.poller.raw_fd()
    }
}

/// The window after a wait of `waited` that the one before did not cover.
fn next_window(window: Duration, waited: Duration, most: Duration) -> Duration {
    if waited > most { Duration::ZERO } else { window.saturating_mul(2).max(SPIN_START).min(most) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_waits_open_the_window_to_its_limit_and_one_long_wait_closes_it() {
        let (most, short, long) = (Duration::from_micros(100), Duration::from_micros(99), Duration::from_micros(101));
        let mut window = Duration::ZERO;
        for expected in [10, 20, 40, 80, 100, 100] {
            window = next_window(window, short, most);
            assert_eq!(window, Duration::from_micros(expected));
        }
        assert_eq!(next_window(window, long, most), Duration::ZERO);
        let tiny = Duration::from_micros(3);
        assert_eq!(next_window(Duration::ZERO, tiny, tiny), tiny, "never above the limit");
    }
}
