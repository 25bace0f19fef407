//! Whether a connection may begin: the answer to an address that wants to connect.

use core::net::SocketAddr;

/// What a node says, in an Error frame, to one who comes too often or too many from his place: it is there, and not full.
pub const CROWDED: &str = "too many connections from this address";

/// What becomes of an address that wants to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Admit {
    /// It may connect, and its place is taken: it must be said when it becomes no connection.
    Accept,
    /// It may not; its socket is closed at once.
    Refuse,
    /// It may not, and is told why: these bytes, a whole frame, are written once, as far as the socket takes them, before it is
    /// closed. Under TLS, where nothing can be said before the handshake, a fatal alert goes instead: user_canceled, by which
    /// our own dialer knows that it was [turned away](crate::close::TlsFault::TurnedAway).
    TurnAway(&'static [u8]),
    /// There is no place for it at present, and nobody crowds more than it does: it is asked about again while it waits, unread. If it
    /// has waited in vain, these bytes are its last, as with `TurnAway`, and that is said as `WaitedInVain`. Whoever has no place to
    /// wait in takes this for `TurnAway`.
    Wait(&'static [u8]),
    /// There is no place for it, but this one, admitted before and not open yet, should give up its own. Once that has been
    /// closed, and the release of its admission been said, the newcomer is worth another question.
    Evict(SocketAddr),
}
