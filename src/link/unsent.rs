//! What a connection has made and the socket did not take, and the socket as it is seen from here.

use std::io::{self, IoSlice};

use crate::link::queue_account::QueueAccount;

/// Bytes that wait for the socket: at most what one round of sealing makes, and the library's own messages. Without memory
/// while there are none.
#[derive(Debug, Default)]
pub(in crate::link) struct Unsent {
    bytes: Vec<u8>,
    /// Bytes at the front that are written.
    at: usize,
    /// Bytes that count in the loop's account.
    charged: usize,
}

impl Unsent {
    pub(in crate::link) fn len(&self) -> usize {
        debug_assert!(self.at <= self.bytes.len(), "more is written than was there");
        self.bytes.len().saturating_sub(self.at)
    }

    pub(in crate::link) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the library appends what it wants to send.
    #[cfg(feature = "tls")]
    pub(in crate::link) fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// Bytes that were appended since the last time that all was written.
    #[cfg(feature = "tls")]
    pub(in crate::link) fn appended(&self) -> usize {
        self.bytes.len()
    }

    /// Takes over all that waits elsewhere.
    #[cfg(feature = "ws")]
    pub(in crate::link) fn append_all(&mut self, other: &mut Unsent) {
        if !other.is_empty() {
            self.bytes.extend_from_slice(other.bytes.get(other.at..).unwrap_or_default());
            (other.bytes, other.at) = (Vec::new(), 0);
        }
    }

    pub(in crate::link) fn append(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes as much as the socket takes.
    pub(in crate::link) fn drain<W: FnMut(&[IoSlice<'_>]) -> io::Result<usize>>(
        &mut self,
        socket: &mut Socket<W>,
    ) -> io::Result<()> {
        self.at += socket.write(self.bytes.get(self.at..).unwrap_or_default())?;
        if self.is_empty() {
            (self.bytes, self.at) = (Vec::new(), 0);
        }
        debug_assert!(self.is_empty() || socket.is_blocked(), "bytes are left of which the socket would take more");
        Ok(())
    }

    /// Brings the loop's account up to date.
    pub(in crate::link) fn account(&mut self, account: &mut QueueAccount) {
        let len = self.len();
        account.charge(len);
        account.release(core::mem::replace(&mut self.charged, len));
    }

    pub(in crate::link) fn clear(&mut self, account: &mut QueueAccount) {
        account.release(core::mem::take(&mut self.charged));
        (self.bytes, self.at) = (Vec::new(), 0);
    }

    #[cfg(all(test, feature = "tls"))]
    pub(in crate::link) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// A writer, and how much it took so far.
pub(in crate::link) struct Socket<W> {
    write: W,
    sent: usize,
    blocked: bool,
}

impl<W: FnMut(&[IoSlice<'_>]) -> io::Result<usize>> Socket<W> {
    pub(in crate::link) fn new(write: W) -> Self {
        Socket { write, sent: 0, blocked: false }
    }

    /// Bytes that it took.
    #[cfg(feature = "tls")]
    pub(in crate::link) fn sent(&self) -> usize {
        self.sent
    }

    /// True when it takes no more now.
    pub(in crate::link) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Writes as much as is taken; less than all means that it would block.
    pub(in crate::link) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty() && !self.blocked) {
            match (self.write)(&[IoSlice::new(rest)]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    at += count.min(rest.len());
                    self.blocked = at < bytes.len();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.blocked = true,
                Err(error) => return Err(error),
            }
        }
        self.sent += at;
        Ok(at)
    }
}
