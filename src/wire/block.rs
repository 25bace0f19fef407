//! Blocks, alone and in runs, challenges and BlockAccepted. What is in a block is the chain's business: here it is bytes, at least
//! one.

use crate::wire::cursor::{Reader, Writer, Written};
use crate::wire::error::DecodeError;
use crate::wire::hash::Hash;
use crate::wire::kind::Kind;

/// The most hashes in one GetBlocks, and the most blocks in one Blocks.
pub const MAX_RUN: u32 = 1_000;

/// A block in a Blocks, in bytes: its length, and a byte at least.
const MIN_BLOCK_LEN: usize = 5;
/// A hash, in bytes.
const HASH_LEN: usize = 32;

const _: () = assert!(4 + MAX_RUN as usize * HASH_LEN == Kind::GetBlocks.max_payload() as usize);

/// "This block is now part of the chain".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockAccepted {
    /// The block.
    pub hash: Hash,
    /// Its height; at most `i64::MAX`.
    pub height: u64,
}

impl BlockAccepted {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(BlockAccepted { hash: reader.hash("hash")?, height: reader.height("height")? })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Written {
        writer.hash(&self.hash)?;
        writer.height("height", self.height)
    }
}

/// The hashes of a GetBlocks.
pub(super) fn read_wanted(reader: &mut Reader<'_>) -> Result<Vec<Hash>, DecodeError> {
    let count = reader.within("count", 1..=MAX_RUN)?;
    let count = reader.affordable("count", count, HASH_LEN)?;
    let mut hashes = Vec::with_capacity(count);
    for _ in 0..count {
        hashes.push(reader.hash("hash")?);
    }
    Ok(hashes)
}

pub(super) fn write_wanted(hashes: &[Hash], writer: &mut Writer<'_>) -> Written {
    writer.within("count", u32::try_from(hashes.len()).unwrap_or(u32::MAX), 1..=MAX_RUN)?;
    writer.hashes(hashes)
}

/// The blocks of a Blocks.
pub(super) fn read_run<'a>(reader: &mut Reader<'a>) -> Result<Vec<&'a [u8]>, DecodeError> {
    let count = reader.within("count", 1..=MAX_RUN)?;
    let count = reader.affordable("count", count, MIN_BLOCK_LEN)?;
    let mut blocks = Vec::with_capacity(count);
    for _ in 0..count {
        let len = reader.within("block length", 1..=Kind::Blocks.max_payload())?;
        blocks.push(reader.bytes("block", usize::try_from(len).map_err(|_| DecodeError::OutOfRange("block length"))?)?);
    }
    Ok(blocks)
}

pub(super) fn write_run<'a>(blocks: impl ExactSizeIterator<Item = &'a [u8]>, writer: &mut Writer<'_>) -> Written {
    writer.within("count", u32::try_from(blocks.len()).unwrap_or(u32::MAX), 1..=MAX_RUN)?;
    for block in blocks {
        let len = u32::try_from(block.len()).unwrap_or(u32::MAX);
        writer.within("block length", len, 1..=Kind::Blocks.max_payload())?;
        writer.bytes(block)?;
    }
    Ok(())
}

/// The whole payload of a Block, NewBlock, Transaction or NewChallenge.
pub(super) fn read_opaque<'a>(reader: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    match reader.remainder() {
        [] => Err(DecodeError::Truncated("payload")),
        bytes => Ok(bytes),
    }
}

#[inline]
pub(super) fn write_opaque(bytes: &[u8], writer: &mut Writer<'_>) -> Written {
    if bytes.is_empty() { Err("payload") } else { writer.bytes(bytes) }
}
