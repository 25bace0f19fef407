//! Budgets: how much of each kind a peer may send before it is ignored, and before it is cut off.
//!
//! A message that is cheap to send and dear to receive gets a row in [`default_rate`], with what it costs us as the reason.
//! Demand above the rate is dropped without blame (bursts happen); ten times the rate is something no correct node does.

mod sending;
mod transactions;

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use crate::config::{ConfigCheck, ConfigErrors};
use crate::rate::{Bucket, Rate};
use crate::time::Instant;
use crate::wire::{Hash, Kind};

pub use sending::SendBudgets;
use transactions::ManyTransactions;
pub use transactions::{BYTES_PER_TOKEN, MANY, TransactionPace, tokens};

/// How far above its rate a peer may be before it is a violation: ten bursts at once, ten times the rate for long.
pub const FLOOD_FACTOR: u32 = 10;
/// How much wider the budgets of an exempt peer are: enough for a machine that one operator owns at both ends.
pub const EXEMPT_FACTOR: u32 = 16;

/// What one stranger may send of `kind`, unless the node is configured otherwise; `None` when other rules bound it (an
/// answer that nobody asked for ends the connection).
pub const fn default_rate(kind: Kind) -> Option<Rate> {
    const SECOND: Duration = Duration::from_secs(1);
    const MINUTE: Duration = Duration::from_secs(60);
    Some(match kind {
        // Each costs a signature or a look-up and a relay to everybody.
        Kind::Transaction => Rate::per(20, SECOND, 200),
        // Valid ones carry their own price in work, and invalid ones end the connection: this bounds repetitions, and must
        // not cut off a peer whose chain mines as fast as it can.
        Kind::NewBlock => Rate::per(64, SECOND, 1024),
        // A proof is the dearest thing to verify.
        Kind::ProofSubmission => Rate::per(20, MINUTE, 20),
        // At most 4 KiB, and as a transaction a look-up and a relay. One line carries what everybody behind it says: with fewer
        // places at once than there are subnets, one word of each leaves none to who comes next.
        Kind::NewChallenge => Rate::per(60, MINUTE, 60),
        // One for each block.
        Kind::BlockAccepted => Rate::per(64, SECOND, 1024),
        // Twenty bytes for twenty: monitors may ask ten times a second.
        Kind::Ping => Rate::per(20, SECOND, 40),
        Kind::Heartbeat => Rate::per(1, SECOND, 10),
        // Each reads the address book.
        Kind::GetPeers => Rate::per(1, MINUTE, 3),
        // Announcements: answers that were asked for are free.
        Kind::Headers => Rate::per(4, SECOND, 80),
        // Each reads the pool, up to 50,000 ids.
        Kind::TxPoolRequest => Rate::per(1, Duration::from_secs(10), 3),
        Kind::TxPool => Rate::per(1, Duration::from_secs(5), 5),
        Kind::Peers => Rate::per(1, SECOND, 5),
        // The last thing a peer says.
        Kind::Error => Rate::per(1, Duration::from_secs(3600), 1),
        // As often as we ask, with room for delays: what is not an answer is dropped, but reading it is work too.
        Kind::Pong => Rate::per(20, SECOND, 40),
        // Once, and again from a peer that is not sure.
        Kind::Handshake | Kind::HandshakeAck => Rate::per(1, MINUTE, 3),
        Kind::Block | Kind::Blocks | Kind::NotFound => return None,
        // What they cost is counted: the bytes that they bring, by [`Serving`], and all that is done for them, by the loop. Who asks
        // for more than its share waits.
        Kind::GetBlock | Kind::GetBlocks | Kind::GetHeaders => return None,
    })
}

/// GetHeaders that a peer takes from each of its peers, if it does not say that questions wait at it; what is above it is lost.
pub(crate) const COUNTED_GET_HEADERS: Rate = Rate::per(2, Duration::from_secs(1), 20);
/// The same of GetBlock.
pub(crate) const COUNTED_GET_BLOCK: Rate = Rate::per(4000, Duration::from_secs(1), 8000);
/// Blocks that a peer may ask for before it gets the first: what a line of 100 ms has under way at 80,000 a second. One hash each is
/// held for those that wait, less than the peer had to send.
pub const BLOCK_REQUESTS_MAX: usize = 8_192;
/// GetHeaders that wait, where a node like us asks one after the other.
pub(crate) const HEADER_REQUESTS_MAX: usize = 4;
/// What a GetHeaders costs at least, in bytes: the look-ups of its locators.
const HEADERS_BYTES_MIN: usize = 4_096;

