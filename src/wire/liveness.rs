//! Heartbeat, Ping and Pong: what keeps a quiet connection alive and measures it.

use crate::wire::cursor::{Reader, Writer, Written};
use crate::wire::error::DecodeError;
use crate::wire::handshake::is_node_id;

/// "Still here".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heartbeat<'a> {
    /// Ours: the chain's length and the sender's id.
    Status {
        /// Number of blocks, genesis included. Not negative.
        chain_length: i64,
        /// The sender's id: 1 to 128 bytes, not only white space.
        node_id: &'a str,
    },
    /// Empty, or anything else of at most 1024 bytes.
    Opaque(&'a [u8]),
}

/// The payload of Ping and Pong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Repeated by the answer.
    pub nonce: i64,
    /// The sender's wall clock, in milliseconds since the epoch.
    pub unix_millis: i64,
}

impl<'a> Heartbeat<'a> {
    /// Does it say nothing?
    pub const fn is_empty(&self) -> bool {
        matches!(self, Heartbeat::Opaque([]))
    }

    /// Any payload is a heartbeat; one that is a status to the last byte is read as that.
    pub(super) fn read(payload: &'a [u8]) -> Self {
        Heartbeat::read_status(payload).unwrap_or(Heartbeat::Opaque(payload))
    }

    fn read_status(payload: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(payload);
        let chain_length = reader.i64("chain length").ok().filter(|length| *length >= 0)?;
        let len = usize::from(reader.u16("node id").ok()?);
        let node_id = reader.text("node id", len).ok().filter(|id| is_node_id(id))?;
        reader.finish().ok()?;
        Some(Heartbeat::Status { chain_length, node_id })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Written {
        match *self {
            Heartbeat::Status { chain_length: ..0, .. } => Err("chain length"),
            Heartbeat::Status { node_id, .. } if !is_node_id(node_id) => Err("node id"),
            Heartbeat::Status { chain_length, node_id } => {
                writer.bytes(&chain_length.to_le_bytes())?;
                writer.bytes(&u16::try_from(node_id.len()).map_err(|_| "node id")?.to_le_bytes())?;
                writer.bytes(node_id.as_bytes())
            }
            Heartbeat::Opaque(bytes) => writer.bytes(bytes),
        }
    }
}

impl Ping {
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Ping { nonce: reader.i64("nonce")?, unix_millis: reader.i64("time")? })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Written {
        writer.bytes(&self.nonce.to_le_bytes())?;
        writer.bytes(&self.unix_millis.to_le_bytes())
    }
}
