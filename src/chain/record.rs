//! The bytes of a segment: its header and its records. Pure functions; `store.md` draws them.

use crate::chain::read;

/// What a segment begins with.
pub(super) const MAGIC: &[u8; 8] = b"STBLOCKS";
/// The layout that this code writes. Format 1 was a database of another library.
pub(super) const FORMAT: u32 = 2;
/// Bytes of a segment's header before the genesis block.
pub(super) const FIXED_LEN: usize = 32;
/// Bytes of a record before its payload.
pub(super) const RECORD_LEN: usize = 40;

/// A segment's header without the genesis block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u32,
    /// What its records begin with: drawn when the segment is made, so that nobody can send a block with a record in it,
    /// and old bytes of the disk are none.
    pub(super) salt: [u8; 8],
}

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Nothing: it is there for what it says of the bytes before it.
    Mark,
    /// A block, which is the payload, and its number in order of arrival.
    Block(u64),
    /// The block of this number is no longer wanted.
    Removed(u64),
    /// Another segment ends where the payload says: what follows there is not part of the store.
    Closed(u32),
}

/// A record without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) what: What,
    pub(super) len: u32,
    /// Bytes of its segment that were durable for certain when it was written.
    pub(super) synced: u64,
    payload_crc: u32,
}

/// Why a segment's header is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderError {
    /// It is no segment, or damaged.
    Damaged(&'static str),
    /// A later version wrote it, or an earlier one.
    Format(u32),
}

