//! A bounded reader and a bounded writer, through which every payload passes.
//!
//! The reader takes from the front of a slice and never past its end. Its one invariant: what is returned as a count can
//! be allocated, because that many items of the smallest size are known to be there. The writer knows how large its
//! payload may still grow, so that a message that breaks its limit is noticed before the bytes are copied.

use core::ops::RangeInclusive;

use crate::wire::error::DecodeError;
use crate::wire::hash::Hash;

/// What writing a field comes to: the name of the field that breaks its cap, if one does.
pub(super) type Written = Result<(), &'static str>;

/// The most bytes that a 7-bit-encoded `u32` takes.
const MAX_VARINT_LEN: u32 = 5;

/// Takes fields from the front of a payload.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(payload: &'a [u8]) -> Self {
        Reader { rest: payload }
    }

    /// The next `len` bytes.
    pub(super) fn bytes(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(DecodeError::Truncated(field))?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(DecodeError::Truncated(field))?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.array(field).map(u16::from_le_bytes)
    }

    pub(super) fn u64(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        self.array(field).map(u64::from_le_bytes)
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.array(field).map(i32::from_le_bytes)
    }

    pub(super) fn i64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.array(field).map(i64::from_le_bytes)
    }

    pub(super) fn hash(&mut self, field: &'static str) -> Result<Hash, DecodeError> {
        self.array(field).map(Hash)
    }

    /// A byte that is 0 or 1.
    pub(super) fn flag(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.array(field)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(DecodeError::OutOfRange(field)),
        }
    }

    /// An `i32` within `range`, as the unsigned number that it then is. The range must not reach below 0.
    pub(super) fn within(&mut self, field: &'static str, range: RangeInclusive<u32>) -> Result<u32, DecodeError> {
        let number = u32::try_from(self.i32(field)?).ok().filter(|number| range.contains(number));
        number.ok_or(DecodeError::OutOfRange(field))
    }

    /// An `i64` that is not negative.
    pub(super) fn height(&mut self, field: &'static str) -> Result<u64, DecodeError> {
        u64::try_from(self.i64(field)?).map_err(|_| DecodeError::OutOfRange(field))
    }

    /// An `i32` count of at most `max` items that follow, each of at least `min_item_len` bytes.
    pub(super) fn count(&mut self, field: &'static str, max: u32, min_item_len: usize) -> Result<usize, DecodeError> {
        let count = self.within(field, 0..=max)?;
        self.affordable(field, count, min_item_len)
    }

    /// `count`, once that many items of `min_item_len` bytes are known to be there.
    pub(super) fn affordable(
        &self,
        field: &'static str,
        count: u32,
        min_item_len: usize,
    ) -> Result<usize, DecodeError> {
        let count = usize::try_from(count).map_err(|_| DecodeError::OutOfRange(field))?;
        match count.checked_mul(min_item_len) {
            Some(needed) if needed <= self.rest.len() => Ok(count),
            _ => Err(DecodeError::Truncated(field)),
        }
    }

    /// The next `len` bytes as UTF-8.
    pub(super) fn text(&mut self, field: &'static str, len: usize) -> Result<&'a str, DecodeError> {
        core::str::from_utf8(self.bytes(field, len)?).map_err(|_| DecodeError::Text(field))
    }

    /// A text whose length comes first, 7 bits in a byte, the lowest first (LEB128).
    ///
    /// A length that could be written shorter is refused, so that one text has one encoding.
    pub(super) fn prefixed_text(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let mut len = 0u32;
        for index in 0..MAX_VARINT_LEN {
            let [byte] = self.array(field)?;
            let (bits, shift) = (u32::from(byte & 0x7f), 7 * index);
            let placed = bits << shift;
            let overflows = placed >> shift != bits;
            let is_padding = byte == 0 && index > 0;
            if overflows || is_padding {
                return Err(DecodeError::OutOfRange(field));
            }
            len |= placed;
            if byte & 0x80 == 0 {
                let len = usize::try_from(len).map_err(|_| DecodeError::OutOfRange(field))?;
                return self.text(field, len);
            }
        }
        Err(DecodeError::OutOfRange(field))
    }

    /// Everything that is left.
    pub(super) fn remainder(&mut self) -> &'a [u8] {
        core::mem::take(&mut self.rest)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Says that the payload must end here.
    pub(super) fn finish(&self) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { Err(DecodeError::Trailing) }
    }
}

