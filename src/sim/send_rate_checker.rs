//! What a node sends to one peer in ten seconds, weighed by what its budgets promise.
//!
//! Each answer has the budget of its question, and what is passed on has one of its own. Blocks that were asked for are bounded
//! in bytes besides. The node's buckets are not asked: what they let through is counted.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};

use crate::proto::Config;
use crate::proto::budget::{MANY, REPEAT, SERVED_MAX, SERVING_BURST, SendBudgets, tokens};
use crate::rate::Rate;
use crate::time::Instant;
use crate::wire::Kind;

/// The time over which it is counted.
const WINDOW: Duration = Duration::from_secs(10);
/// Bytes of transactions in one answer to a question for the pool.
const POOL_BYTES: u64 = 2 << 20;

/// What a peer may be sent.
#[derive(Debug)]
pub(super) struct Allowed {
    frames: BTreeMap<Kind, u64>,
    /// Tokens of transactions, to a peer that says that it takes many.
    many: Option<u64>,
    pool_bytes: u64,
    block_bytes: u64,
    /// Blocks that were sent before.
    repeats: u64,
}

/// How often the part fits the whole.
fn times(whole: Duration, part: Duration) -> u64 {
    let times = whole.as_nanos().checked_div(part.as_nanos()).unwrap_or(u64::MAX.into());
    u64::try_from(times).unwrap_or(u64::MAX)
}

fn in_window(rate: Rate) -> u64 {
    times(WINDOW, rate.interval).saturating_add(rate.burst.into()).saturating_add(1)
}

impl Allowed {
    /// What a node with this configuration may send to a peer that is not exempt.
    pub(super) fn by(config: &Config) -> Allowed {
        let asked = |kind| config.rates.get(kind, false).map_or(u64::MAX, in_window);
        let passed = |kind| config.rates.for_sending(kind, false).map_or(u64::MAX, in_window);
        let most = |kind: Kind| match kind {
            Kind::Pong => asked(Kind::Ping),
            // Answers to these are bounded in bytes, and in work.
            Kind::Block | Kind::Blocks | Kind::NotFound | Kind::Headers => u64::MAX,
            Kind::Peers => asked(Kind::GetPeers).saturating_add(passed(Kind::Peers)),
            Kind::TxPool => asked(Kind::TxPoolRequest),
            Kind::Transaction => passed(kind),
            kind if SendBudgets::PASSED_ON.contains(&kind) => passed(kind),
            // Our own questions, and blocks that are new: no more than one like us takes.
            kind => asked(kind),
        };
        Allowed {
            many: (config.many_transactions && config.version >= 2).then(|| in_window(MANY.for_sending())),
            frames: Kind::ALL.iter().map(|kind| (*kind, most(*kind))).collect(),
            pool_bytes: asked(Kind::TxPoolRequest).saturating_mul(POOL_BYTES),
            repeats: times(WINDOW + SERVING_BURST, REPEAT) + 1,
            block_bytes: config.serving_rate.saturating_mul((WINDOW + SERVING_BURST).as_secs()),
        }
    }
}

/// Frames of one sort in the window.
#[derive(Debug, Default)]
struct Recent {
    frames: VecDeque<(Instant, u64)>,
    bytes: u64,
}

impl Recent {
    fn add(&mut self, now: Instant, len: u64) {
        while self.frames.front().is_some_and(|(at, _)| now.since(*at) >= WINDOW)
            && let Some((_, old)) = self.frames.pop_front()
        {
            self.bytes -= old;
        }
        self.frames.push_back((now, len));
        self.bytes += len;
    }

    fn longest(&self) -> u64 {
        self.frames.iter().map(|(_, len)| *len).max().unwrap_or(0)
    }
}

/// What one peer was sent.
#[derive(Debug, Default)]
pub(super) struct SendRateChecker {
    recent: BTreeMap<Kind, Recent>,
    /// The peer says that it takes many transactions, and what they cost of its tokens.
    takes_many: bool,
    many: Recent,
    /// Transactions of answers to questions for the pool.
    pool: Recent,
    /// The last blocks, and the repetitions among those of the window.
    blocks: VecDeque<u64>,
    repeats: Recent,
}

impl SendRateChecker {
    /// The peer says that it takes many transactions.
    pub(super) fn takes_many(&mut self) {
        self.takes_many = true;
    }

