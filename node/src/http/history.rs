//! The last hour, a sample every ten seconds: what the page draws, and what an honest time left is computed from.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;

use super::admin::Sample;
use spacetime_network::histogram::Histogram;

/// Time between two samples.
pub(crate) const EVERY: Duration = Duration::from_secs(10);
/// Samples of an hour.
const SAMPLES: usize = 360;
/// Samples that the pace of a download is taken from: a minute.
const PACE: usize = 6;

/// One moment of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Point {
    unix_millis: i64,
    /// Bytes and frames a second since the sample before.
    bytes_in: f64,
    bytes_out: f64,
    frames_in: f64,
    frames_out: f64,
    height: u64,
    target: u64,
    peers: usize,
    pool: usize,
    /// The bounds below which all but one in a hundred turns and round trips were since the sample before.
    turn_p99_micros: Option<u64>,
    round_trip_p99_micros: Option<u64>,
    /// How old the last block was when it came.
    block_age_millis: Option<i64>,
}

/// The last hour.
#[derive(Debug, Default)]
pub(crate) struct History {
    points: VecDeque<Point>,
    last: Option<Sample>,
}

impl History {
    /// Adds a sample, and how old the last block was that came.
    pub(crate) fn add(&mut self, sample: Sample, block_age_millis: Option<i64>) {
        if let Some(last) = &self.last {
            let seconds = sample.now.at.since(last.now.at).as_secs_f64().max(0.001);
            let rate = |now: u64, before: u64| ((now.saturating_sub(before)) as f64 / seconds * 10.0).round() / 10.0;
            let (now, before) = (&sample.totals, &last.totals);
            if self.points.len() >= SAMPLES {
                self.points.pop_front();
            }
            self.points.push_back(Point {
                unix_millis: sample.now.unix.as_millis(),
                bytes_in: rate(now.bytes_in, before.bytes_in),
                bytes_out: rate(now.bytes_out, before.bytes_out),
                frames_in: rate(now.frames_in, before.frames_in),
                frames_out: rate(now.frames_out, before.frames_out),
                height: sample.tip.height,
                target: sample.target,
                peers: sample.peers(),
                pool: sample.pool,
                turn_p99_micros: p99_between(&before.turns.times, &now.turns.times),
                round_trip_p99_micros: p99_between(&last.counters.round_trips, &sample.counters.round_trips),
                block_age_millis,
            });
        }
        self.last = Some(sample);
    }

    /// The samples, the oldest first.
    pub(crate) fn points(&self) -> Vec<Point> {
        self.points.iter().copied().collect()
    }

    /// How long a download of so many blocks still takes at the pace of the last minute; `None` when nothing came in it.
    pub(crate) fn seconds_left(&self, height: u64, target: u64) -> Option<u64> {
        let missing = target.saturating_sub(height);
        let from = self.points.iter().rev().take(PACE).next_back()?;
        let to = self.points.back()?;
        let blocks = to.height.saturating_sub(from.height);
        let millis =
            u64::try_from(to.unix_millis.saturating_sub(from.unix_millis)).ok().filter(|millis| *millis > 0)?;
        if missing == 0 || blocks == 0 {
            return None;
        }
        Some((missing as f64 * millis as f64 / blocks as f64 / 1000.0).ceil() as u64)
    }
}

/// The bound that all but one in a hundred stayed below between two looks at the same counts.
fn p99_between(before: &Histogram, now: &Histogram) -> Option<u64> {
    let news: Vec<(Option<Duration>, u64)> =
        now.buckets().zip(before.buckets()).map(|((bound, n), (_, b))| (bound, n.saturating_sub(b))).collect();
    let total: u64 = news.iter().map(|(_, count)| count).sum();
    if total == 0 {
        return None;
    }
    let mut left = total - total / 100;
    for (bound, count) in news {
        left = left.saturating_sub(count);
        if left == 0 {
            return bound.and_then(|bound| u64::try_from(bound.as_micros()).ok());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_before_does_not_count_in_what_is_between() {
        let mut before = Histogram::default();
        before.record(Duration::from_secs(1));
        let mut now = before;
        assert_eq!(p99_between(&before, &now), None);
        for _ in 0..50 {
            now.record(Duration::from_micros(3));
        }
        assert_eq!(p99_between(&before, &now), Some(4));
        now.record(Duration::from_millis(1));
        assert_eq!(p99_between(&before, &now), Some(1024), "one of 51 is more than one in a hundred");
    }

    fn at(history: &mut History, seconds: i64, height: u64) {
        history.points.push_back(Point {
            unix_millis: seconds * 1000,
            bytes_in: 0.0,
            bytes_out: 0.0,
            frames_in: 0.0,
            frames_out: 0.0,
            height,
            target: 0,
            peers: 0,
            pool: 0,
            turn_p99_micros: None,
            round_trip_p99_micros: None,
            block_age_millis: None,
        });
    }

    #[test]
    fn a_time_left_is_said_by_the_pace_of_the_last_minute_or_not_at_all() {
        let mut history = History::default();
        assert_eq!(history.seconds_left(0, 100), None);
        // Fast long ago, slow lately.
        for (seconds, height) in
            [(0, 0), (10, 100_000), (20, 100_100), (30, 100_200), (40, 100_300), (50, 100_400), (60, 100_500)]
        {
            at(&mut history, seconds, height);
        }
        assert_eq!(history.seconds_left(100_500, 101_500), Some(100));
        assert_eq!(history.seconds_left(100_500, 100_500), None, "all is here");
        for seconds in 7..13 {
            at(&mut history, seconds * 10, 100_500);
        }
        assert_eq!(history.seconds_left(100_500, 101_500), None, "nothing comes");
    }
}
