//! What a node counts.

use std::collections::BTreeMap;

use crate::histogram::Histogram;
use crate::wire::Kind;

/// What a node counts besides the driver's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Messages handled, by kind.
    pub received: BTreeMap<Kind, u64>,
    /// Bytes of their payloads, by kind.
    pub received_bytes: BTreeMap<Kind, u64>,
    /// Challenges of version 1 peers that could be proofs as well, dropped without blame because it was not known who speaks.
    pub ambiguous: u64,
    /// Messages sent, by kind.
    pub sent: BTreeMap<Kind, u64>,
    /// Bytes of their payloads, by kind.
    pub sent_bytes: BTreeMap<Kind, u64>,
    /// Round trips of pings, of all peers together.
    pub round_trips: Histogram,
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
    /// Addresses and identities that what they did brought to the blacklist, each time that it did.
    pub blacklisted: u64,
    /// How often the best chain came to end elsewhere.
    pub new_tips: u64,
    /// Inbound connections turned away, by the limit's label.
    pub turned_away: BTreeMap<&'static str, u64>,
    /// Blocks that were pushed to us and not read on when their headers had come: we had them, did not want them, or they were wrong.
    pub blocks_skipped: u64,
    /// Old blocks that were asked for and not given: see [`Node::set_serves_history`](crate::proto::Node::set_serves_history).
    pub history_withheld: u64,
}

impl Counters {
    /// A message came, with a payload of so many bytes.
    pub(super) fn note_received(&mut self, kind: Kind, len: usize) {
        *self.received.entry(kind).or_default() += 1;
        *self.received_bytes.entry(kind).or_default() += len as u64;
    }
}
