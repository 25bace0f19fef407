//! The known peers: whom we have met, by the node id they gave, and which of them are the best.
//!
//! A node id in plaintext is a claim. The table therefore answers questions and says whom we reached; bans are the business of
//! [`reputation`](super::reputation), which goes by address. Who claims the id of a peer that we reached is
//! [known under another](PeerTable::introduce).
//!
//! 1. A peer enters when its handshake is done, or from a file.
//! 2. Useful deeds cost it +1, failures -2; ten below zero or five failures in a row and it is not dialed.
//! 3. Five minutes unseen, by the monotonic clock, and it is no longer among the known peers, unless it is connected.
//! 4. One that we reached is [remembered](PeerTable::saved_peers) for 30 days all the same, and saved: what is away may come back.

mod anchors;
mod evidence;
mod introduce;
mod record;
mod remembered;

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::blacklist::{BlacklistConfig, FAILURE_POINTS, SCORE_MAX, SUCCESS_POINTS};
use crate::address::canonical;
use crate::invariant::{Broken, Invariant};
use crate::time::{Instant, Now};
use evidence::is_from;
use remembered::RememberedPeers;

pub use anchors::ANCHORS_MAX;
pub use evidence::{Evidence, Introduced};
pub use record::PeerRecord;
pub use remembered::{REMEMBERED_FOR, REMEMBERED_MAX, expire_saved};

/// The longest node id, in bytes; the handshake's own limit.
pub const NODE_ID_LEN_MAX: usize = 128;
/// The longest user agent kept, in bytes; the handshake's own limit.
pub const USER_AGENT_LEN_MAX: usize = 256;

/// The numbers of a [`PeerTable`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTableConfig {
    /// Peers kept at most; the worst goes first. Default 10,000, about 4 MiB.
    pub peers_max: usize,
    /// Unseen for so long, a peer that is not connected is dropped. Default 5 minutes.
    pub stale_after: Duration,
    /// Which peers are not worth a dial. Of this, score and failures count here: an id is not banned, so nothing lasts.
    pub blacklist: BlacklistConfig,
}

impl Default for PeerTableConfig {
    fn default() -> Self {
        PeerTableConfig {
            peers_max: 10_000,
            stale_after: Duration::from_secs(300),
            blacklist: BlacklistConfig::default(),
        }
    }
}

/// What became of an added peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// It is new. The peer with this id had to go for it.
    New {
        /// Who went.
        evicted: Option<String>,
    },
    /// It was known: address, chain length, version and agent are the new ones, score and failures the old ones.
    Updated,
    /// The table is full of connected or better peers.
    Full,
    /// The node id is empty or longer than 128 bytes.
    BadNodeId,
}

/// The known-peers table.
///
/// It has what the C# library's `IPeerManager` has, by these names:
///
/// | `IPeerManager` | here | differs in |
/// |---|---|---|
/// | `KnownPeers` | [`known_peers`](Self::known_peers) | in the order of their ids |
/// | `ConnectedPeers` | [`connected_peers`](Self::connected_peers) | in the order of their ids |
/// | `AddPeer` | [`add`](Self::add) | a known peer is brought up to date; the table has a limit |
/// | `RemovePeer` | [`remove`](Self::remove) | answers the record |
/// | `GetPeer` | [`get`](Self::get) | |
/// | `UpdatePeerConnectionStatus` | [`set_connected`](Self::set_connected) | connecting forgives no failures; success does |
/// | `RecordSuccess` | [`record_success`](Self::record_success) | is no sight of the peer: [`update_last_seen`](Self::update_last_seen) is |
/// | `RecordFailure` | [`record_failure`](Self::record_failure) | |
/// | `GetBestPeers` | [`best_peers`](Self::best_peers) | only those that can be dialed |
/// | `ShouldBlacklist` | [`should_blacklist`](Self::should_blacklist) | bans are [`Reputation`](super::Reputation)'s |
///
/// `connected_peers` is for reports: the node's own answer to who is connected,
/// [`Node::connected`](crate::proto::Node::connected), tells more. `best_peers` too: a score can be earned by whoever comes, so that
/// it orders no dials; [`anchors`](PeerTable::anchors) does.
#[derive(Clone, Debug, Default)]
pub struct PeerTable {
    config: PeerTableConfig,
    peers: BTreeMap<String, PeerRecord>,
    /// The peers that are not connected, best first.
    ranked: BTreeSet<Rank>,
    /// Those that we reached and that are known no longer.
    remembered: RememberedPeers,
}

/// Best score first, then longest unseen, then by id so that the order is total.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    demerit: i32,
    seen_at: Instant,
    node_id: String,
}

impl PeerTable {
    /// An empty table.
    pub fn new(config: PeerTableConfig) -> Self {
        PeerTable { config, ..PeerTable::default() }
    }

    /// Adds a peer, or brings a known one up to date, on the word of whoever calls. Takes O(log n). For a peer that introduced
    /// itself there is [`introduce`](Self::introduce).
    pub fn add(&mut self, record: PeerRecord) -> Added {
        self.insert(record, false)
    }

