//! `peers.json`: the known peers as a file that operators, scripts and the C# library read.
//!
//! An object keyed by node id; a peer's `NodeId` says it again. The first five fields are everyone's, the rest are ours and may
//! be missing; unknown ones are ignored. An entry that cannot be used costs that entry: the rest is loaded, and the file as it
//! was is kept beside it.
//!
//! ```text
//! {"node-a": {"NodeId": "node-a", "Address": "192.0.2.7:8333", "LastSeen": "2024-01-02T03:04:05.123Z",
//!             "IsConnected": true, "ChainLength": 42,
//!             "Reputation": 3, "FailureCount": 0, "ProtocolVersion": 2, "UserAgent": "Spacetime/1.0.0", "Listens": true,
//!             "Reached": true, "Anchor": true}}
//! ```
//!
//! The file is as trusted as the disk: every number is clamped, every bound of the table holds again, nobody is connected.
//! `Reached` says that we dialed it there and found it; such a peer stays in the file for 30 days after it was last seen. `Anchor` says
//! that one of our own connections led to it: it is dialed first.
//! `Address` is where a peer can be dialed. For one that does not listen (`Listens` is false) it is where it came from, or
//! `0.0.0.0:0`.

use core::fmt;
use core::net::{Ipv4Addr, SocketAddr};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::disk::{Disk, System};
use super::{keep_aside_on, read_bounded_on, remove_leftover_on, replace_on, rfc3339, set_aside_on};
use crate::address::Scope;
use crate::id::{UNNAMED_PREFIX, unnamed};
use crate::proto::peer::blacklist::SCORE_MAX;
use crate::proto::peer::peer_table::{NODE_ID_LEN_MAX, PeerRecord, expire_saved};
use crate::time::{Now, UnixTime};

/// Peers in a file at most, as many as the table holds.
pub const PEERS_MAX: usize = 10_000;
/// Bytes in a file at most: room for [`PEERS_MAX`] peers of [`ENTRY_LEN_MAX`] each, and no burden to read at start.
pub const FILE_LEN_MAX: usize = 8 << 20;
/// Bytes of one peer's line at most, as it stands in the file: the longest names of plain letters fit, and one of control characters
/// is six times as long there.
pub const ENTRY_LEN_MAX: usize = 838;

const _: () = assert!(PEERS_MAX * ENTRY_LEN_MAX + 8 <= FILE_LEN_MAX);

/// What was found in a file.
#[derive(Debug, Default)]
pub struct LoadedPeers {
    /// The peers, by node id; empty when there is no file, or nothing in it that can be used.
    pub peers: Vec<PeerRecord>,
    /// To be reported.
    pub problem: Option<LoadProblem>,
}

/// Why there is less to load than there is in a file.
#[derive(Debug)]
#[non_exhaustive]
pub enum LoadProblem {
    /// It cannot be read at all. It stays where it is.
    Unreadable(io::Error),
    /// Nothing in it can be used.
    Damaged {
        /// What is wrong with it.
        why: String,
        /// Where it was put, or why it could not be moved.
        set_aside: io::Result<PathBuf>,
    },
    /// Some of it cannot be used. It stays where it is until the next save.
    DamagedInPart {
        /// What cannot be used.
        bad: BadEntries,
        /// Where it was copied to, or why it could not be.
        copied: io::Result<PathBuf>,
    },
}

/// Entries of a file that cannot be used, and were passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadEntries {
    /// How many; 0 when the file is no whole JSON and nobody can count what is missing.
    pub count: usize,
    /// Which is the first of them and what is wrong with it. Quotes the file, which quotes strangers.
    pub first: String,
}

impl fmt::Display for BadEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            0 => write!(f, "some entries cannot be used: {}", self.first),
            1 => write!(f, "one entry cannot be used: {}", self.first),
            more => write!(f, "{more} entries cannot be used, the first: {}", self.first),
        }
    }
}

