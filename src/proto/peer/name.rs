//! A node's name: what a resolver turns into addresses each time the node is to be dialed.
//!
//! The protocol's core knows no resolver. It asks for a name's addresses by an output and gets them by an input, so whoever
//! drives it decides how names are looked up, and how long that takes delays nothing else.

use core::fmt;
use core::net::{Ipv6Addr, SocketAddr};
use core::str::FromStr;

/// The longest host name, as in DNS.
const HOST_LEN_MAX: usize = 253;
/// The longest part of a host name between two dots.
const LABEL_LEN_MAX: usize = 63;
/// The longest name of a network interface, more than any system allows.
const ZONE_LEN_MAX: usize = 32;

/// A host name and a port, or a link-local IPv6 address with the name of its interface and a port: `node.example.org:7193`,
/// `[fe80::1%eth0]:7193`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName {
    host: String,
    port: u16,
}

/// A text that is no [`PeerName`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAName;

impl fmt::Display for NotAName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node's name is like node.example.org:7193 or [fe80::1%eth0]:7193")
    }
}

impl core::error::Error for NotAName {}

impl PeerName {
    /// The host: what to look up.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 1 to 65,535.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The host, where it is a name of the domain name system and not an address on an interface.
    pub fn dns(&self) -> Option<&str> {
        (!self.host.contains('%')).then_some(self.host.as_str())
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.dns() {
            Some(host) => write!(f, "{host}:{}", self.port),
            None => write!(f, "[{}]:{}", self.host, self.port),
        }
    }
}

impl FromStr for PeerName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        // What is an address has no name.
        if text.parse::<SocketAddr>().is_ok() {
            return Err(NotAName);
        }
        let (host, port) = text.rsplit_once(':').ok_or(NotAName)?;
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        let port = port.parse().ok().filter(|port| is_number && *port != 0).ok_or(NotAName)?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(scoped) if is_on_an_interface(scoped) => scoped,
            None if is_host(host) => host,
            _ => return Err(NotAName),
        };
        Ok(PeerName { host: host.to_owned(), port })
    }
}

/// `fe80::1%eth0`.
fn is_on_an_interface(host: &str) -> bool {
    let Some((address, zone)) = host.split_once('%') else { return false };
    let is_zone = (1..=ZONE_LEN_MAX).contains(&zone.len())
        && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
    is_zone && address.parse::<Ipv6Addr>().is_ok_and(|address| address.is_unicast_link_local())
}

/// A name of the domain name system. One that ends in a number is a mistyped address, which some resolvers would read as
/// another one: `10.1` as `10.0.0.1`.
fn is_host(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        (1..=LABEL_LEN_MAX).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let ends_in_number = host.rsplit('.').next().is_some_and(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    host.len() <= HOST_LEN_MAX && host.split('.').all(is_label) && !ends_in_number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_a_host_and_a_port_and_is_no_address() {
        for good in
            ["localhost:9", "node-0.example.org:7193", "a_b:1", "example.org.:65535", "[fe80::1%eth0.7]:1", "x1:1"]
        {
            let name: PeerName = good.parse().unwrap();
            assert_eq!(name.to_string(), good);
        }
        for bad in [
            "",
            "host",
            ":1",
            "host:",
            "host:0",
            "host:70000",
            "host:+1",
            "a b:1",
            "a..b:1",
            "-:1:2",
            "127.0.0.1:1",
            "[::1]:1",
            "[fe80::1%3]:1",
            "10.1:80",
            "1.2.3:80",
            "[::1%lo]:1",
            "[fe80::1%]:1",
            "[fe80::1%a b]:1",
            "fe80::1%lo:1",
        ] {
            assert_eq!(bad.parse::<PeerName>(), Err(NotAName), "{bad}");
        }
        assert_eq!(format!("{}.org:1", "a".repeat(64)).parse::<PeerName>(), Err(NotAName));
        assert_eq!(format!("{}org:1", "a.".repeat(130)).parse::<PeerName>(), Err(NotAName));
    }

    #[test]
    fn a_certificate_can_be_for_a_name_but_not_for_an_interface() {
        assert_eq!("node.example:1".parse::<PeerName>().unwrap().dns(), Some("node.example"));
        let scoped: PeerName = "[fe80::1%lo]:1".parse().unwrap();
        assert_eq!((scoped.dns(), scoped.host(), scoped.port()), (None, "fe80::1%lo", 1));
    }
}
