//! Frames in any pieces against a naive decoder, and the cases of the Autobahn suite retold as bytes and expected close codes.

use super::*;
use proptest::prelude::*;

const NOW: Instant = Instant::ZERO;

/// What a stream came to: the content of its messages, its control frames, and what it broke.
#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    data: Vec<u8>,
    empty: usize,
    control: Vec<(u8, Vec<u8>)>,
    fault: Option<WebSocketFault>,
}

fn decode(end: End, stream: &[u8], cuts: &[usize]) -> Seen {
    let (mut decoder, mut seen, mut rest) = (Decoder::new(end), Seen::default(), stream.to_vec());
    let mut rest = &mut rest[..];
    let mut cuts = cuts.iter().copied().chain(core::iter::repeat(usize::MAX));
    while !rest.is_empty() {
        let (piece, later) = rest.split_at_mut(cuts.next().unwrap().clamp(1, rest.len()));
        rest = later;
        let mut at = 0;
        loop {
            match decoder.next(piece, &mut at, NOW) {
                Ok(None) => break,
                Ok(Some(Part::Data(range))) => seen.data.extend_from_slice(&piece[range]),
                Ok(Some(Part::Empty)) => seen.empty += 1,
                Ok(Some(Part::Control(opcode))) => {
                    seen.control.push((opcode, decoder.control().to_vec()));
                    decoder.forget_control();
                }
                Err(fault) => {
                    seen.fault = Some(fault);
                    return seen;
                }
            }
        }
        assert_eq!(at, piece.len(), "who wants more has taken all");
        assert!(decoder.held() <= 256, "{} bytes are held", decoder.held());
    }
    seen
}

/// The same from the specification's text, with the whole stream at hand.
fn naive(end: End, stream: &[u8]) -> Seen {
    let mut seen = Seen::default();
    let (mut at, mut in_message, mut bytes, mut fragments) = (0usize, false, 0u64, 0u32);
    while let [first, second, ..] = &stream[at..] {
        let (fin, rsv, opcode) = (first >> 7 == 1, first >> 4 & 7, first & 15);
        let (masked, short) = (second >> 7 == 1, u64::from(second & 127));
        let is_control = opcode >= 8;
        let known = [0, 1, 2, 8, 9, 10].contains(&opcode);
        let misplaced = (opcode == 0 && !in_message) || ((1..=2).contains(&opcode) && in_message);
        if rsv != 0 || !known || masked != (end == End::Server) || misplaced {
            seen.fault = Some(WebSocketFault::Protocol);
            return seen;
        }
        if opcode == 1 {
            seen.fault = Some(WebSocketFault::Text);
            return seen;
        }
        if is_control && (!fin || short > 125) {
            seen.fault = Some(WebSocketFault::Protocol);
            return seen;
        }
        let extra = [0, 2, 8][(short.max(125) - 125) as usize];
        let head = 2 + extra + if masked { 4 } else { 0 };
        if stream.len() - at < head {
            return seen;
        }
        let long = stream[at + 2..at + 2 + extra].iter().fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
        let len = if extra == 0 { short } else { long };
        if (extra == 2 && len < 126) || (extra == 8 && len < 65_536) || len >= 1 << 63 {
            seen.fault = Some(WebSocketFault::Protocol);
            return seen;
        }
        if !is_control {
            bytes = if in_message { bytes.saturating_add(len) } else { len };
            fragments = if in_message { fragments + 1 } else { 1 };
            in_message = !fin;
            if bytes > MESSAGE_MAX {
                seen.fault = Some(WebSocketFault::TooLarge);
                return seen;
            }
            if fragments > FRAGMENTS_MAX {
                seen.fault = Some(WebSocketFault::Flooding);
                return seen;
            }
        }
        let key = &stream[at + 2 + extra..at + head];
        let rest = &stream[at + head..];
        let here = rest.len().min(usize::try_from(len).unwrap());
        let content: Vec<u8> = match masked {
            true => rest[..here].iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key).collect(),
            false => rest[..here].to_vec(),
        };
        match is_control {
            true if (here as u64) < len => return seen,
            true => seen.control.push((opcode, content)),
            false if len == 0 => seen.empty += 1,
            false => seen.data.extend(content),
        }
        at += head + here;
    }
    seen
}

