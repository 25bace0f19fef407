//! One priority's frames in order: packed chunks of small ones, and large payloads beside their headers, or cut into pieces.
//!
//! A packed chunk needs no table of its frames: each frame says in its header how long it is.

use std::collections::VecDeque;

use bytes::Bytes;

use super::cut::{Cut, CutPiece};
use crate::limits::{CHUNK, COPY_STEP};
use crate::link::buffers::{Buffers, append};
use crate::link::queue_account::QueueAccount;
use crate::wire::frame::{HEADER_LEN, header};
use crate::wire::pieces::{self, MORE_LEN};

/// A piece of a line that leaves as one or two slices.
#[derive(Debug)]
pub(super) enum Segment {
    /// Complete frames from `at` on, `frames` of them.
    Packed { bytes: Vec<u8>, at: usize, frames: usize },
    /// One frame whose payload is shared.
    Shared { header: [u8; HEADER_LEN], body: Bytes },
    /// One frame that leaves in pieces: each is planned and written for itself.
    Cut(Box<Cut>),
    /// One piece, written in part. Never in a line.
    Piece(Box<CutPiece>),
    /// The word that the frame which had begun in this line is given up. Always the first of its line.
    GivenUp([u8; GIVEN_UP_LEN]),
}

/// Bytes of the frame that gives another one up.
const GIVEN_UP_LEN: usize = HEADER_LEN + MORE_LEN;

impl Segment {
    pub(super) fn len(&self) -> usize {
        match self {
            Segment::Packed { bytes, at, .. } => bytes.len() - at,
            Segment::Shared { body, .. } => HEADER_LEN + body.len(),
            Segment::Cut(cut) => cut.len(),
            Segment::Piece(piece) => piece.len(),
            Segment::GivenUp(frame) => frame.len(),
        }
    }

    /// The bytes from `skip` on, as up to two slices; of a frame in pieces those of the piece that begins there.
    pub(super) fn slices(&self, skip: usize) -> [&[u8]; 2] {
        match self {
            Segment::Packed { bytes, at, .. } => [bytes.get(at + skip..).unwrap_or_default(), &[]],
            Segment::Shared { header, body } => [
                header.get(skip..).unwrap_or_default(),
                body.get(skip.saturating_sub(HEADER_LEN)..).unwrap_or_default(),
            ],
            Segment::Cut(cut) => cut.piece(skip),
            Segment::Piece(piece) => piece.slices(skip),
            Segment::GivenUp(frame) => [frame.get(skip..).unwrap_or_default(), &[]],
        }
    }

    /// Bytes of the complete frames among the first `max`; `skip` bytes, themselves complete frames, are left out. Of a frame in
    /// pieces, of the next piece alone.
    pub(super) fn complete_frames(&self, skip: usize, max: usize) -> usize {
        if let Segment::Cut(cut) = self {
            let len = cut.piece(skip).iter().map(|slice| slice.len()).sum();
            return if len <= max { len } else { 0 };
        }
        let len = self.len() - skip;
        if len <= max {
            return len;
        }
        match self {
            Segment::Shared { .. } | Segment::Cut(_) | Segment::Piece(_) | Segment::GivenUp(_) => 0,
            Segment::Packed { bytes, at, .. } => {
                let (_, len) = frames_within(bytes.get(at + skip..).unwrap_or_default(), max);
                len
            }
        }
    }

    /// Gives its memory back and takes what remains of it out of the account.
    pub(super) fn release(self, buffers: &mut Buffers, account: &mut QueueAccount) {
        match self {
            Segment::Packed { bytes, at, .. } => {
                account.release(bytes.len() - at);
                buffers.give_chunk(bytes);
            }
            Segment::Shared { body, .. } => {
                account.release(HEADER_LEN);
                account.release_shared(&body);
            }
            Segment::Cut(cut) => cut.release(account),
            Segment::Piece(piece) => piece.release(account),
            Segment::GivenUp(frame) => account.release(frame.len()),
        }
    }

