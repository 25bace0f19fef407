//! Which inbound peer gives way to a newcomer when all places are taken.
//!
//! Whoever holds many connections can fill all places that others may take, and would keep every honest newcomer out. So there
//! is always a place for one more; but it must not be the honest peers who pay for it. Peers are protected by what an attacker
//! cannot have much of, a few by each measure: a network that he cannot foresee, a short way to us, new transactions and blocks
//! that he had first, and time. Of the rest, the network that holds most places gives up its youngest. The measures are
//! those of Bitcoin Core; where few places exist, fewer are protected.

use core::time::Duration;
use std::collections::BTreeMap;

use crate::address::{Group, Subnet};
use crate::id::ConnId;
use crate::time::Instant;
use core::net::IpAddr;

/// With so many candidates or more, the full numbers below are protected; with fewer, as many less.
const FULL: usize = 40;
/// Peers protected because their networks hash lowest with our key.
const BY_NETWORK: usize = 4;
/// Peers protected for the shortest round trips.
const BY_ROUND_TRIP: usize = 8;
/// Peers protected for the latest new transactions, and so many for the latest blocks.
const BY_DEEDS: usize = 4;

/// The neighbourhood that counts as one owner: the group, or the subnet where there is no group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EvictionGroup(Option<Group>, Option<Subnet>);

impl EvictionGroup {
    /// The neighbourhood of `ip`.
    pub fn of(ip: IpAddr) -> Self {
        let group = Group::of(ip);
        EvictionGroup(group, if group.is_none() { Some(Subnet::of(ip)) } else { None })
    }
}

/// An inbound peer that may give way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its connection.
    pub conn: ConnId,
    /// Where it is.
    pub ip: IpAddr,
    /// When its handshake was done.
    pub since: Instant,
    /// The last ping's round trip.
    pub round_trip: Option<Duration>,
    /// When it last brought a transaction that was new and valid.
    pub transaction: Option<Instant>,
    /// When it last brought a block that was new and valid.
    pub block: Option<Instant>,
}

/// Who gives way to a newcomer from `newcomer`; `None` when nobody should: all are protected, or the newcomer's own network has the
/// most places already. `key` decides what no peer can foresee.
pub fn choose(mut candidates: Vec<Candidate>, newcomer: IpAddr, key: u64) -> Option<ConnId> {
    let all = candidates.len();
    let share = |full: usize| full.min(full.saturating_mul(all) / FULL);
    let home = EvictionGroup::of(newcomer);
    let own = candidates.iter().filter(|peer| EvictionGroup::of(peer.ip) == home).count();

    protect(&mut candidates, share(BY_NETWORK), |peer| (true, hash(key, peer.ip)));
    protect(&mut candidates, share(BY_ROUND_TRIP), |peer| (peer.round_trip.is_some(), peer.round_trip));
    protect(&mut candidates, share(BY_DEEDS), |peer| {
        (peer.transaction.is_some(), core::cmp::Reverse(peer.transaction))
    });
    protect(&mut candidates, share(BY_DEEDS), |peer| (peer.block.is_some(), core::cmp::Reverse(peer.block)));
    let oldest = candidates.len() / 2;
    protect(&mut candidates, oldest, |peer| (true, peer.since));

    let mut groups: BTreeMap<EvictionGroup, usize> = BTreeMap::new();
    for peer in &candidates {
        *groups.entry(EvictionGroup::of(peer.ip)).or_default() += 1;
    }
    // Of two networks alike, the one that no one can foresee: if it were the youngest, each newcomer would drive out the last.
    let crowd = |peer: &Candidate| groups.get(&EvictionGroup::of(peer.ip)).copied().unwrap_or(0);
    let victim = candidates.iter().max_by_key(|peer| (crowd(peer), hash(key, peer.ip), peer.since, peer.conn))?;
    (own <= crowd(victim)).then_some(victim.conn)
}

