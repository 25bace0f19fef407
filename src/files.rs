//! What file systems do not all promise: names that are links, names that can be made durable, names that can be replaced.
//!
//! Everything that keeps files goes through here, so that a link to a disk that is not mounted, a file system without hard
//! links and one that does not sync directories are met in the same way wherever they turn up.

use core::fmt;
use std::fs::{self, DirBuilder, File, FileType, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// Why nothing is found under a name that is there: it is a link, and what it leads to is missing. The usual cause is a disk
/// that is not mounted, so what is missing must not be made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DanglingLink {
    /// Where the link leads.
    pub target: PathBuf,
}

impl DanglingLink {
    /// The dangling link behind an error of this crate, if there is one.
    pub fn behind(error: &io::Error) -> Option<&DanglingLink> {
        error.get_ref()?.downcast_ref()
    }
}

impl fmt::Display for DanglingLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is a link to {}, which is not there", self.target.display())
    }
}

impl std::error::Error for DanglingLink {}

/// Why a file is not opened: something else has its name. To open a FIFO waits for whoever opens its other end, a device may
/// do anything, and to lock a device locks out everybody who uses it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAFile {
    /// The name.
    pub path: PathBuf,
    /// What has it.
    pub what: &'static str,
}

impl NotAFile {
    /// The thing that is no file behind an error of this crate, if there is one.
    pub fn behind(error: &io::Error) -> Option<&NotAFile> {
        error.get_ref()?.downcast_ref()
    }

    fn check(path: &Path, found: FileType) -> io::Result<()> {
        match found.is_file() {
            true => Ok(()),
            false => Err(io::Error::other(NotAFile { path: path.to_owned(), what: name_of(found) })),
        }
    }
}

impl fmt::Display for NotAFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}, not a file", self.path.display(), self.what)
    }
}

impl std::error::Error for NotAFile {}

fn name_of(found: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if found.is_fifo() {
            return "a FIFO";
        } else if found.is_socket() {
            return "a socket";
        } else if found.is_char_device() || found.is_block_device() {
            return "a device";
        }
    }
    if found.is_dir() { "a directory" } else { "something else" }
}

/// The standard library has no name for it.
#[cfg(all(unix, any(target_os = "linux", target_os = "android")))]
const O_NONBLOCK: i32 = if cfg!(any(target_arch = "mips", target_arch = "mips64")) {
    0o200
} else if cfg!(any(target_arch = "sparc", target_arch = "sparc64")) {
    0x4000
} else {
    0o4000
};
#[cfg(all(unix, any(target_os = "illumos", target_os = "solaris")))]
const O_NONBLOCK: i32 = 0o200;
#[cfg(all(unix, not(any(target_os = "linux", target_os = "android", target_os = "illumos", target_os = "solaris"))))]
const O_NONBLOCK: i32 = 4;

/// Opens a file as `options` say, and nothing but a file: whatever else has the name, the answer comes at once. Looked at
/// before, so that a device is not even opened, and what was opened once more, so that no exchange in between matters.
///
/// # Errors
///
/// A [`NotAFile`], or what the file system says.
pub fn open_file(options: &OpenOptions, path: &Path) -> io::Result<File> {
    match fs::metadata(path) {
        Ok(metadata) => NotAFile::check(path, metadata.file_type())?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let mut options = options.clone();
    // Of a file it changes nothing. Who would wait for the other end of a FIFO is told that there is none.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, O_NONBLOCK);
    let file = options.open(path)?;
    NotAFile::check(path, file.metadata()?.file_type())?;
    Ok(file)
}

/// Who may read what is made. Nobody but its owner may write it, whatever the process's umask: a service manager's is
/// often none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Its owner.
    Owner,
    /// Whom the umask allows.
    All,
}

impl Readers {
    /// Has `options` make files so.
    pub fn of_files(self, options: &mut OpenOptions) -> &mut OpenOptions {
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(options, if self == Readers::Owner { 0o600 } else { 0o644 });
        options
    }

    /// Has `builder` make directories so.
    pub fn of_directories(self, builder: &mut DirBuilder) -> &mut DirBuilder {
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(builder, if self == Readers::Owner { 0o700 } else { 0o755 });
        builder
    }
}

/// May a file be made under this name, or is there one? Not where a link has it that leads nowhere.
///
/// # Errors
///
/// A [`DanglingLink`], or the file system does not say.
pub fn check_free(path: &Path) -> io::Result<()> {
    let is_link = match fs::symlink_metadata(path) {
        Ok(metadata) => metadata.is_symlink(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    match fs::metadata(path) {
        Err(error) if is_link && error.kind() == io::ErrorKind::NotFound => {
            let target = directory_of(path).join(fs::read_link(path)?);
            Err(io::Error::other(DanglingLink { target }))
        }
        Err(error) if is_link => Err(error),
        _ => Ok(()),
    }
}

/// The file that a name stands for: where its links lead, or the name itself, whether there is a file or not.
///
/// # Errors
///
/// A [`DanglingLink`], links that go round in a circle, or a [`NotAFile`]: what is replaced is a file, and never the device that
/// a link leads to.
pub(crate) fn behind_links(path: &Path) -> io::Result<PathBuf> {
    let real = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => match fs::canonicalize(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => check_free(path).map(|()| path.to_owned()),
            other => other,
        },
        _ => Ok(path.to_owned()),
    }?;
    if let Ok(metadata) = fs::metadata(&real) {
        NotAFile::check(&real, metadata.file_type())?;
    }
    Ok(real)
}

/// What became of new names in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// They are there after a power cut.
    Durable,
    /// The file system does not sync directories: it sees to their names itself, or not.
    LeftToTheFileSystem,
}

