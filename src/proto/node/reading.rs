//! Blocks that peers asked for and that the chain reads elsewhere: who waits for which.
//!
//! One at a time for each peer: what it asks for meanwhile waits in its own line, so that nothing is held for it that its
//! connection has no room for.

use std::collections::BTreeMap;

use crate::id::ConnId;
use crate::wire::Hash;

/// Who waits for a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) conn: ConnId,
    pub(super) hash: Hash,
}

/// The blocks under way, by the chain's numbers.
#[derive(Debug, Default)]
pub(super) struct Reading {
    by_ticket: BTreeMap<u64, Asked>,
    by_conn: BTreeMap<ConnId, u64>,
}

impl Reading {
    /// A block is being read for a peer that waits for no other.
    pub(super) fn begin(&mut self, ticket: u64, asked: Asked) {
        debug_assert!(!self.is_for(asked.conn), "one at a time");
        self.by_conn.insert(asked.conn, ticket);
        self.by_ticket.insert(ticket, asked);
    }

    /// Is a block being read for this peer?
    pub(super) fn is_for(&self, conn: ConnId) -> bool {
        self.by_conn.contains_key(&conn)
    }

    /// The number of what is read for a peer that is gone, or wants no more.
    pub(super) fn forget(&mut self, conn: ConnId) -> Option<u64> {
        let ticket = self.by_conn.remove(&conn)?;
        self.by_ticket.remove(&ticket);
        Some(ticket)
    }

    /// It was read; for whom. `None` when nobody waits any more.
    pub(super) fn take(&mut self, ticket: u64) -> Option<Asked> {
        let asked = self.by_ticket.remove(&ticket)?;
        self.by_conn.remove(&asked.conn);
        Some(asked)
    }

    /// Peers that wait.
    pub(super) fn conns(&self) -> impl ExactSizeIterator<Item = ConnId> {
        self.by_conn.keys().copied()
    }

    /// Numbers of blocks that are waited for.
    pub(super) fn len(&self) -> usize {
        self.by_ticket.len()
    }
}
