//! One connection as the protocol sees it: introduced or not, in which version, how alive.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

use crate::close::CloseReason;
use crate::id::{ConnId, Direction, VerifiedId};
use crate::proto::budget::{PeerBudgets, SendBudgets, Serving};
use crate::proto::event::Received;
use crate::proto::peer::share::Intake;
use crate::rate::Pace;
use crate::time::Instant;
use crate::wire::Hash;

/// Blocks that a peer asked for and whose answer waits for its queue to drain; more requests than this are dropped.
pub(super) const DEFERRED_BLOCKS_MAX: usize = 64;

/// Transactions that may wait for one peer's pace; later ones reach it in a block, or not at all.
pub(super) const WAITING_TRANSACTIONS_MAX: usize = 10_000;

/// A connection between its opening and the driver's word that it is gone.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) conn: ConnId,
    pub(super) remote: SocketAddr,
    pub(super) direction: Direction,
    /// Who it is, as TLS has proven.
    pub(super) identity: Option<VerifiedId>,
    pub(super) state: SessionState,
    /// When the next thing about this session is due; mirrors the node's timer table.
    pub(super) timer: Instant,
    /// When the last frame, or the last part of a large one, came.
    pub(super) last_received: Instant,
    pub(super) budgets: PeerBudgets,
    /// How many addresses it may still tell us.
    pub(super) intake: Intake,
}

/// How far a session has come.
#[derive(Debug)]
pub(super) enum SessionState {
    /// Waits for the other side's introduction until the deadline.
    Greeting {
        /// Then the session is closed.
        deadline: Instant,
    },
    /// Both sides know each other.
    Ready(Box<Peer>),
    /// We asked the driver to close it; nothing that still arrives counts.
    Closing {
        /// Why.
        reason: CloseReason,
        /// The peer's id, when it had introduced itself.
        node_id: Option<String>,
    },
}

/// What a handshake told us, and what happened since.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) node_id: String,
    pub(super) user_agent: String,
    /// The version in force: the smaller of both sides'.
    pub(super) version: u8,
    /// Where others can reach it, when it listens.
    pub(super) address: Option<SocketAddr>,
    /// Blocks of its chain, as it last said.
    pub(super) chain_length: u64,
    pub(super) since: Instant,
    pub(super) next_heartbeat: Instant,
    /// The ping under way: its nonce and when it left.
    pub(super) ping: Option<(i64, Instant)>,
    pub(super) round_trip: Option<Duration>,
    /// What its connection had received when we asked last.
    pub(super) received: Option<Received>,
    /// We asked, and have no answer yet.
    pub(super) counting: bool,
    /// Since when its connection is in doubt: another one claimed its id, and it has not spoken since.
    pub(super) doubted: Option<Instant>,
    /// When it may be in doubt again.
    pub(super) next_doubt: Instant,
    /// We asked for addresses and have no answer yet.
    pub(super) asked_peers: bool,
    /// When we asked it for addresses last.
    pub(super) asked_peers_at: Option<Instant>,
    /// We asked for the waiting transactions; this many may still come outside of the usual budget.
    pub(super) asked_transactions: u32,
    /// How fast we may send it transactions, so that it does not drop them as too many.
    pub(super) transaction_pace: Pace,
    /// How much of what others say we may still pass on to it.
    pub(super) send_budgets: SendBudgets,
    /// Transactions that wait for that pace.
    pub(super) waiting: VecDeque<Hash>,
    /// When it last brought a transaction that was new and valid, and a block.
    pub(super) transaction_at: Option<Instant>,
    pub(super) block_at: Option<Instant>,
    /// What it may still be given of blocks.
    pub(super) serving: Serving,
    /// Blocks it asked for while its queue was full, or its budget used up.
    pub(super) deferred: VecDeque<Hash>,
}

impl Session {
    /// The peer, once both sides know each other and neither is leaving.
    pub(super) fn peer(&self) -> Option<&Peer> {
        match &self.state {
            SessionState::Ready(peer) => Some(peer),
            _ => None,
        }
    }

    /// The same, to change it.
    pub(super) fn peer_mut(&mut self) -> Option<&mut Peer> {
        match &mut self.state {
            SessionState::Ready(peer) => Some(peer),
            _ => None,
        }
    }

    /// Something came: the peer is not silent, and the connection not in doubt.
    pub(super) fn heard(&mut self, at: Instant) {
        self.last_received = at;
        if let Some(peer) = self.peer_mut() {
            peer.doubted = None;
        }
    }

    /// True once we asked for its close.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.state, SessionState::Closing { .. })
    }
}

/// What a node says about one of its connected peers.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its connection.
    pub conn: ConnId,
    /// Its id: proven where there is an identity, claimed where there is none.
    pub node_id: String,
    /// Who it is, as TLS has proven; `None` without TLS.
    pub identity: Option<VerifiedId>,
    /// What it runs.
    pub user_agent: String,
    /// The connection's remote address.
    pub remote: SocketAddr,
    /// Where others can reach it, when it listens.
    pub address: Option<SocketAddr>,
    /// True when we dialed.
    pub outbound: bool,
    /// The protocol version in force.
    pub version: u8,
    /// Blocks of its chain, as it last said.
    pub chain_length: u64,
    /// The last ping's round trip.
    pub round_trip: Option<Duration>,
    /// When its handshake was done.
    pub since: Instant,
}
