//! The known peers: whom we have met, by the node id they gave, and which of them are the best.
//!
//! A node id in plaintext is a claim. The table therefore orders dials and answers questions; bans are the business of
//! [`reputation`](super::reputation), which goes by address.
//!
//! 1. A peer enters when its handshake is done, or from a file.
//! 2. Useful deeds cost it +1, failures -2; ten below zero or five failures in a row and it is not dialed.
//! 3. Five minutes unseen, by the monotonic clock, and it is dropped, unless it is connected.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::blacklist::{BlacklistConfig, FAILURE_POINTS, SCORE_MAX, SUCCESS_POINTS};
use crate::address::canonical;
use crate::invariant::{Broken, Invariant};
use crate::time::{Instant, Now, UnixTime};

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

/// What is known of a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRecord {
    /// Its id, 1 to 128 bytes.
    pub node_id: String,
    /// Where it can be dialed, if it can.
    pub address: Option<SocketAddr>,
    /// The other end of its last connection: for reports, not for dials.
    pub seen_from: Option<SocketAddr>,
    /// When it was last seen, for people and files.
    pub last_seen: UnixTime,
    /// When it was last seen, for decisions: a wall clock that jumps makes nobody stale.
    pub seen_at: Instant,
    /// Is there a connection to it?
    pub connected: bool,
    /// The number of blocks it last announced.
    pub chain_length: u64,
    /// -20 to 20.
    pub score: i32,
    /// Failures since the last success.
    pub failures: u32,
    /// The protocol version it announced; 0 when unknown.
    pub protocol_version: i32,
    /// Its software; at most 256 bytes.
    pub user_agent: String,
}

impl PeerRecord {
    /// A peer seen now, of which nothing else is known.
    pub fn new(node_id: impl Into<String>, address: Option<SocketAddr>, now: Now) -> Self {
        PeerRecord {
            node_id: node_id.into(),
            address,
            seen_from: None,
            last_seen: now.unix,
            seen_at: now.at,
            connected: false,
            chain_length: 0,
            score: 0,
            failures: 0,
            protocol_version: 0,
            user_agent: String::new(),
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
/// The node uses all of them but `connected_peers`, which is for reports: its own answer to who is connected,
/// [`Node::connected`](crate::proto::Node::connected), tells more.
#[derive(Clone, Debug, Default)]
pub struct PeerTable {
    config: PeerTableConfig,
    peers: BTreeMap<String, PeerRecord>,
    /// The peers that are not connected, best first.
    ranked: BTreeSet<Rank>,
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
        PeerTable { config, peers: BTreeMap::new(), ranked: BTreeSet::new() }
    }

    /// Adds a peer, or brings a known one up to date. Takes O(log n).
    pub fn add(&mut self, mut record: PeerRecord) -> Added {
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
            self.put(record);
            return Added::Updated;
        }
        let mut evicted = None;
        if self.peers.len() >= self.config.peers_max {
            match self.worst() {
                Some((score, id)) if record.connected || score <= record.score => {
                    self.remove(&id);
                    evicted = Some(id);
                }
                _ => return Added::Full,
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

    /// Drops the peers that were not seen for too long and are not connected; answers their ids. Takes O(n): for a timer.
    pub fn drop_stale(&mut self, now: Now) -> Vec<String> {
        let stale_after = self.config.stale_after;
        let stale = |rank: &&Rank| now.at.since(rank.seen_at) >= stale_after;
        let ids: Vec<String> = self.ranked.iter().filter(stale).map(|rank| rank.node_id.clone()).collect();
        for id in &ids {
            self.remove(id);
        }
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

    /// The peers to dial first, at most `count`: those that can be dialed, are not connected and
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
