//! The envelope of a compressed frame: what is in it and how long that will be is judged before a byte of it is expanded.
//! `wire::protocol`, section 14.

use crate::wire::frame::{FrameError, FrameRules};

pub use crate::wire::wrapper::{COMPRESSED, CompressedFault, MAX_EXPANDED};

/// The smallest payload that is compressed: below it there is little to gain.
pub const MIN_EXPANDED: usize = 1024;
/// Bytes before the compressed ones: the type and the length.
pub const ENVELOPE_LEN: usize = 5;
/// An LZ4 block never grows by more than this: what claims more is no block, and gets no memory.
pub const MAX_GROWTH: usize = 255;

/// A compressed frame that met its connection's rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The type byte of the frame in it.
    pub kind: u8,
    /// The length of that frame's payload, as announced.
    pub len: usize,
    /// The payload as an LZ4 block.
    pub block: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads the payload of a [`COMPRESSED`] frame under `rules`, which the frame in it must meet as if it came as it is.
    ///
    /// # Errors
    ///
    /// What is wrong with the frame in it, or with the envelope.
    pub fn read(payload: &'a [u8], rules: &FrameRules) -> Result<Self, FrameError> {
        let short = FrameError::Compressed(CompressedFault::Envelope);
        let ([kind, a, b, c, d], block) = payload.split_first_chunk::<ENVELOPE_LEN>().ok_or(short)?;
        let (kind, len) = (*kind, u32::from_le_bytes([*a, *b, *c, *d]));
        match rules.max_payload(kind) {
            Some(_) if rules.wraps(kind) => return Err(FrameError::UnknownType(kind)),
            None => return Err(FrameError::UnknownType(kind)),
            Some(max) if len > max => return Err(FrameError::Oversize { kind, len }),
            Some(_) => {}
        }
        let len = usize::try_from(len).map_err(|_| short)?;
        let is_sane = (MIN_EXPANDED..=MAX_EXPANDED).contains(&len) && len <= block.len().saturating_mul(MAX_GROWTH);
        if is_sane { Ok(Envelope { kind, len, block }) } else { Err(short) }
    }

    /// The bytes before the block.
    pub fn head(kind: u8, len: usize) -> [u8; ENVELOPE_LEN] {
        let [a, b, c, d] = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
        [kind, a, b, c, d]
    }
}

#[cfg(all(test, feature = "lz4"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_an_envelope_is_judged_before_it_is_opened() {
        let rules = FrameRules::none().with(7, 5000).with(8, MAX_EXPANDED as u32 + 1).with_compressed().with_pieces();
        let read = |kind, len, block: usize| {
            let payload = [&Envelope::head(kind, len)[..], &vec![0; block]].concat();
            Envelope::read(&payload, &rules).map(|envelope| (envelope.kind, envelope.len, envelope.block.len()))
        };
        let bad = Err(FrameError::Compressed(CompressedFault::Envelope));
        assert_eq!(read(7, 5000, 100), Ok((7, 5000, 100)));
        assert_eq!(read(7, 5001, 100), Err(FrameError::Oversize { kind: 7, len: 5001 }));
        assert_eq!(read(9, 5000, 100), Err(FrameError::UnknownType(9)));
        for wrapper in [0x52, 0x53, 0x54] {
            assert_eq!(read(wrapper, 1, 100), Err(FrameError::UnknownType(wrapper)), "nothing is wrapped twice");
        }
        assert_eq!(read(7, MIN_EXPANDED - 1, 100), bad);
        assert_eq!(read(8, MAX_EXPANDED + 1, 100_000), bad);
        assert_eq!(read(8, 25_500, 100), Ok((8, 25_500, 100)));
        assert_eq!(read(8, 25_501, 100), bad, "no block grows so much");
        assert!(Envelope::read(&[7, 0, 8, 0], &rules).is_err(), "it is cut");
    }
}
