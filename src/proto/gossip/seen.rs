//! The memory of objects that were validated lately, so that each is judged and relayed once.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::id::ConnId;
use crate::invariant::{Broken, Invariant};
use crate::time::Instant;
use crate::wire::Hash;

/// Objects remembered at most: at 100 bytes each about 10 MiB, and five minutes of 300 objects per second.
pub const SEEN_CAPACITY: usize = 100_000;
/// How long an object is remembered: far longer than gossip needs to die down.
pub const SEEN_LIFETIME: Duration = Duration::from_secs(300);
/// One source may hold one in so many places, so that it cannot push out what the others brought.
pub const SEEN_SHARE: usize = 10;
/// Entries that an audit looks at, at each end and between.
const AUDITED: usize = 1024;
/// How far the part between moves with each name: a prime, so that it comes everywhere.
const AUDIT_STRIDE: u64 = 7919;

/// Names of objects, each with the time it came and who brought it. Every call is O(log n) for each entry it adds or drops.
#[derive(Clone, Debug)]
pub struct Seen {
    capacity: usize,
    lifetime: Duration,
    /// Name to serial number; the serial numbers follow time.
    names: BTreeMap<Hash, u64>,
    entries: BTreeMap<u64, Entry>,
    /// The serial numbers of each source; `None` is ourselves.
    sources: BTreeMap<Option<ConnId>, BTreeSet<u64>>,
    next: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    name: Hash,
    source: Option<ConnId>,
    expires: Instant,
}

impl Default for Seen {
    fn default() -> Self {
        Seen::new(SEEN_CAPACITY, SEEN_LIFETIME)
    }
}

impl Seen {
    /// An empty memory of at most `capacity` (at least 1) objects for `lifetime` each.
    pub fn new(capacity: usize, lifetime: Duration) -> Self {
        Seen {
            capacity: capacity.max(1),
            lifetime,
            names: BTreeMap::new(),
            entries: BTreeMap::new(),
            sources: BTreeMap::new(),
            next: 0,
        }
    }

    /// Notes an object that proved valid. False when it was noted already; its time stays as it was then.
    ///
    /// When `source` has its share, its own oldest object makes room; when the memory is full, the oldest of the source
    /// that holds most.
    pub fn mark(&mut self, now: Instant, name: Hash, source: Option<ConnId>) -> bool {
        self.expire(now);
        if self.names.contains_key(&name) {
            return false;
        }
        let share = (self.capacity / SEEN_SHARE).max(1);
        if source.is_some() && self.count(source) >= share {
            self.drop_oldest_of(source);
        }
        if self.names.len() >= self.capacity {
            // Among equals the last one in order: ourselves come first and are spared.
            let heaviest = self.sources.iter().max_by_key(|(_, serials)| serials.len()).map(|(source, _)| *source);
            if let Some(heaviest) = heaviest {
                self.drop_oldest_of(heaviest);
            }
        }
        let serial = self.next;
        self.next = self.next.wrapping_add(1);
        self.names.insert(name, serial);
        self.entries.insert(serial, Entry { name, source, expires: now + self.lifetime });
        self.sources.entry(source).or_default().insert(serial);
        true
    }

    /// True when the object was noted and is still remembered.
    pub fn contains(&self, now: Instant, name: &Hash) -> bool {
        let entry = self.names.get(name).and_then(|serial| self.entries.get(serial));
        entry.is_some_and(|entry| entry.expires > now)
    }

    /// When the object was noted, while it is held.
    pub fn noted_at(&self, name: &Hash) -> Option<Instant> {
        let entry = self.names.get(name).and_then(|serial| self.entries.get(serial))?;
        Some(entry.expires - self.lifetime)
    }

    /// Is the object held, be its time over or not?
    pub(crate) fn holds(&self, name: &Hash) -> bool {
        self.names.contains_key(name)
    }

    /// Objects held.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// True when nothing is held.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Do the names, the entries and the shares agree?
    ///
    /// # Errors
    ///
    /// The rule that is broken, and what was found.
    pub fn audit(&self) -> Result<(), Broken> {
        let (names, entries, most) = (self.names.len(), self.entries.len(), self.capacity);
        let held: usize = self.sources.values().map(BTreeSet::len).sum();
        Invariant::S19.check(names == entries && entries == held && names <= most, || {
            format!("{names} names, {entries} entries, {held} by source, of {most}")
        })?;
        let share = (self.capacity / SEEN_SHARE).max(1);
        for (source, held) in &self.sources {
            let within = source.is_none() || held.len() <= share;
            Invariant::S19.check(within, || format!("{source:?} has {} of its share of {share}", held.len()))?;
        }
        let known = |(serial, entry): (&u64, &Entry)| {
            self.names.get(&entry.name) == Some(serial)
                && self.sources.get(&entry.source).is_some_and(|held| held.contains(serial))
        };
        // All of 100,000 in each node and second made a campaign of a hundred nodes among chatterers take hours. So the ends are looked
        // at, and a part between that moves with each name, so that in the end every entry is.
        let (first, last) = (self.entries.keys().next(), self.entries.keys().next_back());
        let (first, last) = (first.copied().unwrap_or(0), last.copied().unwrap_or(0));
        let middle = first.saturating_add(self.next.wrapping_mul(AUDIT_STRIDE) % last.saturating_sub(first).max(1));
        let ends = self.entries.iter().take(AUDITED).chain(self.entries.iter().rev().take(AUDITED));
        let mut looked = ends.chain(self.entries.range(middle..).take(AUDITED));
        Invariant::S19.check(looked.all(known), || "an entry is not found by its name".to_owned())
    }

