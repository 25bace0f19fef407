//! What the engine knows of one peer: its tips, what it was asked for, how late it was.

use std::collections::{BTreeMap, HashMap};

use crate::proto::budget::BLOCK_REQUESTS_MAX;
use crate::proto::counter::lower;
use crate::proto::sync::chain::CheckedHeader;
use crate::proto::sync::config::SyncConfig;
use crate::proto::sync::line::Line;
use crate::proto::sync::locator::HEADERS_ANSWER_MAX;
use crate::proto::sync::presync::Presync;
use crate::proto::sync::records::Lateness;
use crate::proto::sync::tree::HeaderTree;
use crate::rate::Pace;
use crate::sharded::give_back;
use crate::source::{Place, Source};
use crate::time::Instant;
use crate::wire::Hash;
use crate::wire::message::Extension;

/// Branches remembered for each peer; the lightest goes.
pub(super) const TIPS_MAX: usize = 4;
/// Questions for blocks that wait at a peer that counts them, before it drops more.
const COUNTED_MAX: usize = 64;
/// Turns to tell headers that a peer had in vain, after which it waits among all others.
const VAIN_MAX: u32 = 3;
/// Blocks not to ask a peer for; above it the peer's tips are worth nothing and are dropped.
pub(super) const AVOID_MAX: usize = 1_024;

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) version: u8,
    /// Ends of the branches it told, all of them entries of the tree and held there.
    tips: Vec<Hash>,
    /// The outstanding GetHeaders.
    header_request: Option<HeaderRequest>,
    /// What to ask for next.
    pub(super) next_headers: Option<NextHeaders>,
    /// A block that it says it has and whose header we lack.
    pub(super) claim: Option<Hash>,
    /// The height at which its last headers ended, so that an answer that leads nowhere ends the questions.
    pub(super) headers_end: Option<u64>,
    /// A long branch that is lighter than our chain as far as it was told.
    pub(super) presync: Option<Presync>,
    /// Who it is, for a fair share of the turns.
    pub(super) source: Source,
    /// Turns that it had since it brought us further last.
    pub(super) vain_turns: u32,
    /// It has brought us further.
    pub(super) has_delivered: bool,
    /// It holds one of the turns to tell headers until then.
    pub(super) turn_until: Instant,
    pub(super) announcement_pace: Pace,
    /// It tells more than one frame of headers for one question.
    pub(super) tells_many_headers: bool,
    /// It takes a question for several blocks.
    pub(super) serves_runs: bool,
    /// How fast to ask it, if it counts questions.
    pub(super) header_request_pace: Option<Pace>,
    pub(super) block_request_pace: Option<Pace>,
    /// Blocks that it may have been asked for without an answer. Beyond it is not asked until it answers.
    unanswered_max: usize,
    /// Blocks asked of it and not answered, timed out or not.
    block_requests: HashMap<Hash, BlockRequest>,
    /// Those of them that somebody waits for.
    in_flight: usize,
    /// Those, and those that were asked of others because it was late, until its time is up.
    expected: usize,
    /// When that is; `None` when nothing is expected.
    due: Option<Instant>,
    /// When it delivered last, or got something to deliver when it had nothing.
    heard: Instant,
    /// It has delivered a block that it was asked for.
    pub(super) has_given: bool,
    /// What was measured of the way to it.
    pub(super) line: Line,
    /// Whether it holds up others.
    pub(super) lateness: Lateness,
    pub(super) avoid: BTreeMap<Hash, Instant>,
    /// Timeouts in a row, for headers and for blocks.
    pub(super) header_timeouts: u32,
    pub(super) block_timeouts: u32,
    reach: Option<Reach>,
}

/// The height up to which a peer has the path's blocks, as found when the path had forked so often and ended there.
#[derive(Clone, Copy, Debug)]
struct Reach {
    forks: u64,
    end: u64,
    height: Option<u64>,
}

