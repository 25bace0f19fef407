//! A farmer: looks for the best leaf of its plots whenever the chain has a new end, and makes a block of it.
//!
//! No rule says when a block may come. Farmers here agree to wait for half the target block time and up to as much again, the
//! longer the worse their score is: so the best of them comes first, and the others see its block and stop. They count from the end
//! of the second that the parent names: were it from its begin, what is due in that second would be due at once, again and again.

use core::time::Duration;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime};

use spacetime_network::driver::node::NodeHandle;
use spacetime_network::proto::Command;

use crate::chain::{Contest, SpacetimeChain, wins};
use crate::client::read_key;
use crate::crypto::{Hash, SecretKey};
use crate::difficulty::target;
use crate::plot::{Best, Plot};

/// How long the node may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// When to look again although nothing was heard.
const LOOK_AGAIN: Duration = Duration::from_secs(30);
/// The same while the node catches up.
const LOOK_SOON: Duration = Duration::from_millis(500);

/// Tells a farmer that the chain has a new end, or that it is over.
#[derive(Debug, Default)]
pub struct Bell {
    state: Mutex<(u64, bool)>,
    changed: Condvar,
}

impl Bell {
    /// The chain has a new end.
    pub fn ring(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0 += 1;
        self.changed.notify_all();
    }

    /// It is over.
    pub fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.changed.notify_all();
    }

    fn look(&self) -> (u64, bool) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the next ring or the end, at most so long.
    fn wait(&self, rings: u64, patience: Duration) {
        let end = Instant::now().checked_add(patience);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.0 == rings && !state.1 {
            let left = end.map_or(LOOK_AGAIN, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// The file with the key of a plot's owner.
pub fn key_path(plot: &Path) -> PathBuf {
    let mut name = plot.as_os_str().to_owned();
    name.push(".key");
    name.into()
}

/// A plot and whose it is.
struct Field {
    path: PathBuf,
    plot: Plot,
    key: SecretKey,
}

/// Starts to farm these plots. Each must have its tree and its key beside it.
///
/// # Errors
///
/// What is wrong with a plot.
pub fn start(plots: &[PathBuf], handle: NodeHandle<SpacetimeChain>, bell: Arc<Bell>) -> io::Result<JoinHandle<()>> {
    let open = |path: &PathBuf| {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        let plot = Plot::open(path).map_err(named)?;
        let key = read_key(&key_path(path)).map_err(|error| named(io::Error::other(error)))?;
        Ok(Field { path: path.clone(), plot, key })
    };
    let mut fields = plots.iter().map(open).collect::<io::Result<Vec<_>>>()?;
    std::thread::Builder::new().name("farmer".to_owned()).spawn(move || farm(&mut fields, &handle, &bell))
}

fn farm(fields: &mut [Field], handle: &NodeHandle<SpacetimeChain>, bell: &Bell) {
    loop {
        let (rings, stops) = bell.look();
        if stops {
            return;
        }
        let seen = handle.look(|look| (look.node.chain().contest(), look.node.sync_target().1));
        let patience = match seen.ok().and_then(|answer| answer.recv_timeout(PATIENCE).ok()) {
            Some((contest, false)) => {
                let wait = |patience| bell.wait(rings, patience);
                contend(fields, &contest, handle, &wait, &|| bell.look() == (rings, false));
                LOOK_AGAIN
            }
            // It catches up, or is too busy.
            _ => LOOK_SOON,
        };
        bell.wait(rings, patience);
    }
}

/// Looks for a block on this end of the chain and submits it when its time has come.
fn contend(
    fields: &mut [Field],
    contest: &Contest,
    handle: &NodeHandle<SpacetimeChain>,
    wait: &dyn Fn(Duration),
    goes_on: &dyn Fn() -> bool,
) {
    let mut best: Option<(usize, Best)> = None;
    for (at, field) in fields.iter_mut().enumerate() {
        match field.plot.best(&contest.challenge, goes_on) {
            Ok(Some(found)) if best.is_none_or(|(_, best)| found.score < best.score) => best = Some((at, found)),
            Ok(_) => {}
            Err(error) => eprintln!("cannot read {}: {error}", field.path.display()),
        }
    }
    let Some((at, found)) = best.filter(|_| goes_on()) else { return };
    if !wins(contest, &found.score) {
        eprintln!("no leaf of these plots is good enough for block {}", contest.height);
        return;
    }
    let due = SystemTime::UNIX_EPOCH.checked_add(due(contest, &found.score));
    if let Some(left) = due.and_then(|due| due.duration_since(SystemTime::now()).ok()) {
        wait(left);
    }
    let Some(field) = fields.get_mut(at).filter(|_| goes_on()) else { return };
    let proof = match field.plot.prove(found.number) {
        Ok(proof) => proof,
        Err(error) => return eprintln!("cannot prove a leaf of {}: {error}", field.path.display()),
    };
    let (miner, parent) = (field.key.public(), contest.parent);
    let template = handle.ask(PATIENCE, move |mut node, now| node.chain_mut().template(now.unix, miner, proof));
    // The chain may have moved while it was asked.
    let Ok(mut block) = template else { return };
    if block.header.parent == parent {
        block.header.sign(&field.key);
        if handle
            .send(spacetime_network::driver::node::NodeCommand::Do(Command::SubmitBlock(block.encode().into())))
            .is_err()
        {
            eprintln!("the node takes no block at present");
        }
    }
}

/// When a block comes, since 1970.
fn due(contest: &Contest, score: &Hash) -> Duration {
    let parent = u64::try_from(contest.parent_time).unwrap_or(0).saturating_add(1);
    Duration::from_secs(parent).saturating_add(delay(contest, score))
}

/// How long after its parent a block comes.
fn delay(contest: &Contest, score: &Hash) -> Duration {
    let front = |hash: &Hash| hash.first_chunk().map_or(0, |front| u128::from_be_bytes(*front)) as f64;
    let worst = front(&target(contest.difficulty)).max(1.0);
    contest.pace.target_block_time.mul_f64(0.5 + (front(score) / worst).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difficulty::Pace;

    #[test]
    fn the_best_score_comes_after_half_the_time_and_the_worst_after_half_as_much_again() {
        let pace = Pace { target_block_time: Duration::from_secs(10), interval: 100, dampening: 4 };
        let contest = Contest { parent: [0; 32], height: 1, challenge: [0; 32], difficulty: 2, parent_time: 0, pace };
        assert_eq!(delay(&contest, &[0; 32]), Duration::from_secs(5));
        assert_eq!(delay(&contest, &target(2)), Duration::from_secs(15));
        assert!(delay(&contest, &[1; 32]) < delay(&contest, &[2; 32]));
    }

    /// With a block a second in view, all that is left of a second was filled with blocks once, as fast as they could be made, until
    /// the difficulty had outgrown every plot.
    #[test]
    fn no_block_is_due_in_the_second_of_its_parent() {
        let pace = Pace { target_block_time: Duration::from_secs(1), interval: 100, dampening: 4 };
        let contest = Contest { parent: [0; 32], height: 9, challenge: [0; 32], difficulty: 50, parent_time: 77, pace };
        assert_eq!(due(&contest, &[0; 32]), Duration::from_millis(78_500));
        assert_eq!(due(&contest, &target(50)), Duration::from_millis(79_500));
    }
}
