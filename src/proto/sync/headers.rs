//! Headers: whom to ask for them, and what an answer or an announcement is worth.
//!
//! Nothing is believed because of who says it: a header counts when it proves its work and hangs from something known.
//! What does not connect leads to one question, at the rate that [`SyncConfig::announcements`] allows.
//!
//! [`SyncConfig::announcements`]: crate::proto::sync::SyncConfig::announcements

use core::time::Duration;
use std::collections::BTreeMap;

use crate::close::CloseReason;
use crate::id::ConnId;
use crate::proto::sync::chain::{Chain, CheckedHeader, HeaderError, Tip};
use crate::proto::sync::locator::{self, HEADERS_ANSWER_MAX, LOCATOR_TAIL_MAX};
use crate::proto::sync::peer::{HeaderRequest, NextHeaders, Peer};
use crate::proto::sync::presync::{DeepBranch, Presync};
use crate::proto::sync::{SyncManager, SyncOutput};
use crate::source::{Place, Source};
use crate::time::{Instant, Now};
use crate::wire::message::MAX_HEADERS_ASKED;
use crate::wire::{Hash, Kind, Message};

/// Peers that tell headers at a time: the second is there in case the first one is slow or lies. Those that we chose or that have
/// delivered do not count the others.
const TURNS: usize = 2;
/// The same of all others at most: for each of them whose turn was in vain one more has one, so that a line of those who only claim
/// is over in a few turns and not in as many as it is long.
const TURNS_MAX: usize = 32;
/// How long a peer keeps its turn without bringing us further.
const TURN: Duration = Duration::from_secs(2);
/// A message with so few headers may be an announcement that crosses our question.
const ANNOUNCED_MAX: usize = 8;
/// An answer of so many bytes may have been cut short for its size, so there may be more.
const LARGE_ANSWER_BYTES: usize = 1 << 20;

/// A message of headers, checked.
enum Batch {
    /// Nothing in it is of use now; `early` as below.
    Nothing { early: bool },
    /// It does not hang from anything known.
    Unconnected(CheckedHeader),
    /// It hangs from `parent`; `early` says that headers were left off at the end whose time has not come.
    Connected { parent: Tip, headers: Vec<CheckedHeader>, early: bool },
}

impl SyncManager {
    /// A session is open with a peer that speaks this version and has these feature bits. `best` is what it said of its chain in the
    /// handshake.
    pub fn peer_ready<C: Chain>(
        &mut self,
        now: Now,
        conn: ConnId,
        (version, features, source): (u8, u64, Source),
        best: Option<(u64, Hash)>,
        chain: &C,
    ) {
        let lateness = self.records.of(now.at, source);
        self.peers.entry(conn).or_insert_with(|| Peer::new((version, features, source), lateness, &self.config));
        let claim = best.map(|(_, hash)| hash);
        if claim.is_none_or(|hash| !self.add_known_tip(conn, hash, chain)) {
            self.plan_header_request(conn, claim);
        }
        self.update(now, chain);
    }

