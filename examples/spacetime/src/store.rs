//! Blocks on the disk, in the order in which they came: whoever takes them again in that order comes to the same state.
//!
//! A thread of its own writes what a turn of the loop has gathered, all of it in one transaction of redb, so that a crash leaves a
//! front part of that order. What is not written yet is read from memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use bytes::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::crypto::Hash;

/// By the order in which they came.
const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
/// Under "genesis": whose blocks these are.
const FACTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("facts");
/// So many bytes wait to be written at most, before blocks are refused for a while.
const WAITING_MAX: usize = 64 << 20;

/// Why the store cannot be used.
pub type StoreError = Box<dyn core::error::Error + Send + Sync>;

/// See the module.
#[derive(Debug)]
pub struct Store {
    places: BTreeMap<Hash, u64>,
    next: u64,
    /// Taken in this turn.
    batch: Vec<(u64, Bytes)>,
    shared: Arc<Mutex<Shared>>,
    disk: Option<Disk>,
}

#[derive(Debug)]
struct Disk {
    database: Arc<Database>,
    /// `None` once the writer was told to finish.
    sender: Option<Sender<Vec<(u64, Bytes)>>>,
    writer: Option<JoinHandle<()>>,
}

/// What the writer and the loop both look at.
#[derive(Debug, Default)]
struct Shared {
    /// Not written yet; without a disk, all there are.
    waiting: BTreeMap<u64, Bytes>,
    bytes: usize,
    failure: Option<String>,
}

fn lock(shared: &Mutex<Shared>) -> MutexGuard<'_, Shared> {
    // Nothing that holds it can leave it half changed.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// One that lives in memory and forgets all.
    pub fn memory() -> Self {
        Store { places: BTreeMap::new(), next: 0, batch: Vec::new(), shared: Arc::default(), disk: None }
    }

    /// The store in the file `path`, which is made when it is not there. `take` is given each block that it holds, in order, and
    /// who finds those before it.
    ///
    /// # Errors
    ///
    /// What redb says, that it is of another network, or what `take` says.
    pub fn open(
        path: &Path,
        genesis: &Hash,
        mut take: impl FnMut(Bytes, &dyn Fn(&Hash) -> Option<Bytes>) -> Result<Hash, StoreError>,
    ) -> Result<Self, StoreError> {
        let database = Database::create(path)?;
        let transaction = database.begin_write()?;
        {
            let mut facts = transaction.open_table(FACTS)?;
            let is_ours = facts.get("genesis")?.map(|known| known.value() == genesis);
            if is_ours == Some(false) {
                return Err("the store holds another network's blocks: choose another --data-dir".into());
            }
            facts.insert("genesis", genesis.as_slice())?;
            transaction.open_table(BLOCKS)?;
        }
        transaction.commit()?;
        let mut store = Store::memory();
        let blocks = database.begin_read()?.open_table(BLOCKS)?;
        for row in blocks.iter()? {
            let (number, block) = row?;
            let places = &store.places;
            let find = |hash: &Hash| Some(Bytes::copy_from_slice(blocks.get(places.get(hash)?).ok()??.value()));
            let hash = take(Bytes::copy_from_slice(block.value()), &find)?;
            store.places.insert(hash, number.value());
            store.next = number.value().saturating_add(1);
        }
        let database = Arc::new(database);
        let (sender, receiver) = channel();
        let (writer_database, shared) = (Arc::clone(&database), Arc::clone(&store.shared));
        let writer = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || write_all(&writer_database, &receiver, &shared))?;
        store.disk = Some(Disk { database, sender: Some(sender), writer: Some(writer) });
        Ok(store)
    }

    /// Keeps a block. It can be read from now on, and is written after [`Store::hand_over`].
    pub fn put(&mut self, hash: Hash, block: Bytes) {
        let number = self.next;
        self.next = number.saturating_add(1);
        self.places.insert(hash, number);
        let mut shared = lock(&self.shared);
        shared.bytes = shared.bytes.saturating_add(block.len());
        shared.waiting.insert(number, block.clone());
        drop(shared);
        if self.disk.is_some() {
            self.batch.push((number, block));
        }
    }

    /// Has all that was put since the last time written. Does not wait for it.
    pub fn hand_over(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let batch = core::mem::take(&mut self.batch);
        if let Some(sender) = self.disk.as_ref().and_then(|disk| disk.sender.as_ref()) {
            // It ends early only after a failure, which is told.
            let _ = sender.send(batch);
        }
    }

    /// A block that was put.
    pub fn read(&self, hash: &Hash) -> Option<Bytes> {
        let number = self.places.get(hash)?;
        if let Some(block) = lock(&self.shared).waiting.get(number) {
            return Some(block.clone());
        }
        let transaction = self.disk.as_ref()?.database.begin_read().ok()?;
        let block = transaction.open_table(BLOCKS).ok()?.get(number).ok()??;
        Some(Bytes::copy_from_slice(block.value()))
    }

    /// Does the disk lag so far behind that it should not be given more?
    pub fn is_behind(&self) -> bool {
        self.disk.is_some() && lock(&self.shared).bytes > WAITING_MAX
    }

    /// Why writing has ended, if it has.
    pub fn failure(&self) -> Option<String> {
        lock(&self.shared).failure.clone()
    }

    /// Waits until all is written, after which nothing more can be.
    ///
    /// # Errors
    ///
    /// Why it could not be.
    pub fn finish(&mut self) -> Result<(), StoreError> {
        self.hand_over();
        if let Some(disk) = &mut self.disk {
            disk.sender = None;
            if let Some(writer) = disk.writer.take()
                && writer.join().is_err()
            {
                return Err("the thread that writes the store has failed".into());
            }
        }
        self.failure().map_or(Ok(()), |failure| Err(failure.into()))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // Whoever wants to know calls it first.
        let _ = self.finish();
    }
}

fn write_all(database: &Database, batches: &Receiver<Vec<(u64, Bytes)>>, shared: &Mutex<Shared>) {
    while let Ok(mut batch) = batches.recv() {
        // Whatever waits behind it becomes durable with it.
        batch.extend(batches.try_iter().flatten());
        if let Err(error) = write(database, &batch) {
            lock(shared).failure = Some(format!("the store cannot be written: {error}"));
            return;
        }
        let mut shared = lock(shared);
        for (number, block) in batch {
            shared.waiting.remove(&number);
            shared.bytes = shared.bytes.saturating_sub(block.len());
        }
    }
}

fn write(database: &Database, batch: &[(u64, Bytes)]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut blocks = transaction.open_table(BLOCKS)?;
        for (number, block) in batch {
            blocks.insert(number, block.as_ref())?;
        }
    }
    Ok(transaction.commit()?)
}
