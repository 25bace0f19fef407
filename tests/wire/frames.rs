//! The frame parser: three answers, each as early as it can be known, whatever the pieces.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use spacetime_network::wire::frame::{self, HEADER_LEN, MAX_GREETING_PAYLOAD, MAX_LENGTH, MAX_PAYLOAD};
use spacetime_network::wire::{Foreign, FrameError, FrameRules, Kind, Parse};

use crate::feeder::Feeder;
use crate::vectors::{encoded, samples, vectors};

type Frames = Vec<(u8, Vec<u8>)>;

fn all_frames() -> Vec<Vec<u8>> {
    let samples = samples().into_iter().map(|(_, message)| encoded(&message));
    vectors().iter().map(|vector| vector.bytes()).chain(samples).collect()
}

fn head(length: u32, kind: u8) -> [u8; HEADER_LEN] {
    let [a, b, c, d] = length.to_le_bytes();
    [a, b, c, d, kind]
}

#[test]
fn every_prefix_of_a_valid_stream_needs_more() {
    let rules = FrameRules::version(2);
    for bytes in all_frames() {
        for len in 0..bytes.len() {
            let total = (len >= HEADER_LEN).then_some(bytes.len());
            assert_eq!(frame::parse(&bytes[..len], rules), Parse::NeedMore { total }, "{len} of {bytes:02x?}");
        }
        let kind = bytes[4];
        let mut followed = bytes.clone();
        followed.extend(b"next");
        let whole = Parse::Complete { kind, payload: &bytes[5..], rest: b"next" };
        assert_eq!(frame::parse(&followed, rules), whole);
    }
}

#[test]
fn a_wrong_length_is_known_at_the_fourth_byte() {
    for length in [0, MAX_LENGTH + 1, 0x0200_0000, i32::MAX as u32, u32::MAX] {
        for rules in [FrameRules::greeting(), FrameRules::version(1), FrameRules::version(2)] {
            let bytes = head(length, Kind::Block as u8);
            // At the beginning of a stream it shows that it is another protocol's.
            let wrong = match rules.recognises_foreign() {
                true => FrameError::Foreign(Foreign::Unknown),
                false => FrameError::Length(length),
            };
            assert_eq!(frame::parse(&bytes[..3], rules), Parse::NeedMore { total: None });
            assert_eq!(frame::parse(&bytes[..4], rules), Parse::Never(wrong));
            assert_eq!(frame::parse(&bytes, rules), Parse::Never(wrong));
        }
    }
}

#[test]
fn a_type_that_the_version_does_not_have_is_known_at_the_fifth_byte() {
    let versions = [(FrameRules::version(1), 1), (FrameRules::version(2), 2), (FrameRules::version(9), 2)];
    for (rules, version) in versions {
        for byte in 0..=255u8 {
            let bytes = head(1, byte);
            let known = |kind: Kind| kind.since() <= version || kind.is_said_in_version_1();
            let known = Kind::from_byte(byte).is_some_and(known);
            let answer = frame::parse(&bytes, rules);
            if known {
                assert_eq!(answer, Parse::Complete { kind: byte, payload: &[], rest: &[] });
            } else {
                assert_eq!(answer, Parse::Never(FrameError::UnknownType(byte)));
            }
        }
    }
}

/// Without the feature bit the types of runs are as unknown as any that is not defined.
#[test]
fn runs_of_blocks_are_types_only_between_those_who_say_so() {
    let known = |rules: &FrameRules| {
        [Kind::Block, Kind::GetBlocks, Kind::Blocks].map(|kind| rules.max_payload(kind as u8).is_some())
    };
    assert_eq!(known(FrameRules::version(2)), [true, true, true]);
    assert_eq!(known(FrameRules::version_without_blocks(2)), [false, true, false]);
    assert_eq!(known(FrameRules::version_without_runs(2)), [true, false, false]);
    assert_eq!(known(FrameRules::version_without_runs_and_blocks(2)), [false, false, false]);
    for rules in [FrameRules::version(1), FrameRules::version_without_runs(1)] {
        assert_eq!(known(rules), [true, false, false]);
    }
    // In version 1 a block that was not asked for is a new one.
    for rules in [FrameRules::version_without_blocks(1), FrameRules::version_without_runs_and_blocks(1)] {
        assert_eq!(known(rules), [true, false, false]);
    }
}

#[test]
fn a_payload_may_be_as_large_as_its_type_allows_and_not_one_byte_larger() {
    for kind in Kind::ALL {
        let (byte, max) = (*kind as u8, kind.max_payload());
        let total = Some(HEADER_LEN + max as usize);
        assert_eq!(frame::parse(&head(max + 1, byte), FrameRules::version(2)), Parse::NeedMore { total });
        let over = if max == MAX_PAYLOAD {
            FrameError::Length(MAX_LENGTH + 1)
        } else {
            FrameError::Oversize { kind: byte, len: max + 1 }
        };
        assert_eq!(frame::parse(&head(max + 2, byte), FrameRules::version(2)), Parse::Never(over));
    }
}

#[test]
fn before_the_handshake_a_stranger_can_make_us_hold_a_kilobyte() {
    for byte in 0..=255u8 {
        let greets = [Kind::Handshake, Kind::HandshakeAck, Kind::Error].map(|kind| kind as u8).contains(&byte);
        let (at, over) = (head(MAX_GREETING_PAYLOAD + 1, byte), head(MAX_GREETING_PAYLOAD + 2, byte));
        let rules = FrameRules::greeting();
        if greets {
            assert_eq!(frame::parse(&at, rules), Parse::NeedMore { total: Some(HEADER_LEN + 1024) });
            let oversize = FrameError::Oversize { kind: byte, len: 1025 };
            assert_eq!(frame::parse(&over, rules), Parse::Never(oversize));
        } else {
            let wrong = match Kind::from_byte(byte) {
                Some(_) => FrameError::UnknownType(byte),
                None => FrameError::Foreign(Foreign::Unknown),
            };
            assert_eq!(frame::parse(&at, rules), Parse::Never(wrong));
        }
    }
}

