//! One connection's pipe, without a socket: bytes in, frames out, and back.
//!
//! An [`Inbox`] turns a stream of bytes into frames and keeps what is unfinished; an [`Outbox`] keeps frames by priority
//! and turns them into vectored writes. Both hold no memory while they have nothing to hold, so a connection that is
//! idle costs two empty pointers. The [`Pool`] belongs to the loop and lends them memory that is already warm.
//!
//! Nothing here knows a socket, a clock or what a frame means. The caller lends the bytes it read, says what time it is
//! and passes a closure that writes.

#[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
pub mod identity;
pub mod inbox;
pub mod outbox;
pub mod pool;
#[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
mod provider;
pub mod secure;
#[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
pub mod tls;
#[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
pub mod trust;
#[cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
mod verify;

pub use inbox::Inbox;
pub use outbox::{Flush, Full, Outbox, OutboxLimits, Progress};
pub use pool::Pool;
pub use secure::Stage;

/// One connection's two directions and what lies between them and the socket.
#[derive(Debug, Default)]
pub struct Link {
    /// Bytes in, frames out.
    pub inbox: Inbox,
    /// Frames in, bytes out.
    pub outbox: Outbox,
    /// The security layer.
    pub stage: Stage,
}

impl Link {
    /// Gives everything back to `pool`: the connection is gone.
    pub fn clear(&mut self, pool: &mut Pool) {
        self.inbox.clear(pool);
        self.outbox.clear(pool);
    }
}
