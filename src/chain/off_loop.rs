//! Large blocks are judged, and all blocks read from a disk, on other threads than the loop's: hashing and decoding megabytes takes
//! tens of milliseconds, and so may a disk for one sector.
//!
//! What needs nothing but the block is done there. What needs the index is done by the loop when the outcome comes, in the order
//! in which blocks build on each other: `elsewhere` does that.

use core::time::Duration;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::chain::block::{Block, HEADER_LEN, Header};
use crate::chain::genesis::Params;
use crate::chain::rules;
use crate::chain::store::Reader;
use crate::chain::workers::{Waker, Workers};
use crate::proto::sync::chain::{CheckedBlock, Rejection, Verdict};
use crate::source::Source;
use crate::wire::Hash;

/// Blocks from this many bytes on are judged elsewhere: a tenth of a millisecond of hashing. Smaller ones that are read bring others
/// along.
pub(crate) const LARGE: usize = 64 * 1024;
/// Bytes of blocks that may wait to be judged: three of the largest, and the one that is judged.
const JUDGING_BYTES: u64 = 64 << 20;
/// Threads that read, beside each other so that one bad place on a disk does not hold up everything.
const READERS: usize = 2;
/// More threads that judge are of no use to one loop.
const JUDGES_MAX: usize = 4;

/// Why a block was not judged that waited for it.
const TOO_MANY: &str = "too many blocks wait to be judged";
/// Why a block was not judged whose judgement panicked.
const NOT_JUDGED: &str = "it could not be judged";

/// What decoding and hashing a block found.
pub(super) type Body = Result<(Header, Vec<Hash>), Rejection>;

/// What reading a block found.
pub(super) enum Found {
    Whole(Bytes),
    /// Other bytes than were stored.
    Spoiled,
    /// None, or the disk does not give them.
    Nothing,
}

/// A block that was judged as far as that can be done elsewhere, or why it was not.
pub(super) struct Judged {
    pub(super) ticket: u64,
    pub(super) block: CheckedBlock,
    pub(super) body: Result<Body, &'static str>,
}

/// A block that is being read, and for whom.
struct Reading {
    source: Source,
    hash: Hash,
    tickets: Vec<u64>,
}

/// A block that was read, and for whom; `None` when that failed in one of our own ways.
pub(super) struct Read {
    pub(super) hash: Hash,
    pub(super) tickets: Vec<u64>,
    pub(super) found: Option<Found>,
    /// Those behind it that were read with it and are whole.
    pub(super) ahead: Vec<(Hash, Bytes)>,
}

/// What one job of a reader found: the block that was asked for, and those that are asked for next.
type FoundRun = (Found, Vec<(Hash, Bytes)>);

/// Who works for the loop, and what they were given.
pub(super) struct OffLoop {
    judges: Workers<Body>,
    readers: Workers<FoundRun>,
    /// Smaller ones are quicker done than handed over, and come in numbers.
    large: usize,
    next_ticket: u64,
    judging: BTreeMap<u64, CheckedBlock>,
    /// How many judgements of each hash are under way, by threads or here.
    under_way: BTreeMap<Hash, usize>,
    /// What waits for the verdict on its parent.
    blocked: BTreeMap<Hash, Vec<Judged>>,
    ready: VecDeque<Judged>,
    readings: BTreeMap<u64, Reading>,
    /// The job that reads each hash.
    reads: BTreeMap<Hash, u64>,
}

impl core::fmt::Debug for OffLoop {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (judging, reading) = (self.under_way.len(), self.readings.len());
        f.debug_struct("OffLoop").field("judging", &judging).field("reading", &reading).finish_non_exhaustive()
    }
}

impl OffLoop {
    fn new(judges: Workers<Body>, readers: Workers<FoundRun>, large: usize) -> Self {
        OffLoop {
            judges,
            readers,
            large,
            next_ticket: 0,
            judging: BTreeMap::new(),
            under_way: BTreeMap::new(),
            blocked: BTreeMap::new(),
            ready: VecDeque::new(),
            readings: BTreeMap::new(),
            reads: BTreeMap::new(),
        }
    }

