//! Peers that we reached and that are away: remembered for weeks, so that an outage does not cost a node all that it knew.
//!
//! Only a dial of ours that ended in a handshake brings an address in here, so that strangers cannot fill it with what they tell.
//! What they reach us with counts little either: an address has one place, whatever ids it goes by, and a subnet and a group few.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::BTreeMap;

use super::record::PeerRecord;
use crate::address::{Group, Subnet};
use crate::id::unnamed;
use crate::invariant::{Broken, Invariant};
use crate::time::{Instant, UnixTime};

/// So long after it was last seen, a peer that we reached is remembered: as long as Bitcoin Core takes an address for usable.
pub const REMEMBERED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Peers remembered at most, the longest unseen forgotten first: a hundred times what a node dials, in half a MiB.
pub const REMEMBERED_MAX: usize = 1000;
/// Of a /24, or /48 in IPv6: as many as the address book takes.
const PER_SUBNET_MAX: usize = 10;
/// Of a /16, or /32 in IPv6: one in sixteen.
const PER_GROUP_MAX: usize = 64;

/// The peers that we reached and that are away, by the address at which we did.
#[derive(Clone, Debug, Default)]
pub(super) struct RememberedPeers {
    by_address: BTreeMap<SocketAddr, PeerRecord>,
}

impl RememberedPeers {
    /// Remembers a peer that is no longer among the known ones, if we reached it. Takes O(n), where n is at most
    /// [`REMEMBERED_MAX`].
    pub(super) fn insert(&mut self, record: PeerRecord) {
        let Some(address) = record.address.filter(|_| record.reached) else { return };
        self.by_address.insert(address, record);
        let (subnet, group) = (Subnet::of(address.ip()), Group::of(address.ip()));
        // Local addresses say nothing of who commands them.
        if group.is_some() {
            self.trim(PER_SUBNET_MAX, |other| Subnet::of(other.ip()) == subnet);
            self.trim(PER_GROUP_MAX, |other| Group::of(other.ip()) == group);
        }
        self.trim(REMEMBERED_MAX, |_| true);
    }

    /// The same for one whose id somebody else gives now: we still know that there was a peer at its address.
    pub(super) fn insert_nameless(&mut self, record: PeerRecord) {
        let Some(address) = record.address else { return };
        self.insert(PeerRecord { node_id: unnamed(address), ..record });
    }

    /// The peer of this id is known again, or the one at this address is somebody else now. Answers the one of this id.
    pub(super) fn take(&mut self, node_id: &str) -> Option<PeerRecord> {
        let (address, _) = self.by_address.iter().find(|(_, record)| record.node_id == node_id)?;
        let address = *address;
        self.by_address.remove(&address)
    }

    /// Nobody of ours is at this address, or somebody else than was.
    pub(super) fn forget(&mut self, address: SocketAddr) {
        self.by_address.remove(&address);
    }

    /// Forgets those that were not seen for too long, by the monotonic clock.
    pub(super) fn expire(&mut self, now: Instant) {
        self.by_address.retain(|_, record| now.since(record.seen_at) < REMEMBERED_FOR);
    }

    /// All of them, in the order of their addresses.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, &PeerRecord)> {
        self.by_address.iter().map(|(address, record)| (*address, record))
    }

    pub(super) fn audit(&self) -> Result<(), Broken> {
        let count = self.by_address.len();
        Invariant::S5.check(count <= REMEMBERED_MAX, || format!("{count} peers that are away are remembered"))?;
        let placed = |(address, record): (&SocketAddr, &PeerRecord)| record.address == Some(*address) && record.reached;
        Invariant::S9.check(self.by_address.iter().all(placed), || {
            "a peer is remembered at an address at which it was not reached".to_owned()
        })
    }

    /// Of those that match, the longest unseen leave until so many are left.
    fn trim(&mut self, most: usize, matches: impl Fn(&SocketAddr) -> bool) {
        let is_one = |(address, _): &(&SocketAddr, &PeerRecord)| matches(address);
        while self.by_address.iter().filter(is_one).count() > most {
            let seen = |(address, record): &(&SocketAddr, &PeerRecord)| (record.last_seen, **address);
            let Some((oldest, _)) = self.by_address.iter().filter(is_one).min_by_key(seen) else { return };
            let oldest = *oldest;
            self.by_address.remove(&oldest);
        }
    }
}

/// Forgets that peers were reached which had been away for too long when the file was written. What counts is the latest time
/// in the file and not the clock of this start: who was off for two months still knows whom to dial, and a clock that is years
/// ahead costs nobody.
pub fn expire_saved(records: &mut [PeerRecord]) {
    let Some(latest) = records.iter().map(|record| record.last_seen).max() else { return };
    let is_old = |seen: UnixTime| latest.since(seen) >= REMEMBERED_FOR;
    for record in records.iter_mut().filter(|record| is_old(record.last_seen)) {
        (record.reached, record.anchor) = (false, false);
    }
}
