//! How two pools come to hold the same: what one peer lacks of ours, and when to look again.
//!
//! The relay tells each peer what comes while the connection stands. What was there before, what a full queue lost and what a
//! reorganisation brought back is found by comparing: a peer is asked for the names that it has, without data, and is offered
//! what it lacks, behind everything that is new. Both sides do so. Where pools agree that is one question in five minutes, and
//! none while there is nothing to offer. Nobody asks for transactions but of those who do not offer by themselves: pools that
//! agree would be sent whole to each new peer, and a node has a new one every half a minute.

use core::time::Duration;
use std::collections::BTreeSet;

use crate::time::Instant;
use crate::wire::Hash;

/// Transactions that may be on offer to one peer, in 400 KiB; the rest waits for the next question.
pub(super) const OFFERS_MAX: usize = 10_000;
/// The first question for names comes when it is known whether there is a chain to catch up with.
const FIRST: Duration = Duration::from_secs(1);
/// To a peer that was asked for transactions, it comes when they are through.
const AFTER_DATA: Duration = Duration::from_secs(5);
/// Time between two questions while a peer lacked something the last time, at first.
const AGAIN: Duration = Duration::from_secs(30);
/// Time between two questions while pools agree.
const AGREED: Duration = Duration::from_secs(300);
/// What the time grows to while a peer takes nothing of what it is offered.
const REFUSED: Duration = Duration::from_secs(3600);

/// How a peer's pool and ours come together, as its handshake says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    /// By what is new alone: version 1 has no word for the rest.
    News,
    /// It may offer nothing by itself, so it is asked for transactions.
    AskForData,
    /// Both sides offer what the other lacks.
    Offer,
}

/// A TxPoolRequest that is not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PoolQuestion {
    /// For transactions and then their names.
    Data,
    /// For names.
    Names,
}

/// What is known of one peer's pool.
#[derive(Debug)]
pub(super) struct PoolExchange {
    question: Option<PoolQuestion>,
    /// When to ask for names.
    due: Instant,
    wait: Duration,
    /// How many the peer lacked the last time.
    lacked: usize,
    offers: BTreeSet<Hash>,
    /// What it counts as having and was never sent, because it left our pool while it waited or found no room: a block that is
    /// abandoned may give it back.
    unsent: BTreeSet<Hash>,
    /// What the last answer with data held that the peer had been sent before: an answer that is lost takes nothing from it.
    repeated: BTreeSet<Hash>,
    /// When something of a pool went there, for a question or as an offer, or came from there last.
    passed_at: Option<Instant>,
    /// The next offer is the first from here on. Peers that all know the same begin at different places.
    next: Hash,
}

impl PoolExchange {
    /// A peer that has just introduced itself at `now`. Offers begin at `from`.
    pub(super) fn new(now: Instant, manner: Manner, from: u64) -> Self {
        let due = match manner {
            Manner::News => Instant::NEVER,
            Manner::AskForData => now + AFTER_DATA,
            Manner::Offer => now + FIRST,
        };
        let mut next = Hash::ZERO;
        if let Some(front) = next.0.first_chunk_mut() {
            *front = from.to_be_bytes();
        }
        let (offers, unsent) = (BTreeSet::new(), BTreeSet::new());
        PoolExchange {
            question: None,
            due,
            wait: AGAIN,
            lacked: 0,
            offers,
            unsent,
            repeated: BTreeSet::new(),
            passed_at: None,
            next,
        }
    }

    /// When to ask for names: never while there are offers, for what they are about changes.
    pub(super) fn due(&self) -> Instant {
        if self.offers.is_empty() { self.due } else { Instant::NEVER }
    }

    /// A question leaves.
    pub(super) fn asked(&mut self, now: Instant, question: PoolQuestion) {
        self.question = Some(question);
        if question == PoolQuestion::Names {
            // Without an answer, for version 2 has no word for "too often".
            self.due = now + AGREED;
        }
    }

    /// An answer ended: to what, if anything was asked.
    pub(super) fn answered(&mut self) -> Option<PoolQuestion> {
        self.question.take()
    }

    /// This is no time to compare: soon, or in the end, it is.
    pub(super) fn postpone(&mut self, now: Instant, soon: bool) {
        self.due = now + if soon { AGAIN } else { AGREED };
    }

    /// What we have may have changed by more than what was passed on.
    pub(super) fn hurry(&mut self, now: Instant) {
        if self.due < Instant::NEVER {
            self.due = self.due.min(now + AGAIN);
        }
    }

    /// The peer was given all that we have.
    pub(super) fn told_all(&mut self, now: Instant) {
        self.due = self.due.max(now + AGREED);
    }