/// A GetHeaders under way.
#[derive(Debug)]
pub(super) struct HeaderRequest {
    pub(super) asked_at: Instant,
    pub(super) deadline: Instant,
    pub(super) anchors: Vec<Hash>,
    /// Headers that may still come in answer.
    pub(super) left: usize,
    /// The last that was told of an answer which goes on.
    pub(super) told: Option<Hash>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NextHeaders {
    /// From where our chain and its chain part; waits for a turn, with its place in the line.
    Locate(u64),
    /// From the last header it told on.
    After(Hash),
}

/// A block that was asked for.
#[derive(Debug)]
struct BlockRequest {
    /// Its header, so that the answer needs no other check of it.
    header: CheckedHeader,
    /// Answers to come: a block may be asked for again after a timeout.
    unanswered: u32,
    /// When it was asked for last.
    asked_at: Instant,
    wait: Wait,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The download does.
    On,
    /// Nobody, for others were asked since; but the answer is owed until the peer's time is up.
    Owed,
    /// Nobody.
    Off,
}

impl Peer {
    pub(super) fn new((version, features, source): (u8, u64, Source), lateness: Lateness, config: &SyncConfig) -> Self {
        let counts = features & Extension::WAITS_WITH_ANSWERS == 0;
        let is_chosen = matches!(source, Source::Own | Source::Chosen(_));
        Peer {
            version,
            tips: Vec::new(),
            header_request: None,
            next_headers: None,
            claim: None,
            headers_end: None,
            presync: None,
            source,
            vain_turns: 0,
            has_delivered: false,
            turn_until: Instant::ZERO,
            announcement_pace: Pace::new(config.announcements),
            tells_many_headers: Extension::tells_many_headers(features),
            serves_runs: Extension::serves_runs(features),
            header_request_pace: counts.then(|| Pace::new(config.header_requests)),
            block_request_pace: counts.then(|| Pace::new(config.block_requests)),
            unanswered_max: if counts { COUNTED_MAX } else { BLOCK_REQUESTS_MAX },
            block_requests: HashMap::new(),
            in_flight: 0,
            expected: 0,
            due: None,
            heard: Instant::ZERO,
            has_given: false,
            line: Line::new(is_chosen && !lateness.was_late()),
            lateness,
            avoid: BTreeMap::new(),
            header_timeouts: 0,
            block_timeouts: 0,
            reach: None,
        }
    }

    pub(super) fn tips(&self) -> &[Hash] {
        &self.tips
    }

    /// Is it telling us headers, one answer after the other?
    pub(super) fn is_syncing_headers(&self) -> bool {
        self.header_request.is_some() || matches!(self.next_headers, Some(NextHeaders::After(_)))
    }

    pub(super) fn header_request(&self) -> Option<&HeaderRequest> {
        self.header_request.as_ref()
    }

    /// Notes a request for headers. There is one at a time, and it asks for what was planned.
    pub(super) fn request_headers(&mut self, request: HeaderRequest) {
        debug_assert!(self.header_request.is_none(), "an earlier request for headers is not answered");
        debug_assert!(self.next_headers.is_some(), "headers are asked for that nobody planned to ask for");
        // The claim is what this question is about: whatever the answer, it is not asked again.
        self.claim = None;
        self.next_headers = None;
        self.header_request = Some(request);
    }

    /// What it told or gave was new, and led further.
    pub(super) fn delivered(&mut self) {
        self.vain_turns = 0;
        self.has_delivered = true;
    }

    /// Is it one of those that go first: whom we chose, or who has shown that its word is worth something, unless it had turns
    /// enough since?
    pub(super) fn goes_first(&self) -> bool {
        let is_trusted = self.has_delivered || matches!(self.source, Source::Own | Source::Chosen(_));
        is_trusted && self.vain_turns < VAIN_MAX
    }

    /// Its subnet, among the strangers or among those whom we chose.
    pub(super) fn subnet(&self) -> Place {
        let [_, subnet, _] = self.source.path();
        subnet
    }

    /// When it may be asked for headers.
    pub(super) fn headers_ready_at(&self) -> Instant {
        self.header_request_pace.map_or(Instant::ZERO, |pace| pace.ready_at())
    }

