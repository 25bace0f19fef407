//! What an outbox holds while it holds something: the four lines, and the frame that is written in part.

use bytes::Bytes;

use super::cut::Cut;
use super::line::{Done, Line, PartialFrame};
use super::plan::{Plan, Rounds};
use crate::link::buffers::Buffers;
use crate::link::queue_account::QueueAccount;
use crate::wire::Priority;
use crate::wire::frame::HEADER_LEN;

/// The queued frames, in the order of their lines, and how many bytes and frames that is.
#[derive(Debug, Default)]
pub(in crate::link) struct Queues {
    pub(super) lines: [Line; 4],
    pub(super) partial: Option<PartialFrame>,
    /// The line that the partial frame is of, while there is one.
    partial_rank: usize,
    pub(super) rounds: Rounds,
    bytes: usize,
    frames: usize,
}

impl Queues {
    /// True when nothing is queued.
    pub(in crate::link) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// True when it is worth keeping for the next connection.
    pub(in crate::link) fn is_small(&self) -> bool {
        self.lines.iter().all(Line::is_small)
    }

    /// Is one segment of one line all there is?
    #[inline]
    pub(super) fn is_lone(&self) -> bool {
        self.partial.is_none()
            && self.lines.iter().map(Line::segments).sum::<usize>() == 1
            && !self.lines.iter().any(Line::is_cut)
    }

    /// Bytes queued and not written.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Is what leaves next news? The frame that is written in part says so, or else which lines wait.
    pub(super) fn has_news(&self) -> bool {
        let is_news = |rank: usize| rank == Priority::High.rank() || rank == Priority::Low.rank();
        match &self.partial {
            Some(_) => is_news(self.partial_rank),
            None => self.lines.iter().enumerate().any(|(rank, line)| is_news(rank) && line.bytes() > 0),
        }
    }

    /// Frames of which the last byte is not written.
    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    /// See [`Outbox::charged_bytes`](super::Outbox::charged_bytes).
    #[cfg(feature = "sim")]
    pub(super) fn charged_bytes(&self) -> usize {
        let lines: usize = self.lines.iter().map(|line| line.bytes() + line.taken()).sum();
        lines + self.partial.as_ref().map_or(0, PartialFrame::charged)
    }

    /// Bytes of payloads that the other side holds a part of.
    pub(super) fn begun(&self) -> usize {
        self.lines.iter().map(Line::begun).sum()
    }

    /// Queues a small frame behind the last of its line, if the chunk there and the limit have room for it. Answers whether they
    /// had: if not, nothing has changed.
    #[inline]
    pub(super) fn append(
        &mut self,
        priority: Priority,
        kind: u8,
        payload: &[u8],
        hard: usize,
        account: &mut QueueAccount,
    ) -> bool {
        let total = HEADER_LEN.saturating_add(payload.len());
        let after = self.bytes.saturating_add(total);
        if after > hard || !self.line_mut(priority).append(kind, payload) {
            return false;
        }
        account.charge(total);
        self.bytes = after;
        self.frames += 1;
        true
    }

    pub(super) fn push_copied(
        &mut self,
        priority: Priority,
        header: &[u8; HEADER_LEN],
        payload: &[u8],
        buffers: &mut Buffers,
        account: &mut QueueAccount,
    ) {
        self.line_mut(priority).push_copied(header, payload, buffers, account);
        self.bytes += HEADER_LEN + payload.len();
        self.frames += 1;
    }

    pub(super) fn push_shared(
        &mut self,
        priority: Priority,
        header: [u8; HEADER_LEN],
        payload: Bytes,
        account: &mut QueueAccount,
    ) {
        self.bytes += HEADER_LEN + payload.len();
        self.frames += 1;
        self.line_mut(priority).push_shared(header, payload, account);
    }

