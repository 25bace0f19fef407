//! The book as it outlives a run: what is worth saving of an address, and the limits that hold again when it is read.
//!
//! Times are of the wall clock, of this run and of the last one, and either may have been wrong: what is from the future counts as
//! five days old, and what nobody spoke of for a month is not taken over.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

use super::{AddressBook, HOPELESS_FAILURES, Heard};
use crate::address::canonical;
use crate::rng::Rng;
use crate::time::{Now, UnixTime};

/// What nobody spoke of, and we did not reach, for so long is not taken over.
const KEPT_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// How old a time of the future is taken to be.
const FUTURE_IS: Duration = Duration::from_secs(5 * 24 * 3600);
/// Within so long the addresses of a new run become due, each at a time of its own: who has many must not choose when.
const DUE_WITHIN: Duration = Duration::from_secs(4);

/// An address as it is saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SavedAddress {
    /// The address.
    pub address: SocketAddr,
    /// Who told it last.
    pub source: Option<IpAddr>,
    /// When it was last told or reached.
    pub heard: UnixTime,
    /// When a dial to it last ended in a finished handshake.
    pub proven: Option<UnixTime>,
    /// A peer at this IP address announced that it listens there.
    pub announced: bool,
    /// Somebody answered there when we dialed.
    pub answered: bool,
    /// Failed dials since it was last reached.
    pub failures: u32,
}

impl AddressBook {
    /// What a file should hold of it: all addresses, in order.
    pub fn saved(&self) -> Vec<SavedAddress> {
        let saved = self.entries().map(|(address, entry)| SavedAddress {
            address,
            source: entry.source,
            heard: entry.heard.unix,
            proven: entry.proven.map(|proven| proven.unix),
            announced: entry.announced,
            answered: entry.answered,
            failures: entry.failures,
        });
        saved.collect()
    }

    /// Takes over what an earlier run saved. Every limit of the book holds again: where a subnet has too many, or the book, those
    /// come first that we reached, then those that were heard of last. All are due within seconds. Answers how many were taken.
    pub fn restore(&mut self, saved: impl IntoIterator<Item = SavedAddress>, now: Now, rng: &mut Rng) -> usize {
        let sane = |time: UnixTime| if time > now.unix { before(now.unix, FUTURE_IS) } else { time };
        let mut saved: Vec<SavedAddress> = saved.into_iter().collect();
        for one in &mut saved {
            one.proven = one.proven.map(sane);
            one.heard = sane(one.heard).max(one.proven.unwrap_or(one.heard));
        }
        saved.retain(|one| now.unix.since(one.heard) < KEPT_FOR && one.failures < HOPELESS_FAILURES);
        saved.sort_by_key(|one| core::cmp::Reverse((one.proven, one.heard)));
        let mut taken = 0;
        for one in saved {
            let address = canonical(one.address);
            if self.hear(address, None, now) != Heard::New {
                continue;
            }
            taken += 1;
            let due = now.at + rng.jitter(DUE_WITHIN / 2, 100);
            // The monotonic clock began with this run.
            let then = |unix: UnixTime| Now { at: now.at - now.unix.since(unix), unix };
            self.update(address, |entry| {
                (entry.source, entry.heard) = (one.source, then(one.heard));
                entry.proven = one.proven.map(then);
                (entry.announced, entry.answered) = (one.announced, one.answered);
                entry.failures = one.failures;
                (entry.next_attempt, entry.urgent_attempt) = (due, due);
            });
        }
        taken
    }
}

fn before(time: UnixTime, by: Duration) -> UnixTime {
    UnixTime::from_millis(time.as_millis().saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::super::AddressBookConfig;
    use super::*;
    use crate::time::Instant;

    const DAY: i64 = 86_400;

    fn now() -> Now {
        Now { at: Instant::from_millis(50), unix: UnixTime::from_secs(1_800_000_000) }
    }

    fn saved(address: &str, heard_days_ago: i64, proven_days_ago: Option<i64>) -> SavedAddress {
        let ago = |days: i64| UnixTime::from_secs(1_800_000_000 - days * DAY);
        SavedAddress {
            address: address.parse().unwrap(),
            source: Some("9.9.9.9".parse().unwrap()),
            heard: ago(heard_days_ago),
            proven: proven_days_ago.map(ago),
            announced: false,
            answered: proven_days_ago.is_some(),
            failures: 0,
        }
    }

    fn restored(saved: Vec<SavedAddress>) -> AddressBook {
        let mut book = AddressBook::new(AddressBookConfig { addresses_max: 100, ..AddressBookConfig::default() });
        let taken = book.restore(saved, now(), &mut Rng::from_seed(1));
        assert_eq!((taken, book.audit()), (book.len(), Ok(())));
        book
    }

    #[test]
    fn what_is_saved_is_taken_over_and_due_within_seconds() {
        let list =
            vec![saved("1.2.3.4:5", 1, None), saved("[2001:db8::1]:5", 2, Some(2)), saved("4.3.2.1:5", 0, Some(1))];
        let book = restored(list.clone());
        let mut again = book.saved();
        again.sort_by_key(|one| list.iter().position(|other| other.address == one.address));
        assert_eq!(again[..2], list[..2]);
        assert_eq!(again[2].proven, list[2].proven);
        let later = now().at + DUE_WITHIN;
        assert!(list.iter().all(|one| book.is_due(one.address, later)));
        assert_eq!(book.may_be_told(later).count(), 0, "nobody is told of what this run has not seen");
    }

    #[test]
    fn times_of_the_future_count_as_days_old_and_what_is_a_month_old_is_left() {
        let mut forever = saved("1.2.3.4:5", -36_500, Some(-36_500));
        forever.failures = 0;
        let book = restored(vec![forever, saved("1.2.4.4:5", 31, None), saved("1.2.5.4:5", 40, Some(31))]);
        let all = book.saved();
        assert_eq!(all.len(), 1);
        assert_eq!((all[0].heard, all[0].proven), (before(now().unix, FUTURE_IS), Some(before(now().unix, FUTURE_IS))));
        let hopeless = SavedAddress { failures: u32::MAX, ..saved("1.2.3.4:5", 0, Some(0)) };
        assert!(restored(vec![hopeless]).is_empty());
    }

    /// A file in which everything is proven and of one subnet.
    #[test]
    fn limits_hold_again_and_keep_those_that_were_reached_last() {
        let crowd = (0..200).map(|n| saved(&format!("1.2.3.{}:{}", n % 250, 1000 + n), n / 10, Some(n / 10)));
        let book = restored(crowd.collect());
        assert_eq!(book.len(), 10);
        assert!(book.saved().iter().all(|one| now().unix.since(one.heard) < Duration::from_secs(86_400)));
        let many = (0..250).map(|n| saved(&format!("1.{n}.3.4:5"), 1, if n < 60 { Some(3) } else { None }));
        let book = restored(many.collect());
        assert_eq!((book.len(), book.saved().iter().filter(|one| one.proven.is_some()).count()), (100, 60));
        for bad in ["0.0.0.0:5", "1.2.3.4:0", "224.0.0.1:5", "[::]:1"] {
            assert!(restored(vec![saved(bad, 0, Some(0))]).is_empty(), "{bad}");
        }
    }
}
