//! The segments as who writes them sees them: one batch after another, each durable before it counts.
//!
//! Nothing that is durable is written over. Whatever fails, the segment is left as it was last synced, and the batch is
//! written again, to a new one: a system that could not write a page calls it written, so a second sync of the same file
//! says nothing about the first (the PostgreSQL developers' "fsyncgate", 2018). What a crash left unsure is copied to a new
//! segment for the same reason before the old one is closed, and only then is the rest of the old one cut off.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;

use crate::chain::places::{Place, Places};
use crate::chain::record::{self, RECORD_LEN, SegmentHeader, What};
use crate::chain::scan::Window;
use crate::chain::storage::{Access, SegmentFile};

/// How much of a batch is written by one call.
const WRITE_BYTES: usize = 1 << 20;
/// So many short segments, the work of crashes and failures, are left alone.
const SHORT_MAX: usize = 8;
/// How often a segment's first batch fails before another segment is tried: the place on the disk may be bad.
const FAILURES_MAX: u32 = 8;
/// After the work of giving back room has failed, it waits for so many batches, and twice as many each time: on a full disk
/// it would fail after every one.
const TIDY_PAUSE_MAX: u32 = 4096;

/// One thing to be made durable.
#[derive(Debug)]
pub(super) enum Change {
    Put(u64, Bytes),
    Remove(u64),
}

/// What is known of a segment.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) begin: u64,
    /// Where it ends.
    pub(super) end: u64,
    /// How much of that is durable for certain.
    pub(super) synced: u64,
    /// Another segment says where it ends.
    pub(super) is_closed: bool,
    /// Bytes of records of blocks that are still wanted, and of other records that are needed.
    pub(super) live: u64,
    /// A record in it is damaged: it is kept, for what else is in it.
    pub(super) is_spoiled: bool,
}

/// The segment that is written to.
pub(super) struct Active {
    pub(super) header: SegmentHeader,
    pub(super) file: Arc<dyn SegmentFile>,
    /// Its name is durable.
    pub(super) is_named: bool,
    /// How often its first batch has failed.
    pub(super) failures: u32,
}

/// Every segment, and the one that is written to.
pub(super) struct Log {
    pub(super) places: Arc<Places>,
    pub(super) genesis: Vec<u8>,
    pub(super) segments: BTreeMap<u32, Segment>,
    /// `None` after a failure, until the next write.
    pub(super) active: Option<Active>,
    /// Blocks that stand in a segment and are not wanted there: removed ones, and copies. As long as one stands somewhere,
    /// the record that removes it is kept.
    pub(super) spare: BTreeSet<(u64, u32)>,
    /// Where the record stands that removes a block, as long as it is kept.
    pub(super) removals: BTreeMap<u64, u32>,
    /// Segments that were removed, but may come back in a crash.
    pub(super) going: Vec<u32>,
    /// Above every number that a segment has had.
    pub(super) next_number: u32,
    /// Batches that have to pass before room is given back again, and how many they were when that failed last.
    pub(super) tidy_pause: (u32, u32),
}

/// Records on their way to the active segment.
struct Batch {
    header: SegmentHeader,
    file: Arc<dyn SegmentFile>,
    /// Where it begins, which is durable.
    begin: u64,
    end: u64,
    buffer: Vec<u8>,
    placed: Vec<(u64, Place)>,
    removed: Vec<u64>,
    /// Bytes of records that close other segments.
    closing: u64,
}

