//! Where blocks are kept: in a file that survives `kill -9`, or in memory for tests and embedders.
//!
//! ```text
//! meta    format -> u32 (1)        genesis -> the genesis block
//! blocks  seq (u64) -> block       in order of arrival, so a parent always stands before its children
//! ```
//!
//! Every write is durable before it counts as written (`Durability::Immediate`), whole turns at a time, so the file holds
//! a prefix of what was appended whenever the process dies. Whether it survives a loss of power rests on the disk honouring
//! a flush.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::chain::genesis::Params;
use crate::chain::open::{self, OpenError};
use crate::chain::storage::{FilePath, Storage};
use crate::chain::writer::{Reopen, Writer};

/// The most bytes that may wait for the disk: a few of the largest blocks, or minutes of small ones. Above it the chain
/// takes no more blocks until the disk has caught up.
pub const MAX_BACKLOG_BYTES: usize = 64 * 1024 * 1024;

/// How the store is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What the last write failed with; `None` once one has succeeded again. A chain says here too that the disk gave back
    /// a block other than it was given, and goes on saying it.
    pub error: Option<String>,
    /// Bytes of blocks that are not durable yet.
    pub backlog_bytes: usize,
    /// Blocks made durable since the store was opened.
    pub written: u64,
}

/// Why a flush ended with something not durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// A write failed. It will be tried again while the store is open.
    Write(String),
    /// The disk did not answer in time.
    Slow {
        /// Bytes of blocks that are not durable yet.
        backlog_bytes: usize,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Write(error) => write!(
                f,
                "cannot write blocks: {error}: make room on the disk; blocks that are not stored are downloaded again"
            ),
            StoreError::Slow { backlog_bytes } => {
                write!(f, "the disk did not finish in time, {backlog_bytes} bytes of blocks are not stored yet")
            }
        }
    }
}

impl std::error::Error for StoreError {}

/// Blocks by order of arrival.
pub struct Store {
    backend: Backend,
    next_seq: u64,
}

enum Backend {
    Memory(BTreeMap<u64, Bytes>),
    Disk { writer: Writer, path: PathBuf },
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.backend {
            Backend::Memory(_) => "memory",
            Backend::Disk { .. } => "disk",
        };
        f.debug_struct("Store").field("backend", &kind).field("next_seq", &self.next_seq).finish()
    }
}

impl Store {
    /// A store that is gone when the process is.
    pub fn memory() -> Store {
        Store { backend: Backend::Memory(BTreeMap::new()), next_seq: 0 }
    }

    /// Opens the store at `path`, or makes one, for the network of `params`, and starts its helper thread. The directory
    /// must exist.
    ///
    /// # Errors
    ///
    /// Why the file cannot be used. It is left as it is.
    pub fn open(path: &Path, params: &Params) -> Result<Store, OpenError> {
        let storage = FilePath(path.to_owned());
        let database = open::open(&storage, path, params)?;
        Store::start(path, database, reopen(storage, path, params))
    }

    fn start(path: &Path, database: redb::Database, reopen: Reopen) -> Result<Store, OpenError> {
        let writer = Writer::start(database, reopen).map_err(|error| OpenError::Io { path: path.to_owned(), error })?;
        Ok(Store { backend: Backend::Disk { writer, path: path.to_owned() }, next_seq: 0 })
    }

    /// A store in `storage`; `path` is its name in reports. It has no thread: what was appended is written during
    /// [`Store::hand_over`], and when it is dropped.
    #[cfg(feature = "sim")]
    pub(crate) fn open_on(storage: impl Storage, path: &Path, params: &Params) -> Result<Store, OpenError> {
        let database = open::open(&storage, path, params)?;
        let writer = Writer::inline(database, reopen(storage, path, params));
        Ok(Store { backend: Backend::Disk { writer, path: path.to_owned() }, next_seq: 0 })
    }

