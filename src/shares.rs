//! Who holds how much of what is shared, and whose turn it is: by class, by subnet within it, by address within that.
//!
//! Three strangers in one subnet share what one in another subnet has alone, and all strangers together what those have whom we
//! chose. Every call is O(log n) in the number of sources.

use core::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::source::{Place, Source};

/// How much each source holds, in whatever unit its owner counts.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    held: BTreeMap<Place, u64>,
    /// Each place that holds something, under the one that it is part of, the largest first.
    order: BTreeSet<(Place, Reverse<u64>, Place)>,
    /// Subnets that hold something, of those whom we chose and of strangers.
    chosen: usize,
    strangers: usize,
}

/// The steps from everything down to a source: each place with the one that it is part of. Our own part is not ordered: it
/// gives way to nobody.
fn steps(source: Source) -> impl Iterator<Item = (Place, Place)> {
    let [class, subnet, at] = source.path();
    let all = [(Place::All, class), (class, subnet), (subnet, at)];
    all.into_iter().filter(move |_| source != Source::Own)
}

impl Shares {
    /// A source holds so much more.
    pub fn add(&mut self, source: Source, amount: u64) {
        self.change(source, |held| held.saturating_add(amount));
    }

    /// A source holds so much less.
    pub fn take(&mut self, source: Source, amount: u64) {
        debug_assert!(self.of(source) >= amount, "{source:?} gives back more than it holds");
        self.change(source, |held| held.saturating_sub(amount));
    }

    /// What a source holds.
    pub fn of(&self, source: Source) -> u64 {
        self.get(Place::At(source))
    }

    /// What all sources of its class in its subnet hold together.
    pub fn of_subnet(&self, source: Source) -> u64 {
        let [_, subnet, at] = source.path();
        self.get(if source == Source::Own { at } else { subnet })
    }

    /// What a source's subnet may have of `whole` while all others want as much: equal parts for those whom we chose and for the
    /// strangers, if there are both, and of these for each subnet. Nothing is set aside for who holds nothing.
    pub fn fair_part(&self, source: Source, whole: u64) -> u64 {
        let (mine, others) = match source {
            Source::Own => return whole,
            Source::Chosen(_) => (self.chosen, self.strangers),
            Source::Stranger(_) => (self.strangers, self.chosen),
        };
        let mine = mine + usize::from(self.of_subnet(source) == 0);
        let half = if others > 0 { whole / 2 } else { whole };
        half / (mine.max(1) as u64)
    }

    /// Who holds most: of the larger class the largest subnet, of that the largest address. `None` when nobody but ourselves
    /// holds anything.
    pub fn largest(&self) -> Option<Source> {
        let mut place = Place::All;
        loop {
            let (parent, _, child) = self.order.range((place, Reverse(u64::MAX), Place::All)..).next()?;
            if *parent != place {
                return None;
            }
            if let Place::At(source) = child {
                return Some(*source);
            }
            place = *child;
        }
    }

    /// What the subnet holds that has most of those with which this source's would have to share: of its own class, or of the
    /// other one where that holds more.
    pub fn largest_subnet(&self, source: Source) -> u64 {
        let same_class = |other: &Source| other.path().first() == source.path().first();
        match self.largest() {
            Some(largest) if same_class(&largest) => self.of_subnet(largest),
            Some(_) => u64::MAX,
            None => 0,
        }
    }

    /// Would a source that holds so much more be the [largest](Self::largest), or as large?
    pub fn would_be_largest(&self, source: Source, more: u64) -> bool {
        let Some(largest) = self.largest() else { return false };
        let ([class, subnet, _], [most, ..]) = (source.path(), largest.path());
        let beside = self.order.range((subnet, Reverse(u64::MAX), Place::All)..).next();
        let fullest = beside.filter(|(parent, ..)| *parent == subnet).map_or(0, |(_, Reverse(held), _)| *held);
        let grown = |held: u64| held.saturating_add(more);
        class == most && grown(self.of_subnet(source)) >= self.of_subnet(largest) && grown(self.of(source)) >= fullest
    }