/// A frame as somebody may send it.
fn frame(first: u8, key: Option<Key>, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = put_header(&mut bytes, 0, content.len(), key);
    bytes[0] = first;
    bytes.extend_from_slice(content);
    if let Some(key) = key {
        mask::apply(&mut bytes[header..], key, 0);
    }
    bytes
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        8 => Just(0x82u8),
        2 => Just(0x02),
        2 => Just(0x00),
        2 => Just(0x80),
        2 => Just(0x89),
        1 => Just(0x8a),
        1 => Just(0x88),
        1 => any::<u8>(),
    ];
    let len = prop_oneof![6 => 0usize..20, 2 => 120usize..140, 1 => 65_530usize..65_540];
    (first, any::<Key>(), len, any::<u8>()).prop_map(|(first, key, len, fill)| {
        let len = if first & 15 >= 8 { len.min(125) } else { len };
        let content: Vec<u8> = (0..len).map(|n| (n as u8).wrapping_add(fill)).collect();
        frame(first, Some(key), &content)
    })
}

proptest! {
    #[test]
    fn any_frames_in_any_pieces_come_to_what_a_naive_decoder_says(
        frames in prop::collection::vec(any_frame(), 0..12),
        cuts in prop::collection::vec(prop_oneof![1usize..6, 1usize..70_000], 0..40),
    ) {
        let stream = frames.concat();
        prop_assert_eq!(decode(End::Server, &stream, &cuts), naive(End::Server, &stream));
    }

    #[test]
    fn any_bytes_in_any_pieces_come_to_what_a_naive_decoder_says(
        stream in prop::collection::vec(any::<u8>(), 0..300),
        cuts in prop::collection::vec(1usize..20, 0..40),
    ) {
        for end in [End::Server, End::Client] {
            prop_assert_eq!(decode(end, &stream, &cuts), naive(end, &stream));
        }
    }
}

/// A client's frame with a key.
fn masked(first: u8, content: &[u8]) -> Vec<u8> {
    frame(first, Some([0x37, 0xfa, 0x21, 0x3d]), content)
}

