//! Where we can be reached: by the sockets that listen, and by what our operator knows of the network around.
//!
//! A handshake has room for a port and none for an address: the other side adds the address that it sees. So the port must be right
//! for that very connection, and none is better than one at which nobody listens. What no port can say is told as an address.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::address::{Scope, canonical, may_pass};
use crate::proto::peer::reach::Reach;

/// External addresses at most: more than a machine has families and ways in, fewer than a peer hears unasked.
pub const EXTERNAL_MAX: usize = 8;

/// Our own addresses.
#[derive(Clone, Debug, Default)]
pub struct OwnAddresses {
    listening: Vec<SocketAddr>,
    external: Vec<SocketAddr>,
    reach: Reach,
    /// Nobody is told where we are.
    is_hidden: bool,
}

impl OwnAddresses {
    /// Nobody listens yet. Port 0 of an external address stands for the port of the listener of its family.
    pub fn new(external: &[SocketAddr]) -> Self {
        let external = external.iter().map(|address| canonical(*address)).collect();
        OwnAddresses { listening: Vec::new(), external, ..OwnAddresses::default() }
    }

    /// Whom our listeners listen for: an address of ours, or unspecified for all of a family. An IPv6 listener that takes IPv4 as
    /// well is named twice, as `[::]` and as `0.0.0.0`.
    pub fn set_listening(&mut self, listening: &[SocketAddr]) {
        self.listening = listening.iter().map(|address| canonical(*address)).collect();
    }

    /// We dial through a proxy, which is to hide where we are: nothing is announced any more, whatever is known.
    pub fn set_hidden(&mut self, is_hidden: bool) {
        self.is_hidden = is_hidden;
    }

    /// The port to announce on a connection, where `local` is our end of it; 0 when nobody listens at what the other side sees
    /// of us. `None` for the local end when it is not known: then the first listener counts.
    pub fn port_for(&self, local: Option<SocketAddr>, remote: SocketAddr) -> u16 {
        if self.is_hidden {
            return 0;
        }
        let remote = canonical(remote);
        // From the internet we are seen by an address that the operator knows better than our sockets do.
        let seen_from_afar = Scope::of(remote.ip()) == Scope::Global;
        let external = self.externals().find(|address| address.is_ipv4() == remote.is_ipv4());
        if let Some(external) = external.filter(|_| seen_from_afar) {
            return external.port();
        }
        // What a router forwards is behind the connections that leave through it.
        let leaves_home = local.is_none_or(|local| Scope::of(local.ip()) == Scope::Private);
        let forwarded = self.reach.announced().filter(|address| address.is_ipv4() == remote.is_ipv4());
        if let Some(forwarded) = forwarded.filter(|_| seen_from_afar && leaves_home) {
            return forwarded.port();
        }
        let Some(local) = local.map(canonical) else { return self.listening.first().map_or(0, SocketAddr::port) };
        self.listener_for(local.ip()).map_or(0, |listener| listener.port())
    }

    /// What a peer should be told besides the port: all of our addresses that mean the same machine to it, but for the one that
    /// it can tell by itself.
    pub fn to_tell(&self, local: Option<SocketAddr>, remote: SocketAddr, allow_private: bool) -> Vec<SocketAddr> {
        if self.is_hidden {
            return Vec::new();
        }
        let port = self.port_for(local, remote);
        let seen = local.map(|local| SocketAddr::new(canonical(local).ip(), port));
        let special = self.listening.iter().copied().filter(|listener| !listener.ip().is_unspecified());
        let mut told: Vec<SocketAddr> = Vec::new();
        for address in self.externals().chain(special) {
            let passes = may_pass(address, remote.ip(), allow_private);
            if passes && Some(address) != seen && !told.contains(&address) && told.len() < EXTERNAL_MAX {
                told.push(address);
            }
        }
        told
    }

    /// The external addresses, each with a port: its own, or that of the listener of its family.
    fn externals(&self) -> impl Iterator<Item = SocketAddr> {
        self.external.iter().filter_map(|address| {
            let of_family = |listener: &&SocketAddr| listener.is_ipv4() == address.is_ipv4();
            let port = match address.port() {
                0 => self.listening.iter().find(of_family)?.port(),
                port => port,
            };
            Some(SocketAddr::new(address.ip(), port))
        })
    }

    /// Whether others reach us, and where.
    pub fn reach(&self) -> Reach {
        self.reach
    }

    /// What is known of it now.
    pub(crate) fn set_reach(&mut self, reach: Reach) {
        self.reach = reach;
    }

    /// Who takes connections to this address of ours.
    fn listener_for(&self, local: IpAddr) -> Option<SocketAddr> {
        let exact = self.listening.iter().find(|listener| listener.ip() == local);
        let any = |listener: &&SocketAddr| listener.ip().is_unspecified() && listener.is_ipv4() == local.is_ipv4();
        exact.or_else(|| self.listening.iter().find(any)).copied()
    }
}

