//! Headers: whom to ask for them, and what an answer or an announcement is worth.
//!
//! Nothing is believed because of who says it: a header counts when it proves its work and hangs from something known.
//! What does not connect leads to one question, at the rate that [`SyncConfig::announcements`] allows.
//!
//! [`SyncConfig::announcements`]: crate::proto::sync::SyncConfig::announcements

use core::time::Duration;

use crate::close::CloseReason;
use crate::id::ConnId;
use crate::proto::sync::chain::{Chain, HeaderError, HeaderInfo, Tip};
use crate::proto::sync::locator::{self, HEADERS_ANSWER_MAX, LOCATOR_TAIL_MAX};
use crate::proto::sync::peer::{Ask, Next, Peer};
use crate::proto::sync::{SyncManager, SyncOutput};
use crate::time::{Instant, Now};
use crate::wire::{Hash, Kind, Message};

/// Peers that tell headers at a time: the second is there in case the first one is slow or lies.
const TURNS: usize = 2;
/// How long a peer keeps its turn without bringing us further.
const TURN: Duration = Duration::from_secs(2);
/// A message with so few headers may be an announcement that crosses our question.
const ANNOUNCED_MAX: usize = 8;
/// An answer of so many bytes may have been cut short for its size, so there may be more.
const LARGE_ANSWER_BYTES: usize = 1 << 20;

/// A message of headers, checked.
enum Run {
    /// Nothing in it is of use now.
    Nothing,
    /// It does not hang from anything known.
    Unconnected(HeaderInfo),
    /// It hangs from `parent`; `early` says that headers were left off at the end whose time has not come.
    Connected { parent: Tip, headers: Vec<HeaderInfo>, early: bool },
}

impl SyncManager {
    /// A session is open. `best` is what the peer said of its chain in the handshake.
    pub fn peer_ready<C: Chain>(&mut self, now: Now, conn: ConnId, version: u8, best: Option<(u64, Hash)>, chain: &C) {
        self.peers.entry(conn).or_insert_with(|| Peer::new(version, &self.config));
        let claim = best.map(|(_, hash)| hash);
        if claim.is_none_or(|hash| !self.believe(conn, hash, chain)) {
            self.plan_header_request(conn, claim);
        }
        self.update(now, chain);
    }

    /// A connection is gone: everything that it alone told or was asked for is asked of others.
    pub fn peer_gone<C: Chain>(&mut self, now: Now, conn: ConnId, chain: &C) {
        if self.forget(conn) {
            self.update(now, chain);
        }
    }

    /// A peer says that it has more than it said before: a height, a hash or both.
    pub fn peer_announced<C: Chain>(
        &mut self,
        now: Now,
        conn: ConnId,
        height: Option<u64>,
        hash: Option<Hash>,
        chain: &C,
    ) {
        let Some(peer) = self.peers.get(&conn) else { return };
        let worth_asking = match hash {
            Some(hash) => !self.tree.is_invalid(&hash) && !self.believe(conn, hash, chain),
            None => {
                let told = peer.tips().iter().filter_map(|tip| self.tree.get(tip)).map(|tip| tip.height).max();
                let is_news = height.unwrap_or(0) > chain.best().height.max(told.unwrap_or(0));
                if !is_news || peer.next.is_some() {
                    // Nothing changes: heights come by the dozen and must cost no round of thinking each.
                    return;
                }
                true
            }
        };
        if worth_asking {
            self.plan_header_request(conn, hash);
        }
        self.update(now, chain);
    }

    /// Headers came, asked for or not.
    ///
    /// # Errors
    ///
    /// [`CloseReason::BadAnswer`] for headers that are too many, do not link, or answer a question without connecting to
    /// anything known; [`CloseReason::Invalid`] for a header that the chain refuses.
    pub fn handle_headers<C: Chain>(
        &mut self,
        now: Now,
        conn: ConnId,
        headers: &[&[u8]],
        chain: &C,
    ) -> Result<(), CloseReason> {
        let Some(peer) = self.peers.get(&conn) else { return Ok(()) };
        let asked = peer.ask.is_some();
        let is_full = headers.len() >= self.headers_per_request()
            || headers.iter().map(|header| header.len()).sum::<usize>() >= LARGE_ANSWER_BYTES;
        if headers.len() > self.headers_per_request() {
            return Err(CloseReason::BadAnswer(Kind::Headers));
        }
        if self.tree.len().saturating_add(headers.len()) > self.config.headers_max {
            self.make_room(conn);
        }
        match self.check_run(now, headers, chain)? {
            Run::Unconnected(first) => {
                let from_anchor =
                    peer_ask(self.peers.get(&conn)).is_some_and(|ask| ask.anchors.contains(&first.previous));
                if asked && !from_anchor && headers.len() > ANNOUNCED_MAX {
                    return Err(CloseReason::BadAnswer(Kind::Headers));
                }
                if from_anchor {
                    // What we asked from was forgotten meanwhile, so the answer is right and of no use.
                    self.answered(conn);
                }
                self.plan_header_request(conn, Some(first.hash));
            }
            Run::Nothing => {
                self.answered(conn);
                self.end_walk(conn);
            }
            Run::Connected { parent, headers, early } => {
                self.answered(conn);
                let (last, room) = self.keep_run(now, conn, parent, &headers, chain);
                self.go_on(conn, last, room, is_full && !early, chain.best());
            }
        }
        self.update(now, chain);
        Ok(())
    }

