//! What lies between a socket and the frames: nothing, or TLS.
//!
//! The pipe's one place for a security layer. It takes the socket's bytes before the inbox sees them and the outbox's bytes
//! before the socket does, and may have bytes of its own to write; the frames, the queues and their limits are the same on
//! both sides of it. [`Transport::Plain`] passes everything through.
//!
//! Bytes come in by [`Transport::open`] and go out by [`Link::flush`](super::Link::flush). As long as the transport
//! [is securing](Transport::is_securing), nobody is known on the other side and no frame leaves. It ends when the peer sends
//! close_notify or breaks the rules: [`Transport::end`].

use core::time::Duration;

use crate::close::TlsFault;
use crate::id::VerifiedId;
use crate::link::buffer_pool::BufferPool;
use crate::time::Instant;

#[cfg(feature = "tls")]
use super::{tls::Tls, tls::stream::TlsStream};
#[cfg(feature = "tls")]
use crate::id::Direction;
#[cfg(feature = "tls")]
use std::net::SocketAddr;

/// The security layer of one connection.
#[derive(Debug, Default)]
#[non_exhaustive]
pub enum Transport {
    /// The socket's bytes are the frames' bytes.
    #[default]
    Plain,
    /// TLS.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))))]
    Tls(Box<TlsStream>),
}

/// The one look at which of the two it is: `$plain`, or `$tls` with the stream.
macro_rules! either {
    ($transport:expr, $plain:expr, $stream:ident => $tls:expr) => {
        match $transport {
            Transport::Plain => $plain,
            #[cfg(feature = "tls")]
            Transport::Tls($stream) => $tls,
        }
    };
}

impl Transport {
    /// TLS with `remote`. If we dialed, the hello is queued.
    ///
    /// # Errors
    ///
    /// The library can not begin a handshake with these settings.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))))]
    pub fn tls(tls: &Tls, remote: SocketAddr, direction: Direction) -> Result<Self, TlsFault> {
        TlsStream::new(tls, remote, direction).map(|stream| Transport::Tls(Box::new(stream)))
    }

    /// True when bytes pass as they are.
    #[inline]
    pub fn is_plain(&self) -> bool {
        matches!(self, Transport::Plain)
    }

    /// True until the handshake is done and the peer's identity accepted.
    pub fn is_securing(&self) -> bool {
        either!(self, false, stream => stream.is_securing())
    }

    /// Who the peer has proven to be.
    pub fn identity(&self) -> Option<VerifiedId> {
        either!(self, None, stream => stream.identity())
    }

    /// Why no plaintext comes any more: `Ok` when the peer sent close_notify, the fault when it broke the rules. What it should
    /// be told of it waits to be flushed.
    pub fn end(&self) -> Option<Result<(), TlsFault>> {
        either!(self, None, stream => stream.end())
    }

    /// How many bytes may be read from the socket next: a handshake must be done within its limit.
    #[inline]
    pub fn room(&self) -> usize {
        either!(self, usize::MAX, stream => stream.room())
    }

    /// Opens what came from the socket, in place. Plaintext goes to `take` in pieces, in order, and `take` answers whether it
    /// wants more; after a no, nothing is opened ever again. What is unfinished is kept.
    ///
    /// Plaintext may come in the call in which the handshake is done: it counts only if the transport is not
    /// [securing](Transport::is_securing) afterwards.
    pub fn open(&mut self, input: &mut [u8], now: Instant, take: &mut dyn FnMut(&[u8]) -> bool) {
        either!(
            self,
            {
                let _ = (now, take(input));
            },
            stream => stream.open(input, now, take)
        );
    }

    /// Units of work that [`open`](Transport::open) has cost since the last call.
    #[inline]
    pub fn take_work(&mut self) -> u32 {
        either!(self, 0, stream => stream.take_work())
    }

    /// True when what came last was cut into so small records that one read brings many, each with its price.
    #[inline]
    pub fn is_dense(&self) -> bool {
        either!(self, false, stream => stream.is_dense())
    }

    /// Brings the pool's account up to date after [`open`](Transport::open): what was opened may have called for an answer.
    #[inline]
    pub fn account(&mut self, pool: &mut BufferPool) {
        either!(
            self,
            {
                let _ = pool;
            },
            stream => stream.account(pool)
        );
    }

    /// Bytes of memory held for what came and can not be opened yet.
    #[inline]
    pub fn held(&self) -> usize {
        either!(self, 0, stream => stream.held())
    }

    /// Bytes of its own that wait to be written.
    #[inline]
    pub fn unsent(&self) -> usize {
        either!(self, 0, stream => stream.unsent())
    }

    /// Says something to whoever came without TLS, as it is: what would stand there in TLS could not be read. Only after it has
    /// [ended](Transport::end) by [`TlsFault::NotTls`], and for one whom we did not dial: nothing was written to it before.
    pub fn answer_plainly(&mut self, bytes: &[u8]) {
        either!(
            self,
            {
                let _ = bytes;
            },
            stream => stream.answer_plainly(bytes)
        );
    }

    /// True when the peer is still owed our close_notify.
    pub fn owes_close_notify(&self) -> bool {
        either!(self, false, stream => stream.can_seal())
    }

    /// Until when what is unfinished must be finished: `stall` after it began.
    #[inline]
    pub fn deadline(&self, stall: Duration) -> Option<Instant> {
        either!(
            self,
            {
                let _ = stall;
                None
            },
            stream => stream.deadline(stall)
        )
    }

    /// Gives all memory but the keys back.
    pub fn clear(&mut self, pool: &mut BufferPool) {
        either!(
            self,
            {
                let _ = pool;
            },
            stream => stream.clear(pool)
        );
    }
}
