//! A machine's disk that fails: what was written and not synced may be lost at a crash, in part or in any order.
//!
//! It is what a system promises and no more. A write is durable when its file was synced, a name when its directory was.
//! Before that each of them survives a crash or does not, whatever became of the others: a write may be torn at any byte,
//! a rename may be lost, or take the new file with it. [`VirtualDisk::crash`] asks for every such choice, so that a test
//! can try all and a run can draw them.
//!
//! Besides that the calls themselves fail, by [`Rates`]: errors, no space, a bit that flips on its way, a file as it was
//! before the last change.
//!
//! The same disk carries `peers.json` (through [`Disk`](crate::driver::store::disk::Disk)) and the chain's store (through
//! [`Storage`](crate::chain::Storage)).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::pages::Pages;
use crate::rng::Rng;

mod backend;
#[cfg(test)]
mod chain_boundaries;
mod files;
mod pages;
#[cfg(test)]
mod peers_boundaries;
#[cfg(test)]
mod store_model;
#[cfg(test)]
mod support;

pub(super) use backend::VirtualPath;

/// How often a call fails, per thousand calls that can fail so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rates {
    /// A write, a sync, a rename or a removal ends with an error.
    pub(super) write_error: u64,
    /// A file cannot be made, or made longer.
    pub(super) no_space: u64,
    /// A file cannot be opened, or not read.
    pub(super) read_error: u64,
    /// One bit of what is read is another.
    pub(super) bit_flip: u64,
    /// A file is opened as it was before it was last made durable.
    pub(super) stale: u64,
}

/// A disk, or rather a running system's handle on it: all copies of a handle see the same files, until the next crash.
#[derive(Clone, Debug)]
pub(super) struct VirtualDisk {
    state: Arc<Mutex<State>>,
    /// The boot that the handle is from. What a crash ended can do nothing more.
    boot: u64,
}

#[derive(Debug)]
struct State {
    files: BTreeMap<u64, File>,
    /// What the running system sees.
    names: BTreeMap<PathBuf, u64>,
    /// What a crash leaves for certain.
    durable_names: BTreeMap<PathBuf, u64>,
    /// What happened to names since their directories were synced.
    unsynced: Vec<NameChange>,
    /// Names that something is mounted on: no other file can have them.
    pinned: BTreeSet<PathBuf>,
    next_file: u64,
    boot: u64,
    rates: Rates,
    rng: Rng,
    calls: u64,
    /// The number of the first call that does not happen any more.
    ends_at: u64,
    /// The number of the one call that fails, and with what.
    fails_at: Option<(u64, io::ErrorKind)>,
    injected: BTreeMap<&'static str, u64>,
    /// The disk as it was before each call, while a test wants to know.
    #[cfg(test)]
    record: Option<Vec<VirtualDisk>>,
}

#[derive(Clone, Debug, Default)]
struct File {
    /// What the running system sees.
    cached: Pages,
    durable: Pages,
    /// What was durable under its name before this.
    former: Option<Pages>,
    /// What happened since the file was synced.
    unsynced: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Clone, Debug)]
enum NameChange {
    Link(PathBuf, u64),
    Unlink(PathBuf),
}

impl NameChange {
    fn path(&self) -> &Path {
        match self {
            NameChange::Link(path, _) | NameChange::Unlink(path) => path,
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Link(path, file) => drop(names.insert(path.clone(), *file)),
            NameChange::Unlink(path) => drop(names.remove(path)),
        }
    }
}

impl VirtualDisk {
    /// An empty disk that does what it is told, until [`VirtualDisk::set_rates`] says otherwise; `seed` decides when it does
    /// not.
    pub(super) fn new(seed: u64) -> VirtualDisk {
        let state = State {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced: Vec::new(),
            pinned: BTreeSet::new(),
            next_file: 0,
            boot: 0,
            rates: Rates::default(),
            rng: Rng::from_seed(seed),
            calls: 0,
            ends_at: u64::MAX,
            fails_at: None,
            injected: BTreeMap::new(),
            #[cfg(test)]
            record: None,
        };
        VirtualDisk { state: Arc::new(Mutex::new(state)), boot: 0 }
    }

    /// From now on calls fail this often.
    pub(super) fn set_rates(&self, rates: Rates) {
        self.lock().rates = rates;
    }

