//! A large frame that leaves in pieces: where each begins, and what stands before it.

use bytes::Bytes;

use crate::limits::PIECE_DATA;
use crate::link::queue_account::QueueAccount;
use crate::wire::frame::HEADER_LEN;
use crate::wire::pieces::{self, FIRST_LEN, MORE_LEN};

const FIRST_HEAD: usize = HEADER_LEN + FIRST_LEN;
const HEAD: usize = HEADER_LEN + MORE_LEN;
/// What the first piece has before its bytes, beyond what each other has.
const FIRST_EXTRA: usize = FIRST_HEAD - HEAD;

/// One frame, of which what has left is known by a count: all pieces but the last carry [`PIECE_DATA`] bytes.
#[derive(Debug)]
pub(super) struct Cut {
    body: Bytes,
    /// Bytes of the payload that have left, or are moved out with the piece that is written in part.
    at: usize,
    first: [u8; FIRST_HEAD],
    middle: [u8; HEAD],
    last: [u8; HEAD],
}

/// Bytes on the wire of a frame that is cut, with a payload of `len` bytes.
pub(super) fn wire_len(len: usize) -> usize {
    len + len.div_ceil(PIECE_DATA) * HEAD + FIRST_EXTRA
}

impl Cut {
    /// A frame of a line below [`LINES`](pieces::LINES), of more than one piece.
    pub(super) fn new(line: usize, kind: u8, body: Bytes) -> Self {
        debug_assert!(body.len() > PIECE_DATA, "what is cut has two pieces at least");
        let last = body.len() - (body.len() - 1) / PIECE_DATA * PIECE_DATA;
        Cut {
            at: 0,
            first: pieces::first_head(line, kind, body.len(), PIECE_DATA),
            middle: pieces::more_head(line, PIECE_DATA),
            last: pieces::more_head(line, last),
            body,
        }
    }

    /// Bytes on the wire that have not left.
    pub(super) fn len(&self) -> usize {
        let left = self.body.len() - self.at;
        left + left.div_ceil(PIECE_DATA) * HEAD + if self.at == 0 { FIRST_EXTRA } else { 0 }
    }

    /// Bytes on the wire that have left.
    #[cfg(feature = "sim")]
    pub(super) fn taken(&self) -> usize {
        wire_len(self.body.len()) - self.len()
    }

    /// Bytes of the payload, of which the other side keeps the account once a piece has left.
    pub(super) fn begun(&self) -> usize {
        if self.at > 0 { self.body.len() } else { 0 }
    }

    /// Bytes of the payload.
    pub(super) fn payload_len(&self) -> usize {
        self.body.len()
    }

    /// Where in the payload the piece begins before which `skip` more bytes stand on the wire: whole pieces.
    fn place(&self, skip: usize) -> usize {
        let pieces = skip / (HEAD + PIECE_DATA);
        (self.at + pieces * PIECE_DATA).min(self.body.len())
    }

    /// The piece there, head and payload; two empty slices behind the last one.
    pub(super) fn piece(&self, skip: usize) -> [&[u8]; 2] {
        if skip >= self.len() {
            return [&[], &[]];
        }
        let from = self.place(skip);
        let to = from.saturating_add(PIECE_DATA).min(self.body.len());
        let head: &[u8] = match from {
            0 => &self.first,
            _ if to == self.body.len() => &self.last,
            _ => &self.middle,
        };
        [head, self.body.get(from..to).unwrap_or_default()]
    }

    /// The first `count` bytes on the wire have left, fewer than there are: whole pieces, and perhaps a part of one, which moves
    /// out. With the last piece the whole frame does, and its account.
    pub(super) fn take(&mut self, count: usize) -> Option<(CutPiece, usize)> {
        debug_assert!(count < self.len(), "what has left to its end is to be released");
        let mut left = count;
        loop {
            let [head, data] = self.piece(0);
            let len = head.len() + data.len();
            if left == 0 || len == 0 {
                return None;
            }
            let end = self.at + data.len();
            if left < len {
                let mut kept = [0; FIRST_HEAD];
                let head_len = head.len().min(kept.len());
                kept.iter_mut().zip(head).for_each(|(to, from)| *to = *from);
                let whole = (end == self.body.len()).then(|| self.body.clone());
                let data = self.body.slice(self.at..end);
                self.at = end;
                return Some((CutPiece { head: kept, head_len, data, whole }, left));
            }
            left -= len;
            self.at = end;
        }
    }

    /// True when its last piece has moved out.
    pub(super) fn is_spent(&self) -> bool {
        self.at == self.body.len()
    }

    pub(super) fn charge(&self, account: &mut QueueAccount) {
        account.charge(wire_len(self.body.len()) - self.body.len());
        account.charge_shared(&self.body);
    }

    pub(super) fn release(&self, account: &mut QueueAccount) {
        release(&self.body, account);
    }
}

fn release(body: &Bytes, account: &mut QueueAccount) {
    account.release(wire_len(body.len()) - body.len());
    account.release_shared(body);
}

/// A piece that is written in part.
#[derive(Debug)]
pub(super) struct CutPiece {
    head: [u8; FIRST_HEAD],
    head_len: usize,
    data: Bytes,
    /// Of the last piece: the frame's payload, which is in the account until its end.
    whole: Option<Bytes>,
}

impl CutPiece {
    pub(super) fn len(&self) -> usize {
        self.head_len + self.data.len()
    }

    /// The bytes from `skip` on.
    pub(super) fn slices(&self, skip: usize) -> [&[u8]; 2] {
        [
            self.head.get(skip.min(self.head_len)..self.head_len).unwrap_or_default(),
            self.data.get(skip.saturating_sub(self.head_len)..).unwrap_or_default(),
        ]
    }

    pub(super) fn is_last(&self) -> bool {
        self.whole.is_some()
    }

    /// Bytes that it has in the account: the whole frame's with the last piece, and none otherwise.
    #[cfg(feature = "sim")]
    pub(super) fn charged(&self) -> usize {
        self.whole.as_ref().map_or(0, |whole| wire_len(whole.len()))
    }

    pub(super) fn release(&self, account: &mut QueueAccount) {
        if let Some(whole) = &self.whole {
            release(whole, account);
        }
    }
}
