//! Those who are turned away, summed up: a line a minute at most, however many they are.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use spacetime_network::time::Instant;

/// Time between two lines.
const PERIOD: Duration = Duration::from_secs(60);
/// Addresses that are counted one by one, and told.
const ADDRESSES_MAX: usize = 256;
const ADDRESSES_TOLD: usize = 3;
/// The limits whose refusals mean that there is no place left.
const FULL: [&str; 3] = ["connections", "inbound", "pending"];

/// Who was turned away since the last line.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway {
    by_limit: BTreeMap<&'static str, u64>,
    by_address: BTreeMap<IpAddr, u64>,
    /// No line before this.
    due: Instant,
}

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) connections: u64,
    /// How many for each limit.
    pub(crate) limits: String,
    /// Those who came most often.
    pub(crate) from: String,
    /// There was no place left.
    pub(crate) is_full: bool,
}

impl TurnedAway {
    pub(crate) fn add(&mut self, remote: SocketAddr, why: &'static str) {
        let (limit, ip) = (self.by_limit.entry(why).or_default(), remote.ip().to_canonical());
        *limit = limit.saturating_add(1);
        if self.by_address.len() < ADDRESSES_MAX || self.by_address.contains_key(&ip) {
            let count = self.by_address.entry(ip).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// What came together, when it is time for a line about it.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Summary> {
        if self.by_limit.is_empty() || now < self.due {
            return None;
        }
        self.due = now + PERIOD;
        let (limits, addresses) = (std::mem::take(&mut self.by_limit), std::mem::take(&mut self.by_address));
        let mut most: Vec<(IpAddr, u64)> = addresses.into_iter().collect();
        most.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let list = |parts: Vec<String>| parts.join(", ");
        Some(Summary {
            connections: limits.values().fold(0, |sum: u64, count| sum.saturating_add(*count)),
            is_full: limits.keys().any(|limit| FULL.contains(limit)),
            limits: list(limits.iter().map(|(limit, count)| format!("{limit} {count}")).collect()),
            from: list(most.iter().take(ADDRESSES_TOLD).map(|(ip, count)| format!("{ip} {count}")).collect()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A full node said nothing about those whom it did not let in.
    #[test]
    fn a_flood_of_strangers_is_a_line_a_minute() {
        let mut away = TurnedAway::default();
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        assert_eq!(away.take(at(0)), None);
        away.add("[::ffff:192.0.2.1]:1".parse().unwrap(), "inbound");
        let first = away.take(at(1)).unwrap();
        assert_eq!((first.connections, first.is_full, first.from.as_str()), (1, true, "192.0.2.1 1"));
        for n in 0..10_000_u32 {
            away.add(SocketAddr::from((std::net::Ipv4Addr::from_bits(n % 1000), 1)), "rate-per-ip");
        }
        away.add("0.0.0.7:1".parse().unwrap(), "inbound-per-ip");
        assert_eq!(away.take(at(60)), None);
        let summary = away.take(at(61)).unwrap();
        assert_eq!((summary.connections, summary.is_full), (10_001, false));
        assert_eq!(summary.limits, "inbound-per-ip 1, rate-per-ip 10000");
        assert_eq!(summary.from, "0.0.0.7 11, 0.0.0.0 10, 0.0.0.1 10");
        assert_eq!(away.take(at(1000)), None);
    }
}
