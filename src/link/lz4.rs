//! LZ4 blocks in envelopes: one frame's payload, compressed where that gains enough, and expanded to what was announced.

use bytes::{BufMut, Bytes, BytesMut};
use lz4_flex::block;

use crate::wire::FrameError;
use crate::wire::compressed::{CompressedFault, ENVELOPE_LEN, Envelope};

/// What is gained at least, as a part: an eighth of the bytes. Below it the time to expand them is not worth it.
const GAIN: usize = 8;

/// The payload of the compressed frame for one of type `kind`; `None` when too little is gained.
pub fn pack(kind: u8, payload: &[u8]) -> Option<Bytes> {
    let worth = payload.len() - payload.len() / GAIN;
    let mut packed = vec![0; ENVELOPE_LEN + block::get_maximum_output_size(payload.len())];
    let (head, room) = packed.split_at_mut_checked(ENVELOPE_LEN)?;
    head.copy_from_slice(&Envelope::head(kind, payload.len()));
    let len = ENVELOPE_LEN + block::compress_into(payload, room).ok()?;
    if len > worth {
        return None;
    }
    // What waits in a queue is counted by its length, and holds no more.
    Some(Bytes::copy_from_slice(packed.get(..len)?))
}

/// The payload of the frame in an envelope. No more memory is taken than was announced, which is no more than a block can grow to.
///
/// # Errors
///
/// [`CompressedFault::Block`].
pub fn expand(envelope: &Envelope<'_>) -> Result<Bytes, FrameError> {
    let mut payload = BytesMut::with_capacity(envelope.len);
    payload.put_bytes(0, envelope.len);
    match block::decompress_into(envelope.block, &mut payload) {
        Ok(len) if len == envelope.len => Ok(payload.freeze()),
        _ => Err(FrameError::Compressed(CompressedFault::Block)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::FrameRules;
    use crate::wire::compressed::MAX_EXPANDED;
    use proptest::prelude::*;

    static RULES: FrameRules = FrameRules::any(16 << 20).with_compressed();

    fn payload() -> impl Strategy<Value = Vec<u8>> {
        let word = proptest::collection::vec(any::<u8>(), 1..60);
        (proptest::collection::vec(word, 1..8), proptest::collection::vec(any::<u8>(), 100..2000)).prop_map(
            |(words, order)| order.iter().flat_map(|at| words[usize::from(*at) % words.len()].clone()).collect(),
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn what_is_packed_gains_an_eighth_and_expands_to_what_it_was(payload in payload()) {
            if let Some(packed) = pack(7, &payload) {
                prop_assert!(packed.len() <= payload.len() - payload.len() / GAIN);
                if payload.len() >= 1024 {
                    let envelope = Envelope::read(&packed, &RULES).unwrap();
                    prop_assert_eq!((envelope.kind, envelope.len), (7, payload.len()));
                    prop_assert_eq!(&expand(&envelope).unwrap()[..], &payload[..]);
                }
            }
        }

        /// Bytes that were changed, cut or invented: an error or the announced length, and nothing else.
        #[test]
        fn no_block_expands_to_anything_but_what_was_announced(
            payload in payload(), at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>(),
        ) {
            let Some(packed) = pack(7, &payload) else { return Ok(()) };
            let mut bytes = packed.to_vec();
            *at.get_mut(&mut bytes) = to;
            bytes.truncate(cut.index(bytes.len()) + 1);
            if let Ok(envelope) = Envelope::read(&bytes, &RULES) && let Ok(expanded) = expand(&envelope) {
                prop_assert_eq!(expanded.len(), envelope.len);
            }
        }
    }

    /// The vector of `wire::protocol`, section 14.
    #[test]
    fn the_vector_of_a_compressed_frame_expands() {
        let bytes = [0x30, 0, 4, 0, 0, 0x1f, 0, 1, 0, 0xff, 0xff, 0xff, 0xea, 0x50, 0, 0, 0, 0, 0];
        let envelope = Envelope::read(&bytes, &RULES).unwrap();
        assert_eq!((envelope.kind, expand(&envelope)), (0x30, Ok(Bytes::from(vec![0; 1024]))));
    }

    #[test]
    fn random_bytes_are_left_as_they_are_and_a_bomb_gets_no_memory() {
        let mut rng = crate::rng::Rng::from_seed(1);
        let noise: Vec<u8> = (0..4096).map(|_| rng.next_u64() as u8).collect();
        assert_eq!(pack(7, &noise), None);
        let zeros = pack(7, &vec![0; MAX_EXPANDED]).unwrap();
        assert!(zeros.len() < MAX_EXPANDED / 200);
        let envelope = Envelope::read(&zeros, &RULES).unwrap();
        assert_eq!(expand(&envelope).unwrap().len(), MAX_EXPANDED);
        for len in [envelope.len - 1, envelope.len / 2, 1024] {
            assert_eq!(expand(&Envelope { len, ..envelope }), Err(FrameError::Compressed(CompressedFault::Block)));
        }
    }
}
