//! Any datagram as an answer to both questions of NAT-PMP: it answers one of them at most, and says what stands there.
//!
//! Input: the datagram.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spacetime_network::nat::natpmp::{Answer, Ask, parse_address, parse_mapping};

fuzz_target!(|input: &[u8]| {
    let ask = Ask { internal_port: 7193, external_port: 7193, lifetime: 3600 };
    let (mapping, address) = (parse_mapping(input, &ask), parse_address(input));
    assert!(mapping.is_none() || address.is_none());
    match mapping {
        Some(Answer::Granted { external_port, lifetime, epoch }) => {
            let mut bytes = vec![0, 130, 0, 0];
            bytes.extend(epoch.to_be_bytes());
            bytes.extend(7193u16.to_be_bytes());
            bytes.extend(external_port.to_be_bytes());
            bytes.extend(lifetime.to_be_bytes());
            assert_eq!(&input[..16], &bytes[..]);
        }
        Some(Answer::Refused { code }) => assert_eq!(input[2..4], code.to_be_bytes()),
        Some(Answer::Address { .. }) => panic!("an answer to the other question"),
        None => {}
    }
    match address {
        Some(Answer::Address { external, epoch }) => {
            assert_eq!((&input[4..8], &input[8..12]), (&epoch.to_be_bytes()[..], &external.octets()[..]));
        }
        Some(Answer::Granted { .. }) => panic!("an answer to the other question"),
        Some(Answer::Refused { .. }) | None => {}
    }
});
