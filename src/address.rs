//! What an address stands for: who owns it, which network it is part of, and how far it can be told.
//!
//! Every table about addresses goes through [`canonical`], so that an IPv4 address and the same address dressed up as
//! IPv6 (`::ffff:1.2.3.4`) are never two.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::id::VerifiedId;

/// `address` with an IPv4-mapped IPv6 address as its IPv4 address, and without flow label. The scope id stays where it is part
/// of the address: a link-local one means another node on each interface.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
            SocketAddr::V6(SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()))
        }
        other => SocketAddr::new(other.ip().to_canonical(), other.port()),
    }
}

/// Whom a deed is held against: an IPv4 address, the /64 that one IPv6 host commands, or an identity that TLS has proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Origin {
    /// The IPv4 address, or the first address of the /64; made by [`Origin::of`].
    Ip(IpAddr),
    /// A whole subnet, once many of its addresses were blacklisted; see [`Subnet::of`].
    Net(Subnet),
    /// A proven identity, wherever it connects from.
    Identity(VerifiedId),
}

impl Origin {
    /// The origin of `ip`.
    pub fn of(ip: IpAddr) -> Self {
        Origin::Ip(match ip.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(v6_prefix(v6, 64)),
            v4 => v4,
        })
    }

    /// The IPv4 address, or the first address of the /64; `None` for what is no single address.
    pub const fn ip(self) -> Option<IpAddr> {
        match self {
            Origin::Ip(ip) => Some(ip),
            Origin::Net(_) | Origin::Identity(_) => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Ip(IpAddr::V4(v4)) => write!(f, "{v4}"),
            Origin::Ip(IpAddr::V6(v6)) => write!(f, "{v6}/64"),
            Origin::Net(net) => write!(f, "{net}"),
            Origin::Identity(id) => write!(f, "{id}"),
        }
    }
}

/// The neighbourhood of an address: its /24, or its /48 in IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Subnet(IpAddr);

impl Subnet {
    /// The subnet of `ip`.
    pub fn of(ip: IpAddr) -> Self {
        Subnet(match ip.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                IpAddr::V4(Ipv4Addr::new(a, b, c, 0))
            }
            IpAddr::V6(v6) => IpAddr::V6(v6_prefix(v6, 48)),
        })
    }

    /// Its first address.
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Subnet(ip) = self;
        write!(f, "{ip}/{}", if ip.is_ipv4() { 24 } else { 48 })
    }
}

/// How crowded it is where so many connections come from an address and so many from its subnet; more is more crowded. A subnet
/// may have four times what an address may have before it is as crowded.
pub(crate) fn crowding(from_address: usize, from_subnet: usize) -> (usize, usize, usize) {
    (from_address.saturating_mul(4).max(from_subnet), from_address, from_subnet)
}

/// Who is likely to command an address: its /16, or its /32 in IPv6, the size in which networks are handed out.
///
/// Outbound connections go to different groups, so that one network does not hold them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(IpAddr);

impl Group {
    /// The group of `ip`; `None` for loopback and private addresses, which say nothing of who commands them.
    pub fn of(ip: IpAddr) -> Option<Self> {
        let ip = ip.to_canonical();
        (Scope::of(ip) == Scope::Global).then(|| {
            Group(match ip {
                IpAddr::V4(v4) => {
                    let [a, b, ..] = v4.octets();
                    IpAddr::V4(Ipv4Addr::new(a, b, 0, 0))
                }
                IpAddr::V6(v6) => IpAddr::V6(v6_prefix(v6, 32)),
            })
        })
    }

    /// Its first address.
    pub const fn ip(self) -> IpAddr {
        self.0
    }
}

/// How far an address reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Nothing can be dialed there: unspecified, multicast, broadcast, reserved, port 0, or a link-local IPv6 address that
    /// does not say on which interface.
    Unusable,
    /// This machine.
    Loopback,
    /// A local network: private, shared, link-local or unique-local ranges.
    Private,
    /// The internet.
    Global,
}

