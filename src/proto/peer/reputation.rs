//! What an address or a proven identity has done to us, and whether it is blacklisted.
//!
//! A node id that is only claimed costs nothing to change, so it earns and costs nothing here: deeds are held against an
//! [`Origin`], which an attacker has to own. Under TLS a peer has two of them, and one ban is enough: its identity, which it
//! takes along to any address, and its address, because a new key costs nothing where any identity is let in.
//!
//! Three numbers decide, each closing a way around the others:
//!
//! - the **score**, -2 for a failure and +1 for a useful deed, within -20..=20, halving every ten minutes;
//! - **failures in a row**, for those who never do anything useful;
//! - **violations within an hour**, for those who mix good deeds with bad ones: successes do not reset them.
//!
//! Loopback and exempt ranges never come here; the node asks [`ExemptRanges`](crate::address::ExemptRanges) first. Counting
//! IPv6 by /48 once many of its /64s misbehave is not done yet.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::decay::Decaying;
use super::peer_table::{FAILURE_POINTS, SCORE_MAX, SUCCESS_POINTS};
use crate::address::Origin;
use crate::invariant::{Broken, Invariant};
use crate::time::Instant;

/// The numbers of a [`Reputation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReputationConfig {
    /// Origins remembered at most; the least interesting goes first. Default 10,000, about 3 MiB.
    pub entries_max: usize,
    /// Time in which a score loses half of itself. Default 10 minutes.
    pub half_life: Duration,
    /// An origin is blacklisted at this score, rounded to a whole point, or less. Default -10.
    pub blacklist_score: i32,
    /// An origin is blacklisted at so many failures in a row. Default 5.
    pub blacklist_failures: u32,
    /// An origin is blacklisted at so many violations within `violation_window`, whatever its successes. Default 10.
    pub blacklist_violations: usize,
    /// Default 1 hour.
    pub violation_window: Duration,
    /// Successes earn at most one point in this time. Default 1 minute.
    pub success_interval: Duration,
    /// How long a blacklisting lasts, by the monotonic clock. Default 24 hours.
    pub blacklist_for: Duration,
}

impl Default for ReputationConfig {
    fn default() -> Self {
        ReputationConfig {
            entries_max: 10_000,
            half_life: Duration::from_secs(600),
            blacklist_score: -10,
            blacklist_failures: 5,
            blacklist_violations: 10,
            violation_window: Duration::from_secs(3600),
            success_interval: Duration::from_secs(60),
            blacklist_for: Duration::from_secs(24 * 3600),
        }
    }
}

/// Who blacklisted an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BannedBy {
    /// The rules of this file.
    Rules,
    /// A person. Never evicted for an automatic one.
    Operator,
}

/// A blacklisting in force, as it is saved and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who is blacklisted.
    pub origin: Origin,
    /// For how much longer.
    pub remaining: Duration,
    /// By whom.
    pub by: BannedBy,
}

/// The memory of deeds by origin.
#[derive(Clone, Debug, Default)]
pub struct Reputation {
    config: ReputationConfig,
    entries: BTreeMap<Origin, Entry>,
    /// Everyone, the least interesting first.
    order: BTreeSet<(Interest, Instant, Origin)>,
    /// What was recorded since the last look, for a simulation that looks.
    #[cfg(feature = "sim")]
    moves: Option<Vec<(Origin, i32)>>,
}

/// How much is lost when an entry is forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Interest {
    #[default]
    Clean,
    Blamed,
    BannedByRules,
    BannedByOperator,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    score: Decaying,
    failures: u32,
    /// The violations of the last window, oldest first; never more than `blacklist_violations`.
    violations: VecDeque<Instant>,
    last_reward: Option<Instant>,
    banned: Option<(Instant, BannedBy)>,
    touched: Instant,
}

/// Scores are kept in billionths of a point.
const POINT: i64 = 1_000_000_000;

impl Reputation {
    /// A memory without entries.
    pub fn new(config: ReputationConfig) -> Self {
        Reputation { config, ..Reputation::default() }
    }

    /// The origin broke the protocol. True when that blacklisted it.
    pub fn record_violation(&mut self, origin: Origin, now: Instant) -> bool {
        let (window, most) = (self.config.violation_window, self.config.blacklist_violations);
        self.record(origin, now, |entry| {
            entry.violations.retain(|at| now.since(*at) < window);
            entry.violations.push_back(now);
            if entry.violations.len() > most {
                entry.violations.pop_front();
            }
            entry.failures = entry.failures.saturating_add(1);
            FAILURE_POINTS
        })
    }

