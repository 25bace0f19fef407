//! Transactions that wait for a block: first in, first out, within two limits, shared by those who brought them.
//!
//! While there is room everybody may use it. Above half of it nobody may hold more than his fair share, and in a full pool who
//! holds most gives way to who holds less: the newest of his, since what is older has been passed on already and is nearer to a
//! block. Our own gives way to nobody. What waited for three days leaves, and is not taken back from those who still have it.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::chain::block::{Block, MAX_TRANSACTIONS};
use crate::shares::Shares;
use crate::source::Source;
use crate::time::UnixTime;
use crate::wire::Hash;

/// The most transactions that wait: as many ids as one TxPool frame carries.
pub const MAX_COUNT: usize = 50_000;
/// The most bytes that wait: four full blocks.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;
/// How long a transaction waits at most, by the pool's clock. So long is remembered as well that it left for that.
pub const LIFETIME: Duration = Duration::from_secs(72 * 60 * 60);
/// So much of the wall clock's way between two calls counts as time at most. More is a clock that was set, or a machine that slept:
/// neither is a reason to throw away what everybody else still has.
const STEP_MAX: Duration = Duration::from_secs(600);

/// How many that left together are freed in one go.
const FREED_AT_ONCE: usize = 4_096;

/// What a transaction counts for in a share at least: a pool of those is full by number and by bytes alike.
const LEAST_WEIGHT: usize = MAX_BYTES / MAX_COUNT;

/// The pool. Knows nothing of validity: who puts something in has checked it. Every change is O(log n).
#[derive(Debug, Default)]
pub struct Mempool {
    by_id: BTreeMap<Hash, Waiting>,
    by_arrival: BTreeMap<u64, Hash>,
    by_source: BTreeMap<Source, BTreeSet<u64>>,
    shares: Shares,
    /// What left with many others, whose memory is given back a little at a time.
    left: Vec<Bytes>,
    arrivals: u64,
    bytes: usize,
    /// The pool's clock, which no wall clock that is set can move far, and what the wall clock said last.
    clock: UnixTime,
    told: Option<UnixTime>,
    /// What left because its time was over, and when, oldest first.
    expired: BTreeMap<Hash, UnixTime>,
    expired_order: VecDeque<Hash>,
}

#[derive(Debug)]
struct Waiting {
    arrival: u64,
    source: Source,
    since: UnixTime,
    bytes: Bytes,
}

/// Why the pool does not take a transaction. It may later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoom {
    /// It is full, and nobody holds more than who brought this one.
    Full,
    /// It is half full, and who brought this one has his share.
    Share,
    /// It waited here for as long as any may.
    Expired,
}

impl NoRoom {
    /// A short text for logs.
    pub const fn why(self) -> &'static str {
        match self {
            NoRoom::Full => "the pool is full",
            NoRoom::Share => "its sender has its share of the pool",
            NoRoom::Expired => "it has waited for too long already",
        }
    }
}

impl Mempool {
    /// Adds a transaction at the end, and lets others give way to it where that is fair. One that is there already stays as it is.
    ///
    /// # Errors
    ///
    /// Why there is no room for it.
    pub fn insert(&mut self, id: Hash, bytes: Bytes, source: Source, now: UnixTime) -> Result<(), NoRoom> {
        self.expire(now);
        if self.by_id.contains_key(&id) {
            return Ok(());
        }
        if source == Source::Own {
            // It may come again; its place in the order is passed over.
            self.expired.remove(&id);
        } else if self.expired.contains_key(&id) {
            return Err(NoRoom::Expired);
        } else if self.is_beyond_share(source, bytes.len()) {
            return Err(NoRoom::Share);
        }
        self.put(id, Waiting { arrival: self.arrivals, source, since: self.clock, bytes });
        while self.by_id.len() > MAX_COUNT || self.bytes > MAX_BYTES {
            // Among equals the one that came now gives way, or two would push out each other for ever.
            let largest = self.shares.largest().filter(|largest| self.shares.of(*largest) > 0);
            let newest = largest.and_then(|largest| self.by_source.get(&largest)?.last().copied());
            let newest = newest.and_then(|arrival| self.by_arrival.get(&arrival).copied()).unwrap_or(id);
            self.remove(&newest);
            if newest == id {
                return Err(NoRoom::Full);
            }
        }
        Ok(())
    }

