//! Challenges, proofs and acceptances. Our own go to every peer, at the pace that it takes, or are refused with a word; those of
//! others at what that leaves, shared by who said them.

use bytes::Bytes;

use crate::id::ConnId;
use crate::proto::event::Event;
use crate::proto::gossip::relayed::NextRelayed;
use crate::proto::node::Node;
use crate::proto::node::objects::{STEP, is_gossip};
use crate::proto::sync::chain::Chain;
use crate::source::Source;
use crate::time::Now;
use crate::wire::{Hash, Kind};

/// Why something that was to be said was not.
const LEFT_ALONE: &str = "the peers that it waited for have left, and none has come that could be told";
/// So many of the other peers are told what nobody was but one that has left.
const OTHERS_TOLD: usize = 4;

impl<C: Chain> Node<C> {
    /// Says something to all peers. All of them get it or none: where one has no room for it, a second try would find those that
    /// have it already, and who is told that it was refused may try again.
    pub(super) fn say(&mut self, now: Now, kind: Kind, id: Hash, payload: Bytes) {
        let listeners = || self.sessions.ready().map(|(_, peer)| peer).filter(|peer| peer.version >= kind.since());
        if listeners().next().is_none() {
            return self.refuse_own(kind, "no peer is connected that could be told");
        }
        if !listeners().all(|peer| peer.own_gossip.has_room(payload.len())) {
            return self.refuse_own(kind, "peers take no more of these now; say it again later");
        }
        self.known.accept(now.at, id, None);
        let ready = self.sessions.ready().map(|(session, peer)| (session.conn(), peer.version));
        for conn in self.known.recipients(id, None, ready, kind) {
            let later = buggify!(self, RelayLater);
            let Some(peer) = self.sessions.peer_mut(conn) else { continue };
            let at_once = !later && !peer.own_gossip.waits(kind);
            if at_once && peer.send_budgets.take_own(now.at, kind).is_ok() {
                peer.own_gossip.sent(id);
                self.send_payload(conn, kind, payload.clone());
                continue;
            }
            peer.own_gossip.push(kind, id, payload.clone());
            if later {
                self.sessions.pace(conn, now.at + STEP);
            } else {
                self.say_waiting(now, conn);
            }
        }
        self.emit(Event::Gossip { kind, payload, from: None });
    }

