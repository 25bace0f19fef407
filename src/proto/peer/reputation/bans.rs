//! The bans of the rules as a person sees them: lifted, listed, saved and restored.
//!
//! The rules ban by themselves. A ban is saved with the time that remains, so that no jump of a wall clock makes it endless.

use core::time::Duration;
use std::borrow::Cow;

use super::{Reputation, Sentence};
use crate::address::Origin;
use crate::proto::peer::ban::{Ban, Banned, BannedBy, Lifted};
use crate::time::Instant;

impl Reputation {
    /// Blacklists an origin for `duration`, or differently if it already is: for one whom an earlier run had blacklisted. No
    /// longer than the rules do.
    pub fn restore_ban(&mut self, origin: Origin, duration: Duration, reason: Cow<'static, str>, now: Instant) {
        self.sentence(origin, duration.min(self.config.blacklist.duration), reason, now);
    }

    pub(super) fn sentence(&mut self, origin: Origin, duration: Duration, why: Cow<'static, str>, now: Instant) {
        let mut entry = self.take(origin, now);
        entry.banned = Some(Sentence { until: now + duration, why });
        self.put(origin, entry, now);
    }

    /// Forgets all about an origin. True when it was blacklisted.
    pub fn unban(&mut self, origin: Origin, now: Instant) -> bool {
        self.take(origin, now).banned.is_some()
    }

    /// Forgets all about `who` and each part of it that is blacklisted.
    pub fn lift(&mut self, who: Banned, now: Instant) -> Lifted {
        let parts: Vec<Origin> = self
            .in_force(now)
            .map(|(origin, _)| origin)
            .filter(|origin| who.contains(&Banned::from(*origin)))
            .collect();
        let lifted = parts.into_iter().filter(|origin| self.unban(*origin, now)).count();
        let still = self.in_force(now).map(|(origin, _)| Banned::from(origin)).find(|ban| ban.contains(&who));
        Lifted { lifted, still }
    }

    /// The blacklistings in force, by origin.
    pub fn bans(&self, now: Instant) -> impl Iterator<Item = Ban> + '_ {
        self.in_force(now).map(move |(origin, sentence)| Ban {
            who: Banned::from(origin),
            by: BannedBy::Rules,
            remaining: Some(sentence.until.since(now)),
            reason: sentence.why.clone(),
        })
    }

    fn in_force(&self, now: Instant) -> impl Iterator<Item = (Origin, &Sentence)> + '_ {
        self.entries.iter().filter_map(move |(origin, entry)| {
            let sentence = entry.banned.as_ref().filter(|sentence| sentence.until > now)?;
            Some((*origin, sentence))
        })
    }
}
