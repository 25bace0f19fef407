//! What leaves next, as a plan that changes nothing until the bytes are really written, and the rounds that it follows.

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

    /// The line whose visit it is, by its place among the three, with its quantum for the visit; `None` when that line has
    /// nothing and is passed.
    pub(super) fn visit(&mut self, waiting: [bool; 3]) -> Option<usize> {
        let index = self.current;
        let (Some(true), Some(weight)) = (waiting.get(index), WEIGHTS.get(index)) else {
            if let Some(credit) = self.credit.get_mut(index) {
                *credit = 0;
            }
            self.next_line();
            return None;
        };
        if !self.visited {
            self.visited = true;
            if let Some(credit) = self.credit.get_mut(index) {
                *credit += weight * QUANTUM;
            }
        }
        Some(index)
    }

    /// What the line may still send in its visit.
    pub(super) fn credit(&self, index: usize) -> usize {
        self.credit.get(index).copied().unwrap_or_default()
    }

    /// `bytes` of the line of rank `rank` are planned. Outside of a visit, a line that is alone owes nobody.
    pub(super) fn charge(&mut self, rank: usize, bytes: usize) {
        if let Some(credit) = rank.checked_sub(1).and_then(|index| self.credit.get_mut(index)) {
            *credit = credit.saturating_sub(bytes);
        }
    }

    /// The visit is over.
    pub(super) fn next_line(&mut self) {
        self.current = (self.current + 1) % WEIGHTS.len();
        self.visited = false;
    }
}

/// Bytes of complete frames from one line, and the state of the rounds behind them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    pub(super) rank: usize,
    pub(super) bytes: usize,
    pub(super) rounds: Rounds,
}

/// An offer to the writer: the rest of the partial frame, then runs, of which it has room for `N`.
#[derive(Debug)]
pub(super) struct Plan<const N: usize> {
    runs: [Run; N],
    len: usize,
    bytes: usize,
}

impl<const N: usize> Plan<N> {
    pub(super) fn new() -> Self {
        Plan { runs: [Run::default(); N], len: 0, bytes: 0 }
    }

    /// So many bytes are offered more.
    pub(super) fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    pub(super) fn add_run(&mut self, run: Run) {
        debug_assert!(self.len < self.runs.len(), "a run more than the plan has room for");
        if let Some(place) = self.runs.get_mut(self.len) {
            *place = run;
            self.len += 1;
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.len >= self.runs.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn runs(&self) -> &[Run] {
        self.runs.get(..self.len).unwrap_or_default()
    }
}
