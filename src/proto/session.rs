//! What is known of a peer that has introduced itself: who it is, in which version we talk, how alive it is, what it may still do.

pub(super) mod client;
pub(super) mod speech;

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::VecDeque;

use crate::id::{ConnId, VerifiedId};
use crate::proto::budget::{SendBudgets, Serving, TransactionPace};
use crate::proto::clock::PeerClock;
use crate::proto::event::Received;
use crate::proto::gossip::{FairQueue, OwnGossip, RelayedGossip};
use crate::proto::pool::PoolExchange;
use crate::proto::session::speech::Speech;
use crate::time::Instant;
use crate::wire::message::GetHeaders;
use crate::wire::{Agreed, FrameRules, Hash, Kind};

/// Transactions that may wait for one peer's pace, in about 1 MiB; what gives way is offered when the pools are compared, which
/// comes before the last of so many would leave at the slowest pace.
pub(super) const WAITING_TRANSACTIONS_MAX: usize = 5_000;

/// Headers that a peer asked for and that were not told yet.
#[derive(Clone, Debug)]
pub(super) struct HeadersWanted {
    pub(super) request: GetHeaders,
    /// It is the rest of an answer, which goes on only from where it has come to.
    pub(super) goes_on: bool,
}

/// What a handshake told us, and what happened since.
#[derive(Debug)]
pub(super) struct Peer {
    node_id: String,
    /// Under which id the table of known peers has it; empty when it has not.
    pub(super) known_as: String,
    pub(super) user_agent: String,
    /// The version in force: the smaller of both sides'.
    pub(super) version: u8,
    /// How we speak with it.
    pub(super) speech: Speech,
    /// Where others can reach it, when it listens.
    pub(super) address: Option<SocketAddr>,
    /// Its frames are judged by rules that have blocks in them.
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
    /// At which address it sees us, where we dialed it and it said so.
    pub(super) sees_us: Option<IpAddr>,
    /// Both of us serve runs of blocks.
    pub(super) serves_runs: bool,
    /// Large frames pass between us in pieces.
    pub(super) takes_pieces: bool,
    /// Frames pass between us compressed.
    pub(super) takes_compressed: bool,
    /// Between us an answer to a question for headers may be several frames.
    pub(super) tells_many_headers: bool,
    /// What it may still be given of blocks.
    pub(super) serving: Serving,
    /// Blocks it asked for while its queue was full, or its budget used up.
    pub(super) deferred: VecDeque<Hash>,
    /// The same of headers.
    pub(super) deferred_headers: VecDeque<HeadersWanted>,
    /// What the last Headers answered of which the rest is the next of these, in case that it finds no room.
    pub(super) headers_sent: Option<HeadersWanted>,
    /// It will send no more, and its connection is held for these.
    pub(super) held: bool,
}

impl Peer {
    /// A peer that has just introduced itself.
    pub(super) fn new(
        (node_id, user_agent, version, speech): (String, String, u8, Speech),
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
            speech,
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
            sees_us: None,
            serves_runs: false,
            takes_pieces: false,
            takes_compressed: false,
            tells_many_headers: false,
            serving,
            deferred: VecDeque::new(),
            deferred_headers: VecDeque::new(),
            headers_sent: None,
            held: false,
        }
    }

    /// What it may send now: a block only as long as it was asked for one, so that any other is refused by its header, before memory is
    /// held for it. In version 1 a block that was not asked for is a new one.
    pub(super) fn rules(&self) -> &'static FrameRules {
        if self.speech.is_version_1() {
            return self.speech.rules();
        }
        FrameRules::agreed(Agreed {
            runs: self.serves_runs,
            blocks: self.may_send_block,
            pieces: self.takes_pieces,
            compressed: self.takes_compressed,
        })
    }

    /// May a transaction of so many bytes leave now? It is charged then.
    pub(super) fn take_transaction(&mut self, now: Instant, len: usize) -> bool {
        let takes = self.speech.ready_at(Kind::Transaction) <= now && self.transaction_pace.take(now, len);
        if takes {
            self.speech.sent(now, Kind::Transaction);
        }
        takes
    }

    /// When to try one again that found no place.
    pub(super) fn try_transaction_again(&self, now: Instant, len: usize) -> Instant {
        self.transaction_pace.try_again(now, len).max(self.speech.ready_at(Kind::Transaction))
    }

    /// May one of a kind that others said leave now? It is charged then. Words of our own that wait go first.
    pub(super) fn take_passed_on(&mut self, now: Instant, kind: Kind) -> bool {
        let own_waits = self.own_gossip.waits(kind);
        let takes = self.speech.ready_at(kind) <= now && self.send_budgets.take(now, kind, own_waits);
        if takes {
            self.speech.sent(now, kind);
        }
        takes
    }

    /// Takes the place of one of a kind that we say ourselves.
    ///
    /// # Errors
    ///
    /// None is free: when the next one will be, if others leave it to us.
    pub(super) fn take_own(&mut self, now: Instant, kind: Kind) -> Result<(), Instant> {
        let ready_at = self.speech.ready_at(kind);
        if ready_at > now {
            return Err(ready_at);
        }
        self.send_budgets.take_own(now, kind)?;
        self.speech.sent(now, kind);
        Ok(())
    }

    /// When one of a kind that others said may leave next.
    pub(super) fn ready_at(&self, kind: Kind) -> Instant {
        self.send_budgets.ready_at(kind).max(self.speech.ready_at(kind))
    }

    /// Its id, which never changes: by that and its address the sessions find it.
    pub(super) fn node_id(&self) -> &str {
        &self.node_id
    }
}

/// What a node says about a client that does not introduce itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientInfo {
    /// Its connection.
    pub conn: ConnId,
    /// What it is called: by its proven identity, or else `peer_<ip>_<port>`.
    pub name: String,
    /// Who it is, as TLS has proven; `None` where it has not.
    pub identity: Option<VerifiedId>,
    /// The connection's remote address.
    pub remote: SocketAddr,
    /// It has asked something, so that nothing is said to it unasked.
    pub has_asked: bool,
    /// Since when it is here.
    pub since: Instant,
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
