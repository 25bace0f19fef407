//! One priority's frames in order: packed chunks of small ones, and large payloads beside their headers.
//!
//! A packed chunk needs no table of its frames: each frame says in its header how long it is.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::limits::{CHUNK, COPY_STEP};
use crate::link::buffers::{Buffers, append};
use crate::link::queue_account::QueueAccount;
use crate::wire::frame::{HEADER_LEN, header};

/// A piece of a line that leaves as one or two slices.
#[derive(Debug)]
pub(super) enum Segment {
    /// Complete frames from `at` on, `frames` of them.
    Packed { bytes: Vec<u8>, at: usize, frames: usize },
    /// One frame whose payload is shared.
    Shared { header: [u8; HEADER_LEN], body: Bytes },
}

impl Segment {
    pub(super) fn len(&self) -> usize {
        match self {
            Segment::Packed { bytes, at, .. } => bytes.len() - at,
            Segment::Shared { body, .. } => HEADER_LEN + body.len(),
        }
    }

    /// The bytes from `skip` on, as up to two slices.
    pub(super) fn slices(&self, skip: usize) -> [&[u8]; 2] {
        match self {
            Segment::Packed { bytes, at, .. } => [bytes.get(at + skip..).unwrap_or_default(), &[]],
            Segment::Shared { header, body } => [
                header.get(skip..).unwrap_or_default(),
                body.get(skip.saturating_sub(HEADER_LEN)..).unwrap_or_default(),
            ],
        }
    }

    /// Bytes of the complete frames among the first `max`; `skip` bytes, themselves complete frames, are left out.
    pub(super) fn complete_frames(&self, skip: usize, max: usize) -> usize {
        let len = self.len() - skip;
        if len <= max {
            return len;
        }
        match self {
            Segment::Shared { .. } => 0,
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

    /// Bytes that are written already, but held until the frame is complete.
    #[cfg(feature = "sim")]
    pub(super) fn written(&self) -> usize {
        self.written
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

    /// Drops the oldest frame; answers its bytes.
    pub(super) fn drop_oldest(&mut self, buffers: &mut Buffers, account: &mut QueueAccount) -> Option<usize> {
        let dropped = match self.segments.front_mut()? {
            Segment::Packed { bytes, at, frames } if *frames > 1 => {
                let len = frame_len(bytes.get(*at..).unwrap_or_default());
                *at += len;
                *frames -= 1;
                account.release(len);
                len
            }
            _ => {
                let segment = self.segments.pop_front()?;
                let len = segment.len();
                segment.release(buffers, account);
                len
            }
        };
        self.bytes -= dropped;
        Some(dropped)
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
                if matches!(front, Segment::Shared { .. } | Segment::Packed { frames: 0, .. })
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
