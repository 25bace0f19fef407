//! Any bytes at the front of a stream: the parser's answer follows from the input, is as early as it can be, and wider
//! rules accept what narrower rules accept.
//!
//! Input: the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spacetime_network::wire::frame::{self, HEADER_LEN, MAX_LENGTH, MAX_PAYLOAD};
use spacetime_network::wire::{Foreign, FrameError, FrameRules, Kind, Parse};

fuzz_target!(|input: &[u8]| {
    let any = FrameRules::any(MAX_PAYLOAD);
    // From the narrowest to the widest. Under one type a peer of version 1 may say something longer than any of version 2.
    let first = [FrameRules::greeting(), FrameRules::unintroduced(), FrameRules::version(1), &any];
    let second = [FrameRules::greeting(), FrameRules::version(2), &any];
    for chain in [&first[..], &second[..]] {
        let mut narrower = None;
        for rules in chain {
            let answer = frame::parse(input, rules);
            check(input, rules, answer);
            if let Some(accepted @ (Parse::Complete { .. } | Parse::NeedMore { total: Some(_) })) = narrower {
                assert_eq!(answer, accepted, "wider rules changed the answer");
            }
            narrower = Some(answer);
        }
    }
});

fn check(input: &[u8], rules: &FrameRules, answer: Parse<'_>) {
    match answer {
        Parse::Complete { kind, payload, rest } => {
            let header = frame::header(kind, payload.len()).expect("an accepted frame has a header");
            assert_eq!([header.as_slice(), payload, rest].concat(), input);
            assert!(rules.max_payload(kind).is_some_and(|max| payload.len() <= max as usize));
            let total = HEADER_LEN + payload.len();
            assert_eq!(frame::parse(&input[..total], rules), Parse::Complete { kind, payload, rest: &[] });
            assert_eq!(frame::parse(&input[..HEADER_LEN - 1], rules), Parse::NeedMore { total: None });
            if !payload.is_empty() {
                assert_eq!(frame::parse(&input[..total - 1], rules), Parse::NeedMore { total: Some(total) });
            }
        }
        Parse::NeedMore { total: None } => assert!(input.len() < HEADER_LEN),
        Parse::NeedMore { total: Some(total) } => {
            assert!(HEADER_LEN <= input.len() && input.len() < total);
            let header = frame::header(input[4], total - HEADER_LEN).expect("a frame that can still be valid");
            assert_eq!(header, input[..HEADER_LEN]);
            assert!(rules.max_payload(input[4]).is_some_and(|max| total - HEADER_LEN <= max as usize));
        }
        Parse::Never(error) => {
            let length = u32::from_le_bytes([input[0], input[1], input[2], input[3]]);
            let known_after = match error {
                FrameError::Length(wrong) => {
                    assert!(wrong == length && !(1..=MAX_LENGTH).contains(&length));
                    HEADER_LEN - 1
                }
                FrameError::Foreign(foreign) => {
                    let known = Foreign::of(length.to_le_bytes());
                    assert_eq!(known.unwrap_or(Foreign::Unknown), foreign);
                    let is_ours = input.get(4).is_some_and(|kind| Kind::from_byte(*kind).is_some());
                    assert!(known.is_some() || !(1..=MAX_LENGTH).contains(&length) || !is_ours);
                    // Some beginnings are lengths that only another type could have.
                    if (1..=MAX_LENGTH).contains(&length) { HEADER_LEN } else { HEADER_LEN - 1 }
                }
                FrameError::UnknownType(kind) => {
                    assert!(kind == input[4] && rules.max_payload(kind).is_none());
                    HEADER_LEN
                }
                FrameError::Oversize { kind, len } => {
                    assert!(kind == input[4] && len == length - 1);
                    assert!(rules.max_payload(kind).is_some_and(|max| len > max));
                    HEADER_LEN
                }
                // What is inside of a frame is not looked at here.
                FrameError::Pieces(_) | FrameError::Compressed(_) => unreachable!("{error}"),
            };
            assert_eq!(frame::parse(&input[..known_after], rules), Parse::Never(error));
            assert_eq!(frame::parse(&input[..known_after - 1], rules), Parse::NeedMore { total: None });
        }
    }
}