    fn insert(&mut self, mut record: PeerRecord, is_proven: bool) -> Added {
        if record.node_id.is_empty() || record.node_id.len() > NODE_ID_LEN_MAX {
            return Added::BadNodeId;
        }
        record.address = record.address.map(canonical);
        record.seen_from = record.seen_from.map(canonical);
        record.score = record.score.clamp(-SCORE_MAX, SCORE_MAX);
        truncate(&mut record.user_agent, USER_AGENT_LEN_MAX);
        if let Some(known) = self.peers.get(&record.node_id) {
            record.score = known.score;
            record.failures = known.failures;
            record.seen_at = record.seen_at.max(known.seen_at);
            if known.reached {
                // A handshake that names no port does not say that nobody listens where we found it.
                record.address = record.address.or(known.address);
            }
            record.reached |= known.reached && record.address == known.address;
            record.anchor |= known.anchor && record.reached;
            if record.address != known.address {
                // The id is a claim: whoever gives it from elsewhere must not make us forget where we reached it.
                self.remembered.insert_nameless(known.clone());
            }
            self.put(record);
            return Added::Updated;
        }
        let mut evicted = None;
        if self.peers.len() >= self.config.peers_max {
            match self.worst() {
                Some((score, id)) if record.connected || score <= record.score => {
                    self.retire(&id);
                    evicted = Some(id);
                }
                _ => {
                    self.remembered.insert(record);
                    return Added::Full;
                }
            }
        }
        if let Some(known) = self.remembered.take(&record.node_id) {
            if is_proven || is_from(&known, &record) {
                record.address = record.address.or(known.address);
            }
            record.reached |= known.address == record.address;
            record.anchor |= known.anchor && record.reached;
            if known.address != record.address {
                self.remembered.insert_nameless(known);
            }
        }
        self.put(record);
        Added::New { evicted }
    }

    /// Forgets a peer.
    pub fn remove(&mut self, node_id: &str) -> Option<PeerRecord> {
        let record = self.peers.remove(node_id)?;
        self.ranked.remove(&rank(&record));
        Some(record)
    }

    /// A dial of ours to the peer's address ended in a handshake with it. Nobody else is there any more. False when it is unknown.
    pub fn record_reached(&mut self, node_id: &str) -> bool {
        let Some(address) = self.peers.get(node_id).and_then(|record| record.address) else { return false };
        self.forget_address(address, Some(node_id));
        self.change(node_id, |record| record.reached = true)
    }

    /// Whoever we reached at this address is not there, or is none of us: it is not remembered, unless it is this one. Takes
    /// O(n), for what is rare.
    pub fn forget_address(&mut self, address: SocketAddr, unless: Option<&str>) {
        let address = canonical(address);
        self.remembered.forget(address);
        let others = self.peers.values().filter(|record| record.reached && record.address == Some(address));
        let others = others.filter(|record| Some(record.node_id.as_str()) != unless);
        let others: Vec<String> = others.map(|record| record.node_id.clone()).collect();
        for id in others {
            self.change(&id, |record| (record.reached, record.anchor) = (false, false));
        }
    }

    /// A peer leaves the table, and is remembered if we reached it.
    fn retire(&mut self, node_id: &str) {
        if let Some(record) = self.remove(node_id) {
            self.remembered.insert(record);
        }
    }

    /// The peer did something useful: one point more, and the failures are forgotten. False when it is unknown.
    pub fn record_success(&mut self, node_id: &str) -> bool {
        self.change(node_id, |record| {
            record.score = record.score.saturating_add(SUCCESS_POINTS).min(SCORE_MAX);
            record.failures = 0;
        })
    }

    /// The peer failed: two points less, and one failure more in a row. False when it is unknown.
    pub fn record_failure(&mut self, node_id: &str) -> bool {
        self.change(node_id, |record| {
            record.score = record.score.saturating_add(FAILURE_POINTS).max(-SCORE_MAX);
            record.failures = record.failures.saturating_add(1);
        })
    }

    /// The peer was seen now. False when it is unknown.
    pub fn update_last_seen(&mut self, node_id: &str, now: Now) -> bool {
        self.change(node_id, |record| {
            record.last_seen = now.unix;
            record.seen_at = record.seen_at.max(now.at);
        })
    }

    /// The peer announced so many blocks. False when it is unknown.
    pub fn update_chain_length(&mut self, node_id: &str, blocks: u64) -> bool {
        self.change(node_id, |record| record.chain_length = blocks)
    }

    /// A connection to the peer stands, or is gone. Either is a sight of it. False when it is unknown.
    pub fn set_connected(&mut self, node_id: &str, connected: bool, now: Now) -> bool {
        self.change(node_id, |record| {
            record.connected = connected;
            record.last_seen = now.unix;
            record.seen_at = record.seen_at.max(now.at);
        })
    }

    /// Drops the peers that were not seen for too long and are not connected; answers their ids. Those that we reached are
    /// [remembered](Self::saved_peers). Takes O(n): for a timer.
    pub fn drop_stale(&mut self, now: Now) -> Vec<String> {
        let stale_after = self.config.stale_after;
        let stale = |rank: &&Rank| now.at.since(rank.seen_at) >= stale_after;
        let ids: Vec<String> = self.ranked.iter().filter(stale).map(|rank| rank.node_id.clone()).collect();
        for id in &ids {
            self.retire(id);
        }
        self.remembered.expire(now.at);
        ids
    }

