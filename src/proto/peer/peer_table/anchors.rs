//! Anchors: the peers to which our own connections lead, so that a restart does not put our neighbours up for a draw that strangers
//! can crowd.

use core::cmp::Reverse;

use super::{PeerRecord, PeerTable};

/// Anchors at most, but for those that are connected: as many as a node dials.
pub const ANCHORS_MAX: usize = 8;

impl PeerTable {
    /// A connection that we chose and dialed leads to the peer. Of those to whom we have none any more the longest unseen is an
    /// anchor no longer where there are more than [`ANCHORS_MAX`]: who connects and leaves again and again replaces nobody who
    /// stays. False when it is unknown, or not [reached](PeerTable::record_reached). Takes O(n), for what is rare.
    pub fn set_anchor(&mut self, node_id: &str) -> bool {
        if !self.peers.get(node_id).is_some_and(|record| record.reached) {
            return false;
        }
        self.change(node_id, |record| record.anchor = true);
        let anchors = || self.peers.values().filter(|record| record.anchor);
        let excess = anchors().count().saturating_sub(ANCHORS_MAX);
        let mut away: Vec<&PeerRecord> = anchors().filter(|record| !record.connected).collect();
        away.sort_by_key(|record| record.seen_at);
        let ended: Vec<String> = away.into_iter().take(excess).map(|record| record.node_id.clone()).collect();
        for id in ended {
            self.end_anchor(&id);
        }
        true
    }

    /// Our connection to the peer ended, and not by our stop or a cut line. False when it is unknown.
    pub fn end_anchor(&mut self, node_id: &str) -> bool {
        self.change(node_id, |record| record.anchor = false)
    }

    /// The anchors that are to be dialed: they are not connected and not [bad](PeerTable::should_blacklist). The last seen first.
    /// Takes O(n).
    pub fn anchors(&self) -> Vec<&PeerRecord> {
        let away = self.peers.values().filter(|record| record.anchor && !record.connected && record.address.is_some());
        let mut fit: Vec<&PeerRecord> = away.filter(|record| !self.should_blacklist(&record.node_id)).collect();
        fit.sort_by_key(|record| Reverse((record.last_seen, record.seen_at)));
        fit
    }
}
