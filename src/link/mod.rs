//! One connection's pipe, without a socket: bytes in, frames out, and back.
//!
//! An [`Inbox`] turns a stream of bytes into frames and keeps what is unfinished; an [`Outbox`] keeps frames by priority
//! and turns them into vectored writes. Both hold no memory while they have nothing to hold, so a connection that is
//! idle costs three empty pointers. The [`BufferPool`] belongs to the loop and lends them memory that is already warm.
//!
//! Nothing here knows a socket, a clock or what a frame means. The caller lends the bytes it read, says what time it is
//! and passes a closure that writes.
//!
//! | file | what it is |
//! |---|---|
//! | this one | [`Link`]: both directions and the transport, as one connection has them |
//! | [`transport`] | what lies between the frames and the socket: nothing, `tls`, or `web_socket` over either |
//! | [`inbox`], [`outbox`] | bytes to frames, and frames to bytes |
//! | [`buffer_pool`] | the loop's memory for all of these |
//! | [`socks`] | how a proxy is asked for a connection, before any of these |
//! | `lz4` | payloads compressed and expanded |
//! | `inbox::held`, `outbox::queues`, `tls::sealing`, `web_socket::sender` | what they keep while they keep something |
//! | `buffers` | plain memory to lend |
//! | `unsent` | what a layer has made and the socket did not take |
//! | `queue_account` | how much is queued, over all connections |
//!
//! Each file imports only from those below it.

pub mod buffer_pool;
mod buffers;
pub mod inbox;
#[cfg(feature = "lz4")]
#[cfg_attr(docsrs, doc(cfg(feature = "lz4")))]
pub mod lz4;
pub mod outbox;
mod queue_account;
pub mod socks;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))))]
pub mod tls;
pub mod transport;
#[cfg(any(feature = "tls", feature = "ws"))]
mod unsent;
#[cfg(feature = "ws")]
#[cfg_attr(docsrs, doc(cfg(feature = "ws")))]
pub mod web_socket;

use core::time::Duration;
use std::io::{self, IoSlice};

use crate::time::Instant;

pub use buffer_pool::BufferPool;
pub use inbox::Inbox;
pub use outbox::{Flush, Outbox, OutboxLimits, Progress, PushError, WriteBudget, WriteSide};
pub use transport::Transport;

/// One connection's two directions and what lies between them and the socket.
///
/// # Examples
///
/// What one side flushes, the other side's inbox takes.
///
/// ```
/// use spacetime_network::link::{BufferPool, Link, OutboxLimits, WriteSide};
/// use spacetime_network::time::Instant;
/// use spacetime_network::wire::{FrameRules, Priority};
///
/// let mut pool = BufferPool::new();
/// let (mut here, mut there) = (Link::default(), Link::default());
/// here.outbox.push(Priority::Normal, 7, b"over", &OutboxLimits::default(), &mut pool).unwrap();
///
/// let mut wire = Vec::new();
/// here.flush(&mut pool, usize::MAX, WriteSide::Open, |slices| {
///     slices.iter().for_each(|slice| wire.extend_from_slice(slice));
///     Ok(slices.iter().map(|slice| slice.len()).sum())
/// });
/// assert!(here.is_flushed());
///
/// let mut input = &wire[..];
/// let frame = there.inbox.next(&mut input, &FrameRules::any(16), Instant::ZERO, &mut pool)?.unwrap();
/// assert_eq!((frame.kind, &frame.payload[..]), (7, &b"over"[..]));
/// # Ok::<(), spacetime_network::wire::FrameError>(())
/// ```
#[derive(Debug, Default)]
pub struct Link {
    /// Bytes in, frames out.
    pub inbox: Inbox,
    /// Frames in, bytes out.
    pub outbox: Outbox,
    /// The security layer.
    pub transport: Transport,
}

impl Link {
    /// Writes until nothing is queued, `write` takes no more, or `budget` bytes of frames are written; see
    /// [`Outbox::flush`]. `side` says what follows the queued frames.
    ///
    /// The answer's bytes are the socket's.
    #[inline]
    pub fn flush(
        &mut self,
        pool: &mut BufferPool,
        budget: impl Into<WriteBudget>,
        side: WriteSide,
        write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Flush {
        match &mut self.transport {
            Transport::Plain => {
                let _ = side;
                self.outbox.flush(pool, budget, write)
            }
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => stream.flush(&mut self.outbox, pool, budget.into(), side, write),
            #[cfg(feature = "ws")]
            Transport::WebSocket(stream) => stream.flush(&mut self.outbox, pool, budget.into(), side, write),
        }
    }

    /// Bytes that leave however slow the rest is to go: critical frames, and what is left of a record or a small frame before them.
    pub(crate) fn urgent_bytes(&self) -> usize {
        match self.outbox.urgent_bytes() {
            // What TLS has to say by itself is an end.
            0 if self.outbox.is_empty() => self.transport.unsent(),
            0 => 0,
            frames => frames + self.transport.unsent(),
        }
    }

    /// True when nothing waits to be written.
    #[inline]
    pub fn is_flushed(&self) -> bool {
        self.outbox.is_empty() && self.transport.unsent() == 0
    }

    /// Bytes that wait to be written.
    #[inline]
    pub fn queued_bytes(&self) -> usize {
        self.outbox.queued_bytes() + self.transport.unsent()
    }

    /// Bytes of memory held for what came and is not delivered.
    #[inline]
    pub fn held(&self) -> usize {
        self.inbox.held() + self.transport.held()
    }

    /// Until when what is unfinished must have made progress; see [`Inbox::deadline`].
    #[inline]
    pub fn deadline(&self, stall: Duration) -> Option<Instant> {
        match (self.inbox.deadline(stall), self.transport.deadline(stall)) {
            (Some(inbox), Some(transport)) => Some(inbox.min(transport)),
            (inbox, transport) => inbox.or(transport),
        }
    }

    /// Gives everything back to `pool`: the connection is gone.
    pub fn clear(&mut self, pool: &mut BufferPool) {
        self.inbox.clear(pool);
        self.outbox.clear(pool);
        self.transport.clear(pool);
    }
}
