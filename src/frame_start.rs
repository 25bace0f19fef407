//! A look at a large frame before all of it has come: what it is can be known long before the memory for it is spent.

use crate::id::ConnId;

/// What has come of a frame of more than [`LARGE_FRAME`](crate::limits::LARGE_FRAME) bytes: its header, which met the
/// connection's rules, and the front of its payload.
#[derive(Clone, Copy, Debug)]
pub struct FrameStart<'a> {
    /// Where it comes from.
    pub conn: ConnId,
    /// The type byte.
    pub kind: u8,
    /// The payload's length in bytes, as announced.
    pub len: usize,
    /// The first bytes of the payload, [`FRAME_START`](crate::limits::FRAME_START) of them or more.
    pub head: &'a [u8],
}

/// What becomes of a large frame that has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use]
pub enum Begun {
    /// The rest is kept as it comes, and the whole frame delivered.
    #[default]
    Read,
    /// Nobody wants it. Its memory is given back, the rest is thrown away as it comes, and it is not delivered.
    Skip,
}
