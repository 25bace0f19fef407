//! Reading a segment from its begin: its header, its records, where they end, and whether that is a crash's work or damage.
//!
//! A crash leaves what was never synced in any state: whole, torn, missing while later parts are there. So records end
//! where the first one is not whole, unless a later one says that it was written when these bytes were durable already:
//! then something that was kept is gone, and that is damage. Payloads before the last known sync are not looked at here;
//! whoever reads them compares their checksum.

use std::io;

use crate::chain::record::{self, FIXED_LEN, HeaderError, RECORD_LEN, Record, SegmentHeader, What};
use crate::chain::storage::SegmentFile;

/// What is read at once.
const WINDOW: usize = 256 * 1024;
/// The same between payloads so large that most of a window would be skipped.
const PEEK: usize = 4096;

/// Why a segment cannot be read.
#[derive(Debug)]
pub(super) enum ScanError {
    Io(io::Error),
    Format(u32),
    /// Where, and what is wrong there.
    Damaged(u64, &'static str),
}

impl From<io::Error> for ScanError {
    fn from(error: io::Error) -> Self {
        ScanError::Io(error)
    }
}

/// A record and where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) offset: u64,
    pub(super) record: Record,
}

/// What a segment holds.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) header: SegmentHeader,
    /// Bytes of the header.
    pub(super) begin: u64,
    /// The records before `end`, marks not among them.
    pub(super) records: Vec<Found>,
    /// Where a closing record of another segment stands, what it closes, and where that ends.
    pub(super) closes: Vec<(u32, u64)>,
    /// Where the whole records end, marks not counted.
    pub(super) end: u64,
    /// Bytes that are durable for certain.
    pub(super) synced: u64,
    /// Nothing follows the end but a mark that says so: a writer may go on here.
    pub(super) is_clean: bool,
}

/// A part of a file in memory, moved along with who reads.
pub(super) struct Window<'a> {
    file: &'a dyn SegmentFile,
    len: u64,
    begin: u64,
    bytes: Vec<u8>,
}