    /// The origin failed without breaking the protocol. True when that blacklisted it.
    pub fn record_failure(&mut self, origin: Origin, now: Instant) -> bool {
        self.record(origin, now, |entry| {
            entry.failures = entry.failures.saturating_add(1);
            FAILURE_POINTS
        })
    }

    /// The origin did something useful that was asked for, or was new and valid.
    pub fn record_success(&mut self, origin: Origin, now: Instant) {
        let interval = self.config.success_interval;
        self.record(origin, now, |entry| {
            entry.failures = 0;
            if entry.last_reward.is_some_and(|at| now.since(at) < interval) {
                return 0;
            }
            entry.last_reward = Some(now);
            SUCCESS_POINTS
        });
    }

    /// Blacklists an origin for `duration`, or differently if it already is.
    pub fn ban(&mut self, origin: Origin, duration: Duration, by: BannedBy, now: Instant) {
        let mut entry = self.take(origin, now);
        entry.banned = Some((now + duration, by));
        self.put(origin, entry, now);
    }

    /// Forgets all about an origin. True when it was blacklisted.
    pub fn unban(&mut self, origin: Origin, now: Instant) -> bool {
        self.take(origin, now).banned.is_some()
    }

    /// May nobody talk to this origin?
    pub fn is_blacklisted(&self, origin: Origin, now: Instant) -> bool {
        self.entries.get(&origin).is_some_and(|entry| entry.is_banned(now))
    }

    /// The blacklistings in force, by origin: for a file, or for a person.
    pub fn bans(&self, now: Instant) -> impl Iterator<Item = Ban> {
        self.entries.iter().filter_map(move |(origin, entry)| {
            let (until, by) = entry.banned.filter(|(until, _)| *until > now)?;
            Some(Ban { origin: *origin, remaining: until.since(now), by })
        })
    }

    /// The origin's score, rounded to a whole point; 0 for a stranger.
    pub fn score(&self, origin: Origin, now: Instant) -> i32 {
        self.entries.get(&origin).map_or(0, |entry| entry.points(now, self.config.half_life))
    }

    /// How many origins are remembered.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Is nobody remembered?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Is the table within its limit, and its order in step?
    ///
    /// # Errors
    ///
    /// The rule that is broken, and what was found.
    pub fn audit(&self) -> Result<(), Broken> {
        let (known, placed, most) = (self.entries.len(), self.order.len(), self.config.entries_max.max(1));
        Invariant::S5
            .check(known <= most && placed == known, || format!("{known} origins and {placed} places of {most}"))?;
        for (origin, entry) in &self.entries {
            let found = self.order.contains(&entry.place(*origin));
            Invariant::S9.check(found, || format!("{origin} has no place in the order"))?;
        }
        Ok(())
    }

    /// What was recorded since the last call, in order, each deed with its points; nothing at the first call.
    #[cfg(feature = "sim")]
    pub fn take_moves(&mut self) -> Vec<(Origin, i32)> {
        self.moves.replace(Vec::new()).unwrap_or_default()
    }

    fn record(&mut self, origin: Origin, now: Instant, deed: impl FnOnce(&mut Entry) -> i32) -> bool {
        let mut entry = self.take(origin, now);
        let points = deed(&mut entry);
        #[cfg(feature = "sim")]
        self.moves.iter_mut().for_each(|moves| moves.push((origin, points)));
        let (half_life, limit) = (self.config.half_life, i64::from(SCORE_MAX) * POINT);
        entry.score.add(now, half_life, i64::from(points) * POINT, limit);
        let bad = entry.points(now, half_life) <= self.config.blacklist_score
            || entry.failures >= self.config.blacklist_failures
            || entry.violations.len() >= self.config.blacklist_violations;
        let banned = bad && points < 0 && entry.banned.is_none();
        if banned {
            entry.banned = Some((now + self.config.blacklist_for, BannedBy::Rules));
        }
        self.put(origin, entry, now);
        banned
    }

    /// Takes an entry out of the tables. One whose blacklisting is over has served its time and is like a stranger's.
    fn take(&mut self, origin: Origin, now: Instant) -> Entry {
        let Some(entry) = self.entries.remove(&origin) else { return Entry::default() };
        self.order.remove(&entry.place(origin));
        if entry.banned.is_some() && !entry.is_banned(now) { Entry::default() } else { entry }
    }

