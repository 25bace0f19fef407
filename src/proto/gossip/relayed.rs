//! What others say and we pass on to one peer: it waits for the pace at which the peer takes it, shared by those who said it.
//!
//! Nobody keeps gossip, so little of it waits, and what finds no room is lost. Of what a peer takes at once, one subnet's words
//! may use half: who says much leaves the rest to who comes after.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::FairQueue;
use crate::invariant::{Broken, Invariant};
use crate::proto::budget::MessageRates;
use crate::rate::{BucketTable, Rate};
use crate::source::{Place, Source};
use crate::time::Instant;
use crate::wire::{Hash, Kind};

/// Messages of one kind that may wait for one peer: at a stranger's pace, three minutes of proofs.
pub const RELAYED_MAX: usize = 32;
/// Bytes of all kinds of them: four of the largest. All peers share the payloads.
pub const RELAYED_BYTES_MAX: usize = 4 << 20;
/// What waits here: of which nobody could be asked for what was lost.
const GOSSIP: [Kind; 3] = [Kind::NewChallenge, Kind::ProofSubmission, Kind::BlockAccepted];
/// Subnets whose use of the pace is remembered.
const SUBNETS_MAX: usize = 64;

/// The words of others that wait for one peer.
#[derive(Clone, Debug)]
pub struct RelayedGossip {
    lines: BTreeMap<Kind, Line>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Line {
    /// What one subnet may use of the pace.
    part: Rate,
    used: BucketTable<Place>,
    waiting: FairQueue<Bytes>,
}

/// What may be passed on of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRelayed {
    /// Nothing waits.
    Nothing,
    /// This one, if the peer's pace allows it.
    Ready(Hash),
    /// Those that said what waits have used their part until then.
    Later(Instant),
}

impl RelayedGossip {
    /// Nothing waits, for a peer that takes as much as these rates say.
    pub fn new(rates: &MessageRates, exempt: bool) -> Self {
        let lines = GOSSIP.into_iter().filter_map(|kind| {
            let rate = rates.for_sending(kind, exempt)?;
            let part = Rate { burst: rate.burst.div_ceil(2), ..rate };
            Some((kind, Line { part, used: BucketTable::new(SUBNETS_MAX), waiting: FairQueue::new(RELAYED_MAX) }))
        });
        RelayedGossip { lines: lines.collect(), bytes: 0 }
    }

    /// Does a kind have a pace, so that it waits here? Otherwise it may leave at once.
    pub fn is_paced(&self, kind: Kind) -> bool {
        self.lines.contains_key(&kind)
    }

    /// Kinds of which something waits.
    pub fn kinds(&self) -> Vec<Kind> {
        self.lines.iter().filter(|(_, line)| !line.waiting.is_empty()).map(|(kind, _)| *kind).collect()
    }

    /// One more waits. Which ones gave way to it; it may be among them.
    pub fn push(&mut self, kind: Kind, source: Source, name: Hash, payload: Bytes) -> Vec<Hash> {
        let Some(line) = self.lines.get_mut(&kind) else { return vec![name] };
        if line.waiting.contains(&name) {
            return Vec::new();
        }
        self.bytes = self.bytes.saturating_add(payload.len());
        let mut gone: Vec<(Hash, Bytes)> = line.waiting.push(source, name, payload).into_iter().collect();
        let mut bytes = gone.iter().fold(self.bytes, |bytes, (_, payload)| bytes.saturating_sub(payload.len()));
        while bytes > RELAYED_BYTES_MAX
            && let Some((name, payload)) = line.waiting.give_way()
        {
            bytes = bytes.saturating_sub(payload.len());
            gone.push((name, payload));
        }
        self.bytes = bytes;
        gone.into_iter().map(|(name, _)| name).collect()
    }

    /// What of a kind is next.
    pub fn next(&self, now: Instant, kind: Kind) -> NextRelayed {
        let Some(line) = self.lines.get(&kind).filter(|line| !line.waiting.is_empty()) else {
            return NextRelayed::Nothing;
        };
        let ready_at = |source: Source| line.used.ready_at(subnet(source), line.part);
        if let Some((_, name)) = line.waiting.next_of(|source| ready_at(source) <= now) {
            return NextRelayed::Ready(name);
        }
        NextRelayed::Later(line.waiting.sources().map(ready_at).min().unwrap_or(Instant::NEVER))
    }