    /// The peer lacks these.
    pub(super) fn offer(&mut self, now: Instant, lacking: impl Iterator<Item = Hash>) {
        self.offers.extend(lacking.take(OFFERS_MAX));
        let lacks = self.offers.len();
        self.wait = match lacks {
            0 => AGREED,
            _ if self.lacked > 0 && lacks >= self.lacked && lacks < OFFERS_MAX => {
                self.wait.saturating_mul(2).clamp(AGAIN, REFUSED)
            }
            _ => AGAIN,
        };
        self.lacked = lacks;
        self.due = now + self.wait;
    }

    /// The peer lacks this one, which found no room among the news for it: it is offered behind them. False when there is no room
    /// here either.
    pub(super) fn put_off(&mut self, id: Hash) -> bool {
        self.offers.len() < OFFERS_MAX && {
            self.offers.insert(id);
            true
        }
    }

    /// The peer has it.
    pub(super) fn has_it(&mut self, id: &Hash) {
        self.offers.remove(id);
        self.unsent.remove(id);
    }

    /// The peer counts as having it, and was not sent it. Above the most, time tells: it is offered once it is no longer news.
    pub(super) fn missed(&mut self, id: Hash) {
        if self.unsent.len() < OFFERS_MAX && !self.repeated.contains(&id) {
            self.unsent.insert(id);
        }
    }

    /// An answer with data holds these, which the peer was sent before: as many as one answer may hold.
    pub(super) fn repeats(&mut self, ids: BTreeSet<Hash>) {
        self.repeated = ids;
    }

    /// Was it not sent, though the peer counts as having it?
    pub(super) fn has_missed(&self, id: &Hash) -> bool {
        self.unsent.contains(id)
    }

    /// What to offer next.
    pub(super) fn first_offer(&self) -> Option<Hash> {
        self.offers.range(self.next..).next().or_else(|| self.offers.first()).copied()
    }

    /// It is offered, or need not be.
    pub(super) fn next_offer(&mut self) -> Option<Hash> {
        let id = self.first_offer()?;
        self.has_it(&id);
        self.next = id;
        Some(id)
    }

    /// Something of a pool went to the peer, or came from it.
    pub(super) fn passed(&mut self, now: Instant) {
        self.passed_at = Some(now);
    }

    /// Is what it is known to have got, or to have sent, still there or on its way? Later a queue has lost it.
    pub(super) fn is_under_way(&self, now: Instant) -> bool {
        self.passed_at.is_some_and(|at| now.since(at) < AGREED)
    }

    /// How many are on offer.
    pub(super) fn offers(&self) -> usize {
        self.offers.len()
    }

    /// How many are remembered as not sent.
    pub(super) fn unsent(&self) -> usize {
        self.unsent.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_millis(seconds * 1000)
    }

    fn names(count: u8) -> impl Iterator<Item = Hash> {
        (0..count).map(|n| Hash([n.wrapping_mul(37); 32]))
    }

    #[test]
    fn each_offer_is_made_once_wherever_it_begins() {
        for from in [0, 1 << 63, u64::MAX] {
            let mut pool = PoolExchange::new(at(0), Manner::Offer, from);
            pool.offer(at(5), names(100));
            pool.has_it(&Hash([37; 32]));
            assert_eq!(pool.due(), Instant::NEVER, "not while there are offers");
            let made: BTreeSet<Hash> = core::iter::from_fn(|| pool.next_offer()).collect();
            assert_eq!(made.len(), 99);
            assert_eq!(pool.due(), at(35));
        }
    }

    #[test]
    fn whoever_takes_nothing_is_asked_less_and_less_often() {
        let mut pool = PoolExchange::new(at(0), Manner::Offer, 0);
        let (mut now, mut asked) = (at(5), 0);
        while now < at(24 * 3600) {
            pool.offer(now, names(10));
            while pool.next_offer().is_some() {}
            now = pool.due();
            asked += 1;
        }
        assert!(asked < 35, "{asked} times in a day");
        pool.offer(now, names(0));
        assert_eq!(pool.due(), now + AGREED);
    }

    #[test]
    fn no_more_are_on_offer_than_the_most() {
        let mut pool = PoolExchange::new(at(0), Manner::Offer, 0);
        let many = (0..50_000u32).map(|n| {
            let mut hash = Hash::ZERO;
            hash.0[..4].copy_from_slice(&n.to_be_bytes());
            hash
        });
        pool.offer(at(0), many);
        assert_eq!(pool.offers(), OFFERS_MAX);
    }
}
