//! What goes wrong between a process and its own kernel, and how often: chances per thousand calls.

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
    /// Per packet: it has an urgent mark.
    pub(in crate::sim) urgent: u64,
    /// 1 for a selector that tells of a socket again only after one of its calls was refused.
    pub(in crate::sim) unarmed: u64,
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
        urgent: 0,
        unarmed: 0,
        late_turn: 0,
        descriptors: 4096,
    };
}
