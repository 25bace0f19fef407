//! A node's name: what a resolver turns into addresses each time the node is to be dialed.
//!
//! The protocol's core knows no resolver. It asks for a name's addresses by an output and gets them by an input, so whoever
//! drives it decides how names are looked up, and how long that takes delays nothing else.

use core::fmt;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};
use core::str::FromStr;

/// The longest host name, as in DNS.
const HOST_LEN_MAX: usize = 253;
/// The longest part of a host name between two dots.
const LABEL_LEN_MAX: usize = 63;
/// The longest path of a URL.
const PATH_LEN_MAX: usize = 1024;
/// The longest name of a network interface, more than any system allows.
const ZONE_LEN_MAX: usize = 32;

/// A host name and a port, or a link-local IPv6 address with the name of its interface and a port: `node.example.org:7193`,
/// `[fe80::1%eth0]:7193`. With the feature `ws` also a URL of a WebSocket, of an address too: `ws://node.example.org:7194/`,
/// `wss://192.0.2.7/node`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerName {
    host: String,
    port: u16,
    web: Option<Box<Web>>,
}

/// What a URL says beside host and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Web {
    secure: bool,
    path: String,
}

impl Web {
    /// Is it in TLS (`wss`)?
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// The path, with the query if there is one.
    pub fn path(&self) -> &str {
        &self.path
    }
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

    /// How it is dialed, where that is over WebSocket.
    pub fn web(&self) -> Option<&Web> {
        self.web.as_deref()
    }

    /// Host and port, as they stand in a URL.
    pub fn authority(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }

    /// Is it of an onion service (RFC 7686), which no name server knows?
    pub fn is_onion(&self) -> bool {
        let host = self.host.strip_suffix('.').unwrap_or(&self.host);
        host.rsplit('.').next().is_some_and(|last| last.eq_ignore_ascii_case("onion"))
    }

    /// The host, where it is a name of the domain name system and not an address on an interface.
    pub fn dns(&self) -> Option<&str> {
        (!self.host.contains('%')).then_some(self.host.as_str())
    }
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.web() {
            Some(Web { secure, path }) => {
                write!(f, "{}://{}{path}", if *secure { "wss" } else { "ws" }, self.authority())
            }
            None => f.write_str(&self.authority()),
        }
    }
}

impl FromStr for PeerName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        if let Some((scheme, rest)) = text.split_once("://") {
            return from_url(scheme, rest);
        }
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
        Ok(PeerName { host: host.to_owned(), port, web: None })
    }
}

/// Reads what follows the scheme. Here an address is no mistake: there is no other way to say that it is dialed so.
fn from_url(scheme: &str, rest: &str) -> Result<PeerName, NotAName> {
    let (secure, usual) = match scheme {
        "ws" if cfg!(feature = "ws") => (false, 80),
        "wss" if cfg!(feature = "ws") => (true, 443),
        _ => return Err(NotAName),
    };
    let (authority, path) = match rest.find(['/', '?']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let is_path = path.len() <= PATH_LEN_MAX && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
    if !is_path {
        return Err(NotAName);
    }
    let web = Some(Box::new(Web { secure, path }));
    let (host, port) = if let Ok(ip) = authority.trim_matches(['[', ']']).parse::<IpAddr>() {
        (ip.to_string(), usual)
    } else if let Ok(address) = authority.parse::<SocketAddr>() {
        (address.ip().to_string(), address.port())
    } else if authority.contains(':') {
        let name: PeerName = authority.parse()?;
        (name.host, name.port)
    } else if is_host(authority) {
        (authority.to_owned(), usual)
    } else {
        return Err(NotAName);
    };
    if port == 0 { Err(NotAName) } else { Ok(PeerName { host, port, web }) }
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

    #[cfg(feature = "ws")]
    #[test]
    fn a_url_of_a_web_socket_names_a_host_a_port_and_a_path_and_may_be_of_an_address() {
        for (text, shown, host, port) in [
            ("ws://node.example:7194/", "ws://node.example:7194/", "node.example", 7194),
            ("ws://node.example", "ws://node.example:80/", "node.example", 80),
            ("wss://node.example/a?b=c", "wss://node.example:443/a?b=c", "node.example", 443),
            ("wss://node.example?b", "wss://node.example:443/?b", "node.example", 443),
            ("ws://127.0.0.1:9/x", "ws://127.0.0.1:9/x", "127.0.0.1", 9),
            ("ws://[::1]:9", "ws://[::1]:9/", "::1", 9),
            ("wss://[2001:db8::1]/", "wss://[2001:db8::1]:443/", "2001:db8::1", 443),
        ] {
            let name: PeerName = text.parse().unwrap();
            assert_eq!((name.to_string().as_str(), name.host(), name.port()), (shown, host, port), "{text}");
            assert_eq!(shown.parse(), Ok(name), "what is shown is read again");
        }
        for bad in [
            "http://a:1/",
            "ws://",
            "ws:///x",
            "ws://a:0/",
            "ws://a b:1/",
            "ws://a:1/x y",
            "ws://a:1/#x",
            "ws://ws://a:1/",
            "ws://user@a:1/",
            "ws://10.1:80/",
            "ws://127.0.0.1:0/",
        ] {
            assert_eq!(bad.parse::<PeerName>(), Err(NotAName), "{bad}");
        }
    }

    #[test]
    fn a_name_of_an_onion_service_is_told_by_its_end() {
        for (text, is_onion) in
            [("a.onion:1", true), ("a.b.Onion.:1", true), ("onion.example:1", false), ("a-onion:1", false)]
        {
            assert_eq!(text.parse::<PeerName>().unwrap().is_onion(), is_onion, "{text}");
        }
    }

    #[test]
    fn a_certificate_can_be_for_a_name_but_not_for_an_interface() {
        assert_eq!("node.example:1".parse::<PeerName>().unwrap().dns(), Some("node.example"));
        let scoped: PeerName = "[fe80::1%lo]:1".parse().unwrap();
        assert_eq!((scoped.dns(), scoped.host(), scoped.port()), (None, "fe80::1%lo", 1));
    }
}
