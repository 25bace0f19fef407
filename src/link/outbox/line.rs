//! One priority's frames in order: packed chunks of small ones, and large payloads beside their headers.
//!
//! A packed chunk needs no table of its frames: each frame says in its header how long it is.

use std::collections::VecDeque;

use bytes::Bytes;

use super::Begun;
use crate::limits::CHUNK;
use crate::link::buffer_pool::BufferPool;
use crate::link::inbox::append;
use crate::wire::frame::HEADER_LEN;

/// A piece of a line that leaves as one or two slices.
#[derive(Debug)]
pub(super) enum Segment {
    /// Whole frames from `at` on, `frames` of them.
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

    /// Bytes of the whole frames among the first `max`; `skip` bytes, themselves whole frames, are left out.
    pub(super) fn whole_frames(&self, skip: usize, max: usize) -> usize {
        let len = self.len() - skip;
        if len <= max {
            return len;
        }
        match self {
            Segment::Shared { .. } => 0,
            Segment::Packed { bytes, at, .. } => {
                let (_, whole) = frames_within(bytes.get(at + skip..).unwrap_or_default(), max);
                whole
            }
        }
    }

    /// Gives its memory back and takes what remains of it out of the account.
    pub(super) fn release(self, pool: &mut BufferPool) {
        match self {
            Segment::Packed { bytes, at, .. } => {
                pool.release(bytes.len() - at);
                pool.give_chunk(bytes);
            }
            Segment::Shared { body, .. } => {
                pool.release(HEADER_LEN);
                pool.release_shared(&body);
            }
        }
    }
}

/// What taking written bytes out of a line did.
pub(super) struct Done {
    /// Frames completed.
    pub(super) frames: usize,
    /// The frame that is written in part.
    pub(super) begun: Option<Begun>,
    /// Bytes of that frame that are not written.
    pub(super) beyond: usize,
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

    pub(super) fn segment(&self, index: usize) -> Option<&Segment> {
        self.segments.get(index)
    }

    #[inline]
    pub(super) fn push_copied(&mut self, header: &[u8; HEADER_LEN], payload: &[u8], pool: &mut BufferPool) {
        let total = HEADER_LEN + payload.len();
        self.bytes += total;
        pool.charge(total);
        if let Some(Segment::Packed { bytes, frames, .. }) = self.segments.back_mut()
            && bytes.len() + total <= CHUNK
        {
            bytes.reserve(total);
            bytes.extend_from_slice(header);
            append(bytes, payload);
            *frames += 1;
            return;
        }
        let mut bytes = if total > CHUNK { Vec::with_capacity(total) } else { pool.chunk(total) };
        bytes.extend_from_slice(header);
        append(&mut bytes, payload);
        self.segments.push_back(Segment::Packed { bytes, at: 0, frames: 1 });
    }

    pub(super) fn push_shared(&mut self, header: [u8; HEADER_LEN], body: Bytes, pool: &mut BufferPool) {
        self.bytes += HEADER_LEN + body.len();
        pool.charge(HEADER_LEN);
        pool.charge_shared(&body);
        self.segments.push_back(Segment::Shared { header, body });
    }

    /// Drops the oldest frame; answers its bytes.
    pub(super) fn drop_oldest(&mut self, pool: &mut BufferPool) -> Option<usize> {
        let dropped = match self.segments.front_mut()? {
            Segment::Packed { bytes, at, frames } if *frames > 1 => {
                let len = frame_len(bytes.get(*at..).unwrap_or_default());
                *at += len;
                *frames -= 1;
                pool.release(len);
                len
            }
            _ => {
                let segment = self.segments.pop_front()?;
                let len = segment.len();
                segment.release(pool);
                len
            }
        };
        self.bytes -= dropped;
        Some(dropped)
    }

    /// The first `count` bytes are written.
    pub(super) fn take(&mut self, count: usize, pool: &mut BufferPool) -> Done {
        let mut left = count;
        let mut frames = 0;
        self.bytes -= count;
        while left > 0 {
            let Some(front) = self.segments.front_mut() else { break };
            if left < front.len() {
                let (whole, begun) = front.split(left, pool);
                let beyond = begun.as_ref().map_or(0, |begun| begun.segment.len() - begun.at);
                if matches!(front, Segment::Shared { .. } | Segment::Packed { frames: 0, .. })
                    && let Some(spent) = self.segments.pop_front()
                    && let Segment::Packed { bytes, .. } = spent
                {
                    pool.give_chunk(bytes);
                }
                self.bytes -= beyond;
                return Done { frames: frames + whole, begun, beyond };
            }
            left -= front.len();
            frames += match self.segments.pop_front() {
                Some(segment @ Segment::Packed { frames, .. }) => {
                    segment.release(pool);
                    frames
                }
                Some(segment) => {
                    segment.release(pool);
                    1
                }
                None => 0,
            };
        }
        Done { frames, begun: None, beyond: 0 }
    }

    pub(super) fn clear(&mut self, pool: &mut BufferPool) {
        for segment in self.segments.drain(..) {
            segment.release(pool);
        }
        self.bytes = 0;
    }
}

impl Segment {
    /// Splits off the first `count` bytes, fewer than there are: how many whole frames they were, and the frame that
    /// they cut, moved out with its account. Afterwards the segment is without that frame, and spent when it has no other.
    fn split(&mut self, count: usize, pool: &mut BufferPool) -> (usize, Option<Begun>) {
        match self {
            Segment::Shared { header, body } => {
                let (header, body) = (*header, core::mem::take(body));
                (0, Some(Begun { segment: Segment::Shared { header, body }, at: count }))
            }
            Segment::Packed { bytes, at, frames } => {
                let (whole, len) = frames_within(bytes.get(*at..).unwrap_or_default(), count);
                *at += len;
                *frames -= whole;
                pool.release(count);
                let cut = count - len;
                if cut == 0 {
                    return (whole, None);
                }
                // The rest of the cut frame moves out, so that the line holds only frames that may still be dropped.
                let end = *at + frame_len(bytes.get(*at..).unwrap_or_default());
                let mut rest = pool.chunk(end - *at - cut);
                rest.extend_from_slice(bytes.get(*at + cut..end).unwrap_or_default());
                *at = end;
                *frames -= 1;
                (whole, Some(Begun { segment: Segment::Packed { bytes: rest, at: 0, frames: 1 }, at: 0 }))
            }
        }
    }
}

/// The whole length of the frame at the front of bytes that we packed ourselves.
fn frame_len(bytes: &[u8]) -> usize {
    bytes.first_chunk::<4>().map_or(bytes.len(), |length| u32::from_le_bytes(*length) as usize + 4)
}

/// How many of the frames at the front lie wholly within the first `max` bytes, and their length together.
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