    /// A connection is gone: what it alone told is forgotten, and what it was asked for is asked of others.
    pub fn peer_gone<C: Chain>(&mut self, now: Now, conn: ConnId, chain: &C) {
        self.note_leaving(now.at, conn);
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
            Some(hash) => !self.tree.is_invalid(&hash) && !self.add_known_tip(conn, hash, chain),
            None => {
                let told = peer.tips().iter().filter_map(|tip| self.tree.get(tip)).map(|tip| tip.height).max();
                let is_news = height.unwrap_or(0) > chain.best().height.max(told.unwrap_or(0));
                if !is_news || peer.next_headers.is_some() {
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
    /// Their sender is closed with [`CloseReason::BadAnswer`] for headers that are too many, do not link, or answer a question
    /// without connecting to anything known, and with [`CloseReason::Invalid`] for a header that the chain refuses.
    pub fn handle_headers<C: Chain>(&mut self, now: Now, conn: ConnId, headers: &[&[u8]], chain: &C) {
        let Some(peer) = self.peers.get(&conn) else { return };
        let asked = peer.header_request().is_some();
        if headers.len() > self.headers_per_request() {
            return self.refuse_headers(now, conn, CloseReason::BadAnswer(Kind::Headers), chain);
        }
        let is_deep = peer.presync.is_some();
        if !is_deep && self.tree.len().saturating_add(headers.len()) > self.config.headers_max {
            self.make_room(conn);
        }
        match self.check_headers(now, conn, headers, chain) {
            Ok(Batch::Unconnected(first)) if self.goes_on_from(conn, first.previous()) => {
                // What it goes on from was dropped for want of room, or is no longer of use: nor is the rest.
                let last = headers.last().and_then(|last| CheckedHeader::check(chain, now.unix, last).ok());
                self.headers_answered(now.at, conn, headers.len(), last.map(|last| last.hash()));
            }
            Ok(Batch::Unconnected(first)) => {
                let request = self.peers.get(&conn).and_then(Peer::header_request);
                let from_anchor = request.is_some_and(|request| request.anchors.contains(&first.previous()));
                // Of an answer in several frames one may have been lost where a queue was full.
                let in_frames =
                    request.is_some_and(|request| request.left > HEADERS_ANSWER_MAX as usize || request.told.is_some());
                if asked && !from_anchor && !in_frames && headers.len() > ANNOUNCED_MAX {
                    return self.refuse_headers(now, conn, CloseReason::BadAnswer(Kind::Headers), chain);
                }
                if from_anchor || in_frames && headers.len() > ANNOUNCED_MAX {
                    // What we asked from was forgotten meanwhile, so the answer is right and of no use.
                    self.headers_answered(now.at, conn, headers.len(), None);
                }
                self.plan_header_request(conn, Some(first.hash()));
            }
            Ok(Batch::Nothing { early }) => {
                self.headers_answered(now.at, conn, headers.len(), None);
                self.tell_early(conn, early);
                if !self.end_branch(conn) {
                    self.end_header_sync(conn);
                }
            }
            Ok(Batch::Connected { parent, headers: checked, early }) if self.continues_branch(conn, parent) => {
                self.headers_told(now.at, conn, parent, &checked, early);
                self.tell_early(conn, early);
                self.continue_branch(now, conn, &checked, early, chain);
            }
            Ok(Batch::Connected { parent, headers: checked, early }) => {
                self.headers_told(now.at, conn, parent, &checked, early);
                self.tell_early(conn, early);
                self.give_up_branch(conn, DeepBranch::Changed);
                let (last, room) = self.store_headers(now, conn, parent, &checked, chain);
                let is_full = headers.len() >= self.headers_per_request()
                    || headers.iter().map(|header| header.len()).sum::<usize>() >= LARGE_ANSWER_BYTES;
                self.continue_header_sync(conn, last, room, is_full && !early, chain);
            }
            Err(reason) => self.close(conn, reason),
        }
        self.update(now, chain);
    }

    fn refuse_headers<C: Chain>(&mut self, now: Now, conn: ConnId, reason: CloseReason, chain: &C) {
        self.close(conn, reason);
        self.update(now, chain);
    }

    fn check_headers<C: Chain>(
        &self,
        now: Now,
        conn: ConnId,
        headers: &[&[u8]],
        chain: &C,
    ) -> Result<Batch, CloseReason> {
        let branch = self.peers.get(&conn).and_then(|peer| peer.presync.as_ref()).map(Presync::end);
        let mut batch: Vec<CheckedHeader> = Vec::new();
        let mut parent = None;
        let mut early = false;
        for header in headers {
            // Hashed, looked up twice, and stored later.
            self.work.spend(8);
            let header = match CheckedHeader::check(chain, now.unix, header) {
                Ok(header) => header,
                Err(HeaderError::Invalid(_)) => return Err(CloseReason::Invalid(Kind::Headers)),
                Err(HeaderError::Early) => {
                    early = true;
                    break;
                }
            };
            if self.tree.is_invalid(&header.hash()) || self.tree.is_invalid(&header.previous()) {
                return Err(CloseReason::Invalid(Kind::Headers));
            }
            let below = match batch.last() {
                Some(last) => (last.hash(), last.height()),
                // The first one decides before the rest is checked: checking is what costs.
                None => match branch
                    .filter(|end| end.hash == header.previous())
                    .or_else(|| self.known(&header.previous(), chain))
                {
                    Some(tip) => {
                        parent = Some(tip);
                        (tip.hash, tip.height)
                    }
                    None => return Ok(Batch::Unconnected(header)),
                },
            };
            if header.previous() != below.0 || below.1.checked_add(1) != Some(header.height()) {
                return Err(CloseReason::BadAnswer(Kind::Headers));
            }
            batch.push(header);
        }
        Ok(parent.map_or(Batch::Nothing { early }, |parent| Batch::Connected { parent, headers: batch, early }))
    }

    /// Do headers that hang from there continue the long branch that this peer tells?
    fn continues_branch(&self, conn: ConnId, parent: Tip) -> bool {
        let branch = self.peers.get(&conn).and_then(|peer| peer.presync.as_ref());
        branch.is_some_and(|branch| branch.end().hash == parent.hash)
    }

    /// Adds headers to the tree. Returns the last one that is known now, and whether there was room for all.
    pub(super) fn store_headers<C: Chain>(
        &mut self,
        now: Now,
        conn: ConnId,
        parent: Tip,
        headers: &[CheckedHeader],
        chain: &C,
    ) -> (Tip, bool) {
        let heaviest = self.path.target().map_or(0, |tip| tip.work).max(chain.best().work);
        let mut last = parent;
        let mut room = true;
        // Above a header whose block is missing all are missing.
        let mut held = chain.position(&parent.hash).is_some();
        for header in headers {
            let hash = header.hash();
            let in_chain = if held { chain.position(&hash) } else { None };
            held = in_chain.is_some();
            if let Some(tip) = in_chain.or_else(|| self.tree.get(&hash)) {
                last = tip;
                continue;
            }
            room = self.tree.len() < self.config.headers_max && self.tree.owned_by(conn) < self.config.headers_per_peer;
            if !room {
                break;
            }
            let work = last.work.saturating_add(header.work());
            self.tree.insert(*header, work, conn);
            last = Tip { hash, height: header.height(), work };
        }
        self.add_tip(conn, last.hash);
        if last.work > heaviest
            && let Some(peer) = self.peers.get_mut(&conn)
        {
            peer.turn_until = now.at + TURN;
            peer.delivered();
            self.turns_given = 0;
        }
        (last, room)
    }

    /// Decides whether a peer has more to tell after `last`.
    fn continue_header_sync<C: Chain>(&mut self, conn: ConnId, last: Tip, room: bool, is_full: bool, chain: &C) {
        if (is_full || !room) && self.is_unproven(conn, last, room, chain.best()) {
            return self.begin_count(conn, last, chain);
        }
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        if (is_full || !room) && peer.headers_end.is_none_or(|height| last.height > height || !room) {
            peer.headers_end = Some(last.height);
            peer.next_headers = Some(NextHeaders::After(last.hash));
        } else {
            peer.end_header_sync();
        }
    }

    fn tell_early(&mut self, conn: ConnId, early: bool) {
        if early {
            self.outputs.push_back(SyncOutput::Early { conn });
        }
    }

    fn end_header_sync(&mut self, conn: ConnId) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.end_header_sync();
        }
    }

    fn headers_answered(&mut self, now: Instant, conn: ConnId, count: usize, last: Option<Hash>) {
        let deadline = now + self.config.headers_deadline;
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.headers_answered(now, count, last, deadline);
        }
    }

