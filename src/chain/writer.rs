//! The store's helper thread: it waits for the disk so that the loop does not.
//!
//! The loop hands over changes; the thread takes everything that waits and makes one durable batch of it. A block that
//! comes alone is written at once. While blocks come one after the other, batches are some milliseconds apart: each costs a
//! page and a sync however little is in it. A block is readable from memory until it is durable.
//!
//! A write that fails is kept and tried again, later and later. This thread is one of the places that use real time.
//!
//! Where everything must happen in one order, on one clock, there is no thread: [`Writer::inline`] writes during
//! [`Writer::hand_over`], with the same code, and what failed is tried again at the next one.

use core::time::Duration;
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use bytes::Bytes;

use crate::chain::health::{Health, StoreError, told};
use crate::chain::log::{Change, Log};
use crate::chain::open::Opened;
use crate::chain::places::{Places, ReadError};
use crate::chain::workers::Waker;
use crate::histogram::Histogram;

/// The most bytes that may wait for the disk: a few of the largest blocks, or minutes of small ones. Above it the chain
/// takes no more blocks until the disk has caught up.
pub const MAX_BACKLOG_BYTES: usize = 64 * 1024 * 1024;

/// The pause after a first failure; it doubles with each further one.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two tries: an operator who has made room sees it noticed.
const RETRY_LONGEST: Duration = Duration::from_secs(10);
/// The least time between two batches. What a loss of power takes is downloaded again, and so a little more of it does no
/// harm; twenty times fewer syncs leave the disk to others.
const GATHER: Duration = Duration::from_millis(20);
/// So much is not waited with.
const GATHER_BYTES: usize = 4 * 1024 * 1024;

/// Segments whose room is given back after one batch.
const TIDIED_AT_ONCE: u32 = 4;
/// How many blocks are let go under one lock: the loop waits for the lock, and not for a whole batch.
const RELEASED_AT_ONCE: usize = 256;

/// What is said of a store that gave back other bytes than it was given.
pub(super) const SPOILED: &str = "the disk gives back blocks that are not the ones it was given: check the disk, then move \
                                  the store away and start again to download the chain anew";
/// What is said of blocks that come to a store that is only read.
const READ_ONLY: &str = "the store was opened to be read only";

/// The thread and what it shares with the loop. Dropping it writes what it can and waits for the thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    hand: Hand,
    /// Given back when the thread is done.
    _lock: Option<File>,
}

/// Who writes.
enum Hand {
    /// A thread; `None` once it was waited for.
    Thread(Option<JoinHandle<()>>),
    /// The caller.
    #[cfg(feature = "sim")]
    Inline(Box<Mutex<Log>>),
    /// Nobody may.
    Nobody,
}

struct Shared {
    state: Mutex<State>,
    /// Rung for the loop: there is room again.
    waker: OnceLock<Waker>,
    /// Rung for the thread: there is work, or the pause is over.
    work: Condvar,
    /// Rung for `flush`: something was written, or failed.
    done: Condvar,
    places: Arc<Places>,
}

#[derive(Default)]
struct State {
    /// Put but not yet durable: what reads are served from, and what the backlog counts.
    pending: BTreeMap<u64, Bytes>,
    pending_bytes: usize,
    /// What a crash has left, and may not be durable.
    unsure_bytes: usize,
    /// The segments that a crash or a failure has left are to be closed.
    settling: bool,
    /// Changes of the turn that is under way.
    staged: Vec<Change>,
    /// Changes that the thread may take.
    queue: Vec<Change>,
    /// True while the thread holds changes that are not durable.
    writing: bool,
    durable: u64,
    /// How long batches took.
    writes: Histogram,
    error: Option<String>,
    failures: u64,
    /// Somebody was told that there is no room, and waits for some.
    is_awaited: bool,
    hurry: bool,
    stop: bool,
}

impl State {
    fn has_work(&self) -> bool {
        self.settling || !self.queue.is_empty()
    }

    fn is_clean(&self) -> bool {
        self.staged.is_empty() && !self.has_work() && !self.writing
    }

    fn backlog(&self) -> usize {
        self.pending_bytes.saturating_add(self.unsure_bytes)
    }

    /// Does somebody wait for room that is there now? Not for the first byte of it, or one would wait again at once.
    fn has_room(&self, limit: usize) -> bool {
        self.is_awaited && self.backlog() <= limit / 2
    }

    fn fail(&mut self, error: String) {
        self.error = Some(error);
        self.failures += 1;
        self.hurry = false;
    }
}

impl Shared {
    fn new(log: &Log) -> Shared {
        let unsure_bytes = usize::try_from(log.unsure_bytes()).unwrap_or(usize::MAX);
        let state = State { unsure_bytes, settling: log.is_unsettled(), ..State::default() };
        let (work, done) = (Condvar::new(), Condvar::new());
        Shared { state: Mutex::new(state), waker: OnceLock::new(), work, done, places: Arc::clone(&log.places) }
    }
}

