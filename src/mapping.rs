//! What became of the port that a router forwards to us: found out by whoever asks the router, used by the node, shown to people.

use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::time::Duration;

/// How a router was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Via {
    /// The Port Control Protocol, RFC 6887.
    Pcp,
    /// Its forerunner, RFC 6886.
    NatPmp,
    /// UPnP's Internet Gateway Device.
    Upnp,
}

impl Via {
    /// As people write it.
    pub const fn name(self) -> &'static str {
        match self {
            Via::Pcp => "PCP",
            Via::NatPmp => "NAT-PMP",
            Via::Upnp => "UPnP",
        }
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A port that is forwarded to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped {
    /// How it was asked for.
    pub via: Via,
    /// Where to: our address in the network behind the router, and the port of our listener.
    pub internal: SocketAddr,
    /// The port on the other side of the router: not always the one that was asked for.
    pub external_port: u16,
    /// What the router says that its address on the other side is. Nobody is told of it: it is only compared with what peers see.
    pub claimed: Option<IpAddr>,
    /// For how long, unless it is renewed; `None` until the router forgets it.
    pub lease: Option<Duration>,
}

/// Why there is no forwarded port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unmapped {
    /// The routing table has no router, or nothing can be sent to it: there is no network at present, or no router is needed.
    NoRouter,
    /// This system's routing table cannot be read by this program.
    RouterUnknown,
    /// Nothing answered.
    Silent,
    /// The router does not know what it was asked, or not in this version.
    NotSupported(Via),
    /// It is not allowed there.
    NotAuthorized(Via),
    /// The router has no address of the internet itself, or no connection.
    RouterOffline(Via),
    /// It has no port to give away, or gave us too many.
    NoPortFree(Via),
    /// Something else, by the number that the protocol has for it.
    Other(Via, u16),
}

impl Unmapped {
    /// How much it tells whoever wants to know why: of several reasons the one with most is the one to show.
    pub(crate) const fn weight(self) -> u8 {
        match self {
            Unmapped::Silent => 0,
            Unmapped::NotSupported(_) => 1,
            // The others have many meanings.
            Unmapped::RouterOffline(_) => 3,
            _ => 2,
        }
    }
}

impl fmt::Display for Unmapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unmapped::NoRouter => f.write_str("there is no router to ask: no network, or none between us and the internet"),
            Unmapped::RouterUnknown => {
                f.write_str("this system does not say which router it uses; forward the port by hand and say so with --external")
            }
            Unmapped::Silent => f.write_str("the router answers none of the ways to ask it; switch on UPnP or NAT-PMP there, or forward the port by hand"),
            Unmapped::NotSupported(via) => write!(f, "the router does not do that over {via}"),
            Unmapped::NotAuthorized(via) => write!(f, "the router does not allow it over {via}; switch it on there"),
            Unmapped::RouterOffline(via) => {
                write!(f, "the router says over {via} that it has no address of the internet itself: it may stand behind a second router")
            }
            Unmapped::NoPortFree(via) => write!(f, "the router has no port to give over {via}"),
            Unmapped::Other(via, code) => write!(f, "the router refuses over {via}, with code {code}"),
        }
    }
}

/// How it stands with the port that a router should forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mapping {
    /// Nobody asks for one.
    #[default]
    Off,
    /// None is asked for until a connection of ours leaves from a private address.
    NotNeeded,
    /// The router is being asked.
    Asking,
    /// There is one.
    Mapped(Mapped),
    /// There is none, and it is tried again.
    Failed(Unmapped),
}

impl Mapping {
    /// The forwarded port, if there is one.
    pub const fn mapped(&self) -> Option<&Mapped> {
        match self {
            Mapping::Mapped(mapped) => Some(mapped),
            _ => None,
        }
    }
}
