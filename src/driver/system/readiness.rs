//! What a selector tells of a socket.

/// What a socket has become ready for: an edge, told once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Readiness {
    /// The token that it was registered with.
    pub(crate) token: usize,
    /// Bytes, connections, the end of the stream or an error can be read.
    pub(crate) readable: bool,
    /// Bytes can be written, or a dial has ended, or there is an error.
    pub(crate) writable: bool,
    /// The peer closed its end, or the socket failed.
    pub(crate) ended: bool,
    /// There is urgent data to read.
    pub(crate) urgent: bool,
}
