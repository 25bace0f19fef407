//! Budgets: how much of each kind a peer may send before it is ignored, and before it is cut off.
//!
//! A message that is cheap to send and dear to receive gets a row in [`Quota::of`], with what it costs us as the reason.
//! Demand above the quota is dropped without blame (bursts happen); ten times the quota is something no correct node does.

use core::time::Duration;

use crate::time::Instant;
use crate::wire::Kind;

/// How often something may happen: `burst` times at once, then once every `interval`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The time that one token takes to come back.
    pub interval: Duration,
    /// Tokens of a full bucket; at least 1 in effect.
    pub burst: u32,
}

/// How far above its quota a peer may be before it is a violation: ten bursts at once, ten times the rate for long.
pub const FLOOD_FACTOR: u32 = 10;

impl Quota {
    /// `burst` at once, then `count` per `period`.
    pub const fn new(count: u32, period: Duration, burst: u32) -> Self {
        let count = if count == 0 { 1 } else { count };
        let nanos = period.as_nanos() / count as u128;
        let nanos = if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 };
        Quota { interval: Duration::from_nanos(nanos), burst }
    }

    /// What one peer may send of `kind`; `None` when other rules bound it (a handshake comes once, an answer only after
    /// a question).
    pub const fn of(kind: Kind) -> Option<Quota> {
        const SECOND: Duration = Duration::from_secs(1);
        const MINUTE: Duration = Duration::from_secs(60);
        Some(match kind {
            // Each costs a signature or a look-up and a relay to everybody.
            Kind::Transaction => Quota::new(20, SECOND, 200),
            // Up to 16 MiB each; a chain may have blocks every second, and a short burst after a split.
            Kind::NewBlock => Quota::new(1, SECOND, 60),
            // A proof is the dearest thing to verify.
            Kind::ProofSubmission | Kind::NewChallenge => Quota::new(20, MINUTE, 20),
            // One for each block.
            Kind::BlockAccepted => Quota::new(1, SECOND, 60),
            Kind::Ping => Quota::new(1, Duration::from_secs(2), 5),
            Kind::Heartbeat => Quota::new(1, SECOND, 10),
            // Each reads the address book.
            Kind::GetPeers => Quota::new(1, MINUTE, 3),
            // Each reads up to 2,000 headers.
            Kind::GetHeaders => Quota::new(2, SECOND, 20),
            // Asked-for answers come at most at the rate of GetHeaders; the rest is room for announcements.
            Kind::Headers => Quota::new(4, SECOND, 80),
            // Each reads a block. A node that catches up asks for nothing else, and our outbox bounds the bytes, so the
            // rate only has to stop what no download needs.
            Kind::GetBlock => Quota::new(256, SECOND, 1024),
            // Each reads the pool, up to 50,000 ids.
            Kind::TxPoolRequest => Quota::new(1, Duration::from_secs(10), 3),
            Kind::TxPool => Quota::new(1, Duration::from_secs(5), 5),
            Kind::Peers => Quota::new(1, SECOND, 5),
            // The last thing a peer says.
            Kind::Error => Quota::new(1, Duration::from_secs(3600), 1),
            Kind::Handshake | Kind::HandshakeAck | Kind::Pong | Kind::Block | Kind::NotFound => return None,
        })
    }

    /// This quota `factor` times as wide, in rate and in burst. A factor of 0 counts as 1.
    pub const fn times(self, factor: u32) -> Quota {
        let factor = if factor == 0 { 1 } else { factor };
        let nanos = self.interval.as_nanos() / factor as u128;
        let nanos = if nanos > u64::MAX as u128 { u64::MAX } else { nanos as u64 };
        Quota { interval: Duration::from_nanos(nanos), burst: self.burst.saturating_mul(factor) }
    }

    /// Three quarters of this quota, for our own asking: the network may bunch up what we send evenly, and the other
    /// side's bucket must not overflow then.
    pub const fn for_asking(self) -> Quota {
        // A third more time for each, rounded up; the division cannot fail.
        let more = match self.interval.checked_div(3) {
            Some(third) => third.saturating_add(Duration::from_nanos(1)),
            None => Duration::ZERO,
        };
        Quota { interval: self.interval.saturating_add(more), burst: self.burst - self.burst / 4 }
    }
}

