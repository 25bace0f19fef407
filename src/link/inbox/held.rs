//! What an inbox keeps while it keeps something: bytes that are not parsed yet, or one large frame under way.

use core::ops::Range;
use core::time::Duration;

use bytes::Bytes;

use super::large::LargeFrame;
use crate::limits::{FRAME_RATE, LARGE_FRAME};
use crate::link::buffers::{Buffers, append};
use crate::time::Instant;
use crate::wire::frame::{HEADER_LEN, MAX_PAYLOAD, parse};
use crate::wire::{FrameError, FrameRules, Parse};

/// The memory of an inbox that is not idle, in one of three states:
///
/// - a **stash**: complete frames that wait for a budget, and perhaps the start of another one;
/// - an **unfinished frame**, which the peer must go on sending;
/// - a **large frame**, unfinished as well, in a buffer of its own.
///
/// A stash becomes an unfinished frame when everything before it is delivered, and an unfinished frame a large one when its
/// header says so. The memory goes back when the frame is complete, or the stash empty.
#[derive(Debug, Default)]
pub(in crate::link) struct Held {
    began: Instant,
    progressed: Instant,
    /// True when the unparsed bytes are known to be the start of one frame.
    unfinished: bool,
    /// Bytes that are delivered.
    at: usize,
    bytes: Vec<u8>,
    large: Option<LargeFrame>,
}

/// What [`Held::step`] came to.
pub(super) enum Step {
    /// The input is used up and the frame is not complete.
    NeedMore,
    /// Nothing is held any more.
    Empty,
    /// A complete frame, whose payload lies there in [`Held::bytes`].
    Lent { kind: u8, payload: Range<usize> },
    /// A complete large frame. The memory behind it is to be given back.
    Given { kind: u8, payload: Bytes },
}

impl Held {
    /// Keeps the first bytes of a frame, `total` bytes long if that is known.
    pub(super) fn begin(&mut self, tail: &[u8], total: Option<usize>, now: Instant, buffers: &mut Buffers) {
        debug_assert!(
            !tail.is_empty() && self.bytes.is_empty() && self.large.is_none(),
            "memory of another connection"
        );
        (self.began, self.progressed, self.unfinished) = (now, now, true);
        match (total, tail.split_first_chunk::<HEADER_LEN>()) {
            (Some(total), Some((header, body))) if total > LARGE_FRAME => {
                self.large = Some(LargeFrame::begin(header[HEADER_LEN - 1], total - HEADER_LEN, body, buffers));
                // What another connection's stash grew to would be held for nothing as long as the large frame takes.
                self.bytes = Vec::new();
            }
            _ => self.bytes.extend_from_slice(tail),
        }
        self.check();
    }

    /// Keeps `input` behind what is held, to be parsed later.
    pub(super) fn stash(&mut self, input: &[u8]) {
        debug_assert!(self.large.is_none(), "a large frame takes all input before anything is left to stash");
        self.compact();
        self.unfinished = false;
        self.bytes.extend_from_slice(input);
        self.check();
    }

    /// Looks for the next complete frame, from what is held and then from `input`, which moves past what was taken.
    pub(super) fn step(
        &mut self,
        input: &mut &[u8],
        rules: &FrameRules,
        now: Instant,
        buffers: &mut Buffers,
    ) -> Result<Step, FrameError> {
        loop {
            if let Some(large) = &mut self.large {
                if large.take(input) > 0 {
                    self.progressed = now;
                }
                if large.is_skipped && large.filled >= large.len {
                    (self.large, self.at, self.unfinished) = (None, 0, false);
                    continue;
                }
                if let Some((kind, payload)) = large.finish() {
                    return Ok(Step::Given { kind, payload });
                }
                debug_assert!(input.is_empty(), "a large frame takes what it misses");
                self.check();
                return Ok(Step::NeedMore);
            }
            match parse(self.unparsed(), rules) {
                Parse::Never(error) => return Err(error),
                Parse::Complete { kind, payload, .. } => {
                    let start = self.at + HEADER_LEN;
                    let end = start + payload.len();
                    (self.at, self.unfinished) = (end, false);
                    self.check();
                    return Ok(Step::Lent { kind, payload: start..end });
                }
                Parse::NeedMore { .. } if self.unparsed().is_empty() => return Ok(Step::Empty),
                Parse::NeedMore { total } => {
                    if !self.extend(total, input, now, buffers) {
                        self.check();
                        return Ok(Step::NeedMore);
                    }
                }
            }
        }
    }

