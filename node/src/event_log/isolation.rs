//! A node without peers: said after half a minute with the reasons, again ever more rarely, and once more when it is over.
//!
//! Who is alone mines blocks that nobody hears of and hears of none himself, while everything else in the log looks well.

use std::collections::BTreeMap;
use std::time::Duration;

use spacetime_network::proto::peer::PeerName;
use spacetime_network::time::Instant;

use crate::value::Endpoint;

/// How long there may be no peer before it is said.
const AFTER: Duration = Duration::from_secs(30);
/// How much longer it takes each time until it is said again.
const FACTOR: u32 = 4;
/// The longest time between two lines.
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// How long there must be a peer before that is over: one that comes and goes again and again is nobody to hear blocks of.
const LASTING: Duration = Duration::from_secs(5);
/// Reasons that are kept, and told.
const REASONS_MAX: usize = 64;
const REASONS_TOLD: usize = 3;

/// Since when there is no peer, and what was tried.
#[derive(Debug, Default)]
pub(crate) struct Isolation {
    since: Option<Instant>,
    /// Since when there is a peer again, if that has not lasted.
    met: Option<Instant>,
    /// When it is said next.
    due: Instant,
    pause: Duration,
    /// It was said since there was a peer.
    told: bool,
    /// Why those whom we dialed or looked up are no peers.
    reasons: BTreeMap<Endpoint, String>,
}

/// What is to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IsolationChange {
    /// There is no peer for so long.
    Isolated(Duration),
    /// There is one again, after so long.
    Ended(Duration),
}

impl Isolation {
    /// So many peers are connected now.
    pub(crate) fn look(&mut self, now: Instant, peers: usize) -> Option<IsolationChange> {
        if peers > 0 {
            let (since, met) = (self.since?, *self.met.get_or_insert(now));
            if now.since(met) < LASTING {
                return None;
            }
            (self.since, self.met) = (None, None);
            self.reasons.clear();
            return std::mem::take(&mut self.told).then(|| IsolationChange::Ended(met.since(since)));
        }
        self.met = None;
        let Some(since) = self.since else {
            (self.since, self.due, self.pause) = (Some(now), now + AFTER, AFTER);
            return None;
        };
        if now < self.due {
            return None;
        }
        self.pause = (self.pause * FACTOR).min(PAUSE_MAX);
        (self.due, self.told) = (now + self.pause, true);
        Some(IsolationChange::Isolated(now.since(since)))
    }

    /// When to look next, if nothing else happens: the line came at up to 40 s, by the loop's other timers.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.since.map(|_| self.met.map_or(self.due, |met| met + LASTING))
    }

    /// An address that we dialed is no peer, or a name has no address, for this reason.
    pub(crate) fn failed(&mut self, endpoint: Endpoint, why: String) {
        if self.reasons.len() < REASONS_MAX || self.reasons.contains_key(&endpoint) {
            self.reasons.insert(endpoint, why);
        }
    }

    /// A name has an address again.
    pub(crate) fn found(&mut self, name: &PeerName) {
        self.reasons.remove(&Endpoint::Name(name.clone()));
    }

    /// The reasons since there was a peer, a few of them, those of `first` at the front.
    pub(crate) fn reasons(&self, first: impl Fn(&Endpoint) -> bool) -> Option<String> {
        let (mut told, others): (Vec<_>, Vec<_>) = self.reasons.iter().partition(|(endpoint, _)| first(endpoint));
        told.extend(others);
        let more = told.len().saturating_sub(REASONS_TOLD);
        let mut texts: Vec<String> =
            told.iter().take(REASONS_TOLD).map(|(endpoint, why)| format!("{endpoint}: {why}")).collect();
        if more > 0 {
            texts.push(format!("and {more} more"));
        }
        (!texts.is_empty()).then(|| texts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    /// A node whose seed did not answer said nothing, and another mined 821 blocks alone in 50 minutes.
    #[test]
    fn a_node_alone_says_so_after_half_a_minute_then_rarely_and_when_it_is_over() {
        let mut isolation = Isolation::default();
        let said: Vec<(u64, IsolationChange)> =
            (0..20_000).filter_map(|second| Some((second, isolation.look(at(second), 0)?))).collect();
        let times: Vec<u64> = said.iter().map(|(second, _)| *second).collect();
        assert_eq!(times, [30, 150, 630, 2550, 6150, 9750, 13350, 16950]);
        assert_eq!(said[1].1, IsolationChange::Isolated(Duration::from_secs(150)));
        assert_eq!(isolation.look(at(20_000), 1), None);
        assert_eq!(isolation.deadline(), Some(at(20_005)));
        assert_eq!(isolation.look(at(20_005), 2), Some(IsolationChange::Ended(Duration::from_secs(20_000))));
        assert_eq!((isolation.look(at(20_006), 2), isolation.deadline()), (None, None));
        // A moment without a peer is no news, neither its beginning nor its end.
        assert_eq!(isolation.look(at(20_012), 0), None);
        assert_eq!(isolation.look(at(20_013), 1), None);
        assert_eq!(isolation.look(at(20_018), 1), None);
        assert_eq!(isolation.look(at(20_024), 0), None);
        assert_eq!(isolation.look(at(20_053), 0), None);
        assert_eq!(isolation.look(at(20_054), 0), Some(IsolationChange::Isolated(Duration::from_secs(30))));
    }

    /// One that greeted and left every eighteen seconds began the half minute anew each time: nothing was ever said.
    #[test]
    fn a_peer_that_comes_and_goes_hides_nothing() {
        let mut isolation = Isolation::default();
        let peers = |second: u64| usize::from(second % 18 < 2);
        let said: Vec<u64> = (2..100).filter(|second| isolation.look(at(*second), peers(*second)).is_some()).collect();
        assert_eq!(said, [32]);
    }

    #[test]
    fn the_reasons_are_a_few_and_those_of_whom_the_operator_named_come_first() {
        let mut isolation = Isolation::default();
        let remote = |n: u8| Endpoint::Address(([192, 0, 2, n], 7).into());
        assert_eq!(isolation.reasons(|_| false), None);
        (0..200).for_each(|n| isolation.failed(remote(n), "refused".to_owned()));
        isolation.failed(remote(5), "full".to_owned());
        let text = isolation.reasons(|endpoint| *endpoint == remote(5)).unwrap();
        assert_eq!(text, "192.0.2.5:7: full; 192.0.2.0:7: refused; 192.0.2.1:7: refused; and 61 more");
        isolation.look(at(0), 0);
        isolation.look(at(1), 1);
        assert!(isolation.reasons(|_| false).is_some());
        isolation.look(at(6), 1);
        assert_eq!(isolation.reasons(|_| false), None);

        // A name that leads nowhere is a reason too: the remedy was once to give --connect, which had named it.
        let name: PeerName = "seed.example:7".parse().unwrap();
        isolation.failed(Endpoint::Name(name.clone()), "the name leads nowhere".to_owned());
        assert_eq!(isolation.reasons(|_| true).as_deref(), Some("seed.example:7: the name leads nowhere"));
        isolation.found(&name);
        assert_eq!(isolation.reasons(|_| true), None);
    }
}
