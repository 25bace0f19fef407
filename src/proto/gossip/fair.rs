//! What waits for one peer, shared by those who brought it: a source that has little waiting is served soon, however much
//! others have.
//!
//! Our own goes first, but leaves one of four places to the others. The others are served in [`Turns`], and every second time those
//! among them who have only a few waiting: ninety who flood at once leave to one who pays now and then a ninetieth by turns, and
//! by this what he needs. When the queue is full, the newest of the largest source gives way: what is oldest is next, and who
//! floods loses what he added last.
//!
//! All that waits lies in one table, and in one index of it, and both are given up when nothing waits. What waits for a peer is gone in
//! seconds, what comes with it stays in the pool for days: in pieces of a few hundred bytes each, the two would lie among each other, and
//! after a flood three quarters of its memory could not be given back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use slab::Slab;

use crate::invariant::{Broken, Invariant};
use crate::shares::{Shares, Turns};
use crate::source::Source;
use crate::wire::Hash;

/// Of so many in a row that leave while others wait, one is not our own.
const ROUND: u8 = 4;
/// Whoever's subnet has no more than this waiting has little.
const FEW: u64 = 3;

/// An empty queue keeps room for so many: one that comes and goes costs no allocation.
const KEPT_EMPTY: usize = 16;

/// A queue of named things. Every call is O(log n), but for [`next_of`](Self::next_of).
#[derive(Clone, Debug)]
pub struct FairQueue<T> {
    most: usize,
    /// Where each stands. Nobody goes through it, so its order does not matter.
    names: HashMap<Hash, usize>,
    waiting: Slab<Waiting<T>>,
    lines: BTreeMap<Source, Line>,
    shares: Shares,
    turns: Turns,
    /// The turns of those who have little waiting.
    few: Turns,
    /// The next turn but for our own is one of these.
    serves_few: bool,
    /// How many of our own left since one of somebody else's did.
    own_in_a_row: u8,
    /// From whom nothing is taken, as long as nothing changes.
    refused: BTreeSet<Source>,
}

/// One that waits, between two others of its source.
#[derive(Clone, Debug)]
struct Waiting<T> {
    source: Source,
    name: Hash,
    value: T,
    older: Option<usize>,
    newer: Option<usize>,
}

/// What waits of one source: the ends of its line, and how many there are.
#[derive(Clone, Copy, Debug)]
struct Line {
    oldest: usize,
    newest: usize,
    len: u64,
}

impl<T> FairQueue<T> {
    /// An empty queue with room for so many, one at least.
    pub fn new(most: usize) -> Self {
        FairQueue {
            most: most.max(1),
            names: HashMap::new(),
            waiting: Slab::new(),
            lines: BTreeMap::new(),
            shares: Shares::default(),
            turns: Turns::default(),
            few: Turns::default(),
            serves_few: true,
            own_in_a_row: 0,
            refused: BTreeSet::new(),
        }
    }

    /// Would nothing that this source brings be taken now? The way of a flood: it must cost little for each peer. Nobody gives way
    /// to one who would have as much then: two floods would drive out each other's newest without end.
    pub fn refuses(&mut self, source: Source) -> bool {
        if self.names.len() < self.most {
            return false;
        }
        self.refused.contains(&source) || (self.shares.would_be_largest(source, 1) && self.refused.insert(source))
    }

    /// Puts one at the end of its source's line; one that waits already stays where it is. The one that had to give way, if the
    /// queue was full: it may be the new one.
    pub fn push(&mut self, source: Source, name: Hash, value: T) -> Option<(Hash, T)> {
        if self.names.contains_key(&name) {
            return None;
        }
        if self.refuses(source) {
            return Some((name, value));
        }
        self.refused.clear();
        self.append(source, name, value);
        self.shares.add(source, 1);
        self.turns.enter(source);
        self.note_few(source);
        if self.names.len() <= self.most {
            return None;
        }
        self.give_way()
    }

    /// The newest of the largest source leaves, and is lost.
    pub fn give_way(&mut self) -> Option<(Hash, T)> {
        let largest = self.shares.largest().unwrap_or(Source::Own);
        let newest = self.waiting.get(self.lines.get(&largest)?.newest)?.name;
        self.remove(&newest).map(|value| (newest, value))
    }

    /// Takes one out, wherever it is.
    pub fn remove(&mut self, name: &Hash) -> Option<T> {
        let (source, value) = self.take_out(name)?;
        self.refused.clear();
        self.shares.take(source, 1);
        if !self.lines.contains_key(&source) {
            self.turns.leave(source);
        }
        self.note_few(source);
        Some(value)
    }

