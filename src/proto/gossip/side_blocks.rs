//! Blocks that were pushed to us and do not move the tip: a few near it are kept, for one of them may be the next best chain.
//!
//! Whoever has a heavier branch tells its headers, and its blocks are asked for whatever stands here. So nothing is lost by letting
//! go of the rest, and a stranger cannot have us judge, keep and pass on blocks that cost him next to nothing far below the tip.

use std::collections::BTreeMap;

/// How far below the tip a pushed block may stand: deeper than races between honest miners go.
const DEPTH: u64 = 8;
/// How many pushed blocks of one height are kept beside the best chain: more than honest miners find in one moment.
const PER_HEIGHT: u32 = 8;

/// How many were kept of late, by height.
#[derive(Debug, Default)]
pub(crate) struct SideBlocks(BTreeMap<u64, u32>);

impl SideBlocks {
    /// Could one of this height be kept, while the best chain has that one?
    pub(crate) fn has_room(&self, height: u64, best: u64) -> bool {
        height > best.saturating_sub(DEPTH) && self.0.get(&height).is_none_or(|count| *count < PER_HEIGHT)
    }

    /// May one of this height be kept, while the best chain has that one? It counts then.
    pub(crate) fn take(&mut self, height: u64, best: u64) -> bool {
        let lowest = best.saturating_sub(DEPTH);
        while let Some((old, _)) = self.0.first_key_value().filter(|(old, _)| **old <= lowest) {
            let old = *old;
            self.0.remove(&old);
        }
        if height <= lowest {
            return false;
        }
        let count = self.0.entry(height).or_default();
        let may = *count < PER_HEIGHT;
        *count = count.saturating_add(u32::from(may));
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_of_each_height_near_the_tip_are_kept_and_none_below() {
        let mut kept = SideBlocks::default();
        let count = (0..100).filter(|_| kept.has_room(100, 100) && kept.take(100, 100)).count();
        assert_eq!(count, PER_HEIGHT as usize);
        assert!(!kept.has_room(100, 100) && !kept.has_room(92, 100) && kept.has_room(93, 100));
        assert!(kept.take(93, 100) && !kept.take(92, 100) && !kept.take(1, 100));
        assert!(!kept.take(100, 107) && kept.0.len() == 1, "what stands too deep by now is forgotten");
        assert!(!kept.take(100, 108) && kept.0.is_empty());
        // A chain that has just begun has nothing below.
        assert!(SideBlocks::default().take(1, 1));
    }
}
