//! Where blocks are kept: in segments of records with checksums, by order of arrival.
//!
#![doc = include_str!("store.md")]

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::chain::genesis::Params;
pub use crate::chain::health::{Health, StoreError};
use crate::chain::open::{self, OpenError};
use crate::chain::places::ReadError;
use crate::chain::storage::{Access, Directory, Storage};
use crate::chain::workers::Waker;
pub use crate::chain::writer::MAX_BACKLOG_BYTES;
use crate::chain::writer::{DiskReader, Writer};

/// Blocks by order of arrival.
pub struct Store {
    backend: Backend,
    next_seq: u64,
}

enum Backend {
    Memory(BTreeMap<u64, Bytes>),
    Disk { writer: Writer, path: PathBuf },
}

/// A block that is to be read, by whichever thread.
pub(super) enum Reader {
    Memory(Option<Bytes>),
    Disk(DiskReader, u64),
}

impl Reader {
    /// Its bytes; `None` when there is none or the disk does not give it.
    pub(super) fn read(self) -> Option<Bytes> {
        match self {
            Reader::Memory(bytes) => bytes,
            Reader::Disk(reader, seq) => reader.read(seq),
        }
    }
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

    /// Opens the store in the directory `path`, or makes one, for the network of `params`, and starts its helper thread.
    /// The directory above it must exist.
    ///
    /// # Errors
    ///
    /// Why the store cannot be used. It is left as it is.
    pub fn open(path: &Path, params: &Params) -> Result<Store, OpenError> {
        open::refuse_file(path)?;
        Store::start(Directory(path.to_owned()), path, params)
    }

    /// Opens the store in the directory `path` to be read, also where nothing may be written. Changes nothing, not even what
    /// a crash has left. What is appended stays in memory, and [`Store::health`] says so.
    ///
    /// # Errors
    ///
    /// Why the store cannot be used; also when there is none.
    pub fn open_read_only(path: &Path, params: &Params) -> Result<Store, OpenError> {
        open::refuse_file(path)?;
        let opened = open::open(Box::new(Directory(path.to_owned())), path, params, Access::Read)?;
        Ok(Store::with(path, opened.next_seq, Writer::none(opened)))
    }

    fn start(storage: impl Storage, path: &Path, params: &Params) -> Result<Store, OpenError> {
        let opened = open::open(Box::new(storage), path, params, Access::Write)?;
        let next_seq = opened.next_seq;
        let writer = Writer::start(opened).map_err(|error| OpenError::Io { path: path.to_owned(), error })?;
        Ok(Store::with(path, next_seq, writer))
    }

    /// A store in `storage`; `path` is its name in reports. It has no thread: what was appended is written during
    /// [`Store::hand_over`], and when it is dropped.
    #[cfg(feature = "sim")]
    pub(crate) fn open_on(storage: impl Storage, path: &Path, params: &Params) -> Result<Store, OpenError> {
        let opened = open::open(Box::new(storage), path, params, Access::Write)?;
        Ok(Store::with(path, opened.next_seq, Writer::inline(opened)))
    }

    fn with(path: &Path, next_seq: u64, writer: Writer) -> Store {
        Store { backend: Backend::Disk { writer, path: path.to_owned() }, next_seq }
    }