/// Puts fields at the end of a buffer, up to the payload's limit.
#[derive(Debug)]
pub(super) struct Writer<'o> {
    out: &'o mut Vec<u8>,
    room: usize,
}

impl<'o> Writer<'o> {
    /// A writer of at most `max_payload` bytes after what `out` holds.
    pub(super) fn new(out: &'o mut Vec<u8>, max_payload: u32) -> Self {
        Writer { out, room: usize::try_from(max_payload).unwrap_or(usize::MAX) }
    }

    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Written {
        self.room = self.room.checked_sub(bytes.len()).ok_or("payload")?;
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    pub(super) fn hash(&mut self, hash: &Hash) -> Written {
        self.bytes(&hash.0)
    }

    pub(super) fn hashes(&mut self, hashes: &[Hash]) -> Written {
        hashes.iter().try_for_each(|hash| self.hash(hash))
    }

    /// `number` as an `i32`, once it is within `range`.
    pub(super) fn within(&mut self, field: &'static str, number: u32, range: RangeInclusive<u32>) -> Written {
        let number = i32::try_from(number).ok().filter(|_| range.contains(&number)).ok_or(field)?;
        self.bytes(&number.to_le_bytes())
    }

    /// `height` as an `i64`, once it fits.
    pub(super) fn height(&mut self, field: &'static str, height: u64) -> Written {
        let height = i64::try_from(height).map_err(|_| field)?;
        self.bytes(&height.to_le_bytes())
    }

    /// A length or count as an `i32`, once it is at most `max`.
    pub(super) fn count(&mut self, field: &'static str, count: usize, max: u32) -> Written {
        let count = u32::try_from(count).map_err(|_| field)?;
        self.within(field, count, 0..=max)
    }

    /// A text after its 7-bit-encoded length.
    pub(super) fn prefixed_text(&mut self, field: &'static str, text: &str) -> Written {
        let mut len = u32::try_from(text.len()).map_err(|_| field)?;
        while len >= 0x80 {
            self.bytes(&[(len & 0x7f) as u8 | 0x80])?;
            len >>= 7;
        }
        self.bytes(&[len as u8])?;
        self.bytes(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_refused_before_its_items_are_there() {
        let mut payload = 1000i32.to_le_bytes().to_vec();
        payload.extend([0; 3]);
        assert_eq!(Reader::new(&payload).count("c", 1000, 1), Err(DecodeError::Truncated("c")));
        payload.resize(4 + 1000, 0);
        assert_eq!(Reader::new(&payload).count("c", 1000, 1), Ok(1000));
        assert_eq!(Reader::new(&payload).count("c", 999, 1), Err(DecodeError::OutOfRange("c")));
        assert_eq!(Reader::new(&(-1i32).to_le_bytes()).count("c", 1000, 1), Err(DecodeError::OutOfRange("c")));
    }

    #[test]
    fn a_seven_bit_length_has_one_encoding_and_five_bytes_at_most() {
        let read = |bytes: &[u8]| Reader::new(bytes).prefixed_text("t").map(str::len);
        assert_eq!(read(&[0]), Ok(0));
        assert_eq!(read(&[1, b'a']), Ok(1));
        assert_eq!(read(&[0x80, 0x00]), Err(DecodeError::OutOfRange("t")), "zero with padding");
        assert_eq!(read(&[0x81, 0x00, b'a']), Err(DecodeError::OutOfRange("t")), "one with padding");
        assert_eq!(read(&[0xff; 9]), Err(DecodeError::OutOfRange("t")), "above 32 bits");
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x0f]), Err(DecodeError::Truncated("t")), "2^32 - 1 bytes");
        assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x10]), Err(DecodeError::OutOfRange("t")), "2^32 and more");
        assert_eq!(read(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x01]), Err(DecodeError::OutOfRange("t")), "six bytes");
        assert_eq!(read(&[0x80]), Err(DecodeError::Truncated("t")));
        let mut long = vec![0xac, 0x02];
        long.extend([b'x'; 300]);
        assert_eq!(read(&long), Ok(300));
    }

    #[test]
    fn a_writer_stops_at_its_limit() {
        let mut out = vec![9];
        let mut writer = Writer::new(&mut out, 4);
        assert_eq!(writer.bytes(&[1, 2, 3]), Ok(()));
        assert_eq!(writer.bytes(&[4, 5]), Err("payload"));
        assert_eq!(writer.bytes(&[4]), Ok(()));
        assert_eq!(out, [9, 1, 2, 3, 4]);
    }
}
