//! Whose doing an end is.

/// Whose doing it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Blame {
    /// The peer broke the protocol.
    Misbehaved,
    /// The peer follows another protocol, network or version.
    Incompatible,
    /// The network failed, or the peer fell silent.
    Lost,
    /// We ended it for reasons of our own.
    Ours,
}
