//! Where a store's segments lie: in a directory of the system's, or what a simulated machine has for one.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::path::PathBuf;
#[cfg(not(unix))]
use std::sync::{Mutex, PoisonError};

use crate::files::{self, Readers};

/// A segment takes no more records once it is as long as this.
const SEGMENT_BYTES: u64 = 128 * 1024 * 1024;

/// What is wanted of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// To read and to write it, alone.
    Write,
    /// To read it, beside others who do. Nothing is changed, made or repaired.
    Read,
}

/// The right to use a place, for as long as it is held.
pub(crate) type Lock = File;

/// The place of one store.
pub(crate) trait Storage: Send + Sync + 'static {
    /// Makes the place where it is missing and may be made, and takes the right to use it, which is given back when the
    /// answer is dropped. [`io::ErrorKind::WouldBlock`] when somebody else has it.
    fn enter(&self, access: Access) -> io::Result<Option<Lock>>;

    /// The numbers of the segments that are there, in no order.
    fn numbers(&self) -> io::Result<Vec<u32>>;

    /// Opens a segment, for writing too when that is wanted.
    fn open(&self, number: u32, access: Access) -> io::Result<Box<dyn SegmentFile>>;

    /// Makes an empty file beside the segment's place, and forgets what an earlier try left there.
    fn make(&self, number: u32) -> io::Result<Box<dyn SegmentFile>>;

    /// Puts what was made, whose header is durable now, where it belongs.
    fn put_in_place(&self, number: u32) -> io::Result<()>;

    /// Removes a segment.
    fn remove(&self, number: u32) -> io::Result<()>;

    /// Makes the names durable: those that came and those that went.
    fn sync_names(&self) -> io::Result<()>;

    /// Eight bytes that nobody else knows.
    fn salt(&self) -> io::Result<[u8; 8]>;

    /// How long a segment becomes before the next one is begun.
    fn segment_bytes(&self) -> u64 {
        SEGMENT_BYTES
    }
}

/// A segment's bytes. Several threads may read while one writes.
pub(crate) trait SegmentFile: Send + Sync {
    /// How many there are.
    fn len(&self) -> io::Result<u64>;

    /// Fills `out` from `offset`.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes`, and makes the file longer when it must. After an error any part may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes everything written so far durable. After an error any part may be lost, and a later success says nothing of
    /// it: a system marks pages as written that it could not write.
    fn sync(&self) -> io::Result<()>;
}

/// A directory.
#[derive(Clone, Debug)]
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    fn segment(&self, number: u32) -> PathBuf {
        self.0.join(format!("{number:08}.blocks"))
    }

    fn beside(&self, number: u32) -> PathBuf {
        self.0.join(format!("{number:08}.tmp"))
    }

    fn lock(&self, access: Access) -> io::Result<Option<Lock>> {
        let path = self.0.join("lock");
        let file = match access {
            Access::Write => {
                let mut options = OpenOptions::new();
                options.create(true).truncate(false).write(true);
                files::open_file(Readers::All.of_files(&mut options), &path)?
            }
            Access::Read => match files::open_file(OpenOptions::new().read(true), &path) {
                Ok(file) => file,
                // A copy need not have one, and nobody makes one where nothing may be written.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(error),
            },
        };
        let locked = match access {
            Access::Write => file.try_lock(),
            Access::Read => file.try_lock_shared(),
        };
        match locked {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            // A file system without locks: the program's own lock is all there is.
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Storage for Directory {
    fn enter(&self, access: Access) -> io::Result<Option<Lock>> {
        if access == Access::Write {
            match Readers::All.of_directories(&mut DirBuilder::new()).create(&self.0) {
                // Its own name must not be lost with all that is in it.
                Ok(()) => drop(files::sync_directory(files::directory_of(&self.0))?),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        // A link to a disk that is not mounted holds a chain that is somewhere else.
        files::check_free(&self.0)?;
        self.lock(access)
    }

    fn numbers(&self) -> io::Result<Vec<u32>> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_suffix(".blocks")).and_then(|n| n.parse().ok());
            // Nothing else has this form: what does not come out as it went in is somebody else's.
            numbers.extend(number.filter(|number| self.segment(*number).file_name() == Some(&name)));
        }
        Ok(numbers)
    }

    fn open(&self, number: u32, access: Access) -> io::Result<Box<dyn SegmentFile>> {
        let mut options = OpenOptions::new();
        let file = files::open_file(options.read(true).write(access == Access::Write), &self.segment(number))?;
        Ok(Box::new(PlainFile::new(file)))
    }

    fn make(&self, number: u32) -> io::Result<Box<dyn SegmentFile>> {
        let path = self.beside(number);
        let _absent = fs::remove_file(&path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        Ok(Box::new(PlainFile::new(Readers::All.of_files(&mut options).open(path)?)))
    }

    fn put_in_place(&self, number: u32) -> io::Result<()> {
        fs::rename(self.beside(number), self.segment(number))
    }

    fn remove(&self, number: u32) -> io::Result<()> {
        fs::remove_file(self.segment(number))
    }

    fn sync_names(&self) -> io::Result<()> {
        files::sync_directory(&self.0).map(drop)
    }

    fn salt(&self) -> io::Result<[u8; 8]> {
        let mut salt = [0; 8];
        getrandom::fill(&mut salt).map_err(|error| io::Error::other(error.to_string()))?;
        Ok(salt)
    }
}

/// A file of the system's.
#[derive(Debug)]
struct PlainFile {
    file: File,
    /// Held while the file's one position is used.
    #[cfg(not(unix))]
    position: Mutex<()>,
}

impl PlainFile {
    fn new(file: File) -> PlainFile {
        PlainFile {
            file,
            #[cfg(not(unix))]
            position: Mutex::new(()),
        }
    }
}

impl SegmentFile for PlainFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, out, offset)
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, offset)
    }

    #[cfg(not(unix))]
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        use std::io::{Read, Seek};
        let _held = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        (&self.file).seek(io::SeekFrom::Start(offset))?;
        (&self.file).read_exact(out)
    }

    #[cfg(not(unix))]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        use std::io::{Seek, Write};
        let _held = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        (&self.file).seek(io::SeekFrom::Start(offset))?;
        (&self.file).write_all(bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        // The length is part of the data as far as it is needed to find them.
        self.file.sync_data()
    }
}
