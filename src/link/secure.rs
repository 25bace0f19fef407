//! What lies between a socket and the frames: nothing yet, TLS later.
//!
//! The pipe's one place for a security layer. A stage other than [`Stage::Plain`] takes the socket's bytes before the
//! inbox sees them and the outbox's bytes before the socket does, and may have bytes of its own to write; the frames, the
//! queues and their limits stay the same on both sides of it.

/// The security layer of one connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// The socket's bytes are the frames' bytes.
    #[default]
    Plain,
}
