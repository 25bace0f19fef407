//! What comes again and again, whatever else happens.

use core::time::Duration;

use crate::time::Instant;

/// When each kind of round is due next; at a new node at once.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// Staleness, and addresses to ask for.
    pub(super) housekeeping: Round,
    /// Peers that are away are worth another dial.
    pub(super) remembered: Round,
    /// The known peers are worth a save.
    pub(super) save: Round,
    /// A peer was reached that a restart should begin with, and it is not saved yet: it is as soon as this begins.
    pub(super) soon: Round,
    pub(super) is_unsaved: bool,
    /// So are the bans, if there are new ones: looked at whenever something is due.
    pub(super) bans: Round,
}

impl Rounds {
    pub(super) fn deadline(&self) -> Instant {
        self.housekeeping.0.min(self.save.0)
    }
}

/// When the next one is due.
#[derive(Debug, Default)]
pub(super) struct Round(Instant);

impl Round {
    /// True when one is due; the next is then as long after it as `pause`.
    pub(super) fn begins(&mut self, now: Instant, pause: Duration) -> bool {
        let due = self.0 <= now;
        if due {
            self.0 = now + pause;
        }
        due
    }
}
