//! Threads that judge and read blocks, so that the loop does not.
//!
//! What waits is bounded in bytes and shared by who brought it: our own goes first, the rest is served in [`Turns`], and when there
//! is no more room the newest of the largest source gives way. Threads start with the first job, so a node of small blocks has none.
//!
//! Where everything must happen in one order there are no threads: [`Workers::inline`] works when it is told to, with the
//! same queue.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::shares::{Shares, Turns};
use crate::source::Source;

/// Rings for the loop when something is done. Called by the threads, after each thing that is done while nothing else was.
pub(super) type Waker = Arc<dyn Fn() + Send + Sync>;

/// Bytes of what is done and was not fetched yet, above which the threads wait.
const DONE_BYTES_MAX: u64 = 48 << 20;
/// Of so many of our own in a row, while others wait, one is not our own.
const OWN_IN_A_ROW: u8 = 3;

type Work<D> = Box<dyn FnOnce() -> D + Send>;

/// A queue of jobs, and who does them.
pub(super) struct Workers<D> {
    shared: Arc<Shared<D>>,
    hands: Hands,
    /// Bytes that may wait.
    room: u64,
}

enum Hands {
    /// Threads; how many there are to be, and what they are called.
    Threads { most: usize, name: &'static str, waker: Waker, started: Vec<JoinHandle<()>> },
    /// The caller of [`Workers::work`].
    #[cfg(feature = "sim")]
    Caller,
}

struct Shared<D> {
    state: Mutex<State<D>>,
    /// Rung for the threads: there is a job, or room for what is done, or it is over.
    bell: Condvar,
    /// Rung for who waits for them: something is done.
    done: Condvar,
}

struct Job<D> {
    ticket: u64,
    bytes: u64,
    work: Work<D>,
}

struct State<D> {
    lines: BTreeMap<Source, VecDeque<Job<D>>>,
    turns: Turns,
    shares: Shares,
    bytes: u64,
    own_in_a_row: u8,
    running: usize,
    done: VecDeque<(u64, u64, Option<D>)>,
    done_bytes: u64,
    stop: bool,
}

impl<D> State<D> {
    fn push(&mut self, source: Source, job: Job<D>) {
        self.bytes = self.bytes.saturating_add(job.bytes);
        self.shares.add(source, job.bytes);
        self.turns.enter(source);
        self.lines.entry(source).or_default().push_back(job);
    }

    /// A job leaves the line of its source.
    fn left(&mut self, source: Source, bytes: u64) {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.shares.take(source, bytes);
        if self.lines.get(&source).is_some_and(VecDeque::is_empty) {
            self.lines.remove(&source);
            self.turns.leave(source);
        }
    }

    /// The newest of the largest source; our own only where there is nobody else.
    fn give_way(&mut self) -> Option<u64> {
        let source = self.shares.largest().unwrap_or(Source::Own);
        let job = self.lines.get_mut(&source)?.pop_back()?;
        self.left(source, job.bytes);
        Some(job.ticket)
    }

    fn next(&mut self) -> Option<Job<D>> {
        if self.done_bytes > DONE_BYTES_MAX {
            return None;
        }
        let own = self.lines.contains_key(&Source::Own).then_some(Source::Own);
        let other = self.turns.first();
        let source = if self.own_in_a_row < OWN_IN_A_ROW { own.or(other) } else { other.or(own) }?;
        self.own_in_a_row = if source == Source::Own { self.own_in_a_row.saturating_add(1) } else { 0 };
        let job = self.lines.get_mut(&source)?.pop_front()?;
        self.turns.served(source);
        self.left(source, job.bytes);
        Some(job)
    }

