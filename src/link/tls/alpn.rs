//! What we speak inside TLS (ALPN), and what others offer instead of it.

use core::cell::Cell;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Our protocol's versions, in the order of preference. A service that offers none of them is another service.
pub(super) const PROTOCOLS: [&[u8]; 2] = [b"spacetime/2", b"spacetime/1"];
/// How the names of all our protocol's versions begin.
const PROTOCOL_FAMILY: &[u8] = b"spacetime/";

/// What WebSocket begins in. Browsers offer nothing else, and proxies understand it.
const HTTP: [&[u8]; 1] = [b"http/1.1"];

/// What is spoken inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::link) enum Inside {
    /// Our frames.
    Frames,
    /// HTTP, and WebSocket then.
    #[cfg_attr(not(feature = "ws"), allow(dead_code, reason = "nobody asks for it there"))]
    Http,
}

impl Inside {
    /// What is offered for it, in the order of preference.
    pub(super) fn protocols(self) -> &'static [&'static [u8]] {
        match self {
            Inside::Frames => &PROTOCOLS,
            Inside::Http => &HTTP,
        }
    }

    /// Is this one of those, of all that ALPN may settle on?
    pub(super) fn is(self, protocol: Option<&[u8]>) -> bool {
        protocol.is_some_and(|protocol| self.protocols().contains(&protocol))
    }
}

/// Our protocol among those that a client offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// Nothing of ours.
    Nothing,
    /// Versions of ours that we do not speak.
    OtherVersions,
}

thread_local! {
    /// What the hello that this thread looked at last has offered. rustls tells a server only that there is nothing in
    /// common; the hello is seen by the resolver in the same call that then fails, on the same thread.
    static OFFER: Cell<Offer> = const { Cell::new(Offer::Nothing) };
}

/// What the client has offered whose handshake has just failed on this thread for want of a common protocol.
pub(super) fn last_offer() -> Offer {
    OFFER.get()
}

/// Our one certificate, and a look at the hello.
#[derive(Debug)]
pub(super) struct Resolver {
    certified: Arc<CertifiedKey>,
}

impl Resolver {
    pub(super) fn new(certified: Arc<CertifiedKey>) -> Self {
        Resolver { certified }
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let ours = hello.alpn().is_some_and(|mut offered| offered.any(|name| name.starts_with(PROTOCOL_FAMILY)));
        OFFER.set(if ours { Offer::OtherVersions } else { Offer::Nothing });
        Some(Arc::clone(&self.certified))
    }
}