    fn get(&self, place: Place) -> u64 {
        self.held.get(&place).copied().unwrap_or(0)
    }

    fn set(&mut self, place: Place, amount: u64) {
        if amount == 0 {
            self.held.remove(&place);
        } else {
            self.held.insert(place, amount);
        }
    }

    fn change(&mut self, source: Source, new: impl Fn(u64) -> u64) {
        if source == Source::Own {
            return self.set(Place::At(source), new(self.of(source)));
        }
        let before = self.of(source);
        let after = new(before);
        for (parent, place) in steps(source) {
            let old = self.get(place);
            let amount = old.saturating_sub(before).saturating_add(after);
            let was = self.order.remove(&(parent, Reverse(old), place));
            debug_assert_eq!(was, old > 0, "{place:?} is ordered as it is counted");
            if amount > 0 {
                self.order.insert((parent, Reverse(amount), place));
            }
            let count = match place {
                Place::ChosenIn(_) => Some(&mut self.chosen),
                Place::StrangersIn(_) => Some(&mut self.strangers),
                _ => None,
            };
            if let Some(count) = count {
                *count = count.saturating_sub(usize::from(old > 0)) + usize::from(amount > 0);
            }
            self.set(place, amount);
        }
    }
}

/// In which order sources that want something are served: one of a class, one of its subnets, one of that one's addresses, and
/// whoever was served comes after all others of his place.
#[derive(Clone, Debug, Default)]
pub struct Turns {
    turns: BTreeMap<Place, u64>,
    order: BTreeSet<(Place, u64, Place)>,
    next: u64,
}

impl Turns {
    /// A source wants something from now on. Its turn comes after those that wait already; one that waits keeps its place.
    pub fn enter(&mut self, source: Source) {
        for (parent, place) in steps(source) {
            if !self.turns.contains_key(&place) {
                self.put(parent, place);
            }
        }
    }

    /// A source wants nothing more.
    pub fn leave(&mut self, source: Source) {
        let mut steps: Vec<(Place, Place)> = steps(source).collect();
        while let Some((parent, place)) = steps.pop() {
            if let Some(turn) = self.turns.remove(&place) {
                self.order.remove(&(parent, turn, place));
            }
            if self.first_of(parent).is_some() {
                return;
            }
        }
    }

    /// Whose turn it is, of those but ourselves.
    pub fn first(&self) -> Option<Source> {
        let mut place = Place::All;
        loop {
            match self.first_of(place)? {
                Place::At(source) => return Some(source),
                inner => place = inner,
            }
        }
    }

    /// When a source's turn comes, to be compared with others'.
    pub fn turn_of(&self, source: Source) -> [u64; 3] {
        source.path().map(|place| self.turns.get(&place).copied().unwrap_or(0))
    }

    /// A source was served.
    pub fn served(&mut self, source: Source) {
        for (parent, place) in steps(source) {
            if let Some(turn) = self.turns.remove(&place) {
                self.order.remove(&(parent, turn, place));
                self.put(parent, place);
            }
        }
    }

    fn first_of(&self, parent: Place) -> Option<Place> {
        let (of, _, place) = self.order.range((parent, 0, Place::All)..).next()?;
        (*of == parent).then_some(*place)
    }

