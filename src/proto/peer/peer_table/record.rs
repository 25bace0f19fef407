//! What is known of one peer, in the table and in the file.

use core::net::SocketAddr;

use crate::time::{Instant, Now, UnixTime};

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
    /// A dial of ours to its address ended in a handshake with it.
    pub reached: bool,
    /// One of our own connections leads to it, or did until we stopped or the line was cut: it is dialed first after a restart.
    /// Neither who came nor whom we dialed only to look whether somebody is there.
    pub anchor: bool,
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
            reached: false,
            anchor: false,
            chain_length: 0,
            score: 0,
            failures: 0,
            protocol_version: 0,
            user_agent: String::new(),
        }
    }
}
