//! Frames in, vectored writes out: four lines by priority, bounded in bytes, first in first out within each.
//!
//! - Critical frames always leave first. The other lines share the rest 4 : 2 : 1 in bytes (deficit round robin), so that
//!   transactions never starve behind blocks.
//! - A frame of which a part is written is finished before anything else: frames are never interleaved.
//! - A full queue makes room by dropping frames that have not begun to leave, oldest first, from the lowest lines below the
//!   new frame's own. When that is not enough, nothing is dropped and the new frame is refused.
//! - Small payloads are copied and packed together; large ones are shared and leave from where they are.
//! - A frame that is queued to leave in pieces lets frames of other lines pass between two of them, and is given up when it has to
//!   make room. Each piece is a frame by itself for what stands above.
//!
//! An empty outbox holds no memory.

mod cut;
mod gather;
mod line;
mod plan;
pub(super) mod queues;

use bytes::Bytes;
use std::io::{self, IoSlice};

use self::queues::Queues;
use crate::config::{ConfigCheck, ConfigErrors};
use crate::limits::{CUT_FROM, OUTBOX_HARD, OUTBOX_HIGH, OUTBOX_LOW, PIECE_DATA, SHARE_FROM, WRITE_SLICES};
use crate::link::buffer_pool::BufferPool;
use crate::wire::Priority;
use crate::wire::frame::{HEADER_LEN, MAX_PAYLOAD, header};

/// How much an outbox may hold, in bytes with headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxLimits {
    /// The limit: what would exceed it is refused, or takes the place of frames of lower priority.
    pub hard: usize,
    /// The high watermark: from here on the sender should wait (backpressure).
    pub high: usize,
    /// The low watermark: drained down to here, the sender is told to go on.
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

    /// Can a frame with so long a payload be queued at all? Then an empty queue has room for it.
    #[inline]
    pub const fn fits(&self, payload: usize) -> bool {
        payload <= MAX_PAYLOAD as usize && payload + HEADER_LEN <= self.hard
    }
}

impl Default for OutboxLimits {
    fn default() -> Self {
        OutboxLimits { hard: OUTBOX_HARD, high: OUTBOX_HIGH, low: OUTBOX_LOW }
    }
}

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushError {
    /// There is no room now, and dropping others can not make it. Once enough has left, there is.
    Full,
    /// There never will be: no frame carries so much, or no queue of this limit.
    TooLarge,
}

/// What our side of a connection will still write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteSide {
    /// More frames may follow those that are queued.
    Open,
    /// Nothing follows what is queued but the transport's close_notify.
    Closing,
}

/// How many bytes a flush may write. A number alone is one that it is [about](WriteBudget::About).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteBudget {
    /// It ends when so many are written; the last write may go beyond.
    About(usize),
    /// Not a byte more than so many, wherever in a frame that is.
    Exactly(usize),
}

impl From<usize> for WriteBudget {
    fn from(bytes: usize) -> Self {
        WriteBudget::About(bytes)
    }
}

/// How a flush ended.
#[derive(Debug)]
pub enum Progress {
    /// Everything is written.
    Empty,
    /// The writer takes no more now: backpressure from the peer.
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
///
/// # Examples
///
/// ```
/// use spacetime_network::link::{BufferPool, Outbox, OutboxLimits, Progress};
/// use spacetime_network::wire::Priority;
///
/// let (mut outbox, mut pool) = (Outbox::default(), BufferPool::new());
/// let limits = OutboxLimits { hard: 30, high: 20, low: 5 };
///
/// // Two frames of ten bytes, headers included.
/// let dropped = outbox.push(Priority::Low, 1, b"later", &limits, &mut pool).unwrap();
/// assert_eq!((dropped, outbox.queued_bytes()), (0, 10));
/// outbox.push(Priority::Critical, 2, b"first", &limits, &mut pool).unwrap();
///
/// // What is too much drops frames of lower priority, or is refused.
/// assert_eq!(outbox.push(Priority::High, 3, &[0; 15], &limits, &mut pool), Ok(1));
/// assert!(outbox.push(Priority::High, 3, b"", &limits, &mut pool).is_err());
///
/// // The writer takes what it can; here all. The critical frame leaves first.
/// let mut wire = Vec::new();
/// let flush = outbox.flush(&mut pool, usize::MAX, |slices| {
///     slices.iter().for_each(|slice| wire.extend_from_slice(slice));
///     Ok(slices.iter().map(|slice| slice.len()).sum())
/// });
/// assert!(matches!(flush.progress, Progress::Empty));
/// assert_eq!((flush.bytes, flush.frames), (30, 2));
/// assert_eq!(wire[..10], *b"\x06\0\0\0\x02first");
/// ```
#[derive(Debug, Default)]
pub struct Outbox {
    queues: Option<Box<Queues>>,
}

impl Outbox {
    /// Queues a frame with a copy of `payload`. Answers how many frames of lower priority were dropped for it.
    ///
    /// # Errors
    ///
    /// [`PushError::TooLarge`] when the payload [does not fit](OutboxLimits::fits), [`PushError::Full`] when there is no room for it
    /// now.
    #[inline]
    pub fn push(
        &mut self,
        priority: Priority,
        kind: u8,
        payload: &[u8],
        limits: &OutboxLimits,
        pool: &mut BufferPool,
    ) -> Result<u32, PushError> {
        // The way of nearly all small frames: behind others of their line.
        if let Some(queues) = self.queues.as_deref_mut()
            && queues.append(priority, kind, payload, limits.hard, &mut pool.account)
        {
            return Ok(0);
        }
        self.push_copied(priority, kind, payload, limits, pool)
    }