    /// What was injected since the last look.
    pub(super) fn take_injected(&self) -> BTreeMap<&'static str, u64> {
        core::mem::take(&mut self.lock().injected)
    }

    /// From now on this name stays with its file, as one that is mounted alone does.
    #[cfg(test)]
    pub(super) fn pin(&self, path: &Path) {
        self.lock().pinned.insert(path.to_owned());
    }

    /// Calls so far, those that failed included.
    #[cfg(test)]
    pub(super) fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// After `calls` more calls the power is gone: nothing happens any more, and whoever asks is told so.
    pub(super) fn end_after(&self, calls: u64) {
        let mut state = self.lock();
        state.ends_at = state.calls.saturating_add(calls);
    }

    /// The call after the next `calls` fails with `kind`, and has no effect.
    #[cfg(test)]
    pub(super) fn fail_after(&self, calls: u64, kind: io::ErrorKind) {
        let mut state = self.lock();
        state.fails_at = Some((state.calls.saturating_add(calls), kind));
    }

    /// Ends the running system and starts the machine again: the disk as the next system finds it. `choose` is asked for a
    /// number below its argument for everything that may have survived or not.
    pub(super) fn crash(&self, choose: &mut dyn FnMut(u64) -> u64) -> VirtualDisk {
        let mut state = self.lock();
        for change in core::mem::take(&mut state.unsynced) {
            if choose(2) == 1 {
                change.apply(&mut state.durable_names);
            }
        }
        state.names = state.durable_names.clone();
        state.forget_nameless();
        for file in state.files.values_mut() {
            file.crash(choose);
        }
        self.boot_again(state)
    }

    /// Ends the running program and not the machine: what it has written stays, synced or not.
    pub(super) fn kill(&self) -> VirtualDisk {
        self.boot_again(self.lock())
    }

    fn boot_again(&self, mut state: MutexGuard<'_, State>) -> VirtualDisk {
        state.boot += 1;
        state.ends_at = u64::MAX;
        state.fails_at = None;
        VirtualDisk { state: Arc::clone(&self.state), boot: state.boot }
    }

    /// A file's bytes as they are, without a fault; `None` when there is no such file.
    pub(super) fn peek(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        Some(state.files.get(state.names.get(path)?)?.cached.to_vec())
    }

    /// Flips a bit for good.
    #[cfg(test)]
    pub(super) fn flip(&self, path: &Path, bit: u64) {
        let mut state = self.lock();
        let file = state.names.get(path).copied().expect("no such file");
        let file = state.files.get_mut(&file).expect("a name without a file");
        for pages in [&mut file.cached, &mut file.durable] {
            let mut byte = [0];
            assert!(pages.read(bit / 8, &mut byte), "beyond the end");
            pages.write(bit / 8, &[byte[0] ^ 1 << (bit % 8)]);
        }
    }

    /// A disk of its own with the same files, so that many crashes can be tried from one point.
    #[cfg(test)]
    pub(super) fn fork(&self) -> VirtualDisk {
        self.lock().fork()
    }

    /// From now on, keeps the disk as it is before each call.
    #[cfg(test)]
    pub(super) fn record(&self) {
        self.lock().record = Some(Vec::new());
    }

    /// The disk as it was before each call since [`VirtualDisk::record`], and as it is.
    #[cfg(test)]
    pub(super) fn recorded(&self) -> Vec<VirtualDisk> {
        let mut disks = self.lock().record.take().unwrap_or_default();
        disks.push(self.fork());
        disks
    }

    /// Nothing panics while it holds the lock but a bug of this file, and then the run is over.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a call: an error when the system is gone, or when this is the call that was chosen to fail.
    fn call(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        if state.boot != self.boot || state.calls >= state.ends_at {
            return Err(io::Error::other("the power is gone"));
        }
        #[cfg(test)]
        if state.record.is_some() {
            let before = state.fork();
            state.record.get_or_insert_default().push(before);
        }
        let number = state.calls;
        state.calls += 1;
        match state.fails_at {
            Some((at, kind)) if at == number => Err(kind.into()),
            _ => Ok(state),
        }
    }
}

impl State {
    #[cfg(test)]
    fn fork(&self) -> VirtualDisk {
        let copy = State {
            files: self.files.clone(),
            names: self.names.clone(),
            durable_names: self.durable_names.clone(),
            unsynced: self.unsynced.clone(),
            pinned: self.pinned.clone(),
            rng: self.rng.clone(),
            injected: BTreeMap::new(),
            record: None,
            ..*self
        };
        VirtualDisk { state: Arc::new(Mutex::new(copy)), boot: self.boot }
    }

    /// True once in a while, and then it is counted.
    fn draw(&mut self, rate: u64, fault: &'static str) -> bool {
        let drawn = rate > 0 && self.rng.chance(rate, 1000);
        if drawn {
            *self.injected.entry(fault).or_default() += 1;
        }
        drawn
    }

    fn may_write(&mut self) -> io::Result<()> {
        let rate = self.rates.write_error;
        if self.draw(rate, "disk write error") { Err(io::Error::other("the disk does not write")) } else { Ok(()) }
    }