impl fmt::Display for LoadProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadProblem::Unreadable(error) => write!(f, "cannot be read: {error}"),
            LoadProblem::Damaged { why, set_aside: Ok(path) } => {
                write!(f, "damaged: {why}; set aside as {}", path.display())
            }
            LoadProblem::Damaged { why, set_aside: Err(error) } => {
                write!(f, "damaged: {why}; could not be set aside: {error}")
            }
            LoadProblem::DamagedInPart { bad, copied: Ok(path) } => {
                write!(f, "{bad}; the file as it was is kept as {}", path.display())
            }
            LoadProblem::DamagedInPart { bad, copied: Err(error) } => {
                write!(f, "{bad}; the file as it was could not be copied: {error}")
            }
        }
    }
}

/// Loads the peers at `path`. A file that is damaged, or a copy of one that is damaged in part, is kept as
/// `NAME.damaged-<unix seconds>`, of which only the newest stays.
pub fn load(path: &Path, now: Now) -> LoadedPeers {
    load_on(&System, path, now)
}

pub(crate) fn load_on(disk: &impl Disk, path: &Path, now: Now) -> LoadedPeers {
    remove_leftover_on(disk, path);
    let why = match read_bounded_on(disk, path, FILE_LEN_MAX as u64) {
        Ok(None) => return LoadedPeers::default(),
        Ok(Some(bytes)) => match decode(&bytes, now) {
            Ok(DecodedPeers { peers, bad }) => {
                let problem = bad.map(|bad| {
                    let copied = keep_aside_on(disk, path, &bytes, now.unix);
                    LoadProblem::DamagedInPart { bad, copied }
                });
                return LoadedPeers { peers, problem };
            }
            Err(error) => error.to_string(),
        },
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => format!("larger than {FILE_LEN_MAX} bytes"),
        Err(error) => return LoadedPeers { peers: Vec::new(), problem: Some(LoadProblem::Unreadable(error)) },
    };
    let problem = LoadProblem::Damaged { why, set_aside: set_aside_on(disk, path, now.unix) };
    LoadedPeers { peers: Vec::new(), problem: Some(problem) }
}

/// Saves `peers` at `path` in one step; at most [`PEERS_MAX`], and what fits [`FILE_LEN_MAX`], in the order given.
///
/// # Errors
///
/// As [`replace_file`](super::replace_file); the old file is still there then.
pub fn save<'a>(path: &Path, peers: impl IntoIterator<Item = &'a PeerRecord>) -> io::Result<()> {
    save_on(&System, path, peers)
}

pub(crate) fn save_on<'a>(
    disk: &impl Disk,
    path: &Path,
    peers: impl IntoIterator<Item = &'a PeerRecord>,
) -> io::Result<()> {
    replace_on(disk, path, &encode(peers)?, false)
}

/// The file's bytes for `peers`, as [`save`] writes them: a peer per line.
///
/// # Errors
///
/// None that can occur: text and numbers are always JSON.
pub fn encode<'a>(peers: impl IntoIterator<Item = &'a PeerRecord>) -> io::Result<Vec<u8>> {
    let mut bytes = b"{".to_vec();
    let mut separator = "\n";
    let (mut lines, mut by_address) = (0, BTreeSet::new());
    for peer in peers {
        if lines == PEERS_MAX {
            break;
        }
        let Some((node_id, line)) = line_of(peer)? else { continue };
        // One that goes by its address may meet another that gave that for a name.
        if node_id.starts_with(UNNAMED_PREFIX) && !by_address.insert(node_id) {
            continue;
        }
        bytes.extend_from_slice(separator.as_bytes());
        bytes.extend_from_slice(line.as_bytes());
        separator = ",\n";
        lines += 1;
    }
    bytes.extend_from_slice(b"\n}\n");
    Ok(bytes)
}

