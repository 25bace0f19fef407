//! A proxy, who we say to be there, and whom it is asked for.

use core::fmt;
use core::net::{IpAddr, SocketAddr};

use crate::address::canonical;

/// The longest user name, password or host name, in bytes: its length is one byte.
const TEXT_LEN_MAX: usize = 255;

/// A proxy, and what it is told of us.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Proxy {
    /// Where it is.
    pub address: SocketAddr,
    /// Who we say to be.
    pub login: Login,
}

impl Proxy {
    /// A proxy that asks nobody who he is.
    pub fn new(address: SocketAddr) -> Self {
        Proxy { address, login: Login::Nobody }
    }
}

/// Who we say to be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Login {
    /// Nobody: no user name is sent, and no password.
    #[default]
    Nobody,
    /// Somebody with a password, where the proxy asks.
    User(Credentials),
    /// Another user for each destination, which means nothing but that: Tor then takes another way for each, so that one cannot be
    /// connected with another. A proxy that does not ask for a user is not used.
    PerDestination,
}

/// A user name and a password. Neither is empty.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

impl Credentials {
    /// The two, of 1 to 255 bytes each.
    ///
    /// # Errors
    ///
    /// One is empty or longer.
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Result<Self, BadText> {
        let (user, password) = (user.into(), password.into());
        fits(&user)?;
        fits(&password)?;
        Ok(Credentials { user, password })
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("user", &self.user).finish_non_exhaustive()
    }
}

/// Whom a proxy is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(Host);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(SocketAddr),
    Name(String, u16),
}

impl Target {
    /// Somebody at an address. What is an IPv4 address in the dress of IPv6 goes as IPv4.
    pub fn address(address: SocketAddr) -> Self {
        Target(Host::Address(canonical(address)))
    }

    /// Somebody with a name, which the proxy looks up.
    ///
    /// # Errors
    ///
    /// The name is empty or longer than 255 bytes.
    pub fn name(host: impl Into<String>, port: u16) -> Result<Self, BadText> {
        let host = host.into();
        fits(&host)?;
        Ok(Target(Host::Name(host, port)))
    }

    /// As it stands in a request: the kind, the address or name, and the port.
    pub(super) fn put(&self, bytes: &mut Vec<u8>) {
        let port = match &self.0 {
            Host::Address(address) => {
                match address.ip() {
                    IpAddr::V4(v4) => {
                        bytes.push(1);
                        bytes.extend_from_slice(&v4.octets());
                    }
                    IpAddr::V6(v6) => {
                        bytes.push(4);
                        bytes.extend_from_slice(&v6.octets());
                    }
                }
                address.port()
            }
            Host::Name(host, port) => {
                bytes.push(3);
                put_text(bytes, host);
                *port
            }
        };
        bytes.extend_from_slice(&port.to_be_bytes());
    }

    /// Two destinations of one number are not to be expected.
    pub(super) fn number(&self) -> u64 {
        let mut bytes = Vec::new();
        self.put(&mut bytes);
        // FNV-1a, of lower case: names have none.
        bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0000_01B3)
        })
    }
}

/// A user name, a password or a host name that no request can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadText;

impl fmt::Display for BadText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("user name, password and host name have 1 to 255 bytes each: give one of that length, or none")
    }
}

impl core::error::Error for BadText {}

fn fits(text: &str) -> Result<(), BadText> {
    if (1..=TEXT_LEN_MAX).contains(&text.len()) { Ok(()) } else { Err(BadText) }
}

/// A text behind its length; whoever made it has seen that the length fits.
pub(super) fn put_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
    bytes.extend(text.bytes().take(TEXT_LEN_MAX));
}
