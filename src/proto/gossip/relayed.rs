//! What others say and we pass on to one peer: it waits for the pace at which the peer takes it, shared by those who said it.
//!
//! Nobody keeps gossip, so little of it waits, and what finds no room is lost. Whose subnet had nothing passed on for longest goes
//! first, and among equals who has less waiting. Of the places that a peer has at once some stay free, the more the subnet had
//! lately that had least of those who wait: one alone uses a quarter of them, twenty use nearly all, each at least one, and who
//! said nothing for minutes finds one of the rest, or the first that comes anew.

use core::time::Duration;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::FairQueue;
use crate::invariant::{Broken, Invariant};
use crate::proto::budget::MessageRates;
use crate::rate::{Bucket, Rate};
use crate::source::{Place, Source};
use crate::time::Instant;
use crate::wire::{Hash, Kind};

/// Messages of one kind that may wait for one peer: one of each subnet whose use is remembered.
pub const RELAYED_MAX: usize = SUBNETS_MAX;
/// Bytes of all kinds of them: four of the largest. All peers share the payloads.
pub const RELAYED_BYTES_MAX: usize = 4 << 20;
/// What waits here: of which nobody could be asked for what was lost.
const GOSSIP: [Kind; 3] = [Kind::NewChallenge, Kind::ProofSubmission, Kind::BlockAccepted];
/// Subnets whose use of the pace is remembered.
const SUBNETS_MAX: usize = 64;
/// How long one message that was passed on counts for its subnet: longer than a round of twenty subnets takes at the slowest pace.
const LATELY: Duration = Duration::from_secs(120);

/// So many places stay free for each message that a subnet had lately: those of a burst that come first leave some to twenty others.
const LEFT_FREE: u32 = 8;

/// The words of others that wait for one peer.
#[derive(Clone, Debug)]
pub struct RelayedGossip {
    lines: BTreeMap<Kind, Line>,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct Line {
    /// How what a subnet had is counted.
    lately: Rate,
    /// No more places than these stay free: three quarters of those that the peer has at once.
    free_most: u32,
    had: BTreeMap<Place, Had>,
    waiting: FairQueue<Bytes>,
    /// Until then there is no place for any that waits.
    nothing_before: Instant,
}

/// What was passed on of one subnet.
#[derive(Clone, Copy, Debug, Default)]
struct Had {
    last: Instant,
    lately: Bucket,
}

impl Line {
    /// When a subnet was served last; the first of all times if that is not remembered.
    fn last(&self, source: Source) -> Instant {
        self.had.get(&subnet(source)).map_or(Instant::ZERO, |had| had.last)
    }

    /// How many a subnet had lately.
    fn count(&self, now: Instant, source: Source) -> u32 {
        let owed = self.had.get(&subnet(source)).map_or(0, |had| had.lately.owed(now).as_nanos());
        u32::try_from(owed.div_ceil(LATELY.as_nanos())).unwrap_or(u32::MAX)
    }

    fn note(&mut self, now: Instant, source: Source) {
        let place = subnet(source);
        if !self.had.contains_key(&place)
            && self.had.len() >= SUBNETS_MAX
            && let Some(oldest) = self.had.iter().min_by_key(|(_, had)| had.last).map(|(place, _)| *place)
        {
            self.had.remove(&oldest);
        }
        let had = self.had.entry(place).or_default();
        had.last = now;
        // Who has had as much as is counted has no more for having another.
        let _ = had.lately.take(self.lately, now);
    }
}

/// What may be passed on of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NextRelayed {
    /// Nothing waits.
    Nothing,
    /// This one, if words of our own leave it the place.
    Ready(Hash),
    /// There is no place for it until then.
    Later(Instant),
}

