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

#[derive(Debug, Default)]
pub(super) struct Owed {
    /// By priority.
    lines: [VecDeque<u64>; 4],
    /// Frames that were taken from the line of this rank though another line owed an equal one: a transaction that was
    /// passed on and then handed out with the pool. Which of the two came is only known by what comes next.
    twins: Vec<(u64, usize)>,
    /// The sender's queue dropped frames, so some that are owed never come.
    pub(super) lossy: bool,
}

impl Owed {
    pub(super) fn enter(&mut self, rank: usize, hash: u64) {
        self.lines[rank].push_back(hash);
    }

    /// A frame came: it must be the oldest of its priority that is owed.
    pub(super) fn pay(&mut self, hash: u64) -> bool {
        let mut paid = self.pay_first(hash);
        while !paid && self.untangle() {
            paid = self.pay_first(hash);
        }
        if !paid && self.lossy {
            for line in &mut self.lines {
                if let Some(at) = line.iter().position(|owed| *owed == hash) {
                    line.drain(..=at);
                    return true;
                }
            }
        }
        paid
    }

    /// Takes a frame from the front of the line that owes it.
    fn pay_first(&mut self, hash: u64) -> bool {
        let Some(rank) = self.lines.iter().position(|line| line.front() == Some(&hash)) else { return false };
        self.lines[rank].pop_front();
        if self.lines.iter().any(|line| line.contains(&hash)) {
            self.twins.push((hash, rank));
        }
        true
    }

    /// Moves a payment to the twin that it was for: the one at the front of its line. False when there is none.
    fn untangle(&mut self) -> bool {
        let fronts = |twin: &(u64, usize)| self.lines.iter().any(|line| line.front() == Some(&twin.0));
        let Some(at) = self.twins.iter().position(fronts) else { return false };
        let (hash, paid) = self.twins.swap_remove(at);
        if let Some(line) = self.lines.iter_mut().find(|line| line.front() == Some(&hash)) {
            line.pop_front();
        }
        self.lines[paid].push_front(hash);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_must_come_in_the_order_of_their_line() {
        let mut owed = Owed::default();
        for (rank, hash) in [(1, 10), (1, 11), (2, 20)] {
            owed.enter(rank, hash);
        }
        assert!(!owed.pay(11), "not before the first of its line");
        assert!(owed.pay(20) && owed.pay(10) && owed.pay(11));
        assert!(!owed.pay(11), "once");
    }

    #[test]
    fn of_two_equal_frames_in_two_lines_either_may_come_first() {
        let mut owed = Owed::default();
        for (rank, hash) in [(1, 7), (1, 8), (2, 7), (2, 9)] {
            owed.enter(rank, hash);
        }
        // The second line's came first, as its successor shows.
        assert!(owed.pay(7) && owed.pay(9) && owed.pay(7) && owed.pay(8));
    }

    #[test]
    fn a_line_that_lost_frames_may_skip_but_not_go_back() {
        let mut owed = Owed { lossy: true, ..Owed::default() };
        for hash in [1, 2, 3] {
            owed.enter(0, hash);
        }
        assert!(owed.pay(3) && !owed.pay(1));
    }
}