    /// With threads, that begin when they are needed.
    pub(super) fn threads(waker: Waker) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, core::num::NonZero::get);
        let judges = cores.saturating_sub(1).clamp(1, JUDGES_MAX);
        // What is asked for takes no memory before it is read, and whoever asks waits for one at a time.
        let readers = Workers::threads(READERS, "chain-read", Arc::clone(&waker), u64::MAX);
        OffLoop::new(Workers::threads(judges, "chain-judge", waker, JUDGING_BYTES), readers, LARGE)
    }

    /// Without threads: each turn does one job of each kind. From so many bytes on, blocks wait for that.
    #[cfg(feature = "sim")]
    pub(super) fn in_turns(large: usize) -> Self {
        OffLoop::new(Workers::inline(JUDGING_BYTES), Workers::inline(u64::MAX), large)
    }

    /// A piece of what waits, where there are no threads.
    #[cfg(feature = "sim")]
    pub(super) fn work(&mut self) {
        self.judges.work();
        self.readers.work();
    }

    /// Is a block better judged elsewhere, and read alone?
    pub(super) fn is_large(&self, len: usize) -> bool {
        len >= self.large
    }

    /// Is there a judgement under way on this block?
    pub(super) fn is_judging(&self, hash: &Hash) -> bool {
        self.under_way.contains_key(hash)
    }

    /// Is there something for [`ReferenceChain`] to finish?
    pub(super) fn is_ready(&self) -> bool {
        // Who gave the threads nothing asks them nothing.
        !self.ready.is_empty()
            || !self.judging.is_empty() && self.judges.is_ready()
            || !self.readings.is_empty() && self.readers.is_ready()
    }

    fn ticket(&mut self) -> u64 {
        self.next_ticket = self.next_ticket.saturating_add(1);
        self.next_ticket
    }

    /// Has a block judged as far as it stands alone.
    pub(super) fn judge(&mut self, params: Params, source: Source, block: CheckedBlock) -> Verdict {
        let (ticket, bytes) = (self.ticket(), block.bytes().clone());
        let len = bytes.len();
        *self.under_way.entry(block.hash()).or_default() += 1;
        self.judging.insert(ticket, block);
        let gave_way = self.judges.submit(source, ticket, len, Box::new(move || rules::body(&params, &bytes)));
        let is_refused = gave_way.contains(&ticket);
        for other in gave_way.into_iter().filter(|other| *other != ticket) {
            self.judged(other, Err(TOO_MANY));
        }
        if is_refused {
            if let Some(block) = self.judging.remove(&ticket) {
                self.ended(&block.hash(), false);
            }
            return Verdict::Ignored(TOO_MANY);
        }
        Verdict::Pending(ticket)
    }

    fn judged(&mut self, ticket: u64, body: Result<Body, &'static str>) {
        let Some(block) = self.judging.remove(&ticket) else { return };
        let parent = block.header().previous();
        let judged = Judged { ticket, block, body };
        if self.is_judging(&parent) {
            self.blocked.entry(parent).or_default().push(judged);
        } else {
            self.ready.push_back(judged);
        }
    }

    /// One judgement fewer of a block. Its children are next when there is a verdict on it that holds.
    pub(super) fn ended(&mut self, hash: &Hash, is_held: bool) {
        let left = self.under_way.get(hash).map_or(0, |count| count.saturating_sub(1));
        if left == 0 {
            self.under_way.remove(hash);
        } else {
            self.under_way.insert(*hash, left);
        }
        if left == 0 || is_held {
            for child in self.blocked.remove(hash).into_iter().flatten().rev() {
                self.ready.push_front(child);
            }
        }
    }

    /// Waits until a judgement is done, at most so long. False when there is none under way, or none was done in time.
    pub(super) fn wait_for_judgement(&self, patience: Duration) -> bool {
        !self.ready.is_empty() || !self.judging.is_empty() && self.judges.wait(patience)
    }

    /// The next block that was judged elsewhere and whose parent waits for nothing.
    pub(super) fn next_judged(&mut self) -> Option<Judged> {
        while self.ready.is_empty() {
            if self.judging.is_empty() {
                return None;
            }
            let (ticket, body) = self.judges.poll()?;
            self.judged(ticket, body.ok_or(NOT_JUDGED));
        }
        self.ready.pop_front()
    }

    /// Is it being read already? Then it is for one more: many peers ask for the same one when it is new.
    pub(super) fn read_along(&mut self, hash: &Hash) -> Option<u64> {
        let job = *self.reads.get(hash)?;
        let ticket = self.ticket();
        self.readings.get_mut(&job)?.tickets.push(ticket);
        Some(ticket)
    }

    /// Has a block read and compared with what is known of it, and with it those that are likely to be asked for next; of `len`
    /// bytes in all.
    pub(super) fn read(
        &mut self,
        source: Source,
        (hash, stored): (Hash, Stored),
        ahead: Vec<(Hash, Stored)>,
        len: usize,
    ) -> u64 {
        let ticket = self.ticket();
        self.reads.insert(hash, ticket);
        self.readings.insert(ticket, Reading { source, hash, tickets: vec![ticket] });
        let gave_way = self.readers.submit(source, ticket, len, Box::new(move || read_run(stored, ahead)));
        debug_assert!(gave_way.is_empty(), "there is room for every question");
        ticket
    }

    /// The next block that was read, or could not be.
    pub(super) fn next_read(&mut self) -> Option<Read> {
        while !self.readings.is_empty() {
            let (job, run) = self.readers.poll()?;
            if let Some(Reading { hash, tickets, .. }) = self.end_reading(job) {
                let (found, ahead) = run.map_or((None, Vec::new()), |(found, ahead)| (Some(found), ahead));
                return Some(Read { hash, tickets, found, ahead });
            }
        }
        None
    }

    fn end_reading(&mut self, job: u64) -> Option<Reading> {
        let reading = self.readings.remove(&job)?;
        self.reads.remove(&reading.hash);
        Some(reading)
    }

    /// Nobody waits for this any more.
    pub(super) fn cancel(&mut self, ticket: u64) {
        let found = self.readings.iter_mut().find(|(_, reading)| reading.tickets.contains(&ticket));
        let Some((&job, reading)) = found else { return };
        reading.tickets.retain(|other| *other != ticket);
        if reading.tickets.is_empty() && self.readers.cancel(reading.source, job) {
            self.end_reading(job);
        }
    }
}

/// Reads a block, and those ahead of it as long as they are whole: what is wrong with one is told to who asks for it.
fn read_run(stored: Stored, ahead: Vec<(Hash, Stored)>) -> FoundRun {
    let found = stored.read();
    let mut run = Vec::with_capacity(ahead.len());
    for (hash, stored) in ahead {
        let Found::Whole(bytes) = stored.read() else { break };
        run.push((hash, bytes));
    }
    (found, run)
}

/// A block in the store, and what it must be.
pub(super) struct Stored {
    pub(super) reader: Reader,
    pub(super) header: [u8; HEADER_LEN],
    pub(super) ids: Arc<[Hash]>,
}

impl Stored {
    fn read(self) -> Found {
        let Some(bytes) = self.reader.read() else { return Found::Nothing };
        let same = |block: Block| bytes.starts_with(&self.header) && block.ids()[..] == self.ids[..];
        if Block::decode(&bytes).is_some_and(same) { Found::Whole(bytes) } else { Found::Spoiled }
    }
}
