//! What opening records has cost: a record has its price besides its bytes, and a peer chooses how small it makes them.

use crate::limits::{RECORD_BYTES_PER_UNIT, RECORD_WORK};

/// What a record with plaintext has besides it: header, type and tag.
const RECORD_OVERHEAD: usize = 22;
/// The least that a message of TLS's own takes on the wire: one byte of a key update's body behind its own header.
const MESSAGE_LEN: usize = RECORD_OVERHEAD + 5;
/// Bytes for each record below which reads are kept short, so that one does not bring thousands of them.
const SMALL_RECORD: usize = 512;
/// So many records say something of the next ones.
const TELLING: usize = 16;

/// The account of one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effort {
    work: u32,
    is_dense: bool,
}

impl Effort {
    /// So many bytes were opened, `plaintext` of them in so many records. The rest was TLS's own.
    pub(super) fn opened(&mut self, used: usize, plaintext: usize, records: usize) {
        let of_records = plaintext.saturating_add(records.saturating_mul(RECORD_OVERHEAD));
        let records = records.saturating_add(used.saturating_sub(of_records) / MESSAGE_LEN);
        let pieces = u32::try_from(records).unwrap_or(u32::MAX).saturating_mul(RECORD_WORK);
        let bytes = u32::try_from(used / RECORD_BYTES_PER_UNIT).unwrap_or(u32::MAX);
        self.work = self.work.saturating_add(pieces).saturating_add(bytes);
        if records >= TELLING {
            self.is_dense = used / records < SMALL_RECORD;
        }
    }

    /// Were the last records small?
    pub(super) fn is_dense(self) -> bool {
        self.is_dense
    }

    /// The units of work since the last call.
    pub(super) fn take(&mut self) -> u32 {
        core::mem::take(&mut self.work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_records_and_key_updates_cost_more_than_their_bytes_and_large_ones_hardly_more() {
        let mut effort = Effort::default();
        effort.opened(16 * (16_384 + RECORD_OVERHEAD), 16 * 16_384, 16);
        assert_eq!((effort.take(), effort.is_dense()), (16 * RECORD_WORK + 1025, false));
        effort.opened(2300, 100, 100);
        assert_eq!((effort.take(), effort.is_dense()), (100 * RECORD_WORK + 8, true));
        effort.opened(100 * MESSAGE_LEN, 0, 0);
        assert_eq!((effort.take(), effort.take()), (100 * RECORD_WORK + 10, 0));
    }
}