    fn may_grow(&mut self) -> io::Result<()> {
        let rate = self.rates.no_space;
        if self.draw(rate, "disk full") { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    /// Writes to a file. When it fails, a part may have been written all the same.
    fn write(&mut self, number: u64, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let written = self.may_write().and_then(|()| self.may_grow());
        let part = match written {
            Ok(()) => bytes.len(),
            Err(_) => self.rng.below(bytes.len() as u64 + 1) as usize,
        };
        if part > 0 {
            self.file(number)?.write(offset, &bytes[..part]);
        }
        written
    }

    /// Makes a file's bytes durable. When it fails, the system calls what it could not write written all the same: it can
    /// be read until a crash, and no later sync has anything to do with it.
    fn sync(&mut self, number: u64) -> io::Result<()> {
        let synced = self.may_write();
        let State { files, rng, .. } = self;
        let file = files.get_mut(&number).ok_or(io::ErrorKind::NotFound)?;
        match synced {
            Ok(()) => file.sync(|| true),
            Err(_) => file.sync(|| rng.chance(1, 2)),
        }
        synced
    }

    fn may_read(&mut self) -> io::Result<()> {
        let rate = self.rates.read_error;
        if self.draw(rate, "disk read error") { Err(io::Error::other("the disk does not read")) } else { Ok(()) }
    }

    /// Passes what was read through the cable.
    fn spoil(&mut self, bytes: &mut [u8]) {
        let rate = self.rates.bit_flip;
        if !bytes.is_empty() && self.draw(rate, "disk bit flip") {
            let bit = self.rng.below(bytes.len() as u64 * 8);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
        }
    }

    fn find(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn file(&mut self, number: u64) -> io::Result<&mut File> {
        self.files.get_mut(&number).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Opens a file; once in a while as it was before.
    fn open(&mut self, path: &Path) -> io::Result<u64> {
        let number = self.find(path)?;
        let rate = self.rates.stale;
        if self.file(number)?.former.is_some() && self.draw(rate, "disk stale file") {
            let file = self.file(number)?;
            let former = file.former.take().unwrap_or_default();
            *file = File { cached: former.clone(), durable: former, former: None, unsynced: Vec::new() };
        }
        Ok(number)
    }

    fn create(&mut self, path: &Path) -> io::Result<u64> {
        if self.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.may_write()?;
        self.may_grow()?;
        let number = self.next_file;
        self.next_file += 1;
        self.files.insert(number, File::default());
        self.change(NameChange::Link(path.to_owned(), number));
        Ok(number)
    }

    fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced.push(change);
    }

    fn make_durable(&mut self, change: &NameChange) {
        if let NameChange::Link(path, file) = change {
            let replaced = self.durable_names.get(path).and_then(|old| self.files.get(old));
            let former = replaced.map(|old| old.durable.clone());
            if let (Some(former), Some(file)) = (former, self.files.get_mut(file)) {
                file.former = Some(former);
            }
        }
        change.apply(&mut self.durable_names);
    }

    /// Frees what no name leads to any more, and no lost name may lead to again.
    fn forget_nameless(&mut self) {
        let mut named: BTreeSet<u64> = self.names.values().chain(self.durable_names.values()).copied().collect();
        named.extend(self.unsynced.iter().filter_map(|change| match change {
            NameChange::Link(_, file) => Some(*file),
            NameChange::Unlink(_) => None,
        }));
        self.files.retain(|number, _| named.contains(number));
    }
}

impl File {
    fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.cached.write(offset, bytes);
        self.unsynced.push(Change::Write(offset, bytes.to_vec()));
    }

    fn set_len(&mut self, len: u64) {
        self.cached.set_len(len);
        self.unsynced.push(Change::SetLen(len));
    }

    /// Makes those changes durable of which `reaches` says so, and forgets the others.
    fn sync(&mut self, mut reaches: impl FnMut() -> bool) {
        if self.unsynced.is_empty() {
            return;
        }
        let former = self.durable.clone();
        for change in core::mem::take(&mut self.unsynced) {
            match change {
                _ if !reaches() => {}
                Change::Write(offset, bytes) => self.durable.write(offset, &bytes),
                Change::SetLen(len) => self.durable.set_len(len),
            }
        }
        // Before its first bytes it was no file.
        if former.len() > 0 {
            self.former = Some(former);
        }
    }

    fn crash(&mut self, choose: &mut dyn FnMut(u64) -> u64) {
        for change in core::mem::take(&mut self.unsynced) {
            match change {
                Change::SetLen(len) if choose(2) == 1 => self.durable.set_len(len),
                Change::SetLen(_) => {}
                Change::Write(offset, bytes) => self.durable.tear(offset, &bytes, choose),
            }
        }
        self.cached = self.durable.clone();
    }
}

impl Pages {
    /// Writes what survives of a write: all, nothing, one end of it, and its length with or without it.
    fn tear(&mut self, offset: u64, bytes: &[u8], choose: &mut dyn FnMut(u64) -> u64) {
        let end = offset + bytes.len() as u64;
        let cut = choose(bytes.len() as u64 + 1) as usize;
        let (begin, rest) = bytes.split_at(cut);
        // A file's length and its bytes are not one write.
        let grows = end > self.len() && cut < bytes.len();
        match if begin.is_empty() || rest.is_empty() { 0 } else { choose(2) } {
            0 if !begin.is_empty() => self.write(offset, begin),
            0 => {}
            _ => self.write(offset + cut as u64, rest),
        }
        if grows && end > self.len() && choose(2) == 1 {
            self.set_len(end);
        }
    }
}
