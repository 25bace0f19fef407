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

pub(super) mod held;

use core::time::Duration;

use self::held::{Held, Step};
use crate::link::buffer_pool::BufferPool;
use crate::time::Instant;
use crate::wire::frame::parse;
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
        if self.held.is_some() {
            return self.next_held(input, rules, now, pool);
        }
        self.next_lent(input, rules, now, pool)
    }

    /// The next frame if nothing is held and it is complete in `input`, which then moves past it. `None` says nothing:
    /// ask [`Inbox::next`].
    ///
    /// The way of nearly all small frames, and for them worth a second name: the answer stays in registers.
    #[inline]
    pub fn next_complete<'i>(&self, input: &mut &'i [u8], rules: &FrameRules) -> Option<(u8, &'i [u8])> {
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
            if self.held.as_ref().is_some_and(|held| held.is_empty()) {
                self.clear(pool);
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

    /// The large frame under way, once its first [`FRAME_START`](crate::limits::FRAME_START) bytes are there: its type, its payload's length in bytes and what has
    /// come of that. Each frame is shown once.
    pub fn take_start(&mut self) -> Option<(u8, usize, &[u8])> {
        self.held.as_mut()?.take_start()
    }

    /// Nobody wants the large frame under way: its memory goes back, and what still comes of it is thrown away.
    pub fn skip(&mut self, pool: &mut BufferPool) {
        if let Some(buffer) = self.held.as_mut().and_then(|held| held.skip()) {
            pool.recycle(buffer);
        }
    }

    /// Starts the clock of an unfinished frame anew: the time that passed was ours, not the peer's.
    pub fn restart(&mut self, now: Instant) {
        if let Some(held) = &mut self.held {
            held.restart(now);
        }
    }

    /// Counts the time until now as progress but not towards the frame's time in all: we did not read.
    pub fn excuse(&mut self, now: Instant) {
        if let Some(held) = &mut self.held {
            held.excuse(now);
        }
    }

    /// Gives all memory back.
    pub fn clear(&mut self, pool: &mut BufferPool) {
        if let Some(held) = self.held.take() {
            pool.give_held(held);
        }
    }

    /// Until when the unfinished frame must have made progress: `stall` after its last byte, and `stall` plus its length
    /// at [`FRAME_RATE`](crate::limits::FRAME_RATE) after its first. `None` while no frame is unfinished.
    pub fn deadline(&self, stall: Duration) -> Option<Instant> {
        self.held.as_ref()?.deadline(stall)
    }

    /// True when a call to [`Inbox::next`] without input may deliver: bytes were stashed.
    pub fn has_stash(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_stash())
    }

    /// True between two frames: nothing is held that a peer that closes now would leave unfinished.
    pub fn is_at_boundary(&self) -> bool {
        self.held.as_ref().is_none_or(|held| held.is_empty())
    }

    /// True while a large frame is under way that is kept.
    pub fn is_large(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.is_large())
    }

    /// Bytes of memory that the inbox holds for its content.
    pub fn held(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.capacity())
    }

    #[inline]
    fn next_lent<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        rules: &FrameRules,
        now: Instant,
        pool: &mut BufferPool,
    ) -> Result<Option<Frame<'a>>, FrameError> {
        debug_assert!(self.held.is_none(), "what is held comes before what is lent");
        match parse(input, rules) {
            Parse::Complete { kind, payload, rest } => {
                *input = rest;
                Ok(Some(Frame { kind, payload: Payload::Lent(payload) }))
            }
            Parse::Never(error) => Err(error),
            Parse::NeedMore { total } => {
                if !input.is_empty() {
                    let mut held = pool.held();
                    held.begin(input, total, now, &mut pool.buffers);
                    self.held = Some(held);
                }
                *input = &[];
                Ok(None)
            }
        }
    }

    fn next_held<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
        rules: &FrameRules,
        now: Instant,
        pool: &mut BufferPool,
    ) -> Result<Option<Frame<'a>>, FrameError> {
        let Some(held) = self.held.as_mut() else { return self.next_lent(input, rules, now, pool) };
        match held.step(input, rules, now, &mut pool.buffers)? {
            Step::NeedMore => Ok(None),
            Step::Empty => {
                self.clear(pool);
                self.next_lent(input, rules, now, pool)
            }
            Step::Lent { kind, payload } => {
                // Borrowed anew: the borrow above was one to change.
                let payload = self.held.as_ref().and_then(|held| held.bytes().get(payload)).unwrap_or_default();
                Ok(Some(Frame { kind, payload: Payload::Lent(payload) }))
            }
            Step::Given { kind, payload } => {
                self.clear(pool);
                Ok(Some(Frame { kind, payload: Payload::Given(payload) }))
            }
        }
    }
}

#[cfg(test)]
mod tests;
