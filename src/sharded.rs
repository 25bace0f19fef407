//! A hash map that grows a little at a time.
//!
//! One table of millions moves all of them when it grows, and the loop waits for tenths of a second meanwhile. Here the entries lie
//! in many tables, and tables that are used by unequal parts of the keys: the widest part is twice the narrowest, and those between
//! grow by equal factors. So while the whole doubles, each table grows once, and one after the other.

use std::collections::HashMap;
#[cfg(any(test, feature = "chain"))]
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, RandomState};

use crate::wire::Hash;

/// Entries that an empty map may have room for: a table that had more gives the room back when its last entry goes.
const SPARE: usize = 64;

/// Tables of a map.
const SHARDS: usize = 256;
/// 2^(1/256), as a fraction of 2^32: what makes each part of the keys wider than the one before.
const STEP: u128 = 4_306_612_134;
/// Where the part of each table ends, as a fraction of 2^32.
const ENDS: [u32; SHARDS] = ends();

/// The powers of 2 from 2^(1/256) to 2, less 1: a part is as wide as the difference between one and the next.
#[allow(clippy::indexing_slicing, reason = "the compiler computes it")]
const fn ends() -> [u32; SHARDS] {
    let (mut ends, mut at, mut power) = ([0; SHARDS], 0, 1u128 << 32);
    while at < SHARDS {
        power = (power * STEP) >> 32;
        ends[at] = (power - (1 << 32)) as u32;
        at += 1;
    }
    // Whatever rounding has left.
    ends[SHARDS - 1] = u32::MAX;
    ends
}

/// A map by hashes. Which table an entry is in depends on a key that nobody knows, so nobody can fill one on purpose.
/// Its entries come in no order, so whoever goes through them must not let that order be seen.
#[derive(Debug)]
pub(crate) struct Sharded<V, K = RandomState> {
    tables: Box<[HashMap<Hash, V>]>,
    key: K,
}

impl<V> Sharded<V> {
    pub(crate) fn new() -> Self {
        Sharded::keyed(RandomState::new())
    }
}

impl<V> Default for Sharded<V> {
    fn default() -> Self {
        Sharded::new()
    }
}

impl<V, K: BuildHasher> Sharded<V, K> {
    fn keyed(key: K) -> Self {
        Sharded { tables: (0..SHARDS).map(|_| HashMap::new()).collect(), key }
    }

    fn place(&self, hash: &Hash) -> usize {
        // The upper half is as good as the lower, and shorter to compare.
        let key = (self.key.hash_one(hash) >> 32) as u32;
        ENDS.partition_point(|end| *end < key)
    }

    pub(crate) fn get(&self, hash: &Hash) -> Option<&V> {
        self.tables.get(self.place(hash))?.get(hash)
    }

    pub(crate) fn get_mut(&mut self, hash: &Hash) -> Option<&mut V> {
        let place = self.place(hash);
        self.tables.get_mut(place)?.get_mut(hash)
    }

    pub(crate) fn contains(&self, hash: &Hash) -> bool {
        self.get(hash).is_some()
    }

    /// All entries, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Hash, &V)> {
        self.tables.iter().flatten()
    }

    pub(crate) fn insert(&mut self, hash: Hash, value: V) -> Option<V> {
        let place = self.place(&hash);
        self.tables.get_mut(place)?.insert(hash, value)
    }

    pub(crate) fn remove(&mut self, hash: &Hash) -> Option<V> {
        let place = self.place(hash);
        let table = self.tables.get_mut(place)?;
        let removed = table.remove(hash);
        give_back(table);
        removed
    }

    /// Changes the value that is there, or puts one there.
    #[cfg(any(test, feature = "chain"))]
    pub(crate) fn change_or_insert(&mut self, hash: Hash, change: impl FnOnce(&mut V), new: impl FnOnce() -> V) {
        let place = self.place(&hash);
        match self.tables.get_mut(place).map(|table| table.entry(hash)) {
            Some(Entry::Occupied(mut there)) => change(there.get_mut()),
            Some(Entry::Vacant(place)) => {
                place.insert(new());
            }
            None => debug_assert!(false, "every key has a table"),
        }
    }

    /// How many entries there are. Looks at every table.
    pub(crate) fn len(&self) -> usize {
        self.tables.iter().map(HashMap::len).sum()
    }
}

/// Gives the room of a map back that has become empty, if it is worth it: a hash map does not do that by itself.
pub(crate) fn give_back<V>(map: &mut HashMap<Hash, V>) {
    if map.is_empty() && map.capacity() > SPARE {
        *map = HashMap::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::{BuildHasherDefault, DefaultHasher};

    fn name(n: u64) -> Hash {
        let mut hash = Hash::ZERO;
        hash.0[..8].copy_from_slice(&n.to_le_bytes());
        hash
    }

    #[test]
    fn parts_grow_by_equal_factors_and_leave_nothing_out() {
        let mut widths = vec![u64::from(ENDS[0])];
        widths.extend(ENDS.windows(2).map(|two| u64::from(two[1] - two[0])));
        assert!(widths.windows(2).all(|two| two[0] < two[1]));
        let ratio = widths[SHARDS - 1] as f64 / widths[0] as f64;
        assert!((1.98..2.01).contains(&ratio), "{ratio}");
        assert_eq!(widths.iter().sum::<u64>(), u64::from(u32::MAX));
    }

    /// The table of a chain with two million transactions moved all of them with one block, in 134 ms.
    #[test]
    fn no_addition_moves_more_than_a_small_part() {
        // Always the same key, for the same luck.
        let mut map = Sharded::keyed(BuildHasherDefault::<DefaultHasher>::default());
        let mut room: Vec<usize> = map.tables.iter().map(HashMap::capacity).collect();
        for step in 0..80u64 {
            // What one block of an eightieth of all brings.
            let mut moved = 0;
            for n in step * 5_000..(step + 1) * 5_000 {
                map.insert(name(n), ());
            }
            for (had, table) in room.iter_mut().zip(&map.tables) {
                if table.capacity() != *had {
                    *had = table.capacity();
                    moved += table.len();
                }
            }
            // In one table all would be moved at once. Here it is the part by which the whole has grown, and some luck.
            let all = map.len();
            assert!(step < 10 || moved <= 4 * 5_000, "{moved} of {all} are moved");
        }
    }

    #[test]
    fn what_is_empty_again_has_no_room_left() {
        let mut map = Sharded::new();
        (0..100_000).for_each(|n| assert_eq!(map.insert(name(n), n), None));
        (0..100_000).for_each(|n| assert_eq!(map.remove(&name(n)), Some(n)));
        assert!(map.tables.iter().all(|table| table.capacity() <= SPARE), "room for what has gone");
    }

    proptest! {
        #[test]
        fn it_holds_what_a_map_holds(moves in prop::collection::vec((0u64..40, 0u8..4), 1..300)) {
            let (mut map, mut plain) = (Sharded::new(), HashMap::new());
            for (n, what) in moves {
                match what {
                    0 => prop_assert_eq!(map.insert(name(n), n), plain.insert(name(n), n)),
                    1 => prop_assert_eq!(map.remove(&name(n)), plain.remove(&name(n))),
                    2 => {
                        map.change_or_insert(name(n), |there| *there += 1, || 7);
                        plain.entry(name(n)).and_modify(|there| *there += 1).or_insert(7);
                    }
                    _ => prop_assert_eq!(map.get(&name(n)), plain.get(&name(n))),
                }
                prop_assert_eq!(map.len(), plain.len());
            }
        }
    }
}
