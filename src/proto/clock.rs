//! Is our clock right, by what peers say of theirs?
//!
//! A handshake and a Pong carry their sender's time. Of each peer it is kept how far its clock is from our monotonic one, so that
//! the difference is right when ours is set meanwhile. Asked are only the peers that we dialed, for the others choose us; what
//! counts is the median, which half of them would have to bend. It is for a warning alone: nothing ever moves our clock.

use core::time::Duration;

use crate::time::{Instant, Now, UnixTime};
use crate::wire::Hash;

/// A clock that is further off makes our blocks invalid for others, or theirs for us.
const OFF: Duration = Duration::from_secs(2 * 60 * 60);
/// What was off is right again within this, so that a difference at the limit is one warning and not many.
const RIGHT: Duration = Duration::from_secs(60 * 60);

/// How long it must have been so before it is told: who is among those that were dialed changes by the second while a node starts,
/// and with them the median.
const SETTLED: Duration = Duration::from_secs(30);

/// Time between two words about headers from the future: whoever makes us say them must not fill a log.
const EARLY_AGAIN: Duration = Duration::from_secs(600);

/// How far ahead of ours a clock is that says `theirs` now, on any clock of ours: a place to keep between two inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeerClock(i64);

impl PeerClock {
    /// A peer's clock says this, now.
    pub(super) fn read(now: Instant, theirs: UnixTime) -> Self {
        PeerClock(theirs.as_millis().saturating_sub(millis(now)))
    }

    /// How many milliseconds it is ahead of ours.
    fn ahead(self, now: Now) -> i64 {
        self.0.saturating_add(millis(now.at)).saturating_sub(now.unix.as_millis())
    }
}

fn millis(at: Instant) -> i64 {
    i64::try_from(at.since(Instant::ZERO).as_millis()).unwrap_or(i64::MAX)
}

/// Where our clock stands among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// How many milliseconds the median of them is ahead of ours; negative when it is behind.
    pub(super) millis: i64,
    /// How many there are.
    pub(super) peers: usize,
}

impl Difference {
    /// The median of these clocks; of two in the middle the one that is nearer to ours. `None` without any.
    pub(super) fn of(now: Now, clocks: impl Iterator<Item = PeerClock>) -> Option<Difference> {
        let mut ahead: Vec<i64> = clocks.map(|clock| clock.ahead(now)).collect();
        ahead.sort_unstable();
        let peers = ahead.len();
        let upper = *ahead.get(peers / 2)?;
        let lower = *ahead.get(peers.saturating_sub(1) / 2)?;
        let millis = if lower.unsigned_abs() < upper.unsigned_abs() { lower } else { upper };
        Some(Difference { millis, peers })
    }

    fn exceeds(self, limit: Duration) -> bool {
        u128::from(self.millis.unsigned_abs()) > limit.as_millis()
    }
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Our clock is off now.
    Off,
    /// It is right again.
    Right,
}

/// Remembers what was said, so that it is said once.
#[derive(Debug, Default)]
pub(super) struct ClockWatch {
    off: bool,
    /// Since when every measurement said otherwise.
    otherwise: Option<Instant>,
    /// When headers from the future were told of last, and our best block then.
    early: Option<(Instant, Hash)>,
}

impl ClockWatch {
    /// Takes a measurement.
    pub(super) fn judge(&mut self, now: Instant, difference: Difference) -> Option<Change> {
        let change = match self.off {
            false if difference.exceeds(OFF) => Change::Off,
            true if !difference.exceeds(RIGHT) => Change::Right,
            _ => {
                self.otherwise = None;
                return None;
            }
        };
        let since = *self.otherwise.get_or_insert(now);
        if now.since(since) < SETTLED {
            return None;
        }
        (self.off, self.otherwise) = (change == Change::Off, None);
        Some(change)
    }

