//! What a store says of itself: its last error, what is not durable yet, and why it could not finish.

use core::fmt;
use std::io;

use crate::histogram::Histogram;

/// How the store is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// What the last write failed with; `None` once one has succeeded again. A chain says here too that the disk gave back
    /// a block other than it was given, and goes on saying it.
    pub error: Option<String>,
    /// Bytes of blocks that are not durable yet.
    pub backlog_bytes: usize,
    /// Blocks made durable since the store was opened.
    pub written: u64,
    /// How long batches took to be written and made durable, those not counted that failed; empty where the caller writes himself.
    pub writes: Histogram,
    /// Writes that failed.
    pub failures: u64,
}

/// Why a flush ended with something not durable.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreError {
    /// A write failed, with what to do about it. It will be tried again while the store is open.
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
            StoreError::Write(error) => {
                write!(f, "cannot write blocks: {error}; blocks that are not stored are downloaded again")
            }
            StoreError::Slow { backlog_bytes } => {
                write!(f, "the disk did not finish in time, {backlog_bytes} bytes of blocks are not stored yet")
            }
        }
    }
}

impl std::error::Error for StoreError {}

/// What an operator can do about an error of the file system. One cause, one remedy, whether a store is opened or written.
pub(super) fn remedy(error: &io::Error) -> &'static str {
    use io::ErrorKind::{FileTooLarge, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded => "make room on the disk",
        // EFBIG: there may be room enough.
        FileTooLarge => "let files become larger (see ulimit -f)",
        PermissionDenied => "make it readable for this user, and writable for a node",
        ReadOnlyFilesystem => "make the file system writable, or choose another directory",
        _ => "look at the directory and at the disk's health",
    }
}

/// An error of writing, and what to do about it.
pub(super) fn told(error: &io::Error) -> String {
    format!("{error}: {}", remedy(error))
}
