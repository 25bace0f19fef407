//! The store's helper thread: it waits for the disk so that the loop does not.
//!
//! The loop hands over changes; the thread takes everything that waits and makes one durable transaction of it. While the
//! disk keeps up that is a turn's worth, while catching up it is whatever came in during the last write: batches grow by
//! themselves to what the disk can do. A block is readable from memory until it is durable.
//!
//! A write that fails is kept and tried again, later and later. The file is reopened after each failure, because redb
//! refuses even to read from a file that failed once. This thread is one of the places that use real time.
//!
//! Where everything must happen in one order, on one clock, there is no thread: [`Writer::inline`] writes during
//! [`Writer::hand_over`], with the same code, and what failed is tried again at the next one.

use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use bytes::Bytes;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, StorageError};

use crate::chain::open::{BLOCKS, GUARDED, guard};
use crate::chain::store::{Health, StoreError};

/// The pause after a first failure; it doubles with each further one.
const RETRY_FIRST: Duration = Duration::from_millis(100);
/// The longest pause between two tries: an operator who has made room sees it noticed.
const RETRY_LONGEST: Duration = Duration::from_secs(10);

/// How many blocks are let go under one lock: the loop waits for the lock, and not for a whole batch.
const RELEASED_AT_ONCE: usize = 256;

/// How the file is opened again after a failure.
pub(super) type Reopen = Box<dyn Fn() -> Result<Database, String> + Send>;

/// One thing to be made durable.
#[derive(Debug)]
enum Change {
    Put(u64, Bytes),
    Remove(u64),
}

/// The thread and what it shares with the loop. Dropping it writes what it can and waits for the thread.
pub(super) struct Writer {
    shared: Arc<Shared>,
    hand: Hand,
}

/// Who writes.
enum Hand {
    /// A thread; `None` once it was waited for.
    Thread(Option<JoinHandle<()>>),
    /// The caller.
    #[cfg(feature = "sim")]
    Inline(Reopen),
}

struct Shared {
    state: Mutex<State>,
    /// Rung for the thread: there is work, or the pause is over.
    work: Condvar,
    /// Rung for `flush`: something was written, or failed.
    done: Condvar,
    database: RwLock<Option<Database>>,
}

#[derive(Default)]
struct State {
    /// Put but not yet durable: what reads are served from, and what the backlog counts.
    pending: BTreeMap<u64, Bytes>,
    pending_bytes: usize,
    /// Changes of the turn that is under way.
    staged: Vec<Change>,
    /// Changes that the thread may take.
    queue: Vec<Change>,
    /// True while the thread holds changes that are not durable.
    writing: bool,
    durable: u64,
    error: Option<String>,
    failures: u64,
    hurry: bool,
    stop: bool,
}

impl State {
    fn is_clean(&self) -> bool {
        self.staged.is_empty() && self.queue.is_empty() && !self.writing
    }

    fn fail(&mut self, error: String) {
        self.error = Some(error);
        self.failures += 1;
        self.hurry = false;
    }
}