    /// Puts an entry into the tables, and forgets the least interesting one when there are too many. A table full of
    /// blacklistings makes no room for one who has none: that would be a way out of it.
    fn put(&mut self, origin: Origin, mut entry: Entry, now: Instant) {
        entry.touched = now;
        if self.entries.len() >= self.config.entries_max.max(1) {
            let Some((interest, until, least)) = self.order.first().copied() else { return };
            let in_force = interest >= Interest::BannedByRules && until > now;
            if in_force && interest > entry.place(origin).0 {
                return;
            }
            self.order.remove(&(interest, until, least));
            self.entries.remove(&least);
        }
        self.order.insert(entry.place(origin));
        self.entries.insert(origin, entry);
    }
}

impl Entry {
    fn is_banned(&self, now: Instant) -> bool {
        self.banned.is_some_and(|(until, _)| until > now)
    }

    fn points(&self, now: Instant, half_life: Duration) -> i32 {
        let value = self.score.at(now, half_life);
        let rounded = (value + value.signum() * (POINT / 2)) / POINT;
        i32::try_from(rounded).unwrap_or(0)
    }

    /// Where the entry stands in the order of forgetting: by interest, then by age, or by the end of the blacklisting.
    fn place(&self, origin: Origin) -> (Interest, Instant, Origin) {
        match self.banned {
            Some((until, BannedBy::Operator)) => (Interest::BannedByOperator, until, origin),
            Some((until, BannedBy::Rules)) => (Interest::BannedByRules, until, origin),
            None if self.failures > 0 || !self.violations.is_empty() => (Interest::Blamed, self.touched, origin),
            None => (Interest::Clean, self.touched, origin),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{IpAddr, Ipv6Addr};
    use proptest::prelude::*;

    const MINUTE: u64 = 60_000;

    fn origin(text: &str) -> Origin {
        Origin::of(text.parse().unwrap())
    }

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn the_fifth_failure_in_a_row_blacklists_for_a_day() {
        let mut standing = Reputation::default();
        let who = origin("1.2.3.4");
        assert_eq!((0..5).map(|n| standing.record_failure(who, at(n))).filter(|banned| *banned).count(), 1);
        assert!(standing.is_blacklisted(who, at(24 * 60 * MINUTE)));
        assert!(!standing.is_blacklisted(who, at(24 * 60 * MINUTE + 5)));
        assert!(!standing.record_failure(who, at(25 * 60 * MINUTE)), "the time is served");
        assert_eq!(standing.bans(at(25 * 60 * MINUTE)).count(), 0);
    }

    #[test]
    fn good_deeds_do_not_buy_violations() {
        let mut standing = Reputation::default();
        let who = origin("2001:db8::1");
        for n in 1..=10u64 {
            for good in 0..2 {
                standing.record_success(who, at(n * 5 * MINUTE + good * 2 * MINUTE));
            }
            assert_eq!(standing.record_violation(who, at(n * 5 * MINUTE + 4 * MINUTE)), n == 10, "violation {n}");
        }
        assert!(standing.is_blacklisted(origin("2001:db8::ffff"), at(60 * MINUTE)), "the /64 is one origin");
    }

    #[test]
    fn rare_violations_of_a_useful_peer_are_forgotten() {
        let mut standing = Reputation::default();
        let who = origin("1.2.3.4");
        for n in 0..100u64 {
            standing.record_success(who, at(n * 10 * MINUTE));
            assert!(!standing.record_violation(who, at(n * 10 * MINUTE + 1)), "violation {n}");
        }
    }

    #[test]
    fn farming_earns_a_point_a_minute_and_never_more_than_twenty() {
        let mut standing = Reputation::default();
        let who = origin("1.2.3.4");
        for n in 0..59 {
            standing.record_success(who, at(n * 1000));
        }
        assert_eq!(standing.score(who, at(59_000)), 1);
        for n in 1..1000 {
            standing.record_success(who, at(n * MINUTE));
        }
        assert!(standing.score(who, at(1000 * MINUTE)) <= 20);
        let banned = (0..10).filter(|n| standing.record_violation(who, at(1000 * MINUTE + n))).count();
        assert_eq!(banned, 1);
    }

    #[test]
    fn a_score_halves_in_ten_minutes() {
        let mut standing = Reputation::default();
        let who = origin("1.2.3.4");
        for n in 0..4 {
            standing.record_violation(who, at(n));
        }
        assert_eq!(standing.score(who, at(3)), -8);
        assert_eq!(standing.score(who, at(10 * MINUTE)), -4);
        assert_eq!(standing.score(who, at(20 * MINUTE)), -2);
        assert_eq!(standing.score(who, at(100 * MINUTE)), 0);
    }

    #[test]
    fn a_flood_of_origins_displaces_neither_bans_nor_memory() {
        let mut standing = Reputation::new(ReputationConfig { entries_max: 100, ..Default::default() });
        let (villain, manual) = (origin("9.9.9.9"), origin("8.8.8.8"));
        standing.ban(manual, Duration::from_secs(1 << 40), BannedBy::Operator, at(0));
        (0..5).for_each(|n| assert_eq!(standing.record_violation(villain, at(n)), n == 4));
        for n in 0..10_000u128 {
            let ip = IpAddr::V6(Ipv6Addr::from_bits((0x2001_0db8 << 96) | (n << 64)));
            standing.record_violation(Origin::of(ip), at(10 + n as u64));
            assert!(standing.len() <= 100 && standing.order.len() == standing.len());
        }
        let now = at(20_000);
        assert!(standing.is_blacklisted(villain, now) && standing.is_blacklisted(manual, now));
        assert_eq!(standing.bans(now).map(|ban| ban.by).collect::<Vec<_>>(), [BannedBy::Operator, BannedBy::Rules]);
        assert!(standing.unban(villain, now) && !standing.is_blacklisted(villain, now));
    }

    #[test]
    fn a_table_full_of_operator_bans_keeps_them() {
        let mut standing = Reputation::new(ReputationConfig { entries_max: 2, ..Default::default() });
        for who in ["1.1.1.1", "2.2.2.2"] {
            standing.ban(origin(who), Duration::from_secs(60), BannedBy::Operator, at(0));
        }
        standing.record_violation(origin("3.3.3.3"), at(10));
        assert_eq!(standing.bans(at(10)).count(), 2);
        standing.record_violation(origin("3.3.3.3"), at(60_000));
        assert_eq!(standing.score(origin("3.3.3.3"), at(60_000)), -2, "a ban that is over makes room");
    }

    #[test]
    fn a_ban_is_restored_with_the_time_that_remained() {
        let mut standing = Reputation::default();
        (0..5).for_each(|n| assert_eq!(standing.record_violation(origin("1.1.1.1"), at(0)), n == 4));
        let saved: Vec<Ban> = standing.bans(at(23 * 60 * MINUTE)).collect();
        let mut restored = Reputation::default();
        for ban in saved {
            restored.ban(ban.origin, ban.remaining, ban.by, at(0));
        }
        assert!(restored.is_blacklisted(origin("1.1.1.1"), at(60 * MINUTE - 1)));
        assert!(!restored.is_blacklisted(origin("1.1.1.1"), at(60 * MINUTE)));
    }

    proptest! {
        /// The naive judge keeps every deed and computes the score with real numbers.
        #[test]
        fn it_agrees_with_a_judge_that_remembers_everything(
            deeds in prop::collection::vec((0u8..3, 0u64..400_000), 1..60)
        ) {
            let mut standing = Reputation::default();
            let who = origin("1.2.3.4");
            let (mut millis, mut score, mut row) = (0u64, 0f64, 0u32);
            let (mut violations, mut rewarded) = (Vec::new(), None::<u64>);
            for (deed, passed) in deeds {
                millis += passed;
                score *= (-(passed as f64) / 600_000.0).exp2();
                let banned = match deed {
                    0 => {
                        row = 0;
                        if rewarded.is_none_or(|then| millis - then >= MINUTE) {
                            rewarded = Some(millis);
                            score += 1.0;
                        }
                        standing.record_success(who, at(millis));
                        false
                    }
                    1 => standing.record_failure(who, at(millis)),
                    _ => {
                        violations.push(millis);
                        standing.record_violation(who, at(millis))
                    }
                };
                if deed > 0 {
                    (score, row) = (score - 2.0, row + 1);
                }
                score = score.clamp(-20.0, 20.0);
                let recent = violations.iter().filter(|then| millis - **then < 60 * MINUTE).count();
                // A score at the very edge may round either way.
                let edge = (score + 9.5).abs() < 1e-3;
                if !edge {
                    prop_assert_eq!(banned, deed > 0 && (row >= 5 || recent >= 10 || score <= -9.5), "{} {}", score, row);
                }
                if banned || edge { break; }
            }
        }
    }
}