    /// Calls `each` with every block, in order of arrival. Blocks appended later come after all of these.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or when `each` says what is wrong with a block: both are damage.
    pub fn load(&mut self, mut each: impl FnMut(u64, Bytes) -> Result<(), String>) -> Result<(), OpenError> {
        enum Stop {
            Read(redb::Error),
            Block(u64, String),
        }
        impl From<redb::Error> for Stop {
            fn from(error: redb::Error) -> Self {
                Stop::Read(error)
            }
        }
        let next_seq = &mut self.next_seq;
        let mut visit = |seq: u64, bytes: Bytes| {
            *next_seq = seq.saturating_add(1);
            each(seq, bytes).map_err(|why| Stop::Block(seq, why))
        };
        match &self.backend {
            Backend::Memory(blocks) => {
                blocks.iter().try_for_each(|(seq, bytes)| visit(*seq, bytes.clone())).map_err(|stop| match stop {
                    Stop::Block(seq, why) => open::damaged(Path::new("memory"), format!("block {seq}: {why}")),
                    Stop::Read(error) => open::classify(Path::new("memory"), error),
                })
            }
            Backend::Disk { writer, path } => writer.scan(visit).map_err(|stop| match stop {
                Stop::Block(seq, why) => open::damaged(path, format!("block {seq}: {why}")),
                Stop::Read(error) => open::classify(path, error),
            }),
        }
    }

    /// Appends a block and says where it stands. It can be read at once and is durable soon after [`Store::hand_over`].
    pub fn append(&mut self, bytes: Bytes) -> u64 {
        let seq = self.next_seq;
        self.next_seq = seq.saturating_add(1);
        match &mut self.backend {
            Backend::Memory(blocks) => drop(blocks.insert(seq, bytes)),
            Backend::Disk { writer, .. } => writer.put(seq, bytes),
        }
        seq
    }

    /// Removes a block that no stored block builds on.
    pub fn remove(&mut self, seq: u64) {
        match &mut self.backend {
            Backend::Memory(blocks) => drop(blocks.remove(&seq)),
            Backend::Disk { writer, .. } => writer.remove(seq),
        }
    }

    /// Lets the helper thread write everything appended so far, as one transaction. Returns at once.
    pub fn hand_over(&mut self) {
        if let Backend::Disk { writer, .. } = &self.backend {
            writer.hand_over();
        }
    }

    /// The bytes of the block at `seq`; `None` when there is none or the disk does not give it.
    pub fn read(&self, seq: u64) -> Option<Bytes> {
        match &self.backend {
            Backend::Memory(blocks) => blocks.get(&seq).cloned(),
            Backend::Disk { writer, .. } => writer.read(seq),
        }
    }

    /// True when [`MAX_BACKLOG_BYTES`] or more wait for the disk.
    pub fn is_behind(&self) -> bool {
        match &self.backend {
            Backend::Memory(_) => false,
            Backend::Disk { writer, .. } => writer.backlog() >= MAX_BACKLOG_BYTES,
        }
    }

    /// How the store is doing.
    pub fn health(&self) -> Health {
        match &self.backend {
            Backend::Memory(_) => Health::default(),
            Backend::Disk { writer, .. } => writer.health(),
        }
    }

    /// Waits until everything appended is durable, at most `patience`. For a clean stop, not for the loop.
    ///
    /// # Errors
    ///
    /// When a write fails meanwhile or the disk takes longer. The store goes on trying either way.
    pub fn flush(&mut self, patience: Duration) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Memory(_) => Ok(()),
            Backend::Disk { writer, .. } => writer.flush(patience),
        }
    }
}