    fn check_run<C: Chain>(&self, now: Now, headers: &[&[u8]], chain: &C) -> Result<Run, CloseReason> {
        let mut run: Vec<HeaderInfo> = Vec::new();
        let mut parent = None;
        let mut early = false;
        for header in headers {
            let info = match chain.check_header(now.unix, header) {
                Ok(info) => info,
                Err(HeaderError::Invalid(_)) => return Err(CloseReason::Invalid(Kind::Headers)),
                Err(HeaderError::Early) => {
                    early = true;
                    break;
                }
            };
            if self.tree.is_invalid(&info.hash) || self.tree.is_invalid(&info.previous) {
                return Err(CloseReason::Invalid(Kind::Headers));
            }
            let below = match run.last() {
                Some(last) => (last.hash, last.height),
                // The first one decides before the rest is checked: checking is what costs.
                None => match self.known(&info.previous, chain) {
                    Some(tip) => {
                        parent = Some(tip);
                        (tip.hash, tip.height)
                    }
                    None => return Ok(Run::Unconnected(info)),
                },
            };
            if info.previous != below.0 || below.1.checked_add(1) != Some(info.height) {
                return Err(CloseReason::BadAnswer(Kind::Headers));
            }
            run.push(info);
        }
        Ok(parent.map_or(Run::Nothing, |parent| Run::Connected { parent, headers: run, early }))
    }

    /// Adds a run to the tree. Returns its last header that is known now, and whether there was room for all.
    fn keep_run<C: Chain>(
        &mut self,
        now: Now,
        conn: ConnId,
        parent: Tip,
        headers: &[HeaderInfo],
        chain: &C,
    ) -> (Tip, bool) {
        let heaviest = self.path.target().map_or(0, |tip| tip.work).max(chain.best().work);
        let mut last = parent;
        let mut room = true;
        // Above a header whose block is missing all are missing.
        let mut held = chain.position(&parent.hash).is_some();
        for info in headers {
            let in_chain = if held { chain.position(&info.hash) } else { None };
            held = in_chain.is_some();
            if let Some(tip) = in_chain.or_else(|| self.tree.get(&info.hash)) {
                last = tip;
                continue;
            }
            room = self.tree.len() < self.config.headers_max && self.tree.owned_by(conn) < self.config.headers_per_peer;
            if !room {
                break;
            }
            let work = last.work.saturating_add(info.work);
            self.tree.insert(info, work, conn);
            last = Tip { hash: info.hash, height: info.height, work };
        }
        self.tell(conn, last.hash);
        if last.work > heaviest
            && let Some(peer) = self.peers.get_mut(&conn)
        {
            peer.turn_until = now.at + TURN;
        }
        (last, room)
    }

    /// Decides whether a peer has more to tell after `last`.
    fn go_on(&mut self, conn: ConnId, last: Tip, room: bool, is_full: bool, best: Tip) {
        if !room && last.work <= best.work {
            // All the room that it may use, and still lighter than what we have: not worth another byte.
            self.retain_tips(conn, |_, _| false);
            return self.end_walk(conn);
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if (is_full || !room) && peer.walked.is_none_or(|height| last.height > height || !room) {
            peer.walked = Some(last.height);
            peer.next = Some(Next::After(last.hash));
        } else {
            self.end_walk(conn);
        }
    }

    fn end_walk(&mut self, conn: ConnId) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.walked = None;
        if matches!(peer.next, Some(Next::After(_))) {
            peer.next = None;
        }
    }

    /// A question of ours is answered, whatever the answer is worth.
    fn answered(&mut self, conn: ConnId) {
        if let Some(peer) = self.peers.get_mut(&conn)
            && peer.ask.take().is_some()
        {
            peer.late_headers = 0;
        }
    }

    /// True when we know what `hash` is; then `conn` is known to have it.
    fn believe<C: Chain>(&mut self, conn: ConnId, hash: Hash, chain: &C) -> bool {
        self.tell(conn, hash);
        self.known(&hash, chain).is_some()
    }

