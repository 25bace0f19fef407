//! How long turns of the loop take: whoever is served waits for the longest of them, and nothing else tells of it.
//!
//! A turn counts from the end of its wait to the end of its flush, by the two clock readings that it makes anyway. Two cores that
//! are busy with something else lengthen a turn as well as what it does: the units of work beside the worst one tell which it was.

use core::time::Duration;

use crate::histogram::Histogram;
use crate::time::Instant;

/// How long "lately" is, at least.
const LATELY: Duration = Duration::from_secs(60);

/// How long the turns of a loop took, each from the end of its wait to the end of its flush.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TurnTimes {
    /// Turns.
    pub count: u64,
    /// Of these, those that took longer than each of [`TurnTimes::ABOVE`].
    pub above: [u64; TurnTimes::ABOVE.len()],
    /// How long they took.
    pub times: Histogram,
    /// The longest.
    pub worst: WorstTurn,
    /// The longest of the minute under way.
    minute: WorstTurn,
    /// The longest of the minute before.
    minute_before: WorstTurn,
    minute_began: Instant,
}

/// A turn that took longer than others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorstTurn {
    /// How long it took.
    pub time: Duration,
    /// Units of work that the protocol said it has done in it. See [`Net::spend`](super::Net::spend). Few of them in a long turn:
    /// the machine was busy with something else, or somebody does not say what he costs.
    pub work: u64,
}

impl TurnTimes {
    /// Above which times turns are counted.
    pub const ABOVE: [Duration; 4] =
        [Duration::from_millis(5), Duration::from_millis(20), Duration::from_millis(50), Duration::from_millis(100)];

    /// The longest turn of the last minute or two.
    pub fn worst_lately(&self) -> WorstTurn {
        if self.minute.time >= self.minute_before.time { self.minute } else { self.minute_before }
    }

    /// A turn of so much work is over.
    #[inline]
    pub(super) fn ended(&mut self, began: Instant, now: Instant, work: u64) {
        let turn = WorstTurn { time: now.since(began), work };
        self.count += 1;
        self.times.record(turn.time);
        if now.since(self.minute_began) >= LATELY {
            self.begin_minute(now);
        }
        if turn.time > self.minute.time {
            self.note(turn);
        }
        if turn.time > TurnTimes::ABOVE[0] {
            for (count, _) in self.above.iter_mut().zip(TurnTimes::ABOVE).filter(|(_, above)| turn.time > *above) {
                *count += 1;
            }
        }
    }

    /// Adds the turns of another loop, whose clock began when it wanted: what was lately there is lately here.
    pub(super) fn add(&mut self, other: &TurnTimes) {
        self.count += other.count;
        self.times.add(&other.times);
        for (sum, count) in self.above.iter_mut().zip(other.above) {
            *sum += count;
        }
        let longer = |one: WorstTurn, two: WorstTurn| if two.time > one.time { two } else { one };
        self.worst = longer(self.worst, other.worst);
        self.minute = longer(self.minute, other.worst_lately());
    }

    fn note(&mut self, turn: WorstTurn) {
        self.minute = turn;
        if turn.time > self.worst.time {
            self.worst = turn;
        }
    }

    fn begin_minute(&mut self, now: Instant) {
        let is_old = now.since(self.minute_began) >= LATELY * 2;
        self.minute_before = if is_old { WorstTurn::default() } else { self.minute };
        self.minute = WorstTurn::default();
        self.minute_began = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(times: &mut TurnTimes, at_ms: u64, took_ms: u64, work: u64) {
        times.ended(Instant::from_millis(at_ms), Instant::from_millis(at_ms + took_ms), work);
    }

    #[test]
    fn turns_are_counted_above_each_limit_and_the_worst_is_kept_with_its_work() {
        let mut times = TurnTimes::default();
        for (took, work) in [(0, 1), (5, 2), (6, 3), (20, 4), (21, 5), (100, 6), (101, 7), (51, 8)] {
            turn(&mut times, 1000, took, work);
        }
        assert_eq!((times.count, times.above), (8, [6, 4, 3, 1]));
        assert_eq!((times.times.count(), times.times.sum()), (8, Duration::from_millis(304)));
        assert_eq!(times.worst, WorstTurn { time: Duration::from_millis(101), work: 7 });
        assert_eq!(times.worst_lately(), times.worst);
    }

    #[test]
    fn the_turns_of_two_loops_are_all_counted_and_the_worst_of_both_is_the_worst() {
        let (mut one, mut two) = (TurnTimes::default(), TurnTimes::default());
        turn(&mut one, 1_000, 6, 1);
        turn(&mut two, 1_000, 21, 2);
        one.add(&two);
        assert_eq!((one.count, one.above, one.worst.work, one.worst_lately().work), (2, [2, 1, 0, 0], 2, 2));
        assert_eq!((one.times.count(), one.times.sum()), (2, Duration::from_millis(27)));
    }

    #[test]
    fn what_was_worst_is_no_longer_lately_after_two_minutes_and_is_never_forgotten() {
        let mut times = TurnTimes::default();
        turn(&mut times, 1_000, 80, 1);
        turn(&mut times, 50_000, 30, 2);
        turn(&mut times, 61_000, 10, 3);
        assert_eq!(times.worst_lately().work, 1, "it was in the minute before");
        turn(&mut times, 122_000, 7, 4);
        assert_eq!(times.worst_lately().work, 3);
        turn(&mut times, 400_000, 0, 5);
        assert_eq!(times.worst_lately(), WorstTurn::default(), "a loop that slept through it all");
        assert_eq!((times.worst.work, times.above), (1, [4, 2, 1, 0]));
    }
}
