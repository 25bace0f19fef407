//! The mask of RFC 6455, section 5.3: exclusive or with four bytes over and over, eight at a time.

/// The four bytes of one frame.
pub(super) type Key = [u8; 4];

/// Masks or unmasks `bytes`, the first of which is number `position` of its frame.
pub(super) fn apply(bytes: &mut [u8], key: Key, position: u64) {
    let key = turned(key, position);
    let [a, b, c, d] = key;
    let word = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (words, rest) = bytes.as_chunks_mut::<8>();
    for chunk in words {
        *chunk = (u64::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// The key as it begins at this position.
fn turned(mut key: Key, position: u64) -> Key {
    key.rotate_left((position % 4) as usize);
    key
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn each_byte_is_masked_by_its_own_part_of_the_key_however_the_frame_is_cut(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            key in any::<Key>(),
            cuts in prop::collection::vec(0usize..40, 0..12),
            start in 0u64..1000,
        ) {
            let naive: Vec<u8> =
                (start..).zip(&bytes).map(|(at, byte)| byte ^ key[(at % 4) as usize]).collect();
            let mut masked = bytes.clone();
            let (mut rest, mut at) = (&mut masked[..], start);
            for cut in cuts {
                let (piece, later) = rest.split_at_mut(cut.min(rest.len()));
                apply(piece, key, at);
                at += piece.len() as u64;
                rest = later;
            }
            apply(rest, key, at);
            prop_assert_eq!(&masked, &naive);
            apply(&mut masked, key, start);
            prop_assert_eq!(masked, bytes, "twice is not at all");
        }
    }
}
