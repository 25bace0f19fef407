//! One connection as the loop sees it.

use core::time::Duration;
use std::net::SocketAddr;

use super::config::Config;
use super::system::Stream;
use crate::close::CloseReason;
use crate::id::DialId;
use crate::link::Link;
use crate::time::Instant;
use crate::wire::FrameRules;

/// A connection's life; the state after `Lingering` is to be gone from the slab.
#[derive(Debug)]
pub(super) enum Life {
    /// The kernel is connecting; the protocol knows the dial, not yet the connection.
    Connecting(Box<Dialing>),
    /// Frames flow.
    Open,
    /// Nothing is read any more; what is queued may leave until the deadline.
    Draining { reason: CloseReason, until: Instant, linger: bool },
    /// Our end of the stream is written; what still arrives is thrown away, so that it does not become a reset.
    Lingering { reason: CloseReason, until: Instant },
}

#[derive(Debug)]
pub(super) struct Dialing {
    pub(super) dial: DialId,
    pub(super) remote: SocketAddr,
    pub(super) until: Instant,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) stream: Stream,
    pub(super) generation: u32,
    pub(super) life: Life,
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
        matches!(self.life, Life::Connecting(_))
    }

    /// The connection's earliest deadline and what it ends in; `None` when it is idle.
    pub(super) fn deadline(&self, config: &Config) -> Option<(Instant, CloseReason)> {
        match &self.life {
            Life::Connecting(dialing) => Some((dialing.until, CloseReason::DialTimeout)),
            Life::Draining { until, reason, .. } | Life::Lingering { until, reason } => Some((*until, *reason)),
            Life::Open => {
                let frame = (!self.flags.paused).then(|| self.link.inbox.deadline(config.frame_stall)).flatten();
                let write = (!self.link.outbox.is_empty()).then(|| self.progressed + config.write_stall);
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
        self.life = Life::Draining { reason, until: now + drain, linger: !drain.is_zero() };
        self.flags.high = false;
    }
}