    /// A frame of so many headers came in answer to the outstanding request, whatever it is worth: the end of it, unless it was full,
    /// more were asked for, and it is known from where these go on. They have until `deadline` then.
    pub(super) fn headers_answered(&mut self, now: Instant, count: usize, last: Option<Hash>, deadline: Instant) {
        let Some(request) = &mut self.header_request else { return };
        self.header_timeouts = 0;
        if request.told.is_none() {
            self.line.answered(now.since(request.asked_at));
        }
        request.left = request.left.saturating_sub(count);
        if count == HEADERS_ANSWER_MAX as usize && request.left > 0 && last.is_some() {
            (request.told, request.deadline) = (last, deadline);
        } else {
            self.header_request = None;
        }
    }

    /// The outstanding request for headers was not answered in time.
    pub(super) fn headers_timed_out(&mut self) {
        let request = self.header_request.take();
        debug_assert!(request.is_some(), "no headers are asked for that could be late");
        self.header_timeouts = self.header_timeouts.saturating_add(1);
    }

    /// It has no more headers to tell at the moment.
    pub(super) fn end_header_sync(&mut self) {
        self.headers_end = None;
        if matches!(self.next_headers, Some(NextHeaders::After(_))) {
            self.next_headers = None;
        }
    }

    /// Blocks it is being waited for.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn can_take_more(&self, limit: usize) -> bool {
        // After a timeout one at a time, until it delivers.
        let limit = if self.block_timeouts > 0 { 1 } else { limit.max(1) };
        self.in_flight < limit && self.block_requests.len() < self.unanswered_max
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = Instant> {
        self.due.into_iter().chain(self.header_request.as_ref().map(|request| request.deadline))
    }

    /// Is what it was asked for late, for good?
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Since when it delivers nothing though it has something to deliver; `None` when it has nothing.
    pub(super) fn silent_since(&self) -> Option<Instant> {
        (self.in_flight > 0).then_some(self.heard)
    }

    /// Notes a request for a block, which is late at `due` unless something comes before.
    pub(super) fn request_block(&mut self, now: Instant, header: CheckedHeader, due: Instant) {
        let new = BlockRequest { header, unanswered: 0, asked_at: now, wait: Wait::Off };
        let request = self.block_requests.entry(header.hash()).or_insert(new);
        request.unanswered = request.unanswered.saturating_add(1);
        request.asked_at = now;
        let before = core::mem::replace(&mut request.wait, Wait::On);
        debug_assert_ne!(before, Wait::On, "{} is asked for while it is being waited for", header.hash());
        if before == Wait::Off {
            self.expected = self.expected.saturating_add(1);
        }
        if before != Wait::On {
            if self.in_flight == 0 {
                self.heard = now;
            }
            self.in_flight = self.in_flight.saturating_add(1);
        }
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
    }

    /// May a block come from it? Whoever was asked for one may send it, however late.
    pub(super) fn may_send_block(&self) -> bool {
        !self.block_requests.is_empty()
    }

    /// The same of this one.
    pub(super) fn is_asked_for_block(&self, hash: &Hash) -> bool {
        self.block_requests.contains_key(hash)
    }

    /// An answer for this block came: the header by which it was asked for, if it was, and when it was asked for.
    pub(super) fn take_answer(&mut self, hash: &Hash) -> Option<(CheckedHeader, Instant)> {
        self.end_wait(hash, Wait::Off);
        let request = self.block_requests.get_mut(hash)?;
        let answer = (request.header, request.asked_at);
        debug_assert!(request.unanswered > 0, "a request without an answer to come is kept");
        request.unanswered = request.unanswered.saturating_sub(1);
        if request.unanswered == 0 {
            self.block_requests.remove(hash);
            give_back(&mut self.block_requests);
        }
        Some(answer)
    }

    /// The download has this block. The answer may still come, and is owed where it was late before.
    pub(super) fn cancel_wait(&mut self, hash: &Hash) {
        if self.is_in_flight(hash) {
            self.end_wait(hash, Wait::Off);
        }
    }

    fn end_wait(&mut self, hash: &Hash, wait: Wait) {
        let Some(request) = self.block_requests.get_mut(hash) else { return };
        let before = core::mem::replace(&mut request.wait, wait);
        if before == Wait::On && wait != Wait::On {
            lower(&mut self.in_flight, 1);
        }
        if before != Wait::Off && wait == Wait::Off {
            lower(&mut self.expected, 1);
        }
        if self.expected == 0 {
            self.due = None;
        }
    }

