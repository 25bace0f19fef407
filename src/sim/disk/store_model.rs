//! The store against a model that is a list of what was asked of it: whatever the disk does, it holds what some first part
//! of that list gives, and all of it that was durable by its own word.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::support::{drawn, everything, nothing};
use super::{Rates, VirtualDisk, VirtualPath};
use crate::chain::{OpenError, Params, Store};
use crate::rng::Rng;

/// Blocks by number.
type Held = BTreeMap<u64, Bytes>;

#[derive(Clone)]
enum Change {
    Put(u64, Bytes),
    Remove(u64),
}

impl core::fmt::Debug for Change {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Change::Put(seq, bytes) => write!(f, "+{seq}:{}", bytes.len()),
            Change::Remove(seq) => write!(f, "-{seq}"),
        }
    }
}

fn apply(change: &Change, held: &mut Held) {
    match change {
        Change::Put(seq, bytes) => drop(held.insert(*seq, bytes.clone())),
        Change::Remove(seq) => drop(held.remove(seq)),
    }
}

fn params() -> Params {
    Params::new(0, 50).unwrap()
}

fn open(disk: &VirtualDisk, segment_bytes: u64) -> Result<(Store, Held), OpenError> {
    let storage = VirtualPath { disk: disk.clone(), path: PathBuf::from("data/chain"), segment_bytes };
    let mut store = Store::open_on(storage, Path::new("chain"), &params())?;
    let mut held = Held::new();
    store.load(|seq, bytes| {
        assert!(held.last_key_value().is_none_or(|(last, _)| *last < seq), "not in order of arrival");
        held.insert(seq, bytes);
        Ok(())
    })?;
    Ok((store, held))
}

/// A store and what was asked of it, also by those who had it before.
struct Played {
    store: Store,
    /// What it held at some time when all of that was durable.
    base: Held,
    changes: Vec<Change>,
    /// How many of the changes are durable by its own word.
    durable: usize,
    now: Held,
}

impl Played {
    fn new(disk: &VirtualDisk, segment_bytes: u64) -> Result<Played, OpenError> {
        let (store, base) = open(disk, segment_bytes)?;
        let now = base.clone();
        Ok(Played { store, base, changes: Vec::new(), durable: 0, now })
    }

    /// Goes on where another one has ended: what it holds is a part of what that was asked, and not less than it promised.
    fn follow(&mut self, former: Played, case: &str) {
        let Some(part) = former.part_of(&self.base) else {
            let (found, base) = (self.base.keys(), former.base.keys());
            panic!("{case}: {found:?} of {base:?} and {:?}, durable {}", former.changes, former.durable);
        };
        // It may not be durable yet.
        (self.base, self.changes, self.durable) = (former.base, former.changes, former.durable);
        self.changes.truncate(part);
        self.look();
    }

    fn look(&mut self) {
        let health = self.store.health();
        if health.backlog_bytes == 0 && health.error.is_none() {
            self.durable = self.changes.len();
        }
    }

    /// Blocks of all sizes; a removal every now and then, and sometimes of nearly everything.
    fn turn(&mut self, rng: &mut Rng) {
        for _ in 0..rng.below(4) {
            let bytes: Bytes = vec![rng.below(256) as u8; [0, 30, 200, 3000][rng.below(4) as usize]].into();
            let seq = self.store.append(bytes.clone());
            self.now.insert(seq, bytes.clone());
            self.changes.push(Change::Put(seq, bytes));
        }
        let removals = if rng.chance(1, 12) { self.now.len() as u64 } else { rng.below(3) };
        for _ in 0..removals {
            let Some(seq) = self.now.keys().copied().nth(rng.below(self.now.len().max(1) as u64) as usize) else {
                break;
            };
            self.store.remove(seq);
            self.now.remove(&seq);
            self.changes.push(Change::Remove(seq));
        }
        self.store.hand_over();
        self.look();
    }

    /// Is this what a first part of the changes gives? How many of them.
    fn part_of(&self, found: &Held) -> Option<usize> {
        let mut held = self.base.clone();
        for done in 0..=self.changes.len() {
            if done >= self.durable && held == *found {
                return Some(done);
            }
            if let Some(change) = self.changes.get(done) {
                apply(change, &mut held);
            }
        }
        None
    }
}