    /// Headers came that hang from `parent`: part of an answer, unless one goes on elsewhere and these are few.
    fn headers_told(&mut self, now: Instant, conn: ConnId, parent: Tip, headers: &[CheckedHeader], early: bool) {
        let told = self.peers.get(&conn).and_then(Peer::header_request).and_then(|request| request.told);
        if told.is_some_and(|told| told != parent.hash) && headers.len() <= ANNOUNCED_MAX {
            return;
        }
        let last = headers.last().map(CheckedHeader::hash).filter(|_| !early);
        self.headers_answered(now, conn, headers.len(), last);
    }

    /// Does an answer of this peer go on from there?
    fn goes_on_from(&self, conn: ConnId, hash: Hash) -> bool {
        let request = self.peers.get(&conn).and_then(Peer::header_request);
        request.is_some_and(|request| request.told == Some(hash))
    }

    /// True when we know what `hash` is; then `conn` is known to have it.
    fn add_known_tip<C: Chain>(&mut self, conn: ConnId, hash: Hash, chain: &C) -> bool {
        self.add_tip(conn, hash);
        self.known(&hash, chain).is_some()
    }

    /// Plans to ask a peer where its chain leaves ours.
    pub(super) fn plan_header_request(&mut self, conn: ConnId, claim: Option<Hash>) {
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.claim = claim.or(peer.claim);
        if peer.next_headers.is_none() {
            peer.next_headers = Some(NextHeaders::Locate(self.next_place));
            self.next_place = self.next_place.wrapping_add(1);
        }
    }

