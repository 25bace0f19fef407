//! Files on file systems that lack something: hard links, synced directories, names that can be replaced.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::disk::{Disk, System};
use super::{beside, keep_aside_on, make_private_on, read_bounded_on, replace_on, set_aside_on};
use crate::time::UnixTime;

/// The real file system, but for what it is told to lack.
#[derive(Default)]
struct Odd {
    no_links: Option<io::ErrorKind>,
    no_directory_sync: Option<io::ErrorKind>,
    pinned: RefCell<Option<PathBuf>>,
    /// How often the bytes of a file were made durable.
    synced: Cell<u32>,
}

fn refused(kind: Option<io::ErrorKind>) -> io::Result<()> {
    kind.map_or(Ok(()), |kind| Err(kind.into()))
}

impl Disk for Odd {
    type File = File;

    fn create(&self, path: &Path, private: bool) -> io::Result<File> {
        System.create(path, private)
    }

    fn overwrite(&self, path: &Path) -> io::Result<File> {
        System.overwrite(path)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        self.synced.set(self.synced.get() + 1);
        System.sync(file)
    }

    fn open(&self, path: &Path) -> io::Result<impl Read> {
        System.open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.pinned.borrow().as_deref().is_some_and(|pinned| pinned == to || pinned == from) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        System.rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        refused(self.no_links).and_then(|()| System.link(from, to))
    }

    fn behind_links(&self, path: &Path) -> io::Result<PathBuf> {
        System.behind_links(path)
    }

    fn exists(&self, path: &Path) -> bool {
        System.exists(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        System.remove(path)
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        System.names(directory)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        refused(self.no_directory_sync).and_then(|()| System.sync_directory(directory))
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What VFAT, exFAT, CIFS and FUSE say where a hard link or a sync of a directory is asked for.
const WORDS: [io::ErrorKind; 3] =
    [io::ErrorKind::PermissionDenied, io::ErrorKind::InvalidInput, io::ErrorKind::Unsupported];

/// Such a file system ended the start with "make the directory writable", which it was.
#[test]
fn a_file_system_without_hard_links_and_synced_directories_holds_files_all_the_same() {
    for word in WORDS {
        let directory = tempfile::tempdir().unwrap();
        let disk = Odd { no_links: Some(word), no_directory_sync: Some(word), ..Odd::default() };
        let (key, peers) = (directory.path().join("node.key"), directory.path().join("peers.json"));
        assert!(make_private_on(&disk, &key, b"secret").unwrap(), "{word}");
        assert!(!make_private_on(&disk, &key, b"another").unwrap(), "a key is never replaced");
        assert_eq!(fs::read(&key).unwrap(), b"secret");
        for bytes in [b"one", b"two"] {
            replace_on(&disk, &peers, bytes, false).unwrap();
            assert_eq!(read_bounded_on(&disk, &peers, 9).unwrap().unwrap(), bytes);
        }
        assert_eq!(names(directory.path()), ["node.key", "peers.json"]);
        assert_eq!(disk.synced.get(), 4, "the bytes are made durable, whatever becomes of names");
    }
}

#[test]
fn a_disk_that_fails_at_a_sync_is_not_taken_for_one_that_has_none() {
    let directory = tempfile::tempdir().unwrap();
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::ReadOnlyFilesystem] {
        let disk = Odd { no_directory_sync: Some(kind), ..Odd::default() };
        assert_eq!(replace_on(&disk, &directory.path().join("a"), b"x", false).unwrap_err().kind(), kind);
        let disk = Odd { no_links: Some(kind), ..Odd::default() };
        let key = directory.path().join("node.key");
        assert_eq!(make_private_on(&disk, &key, b"x").unwrap_err().kind(), kind);
        assert_eq!(names(directory.path()), ["a"], "no draft of a secret stays");
    }
}

/// `docker run -v peers.json:/data/peers.json`: each save was a warning, and the last one ended the node with an error.
#[test]
fn a_file_that_is_mounted_alone_is_written_in_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("peers.json");
    fs::write(&path, "old, and longer").unwrap();
    let kept_open = File::open(&path).unwrap();
    let disk = Odd { pinned: RefCell::new(Some(path.clone())), ..Odd::default() };
    for bytes in [&b"new"[..], b"newer still", b""] {
        replace_on(&disk, &path, bytes, false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert_eq!(kept_open.metadata().unwrap().len(), bytes.len() as u64, "it is the same file");
        assert_eq!(names(directory.path()), ["peers.json"]);
    }
}

#[test]
fn a_save_in_place_that_was_cut_short_is_read_from_the_copy_and_finished_by_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("peers.json");
    let disk = Odd { pinned: RefCell::new(Some(path.clone())), ..Odd::default() };
    let cut_short = || {
        fs::write(&path, "ne").unwrap();
        fs::write(beside(&path, ".copy").unwrap(), "new, whole").unwrap();
    };
    cut_short();
    assert_eq!(read_bounded_on(&disk, &path, 99).unwrap().unwrap(), b"new, whole");
    replace_on(&disk, &path, b"newest", false).unwrap();
    assert_eq!((fs::read(&path).unwrap(), names(directory.path())), (b"newest".to_vec(), vec!["peers.json".into()]));
    // It is mounted no more.
    cut_short();
    disk.pinned.replace(None);
    replace_on(&disk, &path, b"newest", false).unwrap();
    assert_eq!((fs::read(&path).unwrap(), names(directory.path())), (b"newest".to_vec(), vec!["peers.json".into()]));
}

#[test]
fn a_damaged_file_that_is_mounted_alone_is_copied_aside() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("peers.json");
    let disk = Odd { pinned: RefCell::new(Some(path.clone())), ..Odd::default() };
    for second in [5, 6] {
        fs::write(&path, format!("damaged {second}")).unwrap();
        let aside = set_aside_on(&disk, &path, UnixTime::from_secs(second)).unwrap();
        assert_eq!(fs::read(aside).unwrap(), format!("damaged {second}").as_bytes());
        assert_eq!(names(directory.path()), ["peers.json".to_owned(), format!("peers.json.damaged-{second}")]);
    }
    let aside = keep_aside_on(&disk, &path, b"in part", UnixTime::from_secs(7)).unwrap();
    assert_eq!(fs::read(aside).unwrap(), b"in part");
    assert_eq!(names(directory.path()), ["peers.json", "peers.json.damaged-7"]);
}