    fn put(&mut self, parent: Place, place: Place) {
        self.order.insert((parent, self.next, place));
        self.turns.insert(place, self.next);
        self.next = self.next.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::Subnet;
    use proptest::prelude::*;

    fn source(n: u8) -> Source {
        let ip = format!("10.0.{}.{}", n % 4, n / 4).parse().unwrap();
        Source::peer(ip, n.is_multiple_of(3))
    }

    fn subnet(source: Source) -> (bool, Option<Subnet>) {
        match source {
            Source::Own => (false, None),
            Source::Chosen(ip) => (true, Some(Subnet::of(ip))),
            Source::Stranger(ip) => (false, Some(Subnet::of(ip))),
        }
    }

    proptest! {
        #[test]
        fn the_largest_is_found_as_by_counting(moves in prop::collection::vec((0u8..24, 0u64..1000, any::<bool>()), 1..200)) {
            let (mut shares, mut held) = (Shares::default(), BTreeMap::new());
            for (n, amount, gives) in moves {
                let who = source(n);
                let has: u64 = held.get(&who).copied().unwrap_or(0);
                if gives {
                    shares.take(who, amount.min(has));
                    held.insert(who, has - amount.min(has));
                } else {
                    shares.add(who, amount);
                    held.insert(who, has + amount);
                }
                held.retain(|_, n| *n > 0);
                let subnets: BTreeSet<_> = held.keys().map(|s| subnet(*s)).collect();
                prop_assert_eq!(shares.chosen + shares.strangers, subnets.len());
                let whole: u64 = subnets.iter().map(|(chosen, _)| {
                    let of = held.keys().find(|s| subnet(**s).0 == *chosen).unwrap();
                    shares.fair_part(*of, 1 << 40)
                }).sum();
                prop_assert!(subnets.is_empty() || (1 << 40) - whole < 100, "the parts make the whole: {}", whole);
                let found = shares.largest();
                prop_assert_eq!(found.is_some(), !held.is_empty());
                if let Some(found) = found {
                    // Of equal subnets either will do.
                    let of = |s: Source| held.iter().filter(|(o, _)| subnet(**o) == subnet(s)).map(|(_, n)| n).sum::<u64>();
                    prop_assert_eq!(shares.of(found), held[&found]);
                    prop_assert_eq!(shares.of_subnet(found), of(found));
                    let class = |s: &Source| subnet(*s).0 == subnet(found).0;
                    prop_assert_eq!(of(found), held.keys().filter(|s| class(s)).map(|s| of(*s)).max().unwrap());
                    let rivals = held.iter().filter(|(s, _)| subnet(**s) == subnet(found));
                    prop_assert_eq!(held[&found], rivals.map(|(_, n)| *n).max().unwrap());
                    let sum = |chosen| held.iter().filter(|(s, _)| subnet(**s).0 == chosen).map(|(_, n)| n).sum::<u64>();
                    prop_assert!(sum(subnet(found).0) >= sum(!subnet(found).0));
                }
            }
        }
    }

    #[test]
    fn our_own_share_gives_way_to_nobody() {
        let mut shares = Shares::default();
        shares.add(Source::Own, 1_000_000);
        assert_eq!((shares.largest(), shares.strangers, shares.of(Source::Own)), (None, 0, 1_000_000));
        shares.add(source(1), 1);
        assert_eq!(shares.largest(), Some(source(1)));
    }

    #[test]
    fn those_we_chose_have_every_second_turn_and_a_subnet_no_more_for_having_many_addresses() {
        let mut turns = Turns::default();
        let stranger = |text: &str| Source::peer(text.parse().unwrap(), false);
        let crowd: Vec<Source> = (1..50).map(|n| stranger(&format!("10.1.1.{n}"))).collect();
        let (alone, chosen) = (stranger("10.2.2.2"), Source::peer("10.3.3.3".parse().unwrap(), true));
        crowd.iter().chain([&alone, &chosen]).for_each(|source| turns.enter(*source));
        let served: Vec<Source> = (0..400)
            .map(|_| {
                let first = turns.first().unwrap();
                turns.served(first);
                first
            })
            .collect();
        let count = |who: Source| served.iter().filter(|served| **served == who).count();
        assert_eq!((count(chosen), count(alone)), (200, 100));
        assert!(crowd.iter().all(|who| (2..=3).contains(&count(*who))));
        crowd.iter().chain([&chosen]).for_each(|source| turns.leave(*source));
        assert_eq!(turns.first(), Some(alone));
        turns.leave(alone);
        assert_eq!((turns.first(), turns.order.len(), turns.turns.len()), (None, 0, 0));
    }
}
