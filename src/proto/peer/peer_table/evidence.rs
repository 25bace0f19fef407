//! What is known of the word of somebody who introduces himself.

use super::record::PeerRecord;
use crate::address::Origin;

/// How we know that a peer has the id that it gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// TLS has proven it.
    Proven,
    /// It said so where we dialed it.
    Dialed,
    /// It came, and said so.
    Claimed,
}

/// Under which ids the table has whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introduced {
    /// The peer that introduced itself: the id that it gave, or `peer_<ip>_<port>` where that is somebody else's; empty when the
    /// table has it not.
    pub known_as: String,
    /// The same of the peer that had this id until now by its word alone; it is connected, and had to go for one that we dialed.
    pub displaced: Option<String>,
}

/// Does this introduction come from where we know that peer to be? What has no address is the word of a file or an embedder.
pub(super) fn is_from(known: &PeerRecord, new: &PeerRecord) -> bool {
    let Some(from) = new.seen_from.or(new.address) else { return true };
    let from = Origin::of(from.ip());
    let mut places = known.address.into_iter().chain(known.seen_from).peekable();
    places.peek().is_none() || places.any(|place| Origin::of(place.ip()) == from)
}