    /// Queues a frame that leaves in pieces. None of the critical ones does.
    pub(super) fn push_cut(&mut self, priority: Priority, kind: u8, payload: Bytes, account: &mut QueueAccount) {
        let cut = Cut::new(priority.rank().saturating_sub(1), kind, payload);
        self.bytes += cut.len();
        self.frames += 1;
        self.line_mut(priority).push_cut(cut, account);
    }

    /// Drops frames of lower priority than `priority` until `excess` bytes are free; `None` when that can not be done, and then
    /// none is dropped.
    pub(super) fn drop_below(
        &mut self,
        priority: Priority,
        excess: usize,
        buffers: &mut Buffers,
        account: &mut QueueAccount,
    ) -> Option<u32> {
        let lower = self.lines.iter_mut().skip(priority.rank() + 1);
        if lower.map(|line| line.droppable()).sum::<usize>() < excess {
            return None;
        }
        let (mut freed, mut dropped, mut gone) = (0, 0, 0);
        for (rank, line) in self.lines.iter_mut().enumerate().skip(priority.rank() + 1).rev() {
            while freed < excess
                && let Some((bytes, frames)) = line.drop_oldest(rank, buffers, account)
            {
                freed += bytes;
                gone += frames;
                dropped += 1;
            }
        }
        debug_assert!(freed >= excess, "{freed} of {excess} bytes could be freed");
        self.bytes -= freed;
        self.frames -= gone;
        self.check();
        Some(dropped)
    }

    /// Takes the first `count` bytes of what `plan` offered out of the lines; answers how many frames are complete.
    pub(super) fn written<const N: usize>(
        &mut self,
        plan: &Plan<N>,
        count: usize,
        buffers: &mut Buffers,
        account: &mut QueueAccount,
    ) -> usize {
        let count = count.min(plan.bytes());
        self.bytes -= count;
        let mut left = count;
        let mut frames = 0;
        if let Some(mut partial) = self.partial.take() {
            if left < partial.left() {
                partial.advance(left);
                self.partial = Some(partial);
                self.check();
                return 0;
            }
            left -= partial.left();
            frames += partial.frames();
            partial.release(buffers, account);
        }
        for run in plan.runs() {
            if left == 0 {
                break;
            }
            debug_assert!(self.partial.is_none(), "bytes were written behind a frame that is not complete");
            let Some(line) = self.lines.get_mut(run.rank) else { continue };
            let taken = left.min(run.bytes);
            left -= taken;
            let Done { frames: done, partial } = line.take(taken, buffers, account);
            frames += done;
            self.rounds = run.rounds;
            // The run was charged in full; what has not begun to leave is still owed to its line.
            let beyond = partial.as_ref().map_or(0, PartialFrame::left);
            self.rounds.refund(run.rank, run.bytes - taken - beyond);
            (self.partial, self.partial_rank) = (partial, run.rank);
        }
        debug_assert_eq!(left, 0, "more was written than was planned");
        self.frames -= frames;
        self.check();
        frames
    }

    pub(super) fn clear(&mut self, buffers: &mut Buffers, account: &mut QueueAccount) {
        if let Some(partial) = self.partial.take() {
            partial.release(buffers, account);
        }
        for line in &mut self.lines {
            line.clear(buffers, account);
        }
        (self.bytes, self.frames, self.rounds) = (0, 0, Rounds::default());
        self.check();
    }

    #[inline]
    fn line_mut(&mut self, priority: Priority) -> &mut Line {
        let [critical, high, normal, low] = &mut self.lines;
        match priority {
            Priority::Critical => critical,
            Priority::High => high,
            Priority::Normal => normal,
            Priority::Low => low,
        }
    }

    /// What holds after each change: every byte is in a line or in the partial frame.
    #[inline]
    fn check(&self) {
        debug_assert_eq!(
            self.bytes,
            self.lines.iter().map(Line::bytes).sum::<usize>() + self.partial.as_ref().map_or(0, PartialFrame::left)
        );
        debug_assert_eq!(self.bytes == 0, self.frames == 0, "{} bytes in {} frames", self.bytes, self.frames);
    }
}