    /// True when nothing else was done and not fetched.
    fn finish(&mut self, job: (u64, u64), done: Option<D>) -> bool {
        let (ticket, bytes) = job;
        self.done_bytes = self.done_bytes.saturating_add(bytes);
        self.done.push_back((ticket, bytes, done));
        self.done.len() == 1
    }
}

impl<D> Shared<D> {
    fn lock(&self) -> MutexGuard<'_, State<D>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: Send + 'static> Workers<D> {
    fn with(hands: Hands, room: u64) -> Self {
        let state = State {
            lines: BTreeMap::new(),
            turns: Turns::default(),
            shares: Shares::default(),
            bytes: 0,
            own_in_a_row: 0,
            running: 0,
            done: VecDeque::new(),
            done_bytes: 0,
            stop: false,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), bell: Condvar::new(), done: Condvar::new() });
        Workers { shared, hands, room }
    }

    /// At most so many threads of this name, and room for so many bytes that wait for them.
    pub(super) fn threads(most: usize, name: &'static str, waker: Waker, room: u64) -> Self {
        Workers::with(Hands::Threads { most: most.max(1), name, waker, started: Vec::new() }, room)
    }

    /// No threads.
    #[cfg(feature = "sim")]
    pub(super) fn inline(room: u64) -> Self {
        Workers::with(Hands::Caller, room)
    }

    /// Puts a job at the end of its source's line. `bytes` is what it holds or will hold. The tickets of those that had to give
    /// way: the new one may be among them.
    pub(super) fn submit(&mut self, source: Source, ticket: u64, bytes: usize, work: Work<D>) -> Vec<u64> {
        let mut state = self.shared.lock();
        state.push(source, Job { ticket, bytes: (bytes as u64).max(1), work });
        let mut gave_way = Vec::new();
        while state.bytes > self.room
            && let Some(ticket) = state.give_way()
        {
            gave_way.push(ticket);
        }
        let waiting: usize = state.lines.values().map(VecDeque::len).sum();
        let busy = state.running;
        drop(state);
        self.shared.bell.notify_one();
        self.start_another(waiting.saturating_add(busy));
        gave_way
    }

    /// One more thread, if there are fewer than jobs. Where the system gives none, the caller works, here and in
    /// [`poll`](Self::poll): slow is better than never.
    fn start_another(&mut self, jobs: usize) {
        match &mut self.hands {
            Hands::Threads { most, name, waker, started } => {
                started.retain(|thread| !thread.is_finished());
                if started.len() < jobs.min(*most) {
                    let (shared, waker) = (Arc::clone(&self.shared), Arc::clone(waker));
                    let thread = thread::Builder::new().name((*name).into());
                    started.extend(thread.spawn(move || run(&shared, &waker)));
                }
                if started.is_empty() {
                    let _ = step(&self.shared);
                }
            }
            #[cfg(feature = "sim")]
            Hands::Caller => {}
        }
    }

    /// Does one job now, where the caller is who works. False when there was none.
    #[cfg(feature = "sim")]
    pub(super) fn work(&mut self) -> bool {
        match self.hands {
            Hands::Caller => step(&self.shared).is_some(),
            Hands::Threads { .. } => false,
        }
    }

    /// What was done next: its ticket and its outcome, which is `None` when the job panicked.
    pub(super) fn poll(&mut self) -> Option<(u64, Option<D>)> {
        if matches!(&self.hands, Hands::Threads { started, .. } if started.is_empty()) {
            let _ = step(&self.shared);
        }
        let mut state = self.shared.lock();
        let (ticket, bytes, done) = state.done.pop_front()?;
        state.done_bytes = state.done_bytes.saturating_sub(bytes);
        drop(state);
        self.shared.bell.notify_one();
        Some((ticket, done))
    }

    /// Takes a job out that was not begun; false when it is too late for that.
    pub(super) fn cancel(&mut self, source: Source, ticket: u64) -> bool {
        let mut state = self.shared.lock();
        let Some(line) = state.lines.get_mut(&source) else { return false };
        let Some(at) = line.iter().position(|job| job.ticket == ticket) else { return false };
        let Some(job) = line.remove(at) else { return false };
        state.left(source, job.bytes);
        true
    }