    /// Claims that came true through another peer need no question.
    pub(super) fn resolve_claims<C: Chain>(&mut self, chain: &C) {
        let claims: Vec<(ConnId, Hash)> =
            self.peers.iter().filter_map(|(conn, peer)| Some((*conn, peer.claim?))).collect();
        for (conn, hash) in claims {
            let known = self.add_known_tip(conn, hash, chain);
            let Some(peer) = self.peers.get_mut(&conn) else { continue };
            if known {
                peer.claim = None;
                if matches!(peer.next_headers, Some(NextHeaders::Locate(_))) {
                    peer.next_headers = None;
                }
            }
        }
    }

    pub(super) fn ask_headers<C: Chain>(&mut self, now: Instant, chain: &C) {
        let mut continuing: Vec<(ConnId, Hash)> = Vec::new();
        for (conn, peer) in &self.peers {
            if let (None, Some(NextHeaders::After(hash))) = (peer.header_request(), peer.next_headers) {
                continuing.push((*conn, hash));
            }
        }
        for (conn, hash) in continuing {
            let branch = self.peers.get(&conn).and_then(|peer| peer.presync.as_ref());
            let has_room = branch.map_or_else(|| self.has_room_for_answer(conn), Presync::wants_more);
            if has_room {
                self.ask_for_headers(now, conn, Some(hash), chain);
            }
        }
        for first in [true, false] {
            self.give_turns(now, first, chain);
        }
    }

    /// Is there room for what a peer tells next? While blocks come there must be for one answer: for the few that each block leaves
    /// room for, thousands would be told again and again.
    fn has_room_for_answer(&self, conn: ConnId) -> bool {
        let (of_peer, of_all) = (self.config.headers_per_peer, self.config.headers_max);
        let is_moving = self.path.target().is_some();
        let answer = if is_moving { self.headers_per_request().min(of_peer / 2).max(1) } else { 1 };
        self.tree.owned_by(conn).saturating_add(answer) <= of_peer && self.tree.len().saturating_add(answer) <= of_all
    }

    /// Lets those whose turn it is tell their headers: of those that go first, or of the others. A claim costs nothing, so whose
    /// subnet had turns in vain comes after those that had fewer, however many claim from there; and it costs the others little
    /// time, for the more turns were in vain, the more have one at once.
    fn give_turns<C: Chain>(&mut self, now: Instant, first: bool, chain: &C) {
        let mut ends: Vec<Instant> = Vec::new();
        let mut vain: BTreeMap<Place, u32> = BTreeMap::new();
        let mut waiting: Vec<(ConnId, Place, (u32, u64))> = Vec::new();
        let mut ration: Option<Instant> = None;
        let mut under_way = 0;
        for (conn, peer) in &self.peers {
            let goes_first = peer.goes_first();
            if peer.is_syncing_headers() && peer.turn_until > now && (goes_first || !first) {
                ends.push(peer.turn_until);
                under_way += usize::from(!goes_first);
            }
            if goes_first != first {
                continue;
            }
            let had = vain.entry(peer.subnet()).or_default();
            *had = had.saturating_add(peer.vain_turns);
            let (None, Some(NextHeaders::Locate(place))) = (peer.header_request(), peer.next_headers) else { continue };
            let ready_at = peer.headers_ready_at().max(peer.announcement_pace.ready_at());
            if ready_at > now {
                ration = Some(ration.map_or(ready_at, |earlier| earlier.min(ready_at)));
            } else {
                waiting.push((*conn, peer.subnet(), (peer.vain_turns, place)));
            }
        }
        if !first && waiting.is_empty() && under_way == 0 {
            // Nobody waits behind anybody.
            self.turns_given = 0;
        }
        let vain_turns = if first { 0 } else { self.turns_given.saturating_sub(under_way) };
        let most = TURNS.saturating_add(vain_turns).min(TURNS_MAX);
        while ends.len() < most {
            let rank = |(_, subnet, own): &(ConnId, Place, (u32, u64))| (vain.get(subnet).copied(), *own);
            let next = (0..waiting.len()).min_by_key(|at| waiting.get(*at).map(rank));
            let Some(at) = next else { break };
            let (conn, subnet, _) = waiting.swap_remove(at);
            if self.ask_for_headers(now, conn, None, chain) {
                ends.push(now + TURN);
                self.turns_given = self.turns_given.saturating_add(usize::from(!first));
                *vain.entry(subnet).or_default() += 1;
            }
        }
        let turn = ends.iter().min().copied().filter(|_| !waiting.is_empty());
        for at in ration.into_iter().chain(turn) {
            self.wake_at(at);
        }
    }

