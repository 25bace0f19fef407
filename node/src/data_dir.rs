//! The directory that holds a node's files: found, made, checked and locked.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::Failure;

/// How often whoever waits for a directory looks whether it is free.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// A data directory that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataDir {
    path: PathBuf,
}

/// The right to use a data directory; given back when it is dropped or the process ends, however it ends.
#[derive(Debug)]
#[must_use]
pub(crate) struct Lock {
    _file: File,
}

impl DataDir {
    /// The directory that was asked for, or the platform's, made where it is missing.
    pub(crate) fn create(asked: Option<&Path>) -> Result<Self, Failure> {
        let path = choose(asked)?;
        make(&path)
            .map_err(|error| Failure::new(format!("create {}", path.display()), error, "choose another --data-dir"))?;
        Ok(DataDir { path })
    }

    /// The directory that was asked for, or the platform's, which must exist.
    pub(crate) fn existing(asked: Option<&Path>) -> Result<Self, Failure> {
        let path = choose(asked)?;
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Ok(DataDir { path }),
            Ok(_) => {
                Err(Failure::new(format!("open {}", path.display()), "not a directory", "choose another --data-dir"))
            }
            Err(error) => Err(Failure::new(
                format!("open {}", path.display()),
                error,
                "give the --data-dir that the node runs with",
            )),
        }
    }

    /// Takes the directory for this process alone, which also shows that it can be written.
    pub(crate) fn lock(&self) -> Result<Lock, Failure> {
        self.lock_within(Duration::ZERO)
    }

    /// The same, for those who hold it for a moment only, and wait as long as this for each other.
    pub(crate) fn lock_within(&self, patience: Duration) -> Result<Lock, Failure> {
        let tried = || format!("use {}", self.path.display());
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path.join("lock"))
            .map_err(|error| Failure::new(tried(), error, "make it writable or choose another --data-dir"))?;
        let end = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                // There is no lock with a timeout to wait for.
                Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(LOCK_RETRY),
                Err(TryLockError::WouldBlock) => {
                    return Err(Failure::new(
                        tried(),
                        "another process is using it",
                        "stop that process or choose another --data-dir",
                    ));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(Failure::new(
                        tried(),
                        format!("locking failed: {error}"),
                        "choose a --data-dir on a local file system",
                    ));
                }
            }
        }
    }

    /// The directory of questions to a running node: the folder `client` of the one that was asked for, or of the
    /// platform's. It is not the node's own, for a node does not talk to itself.
    pub(crate) fn of_client(asked: Option<&Path>) -> Result<Self, Failure> {
        DataDir::create(Some(&choose(asked)?.join("client")))
    }

    /// The node's key.
    pub(crate) fn key(&self) -> PathBuf {
        self.path.join("node.key")
    }

    /// The saved peers.
    pub(crate) fn peers(&self) -> PathBuf {
        self.path.join("peers.json")
    }

    /// The identities that nodes had when they were met first.
    pub(crate) fn known_identities(&self) -> PathBuf {
        self.path.join("known_identities.json")
    }

    /// The chain's store.
    pub(crate) fn chain(&self) -> PathBuf {
        self.path.join("chain")
    }

    /// The store of an earlier version, when it is all there is: it must not be passed over in silence.
    pub(crate) fn earlier_chain(&self) -> Option<PathBuf> {
        let earlier = self.path.join("chain.redb");
        // A link to what is not there is there too.
        let is_there = |path: &Path| fs::symlink_metadata(path).is_ok();
        (is_there(&earlier) && !is_there(&self.chain())).then_some(earlier)
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn choose(asked: Option<&Path>) -> Result<PathBuf, Failure> {
    if let Some(path) = asked {
        return Ok(path.to_path_buf());
    }
    let variable = |name: &str| std::env::var_os(name);
    platform(variable("XDG_DATA_HOME").as_deref(), variable("HOME").as_deref()).ok_or_else(|| {
        Failure::new("find a place for the node's files", "neither XDG_DATA_HOME nor HOME is set", "give --data-dir")
    })
}

/// The XDG base directory rules: a relative `XDG_DATA_HOME` is ignored.
fn platform(xdg_data_home: Option<&OsStr>, home: Option<&OsStr>) -> Option<PathBuf> {
    let base = xdg_data_home
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| home.filter(|home| !home.is_empty()).map(|home| Path::new(home).join(".local/share")))?;
    Some(base.join("spacetime-node"))
}

fn make(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt;
        // Addresses of peers and the key are nobody else's business.
        builder.mode(0o700);
    }
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_directory_follows_xdg_and_then_home() {
        let place = |xdg: Option<&str>, home: Option<&str>| platform(xdg.map(OsStr::new), home.map(OsStr::new));
        assert_eq!(place(Some("/data"), Some("/home/u")), Some("/data/spacetime-node".into()));
        assert_eq!(place(Some("relative"), Some("/home/u")), Some("/home/u/.local/share/spacetime-node".into()));
        assert_eq!(place(None, Some("/home/u")), Some("/home/u/.local/share/spacetime-node".into()));
        assert_eq!(place(None, Some("")), None);
        assert_eq!(place(None, None), None);
    }

    #[test]
    fn a_directory_is_used_by_one_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::create(Some(&directory.path().join("a/b"))).unwrap();
        let lock = data.lock().unwrap();
        assert!(data.lock().unwrap_err().to_string().contains("another process is using it"));
        drop(lock);
        assert!(data.lock().is_ok());
    }

    #[test]
    fn a_missing_directory_is_only_made_when_it_may_be() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        assert!(DataDir::existing(Some(&missing)).is_err());
        assert!(!missing.exists());
        std::fs::write(&missing, "a file").unwrap();
        assert!(DataDir::create(Some(&missing)).is_err());
        assert!(DataDir::existing(Some(&missing)).unwrap_err().to_string().contains("not a directory"));
    }
}