/// Takes the first `count` of those that qualify out of the candidates, in the order of `rank`.
fn protect<R: Ord>(candidates: &mut Vec<Candidate>, count: usize, rank: impl Fn(&Candidate) -> (bool, R)) {
    candidates.sort_by_cached_key(|peer| {
        let (qualifies, rank) = rank(peer);
        (!qualifies, rank, peer.conn)
    });
    let qualified = candidates.iter().take_while(|peer| rank(peer).0).count();
    candidates.drain(..count.min(qualified));
}

/// A number for a peer's network that only we can compute (the finalizer of splitmix64 over its bytes).
fn hash(key: u64, ip: IpAddr) -> u64 {
    let mut hash = key;
    let mut mix = |word: u64| {
        hash = (hash ^ word).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
        hash ^= hash >> 32;
    };
    match Group::of(ip).map(Group::ip).unwrap_or(Subnet::of(ip).ip()) {
        IpAddr::V4(v4) => mix(u64::from(v4.to_bits())),
        IpAddr::V6(v6) => {
            let bits = v6.to_bits();
            mix((bits >> 64) as u64);
            mix(bits as u64);
        }
    }
    mix(key.rotate_left(32));
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    fn peer(n: u32, ip: u32, since: u64) -> Candidate {
        Candidate {
            conn: ConnId::new(n, 0),
            ip: Ipv4Addr::from_bits(ip).into(),
            since: Instant::from_millis(since),
            round_trip: None,
            transaction: None,
            block: None,
        }
    }

    /// The n-th address, each in a network of its own.
    fn far(n: u32) -> u32 {
        0x1401_0001 + (n << 16)
    }

    fn ip(bits: u32) -> IpAddr {
        Ipv4Addr::from_bits(bits).into()
    }

    #[test]
    fn the_youngest_of_the_largest_network_gives_way() {
        let mut peers: Vec<_> = (0..40).map(|n| peer(n, far(n), u64::from(n))).collect();
        peers.extend((40..100).map(|n| peer(n, 0x5b01_0001 + n, u64::from(n))));
        for key in 0..50 {
            assert_eq!(choose(peers.clone(), ip(far(200)), key), Some(ConnId::new(99, 0)));
            assert_eq!(
                choose(peers.clone(), ip(0x5b01_0001), key),
                None,
                "a crowd does not grow at the cost of others"
            );
        }
    }

    #[test]
    fn whoever_is_near_or_brings_news_or_stays_long_is_never_the_one() {
        for key in 0..200 {
            let mut peers: Vec<_> = (0..100).map(|n| peer(n, far(n), 1000 + u64::from(n))).collect();
            for (n, peer) in (1..).zip(&mut peers[..8]) {
                peer.round_trip = Some(Duration::from_millis(n));
            }
            peers[20..].iter_mut().for_each(|peer| peer.round_trip = Some(Duration::from_millis(100)));
            peers[8..12].iter_mut().for_each(|peer| peer.transaction = Some(Instant::from_millis(9000)));
            peers[12..16].iter_mut().for_each(|peer| peer.block = Some(Instant::from_millis(9000)));
            peers[16..20].iter_mut().for_each(|peer| peer.since = Instant::ZERO);
            peers[..16].iter_mut().for_each(|peer| peer.since = Instant::from_millis(5000));
            let victim = choose(peers, ip(far(200)), key).unwrap();
            assert!(victim.index() >= 20, "{victim}, key {key}");
        }
    }

    #[test]
    fn networks_alike_take_turns_in_an_order_that_the_key_decides() {
        let peers: Vec<_> = (0..100).map(|n| peer(n, far(n), 0)).collect();
        let victims: std::collections::BTreeSet<_> =
            (0..100).map(|key| choose(peers.clone(), ip(far(200)), key).unwrap()).collect();
        assert!(victims.len() > 20, "{} victims", victims.len());
    }

    #[test]
    fn few_places_protect_few_and_one_is_left_to_itself() {
        assert_eq!(choose(Vec::new(), ip(far(1)), 7), None);
        assert!(choose(vec![peer(0, far(0), 0)], ip(far(1)), 7).is_some());
        assert!(choose((0..9).map(|n| peer(n, far(n), 0)).collect(), ip(far(20)), 7).is_some());
    }
}
