//! What carries the nodes of a world: the calls of the loop's `Net`, on lossless links, and what a test wants of every node.

use std::mem;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use spacetime_network::address::stand_in;
use spacetime_network::chain::ReferenceChain;
use spacetime_network::close::{Blame, CloseReason};
use spacetime_network::driver::node::{NetApi, Observer};
use spacetime_network::driver::{ConnStats, NoStandIn, SendOutcome};
use spacetime_network::id::{ConnId, DialId};
use spacetime_network::proto::peer::PeerName;
use spacetime_network::proto::{Event, Node};
use spacetime_network::time::Now;
use spacetime_network::wire::{FrameRules, Kind, Priority};

use crate::world::{Mail, World};

/// One node's side of the world, during one event.
pub(crate) struct Carrier<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) index: usize,
    pub(crate) calls: usize,
}

impl NetApi for Carrier<'_> {
    fn dial(&mut self, dial: DialId, remote: SocketAddr, timeout: Duration) {
        self.calls += 1;
        assert!(timeout > Duration::ZERO);
        self.world.mail.push_back(Mail::Dial(self.index, dial, remote));
    }

    fn send_shared(&mut self, conn: ConnId, _: Priority, kind: u8, payload: &Bytes) -> SendOutcome {
        self.calls += 1;
        let end = (self.index, conn);
        let kind = Kind::from_byte(kind).unwrap();
        assert!(!self.world.left.contains(&end), "a {} after the close", kind.name());
        if kind == Kind::Transaction && self.world.no_room.contains(&end) {
            return SendOutcome::Full;
        }
        if is_object(kind) {
            let fresh = self.world.passed.insert((end, kind as u8, payload.clone()));
            assert!(fresh, "a {} goes twice to a peer, or back to it", kind.name());
        }
        let Some(other) = self.world.links.get(&end).copied() else { return SendOutcome::Closed };
        if matches!(kind, Kind::Block | Kind::Blocks) {
            *self.world.blocks_offered.entry(end).or_default() += 1;
            match self.world.room.get_mut(&end) {
                Some(0) => return SendOutcome::Full,
                Some(room) => *room -= 1,
                None => {}
            }
        }
        self.world.mail.push_back(Mail::Frame(other, kind as u8, payload.clone()));
        SendOutcome::Accepted { dropped: 0 }
    }

    fn set_rules(&mut self, conn: ConnId, rules: &'static FrameRules) {
        self.calls += 1;
        self.world.rules.insert((self.index, conn), rules);
    }

    fn close(&mut self, conn: ConnId, reason: CloseReason, drain: Duration) {
        self.calls += 1;
        let end = (self.index, conn);
        assert!(self.world.left.insert(end), "a connection is closed once");
        // Who has left with an Error listens no more.
        assert!(drain > Duration::ZERO || reason == CloseReason::RemoteClosed, "what was said last may leave");
        if let Some((other, _)) = self.world.links.get(&end)
            && self.world.is_node(*other)
            && reason.blame() == Blame::Misbehaved
        {
            self.world.quarrels.push((self.index, *other, reason));
        }
        self.world.cut(end, reason);
        self.world.mail.push_back(Mail::Closed(end, reason));
    }

    fn has_proxy(&self) -> bool {
        self.world.proxied.contains(&self.index)
    }

    fn stand_in(&mut self, host: &str, port: u16) -> Result<SocketAddr, NoStandIn> {
        if self.has_proxy() { Ok(stand_in(host, port, 0)) } else { Err(NoStandIn::NoProxy) }
    }

    fn is_web_socket(&self, conn: ConnId) -> bool {
        self.world.links.get(&(self.index, conn)).is_some_and(|(other, _)| self.world.browsers.contains(other))
    }

    fn spend(&mut self, units: u32) {
        self.world.work += u64::from(units);
    }

    fn hold(&mut self, _: ConnId) {
        unreachable!("the links of this world end in both directions at once");
    }

    fn release(&mut self, _: ConnId) {
        unreachable!("nobody was held");
    }

    fn conn_stats(&self, conn: ConnId) -> Option<ConnStats> {
        let end = (self.index, conn);
        self.world.links.get(&end)?;
        let received = self.world.received.get(&end).copied().unwrap_or_default();
        let mut stats = ConnStats::default();
        (stats.bytes_in, stats.frames_in) = (received.bytes, received.frames);
        (stats.bytes_out, stats.frames_out) = (received.sent_bytes, received.sent_frames);
        Some(stats)
    }
}

/// What a node told its embedder during the event, and the names that it wants to be looked up: the test answers them.
#[derive(Default)]
pub(crate) struct Told {
    events: Vec<Event>,
    names: Vec<PeerName>,
}

impl Told {
    pub(crate) fn take(&mut self) -> (Vec<Event>, Vec<PeerName>) {
        (mem::take(&mut self.events), mem::take(&mut self.names))
    }
}

impl Observer<ReferenceChain> for Told {
    fn on_event(&mut self, _: Now, event: &Event, _: &Node<ReferenceChain>) {
        self.events.push(event.clone());
    }

    fn resolve(&mut self, _: Now, name: &PeerName) -> bool {
        self.names.push(name.clone());
        true
    }
}

/// What goes to each peer at most once. Transactions are not among them: whoever asks for the pool gets them again.
pub(crate) fn is_object(kind: Kind) -> bool {
    matches!(kind, Kind::NewBlock | Kind::NewChallenge | Kind::ProofSubmission | Kind::BlockAccepted)
}