    /// The peer of this id.
    pub fn get(&self, node_id: &str) -> Option<&PeerRecord> {
        self.peers.get(node_id)
    }

    /// All peers, by id.
    pub fn known_peers(&self) -> impl Iterator<Item = &PeerRecord> {
        self.peers.values()
    }

    /// The peers that a file should keep, each id once, in the order in which a limit should leave them out last: anchors, others
    /// that we reached, be they known or only remembered, those that are connected, the rest.
    pub fn saved_peers(&self) -> impl Iterator<Item = &PeerRecord> {
        let away = self.remembered.iter().map(|(_, record)| record);
        let is_reached = |id: &str| self.peers.get(id).is_some_and(|record| record.reached);
        let away: Vec<&PeerRecord> = away.filter(|record| !is_reached(&record.node_id)).collect();
        let taken: BTreeSet<&str> = away.iter().map(|record| record.node_id.as_str()).collect();
        let here = self.peers.values().filter(move |record| record.reached || !taken.contains(record.node_id.as_str()));
        let mut saved: Vec<&PeerRecord> = here.chain(away).collect();
        // Stable: by id among equals, then those that are away by address.
        saved.sort_by_key(|record| (!record.anchor, !record.reached, !record.connected));
        saved.into_iter()
    }

    /// The addresses of those that we reached and that are known no longer.
    pub fn remembered_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.remembered.iter().map(|(address, _)| address)
    }

    /// The connected peers, by id.
    pub fn connected_peers(&self) -> impl Iterator<Item = &PeerRecord> {
        self.peers.values().filter(|record| record.connected)
    }

    /// How many peers are known.
    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Is nobody known?
    pub fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// The peers of the best name, at most `count`: those that can be dialed, are not connected and
    /// [not bad](Self::should_blacklist), best score first, then longest unseen. Each costs O(log n) when it is asked for.
    pub fn best_peers(&self, count: usize) -> impl Iterator<Item = &PeerRecord> {
        let fit = self.ranked.iter().filter(|rank| !self.should_blacklist(&rank.node_id));
        let fit = fit.filter_map(|rank| self.peers.get(&rank.node_id));
        fit.filter(|record| record.address.is_some()).take(count)
    }

    /// Is this peer beyond the line of [`BlacklistConfig`], so that it is not dialed? False when it is unknown. It may connect
    /// all the same: an id is a claim, and who is banned is [`Reputation`](super::Reputation)'s to say.
    pub fn should_blacklist(&self, node_id: &str) -> bool {
        let bad = |record: &PeerRecord| self.config.blacklist.is_bad(record.score, record.failures);
        self.peers.get(node_id).is_some_and(bad)
    }

    /// Is the table within its limit, and its ranking in step?
    ///
    /// # Errors
    ///
    /// The rule that is broken, and what was found.
    pub fn audit(&self) -> Result<(), Broken> {
        self.remembered.audit()?;
        let (known, most, ranked) = (self.peers.len(), self.config.peers_max, self.ranked.len());
        let free = self.peers.values().filter(|record| !record.connected).count();
        Invariant::S5.check(known <= most && ranked == free, || {
            format!("{known} peers of {most}, {free} free, {ranked} ranked")
        })?;
        for record in self.peers.values() {
            let placed = record.connected || self.ranked.contains(&rank(record));
            Invariant::S9.check(placed && record.score.abs() <= SCORE_MAX, || {
                format!("the score or the rank of {:?} is wrong", record.node_id)
            })?;
        }
        Ok(())
    }

    /// The peer that goes first: the lowest score, then the longest unseen; never a connected one.
    fn worst(&self) -> Option<(i32, String)> {
        let demerit = self.ranked.last()?.demerit;
        let from = Rank { demerit, seen_at: Instant::ZERO, node_id: String::new() };
        let worst = self.ranked.range(from..).next()?;
        Some((-worst.demerit, worst.node_id.clone()))
    }

    fn change(&mut self, node_id: &str, how: impl FnOnce(&mut PeerRecord)) -> bool {
        let Some(mut record) = self.peers.get(node_id).cloned() else { return false };
        how(&mut record);
        self.put(record);
        true
    }

    /// Stores a record and keeps the ranking in step with it.
    fn put(&mut self, record: PeerRecord) {
        if let Some(old) = self.peers.get(&record.node_id) {
            self.ranked.remove(&rank(old));
        }
        if !record.connected {
            self.ranked.insert(rank(&record));
        }
        self.peers.insert(record.node_id.clone(), record);
    }
}

fn rank(record: &PeerRecord) -> Rank {
    Rank { demerit: -record.score, seen_at: record.seen_at, node_id: record.node_id.clone() }
}

/// Cuts `text` to at most `len` bytes, between two characters.
fn truncate(text: &mut String, len: usize) {
    let mut end = len.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

#[cfg(test)]
#[path = "peer_table_tests.rs"]
mod tests;
