//! The calls that files are replaced and read with, as a seam: under them lies a file system, or one that is played.
//!
//! A crash between any two of these calls must leave files that are whole. That cannot be tried on a real disk, which
//! loses nothing while the test looks; it is tried on one that decides what was only in a cache.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::files::{self, Readers};

/// A file system, as far as this crate needs one.
pub(crate) trait Disk {
    /// A file that is open to be written.
    type File: Write;

    /// Makes a file that is not there yet; for the owner's eyes alone when it is `private`.
    fn create(&self, path: &Path, private: bool) -> io::Result<Self::File>;

    /// Opens a file that is there to be written anew from its begin: it is empty afterwards.
    fn overwrite(&self, path: &Path) -> io::Result<Self::File>;

    /// Makes what was written to the file durable. Its name is another matter: [`Disk::sync_directory`].
    fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Opens a file to be read.
    fn open(&self, path: &Path) -> io::Result<impl Read>;

    /// Gives a file another name, in place of the file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives a file a second name, which nothing may have yet. Not every file system can.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// The name behind the links that a name may be: the place to write to. A link that leads nowhere is an error.
    fn behind_links(&self, path: &Path) -> io::Result<PathBuf>;

    /// Whether there is a file of this name.
    fn exists(&self, path: &Path) -> bool;

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// The names in a directory, in no order.
    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>>;

    /// Makes the names in a directory durable. Without this a rename may be lost in a power cut, though never half done. Not
    /// every file system can.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
}

/// The real one.
pub(super) struct System;

impl Disk for System {
    type File = File;

    fn create(&self, path: &Path, private: bool) -> io::Result<File> {
        let readers = if private { Readers::Owner } else { Readers::All };
        readers.of_files(OpenOptions::new().write(true).create_new(true)).open(path)
    }

    fn overwrite(&self, path: &Path) -> io::Result<File> {
        files::open_file(OpenOptions::new().write(true).truncate(true), path)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn open(&self, path: &Path) -> io::Result<impl Read> {
        files::open_file(OpenOptions::new().read(true), path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn behind_links(&self, path: &Path) -> io::Result<PathBuf> {
        files::behind_links(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        files::sync_names(directory)
    }
}
