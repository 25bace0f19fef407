//! What a selector tells of a socket, and whether it tells of everything.

/// Is every arrival of bytes or of room to write told as an event, no matter what the calls before it answered? So epoll does. The
/// other selectors of mio (poll, and Windows's) look at a socket again only after one of its calls was refused, and kqueue tells
/// nothing of an urgent mark, at which a read ends early.
pub(in crate::driver) const TELLS_EVERY_ARRIVAL: bool =
    cfg!(all(any(target_os = "linux", target_os = "android"), not(mio_unsupported_force_poll_poll)));

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
