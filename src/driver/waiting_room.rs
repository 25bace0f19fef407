//! Sockets of those who were told to wait: the protocol has no place for them at present, and nobody crowds more than they do.
//!
//! A hundred friends who dial at the same moment are no attack. Those for whom there is no place until others have introduced
//! themselves would be refused, and dial again much later; a tenth of a second of patience lets all of them in.
//!
//! Whoever waits costs a descriptor and no more: nothing is read, and the protocol is asked about the first of them when something has
//! happened, and four times a second. When the room is full, the last of the most crowded address or subnet gives way, the newcomer counted in, so that
//! whoever sends a crowd into it only drives out his own.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::door::Door;
use super::system::Stream;
use crate::address::{Origin, Subnet, crowding};
use crate::time::Instant;

#[derive(Debug, Default)]
pub(super) struct WaitingRoom {
    waiting: VecDeque<Waiting>,
    /// When the protocol was asked about the first.
    pub(super) asked_at: Instant,
    /// The timer that is armed for the next question.
    pub(super) due: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) stream: Stream,
    pub(super) remote: SocketAddr,
    pub(super) door: Door,
    /// What is said to it if it has waited in vain.
    pub(super) last: &'static [u8],
    /// By when it has.
    pub(super) until: Instant,
}

impl WaitingRoom {
    #[cfg(feature = "sim")]
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Somebody waits behind the others. Answers who has to leave for it, if there were as many as `most`.
    pub(super) fn enter(&mut self, newcomer: Waiting, most: usize) -> Option<Waiting> {
        debug_assert!(
            self.waiting.back().is_none_or(|last| last.until <= newcomer.until),
            "who comes later waits behind"
        );
        self.waiting.push_back(newcomer);
        if self.waiting.len() <= most { None } else { self.waiting.remove(self.last_of_the_largest_crowd()) }
    }

    /// Where he stands who came last from the most crowded address or subnet.
    fn last_of_the_largest_crowd(&self) -> usize {
        let (mut by_ip, mut by_subnet) = (BTreeMap::new(), BTreeMap::new());
        let places: Vec<(Origin, Subnet)> = self
            .waiting
            .iter()
            .map(|one| (Origin::of(one.remote.ip()), Subnet::of(one.remote.ip())))
            .inspect(|(origin, subnet)| {
                *by_ip.entry(*origin).or_insert(0_usize) += 1;
                *by_subnet.entry(*subnet).or_insert(0_usize) += 1;
            })
            .collect();
        let count = |(origin, subnet): &(Origin, Subnet)| {
            crowding(by_ip.get(origin).copied().unwrap_or(0), by_subnet.get(subnet).copied().unwrap_or(0))
        };
        // Of equals the last one counts.
        places.iter().enumerate().max_by_key(|(_, place)| count(place)).map_or(0, |(at, _)| at)
    }

    /// Whose turn it is.
    pub(super) fn take_first(&mut self) -> Option<Waiting> {
        self.waiting.pop_front()
    }

    /// It still has to wait, before all others.
    pub(super) fn put_back(&mut self, first: Waiting) {
        self.waiting.push_front(first);
    }

    /// The first one that has waited in vain.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Option<Waiting> {
        if self.waiting.front()?.until > now { None } else { self.waiting.pop_front() }
    }

    /// Everybody leaves.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(remote: &str, until: u64) -> Waiting {
        let nowhere = mio::net::TcpStream::connect("127.0.0.1:9".parse().unwrap()).unwrap();
        let until = Instant::from_millis(until);
        Waiting {
            stream: Stream::Tcp(nowhere),
            remote: remote.parse().unwrap(),
            door: Door::Frames,
            last: b"full",
            until,
        }
    }

    #[test]
    fn a_crowd_drives_out_its_own_last_and_the_first_is_asked_first() {
        let mut room = WaitingRoom::default();
        for (n, remote) in ["9.9.9.9:1", "11.0.0.1:1", "11.0.0.1:2", "11.0.0.2:3"].into_iter().enumerate() {
            assert!(room.enter(waiting(remote, 10 + n as u64), 4).is_none());
        }
        let mut driven_out = |remote: &str| room.enter(waiting(remote, 20), 4).unwrap().remote.to_string();
        // An address weighs more than its subnet.
        assert_eq!(driven_out("11.0.0.3:4"), "11.0.0.1:2");
        assert_eq!(driven_out("11.0.0.4:5"), "11.0.0.4:5", "it comes from the largest crowd itself");
        assert_eq!(driven_out("12.0.0.1:1"), "11.0.0.3:4");
        let first = room.take_first().unwrap();
        assert_eq!(first.remote.to_string(), "9.9.9.9:1");
        room.put_back(first);
        assert!(room.take_overdue(Instant::from_millis(9)).is_none());
        assert_eq!(room.take_overdue(Instant::from_millis(10)).unwrap().remote.to_string(), "9.9.9.9:1");
        assert!(room.take_overdue(Instant::from_millis(10)).is_none());
        room.clear();
        assert!(room.is_empty());
    }
}
