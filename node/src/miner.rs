//! Mining: a thread per node that asks the loop for a block to work on, searches, and hands in what it finds.
//!
//! Proof of work alone would find a block of low difficulty in no time, so blocks are also spaced: a miner starts to
//! search no sooner than `interval` after its parent's time, plus a random part of up to half of that, so that miners who
//! saw the same parent do not find its child at the same moment. An interval of zero spaces nothing.

use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use spacetime_network::chain::{Block, Header, Miner as Search};
use spacetime_network::proto::Command;
use spacetime_network::proto::sync::Followed;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::rng::Rng;
use spacetime_network::time::{Instant, UnixTime};
use spacetime_network::wire::frame::MAX_PAYLOAD;

use crate::failure::Failure;
use crate::full_node::{self, LiveNode, NodeHandle};
use crate::tip_signal::{TipSignal, WakeReason};

/// Hashes between two looks at the bell: some milliseconds of work.
const SLICE: u64 = 20_000;
/// Slices on one template before a fresh one is taken, with a new time and new transactions: some seconds.
const SLICES_MAX: u32 = 500;
/// How long the loop may take to answer; a loop that is that busy has no use for more blocks.
const PATIENCE: Duration = Duration::from_secs(5);

/// How soon a miner looks again whether the download that he waits for goes on.
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// Blocks that a branch of others must have before its download is waited for. Less is here before it matters.
const BEHIND: u64 = 24;
/// How long a download is waited for that brings nothing.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// So many blocks of it are worth as much time again: more than anybody mines in that time on an old tip, or a branch that is told
/// in order to stop others would cost its teller more than it costs them.
const WORTH_WAITING: u64 = 100;
/// Time that was mined gives back one in so many parts of it, so that who shows the same headers again and again stops little.
const REGAINED: u32 = 20;

/// Who mines, and how fast.
#[derive(Clone, Debug)]
pub(crate) struct MinerPlan {
    /// Who gets the reward.
    pub(crate) name: String,
    /// The least time between a block and its child.
    pub(crate) interval: Duration,
}

/// What to search on, and when.
#[derive(Debug)]
struct Work {
    template: Block,
    /// The parent's time.
    parent: UnixTime,
    now: UnixTime,
}

/// The height of the next block to come of a branch that is far ahead of what is here.
fn far_ahead(branch: &Followed) -> Option<u64> {
    (branch.goes_on || branch.end.saturating_sub(branch.next) >= BEHIND).then_some(branch.next)
}

/// How long a miner waits for the blocks of a heavier branch: what he finds on his old tip meanwhile is lost, and makes the
/// reorganisation deeper. A branch costs its teller the work of its headers, and the wait is bounded by what of it comes.
#[derive(Debug)]
struct Patience {
    left: Duration,
    at: Option<Instant>,
    is_waiting: bool,
    /// The height up to which blocks had come when the patience was whole.
    next: u64,
}

impl Patience {
    fn new() -> Self {
        Patience { left: WAIT_MAX, at: None, is_waiting: false, next: 0 }
    }

    /// Whether to wait for a branch, the next of whose blocks to come has this height.
    fn waits(&mut self, now: Instant, next: Option<u64>) -> bool {
        let elapsed = self.at.replace(now).map_or(Duration::ZERO, |at| now.since(at));
        self.left = match self.is_waiting {
            true => self.left.saturating_sub(elapsed),
            false => self.left.saturating_add(elapsed / REGAINED).min(WAIT_MAX),
        };
        let Some(next) = next else {
            self.is_waiting = false;
            return false;
        };
        self.next = self.next.min(next);
        if next - self.next >= WORTH_WAITING {
            (self.left, self.next) = (WAIT_MAX, next);
        }
        // Who has mined again does not stop for a moment's worth of patience.
        self.is_waiting = if self.is_waiting { !self.left.is_zero() } else { self.left >= WAIT_MAX / 10 };
        self.is_waiting
    }
}

