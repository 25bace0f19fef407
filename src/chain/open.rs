//! Opening a store: making a new one, and telling the ways apart in which an old one is not ours.
//!
//! A store that cannot be used is reported and left as it is. Nothing here deletes, truncates or recreates.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::chain::block::Block;
use crate::chain::genesis::Params;
use crate::chain::health::remedy;
use crate::chain::log::{Active, Log, Segment};
use crate::chain::places::{Place, Places, ReadError};
use crate::chain::record::{FIXED_LEN, FORMAT, RECORD_LEN, What};
use crate::chain::scan::{self, Found, ScanError, Scanned, Window};
use crate::chain::storage::{Access, SegmentFile, Storage};
use crate::files::{self, DanglingLink, NotAFile};

/// What a store of format 1, which was one file, begins with.
const EARLIER_MAGIC: &[u8; 9] = b"redb\x1a\x0a\xa9\x0d\x0a";

/// Why a store cannot be opened. Each says what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    Locked {
        /// The store.
        path: PathBuf,
    },
    /// It is not a store, or no longer a whole one.
    Damaged {
        /// The store.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// It holds another network's chain.
    OtherNetwork {
        /// The store.
        path: PathBuf,
        /// The network it was made for, when its genesis says so.
        found: Option<Params>,
        /// The network that was asked for.
        wanted: Params,
    },
    /// It was written in a format that this version does not know.
    UnknownFormat {
        /// The store.
        path: PathBuf,
        /// The format's number.
        found: u32,
    },
    /// The system did not let us.
    Io {
        /// The store.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Locked { path } => {
                write!(f, "{} is open in another process: stop it or use another data directory", path.display())
            }
            OpenError::Damaged { path, why } => write!(
                f,
                "{} is damaged ({why}): it was left as it is; move it away and start again to download the chain anew",
                path.display()
            ),
            OpenError::OtherNetwork { path, found, wanted } => {
                write!(f, "{} was made for another network (", path.display())?;
                match found {
                    Some(params) => write!(f, "{params}")?,
                    None => f.write_str("with a genesis of another kind")?,
                }
                write!(f, "; asked for {wanted}): use its difficulty and reward, or another data directory")
            }
            OpenError::UnknownFormat { path, found } => write!(
                f,
                "{} has format {found}, this version knows {FORMAT}: use the version that wrote it, or another data directory",
                path.display()
            ),
            OpenError::Io { path, error } if DanglingLink::behind(error).is_some() => write!(
                f,
                "cannot open {}: {error}: bring that back (is its disk mounted?), or remove the link to begin anew",
                path.display()
            ),
            OpenError::Io { path, error } if NotAFile::behind(error).is_some() => write!(
                f,
                "cannot open {}: {error}: bring back the file that was there, or move that away",
                path.display()
            ),
            OpenError::Io { path, error } => {
                let remedy = match error.kind() {
                    io::ErrorKind::NotFound => "check that the directory exists and is writable",
                    _ => remedy(error),
                };
                write!(f, "cannot open {}: {error}: {remedy}", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Refuses a file where a directory should be: what a version before this one made says so.
pub(super) fn refuse_file(path: &Path) -> Result<(), OpenError> {
    let mut file = match files::open_file(OpenOptions::new().read(true), path) {
        Ok(file) => file,
        Err(error) => match NotAFile::behind(&error) {
            Some(found) if !path.is_dir() => {
                return Err(damaged(path, format!("a store is a directory, and this is {}", found.what)));
            }
            _ => return Ok(()),
        },
    };
    let mut begin = [0; EARLIER_MAGIC.len()];
    match file.read_exact(&mut begin) {
        Ok(()) if begin == *EARLIER_MAGIC => Err(OpenError::UnknownFormat { path: path.into(), found: 1 }),
        _ => Err(damaged(path, "a store is a directory, and this is a file")),
    }
}

/// A store that is open.
pub(super) struct Opened {
    pub(super) log: Log,
    /// The right to use it.
    pub(super) lock: Option<File>,
    /// Above every number of a block that was seen.
    pub(super) next_seq: u64,
}

/// Opens the store in `storage`, or makes one, for the network of `params`. `path` is its name in reports.
pub(super) fn open(
    storage: Box<dyn Storage>,
    path: &Path,
    params: &Params,
    access: Access,
) -> Result<Opened, OpenError> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenError::Locked { path: path.into() },
        _ => OpenError::Io { path: path.into(), error },
    };
    let lock = storage.enter(access).map_err(failed)?;
    let mut numbers = storage.numbers().map_err(failed)?;
    numbers.sort_unstable();
    let next_number = numbers.last().map_or(1, |last| last.saturating_add(1));
    let places = Arc::new(Places::new(storage));
    let mut log = Log {
        places,
        genesis: params.genesis().encode().to_vec(),
        segments: BTreeMap::new(),
        active: None,
        spare: BTreeSet::new(),
        removals: BTreeMap::new(),
        going: Vec::new(),
        next_number,
        tidy_pause: (0, 0),
    };
    if numbers.is_empty() {
        match access {
            Access::Write => log.begin_segment().map_err(failed)?,
            Access::Read => return Err(failed(io::ErrorKind::NotFound.into())),
        }
        return Ok(Opened { log, lock, next_seq: 0 });
    }
    let mut reading =
        Reading { access, path, params, log, closes: BTreeMap::new(), removed: BTreeMap::new(), next_seq: 0 };
    // Backwards: where a segment ends is said in a later one, and of two copies the later one counts.
    for number in numbers.into_iter().rev() {
        reading.segment(number)?;
    }
    let Reading { mut log, removed, next_seq, .. } = reading;
    for (seq, number) in removed {
        if log.stands_besides(seq, None) {
            log.needs(number, RECORD_LEN as u64);
            log.removals.insert(seq, number);
        }
    }
    Ok(Opened { log, lock, next_seq })
}

/// A store of which the later segments are read.
struct Reading<'a> {
    access: Access,
    path: &'a Path,
    params: &'a Params,
    log: Log,
    closes: BTreeMap<u32, u64>,
    /// Blocks that are removed, and the last segment that says so.
    removed: BTreeMap<u64, u32>,
    next_seq: u64,
}