#[test]
fn headers_are_written_up_to_the_largest_frame() {
    assert_eq!(frame::header(3, 0), Ok([1, 0, 0, 0, 3]));
    assert_eq!(frame::header(0x23, MAX_PAYLOAD as usize), Ok([0, 0, 0, 1, 0x23]));
    assert_eq!(frame::header(0x23, MAX_PAYLOAD as usize + 1), Err(FrameError::Length(MAX_LENGTH + 1)));
}

#[test]
fn rules_say_what_they_accept() {
    let rules = FrameRules::none().with(7, 0).with(8, u32::MAX);
    assert_eq!((rules.max_payload(6), rules.max_payload(7), rules.max_payload(8)), (None, Some(0), Some(MAX_PAYLOAD)));
    assert_eq!(frame::parse(&head(1, 7), &rules), Parse::Complete { kind: 7, payload: &[], rest: &[] });
    let oversize = FrameError::Oversize { kind: 7, len: 1 };
    assert_eq!(frame::parse(&head(2, 7), &rules), Parse::Never(oversize));
    assert_eq!(FrameRules::any(9).max_payload(200), Some(9));
}

/// The reference: looks at the stream byte by byte, holds everything, and knows the protocol's tables by itself.
fn naive(stream: &[u8], version: u8) -> (Frames, Option<FrameError>) {
    let (mut frames, mut held) = (Frames::new(), Vec::new());
    for byte in stream {
        held.push(*byte);
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |sum, byte| sum * 256 + u64::from(*byte));
        if held.len() == 4 && !(1..=16_777_216).contains(&number(&held)) {
            return (frames, Some(FrameError::Length(number(&held) as u32)));
        }
        if held.len() < 5 {
            continue;
        }
        let (payload_len, kind) = (number(&held[..4]) as usize - 1, held[4]);
        // In version 1 the type of a challenge may be a later revision's proof.
        let max = |known: Kind| match (version, known) {
            (1, Kind::NewChallenge) => Kind::ProofSubmission.max_payload() as usize,
            _ => known.max_payload() as usize,
        };
        match Kind::from_byte(kind).filter(|kind| kind.since() <= version || kind.is_said_in_version_1()) {
            None => return (frames, Some(FrameError::UnknownType(kind))),
            Some(known) if payload_len > max(known) => {
                return (frames, Some(FrameError::Oversize { kind, len: payload_len as u32 }));
            }
            Some(_) if held.len() == 5 + payload_len => {
                frames.push((kind, held[5..].to_vec()));
                held.clear();
            }
            Some(_) => {}
        }
    }
    (frames, None)
}

/// The stream in pieces whose lengths `cuts` repeats for ever, through `parse`.
fn fed(stream: &[u8], cuts: &[usize], version: u8) -> (Frames, Option<FrameError>) {
    let (mut feeder, mut frames, mut rest) = (Feeder::default(), Frames::new(), stream);
    for cut in cuts.iter().cycle() {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        let sink = |kind, payload: &[u8]| frames.push((kind, payload.to_vec()));
        if let Err(error) = feeder.feed(piece, FrameRules::version(version), sink) {
            return (frames, Some(error));
        }
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    (frames, None)
}

fn valid_frame() -> impl Strategy<Value = Vec<u8>> {
    (select(Kind::ALL), vec(any::<u8>(), 0..60)).prop_map(|(kind, mut payload)| {
        payload.truncate(kind.max_payload() as usize);
        let mut frame = frame::header(kind as u8, payload.len()).unwrap().to_vec();
        frame.extend(payload);
        frame
    })
}

proptest! {
    #[test]
    fn frames_do_not_depend_on_the_pieces(
        stream in vec(valid_frame(), 0..12), cuts in vec(1..40usize, 1..12), version in 1..=2u8,
    ) {
        let stream = stream.concat();
        prop_assert_eq!(fed(&stream, &cuts, version), naive(&stream, version));
    }

    #[test]
    fn damage_is_found_at_the_same_place_whatever_the_pieces(
        stream in vec(valid_frame(), 1..8),
        at in any::<prop::sample::Index>(),
        byte: u8,
        cuts in vec(1..40usize, 1..12),
        version in 1..=2u8,
    ) {
        let mut stream = stream.concat();
        *at.get_mut(&mut stream) = byte;
        prop_assert_eq!(fed(&stream, &cuts, version), naive(&stream, version));
    }

    #[test]
    fn noise_is_judged_as_the_reference_judges_it(stream in vec(0..50u8, 0..200), cuts in vec(1..9usize, 1..5)) {
        prop_assert_eq!(fed(&stream, &cuts, 2), naive(&stream, 2));
    }
}

#[test]
fn five_frames_cut_at_every_pair_of_offsets_are_the_same_five_frames() {
    let stream: Vec<u8> = vectors()[..5].iter().flat_map(|vector| vector.bytes()).collect();
    let whole = naive(&stream, 2);
    assert_eq!(whole.0.len(), 5);
    for first in 1..stream.len() {
        for second in 1..=stream.len() - first {
            assert_eq!(fed(&stream, &[first, second, stream.len()], 2), whole);
        }
    }
}
