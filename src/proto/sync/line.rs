//! What was measured of the way to one peer: how long an answer takes, and how many questions keep it busy.
//!
//! As many blocks are asked for as are on their way within a round trip: fewer leave the line idle, more only wait at the other end.
//! The number grows by one with each block, so that it doubles with each round trip, from some dozens or from what the first block says
//! of their size, as long as the answers are not later than a
//! short queue explains; when they are much later it falls. Answers that are as late with half as many questions wait in no queue of
//! ours: the way has become longer, and is measured anew.

use core::time::Duration;

use crate::time::Instant;

/// Blocks that may be asked of a peer that we chose before anything is measured: what any peer has room for.
const TRUSTED_START: usize = 64;
/// The same of a peer that came to us: it may never deliver one.
const STRANGERS_START: usize = 2;
/// Bytes of blocks that a peer which we chose may be asked for once its first one says how large they are: what a line of 20 Mbit/s
/// carries within a tenth of a second. Where blocks are small that saves the round trips in which the number would double.
const TRUSTED_BYTES: usize = 256 * 1024;
/// As many of them at most, for a block may be as small as its header.
const TRUSTED_BLOCKS: usize = 1_024;
/// No queue makes the number fall below this.
const QUEUED_MIN: usize = 16;
/// The share that the newest answer has in the average, as one over this.
const SHARE: u32 = 8;
/// What an answer may take beyond the fastest and a quarter, so that a busy loop at either end is no queue.
const QUEUE: Duration = Duration::from_millis(10);
/// Blocks that come late for one that is asked for less.
const LATE_PER_STEP: u32 = 4;
/// How long the fastest answer counts: the way may become longer.
const FASTEST_COUNTS: Duration = Duration::from_secs(60);

/// The line to one peer.
#[derive(Debug)]
pub(super) struct Line {
    /// A moving average of how long answers took, once there was one.
    answer_time: Option<Duration>,
    /// The fastest answers of this period and the one before, and when it began.
    fastest: [Duration; 2],
    since: Instant,
    /// Blocks that may be asked of it at a time.
    window: usize,
    /// Blocks that came late since it fell.
    late: u32,
    /// How many were asked for when it began to fall, and the longest that an answer took since.
    falls_from: Option<(usize, Duration)>,
    /// Its first block will say how large they are.
    is_first: bool,
    /// Half of what was asked of it before it was late: what it is asked for again once it delivers.
    before: Option<usize>,
}

impl Line {
    /// Nothing is known of it but whether we chose the peer.
    pub(super) fn new(is_trusted: bool) -> Self {
        let window = if is_trusted { TRUSTED_START } else { STRANGERS_START };
        let (fastest, since) = ([Duration::MAX; 2], Instant::ZERO);
        Line {
            answer_time: None,
            fastest,
            since,
            window,
            late: 0,
            falls_from: None,
            is_first: is_trusted,
            before: None,
        }
    }

    /// An answer came after this time.
    pub(super) fn answered(&mut self, took: Duration) {
        self.answer_time = Some(self.answer_time.map_or(took, |average| {
            let rest = (average / SHARE).saturating_mul(SHARE - 1);
            rest.saturating_add(took / SHARE)
        }));
    }

    /// The size of a block that came, to be said before [`Line::delivered`].
    pub(super) fn weighed(&mut self, len: usize) {
        if core::mem::take(&mut self.is_first) {
            self.window = self.window.max((TRUSTED_BYTES / len.max(1)).min(TRUSTED_BLOCKS));
        }
    }

    /// A block came that was asked for at that time, when so many were on their way.
    pub(super) fn delivered(&mut self, now: Instant, asked_at: Instant, in_flight: usize) {
        let took = now.since(asked_at);
        self.answered(took);
        if let Some(before) = self.before.take() {
            self.window = self.window.max(before);
        }
        let fastest = self.fastest(now, took);
        let soon = (fastest / 4).saturating_mul(5).saturating_add(QUEUE);
        if took <= soon {
            let is_used = in_flight.saturating_mul(2) >= self.window;
            self.window = self.window.saturating_add(usize::from(is_used));
            self.falls_from = None;
        } else if took > soon.saturating_mul(2) && self.window > QUEUED_MIN {
            self.late = self.late.saturating_add(1);
            if self.late >= LATE_PER_STEP {
                self.fall(took);
            }
        }
    }

    /// Answers are late: one question less. Where half as many have not made them sooner, no queue of ours makes them late.
    fn fall(&mut self, took: Duration) {
        let (most, longest) = self.falls_from.map_or((self.window, took), |(most, longest)| (most, longest.max(took)));
        self.falls_from = Some((most, longest));
        (self.window, self.late) = (self.window.saturating_sub(1), 0);
        if self.window <= most / 2 {
            if took.saturating_mul(4) >= longest.saturating_mul(3) {
                self.fastest = [took; 2];
            }
            self.falls_from = None;
        }
    }

    /// The fastest answer lately, this one included.
    fn fastest(&mut self, now: Instant, took: Duration) -> Duration {
        let [current, before] = self.fastest;
        self.fastest = if now.since(self.since) >= FASTEST_COUNTS {
            self.since = now;
            [took, current]
        } else {
            [current.min(took), before]
        };
        self.fastest.into_iter().min().unwrap_or(took)
    }

