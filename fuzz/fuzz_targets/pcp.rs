//! Any datagram as an answer to a PCP request: what is granted repeats what was asked, and the answer follows from the bytes alone.
//!
//! Input: the datagram.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spacetime_network::nat::pcp::{Answer, Ask, LEN, parse, request};

const NONCE: [u8; 12] = *b"nonce of us.";

fuzz_target!(|input: &[u8]| {
    let ask = Ask {
        client: "192.168.1.2".parse().expect("an address"),
        nonce: NONCE,
        internal_port: 7193,
        external_port: 7193,
        lifetime: 3600,
    };
    let answer = parse(input, &ask);
    assert_eq!(answer, parse(input, &ask));
    match answer {
        Some(Answer::Granted { external_port, lifetime, epoch, .. }) => {
            assert!(input.len() >= LEN && input.len().is_multiple_of(4));
            assert_eq!(&input[24..36], &NONCE[..]);
            assert_eq!(input[40..42], 7193u16.to_be_bytes());
            assert_eq!(input[42..44], external_port.to_be_bytes());
            assert_eq!((&input[4..8], &input[8..12]), (&lifetime.to_be_bytes()[..], &epoch.to_be_bytes()[..]));
            // To somebody else it says nothing.
            let other = Ask { nonce: [0; 12], ..ask };
            assert_eq!(parse(input, &other), None);
        }
        Some(Answer::Refused { code, .. }) => assert!(code != 0 && code == input[3]),
        Some(Answer::OtherVersion) => assert_ne!(input[0], 2),
        None => {}
    }
    assert_eq!(parse(&request(&ask), &ask), None, "a request is no answer");
});
