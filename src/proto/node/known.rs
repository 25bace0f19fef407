//! What is known of objects: which proved valid lately, which peer has which, and which wait for the chain's verdict.
//!
//! An object is judged once, goes to each peer at most once and never back to one that has it; and what waits for a verdict is
//! bounded in number and in bytes, the oldest forgotten as if they never came.

use bytes::Bytes;
use std::collections::BTreeMap;

use crate::id::ConnId;
use crate::invariant::{Broken, Invariant};
use crate::proto::gossip::{Relay, Seen};
use crate::time::Instant;
use crate::wire::{Hash, Kind};

/// Judgements that may be under way at once.
const PENDING_MAX: usize = 4096;
/// Bytes of objects under judgement: four of the largest.
const PENDING_BYTES_MAX: usize = 64 << 20;

/// The memory of objects.
#[derive(Debug, Default)]
pub(super) struct KnownObjects {
    seen: Seen,
    relay: Relay,
    /// What the chain judges later, by its ticket.
    pending: BTreeMap<u64, Pending>,
    /// Bytes of their payloads.
    pending_bytes: usize,
}

/// An object, and who sent it; `None` for our own.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) kind: Kind,
    pub(super) id: Hash,
    pub(super) from: Option<ConnId>,
    pub(super) payload: Bytes,
}

impl KnownObjects {
    /// A peer is introduced: from now on it is remembered what it has.
    pub(super) fn peer_ready(&mut self, conn: ConnId) {
        self.relay.peer_ready(conn);
    }

    pub(super) fn peer_gone(&mut self, conn: ConnId) {
        self.relay.peer_gone(conn);
    }

    /// The object proved valid.
    pub(super) fn accept(&mut self, now: Instant, id: Hash, from: Option<ConnId>) {
        self.seen.mark(now, id, from);
    }

    /// Forgets what proved valid long ago.
    pub(super) fn expire(&mut self, now: Instant) {
        self.seen.expire(now);
    }

    /// Did the object prove valid lately?
    pub(super) fn is_accepted(&self, now: Instant, id: &Hash) -> bool {
        self.seen.contains(now, id)
    }

    /// When the object proved valid, if that is remembered.
    pub(super) fn accepted_at(&self, id: &Hash) -> Option<Instant> {
        self.seen.noted_at(id)
    }

    /// Is the peer remembered to have the object?
    pub(super) fn has(&self, conn: ConnId, id: &Hash) -> bool {
        self.relay.knows(conn, id)
    }

    /// The peer has the object: it sent it, or gets it as an answer.
    pub(super) fn learn(&mut self, conn: Option<ConnId>, id: Hash) {
        self.relay.learned(conn, id);
    }

    /// The peer is about to be sent the object, unless it has it: true when that was not known.
    pub(super) fn tell(&mut self, conn: ConnId, id: Hash) -> bool {
        self.relay.tell(conn, id)
    }

    /// The peer does not get it after all.
    pub(super) fn forget(&mut self, conn: ConnId, id: &Hash) {
        self.relay.forget(conn, id);
    }

    /// Who of those that can read the object is to be sent it: those that do not have it, and now do.
    pub(super) fn recipients(
        &mut self,
        id: Hash,
        from: Option<ConnId>,
        readers: impl Iterator<Item = ConnId>,
    ) -> Vec<ConnId> {
        self.relay.relay(id, from, readers)
    }

    /// The object waits for the verdict under this number. The names of those that are forgotten for it.
    pub(super) fn put_off(&mut self, ticket: u64, object: Pending) -> Vec<Hash> {
        let mut forgotten: Vec<Hash> = self.take(ticket).map(|object| object.id).into_iter().collect();
        self.pending_bytes = self.pending_bytes.saturating_add(object.payload.len());
        self.pending.insert(ticket, object);
        while (self.pending.len() > PENDING_MAX || self.pending_bytes > PENDING_BYTES_MAX)
            && let Some(oldest) = self.pending.first_key_value().map(|(ticket, _)| *ticket)
        {
            forgotten.extend(self.take(oldest).map(|object| object.id));
        }
        forgotten
    }

    /// The object whose verdict has come; `None` for a number that is forgotten, or somebody else's.
    pub(super) fn take(&mut self, ticket: u64) -> Option<Pending> {
        let object = self.pending.remove(&ticket)?;
        debug_assert!(self.pending_bytes >= object.payload.len(), "more bytes leave than wait for a verdict");
        self.pending_bytes = self.pending_bytes.saturating_sub(object.payload.len());
        Some(object)
    }

    /// Blocks that wait for the chain's verdict.
    pub(super) fn pending_blocks(&self) -> BTreeMap<Hash, usize> {
        let mut blocks = BTreeMap::new();
        for object in self.pending.values().filter(|object| object.kind == Kind::NewBlock) {
            *blocks.entry(object.id).or_default() += 1;
        }
        blocks
    }

    /// Peers whose objects are remembered.
    pub(super) fn peer_count(&self) -> usize {
        self.relay.peer_count()
    }

    /// Is the object remembered as valid, be its time over or not?
    pub(super) fn holds(&self, id: &Hash) -> bool {
        self.seen.holds(id)
    }

    /// The cheap half of [`audit`](Self::audit).
    pub(super) fn audit_pending(&self) -> Result<(), Broken> {
        let (objects, kept) = (self.pending.len(), self.pending_bytes);
        let bytes: usize = self.pending.values().map(|object| object.payload.len()).sum();
        Invariant::S6.check(kept == bytes, || format!("{bytes} bytes wait for a verdict, {kept} by the counter"))?;
        Invariant::S5.check(objects <= PENDING_MAX && bytes <= PENDING_BYTES_MAX, || {
            format!("{objects} objects of {bytes} bytes wait for a verdict")
        })
    }

    /// Do the tables agree, and keep to their limits?
    pub(super) fn audit(&self) -> Result<(), Broken> {
        self.audit_pending()?;
        self.seen.audit()?;
        self.relay.audit()
    }
}
