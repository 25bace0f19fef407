//! Bytes in, frames out: frames that are complete in the caller's buffer are lent from it, and only what is unfinished is
//! kept.
//!
//! The memory of an inbox is always one of three:
//!
//! ```text
//! nothing      idle, or every byte so far belonged to a complete frame
//! bytes        [ delivered | unparsed: complete frames that wait, or the start of one frame ]
//!                          ^ at
//! large frame  [ payload received | room to read into ]         grows by doubling, up to the frame's own length; beyond half
//!                                 ^ filled                     a MiB it moves to the larger buffer while more arrives
//! ```
//!
//! A length prefix is a claim: no memory is ever more than twice what arrived, or four times while that moves to a larger buffer,
//! or than what the pool had anyway.
//!
//! Frames that come in pieces are put together beside that, in up to three large frames that are under way at once. A piece is a small
//! frame, so that what is held of the stream is the same with them and without.

mod assembly;
pub(super) mod held;
mod large;

use core::ops::Range;
use core::time::Duration;

use bytes::Bytes;

use self::assembly::Assembly;
use self::held::{Held, Step};
use crate::link::buffer_pool::BufferPool;
use crate::time::Instant;
use crate::wire::compressed::COMPRESSED;
use crate::wire::frame::{HEADER_LEN, parse};
use crate::wire::{Frame, FrameError, FrameRules, Parse, Payload};

/// One connection's unfinished input.
///
/// After an error the stream has no next frame; clear the inbox and close.
///
/// # Examples
///
/// ```
/// use spacetime_network::link::{BufferPool, Inbox};
/// use spacetime_network::time::Instant;
/// use spacetime_network::wire::{FrameRules, frame};
///
/// let rules = FrameRules::any(1024);
/// let (mut inbox, mut pool) = (Inbox::default(), BufferPool::new());
/// let stream = [&frame::header(1, 5)?[..], b"hello", &frame::header(2, 0)?[..]].concat();
///
/// // The socket gives what it has, with no regard for frames.
/// let mut seen = Vec::new();
/// for piece in stream.chunks(4) {
///     let mut input = piece;
///     while let Some(frame) = inbox.next(&mut input, &rules, Instant::ZERO, &mut pool)? {
///         seen.push((frame.kind, frame.payload.to_vec()));
///     }
/// }
/// assert_eq!(seen, [(1, b"hello".to_vec()), (2, vec![])]);
/// assert!(inbox.is_at_boundary(), "nothing is left unfinished");
/// # Ok::<(), spacetime_network::wire::FrameError>(())
/// ```
#[derive(Debug, Default)]
pub struct Inbox {
    held: Option<Box<Held>>,
    /// Frames that have begun in pieces.
    assembly: Option<Box<Assembly>>,
}

