//! The frames that one direction of a connection owes: whatever was queued must come, in the order of its priority.

use std::collections::VecDeque;

/// A hash of a frame that is quick and depends on every byte.
pub(super) fn digest(kind: u8, payload: &[u8]) -> u64 {
    // Without the shift, a bit flipped here and one flipped there would give the same hash: attackers flip bits.
    let mix = |hash: u64, word: u64| {
        let hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
        hash ^ hash >> 32
    };
    let mut hash = 0x9e37_79b9_7f4a_7c15u64 ^ u64::from(kind) ^ ((payload.len() as u64) << 8);
    let mut words = payload.chunks_exact(8);
    for word in &mut words {
        let word = word.iter().rev().fold(0u64, |word, byte| word << 8 | u64::from(*byte));
        hash = mix(hash, word);
    }
    for byte in words.remainder() {
        hash = mix(hash, u64::from(*byte));
    }
    hash
}

/// How many frames of each line have come.
type Taken = [usize; 4];

#[derive(Debug)]
pub(super) struct DeliveryChecker {
    /// By priority.
    lines: [VecDeque<u64>; 4],
    /// What may have been taken from the fronts of the lines. Two lines may owe equal frames: a transaction that was passed
    /// on and then handed out with the pool. Which of the two came is only known by what comes next, so every way to
    /// explain what came is kept.
    ways: Vec<Taken>,
    /// The sender's queue dropped frames, so some that are owed never come.
    pub(super) lossy: bool,
}

impl Default for DeliveryChecker {
    fn default() -> Self {
        DeliveryChecker { lines: Default::default(), ways: vec![[0; 4]], lossy: false }
    }
}

impl DeliveryChecker {
    pub(super) fn enter(&mut self, rank: usize, hash: u64) {
        self.lines[rank].push_back(hash);
    }

    /// A frame came: it must be the oldest of its priority that is owed. When it is not, everything stays as it was.
    pub(super) fn pay(&mut self, hash: u64) -> bool {
        let mut ways = Vec::with_capacity(self.ways.len());
        for taken in &self.ways {
            for (rank, line) in self.lines.iter().enumerate() {
                let mut rest = line.iter().skip(taken[rank]);
                let skips = if self.lossy {
                    rest.position(|owed| *owed == hash)
                } else {
                    (rest.next() == Some(&hash)).then_some(0)
                };
                if let Some(skipped) = skips {
                    let mut taken = *taken;
                    taken[rank] += skipped + 1;
                    ways.push(taken);
                }
            }
        }
        if ways.is_empty() {
            return false;
        }
        ways.sort_unstable();
        ways.dedup();
        if self.lossy {
            // Whoever skipped more can explain nothing that the one who skipped less cannot.
            let less = |a: &Taken, b: &Taken| a != b && a.iter().zip(b).all(|(a, b)| a <= b);
            let all = ways.clone();
            ways.retain(|way| !all.iter().any(|other| less(other, way)));
        }
        self.ways = ways;
        self.forget();
        true
    }

    /// Drops what has come in every way to explain it.
    fn forget(&mut self) {
        for (rank, line) in self.lines.iter_mut().enumerate() {
            let come = self.ways.iter().map(|taken| taken[rank]).min().unwrap_or(0);
            line.drain(..come.min(line.len()));
            self.ways.iter_mut().for_each(|taken| taken[rank] -= come);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_must_come_in_the_order_of_their_line() {
        let mut owed = DeliveryChecker::default();
        for (rank, hash) in [(1, 10), (1, 11), (2, 20)] {
            owed.enter(rank, hash);
        }
        assert!(!owed.pay(11), "not before the first of its line");
        assert!(owed.pay(20) && owed.pay(10) && owed.pay(11));
        assert!(!owed.pay(11), "once");
    }

    #[test]
    fn of_two_equal_frames_in_two_lines_either_may_come_first() {
        let mut owed = DeliveryChecker::default();
        for (rank, hash) in [(1, 7), (1, 8), (2, 7), (2, 9)] {
            owed.enter(rank, hash);
        }
        // The second line's came first, as its successor shows.
        assert!(owed.pay(7) && owed.pay(9) && owed.pay(7) && owed.pay(8));
    }

    /// Seed 300043: a burst of payments went out as news, and again with the pool to somebody who asked for it, in another
    /// order. What came first is then only known many frames later, and more than one guess may have to be taken back.
    #[test]
    fn equal_frames_in_two_orders_are_explained_in_every_way_that_is_possible() {
        // The fronts alone do not say whose frames came until the end: 1 2 1 2 3 is all of the first and none of the second,
        // or the other way around.
        let lines = [(1, 1), (1, 2), (1, 1), (1, 4), (2, 1), (2, 2), (2, 1), (2, 3)];
        for came in [[1, 2, 1, 3, 1, 2, 1, 4], [1, 2, 1, 4, 1, 2, 1, 3], [1, 1, 2, 2, 1, 1, 3, 4]] {
            let mut owed = DeliveryChecker::default();
            lines.iter().for_each(|(rank, hash)| owed.enter(*rank, *hash));
            assert!(came.iter().all(|hash| owed.pay(*hash)), "{came:?}");
            assert!(owed.lines.iter().all(VecDeque::is_empty) && owed.ways == [[0; 4]]);
        }
        let mut owed = DeliveryChecker::default();
        lines.iter().for_each(|(rank, hash)| owed.enter(*rank, *hash));
        assert!([1, 1, 2].iter().all(|hash| owed.pay(*hash)) && !owed.pay(3) && owed.pay(2));
    }

    #[test]
    fn a_line_that_lost_frames_may_skip_but_not_go_back() {
        let mut owed = DeliveryChecker { lossy: true, ..DeliveryChecker::default() };
        for hash in [1, 2, 3] {
            owed.enter(0, hash);
        }
        assert!(owed.pay(3) && !owed.pay(1));
    }
}
