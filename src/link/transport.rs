//! What lies between a socket and the frames: nothing, TLS, WebSocket, or WebSocket in TLS.
//!
//! The pipe's one place for such layers. It takes the socket's bytes before the inbox sees them and the outbox's bytes
//! before the socket does, and may have bytes of its own to write; the frames, the queues and their limits are the same on
//! both sides of it. [`Transport::Plain`] passes everything through.
//!
//! Bytes come in by [`Transport::open`] and go out by [`Link::flush`](super::Link::flush). As long as the transport
//! [is securing](Transport::is_securing), nobody is known on the other side and no frame leaves. It ends when the peer sends
//! close_notify or breaks the rules: [`Transport::end`].

use core::time::Duration;

use crate::close::{CloseReason, TlsFault, WebSocketFault};
use crate::id::VerifiedId;
use crate::link::buffer_pool::BufferPool;
use crate::time::Instant;

#[cfg(feature = "tls")]
use super::tls::{Tls, alpn::Inside, stream::TlsStream};
#[cfg(feature = "ws")]
use super::web_socket::{WebSocketRole, stream::WebSocket};
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
    /// WebSocket, over TLS or over nothing.
    #[cfg(feature = "ws")]
    #[cfg_attr(docsrs, doc(cfg(feature = "ws")))]
    WebSocket(Box<WebSocket>),
}

/// The one look at which of them it is: `$plain`, or `$tls` with the stream, of either kind.
macro_rules! either {
    ($transport:expr, $plain:expr, $stream:ident => $tls:expr) => {
        match $transport {
            Transport::Plain => $plain,
            #[cfg(feature = "tls")]
            Transport::Tls($stream) => $tls,
            #[cfg(feature = "ws")]
            Transport::WebSocket($stream) => $tls,
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
        TlsStream::new(tls, remote, direction, Inside::Frames).map(|stream| Transport::Tls(Box::new(stream)))
    }

    /// WebSocket. If we dialed, the request is queued.
    #[cfg(feature = "ws")]
    #[cfg_attr(docsrs, doc(cfg(feature = "ws")))]
    pub fn web_socket(role: WebSocketRole) -> Self {
        Transport::WebSocket(Box::new(WebSocket::new(role)))
    }

    /// The same inside of TLS with `remote`.
    ///
    /// # Errors
    ///
    /// As [`Transport::tls`].
    #[cfg(all(feature = "ws", feature = "tls"))]
    #[cfg_attr(docsrs, doc(cfg(feature = "ws")))]
    pub fn web_socket_in_tls(
        role: WebSocketRole,
        tls: &Tls,
        remote: SocketAddr,
        direction: Direction,
    ) -> Result<Self, TlsFault> {
        let stream = TlsStream::new(tls, remote, direction, Inside::Http)?;
        Ok(Transport::WebSocket(Box::new(WebSocket::new(role).over(stream))))
    }

    /// Is it WebSocket?
    #[inline]
    pub fn is_web_socket(&self) -> bool {
        #[cfg(feature = "ws")]
        return matches!(self, Transport::WebSocket(_));
        #[cfg(not(feature = "ws"))]
        false
    }

    /// Is there TLS, alone or below WebSocket?
    pub fn has_tls(&self) -> bool {
        match self {
            Transport::Plain => false,
            #[cfg(feature = "tls")]
            Transport::Tls(_) => true,
            #[cfg(feature = "ws")]
            Transport::WebSocket(stream) => stream.is_over_tls(),
        }
    }

    /// What it is called when the stream ends without a word, now.
    pub fn cut(&self) -> CloseReason {
        match self.has_tls() {
            true => CloseReason::Tls(TlsFault::Cut),
            false if self.is_securing() => CloseReason::WebSocket(WebSocketFault::Cut),
            // As on a plain line: a browser that is gone says nothing.
            false => CloseReason::RemoteClosed,
        }
    }

    /// What it is called when [securing](Transport::is_securing) takes too long.
    pub fn timeout(&self) -> CloseReason {
        if self.is_web_socket() {
            CloseReason::WebSocket(WebSocketFault::UpgradeTimeout)
        } else {
            CloseReason::Tls(TlsFault::HandshakeTimeout)
        }
    }

    /// Says something of its own, where the line has been quiet: so that nobody on the way takes it for dead. Only WebSocket can.
    #[cfg(feature = "ws")]
    #[cfg_attr(docsrs, doc(cfg(feature = "ws")))]
    pub fn ping(&mut self) {
        if let Transport::WebSocket(stream) = self {
            stream.ping();
        }
    }

    /// Our side will be closed for this reason: WebSocket has a code for it.
    pub fn closes_for(&mut self, reason: CloseReason) {
        let _ = reason;
        #[cfg(feature = "ws")]
        if let Transport::WebSocket(stream) = self {
            stream.closes_for(reason);
        }
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

    /// Why no plaintext comes any more: `Ok` when the peer sent close_notify or a close frame, the reason when it broke the rules. What it should
    /// be told of it waits to be flushed.
    pub fn end(&self) -> Option<Result<(), CloseReason>> {
        match self {
            Transport::Plain => None,
            #[cfg(feature = "tls")]
            Transport::Tls(stream) => stream.end().map(|end| end.map_err(CloseReason::Tls)),
            #[cfg(feature = "ws")]
            Transport::WebSocket(stream) => stream.end(),
        }
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

    /// True when the peer is still owed our close_notify, or our close frame.
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
