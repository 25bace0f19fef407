//! Bytes in, frames out: frames that are whole in the caller's buffer are lent from it, and only what is unfinished is
//! kept.
//!
//! The memory of an inbox is always one of three:
//!
//! ```text
//! nothing      idle, or every byte so far belonged to a whole frame
//! bytes        [ delivered | unparsed: whole frames that wait, or the start of one frame ]
//!                          ^ at
//! large frame  [ payload received | room to read into ]         grows by doubling, up to the frame's own length
//!                                 ^ filled
//! ```
//!
//! A length prefix is a claim: no buffer is ever larger than twice what arrived, or than what the pool had anyway.

use bytes::BytesMut;
use core::time::Duration;

use crate::limits::{COPY_STEP, FRAME_RATE, LARGE_FRAME, LARGE_FRAME_STEP};
use crate::link::buffer_pool::BufferPool;
use crate::time::Instant;
use crate::wire::frame::{HEADER_LEN, MAX_PAYLOAD, parse};
use crate::wire::{Frame, FrameError, FrameRules, Parse, Payload};

/// One connection's unfinished input.
///
/// After an error the stream has no next frame; clear the inbox and close.
#[derive(Debug, Default)]
pub struct Inbox {
    held: Option<Box<Held>>,
}

/// What an inbox keeps, when it keeps something.
#[derive(Debug, Default)]
pub(super) struct Held {
    began: Instant,
    progressed: Instant,
    /// True when the unparsed bytes are known to be the start of one frame.
    unfinished: bool,
    at: usize,
    bytes: Vec<u8>,
    large: Option<Large>,
}

#[derive(Debug)]
struct Large {
    kind: u8,
    /// The payload's length, as announced and accepted by the rules.
    len: usize,
    filled: usize,
    buffer: BytesMut,
}

