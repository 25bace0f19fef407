//! What a node counts.

use std::collections::BTreeMap;

use crate::wire::Kind;

/// What a node counts besides the driver's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages handled, by kind.
    pub received: BTreeMap<Kind, u64>,
    /// Messages sent, by kind.
    pub sent: BTreeMap<Kind, u64>,
    /// Messages dropped without blame because they came too fast, by kind.
    pub over_budget: BTreeMap<Kind, u64>,
    /// What others said and was not passed on to a peer, transactions mostly: it waited for the peer's pace and gave way, or found no
    /// room. [`Event::RelayDropped`](crate::proto::Event::RelayDropped) says so.
    pub relay_dropped: u64,
    /// Frames that a full queue refused, by kind.
    pub refused: BTreeMap<Kind, u64>,
    /// Submissions of our own that were refused, by kind; each was an [`Event::SubmissionRefused`](crate::proto::Event::SubmissionRefused).
    pub submissions_refused: BTreeMap<Kind, u64>,
    /// Sessions that ended, by the reason's label.
    pub closed: BTreeMap<&'static str, u64>,
    /// Inbound connections turned away, by the limit's label.
    pub turned_away: BTreeMap<&'static str, u64>,
    /// Blocks that were pushed to us and not read on when their headers had come: we had them, did not want them, or they were wrong.
    pub blocks_skipped: u64,
}
