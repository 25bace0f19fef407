//! One connection as the loop sees it.

use core::time::Duration;
use std::io::ErrorKind;
use std::net::SocketAddr;

use super::config::Config;
use super::door::Door;
use super::proxy_dial::ProxyDial;
use super::system::Stream;
use super::turn_shares::Source;
use super::unsent_bound::UnsentBound;
use crate::close::{CloseReason, TlsFault};
use crate::id::Direction;
use crate::link::{BufferPool, Link, Transport, WriteSide};
use crate::time::Instant;
use crate::wire::FrameRules;

/// A connection's life. Each transition is a method of [`Conn`] that asserts what it comes from; closed is to be gone from the
/// slab.
///
/// | from | to | when |
/// |---|---|---|
/// | connecting | securing | the socket is connected, and TLS or WebSocket is spoken |
/// | connecting, securing | open | the socket is connected, or the handshake is done |
/// | securing | draining | the handshake failed, and the peer is told why |
/// | open | half-closed | the peer has ended its direction |
/// | open, half-closed | draining | the protocol closes it, TLS has failed, or a half-closed one has said all |
/// | draining | lingering | everything is written, and the peer may still send |
/// | any | closed | the end of the stream, a failure, a deadline |
#[derive(Debug)]
pub(super) enum ConnState {
    /// The kernel is connecting, or the proxy to which it has connected.
    Connecting,
    /// The TLS handshake or the upgrade to WebSocket is under way; our address is for the protocol, later.
    Securing { local: Box<SocketAddr> },
    /// Frames flow.
    Open,
    /// No frame comes any more, but frames may leave until the deadline. With the last of them it ends, unless the protocol
    /// holds it for more.
    HalfClosed { reason: CloseReason, until: Instant, held: bool },
    /// No frame comes or is taken; what is queued may leave until the deadline, or in `one_attempt`. What still arrives is thrown
    /// away: a peer that is not read may not read either.
    Draining { reason: CloseReason, until: Instant, one_attempt: bool },
    /// Our end of the stream is written, with the same deadline. What still arrives is thrown away, so that it does not become a
    /// reset, which would destroy what the peer has not read.
    Lingering { reason: CloseReason, until: Instant },
}

/// What a connection is before the protocol knows it. The protocol knows the dial, or the address it admitted.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingConn {
    pub(super) direction: Direction,
    pub(super) remote: SocketAddr,
    pub(super) until: Instant,
    /// The protocol was told that it will come to nothing, though its last word is still on its way.
    pub(super) told: bool,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: Stream,
    pub(super) state: ConnState,
    /// Set until the protocol knows the connection, and for good if it never will.
    pub(super) pending: Option<Box<PendingConn>>,
    /// By which way it comes to be, until it is connected.
    pub(super) door: Door,
    /// What is said to the proxy first, where there is one, until that has connected us.
    pub(super) proxy: Option<Box<ProxyDial>>,
    /// Who answers for the work that it causes.
    pub(super) source: Option<Source>,
    pub(super) flags: Flags,
    pub(super) link: Link,
    pub(super) rules: &'static FrameRules,
    pub(super) counters: Counters,
    /// When this connection's entry among the timers is due; `NEVER` without one.
    pub(super) armed: Instant,
    /// When a byte was written last, or the first was queued.
    pub(super) progressed: Instant,
    /// How much the system may hold that it cannot send.
    pub(super) unsent: UnsentBound,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    /// The socket may have bytes for us.
    pub(super) readable: bool,
    /// The socket may take bytes from us.
    pub(super) writable: bool,
    /// The peer closed its end, or the socket failed: read until it says so.
    pub(super) ended: bool,
    /// Urgent data arrived: a read may end at its mark with more behind it.
    pub(super) urgent: bool,
    /// The peer's direction was read to its end.
    pub(super) finished: bool,
    /// The protocol does not want frames.
    pub(super) paused: bool,
    /// Its TLS handshake had to wait before it could begin.
    pub(super) throttled: bool,
    /// Backpressure: what is queued went above the high watermark, or a frame was refused, and the protocol is owed an event when
    /// it has drained to the low one.
    pub(super) backpressure: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters {
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    pub(super) frames_in: u64,
    pub(super) frames_out: u64,
    pub(super) dropped: u32,
    pub(super) refused: u32,
}