impl Inbox {
    /// The next whole frame, from what is held and then from `input`, which moves past what was taken.
    ///
    /// `Ok(None)` means that all of `input` was taken and more bytes are needed. The rules may differ from call to call.
    ///
    /// # Errors
    ///
    /// [`FrameError`] when the next bytes can never be a frame under `rules`.
    #[inline]
    pub fn next<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        rules: &FrameRules,
        now: Instant,
        pool: &mut BufferPool,
    ) -> Result<Option<Frame<'a>>, FrameError> {
        if self.held.is_some() {
            return self.next_held(input, rules, now, pool);
        }
        self.next_lent(input, rules, now, pool)
    }

    /// The next frame if nothing is held and it is whole in `input`, which then moves past it. `None` says nothing:
    /// ask [`Inbox::next`].
    ///
    /// The way of nearly all small frames, and for them worth a second name: the answer stays in registers.
    #[inline]
    pub fn next_whole<'i>(&self, input: &mut &'i [u8], rules: &FrameRules) -> Option<(u8, &'i [u8])> {
        if self.held.is_some() {
            return None;
        }
        match parse(input, rules) {
            Parse::Complete { kind, payload, rest } => {
                *input = rest;
                Some((kind, payload))
            }
            _ => None,
        }
    }

    /// Keeps all of `input` unparsed, behind what is held: the frame budget is used up, or delivery is paused.
    pub fn stash(&mut self, input: &mut &[u8], pool: &mut BufferPool) {
        if input.is_empty() {
            // The frame before may have been the last of what was held.
            if self.held.as_ref().is_some_and(|held| held.large.is_none() && held.unparsed().is_empty()) {
                self.clear(pool);
            }
            return;
        }
        let held = self.held.get_or_insert_with(|| pool.held());
        debug_assert!(held.large.is_none(), "a large frame takes all input before anything is left to stash");
        held.compact();
        held.unfinished = false;
        held.bytes.extend_from_slice(input);
        *input = &[];
    }

    /// Where the next bytes of a large frame belong; `None` when none is under way.
    ///
    /// Read into the front of it and say so with [`Inbox::advance`]. The room is bounded by what already arrived.
    pub fn space(&mut self) -> Option<&mut [u8]> {
        let large = self.held.as_mut()?.large.as_mut()?;
        large.grow();
        let end = large.buffer.len().min(large.len);
        large.buffer.get_mut(large.filled..end).filter(|space| !space.is_empty())
    }

    /// `count` bytes were read into [`Inbox::space`].
    pub fn advance(&mut self, count: usize, now: Instant) {
        if let Some(held) = &mut self.held
            && let Some(large) = &mut held.large
        {
            debug_assert!(
                large.filled + count <= large.buffer.len().min(large.len),
                "more was read than there was room"
            );
            large.filled = large.filled.saturating_add(count).min(large.len).min(large.buffer.len());
            held.progressed = now;
        }
    }

    /// Starts the clock of an unfinished frame anew: the time that passed was ours, not the peer's.
    pub fn restart(&mut self, now: Instant) {
        if let Some(held) = &mut self.held {
            (held.began, held.progressed) = (now, now);
        }
    }

    /// Counts the time until now as progress but not towards the frame's whole time: we did not read.
    pub fn excuse(&mut self, now: Instant) {
        if let Some(held) = &mut self.held {
            held.progressed = now;
        }
    }

    /// Gives all memory back.
    pub fn clear(&mut self, pool: &mut BufferPool) {
        if let Some(held) = self.held.take() {
            pool.give_held(held);
        }
    }

    /// Until when the unfinished frame must have made progress: `stall` after its last byte, and `stall` plus its length
    /// at [`FRAME_RATE`] after its first. `None` while no frame is unfinished.
    pub fn deadline(&self, stall: Duration) -> Option<Instant> {
        let held = self.held.as_ref()?;
        let len = match &held.large {
            Some(large) => large.len,
            None if held.unfinished => match parse(held.unparsed(), &ANY) {
                Parse::NeedMore { total: Some(total) } => total,
                _ => 0,
            },
            None => return None,
        };
        let whole = stall.saturating_add(Duration::from_millis((len as u64).saturating_mul(1000) / FRAME_RATE));
        Some((held.began + whole).min(held.progressed + stall))
    }

    /// True when a call to [`Inbox::next`] without input may deliver: bytes were stashed.
    pub fn has_stash(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.large.is_none() && !held.unfinished && !held.unparsed().is_empty())
    }

    /// True between two frames: nothing is held that a peer that closes now would leave unfinished.
    pub fn is_at_boundary(&self) -> bool {
        self.held.as_ref().is_none_or(|held| held.large.is_none() && held.unparsed().is_empty())
    }

    /// True while a large frame is under way.
    pub fn is_large(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.large.is_some())
    }

    /// Bytes of memory that the inbox holds for its content.
    pub fn held(&self) -> usize {
        self.held
            .as_ref()
            .map_or(0, |held| held.bytes.capacity() + held.large.as_ref().map_or(0, |large| large.buffer.capacity()))
    }

    #[inline]
    fn next_lent<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        rules: &FrameRules,
        now: Instant,
        pool: &mut BufferPool,
    ) -> Result<Option<Frame<'a>>, FrameError> {
        match parse(input, rules) {
            Parse::Complete { kind, payload, rest } => {
                *input = rest;
                Ok(Some(Frame { kind, payload: Payload::Lent(payload) }))
            }
            Parse::Never(error) => Err(error),
            Parse::NeedMore { total } => {
                self.keep_tail(input, total, now, pool);
                *input = &[];
                Ok(None)
            }
        }
    }

    fn keep_tail(&mut self, tail: &[u8], total: Option<usize>, now: Instant, pool: &mut BufferPool) {
        if tail.is_empty() {
            return;
        }
        let mut held = pool.held();
        (held.began, held.progressed, held.unfinished) = (now, now, true);
        match (total, tail.split_first_chunk::<HEADER_LEN>()) {
            (Some(total), Some((header, body))) if total > LARGE_FRAME => {
                held.large = Some(Large::start(header, total, body, pool));
            }
            _ => held.bytes.extend_from_slice(tail),
        }
        self.held = Some(held);
    }

    fn next_held<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        rules: &FrameRules,
        now: Instant,
        pool: &mut BufferPool,
    ) -> Result<Option<Frame<'a>>, FrameError> {
        loop {
            let Some(held) = self.held.as_mut() else {
                return self.next_lent(input, rules, now, pool);
            };
            if let Some(large) = &mut held.large {
                if large.take(input) > 0 {
                    held.progressed = now;
                }
                if large.filled < large.len {
                    return Ok(None);
                }
                let (kind, payload) = (large.kind, large.finish());
                self.clear(pool);
                return Ok(Some(Frame { kind, payload: Payload::Given(payload.freeze()) }));
            }
            match parse(held.unparsed(), rules) {
                Parse::Never(error) => return Err(error),
                Parse::Complete { kind, payload, .. } => {
                    let start = held.at + HEADER_LEN;
                    let end = start + payload.len();
                    (held.at, held.unfinished) = (end, false);
                    // Borrowed anew: the borrow above may not outlive its own match arm in a loop.
                    let payload = self.held.as_ref().and_then(|held| held.bytes.get(start..end)).unwrap_or_default();
                    return Ok(Some(Frame { kind, payload: Payload::Lent(payload) }));
                }
                Parse::NeedMore { total } => {
                    if held.unparsed().is_empty() {
                        self.clear(pool);
                        continue;
                    }
                    if !held.extend(total, input, now, pool) {
                        return Ok(None);
                    }
                }
            }
        }
    }
}

