//! A virtual disk as the file system under `driver::store`.

use std::ffi::OsString;
use std::io::{self, Cursor, Read, Write};
use std::path::{Path, PathBuf};

use super::{NameChange, VirtualDisk};
use crate::driver::store::disk::Disk;

/// A file that is open to be written, from its begin.
#[derive(Debug)]
pub(in crate::sim) struct Handle {
    disk: VirtualDisk,
    file: u64,
    at: u64,
}

impl Write for Handle {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.disk.call()?.write(self.file, self.at, bytes)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Disk for VirtualDisk {
    type File = Handle;

    fn create(&self, path: &Path, _private: bool) -> io::Result<Handle> {
        let file = self.call()?.create(path)?;
        Ok(Handle { disk: self.clone(), file, at: 0 })
    }

    fn overwrite(&self, path: &Path) -> io::Result<Handle> {
        let mut state = self.call()?;
        let file = state.find(path)?;
        state.may_write()?;
        state.file(file)?.set_len(0);
        Ok(Handle { disk: self.clone(), file, at: 0 })
    }

    fn sync(&self, file: &Handle) -> io::Result<()> {
        self.call()?.sync(file.file)
    }

    fn open(&self, path: &Path) -> io::Result<impl Read> {
        let mut state = self.call()?;
        let number = state.open(path)?;
        state.may_read()?;
        let mut bytes = state.file(number)?.cached.to_vec();
        state.spoil(&mut bytes);
        Ok(Cursor::new(bytes))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        let file = state.find(from)?;
        if state.pinned.contains(to) {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        state.may_write()?;
        // Two entries of a directory, and so two things that survive or do not.
        state.change(NameChange::Unlink(from.to_owned()));
        state.change(NameChange::Link(to.to_owned(), file));
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        let file = state.find(from)?;
        if state.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.may_write()?;
        state.change(NameChange::Link(to.to_owned(), file));
        Ok(())
    }

    /// There are no links on it.
    fn behind_links(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.to_owned())
    }

    fn exists(&self, path: &Path) -> bool {
        self.lock().names.contains_key(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        state.find(path)?;
        state.may_write()?;
        state.change(NameChange::Unlink(path.to_owned()));
        Ok(())
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<OsString>> {
        let mut state = self.call()?;
        state.may_read()?;
        let within = |path: &&PathBuf| path.parent() == Some(directory);
        Ok(state.names.keys().filter(within).filter_map(|path| path.file_name().map(OsString::from)).collect())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.call()?;
        state.may_write()?;
        for change in core::mem::take(&mut state.unsynced) {
            if change.path().parent() == Some(directory) {
                state.make_durable(&change);
            } else {
                state.unsynced.push(change);
            }
        }
        state.forget_nameless();
        Ok(())
    }
}
