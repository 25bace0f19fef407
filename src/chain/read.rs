//! Reading little-endian numbers off the front of a slice: the decoders' one primitive.

/// Takes the first `N` bytes off `bytes`; `None` when there are fewer, and then nothing is taken.
pub(super) fn array<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = bytes.split_first_chunk::<N>()?;
    *bytes = tail;
    Some(*head)
}

/// Takes the first `len` bytes off `bytes`; `None` when there are fewer, and then nothing is taken.
pub(super) fn slice<'a>(bytes: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (head, tail) = bytes.split_at_checked(len)?;
    *bytes = tail;
    Some(head)
}

/// Takes a `u32`.
pub(super) fn u32(bytes: &mut &[u8]) -> Option<u32> {
    array(bytes).map(u32::from_le_bytes)
}

/// Takes a `u64`.
pub(super) fn u64(bytes: &mut &[u8]) -> Option<u64> {
    array(bytes).map(u64::from_le_bytes)
}

/// Takes an `i64`.
pub(super) fn i64(bytes: &mut &[u8]) -> Option<i64> {
    array(bytes).map(i64::from_le_bytes)
}
