//! Frames in, vectored writes out: four lines by priority, bounded in bytes, first in first out within each.
//!
//! - Critical frames always leave first. The other lines share the rest 4 : 2 : 1 in bytes (deficit round robin), so that
//!   transactions never starve behind blocks.
//! - A frame that has begun is finished before anything else: frames are never interleaved.
//! - A full queue makes room by dropping whole frames that have not begun, oldest first, from the lowest lines below the
//!   new frame's own. When that is not enough, nothing is dropped and the new frame is refused.
//! - Small payloads are copied and packed together; large ones are shared and leave from where they are.
//!
//! An empty outbox holds no memory.

mod line;
mod plan;

use bytes::Bytes;
use std::io::{self, IoSlice};

use crate::config::{ConfigCheck, ConfigErrors};
use crate::limits::{OUTBOX_HARD, OUTBOX_HIGH, OUTBOX_LOW, SHARE_FROM};
use crate::link::buffer_pool::BufferPool;
use crate::wire::Priority;
use crate::wire::frame::{HEADER_LEN, header};
use line::{Done, Line, Segment};
use plan::{Plan, Rounds};

/// How much an outbox may hold, in bytes with headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// More than this is refused or dropped.
    pub hard: usize,
    /// From here on the sender should wait.
    pub high: usize,
    /// Down to here it should go on.
    pub low: usize,
}

impl OutboxLimits {
    /// Checks the limits and their order.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut check = ConfigCheck::default();
        check.require(self.low <= self.high, "low", "must not be above high");
        check.require(self.high <= self.hard, "high", "must not be above hard");
        check.require(self.high >= 1, "high", "must be at least 1");
        check.finish()
    }
}

impl Default for OutboxLimits {
    fn default() -> Self {
        OutboxLimits { hard: OUTBOX_HARD, high: OUTBOX_HIGH, low: OUTBOX_LOW }
    }
}

/// The queue is full and the frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// How a flush ended.
#[derive(Debug)]
pub enum Progress {
    /// Everything is written.
    Empty,
    /// The writer takes no more now.
    Blocked,
    /// The budget is used up; the writer may take more.
    Budget,
    /// The writer failed.
    Failed(io::Error),
}

/// What a flush did.
#[derive(Debug)]
pub struct Flush {
    /// Bytes written.
    pub bytes: usize,
    /// Frames whose last byte was written.
    pub frames: usize,
    /// How it ended.
    pub progress: Progress,
}

/// One connection's queue of frames to send.
#[derive(Debug, Default)]
pub struct Outbox {
    queues: Option<Box<Queues>>,
}

/// What an outbox holds while it holds something.
#[derive(Debug, Default)]
pub(super) struct Queues {
    lines: [Line; 4],
    /// The frame of which a part is written already.
    begun: Option<Begun>,
    rounds: Rounds,
    bytes: usize,
    frames: usize,
}

#[derive(Debug)]
struct Begun {
    segment: Segment,
    /// Bytes of the segment that are written.
    at: usize,
}

impl Outbox {
    /// Queues a frame with a copy of `payload`. Answers how many frames of lower priority were dropped for it.
    ///
    /// # Errors
    ///
    /// [`Full`] when there is no room and dropping can not make it, or the payload is longer than a frame can carry.
    #[inline]
    pub fn push(
        &mut self,
        priority: Priority,
        kind: u8,
        payload: &[u8],
        limits: &OutboxLimits,
        pool: &mut BufferPool,
    ) -> Result<u32, Full> {
        let header = header(kind, payload.len()).map_err(|_| Full)?;
        let total = HEADER_LEN + payload.len();
        let dropped = self.make_room(priority, total, limits, pool)?;
        let queues = self.queues.get_or_insert_with(|| pool.queues());
        queues.line_mut(priority).push_copied(&header, payload, pool);
        queues.bytes += total;
        queues.frames += 1;
        Ok(dropped)
    }

    /// Queues a frame that shares `payload` when it is large, and copies it when it is small.
    ///
    /// # Errors
    ///
    /// As [`Outbox::push`].
    pub fn push_shared(
        &mut self,
        priority: Priority,
        kind: u8,
        payload: &Bytes,
        limits: &OutboxLimits,
        pool: &mut BufferPool,
    ) -> Result<u32, Full> {
        if payload.len() < SHARE_FROM {
            return self.push(priority, kind, payload, limits, pool);
        }
        let header = header(kind, payload.len()).map_err(|_| Full)?;
        let total = HEADER_LEN + payload.len();
        let dropped = self.make_room(priority, total, limits, pool)?;
        let queues = self.queues.get_or_insert_with(|| pool.queues());
        queues.line_mut(priority).push_shared(header, payload.clone(), pool);
        queues.bytes += total;
        queues.frames += 1;
        Ok(dropped)
    }

