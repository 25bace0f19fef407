//! Frames that come in pieces, one in each line, put together.
//!
//! Each is judged by its first piece as it would be by its header. Its memory grows with what comes of it.

use core::time::Duration;

use bytes::Bytes;

use super::large::LargeFrame;
use crate::limits::FRAME_RATE;
use crate::link::buffers::Buffers;
use crate::time::Instant;
use crate::wire::pieces::{self, GIVEN_UP, LINES, MAX_BEGUN, MIN_PIECE_DATA, Piece, PieceFault};
use crate::wire::{FrameError, FrameRules};

/// The begun frames of one connection: there is at least one.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    lines: [Option<LargeFrame>; LINES],
    /// Which was shown last.
    shown: Option<usize>,
    /// Since when a frame is begun.
    began: Instant,
    /// When a piece came last, or a whole frame between two.
    progressed: Instant,
    /// Bytes that came since then, or are announced: what the time in all is measured by.
    owed: usize,
}

impl Assembly {
    /// Takes the payload of a piece, or of a word that one is given up. Answers the kind and payload of the frame that it
    /// completes, if it does.
    pub(super) fn take(
        &mut self,
        (kind, payload): (u8, &[u8]),
        rules: &FrameRules,
        now: Instant,
        buffers: &mut Buffers,
    ) -> Result<Option<(u8, Bytes)>, FrameError> {
        if self.is_empty() {
            *self = Assembly { began: now, ..Assembly::default() };
        }
        self.progressed = now;
        if kind == GIVEN_UP {
            let line = pieces::read_given_up(payload)?;
            let begun = self.lines.get_mut(line).and_then(Option::take);
            return if begun.is_some() { Ok(None) } else { Err(FrameError::Pieces(PieceFault::NotBegun)) };
        }
        let Piece { line, begins, data } = Piece::read(payload)?;
        let begun = self.begun();
        let place = self.lines.get_mut(line).ok_or(FrameError::Pieces(PieceFault::Layout))?;
        match (begins, place.as_mut()) {
            (Some(_), Some(_)) => Err(FrameError::Pieces(PieceFault::BegunTwice)),
            (None, None) => Err(FrameError::Pieces(PieceFault::NotBegun)),
            (Some((kind, len)), None) => {
                let len = judge(kind, len, rules)?;
                if data.len() < MIN_PIECE_DATA || data.len() >= len {
                    return Err(FrameError::Pieces(PieceFault::Small));
                }
                if begun.saturating_add(len) > MAX_BEGUN {
                    return Err(FrameError::Pieces(PieceFault::TooMuch));
                }
                self.owed = self.owed.saturating_add(len);
                *place = Some(LargeFrame::begin(kind, len, data, buffers));
                Ok(None)
            }
            (None, Some(frame)) => {
                let missing = frame.len.saturating_sub(frame.filled);
                if data.len() > missing {
                    return Err(FrameError::Pieces(PieceFault::Beyond));
                }
                if data.len() < MIN_PIECE_DATA && data.len() < missing {
                    return Err(FrameError::Pieces(PieceFault::Small));
                }
                let mut more = data;
                frame.take(&mut more);
                if data.len() < missing {
                    return Ok(None);
                }
                let whole = if frame.is_skipped { None } else { frame.finish() };
                *place = None;
                Ok(whole)
            }
        }
    }

    /// A whole frame of so many bytes came between two pieces.
    pub(super) fn passed(&mut self, len: usize, now: Instant) {
        self.owed = self.owed.saturating_add(len);
        self.progressed = now;
    }

    /// True when all that had begun is complete or given up.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.iter().all(Option::is_none)
    }

    /// Is a frame under way that is kept?
    pub(super) fn keeps(&self) -> bool {
        self.lines.iter().flatten().any(|frame| !frame.is_skipped)
    }

    /// See [`Inbox::take_start`](super::Inbox::take_start).
    pub(super) fn take_start(&mut self) -> Option<(u8, usize, &[u8])> {
        self.shown = None;
        for (line, frame) in self.lines.iter_mut().enumerate() {
            if let Some(start) = frame.as_mut().and_then(LargeFrame::take_start) {
                self.shown = Some(line);
                return Some(start);
            }
        }
        None
    }

    /// What was shown last is thrown away. Answers the memory that it had; `None` when it was nothing of these.
    pub(super) fn skip(&mut self) -> Option<Bytes> {
        let line = self.shown.take()?;
        self.lines.get_mut(line)?.as_mut()?.skip()
    }

    /// Bytes of memory.
    pub(super) fn capacity(&self) -> usize {
        self.lines.iter().flatten().map(LargeFrame::capacity).sum()
    }

    /// The time until now does not count.
    pub(super) fn restart(&mut self, now: Instant) {
        (self.began, self.progressed) = (now, now);
    }

    /// The time since the last piece counts from now on only.
    pub(super) fn excuse(&mut self, now: Instant) {
        self.progressed = now;
    }

    /// Until when the next piece must have come, and when all of them, at the least rate of a connection. A whole large frame of
    /// `between` bytes that is under way has a deadline of its own for its bytes.
    pub(super) fn deadline(&self, between: usize, stall: Duration) -> Instant {
        let bytes = self.owed.saturating_add(between) as u64;
        let in_all = stall.saturating_add(Duration::from_millis(bytes.saturating_mul(1000) / FRAME_RATE));
        let in_all = self.began + in_all;
        if between > 0 { in_all } else { in_all.min(self.progressed + stall) }
    }

    fn begun(&self) -> usize {
        self.lines.iter().flatten().map(|frame| frame.len).sum()
    }
}

/// The payload's length of a frame that begins, as the rules allow it.
fn judge(kind: u8, len: u32, rules: &FrameRules) -> Result<usize, FrameError> {
    // What comes in pieces is no piece itself.
    let max = rules.max_payload(kind).filter(|_| !matches!(kind, pieces::PIECE | GIVEN_UP));
    match max {
        None => Err(FrameError::UnknownType(kind)),
        Some(max) if len > max => Err(FrameError::Oversize { kind, len }),
        Some(_) => Ok(usize::try_from(len).unwrap_or(usize::MAX)),
    }
}
