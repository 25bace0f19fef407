//! Whether a router has lost its memory: both datagram protocols tell for how many seconds it has had it.

use crate::time::Instant;

/// What a router said last of its memory, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Epoch(Option<(Instant, u32)>);

impl Epoch {
    /// Takes note of what an answer says. True when the router has forgotten what it knew at the answer before: its seconds went
    /// back, or did not go on as ours did (RFC 6887, section 8.5).
    pub(super) fn has_restarted(&mut self, now: Instant, said: u32) -> bool {
        let Some((at, before)) = self.0.replace((now, said)) else { return false };
        // Two answers may overtake each other.
        if said.saturating_add(1) < before {
            return true;
        }
        let (ours, theirs) = (now.since(at).as_secs(), u64::from(said.saturating_sub(before)));
        let runs_ahead = |slow: u64, fast: u64| slow.saturating_add(2) < fast - fast / 16;
        runs_ahead(ours, theirs) || runs_ahead(theirs, ours)
    }

    /// Another router, or another protocol: its seconds say nothing of those before.
    pub(super) fn forget(&mut self) {
        self.0 = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::time::Duration;

    fn after(steps: &[(u64, u32)]) -> Vec<bool> {
        let mut epoch = Epoch::default();
        steps.iter().map(|(at, said)| epoch.has_restarted(Instant::ZERO + Duration::from_secs(*at), *said)).collect()
    }

    #[test]
    fn seconds_that_go_on_as_ours_are_no_restart() {
        assert_eq!(after(&[(0, 100), (60, 160), (120, 219), (121, 218), (1800, 1990)]), [false; 5]);
    }

    #[test]
    fn seconds_that_go_back_stand_still_or_leap_are_one() {
        assert_eq!(after(&[(0, 100), (60, 3)]), [false, true]);
        assert_eq!(after(&[(0, 100), (600, 100)]), [false, true], "it restarted and has run as long");
        assert_eq!(after(&[(0, 100), (60, 900)]), [false, true]);
        assert_eq!(after(&[(0, u32::MAX), (60, 0), (61, 1)]), [false, true, false]);
    }
}
