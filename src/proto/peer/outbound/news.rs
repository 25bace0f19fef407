//! Addresses that peers told unasked, until a dial of ours has found somebody there: only then others are told of them.
//!
//! Each is dialed once. What strangers can have us dial by this is little and charged to them: one address each few seconds in
//! all, a few by the word of one neighbourhood, and one in each neighbourhood within minutes, whoever told it. What finds no
//! place here stays in the address book as any other address, where feelers come upon it.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::address::Subnet;
use crate::invariant::{Broken, Invariant};
use crate::rate::{Bucket, BucketTable, Rate};
use crate::time::Instant;

/// Addresses that wait, at most: those of some minutes. What comes when so many wait is no news any more when its turn comes.
const WAITING_MAX: usize = 64;
/// All of these dials together: faster than a feeler, and far slower than the dials of a node that lacks connections.
const PACE: Rate = Rate::every(Duration::from_secs(5), 2);
/// What the word of one /24, or /48 in IPv6, makes us dial.
const TELLER_PACE: Rate = Rate::every(Duration::from_secs(30), 2);
/// How often somebody in one /24, or /48 in IPv6, is dialed for whatever strangers say.
const TARGET_PACE: Rate = Rate::every(Duration::from_secs(600), 1);
/// What could not be dialed so long after its time, being banned or out of reach, is forgotten.
const STALE_AFTER: Duration = Duration::from_secs(600);
/// Neighbourhoods that are remembered for these paces: twice what the pace of all lets through in the longest of them.
const SUBNETS_MAX: usize = 256;

/// The addresses to look at.
#[derive(Clone, Debug)]
pub(super) struct News {
    waiting: BTreeMap<SocketAddr, Instant>,
    by_time: BTreeSet<(Instant, SocketAddr)>,
    pace: Bucket,
    tellers: BucketTable<Subnet>,
    targets: BucketTable<Subnet>,
}

impl Default for News {
    fn default() -> Self {
        News {
            waiting: BTreeMap::new(),
            by_time: BTreeSet::new(),
            pace: Bucket::FULL,
            tellers: BucketTable::new(SUBNETS_MAX),
            targets: BucketTable::new(SUBNETS_MAX),
        }
    }
}

impl News {
    /// `teller` says that somebody is at `address`. Where it is `local`, on a network whose nodes share few addresses, the paces
    /// by neighbourhood do not hold. It is dialed at `at` or later. False when it is not to be dialed for that.
    pub(super) fn add(
        &mut self,
        address: SocketAddr,
        (teller, local): (IpAddr, bool),
        now: Instant,
        at: Instant,
    ) -> bool {
        if self.waiting.contains_key(&address) || self.waiting.len() >= WAITING_MAX {
            return false;
        }
        let (teller, target) = (Subnet::of(teller), Subnet::of(address.ip()));
        if !local {
            let allowed = self.tellers.has(teller, Some(TELLER_PACE), now)
                && self.targets.take(target, Some(TARGET_PACE), now)
                && self.tellers.take(teller, Some(TELLER_PACE), now);
            if !allowed {
                return false;
            }
        }
        self.waiting.insert(address, at);
        self.by_time.insert((at, address));
        true
    }

    /// The next one that is due, which has had its turn then, or when one is.
    pub(super) fn take(
        &mut self,
        now: Instant,
        skip: &dyn Fn(&SocketAddr) -> bool,
    ) -> Result<SocketAddr, Option<Instant>> {
        while let Some((_, stale)) = self.by_time.first().copied().filter(|(at, _)| now.since(*at) >= STALE_AFTER) {
            self.forget(stale);
        }
        let paced = self.pace.ready_at(PACE);
        let address = match self.by_time.iter().find(|(_, address)| !skip(address)) {
            Some((at, address)) if *at <= now => *address,
            other => return Err(other.map(|(at, _)| (*at).max(paced))),
        };
        if !self.pace.take(PACE, now) {
            return Err(Some(paced));
        }
        self.forget(address);
        Ok(address)
    }