/// Makes the names in a directory durable, where the file system can be told to.
///
/// # Errors
///
/// The disk failed at it. That a file system has no such thing is no error.
pub fn sync_directory(directory: &Path) -> io::Result<Names> {
    names_after(sync_names(directory))
}

/// The plain call under [`sync_directory`], with the error of a file system that has no such thing.
pub(crate) fn sync_names(directory: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(directory)?.sync_all()?;
    #[cfg(not(unix))]
    let _synced_by_the_system = directory;
    Ok(())
}

/// Tells a file system that does not sync directories from a disk that fails.
pub(crate) fn names_after(synced: io::Result<()>) -> io::Result<Names> {
    match synced {
        Ok(()) => Ok(Names::Durable),
        Err(error) if is_not_offered(&error) => Ok(Names::LeftToTheFileSystem),
        Err(error) => Err(error),
    }
}

/// Is this how a file system says that it does not do such things? Network, FUSE and FAT file systems differ in the word.
pub(crate) fn is_not_offered(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, TooManyLinks, Unsupported};
    // EBADF has no kind of its own.
    const BAD_DESCRIPTOR: i32 = 9;
    matches!(error.kind(), InvalidInput | PermissionDenied | TooManyLinks | Unsupported)
        || cfg!(unix) && error.raw_os_error() == Some(BAD_DESCRIPTOR)
}

/// Is this how a system says that a name cannot be given to another file, because something is mounted on it?
pub(crate) fn is_pinned(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ResourceBusy | io::ErrorKind::CrossesDevices)
}

/// The directory that a name is in.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A start waited for ever where a FIFO had the name of a file.
    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_named_at_once_and_never_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        assert!(std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        fs::create_dir(at("directory")).unwrap();
        std::os::unix::fs::symlink("/dev/null", at("device")).unwrap();
        for (name, what) in
            [("fifo", "a FIFO"), ("socket", "a socket"), ("directory", "a directory"), ("device", "a device")]
        {
            for options in [OpenOptions::new().read(true), OpenOptions::new().write(true).create(true)] {
                let error = open_file(options, &at(name)).unwrap_err();
                assert_eq!(NotAFile::behind(&error), Some(&NotAFile { path: at(name), what }));
                assert!(error.to_string().ends_with(&format!("{name} is {what}, not a file")), "{error}");
            }
        }
        // A save by root put a file in the place of the device that a link led to.
        for name in ["fifo", "socket", "directory", "device"] {
            assert!(NotAFile::behind(&behind_links(&at(name)).unwrap_err()).is_some(), "{name}");
        }
        // What the look before it would have missed: the open itself does not wait, and what it opened is looked at again.
        let mut options = OpenOptions::new();
        std::os::unix::fs::OpenOptionsExt::custom_flags(options.read(true), O_NONBLOCK);
        let opened = options.open(at("fifo")).unwrap();
        assert!(NotAFile::check(&at("fifo"), opened.metadata().unwrap().file_type()).is_err());
        open_file(OpenOptions::new().write(true).create(true), &at("file")).unwrap();
        open_file(OpenOptions::new().read(true), &at("file")).unwrap();
        let absent = open_file(OpenOptions::new().read(true), &at("absent")).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_system_without_synced_names_is_told_from_a_disk_that_fails() {
        for kind in [io::ErrorKind::InvalidInput, io::ErrorKind::PermissionDenied, io::ErrorKind::Unsupported] {
            assert_eq!(names_after(Err(kind.into())).unwrap(), Names::LeftToTheFileSystem);
        }
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::NotFound, io::ErrorKind::Other] {
            assert_eq!(names_after(Err(kind.into())).unwrap_err().kind(), kind);
        }
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(sync_directory(directory.path()).unwrap(), Names::Durable);
    }

    #[cfg(unix)]
    #[test]
    fn what_the_systems_of_this_world_say_instead_is_known() {
        // EPERM, EBADF, EACCES, EINVAL, ENOTSUP of Linux; EIO, ENOSPC and EROFS are something else.
        for (number, no_such_thing) in [
            (1, true),
            (9, true),
            (13, true),
            (22, true),
            (95, cfg!(target_os = "linux")),
            (5, false),
            (28, false),
            (30, false),
        ] {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(is_not_offered(&error), no_such_thing, "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_nowhere_is_no_free_name() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().unwrap();
        let (file, link, second) =
            (directory.path().join("file"), directory.path().join("link"), directory.path().join("second"));
        check_free(&file).unwrap();
        fs::write(directory.path().join("whole"), "").unwrap();
        symlink("whole", directory.path().join("fine")).unwrap();
        check_free(&directory.path().join("fine")).unwrap();
        symlink(&file, &link).unwrap();
        symlink(&link, &second).unwrap();
        for name in [&link, &second] {
            for error in [check_free(name).unwrap_err(), behind_links(name).unwrap_err()] {
                assert!(DanglingLink::behind(&error).is_some(), "{error}");
                assert!(error.to_string().contains("which is not there"), "{error}");
            }
        }
        fs::write(&file, "").unwrap();
        let real = fs::canonicalize(&file).unwrap();
        assert_eq!((behind_links(&second).unwrap(), behind_links(&link).unwrap()), (real.clone(), real));
        assert_eq!(behind_links(&file).unwrap(), file);
        symlink(directory.path().join("round"), directory.path().join("round")).unwrap();
        assert!(behind_links(&directory.path().join("round")).is_err());
    }
}
