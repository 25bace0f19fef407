//! The Port Control Protocol (RFC 6887), as far as one forwarded TCP port goes: the MAP request and its answer.
//!
//! ```text
//! request   u8 version (2), u8 opcode (1), u16 0, u32 lifetime, 16 bytes our address,
//!           12 bytes nonce, u8 protocol (6, TCP), 3 bytes 0, u16 internal port, u16 external port, 16 bytes external address
//! answer    u8 version (2), u8 opcode + 128, u8 0, u8 result, u32 lifetime, u32 epoch, 12 bytes 0, then as in the request
//! ```
//!
//! Numbers are in network order, addresses IPv6 or mapped IPv4. Options may follow; we send none and look at none.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::bytes::{array_at, u16_at, u32_at};

/// The length of a request, and of an answer without options, in bytes.
pub const LEN: usize = 60;
/// The longest message that there may be, in bytes.
const MAX_LEN: usize = 1100;
/// The length of what every message begins with, in bytes.
const HEADER_LEN: usize = 24;

const VERSION: u8 = 2;
const MAP: u8 = 1;
const ANSWER: u8 = 0x80;
const TCP: u8 = 6;

/// What is asked for. With a lifetime of 0 the mapping is given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Our address, as the router sees it.
    pub client: IpAddr,
    /// Names the mapping: whoever does not know it cannot change it.
    pub nonce: [u8; 12],
    /// The port of our listener.
    pub internal_port: u16,
    /// The port that we would like on the other side; 0 for any.
    pub external_port: u16,
    /// For so many seconds.
    pub lifetime: u32,
}

/// What the router says to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The port is forwarded, or given back.
    Granted {
        /// The port on the other side, not always the one that was asked for.
        external_port: u16,
        /// The router's address there.
        external: IpAddr,
        /// For so many seconds.
        lifetime: u32,
        /// Seconds since the router forgot all mappings.
        epoch: u32,
    },
    /// It is not.
    Refused {
        /// A code of RFC 6887, section 7.4.
        code: u8,
        /// Seconds since the router forgot all mappings.
        epoch: u32,
    },
    /// The router speaks another version, as one that knows only NAT-PMP does.
    OtherVersion,
}

/// The request.
pub fn request(ask: &Ask) -> [u8; LEN] {
    let any = match ask.client {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.to_ipv6_mapped(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED,
    };
    let parts: [&[u8]; 8] = [
        &[VERSION, MAP, 0, 0],
        &ask.lifetime.to_be_bytes(),
        &wide(ask.client).octets(),
        &ask.nonce,
        &[TCP, 0, 0, 0],
        &ask.internal_port.to_be_bytes(),
        &ask.external_port.to_be_bytes(),
        &any.octets(),
    ];
    let mut bytes = [0; LEN];
    for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
        *to = *from;
    }
    bytes
}

/// What a datagram from the router says to `ask`; `None` when it is no answer to it.
pub fn parse(bytes: &[u8], ask: &Ask) -> Option<Answer> {
    let [version, opcode, ..] = *bytes else { return None };
    if opcode & ANSWER == 0 {
        return None;
    }
    if version != VERSION {
        return Some(Answer::OtherVersion);
    }
    if opcode != MAP | ANSWER || bytes.len() < HEADER_LEN || bytes.len() > MAX_LEN || !bytes.len().is_multiple_of(4) {
        return None;
    }
    let (code, lifetime, epoch) = (*bytes.get(3)?, u32_at(bytes, 4)?, u32_at(bytes, 8)?);
    let is_ours = bytes.get(HEADER_LEN..).and_then(|body| body.first_chunk::<12>()) == Some(&ask.nonce)
        && bytes.get(36) == Some(&TCP)
        && u16_at(bytes, 40) == Some(ask.internal_port);
    if code != 0 {
        // What the router could not read it need not repeat.
        return (is_ours || bytes.len() < LEN).then_some(Answer::Refused { code, epoch });
    }
    if !is_ours {
        return None;
    }
    let external = Ipv6Addr::from(array_at::<16>(bytes, 44)?);
    Some(Answer::Granted {
        external_port: u16_at(bytes, 42)?,
        external: IpAddr::V6(external).to_canonical(),
        lifetime,
        epoch,
    })
}

