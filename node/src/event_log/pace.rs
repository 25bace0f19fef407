//! How long a download still takes, by what came in the last half of a minute and by nothing that was hoped for.

use std::collections::VecDeque;

use spacetime_network::time::Instant;

/// Heights that are looked back to: as many as lines of the log in half a minute.
const LOOKS: usize = 15;

/// The heights of the last looks.
#[derive(Debug, Default)]
pub(super) struct Pace(VecDeque<(Instant, u64)>);

impl Pace {
    /// The download is at a height; answers the seconds that are left to its target, unless nothing tells.
    pub(super) fn look(&mut self, now: Instant, height: u64, target: u64) -> Option<u64> {
        if self.0.len() >= LOOKS {
            self.0.pop_front();
        }
        self.0.push_back((now, height));
        let (began, from) = self.0.front().copied()?;
        let (blocks, seconds) = (height.saturating_sub(from), now.since(began).as_secs_f64());
        if blocks == 0 || seconds <= 0.0 {
            return None;
        }
        Some((target.saturating_sub(height) as f64 * seconds / blocks as f64).ceil() as u64)
    }

    /// It is over.
    pub(super) fn end(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_left_follows_the_pace_of_the_last_half_minute() {
        let mut pace = Pace::default();
        let at = |seconds: u64| Instant::from_millis(seconds * 1000);
        assert_eq!(pace.look(at(0), 0, 10_000), None);
        assert_eq!(pace.look(at(2), 2_000, 10_000), Some(8));
        // It becomes a hundred times slower, and half a minute later the old pace is forgotten.
        let last = (2..40).map(|n| pace.look(at(2 * n), 2_000 + 20 * (n - 1), 10_000)).last().unwrap();
        assert_eq!(last, Some((10_000 - 2_760) / 10));
        pace.end();
        assert_eq!(pace.look(at(100), 9_000, 10_000), None, "another download");
    }
}
