//! A virtual file as redb's storage: the real store runs on it.

use std::io;
use std::path::Path;

use redb::StorageBackend;

use super::VirtualDisk;

/// One open file of a [`VirtualDisk`].
#[derive(Debug)]
pub(in crate::sim) struct VirtualFile {
    disk: VirtualDisk,
    file: u64,
}

impl VirtualFile {
    /// Opens the file at `path`, or makes it, as redb does with a real one: its name is not made durable.
    pub(in crate::sim) fn open(disk: &VirtualDisk, path: &Path) -> io::Result<VirtualFile> {
        let mut state = disk.call()?;
        let file = match state.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => state.create(path)?,
            Err(error) => return Err(error),
            Ok(file) => file,
        };
        Ok(VirtualFile { disk: disk.clone(), file })
    }
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