    /// Sends a GetHeaders unless a ration says no; then the ration's end is a time to wake up at.
    fn ask_for_headers<C: Chain>(&mut self, now: Instant, conn: ConnId, after: Option<Hash>, chain: &C) -> bool {
        let most = self.headers_to_ask(conn);
        let Some(peer) = self.peers.get_mut(&conn) else { return false };
        let mut ready_at = peer.headers_ready_at();
        if after.is_none() {
            ready_at = ready_at.max(peer.announcement_pace.ready_at());
        }
        if ready_at > now {
            self.wake_at(ready_at);
            return false;
        }
        if let Some(pace) = &mut peer.header_request_pace {
            pace.take(now);
        }
        if after.is_none() {
            peer.announcement_pace.take(now);
            peer.headers_end = None;
            peer.turn_until = now + TURN;
            peer.vain_turns = peer.vain_turns.saturating_add(1);
        }
        let version = peer.version;
        // A version 1 peer that does not know the one hash it gets starts at genesis, so it gets one it likely knows.
        let ahead = if version >= 2 { self.path.target().map(|tip| tip.hash) } else { None };
        // A branch that was counted to its end is asked for what grew on it since.
        let ahead = peer.presync.as_ref().map(|branch| branch.end().hash).or(ahead);
        let mut anchors: Vec<Hash> = after.or(ahead).into_iter().chain(chain.locator()).collect();
        anchors.truncate(if version >= 2 { LOCATOR_TAIL_MAX + 1 } else { 1 });
        let request = locator::request(version, &anchors, most);
        let left = usize::try_from(request.max).unwrap_or(usize::MAX);
        let deadline = now + self.config.headers_deadline;
        peer.request_headers(HeaderRequest { asked_at: now, deadline, anchors, left, told: None });
        self.send(conn, &Message::GetHeaders(request));
        true
    }

    /// When the tree is full, the one that fills most of it gives way, unless we follow what it told, it has proven its work, or
    /// the newcomer has as much.
    pub(super) fn make_room(&mut self, newcomer: ConnId) {
        let is_followed =
            |tip: &Hash| self.tree.get(tip).is_some_and(|tip| self.path.contains(&self.tree, &tip.hash, tip.height));
        let others = self.peers.iter().filter(|(conn, peer)| {
            let proven = peer.presync.as_ref().is_some_and(|branch| branch.proven().is_some());
            **conn != newcomer && !proven && !peer.tips().iter().any(is_followed)
        });
        let largest = others.map(|(conn, _)| (self.tree.owned_by(*conn), *conn)).max();
        if let Some((count, conn)) = largest
            && count > self.tree.owned_by(newcomer)
        {
            self.retain_tips(conn, |_, _| false);
            self.give_up_branch(conn, DeepBranch::Dropped);
            self.end_header_sync(conn);
        }
    }

    /// Headers to ask a peer for: of one that tells many of a branch that is stored as it comes, as many frames as there is room for.
    fn headers_to_ask(&self, conn: ConnId) -> u32 {
        let frame = self.config.headers_per_request;
        let tells_many = self.peers.get(&conn).is_some_and(|peer| peer.tells_many_headers && peer.presync.is_none());
        if !tells_many || frame != HEADERS_ANSWER_MAX {
            return frame;
        }
        let of_peer = self.config.headers_per_peer.saturating_sub(self.tree.owned_by(conn));
        let room = of_peer.min(self.config.headers_max.saturating_sub(self.tree.len()));
        let frames = u32::try_from(room).unwrap_or(u32::MAX) / frame;
        frame.saturating_mul(frames.clamp(1, MAX_HEADERS_ASKED / HEADERS_ANSWER_MAX))
    }

    fn headers_per_request(&self) -> usize {
        usize::try_from(self.config.headers_per_request.clamp(1, HEADERS_ANSWER_MAX)).unwrap_or(1)
    }

    /// The answer to a GetHeaders did not come in time.
    pub(super) fn header_request_timed_out(&mut self, conn: ConnId) {
        let timeouts_max = self.config.timeouts_max;
        let Some(peer) = self.peers.get_mut(&conn) else { return };
        peer.headers_timed_out();
        let is_last = peer.header_timeouts >= timeouts_max;
        self.outputs.push_back(SyncOutput::Slow { conn });
        if is_last {
            self.close(conn, CloseReason::RequestTimeout);
        } else if let Some(branch) = &peer.presync {
            // A long branch is not begun anew for one answer that is late.
            peer.next_headers = Some(NextHeaders::After(branch.end().hash));
        } else {
            self.end_header_sync(conn);
            self.plan_header_request(conn, None);
        }
    }
}