    /// A peer has left, and with it the line of what it was to be told. What nobody else was told goes to a few others, who pass
    /// it on, as after the end of a second connection to the same node; if there is nobody, it waits for the next.
    pub(super) fn keep_unheard<'a>(&mut self, now: Now, waiting: impl Iterator<Item = (Kind, Hash, &'a Bytes)>) {
        if self.stopping {
            return;
        }
        let others = self.sessions.ready().map(|(session, peer)| (session.conn(), peer.version));
        // Whoever was there when something was said has it in his line: a few are as good as all.
        let others: Vec<(ConnId, u8)> = others.take(OTHERS_TOLD).collect();
        for (kind, id, payload) in waiting {
            if others.iter().any(|(conn, _)| self.known.has(*conn, &id)) {
                continue;
            }
            let mut is_told = false;
            for (conn, _) in others.iter().filter(|(_, version)| *version >= kind.since()) {
                is_told |= self.put_in_line(*conn, kind, id, payload);
            }
            if !is_told && !self.unheard.put(now.at, kind, id, payload.clone()) {
                self.refuse_own(kind, LEFT_ALONE);
            }
        }
        others.into_iter().for_each(|(conn, _)| self.say_waiting(now, conn));
    }

    /// True when there is room for one more in a peer's line.
    fn put_in_line(&mut self, conn: ConnId, kind: Kind, id: Hash, payload: &Bytes) -> bool {
        let line = self.sessions.peer_mut(conn).map(|peer| &mut peer.own_gossip);
        let Some(line) = line.filter(|line| line.has_room(payload.len())) else { return false };
        line.push(kind, id, payload.clone());
        self.known.learn(Some(conn), id);
        true
    }

    /// A new peer is told what nobody else was.
    pub(super) fn tell_unheard(&mut self, now: Now, conn: ConnId) {
        let Some(peer) = self.sessions.peer(conn) else { return };
        let version = peer.version;
        for one in self.unheard.take(|kind| version >= kind.since()) {
            if !self.put_in_line(conn, one.kind, one.id, &one.payload) {
                self.refuse_own(one.kind, LEFT_ALONE);
            }
        }
        self.say_waiting(now, conn);
    }

    /// Nobody came to be told: whoever said it hears that.
    pub(super) fn give_up_unheard(&mut self, now: Now) {
        for one in self.unheard.expire(now.at) {
            self.refuse_own(one.kind, LEFT_ALONE);
        }
    }

    /// Sends what waits as far as the peer's pace and its connection allow.
    pub(super) fn say_waiting(&mut self, now: Now, conn: ConnId) {
        let Some(peer) = self.sessions.peer(conn) else { return };
        for kind in peer.own_gossip.kinds() {
            while let Some(peer) = self.sessions.peer_mut(conn)
                && peer.own_gossip.waits(kind)
            {
                if let Err(ready_at) = peer.send_budgets.take_own(now.at, kind) {
                    self.sessions.pace(conn, ready_at);
                    break;
                }
                let Some(payload) = peer.own_gossip.pop(kind) else { break };
                self.send_payload(conn, kind, payload);
            }
        }
    }

    /// Passes on what somebody said, to one peer, now or when its pace and what was said by others allow it.
    pub(super) fn pass_on_gossip(
        &mut self,
        now: Now,
        conn: ConnId,
        source: Source,
        (kind, id, payload): (Kind, Hash, &Bytes),
    ) {
        let Some(peer) = self.sessions.peer_mut(conn) else { return };
        if !peer.relayed.is_paced(kind) {
            return self.send_payload(conn, kind, payload.clone());
        }
        for dropped in peer.relayed.push(kind, source, id, payload.clone()) {
            self.counters.relay_dropped += 1;
            self.known.forget(conn, &dropped);
        }
        self.pass_on_waiting(now, conn);
    }

    /// Passes on what waits for that, as far as the peer's pace allows.
    pub(super) fn pass_on_waiting(&mut self, now: Now, conn: ConnId) {
        // While the connection has no room, even our own words wait.
        let Some(peer) = self.sessions.peer(conn).filter(|peer| !peer.own_gossip.is_blocked()) else { return };
        for kind in peer.relayed.kinds() {
            while let Some(peer) = self.sessions.peer_mut(conn) {
                let id = match peer.relayed.next(now.at, kind) {
                    NextRelayed::Ready(id) => id,
                    NextRelayed::Later(at) => {
                        self.sessions.pace(conn, at);
                        break;
                    }
                    NextRelayed::Nothing => break,
                };
                if !peer.send_budgets.take(now.at, kind, peer.own_gossip.waits(kind)) {
                    let ready_at = peer.send_budgets.ready_at(kind).max(now.at + STEP);
                    self.sessions.pace(conn, ready_at);
                    break;
                }
                let Some(payload) = peer.relayed.serve(now.at, kind, &id) else { break };
                self.send_payload(conn, kind, payload);
            }
        }
    }

    /// A full queue refused a message that is passed on by nobody else.
    pub(super) fn say_again(&mut self, conn: ConnId, kind: Kind, payload: &Bytes) {
        if !is_gossip(kind) {
            return;
        }
        let id = self.chain.gossip_id(kind, payload);
        if let Some(peer) = self.sessions.peer_mut(conn) {
            peer.own_gossip.refused(kind, id, payload.clone());
        }
    }

    /// The connection has room again.
    pub(super) fn say_now(&mut self, now: Now, conn: ConnId) {
        if let Some(peer) = self.sessions.peer_mut(conn) {
            peer.own_gossip.unblock();
            self.say_waiting(now, conn);
            self.pass_on_waiting(now, conn);
        }
    }
}
