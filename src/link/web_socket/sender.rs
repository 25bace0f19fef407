//! Frames out: each frame of the wire protocol becomes a binary message of one WebSocket frame.
//!
//! Headers are put between the outbox's slices. As a server we mask nothing, so large payloads leave from where they are; what is
//! small is copied behind its header, for a slice costs more than that. As a client we mask, and so copy, everything.
//!
//! An offer may be cut anywhere, and a socket may take any part of one. What is remembered is where in a message that was, and in
//! which wire frame and in which of its length's bytes, so that the next offer goes on there. Where a socket took a header and nothing behind
//! it, the next offer may begin with another frame, of another length: then messages and frames end apart until that message is over.

use std::io::{self, IoSlice};

use super::frames::{BINARY, put_header};
use super::mask::{self, Key};
use crate::link::buffers::append;
use crate::link::unsent::Unsent;
use crate::rng::Rng;

/// Bytes of a wire frame before what its length counts.
const LENGTH_LEN: usize = 4;
/// Content of fewer bytes in one piece is copied.
const COPY_BELOW: usize = 2 * 1024;
/// Bytes that are copied before they are written: they stay within the second cache level.
const COPIED_MAX: usize = 128 * 1024;
/// Bytes that are copied and then masked: they are still in the first cache level then.
const MASKED_AT_ONCE: usize = 16 * 1024;
/// Pieces of one write.
const PIECES_MAX: usize = 1024;
/// Slices of one write: frames of some KiB fill one as large as the outbox offers.
const PARTS_MAX: usize = 128;
/// The same of a write that is short: to clear the list would be the most of its cost.
const FEW_PARTS: usize = 8;
/// Content of fewer bytes makes a short write.
const FEW_BYTES: usize = 4 * COPY_BELOW;

/// The loop's memory for framing, warm and bounded by one write.
#[derive(Debug, Default)]
pub(in crate::link) struct Framing {
    /// Headers, and what is copied.
    bytes: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Framing {
    pub(in crate::link) fn capacity(&self) -> usize {
        self.bytes.capacity().saturating_add(self.pieces.capacity().saturating_mul(size_of::<Piece>()))
    }
}

/// A piece of a message in one write.
#[derive(Clone, Copy, Debug)]
struct Piece {
    /// Where its header is among the copied bytes, and how long it is; of no length where the message had begun before.
    header: (usize, usize),
    body: usize,
    /// Where we are once all of it is written.
    after: Place,
}

/// Where in the stream we are.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Bytes of the message that are still to come.
    left: usize,
    /// Bytes of the wire frame that are still to come, or of that part of its length which could be seen; 0 where one begins.
    frame: usize,
    /// Bytes of it that are written.
    position: u64,
    key: Key,
    /// Bytes of a wire frame's length that were written in a message of their own, and which.
    length: [u8; LENGTH_LEN],
    length_len: u8,
}

/// One connection's outgoing messages.
#[derive(Debug)]
pub(super) struct Sender {
    /// Where the keys come from, of a client.
    keys: Option<Rng>,
    place: Place,
}

/// What a write shows.
#[derive(Clone, Copy)]
enum Part<'s> {
    /// Of what was copied, from here to there.
    Copied(usize, usize),
    Lent(&'s [u8]),
}

impl Sender {
    pub(super) fn new(keys: Option<Rng>) -> Self {
        Sender { keys, place: Place::default() }
    }

    /// Is no message half written? Only then may something stand between.
    pub(super) fn is_between(&self) -> bool {
        self.place.left == 0
    }

    /// The key of the next frame, of a client.
    pub(super) fn next_key(&mut self) -> Option<Key> {
        let [a, b, c, d, ..] = self.keys.as_mut()?.next_u64().to_le_bytes();
        Some([a, b, c, d])
    }