    fn count(&self, source: Option<ConnId>) -> usize {
        self.sources.get(&source).map_or(0, BTreeSet::len)
    }

    /// Forgets what was noted for longer than it is remembered.
    pub fn expire(&mut self, now: Instant) {
        while let Some((&serial, entry)) = self.entries.first_key_value()
            && entry.expires <= now
        {
            self.remove(serial);
        }
    }

    fn drop_oldest_of(&mut self, source: Option<ConnId>) {
        if let Some(serial) = self.sources.get(&source).and_then(|serials| serials.first().copied()) {
            self.remove(serial);
        }
    }

    fn remove(&mut self, serial: u64) {
        let Some(entry) = self.entries.remove(&serial) else { return };
        self.names.remove(&entry.name);
        if let Some(serials) = self.sources.get_mut(&entry.source) {
            serials.remove(&serial);
            if serials.is_empty() {
                self.sources.remove(&entry.source);
            }
        }
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

    fn peer(n: u32) -> Option<ConnId> {
        (n > 0).then(|| ConnId::new(n, 0))
    }

    /// The same rules over one list, oldest first.
    #[derive(Default)]
    struct Naive {
        list: Vec<(Hash, Option<ConnId>, Instant)>,
    }

    impl Naive {
        fn count(&self, source: Option<ConnId>) -> usize {
            self.list.iter().filter(|e| e.1 == source).count()
        }

        fn drop_oldest_of(&mut self, source: Option<ConnId>) {
            let at = self.list.iter().position(|e| e.1 == source).unwrap();
            self.list.remove(at);
        }

        fn insert(&mut self, capacity: usize, now: Instant, name: Hash, source: Option<ConnId>) -> bool {
            self.list.retain(|e| e.2 > now);
            if self.list.iter().any(|e| e.0 == name) {
                return false;
            }
            if source.is_some() && self.count(source) >= capacity / 10 {
                self.drop_oldest_of(source);
            }
            if self.list.len() >= capacity {
                let most = self.list.iter().map(|e| self.count(e.1)).max().unwrap();
                let heaviest = self.list.iter().map(|e| e.1).filter(|s| self.count(*s) == most).max().unwrap();
                self.drop_oldest_of(heaviest);
            }
            self.list.push((name, source, now + Duration::from_secs(10)));
            true
        }
    }

    proptest! {
        #[test]
        fn it_remembers_what_a_plain_list_remembers(
            moves in prop::collection::vec((0u32..60, 0u32..8, 0u64..1500), 1..400)
        ) {
            let (mut seen, mut naive) = (Seen::new(20, Duration::from_secs(10)), Naive::default());
            let mut at = 0;
            for (object, source, step) in moves {
                at += step;
                let now = Instant::from_millis(at);
                let fresh = naive.insert(20, now, name(object), peer(source));
                prop_assert_eq!(seen.mark(now, name(object), peer(source)), fresh);
                prop_assert_eq!(seen.len(), naive.list.len());
                for n in 0..60 {
                    let known = naive.list.iter().any(|e| e.0 == name(n) && e.2 > now);
                    prop_assert_eq!(seen.contains(now, &name(n)), known);
                }
                prop_assert!(seen.len() <= 20 && seen.entries.len() == seen.len());
                prop_assert_eq!(seen.sources.values().map(BTreeSet::len).sum::<usize>(), seen.len());
            }
        }
    }

    #[test]
    fn a_million_objects_of_one_peer_do_not_push_out_another_ones() {
        let mut seen = Seen::default();
        let victim = name(u32::MAX);
        assert!(seen.mark(Instant::ZERO, victim, peer(1)));
        for n in 0..1_000_000 {
            assert!(seen.mark(Instant::ZERO, name(n), peer(2)));
        }
        assert!(seen.contains(Instant::ZERO, &victim));
        assert_eq!(seen.len(), SEEN_CAPACITY / SEEN_SHARE + 1);
    }

    #[test]
    fn an_object_is_forgotten_after_its_lifetime_and_not_before() {
        let mut seen = Seen::default();
        seen.mark(Instant::ZERO, name(1), None);
        let end = Instant::ZERO + SEEN_LIFETIME;
        assert!(seen.contains(end - Duration::from_nanos(1), &name(1)));
        assert!(!seen.contains(end, &name(1)));
        assert!(seen.mark(end, name(1), None));
        assert_eq!(seen.len(), 1);
    }
}
