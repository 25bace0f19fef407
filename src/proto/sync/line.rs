//! What was measured of the way to one peer: how long an answer takes, and how many questions it keeps busy.

use core::time::Duration;

/// Blocks that may be asked of a peer that came to us before it has delivered one: it may never do.
const STRANGERS_START: usize = 2;
/// The share that the newest answer has in the average, as one over this.
const SHARE: u32 = 8;

/// The line to one peer.
#[derive(Debug)]
pub(super) struct Line {
    /// A moving average of how long answers took, once there was one.
    answer_time: Option<Duration>,
    /// Blocks that may be asked of it at a time.
    window: usize,
}

impl Line {
    /// Nothing is known of it. Who is trusted may be asked for as much as anybody.
    pub(super) fn new(is_trusted: bool) -> Self {
        Line { answer_time: None, window: if is_trusted { usize::MAX } else { STRANGERS_START } }
    }

    /// An answer came after this time.
    pub(super) fn answered(&mut self, took: Duration) {
        self.answer_time = Some(self.answer_time.map_or(took, |average| {
            let rest = (average / SHARE).saturating_mul(SHARE - 1);
            rest.saturating_add(took / SHARE)
        }));
    }

    /// A block came: each allows one more, so that the window doubles with each round trip.
    pub(super) fn delivered(&mut self, took: Duration) {
        self.answered(took);
        self.window = self.window.saturating_add(1);
    }

    /// It did not deliver: one block, and from there on as it goes.
    pub(super) fn restart(&mut self) {
        self.window = 1;
    }

    /// How long its answers take; `None` before the first.
    pub(super) fn answer_time(&self) -> Option<Duration> {
        self.answer_time
    }

    /// Blocks that may be asked of it at a time.
    pub(super) fn window(&self) -> usize {
        self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_of_a_stranger_doubles_with_each_round_trip_and_starts_anew_after_lateness() {
        let mut line = Line::new(false);
        for expected in [2, 4, 8, 16] {
            assert_eq!(line.window(), expected);
            (0..expected).for_each(|_| line.delivered(Duration::from_millis(20)));
        }
        assert_eq!(line.answer_time(), Some(Duration::from_millis(20)));
        line.restart();
        assert_eq!(line.window(), 1);
        assert_eq!(Line::new(true).window(), usize::MAX);
    }
}