    /// Writes what `slices` hold as messages; answers how many of their bytes are written. What is written of a header and not
    /// to its end is left in `unsent`.
    pub(super) fn send(
        &mut self,
        slices: &[IoSlice<'_>],
        framing: &mut Framing,
        unsent: &mut Unsent,
        write: &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        debug_assert!(unsent.is_empty(), "what is framed leaves behind what waits");
        if slices.iter().map(|slice| slice.len()).sum::<usize>() < FEW_BYTES {
            self.send_in::<FEW_PARTS>(slices, framing, unsent, write)
        } else {
            self.send_in::<PARTS_MAX>(slices, framing, unsent, write)
        }
    }

    /// The same by writes of at most `N` slices.
    fn send_in<const N: usize>(
        &mut self,
        slices: &[IoSlice<'_>],
        framing: &mut Framing,
        unsent: &mut Unsent,
        write: &mut dyn FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut cursor = Cursor::new(slices);
        let mut taken = 0usize;
        while !cursor.is_empty() {
            let mut ahead = cursor;
            let mut parts = Parts::<N> { list: [Part::Copied(0, 0); N], used: 0, bytes: 0 };
            let last = self.plan(&mut ahead, framing, &mut parts);
            let mut shown = [IoSlice::new(&[]); N];
            for (place, part) in shown.iter_mut().zip(parts.list.iter().take(parts.used)) {
                *place = IoSlice::new(match part {
                    Part::Copied(from, to) => framing.bytes.get(*from..*to).unwrap_or_default(),
                    Part::Lent(bytes) => bytes,
                });
            }
            let shown = shown.get(..parts.used).unwrap_or_default();
            let count = loop {
                match write(shown) {
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    // It comes again at the next attempt.
                    Err(_) if taken > 0 => return Ok(taken),
                    outcome => break outcome?,
                }
            };
            if count == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            if count >= parts.bytes {
                self.place = last;
                taken = taken.saturating_add(ahead.passed.saturating_sub(cursor.passed));
                cursor = ahead;
                continue;
            }
            taken = taken.saturating_add(self.written(count, framing, unsent));
            return if taken > 0 { Ok(taken) } else { Err(io::ErrorKind::WouldBlock.into()) };
        }
        Ok(taken)
    }

    /// Lays out the next write; answers where we are when all of it is written.
    fn plan<'s, const N: usize>(
        &mut self,
        cursor: &mut Cursor<'s>,
        framing: &mut Framing,
        parts: &mut Parts<'s, N>,
    ) -> Place {
        framing.bytes.clear();
        framing.pieces.clear();
        let mut place = self.place;
        while !cursor.is_empty()
            && framing.bytes.len() < COPIED_MAX
            && framing.pieces.len() < PIECES_MAX
            && parts.used + 2 <= N
        {
            let mut header = (framing.bytes.len(), 0);
            if place.frame == 0 {
                place.frame = place.next_frame(cursor);
            }
            if place.left == 0 {
                let message = place.frame;
                let key = self.next_key();
                header.1 = put_header(&mut framing.bytes, BINARY, message, key);
                parts.copied(header.0, framing.bytes.len());
                (place.left, place.position, place.key) = (message, 0, key.unwrap_or_default());
            }
            let is_masked = self.keys.is_some();
            let most = place.left.min(place.frame);
            let most = if is_masked { most.min(COPIED_MAX) } else { most };
            let body = cursor.take(most);
            if is_masked || body.len() < COPY_BELOW {
                let from = framing.bytes.len();
                if is_masked {
                    place.append_masked(&mut framing.bytes, body);
                } else {
                    append(&mut framing.bytes, body);
                }
                parts.copied(from, framing.bytes.len());
            } else {
                parts.lent(body);
            }
            place.left = place.left.saturating_sub(body.len());
            place.frame = place.frame.saturating_sub(body.len());
            place.position = place.position.saturating_add(body.len() as u64);
            framing.pieces.push(Piece { header, body: body.len(), after: place });
        }
        place
    }

    /// Only the first `count` bytes of the plan are written. Answers how many of these were content.
    fn written(&mut self, count: usize, framing: &Framing, unsent: &mut Unsent) -> usize {
        let (mut left, mut content) = (count, 0usize);
        for Piece { header: (from, header), body, after } in &framing.pieces {
            if left == 0 {
                break;
            }
            let of_header = left.min(*header);
            let of_body = (left - of_header).min(*body);
            left -= of_header + of_body;
            content += of_body;
            let missing = body - of_body;
            let left = after.left.saturating_add(missing);
            let position = after.position.saturating_sub(missing as u64);
            self.place = match of_body {
                // The message is promised, and with what it begins is not.
                0 => Place { left, position, key: after.key, ..self.place },
                _ => Place { left, frame: after.frame.saturating_add(missing), position, ..*after },
            };
            if of_header < *header {
                let rest = framing.bytes.get(from + of_header..from + header);
                unsent.append(rest.unwrap_or_default());
            }
        }
        content
    }
}

impl Place {
    /// Copies the next bytes of the message, masked.
    fn append_masked(&self, out: &mut Vec<u8>, body: &[u8]) {
        let mut position = self.position;
        for piece in body.chunks(MASKED_AT_ONCE) {
            let from = out.len();
            append(out, piece);
            mask::apply(out.get_mut(from..).unwrap_or_default(), self.key, position);
            position = position.saturating_add(piece.len() as u64);
        }
    }

