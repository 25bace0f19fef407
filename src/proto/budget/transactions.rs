//! What peers send each other of transactions: by number and by bytes, and as much as both of them say that they take.
//!
//! Twenty a second are what every version before took of a stranger, and beyond that they drop. Who sets the feature bit takes
//! [`MANY`]: the pool, the queues and the time of the loop are shared by source meanwhile, so that a peer's rate is no longer
//! what keeps it from harming others.

use core::time::Duration;

use crate::rate::{Bucket, Pace, Rate};
use crate::time::Instant;

/// What one peer that sets [`TAKES_MANY_TRANSACTIONS`](crate::wire::message::Extension::TAKES_MANY_TRANSACTIONS) may send to another
/// one that does, in tokens. A transaction costs one, and one more for each 16 KiB of it: at 16 units of work to check and note
/// each, and 16 for each peer that it goes to, this is a twentieth of a core for a dozen peers.
pub const MANY: Rate = Rate::per(1_400, Duration::from_secs(1), 2_800);
/// Bytes of a transaction that cost a token more: so the largest leave no slower than by the older rate, and no more bytes do.
pub const BYTES_PER_TOKEN: usize = 16 * 1024;
/// Who waits for tokens waits for a few of them: a hundred peers would wake the loop a hundred thousand times a second.
const GATHER: Duration = Duration::from_millis(10);

/// What a transaction of so many bytes costs of [`MANY`].
pub fn tokens(len: usize) -> u32 {
    u32::try_from(len / BYTES_PER_TOKEN).unwrap_or(u32::MAX).saturating_add(1)
}

/// How fast a peer is sent transactions, so that it drops none as too many.
#[derive(Clone, Copy, Debug)]
pub struct TransactionPace {
    pace: Pace,
    takes_many: bool,
}

impl TransactionPace {
    /// `few` is what a peer is sent that does not set the feature bit, if that is limited; `takes_many` where both set it.
    pub fn new(few: Option<Rate>, takes_many: bool) -> Self {
        // Without a limit there is nothing to widen.
        let takes_many = takes_many && few.is_some();
        let rate = if takes_many { MANY.for_sending() } else { few.unwrap_or(Rate::every(Duration::ZERO, 1)) };
        TransactionPace { pace: Pace::new(rate), takes_many }
    }

    /// May one of so many bytes leave now? It is charged then.
    pub fn take(&mut self, now: Instant, len: usize) -> bool {
        self.pace.take_many(now, if self.takes_many { tokens(len) } else { 1 })
    }

    /// When to try one of so many bytes again that found no token.
    pub fn try_again(&self, now: Instant, len: usize) -> Instant {
        if !self.takes_many {
            return self.pace.ready_at();
        }
        let ready_at = self.pace.ready_for(tokens(len));
        // All peers at the same moments.
        let gather = u64::try_from(GATHER.as_nanos()).unwrap_or(u64::MAX);
        ready_at.max(Instant::from_nanos((now.as_nanos() / gather).saturating_add(1).saturating_mul(gather)))
    }
}

/// What is left of what one peer may send of transactions.
#[derive(Clone, Copy, Debug)]
pub(super) struct ManyTransactions {
    rate: Rate,
    left: Bucket,
}

impl ManyTransactions {
    /// Full, and so many times as wide as [`MANY`].
    pub(super) fn new(factor: u32) -> Self {
        ManyTransactions { rate: MANY.times(factor), left: Bucket::FULL }
    }

    pub(super) fn take(&mut self, now: Instant, len: usize) -> bool {
        self.left.take_many(self.rate, tokens(len), now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::budget::{Charge, MessageRates, PeerBudgets};
    use crate::wire::Kind;

    fn pace(rates: &MessageRates, exempt: bool, takes_many: bool) -> TransactionPace {
        TransactionPace::new(rates.for_sending(Kind::Transaction, exempt), takes_many)
    }

    /// What leaves in so many milliseconds, one each time that it may, and how the receiver charges it.
    fn send(pace: &mut TransactionPace, theirs: &mut PeerBudgets, millis: u64, len: usize) -> usize {
        let (mut at, mut sent) = (Instant::from_millis(1_000_000), 0);
        let end = at + Duration::from_millis(millis);
        while at < end {
            while pace.take(at, len) {
                assert_eq!(theirs.charge(at, Kind::Transaction, len), Charge::Ok, "{sent} of {len} bytes");
                sent += 1;
            }
            let next = pace.try_again(at, len);
            assert!(next > at);
            at = next;
        }
        sent
    }

    #[test]
    fn two_that_set_the_bit_pass_on_a_thousand_a_second_and_drop_none() {
        let rates = MessageRates::default();
        for (len, least) in [(256, 10_000 + 2_100), (16 * 1024, 5_000), (1 << 20, 160)] {
            for exempt in [false, true] {
                let mut pace = pace(&rates, exempt, true);
                let mut theirs = PeerBudgets::new(&rates, exempt);
                theirs.take_many_transactions(exempt);
                let sent = send(&mut pace, &mut theirs, 10_000, len);
                assert!(sent >= least && sent * len <= 11 * 22 * (1 << 20), "{sent} of {len} bytes");
            }
        }
    }

    #[test]
    fn one_that_does_not_set_the_bit_is_sent_what_it_takes_whatever_the_other_would_take() {
        let rates = MessageRates::default();
        let sent = send(&mut pace(&rates, false, false), &mut PeerBudgets::new(&rates, false), 10_000, 256);
        assert!((290..320).contains(&sent), "{sent}");
    }

    #[test]
    fn a_limit_that_is_not_there_is_not_made_by_the_bit() {
        let rates = MessageRates(std::collections::BTreeMap::new());
        let mut pace = pace(&rates, false, true);
        assert!((0..100_000).all(|_| pace.take(Instant::ZERO, 1 << 20)));
        let mut theirs = PeerBudgets::new(&rates, false);
        theirs.take_many_transactions(false);
        assert!((0..100_000).all(|_| theirs.charge(Instant::ZERO, Kind::Transaction, 1 << 20) == Charge::Ok));
    }
}