    /// The same for one that a reorganisation gave back: it is our own, as long as our own is not more than half of all.
    ///
    /// # Errors
    ///
    /// Why there is no room for it.
    pub fn give_back(&mut self, id: Hash, bytes: Bytes, now: UnixTime) -> Result<(), NoRoom> {
        let own = self.shares.of(Source::Own).saturating_add(weight(bytes.len()));
        let is_tight = self.by_id.len() >= MAX_COUNT || self.bytes.saturating_add(bytes.len()) > MAX_BYTES;
        if is_tight && own > MAX_BYTES as u64 / 2 {
            return Err(NoRoom::Full);
        }
        self.insert(id, bytes, Source::Own, now)
    }

    /// Takes out what has waited for longer than [`LIFETIME`]. Time counts where this or [`insert`](Self::insert) is called every
    /// ten minutes at least: of a longer time between two calls no more counts.
    pub fn expire(&mut self, now: UnixTime) {
        let passed = self.told.map_or(Duration::ZERO, |told| now.since(told));
        self.clock = self.clock.plus(passed.min(STEP_MAX));
        self.told = Some(now);
        let now = self.clock;
        let is_over = |since: UnixTime| since.plus(LIFETIME) <= now;
        while let Some(id) = self.by_arrival.first_key_value().map(|(_, id)| *id)
            && self.by_id.get(&id).is_none_or(|waiting| is_over(waiting.since))
        {
            if self.remove(&id).is_some() && self.expired.insert(id, now).is_none() {
                self.expired_order.push_back(id);
            }
        }
        while let Some(oldest) = self.expired_order.front()
            && (self.expired.len() > MAX_COUNT || self.expired.get(oldest).is_none_or(|at| is_over(*at)))
        {
            self.expired.remove(oldest);
            self.expired_order.pop_front();
        }
    }

    /// Takes a transaction out.
    pub fn remove(&mut self, id: &Hash) -> Option<Bytes> {
        let Waiting { arrival, source, bytes, .. } = self.by_id.remove(id)?;
        self.by_arrival.remove(&arrival);
        if let Some(of) = self.by_source.get_mut(&source) {
            of.remove(&arrival);
            if of.is_empty() {
                self.by_source.remove(&source);
            }
        }
        self.shares.take(source, weight(bytes.len()));
        self.bytes -= bytes.len();
        Some(bytes)
    }