impl Reading<'_> {
    fn segment(&mut self, number: u32) -> Result<(), OpenError> {
        let is_last = self.log.segments.is_empty();
        let access = if is_last { self.access } else { Access::Read };
        let opened = self.log.places.storage.open(number, access);
        let file: Arc<dyn SegmentFile> = opened.map_err(|error| self.error(number, error.into()))?.into();
        self.log.places.hold(number, &file);
        let (scanned, genesis) = self.scan(number, &*file).map_err(|error| self.error(number, error))?;
        if genesis != self.log.genesis {
            let found = Block::decode(&genesis.into()).and_then(|block| Params::of_genesis(&block));
            return Err(OpenError::OtherNetwork { path: self.path.into(), found, wanted: *self.params });
        }
        for (segment, end) in &scanned.closes {
            // The same word twice is a copy that was made of the first.
            self.closes.insert(*segment, *end);
        }
        let mut placed = Vec::new();
        for Found { offset, record } in scanned.records.iter().rev() {
            let (What::Block(seq) | What::Removed(seq)) = record.what else { continue };
            self.next_seq = self.next_seq.max(seq.saturating_add(1));
            if record.what == What::Removed(seq) {
                self.removed.entry(seq).or_insert(number);
            } else if self.removed.contains_key(&seq) || self.log.places.find(seq).is_some() {
                self.log.spare.insert((seq, number));
            } else {
                placed.push((seq, Place { segment: number, len: record.len, offset: *offset }));
            }
        }
        let closing = (RECORD_LEN as u64).saturating_mul(scanned.closes.len() as u64);
        let live = closing.saturating_add(placed.iter().map(|(_, place)| place.total_len()).sum());
        self.log.places.put(placed.into_iter());
        if is_last && scanned.is_clean && self.access == Access::Write {
            // Its name was made durable before its first record was written, which may not have been.
            self.log.active = Some(Active { header: scanned.header, file, is_named: false, failures: 0 });
        }
        let Scanned { begin, end, synced, .. } = scanned;
        let is_closed = self.closes.contains_key(&number);
        self.log.segments.insert(number, Segment { begin, end, synced, is_closed, live, is_spoiled: false });
        Ok(())
    }

    fn scan(&self, number: u32, file: &dyn SegmentFile) -> Result<(Scanned, Vec<u8>), ScanError> {
        let mut window = Window::new(file)?;
        let (header, genesis) = scan::header(&mut window, number)?;
        let begin = (FIXED_LEN + genesis.len() + 4) as u64;
        Ok((scan::records(&mut window, header, begin, self.closes.get(&number).copied())?, genesis))
    }

    fn error(&self, number: u32, error: ScanError) -> OpenError {
        let path = self.path.into();
        match error {
            ScanError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                damaged(self.path, format!("segment {number} is shorter than it says"))
            }
            ScanError::Io(error) => OpenError::Io { path, error },
            ScanError::Format(found) => OpenError::UnknownFormat { path, found },
            ScanError::Damaged(at, why) => damaged(self.path, format!("segment {number}, byte {at}: {why}")),
        }
    }
}

/// The error for a block that does not fit where it stands.
pub(super) fn damaged(path: &Path, why: impl Into<String>) -> OpenError {
    OpenError::Damaged { path: path.into(), why: why.into() }
}

/// What an error in the middle of reading means for an operator.
pub(super) fn unreadable(path: &Path, error: ReadError) -> OpenError {
    match error {
        ReadError::Io(error) => OpenError::Io { path: path.into(), error },
        ReadError::Spoiled => damaged(path, "a block does not match its checksum"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::health::{StoreError, told};

    /// Under `ulimit -f` the advice was to make room on a disk that had enough, and where a file must not be read, to see whether
    /// its directory is there.
    #[test]
    fn each_cause_has_its_own_remedy_in_every_error_of_a_store() {
        for (kind, part) in [
            (io::ErrorKind::StorageFull, "make room"),
            (io::ErrorKind::QuotaExceeded, "make room"),
            (io::ErrorKind::FileTooLarge, "ulimit -f"),
            (io::ErrorKind::PermissionDenied, "readable for this user"),
            (io::ErrorKind::ReadOnlyFilesystem, "file system writable"),
            (io::ErrorKind::Other, "disk's health"),
        ] {
            let opened = OpenError::Io { path: "chain".into(), error: kind.into() }.to_string();
            let written = StoreError::Write(told(&kind.into())).to_string();
            assert!(opened.contains(part) && written.contains(part), "{opened}; {written}");
        }
        let gone = OpenError::Io { path: "chain".into(), error: io::ErrorKind::NotFound.into() }.to_string();
        assert!(gone.contains("check that the directory exists"), "{gone}");
    }
}