    /// What a source has waiting has changed: it has little now, or no longer. Others of its subnet are looked at with what they
    /// do next.
    fn note_few(&mut self, source: Source) {
        if self.lines.contains_key(&source) && self.shares.of_subnet(source) <= FEW {
            self.few.enter(source);
        } else {
            self.few.leave(source);
        }
    }

    /// What is next: of which source, and its name.
    pub fn next(&self) -> Option<(Source, Hash)> {
        let own = self.lines.contains_key(&Source::Own).then_some(Source::Own);
        let few = if self.serves_few { self.few.first() } else { None };
        let other = few.or_else(|| self.turns.first());
        let source = if self.own_in_a_row + 1 < ROUND { own.or(other) } else { other.or(own) }?;
        Some((source, self.oldest(source)?))
    }

    /// The same, of a class those first that come first by `last`, where that is the same those with less waiting, and then by
    /// turns. Looks at every source that has something waiting.
    pub fn next_of<K: Ord>(&self, last: impl Fn(Source) -> K) -> Option<(Source, Hash)> {
        let source = self.lines.keys().copied().min_by_key(|source| {
            let [class, subnet, at] = self.turns.turn_of(*source);
            (class, last(*source), self.shares.of_subnet(*source), subnet, at)
        })?;
        Some((source, self.oldest(source)?))
    }

    /// The one that is [next](Self::next), or any other, leaves because it is its source's turn.
    pub fn serve(&mut self, name: &Hash) -> Option<T> {
        let source = self.source_of(name)?;
        let in_a_row = self.own_in_a_row.saturating_add(1).min(ROUND);
        self.own_in_a_row = if source == Source::Own { in_a_row } else { 0 };
        self.turns.served(source);
        if source != Source::Own {
            if self.serves_few {
                self.few.served(source);
            }
            self.serves_few = !self.serves_few;
        }
        self.remove(name)
    }

    /// Does it wait here?
    pub fn contains(&self, name: &Hash) -> bool {
        self.names.contains_key(name)
    }

    /// Does something of this source wait here?
    pub fn has_of(&self, source: Source) -> bool {
        self.lines.contains_key(&source)
    }

    /// Who brought what waits under this name.
    pub fn source_of(&self, name: &Hash) -> Option<Source> {
        Some(self.waiting.get(*self.names.get(name)?)?.source)
    }

    /// All that waits, the oldest of each source first.
    pub fn values(&self) -> impl Iterator<Item = &T> {
        self.lines.values().flat_map(|line| self.line(*line)).map(|waiting| &waiting.value)
    }

    fn line(&self, line: Line) -> impl Iterator<Item = &Waiting<T>> {
        let one = |at: usize| self.waiting.get(at);
        core::iter::successors(one(line.oldest), move |waiting| one(waiting.newer?))
    }

    fn append(&mut self, source: Source, name: Hash, value: T) {
        let older = self.lines.get(&source).map(|line| line.newest);
        let at = self.waiting.insert(Waiting { source, name, value, older, newer: None });
        self.names.insert(name, at);
        let line = self.lines.entry(source).or_insert(Line { oldest: at, newest: at, len: 0 });
        line.newest = at;
        line.len = line.len.saturating_add(1);
        if let Some(older) = older.and_then(|older| self.waiting.get_mut(older)) {
            older.newer = Some(at);
        }
    }

    fn take_out(&mut self, name: &Hash) -> Option<(Source, T)> {
        let at = self.names.remove(name)?;
        let Waiting { source, value, older, newer, .. } = self.waiting.try_remove(at)?;
        if let Some(older) = older.and_then(|older| self.waiting.get_mut(older)) {
            older.newer = newer;
        }
        if let Some(newer) = newer.and_then(|newer| self.waiting.get_mut(newer)) {
            newer.older = older;
        }
        if let Some(line) = self.lines.get_mut(&source) {
            line.len = line.len.saturating_sub(1);
            match (older, newer) {
                (None, None) => {
                    self.lines.remove(&source);
                }
                (None, Some(newer)) => line.oldest = newer,
                (Some(older), None) => line.newest = older,
                (Some(_), Some(_)) => {}
            }
        }
        if self.names.is_empty() && self.waiting.capacity() > KEPT_EMPTY {
            (self.names, self.waiting) = (HashMap::new(), Slab::new());
        }
        Some((source, value))
    }

