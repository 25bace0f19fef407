//! Opening the store's file: making a new one, and telling the ways apart in which an old one is not ours.
//!
//! A file that cannot be used is reported and left as it is. Nothing here deletes, truncates or recreates.

use core::cell::Cell;
use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use redb::{Builder, Database, DatabaseError, ReadableDatabase, StorageError, TableDefinition, TableError};

use crate::chain::block::Block;
use crate::chain::genesis::Params;
use crate::chain::storage::Storage;

/// Blocks in order of arrival, genesis not among them. A block comes after its parent.
pub(super) const BLOCKS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("blocks");
/// `format`: u32, little-endian. `genesis`: the genesis block's bytes.
const META: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("meta");

/// The layout that this code writes.
const FORMAT: u32 = 1;
/// redb's page cache. Its default, 1 GiB, is more than a node may take by surprise.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// Why a store cannot be opened. Each says what to do about it.
#[derive(Debug)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// It is not a store, or no longer a whole one.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// It holds another network's chain.
    OtherNetwork {
        /// The file.
        path: PathBuf,
        /// The network it was made for, when its genesis says so.
        found: Option<Params>,
        /// The network that was asked for.
        wanted: Params,
    },
    /// It was written in a format that this version does not know.
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// The format's number.
        found: u32,
    },
    /// The system did not let us.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::Locked { path } => {
                write!(f, "{} is open in another process: stop it or use another data directory", path.display())
            }
            OpenError::Damaged { path, why } => write!(
                f,
                "{} is damaged ({why}): it was left as it is; move it away and start again to download the chain anew",
                path.display()
            ),
            OpenError::OtherNetwork { path, found, wanted } => {
                write!(f, "{} was made for another network (", path.display())?;
                match found {
                    Some(params) => write!(f, "{params}")?,
                    None => f.write_str("with a genesis of another kind")?,
                }
                write!(f, "; asked for {wanted}): use its difficulty and reward, or another data directory")
            }
            OpenError::UnknownFormat { path, found } => write!(
                f,
                "{} has format {found}, this version knows {FORMAT}: use the version that wrote it, or another data directory",
                path.display()
            ),
            OpenError::Io { path, error } => {
                write!(f, "cannot open {}: {error}: check that the directory exists and is writable", path.display())
            }
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            OpenError::Io { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// Opens the store in `storage`, or makes one, for the network of `params`. `path` is its name in reports.
pub(super) fn open(storage: &impl Storage, path: &Path, params: &Params) -> Result<Database, OpenError> {
    guard(|| open_unguarded(storage, path, params)).unwrap_or_else(|| Err(damaged(path, GUARDED)))
}

/// What is said of a file over which redb panicked.
pub(super) const GUARDED: &str = "its pages contradict each other";

/// Runs something that reads the file; `None` when it panicked. redb asserts what it believes of its own pages, and flipped
/// bits on a disk can make that false (`a_flipped_bit_anywhere_is_reported_or_harmless`); that must not end a node.
pub(super) fn guard<T>(read: impl FnOnce() -> T) -> Option<T> {
    let outer = IS_GUARDED.replace(true);
    // Nothing of ours is left half changed: redb's transaction is dropped with the panic.
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(read)).ok();
    IS_GUARDED.set(outer);
    result
}

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is inside the store, where a panic is caught and becomes an error. A program's panic hook asks this,
/// so that it does not announce a crash that is none: a hook runs before a panic is caught.
pub fn is_store_guarded() -> bool {
    IS_GUARDED.get()
}

fn open_unguarded(storage: &impl Storage, path: &Path, params: &Params) -> Result<Database, OpenError> {
    let create = |backend| Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend);
    let failed = |error| OpenError::Io { path: path.into(), error };
    let Some(backend) = storage.open().map_err(|error| database_error(path, error))? else {
        let made = storage.make().and_then(create).map_err(|error| database_error(path, error))?;
        write_meta(&made, params).map_err(|error| classify(path, error))?;
        storage.put_in_place().and_then(|()| storage.sync_place()).map_err(failed)?;
        return Ok(made);
    };
    let database = create(backend).map_err(|error| database_error(path, error))?;
    // Every time: the process that made the file may have died before it came to this.
    storage.sync_place().map_err(failed)?;
    match read_meta(&database) {
        Ok(Some((format, genesis))) => check(path, params, &format, genesis)?,
        Ok(None) => write_meta(&database, params).map_err(|error| classify(path, error))?,
        Err(error) => return Err(classify(path, error)),
    }
    Ok(database)
}

/// The error for a block that does not fit where it stands.
pub(super) fn damaged(path: &Path, why: impl Into<String>) -> OpenError {
    OpenError::Damaged { path: path.into(), why: why.into() }
}

/// What redb's many errors mean for an operator.
pub(super) fn classify(path: &Path, error: redb::Error) -> OpenError {
    match error {
        redb::Error::DatabaseAlreadyOpen => OpenError::Locked { path: path.into() },
        redb::Error::Io(error) if !means_damage(&error) => OpenError::Io { path: path.into(), error },
        other => damaged(path, other.to_string()),
    }
}

fn database_error(path: &Path, error: DatabaseError) -> OpenError {
    classify(path, error.into())
}

/// A file that is too short or says nonsense is an `io::Error` too.
fn means_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

type Meta = (Vec<u8>, Bytes);

/// The two rows of `meta`; `None` when the file has no table at all, as after a crash between making it and filling it.
fn read_meta(database: &Database) -> Result<Option<Meta>, redb::Error> {
    let transaction = database.begin_read()?;
    let meta = match transaction.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_)) => {
            if transaction.list_tables()?.next().is_some() {
                return Err(StorageError::Corrupted("it has tables, but not ours".into()).into());
            }
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let row = |name: &str| match meta.get(name)? {
        Some(value) => Ok(value.value().to_vec()),
        None => Err(redb::Error::from(StorageError::Corrupted(format!("it has no {name}")))),
    };
    Ok(Some((row("format")?, row("genesis")?.into())))
}

fn check(path: &Path, params: &Params, format: &[u8], genesis: Bytes) -> Result<(), OpenError> {
    let format: [u8; 4] = format.try_into().map_err(|_| damaged(path, "its format is no number"))?;
    let found = u32::from_le_bytes(format);
    if found != FORMAT {
        return Err(OpenError::UnknownFormat { path: path.into(), found });
    }
    if genesis != params.genesis().encode() {
        let found = Block::decode(&genesis).and_then(|block| Params::of_genesis(&block));
        return Err(OpenError::OtherNetwork { path: path.into(), found, wanted: *params });
    }
    Ok(())
}

fn write_meta(database: &Database, params: &Params) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert("format", &FORMAT.to_le_bytes()[..])?;
        meta.insert("genesis", &params.genesis().encode()[..])?;
        transaction.open_table(BLOCKS)?;
    }
    transaction.commit()?;
    Ok(())
}
