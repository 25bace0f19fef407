//! The frames that one direction of a connection owes: whatever was queued must come, in the order of its priority, and none
//! may wait for more than its share of what came later.

use std::collections::VecDeque;

/// Bytes that each priority below the first gets in a round, as `link::outbox` promises: 4 : 2 : 1 of 16 KiB.
const SHARES: [u64; 4] = [u64::MAX, 64 * 1024, 32 * 1024, 16 * 1024];

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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Frame {
    hash: u64,
    len: u64,
    /// How many were queued before it.
    number: u64,
}

/// What one priority owes.
#[derive(Debug, Default)]
struct Line {
    frames: VecDeque<Frame>,
    /// Since the first of them is the first: bytes of other priorities that were queued after it and came before it, and the
    /// longest frame of these.
    passed: u64,
    longest: u64,
}

impl Line {
    fn pop(&mut self) -> Option<Frame> {
        (self.passed, self.longest) = (0, 0);
        self.frames.pop_front()
    }

    fn first(&self) -> Option<u64> {
        self.frames.front().map(|frame| frame.hash)
    }
}

#[derive(Debug, Default)]
pub(super) struct Owed {
    /// By priority.
    lines: [Line; 4],
    /// Frames that were ever queued.
    count: u64,
    /// Frames that were taken from the line of this rank though another line owed an equal one: a transaction that was
    /// passed on and then handed out with the pool. Which of the two came is only known by what comes next.
    twins: Vec<(Frame, usize)>,
    /// The sender's queue dropped frames, so some that are owed never come.
    pub(super) lossy: bool,
}

impl Owed {
    /// A frame of so many bytes, its header included, is queued.
    pub(super) fn enter(&mut self, rank: usize, hash: u64, len: u64) {
        self.lines[rank].frames.push_back(Frame { hash, len, number: self.count });
        self.count += 1;
    }

    /// Has a frame waited while more passed it than its priority allows? Answers the rank, the bytes and the bound.
    ///
    /// The first frame of a line leaves once the line has gained its length, a share each round; the others gain theirs
    /// meanwhile, and each may have saved up for one long frame. The first priority passes everybody, and is not counted.
    pub(super) fn starved(&self) -> Option<(usize, u64, u64)> {
        if self.lossy {
            return None;
        }
        let rest: u64 = SHARES.iter().skip(1).sum();
        self.lines.iter().enumerate().skip(1).find_map(|(rank, line)| {
            let rounds = line.frames.front()?.len.div_ceil(SHARES[rank]) + 1;
            let bound = rounds * (rest - SHARES[rank]) + 2 * line.longest;
            (line.passed > bound).then_some((rank, line.passed, bound))
        })
    }

    /// A frame came: it must be the oldest of its priority that is owed.
    pub(super) fn pay(&mut self, hash: u64) -> bool {
        let mut paid = self.pay_first(hash);
        while !paid && self.untangle() {
            paid = self.pay_first(hash);
        }
        if !paid && self.lossy {
            for line in &mut self.lines {
                if let Some(at) = line.frames.iter().position(|owed| owed.hash == hash) {
                    line.frames.drain(..=at);
                    return true;
                }
            }
        }
        paid
    }

    /// Takes a frame from the front of the line that owes it.
    fn pay_first(&mut self, hash: u64) -> bool {
        let Some(rank) = self.lines.iter().position(|line| line.first() == Some(hash)) else { return false };
        let Some(frame) = self.lines[rank].pop() else { return false };
        for line in self.lines.iter_mut().filter(|_| rank > 0) {
            if line.frames.front().is_some_and(|first| first.number < frame.number) {
                line.passed += frame.len;
                line.longest = line.longest.max(frame.len);
            }
        }
        if self.lines.iter().any(|line| line.frames.iter().any(|owed| owed.hash == hash)) {
            self.twins.push((frame, rank));
        }
        true
    }

    /// Moves a payment to the twin that it was for: the one at the front of its line. False when there is none.
    fn untangle(&mut self) -> bool {
        let fronts = |twin: &(Frame, usize)| self.lines.iter().any(|line| line.first() == Some(twin.0.hash));
        let Some(at) = self.twins.iter().position(fronts) else { return false };
        let (frame, paid) = self.twins.swap_remove(at);
        if let Some(line) = self.lines.iter_mut().find(|line| line.first() == Some(frame.hash)) {
            line.pop();
        }
        // What passed it while it counted as gone is not known.
        let line = &mut self.lines[paid];
        (line.passed, line.longest) = (0, 0);
        line.frames.push_front(frame);
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
            owed.enter(rank, hash, 10);
        }
        assert!(!owed.pay(11), "not before the first of its line");
        assert!(owed.pay(20) && owed.pay(10) && owed.pay(11));
        assert!(!owed.pay(11), "once");
    }

    #[test]
    fn of_two_equal_frames_in_two_lines_either_may_come_first() {
        let mut owed = Owed::default();
        for (rank, hash) in [(1, 7), (1, 8), (2, 7), (2, 9)] {
            owed.enter(rank, hash, 10);
        }
        // The second line's came first, as its successor shows.
        assert!(owed.pay(7) && owed.pay(9) && owed.pay(7) && owed.pay(8));
    }

    #[test]
    fn a_frame_that_others_pass_for_too_long_is_starved() {
        let mut owed = Owed::default();
        // The last priority waits for 20,000 bytes: two rounds, and the one that is under way.
        owed.enter(3, 999, 20_000);
        let bound = 3 * 96 * 1024 + 2 * 10_000;
        for number in 0..bound / 10_000 {
            owed.enter(1, number, 10_000);
            owed.enter(0, 1_000_000 + number, 500_000);
            assert!(owed.pay(number) && owed.pay(1_000_000 + number));
            assert_eq!(owed.starved(), None, "the first priority does not count");
        }
        owed.enter(2, 77, 10_000);
        assert!(owed.pay(77));
        assert_eq!(owed.starved(), Some((3, 320_000, bound)));
        assert!(owed.pay(999) && owed.starved().is_none());
    }

    #[test]
    fn what_was_queued_before_a_frame_does_not_pass_it() {
        let mut owed = Owed::default();
        (0..100).for_each(|number| owed.enter(1, number, 100_000));
        owed.enter(3, 999, 10);
        assert!((0..100).all(|number| owed.pay(number) && owed.starved().is_none()));
    }

    #[test]
    fn a_line_that_lost_frames_may_skip_but_not_go_back() {
        let mut owed = Owed { lossy: true, ..Owed::default() };
        for hash in [1, 2, 3] {
            owed.enter(0, hash, 10);
        }
        assert!(owed.pay(3) && !owed.pay(1));
    }
}