/// A token bucket, as one number: the time at which it will be full again.
///
/// That form (the generic cell rate algorithm) needs no refill step and no fractions, so it is exact for any sequence of
/// calls; all arithmetic saturates.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    full_at_nanos: u64,
    interval_nanos: u64,
    capacity_nanos: u64,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(quota: Quota) -> Self {
        let interval_nanos = u64::try_from(quota.interval.as_nanos()).unwrap_or(u64::MAX);
        let capacity_nanos = interval_nanos.saturating_mul(u64::from(quota.burst.max(1)));
        TokenBucket { full_at_nanos: 0, interval_nanos, capacity_nanos }
    }

    /// Takes a token if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let available = self.ready_at() <= now;
        if available {
            self.full_at_nanos = self.full_at_nanos.max(now.as_nanos()).saturating_add(self.interval_nanos);
        }
        available
    }

    /// When the next token is there; in the past when one is there now.
    pub fn ready_at(&self) -> Instant {
        let after = self.full_at_nanos.saturating_add(self.interval_nanos);
        Instant::from_nanos(after.saturating_sub(self.capacity_nanos))
    }
}

/// What a peer's message costs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[must_use]
pub enum Charge {
    /// Within the quota.
    Ok,
    /// Above it: drop the message and count it.
    Over,
    /// So far above it that no correct node does it: a violation.
    Flood,
}

/// One peer's budgets, a pair of buckets for each kind that has a quota.
#[derive(Clone, Debug)]
pub struct PeerBudgets {
    buckets: Vec<(Kind, TokenBucket, TokenBucket)>,
    addresses: TokenBucket,
}

/// How much wider the budgets of an exempt peer are: enough for a machine that one operator owns at both ends.
pub const EXEMPT_FACTOR: u32 = 16;
/// Addresses that a peer may tell unasked: slow enough that nobody fills an address book, with room for one short list.
pub const ADDRESS_QUOTA: Quota = Quota::new(1, Duration::from_secs(10), 10);

impl PeerBudgets {
    /// Full budgets: the quotas of the table, [`EXEMPT_FACTOR`] times as wide for peers that the operator named.
    pub fn new(exempt: bool) -> Self {
        let scale = if exempt { EXEMPT_FACTOR } else { 1 };
        let pair = |kind: Kind| {
            let quota = Quota::of(kind)?.times(scale);
            Some((kind, TokenBucket::new(quota), TokenBucket::new(quota.times(FLOOD_FACTOR))))
        };
        PeerBudgets {
            buckets: Kind::ALL.iter().copied().filter_map(pair).collect(),
            addresses: TokenBucket::new(ADDRESS_QUOTA.times(scale)),
        }
    }

    /// How many of `count` addresses in a Peers message to look at: all when we asked for them, else what the ration
    /// of unasked addresses still has.
    pub fn addresses(&mut self, now: Instant, asked: bool, count: usize) -> usize {
        if asked { count } else { (0..count).take_while(|_| self.addresses.take(now)).count() }
    }

