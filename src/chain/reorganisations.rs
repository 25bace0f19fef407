//! How often the best chain left blocks behind, and how many: what an operator of payments watches.

/// Moves of the best chain to another branch since the chain was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reorganisations {
    /// How many there were.
    pub count: u64,
    /// Blocks that were on the best chain before and were not after, of all of them.
    pub blocks: u64,
    /// The most that one of them left.
    pub deepest: u64,
}

impl Reorganisations {
    /// The best chain moved, and left so many blocks behind.
    pub(super) fn note(&mut self, left: usize) {
        let left = left as u64;
        if left > 0 {
            self.count = self.count.saturating_add(1);
            self.blocks = self.blocks.saturating_add(left);
            self.deepest = self.deepest.max(left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_move_that_leaves_nothing_is_no_reorganisation() {
        let mut seen = Reorganisations::default();
        for left in [0, 1, 7, 0, 2] {
            seen.note(left);
        }
        assert_eq!(seen, Reorganisations { count: 3, blocks: 10, deepest: 7 });
    }
}
