//! What a node shows of its tables to whoever watches it: the peers that are connected, a piece at a time where they are many, and the
//! owners of what else is counted.

use core::net::SocketAddr;
use core::ops::Bound;

use crate::id::{ConnId, VerifiedId};
use crate::proto::node::Node;
use crate::proto::node::banning::origins;
use crate::proto::node::sessions::Session;
use crate::proto::peer::admission::Admission;
use crate::proto::peer::outbound::OutboundManager;
use crate::proto::peer::reputation::Reputation;
use crate::proto::session::PeerInfo;
use crate::time::Instant;

impl<C> Node<C> {
    /// The peers that have introduced themselves, in the order of their connections.
    pub fn connected(&self) -> impl Iterator<Item = PeerInfo> + '_ {
        self.sessions.iter().filter_map(info)
    }

    /// The same from behind a connection on: so many of thousands can be shown a piece at a time, none of which holds up the loop.
    /// `None` begins with the first.
    ///
    /// # Examples
    ///
    /// ```
    /// use spacetime_network::proto::{Node, PeerInfo};
    ///
    /// fn second_hundred<C>(node: &Node<C>) -> Vec<PeerInfo> {
    ///     let last = node.connected_after(None).take(100).last();
    ///     node.connected_after(last.map(|peer| peer.conn)).take(100).collect()
    /// }
    /// ```
    pub fn connected_after(&self, conn: Option<ConnId>) -> impl Iterator<Item = PeerInfo> + '_ {
        let from = conn.map_or(Bound::Unbounded, Bound::Excluded);
        self.sessions.from(from).filter_map(info)
    }

    /// What is held against a peer, or in its favour: the lower of the scores of its address and of the identity that it has proven.
    /// 0 for a stranger, see [`Reputation::score`].
    pub fn score(&self, remote: SocketAddr, identity: Option<VerifiedId>, now: Instant) -> i32 {
        origins(remote, identity).map(|origin| self.reputation.score(origin, now)).min().unwrap_or(0)
    }

    /// Who may connect, and how many have.
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// What addresses and identities have done, and who is blacklisted.
    pub fn reputation(&self) -> &Reputation {
        &self.reputation
    }

    /// Whom it dials.
    pub fn outbound(&self) -> &OutboundManager {
        &self.outbound
    }

    /// How many connections there are, by what they are at. A step for each, and nothing is copied.
    pub fn tally(&self) -> ConnTally {
        let mut tally = ConnTally::default();
        for session in self.sessions.iter() {
            match session.peer() {
                Some(peer) => {
                    *if session.is_outbound() { &mut tally.outbound } else { &mut tally.inbound } += 1;
                    tally.proven += usize::from(session.identity().is_some());
                    tally.waiting_transactions += peer.waiting.len();
                }
                None if session.is_closing() => tally.closing += 1,
                None if session.client().is_some() => tally.clients += 1,
                None if session.is_outbound() => tally.greeting_outbound += 1,
                None => tally.greeting_inbound += 1,
            }
        }
        tally
    }
}

/// How many connections a node has, by what they are at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnTally {
    /// Peers that dialed us and have introduced themselves.
    pub inbound: usize,
    /// Peers that we dialed and that have introduced themselves.
    pub outbound: usize,
    /// Of all these peers, those whose identity TLS has proven.
    pub proven: usize,
    /// Who dialed us and has not introduced himself.
    pub greeting_inbound: usize,
    /// Whom we dialed and who has not introduced himself.
    pub greeting_outbound: usize,
    /// Clients that do not introduce themselves, and are no peers.
    pub clients: usize,
    /// Connections that are ending.
    pub closing: usize,
    /// Transactions that wait until a peer takes more, of all peers.
    pub waiting_transactions: usize,
}

fn info(session: &Session) -> Option<PeerInfo> {
    let peer = session.peer()?;
    Some(PeerInfo {
        conn: session.conn(),
        node_id: peer.node_id().to_owned(),
        identity: session.identity(),
        user_agent: peer.user_agent.clone(),
        remote: session.remote(),
        address: peer.address,
        outbound: session.is_outbound(),
        version: peer.version,
        chain_length: peer.chain_length,
        round_trip: peer.round_trip,
        since: peer.since,
    })
}
