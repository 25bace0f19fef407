//! Whose record it is when somebody introduces himself: what a stranger claims does not touch what we know of a peer that we
//! reached or are connected to.

use super::evidence::{Evidence, Introduced, is_from};
use super::{Added, PeerRecord, PeerTable};
use crate::id::unnamed;

impl PeerTable {
    /// Adds a peer that is connected and has introduced itself, or brings a known one up to date. In the clear, it is a known one
    /// only where it has the same IPv4 address or IPv6 /64. Of two others that give one id, it is that of whom we reached, or else
    /// of whom we dialed now, or of the first. Takes O(log n), and O(r) where r are remembered.
    pub fn introduce(&mut self, mut record: PeerRecord, evidence: Evidence) -> Introduced {
        let mut displaced = None;
        let is_proven = evidence == Evidence::Proven;
        if let Some(known) = self.peers.get(&record.node_id).filter(|known| !is_proven && !is_from(known, &record)) {
            if !known.connected && !known.reached {
                // What strangers have earned under an id, the next one does not inherit.
                self.remove(&record.node_id);
            } else if evidence == Evidence::Dialed && !(known.connected && known.reached) {
                displaced = self.set_apart(&record.node_id);
            } else {
                record.node_id = alias(&record);
            }
        }
        let known_as = record.node_id.clone();
        let is_taken = self.peers.get(&known_as).is_some_and(|known| known.connected);
        let is_in = !is_taken && matches!(self.insert(record, is_proven), Added::New { .. } | Added::Updated);
        Introduced { known_as: if is_in { known_as } else { String::new() }, displaced }
    }

    /// Takes an id from whoever has it. Answers under which one he is known from now on, if he is connected.
    fn set_apart(&mut self, node_id: &str) -> Option<String> {
        let mut record = self.remove(node_id)?;
        if !record.connected {
            self.remembered.insert_nameless(record);
            return None;
        }
        record.node_id = alias(&record);
        let name = record.node_id.clone();
        if self.peers.get(&name).is_some_and(|known| known.connected) {
            return Some(String::new());
        }
        self.remove(&name);
        self.put(record);
        Some(name)
    }
}

/// What a peer is called whose id somebody else has.
fn alias(record: &PeerRecord) -> String {
    record.address.or(record.seen_from).map(unnamed).unwrap_or_default()
}
