//! What goes wrong between us and a peer that is dialed through a proxy, and whose doing that is.

use core::fmt;
use std::io;

use super::blame::Blame;

/// Why a dial through a SOCKS5 proxy came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ProxyFault {
    // The proxy itself: nobody is reached through it.
    /// No connection to the proxy could be had.
    Unreachable(io::ErrorKind),
    /// The proxy said nothing for as long as the dial might take.
    Silent,
    /// The proxy closed before it was asked for anybody.
    Cut,
    /// What answers is no SOCKS5 proxy.
    NotSocks,
    /// The proxy takes none of the ways to log in that we offer.
    NoMethod,
    /// The proxy refuses our user name and password.
    CredentialsRefused,
    /// The proxy breaks RFC 1928 or RFC 1929.
    Protocol,
    /// The proxy makes no connections (reply 7).
    NoConnect,

    // What the proxy says of whom it was asked for, and means itself with it.
    /// It failed and does not say why (reply 1).
    Failed,
    /// Its rules do not allow it (reply 2).
    NotAllowed,
    /// It does not take addresses of this kind (reply 8).
    AddressKind,
    /// It closed after it was asked.
    Dropped,
    /// It was never asked: the address stands for no name, or means something on this machine alone.
    NoTarget,

    // What it found out about whom it was asked for.
    /// There is no way to that network (reply 3).
    NetworkUnreachable,
    /// There is no way to that machine, or its name leads nowhere (reply 4).
    HostUnreachable,
    /// Nobody listens there (reply 5).
    Refused,
    /// It took too long (reply 6).
    Expired,
    /// A reply that RFC 1928 does not know; Tor has some for onion services.
    Other(u8),
}

impl ProxyFault {
    /// All of them; the kind and the reply are examples.
    pub const ALL: [ProxyFault; 18] = [
        ProxyFault::Unreachable(io::ErrorKind::ConnectionRefused),
        ProxyFault::Silent,
        ProxyFault::Cut,
        ProxyFault::NotSocks,
        ProxyFault::NoMethod,
        ProxyFault::CredentialsRefused,
        ProxyFault::Protocol,
        ProxyFault::NoConnect,
        ProxyFault::Failed,
        ProxyFault::NotAllowed,
        ProxyFault::AddressKind,
        ProxyFault::Dropped,
        ProxyFault::NoTarget,
        ProxyFault::NetworkUnreachable,
        ProxyFault::HostUnreachable,
        ProxyFault::Refused,
        ProxyFault::Expired,
        ProxyFault::Other(0xF0),
    ];

    /// What a reply to a request means; `None` for success.
    pub const fn of_reply(reply: u8) -> Option<Self> {
        use ProxyFault::*;
        Some(match reply {
            0 => return None,
            1 => Failed,
            2 => NotAllowed,
            3 => NetworkUnreachable,
            4 => HostUnreachable,
            5 => Refused,
            6 => Expired,
            7 => NoConnect,
            8 => AddressKind,
            other => Other(other),
        })
    }

    /// Does it mean that nobody at all is reached through the proxy at present?
    pub const fn is_of_all_dials(self) -> bool {
        use ProxyFault::*;
        matches!(self, Unreachable(_) | Silent | Cut | NotSocks | NoMethod | CredentialsRefused | Protocol | NoConnect)
    }

    /// Whose doing it is: the proxy is of our choosing.
    pub const fn blame(self) -> Blame {
        use ProxyFault::*;
        match self {
            NetworkUnreachable | HostUnreachable | Refused | Expired | Other(_) => Blame::Lost,
            Failed | NotAllowed | AddressKind | Dropped | NoTarget | Unreachable(_) | Silent | Cut | NotSocks
            | NoMethod | CredentialsRefused | Protocol | NoConnect => Blame::Ours,
        }
    }

    /// A word for counters and logs; one for each variant.
    pub const fn label(self) -> &'static str {
        use ProxyFault::*;
        match self {
            Unreachable(_) => "proxy-unreachable",
            Silent => "proxy-silent",
            Cut => "proxy-cut",
            NotSocks => "proxy-not-socks",
            NoMethod => "proxy-no-method",
            CredentialsRefused => "proxy-credentials-refused",
            Protocol => "proxy-protocol",
            NoConnect => "proxy-no-connect",
            Failed => "proxy-failed",
            NotAllowed => "proxy-not-allowed",
            AddressKind => "proxy-address-kind",
            Dropped => "proxy-dropped",
            NoTarget => "proxy-no-target",
            NetworkUnreachable => "proxy-network-unreachable",
            HostUnreachable => "proxy-host-unreachable",
            Refused => "proxy-refused",
            Expired => "proxy-expired",
            Other(_) => "proxy-other",
        }
    }
}

impl fmt::Display for ProxyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ProxyFault::*;
        f.write_str(match self {
            Unreachable(kind) => return write!(f, "it is not reached ({kind}): see that it runs, and at this address"),
            Silent => "it does not answer: see that it is a SOCKS5 proxy and is well",
            Cut => "it closed the connection before it was asked for anybody: look into its log",
            NotSocks => "what answers there is no SOCKS5 proxy: check the address",
            NoMethod => "it wants another way to log in: give it a user name and a password, or none",
            CredentialsRefused => "it refuses the user name and password: check both",
            Protocol => "it breaks the SOCKS5 protocol: check the address, or use another proxy",
            NoConnect => "it makes no connections: allow CONNECT in its settings",
            Failed => "it failed and does not say why: look into its log",
            NotAllowed => "its rules do not allow this connection: change them, or dial others",
            AddressKind => "it takes no addresses of this kind: dial by another kind, or use another proxy",
            Dropped => "it closed the connection when it was asked: look into its log",
            NoTarget => "there is no way there through a proxy: give a name or an address that others know, too",
            NetworkUnreachable => "it finds no way to that network",
            HostUnreachable => "it finds no way to that machine, or no such name: check the address",
            Refused => "nobody listens there: check the address and that a node is running there",
            Expired => "the way there took too long",
            Other(reply) => return write!(f, "it refused with reply {reply}: look into its log"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_of_the_proxy_is_one_fault_and_success_is_none() {
        assert_eq!(ProxyFault::of_reply(0), None);
        let faults: std::collections::BTreeSet<_> = (1..=255).filter_map(ProxyFault::of_reply).collect();
        assert_eq!(faults.len(), 255, "each reply can be told from the others");
        assert!(faults.iter().all(|fault| !fault.is_of_all_dials() || *fault == ProxyFault::NoConnect));
    }

    #[test]
    fn a_proxy_that_is_down_is_nobody_elses_fault() {
        for fault in ProxyFault::ALL {
            assert!(!fault.is_of_all_dials() || fault.blame() == Blame::Ours, "{fault:?}");
            assert_ne!(fault.blame(), Blame::Misbehaved, "{fault:?}");
        }
    }
}