    /// Waits until something is done, at most so long: for who has nothing else to do. False when nothing is, or nothing was to be.
    pub(super) fn wait(&self, patience: Duration) -> bool {
        let state = self.shared.lock();
        match self.hands {
            Hands::Threads { .. } => {
                let waits =
                    |state: &mut State<D>| state.done.is_empty() && (state.running > 0 || !state.lines.is_empty());
                let waited = self.shared.done.wait_timeout_while(state, patience, waits);
                !waited.unwrap_or_else(PoisonError::into_inner).0.done.is_empty()
            }
            #[cfg(feature = "sim")]
            Hands::Caller => !state.done.is_empty(),
        }
    }

    /// Is something done that was not fetched, or, where the caller works, to be done?
    pub(super) fn is_ready(&self) -> bool {
        let state = self.shared.lock();
        match self.hands {
            Hands::Threads { .. } => !state.done.is_empty(),
            #[cfg(feature = "sim")]
            Hands::Caller => !state.done.is_empty() || !state.lines.is_empty(),
        }
    }
}

impl<D> Drop for Workers<D> {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.bell.notify_all();
        match &mut self.hands {
            Hands::Threads { started, .. } => {
                for thread in started.drain(..) {
                    // An error is a panic outside of a job, and a drop has nobody to tell.
                    let _ = thread.join();
                }
            }
            #[cfg(feature = "sim")]
            Hands::Caller => {}
        }
    }
}

/// One job, if there is one: true when the loop is to be told.
fn step<D>(shared: &Shared<D>) -> Option<bool> {
    let job = {
        let mut state = shared.lock();
        let job = state.next()?;
        state.running = state.running.saturating_add(1);
        job
    };
    Some(perform(shared, job))
}

fn perform<D>(shared: &Shared<D>, job: Job<D>) -> bool {
    let Job { ticket, bytes, work } = job;
    // What panics is our own mistake; whoever waits for the outcome must not wait for ever because of it.
    let done = catch_unwind(AssertUnwindSafe(work)).ok();
    let mut state = shared.lock();
    state.running = state.running.saturating_sub(1);
    shared.done.notify_all();
    state.finish((ticket, bytes), done)
}

