//! The account of what all outboxes of one loop hold together: what its send budget is compared with.
//!
//! A large payload that many outboxes share is charged once, with the first that holds it, and released with the last.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::limits::LEDGER_FROM;

/// Bytes that are queued. Each charge is released by the same amount.
#[derive(Debug, Default)]
pub(super) struct QueueAccount {
    charged: usize,
    /// How many queues hold each large shared payload, by its address, which is nobody else's as long as one holds it.
    holders: BTreeMap<usize, u32>,
}

impl QueueAccount {
    /// Bytes charged and not released.
    pub(super) fn queued_bytes(&self) -> usize {
        self.charged
    }

    #[inline]
    pub(super) fn charge(&mut self, bytes: usize) {
        self.charged = self.charged.saturating_add(bytes);
    }

    #[inline]
    pub(super) fn release(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.charged, "{bytes} bytes are released of {} charged", self.charged);
        self.charged = self.charged.saturating_sub(bytes);
    }

    /// One more queue holds `body`.
    pub(super) fn charge_shared(&mut self, body: &Bytes) {
        let is_first = body.len() < LEDGER_FROM || {
            let holders = self.holders.entry(body.as_ptr() as usize).or_insert(0);
            *holders = holders.saturating_add(1);
            *holders == 1
        };
        if is_first {
            self.charge(body.len());
        }
    }

    /// One queue less holds `body`.
    pub(super) fn release_shared(&mut self, body: &Bytes) {
        let was_last = body.len() < LEDGER_FROM || {
            let address = body.as_ptr() as usize;
            match self.holders.get_mut(&address) {
                Some(holders) if *holders > 1 => {
                    *holders -= 1;
                    false
                }
                _ => {
                    let was_held = self.holders.remove(&address).is_some();
                    debug_assert!(was_held, "a shared payload is released that was never charged");
                    was_held
                }
            }
        };
        if was_last {
            self.release(body.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The naive account counts every payload that somebody holds.
        #[test]
        fn a_payload_counts_once_however_many_hold_it(moves in prop::collection::vec((0usize..4, any::<bool>()), 1..200)) {
            let bodies = [LEDGER_FROM, LEDGER_FROM + 1, 2 * LEDGER_FROM, LEDGER_FROM - 1].map(|len| Bytes::from(vec![0; len]));
            let mut held = [0usize; 4];
            let mut account = QueueAccount::default();
            for (index, holds) in moves {
                if holds {
                    account.charge_shared(&bodies[index]);
                    held[index] += 1;
                } else if held[index] > 0 {
                    account.release_shared(&bodies[index]);
                    held[index] -= 1;
                }
                // The last one is small, and counts each time.
                let once: usize = (0..3).filter(|index| held[*index] > 0).map(|index| bodies[index].len()).sum();
                prop_assert_eq!(account.queued_bytes(), once + held[3] * bodies[3].len());
            }
        }
    }
}