fn reopen(storage: impl Storage, path: &Path, params: &Params) -> Reopen {
    let (path, params) = (path.to_owned(), *params);
    Box::new(move || open::open(&storage, &path, &params).map_err(|error| error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use redb::{Builder, StorageBackend};
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    /// Longer than any of these waits takes, and only ever waited for in full when a test fails.
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A disk in memory that outlives its database and can be full or broken.
    #[derive(Clone, Debug, Default)]
    struct Disk {
        bytes: Arc<Mutex<Vec<u8>>>,
        /// Nothing can grow.
        full: Arc<AtomicBool>,
        /// Nothing can be written.
        broken: Arc<AtomicBool>,
    }

    impl StorageBackend for Disk {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.lock().unwrap().len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let bytes = self.bytes.lock().unwrap();
            let from = usize::try_from(offset).unwrap();
            out.copy_from_slice(bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            let mut bytes = self.bytes.lock().unwrap();
            let len = usize::try_from(len).unwrap();
            if self.broken.load(Ordering::SeqCst) || self.full.load(Ordering::SeqCst) && len > bytes.len() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            bytes.resize(len, 0);
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            if self.broken.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            if self.broken.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let mut bytes = self.bytes.lock().unwrap();
            let from = usize::try_from(offset).unwrap();
            bytes.get_mut(from..from + data.len()).ok_or(io::ErrorKind::StorageFull)?.copy_from_slice(data);
            Ok(())
        }
    }

    impl Disk {
        fn database(&self) -> Result<redb::Database, String> {
            Builder::new().create_with_backend(self.clone()).map_err(|error| error.to_string())
        }

        fn store(&self) -> Store {
            let again = self.clone();
            Store::start(Path::new("test"), self.database().unwrap(), Box::new(move || again.database())).unwrap()
        }
    }

    fn large(n: u8) -> Bytes {
        vec![n; 1 << 20].into()
    }

    #[test]
    fn a_full_disk_is_reported_serving_goes_on_and_room_lets_it_catch_up() {
        let disk = Disk::default();
        let mut store = disk.store();
        let first = store.append(large(1));
        store.flush(PATIENCE).unwrap();
        disk.full.store(true, Ordering::SeqCst);
        let mut waiting = Vec::new();
        // More than fits into what the file has already, whatever its layout.
        for n in 2..40 {
            waiting.push((store.append(large(n)), n));
        }
        let error = store.flush(PATIENCE).unwrap_err();
        assert!(matches!(error, StoreError::Write(_)), "{error:?}");
        assert!(store.health().error.is_some());
        assert_eq!(store.health().backlog_bytes, waiting.len() << 20);
        assert_eq!(store.read(first), Some(large(1)), "what is on disk is served");
        for (seq, n) in &waiting {
            assert_eq!(store.read(*seq), Some(large(*n)), "what waits is served");
        }
        disk.full.store(false, Ordering::SeqCst);
        // A try that began while the disk was full may still fail after it has room, and ends the first flush; seen once
        // in many runs. The try after it has nothing to fail for.
        if store.flush(PATIENCE).is_err() {
            store.flush(PATIENCE).unwrap();
        }
        assert_eq!(store.health(), Health { error: None, backlog_bytes: 0, written: 39 });
        drop(store);
        let mut seen = Vec::new();
        let mut again = disk.store();
        again
            .load(|seq, bytes| {
                seen.push((seq, bytes));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, (0..39).map(|seq| (seq, large(u8::try_from(seq).unwrap() + 1))).collect::<Vec<_>>());
    }

    #[test]
    fn a_broken_disk_keeps_what_it_holds_and_does_not_hold_up_a_stop() {
        let disk = Disk::default();
        let mut store = disk.store();
        store.append(large(1));
        store.flush(PATIENCE).unwrap();
        disk.broken.store(true, Ordering::SeqCst);
        let waiting = store.append(large(2));
        assert!(store.flush(PATIENCE).is_err() && store.flush(PATIENCE).is_err());
        assert_eq!(store.read(waiting), Some(large(2)));
        drop(store);
        disk.broken.store(false, Ordering::SeqCst);
        let mut count = 0;
        let counted = disk.store().load(|seq, bytes| {
            assert_eq!((seq, bytes), (0, large(1)));
            count += 1;
            Ok(())
        });
        counted.unwrap();
        assert_eq!(count, 1);
    }

    #[test]
    fn too_much_that_waits_is_said_until_it_is_written() {
        let disk = Disk::default();
        let mut store = disk.store();
        disk.broken.store(true, Ordering::SeqCst);
        for n in 0..63 {
            store.append(large(n));
        }
        assert!(!store.is_behind());
        store.append(large(63));
        assert!(store.is_behind());
        assert!(store.flush(PATIENCE).is_err());
        assert!(store.is_behind());
        disk.broken.store(false, Ordering::SeqCst);
        store.flush(PATIENCE).unwrap();
        assert!(!store.is_behind());
    }

    #[test]
    fn a_removed_block_is_gone_in_memory_and_on_disk() {
        let disk = Disk::default();
        for mut store in [Store::memory(), disk.store()] {
            let (kept, gone) = (store.append(large(1)), store.append(large(2)));
            store.flush(PATIENCE).unwrap();
            store.remove(gone);
            let short = store.append(large(3));
            store.remove(short);
            store.flush(PATIENCE).unwrap();
            assert_eq!((store.read(kept), store.read(gone), store.read(short)), (Some(large(1)), None, None));
        }
    }
}
