//! Frames that leave compressed, and come so: once for all connections of a turn, and at the price of whoever caused it.

use bytes::Bytes;

use super::net::Net;
use crate::id::ConnId;
use crate::limits::{COMPRESS_BYTES_PER_WORK, COMPRESSED_MAX, EXPAND_BYTES_PER_WORK};
use crate::link::lz4;
use crate::wire::compressed::{COMPRESSED, Envelope, MIN_EXPANDED};
use crate::wire::{Frame, FrameError, FrameRules, Payload};

impl Net {
    /// The payload of the compressed frame that leaves instead of one of type `kind`; `None` when it leaves as it is.
    pub(super) fn pack(&mut self, id: ConnId, kind: u8, payload: &Bytes) -> Option<Bytes> {
        if !(MIN_EXPANDED..=COMPRESSED_MAX).contains(&payload.len()) {
            return None;
        }
        self.conns.get(id).filter(|conn| conn.rules.has_compressed() && conn.takes_frames())?;
        if let Some(seen) = self.packed.find(kind, payload) {
            return seen;
        }
        self.spend(work(payload.len(), COMPRESS_BYTES_PER_WORK));
        let packed = lz4::pack(kind, payload);
        self.packed.keep(kind, payload, packed.clone());
        packed
    }

    /// The frame in one that came compressed; any other as it is. What comes out is paid for by whoever sent it.
    pub(super) fn expand<'a>(&mut self, frame: Frame<'a>, rules: &FrameRules) -> Result<Frame<'a>, FrameError> {
        if frame.kind != COMPRESSED || !rules.has_compressed() {
            return Ok(frame);
        }
        let envelope = Envelope::read(&frame.payload, rules)?;
        self.spend(work(envelope.len, EXPAND_BYTES_PER_WORK));
        let payload = lz4::expand(&envelope)?;
        Ok(Frame { kind: envelope.kind, payload: Payload::Given(payload) })
    }
}

fn work(bytes: usize, per_unit: usize) -> u32 {
    u32::try_from(bytes / per_unit).unwrap_or(u32::MAX)
}
