//! A virtual file as redb's storage: the real store runs on it.

use std::io;
use std::path::{Path, PathBuf};

use redb::{DatabaseError, StorageBackend};

use super::VirtualDisk;
use crate::chain::Storage;
use crate::driver::store::disk::Disk;

/// Where a store is: a disk, and the file's path on it.
#[derive(Clone, Debug)]
pub(in crate::sim) struct VirtualPath {
    pub(in crate::sim) disk: VirtualDisk,
    pub(in crate::sim) path: PathBuf,
}

impl Storage for VirtualPath {
    type Backend = VirtualFile;

    fn open(&self) -> Result<Option<VirtualFile>, DatabaseError> {
        match self.disk.call()?.open(&self.path) {
            Ok(file) => Ok(Some(VirtualFile { disk: self.disk.clone(), file })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn make(&self) -> Result<VirtualFile, DatabaseError> {
        let path = self.beside();
        let _absent = self.disk.remove(&path);
        let file = self.disk.call()?.create(&path)?;
        Ok(VirtualFile { disk: self.disk.clone(), file })
    }

    fn put_in_place(&self) -> io::Result<()> {
        self.disk.rename(&self.beside(), &self.path)
    }

    fn sync_place(&self) -> io::Result<()> {
        self.disk.sync_directory(self.path.parent().unwrap_or(Path::new("")))
    }
}

impl VirtualPath {
    fn beside(&self) -> PathBuf {
        self.path.with_extension("tmp")
    }
}

/// One open file of a [`VirtualDisk`].
#[derive(Debug)]
pub(in crate::sim) struct VirtualFile {
    disk: VirtualDisk,
    file: u64,
}

impl StorageBackend for VirtualFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.call()?;
        Ok(state.file(self.file)?.cached.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.call()?;
        state.may_read()?;
        if !state.file(self.file)?.cached.read(offset, out) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        state.spoil(out);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.call()?;
        state.may_write()?;
        if len > state.file(self.file)?.cached.len() {
            state.may_grow()?;
        }
        state.file(self.file)?.set_len(len);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.call()?;
        state.may_write()?;
        state.file(self.file)?.sync();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.disk.call()?;
        state.may_write()?;
        state.may_grow()?;
        state.file(self.file)?.write(offset, data);
        Ok(())
    }
}