fn wide(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ASK: Ask = Ask {
        client: IpAddr::V4(Ipv4Addr::new(192, 168, 1, 2)),
        nonce: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        internal_port: 7193,
        external_port: 0x1234,
        lifetime: 3600,
    };

    /// As a router answers: the request again, with its own header.
    fn answer(ask: &Ask, code: u8, (lifetime, epoch, port): (u32, u32, u16), external: Ipv4Addr) -> Vec<u8> {
        let mut bytes = request(ask).to_vec();
        bytes[1] |= ANSWER;
        bytes[3] = code;
        bytes[4..8].copy_from_slice(&lifetime.to_be_bytes());
        bytes[8..12].copy_from_slice(&epoch.to_be_bytes());
        bytes[12..24].fill(0);
        bytes[42..44].copy_from_slice(&port.to_be_bytes());
        bytes[44..60].copy_from_slice(&external.to_ipv6_mapped().octets());
        bytes
    }

    #[test]
    fn a_request_has_the_bytes_of_the_standard() {
        let mut expected = vec![2, 1, 0, 0, 0, 0, 0x0e, 0x10];
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 1, 2]);
        expected.extend(1..=12);
        expected.extend([6, 0, 0, 0, 0x1c, 0x19, 0x12, 0x34]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        assert_eq!(request(&ASK).to_vec(), expected);
    }

    #[test]
    fn an_ipv6_client_asks_for_an_ipv6_address() {
        let ask = Ask { client: "2001:db8::7".parse().unwrap(), ..ASK };
        let bytes = request(&ask);
        assert_eq!(bytes[8..24], "2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        assert_eq!(bytes[44..], [0; 16]);
    }

    #[test]
    fn what_was_granted_is_read_and_what_answers_something_else_is_not() {
        let external = Ipv4Addr::new(11, 0, 0, 1);
        let granted = answer(&ASK, 0, (120, 77, 4000), external);
        let expected = Answer::Granted { external_port: 4000, external: external.into(), lifetime: 120, epoch: 77 };
        assert_eq!(parse(&granted, &ASK), Some(expected));
        for other in [Ask { nonce: [9; 12], ..ASK }, Ask { internal_port: 7194, ..ASK }] {
            assert_eq!(parse(&granted, &other), None, "{other:?}");
        }
        let mut udp = granted.clone();
        udp[36] = 17;
        assert_eq!(parse(&udp, &ASK), None, "another protocol");
        assert_eq!(parse(&request(&ASK), &ASK), None, "a request is no answer");
        assert_eq!(parse(&granted[..56], &ASK), None, "cut off");
        let refused = answer(&ASK, 8, (30, 5, 0), external);
        assert_eq!(parse(&refused, &ASK), Some(Answer::Refused { code: 8, epoch: 5 }));
        assert_eq!(parse(&refused, &Ask { nonce: [9; 12], ..ASK }), None, "to somebody else");
        assert_eq!(parse(&refused[..24], &ASK), Some(Answer::Refused { code: 8, epoch: 5 }), "without a body");
    }

    #[test]
    fn a_router_that_knows_only_nat_pmp_says_so_in_its_own_version() {
        assert_eq!(parse(&[0, 0x81, 0, 1, 0, 0, 0, 9], &ASK), Some(Answer::OtherVersion));
        assert_eq!(parse(&[], &ASK), None);
    }

    proptest! {
        #[test]
        fn a_granted_mapping_is_read_as_it_was_written(
            (code, lifetime, epoch, port) in (0u8..20, any::<u32>(), any::<u32>(), any::<u16>()),
            (external, internal_port, nonce) in (any::<[u8; 4]>(), any::<u16>(), any::<[u8; 12]>()),
        ) {
            let ask = Ask { internal_port, nonce, ..ASK };
            let bytes = answer(&ask, code, (lifetime, epoch, port), external.into());
            let expected = if code == 0 {
                Answer::Granted { external_port: port, external: IpAddr::from(external), lifetime, epoch }
            } else {
                Answer::Refused { code, epoch }
            };
            prop_assert_eq!(parse(&bytes, &ask), Some(expected));
        }

        #[test]
        fn no_bytes_are_granted_that_do_not_repeat_our_nonce(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(Answer::Granted { .. }) = parse(&bytes, &ASK) {
                prop_assert_eq!(&bytes[24..36], &ASK.nonce[..]);
            }
        }
    }
}
