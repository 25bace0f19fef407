//! One datagram's question to a router and its answer, whichever of the two protocols it is asked in.

use core::net::IpAddr;

use super::{natpmp, pcp};
use crate::mapping::{Unmapped, Via};

/// The port at which a router is asked, in both protocols.
pub const ROUTER_PORT: u16 = 5351;

/// A datagram to the router: none is longer than a PCP request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram {
    bytes: [u8; pcp::LEN],
    len: usize,
}

impl Datagram {
    fn new(from: &[u8]) -> Self {
        let mut bytes = [0; pcp::LEN];
        bytes.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        Datagram { bytes, len: from.len().min(pcp::LEN) }
    }

    /// What is to be sent.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// What both protocols ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Question {
    Pcp(pcp::Ask),
    NatPmp(natpmp::Ask),
    /// What the router's address on the other side is.
    Address,
}

/// What both say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Granted { external_port: u16, claimed: Option<IpAddr>, lifetime: u32, epoch: u32 },
    Address { claimed: IpAddr, epoch: u32 },
    Refused { why: Unmapped },
}

impl Question {
    pub(super) fn datagram(&self) -> Datagram {
        match self {
            Question::Pcp(ask) => Datagram::new(&pcp::request(ask)),
            Question::NatPmp(ask) => Datagram::new(&natpmp::request(ask)),
            Question::Address => Datagram::new(&natpmp::address_request()),
        }
    }

    /// What a datagram says to it; `None` when it is no answer to it.
    pub(super) fn answer(&self, bytes: &[u8]) -> Option<Answer> {
        match self {
            Question::Pcp(ask) => Some(match pcp::parse(bytes, ask)? {
                pcp::Answer::Granted { external_port, external, lifetime, epoch } => {
                    Answer::Granted { external_port, claimed: Some(external), lifetime, epoch }
                }
                pcp::Answer::Refused { code, .. } => Answer::Refused { why: why_pcp(code) },
                pcp::Answer::OtherVersion => Answer::Refused { why: Unmapped::NotSupported(Via::Pcp) },
            }),
            Question::NatPmp(ask) => natpmp::parse_mapping(bytes, ask).map(of_natpmp),
            Question::Address => natpmp::parse_address(bytes).map(of_natpmp),
        }
    }
}

fn of_natpmp(answer: natpmp::Answer) -> Answer {
    match answer {
        natpmp::Answer::Granted { external_port, lifetime, epoch } => {
            Answer::Granted { external_port, claimed: None, lifetime, epoch }
        }
        natpmp::Answer::Address { external, epoch } => Answer::Address { claimed: IpAddr::V4(external), epoch },
        natpmp::Answer::Refused { code } => Answer::Refused { why: why_natpmp(code) },
    }
}

/// The codes of RFC 6887, section 7.4.
fn why_pcp(code: u8) -> Unmapped {
    match code {
        1 | 4 | 5 | 9 => Unmapped::NotSupported(Via::Pcp),
        2 | 12 => Unmapped::NotAuthorized(Via::Pcp),
        7 => Unmapped::RouterOffline(Via::Pcp),
        8 | 10 | 11 => Unmapped::NoPortFree(Via::Pcp),
        code => Unmapped::Other(Via::Pcp, code.into()),
    }
}

/// The codes of RFC 6886, section 3.5.
fn why_natpmp(code: u16) -> Unmapped {
    match code {
        1 | 5 => Unmapped::NotSupported(Via::NatPmp),
        2 => Unmapped::NotAuthorized(Via::NatPmp),
        3 => Unmapped::RouterOffline(Via::NatPmp),
        4 => Unmapped::NoPortFree(Via::NatPmp),
        code => Unmapped::Other(Via::NatPmp, code),
    }
}