    /// It did not deliver: one block, and from there on as it goes. Its way may have become longer, and everybody's with it; so what
    /// was the fastest answer says nothing any more, and if it delivers after all it is asked for half as much as before, and not for
    /// one block after the other. Who is late again has a quarter of it, and so on.
    pub(super) fn restart(&mut self) {
        self.before = Some(self.before.unwrap_or(self.window) / 2);
        self.window = 1;
        (self.fastest, self.falls_from, self.late, self.is_first) = ([Duration::MAX; 2], None, 0, false);
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
    use std::collections::VecDeque;

    /// A peer that answers after `delay`, and then one block each `each`: the window after so many seconds of asking for all it allows.
    fn settled(line: &mut Line, delay: Duration, each: Duration, seconds: u64) -> (usize, u64) {
        let start = Instant::from_millis(1_000_000);
        let (mut now, mut free, mut count) = (start, start, 0);
        let mut asked: VecDeque<(Instant, Instant)> = VecDeque::new();
        while now.since(start) < Duration::from_secs(seconds) {
            while asked.len() < line.window() {
                free = free.max(now + delay) + each;
                asked.push_back((now, free));
            }
            let (asked_at, comes) = asked.pop_front().unwrap();
            now = now.max(comes);
            line.delivered(now, asked_at, asked.len() + 1);
            count += 1;
        }
        (line.window(), count)
    }

    #[test]
    fn the_window_of_a_stranger_doubles_with_each_round_trip_and_starts_anew_after_lateness() {
        let mut line = Line::new(false);
        let mut now = Instant::from_millis(1_000);
        for expected in [2, 4, 8, 16] {
            assert_eq!(line.window(), expected);
            let asked_at = now;
            now = now + Duration::from_millis(20);
            (0..expected).for_each(|on_way| line.delivered(now, asked_at, expected - on_way));
            line.window = line.window.max(expected * 2);
        }
        assert_eq!(line.answer_time(), Some(Duration::from_millis(20)));
        line.restart();
        assert_eq!(line.window(), 1);
    }

    /// A download of 100,000 small blocks over a line of 100 ms took seven round trips until the line was full.
    #[test]
    fn the_first_block_of_a_peer_that_we_chose_says_how_many_fit_a_line() {
        for (is_trusted, len, expected) in [
            (true, 183, TRUSTED_BLOCKS),
            (true, 1_024, 256),
            (true, 1 << 20, TRUSTED_START),
            (true, 0, TRUSTED_BLOCKS),
            (false, 183, STRANGERS_START),
        ] {
            let mut line = Line::new(is_trusted);
            line.weighed(len);
            assert_eq!(line.window(), expected, "{len} bytes");
            line.weighed(1);
            assert_eq!(line.window(), expected, "only the first one");
        }
        // Who was late before its first one has shown what its line is.
        let mut line = Line::new(true);
        line.restart();
        line.weighed(183);
        assert_eq!(line.window(), 1);
    }

    /// All peers' round trips rose at once: each was late by what the others took before, and began anew with one block. Alone it had
    /// sixteen blocks on their way for two minutes, for the fastest answer was that of the shorter way.
    #[test]
    fn a_way_that_becomes_longer_is_measured_anew_in_a_few_round_trips() {
        let (near, far) = (Duration::from_millis(20), Duration::from_millis(300));
        let each = Duration::from_micros(50);
        for is_late in [false, true] {
            let mut line = Line::new(false);
            let (before, _) = settled(&mut line, near, each, 5);
            assert!(before >= 400, "{before}");
            if is_late {
                line.restart();
                assert_eq!(line.window(), 1);
            }
            line.since = Instant::from_millis(1_000_000);
            let (after, count) = settled(&mut line, far, each, 10);
            // As many as are on their way within the longer round trip, for most of the time.
            assert!(after >= 6_000 && count >= 100_000, "{after} at the end, {count} came; late: {is_late}");
        }
    }

    #[test]
    fn who_is_late_again_and_again_has_less_each_time() {
        let mut line = Line::new(true);
        let (settled, _) = settled(&mut line, Duration::from_millis(50), Duration::from_micros(25), 5);
        let mut most = settled;
        let now = Instant::from_millis(2_000_000);
        while most > 3 {
            line.restart();
            line.restart();
            line.delivered(now, now, 1);
            assert!(line.window() <= most / 4 + 1, "{} of {most}", line.window());
            most = line.window();
        }
    }

    #[test]
    fn the_window_grows_to_what_the_line_carries_within_a_round_trip_and_little_further() {
        for (delay, each) in [(100_000, 25), (100_000, 1_000), (1_000, 25), (300_000, 100), (20_000, 30_000)] {
            let (delay, each) = (Duration::from_micros(delay), Duration::from_micros(each));
            let mut line = Line::new(false);
            let (window, count) = settled(&mut line, delay, each, 20);
            let carried = (delay.as_nanos() / each.as_nanos()) as usize;
            let most = 5 * carried / 2 + (2 * QUEUE.as_nanos() / each.as_nanos()) as usize + 20;
            assert!(window >= carried && window <= most, "{window} of {carried} for {delay:?} and {each:?}");
            let ideal = Duration::from_secs(20).as_nanos() / each.as_nanos();
            assert!(u128::from(count) * 10 >= ideal * 7, "{count} of {ideal} for {delay:?} and {each:?}");
        }
    }

    #[test]
    fn a_window_falls_when_the_other_side_becomes_slow() {
        let mut line = Line::new(true);
        let (fast, slow) = (Duration::from_micros(25), Duration::from_millis(2));
        let (before, _) = settled(&mut line, Duration::from_millis(50), fast, 5);
        line.since = Instant::from_millis(1_000_000);
        let (after, _) = settled(&mut line, Duration::from_millis(50), slow, 50);
        assert!(before > 1_500 && after < before / 2, "{before}, then {after}");
    }
}