    /// Takes out all of these that wait here, as the transactions of a block. Much cheaper than one by one: what each source holds
    /// is counted anew once, where they are a large part of the pool the rest of it is put together anew, and their bytes are freed
    /// by [`free_some`](Self::free_some).
    pub fn remove_all<'a>(&mut self, ids: impl IntoIterator<Item = &'a Hash>) {
        let mut ids: Vec<Hash> = ids.into_iter().copied().collect();
        ids.sort_unstable();
        ids.dedup();
        let mut left: Vec<Waiting> = Vec::with_capacity(ids.len());
        if is_large_part(ids.len(), self.by_id.len()) {
            let mut leaves = among(&ids);
            let all = core::mem::take(&mut self.by_id).into_iter();
            let stay = all.filter_map(|(id, waiting)| {
                if leaves(&id) {
                    left.push(waiting);
                    return None;
                }
                Some((id, waiting))
            });
            self.by_id = stay.collect();
        } else {
            left.extend(ids.iter().filter_map(|id| self.by_id.remove(id)));
        }
        let mut by_source: BTreeMap<Source, (u64, Vec<u64>)> = BTreeMap::new();
        for Waiting { arrival, source, bytes, .. } in &left {
            self.bytes -= bytes.len();
            let (held, arrivals) = by_source.entry(*source).or_default();
            *held = held.saturating_add(weight(bytes.len()));
            arrivals.push(*arrival);
        }
        for (source, (held, mut arrivals)) in by_source {
            self.shares.take(source, held);
            arrivals.sort_unstable();
            if let Some(of) = self.by_source.get_mut(&source) {
                if is_large_part(arrivals.len(), of.len()) {
                    let mut leaves = among(&arrivals);
                    *of = core::mem::take(of).into_iter().filter(|arrival| !leaves(arrival)).collect();
                } else {
                    for arrival in &arrivals {
                        of.remove(arrival);
                    }
                }
                if of.is_empty() {
                    self.by_source.remove(&source);
                }
            }
        }
        let mut arrivals: Vec<u64> = left.iter().map(|waiting| waiting.arrival).collect();
        arrivals.sort_unstable();
        if is_large_part(arrivals.len(), self.by_arrival.len()) {
            let mut leaves = among(&arrivals);
            let all = core::mem::take(&mut self.by_arrival).into_iter();
            self.by_arrival = all.filter(|(arrival, _)| !leaves(arrival)).collect();
        } else {
            for arrival in &arrivals {
                self.by_arrival.remove(arrival);
            }
        }
        self.left.extend(left.into_iter().map(|waiting| waiting.bytes));
    }

    /// Gives back the memory of some of what left by [`remove_all`](Self::remove_all): tens of thousands of buffers take
    /// milliseconds. To be called now and then, as after each turn of a loop.
    pub fn free_some(&mut self) {
        self.left.truncate(self.left.len().saturating_sub(FREED_AT_ONCE));
        if self.left.is_empty() {
            self.left = Vec::new();
        }
    }

    /// True when it waits here.
    pub fn contains(&self, id: &Hash) -> bool {
        self.by_id.contains_key(id)
    }

    /// Its bytes.
    pub fn get(&self, id: &Hash) -> Option<&Bytes> {
        self.by_id.get(id).map(|waiting| &waiting.bytes)
    }

    /// The ids, oldest first.
    pub fn ids(&self) -> impl Iterator<Item = &Hash> {
        self.by_arrival.values()
    }

    /// Transactions for a block, oldest first, that add at most `max_bytes` to it, and as many as a block may have. One that does not fit is passed over.
    pub fn pick(&self, max_bytes: usize) -> Vec<Bytes> {
        let mut room = max_bytes;
        let mut picked = Vec::new();
        for transaction in self.by_arrival.values().filter_map(|id| self.get(id)) {
            // The first place is the reward's.
            if picked.len() + 1 >= MAX_TRANSACTIONS {
                break;
            }
            if let Some(left) = room.checked_sub(Block::cost(transaction)) {
                room = left;
                picked.push(transaction.clone());
            }
        }
        picked
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// How many bytes wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when not even the smallest transaction has room without another one's leaving.
    pub fn is_full(&self) -> bool {
        self.by_id.len() >= MAX_COUNT || self.bytes >= MAX_BYTES
    }

    fn put(&mut self, id: Hash, waiting: Waiting) {
        self.bytes += waiting.bytes.len();
        self.shares.add(waiting.source, weight(waiting.bytes.len()));
        self.by_source.entry(waiting.source).or_default().insert(waiting.arrival);
        self.by_arrival.insert(waiting.arrival, id);
        self.by_id.insert(id, waiting);
        self.arrivals += 1;
    }

    /// Would a source hold more than is fair where the pool is above half full? Whoever holds less than another may still grow,
    /// until both hold the same.
    fn is_beyond_share(&self, source: Source, len: usize) -> bool {
        let is_half_full = self.by_id.len() >= MAX_COUNT / 2 || self.bytes >= MAX_BYTES / 2;
        let before = self.shares.of_subnet(source);
        let after = before.saturating_add(weight(len));
        let share = self.shares.fair_part(source, MAX_BYTES as u64);
        is_half_full && before > 0 && after > share && self.shares.largest_subnet(source) <= after
    }
}

/// Is it less work to put the rest together anew than to take so many out one by one?
fn is_large_part(leave: usize, of: usize) -> bool {
    leave > of / 4
}

/// Is something among these? Asked in their order, with each asked once.
fn among<T: Ord>(sorted: &[T]) -> impl FnMut(&T) -> bool {
    let mut rest = sorted.iter().peekable();
    move |one: &T| {
        while rest.next_if(|next| *next < one).is_some() {}
        rest.next_if(|next| *next == one).is_some()
    }
}

/// What a transaction of so many bytes counts for in its source's share.
fn weight(len: usize) -> u64 {
    len.max(LEAST_WEIGHT) as u64
}

#[cfg(test)]
#[path = "mempool_tests.rs"]
mod tests;
