//! What we say ourselves and a peer has not been sent yet: it waits for the pace at which the peer takes it.
//!
//! Gossip is kept by nobody, so what does not wait here is lost. The queue is bounded; what finds no room in it is refused before
//! anybody is told, so that its author may say it again.

use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};

use crate::invariant::{Broken, Invariant};
use crate::wire::{Hash, Kind};

/// Messages that may wait for one peer: at a stranger's pace, an hour and a half of proofs.
pub const OWN_GOSSIP_MAX: usize = 1024;
/// Bytes of them: sixteen of the largest. All peers share the payloads.
pub const OWN_GOSSIP_BYTES_MAX: usize = 16 << 20;

/// Messages that are remembered as sent, in case that the connection refuses them: more than may leave at once.
const SENT_MAX: usize = 1024;

/// The words of ours that wait for one peer, oldest first within each kind, for each kind has a pace of its own.
#[derive(Clone, Debug, Default)]
pub struct OwnGossip {
    waiting: BTreeMap<Kind, VecDeque<(Hash, Bytes)>>,
    len: usize,
    bytes: usize,
    /// The peer's connection took no more. Nothing is tried until it has room.
    blocked: bool,
    /// What left last, oldest first.
    sent: VecDeque<Hash>,
}

impl OwnGossip {
    /// Is there room for one more of so many bytes?
    pub fn has_room(&self, bytes: usize) -> bool {
        self.len < OWN_GOSSIP_MAX && self.bytes.saturating_add(bytes) <= OWN_GOSSIP_BYTES_MAX
    }

    /// Does one of this kind wait?
    pub fn waits(&self, kind: Kind) -> bool {
        self.waiting.contains_key(&kind)
    }

    /// Puts one at the end. Callers ask first whether there is [room](Self::has_room).
    pub fn push(&mut self, kind: Kind, id: Hash, payload: Bytes) {
        self.insert(kind, |queue| queue.push_back((id, payload.clone())), payload.len());
    }

    /// One leaves, without a wait or after it.
    pub fn sent(&mut self, id: Hash) {
        if self.sent.len() >= SENT_MAX {
            self.sent.pop_front();
        }
        self.sent.push_back(id);
    }

    /// A message that left was refused: if it is our own, it is the next again, once the connection has room.
    pub fn refused(&mut self, kind: Kind, id: Hash, payload: Bytes) {
        let Some(at) = self.sent.iter().rposition(|sent| *sent == id) else { return };
        self.sent.remove(at);
        self.blocked = true;
        self.insert(kind, |queue| queue.push_front((id, payload.clone())), payload.len());
    }

    /// Did the connection take no more?
    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// The connection has room again.
    pub fn unblock(&mut self) {
        self.blocked = false;
    }

    /// The kinds of which some may go; none while the connection has no room.
    pub fn kinds(&self) -> Vec<Kind> {
        if self.blocked { Vec::new() } else { self.waiting.keys().copied().collect() }
    }

    /// The oldest of a kind leaves.
    pub fn pop(&mut self, kind: Kind) -> Option<Bytes> {
        let (id, payload) = self.remove(kind, |_| true)?;
        self.sent(id);
        Some(payload)
    }

    /// All that waits.
    pub fn waiting(&self) -> impl Iterator<Item = (Kind, Hash, &Bytes)> {
        self.waiting.iter().flat_map(|(kind, queue)| queue.iter().map(move |(id, payload)| (*kind, *id, payload)))
    }

    /// The peer has this one.
    pub fn forget(&mut self, kind: Kind, id: &Hash) {
        self.remove(kind, |known| known == id);
    }

    /// Is it within its limits, and counted right?
    ///
    /// # Errors
    ///
    /// The rule that is broken, and what was found.
    pub fn audit(&self) -> Result<(), Broken> {
        let all = || self.waiting.values().flatten();
        let (len, bytes) = (all().count(), all().map(|(_, payload)| payload.len()).sum::<usize>());
        Invariant::S6.check((len, bytes) == (self.len, self.bytes), || {
            format!("{len} messages of {bytes} bytes wait, {} of {} by the counters", self.len, self.bytes)
        })?;
        Invariant::S5.check(len <= OWN_GOSSIP_MAX && bytes <= OWN_GOSSIP_BYTES_MAX, || {
            format!("{len} messages of our own and {bytes} bytes wait for a peer")
        })
    }

    fn insert(&mut self, kind: Kind, put: impl FnOnce(&mut VecDeque<(Hash, Bytes)>), bytes: usize) {
        put(self.waiting.entry(kind).or_default());
        self.len = self.len.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn remove(&mut self, kind: Kind, which: impl Fn(&Hash) -> bool) -> Option<(Hash, Bytes)> {
        let queue = self.waiting.get_mut(&kind)?;
        let at = queue.iter().position(|(id, _)| which(id))?;
        let taken = queue.remove(at)?;
        if queue.is_empty() {
            self.waiting.remove(&kind);
        }
        self.len = self.len.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(taken.1.len());
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: usize) -> Hash {
        let mut hash = Hash::ZERO;
        hash.0[..8].copy_from_slice(&n.to_be_bytes());
        hash
    }

    #[test]
    fn kinds_wait_apart_in_their_order_and_one_that_was_refused_is_the_next_again() {
        let mut own = OwnGossip::default();
        for n in 0..3u8 {
            own.push(Kind::NewChallenge, hash(n.into()), Bytes::copy_from_slice(&[n]));
            own.push(Kind::BlockAccepted, hash(10 + usize::from(n)), Bytes::copy_from_slice(&[10 + n]));
        }
        assert_eq!(own.kinds(), [Kind::NewChallenge, Kind::BlockAccepted]);
        let first = own.pop(Kind::NewChallenge).unwrap();
        own.refused(Kind::NewChallenge, hash(7), first.clone());
        assert!(!own.kinds().is_empty(), "what others said is not kept for them");
        own.refused(Kind::NewChallenge, hash(0), first);
        assert_eq!(own.kinds(), [], "nothing is tried while there is no room");
        own.unblock();
        own.forget(Kind::NewChallenge, &hash(1));
        let all: Vec<Bytes> = core::iter::from_fn(|| own.pop(Kind::NewChallenge)).collect();
        assert_eq!(all, [&[0][..], &[2]]);
        assert_eq!((own.kinds(), own.audit()), (vec![Kind::BlockAccepted], Ok(())));
    }

    #[test]
    fn it_has_room_for_so_many_and_so_many_bytes() {
        let mut own = OwnGossip::default();
        for n in 0..OWN_GOSSIP_MAX {
            assert!(own.has_room(1));
            own.push(Kind::NewChallenge, hash(n), Bytes::from_static(b"x"));
        }
        assert!(!own.has_room(0));
        let mut own = OwnGossip::default();
        for n in 0..16 {
            assert!(own.has_room(1 << 20));
            own.push(Kind::ProofSubmission, hash(n), Bytes::from(vec![0; 1 << 20]));
        }
        assert!(own.has_room(0) && !own.has_room(1));
        assert_eq!(own.audit(), Ok(()));
    }
}
