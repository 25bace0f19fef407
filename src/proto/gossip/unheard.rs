//! What we said ourselves and nobody was told, because the peers that it waited for have left: the next peer is told.

use core::time::Duration;
use std::collections::VecDeque;

use bytes::Bytes;

use crate::invariant::{Broken, Invariant};
use crate::proto::gossip::own::{OWN_GOSSIP_BYTES_MAX, OWN_GOSSIP_MAX};
use crate::time::Instant;
use crate::wire::{Hash, Kind};

/// How long it waits for a peer. Gossip is of the moment: later it would be news of yesterday.
const PATIENCE: Duration = Duration::from_secs(600);

/// A message of ours that nobody has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unheard {
    /// A challenge, a proof or an acceptance.
    pub kind: Kind,
    /// Its name.
    pub id: Hash,
    /// Its bytes.
    pub payload: Bytes,
    since: Instant,
}

/// Those that wait, oldest first: as many as may wait for one peer.
#[derive(Clone, Debug, Default)]
pub struct UnheardGossip {
    waiting: VecDeque<Unheard>,
}

impl UnheardGossip {
    /// One waits from now on. False when there is no room for it, and it is lost.
    #[must_use]
    pub fn put(&mut self, now: Instant, kind: Kind, id: Hash, payload: Bytes) -> bool {
        let bytes = self.bytes().saturating_add(payload.len());
        if self.waiting.len() >= OWN_GOSSIP_MAX || bytes > OWN_GOSSIP_BYTES_MAX {
            return false;
        }
        self.waiting.push_back(Unheard { kind, id, payload, since: now });
        true
    }

    /// Takes out those that a peer understands, by their kinds and payloads, oldest first.
    pub fn take(&mut self, understands: impl Fn(Kind, &[u8]) -> bool) -> Vec<Unheard> {
        let all = core::mem::take(&mut self.waiting).into_iter();
        let (told, left): (Vec<Unheard>, Vec<Unheard>) = all.partition(|one| understands(one.kind, &one.payload));
        self.waiting = left.into();
        told
    }

    /// Takes out those that have waited for too long.
    pub fn expire(&mut self, now: Instant) -> Vec<Unheard> {
        let mut over = Vec::new();
        while self.waiting.front().is_some_and(|first| now.since(first.since) >= PATIENCE) {
            let Some(first) = self.waiting.pop_front() else { break };
            over.push(first);
        }
        over
    }

    /// Is it within its limits?
    ///
    /// # Errors
    ///
    /// The rule that is broken, and what was found.
    pub fn audit(&self) -> Result<(), Broken> {
        let (len, bytes) = (self.waiting.len(), self.bytes());
        Invariant::S5.check(len <= OWN_GOSSIP_MAX && bytes <= OWN_GOSSIP_BYTES_MAX, || {
            format!("{len} messages of our own and {bytes} bytes are unheard")
        })
    }

    fn bytes(&self) -> usize {
        self.waiting.iter().map(|one| one.payload.len()).sum()
    }
}
