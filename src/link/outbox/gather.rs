//! Gathers what leaves next into one vectored write: the partial frame, critical frames, then the other lines by their share.

use std::io::{self, IoSlice};

use super::plan::{Plan, Rounds, Run};
use super::queues::Queues;
use crate::limits::WRITE_BYTES;
use crate::wire::pieces::MAX_BEGUN;

/// Makes the next offer, of up to `N` slices, and shows it to `write`.
///
/// An offer is a kilobyte and more where it has room for a whole vectored write, and to clear that is half of what an echo costs:
/// whoever has one segment to write takes a smaller one.
#[inline]
pub(super) fn offer<const N: usize>(
    queues: &Queues,
    write: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> (Plan<N>, io::Result<usize>) {
    let mut gather = Gather {
        plan: Plan::new(),
        slices: [IoSlice::new(&[]); N],
        used: 0,
        cursors: [Cursor::default(); 4],
        rounds: queues.rounds,
        begins: 0,
        blocked: [false; 4],
    };
    if let Some(partial) = &queues.partial {
        gather.add_slices(partial.slices());
    }
    while gather.has_room() && gather.add_run(queues, 0, usize::MAX) {}
    gather.share(queues);
    let outcome = write(gather.slices.get(..gather.used).unwrap_or_default());
    (gather.plan, outcome)
}

#[derive(Clone, Copy, Default)]
struct Cursor {
    segment: usize,
    /// Bytes of that segment that are planned; complete frames.
    skip: usize,
}

struct Gather<'a, const N: usize> {
    plan: Plan<N>,
    slices: [IoSlice<'a>; N],
    used: usize,
    cursors: [Cursor; 4],
    rounds: Rounds,
    /// Bytes of frames that begin in pieces with this offer.
    begins: usize,
    /// Lines whose next frame has to wait until others that have begun are complete.
    blocked: [bool; 4],
}

impl<'a, const N: usize> Gather<'a, N> {
    /// Room for one more segment, which takes up to two slices.
    fn has_room(&self) -> bool {
        self.used + 2 <= N && !self.plan.is_full() && self.plan.bytes() < WRITE_BYTES
    }

    fn add_slices(&mut self, slices: [&'a [u8]; 2]) {
        for slice in slices.into_iter().filter(|slice| !slice.is_empty()) {
            if let Some(place) = self.slices.get_mut(self.used) {
                *place = IoSlice::new(slice);
                self.used += 1;
                self.plan.add_bytes(slice.len());
            }
        }
    }

    /// Plans complete frames of one segment, at most `max` bytes. False when there are none.
    fn add_run(&mut self, queues: &'a Queues, rank: usize, max: usize) -> bool {
        let (Some(line), Some(cursor)) = (queues.lines.get(rank), self.cursors.get_mut(rank)) else { return false };
        let Some(segment) = line.segment(cursor.segment) else { return false };
        // What is behind in an offer may be written in another one: a frame that ends with this one counts as well.
        if cursor.skip == 0
            && let Some(len) = segment.begins()
        {
            if queues.begun().saturating_add(self.begins).saturating_add(len) > MAX_BEGUN {
                if let Some(blocked) = self.blocked.get_mut(rank) {
                    *blocked = true;
                }
                return false;
            }
            self.begins += len;
        }
        let bytes = segment.complete_frames(cursor.skip, max);
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
        self.rounds.charge(rank, bytes);
        self.plan.add_run(Run { rank, bytes, rounds: self.rounds });
        true
    }

    fn is_exhausted(&self, queues: &Queues, rank: usize) -> bool {
        match (queues.lines.get(rank), self.cursors.get(rank)) {
            _ if self.blocked.get(rank).is_some_and(|blocked| *blocked) => true,
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
        let Some(index) = self.rounds.visit(waiting) else { return };
        while self.has_room() {
            let credit = self.rounds.credit(index);
            if credit == 0 || !self.add_run(queues, index + 1, credit) {
                self.rounds.next_line();
                return;
            }
        }
    }
}