/// The suite's sections but those of text messages (ours are binary: 1003 is the answer to all of them) and of compression.
#[test]
fn the_cases_of_the_autobahn_suite_end_with_the_codes_that_they_should() {
    use super::super::close_code;
    let long = |first: u8, len: u64| {
        let mut bytes = vec![first, 0xff];
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(&[1, 2, 3, 4]);
        bytes
    };
    let close = |content: &[u8]| masked(0x88, content);
    let code = |code: u16| masked(0x88, &code.to_be_bytes());
    let reason = |code: u16, text: &[u8]| masked(0x88, &[&code.to_be_bytes()[..], text].concat());
    let cases: Vec<(&str, Vec<u8>, Option<u16>)> = vec![
        ("1.1 a text message", masked(0x81, b"Hello"), Some(1003)),
        ("1.2.1 an empty binary message", masked(0x82, b""), None),
        ("1.2.2 of 125 bytes", masked(0x82, &[0xfe; 125]), None),
        ("1.2.3 of 126", masked(0x82, &[0xfe; 126]), None),
        ("1.2.4 of 127", masked(0x82, &[0xfe; 127]), None),
        ("1.2.5 of 128", masked(0x82, &[0xfe; 128]), None),
        ("1.2.6 of 65535", masked(0x82, &[0xfe; 65_535]), None),
        ("1.2.7 of 65536", masked(0x82, &[0xfe; 65_536]), None),
        ("2.1 a ping without content", masked(0x89, b""), None),
        ("2.2 a ping", masked(0x89, b"Hello"), None),
        ("2.3 a ping of bytes", masked(0x89, &[0, 0xff, 0xfe]), None),
        ("2.4 a ping of 125", masked(0x89, &[0xfe; 125]), None),
        ("2.5 a ping of 126", masked(0x89, &[0xfe; 126]), Some(1002)),
        ("2.7 a pong that nobody asked for", masked(0x8a, b""), None),
        ("2.8 with content", masked(0x8a, b"unsolicited"), None),
        ("2.10 ten pings", masked(0x89, b"p").repeat(10), None),
        ("3.1 reserved bit 3", masked(0x92, b"x"), Some(1002)),
        ("3.2 reserved bit 2 behind a message", [masked(0x82, b"x"), masked(0xa2, b"x")].concat(), Some(1002)),
        ("3.5 reserved bit 1", masked(0xc2, b"x"), Some(1002)),
        ("3.6 all of them in a ping", masked(0xf9, b""), Some(1002)),
        ("3.7 all of them in a close", masked(0xf8, b""), Some(1002)),
        ("4.1.1 opcode 3", masked(0x83, b""), Some(1002)),
        ("4.1.2 opcode 4", masked(0x84, b"reserved"), Some(1002)),
        ("4.1.3 opcode 5 behind a message", [masked(0x82, b"x"), masked(0x85, b"")].concat(), Some(1002)),
        ("4.1.5 opcode 7", masked(0x87, b"x"), Some(1002)),
        ("4.2.1 opcode 11", masked(0x8b, b""), Some(1002)),
        ("4.2.5 opcode 15", masked(0x8f, b"x"), Some(1002)),
        ("5.1 a ping in fragments", [masked(0x09, b"a"), masked(0x80, b"b")].concat(), Some(1002)),
        ("5.2 a pong in fragments", [masked(0x0a, b"a"), masked(0x80, b"b")].concat(), Some(1002)),
        ("5.3 a message in fragments", [masked(0x02, b"a"), masked(0x80, b"b")].concat(), None),
        ("5.6 a ping between", [masked(0x02, b"a"), masked(0x89, b"p"), masked(0x80, b"b")].concat(), None),
        ("5.9 a continuation of nothing", masked(0x80, b"a"), Some(1002)),
        ("5.10 one more than the message", [masked(0x82, b"a"), masked(0x80, b"b")].concat(), Some(1002)),
        ("5.12 a continuation of nothing, unfinished", masked(0x00, b"a"), Some(1002)),
        ("5.15 behind a whole one", [masked(0x02, b"a"), masked(0x80, b"b"), masked(0x00, b"c")].concat(), Some(1002)),
        ("5.18 a message in a message", [masked(0x02, b"a"), masked(0x82, b"b")].concat(), Some(1002)),
        (
            "5.19 five fragments with pings",
            [0x02u8, 0x89, 0x00, 0x89, 0x80].iter().flat_map(|first| masked(*first, b"f")).collect(),
            None,
        ),
        ("5.20 empty fragments", [masked(0x02, b""), masked(0x00, b""), masked(0x80, b"")].concat(), None),
        ("6 text that is no UTF-8", masked(0x81, &[0xce, 0xba, 0xed, 0xa0, 0x80]), Some(1003)),
        ("7.1.1 a close behind a message", [masked(0x82, b"x"), code(1000)].concat(), Some(1000)),
        ("7.3.1 a close without content", close(b""), Some(1000)),
        ("7.3.2 of one byte", close(b"a"), Some(1002)),
        ("7.3.3 with a code", code(1000), Some(1000)),
        ("7.3.4 with a reason", reason(1000, b"Hello"), Some(1000)),
        ("7.3.5 with the longest", reason(1000, &[b'*'; 123]), Some(1000)),
        ("7.3.6 with one that is too long", reason(1000, &[b'*'; 124]), Some(1002)),
        ("7.5.1 with one that is no UTF-8", reason(1000, &[0xce, 0xba, 0xed, 0xa0, 0x80]), Some(1007)),
        ("7.7 1001", code(1001), Some(1001)),
        ("7.7 1002", code(1002), Some(1002)),
        ("7.7 1003", code(1003), Some(1003)),
        ("7.7 1007", code(1007), Some(1007)),
        ("7.7 1011", code(1011), Some(1011)),
        ("7.7 3000", code(3000), Some(3000)),
        ("7.7 4999", code(4999), Some(4999)),
        ("7.9 0", code(0), Some(1002)),
        ("7.9 999", code(999), Some(1002)),
        ("7.9 1004", code(1004), Some(1002)),
        ("7.9 1005", code(1005), Some(1002)),
        ("7.9 1006", code(1006), Some(1002)),
        ("7.9 1016", code(1016), Some(1002)),
        ("7.9 1100", code(1100), Some(1002)),
        ("7.9 2000", code(2000), Some(1002)),
        ("7.9 2999", code(2999), Some(1002)),
        ("7.13 5000", code(5000), Some(1002)),
        ("7.13 65535", code(65_535), Some(1002)),
        ("9 a claim at the bound", long(0x82, MESSAGE_MAX), None),
        ("9 and above it", long(0x82, MESSAGE_MAX + 1), Some(1009)),
        ("9 fragments above it", [masked(0x02, b"a"), long(0x80, MESSAGE_MAX)].concat(), Some(1009)),
        ("a length with the sign", long(0x82, 1 << 63), Some(1002)),
        (
            "a length that is longer than it must be",
            [&[0x82, 0xfe, 0, 5, 1, 2, 3, 4][..], b"aaaaa"].concat(),
            Some(1002),
        ),
        ("and in eight bytes", long(0x82, 65_535), Some(1002)),
        ("a client's frame without a mask", frame(0x82, None, b"x"), Some(1002)),
        ("10.1 fragments of one byte", [masked(0x02, b"a"), masked(0x00, b"a").repeat(500)].concat(), None),
    ];
    for (name, stream, expected) in &cases {
        for cuts in [&[][..], &[1; 70_000], &[2, 3, 5, 7, 11, 13, 17]] {
            let seen = decode(End::Server, stream, cuts);
            let closed = seen.control.iter().find(|(opcode, _)| *opcode == CLOSE);
            let ends = match (seen.fault, closed) {
                (Some(fault), _) => fault.code(),
                (None, Some((_, content))) => match close_code::read(content) {
                    Ok(code) => Some(code.unwrap_or(close_code::NORMAL)),
                    Err(fault) => fault.code(),
                },
                (None, None) => None,
            };
            assert_eq!(ends, *expected, "{name}");
        }
    }
    // The other way around: a server's frame with a mask.
    assert_eq!(decode(End::Client, &masked(0x82, b"x"), &[]).fault, Some(WebSocketFault::Protocol));
    assert_eq!(decode(End::Client, &frame(0x82, None, b"x"), &[]).data, b"x");
}