impl RelayedGossip {
    /// Nothing waits, for a peer that takes as much as these rates say.
    pub fn new(rates: &MessageRates, exempt: bool) -> Self {
        let lines = GOSSIP.into_iter().filter_map(|kind| {
            let rate = rates.for_sending(kind, exempt)?;
            let line = Line {
                lately: Rate::every(LATELY, rate.burst),
                free_most: rate.burst - rate.burst.div_ceil(4),
                had: BTreeMap::new(),
                waiting: FairQueue::new(RELAYED_MAX),
                nothing_before: Instant::ZERO,
            };
            Some((kind, line))
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

    /// How many of a kind wait.
    pub fn waiting(&self, kind: Kind) -> usize {
        self.lines.get(&kind).map_or(0, |line| line.waiting.len())
    }

    /// One more waits. Which ones gave way to it; it may be among them.
    pub fn push(&mut self, kind: Kind, source: Source, name: Hash, payload: Bytes) -> Vec<Hash> {
        let Some(line) = self.lines.get_mut(&kind) else { return vec![name] };
        if line.waiting.contains(&name) {
            return Vec::new();
        }
        if !line.waiting.has_of(source) {
            // It may be one that had less.
            line.nothing_before = Instant::ZERO;
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

    /// Sources that [`next`](Self::next) looks at: none where it is known that there is no place yet, or nothing waits.
    pub fn looks(&self, now: Instant, kind: Kind) -> usize {
        let line = self.lines.get(&kind).filter(|line| line.nothing_before <= now);
        line.map_or(0, |line| line.waiting.sources().count())
    }

    /// What of a kind is next, for a peer that has so many places for this kind at once from the instant that `places_at` says.
    /// Looks at every source that has something waiting, but not again before one of them can find a place.
    pub fn next(&mut self, now: Instant, kind: Kind, places_at: impl Fn(u32) -> Instant) -> NextRelayed {
        let Some(line) = self.lines.get_mut(&kind).filter(|line| !line.waiting.is_empty()) else {
            return NextRelayed::Nothing;
        };
        if line.nothing_before > now {
            return NextRelayed::Later(line.nothing_before);
        }
        let least = line.waiting.sources().map(|source| line.count(now, source)).min().unwrap_or(0);
        let free = least.saturating_mul(LEFT_FREE).min(line.free_most);
        line.nothing_before = places_at(free.saturating_add(1));
        if line.nothing_before > now {
            return NextRelayed::Later(line.nothing_before);
        }
        let next = line.waiting.next_of(|source| line.last(source));
        next.map_or(NextRelayed::Nothing, |(_, name)| NextRelayed::Ready(name))
    }

    /// One leaves.
    pub fn serve(&mut self, now: Instant, kind: Kind, name: &Hash) -> Option<Bytes> {
        let line = self.lines.get_mut(&kind)?;
        let source = line.waiting.source_of(name)?;
        line.note(now, source);
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
        for line in self.lines.values() {
            let subnets = line.had.len();
            Invariant::S5.check(subnets <= SUBNETS_MAX, || format!("{subnets} subnets are remembered"))?;
            line.waiting.audit()?;
        }
        Ok(())
    }
}

fn subnet(source: Source) -> Place {
    let [_, subnet, _] = source.path();
    subnet
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rate::Pace;
    use std::collections::BTreeSet;

    fn stranger(n: u8) -> Source {
        Source::peer(format!("10.0.{n}.1").parse().unwrap(), false)
    }

    const KIND: Kind = Kind::NewChallenge;

    /// What waits for one peer, and the pace at which it takes that.
    struct Line {
        relayed: RelayedGossip,
        pace: Pace,
    }

    impl Line {
        fn new() -> Line {
            let rates = MessageRates::default();
            let rate = rates.for_sending(KIND, false).unwrap();
            assert_eq!(rate.burst, 45);
            Line { relayed: RelayedGossip::new(&rates, false), pace: Pace::new(rate) }
        }

        fn say(&mut self, source: Source, n: u32) {
            let mut name = Hash::ZERO;
            name.0[..4].copy_from_slice(&n.to_be_bytes());
            assert_eq!(self.relayed.push(KIND, source, name, Bytes::from_static(b"x")), []);
        }

        /// What leaves at this moment.
        fn leave(&mut self, now: Instant) -> Vec<u32> {
            let mut left = Vec::new();
            loop {
                let pace = self.pace;
                match self.relayed.next(now, KIND, |places| pace.ready_for(places)) {
                    NextRelayed::Ready(name) => {
                        assert!(self.pace.take(now) && self.relayed.serve(now, KIND, &name).is_some());
                        left.push(u32::from_be_bytes(name.0[..4].try_into().unwrap()));
                    }
                    NextRelayed::Later(at) => {
                        assert!(at > now);
                        return left;
                    }
                    NextRelayed::Nothing => return left,
                }
            }
        }
    }

    #[test]
    fn one_subnet_uses_a_quarter_of_what_a_peer_takes_at_once_and_the_next_finds_places_in_the_rest() {
        let (mut line, now) = (Line::new(), Instant::from_millis(1_000_000));
        (0..40).for_each(|n| line.say(stranger(1), n));
        assert_eq!(line.leave(now), (0..12).collect::<Vec<u32>>());
        (100..104).for_each(|n| line.say(stranger(2), n));
        assert_eq!(line.leave(now), (100..104).collect::<Vec<u32>>());
        let mut name = Hash::ZERO;
        name.0[..4].copy_from_slice(&12u32.to_be_bytes());
        line.relayed.forget(KIND, &name);
        assert_eq!((line.relayed.kinds(), line.relayed.audit()), (vec![KIND], Ok(())));
        assert_eq!(line.relayed.next(now, Kind::BlockAccepted, |_| now), NextRelayed::Nothing);
        // Alone it has all that the peer takes, at its pace.
        let later = (1..=20u64).map(|n| line.leave(now + Duration::from_millis(1_334 * n + 24_000)).len());
        assert!(later.sum::<usize>() >= 20);
    }

    /// Twenty subnets whose words always wait had a round each before one who came anew had his turn, and all the places that were
    /// there at once: at one in four seconds that took 80 s.
    #[test]
    fn who_had_nothing_lately_goes_before_all_who_had_however_many_these_are() {
        let (mut line, mut n) = (Line::new(), 0);
        for second in 0..600u64 {
            let now = Instant::from_millis(1_000_000 + second * 1_000);
            for junk in 0..20u8 {
                if !line.relayed.lines[&KIND].waiting.has_of(stranger(junk)) {
                    (0..2).for_each(|at| line.say(stranger(junk), n + at));
                    n += 2;
                }
            }
            line.leave(now);
            if second % 100 == 10 {
                // Five at once, each of a subnet that has not spoken before.
                let first = second as u8 / 100 * 5;
                let honest: Vec<u32> = (0..5).map(|at| 1_000_000 + u32::from(first) + at).collect();
                honest.iter().zip(first..).for_each(|(name, from)| line.say(stranger(100 + from), *name));
                let mut heard = line.leave(now);
                for later in 1..8 {
                    heard.extend(line.leave(now + Duration::from_secs(later)));
                }
                assert!(honest.iter().all(|name| heard.contains(name)), "at {second} s came {heard:?}");
            }
            assert_eq!(line.relayed.audit(), Ok(()));
        }
        assert!(n > 300, "the others have the rest: {n}");
    }

    /// Twenty bursts that came one behind the other: the first six took all places, and fourteen others had a turn before any of five
    /// honest ones.
    #[test]
    fn bursts_that_come_one_behind_the_other_leave_places_to_who_comes_after_them() {
        let (mut line, now) = (Line::new(), Instant::from_millis(1_000_000));
        let mut junk = Vec::new();
        // Much of it finds no room.
        let say = |line: &mut Line, from: u8, n: u32| {
            let mut name = Hash::ZERO;
            name.0[..4].copy_from_slice(&n.to_be_bytes());
            line.relayed.push(KIND, stranger(from), name, Bytes::from_static(b"x"))
        };
        for from in 0..20u8 {
            (0..60).for_each(|n| drop(say(&mut line, from, u32::from(from) * 60 + n)));
            junk.extend(line.leave(now));
        }
        let served: BTreeSet<u32> = junk.iter().map(|name| name / 60).collect();
        assert!(served.len() >= 12, "{served:?}");
        (0..5u8).for_each(|n| drop(say(&mut line, 100 + n, 1_000_000 + u32::from(n))));
        let heard: Vec<u32> = (1..9).flat_map(|second| line.leave(now + Duration::from_secs(second))).collect();
        assert_eq!(heard.iter().filter(|name| **name >= 1_000_000).count(), 5, "{heard:?}");
    }

    /// Who once said much was to wait until each of twenty others had had as much: for ten minutes and more.
    #[test]
    fn who_said_much_once_has_his_turn_among_those_who_say_a_little_all_the_time() {
        let (mut line, mut n) = (Line::new(), 1_000);
        (0..12).for_each(|name| line.say(stranger(50), name));
        assert_eq!(line.leave(Instant::from_millis(1_000_000)).len(), 12);
        let (mut waited, mut longest) = (0, 0);
        for second in 1..600u64 {
            let now = Instant::from_millis(1_000_000 + second * 1_000);
            for source in (0..20).map(stranger).chain([stranger(50)]) {
                if !line.relayed.lines[&KIND].waiting.has_of(source) {
                    n += 1;
                    line.say(source, if source == stranger(50) { 1_000_000 + n } else { n });
                }
            }
            let is_served = line.leave(now).iter().any(|name| *name > 1_000_000);
            waited = if is_served { 0 } else { waited + 1 };
            longest = longest.max(waited);
        }
        assert!(
            longest <= 40,
            "a round of twenty-one takes 28 s, and some places become free again meanwhile: {longest}"
        );
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
        assert_eq!(gone.sum::<usize>(), 100 - RELAYED_MAX, "one source has room for no more than there is");
        assert_eq!(relayed.audit(), Ok(()));
        assert!(!relayed.is_paced(Kind::NewBlock) && !relayed.is_paced(Kind::Peers));
    }
}