    /// Writes until the outbox is empty, `write` takes no more, or about `budget` bytes are written.
    ///
    /// `write` gets what leaves next, in order, and answers how many bytes of it were taken. Taking fewer than were
    /// offered means that it would block. `Interrupted` is tried again; writing zero bytes is an error.
    pub fn flush(
        &mut self,
        pool: &mut BufferPool,
        budget: usize,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Flush {
        let mut flush = Flush { bytes: 0, frames: 0, progress: Progress::Empty };
        while let Some(queues) = self.queues.as_mut() {
            if flush.bytes >= budget {
                flush.progress = Progress::Budget;
                return flush;
            }
            let (plan, outcome) = plan::offer(queues, &mut write);
            match outcome {
                Ok(0) => {
                    flush.progress = Progress::Failed(io::ErrorKind::WriteZero.into());
                    return flush;
                }
                Ok(count) => {
                    let offered = plan.bytes();
                    flush.bytes += count.min(offered);
                    flush.frames += queues.written(&plan, count, pool);
                    if queues.bytes == 0 {
                        self.clear(pool);
                    } else if count < offered {
                        flush.progress = Progress::Blocked;
                        return flush;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    flush.progress = Progress::Blocked;
                    return flush;
                }
                Err(error) => {
                    flush.progress = Progress::Failed(error);
                    return flush;
                }
            }
        }
        flush
    }

    /// Forgets everything and gives the memory back.
    pub fn clear(&mut self, pool: &mut BufferPool) {
        if let Some(mut queues) = self.queues.take() {
            queues.clear(pool);
            pool.give_queues(queues);
        }
    }

    /// True when nothing is queued.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queues.is_none()
    }

    /// Bytes queued and not yet written, headers included.
    #[inline]
    pub fn queued_bytes(&self) -> usize {
        self.queues.as_ref().map_or(0, |queues| queues.bytes)
    }

    /// Bytes of the frame under way that are written already. Its memory is held, and accounted for, until its end.
    #[cfg(feature = "sim")]
    pub(crate) fn begun_bytes(&self) -> usize {
        self.queues.as_ref().and_then(|queues| queues.begun.as_ref()).map_or(0, |begun| begun.at)
    }

    /// Frames queued of which the last byte is not yet written.
    pub fn queued_frames(&self) -> usize {
        self.queues.as_ref().map_or(0, |queues| queues.frames)
    }

    #[inline]
    fn make_room(
        &mut self,
        priority: Priority,
        total: usize,
        limits: &OutboxLimits,
        pool: &mut BufferPool,
    ) -> Result<u32, Full> {
        let excess = (self.queued_bytes() + total).saturating_sub(limits.hard);
        if excess == 0 {
            return Ok(0);
        }
        self.queues.as_mut().map_or(Err(Full), |queues| queues.drop_below(priority, excess, pool))
    }
}

impl Queues {
    /// True when it is worth keeping for the next connection.
    pub(super) fn is_small(&self) -> bool {
        self.lines.iter().all(Line::is_small)
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

    /// Drops frames of lower priority than `priority` until `excess` bytes are free, or none at all.
    fn drop_below(&mut self, priority: Priority, excess: usize, pool: &mut BufferPool) -> Result<u32, Full> {
        let lower = self.lines.iter_mut().skip(priority.rank() + 1);
        if lower.map(|line| line.bytes()).sum::<usize>() < excess {
            return Err(Full);
        }
        let (mut freed, mut dropped) = (0, 0);
        for line in self.lines.iter_mut().skip(priority.rank() + 1).rev() {
            while freed < excess
                && let Some(bytes) = line.drop_oldest(pool)
            {
                freed += bytes;
                dropped += 1;
            }
        }
        self.bytes -= freed;
        self.frames -= dropped as usize;
        Ok(dropped)
    }

    /// Takes the first `count` bytes of what `plan` offered out of the lines; answers how many frames are complete.
    fn written(&mut self, plan: &Plan, count: usize, pool: &mut BufferPool) -> usize {
        let count = count.min(plan.bytes());
        self.bytes -= count;
        let mut left = count;
        let mut frames = 0;
        if let Some(mut begun) = self.begun.take() {
            let rest = begun.segment.len() - begun.at;
            if left < rest {
                begun.at += left;
                self.begun = Some(begun);
                return 0;
            }
            left -= rest;
            frames += 1;
            begun.segment.release(pool);
        }
        for run in plan.runs() {
            if left == 0 {
                break;
            }
            let Some(line) = self.lines.get_mut(run.rank) else { continue };
            let taken = left.min(run.bytes);
            left -= taken;
            let Done { frames: done, begun, beyond } = line.take(taken, pool);
            frames += done;
            self.rounds = run.rounds;
            // The run was charged in full; what has not begun is still owed to its line.
            self.rounds.refund(run.rank, run.bytes - taken - beyond);
            self.begun = begun;
        }
        self.frames -= frames;
        frames
    }

    fn clear(&mut self, pool: &mut BufferPool) {
        if let Some(begun) = self.begun.take() {
            begun.segment.release(pool);
        }
        for line in &mut self.lines {
            line.clear(pool);
        }
        (self.bytes, self.frames, self.rounds) = (0, 0, Rounds::default());
    }
}

#[cfg(test)]
mod tests;
