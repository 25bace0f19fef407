//! Tells an operator how long turns of the loop take: a line each minute, and one at the end.
//!
//! Everybody who is connected waits for the longest turn. The line is for `debug`, but where a turn took longer than a tenth of a
//! second since the last one.

use std::time::Duration;

use spacetime_network::driver::TurnTimes;
use spacetime_network::time::Instant;
use tracing::{debug, info};

const EVERY: Duration = Duration::from_secs(60);

/// What was told.
#[derive(Debug, Default)]
pub(crate) struct TurnWatch {
    told_at: Instant,
    told: TurnTimes,
}

/// How a line is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    Usual,
    /// Somebody may have noticed.
    Slow,
}

impl TurnWatch {
    /// Called after every turn of the loop.
    pub(crate) fn look(&mut self, now: Instant, turns: &TurnTimes) {
        if now.since(self.told_at) >= EVERY {
            self.tell(now, turns);
        }
    }

    /// The last line.
    pub(crate) fn finish(&mut self, turns: &TurnTimes) {
        write(Line::Usual, turns);
    }

    fn tell(&mut self, now: Instant, turns: &TurnTimes) {
        write(self.line(turns), turns);
        (self.told_at, self.told) = (now, *turns);
    }

    fn line(&self, turns: &TurnTimes) -> Line {
        if turns.above.last() > self.told.above.last() { Line::Slow } else { Line::Usual }
    }
}

fn write(line: Line, turns: &TurnTimes) {
    let (count, [above_5ms, above_20ms, above_50ms, above_100ms]) = (turns.count, turns.above);
    let (worst, lately) = (turns.worst, turns.worst_lately());
    let [worst_ms, lately_ms] = [worst, lately].map(|turn| millis(turn.time));
    let (worst_work, lately_work) = (worst.work, lately.work);
    match line {
        Line::Usual => debug!(
            count,
            above_5ms,
            above_20ms,
            above_50ms,
            above_100ms,
            worst_ms,
            worst_work,
            lately_ms,
            lately_work,
            "turns of the loop"
        ),
        Line::Slow => info!(
            count,
            above_5ms,
            above_20ms,
            above_50ms,
            above_100ms,
            worst_ms,
            worst_work,
            lately_ms,
            lately_work,
            "turns of the loop took long; what else runs on this machine may be the reason where their work is small"
        ),
    }
}

fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 10_000.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_due_each_minute_and_a_slow_turn_is_told_to_everybody_once() {
        let mut watch = TurnWatch::default();
        let mut turns = TurnTimes::default();
        watch.look(Instant::from_millis(59_999), &turns);
        assert_eq!(watch.told_at, Instant::ZERO);
        watch.look(Instant::from_millis(60_000), &turns);
        assert_eq!(watch.told_at, Instant::from_millis(60_000));
        turns.above = [3, 2, 1, 0];
        assert_eq!(watch.line(&turns), Line::Usual);
        turns.above = [4, 3, 2, 1];
        assert_eq!(watch.line(&turns), Line::Slow);
        watch.look(Instant::from_millis(120_000), &turns);
        assert_eq!(watch.line(&turns), Line::Usual, "it was told");
    }

    #[test]
    fn times_are_told_in_milliseconds_with_one_digit_behind_the_point() {
        assert_eq!(millis(Duration::from_micros(12_345)), 12.3);
        assert_eq!(millis(Duration::ZERO), 0.0);
    }
}