impl Writer {
    /// Starts the thread on an open store.
    pub(super) fn start(opened: Opened) -> std::io::Result<Writer> {
        let shared = Arc::new(Shared::new(&opened.log));
        let (theirs, mut log) = (Arc::clone(&shared), opened.log);
        let thread = thread::Builder::new().name("chain-store".into()).spawn(move || run(&theirs, &mut log))?;
        Ok(Writer { shared, hand: Hand::Thread(Some(thread)), _lock: opened.lock })
    }

    /// A writer without a thread, and so without a clock.
    #[cfg(feature = "sim")]
    pub(super) fn inline(opened: Opened) -> Writer {
        let shared = Arc::new(Shared::new(&opened.log));
        Writer { shared, hand: Hand::Inline(Box::new(Mutex::new(opened.log))), _lock: opened.lock }
    }

    /// A writer that writes nothing: what is put stays in memory.
    pub(super) fn none(opened: Opened) -> Writer {
        let state = Mutex::new(State { error: None, ..State::default() });
        let (work, done, places) = (Condvar::new(), Condvar::new(), opened.log.places);
        let shared = Arc::new(Shared { state, waker: OnceLock::new(), work, done, places });
        Writer { shared, hand: Hand::Nobody, _lock: opened.lock }
    }

    /// Stages a block; it can be read from now on.
    pub(super) fn put(&self, seq: u64, bytes: Bytes) {
        let mut state = self.shared.lock();
        state.pending_bytes = state.pending_bytes.saturating_add(bytes.len());
        if let Some(old) = state.pending.insert(seq, bytes.clone()) {
            state.pending_bytes = state.pending_bytes.saturating_sub(old.len());
        }
        state.staged.push(Change::Put(seq, bytes));
    }

    /// Stages the removal of a block.
    pub(super) fn remove(&self, seq: u64) {
        self.shared.lock().staged.push(Change::Remove(seq));
    }

    /// Lets the thread have what was staged.
    pub(super) fn hand_over(&self) {
        let mut state = self.shared.lock();
        if !state.staged.is_empty() {
            let mut staged = core::mem::take(&mut state.staged);
            state.queue.append(&mut staged);
            self.shared.work.notify_one();
        }
        drop(state);
        match &self.hand {
            Hand::Thread(_) => {}
            #[cfg(feature = "sim")]
            Hand::Inline(log) => write_once(&self.shared, &mut log.lock().unwrap_or_else(PoisonError::into_inner)),
            Hand::Nobody => {
                let mut state = self.shared.lock();
                if state.has_work() {
                    state.fail(READ_ONLY.into());
                }
            }
        }
    }

    /// A block's bytes, durable or not.
    pub(super) fn read(&self, seq: u64) -> Option<Bytes> {
        self.shared.read(seq)
    }

    /// The same from another thread.
    pub(super) fn reader(&self) -> DiskReader {
        DiskReader(Arc::clone(&self.shared))
    }

    /// Calls `each` with every durable block in order of arrival, until it fails.
    pub(super) fn scan<E: From<ReadError>>(&self, each: impl FnMut(u64, Bytes) -> Result<(), E>) -> Result<(), E> {
        self.shared.places.scan(each)
    }

    /// Do so many bytes or more wait for the disk? Who is told so can wait for [`has_room`](Self::has_room).
    pub(super) fn is_behind(&self) -> bool {
        let mut state = self.shared.lock();
        let is_behind = state.backlog() >= MAX_BACKLOG_BYTES;
        state.is_awaited |= is_behind;
        is_behind
    }

    /// Was it behind, and is there room again?
    pub(super) fn has_room(&self) -> bool {
        self.shared.lock().has_room(MAX_BACKLOG_BYTES)
    }

    /// The same, and nobody waits for it any more.
    pub(super) fn take_room(&self) -> bool {
        let mut state = self.shared.lock();
        let has_room = state.has_room(MAX_BACKLOG_BYTES);
        state.is_awaited &= !has_room;
        has_room
    }

    /// Who is rung when there is room again for whoever waits.
    pub(super) fn set_waker(&self, waker: Waker) {
        // There is one loop, which does not change.
        let _ = self.shared.waker.set(waker);
    }

    pub(super) fn health(&self) -> Health {
        let ended = match &self.hand {
            Hand::Thread(thread) => thread.as_ref().is_none_or(JoinHandle::is_finished),
            #[cfg(feature = "sim")]
            Hand::Inline(_) => false,
            Hand::Nobody => false,
        };
        let spoiled = self.shared.places.is_spoiled();
        let state = self.shared.lock();
        let error = state.error.clone().or_else(|| ended.then(|| "the store's thread has ended".into()));
        let error = error.or_else(|| spoiled.then(|| SPOILED.into()));
        let (written, writes, failures) = (state.durable, state.writes, state.failures);
        Health { error, backlog_bytes: state.backlog(), written, writes, failures }
    }