    /// Queues a small frame behind others of its line where that takes neither memory nor a decision: the chunk there has room, and
    /// fewer than `below` bytes are queued with it. Answers whether it did.
    #[inline]
    pub(crate) fn append(
        &mut self,
        priority: Priority,
        kind: u8,
        payload: &[u8],
        below: usize,
        pool: &mut BufferPool,
    ) -> bool {
        match self.queues.as_deref_mut() {
            Some(queues) => queues.append(priority, kind, payload, below.saturating_sub(1), &mut pool.account),
            None => false,
        }
    }

    /// [`Outbox::push`] of a frame that may need room, a chunk, or the queues themselves.
    #[inline(never)]
    fn push_copied(
        &mut self,
        priority: Priority,
        kind: u8,
        payload: &[u8],
        limits: &OutboxLimits,
        pool: &mut BufferPool,
    ) -> Result<u32, PushError> {
        let header = header(kind, payload.len()).map_err(|_| PushError::TooLarge)?;
        let dropped = self.make_room(priority, payload.len(), limits, pool)?;
        let queues = self.queues.get_or_insert_with(|| pool.queues());
        queues.push_copied(priority, &header, payload, &mut pool.buffers, &mut pool.account);
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
    ) -> Result<u32, PushError> {
        if payload.len() < SHARE_FROM {
            return self.push(priority, kind, payload, limits, pool);
        }
        let header = header(kind, payload.len()).map_err(|_| PushError::TooLarge)?;
        let dropped = self.make_room(priority, payload.len(), limits, pool)?;
        let queues = self.queues.get_or_insert_with(|| pool.queues());
        queues.push_shared(priority, header, payload.clone(), &mut pool.account);
        Ok(dropped)
    }

    /// Queues a frame that shares `payload` and leaves in [pieces](crate::wire::pieces) when it is larger than
    /// [`CUT_FROM`], as the other side must have agreed to. One that is critical is never cut, nor one for
    /// which there is only room whole.
    ///
    /// # Errors
    ///
    /// As [`Outbox::push`].
    pub fn push_in_pieces(
        &mut self,
        priority: Priority,
        kind: u8,
        payload: &Bytes,
        limits: &OutboxLimits,
        pool: &mut BufferPool,
    ) -> Result<u32, PushError> {
        let is_cut = payload.len() > CUT_FROM && priority != Priority::Critical;
        if !is_cut || !limits.fits(payload.len()) || cut::wire_len(payload.len()) > limits.hard {
            return self.push_shared(priority, kind, payload, limits, pool);
        }
        let dropped = self.make_room_for(priority, cut::wire_len(payload.len()), limits, pool)?;
        let queues = self.queues.get_or_insert_with(|| pool.queues());
        queues.push_cut(priority, kind, payload.clone(), &mut pool.account);
        Ok(dropped)
    }