impl Held {
    fn unparsed(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Moves what is unparsed to the front.
    fn compact(&mut self) {
        self.bytes.drain(..self.at.min(self.bytes.len()));
        self.at = 0;
    }

    /// Adds to the unfinished frame what it misses, or as much of that as there is. False when there was nothing.
    fn extend(&mut self, total: Option<usize>, input: &mut &[u8], now: Instant, pool: &mut BufferPool) -> bool {
        if !self.unfinished {
            (self.began, self.progressed, self.unfinished) = (now, now, true);
            self.compact();
            // A stash may have left far more memory than the tail that remains of it.
            self.bytes.shrink_to(2 * self.bytes.len().max(HEADER_LEN));
        }
        if let Some(total) = total
            && total > LARGE_FRAME
            && let Some((header, body)) = self.bytes.split_first_chunk::<HEADER_LEN>()
        {
            self.large = Some(Large::start(header, total, body, pool));
            self.bytes = Vec::new();
            return true;
        }
        let missing = total.unwrap_or(HEADER_LEN).saturating_sub(self.bytes.len());
        let (more, rest) = input.split_at(missing.min(input.len()));
        *input = rest;
        if more.is_empty() {
            return false;
        }
        append(&mut self.bytes, more);
        self.progressed = now;
        true
    }

    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Empties it for another connection; false when it is too large to be kept.
    pub(super) fn reset(&mut self) -> bool {
        self.large = None;
        self.at = 0;
        self.bytes.clear();
        self.bytes.capacity() <= 2 * LARGE_FRAME
    }
}

impl Large {
    fn start(header: &[u8; HEADER_LEN], total: usize, body: &[u8], pool: &mut BufferPool) -> Large {
        let mut large =
            Large { kind: header[HEADER_LEN - 1], len: total - HEADER_LEN, filled: 0, buffer: pool.large() };
        let mut body = body;
        large.take(&mut body);
        debug_assert!(body.is_empty(), "an unfinished frame has no bytes behind it");
        large
    }

    /// Makes room for more by doubling, never past the frame's length. A buffer from the pool has its room already.
    fn grow(&mut self) {
        let room = self.buffer.len();
        if self.filled < room || self.filled >= self.len {
            return;
        }
        let target = room.saturating_mul(2).max(LARGE_FRAME_STEP).min(self.len);
        if target <= self.buffer.capacity() {
            self.buffer.resize(target, 0);
        } else {
            // Not `resize` alone: it would round the capacity up, past the frame's length.
            let mut larger = BytesMut::with_capacity(target);
            larger.extend_from_slice(&self.buffer);
            larger.resize(target, 0);
            self.buffer = larger;
        }
    }

    /// Copies what the frame misses from `input`, or as much of that as there is; answers how much.
    fn take(&mut self, input: &mut &[u8]) -> usize {
        let before = self.filled;
        while !input.is_empty() && self.filled < self.len {
            self.grow();
            let end = self.buffer.len().min(self.len);
            let Some(space) = self.buffer.get_mut(self.filled..end) else { break };
            let (more, rest) = input.split_at(space.len().min(input.len()));
            for (to, from) in space.chunks_mut(COPY_STEP).zip(more.chunks(COPY_STEP)) {
                if let Some(to) = to.get_mut(..from.len()) {
                    to.copy_from_slice(from);
                }
            }
            self.filled += more.len();
            *input = rest;
        }
        self.filled - before
    }

    fn finish(&mut self) -> BytesMut {
        let mut buffer = core::mem::take(&mut self.buffer);
        buffer.truncate(self.len);
        buffer
    }
}

/// To read a header that its own rules accepted already.
static ANY: FrameRules = FrameRules::any(MAX_PAYLOAD);

/// Appends in steps; see [`COPY_STEP`].
#[inline]
pub(super) fn append(buffer: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= COPY_STEP {
        buffer.extend_from_slice(bytes);
        return;
    }
    buffer.reserve(bytes.len());
    for step in bytes.chunks(COPY_STEP) {
        buffer.extend_from_slice(step);
    }
}

#[cfg(test)]
mod tests;