    /// Waits until everything is durable, at most `patience`, and not beyond a failure.
    pub(super) fn flush(&self, patience: Duration) -> Result<(), StoreError> {
        // Where the caller writes, this is the whole of it.
        self.hand_over();
        let mut state = self.shared.lock();
        let failures = state.failures;
        state.hurry = true;
        self.shared.work.notify_one();
        let threaded = matches!(self.hand, Hand::Thread(_));
        let waits = |state: &mut State| threaded && !state.is_clean() && state.failures == failures;
        let (state, _) =
            self.shared.done.wait_timeout_while(state, patience, waits).unwrap_or_else(PoisonError::into_inner);
        if state.is_clean() {
            return Ok(());
        }
        match &state.error {
            Some(error) => Err(StoreError::Write(error.clone())),
            None => Err(StoreError::Slow { backlog_bytes: state.backlog() }),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.hand_over();
        self.shared.lock().stop = true;
        self.shared.work.notify_one();
        if let Hand::Thread(thread) = &mut self.hand
            && let Some(thread) = thread.take()
        {
            // An error is a panic of the thread, and a drop has nobody to tell.
            let _ = thread.join();
        }
    }
}

/// What reads of a store, on any thread. It does not keep the store open.
pub(super) struct DiskReader(Arc<Shared>);

impl DiskReader {
    /// A block's bytes, durable or not.
    pub(super) fn read(&self, seq: u64) -> Option<Bytes> {
        self.0.read(seq)
    }
}

impl Shared {
    fn read(&self, seq: u64) -> Option<Bytes> {
        if let Some(bytes) = self.lock().pending.get(&seq) {
            return Some(bytes.clone());
        }
        self.places.read(seq).ok()?
    }

    /// Nothing panics while it holds the lock, and if something did, the state would still be whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(shared: &Shared, log: &mut Log) {
    loop {
        let idle = |state: &mut State| !state.has_work() && !state.stop;
        let mut state = shared.work.wait_while(shared.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        if !state.has_work() {
            return;
        }
        let batch = core::mem::take(&mut state.queue);
        state.writing = true;
        drop(state);
        let begun = Instant::now();
        if !write_until_done(shared, log, &batch) {
            return;
        }
        release(shared, &batch);
        // One segment and one look at what waits after the other.
        for _ in 0..TIDIED_AT_ONCE {
            if shared.lock().has_work() || !log.tidy() {
                break;
            }
        }
        gather(shared, begun);
    }
}

/// Waits until the next batch may begin.
fn gather(shared: &Shared, begun: Instant) {
    let enough = |state: &State| state.hurry || state.stop || state.pending_bytes >= GATHER_BYTES;
    let mut state = shared.lock();
    while !enough(&state) {
        let Some(left) = GATHER.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) else { return };
        state = shared.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
    }
}

/// Writes what waits, if the disk lets us; what it does not take goes on waiting.
#[cfg(feature = "sim")]
fn write_once(shared: &Shared, log: &mut Log) {
    let batch = {
        let mut state = shared.lock();
        if !state.has_work() {
            return;
        }
        core::mem::take(&mut state.queue)
    };
    match log.write(&batch) {
        Ok(()) => {
            release(shared, &batch);
            let _ = (0..TIDIED_AT_ONCE).all(|_| log.tidy());
        }
        Err(error) => {
            let mut state = shared.lock();
            state.queue = batch;
            state.fail(told(&error));
        }
    }
}

/// Lets go of what is durable now.
fn release(shared: &Shared, batch: &[Change]) {
    for part in batch.chunks(RELEASED_AT_ONCE) {
        let mut state = shared.lock();
        for change in part {
            if let Change::Put(seq, bytes) = change {
                state.pending.remove(seq);
                state.pending_bytes = state.pending_bytes.saturating_sub(bytes.len());
                state.durable += 1;
            }
        }
    }
    let mut state = shared.lock();
    state.writing = false;
    state.settling = false;
    state.unsure_bytes = 0;
    state.error = None;
    if state.queue.is_empty() {
        state.hurry = false;
    }
    let has_room = state.has_room(MAX_BACKLOG_BYTES);
    drop(state);
    shared.done.notify_all();
    if has_room && let Some(waker) = shared.waker.get() {
        waker();
    }
}

/// Tries until it is written; false when it is time to stop and the last try failed.
fn write_until_done(shared: &Shared, log: &mut Log, batch: &[Change]) -> bool {
    let mut pause = RETRY_FIRST;
    loop {
        let began = Instant::now();
        let written = log.write(batch);
        let mut state = shared.lock();
        let Err(error) = written else {
            state.writes.record(began.elapsed());
            return true;
        };
        state.fail(told(&error));
        shared.done.notify_all();
        if state.stop {
            return false;
        }
        let until = Instant::now() + pause;
        while !state.hurry && !state.stop {
            let Some(left) = until.checked_duration_since(Instant::now()) else { break };
            state = shared.work.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        pause = (pause * 2).min(RETRY_LONGEST);
    }
}