    /// Writes until the outbox is empty, `write` takes no more, or `budget` bytes are written.
    ///
    /// `write` gets what leaves next, in order, and answers how many bytes of it were taken. Taking fewer than were
    /// offered means that it would block. `Interrupted` is tried again; writing zero bytes is an error.
    pub fn flush(
        &mut self,
        pool: &mut BufferPool,
        budget: impl Into<WriteBudget>,
        write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Flush {
        match budget.into() {
            WriteBudget::About(bytes) => self.flush_about(pool, bytes, write),
            WriteBudget::Exactly(bytes) => self.flush_exactly(pool, bytes, write),
        }
    }

    fn flush_exactly(
        &mut self,
        pool: &mut BufferPool,
        budget: usize,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> Flush {
        let mut left = budget;
        let mut flush = self.flush_about(pool, budget, |slices| {
            let count = cut(slices, left, &mut write)?;
            left -= count.min(left);
            Ok(count)
        });
        if left == 0 && matches!(flush.progress, Progress::Blocked) {
            // It was cut, and the writer may take more.
            flush.progress = Progress::Budget;
        }
        flush
    }

    fn flush_about(
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
            let outcome = if queues.is_lone() {
                write_some::<LONE_SLICES>(queues, pool, &mut write)
            } else {
                write_some::<WRITE_SLICES>(queues, pool, &mut write)
            };
            match outcome {
                Ok(Written { count: 0, .. }) => {
                    flush.progress = Progress::Failed(io::ErrorKind::WriteZero.into());
                    return flush;
                }
                Ok(Written { offered, count, frames }) => {
                    flush.bytes += count.min(offered);
                    flush.frames += frames;
                    if queues.is_empty() {
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
            queues.clear(&mut pool.buffers, &mut pool.account);
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
        self.queues.as_ref().map_or(0, |queues| queues.bytes())
    }

    /// Bytes up to the end of the last critical frame, if nothing but what is left of a small frame stands before it; else 0. Critical
    /// frames are heartbeats, pings and greetings: whoever limits his rate lets these go.
    pub(crate) fn urgent_bytes(&self) -> usize {
        let Some(queues) = &self.queues else { return 0 };
        let [critical, ..] = &queues.lines;
        let before = queues.partial.as_ref().map_or(0, line::PartialFrame::left);
        match (before, critical.bytes()) {
            (_, 0) | (URGENT_BEHIND.., _) => 0,
            (before, critical) => before + critical,
        }
    }

    /// Is what leaves next news, and no answer to a question? By its line: see [`Priority`].
    pub(crate) fn has_news(&self) -> bool {
        self.queues.as_ref().is_some_and(|queues| queues.has_news())
    }

    /// Bytes that it has in the pool's account: with what is written already of frames whose memory is held until their end.
    #[cfg(feature = "sim")]
    pub(crate) fn charged_bytes(&self) -> usize {
        self.queues.as_ref().map_or(0, |queues| queues.charged_bytes())
    }

    /// Frames queued of which the last byte is not yet written.
    pub fn queued_frames(&self) -> usize {
        self.queues.as_ref().map_or(0, |queues| queues.frames())
    }

    #[inline]
    fn make_room(
        &mut self,
        priority: Priority,
        payload: usize,
        limits: &OutboxLimits,
        pool: &mut BufferPool,
    ) -> Result<u32, PushError> {
        if !limits.fits(payload) {
            return Err(PushError::TooLarge);
        }
        self.make_room_for(priority, HEADER_LEN + payload, limits, pool)
    }

    /// The same for so many bytes on the wire, which fit.
    #[inline]
    fn make_room_for(
        &mut self,
        priority: Priority,
        bytes: usize,
        limits: &OutboxLimits,
        pool: &mut BufferPool,
    ) -> Result<u32, PushError> {
        let excess = (self.queued_bytes() + bytes).saturating_sub(limits.hard);
        if excess == 0 {
            return Ok(0);
        }
        debug_assert!(self.queues.is_some(), "what fits finds room in an empty queue");
        let queues = self.queues.as_mut().ok_or(PushError::Full)?;
        queues.drop_below(priority, excess, &mut pool.buffers, &mut pool.account).ok_or(PushError::Full)
    }
}

/// From how much of another frame on a critical one has to wait where the rate is limited: more than any piece has.
const URGENT_BEHIND: usize = PIECE_DATA + 64;

/// Shows the first `most` bytes of `slices` to `write`.
fn cut(
    slices: &[IoSlice<'_>],
    most: usize,
    write: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut left = most;
    let mut shown = [IoSlice::new(&[]); WRITE_SLICES];
    let mut used = 0;
    for (place, slice) in shown.iter_mut().zip(slices) {
        if left == 0 {
            break;
        }
        let bytes: &[u8] = slice;
        *place = IoSlice::new(bytes.get(..left).unwrap_or(bytes));
        left -= place.len();
        used += 1;
    }
    write(shown.get(..used).unwrap_or_default())
}

/// The slices of one segment.
const LONE_SLICES: usize = 2;

/// What one write took of its offer.
struct Written {
    offered: usize,
    count: usize,
    /// Frames of which the last byte was among them.
    frames: usize,
}

/// One write of up to `N` slices.
#[inline(never)]
fn write_some<const N: usize>(
    queues: &mut Queues,
    pool: &mut BufferPool,
    write: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<Written> {
    let (plan, outcome) = gather::offer::<N>(queues, write);
    let count = outcome?;
    let frames = if count == 0 { 0 } else { queues.written(&plan, count, &mut pool.buffers, &mut pool.account) };
    Ok(Written { offered: plan.bytes(), count, frames })
}

#[cfg(test)]
mod cut_tests;
#[cfg(test)]
mod tests;
