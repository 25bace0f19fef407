//! The frames that were queued in one direction of a connection: they must come, in the order of their priority.

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

/// How many frames of each queue have come.
type Taken = [usize; 4];

#[derive(Debug)]
pub(super) struct DeliveryChecker {
    /// By priority.
    queues: [VecDeque<u64>; 4],
    /// What may have been taken from the fronts of the queues. Two queues may have equal frames: a transaction that was
    /// passed on and then handed out with the pool. Which of the two came is only known by what comes next, so everything
    /// that explains what came is kept.
    explanations: Vec<Taken>,
    /// The sender dropped frames, so some that were queued never come.
    lossy: bool,
}

impl Default for DeliveryChecker {
    fn default() -> Self {
        DeliveryChecker { queues: Default::default(), explanations: vec![[0; 4]], lossy: false }
    }
}

impl DeliveryChecker {
    /// A frame is queued.
    pub(super) fn queued(&mut self, rank: usize, hash: u64) {
        self.queues[rank].push_back(hash);
    }

    /// The sender's queues are full and drop frames.
    pub(super) fn frames_dropped(&mut self) {
        self.lossy = true;
    }

    /// A frame came: it must be the oldest of its priority that did not come yet. When it is not, everything stays as it was.
    pub(super) fn delivered(&mut self, hash: u64) -> bool {
        let mut explanations = Vec::with_capacity(self.explanations.len());
        for taken in &self.explanations {
            for (rank, queue) in self.queues.iter().enumerate() {
                let mut rest = queue.iter().skip(taken[rank]);
                let skips = if self.lossy {
                    rest.position(|queued| *queued == hash)
                } else {
                    (rest.next() == Some(&hash)).then_some(0)
                };
                if let Some(skipped) = skips {
                    let mut taken = *taken;
                    taken[rank] += skipped + 1;
                    explanations.push(taken);
                }
            }
        }
        if explanations.is_empty() {
            return false;
        }
        explanations.sort_unstable();
        explanations.dedup();
        if self.lossy {
            // Whoever skipped more can explain nothing that the one who skipped less cannot.
            let less = |a: &Taken, b: &Taken| a != b && a.iter().zip(b).all(|(a, b)| a <= b);
            let all = explanations.clone();
            explanations.retain(|one| !all.iter().any(|other| less(other, one)));
        }
        self.explanations = explanations;
        self.forget();
        true
    }

    /// A frame of this rank came and was not looked at whole: by every explanation it may have been the next one of its queue.
    pub(super) fn skipped(&mut self, rank: usize) {
        for taken in &mut self.explanations {
            taken[rank] = (taken[rank] + 1).min(self.queues[rank].len());
        }
        self.explanations.sort_unstable();
        self.explanations.dedup();
        self.forget();
    }

    /// Drops what has come by every explanation.
    fn forget(&mut self) {
        for (rank, queue) in self.queues.iter_mut().enumerate() {
            let come = self.explanations.iter().map(|taken| taken[rank]).min().unwrap_or(0);
            queue.drain(..come.min(queue.len()));
            self.explanations.iter_mut().for_each(|taken| taken[rank] -= come);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_must_come_in_the_order_of_their_queue() {
        let mut checker = DeliveryChecker::default();
        for (rank, hash) in [(1, 10), (1, 11), (2, 20)] {
            checker.queued(rank, hash);
        }
        assert!(!checker.delivered(11), "not before the first of its queue");
        assert!(checker.delivered(20) && checker.delivered(10) && checker.delivered(11));
        assert!(!checker.delivered(11), "once");
    }

    #[test]
    fn of_two_equal_frames_in_two_queues_either_may_come_first() {
        let mut checker = DeliveryChecker::default();
        for (rank, hash) in [(1, 7), (1, 8), (2, 7), (2, 9)] {
            checker.queued(rank, hash);
        }
        // The second queue's came first, as its successor shows.
        assert!(checker.delivered(7) && checker.delivered(9) && checker.delivered(7) && checker.delivered(8));
    }

    /// Seed 300043: a burst of payments went out as news, and again with the pool to somebody who asked for it, in another
    /// order. What came first is then only known many frames later, and more than one guess may have to be taken back.
    #[test]
    fn equal_frames_in_two_orders_are_explained_in_every_possible_way() {
        // The fronts alone do not say whose frames came until the end: 1 2 1 2 3 is all of the first and none of the second,
        // or the other way around.
        let lines = [(1, 1), (1, 2), (1, 1), (1, 4), (2, 1), (2, 2), (2, 1), (2, 3)];
        for came in [[1, 2, 1, 3, 1, 2, 1, 4], [1, 2, 1, 4, 1, 2, 1, 3], [1, 1, 2, 2, 1, 1, 3, 4]] {
            let mut checker = DeliveryChecker::default();
            lines.iter().for_each(|(rank, hash)| checker.queued(*rank, *hash));
            assert!(came.iter().all(|hash| checker.delivered(*hash)), "{came:?}");
            assert!(checker.queues.iter().all(VecDeque::is_empty) && checker.explanations == [[0; 4]]);
        }
        let mut checker = DeliveryChecker::default();
        lines.iter().for_each(|(rank, hash)| checker.queued(*rank, *hash));
        assert!([1, 1, 2].iter().all(|hash| checker.delivered(*hash)) && !checker.delivered(3) && checker.delivered(2));
    }

    #[test]
    fn a_frame_that_nobody_wanted_takes_its_turn_all_the_same() {
        let mut checker = DeliveryChecker::default();
        for (rank, hash) in [(1, 10), (1, 11), (2, 20), (1, 12)] {
            checker.queued(rank, hash);
        }
        assert!(checker.delivered(10));
        checker.skipped(1);
        assert!(!checker.delivered(11) && checker.delivered(12) && checker.delivered(20));
    }

    #[test]
    fn a_queue_that_lost_frames_may_skip_but_not_go_back() {
        let mut checker = DeliveryChecker { lossy: true, ..DeliveryChecker::default() };
        for hash in [1, 2, 3] {
            checker.queued(0, hash);
        }
        assert!(checker.delivered(3) && !checker.delivered(1));
    }
}
