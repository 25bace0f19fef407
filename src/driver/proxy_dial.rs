//! What the loop and a connection keep of dials through a proxy; what they do with it is in `proxy`.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;

use crate::close::{CloseReason, ProxyFault};
use crate::link::socks::Handshake;

/// What is known beside the settings; made with the first dial.
#[derive(Debug)]
pub(super) struct Proxied {
    /// Which names the addresses stand for.
    pub(super) names: BTreeMap<SocketAddr, (String, u16)>,
    /// What users per destination are made of.
    pub(super) key: u64,
}

/// A dial on its way through the proxy.
#[derive(Debug)]
pub(super) struct ProxyDial {
    pub(super) handshake: Handshake,
    /// Our end of the connection to the proxy, once it stands.
    pub(super) local: Option<SocketAddr>,
}

impl ProxyDial {
    /// Is there a connection to the proxy?
    pub(super) fn is_begun(&self) -> bool {
        self.local.is_some()
    }

    /// What it is called when it takes too long.
    pub(super) fn timeout(&self) -> CloseReason {
        CloseReason::Proxy(match self.local {
            Some(_) => self.handshake.silence(false),
            None => ProxyFault::Unreachable(ErrorKind::TimedOut),
        })
    }
}
