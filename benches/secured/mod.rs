//! Who carries frames in the TLS bench: our links, with and without TLS, and rustls alone.

#[path = "../../tests/tls_support/anyone.rs"]
mod anyone;
pub(crate) mod bare;
#[path = "../../tests/memory_support/counting.rs"]
pub(crate) mod memory;
pub(crate) mod ours;
#[path = "../../src/link/tls/provider.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "the bench needs the choice of a crypto library, neither its hash nor its tests"
)]
mod provider;

/// Carries one stream of frames from one end to the other.
pub(crate) trait Carry {
    /// Panics when something is lost.
    fn carry(&mut self);
}

/// Bytes that the other end reads at once.
pub(crate) const READ_LEN: usize = 256 * 1024;

/// Copies are made in steps, as a socket's segments are; see `benches/rivals/mod.rs`.
const STEP_LEN: usize = 2048;

/// The socket: takes what one end wrote, in pieces, for the other to read.
#[derive(Debug)]
pub(crate) struct Wire {
    bytes: Vec<u8>,
    len: usize,
}

impl Wire {
    pub(crate) fn new() -> Self {
        Wire { bytes: vec![0; READ_LEN], len: 0 }
    }

    pub(crate) fn fits(&self, len: usize) -> bool {
        self.len + len <= self.bytes.len()
    }

    /// Takes as much as fits.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.bytes.len() - self.len);
        let target = &mut self.bytes[self.len..][..count];
        target
            .chunks_mut(STEP_LEN)
            .zip(bytes[..count].chunks(STEP_LEN))
            .for_each(|(to, from)| to.copy_from_slice(from));
        self.len += count;
        count
    }

    /// What was written since the last look.
    pub(crate) fn read(&mut self) -> &mut [u8] {
        let len = core::mem::take(&mut self.len);
        &mut self.bytes[..len]
    }
}
