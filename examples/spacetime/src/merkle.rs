//! The tree over transactions and over the leaves of a plot.

use crate::crypto::{Hash, sha256};

/// What an odd node is paired with, together with itself.
const PADDING: &[u8] = b"MERKLE_PADDING";

/// The node of one value.
pub fn leaf(value: &[u8]) -> Hash {
    sha256(&[&[0], value])
}

/// The node above two.
pub fn node(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// The partner of a node that has none.
pub fn padding(lonely: &Hash) -> Hash {
    sha256(&[&[1], PADDING, lonely])
}

/// The node above one or two.
pub fn above(left: &Hash, right: Option<&Hash>) -> Hash {
    match right {
        Some(right) => node(left, right),
        None => node(left, &padding(left)),
    }
}

/// The root over values: zeros over none.
pub fn root<'a>(values: impl Iterator<Item = &'a Hash>) -> Hash {
    let mut level: Vec<Hash> = values.map(|value| leaf(value)).collect();
    while level.len() > 1 {
        level = level.chunks(2).filter_map(|pair| Some(above(pair.first()?, pair.get(1)))).collect();
    }
    level.first().copied().unwrap_or([0; 32])
}

/// Where a path leads that begins with a value; of each sibling, whether it is on the right.
pub fn follow(value: &Hash, path: impl Iterator<Item = (Hash, bool)>) -> Hash {
    path.fold(leaf(value), |at, (sibling, is_right)| if is_right { node(&at, &sibling) } else { node(&sibling, &at) })
}

/// Levels above so many leaves.
pub fn height(leaves: u64) -> u32 {
    leaves.checked_sub(1).map_or(0, |last| u64::BITS.saturating_sub(last.leading_zeros()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_is_that_of_its_halves_and_a_lonely_node_is_padded() {
        let values = [[1; 32], [2; 32], [3; 32]];
        let [a, b, c] = values.map(|value| leaf(&value));
        assert_eq!(root([].iter()), [0; 32]);
        assert_eq!(root(values[..1].iter()), a);
        assert_eq!(root(values[..2].iter()), node(&a, &b));
        assert_eq!(root(values.iter()), node(&node(&a, &b), &node(&c, &padding(&c))));
        assert_eq!(follow(&values[1], [(a, false), (node(&c, &padding(&c)), true)].into_iter()), root(values.iter()));
    }

    #[test]
    fn a_tree_is_as_high_as_its_leaves_need() {
        let heights = [0, 1, 2, 3, 4, 5, 3_276_800].map(height);
        assert_eq!(heights, [0, 0, 1, 2, 2, 3, 22]);
    }
}