/// What each peer may send, by kind. Kinds that are not listed are not bounded here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRates(pub BTreeMap<Kind, Rate>);

impl Default for MessageRates {
    /// [`default_rate`] of every kind.
    fn default() -> Self {
        MessageRates(Kind::ALL.iter().filter_map(|kind| Some((*kind, default_rate(*kind)?))).collect())
    }
}

impl MessageRates {
    /// Checks that every kind may be sent at all: a kind without a token ends the connection of whoever sends it.
    ///
    /// # Errors
    ///
    /// Every rate with a burst of 0, by its kind.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut check = ConfigCheck::default();
        for (kind, rate) in &self.0 {
            check.part(&format!("{kind:?}"), rate.validate());
        }
        check.finish()
    }

    /// What a peer may send of `kind`, exempt or not.
    pub fn get(&self, kind: Kind, exempt: bool) -> Option<Rate> {
        self.0.get(&kind).map(|rate| if exempt { rate.times(EXEMPT_FACTOR) } else { *rate })
    }

    /// What to send of `kind` to a peer that is configured as we are: less than it takes. Whether we are exempt there too is
    /// its own decision, so that even then we stay below what it calls a flood.
    pub fn for_sending(&self, kind: Kind, exempt: bool) -> Option<Rate> {
        const WIDE: u32 = if EXEMPT_FACTOR < FLOOD_FACTOR { EXEMPT_FACTOR } else { FLOOD_FACTOR };
        self.0.get(&kind).map(|rate| if exempt { rate.times(WIDE) } else { *rate }.for_sending())
    }
}

/// Tips that we announce to one peer unasked: what remains of its budget for headers beside the answers to its questions.
pub(crate) const ANNOUNCEMENTS: Rate = Rate::per(2, Duration::from_secs(1), 40);

/// Bytes of blocks that one stranger is given per second, unless the node is configured otherwise: a quarter of a gigabit
/// link, so that four strangers who ask without end leave room for the rest.
pub const SERVING_RATE: u64 = 32 << 20;
/// How far ahead of its rate a peer may be: what it did not use of the last second.
pub const SERVING_BURST: Duration = Duration::from_secs(1);
/// The least that a block costs which was given lately: a disk reads for one who asks for the same again and again at most 17
/// times in a second.
pub(crate) const REPEAT: Duration = Duration::from_millis(125);
/// Blocks that are remembered as given: more than a peer may wait for at once, and than it could have lost on the way.
pub(crate) const SERVED_MAX: usize = 256;

/// The words of a hash, in one.
fn fold(hash: &Hash) -> u64 {
    let words = hash.0.chunks_exact(8).filter_map(|word| word.try_into().ok().map(u64::from_le_bytes));
    words.fold(0, |folded, word| folded.rotate_left(1) ^ word)
}

/// What one peer may be given of blocks and headers: a bucket of bytes that may run into debt, since a block above the rate must still go.
/// Who has used it up waits, and loses no answer.
#[derive(Clone, Debug)]
pub struct Serving {
    per_second: u64,
    /// What a repetition costs at least.
    repeat: Duration,
    /// When everything that was given is paid for.
    paid_at: Instant,
    /// What was given lately, oldest first: of each hash all words in one. Whoever finds two blocks that share it gains a wait.
    served: VecDeque<u64>,
    /// What the last frame of blocks cost, and how many of them were new, in case that it is taken back.
    last: (Duration, usize),
}

impl Serving {
    /// A full budget of so many bytes per second, [`EXEMPT_FACTOR`] times as many for an exempt peer.
    pub fn new(per_second: u64, exempt: bool) -> Self {
        let factor = if exempt { EXEMPT_FACTOR } else { 1 };
        Serving {
            per_second: per_second.saturating_mul(factor.into()).max(1),
            repeat: REPEAT.checked_div(factor).unwrap_or(REPEAT),
            paid_at: Instant::ZERO,
            served: VecDeque::new(),
            last: (Duration::ZERO, 0),
        }
    }