    /// Sources of which something waits.
    pub fn sources(&self) -> impl Iterator<Item = Source> {
        self.lines.keys().copied()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True when nothing waits.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Is it within its limit, and do its tables agree?
    ///
    /// # Errors
    ///
    /// The rule that is broken, and what was found.
    pub fn audit(&self) -> Result<(), Broken> {
        let (names, most) = (self.names.len(), self.most);
        let (waiting, lines) = (self.waiting.len(), self.lines.values().map(|line| line.len).sum::<u64>());
        Invariant::S5.check(names == waiting && lines == names as u64 && names <= most, || {
            format!("{names} names for {waiting} that wait, {lines} of them in lines, of {most}")
        })?;
        for (source, line) in &self.lines {
            let (has, counted) = (line.len, self.shares.of(*source));
            Invariant::S6
                .check(has == counted && has > 0, || format!("{source:?} has {has} waiting, {counted} counted"))?;
            let ends = [line.oldest, line.newest].map(|end| self.waiting.get(end).map(|waiting| waiting.source));
            Invariant::S6.check(ends == [Some(*source); 2], || format!("the line of {source:?} ends at {ends:?}"))?;
        }
        let served: Vec<Source> = [&self.turns, &self.few].into_iter().filter_map(Turns::first).collect();
        Invariant::S6.check(served.iter().all(|source| self.lines.contains_key(source)), || {
            format!("it is the turn of {served:?}, of which one has nothing waiting")
        })
    }

    fn oldest(&self, source: Source) -> Option<Hash> {
        Some(self.waiting.get(self.lines.get(&source)?.oldest)?.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(n: u32) -> Hash {
        let mut hash = Hash::ZERO;
        hash.0[..4].copy_from_slice(&n.to_be_bytes());
        hash
    }

    fn stranger(n: u8) -> Source {
        Source::peer(format!("10.0.{n}.1").parse().unwrap(), false)
    }

    /// A list that is looked through from end to end.
    #[derive(Default)]
    struct Naive {
        waiting: Vec<(Source, Hash)>,
    }

    impl Naive {
        fn count(&self, source: Source) -> usize {
            self.waiting.iter().filter(|(of, _)| *of == source).count()
        }
    }

    proptest! {
        #[test]
        fn it_holds_and_gives_what_plain_lists_do(
            moves in prop::collection::vec((0u8..5, 0u32..400, 0u8..5), 1..300)
        ) {
            const MOST: usize = 20;
            let (mut queue, mut naive) = (FairQueue::new(MOST), Naive::default());
            for (n, item, what) in moves {
                let source = if n == 0 { Source::Own } else { stranger(n) };
                match what {
                    0..3 => {
                        let dropped = queue.push(source, name(item), item);
                        if !naive.waiting.iter().any(|(_, known)| *known == name(item)) {
                            naive.waiting.push((source, name(item)));
                        }
                        prop_assert_eq!(dropped.is_some(), naive.waiting.len() > MOST);
                        if let Some((dropped, _)) = dropped {
                            let at = naive.waiting.iter().position(|(_, of)| *of == dropped).unwrap();
                            let (of, _) = naive.waiting[at];
                            let largest = (1..5).map(|n| naive.count(stranger(n))).max().unwrap();
                            prop_assert!(largest == 0 || naive.count(of) == largest && of != Source::Own);
                            prop_assert!(!naive.waiting[at + 1..].iter().any(|(later, _)| *later == of), "the newest");
                            naive.waiting.remove(at);
                        }
                    }
                    3 => {
                        let was = naive.waiting.iter().position(|(_, known)| *known == name(item));
                        prop_assert_eq!(queue.remove(&name(item)).is_some(), was.is_some());
                        was.map(|at| naive.waiting.remove(at));
                    }
                    _ => {
                        let next = queue.next();
                        prop_assert_eq!(next.is_some(), !naive.waiting.is_empty());
                        let Some((of, id)) = next else { continue };
                        let first = naive.waiting.iter().find(|(known, _)| *known == of).unwrap().1;
                        prop_assert_eq!(id, first, "a source's own are in order");
                        prop_assert!(queue.serve(&id).is_some());
                        naive.waiting.retain(|(_, known)| *known != id);
                    }
                }
                prop_assert_eq!(queue.len(), naive.waiting.len());
                prop_assert_eq!(queue.audit(), Ok(()));
                prop_assert!(naive.waiting.iter().all(|(_, id)| queue.contains(id)));
            }
        }

        /// Whatever others push, who waits is served after at most one of each of them, and our own.
        #[test]
        fn nobody_waits_for_more_than_one_of_each_other_source(floods in prop::collection::vec(1u8..9, 1..40), at in 0usize..8) {
            let mut queue = FairQueue::new(10_000);
            for (n, from) in floods.iter().enumerate() {
                for k in 0..50 {
                    queue.push(stranger(*from), name(n as u32 * 50 + k), ());
                }
            }
            for _ in 0..at {
                let _ = queue.next().and_then(|(_, id)| queue.serve(&id));
            }
            let honest = stranger(200);
            queue.push(honest, name(1 << 20), ());
            let others = queue.sources().count() - 1;
            let before = core::iter::from_fn(|| {
                let (source, id) = queue.next()?;
                queue.serve(&id);
                Some(source)
            });
            let waited = before.take_while(|source| *source != honest).count();
            prop_assert!(waited <= others, "{} before it, of {}", waited, others);
        }
    }

    /// Ninety floods of a thousand each: one who brought something once in a second waited for ninety others each time, and most
    /// of what he brought did not arrive within the minute.
    #[test]
    fn who_brings_a_little_now_and_then_does_not_wait_for_a_turn_of_each_flood() {
        let mut queue = FairQueue::new(5_000);
        let honest = stranger(200);
        for n in 0..90_000u32 {
            queue.push(stranger((n % 90) as u8), name(n), ());
        }
        let mut served = 0;
        for second in 0..60 {
            queue.push(honest, name(100_000 + second), ());
            for place in 0..15 {
                let (source, id) = queue.next().unwrap();
                queue.serve(&id);
                served += u32::from(source == honest);
                assert!(source != honest || place < 2, "within two of fifteen places");
            }
        }
        assert_eq!((served, queue.audit()), (60, Ok(())));
        // Those who flood share the rest evenly, as before.
        let left = (0..90).map(|n| queue.shares.of(stranger(n)));
        assert!(left.clone().max().unwrap() - left.min().unwrap() <= 2);
    }

    #[test]
    fn a_subnet_has_little_waiting_only_if_all_its_addresses_together_have() {
        let mut queue = FairQueue::new(1000);
        let near = |n: u32| Source::peer(format!("10.9.0.{n}").parse().unwrap(), false);
        (0..100).for_each(|n| assert_eq!(queue.push(near(1 + n % 50), name(n), ()), None));
        (0..2).for_each(|n| assert_eq!(queue.push(stranger(1), name(1000 + n), ()), None));
        let order: Vec<bool> = core::iter::from_fn(|| {
            let (source, id) = queue.next()?;
            queue.serve(&id);
            Some(source == stranger(1))
        })
        .collect();
        assert!(order[..4].iter().filter(|alone| **alone).count() == 2 && order.len() == 102);
    }

    /// A full queue of floods that have nearly as much each gave way to itself with each that came.
    #[test]
    fn floods_that_have_as_much_as_each_other_do_not_drive_each_other_out() {
        let mut queue = FairQueue::new(100);
        let fill = |queue: &mut FairQueue<u32>, from: u32| {
            let pushed =
                (from..from + 700).map(|n| queue.push(stranger((n % 7) as u8), name(n), n).map(|(name, _)| name));
            pushed.zip(from..).filter(|(dropped, n)| dropped.is_some_and(|dropped| dropped != name(*n))).count()
        };
        assert_eq!(fill(&mut queue, 0), 0, "nothing that waits gives way");
        assert_eq!(fill(&mut queue, 1000), 0);
        assert_eq!(queue.audit(), Ok(()));
    }

    #[test]
    fn our_own_goes_first_and_leaves_one_of_four_places_to_others() {
        let mut queue = FairQueue::new(1000);
        for n in 0..100 {
            queue.push(stranger(1), name(n), ());
            queue.push(Source::Own, name(1000 + n), ());
        }
        let order: Vec<bool> = core::iter::from_fn(|| {
            let (source, id) = queue.next()?;
            queue.serve(&id);
            Some(source == Source::Own)
        })
        .collect();
        assert_eq!(order[..8], [true, true, true, false, true, true, true, false]);
        assert_eq!(order.len(), 200);
    }

    #[test]
    fn a_full_queue_takes_what_a_small_source_brings_from_the_newest_of_the_largest() {
        let mut queue = FairQueue::new(100);
        (0..100).for_each(|n| assert_eq!(queue.push(stranger(1), name(n), n), None));
        assert_eq!(queue.push(stranger(1), name(100), 100), Some((name(100), 100)), "its own newest");
        assert_eq!(queue.push(stranger(2), name(200), 200), Some((name(99), 99)));
        assert_eq!(queue.push(Source::Own, name(300), 300), Some((name(98), 98)));
        assert_eq!(queue.push(stranger(2), name(200), 200), None, "it waits already");
        assert_eq!((queue.len(), queue.audit()), (100, Ok(())));
    }
}