impl<'a> Window<'a> {
    pub(super) fn new(file: &'a dyn SegmentFile) -> io::Result<Window<'a>> {
        Ok(Window { file, len: file.len()?, begin: 0, bytes: Vec::new() })
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// `count` bytes at `offset`, read together with what follows up to `ahead`; `None` where the file ends before that.
    pub(super) fn get(&mut self, offset: u64, count: usize, ahead: usize) -> io::Result<Option<&[u8]>> {
        let within = |begin: u64| offset.checked_sub(begin).and_then(|skip| usize::try_from(skip).ok());
        let held = |bytes: &[u8], begin| {
            let from = within(begin)?;
            let to = from.checked_add(count)?;
            (to <= bytes.len()).then_some(from..to)
        };
        if held(&self.bytes, self.begin).is_none() {
            let left = self.len.saturating_sub(offset);
            if left < count as u64 {
                return Ok(None);
            }
            let wanted = count.max(ahead).min(usize::try_from(left).unwrap_or(usize::MAX));
            self.bytes.clear();
            self.bytes.resize(wanted, 0);
            self.begin = offset;
            if let Err(error) = self.file.read_at(offset, &mut self.bytes) {
                self.bytes.clear();
                return Err(error);
            }
        }
        Ok(held(&self.bytes, self.begin).and_then(|range| self.bytes.get(range)))
    }

    /// The payload of the record at `offset`, if it is what was written.
    pub(super) fn payload(&mut self, found: Found) -> io::Result<Option<&[u8]>> {
        let at = found.offset.saturating_add(RECORD_LEN as u64);
        let Ok(len) = usize::try_from(found.record.len) else { return Ok(None) };
        let payload = self.get(at, len, WINDOW)?;
        Ok(payload.filter(|payload| found.record.is_payload(payload)))
    }

    /// The record that stands at `offset`, with its payload, if both are what was written.
    pub(super) fn record(&mut self, number: u32, offset: u64) -> io::Result<Option<(Record, &[u8])>> {
        let Some(head) = self.get(offset, RECORD_LEN, WINDOW)? else { return Ok(None) };
        let Some(record) = record::decode(head, number, offset, None) else { return Ok(None) };
        Ok(self.payload(Found { offset, record })?.map(|payload| (record, payload)))
    }
}

/// Reads a segment's header and the genesis block in it.
pub(super) fn header(window: &mut Window<'_>, number: u32) -> Result<(SegmentHeader, Vec<u8>), ScanError> {
    let cut = ScanError::Damaged(0, "its header is cut off");
    let wrong = |error| match error {
        HeaderError::Damaged(why) => ScanError::Damaged(0, why),
        HeaderError::Format(format) => ScanError::Format(format),
    };
    let Some(fixed) = window.get(0, FIXED_LEN, WINDOW)?.and_then(|fixed| fixed.first_chunk()) else { return Err(cut) };
    let len = record::header_len(fixed).map_err(wrong)?;
    let Some(bytes) = window.get(0, len, WINDOW)? else { return Err(cut) };
    let (header, genesis) = record::decode_header(bytes).map_err(wrong)?;
    if header.number != number {
        return Err(ScanError::Damaged(0, "it is another segment than its name says"));
    }
    Ok((header, genesis.to_vec()))
}

/// Reads the records of a segment, whose header is `begin` bytes long. `closed` is where it ends by another segment's word.
pub(super) fn records(
    window: &mut Window<'_>,
    header: SegmentHeader,
    begin: u64,
    closed: Option<u64>,
) -> Result<Scanned, ScanError> {
    let (mut records, mut at, mut synced, mut large) = (Vec::new(), begin, begin, false);
    let until = closed.unwrap_or(window.len());
    while at < until {
        let ahead = if large { PEEK } else { WINDOW };
        let head = window.get(at, RECORD_LEN, ahead)?;
        let Some(record) = head.and_then(|head| record::decode(head, header.number, at, Some(&header.salt))) else {
            break;
        };
        let next = at.saturating_add(record.total_len());
        if next > until {
            break;
        }
        synced = synced.max(record.synced);
        records.push(Found { offset: at, record });
        (at, large) = (next, record.len as usize > WINDOW / 2);
    }
    if closed.is_some() {
        if at != until {
            return Err(ScanError::Damaged(at, "a record is gone or changed"));
        }
        synced = until;
    } else {
        // What was not synced may be torn: its payloads count too.
        let unsure = records.partition_point(|found| found.offset < synced);
        for found in records.iter().skip(unsure) {
            if window.payload(*found)?.is_none() {
                at = found.offset;
                break;
            }
        }
        records.retain(|found| found.offset < at);
        if at < window.len() && is_followed(window, header, at)? {
            return Err(ScanError::Damaged(at, "a record is gone or changed"));
        }
    }
    let is_whole = at == window.len();
    records.retain(|found| found.record.what != What::Mark);
    let last = records.last().map_or(begin, |found| found.offset.saturating_add(found.record.total_len()));
    let (end, is_clean) = (if closed.is_some() { until } else { last }, is_whole && last <= synced);
    let mut closes = Vec::new();
    for found in &records {
        if let What::Closed(segment) = found.record.what {
            let payload = window.payload(*found)?.and_then(|payload| payload.first_chunk());
            let Some(end) = payload else { return Err(ScanError::Damaged(found.offset, "a record is changed")) };
            closes.push((segment, u64::from_le_bytes(*end)));
        }
    }
    Ok(Scanned { header, begin, records, closes, end, synced, is_clean })
}

/// Is there a record after `at` that was written when what stood there was durable?
fn is_followed(window: &mut Window<'_>, header: SegmentHeader, at: u64) -> io::Result<bool> {
    let mut from = at.saturating_add(1);
    while let Some(left) = window.len().checked_sub(from).filter(|left| *left >= RECORD_LEN as u64) {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(WINDOW);
        let Some(bytes) = window.get(from, count, count)? else { return Ok(false) };
        for (skipped, part) in bytes.windows(RECORD_LEN).enumerate() {
            if part.starts_with(&header.salt)
                && record::decode(part, header.number, from.saturating_add(skipped as u64), Some(&header.salt))
                    .is_some_and(|record| record.synced > at)
            {
                return Ok(true);
            }
        }
        // The last bytes of this part may be the first ones of a record.
        from = from.saturating_add((count - RECORD_LEN + 1) as u64);
    }
    Ok(false)
}
