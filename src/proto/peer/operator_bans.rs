//! Whom a person keeps out: ranges of any size and identities, until a time or until further notice.
//!
//! Beside the bans of the rules, which [`Reputation`](super::Reputation) keeps: neither table makes room for the other, and what
//! a stranger does changes nothing here. Exempt ranges never come here; the node asks
//! [`ExemptRanges`](crate::address::ExemptRanges) first.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::borrow::Cow;
use std::collections::BTreeMap;

use ipnet::IpNet;

use super::ban::{Ban, Banned, BannedBy, Lifted, TERM_MAX};
use crate::id::VerifiedId;
use crate::invariant::{Broken, Invariant};
use crate::time::Instant;

/// Bans at most. A longer list belongs into a firewall.
pub const OPERATOR_BANS_MAX: usize = 10_000;

/// The list of bans is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyBans;

impl fmt::Display for TooManyBans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "there are {OPERATOR_BANS_MAX} bans already; lift some, or ban a wider range in their place")
    }
}

impl core::error::Error for TooManyBans {}

/// The bans of a person.
#[derive(Clone, Debug, Default)]
pub struct OperatorBans {
    bans: BTreeMap<Banned, Sentence>,
    /// How many ranges there are of each prefix length, IPv4 and IPv6: a look-up asks for those that occur.
    lengths: [BTreeMap<u8, usize>; 2],
}

#[derive(Clone, Debug)]
struct Sentence {
    /// [`Instant::NEVER`] until it is lifted.
    until: Instant,
    reason: Cow<'static, str>,
}

impl OperatorBans {
    /// Keeps somebody out for `term`, or until it is lifted; of one who is kept out already the newer word counts. Of a full
    /// list those bans make room that are over.
    ///
    /// # Errors
    ///
    /// There are [`OPERATOR_BANS_MAX`].
    pub fn ban(
        &mut self,
        who: Banned,
        term: Option<Duration>,
        reason: Cow<'static, str>,
        now: Instant,
    ) -> Result<(), TooManyBans> {
        if self.bans.len() >= OPERATOR_BANS_MAX && !self.bans.contains_key(&who) {
            self.expire(now);
            if self.bans.len() >= OPERATOR_BANS_MAX {
                return Err(TooManyBans);
            }
        }
        let until = term.filter(|term| *term <= TERM_MAX).map_or(Instant::NEVER, |term| now + term);
        if self.bans.insert(who, Sentence { until, reason }).is_none()
            && let Banned::Range(net) = who
        {
            *self.lengths_of(net).entry(net.prefix_len()).or_default() += 1;
        }
        Ok(())
    }

    /// Ends the bans of `who` and of all its parts.
    pub fn lift(&mut self, who: Banned, now: Instant) -> Lifted {
        let parts: Vec<Banned> = self.bans.keys().filter(|ban| who.contains(ban)).copied().collect();
        let in_force = |ban: &&Banned| self.bans.get(ban).is_some_and(|sentence| sentence.until > now);
        let lifted = parts.iter().filter(in_force).count();
        parts.into_iter().for_each(|ban| self.remove(ban));
        let still = self.bans.iter().find(|(ban, sentence)| ban.contains(&who) && sentence.until > now);
        Lifted { lifted, still: still.map(|(ban, _)| *ban) }
    }

    /// Is this address kept out? O(lengths of prefixes in use × log n).
    pub fn is_banned(&self, ip: IpAddr, now: Instant) -> bool {
        let ip = ip.to_canonical();
        let [v4, v6] = &self.lengths;
        (if ip.is_ipv4() { v4 } else { v6 }).keys().any(|bits| {
            let range = IpNet::new(ip, *bits).map(|net| Banned::Range(net.trunc()));
            range.is_ok_and(|range| self.is_in_force(&range, now))
        })
    }

    /// Is this identity kept out?
    pub fn is_identity_banned(&self, id: VerifiedId, now: Instant) -> bool {
        self.is_in_force(&Banned::Identity(id), now)
    }