    /// Adds to the unfinished frame what it misses, or as much of that as there is. False when there was nothing.
    fn extend(&mut self, total: Option<usize>, input: &mut &[u8], now: Instant, buffers: &mut Buffers) -> bool {
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
            self.large = Some(LargeFrame::begin(header[HEADER_LEN - 1], total - HEADER_LEN, body, buffers));
            self.bytes = Vec::new();
            self.check();
            return true;
        }
        let need = total.unwrap_or(HEADER_LEN);
        debug_assert!(self.bytes.len() < need, "a frame that is complete misses nothing");
        let missing = need.saturating_sub(self.bytes.len());
        let (more, rest) = input.split_at(missing.min(input.len()));
        *input = rest;
        if more.is_empty() {
            return false;
        }
        append(&mut self.bytes, more);
        self.progressed = now;
        true
    }

    /// Where the next bytes of a large frame belong; `None` when none is under way.
    pub(super) fn space(&mut self) -> Option<&mut [u8]> {
        self.large.as_mut()?.space()
    }

    /// See [`Inbox::take_start`](super::Inbox::take_start).
    pub(super) fn take_start(&mut self) -> Option<(u8, usize, &[u8])> {
        self.large.as_mut()?.take_start()
    }

    /// The rest of the large frame is thrown away. Answers the memory that it had.
    pub(super) fn skip(&mut self) -> Option<Bytes> {
        let buffer = self.large.as_mut()?.skip();
        self.check();
        buffer
    }

    /// Does the frame end within [`Held::space`], so that what follows it may be read as well?
    pub(super) fn space_ends(&self, space: usize) -> bool {
        self.large.as_ref().is_some_and(|large| large.filled.saturating_add(space) >= large.len)
    }

    /// `count` bytes were read into [`Held::space`].
    pub(super) fn advance(&mut self, count: usize, now: Instant) {
        if let Some(large) = &mut self.large {
            large.advance(count);
            self.progressed = now;
            self.check();
        }
    }

    /// The time until now does not count: neither towards the frame's time in all, nor since its last byte.
    pub(super) fn restart(&mut self, now: Instant) {
        (self.began, self.progressed) = (now, now);
    }

    /// The time since its last byte counts from now on only.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.progressed = now;
    }

    /// See [`Inbox::deadline`](super::Inbox::deadline).
    pub(super) fn deadline(&self, stall: Duration) -> Option<Instant> {
        let len = match &self.large {
            Some(large) => large.len,
            None if self.unfinished => match parse(self.unparsed(), &ANY) {
                Parse::NeedMore { total: Some(total) } => total,
                _ => 0,
            },
            None => return None,
        };
        let in_all = stall.saturating_add(Duration::from_millis((len as u64).saturating_mul(1000) / FRAME_RATE));
        Some((self.began + in_all).min(self.progressed + stall))
    }

    /// The length of the large frame under way, header included; 0 when there is none.
    pub(super) fn large_len(&self) -> usize {
        self.large.as_ref().map_or(0, |large| large.len + HEADER_LEN)
    }

    pub(super) fn is_large(&self) -> bool {
        self.large.as_ref().is_some_and(|large| !large.is_skipped)
    }

    /// True when nothing of a frame is held.
    pub(super) fn is_empty(&self) -> bool {
        self.large.is_none() && self.unparsed().is_empty()
    }

    /// True when what is held may be a complete frame.
    pub(super) fn is_stash(&self) -> bool {
        !self.unfinished && !self.is_empty()
    }

    /// The bytes in which [`Step::Lent`] lies.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes of memory for what is held.
    pub(in crate::link) fn capacity(&self) -> usize {
        self.bytes.capacity() + self.large.as_ref().map_or(0, LargeFrame::capacity)
    }

    /// Bytes of memory that were written to.
    #[cfg(test)]
    pub(super) fn touched(&self) -> usize {
        self.bytes.len() + self.large.as_ref().map_or(0, |large| large.buffer.len() + large.next.len())
    }

    /// Empties it for another connection; false when it is too large to be kept.
    pub(in crate::link) fn reset(&mut self) -> bool {
        self.large = None;
        (self.at, self.unfinished) = (0, false);
        self.bytes.clear();
        self.check();
        self.bytes.capacity() <= 2 * LARGE_FRAME
    }

    fn unparsed(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Moves what is unparsed to the front.
    fn compact(&mut self) {
        self.bytes.drain(..self.at.min(self.bytes.len()));
        self.at = 0;
    }

    /// What holds in each of the states, and so after each change from one to another.
    #[inline]
    fn check(&self) {
        debug_assert!(self.at <= self.bytes.len(), "{} of {} bytes are delivered", self.at, self.bytes.len());
        debug_assert!(!self.unfinished || self.at == 0, "an unfinished frame has nothing in front of it");
        if let Some(large) = &self.large {
            debug_assert!(self.unfinished && self.bytes.is_empty(), "a large frame is alone");
            let room = if large.is_skipped { large.len } else { large.buffer.len() };
            debug_assert!(large.filled <= large.len && large.filled <= room, "filled beyond its room");
            debug_assert!(large.next.len() <= large.filled, "more moves than came");
            debug_assert!(large.len + HEADER_LEN > LARGE_FRAME, "a small frame with a buffer of its own");
        }
    }
}

/// To read a header that its own rules accepted already.
static ANY: FrameRules = FrameRules::any(MAX_PAYLOAD);
