//! The transaction root: the Merkle tree hash of RFC 6962, section 2.1, over transaction ids.
//!
//! A tree over `n` leaves splits at the largest power of two below `n`; an odd leaf is never paired with itself, so two
//! lists never share a root (the flaw of CVE-2012-2459). Leaves and nodes are hashed under different prefixes.

use sha2::{Digest, Sha256};

use crate::wire::Hash;

const LEAF: [u8; 1] = [0x00];
const NODE: [u8; 1] = [0x01];

/// The root over `ids`; SHA-256 of nothing when there are none, as the RFC says.
///
/// Works in one pass over a stack of perfect subtrees, at most one of each size, like the digits of a binary counter.
pub fn root(ids: &[Hash]) -> Hash {
    let mut subtrees: Vec<(u32, Hash)> = Vec::new();
    for id in ids {
        let mut level = 0;
        let mut hash = leaf(id);
        while let Some(&(below, left)) = subtrees.last() {
            if below != level {
                break;
            }
            subtrees.pop();
            hash = node(&left, &hash);
            level += 1;
        }
        subtrees.push((level, hash));
    }
    // What is left are the powers of two that add up to n, largest first: the RFC's splits, folded from the right.
    let folded = subtrees.into_iter().rev().map(|(_, hash)| hash).reduce(|right, left| node(&left, &right));
    folded.unwrap_or_else(|| Hash(Sha256::digest([]).into()))
}

fn leaf(id: &Hash) -> Hash {
    Hash(Sha256::new().chain_update(LEAF).chain_update(id.0).finalize().into())
}

fn node(left: &Hash, right: &Hash) -> Hash {
    Hash(Sha256::new().chain_update(NODE).chain_update(left.0).chain_update(right.0).finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The RFC's definition, word for word.
    fn naive(ids: &[Hash]) -> Hash {
        match ids {
            [] => Hash(Sha256::digest([]).into()),
            [one] => Hash(Sha256::digest([&[0], &one.0[..]].concat()).into()),
            _ => {
                let mut split = 1;
                while split * 2 < ids.len() {
                    split *= 2;
                }
                let (left, right) = (naive(&ids[..split]), naive(&ids[split..]));
                Hash(Sha256::digest([&[1], &left.0[..], &right.0[..]].concat()).into())
            }
        }
    }

    fn ids(n: u32) -> Vec<Hash> {
        (0..n).map(|i| Hash(Sha256::digest(i.to_le_bytes()).into())).collect()
    }

    #[test]
    fn agrees_with_the_definition_for_every_small_count() {
        for n in 0..130 {
            assert_eq!(root(&ids(n)), naive(&ids(n)), "{n} leaves");
        }
    }

    #[test]
    fn a_repeated_last_leaf_changes_the_root() {
        let mut doubled = ids(3);
        doubled.push(doubled[2]);
        assert_ne!(root(&doubled), root(&ids(3)));
    }
}
