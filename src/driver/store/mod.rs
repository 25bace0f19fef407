//! Files that are whole after any crash: replaced in one step, and set aside when damaged.
//!
//! [`replace_file`] writes beside the file, makes the bytes durable, and renames: whoever opens the name finds all of the old
//! bytes or all of the new ones. What cannot be read as what it should be is renamed, kept for a person to look at, and the
//! node goes on without it.
//!
//! Where a name cannot be given to another file, because something is mounted on it, the file is written in place. The new
//! bytes lie beside it as `NAME.copy` before, and until they are in it; [`read_bounded`] takes the copy for the file as long
//! as there is one. A name that is a link stays one: what is replaced is the file that it leads to, and where it leads
//! nowhere nothing is made ([`DanglingLink`]).

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use self::disk::{Disk, System};
use crate::files::{directory_of, is_not_offered, is_pinned, names_after};
use crate::time::UnixTime;

pub use crate::files::{DanglingLink, Names, NotAFile, Readers, check_free, open_file, sync_directory};

#[cfg(feature = "json")]
pub mod addresses;
#[cfg(feature = "json")]
pub mod bans;
#[cfg(feature = "json")]
mod checksum;
pub(crate) mod disk;
#[cfg(all(test, feature = "json"))]
mod odd_disks;
#[cfg(feature = "json")]
pub mod peers;
#[cfg(feature = "json")]
mod rfc3339;

/// What is copied aside at most: a larger file that is damaged is none of ours.
const ASIDE_LEN_MAX: u64 = 64 << 20;

/// Replaces the file at `path`, or makes it: afterwards it holds exactly `bytes`. On an error it is what it was, unless it
/// was one of the very last steps that failed, when the new bytes were durable: then it is the new file, which a power cut may
/// undo.
///
/// Blocks for as long as the disk takes to sync. Two writers of one path at a time get in each other's way; the data directory has
/// one process.
///
/// # Errors
///
/// What the file system says: no space, no permission, no such directory. A [`DanglingLink`] is left as it is.
pub fn replace_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_on(&System, path, bytes, false)
}

/// Like [`replace_file`], for secrets: only the owner can read the file.
///
/// # Errors
///
/// As [`replace_file`].
pub fn replace_private_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_on(&System, path, bytes, true)
}

/// Makes a file that holds `bytes`, for the owner's eyes alone, whole and durable from the moment it has its name. Answers
/// false, and changes nothing, when the name is taken. Of two that do so at a time one is told that it was too late, but on a
/// file system without hard links, where the last one's file stays.
///
/// # Errors
///
/// As [`replace_file`].
pub fn make_private_file(path: &Path, bytes: &[u8]) -> io::Result<bool> {
    make_private_on(&System, path, bytes)
}

/// Puts a damaged file aside as `NAME.damaged-<unix seconds>`, removes those set aside before it, and answers the new name.
/// It is renamed, or copied where its name is a link or something is mounted on it.
///
/// # Errors
///
/// When the file can be neither renamed nor copied. Older ones that cannot be removed stay.
pub fn set_aside(path: &Path, now: UnixTime) -> io::Result<PathBuf> {
    set_aside_on(&System, path, now)
}

/// All of a file, if it has at most `len_max` bytes: `None` when there is no such file.
///
/// # Errors
///
/// [`io::ErrorKind::FileTooLarge`] when it is longer; nothing beyond `len_max` is read. A [`DanglingLink`] is not no file, and
/// neither is what is [no file](NotAFile).
pub fn read_bounded(path: &Path, len_max: u64) -> io::Result<Option<Vec<u8>>> {
    read_bounded_on(&System, path, len_max)
}

/// Removes what a crash in the middle of [`replace_file`] left beside `path`, but what is needed to finish it.
pub fn remove_leftover(path: &Path) {
    remove_leftover_on(&System, path);
}

fn set_aside_on(disk: &impl Disk, path: &Path, now: UnixTime) -> io::Result<PathBuf> {
    let real = disk.behind_links(path)?;
    let found = newest(disk, &real)?;
    let aside = aside_of(&real, now)?;
    // To take what a link leads to away would leave a link that leads nowhere.
    let moved = if real == path || found != real { disk.rename(&found, &aside) } else { copy(disk, &found, &aside) };
    match moved {
        Err(error) if is_pinned(&error) => copy(disk, &found, &aside)?,
        other => other?,
    }
    remove_older(disk, &real, &aside);
    Ok(aside)
}