    /// Bytes of a payload that the other side holds a part of, and frees a part of only when it is complete.
    pub(super) fn begun(&self) -> usize {
        if let Segment::Cut(cut) = self { cut.begun() } else { 0 }
    }

    /// The payload's length of a frame that leaves in pieces and has not begun to.
    pub(super) fn begins(&self) -> Option<usize> {
        match self {
            Segment::Cut(cut) if cut.begun() == 0 => Some(cut.payload_len()),
            _ => None,
        }
    }
}

/// A frame of which a part is written already: the rest of it leaves before anything else.
#[derive(Debug)]
pub(super) struct PartialFrame {
    segment: Segment,
    /// Bytes of the segment that are written.
    written: usize,
}

impl PartialFrame {
    fn new(segment: Segment, written: usize) -> Self {
        debug_assert!(written < segment.len(), "a frame that is written to its end has nothing left");
        PartialFrame { segment, written }
    }

    /// Bytes that it has in the account of what is queued: a chunk's are released as they are written, a shared payload's when the
    /// frame is complete.
    #[cfg(feature = "sim")]
    pub(super) fn charged(&self) -> usize {
        match &self.segment {
            Segment::Piece(piece) => piece.charged(),
            segment => segment.len(),
        }
    }

    /// Frames that are complete when it is: a piece is one only if it is the last.
    pub(super) fn frames(&self) -> usize {
        match &self.segment {
            Segment::Piece(piece) => usize::from(piece.is_last()),
            _ => 1,
        }
    }

    /// Bytes that are still to be written.
    pub(super) fn left(&self) -> usize {
        self.segment.len() - self.written
    }

    /// `count` more bytes are written, fewer than were left.
    pub(super) fn advance(&mut self, count: usize) {
        debug_assert!(count < self.left(), "a frame that is written to its end is to be released");
        self.written += count;
    }

    /// What is still to be written, as up to two slices.
    pub(super) fn slices(&self) -> [&[u8]; 2] {
        self.segment.slices(self.written)
    }

    pub(super) fn release(self, buffers: &mut Buffers, account: &mut QueueAccount) {
        self.segment.release(buffers, account);
    }
}

/// What taking written bytes out of a line did.
pub(super) struct Done {
    /// Frames completed.
    pub(super) frames: usize,
    /// The frame that is written in part.
    pub(super) partial: Option<PartialFrame>,
}

#[derive(Debug, Default)]
pub(super) struct Line {
    segments: VecDeque<Segment>,
    bytes: usize,
}

/// A line that once held more segments than this gives its memory back.
const SEGMENTS_KEPT: usize = 64;

