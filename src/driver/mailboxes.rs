//! Sockets for datagrams by name, and how long a stop waits for what is still to be said by them.

use super::listener::WAKER;
use super::system::DatagramSocket;
use crate::id::DatagramId;
use crate::time::Instant;

/// Sockets at most.
pub(super) const SOCKETS: usize = 4;
/// Where their tokens begin, downwards: below those of as many listeners as there will ever be.
const FIRST_TOKEN: usize = WAKER - (1 << 16);

#[derive(Debug)]
pub(super) struct Mailbox {
    pub(super) id: DatagramId,
    pub(super) socket: DatagramSocket,
    /// Datagrams may be waiting.
    pub(super) ready: bool,
}

/// The sockets.
#[derive(Debug, Default)]
pub(super) struct Mailboxes {
    places: [Option<Mailbox>; SOCKETS],
    opened: u64,
    /// A stop waits until then.
    pub(super) stop_waits: Option<Instant>,
}

/// Which socket has the token, if it is one's.
pub(super) fn datagram_index(token: usize) -> Option<usize> {
    FIRST_TOKEN.checked_sub(token).filter(|index| *index < SOCKETS)
}

impl Mailboxes {
    /// A free place and its token.
    pub(super) fn free(&self) -> Option<(usize, usize)> {
        let index = self.places.iter().position(Option::is_none)?;
        Some((index, FIRST_TOKEN - index))
    }

    /// Puts a socket into a free place, and names it.
    pub(super) fn put(&mut self, index: usize, socket: DatagramSocket) -> DatagramId {
        self.opened += 1;
        let id = DatagramId(self.opened);
        if let Some(place) = self.places.get_mut(index) {
            *place = Some(Mailbox { id, socket, ready: false });
        }
        id
    }

    /// Takes one out.
    pub(super) fn take(&mut self, id: DatagramId) -> Option<Mailbox> {
        self.places.iter_mut().find_map(|place| place.take_if(|mailbox| mailbox.id == id))
    }

    pub(super) fn get(&mut self, id: DatagramId) -> Option<&mut Mailbox> {
        self.places.iter_mut().flatten().find(|mailbox| mailbox.id == id)
    }

    pub(super) fn ids(&self) -> Vec<DatagramId> {
        self.places.iter().flatten().map(|mailbox| mailbox.id).collect()
    }

    pub(super) fn has_ready(&self) -> bool {
        self.places.iter().flatten().any(|mailbox| mailbox.ready)
    }

    pub(super) fn note_readiness(&mut self, index: usize) {
        if let Some(Some(mailbox)) = self.places.get_mut(index) {
            mailbox.ready = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::listener::{listener_index, listener_token};

    #[test]
    fn tokens_of_datagrams_are_those_of_nobody_else() {
        for index in 0..SOCKETS {
            assert_eq!(datagram_index(FIRST_TOKEN - index), Some(index));
            assert!(listener_index(FIRST_TOKEN - index) > 60_000);
        }
        for other in [0, 1, u32::MAX as usize / 2, WAKER, listener_token(0), listener_token(1000)] {
            assert_eq!(datagram_index(other), None, "{other}");
        }
    }
}