/// A segment's first bytes.
pub(super) fn encode_header(header: SegmentHeader, genesis: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(FIXED_LEN + genesis.len() + 4);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    // A genesis block has two numbers and two names in it.
    out.extend_from_slice(&u32::try_from(genesis.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&u64::from(header.number).to_le_bytes());
    out.extend_from_slice(&header.salt);
    out.extend_from_slice(genesis);
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    out
}

/// How long the header is of which these are the first [`FIXED_LEN`] bytes.
pub(super) fn header_len(fixed: &[u8; FIXED_LEN]) -> Result<usize, HeaderError> {
    let mut rest = fixed.strip_prefix(MAGIC).ok_or(HeaderError::Damaged("it does not begin as a segment does"))?;
    let cut = HeaderError::Damaged("its header is cut off");
    let format = read::u32(&mut rest).ok_or(cut)?;
    if format != FORMAT {
        return Err(HeaderError::Format(format));
    }
    let genesis = read::u32(&mut rest).and_then(|len| usize::try_from(len).ok()).ok_or(cut)?;
    genesis.checked_add(FIXED_LEN + 4).ok_or(cut)
}

/// The header that these bytes, of the length that [`header_len`] said, are, and the genesis block in it.
pub(super) fn decode_header(bytes: &[u8]) -> Result<(SegmentHeader, &[u8]), HeaderError> {
    let wrong = HeaderError::Damaged("its header does not match its checksum");
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or(wrong)?;
    let (mut fixed, genesis) = body.split_at_checked(FIXED_LEN).ok_or(wrong)?;
    if crc32fast::hash(body).to_le_bytes() != *crc {
        return Err(wrong);
    }
    let _magic_format_and_length = read::slice(&mut fixed, 16);
    let number = read::u64(&mut fixed).and_then(|number| u32::try_from(number).ok()).ok_or(wrong)?;
    let salt = read::array(&mut fixed).ok_or(wrong)?;
    Ok((SegmentHeader { number, salt }, genesis))
}

/// Adds a record at `offset` of its segment to `out`.
pub(super) fn encode(out: &mut Vec<u8>, header: SegmentHeader, offset: u64, synced: u64, what: What, payload: &[u8]) {
    let (kind, number) = match what {
        What::Mark => (0u32, 0),
        What::Block(seq) => (1, seq),
        What::Removed(seq) => (2, seq),
        What::Closed(segment) => (3, u64::from(segment)),
    };
    let begin = out.len();
    out.extend_from_slice(&header.salt);
    out.extend_from_slice(&kind.to_le_bytes());
    // Longer ones are refused before they come here.
    out.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&synced.to_le_bytes());
    out.extend_from_slice(&crc32fast::hash(payload).to_le_bytes());
    let crc = crc_after(place(header.number, offset), out.get(begin..).unwrap_or_default());
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

/// The record that begins with these bytes at `offset` of segment `number`; `None` when there is none. Its salt is the
/// segment's when `salt` is given.
pub(super) fn decode(bytes: &[u8], number: u32, offset: u64, salt: Option<&[u8; 8]>) -> Option<Record> {
    let mut rest = bytes.get(..RECORD_LEN)?;
    let crc = crc_after(place(number, offset), rest.get(..RECORD_LEN - 4)?);
    let found: [u8; 8] = read::array(&mut rest)?;
    if salt.is_some_and(|salt| *salt != found) {
        return None;
    }
    let (kind, len, about) = (read::u32(&mut rest)?, read::u32(&mut rest)?, read::u64(&mut rest)?);
    let (synced, payload_crc) = (read::u64(&mut rest)?, read::u32(&mut rest)?);
    if read::u32(&mut rest)? != crc {
        return None;
    }
    let what = match (kind, len) {
        (0, 0) => What::Mark,
        (1, _) => What::Block(about),
        (2, 0) => What::Removed(about),
        (3, 8) => What::Closed(u32::try_from(about).ok()?),
        _ => return None,
    };
    Some(Record { what, len, synced, payload_crc })
}

impl Record {
    /// Bytes of it and its payload.
    pub(super) fn total_len(&self) -> u64 {
        RECORD_LEN as u64 + u64::from(self.len)
    }

    /// Is this what was written behind it?
    pub(super) fn is_payload(&self, payload: &[u8]) -> bool {
        payload.len() as u64 == u64::from(self.len) && crc32fast::hash(payload) == self.payload_crc
    }
}

/// The checksum of `bytes` after those of which `before` is the checksum.
fn crc_after(before: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(before);
    hasher.update(bytes);
    hasher.finalize()
}

/// Where a record stands is part of its checksum: a record that was moved is none.
fn place(number: u32, offset: u64) -> u32 {
    crc_after(crc32fast::hash(&number.to_le_bytes()), &offset.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: SegmentHeader = SegmentHeader { number: 7, salt: *b"saltsalt" };

    fn records() -> [(What, &'static [u8]); 5] {
        let closed: &'static [u8] = &[9; 8];
        [
            (What::Mark, b""),
            (What::Block(u64::MAX), b"a block"),
            (What::Block(3), b""),
            (What::Removed(4), b""),
            (What::Closed(6), closed),
        ]
    }

    #[test]
    fn headers_and_records_come_back_and_no_flipped_bit_does() {
        let bytes = encode_header(HEADER, b"genesis");
        assert_eq!(header_len(bytes.first_chunk().unwrap()), Ok(bytes.len()));
        assert_eq!(decode_header(&bytes), Ok((HEADER, &b"genesis"[..])));
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode_header(&bytes).is_err(), "bit {bit}");
        }
        for (what, payload) in records() {
            let mut bytes = Vec::new();
            encode(&mut bytes, HEADER, 500, 400, what, payload);
            let record = decode(&bytes, 7, 500, Some(&HEADER.salt)).unwrap();
            assert_eq!((record.what, record.synced, record.total_len()), (what, 400, bytes.len() as u64));
            assert!(record.is_payload(payload));
            assert_eq!(decode(&bytes, 7, 501, None), None, "a record that was moved is none");
            assert_eq!(decode(&bytes, 8, 500, None), None, "nor one of another segment");
            assert_eq!(decode(&bytes, 7, 500, Some(b"another!")), None, "nor one of another time");
            assert_eq!(decode(&bytes[..RECORD_LEN - 1], 7, 500, None), None);
            for bit in 0..bytes.len() * 8 {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                let whole = decode(&bytes, 7, 500, None).is_some_and(|record| record.is_payload(&bytes[RECORD_LEN..]));
                assert!(!whole, "bit {bit}");
            }
        }
    }

    /// A page that was never written is the most common rest of a crash.
    #[test]
    fn zeros_are_neither_header_nor_record() {
        assert_eq!(decode(&[0; 100], 0, 0, None), None);
        assert!(header_len(&[0; FIXED_LEN]).is_err() && decode_header(&[0; 60]).is_err());
    }

    #[test]
    fn another_format_says_its_number() {
        let mut bytes = encode_header(HEADER, b"");
        bytes[8] = 9;
        assert_eq!(header_len(bytes.first_chunk().unwrap()), Err(HeaderError::Format(9)));
    }
}
