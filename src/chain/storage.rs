//! Where a store's bytes lie: a file of the system's, or what a simulated machine has for one.
//!
//! A new store is made beside its place and put there when it is whole: redb takes several writes to make one, and what a
//! crash leaves of them looks like a damaged store, which nobody may throw away.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{DatabaseError, StorageBackend};

/// The place of one store.
pub(crate) trait Storage: Send + 'static {
    /// What redb reads and writes.
    type Backend: StorageBackend;

    /// Opens what is there; `None` when there is nothing. What was opened before is closed by then.
    fn open(&self) -> Result<Option<Self::Backend>, DatabaseError>;

    /// Makes an empty one beside its place, and forgets what an earlier try left there.
    fn make(&self) -> Result<Self::Backend, DatabaseError>;

    /// Puts what was made, which is whole and durable now, where it belongs.
    fn put_in_place(&self) -> io::Result<()>;

    /// Makes sure that a crash leaves it where it is found. redb syncs a file and not its name.
    fn sync_place(&self) -> io::Result<()>;
}

/// A file.
#[derive(Clone, Debug)]
pub(super) struct FilePath(pub(super) PathBuf);

impl FilePath {
    fn beside(&self) -> PathBuf {
        let mut name = self.0.file_name().map(OsString::from).unwrap_or_default();
        name.push(".tmp");
        self.0.with_file_name(name)
    }
}

impl Storage for FilePath {
    type Backend = FileBackend;

    fn open(&self) -> Result<Option<FileBackend>, DatabaseError> {
        match OpenOptions::new().read(true).write(true).open(&self.0) {
            Ok(file) => FileBackend::new(file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn make(&self) -> Result<FileBackend, DatabaseError> {
        let path = self.beside();
        let _absent = fs::remove_file(&path);
        FileBackend::new(OpenOptions::new().read(true).write(true).create_new(true).open(path)?)
    }

    fn put_in_place(&self) -> io::Result<()> {
        fs::rename(self.beside(), &self.0)
    }

    fn sync_place(&self) -> io::Result<()> {
        #[cfg(unix)]
        {
            let directory = self.0.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(directory.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(())
    }
}