    /// The bans in force, in order.
    pub fn bans(&self, now: Instant) -> impl Iterator<Item = Ban> + '_ {
        self.bans.iter().filter(move |(_, sentence)| sentence.until > now).map(move |(who, sentence)| Ban {
            who: *who,
            by: BannedBy::Operator,
            remaining: (sentence.until != Instant::NEVER).then(|| sentence.until.since(now)),
            reason: sentence.reason.clone(),
        })
    }

    /// Is the list within its limit, and are the lengths counted right?
    ///
    /// # Errors
    ///
    /// The rule that is broken, and what was found.
    pub fn audit(&self) -> Result<(), Broken> {
        let count = self.bans.len();
        Invariant::S5.check(count <= OPERATOR_BANS_MAX, || format!("{count} bans of the operator"))?;
        let mut lengths = [BTreeMap::new(), BTreeMap::new()];
        for who in self.bans.keys() {
            if let Banned::Range(net) = who {
                let [v4, v6] = &mut lengths;
                let family = if net.addr().is_ipv4() { v4 } else { v6 };
                *family.entry(net.prefix_len()).or_insert(0) += 1;
            }
        }
        Invariant::S10.check(lengths == self.lengths, || format!("prefixes {:?}, counted {lengths:?}", self.lengths))
    }

    fn is_in_force(&self, who: &Banned, now: Instant) -> bool {
        self.bans.get(who).is_some_and(|sentence| sentence.until > now)
    }

    fn expire(&mut self, now: Instant) {
        let over: Vec<Banned> =
            self.bans.iter().filter(|(_, sentence)| sentence.until <= now).map(|(who, _)| *who).collect();
        over.into_iter().for_each(|who| self.remove(who));
    }

    fn remove(&mut self, who: Banned) {
        if self.bans.remove(&who).is_some()
            && let Banned::Range(net) = who
        {
            let lengths = self.lengths_of(net);
            if let Some(count) = lengths.get_mut(&net.prefix_len()) {
                *count -= 1;
                if *count == 0 {
                    lengths.remove(&net.prefix_len());
                }
            }
        }
    }

    fn lengths_of(&mut self, net: IpNet) -> &mut BTreeMap<u8, usize> {
        let [v4, v6] = &mut self.lengths;
        if net.addr().is_ipv4() { v4 } else { v6 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const NO_REASON: Cow<'static, str> = Cow::Borrowed("");

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn who(text: &str) -> Banned {
        text.parse().unwrap()
    }

    #[test]
    fn a_ban_ends_with_its_term_and_one_without_a_term_does_not() {
        let mut bans = OperatorBans::default();
        let ip = "192.0.2.7".parse().unwrap();
        bans.ban(who("192.0.2.7"), Some(Duration::from_secs(60)), NO_REASON, at(0)).unwrap();
        assert!(bans.is_banned(ip, at(59)) && !bans.is_banned(ip, at(60)));
        bans.ban(who("192.0.2.0/25"), None, NO_REASON, at(0)).unwrap();
        bans.ban(who("192.0.0.0/16"), Some(Duration::MAX), NO_REASON, at(0)).unwrap();
        assert!(bans.is_banned(ip, Instant::NEVER - Duration::from_secs(1)));
        let left: Vec<_> = bans.bans(at(100)).map(|ban| (ban.who, ban.remaining)).collect();
        assert_eq!(left, [(who("192.0.0.0/16"), None), (who("192.0.2.0/25"), None)]);
    }

    #[test]
    fn lifting_takes_the_parts_along_and_names_a_wider_ban_that_stays() {
        let mut bans = OperatorBans::default();
        for text in ["192.0.0.0/16", "192.0.2.0/24", "192.0.2.7", "192.0.3.1"] {
            bans.ban(who(text), None, NO_REASON, at(0)).unwrap();
        }
        assert_eq!(bans.lift(who("192.0.2.0/24"), at(1)), Lifted { lifted: 2, still: Some(who("192.0.0.0/16")) });
        assert_eq!(bans.lift(who("192.0.2.9"), at(1)), Lifted { lifted: 0, still: Some(who("192.0.0.0/16")) });
        assert_eq!(bans.lift(who("0.0.0.0/0"), at(1)), Lifted { lifted: 2, still: None });
        assert_eq!((bans.bans(at(1)).count(), bans.audit()), (0, Ok(())));
    }

    #[test]
    fn a_full_list_refuses_and_bans_that_are_over_make_room() {
        let mut bans = OperatorBans::default();
        let number = |n: usize| who(&format!("10.{}.{}.1", n / 256, n % 256));
        for n in 0..OPERATOR_BANS_MAX {
            bans.ban(number(n), Some(Duration::from_secs(60)), NO_REASON, at(n as u64 % 2)).unwrap();
        }
        assert_eq!(bans.ban(who("9.9.9.9"), None, NO_REASON, at(2)), Err(TooManyBans));
        assert_eq!(bans.ban(number(0), None, NO_REASON, at(2)), Ok(()), "one who is there is changed");
        assert_eq!(bans.ban(who("9.9.9.9"), None, NO_REASON, at(60)), Ok(()));
        assert_eq!((bans.bans(at(60)).count(), bans.audit()), (OPERATOR_BANS_MAX / 2 + 2, Ok(())));
    }

    proptest! {
        /// Beside a list that is looked through from end to end.
        #[test]
        fn it_agrees_with_a_plain_list(
            moves in prop::collection::vec((0u8..3, 0u8..2, 0u32..16, 0u8..5, 1u64..20), 1..60)
        ) {
            let mut bans = OperatorBans::default();
            let mut naive: Vec<(Banned, u64)> = Vec::new();
            let mut now = 0;
            let address = |family: u8, n: u32| -> IpAddr {
                if family == 0 { format!("10.0.0.{n}") } else { format!("2001:db8::{n:x}") }.parse().unwrap()
            };
            for (deed, family, n, narrow, term) in moves {
                let ip = address(family, n);
                let bits = if family == 0 { 28 + narrow } else { 124 + narrow };
                let range = Banned::range(IpNet::new(ip, bits).unwrap());
                now += 1;
                match deed {
                    0 => {
                        bans.ban(range, Some(Duration::from_secs(term)), NO_REASON, at(now)).unwrap();
                        naive.retain(|(other, _)| *other != range);
                        naive.push((range, now + term));
                    }
                    1 => {
                        let lifted = bans.lift(range, at(now)).lifted;
                        let is_part = |(other, until): &(Banned, u64)| range.contains(other) && *until > now;
                        prop_assert_eq!(lifted, naive.iter().filter(|ban| is_part(ban)).count());
                        naive.retain(|(other, _)| !range.contains(other));
                    }
                    _ => now += term,
                }
                for family in 0..2 {
                    for n in 0..16 {
                        let ip = address(family, n);
                        let expected = naive.iter().any(|(range, until)| range.covers(ip) && *until > now);
                        prop_assert_eq!(bans.is_banned(ip, at(now)), expected, "{}", ip);
                    }
                }
                prop_assert_eq!(bans.audit(), Ok(()));
            }
        }
    }
}
