//! How often those whom a limit per place or a rate keeps out are told so. Whoever floods hears it a few times, and nothing then.

use crate::address::Origin;
use crate::rate::{Bucket, BucketTable, Rate};
use crate::time::Instant;

/// Answers to all of them.
const RATE: Rate = Rate::per_second(10, 20);
/// Answers to one address (an IPv6 /64).
const RATE_PER_ORIGIN: Rate = Rate::per_second(1, 5);

/// What is left of these rates.
#[derive(Clone, Debug, Default)]
pub(super) struct Answers {
    all: Bucket,
    by_origin: BucketTable<Origin>,
}

impl Answers {
    /// May this one be answered? If so, it has used its part.
    pub(super) fn take(&mut self, origin: Origin, now: Instant) -> bool {
        // Whom his own rate refuses takes nothing from the others.
        self.all.has(RATE, now) && self.by_origin.take(origin, Some(RATE_PER_ORIGIN), now) && self.all.take(RATE, now)
    }
}
