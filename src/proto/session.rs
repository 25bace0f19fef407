//! What is known of a peer that has introduced itself: who it is, in which version we talk, how alive it is, what it may still do.

use core::net::SocketAddr;
use core::time::Duration;
use std::collections::VecDeque;

use crate::id::{ConnId, VerifiedId};
use crate::proto::budget::{SendBudgets, Serving, TransactionPace};
use crate::proto::clock::PeerClock;
use crate::proto::event::Received;
use crate::proto::gossip::{FairQueue, OwnGossip, RelayedGossip};
use crate::proto::pool::PoolExchange;
use crate::time::Instant;
use crate::wire::Hash;
use crate::wire::message::GetHeaders;

/// Transactions that may wait for one peer's pace, in about 1 MiB; what gives way is offered when the pools are compared, which
/// comes before the last of so many would leave at the slowest pace.
pub(super) const WAITING_TRANSACTIONS_MAX: usize = 5_000;

/// What a handshake told us, and what happened since.
#[derive(Debug)]
pub(super) struct Peer {
    node_id: String,
    /// Under which id the table of known peers has it; empty when it has not.
    pub(super) known_as: String,
    pub(super) user_agent: String,
    /// The version in force: the smaller of both sides'.
    pub(super) version: u8,
    /// Where others can reach it, when it listens.
    pub(super) address: Option<SocketAddr>,
    /// Its frames are judged by rules that have a Block in them.
    pub(super) may_send_block: bool,
    /// Blocks of its chain, as it last said.
    pub(super) chain_length: u64,
    pub(super) since: Instant,
    pub(super) next_heartbeat: Instant,
    /// The ping under way: its nonce and when it left.
    pub(super) ping: Option<(i64, Instant)>,
    pub(super) round_trip: Option<Duration>,
    /// What its clock said last.
    pub(super) clock: Option<PeerClock>,
    /// What its connection had received when we asked last, and when that was.
    pub(super) received: Option<(Instant, Received)>,
    /// When we asked last, a large frame was on its way to the peer, and our ping behind it.
    pub(super) ping_waits: bool,
    /// Since when its connection is in doubt: another one claimed its id, and it has not spoken since.
    pub(super) doubted: Option<Instant>,
    /// What its connection had received when the doubt began, once we know.
    pub(super) doubted_at: Option<u64>,
    /// When it may be in doubt again.
    pub(super) next_doubt: Instant,
    /// We asked for addresses and have no answer yet.
    pub(super) asked_peers: bool,
    /// When we asked it for addresses last.
    pub(super) asked_peers_at: Option<Instant>,
    /// We asked for the waiting transactions; this many may still come outside of the usual budget.
    pub(super) asked_transactions: u32,
    /// How fast we may send it transactions, so that it does not drop them as too many.
    pub(super) transaction_pace: TransactionPace,
    /// How much it may still be sent unasked.
    pub(super) send_budgets: SendBudgets,
    /// What we say ourselves and waits for that.
    pub(super) own_gossip: OwnGossip,
    /// What others say and waits for the same.
    pub(super) relayed: RelayedGossip,
    /// What its pool lacks of ours.
    pub(super) pool: PoolExchange,
    /// It could not be told of a tip when that came.
    pub(super) is_owed_tip: bool,
    /// Transactions that wait for that pace, shared by those who brought them.
    pub(super) waiting: FairQueue<()>,
    /// How many of them left since the last offer did.
    pub(super) waited_in_a_row: u8,
    /// When it last brought a transaction that was new and valid, and a block.
    pub(super) transaction_at: Option<Instant>,
    pub(super) block_at: Option<Instant>,
    /// What it may still be given of blocks.
    pub(super) serving: Serving,
    /// Blocks it asked for while its queue was full, or its budget used up.
    pub(super) deferred: VecDeque<Hash>,
    /// The same of headers.
    pub(super) deferred_headers: VecDeque<GetHeaders>,
    /// It will send no more, and its connection is held for these.
    pub(super) held: bool,
}

impl Peer {
    /// A peer that has just introduced itself.
    pub(super) fn new(
        (node_id, user_agent, version): (String, String, u8),
        (now, next_heartbeat): (Instant, Instant),
        transaction_pace: TransactionPace,
        (send_budgets, serving, relayed): (SendBudgets, Serving, RelayedGossip),
        pool: PoolExchange,
    ) -> Self {
        Peer {
            known_as: node_id.clone(),
            node_id,
            user_agent,
            version,
            address: None,
            may_send_block: false,
            chain_length: 0,
            since: now,
            next_heartbeat,
            ping: None,
            round_trip: None,
            clock: None,
            received: None,
            ping_waits: false,
            doubted: None,
            doubted_at: None,
            next_doubt: now,
            asked_peers: false,
            asked_peers_at: None,
            asked_transactions: 0,
            transaction_pace,
            send_budgets,
            own_gossip: OwnGossip::default(),
            relayed,
            pool,
            is_owed_tip: false,
            waiting: FairQueue::new(WAITING_TRANSACTIONS_MAX),
            waited_in_a_row: 0,
            transaction_at: None,
            block_at: None,
            serving,
            deferred: VecDeque::new(),
            deferred_headers: VecDeque::new(),
            held: false,
        }
    }

    /// Its id, which never changes: by that and its address the sessions find it.
    pub(super) fn node_id(&self) -> &str {
        &self.node_id
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
