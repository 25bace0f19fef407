//! Blocks are judged on threads of their own: a signature takes some 60 microseconds, and a block may have ten thousand.
//!
//! What a block shows by itself is judged here, before its parent is known to be good: so several blocks of a download are under way
//! at once. What depends on the parent is left to the chain, which takes the outcomes in an order in which parents come first. The
//! same bytes are judged once, whoever else sends them, and sources take turns.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use spacetime_network::source::Source;

use crate::crypto::Hash;
use crate::format::Block;
use crate::rules::{self, Fault};

/// So many blocks are under way at most, and so many of them of one source.
const JOBS_MAX: usize = 64;
const JOBS_OF_ONE_MAX: usize = 16;
/// So many bytes of them.
const BYTES_MAX: usize = 48 << 20;
/// So many more who sent the same bytes are told of the outcome.
const SAME_MAX: usize = 64;

/// What a block shows by itself.
pub type Outcome = Result<(), Fault>;

/// A block whose outcome is there.
#[derive(Debug)]
pub struct Judged {
    /// Who is told, the first being who brought it first.
    pub tickets: Vec<u64>,
    /// The block.
    pub block: Arc<Block>,
    /// The same as it came.
    pub bytes: Bytes,
    /// What was found.
    pub outcome: Outcome,
}

#[derive(Debug)]
struct UnderWay {
    tickets: Vec<u64>,
    hash: Hash,
    source: Source,
    block: Arc<Block>,
    bytes: Bytes,
}

type Job = (u64, Arc<Block>);

#[derive(Debug, Default)]
struct Shared {
    lines: BTreeMap<Source, VecDeque<Job>>,
    /// Who had the last turn.
    last: Option<Source>,
    done: BTreeMap<u64, Outcome>,
    stops: bool,
}

impl Shared {
    /// The next job of the source whose turn it is.
    fn next(&mut self) -> Option<Job> {
        let later = self.last.and_then(|last| {
            let mut after = self.lines.range((core::ops::Bound::Excluded(last), core::ops::Bound::Unbounded));
            after.next().map(|(source, _)| *source)
        });
        let source = later.or_else(|| self.lines.keys().next().copied())?;
        let line = self.lines.get_mut(&source)?;
        let job = line.pop_front();
        if line.is_empty() {
            self.lines.remove(&source);
        }
        self.last = Some(source);
        job
    }
}

/// See the module.
#[derive(Debug)]
pub struct Judges {
    under_way: BTreeMap<u64, UnderWay>,
    bytes: usize,
    shared: Arc<(Mutex<Shared>, Condvar)>,
    threads: Vec<JoinHandle<()>>,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Judges {
    /// Starts so many threads; `wake` is called after each outcome.
    ///
    /// # Errors
    ///
    /// When the system has no threads to give.
    pub fn start(threads: usize, wake: impl Fn() + Send + Sync + 'static) -> std::io::Result<Self> {
        let shared = Arc::<(Mutex<Shared>, Condvar)>::default();
        let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(wake);
        let start = |number| {
            let (shared, wake) = (Arc::clone(&shared), Arc::clone(&wake));
            let name = format!("judge {number}");
            std::thread::Builder::new().name(name).spawn(move || judge_all(&shared, &*wake))
        };
        let threads = (0..threads.max(1)).map(start).collect::<Result<_, _>>()?;
        Ok(Judges { under_way: BTreeMap::new(), bytes: 0, shared, threads })
    }

    /// Is a block with this hash under way?
    pub fn is_judging(&self, hash: &Hash) -> bool {
        self.under_way.values().any(|one| one.hash == *hash)
    }

    /// Is there room for a block of so many bytes from anybody who has none under way?
    pub fn has_room(&self, len: usize) -> bool {
        self.under_way.len() < JOBS_MAX && self.bytes.saturating_add(len) <= BYTES_MAX
    }

    /// Has a block judged under a number that grows. False when there is no room.
    pub fn submit(&mut self, ticket: u64, source: Source, hash: Hash, block: Block, bytes: Bytes) -> bool {
        if let Some(same) = self.under_way.values_mut().find(|one| one.hash == hash && one.bytes == bytes) {
            let fits = same.tickets.len() < SAME_MAX;
            if fits {
                same.tickets.push(ticket);
            }
            return fits;
        }
        let own = self.under_way.values().filter(|one| one.source == source).count();
        if !self.has_room(bytes.len()) || (own >= JOBS_OF_ONE_MAX && source != Source::Own) {
            return false;
        }
        self.bytes = self.bytes.saturating_add(bytes.len());
        let block = Arc::new(block);
        let job = (ticket, Arc::clone(&block));
        self.under_way.insert(ticket, UnderWay { tickets: vec![ticket], hash, source, block, bytes });
        lock(&self.shared.0).lines.entry(source).or_default().push_back(job);
        self.shared.1.notify_one();
        true
    }

    /// The first block whose outcome is there and whose parent is not under way itself.
    pub fn next_judged(&mut self) -> Option<Judged> {
        let mut shared = lock(&self.shared.0);
        let parent_is_done = |ticket: &u64| {
            let one = self.under_way.get(ticket)?;
            (!self.is_judging(&one.block.header.parent)).then_some(*ticket)
        };
        let ticket = shared.done.keys().find_map(parent_is_done)?;
        let outcome = shared.done.remove(&ticket)?;
        drop(shared);
        let UnderWay { tickets, block, bytes, .. } = self.under_way.remove(&ticket)?;
        self.bytes = self.bytes.saturating_sub(bytes.len());
        Some(Judged { tickets, block, bytes, outcome })
    }

    /// Is there an outcome to be taken?
    pub fn is_ready(&self) -> bool {
        !lock(&self.shared.0).done.is_empty()
    }
}

impl Drop for Judges {
    fn drop(&mut self) {
        lock(&self.shared.0).stops = true;
        self.shared.1.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that has failed has nothing to give back.
            let _ = thread.join();
        }
    }
}

/// What a block shows by itself, the miner's signature included.
///
/// # Errors
///
/// Which rule it breaks.
pub fn judge(block: &Block) -> Outcome {
    rules::miner_signature(&block.header)?;
    rules::body(block)
}

fn judge_all(shared: &(Mutex<Shared>, Condvar), wake: &dyn Fn()) {
    let mut queue = lock(&shared.0);
    loop {
        if queue.stops {
            return;
        }
        let Some((ticket, block)) = queue.next() else {
            queue = shared.1.wait(queue).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(queue);
        let outcome = judge(&block);
        queue = lock(&shared.0);
        queue.done.insert(ticket, outcome);
        drop(queue);
        wake();
        queue = lock(&shared.0);
    }
}