    /// Is it to be told that a header came from the future? Once, and again when the chain has moved since to another `best`.
    pub(super) fn tells_early(&mut self, now: Instant, best: Hash) -> bool {
        let silent = self.early.is_some_and(|(at, then)| then == best || now.since(at) < EARLY_AGAIN);
        if !silent {
            self.early = Some((now, best));
        }
        !silent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: i64 = 3_600_000;

    fn now(seconds: u64, unix_millis: i64) -> Now {
        Now { at: Instant::from_millis(seconds * 1000), unix: UnixTime::from_millis(unix_millis) }
    }

    fn difference(ahead: &[i64]) -> Option<i64> {
        let now = now(50, 1_000_000);
        let clocks = ahead
            .iter()
            .map(|ahead| PeerClock::read(now.at, UnixTime::from_millis(1_000_000i64.saturating_add(*ahead))));
        Difference::of(now, clocks).map(|difference| difference.millis)
    }

    #[test]
    fn the_median_is_what_half_of_the_peers_would_have_to_bend() {
        assert_eq!(difference(&[]), None);
        assert_eq!(difference(&[3 * HOUR]), Some(3 * HOUR));
        assert_eq!(difference(&[0, 3 * HOUR]), Some(0), "one of two may be the wrong one");
        assert_eq!(difference(&[-3 * HOUR, 0]), Some(0));
        assert_eq!(difference(&[3 * HOUR, 3 * HOUR + 1]), Some(3 * HOUR));
        assert_eq!(difference(&[i64::MAX, 0, 1]), Some(1));
    }

    #[test]
    fn one_episode_is_one_warning_even_at_the_limit() {
        let mut watch = ClockWatch::default();
        let mut at = Instant::ZERO;
        let mut said = |millis| {
            let first = watch.judge(at, Difference { millis, peers: 3 });
            at = at + SETTLED;
            first.or(watch.judge(at, Difference { millis, peers: 3 }))
        };
        assert_eq!(said(2 * HOUR), None);
        assert_eq!(said(-2 * HOUR - 1), Some(Change::Off));
        for millis in [-2 * HOUR, -2 * HOUR - 1, 3 * HOUR, -HOUR - 1] {
            assert_eq!(said(millis), None);
        }
        assert_eq!(said(HOUR), Some(Change::Right));
        assert_eq!(said(2 * HOUR + 1), Some(Change::Off));
    }

    /// A node with a right clock that dialed as many wrong ones as right ones was told within a millisecond that its clock was
    /// off, and right again, and so on with each that came or left.
    #[test]
    fn a_median_that_moves_to_and_fro_while_peers_come_is_no_warning() {
        let mut watch = ClockWatch::default();
        for second in 0..600u64 {
            let millis = if second % 20 < 19 { 3 * HOUR } else { 0 };
            let at = Instant::from_millis(second * 1000);
            assert_eq!(watch.judge(at, Difference { millis, peers: 3 }), None, "{second}");
        }
        let at = |seconds: u64| Instant::from_millis((600 + seconds) * 1000);
        let mut said = |seconds, millis| watch.judge(at(seconds), Difference { millis, peers: 3 });
        assert_eq!((said(0, 3 * HOUR), said(29, 3 * HOUR), said(30, 3 * HOUR)), (None, None, Some(Change::Off)));
        assert_eq!((said(31, 0), said(60, 0), said(61, 0)), (None, None, Some(Change::Right)));
    }

    #[test]
    fn a_clock_of_ours_that_is_set_right_shows_at_once() {
        let theirs = PeerClock::read(Instant::from_millis(5_000), UnixTime::from_millis(10 * HOUR));
        assert_eq!(theirs.ahead(now(65, 10 * HOUR + 60_000 - 3 * HOUR)), 3 * HOUR);
        assert_eq!(theirs.ahead(now(66, 10 * HOUR + 61_000)), 0);
    }

    proptest! {
        #[test]
        fn whatever_is_said_nothing_overflows(theirs in any::<i64>(), at in any::<u64>(), unix in any::<i64>()) {
            let now = Now { at: Instant::from_nanos(at), unix: UnixTime::from_millis(unix) };
            let difference = Difference::of(now, [PeerClock::read(now.at, UnixTime::from_millis(theirs))].into_iter());
            let _ = ClockWatch::default().judge(now.at, difference.unwrap());
        }
    }
}
