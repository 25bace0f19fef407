//! Files that are whole after any crash: replaced in one step, and set aside when damaged.
//!
//! [`replace_file`] writes beside the file, makes the bytes durable, and renames: whoever opens the name finds all of the old
//! bytes or all of the new ones. What cannot be read as what it should be is renamed, kept for a person to look at, and the
//! node goes on without it.

use std::ffi::OsString;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use self::disk::{Disk, System};
use crate::time::UnixTime;

pub(crate) mod disk;
#[cfg(feature = "json")]
pub mod peers;
#[cfg(feature = "json")]
mod rfc3339;

/// Replaces the file at `path`, or makes it: afterwards it holds exactly `bytes`. On an error it is what it was, unless it
/// was the very last step that failed, making the new name durable: then it is the new file, which a power cut may undo.
///
/// Blocks for as long as the disk takes to sync. Two writers of one path at a time get in each other's way; the data directory has
/// one process.
///
/// # Errors
///
/// What the file system says: no space, no permission, no such directory.
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

/// Renames a damaged file to `NAME.damaged-<unix seconds>`, removes those set aside before it, and answers the new name.
///
/// # Errors
///
/// When the file cannot be renamed. Older ones that cannot be removed stay.
pub fn set_aside(path: &Path, now: UnixTime) -> io::Result<PathBuf> {
    set_aside_on(&System, path, now)
}

/// All of a file, if it has at most `len_max` bytes: `None` when there is no such file.
///
/// # Errors
///
/// [`io::ErrorKind::FileTooLarge`] when it is longer; nothing beyond `len_max` is read.
pub fn read_bounded(path: &Path, len_max: u64) -> io::Result<Option<Vec<u8>>> {
    read_bounded_on(&System, path, len_max)
}

/// Removes what a crash in the middle of [`replace_file`] left beside `path`.
pub fn remove_leftover(path: &Path) {
    remove_leftover_on(&System, path);
}

fn set_aside_on(disk: &impl Disk, path: &Path, now: UnixTime) -> io::Result<PathBuf> {
    let aside = beside(path, &format!(".damaged-{}", now.as_secs()))?;
    disk.rename(path, &aside)?;
    let prefix = beside(path, ".damaged-")?;
    let prefix = prefix.file_name().unwrap_or_default().as_encoded_bytes();
    for name in disk.names(directory(path)).into_iter().flatten() {
        if name.as_encoded_bytes().starts_with(prefix) && aside.file_name() != Some(name.as_os_str()) {
            let _kept = disk.remove(&path.with_file_name(name));
        }
    }
    Ok(aside)
}

fn read_bounded_on(disk: &impl Disk, path: &Path, len_max: u64) -> io::Result<Option<Vec<u8>>> {
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
    let temporary = beside(path, ".tmp")?;
    remove_leftover_on(disk, path);
    let written = write_synced(disk, &temporary, bytes, private).and_then(|()| disk.rename(&temporary, path));
    if written.is_err() {
        remove_leftover_on(disk, path);
    }
    written?;
    disk.sync_directory(directory(path))
}

fn write_synced(disk: &impl Disk, path: &Path, bytes: &[u8], private: bool) -> io::Result<()> {
    let mut file = disk.create(path, private)?;
    file.write_all(bytes)?;
    disk.sync(&file)
}

fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
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
