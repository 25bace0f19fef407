//! Where each stored block stands, and reading it: shared by the loop, which reads, and the writer, which moves things.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;

use crate::chain::record::{self, RECORD_LEN, What};
use crate::chain::scan::Window;
use crate::chain::storage::{Access, SegmentFile, Storage};

/// Segments that are held open to be read. Descriptors are peers' too.
const OPEN_MAX: usize = 16;
/// Blocks whose places are looked up under one lock.
const PLACES_AT_ONCE: usize = 1024;

/// Where a block's record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: u32,
    /// Bytes of the block.
    pub(super) len: u32,
    pub(super) offset: u64,
}

impl Place {
    /// Bytes of the record.
    pub(super) fn total_len(&self) -> u64 {
        RECORD_LEN as u64 + u64::from(self.len)
    }
}

/// Why a block is not read.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    /// What stands there is not what was written.
    Spoiled,
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        ReadError::Io(error)
    }
}

/// The places and the open segments.
pub(super) struct Places {
    pub(super) storage: Box<dyn Storage>,
    places: RwLock<BTreeMap<u64, Place>>,
    open: Mutex<BTreeMap<u32, Arc<dyn SegmentFile>>>,
    spoiled: AtomicBool,
}

impl Places {
    pub(super) fn new(storage: Box<dyn Storage>) -> Places {
        let (places, open) = (RwLock::default(), Mutex::default());
        Places { storage, places, open, spoiled: AtomicBool::new(false) }
    }

    /// Has the disk given back something else than it was given?
    pub(super) fn is_spoiled(&self) -> bool {
        self.spoiled.load(Ordering::Relaxed)
    }

    pub(super) fn note_spoiled(&self) {
        self.spoiled.store(true, Ordering::Relaxed);
    }

    pub(super) fn find(&self, seq: u64) -> Option<Place> {
        self.places.read().unwrap_or_else(PoisonError::into_inner).get(&seq).copied()
    }

    /// Puts blocks where they are now; answers where they were before.
    pub(super) fn put(&self, placed: impl Iterator<Item = (u64, Place)>) -> Vec<(u64, Place)> {
        let mut places = self.places.write().unwrap_or_else(PoisonError::into_inner);
        placed.filter_map(|(seq, place)| places.insert(seq, place).map(|old| (seq, old))).collect()
    }

    pub(super) fn remove(&self, seq: u64) -> Option<Place> {
        self.places.write().unwrap_or_else(PoisonError::into_inner).remove(&seq)
    }

    /// A block's bytes; `None` when there is no such block.
    pub(super) fn read(&self, seq: u64) -> Result<Option<Bytes>, ReadError> {
        let Some(place) = self.find(seq) else { return Ok(None) };
        match self.read_at(seq, place) {
            // Moved in this moment, and its old segment is gone.
            Err(_) if self.find(seq) != Some(place) => match self.find(seq) {
                Some(place) => self.read_at(seq, place).map(Some),
                None => Ok(None),
            },
            read => read.map(Some),
        }
    }

    fn read_at(&self, seq: u64, place: Place) -> Result<Bytes, ReadError> {
        let file = self.segment(place.segment)?;
        let mut bytes = vec![0; usize::try_from(place.total_len()).map_err(|_| ReadError::Spoiled)?];
        file.read_at(place.offset, &mut bytes)?;
        let record = record::decode(&bytes, place.segment, place.offset, None);
        let payload = bytes.get(RECORD_LEN..).unwrap_or_default();
        if !record.is_some_and(|record| record.what == What::Block(seq) && record.is_payload(payload)) {
            self.note_spoiled();
            return Err(ReadError::Spoiled);
        }
        Ok(Bytes::from(bytes).slice(RECORD_LEN..))
    }

    /// Calls `each` with every block in order of arrival, reading far ahead, until it fails.
    pub(super) fn scan<E: From<ReadError>>(&self, mut each: impl FnMut(u64, Bytes) -> Result<(), E>) -> Result<(), E> {
        let io = |error: io::Error| E::from(ReadError::Io(error));
        let mut next = Some(0);
        while let Some(from) = next {
            let part: Vec<(u64, Place)> = {
                let places = self.places.read().unwrap_or_else(PoisonError::into_inner);
                places.range(from..).take(PLACES_AT_ONCE).map(|(seq, place)| (*seq, *place)).collect()
            };
            next = part.last().and_then(|(seq, _)| seq.checked_add(1));
            for together in part.chunk_by(|(_, one), (_, other)| one.segment == other.segment) {
                let Some((_, Place { segment, .. })) = together.first() else { continue };
                let file = self.segment(*segment).map_err(io)?;
                let mut window = Window::new(&*file).map_err(io)?;
                for (seq, place) in together {
                    let found = window.record(*segment, place.offset).map_err(io)?;
                    match found.filter(|(record, _)| record.what == What::Block(*seq)) {
                        Some((_, payload)) => each(*seq, Bytes::copy_from_slice(payload))?,
                        None => return Err(ReadError::Spoiled.into()),
                    }
                }
            }
        }
        Ok(())
    }

    /// A segment that is open to be read.
    pub(super) fn segment(&self, number: u32) -> io::Result<Arc<dyn SegmentFile>> {
        if let Some(file) = self.open().get(&number) {
            return Ok(Arc::clone(file));
        }
        // Not under the lock: a disk may take its time.
        let file: Arc<dyn SegmentFile> = self.storage.open(number, Access::Read)?.into();
        self.hold(number, &file);
        Ok(file)
    }

    /// Keeps a segment open to be read.
    pub(super) fn hold(&self, number: u32, file: &Arc<dyn SegmentFile>) {
        let mut open = self.open();
        open.insert(number, Arc::clone(file));
        while open.len() > OPEN_MAX {
            // Old blocks are read in order, if at all, and so the lowest of the others is done with first.
            let Some(lowest) = open.keys().copied().find(|held| *held != number) else { break };
            open.remove(&lowest);
        }
    }

    /// Closes a segment that is gone.
    pub(super) fn let_go(&self, number: u32) {
        self.open().remove(&number);
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<dyn SegmentFile>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
