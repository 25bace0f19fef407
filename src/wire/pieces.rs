//! Large frames in pieces, so that what is urgent goes between two of them: `wire::protocol`, section 14.
//!
//! A frame that is cut keeps its place in its line, so there is one begun frame in each of the three lines below the critical one.

use crate::wire::frame::{FrameError, HEADER_LEN, MAX_LENGTH};

pub use crate::wire::wrapper::{GIVEN_UP, MAX_PIECE, PIECE, PieceFault};

/// Bytes of a frame that each of its pieces carries at least, but for the last. Fewer would be many frames for what they bring.
pub const MIN_PIECE_DATA: usize = 16_384;
/// Bytes of begun frames on a connection, by the lengths that they announced: one of the largest fits, and no two can wait for
/// each other's memory.
pub const MAX_BEGUN: usize = MAX_LENGTH as usize;
/// The lines in which a frame may be begun.
pub const LINES: usize = 3;
/// Bytes of a first piece before what it carries: line, type and length.
pub const FIRST_LEN: usize = 6;
/// Bytes of every other piece before what it carries: the line.
pub const MORE_LEN: usize = 1;

const FIRST: u8 = 0x80;

/// What one piece says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Which line's frame it is of, below [`LINES`].
    pub line: usize,
    /// Of the first piece: the frame's type byte and the length of its payload.
    pub begins: Option<(u8, u32)>,
    /// More of the frame's payload.
    pub data: &'a [u8],
}

impl<'a> Piece<'a> {
    /// Reads the payload of a [`PIECE`].
    ///
    /// # Errors
    ///
    /// It is none.
    pub fn read(payload: &'a [u8]) -> Result<Self, FrameError> {
        let short = FrameError::Pieces(PieceFault::Layout);
        let (mark, rest) = payload.split_first().ok_or(short)?;
        let line = line(mark & !FIRST)?;
        let (begins, data) = match mark & FIRST {
            0 => (None, rest),
            _ => {
                let (head, data) = rest.split_first_chunk::<{ FIRST_LEN - 1 }>().ok_or(short)?;
                let [kind, a, b, c, d] = *head;
                (Some((kind, u32::from_le_bytes([a, b, c, d]))), data)
            }
        };
        if data.is_empty() { Err(short) } else { Ok(Piece { line, begins, data }) }
    }
}

/// Reads the payload of a [`GIVEN_UP`]: the line whose frame it is.
///
/// # Errors
///
/// It is none.
pub fn read_given_up(payload: &[u8]) -> Result<usize, FrameError> {
    match payload {
        [mark] => line(*mark),
        _ => Err(FrameError::Pieces(PieceFault::Layout)),
    }
}

fn line(mark: u8) -> Result<usize, FrameError> {
    let line = usize::from(mark).checked_sub(1).filter(|line| *line < LINES);
    line.ok_or(FrameError::Pieces(PieceFault::Layout))
}

/// The bytes before the first piece's `data` bytes of a frame of type `kind` with a payload of `total` bytes, in a line below
/// [`LINES`]. All of them fit their fields.
pub(crate) fn first_head(line: usize, kind: u8, total: usize, data: usize) -> [u8; HEADER_LEN + FIRST_LEN] {
    let [a, b, c, d] = length(FIRST_LEN + data);
    let [e, f, g, h] = u32::try_from(total).unwrap_or(MAX_LENGTH).to_le_bytes();
    [a, b, c, d, PIECE, mark(line) | FIRST, kind, e, f, g, h]
}

/// The bytes before a later piece's `data` bytes.
pub(crate) fn more_head(line: usize, data: usize) -> [u8; HEADER_LEN + MORE_LEN] {
    let [a, b, c, d] = length(MORE_LEN + data);
    [a, b, c, d, PIECE, mark(line)]
}

/// The frame that gives up what is begun in a line.
pub(crate) fn given_up(line: usize) -> [u8; HEADER_LEN + MORE_LEN] {
    let [a, b, c, d] = length(MORE_LEN);
    [a, b, c, d, GIVEN_UP, mark(line)]
}

fn mark(line: usize) -> u8 {
    debug_assert!(line < LINES, "critical frames are never cut");
    u8::try_from(line + 1).unwrap_or(FIRST)
}

/// The length field of a frame whose payload has so many bytes.
fn length(payload: usize) -> [u8; 4] {
    u32::try_from(payload + 1).unwrap_or(MAX_LENGTH).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::frame::{FrameRules, Parse, parse};

    #[test]
    fn what_is_said_of_a_piece_is_what_is_read() {
        let rules = FrameRules::none().with_pieces();
        for line in 0..LINES {
            for (begins, head) in [
                (Some((0x23, 70_000)), first_head(line, 0x23, 70_000, 3).to_vec()),
                (None, more_head(line, 3).to_vec()),
            ] {
                let frame = [&head[..], b"abc"].concat();
                let Parse::Complete { kind: PIECE, payload, rest: [] } = parse(&frame, &rules) else {
                    panic!("{head:?}")
                };
                assert_eq!(Piece::read(payload), Ok(Piece { line, begins, data: b"abc" }));
                assert_eq!(Piece::read(&payload[..payload.len() - 3]), Err(FrameError::Pieces(PieceFault::Layout)));
            }
            let frame = given_up(line);
            let Parse::Complete { kind: GIVEN_UP, payload, rest: [] } = parse(&frame, &rules) else { panic!() };
            assert_eq!(read_given_up(payload), Ok(line));
        }
        for payload in [&[][..], &[0, 1], &[4, 1], &[0x80, 1, 2, 3, 4, 5, 6], &[0x81, 1, 2], &[0x7f, 1]] {
            assert_eq!(Piece::read(payload), Err(FrameError::Pieces(PieceFault::Layout)), "{payload:?}");
        }
        for payload in [&[][..], &[0], &[4], &[1, 1], &[0x81]] {
            assert_eq!(read_given_up(payload), Err(FrameError::Pieces(PieceFault::Layout)), "{payload:?}");
        }
    }
}