    /// When the next block may go: now, if that is not in the future.
    pub fn ready_at(&self) -> Instant {
        self.paid_at - SERVING_BURST
    }

    /// Headers of `len` bytes go.
    pub fn give_headers(&mut self, now: Instant, len: usize) {
        self.paid_at = self.paid_at.max(now) + self.price(len.max(HEADERS_BYTES_MIN));
    }

    fn price(&self, len: usize) -> Duration {
        let nanos = (len as u128).saturating_mul(1_000_000_000) / u128::from(self.per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// A block of `len` bytes goes.
    pub fn give(&mut self, now: Instant, hash: Hash, len: usize) {
        self.last = (Duration::ZERO, 0);
        self.give_with_it(now, hash, len);
    }

    /// A block of `len` bytes goes in the same frame as the one before.
    pub fn give_with_it(&mut self, now: Instant, hash: Hash, len: usize) {
        let mut cost = self.price(len);
        let word = fold(&hash);
        let again = self.served.contains(&word);
        if again {
            cost = cost.max(self.repeat);
        } else {
            if self.served.len() >= SERVED_MAX {
                self.served.pop_front();
            }
            self.served.push_back(word);
        }
        self.paid_at = self.paid_at.max(now) + cost;
        let (all, new) = self.last;
        self.last = (all.saturating_add(cost), new.saturating_add(usize::from(!again)));
    }

    /// The last frame found no room, and did not go.
    pub fn take_back(&mut self) {
        let (cost, new) = core::mem::take(&mut self.last);
        self.paid_at = self.paid_at - cost;
        self.served.truncate(self.served.len().saturating_sub(new));
    }
}

/// What a peer's message costs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[must_use]
pub enum Charge {
    /// Within the rate.
    Ok,
    /// Above it: drop the message and count it.
    Over,
    /// So far above it that no correct node does it: a violation.
    Flood,
}

/// One peer's budgets: for each kind that has a rate, what is left of it, and of ten times as much.
#[derive(Clone, Debug)]
pub struct PeerBudgets {
    left: Vec<(Kind, Rate, Bucket, Bucket)>,
    /// Instead of the rate of Transaction, where both sides say so.
    many_transactions: Option<ManyTransactions>,
}

impl PeerBudgets {
    /// Full budgets at these rates, [`EXEMPT_FACTOR`] times as wide for an exempt peer.
    pub fn new(rates: &MessageRates, exempt: bool) -> Self {
        let full = |kind: &Kind| Some((*kind, rates.get(*kind, exempt)?, Bucket::FULL, Bucket::FULL));
        PeerBudgets { left: rates.0.keys().filter_map(full).collect(), many_transactions: None }
    }

    /// The peer sets the feature bit, as we do: of transactions it may send [`MANY`] from now on, if they have a limit at all.
    pub fn take_many_transactions(&mut self, exempt: bool) {
        let is_limited = self.left.iter().any(|(kind, ..)| *kind == Kind::Transaction);
        self.many_transactions = is_limited.then(|| ManyTransactions::new(if exempt { EXEMPT_FACTOR } else { 1 }));
    }

    /// Charges one message of `kind`, with a payload of `len` bytes.
    pub fn charge(&mut self, now: Instant, kind: Kind, len: usize) -> Charge {
        if kind == Kind::Transaction
            && let Some(many) = &mut self.many_transactions
        {
            return if many.take(now, len) { Charge::Ok } else { Charge::Over };
        }
        match self.left.iter_mut().find(|(of, ..)| *of == kind) {
            None => Charge::Ok,
            Some((_, rate, soft, hard)) => match (hard.take(rate.times(FLOOD_FACTOR), now), soft.take(*rate, now)) {
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

    #[test]
    fn more_than_the_burst_is_dropped_and_ten_times_it_is_a_violation() {
        let mut budgets = PeerBudgets::new(&MessageRates::default(), false);
        let at = Instant::from_millis(1000);
        let charges: Vec<Charge> = (0..420).map(|_| budgets.charge(at, Kind::Ping, 0)).collect();
        assert!(charges[..40].iter().all(|c| *c == Charge::Ok));
        assert!(charges[40..400].iter().all(|c| *c == Charge::Over));
        assert!(charges[400..].iter().all(|c| *c == Charge::Flood));
        assert_eq!(budgets.charge(at, Kind::Pong, 0), Charge::Ok, "kinds do not share");
    }

    #[test]
    fn a_peer_that_keeps_to_the_rate_is_never_over_and_an_exempt_one_has_more() {
        let mut strict = PeerBudgets::new(&MessageRates::default(), false);
        let mut exempt = PeerBudgets::new(&MessageRates::default(), true);
        for second in 0..1000 {
            let at = Instant::from_millis(second * 1000);
            assert_eq!(strict.charge(at, Kind::NewBlock, 0), Charge::Ok);
            for _ in 0..EXEMPT_FACTOR {
                assert_eq!(exempt.charge(at, Kind::NewBlock, 0), Charge::Ok);
            }
        }
    }

    /// How many blocks go in these seconds to one who asks for all it can get, and how many bytes.
    fn given(serving: &mut Serving, seconds: u64, len: usize, mut next: impl FnMut(u64) -> Hash) -> (u64, u64) {
        let mut count = 0;
        for milli in 0..seconds * 1000 {
            let now = Instant::from_millis(100_000 + milli);
            while serving.ready_at() <= now {
                serving.give(now, next(count), len);
                count += 1;
            }
        }
        (count, count * len as u64)
    }

    #[test]
    fn one_who_asks_for_the_same_block_for_ever_costs_few_reads_and_one_who_downloads_gets_its_bytes() {
        let numbered = |number: u64| {
            let mut hash = Hash::ZERO;
            hash.0[..8].copy_from_slice(&number.to_le_bytes());
            hash
        };
        let mut again = Serving::new(SERVING_RATE, false);
        let (first, _) = given(&mut again, 1, 1000, |_| numbered(7));
        assert!((9..=20).contains(&first), "{first} in the first second");
        let (count, _) = given(&mut Serving::new(SERVING_RATE, false), 10, 1000, |_| numbered(7));
        assert!((80..=90).contains(&count), "{count} in ten seconds");
        for (exempt, factor) in [(false, 1), (true, u64::from(EXEMPT_FACTOR))] {
            let rate = 1 << 20;
            let (_, bytes) = given(&mut Serving::new(rate, exempt), 10, 100_000, numbered);
            let most = rate * factor * 11 + 100_000;
            assert!(bytes <= most && bytes > most * 9 / 10, "{bytes} of {most}");
        }
        let (large, _) = given(&mut Serving::new(1 << 20, false), 20, 16 << 20, numbered);
        assert_eq!(large, 2, "a block of sixteen seconds goes all the same, and the next waits for it");
    }

    #[test]
    fn a_block_that_found_no_room_is_not_paid_for() {
        let mut serving = Serving::new(1 << 20, false);
        let now = Instant::from_millis(5000);
        serving.give(now, Hash([1; 32]), 1000);
        let before = serving.clone();
        for hash in [[1; 32], [2; 32]] {
            serving.give(now, Hash(hash), 1 << 24);
            assert!(serving.ready_at() > now);
            // A repetition too, and one that is new, in one frame.
            serving.give_with_it(now, Hash(hash), 1000);
            serving.give_with_it(now, Hash([3; 32]), 1000);
            serving.take_back();
            assert_eq!((serving.paid_at, serving.served.len()), (before.paid_at, before.served.len()));
            serving.take_back();
            assert_eq!(serving.paid_at, before.paid_at, "and only once");
        }
    }

    #[test]
    fn answers_that_other_rules_bound_have_no_rate() {
        let mut budgets = PeerBudgets::new(&MessageRates::default(), false);
        for _ in 0..100_000 {
            assert_eq!(budgets.charge(Instant::ZERO, Kind::Block, 0), Charge::Ok);
        }
    }
}
