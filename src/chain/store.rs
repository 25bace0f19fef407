//! Where blocks are kept: in a file that survives `kill -9`, or in memory for tests and embedders.
//!
//! ```text
//! meta    format -> u32 (1)        genesis -> the genesis block
//! blocks  seq (u64) -> block       in order of arrival, so a parent always stands before its children
//! ```
//!
//! Every write is durable before it counts as written (`Durability::Immediate`), whole turns at a time, so the file holds
//! a prefix of what was appended whenever the process dies. Whether it survives a loss of power rests on the disk honouring
//! a flush.

use core::fmt;
use core::time::Duration;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::chain::genesis::Params;
use crate::chain::open::{self, OpenError};
use crate::chain::writer::{Reopen, Writer};

/// The most bytes that may wait for the disk: a few of the largest blocks, or minutes of small ones. Above it the chain
/// takes no more blocks until the disk has caught up.
pub const MAX_BACKLOG_BYTES: usize = 64 * 1024 * 1024;

/// How the store is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What the last write failed with; `None` once one has succeeded again.
    pub error: Option<String>,
    /// Bytes of blocks that are not durable yet.
    pub backlog_bytes: usize,
    /// Blocks made durable since the store was opened.
    pub written: u64,
}

/// Why a flush ended with something not durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// A write failed. It will be tried again while the store is open.
    Write(String),
    /// The disk did not answer in time.
    Slow {
        /// Bytes of blocks that are not durable yet.
        backlog_bytes: usize,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StoreError::Write(error) => write!(
                f,
                "cannot write blocks: {error}: make room on the disk; blocks that are not stored are downloaded again"
            ),
            StoreError::Slow { backlog_bytes } => {
                write!(f, "the disk did not finish in time, {backlog_bytes} bytes of blocks are not stored yet")
            }
        }
    }
}

impl std::error::Error for StoreError {}

/// Blocks by order of arrival.
pub struct Store {
    backend: Backend,
    next_seq: u64,
}

enum Backend {
    Memory(BTreeMap<u64, Bytes>),
    Disk { writer: Writer, path: PathBuf },
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match &self.backend {
            Backend::Memory(_) => "memory",
            Backend::Disk { .. } => "disk",
        };
        f.debug_struct("Store").field("backend", &kind).field("next_seq", &self.next_seq).finish()
    }
}

impl Store {
    /// A store that is gone when the process is.
    pub fn memory() -> Store {
        Store { backend: Backend::Memory(BTreeMap::new()), next_seq: 0 }
    }

    /// Opens the store at `path`, or makes one, for the network of `params`, and starts its helper thread. The directory
    /// must exist.
    ///
    /// # Errors
    ///
    /// Why the file cannot be used. It is left as it is.
    pub fn open(path: &Path, params: &Params) -> Result<Store, OpenError> {
        let database = open::open(path, params)?;
        let (again, params) = (path.to_owned(), *params);
        Store::start(path, database, Box::new(move || open::open(&again, &params).map_err(|error| error.to_string())))
    }

    fn start(path: &Path, database: redb::Database, reopen: Reopen) -> Result<Store, OpenError> {
        let writer = Writer::start(database, reopen).map_err(|error| OpenError::Io { path: path.to_owned(), error })?;
        Ok(Store { backend: Backend::Disk { writer, path: path.to_owned() }, next_seq: 0 })
    }

    /// Calls `each` with every block, in order of arrival. Blocks appended later come after all of these.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or when `each` says what is wrong with a block: both are damage.
    pub fn load(&mut self, mut each: impl FnMut(u64, Bytes) -> Result<(), String>) -> Result<(), OpenError> {
        enum Stop {
            Read(redb::Error),
            Block(u64, String),
        }
        impl From<redb::Error> for Stop {
            fn from(error: redb::Error) -> Self {
                Stop::Read(error)
            }
        }
        let next_seq = &mut self.next_seq;
        let mut visit = |seq: u64, bytes: Bytes| {
            *next_seq = seq.saturating_add(1);
            each(seq, bytes).map_err(|why| Stop::Block(seq, why))
        };
        match &self.backend {
            Backend::Memory(blocks) => {
                blocks.iter().try_for_each(|(seq, bytes)| visit(*seq, bytes.clone())).map_err(|stop| match stop {
                    Stop::Block(seq, why) => open::damaged(Path::new("memory"), format!("block {seq}: {why}")),
                    Stop::Read(error) => open::classify(Path::new("memory"), error),
                })
            }
            Backend::Disk { writer, path } => writer.scan(visit).map_err(|stop| match stop {
                Stop::Block(seq, why) => open::damaged(path, format!("block {seq}: {why}")),
                Stop::Read(error) => open::classify(path, error),
            }),
        }
    }

    /// Appends a block and says where it stands. It can be read at once and is durable soon after [`Store::hand_over`].
    pub fn append(&mut self, bytes: Bytes) -> u64 {
        let seq = self.next_seq;
        self.next_seq = seq.saturating_add(1);
        match &mut self.backend {
            Backend::Memory(blocks) => drop(blocks.insert(seq, bytes)),
            Backend::Disk { writer, .. } => writer.put(seq, bytes),
        }
        seq
    }

    /// Removes a block that no stored block builds on.
    pub fn remove(&mut self, seq: u64) {
        match &mut self.backend {
            Backend::Memory(blocks) => drop(blocks.remove(&seq)),
            Backend::Disk { writer, .. } => writer.remove(seq),
        }
    }

    /// Lets the helper thread write everything appended so far, as one transaction. Returns at once.
    pub fn hand_over(&mut self) {
        if let Backend::Disk { writer, .. } = &self.backend {
            writer.hand_over();
        }
    }

    /// The bytes of the block at `seq`; `None` when there is none or the disk does not give it.
    pub fn read(&self, seq: u64) -> Option<Bytes> {
        match &self.backend {
            Backend::Memory(blocks) => blocks.get(&seq).cloned(),
            Backend::Disk { writer, .. } => writer.read(seq),
        }
    }

    /// True when [`MAX_BACKLOG_BYTES`] or more wait for the disk.
    pub fn is_behind(&self) -> bool {
        match &self.backend {
            Backend::Memory(_) => false,
            Backend::Disk { writer, .. } => writer.backlog() >= MAX_BACKLOG_BYTES,
        }
    }

    /// How the store is doing.
    pub fn health(&self) -> Health {
        match &self.backend {
            Backend::Memory(_) => Health::default(),
            Backend::Disk { writer, .. } => writer.health(),
        }
    }

    /// Waits until everything appended is durable, at most `patience`. For a clean stop, not for the loop.
    ///
    /// # Errors
    ///
    /// When a write fails meanwhile or the disk takes longer. The store goes on trying either way.
    pub fn flush(&mut self, patience: Duration) -> Result<(), StoreError> {
        match &self.backend {
            Backend::Memory(_) => Ok(()),
            Backend::Disk { writer, .. } => writer.flush(patience),
        }
    }
}
