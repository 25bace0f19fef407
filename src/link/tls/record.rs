//! Records as bytes: what their headers say, and what of a stream is kept because it can not be opened yet.

use core::time::Duration;

use crate::link::buffers::append;
use crate::time::Instant;

/// The bytes of a record before its content.
const HEADER_LEN: usize = 5;

/// The longest content of a record that any version allows, in bytes.
const CONTENT_MAX: usize = 16 * 1024 + 2048;

/// The bytes of a stream that are not opened: complete records that the library still needs, since a handshake message
/// spans them, and then the start of one more. Empty, without memory, while the connection is idle.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    /// Bytes at the front that are complete records.
    complete: usize,
    /// When its first byte came.
    began: Instant,
}

impl Tail {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of memory.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Bytes of complete records.
    pub(super) fn complete(&self) -> usize {
        self.complete
    }

    /// Until when it must be finished: `stall` after it began.
    pub(super) fn deadline(&self, stall: Duration) -> Option<Instant> {
        (!self.is_empty()).then(|| self.began + stall)
    }

    /// The bytes, for a library that must be shown them again to seal. It changes none.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Takes from `input` what the last record misses, or as much of that as there is; answers the rest.
    pub(super) fn fill<'i>(&mut self, input: &'i mut [u8]) -> &'i mut [u8] {
        let (more, rest) = input.split_at_mut(self.missing().min(input.len()));
        append(&mut self.bytes, more);
        if self.missing() == 0 {
            self.complete = self.bytes.len();
        }
        debug_assert!(!more.is_empty() || rest.is_empty(), "a record that misses nothing stayed the last");
        rest
    }

    /// Its bytes to be opened, and how many of them are complete records. What is left comes back by [`Tail::keep`].
    pub(super) fn take(&mut self) -> (Vec<u8>, usize) {
        (core::mem::take(&mut self.bytes), core::mem::take(&mut self.complete))
    }

    /// Keeps what is behind the first `opened` of `bytes`, of which `complete` are complete records.
    pub(super) fn keep(&mut self, mut bytes: Vec<u8>, opened: usize, complete: usize) {
        debug_assert!(self.is_empty() && opened <= complete && complete <= bytes.len(), "{opened} of {complete}");
        if opened < bytes.len() {
            bytes.drain(..opened);
            self.bytes = bytes;
            self.complete = complete.saturating_sub(opened);
        }
    }

    /// Keeps what is left of an input, of which `complete` bytes were complete records and `opened` are opened.
    pub(super) fn begin(&mut self, input: &[u8], opened: usize, complete: usize, now: Instant) {
        debug_assert!(self.is_empty() && opened <= complete && complete <= input.len(), "{opened} of {complete}");
        self.began = now;
        self.bytes = input.get(opened..).unwrap_or_default().to_vec();
        self.complete = complete.saturating_sub(opened);
    }

    pub(super) fn clear(&mut self) {
        (self.bytes, self.complete) = (Vec::new(), 0);
    }

    /// Bytes that the last record misses, as far as is known.
    fn missing(&self) -> usize {
        debug_assert!(self.complete <= self.bytes.len());
        let part = self.bytes.get(self.complete..).unwrap_or_default();
        let need = record_len(part).unwrap_or(HEADER_LEN);
        debug_assert!(part.len() <= need, "a record that is complete is not counted as one");
        need.saturating_sub(part.len())
    }
}

/// Can these be the bytes from number `position` on of a stream of TLS records that begins with a handshake? Only the
/// first record's header is looked at: everything behind it is the connection's to judge.
pub(super) fn may_be_tls(position: usize, bytes: &[u8]) -> bool {
    let mut header = (position..HEADER_LEN).zip(bytes);
    header.all(|(index, byte)| match (index, *byte) {
        // A handshake, or an alert of somebody who can not begin one.
        (0, byte) => matches!(byte, 21 | 22),
        (1, byte) => byte == 3,
        // TLS 1.0 to 1.3. Before that was SSL, whose 0 here is a frame's length as well.
        (2, byte) => matches!(byte, 1..=4),
        (3, byte) => byte <= (CONTENT_MAX >> 8) as u8,
        _ => true,
    })
}

/// Is the first record an alert that is close_notify, whatever its level?
pub(super) fn begins_with_close_notify(bytes: &[u8]) -> bool {
    matches!(bytes, [21, _, _, 0, 2, _, 0, ..])
}

/// Bytes of the complete records at the front.
pub(super) fn complete_records(bytes: &[u8]) -> usize {
    let mut complete = 0usize;
    while let Some(rest) = bytes.get(complete..)
        && let Some(len) = record_len(rest).filter(|len| *len <= rest.len())
    {
        complete = complete.saturating_add(len);
    }
    complete
}

/// The length of the record that begins here, header included.
fn record_len(bytes: &[u8]) -> Option<usize> {
    let [_, _, _, high, low] = *bytes.first_chunk::<HEADER_LEN>()?;
    Some(HEADER_LEN + usize::from(u16::from_be_bytes([high, low])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(len: usize) -> Vec<u8> {
        let [high, low] = (len as u16).to_be_bytes();
        let mut record = vec![23, 3, 3, high, low];
        record.resize(HEADER_LEN + len, 7);
        record
    }

    proptest! {
        /// The library opens records one by one, or none of those that are there, as long as a message is not complete.
        #[test]
        fn a_tail_ends_where_its_last_record_does_however_the_bytes_come(
            lens in prop::collection::vec(0usize..40, 1..12),
            cuts in prop::collection::vec(1usize..50, 1..30),
            patient in prop::collection::vec(any::<bool>(), 1..30),
        ) {
            let stream: Vec<u8> = lens.iter().flat_map(|len| record(*len)).collect();
            let (mut tail, mut rest) = (Tail::default(), stream.clone());
            let (mut rest, mut position, mut opened_to) = (&mut rest[..], 0, 0);
            for (cut, waits) in cuts.iter().zip(patient.iter().cycle()) {
                let (mut piece, later) = rest.split_at_mut((*cut).min(rest.len()));
                rest = later;
                position += piece.len();
                while !tail.is_empty() && !piece.is_empty() {
                    piece = tail.fill(piece);
                    let (bytes, complete) = tail.take();
                    prop_assert_eq!(complete, complete_records(&bytes));
                    let opened = if *waits { 0 } else { complete };
                    opened_to += opened;
                    tail.keep(bytes, opened, complete);
                }
                if !piece.is_empty() {
                    let complete = complete_records(piece);
                    let opened = if *waits { 0 } else { complete };
                    opened_to += opened;
                    tail.begin(piece, opened, complete, Instant::ZERO);
                }
                prop_assert_eq!(&tail.bytes[..], &stream[opened_to..position]);
                prop_assert_eq!(tail.complete, complete_records(&tail.bytes));
                prop_assert_eq!(tail.capacity() == 0, tail.is_empty());
            }
        }
    }
}
