//! Challenges, proofs and acceptances. Our own go to every peer, at the pace that it takes, or are refused with a word; those of
//! others at what that leaves, shared by who said them.

use bytes::Bytes;

use crate::id::ConnId;
use crate::proto::event::Event;
use crate::proto::gossip::relayed::NextRelayed;
use crate::proto::node::Node;
use crate::proto::node::objects::{STEP, is_gossip};
use crate::proto::session::Peer;
use crate::proto::sync::chain::Chain;
use crate::source::Source;
use crate::time::Now;
use crate::wire::{Hash, Kind};

/// Why something that was to be said was not.
const LEFT_ALONE: &str = "the peers that it waited for have left, and none has come that could be told";
/// So many of the other peers are told what nobody was but one that has left.
const OTHERS_TOLD: usize = 4;
/// What it costs to look whether one of a source may leave: a few steps in small tables.
const LOOKS: usize = 4;
/// Messages of a kind that are passed on to one peer in one go, and the next a moment later: each frame may lead to that with every
/// peer.
const PASSED_AT_ONCE: usize = 2;

impl<C: Chain> Node<C> {
    /// Says something to all peers. All of them get it or none: where one has no room for it, a second try would find those that
    /// have it already, and who is told that it was refused may try again.
    pub(super) fn say(&mut self, now: Now, kind: Kind, id: Hash, payload: Bytes) {
        let chain = &self.chain;
        let holds = |hash: &Hash| chain.position(hash).is_some();
        let takes = |peer: &Peer| peer.speech.takes(kind, &payload, holds);
        // Whoever has not shown that it knows the kind may never do so: what it has no room for is not refused to the others.
        let may_hear = |peer: &Peer| peer.speech.may_come_to_know(kind) && peer.own_gossip.has_room(payload.len());
        let listeners = || self.sessions.ready().map(|(_, peer)| peer).filter(|peer| takes(peer));
        let readers = self.sessions.ready().filter(|(_, peer)| takes(peer) || may_hear(peer));
        let readers: Vec<ConnId> = readers.map(|(session, _)| session.conn()).collect();
        if readers.is_empty() {
            return self.refuse_own(kind, "no peer is connected that could be told");
        }
        if !listeners().all(|peer| peer.own_gossip.has_room(payload.len())) {
            return self.refuse_own(kind, "peers take no more of these now; say it again later");
        }
        self.known.accept(now.at, id, None);
        for conn in self.known.recipients(id, None, readers.into_iter()) {
            let later = buggify!(self, RelayLater);
            let Some(peer) = self.sessions.peer_mut(conn) else { continue };
            let at_once = !later && !peer.own_gossip.waits(kind) && !peer.speech.may_come_to_know(kind);
            if at_once && peer.take_own(now.at, kind).is_ok() {
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
        // Whoever was there when something was said has it in his line: a few are as good as all.
        // Who has not shown how it speaks may have it in his line for ever.
        let heard = self.sessions.ready().filter(|(_, peer)| !peer.speech.may_come_to_know(Kind::NewChallenge));
        let others: Vec<ConnId> = heard.map(|(session, _)| session.conn()).take(OTHERS_TOLD).collect();
        for (kind, id, payload) in waiting {
            if others.iter().any(|conn| self.known.has(*conn, &id)) {
                continue;
            }
            let mut is_told = false;
            for conn in &others {
                is_told |= self.put_in_line(*conn, kind, id, payload);
            }
            if !is_told && !self.unheard.put(now.at, kind, id, payload.clone()) {
                self.refuse_own(kind, LEFT_ALONE);
            }
        }
        others.into_iter().for_each(|conn| self.say_waiting(now, conn));
    }

    /// True when a peer can read it, and there is room for one more in its line.
    fn put_in_line(&mut self, conn: ConnId, kind: Kind, id: Hash, payload: &Bytes) -> bool {
        let chain = &self.chain;
        let holds = |hash: &Hash| chain.position(hash).is_some();
        let reader = self.sessions.peer_mut(conn).filter(|peer| peer.speech.takes(kind, payload, holds));
        let line = reader.map(|peer| &mut peer.own_gossip);
        let Some(line) = line.filter(|line| line.has_room(payload.len())) else { return false };
        line.push(kind, id, payload.clone());
        self.known.learn(Some(conn), id);
        true
    }

    /// A new peer is told what nobody else was.
    pub(super) fn tell_unheard(&mut self, now: Now, conn: ConnId) {
        let Some(peer) = self.sessions.peer(conn) else { return };
        let chain = &self.chain;
        let holds = |hash: &Hash| chain.position(hash).is_some();
        for one in self.unheard.take(|kind, payload| peer.speech.takes(kind, payload, holds)) {
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
        let kinds = peer.own_gossip.kinds();
        for kind in kinds.into_iter().filter(|kind| !peer.speech.may_come_to_know(*kind)).collect::<Vec<_>>() {
            while let Some(peer) = self.sessions.peer_mut(conn)
                && peer.own_gossip.waits(kind)
            {
                if let Err(ready_at) = peer.take_own(now.at, kind) {
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
        self.pass_on_waiting_of(now, conn, kind);
    }

    /// Passes on what waits for that, as far as the peer's pace allows.
    pub(super) fn pass_on_waiting(&mut self, now: Now, conn: ConnId) {
        let kinds = self.sessions.peer(conn).map(|peer| peer.relayed.kinds()).unwrap_or_default();
        for kind in kinds {
            self.pass_on_waiting_of(now, conn, kind);
        }
    }

    fn pass_on_waiting_of(&mut self, now: Now, conn: ConnId, kind: Kind) {
        // While the connection has no room, even our own words wait.
        let may_leave = |peer: &&mut Peer| !peer.own_gossip.is_blocked() && !peer.speech.may_come_to_know(kind);
        for _ in 0..PASSED_AT_ONCE {
            let Some(peer) = self.sessions.peer_mut(conn).filter(may_leave) else { return };
            self.work.spend_light(peer.relayed.looks(now.at, kind).saturating_mul(LOOKS));
            let (budgets, takes_at) = (&peer.send_budgets, peer.speech.ready_at(kind));
            let places_at = |places| budgets.ready_for(kind, places).max(takes_at);
            let id = match peer.relayed.next(now.at, kind, places_at) {
                NextRelayed::Ready(id) => id,
                NextRelayed::Later(at) => return self.sessions.pace(conn, at),
                NextRelayed::Nothing => return,
            };
            if !peer.take_passed_on(now.at, kind) {
                let ready_at = peer.ready_at(kind).max(now.at + STEP);
                return self.sessions.pace(conn, ready_at);
            }
            let Some(payload) = peer.relayed.serve(now.at, kind, &id) else { return };
            self.send_payload(conn, kind, payload);
        }
        if self.sessions.peer(conn).is_some_and(|peer| peer.relayed.waiting(kind) > 0) {
            self.sessions.pace(conn, now.at + STEP);
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