impl Inbox {
    /// The next complete frame, from what is held and then from `input`, which moves past what was taken.
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
        loop {
            let found = match self.held.is_some() {
                true => self.next_held(input, rules, now, pool)?,
                false => self.next_lent(input, rules, now, pool)?,
            };
            let (kind, len) = match &found {
                Found::Nothing => return Ok(None),
                Found::Lent(kind, payload) => (*kind, payload.len()),
                Found::Held(kind, range) => (*kind, range.len()),
                Found::Given(kind, payload) => (*kind, payload.len()),
            };
            if rules.wraps(kind) && kind != COMPRESSED {
                let payload: &[u8] = match &found {
                    Found::Lent(_, payload) => payload,
                    Found::Held(_, range) => {
                        self.held.as_ref().and_then(|held| held.bytes().get(range.clone())).unwrap_or_default()
                    }
                    Found::Given(_, payload) => payload,
                    Found::Nothing => &[],
                };
                let assembly = self.assembly.get_or_insert_default();
                let whole = assembly.take((kind, payload), rules, now, &mut pool.buffers)?;
                if assembly.is_empty() {
                    self.assembly = None;
                }
                match whole {
                    Some((kind, payload)) => return Ok(Some(Frame { kind, payload: Payload::Given(payload) })),
                    None => continue,
                }
            }
            if let Some(assembly) = &mut self.assembly {
                assembly.passed(HEADER_LEN.saturating_add(len), now);
            }
            let payload = match found {
                Found::Nothing => return Ok(None),
                Found::Lent(_, payload) => Payload::Lent(payload),
                // Borrowed anew: the borrow before was one to change.
                Found::Held(_, range) => {
                    Payload::Lent(self.held.as_ref().and_then(|held| held.bytes().get(range)).unwrap_or_default())
                }
                Found::Given(_, payload) => Payload::Given(payload),
            };
            return Ok(Some(Frame { kind, payload }));
        }
    }

    /// The next frame if nothing is held and it is complete in `input`, which then moves past it. `None` says nothing:
    /// ask [`Inbox::next`]. A frame that [wraps](FrameRules::wraps) another, or comes between two pieces, is its business.
    ///
    /// The way of nearly all small frames, and for them worth a second name: the answer stays in registers.
    #[inline]
    pub fn next_complete<'i>(&self, input: &mut &'i [u8], rules: &FrameRules) -> Option<(u8, &'i [u8])> {
        if self.held.is_some() || self.assembly.is_some() {
            return None;
        }
        match parse(input, rules) {
            Parse::Complete { kind, payload, rest } if !rules.wraps(kind) => {
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
            if self.held.as_ref().is_some_and(|held| held.is_empty()) {
                self.give_held(pool);
            }
            return;
        }
        self.held.get_or_insert_with(|| pool.held()).stash(input);
        *input = &[];
    }

    /// Where the next bytes of a large frame belong; `None` when none is under way.
    ///
    /// Read into the front of it and report it with [`Inbox::advance`]. The room is bounded by what already arrived, and fresh
    /// memory by [`FRESH_BYTES`](crate::limits::FRESH_BYTES).
    pub fn space(&mut self) -> Option<&mut [u8]> {
        self.held.as_mut()?.space()
    }

    /// Does the large frame end within a [space](Inbox::space) of so many bytes? What comes behind it is more of the same otherwise,
    /// and belongs there.
    pub fn space_ends(&self, space: usize) -> bool {
        self.held.as_ref().is_some_and(|held| held.space_ends(space))
    }

    /// `count` bytes were read into [`Inbox::space`].
    pub fn advance(&mut self, count: usize, now: Instant) {
        if let Some(held) = &mut self.held {
            held.advance(count, now);
        }
    }

    /// A large frame under way, once its first [`FRAME_START`](crate::limits::FRAME_START) bytes are there: its type, its payload's length in bytes and what has
    /// come of that. Each frame is shown once; several may be under way in pieces.
    pub fn take_start(&mut self) -> Option<(u8, usize, &[u8])> {
        // In this order: what is under way whole is `skip`'s when nothing in pieces was shown last.
        if let Some(start) = self.assembly.as_mut().and_then(|assembly| assembly.take_start()) {
            return Some(start);
        }
        self.held.as_mut()?.take_start()
    }

    /// Nobody wants the large frame that was [shown](Inbox::take_start) last: its memory goes back, and what still comes of it is
    /// thrown away.
    pub fn skip(&mut self, pool: &mut BufferPool) {
        let skipped = match self.assembly.as_mut().and_then(|assembly| assembly.skip()) {
            Some(buffer) => Some(buffer),
            None => self.held.as_mut().and_then(|held| held.skip()),
        };
        if let Some(buffer) = skipped {
            pool.recycle(buffer);
        }
    }

    /// Starts the clock of an unfinished frame anew: the time that passed was ours, not the peer's.
    pub fn restart(&mut self, now: Instant) {
        if let Some(held) = &mut self.held {
            held.restart(now);
        }
        if let Some(assembly) = &mut self.assembly {
            assembly.restart(now);
        }
    }

    /// Counts the time until now as progress but not towards the frame's time in all: we did not read.
    pub fn excuse(&mut self, now: Instant) {
        if let Some(held) = &mut self.held {
            held.excuse(now);
        }
        if let Some(assembly) = &mut self.assembly {
            assembly.excuse(now);
        }
    }

    /// Gives all memory back.
    pub fn clear(&mut self, pool: &mut BufferPool) {
        self.assembly = None;
        self.give_held(pool);
    }

    /// Gives back what was kept of the stream.
    fn give_held(&mut self, pool: &mut BufferPool) {
        if let Some(held) = self.held.take() {
            pool.give_held(held);
        }
    }

    /// Until when the unfinished frame must have made progress: `stall` after its last byte, and `stall` plus its length
    /// at [`FRAME_RATE`](crate::limits::FRAME_RATE) after its first. `None` while no frame is unfinished.
    ///
    /// The same of frames in pieces: `stall` after what came last, and `stall` plus the length of all that has begun, or came between,
    /// since one is under way.
    pub fn deadline(&self, stall: Duration) -> Option<Instant> {
        let held = self.held.as_ref().and_then(|held| held.deadline(stall));
        let Some(assembly) = &self.assembly else { return held };
        let between = self.held.as_ref().map_or(0, |held| held.large_len());
        let pieces = assembly.deadline(between, stall);
        Some(held.map_or(pieces, |held| held.min(pieces)))
    }

    /// True when a call to [`Inbox::next`] without input may deliver: bytes were stashed.
    pub fn has_stash(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_stash())
    }

    /// True between two frames: nothing is held that a peer that closes now would leave unfinished.
    pub fn is_at_boundary(&self) -> bool {
        self.assembly.is_none() && self.held.as_ref().is_none_or(|held| held.is_empty())
    }

    /// True while a large frame is under way that is kept.
    pub fn is_large(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_large())
            || self.assembly.as_ref().is_some_and(|assembly| assembly.keeps())
    }

    /// Bytes of memory that the inbox holds for its content.
    pub fn held(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.capacity())
            + self.assembly.as_ref().map_or(0, |assembly| assembly.capacity())
    }

    #[inline]
    fn next_lent<'i>(
        &mut self,
        input: &mut &'i [u8],
        rules: &FrameRules,
        now: Instant,
        pool: &mut BufferPool,
    ) -> Result<Found<'i>, FrameError> {
        debug_assert!(self.held.is_none(), "what is held comes before what is lent");
        match parse(input, rules) {
            Parse::Complete { kind, payload, rest } => {
                *input = rest;
                Ok(Found::Lent(kind, payload))
            }
            Parse::Never(error) => Err(error),
            Parse::NeedMore { total } => {
                if !input.is_empty() {
                    let mut held = pool.held();
                    held.begin(input, total, now, &mut pool.buffers);
                    self.held = Some(held);
                }
                *input = &[];
                Ok(Found::Nothing)
            }
        }
    }

    fn next_held<'i>(
        &mut self,
        input: &mut &'i [u8],
        rules: &FrameRules,
        now: Instant,
        pool: &mut BufferPool,
    ) -> Result<Found<'i>, FrameError> {
        let Some(held) = self.held.as_mut() else { return self.next_lent(input, rules, now, pool) };
        match held.step(input, rules, now, &mut pool.buffers)? {
            Step::NeedMore => Ok(Found::Nothing),
            Step::Empty => {
                self.give_held(pool);
                self.next_lent(input, rules, now, pool)
            }
            Step::Lent { kind, payload } => Ok(Found::Held(kind, payload)),
            Step::Given { kind, payload } => {
                self.give_held(pool);
                Ok(Found::Given(kind, payload))
            }
        }
    }
}

/// The next whole frame of the stream, and where its payload lies.
enum Found<'i> {
    /// There is none yet.
    Nothing,
    /// In the input.
    Lent(u8, &'i [u8]),
    /// There in what is held.
    Held(u8, Range<usize>),
    /// In a buffer of its own.
    Given(u8, Bytes),
}

#[cfg(test)]
mod piece_tests;
#[cfg(test)]
mod tests;