    /// Charges one message of `kind`.
    pub fn charge(&mut self, now: Instant, kind: Kind) -> Charge {
        match self.buckets.iter_mut().find(|(of, ..)| *of == kind) {
            None => Charge::Ok,
            Some((_, soft, hard)) => match (hard.take(now), soft.take(now)) {
                (false, _) => Charge::Flood,
                (true, false) => Charge::Over,
                (true, true) => Charge::Ok,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The textbook bucket: tokens counted in nanoseconds' worth, refilled by hand, in numbers that cannot overflow.
    struct Naive {
        level: u128,
        last: u64,
        interval: u128,
        burst: u128,
    }

    impl Naive {
        fn take(&mut self, now: u64) -> bool {
            self.level = (self.level + u128::from(now - self.last)).min(self.burst * self.interval);
            self.last = now;
            let ok = self.level >= self.interval;
            if ok {
                self.level -= self.interval;
            }
            ok
        }
    }

    proptest! {
        #[test]
        fn a_bucket_does_what_a_counted_one_does(
            interval in 1u64..1000, burst in 1u32..20, steps in prop::collection::vec(0u64..2500, 1..200)
        ) {
            let mut bucket = TokenBucket::new(Quota { interval: Duration::from_nanos(interval), burst });
            let (interval, burst) = (u128::from(interval), u128::from(burst));
            let mut naive = Naive { level: burst * interval, last: 0, interval, burst };
            let mut now = 0;
            for step in steps {
                now += step;
                let due = bucket.ready_at().as_nanos();
                let ok = naive.take(now);
                prop_assert_eq!(bucket.take(Instant::from_nanos(now)), ok);
                prop_assert_eq!(due <= now, ok);
            }
        }

        #[test]
        fn a_bucket_at_the_end_of_time_neither_panics_nor_gives_without_end(
            interval in any::<u64>(), burst in any::<u32>(), times in prop::collection::vec(any::<u64>(), 1..50)
        ) {
            let mut bucket = TokenBucket::new(Quota { interval: Duration::from_nanos(interval), burst });
            for time in times {
                bucket.take(Instant::from_nanos(time));
            }
        }
    }

    #[test]
    fn more_than_the_burst_is_dropped_and_ten_times_it_is_a_violation() {
        let mut budgets = PeerBudgets::new(false);
        let at = Instant::from_millis(1000);
        let charges: Vec<Charge> = (0..220).map(|_| budgets.charge(at, Kind::GetHeaders)).collect();
        assert!(charges[..20].iter().all(|c| *c == Charge::Ok));
        assert!(charges[20..200].iter().all(|c| *c == Charge::Over));
        assert!(charges[200..].iter().all(|c| *c == Charge::Flood));
        assert_eq!(budgets.charge(at, Kind::Ping), Charge::Ok, "kinds do not share");
    }

    #[test]
    fn a_peer_that_keeps_to_the_rate_is_never_over_and_an_exempt_one_has_more() {
        let mut strict = PeerBudgets::new(false);
        let mut exempt = PeerBudgets::new(true);
        for second in 0..1000 {
            let at = Instant::from_millis(second * 1000);
            assert_eq!(strict.charge(at, Kind::NewBlock), Charge::Ok);
            for _ in 0..EXEMPT_FACTOR {
                assert_eq!(exempt.charge(at, Kind::NewBlock), Charge::Ok);
            }
        }
    }

    #[test]
    fn unasked_addresses_are_rationed_and_asked_for_ones_are_not() {
        let mut budgets = PeerBudgets::new(false);
        assert_eq!(budgets.addresses(Instant::ZERO, true, 1000), 1000);
        assert_eq!(budgets.addresses(Instant::ZERO, false, 1000), 10);
        assert_eq!(budgets.addresses(Instant::from_millis(20_000), false, 1000), 2);
    }

    #[test]
    fn answers_that_other_rules_bound_have_no_quota() {
        let mut budgets = PeerBudgets::new(false);
        for _ in 0..100_000 {
            assert_eq!(budgets.charge(Instant::ZERO, Kind::Block), Charge::Ok);
        }
    }

    #[test]
    fn our_own_asking_stays_below_what_the_other_side_allows() {
        let quota = Quota::of(Kind::GetHeaders).unwrap();
        let asking = quota.for_asking();
        assert!(asking.burst < quota.burst && asking.burst > 0);
        assert!(asking.interval > quota.interval);
        assert_eq!(Quota::new(1, Duration::from_secs(1), 1).for_asking().burst, 1);
    }
}
