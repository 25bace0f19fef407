//! A dial and what becomes of it: whereto, what for, and how far it has come.

use core::net::SocketAddr;

use crate::proto::peer::peer_key::PeerKey;
use crate::time::Instant;

#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) address: SocketAddr,
    pub(super) purpose: Purpose,
    /// The node behind it, when that is found to be connected already.
    pub(super) duplicate_of: Option<PeerKey>,
    /// Somebody who speaks our protocol said there that he has no place for us.
    pub(super) is_full: bool,
    /// We know it by more than the word of strangers: it is an anchor, a seed, or named.
    pub(super) is_grounded: bool,
    /// Its group had an automatic connection already, for want of others.
    pub(super) doubles: bool,
    /// No frames are taken there but inside of a WebSocket.
    pub(super) is_web_socket: bool,
    pub(super) state: DialState,
    /// When its dial began.
    pub(super) since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Kept,
    Automatic,
    Seed,
    /// One more than wanted, for a while.
    Feeler,
    /// To see whether somebody listens where a peer announced to listen; it ends when that is known.
    Probe,
    /// The same where others said, unasked, that somebody is.
    News,
}

impl Purpose {
    /// Does it count as one of the connections that are wanted?
    pub(super) fn is_automatic(self) -> bool {
        matches!(self, Purpose::Automatic | Purpose::Seed)
    }

    /// Has it served its purpose as soon as somebody is there?
    pub(super) fn is_look(self) -> bool {
        matches!(self, Purpose::Probe | Purpose::News)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DialState {
    /// On its way.
    Dialing,
    /// Connected, handshake not done.
    Greeting,
    /// Handshake done, at that time.
    Ready(Instant),
}

impl Link {
    /// The next state of its life. None is left out and none comes back: the end of it is not a state.
    pub(super) fn advance(&mut self, next: DialState) {
        let follows = matches!(
            (self.state, next),
            (DialState::Dialing, DialState::Greeting) | (DialState::Greeting, DialState::Ready(_))
        );
        debug_assert!(follows, "the dial to {} is {:?} and becomes {next:?}", self.address, self.state);
        self.state = next;
    }
}

/// Whom to dial.
#[derive(Clone, Copy)]
pub(super) struct Choice {
    pub(super) address: SocketAddr,
    pub(super) purpose: Purpose,
    /// Its back-off is not over; it is dialed because connections are lacking.
    pub(super) urgent: bool,
    /// It is an anchor.
    pub(super) anchor: bool,
}

impl Choice {
    pub(super) fn new(address: SocketAddr, purpose: Purpose) -> Self {
        Choice { address, purpose, urgent: false, anchor: false }
    }
}