    /// How long the wire frame is that begins here, or goes on within its length; if not enough of that is to be seen, what there is.
    fn next_frame(&mut self, cursor: &Cursor<'_>) -> usize {
        let known = usize::from(self.length_len).min(LENGTH_LEN);
        let mut seen = 0;
        for (place, byte) in self.length.iter_mut().skip(known).zip(cursor.bytes()) {
            *place = byte;
            seen += 1;
        }
        if known + seen < LENGTH_LEN {
            self.length_len = u8::try_from(known + seen).unwrap_or(0);
            return seen;
        }
        self.length_len = 0;
        usize::try_from(u32::from_le_bytes(self.length)).unwrap_or(usize::MAX).saturating_add(seen)
    }
}

struct Parts<'s, const N: usize> {
    list: [Part<'s>; N],
    used: usize,
    bytes: usize,
}

impl<'s, const N: usize> Parts<'s, N> {
    /// These bytes of what is copied, in one with those before if they follow them.
    fn copied(&mut self, from: usize, to: usize) {
        self.bytes += to.saturating_sub(from);
        let last = self.used.checked_sub(1).and_then(|last| self.list.get_mut(last));
        if let Some(Part::Copied(_, end)) = last
            && *end == from
        {
            *end = to;
            return;
        }
        self.push(Part::Copied(from, to));
    }

    fn lent(&mut self, bytes: &'s [u8]) {
        self.bytes += bytes.len();
        self.push(Part::Lent(bytes));
    }

    fn push(&mut self, part: Part<'s>) {
        debug_assert!(self.used < N, "a write has room for what is planned");
        if let Some(place) = self.list.get_mut(self.used) {
            *place = part;
            self.used += 1;
        }
    }
}

/// A place in slices.
#[derive(Clone, Copy)]
struct Cursor<'s> {
    slices: &'s [IoSlice<'s>],
    /// Bytes of the first slice that are passed.
    at: usize,
    passed: usize,
}

impl<'s> Cursor<'s> {
    fn new(slices: &'s [IoSlice<'s>]) -> Self {
        let mut cursor = Cursor { slices, at: 0, passed: 0 };
        cursor.skip_empty();
        cursor
    }

    fn is_empty(&self) -> bool {
        self.slices.is_empty()
    }

    /// What is ahead, byte by byte.
    fn bytes(&self) -> impl Iterator<Item = u8> {
        self.slices.iter().flat_map(|slice| slice.iter()).skip(self.at).copied()
    }

    /// Up to `most` bytes of the first slice.
    fn take(&mut self, most: usize) -> &'s [u8] {
        let Some(first) = self.slices.first() else { return &[] };
        let rest: &'s [u8] = first.get(self.at..).unwrap_or_default();
        let piece = rest.get(..most).unwrap_or(rest);
        self.at += piece.len();
        self.passed += piece.len();
        self.skip_empty();
        piece
    }

    fn skip_empty(&mut self) {
        while let Some((first, others)) = self.slices.split_first()
            && self.at >= first.len()
        {
            (self.slices, self.at) = (others, 0);
        }
    }
}