impl Batch {
    fn add(&mut self, what: What, payload: &[u8]) -> io::Result<()> {
        let too_long = |_| io::Error::new(io::ErrorKind::InvalidInput, "a block above 4 GiB");
        let len = u32::try_from(payload.len()).map_err(too_long)?;
        record::encode(&mut self.buffer, self.header, self.end, self.begin, what, payload);
        match what {
            What::Block(seq) => {
                self.placed.push((seq, Place { segment: self.header.number, len, offset: self.end }));
            }
            What::Removed(seq) => self.removed.push(seq),
            What::Closed(_) => self.closing = self.closing.saturating_add((RECORD_LEN + payload.len()) as u64),
            What::Mark => {}
        }
        self.end = self.end.saturating_add((RECORD_LEN + payload.len()) as u64);
        if self.buffer.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        let at = self.end.saturating_sub(self.buffer.len() as u64);
        self.file.write_at(at, &self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl Log {
    /// Bytes of which it is not sure whether they are durable; they are after the next [`Log::write`].
    pub(super) fn unsure_bytes(&self) -> u64 {
        self.unsettled().map(|(_, segment)| segment.end.saturating_sub(segment.synced)).sum()
    }

    /// Does a segment wait for another one to say where it ends?
    pub(super) fn is_unsettled(&self) -> bool {
        self.unsettled().next().is_some()
    }

    fn unsettled(&self) -> impl Iterator<Item = (u32, &Segment)> {
        let active = self.active.as_ref().map(|active| active.header.number);
        let unsettled = move |(number, segment): &(&u32, &Segment)| !segment.is_closed && active != Some(**number);
        self.segments.iter().filter(unsettled).map(|(number, segment)| (*number, segment))
    }

    /// Makes `changes` durable, all of them or some of the first ones; an error means that it is not known how many.
    pub(super) fn write(&mut self, changes: &[Change]) -> io::Result<()> {
        self.append(|_, batch| {
            changes.iter().try_for_each(|change| match change {
                Change::Put(seq, bytes) => batch.add(What::Block(*seq), bytes),
                Change::Remove(seq) => batch.add(What::Removed(*seq), &[]),
            })
        })
    }

    /// Writes and syncs what `fill` adds to a batch.
    fn append(&mut self, fill: impl FnOnce(&Log, &mut Batch) -> io::Result<()>) -> io::Result<()> {
        let (header, file, begin) = self.ready()?;
        let (buffer, placed, removed) = (Vec::new(), Vec::new(), Vec::new());
        let mut batch = Batch { header, file, begin, end: begin, buffer, placed, removed, closing: 0 };
        let written = self.fill(&mut batch, fill).and_then(|()| batch.file.sync());
        if let Err(error) = written {
            self.give_up(&error);
            return Err(error);
        }
        self.take_in(&batch);
        // Only a help: with it, the end of the batch cannot be taken for what a crash left.
        let mut mark = Vec::with_capacity(RECORD_LEN);
        record::encode(&mut mark, header, batch.end, batch.end, What::Mark, &[]);
        let _ = batch.file.write_at(batch.end, &mark);
        Ok(())
    }

    /// The segment to write to, and where.
    fn ready(&mut self) -> io::Result<(SegmentHeader, Arc<dyn SegmentFile>, u64)> {
        let full = self.places.storage.segment_bytes();
        let has_room = |log: &Log, number: &u32| log.segments.get(number).is_some_and(|held| held.end < full);
        if self.active.as_ref().is_none_or(|active| !has_room(self, &active.header.number)) {
            self.begin_segment()?;
        }
        let Some(active) = &mut self.active else { return Err(io::Error::other("there is no segment")) };
        if !active.is_named {
            self.places.storage.sync_names()?;
            active.is_named = true;
        }
        let end = self.segments.get(&active.header.number).map_or(0, |segment| segment.end);
        Ok((active.header, Arc::clone(&active.file), end))
    }

    /// Makes the next segment.
    pub(super) fn begin_segment(&mut self) -> io::Result<()> {
        let storage = &self.places.storage;
        let header = SegmentHeader { number: self.next_number, salt: storage.salt()? };
        let bytes = record::encode_header(header, &self.genesis);
        let file = storage.make(header.number)?;
        file.write_at(0, &bytes)?;
        file.sync()?;
        storage.put_in_place(header.number)?;
        let begin = bytes.len() as u64;
        let segment = Segment { begin, end: begin, synced: begin, is_closed: false, live: 0, is_spoiled: false };
        let file = Arc::from(file);
        self.places.hold(header.number, &file);
        self.segments.insert(header.number, segment);
        self.active = Some(Active { header, file, is_named: false, failures: 0 });
        self.next_number = self.next_number.saturating_add(1);
        Ok(())
    }

    /// After a failure: whatever stands behind the last sync is not ours, and nobody writes here again. Only a first batch
    /// is written over, which makes every page of it new; a full disk would be full of segments otherwise.
    fn give_up(&mut self, error: &io::Error) {
        let Some(active) = &mut self.active else { return };
        active.failures = active.failures.saturating_add(1);
        let is_first = self.segments.get(&active.header.number).is_some_and(|held| held.end == held.begin);
        if !is_first || active.failures >= FAILURES_MAX && !is_full(error) {
            self.active = None;
        }
    }

    /// Puts a batch together: what is unsure, then what `fill` adds, then where the segments end that are not written any
    /// more. That comes last, for of a batch that is torn the first part is taken: what stands behind those ends is a part
    /// of this batch, and must be found there before it is lost from sight here.
    fn fill(&self, batch: &mut Batch, fill: impl FnOnce(&Log, &mut Batch) -> io::Result<()>) -> io::Result<()> {
        let unsettled = self.unsettled().map(|(number, segment)| (number, segment.synced, segment.end));
        let unsettled: Vec<(u32, u64, u64)> = unsettled.collect();
        for (number, synced, end) in &unsettled {
            self.copy(batch, *number, *synced..*end, None, &mut true)?;
        }
        fill(self, batch)?;
        for (number, synced, _) in &unsettled {
            batch.add(What::Closed(*number), &synced.to_le_bytes())?;
        }
        batch.write()
    }

    /// Copies those of a segment's records that are still needed when the segment `going` is gone; `is_readable` becomes
    /// false when they cannot be read.
    fn copy(
        &self,
        batch: &mut Batch,
        number: u32,
        range: core::ops::Range<u64>,
        going: Option<u32>,
        is_readable: &mut bool,
    ) -> io::Result<()> {
        if range.is_empty() {
            return Ok(());
        }
        // Until the end is reached.
        *is_readable = false;
        let file = self.places.segment(number)?;
        let mut window = Window::new(&*file)?;
        let mut at = range.start;
        while at < range.end {
            let Some((record, payload)) = window.record(number, at)? else {
                self.places.note_spoiled();
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a record is gone or changed"));
            };
            let place = Place { segment: number, len: record.len, offset: at };
            let is_needed = match record.what {
                What::Mark => false,
                What::Block(seq) => self.places.find(seq) == Some(place),
                What::Removed(seq) => self.stands_besides(seq, going),
                What::Closed(closed) => self.segments.contains_key(&closed) || self.going.contains(&closed),
            };
            if is_needed {
                batch.add(record.what, payload).inspect_err(|_| *is_readable = true)?;
            }
            at = at.saturating_add(record.total_len());
        }
        *is_readable = true;
        Ok(())
    }

    /// Does a block that is not wanted stand in some segment?
    pub(super) fn stands_besides(&self, seq: u64, going: Option<u32>) -> bool {
        self.spare.range((seq, 0)..=(seq, u32::MAX)).any(|(_, segment)| Some(*segment) != going)
    }

    /// The batch is durable: what it says is so.
    fn take_in(&mut self, batch: &Batch) {
        let number = batch.header.number;
        let old = self.places.put(batch.placed.iter().copied());
        let gone: Vec<(u64, Place)> =
            batch.removed.iter().filter_map(|seq| self.places.remove(*seq).map(|place| (*seq, place))).collect();
        let placed: u64 = batch.placed.iter().map(|(_, place)| place.total_len()).sum();
        if let Some(segment) = self.segments.get_mut(&number) {
            (segment.end, segment.synced) = (batch.end, batch.end);
        }
        self.needs(number, placed.saturating_add(batch.closing));
        for (seq, place) in old.into_iter().chain(gone) {
            self.spare.insert((seq, place.segment));
            self.needs_no_more(place.segment, place.total_len());
        }
        for seq in &batch.removed {
            if self.stands_besides(*seq, None) {
                self.needs(number, RECORD_LEN as u64);
                let before = self.removals.insert(*seq, number);
                before.into_iter().for_each(|before| self.needs_no_more(before, RECORD_LEN as u64));
            }
        }
        let others = self.segments.iter_mut().filter(|(other, segment)| **other != number && !segment.is_closed);
        for (other, segment) in others {
            // What was unsure stands in the batch now.
            segment.end = segment.synced;
            segment.is_closed = true;
            // Only to give its room back.
            let _ = self.places.storage.open(*other, Access::Write).and_then(|file| file.set_len(segment.end));
        }
    }

    /// Records of so many bytes in a segment are needed.
    pub(super) fn needs(&mut self, number: u32, bytes: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.live = segment.live.saturating_add(bytes);
        }
    }

    fn needs_no_more(&mut self, number: u32, bytes: u64) {
        if let Some(segment) = self.segments.get_mut(&number) {
            segment.live = segment.live.saturating_sub(bytes);
        }
    }

    /// Gives back the room of blocks that are not wanted any more, one segment at most: the records that are still needed
    /// are copied, and the segment is removed. True when there may be more to do.
    pub(super) fn tidy(&mut self) -> bool {
        self.settle_names();
        let (left, last) = self.tidy_pause;
        if left > 0 {
            self.tidy_pause = (left - 1, last);
            return false;
        }
        let Some(number) = self.wasteful() else { return false };
        let pause = match self.empty(number) {
            Ok(()) => 0,
            Err(_) => last.saturating_mul(2).clamp(1, TIDY_PAUSE_MAX),
        };
        self.tidy_pause = (pause, pause);
        pause == 0
    }

    fn empty(&mut self, number: u32) -> io::Result<()> {
        let Some((begin, end)) = self.segments.get(&number).map(|segment| (segment.begin, segment.end)) else {
            return Ok(());
        };
        let mut is_readable = true;
        let copied = self.append(|log, batch| log.copy(batch, number, begin..end, Some(number), &mut is_readable));
        if !is_readable {
            self.segments.get_mut(&number).into_iter().for_each(|segment| segment.is_spoiled = true);
        }
        copied?;
        self.places.storage.remove(number)?;
        self.places.let_go(number);
        self.segments.remove(&number);
        self.going.push(number);
        self.settle_names();
        Ok(())
    }

    /// A segment of which less than half is wanted, or the first of too many short ones.
    fn wasteful(&self) -> Option<u32> {
        let full = self.places.storage.segment_bytes();
        let done = || self.segments.iter().filter(|(_, segment)| segment.is_closed && !segment.is_spoiled);
        let wasted = |segment: &Segment| segment.live.saturating_mul(2) < segment.end.saturating_sub(segment.begin);
        let wasteful = done().find(|(_, segment)| wasted(segment) || segment.end <= segment.begin);
        let mut short = done().filter(|(_, segment)| segment.end < full / 4);
        let first_short = || {
            let first = short.next();
            first.filter(|_| short.count() >= SHORT_MAX)
        };
        wasteful.or_else(first_short).map(|(number, _)| *number)
    }

    /// Once the names are durable, a segment that was removed cannot come back, and nothing of it has to be removed.
    fn settle_names(&mut self) {
        if !self.going.is_empty() && self.places.storage.sync_names().is_ok() {
            let going = core::mem::take(&mut self.going);
            let spare: Vec<(u64, u32)> =
                self.spare.iter().filter(|(_, segment)| going.contains(segment)).copied().collect();
            for (seq, segment) in spare {
                self.spare.remove(&(seq, segment));
                if !self.stands_besides(seq, None)
                    && let Some(number) = self.removals.remove(&seq)
                {
                    self.needs_no_more(number, RECORD_LEN as u64);
                }
            }
        }
    }
}

/// Is there no room, of the disk, the quota or the limit, rather than a fault?
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}