    /// Plans to ask a peer where its chain leaves ours.
    pub(super) fn plan_header_request(&mut self, conn: ConnId, claim: Option<Hash>) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.claim = claim.or(peer.claim);
        if peer.next.is_none() {
            peer.next = Some(Next::Locate(self.turns));
            self.turns = self.turns.wrapping_add(1);
        }
    }

    /// Claims that came true through another peer need no question.
    pub(super) fn resolve_claims<C: Chain>(&mut self, chain: &C) {
        let claims: Vec<(ConnId, Hash)> =
            self.peers.iter().filter_map(|(conn, peer)| Some((*conn, peer.claim?))).collect();
        for (conn, hash) in claims {
            let known = self.believe(conn, hash, chain);
            let Some(peer) = self.peers.get_mut(&conn) else { continue };
            if known {
                peer.claim = None;
                if matches!(peer.next, Some(Next::Locate(_))) {
                    peer.next = None;
                }
            }
        }
    }

    pub(super) fn ask_headers<C: Chain>(&mut self, now: Instant, chain: &C) {
        let mut waiting: Vec<(u64, ConnId)> = Vec::new();
        let mut turns: Vec<Instant> = Vec::new();
        let mut going_on: Vec<(ConnId, Hash)> = Vec::new();
        for (conn, peer) in &self.peers {
            if peer.is_walking() && peer.turn_until > now {
                turns.push(peer.turn_until);
            }
            match (&peer.ask, peer.next) {
                (None, Some(Next::Locate(place))) => waiting.push((place, *conn)),
                (None, Some(Next::After(hash))) => going_on.push((*conn, hash)),
                _ => {}
            }
        }
        for (conn, hash) in going_on {
            if self.tree.len() < self.config.headers_max && self.tree.owned_by(conn) < self.config.headers_per_peer {
                self.ask_for_headers(now, conn, Some(hash), chain);
            }
        }
        waiting.sort_unstable();
        for (_, conn) in waiting {
            if turns.len() >= TURNS {
                if let Some(end) = turns.iter().min() {
                    self.wake_at(*end);
                }
                break;
            }
            if self.ask_for_headers(now, conn, None, chain) {
                turns.push(now + TURN);
            }
        }
    }

    /// Sends a GetHeaders unless a ration says no; then the ration's end is a time to wake up at.
    fn ask_for_headers<C: Chain>(&mut self, now: Instant, conn: ConnId, after: Option<Hash>, chain: &C) -> bool {
        let Some(peer) = self.peers.get_mut(&conn) else { return false };
        let mut ready_at = peer.header_requests.ready_at();
        if after.is_none() {
            ready_at = ready_at.max(peer.announcements.ready_at());
        }
        if ready_at > now {
            self.wake_at(ready_at);
            return false;
        }
        peer.header_requests.take(now);
        if after.is_none() {
            peer.announcements.take(now);
            peer.walked = None;
            peer.turn_until = now + TURN;
        }
        // The claim is what this question is about: whatever the answer, it is not asked again.
        peer.claim = None;
        peer.next = None;
        let version = peer.version;
        // A version 1 peer that does not know the one hash it gets starts at genesis, so it gets one it likely knows.
        let ahead = if version >= 2 { self.path.target().map(|tip| tip.hash) } else { None };
        let mut anchors: Vec<Hash> = after.or(ahead).into_iter().chain(chain.locator()).collect();
        anchors.truncate(if version >= 2 { LOCATOR_TAIL_MAX + 1 } else { 1 });
        let request = locator::request(version, &anchors, self.config.headers_per_request);
        peer.ask = Some(Ask { deadline: now + self.config.headers_deadline, anchors });
        self.send(conn, &Message::GetHeaders(request));
        true
    }

    /// When the tree is full, the one that fills most of it gives way, unless we follow it or the newcomer has as much.
    fn make_room(&mut self, newcomer: ConnId) {
        let target = self.path.target().map(|tip| tip.hash);
        let others = self
            .peers
            .iter()
            .filter(|(conn, peer)| **conn != newcomer && !peer.tips().iter().any(|tip| Some(*tip) == target));
        let largest = others.map(|(conn, _)| (self.tree.owned_by(*conn), *conn)).max();
        if let Some((count, conn)) = largest
            && count > self.tree.owned_by(newcomer)
        {
            self.retain_tips(conn, |_, _| false);
            self.end_walk(conn);
        }
    }

    fn headers_per_request(&self) -> usize {
        usize::try_from(self.config.headers_per_request.clamp(1, HEADERS_ANSWER_MAX)).unwrap_or(1)
    }

    /// The answer to a GetHeaders did not come in time.
    pub(super) fn headers_late(&mut self, conn: ConnId) {
        let timeouts_max = self.config.timeouts_max;
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.ask = None;
        peer.late_headers = peer.late_headers.saturating_add(1);
        let is_last = peer.late_headers >= timeouts_max;
        self.outputs.push_back(SyncOutput::Slow { conn });
        if is_last {
            self.close(conn, CloseReason::RequestTimeout);
        } else {
            self.end_walk(conn);
            self.plan_header_request(conn, None);
        }
    }
}

fn peer_ask(peer: Option<&Peer>) -> Option<&Ask> {
    peer.and_then(|peer| peer.ask.as_ref())
}