    /// A frame goes, with this hash; `answer` to a question for the pool. Answers what is wrong with that.
    pub(super) fn add(
        &mut self,
        now: Instant,
        kind: Kind,
        (len, hash): (usize, u64),
        answer: bool,
        allowed: &Allowed,
    ) -> Result<(), String> {
        let len = len as u64;
        if kind == Kind::Block {
            if self.blocks.contains(&hash) {
                self.repeats.add(now, 0);
                let (count, most) = (self.repeats.frames.len() as u64, allowed.repeats);
                check(count <= most, || format!("{count} blocks in 10 s that were sent before, {most} are allowed"))?;
            } else {
                self.blocks.push_back(hash);
                if self.blocks.len() > SERVED_MAX {
                    self.blocks.pop_front();
                }
            }
        }
        if answer && kind == Kind::Transaction {
            self.pool.add(now, len);
            let (bytes, most) = (self.pool.bytes, allowed.pool_bytes);
            return check(bytes <= most, || format!("{bytes} bytes of the pool in 10 s, {most} are allowed"));
        }
        if kind == Kind::Transaction
            && self.takes_many
            && let Some(most) = allowed.many
        {
            self.many.add(now, tokens(usize::try_from(len).unwrap_or(usize::MAX)).into());
            let count = self.many.bytes;
            return check(count <= most, || format!("{count} tokens of transactions in 10 s, {most} are allowed"));
        }
        let recent = self.recent.entry(kind).or_default();
        recent.add(now, len);
        let (count, most) = (recent.frames.len() as u64, allowed.frames.get(&kind).copied().unwrap_or(0));
        check(count <= most, || format!("{count} frames of {} in 10 s, {most} are allowed", kind.name()))?;
        if matches!(kind, Kind::Block | Kind::Blocks | Kind::Headers) && recent.bytes > allowed.block_bytes {
            let (bytes, most) = (recent.bytes, allowed.block_bytes.saturating_add(recent.longest()));
            check(bytes <= most, || format!("{bytes} bytes of {} in 10 s, {most} are allowed", kind.name()))?;
        }
        Ok(())
    }
}

fn check(holds: bool, found: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(found()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_budgets_let_through_is_allowed_and_what_they_would_not_is_found() {
        let allowed = Allowed::by(&Config::default());
        let mut sent = SendRateChecker::default();
        let at = Instant::from_millis;
        for second in 0..100 {
            let count = if second == 0 { 20 } else { 2 };
            for _ in 0..count {
                sent.add(at(second * 1000), Kind::Pong, (16, 0), false, &allowed).unwrap();
            }
        }
        // A burst of 40, 200 in ten seconds, and one.
        let flood: Vec<_> = (0..300).map(|_| sent.add(at(200_000), Kind::Pong, (16, 0), false, &allowed)).collect();
        assert!(flood[..241].iter().all(Result::is_ok) && flood[241..].iter().all(Result::is_err));
    }

    #[test]
    fn blocks_count_by_their_bytes_and_the_pool_by_its_own() {
        let config = Config { serving_rate: 1000, ..Config::default() };
        let (allowed, mut sent) = (Allowed::by(&config), SendRateChecker::default());
        let at = Instant::from_millis(1);
        let mut add = |kind, len, answer| sent.add(at, kind, (len, len as u64), answer, &allowed);
        assert!(add(Kind::Block, 11_000, false).is_ok() && add(Kind::Block, 10_999, false).is_ok());
        assert!(add(Kind::Block, 2, false).is_err(), "the budget and one block");
        assert!(add(Kind::Transaction, 2 << 20, true).is_ok());
        let more: Vec<_> = (0..9).map(|_| add(Kind::Transaction, 1 << 20, true)).collect();
        assert!(more.iter().any(Result::is_err));
        assert!(add(Kind::Transaction, 1 << 20, false).is_ok());
    }

    /// A node that kept to what both had said was found to send too much: 301 in ten seconds.
    #[test]
    fn a_peer_that_takes_many_transactions_may_be_sent_so_many_and_not_one_more() {
        let allowed = Allowed::by(&Config::default());
        let at = Instant::from_millis(1);
        let most = |sent: &mut SendRateChecker, len| {
            (0..20_000).take_while(|_| sent.add(at, Kind::Transaction, (len, 0), false, &allowed).is_ok()).count()
        };
        let (mut few, mut many, mut large) = Default::default();
        assert_eq!(most(&mut few, 256), 300);
        SendRateChecker::takes_many(&mut many);
        assert_eq!(most(&mut many, 256), 10_499 + 2_100 + 1);
        SendRateChecker::takes_many(&mut large);
        assert_eq!(most(&mut large, 1 << 20), 12_600 / 65);
    }

    #[test]
    fn one_block_again_and_again_is_found() {
        let (allowed, mut sent) = (Allowed::by(&Config::default()), SendRateChecker::default());
        let mut add = |millis, hash| sent.add(Instant::from_millis(millis), Kind::Block, (100, hash), false, &allowed);
        // Eight at once and eight a second are allowed, besides the first.
        let many: Vec<_> = (0..100).map(|_| add(5000, 1)).collect();
        let fair = many.iter().take_while(|kept| kept.is_ok()).count();
        assert!((89..=91).contains(&fair), "{fair}");
        assert!((2..200).all(|hash| add(5000, hash).is_ok()), "others are no repetitions");
        assert!(add(16_000, 1).is_ok(), "nothing of it is in the window any more");
    }
}
