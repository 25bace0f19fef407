//! When somebody counts as bad: the numbers that both judges go by.
//!
//! [`Reputation`](super::Reputation) judges addresses and proven identities, and bans; the [`PeerTable`](super::PeerTable)
//! judges the ids that peers gave, and leaves the bad ones undialed. A change here is a change for both.

use core::time::Duration;

use crate::config::{ConfigCheck, ConfigErrors};

/// Scores stay within plus and minus this, so that no past, however long, outweighs the present for long.
pub const SCORE_MAX: i32 = 20;
/// What a success earns.
pub const SUCCESS_POINTS: i32 = 1;
/// What a failure costs.
pub const FAILURE_POINTS: i32 = -2;

/// Where the line is between good and bad, and for how long it is remembered who was beyond it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlacklistConfig {
    /// Who has this score or less is bad. Default -10.
    pub score: i32,
    /// Who failed so often in a row is bad. Default 5.
    pub failures: u32,
    /// An origin with so many violations within `violation_window` is bad, whatever its successes. Default 10.
    pub violations: usize,
    /// Default 1 hour.
    pub violation_window: Duration,
    /// How long an origin stays blacklisted, by the monotonic clock. Default 24 hours.
    pub duration: Duration,
    /// Time in which an origin's score loses half of itself. Default 10 minutes.
    pub half_life: Duration,
    /// The successes of an origin earn at most one point in this time. Default 1 minute.
    pub success_interval: Duration,
}

impl Default for BlacklistConfig {
    fn default() -> Self {
        BlacklistConfig {
            score: -10,
            failures: 5,
            violations: 10,
            violation_window: Duration::from_secs(3600),
            duration: Duration::from_secs(24 * 3600),
            half_life: Duration::from_secs(600),
            success_interval: Duration::from_secs(60),
        }
    }
}

impl BlacklistConfig {
    /// Checks that there is a line, and that not everybody is beyond it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut check = ConfigCheck::default();
        let reached = (-SCORE_MAX..0).contains(&self.score);
        check.require(
            reached,
            "score",
            format!("must be -{SCORE_MAX} to -1, or strangers are blacklisted, or nobody ever is"),
        );
        check.require(self.failures >= 1, "failures", "must be at least 1, or strangers are blacklisted");
        check.require(self.violations >= 1, "violations", "must be at least 1, or strangers are blacklisted");
        for (name, duration) in
            [("violation_window", self.violation_window), ("duration", self.duration), ("half_life", self.half_life)]
        {
            check.require(!duration.is_zero(), name, "must be longer than zero");
        }
        check.finish()
    }

    /// Beyond the line by score or by failures in a row?
    pub(super) fn is_bad(&self, score: i32, failures: u32) -> bool {
        score <= self.score || failures >= self.failures
    }
}
