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
//! Whoever commands many addresses of one subnet has as many lives: so many bans in a /24, or in a /48 of IPv6, become one of all
//! of it. And a table full of bans keeps places for those who are not banned yet, or nobody else ever would be: the ban that ends
//! soonest gives way.
//!
//! Whom a person keeps out is in a table of its own, [`OperatorBans`](super::OperatorBans).
//!
//! Loopback and exempt ranges never come here; the node asks [`ExemptRanges`](crate::address::ExemptRanges) first.

pub mod bans;

use core::time::Duration;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::blacklist::{BlacklistConfig, FAILURE_POINTS, SCORE_MAX, SUCCESS_POINTS};
use super::decay::Decaying;
use crate::address::{Origin, Subnet};
use crate::invariant::{Broken, Invariant};
use crate::time::Instant;

/// The numbers of a [`Reputation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReputationConfig {
    /// Origins remembered at most; the least interesting goes first. Default 10,000, about 3 MiB.
    pub entries_max: usize,
    /// When an origin is blacklisted, and for how long.
    pub blacklist: BlacklistConfig,
}

impl Default for ReputationConfig {
    fn default() -> Self {
        ReputationConfig { entries_max: 10_000, blacklist: BlacklistConfig::default() }
    }
}

/// The memory of deeds by origin.
#[derive(Clone, Debug, Default)]
pub struct Reputation {
    config: ReputationConfig,
    entries: BTreeMap<Origin, Entry>,
    /// Everyone, the least interesting first.
    order: BTreeSet<(Interest, Instant, Origin)>,
    /// Entries that are banned, be it over or not.
    banned: usize,
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
    Banned,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    score: Decaying,
    failures: u32,
    /// The violations of the last window, oldest first; never more than count.
    violations: VecDeque<Instant>,
    last_reward: Option<Instant>,
    banned: Option<Sentence>,
    touched: Instant,
}

/// Until when an origin is blacklisted, and for what it did last.
#[derive(Clone, Debug)]
struct Sentence {
    until: Instant,
    why: Cow<'static, str>,
}

/// Bans in force in one subnet that become a ban of the subnet: far more than a neighbourhood has bad nodes by chance.
pub const BANS_PER_SUBNET: usize = 16;
/// One place in so many is for those who are not banned.
const UNBANNED_PART: usize = 4;

/// Scores are kept in billionths of a point.
const POINT: i64 = 1_000_000_000;

impl Reputation {
    /// A memory without entries.
    pub fn new(config: ReputationConfig) -> Self {
        Reputation { config, ..Reputation::default() }
    }

    /// The origin broke the protocol, in the way that `why` says. True when that blacklisted it.
    pub fn record_violation(&mut self, origin: Origin, why: &'static str, now: Instant) -> bool {
        let (window, most) = (self.config.blacklist.violation_window, self.config.blacklist.violations);
        self.record(origin, now, why, |entry| {
            entry.violations.retain(|at| now.since(*at) < window);
            entry.violations.push_back(now);
            if entry.violations.len() > most {
                entry.violations.pop_front();
            }
            entry.failures = entry.failures.saturating_add(1);
            FAILURE_POINTS
        })
    }

    /// The origin did something useful that was asked for, or was new and valid.
    pub fn record_success(&mut self, origin: Origin, now: Instant) {
        let interval = self.config.blacklist.success_interval;
        self.record(origin, now, "", |entry| {
            entry.failures = 0;
            if entry.last_reward.is_some_and(|at| now.since(at) < interval) {
                return 0;
            }
            entry.last_reward = Some(now);
            SUCCESS_POINTS
        });
    }

    /// May nobody talk to this origin?
    pub fn is_blacklisted(&self, origin: Origin, now: Instant) -> bool {
        let banned = |origin| self.entries.get(&origin).is_some_and(|entry| entry.is_banned(now));
        banned(origin) || origin.ip().is_some_and(|ip| banned(Origin::Net(Subnet::of(ip))))
    }