    /// One leaves.
    pub fn serve(&mut self, now: Instant, kind: Kind, name: &Hash) -> Option<Bytes> {
        let line = self.lines.get_mut(&kind)?;
        let source = line.waiting.source_of(name)?;
        line.used.take(subnet(source), Some(line.part), now);
        let payload = line.waiting.serve(name)?;
        self.bytes = self.bytes.saturating_sub(payload.len());
        Some(payload)
    }

    /// The peer has this one.
    pub fn forget(&mut self, kind: Kind, name: &Hash) {
        if let Some(payload) = self.lines.get_mut(&kind).and_then(|line| line.waiting.remove(name)) {
            self.bytes = self.bytes.saturating_sub(payload.len());
        }
    }

    /// Is it within its limits, and counted right?
    ///
    /// # Errors
    ///
    /// The rule that is broken, and what was found.
    pub fn audit(&self) -> Result<(), Broken> {
        let payloads = self.lines.values().flat_map(|line| line.waiting.values());
        let bytes: usize = payloads.map(Bytes::len).sum();
        Invariant::S6.check(bytes == self.bytes && bytes <= RELAYED_BYTES_MAX, || {
            format!("{bytes} bytes of gossip wait to be passed on, {} by the counter", self.bytes)
        })?;
        self.lines.values().try_for_each(|line| line.waiting.audit())
    }
}

fn subnet(source: Source) -> Place {
    let [_, subnet, _] = source.path();
    subnet
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stranger(n: u8) -> Source {
        Source::peer(format!("10.0.{n}.1").parse().unwrap(), false)
    }

    #[test]
    fn one_subnet_uses_half_of_what_a_peer_takes_at_once_and_the_next_finds_the_other_half() {
        let mut relayed = RelayedGossip::new(&MessageRates::default(), false);
        let (kind, now) = (Kind::NewChallenge, Instant::from_millis(1_000_000));
        let say = |relayed: &mut RelayedGossip, source, n: u8| {
            assert_eq!(relayed.push(kind, source, Hash([n; 32]), Bytes::from_static(b"x")), []);
        };
        let leave = |relayed: &mut RelayedGossip| {
            let mut left = Vec::new();
            while let NextRelayed::Ready(name) = relayed.next(now, kind) {
                assert!(relayed.serve(now, kind, &name).is_some());
                left.push(name.0[0]);
            }
            left
        };
        (0..20).for_each(|n| say(&mut relayed, stranger(1), n));
        assert_eq!(leave(&mut relayed), (0..8).collect::<Vec<u8>>());
        assert!(matches!(relayed.next(now, kind), NextRelayed::Later(at) if at > now));
        (100..105).for_each(|n| say(&mut relayed, stranger(2), n));
        assert_eq!(leave(&mut relayed), (100..105).collect::<Vec<u8>>());
        relayed.forget(kind, &Hash([8; 32]));
        assert_eq!((relayed.kinds(), relayed.audit()), (vec![kind], Ok(())));
        assert_eq!(relayed.next(now, Kind::BlockAccepted), NextRelayed::Nothing);
    }

    #[test]
    fn little_waits_in_number_and_in_bytes_and_the_largest_source_gives_way() {
        let mut relayed = RelayedGossip::new(&MessageRates::default(), false);
        let kind = Kind::ProofSubmission;
        let large = Bytes::from(vec![0; 1 << 20]);
        let gone: usize = (0..40).map(|n| relayed.push(kind, stranger(1), Hash([n; 32]), large.clone()).len()).sum();
        assert_eq!(gone, 36);
        assert_eq!(relayed.push(kind, stranger(2), Hash([99; 32]), large.clone()), [Hash([3; 32])]);
        assert_eq!(relayed.audit(), Ok(()));
        let gone = (100..200).map(|n| relayed.push(Kind::NewChallenge, stranger(3), Hash([n; 32]), Bytes::new()).len());
        assert_eq!(gone.sum::<usize>(), 100 - RELAYED_MAX);
        assert_eq!(relayed.audit(), Ok(()));
        assert!(!relayed.is_paced(Kind::NewBlock) && !relayed.is_paced(Kind::Peers));
    }
}
