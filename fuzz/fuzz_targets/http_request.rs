//! Any bytes at the front of a stream to the administration endpoint: the answer follows from the input, is as early as it can be, and
//! what is accepted is within its limits and stands in the bytes.
//!
//! Input: the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[allow(dead_code, reason = "the program uses more of it")]
#[path = "../../node/src/http/request.rs"]
mod request;

use request::{BODY_MAX, HEAD_MAX, Method, Parsed, parameter, parse, unescape};

fuzz_target!(|input: &[u8]| {
    match parse(input) {
        Parsed::NeedMore => assert!(input.len() < HEAD_MAX, "{} bytes are no head and may still be one", input.len()),
        Parsed::Refused(refusal) => {
            assert!((400..600).contains(&refusal.status) && !refusal.why.is_empty());
            // More bytes change nothing, or the refusal was for one that comes too late to matter.
            let mut longer = input.to_vec();
            longer.extend_from_slice(b"\r\n\r\n");
            assert!(!matches!(parse(&longer), Parsed::NeedMore));
        }
        Parsed::Head(head, len) => {
            assert!(len <= input.len() && len <= HEAD_MAX && head.body_len <= BODY_MAX);
            assert!(head.path.starts_with('/') && !head.path.contains(['?', ' ', '\r', '\n']));
            assert_eq!(parse(&input[..len]), Parsed::Head(head.clone(), len), "what follows is not looked at");
            for cut in [0, len / 2, len - 1] {
                assert_eq!(parse(&input[..cut]), Parsed::NeedMore, "a head is whole with its last byte");
            }
            // By whatever name: the method is the first word.
            let word =
                input[..len].split(|byte| *byte == b' ').find(|word| !word.iter().all(|b| matches!(b, b'\r' | b'\n')));
            let word =
                word.map(|word| word.iter().copied().filter(|b| !matches!(b, b'\r' | b'\n')).collect::<Vec<_>>());
            let expected = match word.as_deref() {
                Some(b"GET") => Method::Get,
                Some(b"HEAD") => Method::Head,
                Some(b"POST") => Method::Post,
                _ => Method::Other,
            };
            assert_eq!(head.method, expected);
            for part in head.path.split('/') {
                if let Some(plain) = unescape(part) {
                    assert!(plain.len() <= part.len());
                }
            }
            let _ = parameter(&head.query, "max");
        }
    }
});