/// Many lives of one store on a disk that fails, each ended by a kill or by a loss of power at any call.
fn lives(seed: u64, faults: Rates) -> (u64, u64) {
    let mut rng = Rng::from_seed(seed);
    let segment_bytes = 700 << rng.below(6);
    let mut disk = VirtualDisk::new(seed);
    let (mut ended, mut partly) = (0, 0);
    let mut former: Option<Played> = None;
    for life in 0..25 {
        let case = format!("seed {seed}, life {life}");
        let opened = Played::new(&disk, segment_bytes);
        let mut played = match opened {
            Ok(played) => played,
            // A disk that does not let it is asked again.
            Err(OpenError::Io { .. }) if faults != Rates::default() => continue,
            Err(error) => panic!("{case}: {error}"),
        };
        if let Some(former) = former.take() {
            let durable = former.durable;
            played.follow(former, &case);
            partly += u64::from(played.changes.len() > durable);
        }
        // With a short life some end in the middle of opening, of the first batch, of giving room back.
        if rng.chance(2, 3) {
            disk.end_after(rng.below(60));
        }
        for _ in 0..rng.below(30) {
            disk.set_rates(if rng.chance(1, 3) { faults } else { Rates::default() });
            played.turn(&mut rng);
            for (seq, bytes) in &played.now {
                let read = played.store.read(*seq);
                assert!(read.is_none_or(|read| read == *bytes), "{case}: block {seq}");
            }
        }
        disk.set_rates(Rates::default());
        ended += 1;
        disk = match rng.below(4) {
            0 => disk.kill(),
            1 => disk.crash(&mut nothing),
            2 => disk.crash(&mut everything),
            _ => disk.crash(&mut drawn(&mut rng)),
        };
        disk.set_rates(if rng.chance(1, 3) { faults } else { Rates::default() });
        former = Some(played);
    }
    (ended, partly)
}

#[test]
fn whatever_ends_a_store_it_holds_a_first_part_of_what_was_asked_and_all_that_was_durable() {
    let (mut ended, mut partly) = (0, 0);
    for seed in 0..400 {
        let lives = lives(seed, Rates::default());
        (ended, partly) = (ended + lives.0, partly + lives.1);
    }
    assert!(ended == 10_000 && partly > 100, "{ended} lives, {partly} with more than was promised");
}

#[test]
fn a_disk_that_fails_in_any_call_changes_nothing_of_that() {
    let (mut ended, mut partly) = (0, 0);
    for seed in 0..400 {
        let faults = Rates { write_error: 80, no_space: 80, read_error: 20, ..Rates::default() };
        let lives = lives(seed, faults);
        (ended, partly) = (ended + lives.0, partly + lives.1);
    }
    assert!(ended > 8_000 && partly > 100, "{ended} lives, {partly} with more than was promised");
}

/// A sync that failed was tried again and succeeded, for the system called the lost pages written: what was reported
/// durable then was not on the disk.
#[test]
fn a_sync_that_fails_is_not_made_good_by_the_next_one() {
    let (mut lost, mut told) = (0, 0);
    for seed in 0..200 {
        let disk = VirtualDisk::new(seed);
        let mut played = Played::new(&disk, 1 << 20).unwrap();
        let mut rng = Rng::from_seed(seed);
        for _ in 0..20 {
            disk.set_rates(Rates { write_error: 300, ..Rates::default() });
            played.turn(&mut rng);
            told += u64::from(played.store.health().error.is_some());
        }
        let found = open(&disk.fork().crash(&mut nothing), 1 << 20).unwrap().1;
        lost += u64::from(found != played.now);
        assert!(played.part_of(&found).is_some(), "seed {seed}");
        disk.set_rates(Rates::default());
        played.store.hand_over();
        assert_eq!(played.store.health().backlog_bytes, 0);
        assert_eq!(open(&disk.crash(&mut nothing), 1 << 20).unwrap().1, played.now, "seed {seed}");
    }
    assert!(told > 200 && lost > 10, "{told} failures told, {lost} disks without what waited");
}

#[test]
fn every_flipped_bit_is_told_unless_it_is_in_what_no_block_needs() {
    let disk = VirtualDisk::new(1);
    let mut played = Played::new(&disk, 1500).unwrap();
    let mut rng = Rng::from_seed(1);
    // Until there is more than one segment and more than a few blocks.
    while played.now.len() < 6 || disk.lock().names.len() < 4 {
        played.turn(&mut rng);
    }
    let held = played.now.clone();
    drop(played);
    let disk = disk.crash(&mut everything);
    let names: Vec<PathBuf> = disk.lock().names.keys().cloned().collect();
    assert!(names.len() > 2 && held.len() > 2, "{names:?} with {} blocks", held.len());
    let (mut told, mut harmless) = (0, 0);
    for path in names {
        for bit in 0..disk.peek(&path).unwrap().len() as u64 * 8 {
            // All bits of headers and records, some of long payloads.
            if bit % 8 != 3 && rng.chance(9, 10) {
                continue;
            }
            let disk = disk.fork();
            disk.flip(&path, bit);
            match open(&disk, 1500) {
                Err(OpenError::Damaged { .. } | OpenError::UnknownFormat { .. } | OpenError::OtherNetwork { .. }) => {
                    told += 1;
                }
                Err(error) => panic!("bit {bit} of {path:?}: {error}"),
                Ok((_, found)) => {
                    assert_eq!(found, held, "bit {bit} of {path:?}");
                    harmless += 1;
                }
            }
        }
    }
    // The last mark, and blocks that were removed.
    assert!(told > 5_000 && harmless > 0 && harmless < told, "{told} told, {harmless} harmless");
}
