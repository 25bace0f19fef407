//! A large frame under way: it grows as it comes, whole or in pieces.

use bytes::{Bytes, BytesMut};

use crate::limits::{COPY_STEP, FRAME_START, FRESH_BYTES, LARGE_FRAME_STEP, MOVED_AT_ONCE, MOVED_PER_BYTE};
use crate::link::buffers::Buffers;

/// A frame of more than [`LARGE_FRAME`] bytes, in the buffer that it will be given away in.
#[derive(Debug)]
pub(super) struct LargeFrame {
    pub(super) kind: u8,
    /// The payload's length, as announced and accepted by the rules.
    pub(super) len: usize,
    pub(super) filled: usize,
    /// Somebody has looked at how it begins.
    is_shown: bool,
    /// Nobody wants it: what comes is counted and not kept.
    pub(super) is_skipped: bool,
    /// What it holds beyond `filled` is to be overwritten.
    pub(super) buffer: BytesMut,
    /// A larger one, while what came moves there: it holds the first of it. Without memory when nothing moves.
    pub(super) next: BytesMut,
}

impl LargeFrame {
    pub(super) fn begin(kind: u8, len: usize, body: &[u8], buffers: &mut Buffers) -> Self {
        let buffer = buffers.large(len);
        let (is_shown, is_skipped) = (false, false);
        let mut large = LargeFrame { kind, len, filled: 0, is_shown, is_skipped, buffer, next: BytesMut::new() };
        let mut body = body;
        large.take(&mut body);
        debug_assert!(body.is_empty() && large.filled < large.len, "a frame that is complete is under way");
        large
    }

    /// Bytes of it for which there is memory.
    fn room(&self) -> usize {
        self.buffer.capacity().min(self.len)
    }

    /// From how many bytes on it moves to a larger buffer.
    fn moves_from(&self) -> usize {
        let room = self.room();
        if room >= self.len || room <= MOVED_AT_ONCE { room } else { room - room / 4 }
    }

    pub(super) fn space(&mut self) -> Option<&mut [u8]> {
        if self.is_skipped {
            return None;
        }
        self.grow();
        let fresh = self.filled.saturating_add(FRESH_BYTES).max(self.buffer.len());
        // No further than where it begins to move, for from there on each byte moves its part.
        let is_still = self.next.capacity() == 0;
        let end = fresh.min(if is_still { self.moves_from() } else { self.room() });
        if self.buffer.len() < end {
            self.buffer.resize(end, 0);
        }
        self.buffer.get_mut(self.filled..end).filter(|space| !space.is_empty())
    }

    pub(super) fn advance(&mut self, count: usize) {
        debug_assert!(self.filled + count <= self.buffer.len().min(self.len), "more was read than there was room");
        self.filled = self.filled.saturating_add(count).min(self.len).min(self.buffer.len());
        if self.next.capacity() > 0 {
            self.move_on(count.saturating_mul(MOVED_PER_BYTE));
        }
    }

    /// Makes room for more by doubling, never past the frame's length. A buffer from the pool has its room already.
    fn grow(&mut self) {
        let room = self.room();
        if room >= self.len {
            return;
        }
        if self.next.capacity() == 0 && self.filled >= self.moves_from() {
            self.next = BytesMut::with_capacity(room.saturating_mul(2).max(LARGE_FRAME_STEP).min(self.len));
        }
        if self.filled >= room {
            // A quarter of an odd number, rounded down, leaves a few bytes to be moved.
            let left = self.filled.saturating_sub(self.next.len());
            debug_assert!(left <= MOVED_AT_ONCE, "{left} of {room} bytes move at once");
            self.move_on(usize::MAX);
        }
    }

    /// So much more of what came moves to the larger buffer, which takes the place of the smaller one when it has all.
    fn move_on(&mut self, most: usize) {
        let moved = self.next.len();
        let end = self.filled.min(moved.saturating_add(most));
        self.next.extend_from_slice(self.buffer.get(moved..end).unwrap_or_default());
        if end >= self.filled {
            self.buffer = core::mem::take(&mut self.next);
        }
    }

    /// Bytes of memory.
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity() + self.next.capacity()
    }

    /// Copies what the frame misses from `input`, or as much of that as there is; answers how much.
    pub(super) fn take(&mut self, input: &mut &[u8]) -> usize {
        let before = self.filled;
        if self.is_skipped {
            let (more, rest) = input.split_at(input.len().min(self.len.saturating_sub(before)));
            self.filled += more.len();
            *input = rest;
        }
        while !input.is_empty() && self.filled < self.len {
            let Some(space) = self.space() else { break };
            let (more, rest) = input.split_at(space.len().min(input.len()));
            for (to, from) in space.chunks_mut(COPY_STEP).zip(more.chunks(COPY_STEP)) {
                if let Some(to) = to.get_mut(..from.len()) {
                    to.copy_from_slice(from);
                }
            }
            self.advance(more.len());
            *input = rest;
        }
        self.filled - before
    }

    /// See [`Inbox::take_start`](super::Inbox::take_start).
    pub(super) fn take_start(&mut self) -> Option<(u8, usize, &[u8])> {
        if self.is_shown || self.filled < FRAME_START {
            return None;
        }
        self.is_shown = true;
        Some((self.kind, self.len, self.buffer.get(..self.filled)?))
    }

    /// The rest of it is thrown away. Answers the memory that it had; `None` when that is so already.
    pub(super) fn skip(&mut self) -> Option<Bytes> {
        if self.is_skipped {
            return None;
        }
        self.is_skipped = true;
        self.next = BytesMut::new();
        Some(core::mem::take(&mut self.buffer).freeze())
    }

    /// Its kind and payload, once it is complete.
    pub(super) fn finish(&mut self) -> Option<(u8, Bytes)> {
        (self.filled >= self.len).then(|| {
            let mut buffer = core::mem::take(&mut self.buffer);
            buffer.truncate(self.len);
            (self.kind, buffer.freeze())
        })
    }
}
