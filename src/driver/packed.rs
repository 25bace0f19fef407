//! What was compressed in this turn: once for all connections that it goes to.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::limits::PACKED_KEPT;

/// What was compressed in this turn: a block that goes to many peers is compressed for the first of them.
#[derive(Debug, Default)]
pub(super) struct Packed {
    recent: VecDeque<(Bytes, u8, Option<Bytes>)>,
}

impl Packed {
    /// The payload of the compressed frame, if it is one that was seen in this turn: `Some(None)` when it gains too little.
    pub(super) fn find(&self, kind: u8, payload: &Bytes) -> Option<Option<Bytes>> {
        // Held here, its memory is nobody else's.
        let is_it = |seen: &Bytes| seen.as_ptr() == payload.as_ptr() && seen.len() == payload.len();
        let seen = self.recent.iter().find(|(seen, byte, _)| *byte == kind && is_it(seen))?;
        Some(seen.2.clone())
    }

    pub(super) fn keep(&mut self, kind: u8, payload: &Bytes, packed: Option<Bytes>) {
        if self.recent.len() >= PACKED_KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back((payload.clone(), kind, packed));
    }

    /// The turn is over.
    pub(super) fn clear(&mut self) {
        self.recent.clear();
    }
}
