//! TxPoolRequest and TxPool: which transactions wait. (A Transaction itself is opaque: see `block`.)

use crate::wire::cursor::{Reader, Writer, Written};
use crate::wire::error::DecodeError;
use crate::wire::hash::Hash;
use crate::wire::kind::Kind;

/// The most ids in one TxPool.
pub const MAX_TX_IDS: u32 = 50_000;

/// An id, in bytes.
const ID_LEN: usize = 32;
/// The most transactions that the request's `i32` can ask for.
const MAX_REQUESTED: u32 = i32::MAX as u32;

const _: () = assert!(4 + MAX_TX_IDS as usize * ID_LEN == Kind::TxPool.max_payload() as usize);

/// Asks for the waiting transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxPoolRequest {
    /// 1 to `i32::MAX`.
    pub max: u32,
    /// With the transactions themselves, or only their ids.
    pub include_data: bool,
}

impl TxPoolRequest {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(TxPoolRequest { max: reader.within("max", 1..=MAX_REQUESTED)?, include_data: reader.flag("data flag")? })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Written {
        writer.within("max", self.max, 1..=MAX_REQUESTED)?;
        writer.bytes(&[u8::from(self.include_data)])
    }
}

pub(super) fn read_ids(reader: &mut Reader<'_>) -> Result<Vec<Hash>, DecodeError> {
    let count = reader.count("count", MAX_TX_IDS, ID_LEN)?;
    let mut ids = Vec::with_capacity(count);
    for _ in 0..count {
        ids.push(reader.hash("id")?);
    }
    Ok(ids)
}

pub(super) fn write_ids(ids: &[Hash], writer: &mut Writer<'_>) -> Written {
    writer.count("count", ids.len(), MAX_TX_IDS)?;
    writer.hashes(ids)
}