    /// The origin's score, rounded to a whole point; 0 for a stranger.
    pub fn score(&self, origin: Origin, now: Instant) -> i32 {
        self.entries.get(&origin).map_or(0, |entry| entry.points(now, self.config.blacklist.half_life))
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
        let banned = self.entries.values().filter(|entry| entry.banned.is_some()).count();
        Invariant::S9.check(banned == self.banned, || format!("{banned} bans, {} by the counter", self.banned))?;
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

    fn record(
        &mut self,
        origin: Origin,
        now: Instant,
        why: &'static str,
        deed: impl FnOnce(&mut Entry) -> i32,
    ) -> bool {
        let mut entry = self.take(origin, now);
        let points = deed(&mut entry);
        #[cfg(feature = "sim")]
        self.moves.iter_mut().for_each(|moves| moves.push((origin, points)));
        let (lines, limit) = (&self.config.blacklist, i64::from(SCORE_MAX) * POINT);
        entry.score.add(now, lines.half_life, i64::from(points) * POINT, limit);
        let often = entry.violations.len() >= lines.violations;
        let bad = often || lines.is_bad(entry.points(now, lines.half_life), entry.failures);
        let banned = bad && points < 0 && entry.banned.is_none();
        if banned {
            entry.banned = Some(Sentence { until: now + lines.duration, why: Cow::Borrowed(why) });
        }
        self.put(origin, entry, now);
        debug_assert!(!banned || self.is_blacklisted(origin, now) || self.len() >= self.config.entries_max.max(1));
        if banned && let Some(ip) = origin.ip() {
            self.ban_subnet(Subnet::of(ip), why, now);
        }
        banned
    }

    /// Bans a subnet as a whole once so many of its addresses are banned, and forgets these. Looks at all that is known of it.
    fn ban_subnet(&mut self, subnet: Subnet, why: &'static str, now: Instant) {
        let within = self
            .entries
            .range(Origin::Ip(subnet.ip())..)
            .take_while(|(origin, _)| origin.ip().is_some_and(|ip| Subnet::of(ip) == subnet));
        let in_force = within.filter_map(|(origin, entry)| {
            let until = entry.banned.as_ref()?.until;
            (until > now).then_some((*origin, until))
        });
        let bans: Vec<(Origin, Instant)> = in_force.collect();
        if bans.len() < BANS_PER_SUBNET {
            return;
        }
        let until = bans.iter().map(|(_, until)| *until).max().unwrap_or(now);
        for (origin, _) in bans {
            self.take(origin, now);
        }
        self.sentence(Origin::Net(subnet), until.since(now), Cow::Borrowed(why), now);
    }

    /// Takes an entry out of the tables. One whose blacklisting is over has served its time and is like a stranger's.
    fn take(&mut self, origin: Origin, now: Instant) -> Entry {
        let Some(entry) = self.entries.remove(&origin) else { return Entry::default() };
        self.order.remove(&entry.place(origin));
        self.banned -= usize::from(entry.banned.is_some());
        if entry.banned.is_some() && !entry.is_banned(now) { Entry::default() } else { entry }
    }

    /// Puts an entry into the tables, and forgets the least interesting one when there are too many. Blacklistings make no room for
    /// one who has none, or that would be a way out of them, but for the part of the table that is not theirs.
    fn put(&mut self, origin: Origin, mut entry: Entry, now: Instant) {
        entry.touched = now;
        if self.entries.len() >= self.config.entries_max.max(1) {
            let Some((interest, until, least)) = self.order.first().copied() else { return };
            let most = self.config.entries_max.max(1);
            let is_theirs = self.banned <= most - most / UNBANNED_PART;
            let in_force = interest == Interest::Banned && until > now && is_theirs;
            if in_force && interest > entry.place(origin).0 {
                return;
            }
            self.order.remove(&(interest, until, least));
            if let Some(entry) = self.entries.remove(&least) {
                self.banned -= usize::from(entry.banned.is_some());
            }
        }
        self.order.insert(entry.place(origin));
        self.banned += usize::from(entry.banned.is_some());
        self.entries.insert(origin, entry);
    }
}

impl Entry {
    fn is_banned(&self, now: Instant) -> bool {
        self.banned.as_ref().is_some_and(|sentence| sentence.until > now)
    }

    fn points(&self, now: Instant, half_life: Duration) -> i32 {
        let value = self.score.at(now, half_life);
        let rounded = (value + value.signum() * (POINT / 2)) / POINT;
        i32::try_from(rounded).unwrap_or(0)
    }

    /// Where the entry stands in the order of forgetting: by interest, then by age, or by the end of the blacklisting.
    fn place(&self, origin: Origin) -> (Interest, Instant, Origin) {
        match &self.banned {
            Some(sentence) => (Interest::Banned, sentence.until, origin),
            None if self.failures > 0 || !self.violations.is_empty() => (Interest::Blamed, self.touched, origin),
            None => (Interest::Clean, self.touched, origin),
        }
    }
}

#[cfg(test)]
#[path = "reputation_tests.rs"]
mod tests;
