//! What the chain has judged and read elsewhere than in the loop, and what is left for the loop to do when it is finished.

use core::sync::atomic::Ordering;
use core::time::Duration;
use std::sync::Arc;
use std::time::Instant;

use crate::chain::entering::Keeping;
use crate::chain::index::Node;
use crate::chain::off_loop::{Body, Found, Judged, OffLoop, Read, Stored};
use crate::chain::reference::ReferenceChain;
use crate::chain::store::Store;
use crate::chain::workers::Waker;
use crate::proto::sync::chain::{CheckedBlock, CheckedHeader, Finished, Verdict};
use crate::source::Source;
use crate::wire::Hash;

/// Small blocks that are read with one that was asked for at most, and bytes of all of them: a few milliseconds of a thread.
const AHEAD_BLOCKS: usize = 256;
/// See [`AHEAD_BLOCKS`].
const AHEAD_BYTES: usize = 512 * 1024;

/// How a thread reads a block; `None` for genesis, which is at hand.
fn stored(store: &Store, node: &Node) -> Option<Stored> {
    Some(Stored { reader: store.reader(node.seq?), header: node.header, ids: Arc::clone(&node.ids) })
}

impl ReferenceChain {
    /// From now on large blocks are judged and read by threads, which wake the loop by `waker` when something is done:
    /// [`Handle::wake`](crate::driver::Handle::wake), as a rule. Without this every call does all of its work itself.
    pub fn work_off_loop(&mut self, waker: impl Fn() + Send + Sync + 'static) {
        let waker: Waker = Arc::new(waker);
        self.store.set_waker(Arc::clone(&waker));
        self.off_loop = Some(OffLoop::threads(waker));
    }

    /// The same without threads, a piece in each turn, for blocks from `large` bytes on: where all must happen in one order.
    #[cfg(feature = "sim")]
    pub(crate) fn work_in_turns(&mut self, large: usize) {
        self.off_loop = Some(OffLoop::in_turns(large));
    }

    /// Has a large block read elsewhere: under which number. `None` for a smaller one.
    pub(super) fn read_elsewhere(&mut self, source: Source, hash: &Hash) -> Option<u64> {
        let off_loop = self.off_loop.as_mut()?;
        let node = self.index.node(self.index.find(hash)?);
        let len = usize::try_from(node.len).unwrap_or(usize::MAX);
        let stored = stored(&self.store, node).filter(|_| off_loop.is_large(len))?;
        off_loop.read_along(hash).or_else(|| Some(off_loop.read(source, (*hash, stored), Vec::new(), len)))
    }

    /// Has any block read elsewhere that stands on a disk: under which number. A disk may take tens of milliseconds for the smallest,
    /// so those come along that are asked for next, wherever they stand. Where nobody says which these are, they are those that follow
    /// it in the chain, twice as many as were read in a row before it: who downloads asks for them next, and finds them here, and who
    /// asks for any here and there has few read for nothing.
    pub(super) fn serve_elsewhere(
        &mut self,
        source: Source,
        hash: &Hash,
        asked_next: &mut dyn Iterator<Item = Hash>,
    ) -> Option<u64> {
        let off_loop = self.off_loop.as_mut()?;
        let id = self.index.find(hash)?;
        let node = self.index.node(id);
        let asked = stored(&self.store, node)?;
        let mut len = usize::try_from(node.len).unwrap_or(usize::MAX);
        if !self.store.is_on_disk() && !off_loop.is_large(len) {
            return None;
        }
        if let Some(ticket) = off_loop.read_along(hash) {
            return Some(ticket);
        }
        let mut ahead = Vec::new();
        if !off_loop.is_large(len) {
            for next in asked_next.take(AHEAD_BLOCKS) {
                self.work.spend(1);
                let Some(id) = self.index.find(&next).filter(|_| !self.served.holds(&next)) else { continue };
                let next = self.index.node(id);
                let more = usize::try_from(next.len).unwrap_or(usize::MAX);
                let Some(next_stored) = stored(&self.store, next).filter(|_| !off_loop.is_large(more)) else {
                    continue;
                };
                if more > AHEAD_BYTES.saturating_sub(len) {
                    break;
                }
                len = len.saturating_add(more);
                ahead.push((next.tip.hash, next_stored));
            }
        }
        if ahead.is_empty() && !off_loop.is_large(len) && self.index.is_best(id) {
            let before = (0..node.tip.height).rev().take(AHEAD_BLOCKS / 2).map_while(|height| self.index.at(height));
            let in_a_row = before.take_while(|node| self.served.holds(&node.tip.hash)).count();
            self.work.spend(in_a_row);
            let most = in_a_row.saturating_mul(2);
            for next in self.index.best_from(node.tip.height.saturating_add(1)).take(most) {
                let more = usize::try_from(next.len).unwrap_or(usize::MAX);
                let Some(next_stored) = stored(&self.store, next).filter(|_| more <= AHEAD_BYTES.saturating_sub(len))
                else {
                    break;
                };
                len = len.saturating_add(more);
                ahead.push((next.tip.hash, next_stored));
            }
            self.work.spend_light(4 * ahead.len());
        }
        Some(off_loop.read(source, (*hash, asked), ahead, len))
    }

