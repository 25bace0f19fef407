//! The types that carry other frames, and what can be wrong with what they carry: what the parser knows of them.

use core::fmt;

/// The type byte of a compressed frame.
pub const COMPRESSED: u8 = 0x52;
/// The largest payload that comes compressed, when it is expanded: an event loop expands it at once, in about two milliseconds.
pub const MAX_EXPANDED: usize = 1_048_576;
/// The type byte of a piece.
pub const PIECE: u8 = 0x53;
/// The type byte that says that the rest of a begun frame does not come.
pub const GIVEN_UP: u8 = 0x54;
/// The largest payload of a frame with a piece: no such frame is itself a large one.
pub const MAX_PIECE: u32 = 65_531;

/// What is wrong with a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PieceFault {
    /// It has no line that there is, or no bytes.
    Layout,
    /// Fewer than [`MIN_PIECE_DATA`](crate::wire::pieces::MIN_PIECE_DATA) bytes, and not the last piece; or all of a frame in one.
    Small,
    /// More of a frame than was announced.
    Beyond,
    /// The line's frame has not begun.
    NotBegun,
    /// A frame begins in a line whose last one is not complete.
    BegunTwice,
    /// More than [`MAX_BEGUN`](crate::wire::pieces::MAX_BEGUN) bytes would be begun.
    TooMuch,
}

impl fmt::Display for PieceFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PieceFault::Layout => "a piece of no line, or without bytes",
            PieceFault::Small => "a piece that is too small to be one",
            PieceFault::Beyond => "more in pieces than was announced",
            PieceFault::NotBegun => "a piece of a frame that has not begun",
            PieceFault::BegunTwice => "a frame begins in pieces before the last of its line is complete",
            PieceFault::TooMuch => "too much is begun in pieces",
        })
    }
}

/// What is wrong with a compressed frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompressedFault {
    /// No envelope, or one of a length that is not allowed.
    Envelope,
    /// What is in it is no LZ4 block, or one of another length.
    Block,
}

impl fmt::Display for CompressedFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CompressedFault::Envelope => "a compressed frame of a length that is not allowed",
            CompressedFault::Block => "a compressed frame that does not expand to what it announced",
        })
    }
}