/// The id in a peer's entry and the entry, without what separates it from others. One that would be too long goes without its user agent, then by its
/// address in place of its name; a peer that has neither a short name nor an address is not worth a line.
fn line_of(peer: &PeerRecord) -> io::Result<Option<(String, String)>> {
    let mut stored = StoredPeer::from(peer);
    for shorten in [
        |_: &mut StoredPeer| {},
        |stored: &mut StoredPeer| stored.user_agent.clear(),
        |stored: &mut StoredPeer| stored.node_id = unnamed(stored.address),
    ] {
        shorten(&mut stored);
        if stored.node_id != peer.node_id && peer.address.is_none() {
            break;
        }
        let line = format!("{}: {}", serde_json::to_string(&stored.node_id)?, serde_json::to_string(&stored)?);
        // With the separator.
        if line.len() + 2 <= ENTRY_LEN_MAX {
            return Ok(Some((stored.node_id, line)));
        }
    }
    Ok(None)
}

/// What a file's bytes name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecodedPeers {
    /// The peers, by node id, all disconnected and seen `now` as far as staleness goes.
    pub peers: Vec<PeerRecord>,
    /// What was passed over, to be reported.
    pub bad: Option<BadEntries>,
}

/// The peers that the file's bytes name. Of two entries with one id the first counts, of more than [`PEERS_MAX`] the first
/// ones, and of a file that breaks off what came before.
///
/// # Errors
///
/// There is nothing in it that can be used, although it is not empty: what is wrong, and in which line.
pub fn decode(bytes: &[u8], now: Now) -> Result<DecodedPeers, serde_json::Error> {
    // A byte order mark is how some Windows programs begin any text.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut found = Found::default();
    if let Err(error) = found.read(bytes) {
        let lines = Found::by_lines(bytes);
        if lines.peers.len() > found.peers.len() {
            found = lines;
        }
        if found.peers.is_empty() {
            return Err(error);
        }
        found.bad = Some(BadEntries { count: 0, first: error.to_string() });
    }
    match found.bad {
        Some(bad) if found.peers.is_empty() => Err(serde_json::Error::custom(bad.first)),
        bad => {
            let peers = found.peers.into_iter().map(|(node_id, peer)| peer.into_record(node_id, now));
            let mut peers: Vec<PeerRecord> = peers.collect();
            expire_saved(&mut peers);
            Ok(DecodedPeers { peers, bad })
        }
    }
}

/// One peer as the file has it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct StoredPeer {
    node_id: String,
    #[serde(deserialize_with = "address")]
    address: SocketAddr,
    #[serde(serialize_with = "write_time", deserialize_with = "read_time")]
    last_seen: UnixTime,
    is_connected: bool,
    chain_length: i128,
    #[serde(default)]
    reputation: i128,
    #[serde(default)]
    failure_count: i128,
    #[serde(default)]
    protocol_version: i128,
    #[serde(default)]
    user_agent: String,
    /// A file of others does not say; what it names is worth a dial.
    #[serde(default = "yes")]
    listens: bool,
    /// Written only where it is true.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    reached: bool,
    /// The same.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    anchor: bool,
}

fn yes() -> bool {
    true
}

impl From<&PeerRecord> for StoredPeer {
    fn from(peer: &PeerRecord) -> Self {
        StoredPeer {
            node_id: peer.node_id.clone(),
            address: peer.address.or(peer.seen_from).unwrap_or(NOWHERE),
            last_seen: peer.last_seen,
            is_connected: peer.connected,
            chain_length: peer.chain_length.into(),
            reputation: peer.score.into(),
            failure_count: peer.failures.into(),
            protocol_version: peer.protocol_version.into(),
            user_agent: peer.user_agent.clone(),
            listens: peer.address.is_some(),
            reached: peer.reached && peer.address.is_some(),
            anchor: peer.anchor && peer.reached && peer.address.is_some(),
        }
    }
}

