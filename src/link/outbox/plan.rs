//! What leaves next: the order of the lines as a plan that changes nothing until the bytes are really written.

use std::io::{self, IoSlice};

use super::Queues;
use crate::limits::{WRITE_BYTES, WRITE_SLICES};

/// Bytes that a line of weight 1 gains in a round.
const QUANTUM: usize = 16 * 1024;
/// High, Normal and Low.
const WEIGHTS: [usize; 3] = [4, 2, 1];

/// The state of the deficit round robin between the three lines below Critical.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Rounds {
    /// The line whose visit it is, and whether it got its quantum for this visit.
    current: usize,
    visited: bool,
    credit: [usize; 3],
}

impl Rounds {
    /// `bytes` that were charged to the line of rank `rank` have not left. The visit is still that line's. Outside of a
    /// visit a line was alone and was charged nothing.
    pub(super) fn refund(&mut self, rank: usize, bytes: usize) {
        if bytes > 0
            && self.visited
            && let Some(index) = rank.checked_sub(1)
            && let Some(credit) = self.credit.get_mut(index)
        {
            *credit += bytes;
            (self.current, self.visited) = (index, true);
        }
    }

    fn next_line(&mut self) {
        self.current = (self.current + 1) % WEIGHTS.len();
        self.visited = false;
    }
}

/// Bytes of whole frames from one line, and the state of the rounds behind them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    pub(super) rank: usize,
    pub(super) bytes: usize,
    pub(super) rounds: Rounds,
}

/// An offer to the writer: the rest of the frame that has begun, then runs.
#[derive(Debug)]
pub(super) struct Plan {
    runs: [Run; WRITE_SLICES],
    len: usize,
    bytes: usize,
}

impl Plan {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn runs(&self) -> &[Run] {
        self.runs.get(..self.len).unwrap_or_default()
    }
}

/// Makes the next offer and shows it to `write`.
pub(super) fn offer(
    queues: &Queues,
    write: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> (Plan, io::Result<usize>) {
    let mut gather = Gather {
        plan: Plan { runs: [Run::default(); WRITE_SLICES], len: 0, bytes: 0 },
        slices: [IoSlice::new(&[]); WRITE_SLICES],
        used: 0,
        cursors: [Cursor::default(); 4],
        rounds: queues.rounds,
    };
    if let Some(begun) = &queues.begun {
        gather.add_slices(begun.segment.slices(begun.at));
    }
    while gather.has_room() && gather.add_run(queues, 0, usize::MAX) {}
    gather.share(queues);
    let outcome = write(gather.slices.get(..gather.used).unwrap_or_default());
    (gather.plan, outcome)
}

#[derive(Clone, Copy, Default)]
struct Cursor {
    segment: usize,
    /// Bytes of that segment that are planned; whole frames.
    skip: usize,
}

struct Gather<'a> {
    plan: Plan,
    slices: [IoSlice<'a>; WRITE_SLICES],
    used: usize,
    cursors: [Cursor; 4],
    rounds: Rounds,
}

impl<'a> Gather<'a> {
    /// Room for one more segment, which takes up to two slices.
    fn has_room(&self) -> bool {
        self.used + 2 <= WRITE_SLICES && self.plan.len < WRITE_SLICES && self.plan.bytes < WRITE_BYTES
    }

    fn add_slices(&mut self, slices: [&'a [u8]; 2]) {
        for slice in slices.into_iter().filter(|slice| !slice.is_empty()) {
            if let Some(place) = self.slices.get_mut(self.used) {
                *place = IoSlice::new(slice);
                self.used += 1;
                self.plan.bytes += slice.len();
            }
        }
    }

    /// Plans whole frames of one segment, at most `max` bytes. False when there are none.
    fn add_run(&mut self, queues: &'a Queues, rank: usize, max: usize) -> bool {
        let (Some(line), Some(cursor)) = (queues.lines.get(rank), self.cursors.get_mut(rank)) else { return false };
        let Some(segment) = line.segment(cursor.segment) else { return false };
        let bytes = segment.whole_frames(cursor.skip, max);
        if bytes == 0 {
            return false;
        }
        let [first, second] = segment.slices(cursor.skip);
        let first = first.get(..bytes.min(first.len())).unwrap_or_default();
        cursor.skip += bytes;
        if cursor.skip == segment.len() {
            *cursor = Cursor { segment: cursor.segment + 1, skip: 0 };
        }
        self.add_slices([first, second]);
        if let Some(credit) = rank.checked_sub(1).and_then(|index| self.rounds.credit.get_mut(index)) {
            *credit = credit.saturating_sub(bytes);
        }
        if let Some(place) = self.plan.runs.get_mut(self.plan.len) {
            *place = Run { rank, bytes, rounds: self.rounds };
            self.plan.len += 1;
        }
        true
    }

    fn is_exhausted(&self, queues: &Queues, rank: usize) -> bool {
        match (queues.lines.get(rank), self.cursors.get(rank)) {
            (Some(line), Some(cursor)) => line.segment(cursor.segment).is_none(),
            _ => true,
        }
    }

    /// Deficit round robin over the three lower lines until the offer is full or nothing is left.
    fn share(&mut self, queues: &'a Queues) {
        while self.has_room() {
            let waiting = [1, 2, 3].map(|rank| !self.is_exhausted(queues, rank));
            match waiting {
                [false, false, false] => return,
                [true, false, false] | [false, true, false] | [false, false, true] => {
                    // Alone, a line owes nobody.
                    self.rounds = Rounds::default();
                    let rank = 1 + waiting.iter().position(|waits| *waits).unwrap_or_default();
                    while self.has_room() && self.add_run(queues, rank, usize::MAX) {}
                }
                _ => self.visit(queues, waiting),
            }
        }
    }

    /// One visit to the current line, or the part of it that the offer has room for.
    fn visit(&mut self, queues: &'a Queues, waiting: [bool; 3]) {
        let index = self.rounds.current;
        let (Some(true), Some(weight)) = (waiting.get(index), WEIGHTS.get(index)) else {
            if let Some(credit) = self.rounds.credit.get_mut(index) {
                *credit = 0;
            }
            self.rounds.next_line();
            return;
        };
        if !self.rounds.visited {
            self.rounds.visited = true;
            if let Some(credit) = self.rounds.credit.get_mut(index) {
                *credit += weight * QUANTUM;
            }
        }
        while self.has_room() {
            let credit = self.rounds.credit.get(index).copied().unwrap_or_default();
            if credit == 0 || !self.add_run(queues, index + 1, credit) {
                self.rounds.next_line();
                return;
            }
        }
    }
}
