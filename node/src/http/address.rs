//! Where the endpoint listens, as it is written: an address, a port of this machine, or the path of a socket.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// `ip:port`, `port` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HttpAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl HttpAddress {
    /// Is it a socket of the file system?
    pub(crate) fn is_unix(&self) -> bool {
        matches!(self, HttpAddress::Unix(_))
    }

    /// Can only this machine reach it?
    pub(crate) fn is_local(&self) -> bool {
        match self {
            HttpAddress::Tcp(address) => address.ip().to_canonical().is_loopback(),
            HttpAddress::Unix(_) => true,
        }
    }
}

impl fmt::Display for HttpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HttpAddress::Tcp(address) => address.fmt(f),
            HttpAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl FromStr for HttpAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            // There is no socket without a name.
            return match path.file_name() {
                Some(_) => Ok(HttpAddress::Unix(path)),
                None => Err("expected the path of a socket behind unix:".to_owned()),
            };
        }
        let loopback = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(HttpAddress::Tcp(address));
        }
        if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
            return Ok(HttpAddress::Tcp(loopback(port)));
        }
        let localhost = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
        localhost.map(loopback).map(HttpAddress::Tcp).ok_or_else(|| {
            "expected ip:port, a port of this machine alone, or unix:PATH, like 127.0.0.1:9464, 9464 or unix:/run/node.sock".to_owned()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_alone_is_one_of_this_machine() {
        let at = |text: &str| text.parse::<HttpAddress>().unwrap();
        for text in ["9464", ":9464", "127.0.0.1:9464", "localhost:9464"] {
            assert_eq!(at(text).to_string(), "127.0.0.1:9464", "{text}");
            assert!(at(text).is_local());
        }
        assert!(!at("0.0.0.0:9464").is_local() && !at("192.0.2.7:9464").is_local() && at("[::1]:9464").is_local());
        assert!(!at("[::]:9464").is_local() && at("[::ffff:127.0.0.1]:1").is_local());
        assert_eq!(at("unix:/run/node.sock"), HttpAddress::Unix("/run/node.sock".into()));
        for bad in ["", "unix:", "unix:/", "example.org:80", "70000", "127.0.0.1"] {
            assert!(bad.parse::<HttpAddress>().is_err(), "{bad}");
        }
    }
}