impl Line {
    /// Bytes of frames that have not begun.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_small(&self) -> bool {
        self.segments.capacity() <= SEGMENTS_KEPT
    }

    /// How many segments wait.
    #[inline]
    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Is one segment all there is, and does it leave as one?
    #[inline]
    pub(super) fn is_cut(&self) -> bool {
        matches!(self.segments.front(), Some(Segment::Cut(_)))
    }

    /// Bytes that can be dropped: all but the word that a frame is given up, or will be.
    pub(super) fn droppable(&self) -> usize {
        let kept = match self.segments.front() {
            Some(Segment::GivenUp(frame)) => frame.len(),
            Some(segment) if segment.begun() > 0 => GIVEN_UP_LEN,
            _ => 0,
        };
        self.bytes.saturating_sub(kept)
    }

    /// Bytes of the begun frame; see [`Segment::begun`].
    pub(super) fn begun(&self) -> usize {
        self.segments.front().map_or(0, Segment::begun)
    }

    /// Bytes of the begun frame that have left and are held.
    #[cfg(feature = "sim")]
    pub(super) fn taken(&self) -> usize {
        match self.segments.front() {
            Some(Segment::Cut(cut)) => cut.taken(),
            _ => 0,
        }
    }

    pub(super) fn segment(&self, index: usize) -> Option<&Segment> {
        self.segments.get(index)
    }

    /// Puts a small frame behind the last one, where that lies in a chunk with room for it. Answers whether it does.
    #[inline]
    pub(super) fn append(&mut self, kind: u8, payload: &[u8]) -> bool {
        if payload.len() <= COPY_STEP
            && let Some(Segment::Packed { bytes, frames, .. }) = self.segments.back_mut()
            && HEADER_LEN + payload.len() <= bytes.capacity().min(CHUNK).saturating_sub(bytes.len())
            && let Ok(header) = header(kind, payload.len())
        {
            bytes.extend_from_slice(&header);
            bytes.extend_from_slice(payload);
            *frames += 1;
            self.bytes += HEADER_LEN + payload.len();
            return true;
        }
        false
    }

    pub(super) fn push_copied(
        &mut self,
        header: &[u8; HEADER_LEN],
        payload: &[u8],
        buffers: &mut Buffers,
        account: &mut QueueAccount,
    ) {
        let total = HEADER_LEN + payload.len();
        self.bytes += total;
        account.charge(total);
        if let Some(Segment::Packed { bytes, frames, .. }) = self.segments.back_mut()
            && bytes.len() + total <= CHUNK
        {
            bytes.reserve(total);
            bytes.extend_from_slice(header);
            append(bytes, payload);
            *frames += 1;
            return;
        }
        let mut bytes = if total > CHUNK { Vec::with_capacity(total) } else { buffers.chunk(total) };
        bytes.extend_from_slice(header);
        append(&mut bytes, payload);
        self.segments.push_back(Segment::Packed { bytes, at: 0, frames: 1 });
    }

    pub(super) fn push_shared(&mut self, header: [u8; HEADER_LEN], body: Bytes, account: &mut QueueAccount) {
        self.bytes += HEADER_LEN + body.len();
        account.charge(HEADER_LEN);
        account.charge_shared(&body);
        self.segments.push_back(Segment::Shared { header, body });
    }

    pub(super) fn push_cut(&mut self, cut: Cut, account: &mut QueueAccount) {
        cut.charge(account);
        self.bytes += cut.len();
        self.segments.push_back(Segment::Cut(Box::new(cut)));
    }

    /// Drops the oldest frame; answers its bytes, and how many frames fewer there are: none where the other side must be told that
    /// the rest of it does not come. `rank` is the line's.
    pub(super) fn drop_oldest(
        &mut self,
        rank: usize,
        buffers: &mut Buffers,
        account: &mut QueueAccount,
    ) -> Option<(usize, usize)> {
        let front = self.segments.front_mut()?;
        if front.begun() > 0 {
            let frame = pieces::given_up(rank.saturating_sub(1));
            let begun = core::mem::replace(front, Segment::GivenUp(frame));
            let freed = begun.len().saturating_sub(frame.len());
            begun.release(buffers, account);
            account.charge(frame.len());
            self.bytes -= freed;
            return Some((freed, 0));
        }
        let oldest = usize::from(matches!(front, Segment::GivenUp(_)));
        let dropped = match self.segments.get_mut(oldest)? {
            Segment::Packed { bytes, at, frames } if *frames > 1 => {
                let len = frame_len(bytes.get(*at..).unwrap_or_default());
                *at += len;
                *frames -= 1;
                account.release(len);
                len
            }
            _ => {
                let segment = self.segments.remove(oldest)?;
                let len = segment.len();
                segment.release(buffers, account);
                len
            }
        };
        self.bytes -= dropped;
        Some((dropped, 1))
    }

    /// The first `count` bytes are written.
    pub(super) fn take(&mut self, count: usize, buffers: &mut Buffers, account: &mut QueueAccount) -> Done {
        debug_assert!(count <= self.bytes, "more is written than was queued");
        let mut left = count;
        let mut frames = 0;
        self.bytes -= count;
        while left > 0 {
            let Some(front) = self.segments.front_mut() else { break };
            if left < front.len() {
                let (complete, partial) = front.split(left, buffers, account);
                let is_spent = match front {
                    Segment::Packed { frames, .. } => *frames == 0,
                    Segment::Cut(cut) => cut.is_spent(),
                    Segment::Shared { .. } | Segment::Piece(_) | Segment::GivenUp(_) => true,
                };
                if is_spent
                    && let Some(spent) = self.segments.pop_front()
                    && let Segment::Packed { bytes, .. } = spent
                {
                    buffers.give_chunk(bytes);
                }
                self.bytes -= partial.as_ref().map_or(0, PartialFrame::left);
                return Done { frames: frames + complete, partial };
            }
            left -= front.len();
            frames += match self.segments.pop_front() {
                Some(segment @ Segment::Packed { frames, .. }) => {
                    segment.release(buffers, account);
                    frames
                }
                Some(segment) => {
                    segment.release(buffers, account);
                    1
                }
                None => 0,
            };
        }
        Done { frames, partial: None }
    }

    pub(super) fn clear(&mut self, buffers: &mut Buffers, account: &mut QueueAccount) {
        for segment in self.segments.drain(..) {
            segment.release(buffers, account);
        }
        self.bytes = 0;
    }
}

