//! Blocks that are pushed to us, and those that we mined: their headers are judged first, of a large one as soon as its front has come.
//!
//! A header is cheap to judge and dear to make, the rest of a block is the other way round: so whoever sends sixteen MiB that we
//! have, or that nobody could want, costs us a header and no memory.

use bytes::Bytes;

use crate::frame_start::{Begun, FrameStart};
use crate::id::ConnId;
use crate::proto::budget::Charge;
use crate::proto::node::Node;
use crate::proto::node::known::Pending;
use crate::proto::sync::chain::{Chain, CheckedBlock, CheckedHeader, EARLY, HeaderError, Verdict};
use crate::proto::work::FRAME;
use crate::time::Now;
use crate::wire::Kind;

impl<C: Chain> Node<C> {
    /// The front of a large frame has come: is the rest worth its memory? Asked once for each, by drivers that can skip one; what
    /// follows is among the outputs, which may wait for the next input. A block that is pushed to us is judged by its header here,
    /// and again when it is whole, for the chain may have moved meanwhile.
    pub fn frame_begun(&mut self, now: Now, start: FrameStart<'_>) -> Begun {
        let FrameStart { conn, kind, len, head } = start;
        let is_ready = self.sessions.get(conn).is_some_and(|s| !s.is_closing() && s.greeting_deadline().is_none());
        let is_answer = kind == Kind::Block as u8 && self.may_be_pushed(conn);
        if !is_ready || kind != Kind::NewBlock as u8 && !is_answer {
            return Begun::Read;
        }
        self.work.spend(FRAME);
        let Some(header) = CheckedHeader::of_begun_block(&self.chain, now.unix, head) else { return Begun::Read };
        let is_asked = |header: CheckedHeader| self.sync.is_asked_for_block(conn, &header.hash());
        // Of one that has no header nobody can say that it was not asked for, as long as something was.
        if is_answer && self.sync.may_send_block(conn) && header.map_or(true, is_asked) {
            return Begun::Read;
        }
        let is_wanted = match header {
            Ok(header) => !self.has_no_use_for(now, Some(conn), header),
            Err(error) => {
                self.refuse_header(now, Some(conn), error);
                false
            }
        };
        if is_wanted {
            return Begun::Read;
        }
        self.counters.blocks_skipped += 1;
        // It will not come to the place where frames are charged.
        if self.charge(now, conn, Kind::NewBlock, len) != Charge::Ok {
            *self.counters.over_budget.entry(Kind::NewBlock).or_default() += 1;
        }
        Begun::Skip
    }

    /// Is a Block from here a new one, unless we asked for it?
    fn may_be_pushed(&self, conn: ConnId) -> bool {
        self.sessions.peer(conn).is_some_and(|peer| peer.speech.is_version_1())
    }

    /// Is this Block one that we did not ask its sender for, and the sender one who pushes blocks so?
    pub(super) fn is_pushed_block(&mut self, conn: ConnId, block: &[u8]) -> bool {
        if !self.may_be_pushed(conn) {
            return false;
        }
        // With no question open there is nothing to look at.
        if !self.sync.may_send_block(conn) {
            return true;
        }
        self.work.spend(1);
        self.chain.block_hash(block).is_none_or(|hash| !self.sync.is_asked_for_block(conn, &hash))
    }

    pub(super) fn on_new_block(&mut self, now: Now, conn: ConnId, bytes: Bytes) {
        self.submit_block(now, Some(conn), bytes);
    }

    pub(super) fn submit_block(&mut self, now: Now, from: Option<ConnId>, bytes: Bytes) {
        self.work.spend_hashing(bytes.len());
        let block = match CheckedBlock::check(&self.chain, now.unix, bytes) {
            Ok(block) => block,
            Err(error) => return self.refuse_header(now, from, error),
        };
        let (id, payload) = (block.hash(), block.bytes().clone());
        if self.has_no_use_for(now, from, block.header()) {
            return;
        }
        if from.is_some() && self.moves_no_tip(block.header()) {
            let (height, best) = (block.header().height(), self.chain.best().height);
            self.side_blocks.take(height, best);
        }
        let verdict = self.chain.accept_block_from(now.unix, self.source_of(from), block);
        if matches!(verdict, Verdict::Pending(_)) {
            self.sync.block_pending(id);
        }
        self.judge(now, verdict, Pending { kind: Kind::NewBlock, id, from, payload });
    }

    fn refuse_header(&mut self, now: Now, from: Option<ConnId>, error: HeaderError) {
        match error {
            HeaderError::Early => {
                if let Some(conn) = from {
                    self.note_early(now, conn);
                }
                self.refuse_softly(from, Kind::NewBlock, EARLY);
            }
            HeaderError::Invalid(rejection) => self.refuse(now, from, Kind::NewBlock, rejection.why),
        }
    }

    /// Is a block that was submitted, or pushed to us, one that we have or do not want? Who has sent it is then known to have it.
    fn has_no_use_for(&mut self, now: Now, from: Option<ConnId>, header: CheckedHeader) -> bool {
        let id = header.hash();
        if let Some(conn) = from {
            self.note_height(conn, header.height());
        }
        if self.is_old(now, Kind::NewBlock, id, from) {
            return true;
        }
        // Whoever has a heavier branch tells its headers, and is asked for its blocks.
        let useless = self.chain.position(&id).is_some() || (from.is_some() && self.is_beside_the_point(header));
        if useless {
            self.known.learn(from, id);
        }
        useless
    }

    /// Would a pushed block leave the tip where it is, and is there enough of its kind?
    fn is_beside_the_point(&self, header: CheckedHeader) -> bool {
        self.moves_no_tip(header) && !self.side_blocks.has_room(header.height(), self.chain.best().height)
    }

    /// Does a block follow one that we have, and would leave the tip where it is?
    fn moves_no_tip(&self, header: CheckedHeader) -> bool {
        let parent = self.chain.position(&header.previous());
        parent.is_some_and(|parent| parent.work.saturating_add(header.work()) <= self.chain.best().work)
    }
}
