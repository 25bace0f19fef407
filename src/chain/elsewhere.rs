//! What the chain has judged and read elsewhere than in the loop, and what is left for the loop to do when it is finished.

use core::sync::atomic::Ordering;
use std::sync::Arc;

use crate::chain::off_loop::{Body, Found, Judged, OffLoop, Read, Stored};
use crate::chain::reference::ReferenceChain;
use crate::chain::workers::Waker;
use crate::proto::sync::chain::{CheckedBlock, CheckedHeader, Finished, Verdict};
use crate::source::Source;
use crate::wire::Hash;

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

    /// Has a block read elsewhere, if that is better: under which number.
    pub(super) fn read_elsewhere(&mut self, source: Source, hash: &Hash) -> Option<u64> {
        let off_loop = self.off_loop.as_mut()?;
        let node = self.index.node(self.index.find(hash)?);
        let len = usize::try_from(node.len).unwrap_or(usize::MAX);
        let seq = node.seq.filter(|_| off_loop.is_large(len))?;
        let stored = Stored { reader: self.store.reader(seq), header: node.header, ids: Arc::clone(&node.ids) };
        Some(off_loop.read(source, *hash, stored, len))
    }

    /// What was judged or read elsewhere, with what is left to do for it done.
    pub(super) fn finish_next(&mut self) -> Option<Finished> {
        if let Some(Judged { ticket, block, body }) = self.off_loop.as_mut()?.next_judged() {
            let header = block.header();
            let verdict = match body {
                Ok(body) => self.finish(header, block, body),
                Err(why) => Verdict::Ignored(why),
            };
            let is_held = self.index.find(&header.hash()).is_some();
            self.off_loop.as_mut()?.ended(&header.hash(), is_held);
            return Some(Finished::Judged(ticket, verdict));
        }
        loop {
            if let Some((ticket, bytes)) = self.read.pop_front() {
                if self.returning.is_waiting_for(ticket) {
                    self.returning.arrived(bytes);
                    continue;
                }
                return Some(Finished::Read(ticket, bytes));
            }
            let Read { hash, tickets, found } = self.off_loop.as_mut()?.next_read()?;
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

    fn finish(&mut self, header: CheckedHeader, block: CheckedBlock, body: Body) -> Verdict {
        let parent = match self.place_for(&header) {
            Ok(Ok(parent)) => parent,
            Ok(Err(verdict)) => return verdict,
            Err(rejection) => return Verdict::Invalid(rejection),
        };
        self.keep(parent, header, block.into_bytes(), body).unwrap_or_else(Verdict::Invalid)
    }
}