#[test]
fn a_message_has_fragments_within_a_bound() {
    let stream: Vec<u8> =
        masked(0x02, b"").into_iter().chain(masked(0x00, b"").repeat(FRAGMENTS_MAX as usize)).collect();
    let seen = decode(End::Server, &stream, &[]);
    assert_eq!((seen.empty, seen.fault), (FRAGMENTS_MAX as usize, Some(WebSocketFault::Flooding)));
}

#[test]
fn what_cannot_be_a_frame_is_refused_by_its_first_two_bytes() {
    for start in [[0xf2, 0x80], [0x82, 0x00], [0x83, 0x80], [0x80, 0x80], [0x89, 0xfe]] {
        assert_eq!(decode(End::Server, &start, &[]).fault, Some(WebSocketFault::Protocol), "{start:?}");
    }
}

#[test]
fn an_unfinished_header_or_control_frame_has_a_deadline_and_a_message_has_none() {
    let stall = Duration::from_secs(3);
    let mut decoder = Decoder::new(End::Server);
    let now = Instant::from_millis(7);
    assert_eq!(decoder.deadline(stall), None);
    decoder.next(&mut [0x82], &mut 0, now).unwrap();
    assert_eq!(decoder.deadline(stall), Some(now + stall));
    // A claim of a byte, and nothing of it.
    decoder.next(&mut [0x81, 1, 2, 3, 4], &mut 0, now).unwrap();
    assert_eq!((decoder.deadline(stall), decoder.held()), (None, 0));
    decoder.next(&mut [9, 0x89, 0x82, 1, 2, 3, 4, 5], &mut 0, now + stall).unwrap();
    decoder.next(&mut [0x89, 0x82, 1, 2, 3, 4, 5], &mut 0, now + stall).unwrap();
    assert_eq!(decoder.deadline(stall), Some(now + stall * 2), "of a ping one byte came, of two");
}