/// Starts the thread; it ends when the bell says stop.
pub(crate) fn start(plan: MinerPlan, handle: NodeHandle, signal: Arc<TipSignal>) -> Result<JoinHandle<()>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new("start mining", error, "try again");
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| failed(&error))?;
    let mut rng = Rng::from_seed(u64::from_le_bytes(seed));
    thread::Builder::new()
        .name("miner".to_owned())
        .spawn(move || {
            let mut patience = Patience::new();
            while mine_one(&plan, &handle, &signal, (&mut rng, &mut patience)) {}
        })
        .map_err(|error| failed(&error))
}

/// One block, or the news that the work has changed. False when it is over.
fn mine_one(
    plan: &MinerPlan,
    handle: &NodeHandle,
    signal: &TipSignal,
    (rng, patience): (&mut Rng, &mut Patience),
) -> bool {
    let seen = signal.rings();
    let far =
        full_node::look(handle, PATIENCE, |node, now| (now.at, node.followed().and_then(|branch| far_ahead(&branch))));
    if far.is_some_and(|(now, next)| patience.waits(now, next)) {
        return !signal.stops_within(LOOK_AGAIN);
    }
    let Some(work) = fetch(plan, handle) else {
        return signal.wait(seen, Duration::from_millis(100)) != WakeReason::Stop;
    };
    match signal.wait(seen, pause(plan.interval, work.parent, work.now, rng)) {
        WakeReason::Stop => return false,
        WakeReason::NewTip => return true,
        WakeReason::Timeout => {}
    }
    // Transactions that came during the pause are part of the block.
    let Some(work) = fetch(plan, handle) else { return true };
    let mut search = Search::new(work.template.header);
    for _ in 0..SLICES_MAX {
        match signal.wait(seen, Duration::ZERO) {
            WakeReason::Stop => return false,
            WakeReason::NewTip => return true,
            WakeReason::Timeout => {}
        }
        if let Some(header) = search.run(SLICE) {
            return hand_in(header, work.template, handle, signal, seen);
        }
    }
    true
}

fn hand_in(header: Header, template: Block, handle: &NodeHandle, signal: &TipSignal, seen: u64) -> bool {
    let block = Block { header, ..template };
    tracing::debug!(height = header.height, hash = %header.hash(), "found a block");
    if !full_node::tell(handle, Command::SubmitBlock(block.encode())) {
        tracing::debug!("the block was not handed in: the node is busy or gone");
    }
    // The bell rings when it is taken; when it is not, the same work must not be found again at once.
    signal.wait(seen, Duration::from_secs(1)) != WakeReason::Stop
}

/// Mines one block at once, whatever the spacing. False when the node is gone or no work was found.
pub(crate) fn mine_now(handle: &NodeHandle, name: &str) -> bool {
    let plan = MinerPlan { name: name.to_owned(), interval: Duration::ZERO };
    let Some(work) = fetch(&plan, handle) else { return false };
    match Search::new(work.template.header).run(SLICE) {
        Some(header) => {
            let block = Block { header, ..work.template };
            full_node::tell(handle, Command::SubmitBlock(block.encode()))
        }
        None => false,
    }
}

/// What became of a search for one block.
#[derive(Debug)]
pub(crate) enum Mined {
    /// It was found, and is handed in by whoever asked.
    Found(Block),
    /// Nobody found it so soon.
    NotInTime,
    /// The node gave nothing to search on: it is busy or gone.
    NoWork,
}

/// Searches one block on the best tip, whatever the spacing, at most so long.
pub(crate) fn mine_within(handle: &NodeHandle, name: &str, patience: Duration) -> Mined {
    let plan = MinerPlan { name: name.to_owned(), interval: Duration::ZERO };
    let until = std::time::Instant::now() + patience;
    let Some(work) = fetch(&plan, handle) else { return Mined::NoWork };
    let mut search = Search::new(work.template.header);
    while std::time::Instant::now() < until {
        if let Some(header) = search.run(SLICE) {
            return Mined::Found(Block { header, ..work.template });
        }
    }
    Mined::NotInTime
}

