//! Compressed frames of any bytes: an error, or exactly what was announced; and what is compressed expands to what it was.
//!
//! Input: an even byte and the payload of a compressed frame, or an odd byte, a type, and the words of a payload.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spacetime_network::link::lz4;
use spacetime_network::wire::compressed::{Envelope, MAX_EXPANDED, MIN_EXPANDED};
use spacetime_network::wire::{Agreed, FrameRules};

fuzz_target!(|input: &[u8]| {
    let rules = FrameRules::agreed(Agreed { runs: true, blocks: true, pieces: true, compressed: true });
    match input {
        [how, payload @ ..] if how % 2 == 0 => {
            let Ok(envelope) = Envelope::read(payload, rules) else { return };
            assert!(
                (MIN_EXPANDED..=MAX_EXPANDED).contains(&envelope.len) && envelope.len <= 255 * envelope.block.len()
            );
            assert!(rules.max_payload(envelope.kind).is_some_and(|max| envelope.len <= max as usize));
            if let Ok(expanded) = lz4::expand(&envelope) {
                assert_eq!(expanded.len(), envelope.len);
            }
        }
        [_, times, words @ ..] if !words.is_empty() => {
            let payload = words.repeat(usize::from(*times) * 8 + 1);
            let Some(packed) = lz4::pack(0x31, &payload) else { return };
            assert!(packed.len() <= payload.len() - payload.len() / 8);
            if let Ok(envelope) = Envelope::read(&packed, rules) {
                assert!(lz4::expand(&envelope).unwrap() == payload);
            }
        }
        _ => {}
    }
});