impl Segment {
    /// Splits off the first `count` bytes, fewer than there are: how many complete frames they were, and the frame that
    /// they cut, moved out with its account. Afterwards the segment is without that frame, and spent when it has no other.
    fn split(
        &mut self,
        count: usize,
        buffers: &mut Buffers,
        account: &mut QueueAccount,
    ) -> (usize, Option<PartialFrame>) {
        match self {
            Segment::Shared { header, body } => {
                let (header, body) = (*header, core::mem::take(body));
                (0, Some(PartialFrame::new(Segment::Shared { header, body }, count)))
            }
            Segment::Cut(cut) => {
                let part = cut.take(count);
                (0, part.map(|(piece, written)| PartialFrame::new(Segment::Piece(Box::new(piece)), written)))
            }
            Segment::GivenUp(frame) => (0, Some(PartialFrame::new(Segment::GivenUp(*frame), count))),
            Segment::Piece(_) => {
                debug_assert!(false, "a piece that is written in part is in no line");
                (0, None)
            }
            Segment::Packed { bytes, at, frames } => {
                let (complete, len) = frames_within(bytes.get(*at..).unwrap_or_default(), count);
                *at += len;
                *frames -= complete;
                account.release(count);
                let cut = count - len;
                if cut == 0 {
                    return (complete, None);
                }
                // The rest of the cut frame moves out, so that the line holds only frames that may still be dropped.
                let end = *at + frame_len(bytes.get(*at..).unwrap_or_default());
                let mut rest = buffers.chunk(end - *at - cut);
                rest.extend_from_slice(bytes.get(*at + cut..end).unwrap_or_default());
                *at = end;
                *frames -= 1;
                (complete, Some(PartialFrame::new(Segment::Packed { bytes: rest, at: 0, frames: 1 }, 0)))
            }
        }
    }
}

/// The length, header included, of the frame at the front of bytes that we packed ourselves.
fn frame_len(bytes: &[u8]) -> usize {
    bytes.first_chunk::<4>().map_or(bytes.len(), |length| u32::from_le_bytes(*length) as usize + 4)
}

/// How many of the frames at the front lie within the first `max` bytes, and their length together.
fn frames_within(bytes: &[u8], max: usize) -> (usize, usize) {
    let (mut frames, mut len) = (0, 0);
    while let Some(rest) = bytes.get(len..).filter(|rest| !rest.is_empty()) {
        let next = frame_len(rest);
        if next > max - len {
            break;
        }
        frames += 1;
        len += next;
    }
    (frames, len)
}