impl Writer {
    /// Starts the thread on an open file.
    pub(super) fn start(database: Database, reopen: Reopen) -> std::io::Result<Writer> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Condvar::new(),
            done: Condvar::new(),
            database: RwLock::new(Some(database)),
        });
        let theirs = Arc::clone(&shared);
        let thread = thread::Builder::new().name("chain-store".into()).spawn(move || run(&theirs, &reopen))?;
        Ok(Writer { shared, hand: Hand::Thread(Some(thread)) })
    }

    /// A writer without a thread, and so without a clock.
    #[cfg(feature = "sim")]
    pub(super) fn inline(database: Database, reopen: Reopen) -> Writer {
        let (work, done) = (Condvar::new(), Condvar::new());
        let shared = Shared { state: Mutex::default(), work, done, database: RwLock::new(Some(database)) };
        Writer { shared: Arc::new(shared), hand: Hand::Inline(reopen) }
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
        #[cfg(feature = "sim")]
        if let Hand::Inline(reopen) = &self.hand {
            write_once(&self.shared, reopen);
        }
    }

    /// A block's bytes, durable or not.
    pub(super) fn read(&self, seq: u64) -> Option<Bytes> {
        if let Some(bytes) = self.shared.lock().pending.get(&seq) {
            return Some(bytes.clone());
        }
        let database = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
        let read = |database: &Database| {
            let value = database.begin_read().ok()?.open_table(BLOCKS).ok()?.get(seq).ok()??;
            Some(Bytes::copy_from_slice(value.value()))
        };
        guard(|| read(database.as_ref()?)).flatten()
    }

    /// Calls `each` with every durable block in order of arrival, until it fails.
    pub(super) fn scan<E: From<redb::Error>>(
        &self,
        mut each: impl FnMut(u64, Bytes) -> Result<(), E>,
    ) -> Result<(), E> {
        let database = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
        let Some(database) = database.as_ref() else { return Ok(()) };
        let scan = || {
            let transaction = database.begin_read().map_err(redb::Error::from)?;
            let table = transaction.open_table(BLOCKS).map_err(redb::Error::from)?;
            for row in table.iter().map_err(redb::Error::from)? {
                let (seq, bytes) = row.map_err(redb::Error::from)?;
                each(seq.value(), Bytes::copy_from_slice(bytes.value()))?;
            }
            Ok(())
        };
        guard(scan).unwrap_or_else(|| Err(redb::Error::from(StorageError::Corrupted(GUARDED.into())).into()))
    }

    /// Bytes that are not durable yet.
    pub(super) fn backlog(&self) -> usize {
        self.shared.lock().pending_bytes
    }

    pub(super) fn health(&self) -> Health {
        let ended = match &self.hand {
            Hand::Thread(thread) => thread.as_ref().is_none_or(JoinHandle::is_finished),
            #[cfg(feature = "sim")]
            Hand::Inline(_) => false,
        };
        let state = self.shared.lock();
        let error = state.error.clone().or_else(|| ended.then(|| "the store's thread has ended".into()));
        Health { error, backlog_bytes: state.pending_bytes, written: state.durable }
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
            None => Err(StoreError::Slow { backlog_bytes: state.pending_bytes }),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.hand_over();
        self.shared.lock().stop = true;
        self.shared.work.notify_one();
        // Without the pattern for a writer without a thread, this one has no other case.
        #[allow(irrefutable_let_patterns, reason = "a writer without a thread is for tests and the simulator")]
        if let Hand::Thread(thread) = &mut self.hand
            && let Some(thread) = thread.take()
        {
            // An error is a panic of the thread, and a drop has nobody to tell.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// Nothing panics while it holds the lock, and if something did, the state would still be whole.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(shared: &Shared, reopen: &Reopen) {
    loop {
        let idle = |state: &mut State| state.queue.is_empty() && !state.stop;
        let mut state = shared.work.wait_while(shared.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        if state.queue.is_empty() {
            return;
        }
        let batch = core::mem::take(&mut state.queue);
        state.writing = true;
        drop(state);
        if !write_until_done(shared, reopen, &batch) {
            return;
        }
        release(shared, &batch);
    }
}

/// Writes what waits, if the disk lets us; what it does not take goes on waiting.
#[cfg(feature = "sim")]
fn write_once(shared: &Shared, reopen: &Reopen) {
    let batch = core::mem::take(&mut shared.lock().queue);
    if batch.is_empty() {
        return;
    }
    match attempt(shared, reopen, &batch) {
        Ok(()) => release(shared, &batch),
        Err(error) => {
            let mut state = shared.lock();
            state.queue = batch;
            state.fail(error);
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
    state.error = None;
    shared.done.notify_all();
}

/// Tries until it is written; false when it is time to stop and the last try failed.
fn write_until_done(shared: &Shared, reopen: &Reopen, batch: &[Change]) -> bool {
    let mut pause = RETRY_FIRST;
    loop {
        let Err(error) = attempt(shared, reopen, batch) else { return true };
        let mut state = shared.lock();
        state.fail(error);
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

/// Writes once. After an error the file is open again, if that can be.
fn attempt(shared: &Shared, reopen: &Reopen, batch: &[Change]) -> Result<(), String> {
    let written = ensure_open(shared, reopen).and_then(|()| write(shared, batch));
    if written.is_err() {
        // Closed before it is opened again: the old one holds the file's lock.
        *shared.database.write().unwrap_or_else(PoisonError::into_inner) = None;
        // Now and not with the next try, so that reading goes on; an error comes up again with the next try.
        let _ = ensure_open(shared, reopen);
    }
    written
}

fn ensure_open(shared: &Shared, reopen: &Reopen) -> Result<(), String> {
    if shared.database.read().unwrap_or_else(PoisonError::into_inner).is_none() {
        let database = reopen()?;
        *shared.database.write().unwrap_or_else(PoisonError::into_inner) = Some(database);
    }
    Ok(())
}

fn write(shared: &Shared, batch: &[Change]) -> Result<(), String> {
    let database = shared.database.read().unwrap_or_else(PoisonError::into_inner);
    let database = database.as_ref().ok_or("the file is closed")?;
    let commit = || -> Result<(), redb::Error> {
        let mut transaction = database.begin_write()?;
        // Anything less loses the table in a crash of this process alone.
        transaction.set_durability(Durability::Immediate)?;
        {
            let mut blocks = transaction.open_table(BLOCKS)?;
            for change in batch {
                match change {
                    Change::Put(seq, bytes) => drop(blocks.insert(seq, &bytes[..])?),
                    Change::Remove(seq) => drop(blocks.remove(seq)?),
                }
            }
        }
        Ok(transaction.commit()?)
    };
    guard(commit)
        .unwrap_or_else(|| Err(StorageError::Corrupted(GUARDED.into()).into()))
        .map_err(|error| error.to_string())
}