impl Conn {
    pub(super) fn new(stream: Stream, state: ConnState, rules: &'static FrameRules) -> Self {
        Conn {
            stream,
            state,
            pending: None,
            door: Door::Frames,
            proxy: None,
            source: None,
            flags: Flags::default(),
            link: Link::default(),
            rules,
            counters: Counters::default(),
            armed: Instant::NEVER,
            progressed: Instant::ZERO,
            unsent: UnsentBound::default(),
        }
    }

    /// It is known with whom this will be a connection.
    pub(super) fn introduce(&mut self, pending: PendingConn) {
        self.source = Some(Source::of(pending.remote, pending.direction));
        self.pending = Some(Box::new(pending));
    }

    #[inline]
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, ConnState::Open)
    }

    /// May frames be queued?
    #[inline]
    pub(super) fn takes_frames(&self) -> bool {
        matches!(self.state, ConnState::Open | ConnState::HalfClosed { .. })
    }

    /// Is what arrives read only to be thrown away?
    pub(super) fn discards(&self) -> bool {
        let discards =
            matches!(self.state, ConnState::Draining { one_attempt: false, .. } | ConnState::Lingering { .. });
        discards && !self.flags.finished
    }

    /// Until when it may drain, when it does nothing else any more.
    pub(super) fn drains_until(&self) -> Option<Instant> {
        match self.state {
            ConnState::Draining { until, .. } | ConnState::Lingering { until, .. } => Some(until),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.state, ConnState::Connecting)
    }

    #[inline]
    pub(super) fn is_securing(&self) -> bool {
        matches!(self.state, ConnState::Securing { .. })
    }

    /// Does a read that leaves room show that the socket has no more? See [`edge`](super::edge).
    #[inline]
    pub(super) fn is_drained_by_a_short_read(&self) -> bool {
        self.stream.tells_every_arrival() && !self.flags.ended && !self.flags.urgent
    }

    /// True when there is something to write. Behind the last frame of a connection that drains comes TLS's close_notify.
    #[inline]
    pub(super) fn has_output(&self) -> bool {
        !self.link.is_flushed() || (self.is_draining() && self.link.transport.owes_close_notify())
    }

    /// Bytes that wait to be written; `lent` of them in a transport that is taken out. The watermarks are compared with this sum,
    /// which is the one that a protocol sees.
    #[inline]
    pub(super) fn queued_bytes(&self, lent: usize) -> usize {
        self.link.queued_bytes() + lent
    }

    /// What will still be written: nothing behind the last frame of a connection that drains.
    #[inline]
    pub(super) fn write_side(&self) -> WriteSide {
        if self.is_draining() { WriteSide::Closing } else { WriteSide::Open }
    }

    pub(super) fn is_draining(&self) -> bool {
        matches!(self.state, ConnState::Draining { .. })
    }

    /// What the end is called that somebody calls `reason`: an earlier one stands. Nobody who was dialed and left without a
    /// byte can be said to have been cut off: it never was there.
    pub(super) fn reason_of(&self, reason: CloseReason) -> CloseReason {
        match (&self.state, reason) {
            (
                ConnState::HalfClosed { reason, .. }
                | ConnState::Draining { reason, .. }
                | ConnState::Lingering { reason, .. },
                _,
            ) => *reason,
            (
                ConnState::Securing { .. },
                CloseReason::Tls(TlsFault::Cut)
                | CloseReason::Io(ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe),
            ) if self.counters.bytes_in == 0
                && (self.link.transport.has_tls() || !self.link.transport.is_web_socket())
                && self.pending.as_ref().is_some_and(|pending| pending.direction.is_outbound()) =>
            {
                CloseReason::Tls(TlsFault::Unanswered)
            }
            _ => reason,
        }
    }

    /// The connection's earliest deadline and what it ends in; `None` when it is idle.
    pub(super) fn deadline(&self, config: &Config) -> Option<(Instant, CloseReason)> {
        match &self.state {
            ConnState::Connecting => {
                let reason = self.proxy.as_ref().map_or(CloseReason::DialTimeout, |proxy| proxy.timeout());
                self.pending.as_ref().map(|pending| (pending.until, reason))
            }
            ConnState::Securing { .. } => {
                self.pending.as_ref().map(|pending| (pending.until, self.link.transport.timeout()))
            }
            ConnState::HalfClosed { until, reason, .. }
            | ConnState::Draining { until, reason, .. }
            | ConnState::Lingering { until, reason } => Some((*until, *reason)),
            ConnState::Open => {
                let frame = (!self.flags.paused).then(|| self.link.deadline(config.frame_stall)).flatten();
                let write = (!self.link.is_flushed()).then(|| self.progressed + config.write_stall);
                match (frame, write) {
                    (Some(frame), Some(write)) if write < frame => Some((write, CloseReason::WriteTimeout)),
                    (Some(frame), _) => Some((frame, CloseReason::FrameTimeout)),
                    (None, write) => write.map(|write| (write, CloseReason::WriteTimeout)),
                }
            }
        }
    }

    /// The socket is connected, and the TLS handshake or the upgrade begins. It may fail to, and then the connection is removed.
    pub(super) fn start_securing(
        &mut self,
        local: SocketAddr,
        transport: Result<Transport, TlsFault>,
    ) -> Result<(), TlsFault> {
        debug_assert!(
            self.is_connecting() && self.pending.is_some(),
            "only a fresh connection begins with TLS: {self:?}"
        );
        self.state = ConnState::Securing { local: Box::new(local) };
        self.link.transport = transport?;
        Ok(())
    }

    /// The protocol is about to know the connection: called once in a life, by [`ConnSlab::open`](super::slab::ConnSlab::open).
    /// Answers what it was until now.
    pub(super) fn open(&mut self) -> Option<PendingConn> {
        debug_assert!(self.is_connecting() || self.is_securing(), "only a connection that comes up opens: {self:?}");
        debug_assert!(!self.link.transport.is_securing(), "the handshake is done before frames flow");
        let pending = self.pending.take()?;
        self.state = ConnState::Open;
        Some(*pending)
    }

    /// The peer will send no more frames; `finished` when not even bytes. Until the deadline, frames may leave.
    pub(super) fn half_close(&mut self, reason: CloseReason, until: Instant, finished: bool) {
        debug_assert!(self.is_open(), "only a direction that was open ends: {self:?}");
        self.state = ConnState::HalfClosed { reason, until, held: false };
        self.flags.finished = finished;
    }

    /// Stops the frames. `drain` is how long what is queued may take to leave.
    pub(super) fn start_draining(&mut self, reason: CloseReason, now: Instant, drain: Duration) {
        debug_assert!(self.takes_frames() || self.is_securing(), "who drains was up and did not drain yet: {self:?}");
        debug_assert_eq!(
            self.takes_frames(),
            self.pending.is_none(),
            "the protocol knows who was open, and nobody else"
        );
        // Without a drain the flush at the end of the turn is the one attempt, and the end; no timer may come before it.
        let until = if drain.is_zero() { Instant::NEVER } else { now + drain };
        self.state = ConnState::Draining { reason, until, one_attempt: drain.is_zero() };
        self.link.transport.closes_for(reason);
        self.flags.backpressure = false;
    }

    /// A half-closed connection has said all: what is left is to end our direction as well.
    pub(super) fn end_half_closed(&mut self) {
        if let ConnState::HalfClosed { reason, until, .. } = self.state {
            self.state = ConnState::Draining { reason, until, one_attempt: false };
            self.flags.backpressure = false;
        }
    }

    /// Everything is written and our end of the stream is closed: what still arrives is thrown away until then.
    pub(super) fn start_lingering(&mut self, reason: CloseReason, until: Instant) {
        debug_assert!(
            matches!(self.state, ConnState::Draining { one_attempt: false, .. }),
            "who lingers has drained: {self:?}"
        );
        debug_assert!(!self.has_output() && !self.flags.finished, "who lingers has written all, and the peer has not");
        self.state = ConnState::Lingering { reason, until };
    }

    /// Gives all memory back: the connection is gone, and in no account any more.
    pub(super) fn clear(&mut self, pool: &mut BufferPool) {
        self.link.clear(pool);
        debug_assert_eq!((self.link.held(), self.link.queued_bytes()), (0, 0), "who is gone holds nothing");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::DialId;

    fn conn() -> Conn {
        let nowhere = mio::net::TcpStream::connect("127.0.0.1:9".parse().unwrap()).unwrap();
        let mut conn = Conn::new(Stream::Tcp(nowhere), ConnState::Connecting, FrameRules::greeting());
        let (direction, remote) = (Direction::Outbound(DialId(1)), "127.0.0.1:9".parse().unwrap());
        conn.pending = Some(Box::new(PendingConn { direction, remote, until: Instant::from_millis(5), told: false }));
        conn
    }

    fn deadline(conn: &Conn) -> Option<(Instant, CloseReason)> {
        conn.deadline(&Config::default())
    }

    #[test]
    fn a_life_has_a_deadline_in_every_state_but_the_idle_one_and_ends_for_the_first_reason() {
        let (now, drain) = (Instant::from_millis(100), Duration::from_millis(7));
        let (until, local) = (Instant::from_millis(5), "127.0.0.1:8".parse().unwrap());
        let mut conn = conn();
        assert_eq!(deadline(&conn), Some((until, CloseReason::DialTimeout)));
        conn.start_securing(local, Ok(Transport::Plain)).unwrap();
        assert_eq!(deadline(&conn), Some((until, CloseReason::Tls(TlsFault::HandshakeTimeout))));
        assert_eq!(conn.open().unwrap().direction, Direction::Outbound(DialId(1)));
        assert_eq!(deadline(&conn), None);
        conn.start_draining(CloseReason::LimitReached, now, drain);
        assert_eq!(deadline(&conn), Some((now + drain, CloseReason::LimitReached)));
        conn.start_lingering(CloseReason::LimitReached, now + drain * 2);
        assert_eq!(deadline(&conn), Some((now + drain * 2, CloseReason::LimitReached)));
        assert_eq!(conn.reason_of(CloseReason::RemoteClosed), CloseReason::LimitReached);
    }

    #[test]
    fn a_half_closed_life_takes_frames_until_its_deadline_and_keeps_it_to_the_end() {
        let mut conn = conn();
        conn.open();
        let until = Instant::from_millis(300);
        conn.half_close(CloseReason::TruncatedFrame, until, true);
        assert!(conn.takes_frames() && !conn.is_open() && !conn.discards());
        assert_eq!(deadline(&conn), Some((until, CloseReason::TruncatedFrame)));
        conn.end_half_closed();
        assert!(!conn.takes_frames() && !conn.discards(), "there is nothing to throw away behind the end");
        assert_eq!(deadline(&conn), Some((until, CloseReason::TruncatedFrame)));
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "who lingers has drained")]
    fn a_connection_that_skips_a_state_is_our_fault_and_is_said() {
        let mut conn = conn();
        conn.open();
        conn.start_lingering(CloseReason::LimitReached, Instant::NEVER);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "only a connection that comes up opens")]
    fn a_connection_that_opens_twice_is_our_fault_and_is_said() {
        let mut conn = conn();
        conn.open();
        conn.open();
    }
}