impl StoredPeer {
    fn into_record(self, node_id: String, now: Now) -> PeerRecord {
        let score_max = i128::from(SCORE_MAX);
        let address = Some(self.address).filter(|address| Scope::of_socket(*address) != Scope::Unusable);
        PeerRecord {
            node_id,
            address: address.filter(|_| self.listens),
            seen_from: address.filter(|_| !self.listens),
            // A stamp from the future is of a clock that was wrong.
            last_seen: self.last_seen.min(now.unix),
            seen_at: now.at,
            connected: false,
            reached: self.reached && self.listens && address.is_some(),
            anchor: self.anchor && self.reached && self.listens && address.is_some(),
            chain_length: u64::try_from(self.chain_length.clamp(0, u64::MAX.into())).unwrap_or(0),
            score: i32::try_from(self.reputation.clamp(-score_max, score_max)).unwrap_or(0),
            failures: u32::try_from(self.failure_count.clamp(0, u32::MAX.into())).unwrap_or(0),
            protocol_version: i32::try_from(self.protocol_version.clamp(0, i32::MAX.into())).unwrap_or(0),
            user_agent: self.user_agent,
        }
    }
}

/// An address that is well formed and means none.
const NOWHERE: SocketAddr = SocketAddr::new(core::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// What was found so far; it outlives an error that ends the reading.
#[derive(Default)]
struct Found {
    peers: BTreeMap<String, StoredPeer>,
    bad: Option<BadEntries>,
}

impl Found {
    fn read(&mut self, bytes: &[u8]) -> Result<(), serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_slice(bytes);
        deserializer.deserialize_map(EntriesVisitor(self))?;
        deserializer.end()
    }

    /// The entries that have a line to themselves, as [`encode`] writes them: damage within one line costs that line.
    fn by_lines(bytes: &[u8]) -> Found {
        let mut found = Found::default();
        for line in bytes.split(|byte| *byte == b'\n') {
            let line = line.trim_ascii();
            let line = line.strip_suffix(b",").unwrap_or(line);
            if line.first() == Some(&b'"') {
                let _passed_over = found.read(&[b"{", line, b"}"].concat());
            }
        }
        found
    }

    fn entry(&mut self, node_id: String, value: &RawValue) {
        let checked = serde_json::from_str::<StoredPeer>(value.get()).map_err(|error| {
            let text = error.to_string();
            // The place is one within the entry, which is no help.
            text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text).to_owned()
        });
        let why = match checked {
            Err(why) => why,
            Ok(_) if node_id.is_empty() || node_id.len() > NODE_ID_LEN_MAX => {
                format!("a node id has 1 to {NODE_ID_LEN_MAX} bytes")
            }
            // One of the two is not what was written, and nobody can say which.
            Ok(peer) if node_id != peer.node_id => "a peer's NodeId is not its key".to_owned(),
            Ok(_) if self.peers.contains_key(&node_id) => "a peer is there twice".to_owned(),
            Ok(_) if self.peers.len() >= PEERS_MAX => format!("more than {PEERS_MAX} peers"),
            Ok(peer) => {
                self.peers.insert(node_id, peer);
                return;
            }
        };
        let name = || node_id.chars().take(NODE_ID_LEN_MAX).collect::<String>();
        let first = || BadEntries { count: 0, first: format!("{:?}: {why}", name()) };
        self.bad.get_or_insert_with(first).count += 1;
    }
}

struct EntriesVisitor<'a>(&'a mut Found);

impl<'de> Visitor<'de> for EntriesVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of peers by node id")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((node_id, peer)) = map.next_entry::<String, &RawValue>()? {
            self.0.entry(node_id, peer);
        }
        Ok(())
    }
}

fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    String::deserialize(deserializer)?.trim().parse().map_err(D::Error::custom)
}

fn write_time<S: serde::Serializer>(time: &UnixTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339::format(*time))
}

fn read_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<UnixTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    rfc3339::parse(&text).ok_or_else(|| D::Error::custom("not an RFC 3339 time"))
}