/// Keeps `bytes`, which are damaged in part, as [`set_aside`] keeps a whole file. The file stays.
#[cfg(feature = "json")]
fn keep_aside_on(disk: &impl Disk, path: &Path, bytes: &[u8], now: UnixTime) -> io::Result<PathBuf> {
    let real = disk.behind_links(path)?;
    let aside = aside_of(&real, now)?;
    write_copy(disk, &aside, bytes)?;
    remove_older(disk, &real, &aside);
    Ok(aside)
}

fn aside_of(path: &Path, now: UnixTime) -> io::Result<PathBuf> {
    beside(path, &format!(".damaged-{}", now.as_secs()))
}

fn copy(disk: &impl Disk, from: &Path, to: &Path) -> io::Result<()> {
    let bytes = read_all(disk, from, ASIDE_LEN_MAX)?.ok_or(io::ErrorKind::NotFound)?;
    write_copy(disk, to, &bytes)
}

/// What does not become whole is removed.
fn write_copy(disk: &impl Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let _absent = disk.remove(path);
    let written = write_synced(disk, path, bytes, false);
    if written.is_err() {
        let _absent = disk.remove(path);
    }
    written
}

fn remove_older(disk: &impl Disk, path: &Path, aside: &Path) {
    let Ok(prefix) = beside(path, ".damaged-") else { return };
    let prefix = prefix.file_name().unwrap_or_default().as_encoded_bytes();
    for name in disk.names(directory_of(path)).into_iter().flatten() {
        if name.as_encoded_bytes().starts_with(prefix) && aside.file_name() != Some(name.as_os_str()) {
            let _kept = disk.remove(&path.with_file_name(name));
        }
    }
}

fn read_bounded_on(disk: &impl Disk, path: &Path, len_max: u64) -> io::Result<Option<Vec<u8>>> {
    read_all(disk, &newest(disk, &disk.behind_links(path)?)?, len_max)
}

/// The file with the newest bytes of those for `path`.
fn newest(disk: &impl Disk, path: &Path) -> io::Result<PathBuf> {
    let copy = copy_of(path)?;
    Ok(if disk.exists(&copy) { copy } else { path.to_owned() })
}