    /// Calls `each` with every block, in order of arrival. Blocks appended later come after all of these.
    ///
    /// # Errors
    ///
    /// When the store cannot be read, or when `each` says what is wrong with a block: both are damage.
    pub fn load(&mut self, mut each: impl FnMut(u64, Bytes) -> Result<(), String>) -> Result<(), OpenError> {
        enum Stop {
            Read(ReadError),
            Block(u64, String),
        }
        impl From<ReadError> for Stop {
            fn from(error: ReadError) -> Self {
                Stop::Read(error)
            }
        }
        let next_seq = &mut self.next_seq;
        let mut visit = |seq: u64, bytes: Bytes| {
            *next_seq = seq.saturating_add(1).max(*next_seq);
            each(seq, bytes).map_err(|why| Stop::Block(seq, why))
        };
        match &self.backend {
            Backend::Memory(blocks) => {
                blocks.iter().try_for_each(|(seq, bytes)| visit(*seq, bytes.clone())).map_err(|stop| match stop {
                    Stop::Block(seq, why) => open::damaged(Path::new("memory"), format!("block {seq}: {why}")),
                    Stop::Read(error) => open::unreadable(Path::new("memory"), error),
                })
            }
            Backend::Disk { writer, path } => writer.scan(visit).map_err(|stop| match stop {
                Stop::Block(seq, why) => open::damaged(path, format!("block {seq}: {why}")),
                Stop::Read(error) => open::unreadable(path, error),
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

    /// Lets the helper thread write everything appended so far, as one batch. Returns at once.
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

    /// A way to the block at `seq` that another thread may go.
    pub(super) fn reader(&self, seq: u64) -> Reader {
        match &self.backend {
            Backend::Memory(blocks) => Reader::Memory(blocks.get(&seq).cloned()),
            Backend::Disk { writer, .. } => Reader::Disk(writer.reader(), seq),
        }
    }

    /// May a block have to be read from a disk?
    pub(super) fn is_on_disk(&self) -> bool {
        matches!(self.backend, Backend::Disk { .. })
    }

    /// True when [`MAX_BACKLOG_BYTES`] or more wait for the disk.
    pub fn is_behind(&self) -> bool {
        match &self.backend {
            Backend::Memory(_) => false,
            Backend::Disk { writer, .. } => writer.is_behind(),
        }
    }

    /// Was it [behind](Self::is_behind) when that was asked, and has half of the room again? `take` says so once.
    pub(super) fn has_room_again(&self, take: bool) -> bool {
        match &self.backend {
            Backend::Memory(_) => false,
            Backend::Disk { writer, .. } if take => writer.take_room(),
            Backend::Disk { writer, .. } => writer.has_room(),
        }
    }

    /// Who is rung when there is room again.
    pub(super) fn set_waker(&self, waker: Waker) {
        if let Backend::Disk { writer, .. } = &self.backend {
            writer.set_waker(waker);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::storage::SegmentFile;
    use std::collections::BTreeMap;
    use std::fs::File;
    use std::io;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex};

    /// Longer than any of these waits takes, and only ever waited for in full when a test fails.
    const PATIENCE: Duration = Duration::from_secs(60);

    type Bytes8 = Arc<Mutex<Vec<u8>>>;

    /// A disk in memory that outlives its store and can be full or broken.
    #[derive(Clone, Debug, Default)]
    struct Disk {
        names: Arc<Mutex<BTreeMap<String, Bytes8>>>,
        /// Nothing can grow.
        full: Arc<AtomicBool>,
        /// Nothing can be written.
        broken: Arc<AtomicBool>,
    }

    struct DiskFile {
        disk: Disk,
        bytes: Bytes8,
    }

    impl Disk {
        fn may_write(&self) -> io::Result<()> {
            if self.broken.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }

        fn may_grow(&self) -> io::Result<()> {
            if self.full.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }

        fn file(&self, bytes: &Bytes8) -> Box<dyn SegmentFile> {
            Box::new(DiskFile { disk: self.clone(), bytes: Arc::clone(bytes) })
        }

        fn store(&self) -> Store {
            Store::start(self.clone(), Path::new("test"), &Params::default()).unwrap()
        }

        fn held(&self) -> usize {
            self.names.lock().unwrap().values().map(|bytes| bytes.lock().unwrap().len()).sum()
        }
    }

    impl Storage for Disk {
        fn enter(&self, _: Access) -> io::Result<Option<File>> {
            Ok(None)
        }

        fn numbers(&self) -> io::Result<Vec<u32>> {
            Ok(self.names.lock().unwrap().keys().filter_map(|name| name.parse().ok()).collect())
        }

        fn open(&self, number: u32, _: Access) -> io::Result<Box<dyn SegmentFile>> {
            let names = self.names.lock().unwrap();
            Ok(self.file(names.get(&number.to_string()).ok_or(io::ErrorKind::NotFound)?))
        }

        fn make(&self, number: u32) -> io::Result<Box<dyn SegmentFile>> {
            self.may_write()?;
            self.may_grow()?;
            let bytes = Bytes8::default();
            self.names.lock().unwrap().insert(format!("{number}.tmp"), Arc::clone(&bytes));
            Ok(self.file(&bytes))
        }

        fn put_in_place(&self, number: u32) -> io::Result<()> {
            self.may_write()?;
            let mut names = self.names.lock().unwrap();
            let file = names.remove(&format!("{number}.tmp")).ok_or(io::ErrorKind::NotFound)?;
            names.insert(number.to_string(), file);
            Ok(())
        }

        fn remove(&self, number: u32) -> io::Result<()> {
            self.may_write()?;
            self.names.lock().unwrap().remove(&number.to_string());
            Ok(())
        }

        fn sync_names(&self) -> io::Result<()> {
            self.may_write()
        }

        fn salt(&self) -> io::Result<[u8; 8]> {
            Ok(*b"a secret")
        }

        fn segment_bytes(&self) -> u64 {
            16 << 20
        }
    }

    impl SegmentFile for DiskFile {
        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.lock().unwrap().len() as u64)
        }

        fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            let bytes = self.bytes.lock().unwrap();
            let from = usize::try_from(offset).unwrap();
            out.copy_from_slice(bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        }

        fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.disk.may_write()?;
            let mut bytes = self.bytes.lock().unwrap();
            let from = usize::try_from(offset).unwrap();
            if from + data.len() > bytes.len() {
                self.disk.may_grow()?;
                bytes.resize(from + data.len(), 0);
            }
            bytes[from..from + data.len()].copy_from_slice(data);
            Ok(())
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.bytes.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            self.disk.may_write()
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
        let health = store.health();
        assert_eq!((health.error, health.backlog_bytes, health.written), (None, 0, 39));
        assert!(health.failures > 0 && health.writes.count() > 0, "what failed is no write that took so long");
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
        let (sender, bell) = std::sync::mpsc::channel();
        let sender = Mutex::new(sender);
        store.set_waker(Arc::new(move || {
            let _ = sender.lock().unwrap().send(());
        }));
        assert!(!store.is_behind());
        store.append(large(63));
        assert!(store.is_behind());
        assert!(store.flush(PATIENCE).is_err());
        assert!(store.is_behind() && !store.has_room_again(false));
        assert_eq!(bell.try_recv().ok(), None);
        disk.broken.store(false, Ordering::SeqCst);
        store.flush(PATIENCE).unwrap();
        assert!(!store.is_behind());
        bell.recv_timeout(PATIENCE).expect("the loop is woken when there is room");
        assert!(store.has_room_again(false) && store.has_room_again(true) && !store.has_room_again(false));
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

    /// Whoever floods a node with side blocks makes it store and remove them without end. What was removed stood in the
    /// file for ever.
    #[test]
    fn removed_blocks_give_their_room_back() {
        let disk = Disk::default();
        let mut store = disk.store();
        let kept = store.append(large(1));
        for round in 0..20 {
            let flood: Vec<u64> = (0..10).map(|n| store.append(large(10 * round + n))).collect();
            store.flush(PATIENCE).unwrap();
            flood.into_iter().for_each(|seq| store.remove(seq));
            store.flush(PATIENCE).unwrap();
        }
        assert_eq!(store.read(kept), Some(large(1)));
        // The thread gives it back while nothing else is to be done; the drop waits for it. How full the segment is that is
        // written to just then depends on how the batches fell; of 200 MiB, less than half may be left in any case.
        drop(store);
        assert!(disk.held() < 100 << 20, "{} MiB for a block of one", disk.held() >> 20);
        let mut again = disk.store();
        let mut seen = Vec::new();
        again
            .load(|seq, bytes| {
                seen.push((seq, bytes));
                Ok(())
            })
            .unwrap();
        assert_eq!(seen, [(kept, large(1))]);
        assert!(again.append(large(2)) > 200, "a number is not used twice");
    }
}
