//! Who brought something to us: what is scarce is shared by that, and not first come, first served.

use core::net::IpAddr;

use crate::address::{Origin, Subnet};

/// Who brought something. A peer counts by the address that it connects from, an IPv6 one by its /64: ids cost nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Ourselves: what our embedder submitted, and what our chain gave back in a reorganisation.
    Own,
    /// A peer that we chose: we dialed it, or the operator named or exempted it. Strangers do not crowd it out.
    Chosen(IpAddr),
    /// A peer that came to us.
    Stranger(IpAddr),
}

/// What a share is of: of everything, or of a part of that. Each is one of those that share the one before it on its
/// [path](Source::path).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    All,
    Own,
    Chosen,
    Strangers,
    ChosenIn(Subnet),
    StrangersIn(Subnet),
    At(Source),
}

impl Source {
    /// A peer at `ip`, chosen by us or not.
    pub fn peer(ip: IpAddr, chosen: bool) -> Self {
        let ip = Origin::of(ip).ip().unwrap_or(ip);
        if chosen { Source::Chosen(ip) } else { Source::Stranger(ip) }
    }

    /// Its places below [`Place::All`], the widest first: those whom we chose share with the strangers, the subnets of either
    /// with each other, and the addresses within a subnet.
    pub(crate) fn path(self) -> [Place; 3] {
        match self {
            Source::Own => [Place::Own, Place::Own, Place::At(self)],
            Source::Chosen(ip) => [Place::Chosen, Place::ChosenIn(Subnet::of(ip)), Place::At(self)],
            Source::Stranger(ip) => [Place::Strangers, Place::StrangersIn(Subnet::of(ip)), Place::At(self)],
        }
    }
}
