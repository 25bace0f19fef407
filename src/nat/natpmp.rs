//! NAT-PMP (RFC 6886), as far as one forwarded TCP port goes: the mapping, and the router's address on the other side.
//!
//! ```text
//! address   u8 version (0), u8 opcode (0)                    answer: ... u16 result, u32 epoch, 4 bytes address
//! mapping   u8 version (0), u8 opcode (2, TCP), u16 0,       answer: ... u16 result, u32 epoch,
//!           u16 internal port, u16 external port,                    u16 internal port, u16 external port,
//!           u32 lifetime                                             u32 lifetime
//! ```
//!
//! Numbers are in network order; an answer's opcode is the request's and 128.

use core::net::Ipv4Addr;

use super::bytes::{array_at, u16_at, u32_at};

/// The length of a request for a mapping, in bytes.
pub const LEN: usize = 12;

const VERSION: u8 = 0;
const ADDRESS: u8 = 0;
const MAP_TCP: u8 = 2;
const ANSWER: u8 = 0x80;

/// What is asked for. With a lifetime of 0 the mapping is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The port of our listener.
    pub internal_port: u16,
    /// The port that we would like on the other side; 0 for any.
    pub external_port: u16,
    /// For so many seconds.
    pub lifetime: u32,
}

/// What the router says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The port is forwarded, or given back.
    Granted {
        /// The port on the other side, not always the one that was asked for.
        external_port: u16,
        /// For so many seconds.
        lifetime: u32,
        /// Seconds since the router forgot all mappings.
        epoch: u32,
    },
    /// The router's address on the other side.
    Address {
        /// The address.
        external: Ipv4Addr,
        /// Seconds since the router forgot all mappings.
        epoch: u32,
    },
    /// It does not do it.
    Refused {
        /// A code of RFC 6886, section 3.5.
        code: u16,
    },
}

/// The request for a mapping.
pub fn request(ask: &Ask) -> [u8; LEN] {
    let ([i, j], [e, f]) = (ask.internal_port.to_be_bytes(), ask.external_port.to_be_bytes());
    let [a, b, c, d] = ask.lifetime.to_be_bytes();
    [VERSION, MAP_TCP, 0, 0, i, j, e, f, a, b, c, d]
}

/// The request for the router's address on the other side.
pub const fn address_request() -> [u8; 2] {
    [VERSION, ADDRESS]
}

/// What a datagram from the router says to `ask`; `None` when it is no answer to it.
pub fn parse_mapping(bytes: &[u8], ask: &Ask) -> Option<Answer> {
    let epoch = match header(bytes, MAP_TCP)? {
        Ok(epoch) => epoch,
        Err(code) => return Some(Answer::Refused { code }),
    };
    let (internal, external_port, lifetime) = (u16_at(bytes, 8)?, u16_at(bytes, 10)?, u32_at(bytes, 12)?);
    (internal == ask.internal_port).then_some(Answer::Granted { external_port, lifetime, epoch })
}

/// What it says to the question for its address.
pub fn parse_address(bytes: &[u8]) -> Option<Answer> {
    let epoch = match header(bytes, ADDRESS)? {
        Ok(epoch) => epoch,
        Err(code) => return Some(Answer::Refused { code }),
    };
    Some(Answer::Address { external: Ipv4Addr::from(array_at::<4>(bytes, 8)?), epoch })
}

/// The epoch of an answer to `opcode`, or the code of a refusal, which may be cut off behind it.
fn header(bytes: &[u8], opcode: u8) -> Option<Result<u32, u16>> {
    let [VERSION, answered, ..] = *bytes else { return None };
    if answered != opcode | ANSWER {
        return None;
    }
    match u16_at(bytes, 2)? {
        0 => u32_at(bytes, 4).map(Ok),
        code => Some(Err(code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ASK: Ask = Ask { internal_port: 7193, external_port: 0x1234, lifetime: 3600 };

    fn granted(internal: u16, external: u16, lifetime: u32, epoch: u32) -> Vec<u8> {
        let mut bytes = vec![0, 130, 0, 0];
        bytes.extend(epoch.to_be_bytes());
        bytes.extend(internal.to_be_bytes());
        bytes.extend(external.to_be_bytes());
        bytes.extend(lifetime.to_be_bytes());
        bytes
    }

    #[test]
    fn requests_have_the_bytes_of_the_standard() {
        assert_eq!(request(&ASK), [0, 2, 0, 0, 0x1c, 0x19, 0x12, 0x34, 0, 0, 0x0e, 0x10]);
        assert_eq!(address_request(), [0, 0]);
    }

    #[test]
    fn what_was_granted_is_read_and_what_answers_something_else_is_not() {
        let bytes = granted(7193, 4000, 120, 77);
        assert_eq!(
            parse_mapping(&bytes, &ASK),
            Some(Answer::Granted { external_port: 4000, lifetime: 120, epoch: 77 })
        );
        assert_eq!(parse_mapping(&bytes, &Ask { internal_port: 7194, ..ASK }), None, "another port");
        assert_eq!(parse_mapping(&bytes[..15], &ASK), None, "cut off");
        assert_eq!(parse_mapping(&request(&ASK), &ASK), None, "a request is no answer");
        assert_eq!(parse_mapping(&[0, 130, 0, 2], &ASK), Some(Answer::Refused { code: 2 }));
        assert_eq!(parse_address(&bytes), None, "an answer to the other question");
        let address = [0, 128, 0, 0, 0, 0, 0, 7, 11, 0, 0, 1];
        assert_eq!(parse_address(&address), Some(Answer::Address { external: Ipv4Addr::new(11, 0, 0, 1), epoch: 7 }));
        assert_eq!(parse_address(&[0, 128, 0, 3, 0, 0, 0, 7]), Some(Answer::Refused { code: 3 }));
        assert_eq!(parse_address(&[2, 128, 0, 0, 0, 0, 0, 7, 11, 0, 0, 1]), None, "another version");
    }

    proptest! {
        #[test]
        fn a_granted_mapping_is_read_as_it_was_written(
            (internal, external, lifetime, epoch) in (any::<u16>(), any::<u16>(), any::<u32>(), any::<u32>()),
        ) {
            let ask = Ask { internal_port: internal, ..ASK };
            let expected = Answer::Granted { external_port: external, lifetime, epoch };
            prop_assert_eq!(parse_mapping(&granted(internal, external, lifetime, epoch), &ask), Some(expected));
        }
    }
}