fn run<D>(shared: &Shared<D>, waker: &Waker) {
    let mut state = shared.lock();
    loop {
        if state.stop {
            return;
        }
        let Some(job) = state.next() else {
            state = shared.bell.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        state.running = state.running.saturating_add(1);
        drop(state);
        if perform(shared, job) {
            waker();
        }
        state = shared.lock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, sync_channel};

    /// Only ever waited for in full when a test fails.
    const PATIENCE: Duration = Duration::from_secs(60);

    fn stranger(n: u8) -> Source {
        Source::peer(format!("10.0.{n}.1").parse().unwrap(), false)
    }

    fn threads(most: usize, room: u64) -> (Workers<u32>, Receiver<()>) {
        let (sender, receiver) = sync_channel(1000);
        let waker: Waker = Arc::new(move || sender.send(()).unwrap());
        (Workers::threads(most, "test", waker, room), receiver)
    }

    /// All that is done, as it is done.
    fn collect(workers: &mut Workers<u32>, bell: &Receiver<()>, count: usize) -> Vec<(u64, Option<u32>)> {
        let mut found = Vec::new();
        while found.len() < count {
            match workers.poll() {
                Some(done) => found.push(done),
                None => bell.recv_timeout(PATIENCE).expect("the loop is woken for what is done"),
            }
        }
        found
    }

    #[test]
    fn what_is_submitted_is_done_once_and_the_loop_is_woken_for_it() {
        let (mut workers, bell) = threads(3, 1 << 20);
        for n in 0..200u32 {
            assert!(workers.submit(stranger(n as u8 % 7), n.into(), 1000, Box::new(move || n * 2)).is_empty());
        }
        let mut found = collect(&mut workers, &bell, 200);
        found.sort_unstable();
        assert_eq!(found, (0..200).map(|n| (u64::from(n), Some(n * 2))).collect::<Vec<_>>());
        assert_eq!((workers.poll(), workers.is_ready()), (None, false));
    }

    #[test]
    fn a_job_that_panics_is_answered_and_others_go_on() {
        let (mut workers, bell) = threads(1, 1 << 20);
        workers.submit(Source::Own, 1, 1, Box::new(|| panic!("on purpose")));
        workers.submit(Source::Own, 2, 1, Box::new(|| 7));
        let found = collect(&mut workers, &bell, 2);
        assert_eq!(found, [(1, None), (2, Some(7))]);
    }

    /// Holds the only thread, so that what comes meanwhile waits.
    fn held(workers: &mut Workers<u32>) -> std::sync::mpsc::SyncSender<()> {
        let (go, wait) = sync_channel::<()>(1);
        let (begun, begins) = sync_channel::<()>(1);
        let work = move || {
            begun.send(()).unwrap();
            let _ = wait.recv_timeout(PATIENCE);
            0
        };
        assert!(workers.submit(Source::Own, 0, 1, Box::new(work)).is_empty());
        begins.recv_timeout(PATIENCE).unwrap();
        go
    }

    #[test]
    fn who_brings_much_waits_behind_himself_and_gives_way_when_there_is_no_room() {
        let (mut workers, bell) = threads(1, 100);
        let go = held(&mut workers);
        for n in 1..=10 {
            assert!(workers.submit(stranger(1), n, 10, Box::new(|| 0)).is_empty());
        }
        assert_eq!(workers.submit(stranger(1), 11, 10, Box::new(|| 0)), [11], "there is room for ten");
        assert_eq!(workers.submit(stranger(2), 20, 25, Box::new(|| 0)), [10, 9, 8]);
        assert_eq!(workers.submit(Source::Own, 30, 30, Box::new(|| 0)), [7, 6, 5]);
        go.send(()).unwrap();
        let order: Vec<u64> = collect(&mut workers, &bell, 7).into_iter().map(|(ticket, _)| ticket).collect();
        assert_eq!(order, [0, 30, 1, 20, 2, 3, 4]);
    }

    #[test]
    fn a_job_that_nobody_wants_any_more_is_taken_out_unless_it_was_begun() {
        let (mut workers, bell) = threads(1, 100);
        let go = held(&mut workers);
        assert!(workers.submit(stranger(1), 1, 60, Box::new(|| 1)).is_empty());
        assert!(workers.submit(stranger(1), 2, 10, Box::new(|| 2)).is_empty());
        assert!(workers.cancel(stranger(1), 1) && !workers.cancel(stranger(1), 1) && !workers.cancel(Source::Own, 0));
        assert!(workers.submit(stranger(2), 3, 90, Box::new(|| 3)).is_empty(), "its room is free again");
        go.send(()).unwrap();
        let order: Vec<u64> = collect(&mut workers, &bell, 3).into_iter().map(|(ticket, _)| ticket).collect();
        assert_eq!(order, [0, 2, 3]);
    }

    #[test]
    fn what_is_done_and_not_fetched_holds_the_threads_up() {
        let (mut workers, bell) = threads(1, u64::MAX);
        for n in 0..6 {
            workers.submit(Source::Own, n, (DONE_BYTES_MAX / 2) as usize, Box::new(|| 0));
        }
        bell.recv_timeout(PATIENCE).unwrap();
        let mut most = 0;
        for n in 0..6 {
            loop {
                most = most.max(workers.shared.lock().done.len());
                match workers.poll() {
                    Some((ticket, _)) => break assert_eq!(ticket, n),
                    None => bell.recv_timeout(PATIENCE).unwrap(),
                }
            }
        }
        assert!(most <= 3, "{most} were done and waited");
    }
}
