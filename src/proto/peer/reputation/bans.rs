//! Bans as a person sees them: set, lifted, listed, saved and restored.
//!
//! The rules ban by themselves; this is the other half, for commands of an operator and for a file of bans. A ban is saved
//! with the time that remains, so that no jump of a wall clock makes it endless.

use core::time::Duration;

use super::{BannedBy, Reputation};
use crate::address::Origin;
use crate::time::Instant;

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

impl Reputation {
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

    /// The blacklistings in force, by origin.
    pub fn bans(&self, now: Instant) -> impl Iterator<Item = Ban> {
        self.entries.iter().filter_map(move |(origin, entry)| {
            let (until, by) = entry.banned.filter(|(until, _)| *until > now)?;
            Some(Ban { origin: *origin, remaining: until.since(now), by })
        })
    }
}
