//! One connection as the loop sees it.

use core::time::Duration;
use std::io::ErrorKind;
use std::net::SocketAddr;

use super::config::Config;
use super::system::Stream;
use crate::close::{CloseReason, TlsFault};
use crate::id::Direction;
use crate::link::{Link, WriteSide};
use crate::time::Instant;
use crate::wire::FrameRules;

/// A connection's life; the state after `Lingering` is to be gone from the slab.
#[derive(Debug)]
pub(super) enum Life {
    /// The kernel is connecting.
    Connecting,
    /// The TLS handshake is under way; our address is for the protocol, later.
    Securing { local: Box<SocketAddr> },
    /// Frames flow.
    Open,
    /// Nothing is read any more; what is queued may leave until the deadline.
    Draining { reason: CloseReason, until: Instant, linger: bool },
    /// Our end of the stream is written; what still arrives is thrown away, so that it does not become a reset.
    Lingering { reason: CloseReason, until: Instant },
}

/// What a connection is before the protocol knows it. The protocol knows the dial, or the address it admitted.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingConn {
    pub(super) direction: Direction,
    pub(super) remote: SocketAddr,
    pub(super) until: Instant,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: Stream,
    pub(super) generation: u32,
    pub(super) life: Life,
    /// Set until the protocol knows the connection, and for good if it never will.
    pub(super) pending: Option<Box<PendingConn>>,
    pub(super) flags: Flags,
    pub(super) link: Link,
    pub(super) rules: &'static FrameRules,
    pub(super) counters: Counters,
    /// When this connection's entry among the timers is due; `NEVER` without one.
    pub(super) armed: Instant,
    /// When a byte was written last, or the first was queued.
    pub(super) progressed: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flags {
    /// The socket may have bytes for us.
    pub(super) readable: bool,
    /// The socket may take bytes from us.
    pub(super) writable: bool,
    /// The peer closed its end, or the socket failed: read until it says so.
    pub(super) ended: bool,
    /// The protocol does not want frames.
    pub(super) paused: bool,
    /// In the list of connections to serve.
    pub(super) ready: bool,
    /// In the list of connections to flush.
    pub(super) dirty: bool,
    /// It had to wait before its handshake could begin.
    pub(super) waited: bool,
    /// The outbox went above its high mark and the protocol waits to hear that it drained.
    pub(super) high: bool,
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
    pub(super) fn new(stream: Stream, life: Life, rules: &'static FrameRules) -> Self {
        Conn {
            stream,
            generation: 0,
            life,
            pending: None,
            flags: Flags::default(),
            link: Link::default(),
            rules,
            counters: Counters::default(),
            armed: Instant::NEVER,
            progressed: Instant::ZERO,
        }
    }

    #[inline]
    pub(super) fn is_open(&self) -> bool {
        matches!(self.life, Life::Open)
    }

    #[inline]
    pub(super) fn is_connecting(&self) -> bool {
        matches!(self.life, Life::Connecting)
    }

    #[inline]
    pub(super) fn is_securing(&self) -> bool {
        matches!(self.life, Life::Securing { .. })
    }

    /// True when there is something to write. Behind the last frame of a connection that drains comes TLS's close_notify.
    #[inline]
    pub(super) fn has_output(&self) -> bool {
        !self.link.is_flushed() || (self.is_draining() && self.link.transport.owes_close_notify())
    }

    /// What will still be written: nothing behind the last frame of a connection that drains.
    #[inline]
    pub(super) fn write_side(&self) -> WriteSide {
        if self.is_draining() { WriteSide::Closing } else { WriteSide::Open }
    }

    pub(super) fn is_draining(&self) -> bool {
        matches!(self.life, Life::Draining { .. })
    }

    /// What the end is called that somebody calls `reason`: an earlier one stands. Nobody who was dialed and left without a
    /// byte can be said to have been cut off: it never was there.
    pub(super) fn reason_of(&self, reason: CloseReason) -> CloseReason {
        match (&self.life, reason) {
            (Life::Draining { reason, .. } | Life::Lingering { reason, .. }, _) => *reason,
            (
                Life::Securing { .. },
                CloseReason::Tls(TlsFault::Cut)
                | CloseReason::Io(ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe),
            ) if self.counters.bytes_in == 0
                && self.pending.as_ref().is_some_and(|pending| pending.direction.is_outbound()) =>
            {
                CloseReason::Tls(TlsFault::Unanswered)
            }
            _ => reason,
        }
    }

    /// The connection's earliest deadline and what it ends in; `None` when it is idle.
    pub(super) fn deadline(&self, config: &Config) -> Option<(Instant, CloseReason)> {
        match &self.life {
            Life::Connecting => self.pending.as_ref().map(|pending| (pending.until, CloseReason::DialTimeout)),
            Life::Securing { .. } => {
                self.pending.as_ref().map(|pending| (pending.until, CloseReason::Tls(TlsFault::HandshakeTimeout)))
            }
            Life::Draining { until, reason, .. } | Life::Lingering { until, reason } => Some((*until, *reason)),
            Life::Open => {
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

    /// Stops the frames. `drain` is how long what is queued may take to leave.
    pub(super) fn start_draining(&mut self, reason: CloseReason, now: Instant, drain: Duration) {
        // Without a drain the flush at the end of the turn is the one attempt, and the end; no timer may come before it.
        let until = if drain.is_zero() { Instant::NEVER } else { now + drain };
        self.life = Life::Draining { reason, until, linger: !drain.is_zero() };
        self.flags.high = false;
    }
}
