//! A directory of a virtual disk as the store's storage: the real store runs on it.

use std::io;
use std::path::PathBuf;

use super::VirtualDisk;
use crate::chain::{Access, Lock, SegmentFile, Storage};
use crate::driver::store::disk::Disk;

/// Where a store is: a disk, and the directory on it.
#[derive(Clone, Debug)]
pub(in crate::sim) struct VirtualPath {
    pub(in crate::sim) disk: VirtualDisk,
    pub(in crate::sim) path: PathBuf,
    /// How long a segment becomes. Short ones come to an end, and are given back, as often as in years of a real store.
    pub(in crate::sim) segment_bytes: u64,
}

impl VirtualPath {
    fn segment(&self, number: u32) -> PathBuf {
        self.path.join(format!("{number}.blocks"))
    }

    fn beside(&self, number: u32) -> PathBuf {
        self.path.join(format!("{number}.tmp"))
    }

    fn file(&self, file: u64) -> Box<dyn SegmentFile> {
        Box::new(VirtualFile { disk: self.disk.clone(), file })
    }
}

impl Storage for VirtualPath {
    fn enter(&self, _: Access) -> io::Result<Option<Lock>> {
        // Whoever had it before is gone with his boot.
        Ok(None)
    }

    fn numbers(&self) -> io::Result<Vec<u32>> {
        let names = self.disk.names(&self.path)?;
        Ok(names.iter().filter_map(|name| name.to_str()?.strip_suffix(".blocks")?.parse().ok()).collect())
    }

    fn open(&self, number: u32, _: Access) -> io::Result<Box<dyn SegmentFile>> {
        let mut state = self.disk.call()?;
        state.may_read()?;
        Ok(self.file(state.open(&self.segment(number))?))
    }

    fn make(&self, number: u32) -> io::Result<Box<dyn SegmentFile>> {
        let path = self.beside(number);
        let _absent = self.disk.remove(&path);
        Ok(self.file(self.disk.call()?.create(&path)?))
    }

    fn put_in_place(&self, number: u32) -> io::Result<()> {
        self.disk.rename(&self.beside(number), &self.segment(number))
    }

    fn remove(&self, number: u32) -> io::Result<()> {
        Disk::remove(&self.disk, &self.segment(number))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_directory(&self.path)
    }

    fn salt(&self) -> io::Result<[u8; 8]> {
        Ok(self.disk.lock().rng.next_u64().to_le_bytes())
    }

    fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }
}

/// One open file of a [`VirtualDisk`].
#[derive(Debug)]
pub(in crate::sim) struct VirtualFile {
    disk: VirtualDisk,
    file: u64,
}

impl SegmentFile for VirtualFile {
    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.call()?;
        Ok(state.file(self.file)?.cached.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.disk.call()?;
        state.may_read()?;
        if !state.file(self.file)?.cached.read(offset, out) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        state.spoil(out);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.call()?.write(self.file, offset, bytes)
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

    fn sync(&self) -> io::Result<()> {
        self.disk.call()?.sync(self.file)
    }
}