fn fetch(plan: &MinerPlan, handle: &NodeHandle) -> Option<Work> {
    let name = plan.name.clone();
    full_node::look(handle, PATIENCE, move |node: &LiveNode, now| {
        let chain = node.chain();
        let template = chain.template(now.unix, &name, MAX_PAYLOAD as usize).ok()?;
        let parent = chain.block(&template.header.previous).and_then(|bytes| Block::decode(&bytes))?.header.time;
        Some(Work { template, parent, now: now.unix })
    })
    .flatten()
}

/// How long to wait before searching. A parent from the future delays by no more than one from now.
fn pause(interval: Duration, parent: UnixTime, now: UnixTime, rng: &mut Rng) -> Duration {
    let elapsed = now.since(parent.min(now));
    let spread = u64::try_from((interval / 2).as_nanos()).unwrap_or(u64::MAX);
    (interval + Duration::from_nanos(rng.below(spread.saturating_add(1)))).saturating_sub(elapsed)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The seconds of a time, looked at each half of one, in which a miner waits for a branch whose next block is this one then.
    fn waited(seconds: u64, next: impl Fn(u64) -> Option<u64>) -> u64 {
        let mut patience = Patience::new();
        let at = |half: u64| Instant::from_millis(1000 + half * 500);
        (0..2 * seconds).filter(|half| patience.waits(at(*half), next(half / 2))).count() as u64 / 2
    }

    /// A miner that caught up with a branch of a million blocks found 11,151 blocks on its old tip on the way, all of them lost.
    #[test]
    fn a_miner_waits_for_a_heavier_branch_as_long_as_its_blocks_come() {
        assert_eq!(waited(1000, |second| Some(134_000 + second * 50)), 1000);
        // It is all here.
        assert_eq!(waited(1000, |second| (second < 400).then_some(second * 3400)), 400);
        // Blocks stop coming, and come again.
        let stopped =
            |second: u64| Some(if second < 100 { second * 50 } else { 5000 + second.saturating_sub(500) * 50 });
        assert!((600..660).contains(&waited(1000, stopped)), "{}", waited(1000, stopped));
    }

    #[test]
    fn who_shows_headers_and_gives_no_blocks_stops_a_miner_for_half_a_minute() {
        let hour = 3600;
        // One in twenty seconds is what he can stop it for after that.
        let most = WAIT_MAX.as_secs() + hour / 20 + 1;
        assert!((30..=most).contains(&waited(hour, |_| Some(7))), "{}", waited(hour, |_| Some(7)));
        // He takes them back in time, and shows them again.
        let blinks = |second: u64| (!second.is_multiple_of(29)).then_some(7);
        assert!(waited(hour, blinks) <= most, "{}", waited(hour, blinks));
        // A block now and then.
        assert!(waited(hour, |second| Some(7 + second / 10)) <= most + 4 * WAIT_MAX.as_secs());
    }

    #[test]
    fn a_block_is_spaced_from_its_parent_whatever_the_clocks_say() {
        let mut rng = Rng::from_seed(1);
        let (interval, at) = (Duration::from_secs(10), UnixTime::from_secs);
        for _ in 0..100 {
            let fresh = pause(interval, at(1000), at(1000), &mut rng);
            assert!((10..=15).contains(&fresh.as_secs()), "{fresh:?}");
            let from_the_future = pause(interval, at(9999), at(1000), &mut rng);
            assert!((10..=15).contains(&from_the_future.as_secs()), "{from_the_future:?}");
            assert_eq!(pause(interval, at(900), at(1000), &mut rng), Duration::ZERO);
            assert_eq!(pause(Duration::ZERO, at(1000), at(1000), &mut rng), Duration::ZERO);
        }
    }
}