/// A save replaced the link by a file, and the disk that it led to was never written again.
#[cfg(unix)]
#[test]
fn a_link_stays_a_link_and_one_that_leads_nowhere_is_not_replaced() {
    use super::{DanglingLink, make_private_file, read_bounded, replace_file, set_aside};
    use std::os::unix::fs::symlink;
    let directory = tempfile::tempdir().unwrap();
    let mounted = directory.path().join("mounted");
    fs::create_dir(&mounted).unwrap();
    let (link, file) = (directory.path().join("peers.json"), mounted.join("peers.json"));
    symlink("mounted/peers.json", &link).unwrap();
    let dangling = |error: io::Error| {
        assert!(DanglingLink::behind(&error).is_some_and(|found| found.target == file), "{error}");
        assert!(link.is_symlink() && names(&mounted).is_empty());
    };
    dangling(replace_file(&link, b"new").unwrap_err());
    dangling(read_bounded(&link, 9).map(drop).unwrap_err());
    dangling(make_private_file(&link, b"new").unwrap_err());
    dangling(set_aside(&link, UnixTime::from_secs(1)).unwrap_err());

    fs::write(&file, "old").unwrap();
    replace_file(&link, b"new").unwrap();
    assert!(link.is_symlink());
    assert_eq!((fs::read(&file).unwrap(), names(&mounted)), (b"new".to_vec(), vec!["peers.json".into()]));
    assert!(!make_private_file(&link, b"another").unwrap());
    // What is set aside is a copy: the link still leads somewhere, and the next save goes there.
    let aside = set_aside(&link, UnixTime::from_secs(2)).unwrap();
    assert_eq!(fs::read(aside).unwrap(), b"new");
    replace_file(&link, b"newer").unwrap();
    assert_eq!((read_bounded(&link, 9).unwrap().unwrap(), link.is_symlink()), (b"newer".to_vec(), true));
    assert_eq!(names(&mounted), ["peers.json", "peers.json.damaged-2"]);
}
