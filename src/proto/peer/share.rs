//! Telling and hearing addresses: what a GetPeers is answered with, and how much of a Peers is believed.
//!
//! Told are only addresses at which we found somebody, not long ago ([`AddressBook::may_be_told`]), so that a stranger cannot make us
//! spread a victim's address; never blacklisted ones, never the asker's own or what it told itself, and local ones only to those they mean the same
//! machine to. Heard are so many per minute, whoever talks: a flood of addresses costs its sender the flood.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeSet;

use super::address_book::AddressBook;
use crate::address::{canonical, may_pass};
use crate::id::ConnId;
use crate::rate::{Pace, Rate};
use crate::rng::Rng;
use crate::time::Instant;

/// The most addresses in one answer; see [`wire::protocol`](crate::wire::protocol), section 3.
pub const ANSWER_MAX: usize = 1000;

/// Who asks for addresses.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The connection's remote address.
    pub remote: SocketAddr,
    /// The connection: what it told us itself on it is not told back.
    pub conn: Option<ConnId>,
    /// The port it announced to listen on; `None` when it does not or did not say.
    pub listening_port: Option<u16>,
    /// How many it wants.
    pub max: usize,
    /// What it does not want.
    pub excluded: &'a BTreeSet<SocketAddr>,
}

/// A random sample of what may be told to `asker`, in random order: at most its `max` and [`ANSWER_MAX`]. `banned` says who is
/// blacklisted. O(addresses in the book), so a request has a price: see
/// [`budget`](crate::proto::budget).
pub fn answer(
    book: &AddressBook,
    asker: Asker<'_>,
    now: Instant,
    banned: impl Fn(IpAddr) -> bool,
    rng: &mut Rng,
) -> Vec<SocketAddr> {
    let remote = canonical(asker.remote);
    let itself = |address: &SocketAddr| {
        *address == remote || (address.ip() == remote.ip() && Some(address.port()) == asker.listening_port)
    };
    let told_it = |address: &SocketAddr| {
        asker.conn.is_some() && book.get(*address).is_some_and(|entry| entry.told_by == asker.conn)
    };
    let mut told: Vec<SocketAddr> = book
        .may_be_told(now)
        .filter(|address| !told_it(address) && may_pass(*address, remote.ip(), book.allow_private()))
        .filter(|address| !itself(address) && !asker.excluded.contains(address) && !banned(address.ip()))
        .collect();
    rng.shuffle(&mut told);
    told.truncate(asker.max.min(ANSWER_MAX));
    told
}

/// How many addresses one peer may still tell us.
///
/// Ten at once and then one per ten seconds, whether asked or not; up to a thousand at once after our own GetPeers. The rest of
/// a message is ignored, not punished: a node with a large book is not an attacker. Shuffle before applying it, or the order
/// in the message decides.
#[derive(Clone, Debug)]
pub struct Intake(Pace);

impl Intake {
    const INTERVAL: Duration = Duration::from_secs(10);
    /// What a peer may tell unasked, at once.
    pub const UNASKED_MAX: u32 = 10;
    /// What a peer may tell after we asked, at once; as many as fit one answer.
    pub const ASKED_MAX: u32 = ANSWER_MAX as u32;

    /// What a new connection may tell.
    pub const fn new() -> Self {
        Intake(Pace::new(Rate::every(Self::INTERVAL, Self::UNASKED_MAX)))
    }

    /// We sent a GetPeers.
    pub fn asked(&mut self) {
        *self = Intake(Pace::new(Rate::every(Self::INTERVAL, Self::ASKED_MAX)));
    }

    /// May another address be heard now? It is used up then.
    pub fn take(&mut self, now: Instant) -> bool {
        self.0.take(now)
    }
}

impl Default for Intake {
    fn default() -> Self {
        Intake::new()
    }
}

#[cfg(test)]
mod tests {
    use super::super::address_book::AddressBookConfig;
    use super::*;
    use crate::time::Now;

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn asker<'a>(remote: &str, excluded: &'a BTreeSet<SocketAddr>) -> Asker<'a> {
        Asker { remote: socket(remote), conn: None, listening_port: Some(8333), max: 1000, excluded }
    }

    fn sorted(mut told: Vec<SocketAddr>) -> Vec<String> {
        told.sort();
        told.into_iter().map(|address| address.to_string()).collect()
    }

    #[test]
    fn only_addresses_that_we_reached_are_told_and_only_to_whom_they_mean_something() {
        let mut book = AddressBook::default();
        let mut rng = Rng::from_seed(1);
        for reached in ["127.0.0.1:7", "10.0.0.1:7", "8.8.8.8:7"] {
            book.reached(socket(reached), Now::default());
        }
        book.hear(socket("6.6.6.6:7"), Some(socket("5.5.5.5:1").ip()), Now::default());
        book.announced(socket("4.4.4.4:7"), Now::default());
        let none = BTreeSet::new();
        let mut ask = |remote: &str, book: &AddressBook| {
            sorted(answer(book, asker(remote, &none), Instant::ZERO, |_| false, &mut rng))
        };
        assert_eq!(ask("127.0.0.1:50000", &book), ["8.8.8.8:7", "10.0.0.1:7", "127.0.0.1:7"]);
        assert_eq!(ask("192.168.0.9:50000", &book), ["8.8.8.8:7", "10.0.0.1:7"]);
        assert_eq!(ask("9.9.9.9:50000", &book), ["8.8.8.8:7"]);
        let mut open = AddressBook::new(AddressBookConfig { allow_private: true, ..Default::default() });
        open.reached(socket("127.0.0.1:7"), Now::default());
        assert_eq!(ask("9.9.9.9:50000", &open), ["127.0.0.1:7"]);
    }

    #[test]
    fn neither_the_asker_nor_the_excluded_nor_the_blacklisted_are_told() {
        let mut book = AddressBook::default();
        let mut rng = Rng::from_seed(1);
        for reached in ["1.1.1.1:8333", "1.1.1.1:9", "2.2.2.2:7", "3.3.3.3:7", "4.4.4.4:7"] {
            book.reached(socket(reached), Now::default());
        }
        let excluded = BTreeSet::from([socket("2.2.2.2:7")]);
        let asker = asker("[::ffff:1.1.1.1]:50000", &excluded);
        let told = answer(&book, asker, Instant::ZERO, |ip| ip == socket("3.3.3.3:7").ip(), &mut rng);
        assert_eq!(sorted(told), ["1.1.1.1:9", "4.4.4.4:7"]);
    }

    #[test]
    fn an_answer_is_a_sample_of_the_size_asked_for() {
        let mut book = AddressBook::default();
        let mut rng = Rng::from_seed(1);
        for n in 0..1500u32 {
            let ip = core::net::Ipv4Addr::from_bits(0x0b00_0001 + n * 256);
            book.reached(SocketAddr::new(ip.into(), 1), Now::default());
        }
        let none = BTreeSet::new();
        let mut ask =
            |max| answer(&book, Asker { max, ..asker("9.9.9.9:1", &none) }, Instant::ZERO, |_| false, &mut rng);
        assert_eq!(ask(usize::MAX).len(), 1000);
        assert!(ask(0).is_empty());
        let (first, second) = (ask(50), ask(50));
        assert_eq!(first.iter().collect::<BTreeSet<_>>().len(), 50);
        assert_ne!(first, second);
    }
}