/// Listeners on this port for all addresses; none for port 0.
pub(crate) fn any_address(port: u16) -> Vec<SocketAddr> {
    let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    any.into_iter().filter(|_| port != 0).map(|ip| SocketAddr::new(ip, port)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mapping::{Mapped, Mapping, Via};

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn own(listening: &[&str], external: &[&str]) -> OwnAddresses {
        let all = |texts: &[&str]| texts.iter().map(|text| socket(text)).collect::<Vec<_>>();
        let mut own = OwnAddresses::new(&all(external));
        own.set_listening(&all(listening));
        own
    }

    /// With `--listen 0.0.0.0:1 --listen [::]:2` everybody was told port 1, also over IPv6.
    #[test]
    fn each_family_is_told_the_port_of_its_own_listener() {
        let own = own(&["0.0.0.0:1", "[::]:2"], &[]);
        assert_eq!(own.port_for(Some(socket("45.1.1.1:50000")), socket("46.1.1.1:7")), 1);
        assert_eq!(own.port_for(Some(socket("[::ffff:45.1.1.1]:50000")), socket("[::ffff:46.1.1.1]:7")), 1);
        assert_eq!(own.port_for(Some(socket("[2a00::1]:50000")), socket("[2a00::2]:7")), 2);
        assert_eq!(own.port_for(None, socket("46.1.1.1:7")), 1, "a driver that does not know");
    }

    /// With `--listen 127.0.0.1:1` those who were dialed over the network were told that we listen there as well.
    #[test]
    fn a_listener_on_one_address_is_announced_where_it_is_and_nowhere_else() {
        let near = own(&["127.0.0.1:1"], &[]);
        assert_eq!(near.port_for(Some(socket("45.1.1.1:50000")), socket("46.1.1.1:7")), 0);
        assert_eq!(near.port_for(Some(socket("127.0.0.1:50000")), socket("127.0.0.1:7")), 1);
        assert_eq!(near.to_tell(Some(socket("45.1.1.1:50000")), socket("46.1.1.1:7"), false), []);
        let special = own(&["45.1.1.9:1"], &[]);
        let (local, remote) = (Some(socket("45.1.1.1:50000")), socket("46.1.1.1:7"));
        assert_eq!(
            (special.port_for(local, remote), special.to_tell(local, remote, false)),
            (0, vec![socket("45.1.1.9:1")])
        );
        let seen = Some(socket("45.1.1.9:50000"));
        assert_eq!((special.port_for(seen, remote), special.to_tell(seen, remote, false)), (1, vec![]));
        assert_eq!(own(&[], &[]).port_for(seen, remote), 0, "who does not listen");
    }

    #[test]
    fn a_forwarded_port_is_announced_where_it_is_seen_and_the_listeners_port_at_home() {
        let mut own = own(&["0.0.0.0:1"], &[]);
        let (local, far, near) = (Some(socket("192.168.0.2:50000")), socket("46.1.1.1:7"), socket("192.168.0.3:7"));
        let internal = socket("192.168.0.2:1");
        let mapped = Mapped { via: Via::Pcp, internal, external_port: 4000, claimed: None, lease: None };
        let mut reach = Reach { mapping: Mapping::Mapped(mapped), ..Reach::default() };
        own.set_reach(reach);
        assert_eq!(own.port_for(local, far), 1, "nobody has seen us yet");
        reach.seen = Some(socket("11.0.0.1:1").ip());
        own.set_reach(reach);
        assert_eq!((own.port_for(local, far), own.port_for(local, near)), (4000, 1));
        assert_eq!(own.port_for(Some(socket("45.1.1.1:50000")), far), 1, "by another line, without the router");
        own.set_reach(Reach { mapping: Mapping::Asking, ..reach });
        assert_eq!(own.port_for(local, far), 1, "it is lost");
        let mut named = OwnAddresses::new(&[socket("45.9.9.9:9000")]);
        named.set_reach(reach);
        assert_eq!(named.port_for(local, far), 9000, "the operator knows better");
    }

    #[test]
    fn behind_a_proxy_nobody_is_told_where_we_are() {
        let mut own = own(&["0.0.0.0:1"], &["45.9.9.9:9000"]);
        let (local, far) = (Some(socket("45.1.1.1:50000")), socket("46.1.1.1:7"));
        own.set_hidden(true);
        for local in [local, None] {
            assert_eq!((own.port_for(local, far), own.to_tell(local, far, true)), (0, vec![]));
        }
        own.set_hidden(false);
        assert_eq!(own.port_for(local, far), 9000);
    }

    #[test]
    fn what_the_operator_knows_is_told_to_the_internet_and_the_neighbours_are_told_what_is_true_there() {
        let own = own(&["0.0.0.0:1"], &["45.9.9.9:9000", "[2a00::9]:9001", "45.8.8.8:0"]);
        let (local, far, near) = (Some(socket("192.168.0.2:50000")), socket("46.1.1.1:7"), socket("192.168.0.3:7"));
        assert_eq!((own.port_for(local, far), own.port_for(local, near)), (9000, 1));
        let all = [socket("45.9.9.9:9000"), socket("[2a00::9]:9001"), socket("45.8.8.8:1")];
        assert_eq!(own.to_tell(local, far, false), all);
        // Over IPv6 nobody listens; the forwarded port is known all the same.
        assert_eq!(own.port_for(Some(socket("[2a00::1]:5")), socket("[2a00::2]:7")), 9001);
    }
}
