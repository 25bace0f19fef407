//! The directory that holds a node's files: found, made, checked and locked.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use spacetime_network::driver::store::{Names, NotAFile, Readers, check_free, open_file, sync_directory};
use spacetime_network::link::tls::identity::Identity;

use crate::failure::{Failure, disk_remedy, read_remedy};
use crate::key::{self, KeyReaders};

/// How often whoever waits for a directory looks whether it is free.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// A data directory that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DataDir {
    path: PathBuf,
    key_readers: KeyReaders,
}

/// The right to use a data directory; given back when it is dropped or the process ends, however it ends.
#[derive(Debug)]
#[must_use]
pub(crate) struct Lock {
    /// `None` where there is nothing to lock and nothing to be written.
    _file: Option<File>,
}

impl DataDir {
    /// The directory that was asked for, or the platform's, made where it is missing.
    pub(crate) fn create(asked: Option<&Path>) -> Result<Self, Failure> {
        let path = choose(asked)?;
        make(&path).map_err(|error| {
            // What is in the way may be a link, to a disk that is not mounted.
            let link = path.ancestors().find_map(|path| check_free(path).err());
            let remedy = link.as_ref().map_or("choose another --data-dir", disk_remedy);
            Failure::new(format!("create {}", path.display()), link.unwrap_or(error), remedy)
        })?;
        Ok(DataDir::at(path))
    }

    /// The directory that was asked for, or the platform's, which must exist.
    pub(crate) fn existing(asked: Option<&Path>) -> Result<Self, Failure> {
        let path = choose(asked)?;
        match fs::metadata(&path) {
            Ok(metadata) if metadata.is_dir() => Ok(DataDir::at(path)),
            Ok(_) => {
                Err(Failure::new(format!("open {}", path.display()), "not a directory", "choose another --data-dir"))
            }
            Err(error) => {
                let link = check_free(&path).err();
                let remedy = match &link {
                    Some(link) => read_remedy(link),
                    None if error.kind() == io::ErrorKind::PermissionDenied => read_remedy(&error),
                    None => "give the --data-dir that the node runs with",
                };
                Err(Failure::new(format!("open {}", path.display()), link.unwrap_or(error), remedy))
            }
        }
    }

    fn at(path: PathBuf) -> Self {
        DataDir { path, key_readers: KeyReaders::Owner }
    }

    /// The same, with a key that its group may read when that is asked for.
    pub(crate) fn with_key_readers(self, key_readers: KeyReaders) -> Self {
        DataDir { key_readers, ..self }
    }

    /// Tells an operator once what the file system does not do for the files here.
    pub(crate) fn warn_of_weak_names(&self) {
        if matches!(sync_directory(&self.path), Ok(Names::LeftToTheFileSystem)) {
            tracing::warn!(
                directory = %self.path.display(),
                "this file system does not sync directories: whether the newest files survive a power cut is its own affair"
            );
        }
    }

    /// Takes the directory for this process alone, which also shows that it can be written.
    pub(crate) fn lock(&self) -> Result<Lock, Failure> {
        self.lock_within(Duration::ZERO)
    }

    /// Keeps others from changing the directory while it is looked at. Writes nothing, so that it may be a read-only copy.
    pub(crate) fn lock_to_look(&self) -> Result<Lock, Failure> {
        let operation = || format!("look at {}", self.path.display());
        match self.share() {
            Ok(Some(lock)) => Ok(lock),
            Ok(None) => {
                Err(Failure::new(operation(), "another process is using it", "stop that process or look at a copy"))
            }
            Err(error) if NotAFile::behind(&error).is_some() => {
                Err(Failure::new(operation(), &error, disk_remedy(&error)))
            }
            Err(error) => Err(Failure::new(operation(), error, "make the directory readable for this user")),
        }
    }

    /// Whether another process has taken the directory for itself, as a node does that runs there. Writes nothing.
    pub(crate) fn is_in_use(&self) -> bool {
        matches!(self.share(), Ok(None))
    }

    /// The lock of those who only look; `None` when somebody has taken the directory for himself.
    fn share(&self) -> io::Result<Option<Lock>> {
        let file = match open_file(OpenOptions::new().read(true), &self.path.join("lock")) {
            Ok(file) => file,
            // No node has run here since it was copied.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Lock { _file: None })),
            Err(error) => return Err(error),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Some(Lock { _file: Some(file) })),
            Err(TryLockError::WouldBlock) => Ok(None),
            // Whoever runs a node there cannot lock it either.
            Err(TryLockError::Error(_)) => Ok(Some(Lock { _file: None })),
        }
    }

    /// The same, for those who hold it for a moment only, and wait as long as this for each other.
    pub(crate) fn lock_within(&self, patience: Duration) -> Result<Lock, Failure> {
        let operation = || format!("use {}", self.path.display());
        let path = self.path.join("lock");
        let file = check_free(&path)
            .and_then(|()| {
                let mut options = OpenOptions::new();
                options.create(true).truncate(false).write(true);
                open_file(Readers::All.of_files(&mut options), &path)
            })
            .map_err(|error| Failure::new(operation(), &error, disk_remedy(&error)))?;
        let end = Instant::now() + patience;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: Some(file) }),
                // There is no lock with a timeout to wait for.
                Err(TryLockError::WouldBlock) if Instant::now() < end => thread::sleep(LOCK_RETRY),
                Err(TryLockError::WouldBlock) => {
                    return Err(Failure::new(
                        operation(),
                        "another process is using it",
                        "stop that process or choose another --data-dir",
                    ));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(Failure::new(
                        operation(),
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

    /// The key of questions, for one that can do without: one is made only in a directory that was asked for, and `None` where
    /// that cannot be.
    pub(crate) fn client_identity(asked: Option<&Path>, readers: KeyReaders) -> Result<Option<Identity>, Failure> {
        let Ok(place) = choose(asked) else { return Ok(None) };
        let place = place.join("client");
        if fs::symlink_metadata(DataDir::at(place.clone()).key()).is_err() {
            let made = |data: DataDir| data.with_key_readers(readers).identity().ok();
            return Ok(asked.and_then(|_| DataDir::create(Some(&place)).ok()).and_then(made));
        }
        key::existing(&DataDir::at(place).key(), readers)
    }

    fn key(&self) -> PathBuf {
        self.path.join("node.key")
    }

    /// The node's id; its key is made when there is none.
    pub(crate) fn node_id(&self) -> Result<String, Failure> {
        key::node_id(&self.key(), self.key_readers)
    }

    /// The same for a look, with a warning where the key is not kept as it should be and nobody can change that here.
    pub(crate) fn public_id(&self) -> Result<(String, Option<String>), Failure> {
        key::public_id(&self.key(), self.key_readers)
    }

    /// Who the node is; its key is made when there is none.
    pub(crate) fn identity(&self) -> Result<Identity, Failure> {
        key::identity(&self.key(), self.key_readers)
    }

    /// The saved peers.
    pub(crate) fn peers(&self) -> PathBuf {
        self.path.join("peers.json")
    }

    /// The address book.
    pub(crate) fn addresses(&self) -> PathBuf {
        self.path.join("addresses.json")
    }

    /// Who is banned.
    pub(crate) fn bans(&self) -> PathBuf {
        self.path.join("bans.json")
    }

    /// What was sent in the period of a quota.
    pub(crate) fn upload_quota(&self) -> PathBuf {
        self.path.join("upload_quota.json")
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
    // Addresses of peers and the key are nobody else's business.
    Readers::Owner.of_directories(fs::DirBuilder::new().recursive(true)).create(path)
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
