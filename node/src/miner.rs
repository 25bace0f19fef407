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
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::rng::Rng;
use spacetime_network::time::UnixTime;
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

/// Starts the thread; it ends when the bell says stop.
pub(crate) fn start(plan: MinerPlan, handle: NodeHandle, signal: Arc<TipSignal>) -> Result<JoinHandle<()>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new("start mining", error, "try again");
    let mut seed = [0; 8];
    getrandom::fill(&mut seed).map_err(|error| failed(&error))?;
    let mut rng = Rng::from_seed(u64::from_le_bytes(seed));
    thread::Builder::new()
        .name("miner".to_owned())
        .spawn(move || while mine_one(&plan, &handle, &signal, &mut rng) {})
        .map_err(|error| failed(&error))
}

/// One block, or the news that the work has changed. False when it is over.
fn mine_one(plan: &MinerPlan, handle: &NodeHandle, signal: &TipSignal, rng: &mut Rng) -> bool {
    let seen = signal.rings();
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