    /// A block of so many bytes came from it that it was asked for at that time, with so many on their way when its frame came, so what
    /// it was asked for besides gets at least until `due`.
    pub(super) fn block_came(
        &mut self,
        now: Instant,
        len: usize,
        (asked_at, on_their_way): (Instant, usize),
        due: Instant,
    ) {
        self.heard = now;
        self.has_given = true;
        self.block_timeouts = 0;
        self.due = self.due.map(|earlier| earlier.max(due));
        self.line.weighed(len);
        self.line.delivered(now, asked_at, on_their_way.max(self.in_flight.saturating_add(1)));
        self.lateness.delivered();
    }

    /// It is late where others are not: nobody waits for it any more. Returns the blocks that it was waited for, which it owes still,
    /// the lowest first.
    pub(super) fn release_blocks(&mut self) -> Vec<Hash> {
        let released = self.waited_for();
        released.iter().for_each(|(_, hash)| self.end_wait(hash, Wait::Owed));
        self.line.restart();
        released.into_iter().map(|(_, hash)| hash).collect()
    }

    /// Its time is up: nothing is expected of it any more. Returns the blocks that it was waited for, the lowest first.
    pub(super) fn time_out_blocks(&mut self) -> Vec<Hash> {
        let late = self.waited_for();
        let expected: Vec<Hash> = self.block_requests.keys().copied().collect();
        expected.iter().for_each(|hash| self.end_wait(hash, Wait::Off));
        self.line.restart();
        self.block_timeouts = self.block_timeouts.saturating_add(1);
        late.into_iter().map(|(_, hash)| hash).collect()
    }

    /// The lowest first.
    fn waited_for(&self) -> Vec<(u64, Hash)> {
        let waited = self.block_requests.values().filter(|request| request.wait == Wait::On);
        let mut waited: Vec<_> = waited.map(|request| (request.header.height(), request.header.hash())).collect();
        waited.sort_unstable();
        waited
    }

    /// Is this block being waited for from this peer?
    pub(super) fn is_in_flight(&self, hash: &Hash) -> bool {
        self.block_requests.get(hash).is_some_and(|request| request.wait == Wait::On)
    }

    /// Are the counts right, and the limits kept?
    pub(super) fn is_sound(&self) -> bool {
        let in_flight = self.block_requests.values().filter(|request| request.wait == Wait::On).count();
        let expected = self.block_requests.values().filter(|request| request.wait != Wait::Off).count();
        (in_flight, expected) == (self.in_flight, self.expected)
            && self.due.is_some() == (expected > 0)
            && self.block_requests.len() <= self.unanswered_max
            && self
                .block_requests
                .iter()
                .all(|(hash, request)| request.unanswered > 0 && request.header.hash() == *hash)
            && self.tips.len() <= TIPS_MAX
            && self.avoid.len() <= AVOID_MAX
    }

    /// How far up the path it has blocks.
    pub(super) fn reach(&self) -> Option<u64> {
        self.reach.and_then(|reach| reach.height)
    }

    pub(super) fn update_reach(&mut self, path: &super::path::Path, tree: &HeaderTree) {
        let end = path.target().map_or(0, |tip| tip.height);
        let is_same =
            |reach: &Reach| reach.forks == path.forks() && (reach.end == end || reach.height != Some(reach.end));
        let height = match self.reach.filter(is_same) {
            // Whose branch left the way below its end is not on what was added there.
            Some(reach) => reach.height,
            None => {
                let tips = self.tips.iter().filter_map(|tip| tree.get(tip));
                tips.filter_map(|tip| path.shared_with(tree, tip)).max()
            }
        };
        self.reach = Some(Reach { forks: path.forks(), end, height });
    }

    pub(super) fn add_tip(&mut self, hash: Hash) {
        debug_assert!(!self.tips.contains(&hash), "{hash} is a tip twice");
        self.tips.push(hash);
        self.reach = None;
    }

    /// Forgets a tip without touching the tree.
    pub(super) fn drop_tip(&mut self, hash: &Hash) -> bool {
        let before = self.tips.len();
        self.tips.retain(|tip| tip != hash);
        let dropped = self.tips.len() < before;
        if dropped {
            self.reach = None;
        }
        dropped
    }
}
