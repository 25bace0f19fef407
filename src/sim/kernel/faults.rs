//! What goes wrong between a process and its own kernel, and how often: chances per thousand calls.

use crate::rng::Rng;

/// One run's rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sim) struct Calls {
    pub(in crate::sim) short_read: u64,
    pub(in crate::sim) short_write: u64,
    pub(in crate::sim) read_error: u64,
    pub(in crate::sim) write_error: u64,
    pub(in crate::sim) accept_error: u64,
    pub(in crate::sim) connect_error: u64,
    /// Per wait: news of nothing; of a descriptor that is closed; the batch in another order; a part of it later; none
    /// of it, because of a signal.
    pub(in crate::sim) spurious: u64,
    pub(in crate::sim) stale: u64,
    pub(in crate::sim) reorder: u64,
    pub(in crate::sim) defer: u64,
    pub(in crate::sim) interrupt: u64,
    /// Per turn: the next one comes 10 to 500 ms late.
    pub(in crate::sim) late_turn: u64,
    /// Descriptors that a process may have.
    pub(in crate::sim) descriptors: usize,
}

impl Calls {
    /// Nothing goes wrong.
    pub(in crate::sim) const QUIET: Calls = Calls {
        short_read: 0,
        short_write: 0,
        read_error: 0,
        write_error: 0,
        accept_error: 0,
        connect_error: 0,
        spurious: 0,
        stale: 0,
        reorder: 0,
        defer: 0,
        interrupt: 0,
        late_turn: 0,
        descriptors: 4096,
    };

    /// Draws the rates; the rarer classes only with `full`. Each is off in a third of the runs.
    pub(in crate::sim) fn draw(rng: &mut Rng, full: bool) -> Calls {
        let mut up_to = |most: u64, allowed: bool| {
            let (off, drawn) = (rng.chance(1, 3), rng.below(most + 1));
            if off || !allowed { 0 } else { drawn }
        };
        let mut calls = Calls {
            spurious: up_to(100, true),
            stale: up_to(100, true),
            reorder: up_to(100, true),
            defer: up_to(100, true),
            interrupt: up_to(50, true),
            read_error: up_to(10, full),
            write_error: up_to(10, full),
            accept_error: up_to(200, full),
            late_turn: up_to(10, full),
            ..Calls::QUIET
        };
        let few = up_to(24, full);
        if few > 0 {
            calls.descriptors = 7 + few as usize;
        }
        calls
    }
}
