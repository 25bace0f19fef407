//! Blocks, challenges and BlockAccepted. What is in a block is the chain's business: here it is bytes, at least one.

use crate::wire::cursor::{Reader, Writer, Written};
use crate::wire::error::DecodeError;
use crate::wire::hash::Hash;

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