impl Scope {
    /// The scope of an IP address.
    pub fn of(ip: IpAddr) -> Self {
        match ip.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                // 0.0.0.0/8 is "this network", 224.0.0.0/4 multicast, 240.0.0.0/4 reserved up to the broadcast address.
                if a == 0 || a >= 224 {
                    Scope::Unusable
                } else if v4.is_loopback() {
                    Scope::Loopback
                } else if v4.is_private() || v4.is_link_local() || (a == 100 && (64..128).contains(&b)) {
                    Scope::Private
                } else {
                    Scope::Global
                }
            }
            IpAddr::V6(v6) => {
                if v6.is_unspecified() || v6.is_multicast() {
                    Scope::Unusable
                } else if v6.is_loopback() {
                    Scope::Loopback
                } else if v6.is_unique_local() || v6.is_unicast_link_local() {
                    Scope::Private
                } else {
                    Scope::Global
                }
            }
        }
    }

    /// The scope of an address to dial.
    pub fn of_socket(address: SocketAddr) -> Self {
        let is_lost = matches!(address, SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() && v6.scope_id() == 0);
        if address.port() == 0 || is_lost { Scope::Unusable } else { Scope::of(address.ip()) }
    }
}

/// An address that stands for a name, of those of a reserved block in which nobody can be: who dials through a proxy that looks names up
/// has no other. It follows from the name, so that it is the same in each run; `attempt` is for two names that would have one.
///
/// Nobody is told of such an address and nobody is believed who tells one, for it is [unusable](Scope::Unusable) to everyone else.
pub fn stand_in(host: &str, port: u16, attempt: u32) -> SocketAddr {
    let name =
        host.bytes().map(|byte| byte.to_ascii_lowercase()).chain(port.to_be_bytes()).chain(attempt.to_be_bytes());
    // FNV-1a: the names are the operator's own, and need no better.
    let hash =
        name.fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3));
    let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(STAND_INS | ((a ^ e) >> 5), b ^ f, c ^ g, d ^ h)), port)
}

/// Could it be a [`stand_in`]?
pub fn is_stand_in(address: SocketAddr) -> bool {
    matches!(address.ip().to_canonical(), IpAddr::V4(v4) if v4.octets()[0] & 0xF8 == STAND_INS) && address.port() != 0
}

/// The first byte of a [`stand_in`], but for its last three bits: 240.0.0.0/5.
const STAND_INS: u8 = 240;

/// May `address` pass between us and `peer`, in either direction?
///
/// A loopback address means this machine only to a peer on this machine, a private one our network only to a peer in it:
/// told to others it would make them dial strangers, and accepted from others it would make us probe our own network.
/// `allow_private` lifts both, for test networks; what cannot be dialed at all never passes, nor does a link-local IPv6 address,
/// for the interface that it needs has no number that another machine would understand.
pub fn may_pass(address: SocketAddr, peer: IpAddr, allow_private: bool) -> bool {
    if matches!(address.ip(), IpAddr::V6(v6) if v6.is_unicast_link_local()) {
        return false;
    }
    let near = Scope::of(peer);
    match Scope::of_socket(address) {
        Scope::Unusable => false,
        Scope::Loopback => allow_private || near == Scope::Loopback,
        Scope::Private => allow_private || matches!(near, Scope::Loopback | Scope::Private),
        Scope::Global => true,
    }
}

/// Ranges that are trusted not to be attackers: exempt from per-address limits and bans, never from the totals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExemptRanges(pub Vec<IpNet>);

impl ExemptRanges {
    /// Nobody.
    pub const NONE: ExemptRanges = ExemptRanges(Vec::new());

    /// Is `ip` in one of the ranges?
    pub fn contains(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.0.iter().any(|net| net.contains(&ip))
    }
}

impl Default for ExemptRanges {
    /// 127.0.0.0/8 and ::1/128.
    fn default() -> Self {
        let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
        let v6 = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);
        ExemptRanges(vec![IpNet::V4(v4), IpNet::V6(v6)])
    }
}

