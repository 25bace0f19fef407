//! How queued plaintext becomes full records: cut at 16 KiB whatever slices it lies in, and copied only where it must be.

use std::io::IoSlice;

use super::rustls_connection::RECORD;
use crate::link::buffers::append;

/// The loop's memory for sealing, warm and never larger than one round of it.
#[derive(Debug, Default)]
pub(in crate::link) struct Sealing {
    /// The records of one round.
    pub(in crate::link) records: Vec<u8>,
    /// A record's plaintext that lies in several slices.
    pub(in crate::link) gather: Vec<u8>,
}

impl Sealing {
    /// Records made before they are written: 64 KiB, which stays within the second cache level.
    pub(in crate::link) const ROUND: usize = 4;

    pub(in crate::link) fn capacity(&self) -> usize {
        self.records.capacity() + self.gather.capacity()
    }
}

/// Plaintext in slices, taken a record at a time.
#[derive(Debug)]
pub(in crate::link) struct Slices<'a> {
    slices: &'a [IoSlice<'a>],
    /// Bytes of the first slice that are taken.
    at: usize,
    taken: usize,
}

impl<'a> Slices<'a> {
    pub(in crate::link) fn new(slices: &'a [IoSlice<'a>]) -> Self {
        let mut slices = Slices { slices, at: 0, taken: 0 };
        slices.skip(0);
        slices
    }

    pub(in crate::link) fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    pub(in crate::link) fn taken(&self) -> usize {
        self.taken
    }

    /// The plaintext of the next record: all that is left, or [`RECORD`] bytes.
    pub(in crate::link) fn next_record<'g>(&mut self, gather: &'g mut Vec<u8>) -> Option<&'g [u8]>
    where
        'a: 'g,
    {
        let (first, others) = self.slices.split_first()?;
        let rest: &'a [u8] = first.get(self.at..).unwrap_or_default();
        if rest.len() >= RECORD || others.iter().all(|slice| slice.is_empty()) {
            let record = rest.get(..RECORD).unwrap_or(rest);
            self.skip(record.len());
            return Some(record);
        }
        gather.clear();
        while let Some(slice) = self.slices.first()
            && gather.len() < RECORD
        {
            let rest = slice.get(self.at..).unwrap_or_default();
            let part = rest.get(..RECORD - gather.len()).unwrap_or(rest);
            append(gather, part);
            self.skip(part.len());
        }
        Some(gather)
    }

    /// Moves on by `count` bytes of the first slice, and past slices that are used up.
    fn skip(&mut self, count: usize) {
        self.at += count;
        self.taken += count;
        while let Some((first, others)) = self.slices.split_first()
            && self.at >= first.len()
        {
            (self.slices, self.at) = (others, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(parts: &[&[u8]]) -> Vec<Vec<u8>> {
        let slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut slices = Slices::new(&slices);
        let (mut gather, mut records) = (Vec::new(), Vec::new());
        while let Some(record) = slices.next_record(&mut gather) {
            records.push(record.to_vec());
        }
        assert!(slices.is_empty());
        assert_eq!(slices.taken(), records.iter().map(Vec::len).sum::<usize>());
        records
    }

    #[test]
    fn records_are_full_but_the_last_and_hold_the_same_bytes() {
        let bytes: Vec<u8> = (0..100_000u32).map(|n| (n * 7) as u8).collect();
        for cuts in [&[][..], &[0], &[5], &[5, 5, 16_389], &[16_384, 32_768], &[1, 2, 3, 99_999], &[50_000, 70_000]] {
            let mut parts = Vec::new();
            let mut from = 0;
            for cut in cuts.iter().chain([&100_000]) {
                parts.push(&bytes[from..*cut]);
                from = *cut;
            }
            parts.push(&[]);
            let records = records(&parts);
            assert_eq!(records.concat(), bytes, "{cuts:?}");
            let lengths: Vec<usize> = records.iter().map(Vec::len).collect();
            assert_eq!(lengths, [RECORD, RECORD, RECORD, RECORD, RECORD, RECORD, 100_000 - 6 * RECORD], "{cuts:?}");
        }
        assert!(records(&[]).is_empty() && records(&[&[], &[]]).is_empty());
    }
}