    /// It need not be looked at any more.
    pub(super) fn forget(&mut self, address: SocketAddr) {
        if let Some(at) = self.waiting.remove(&address) {
            self.by_time.remove(&(at, address));
        }
    }

    pub(super) fn audit(&self) -> Result<(), Broken> {
        let (waiting, timed) = (self.waiting.len(), self.by_time.len());
        Invariant::S5.check(waiting == timed && waiting <= WAITING_MAX, || {
            format!("{waiting} addresses that were told wait to be dialed, {timed} by their times")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn all_due(news: &mut News, until: u64) -> Vec<u64> {
        (0..until).filter(|second| news.take(at(second * 1000), &|_| false).is_ok()).collect()
    }

    #[test]
    fn one_stranger_has_us_dial_two_addresses_at_once_and_then_one_in_half_a_minute() {
        let mut news = News::default();
        let told = |second: u64| (0..10u8).map(move |n| SocketAddr::from(([60 + second as u8, n, 0, 1], 7)));
        for second in 0..60 {
            for address in told(second) {
                news.add(address, (ip("77.1.1.1"), false), at(second * 1000), at(second * 1000 + 3000));
            }
        }
        assert_eq!((news.waiting.len(), news.audit()), (3, Ok(())), "two at once, and one after 30 s");
    }

    /// Whoever tells many addresses of a victim, with as many helpers as he likes, has it dialed no more often.
    #[test]
    fn a_neighbourhood_is_dialed_once_in_ten_minutes_however_many_say_that_somebody_is_there() {
        let mut news = News::default();
        let mut dialed = 0;
        for second in 0..1800u64 {
            let (port, teller) = (1 + second as u16, IpAddr::from([78, (second / 250) as u8, (second % 250) as u8, 1]));
            news.add(
                SocketAddr::from(([50, 1, 1, second as u8], port)),
                (teller, false),
                at(second * 1000),
                at(second * 1000),
            );
            dialed += usize::from(news.take(at(second * 1000), &|_| false).is_ok());
        }
        assert_eq!(dialed, 3, "in half an hour");
    }

    #[test]
    fn a_crowd_of_strangers_has_us_dial_one_address_each_five_seconds() {
        let mut news = News::default();
        for n in 0..500u32 {
            let [_, _, a, b] = n.to_be_bytes();
            news.add(SocketAddr::from(([50, a, b, 1], 7)), (IpAddr::from([90, a, b, 1]), false), at(0), at(3000));
        }
        assert_eq!((news.waiting.len(), news.audit()), (WAITING_MAX, Ok(())));
        assert_eq!(news.take(at(0), &|_| false), Err(Some(at(3000))));
        let due = all_due(&mut news, 60);
        assert_eq!(due, [3, 4, 8, 13, 18, 23, 28, 33, 38, 43, 48, 53, 58]);
    }

    #[test]
    fn what_cannot_be_dialed_keeps_its_place_for_ten_minutes() {
        let mut news = News::default();
        assert!(news.add(SocketAddr::from(([50, 1, 0, 1], 7)), (ip("77.1.1.1"), false), at(0), at(3000)));
        assert_eq!(news.take(at(602_000), &|_| true), Err(None));
        assert_eq!(news.waiting.len(), 1);
        assert_eq!(news.take(at(603_000), &|_| false), Err(None));
        assert_eq!((news.waiting.len(), news.audit()), (0, Ok(())));
    }

    #[test]
    fn nodes_that_share_an_address_are_looked_at_all_the_same_where_that_is_allowed() {
        let mut news = News::default();
        for port in 1..=8 {
            assert!(news.add(SocketAddr::from(([127, 0, 0, 1], port)), (ip("127.0.0.1"), true), at(0), at(3000)));
        }
        assert!(
            !news.add(SocketAddr::from(([127, 0, 0, 1], 1)), (ip("127.0.0.1"), true), at(0), at(3000)),
            "it waits already"
        );
        news.forget(SocketAddr::from(([127, 0, 0, 1], 3)));
        assert_eq!(all_due(&mut news, 60).len(), 7);
        assert_eq!((news.take(at(60_000), &|_| false), news.audit()), (Err(None), Ok(())));
    }
}