    /// Waits for blocks that are being judged, at most so long, and keeps those that are right. For a clean stop: nobody was told of
    /// them yet, but who mined one or has sent it need not do so again.
    pub(super) fn finish_judging(&mut self, patience: Duration) {
        let began = Instant::now();
        while self.keeping.is_some()
            || self
                .off_loop
                .as_ref()
                .is_some_and(|off_loop| off_loop.wait_for_judgement(patience.saturating_sub(began.elapsed())))
        {
            while self.finish_judged().is_some() || self.keeping.is_some() {}
        }
    }

    /// What was judged or read elsewhere, with what is left to do for it done.
    pub(super) fn finish_next(&mut self) -> Option<Finished> {
        if let Some(judged) = self.finish_judged() {
            return Some(judged);
        }
        loop {
            if let Some((ticket, bytes)) = self.read.pop_front() {
                if self.returning.is_waiting_for(ticket) {
                    self.returning.arrived(bytes);
                    continue;
                }
                return Some(Finished::Read(ticket, bytes));
            }
            let Read { hash, tickets, found, ahead } = self.off_loop.as_mut()?.next_read()?;
            for (hash, bytes) in &ahead {
                self.served.keep(*hash, bytes);
            }
            let bytes = match found {
                Some(Found::Whole(bytes)) => {
                    self.served.keep(hash, &bytes);
                    Some(bytes)
                }
                Some(Found::Spoiled) => {
                    self.spoiled.store(true, Ordering::Relaxed);
                    None
                }
                Some(Found::Nothing) | None => None,
            };
            self.read.extend(tickets.into_iter().map(|ticket| (ticket, bytes.clone())));
        }
    }

    fn finish_judged(&mut self) -> Option<Finished> {
        let (ticket, hash, verdict) = match self.keeping.take() {
            Some((ticket, block)) => {
                let hash = block.hash(&self.index);
                (ticket, hash, self.keep_on(block))
            }
            None => {
                let Judged { ticket, block, body } = self.off_loop.as_mut()?.next_judged()?;
                let header = block.header();
                let verdict = match body {
                    Ok(body) => self.finish(header, block, body),
                    Err(why) => Ok(Verdict::Ignored(why)),
                };
                (ticket, header.hash(), verdict)
            }
        };
        let verdict = match verdict {
            Ok(verdict) => verdict,
            Err(block) => {
                self.keeping = Some((ticket, block));
                return None;
            }
        };
        let is_held = self.index.find(&hash).is_some();
        self.off_loop.as_mut()?.ended(&hash, is_held);
        Some(Finished::Judged(ticket, verdict))
    }

    /// The verdict, or what is being kept when there is more to do.
    fn finish(&mut self, header: CheckedHeader, block: CheckedBlock, body: Body) -> Result<Verdict, Keeping> {
        let parent = match self.place_for(&header) {
            Ok(Ok(parent)) => parent,
            Ok(Err(verdict)) => return Ok(verdict),
            Err(rejection) => return Ok(Verdict::Invalid(rejection)),
        };
        match self.begin_to_keep(parent, header, block.into_bytes(), body) {
            Ok(block) => self.keep_on(block),
            Err(rejection) => Ok(Verdict::Invalid(rejection)),
        }
    }
}