fn v6_prefix(ip: Ipv6Addr, bits: u32) -> Ipv6Addr {
    Ipv6Addr::from_bits(ip.to_bits() & !(u128::MAX >> bits))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address_everywhere() {
        assert_eq!(canonical(socket("[::ffff:1.2.3.4]:5")), socket("1.2.3.4:5"));
        assert_eq!(Origin::of(ip("::ffff:1.2.3.4")), Origin::of(ip("1.2.3.4")));
        assert_eq!(Subnet::of(ip("::ffff:1.2.3.4")), Subnet::of(ip("1.2.3.200")));
        assert_eq!(Scope::of(ip("::ffff:127.0.0.1")), Scope::Loopback);
        assert!(ExemptRanges::default().contains(ip("::ffff:127.9.9.9")));
    }

    /// The scope was thrown away, so that a node that was named by such an address could not be dialed.
    #[test]
    fn a_link_local_address_keeps_its_interface_and_stays_on_this_machine() {
        assert_eq!(canonical(socket("[fe80::1%3]:5")), socket("[fe80::1%3]:5"));
        assert_eq!(canonical(socket("[2001:db8::1%3]:5")), socket("[2001:db8::1]:5"));
        assert_eq!(Scope::of_socket(socket("[fe80::1%3]:5")), Scope::Private);
        assert_eq!(Scope::of_socket(socket("[fe80::1]:5")), Scope::Unusable);
        for peer in ["fe80::2", "127.0.0.1", "10.0.0.1"] {
            assert!(!may_pass(socket("[fe80::1%3]:5"), ip(peer), true), "{peer}");
        }
    }

    #[test]
    fn an_ipv6_host_is_one_origin_however_it_renumbers() {
        assert_eq!(Origin::of(ip("2001:db8:1:2::1")), Origin::of(ip("2001:db8:1:2:ffff::9")));
        assert_ne!(Origin::of(ip("2001:db8:1:2::1")), Origin::of(ip("2001:db8:1:3::1")));
        assert_eq!(Subnet::of(ip("2001:db8:1:2::1")), Subnet::of(ip("2001:db8:1:ffff::1")));
        assert_ne!(Subnet::of(ip("2001:db8:1::1")), Subnet::of(ip("2001:db8:2::1")));
        assert_eq!(Origin::of(ip("2001:db8:1:2::1")).to_string(), "2001:db8:1:2::/64");
    }

    #[test]
    fn a_group_is_a_network_of_the_internet_and_local_addresses_have_none() {
        assert_eq!(Group::of(ip("::ffff:8.8.1.1")), Group::of(ip("8.8.200.9")));
        assert_ne!(Group::of(ip("8.8.1.1")), Group::of(ip("8.9.1.1")));
        assert_eq!(Group::of(ip("2001:db8:1::1")), Group::of(ip("2001:db8:2::1")));
        assert_ne!(Group::of(ip("2001:db8::1")), Group::of(ip("2001:db9::1")));
        for local in ["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "0.0.0.0"] {
            assert_eq!(Group::of(ip(local)), None, "{local}");
        }
    }

    #[test]
    fn addresses_that_cannot_be_dialed_are_unusable() {
        for bad in ["0.0.0.0:1", "0.1.2.3:1", "224.0.0.1:1", "255.255.255.255:1", "[::]:1", "[ff02::1]:1", "8.8.8.8:0"]
        {
            assert_eq!(Scope::of_socket(socket(bad)), Scope::Unusable, "{bad}");
        }
        for near in ["10.0.0.1", "192.168.0.1", "172.16.0.1", "169.254.1.1", "100.64.0.1", "fe80::1", "fd00::1"] {
            assert_eq!(Scope::of(ip(near)), Scope::Private, "{near}");
        }
        for far in ["8.8.8.8", "100.128.0.1", "2001:db8::1", "11.0.0.1"] {
            assert_eq!(Scope::of(ip(far)), Scope::Global, "{far}");
        }
    }

    #[test]
    fn a_stand_in_is_the_names_own_and_nobody_else_can_dial_or_tell_it() {
        let one = stand_in("a.example", 7, 0);
        assert_eq!(one, stand_in("A.Example", 7, 0), "names have no case");
        let others = [stand_in("b.example", 7, 0), stand_in("a.example", 8, 0), stand_in("a.example", 7, 1)];
        for address in others.into_iter().chain([one]) {
            assert!(is_stand_in(address) && Scope::of_socket(address) == Scope::Unusable, "{address}");
            assert!(!may_pass(address, ip("127.0.0.1"), true));
        }
        assert!(others.iter().all(|other| *other != one));
        for other in ["239.255.255.255:1", "248.0.0.1:1", "8.8.8.8:1", "240.0.0.1:0", "[::1]:1"] {
            assert!(!is_stand_in(socket(other)), "{other}");
        }
    }

    #[test]
    fn an_address_passes_only_where_it_means_the_same_machine() {
        let (loopback, private, global) = (socket("127.0.0.1:1"), socket("10.0.0.1:1"), socket("8.8.8.8:1"));
        let table = [
            (loopback, "127.0.0.1", true),
            (loopback, "10.0.0.2", false),
            (loopback, "8.8.4.4", false),
            (private, "127.0.0.1", true),
            (private, "10.0.0.2", true),
            (private, "8.8.4.4", false),
            (global, "127.0.0.1", true),
            (global, "8.8.4.4", true),
        ];
        for (address, peer, passes) in table {
            assert_eq!(may_pass(address, ip(peer), false), passes, "{address} {peer}");
            assert!(may_pass(address, ip(peer), true), "{address} {peer}");
        }
        assert!(!may_pass(socket("8.8.8.8:0"), ip("8.8.4.4"), true));
    }
}