fn read_all(disk: &impl Disk, path: &Path, len_max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = match disk.open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = Vec::new();
    file.take(len_max.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > len_max {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(Some(bytes))
}

fn remove_leftover_on(disk: &impl Disk, path: &Path) {
    if let Ok(temporary) = beside(path, ".tmp") {
        let _absent = disk.remove(&temporary);
    }
}

fn replace_on(disk: &impl Disk, path: &Path, bytes: &[u8], private: bool) -> io::Result<()> {
    let path = &disk.behind_links(path)?;
    let (temporary, copy) = (beside(path, ".tmp")?, copy_of(path)?);
    remove_leftover_on(disk, path);
    // One that a crash left is what is read: from here on it has to be the newest.
    let was_cut_short = disk.exists(&copy);
    let renamed = write_synced(disk, &temporary, bytes, private).and_then(|()| {
        if was_cut_short {
            disk.rename(&temporary, &copy)?;
            settle(disk, path)?;
        }
        disk.rename(if was_cut_short { &copy } else { &temporary }, path)
    });
    match renamed {
        Ok(()) => settle(disk, path),
        Err(error) if is_pinned(&error) && disk.exists(path) => {
            if !was_cut_short {
                let kept = disk.rename(&temporary, &copy).and_then(|()| settle(disk, path));
                if kept.is_err() {
                    remove_leftover_on(disk, path);
                    return kept;
                }
            }
            write_in_place(disk, path, &copy, bytes, was_cut_short)
        }
        Err(error) => {
            remove_leftover_on(disk, path);
            Err(error)
        }
    }
}

/// The copy is durable, and taken for the file until the file holds the same.
fn write_in_place(disk: &impl Disk, path: &Path, copy: &Path, bytes: &[u8], was_cut_short: bool) -> io::Result<()> {
    let mut file = match disk.overwrite(path) {
        Ok(file) => file,
        Err(error) => {
            if !was_cut_short {
                // Nothing was touched. When this fails, it is the new bytes that are read, and those are whole too.
                let _whole = disk.remove(copy);
            }
            return Err(error);
        }
    };
    file.write_all(bytes)?;
    disk.sync(&file)?;
    disk.remove(copy)?;
    settle(disk, path)
}

/// Makes the names beside `path` durable, as far as the file system can be told to.
fn settle(disk: &impl Disk, path: &Path) -> io::Result<()> {
    names_after(disk.sync_directory(directory_of(path))).map(drop)
}

fn make_private_on(disk: &impl Disk, path: &Path, bytes: &[u8]) -> io::Result<bool> {
    let path = &disk.behind_links(path)?;
    let draft = beside(path, &format!(".new-{}", std::process::id()))?;
    // Left behind by a process of the same number that was killed while it wrote.
    let _absent = disk.remove(&draft);
    let made = write_synced(disk, &draft, bytes, true).and_then(|()| match disk.link(&draft, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) if is_not_offered(&error) && !disk.exists(path) => disk.rename(&draft, path).map(|()| true),
        Err(error) if is_not_offered(&error) => Ok(false),
        Err(error) => Err(error),
    });
    let removed = if disk.exists(&draft) { disk.remove(&draft) } else { Ok(()) };
    let made = made?;
    removed?;
    settle(disk, path).map(|()| made)
}

fn write_synced(disk: &impl Disk, path: &Path, bytes: &[u8], private: bool) -> io::Result<()> {
    let mut file = disk.create(path, private)?;
    file.write_all(bytes)?;
    disk.sync(&file)
}

/// Where the new bytes are while they are written to a file in place.
fn copy_of(path: &Path) -> io::Result<PathBuf> {
    beside(path, ".copy")
}

/// The path with `suffix` after its file name.
fn beside(path: &Path, suffix: &str) -> io::Result<PathBuf> {
    let Some(name) = path.file_name() else { return Err(io::ErrorKind::InvalidFilename.into()) };
    let mut name = OsString::from(name);
    name.push(suffix);
    Ok(path.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_replaced_file_holds_the_new_bytes_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        for bytes in [&b"first, and longer"[..], b"second", b""] {
            fs::write(directory.path().join("a.json.tmp"), "left by a crash").unwrap();
            replace_file(&path, bytes).unwrap();
            assert_eq!(fs::read(&path).unwrap(), bytes);
            assert_eq!(names(directory.path()), ["a.json"]);
        }
    }

    #[test]
    fn a_failed_replacement_leaves_the_old_bytes_and_nothing_beside_them() {
        let directory = tempfile::tempdir().unwrap();
        // A directory that is not empty cannot be renamed over.
        let path = directory.path().join("a.json");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "x").unwrap();
        assert!(replace_file(&path, b"new").is_err());
        assert_eq!(names(directory.path()), ["a.json"]);
        assert!(replace_file(&directory.path().join("absent/a.json"), b"new").is_err());
        assert!(replace_file(Path::new("/"), b"new").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_private_file_is_the_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.key");
        replace_private_file(&path, b"secret").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn only_the_newest_damaged_file_is_kept_and_others_are_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.json");
        fs::write(directory.path().join("b.json.damaged-1"), "another's").unwrap();
        for second in [5, 6, 7] {
            fs::write(&path, format!("{second}")).unwrap();
            let aside = set_aside(&path, UnixTime::from_secs(second)).unwrap();
            assert_eq!(fs::read_to_string(aside).unwrap(), second.to_string());
        }
        assert_eq!(names(directory.path()), ["a.json.damaged-7", "b.json.damaged-1"]);
        assert!(set_aside(&path, UnixTime::from_secs(8)).is_err());
    }

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        assert_eq!(read_bounded(&path, 4).unwrap(), None);
        fs::write(&path, "1234").unwrap();
        assert_eq!(read_bounded(&path, 4).unwrap(), Some(b"1234".to_vec()));
        assert_eq!(read_bounded(&path, 3).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
