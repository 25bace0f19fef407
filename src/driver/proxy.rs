//! Dials through a proxy: whom they go to, and the conversation with the proxy before anything else is spoken.
//!
//! With [`Config::proxy`](super::Config::proxy) every dial goes to the proxy and none past it. What everyone else here calls the
//! remote address is the one that was dialed, never the proxy's: all peers would have that one. A name has an address that stands
//! for it, see [`Net::stand_in`].
//!
//! No more is read than is known to be the proxy's, so that what the peer says behind it is still with the socket when TLS,
//! WebSocket or the frames begin.

use std::collections::BTreeMap;
use std::io::{ErrorKind, IoSlice, Read};
use std::net::{IpAddr, SocketAddr};

use super::conn::Conn;
use super::edge::{Received, read_some};
use super::errno::dial_reason;
use super::net::Net;
use super::proxy_dial::{Proxied, ProxyDial};
use super::stats::Totals;
use crate::address::{canonical, is_stand_in, stand_in};
use crate::close::{CloseReason, ProxyFault};
use crate::id::ConnId;
use crate::link::socks::{BadText, Handshake, Target};

/// Names that have an address at a time.
const NAMES_MAX: usize = 4_096;
/// Tries to find an address that is no other name's.
const ATTEMPTS: u32 = 16;
/// What is read of an answer at once.
const READ: usize = 64;

/// Why a name has no address to stand for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NoStandIn {
    /// Names are for a proxy, and there is none.
    NoProxy,
    /// The name is empty or longer than 255 bytes, or the port is 0.
    BadName,
    /// 4,096 names have one.
    TooMany,
}

impl core::fmt::Display for NoStandIn {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            NoStandIn::NoProxy => "only a proxy takes names: set one, or look the name up",
            NoStandIn::BadName => "a host name has 1 to 255 bytes, and a port is not 0: check the name",
            NoStandIn::TooMany => "too many names were given: dial addresses",
        })
    }
}

impl core::error::Error for NoStandIn {}

impl Net {
    /// Do all dials go through a proxy?
    pub fn has_proxy(&self) -> bool {
        self.config.proxy.is_some()
    }

    /// The address that stands for a name, to be dialed: the proxy is then asked for the name. Nobody else can be at such an
    /// address, and it is the same in every run. Asked again, the answer is the same.
    ///
    /// # Errors
    ///
    /// There is no proxy, the name is none, or too many have an address already.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use spacetime_network::driver::Net;
    /// use spacetime_network::id::DialId;
    ///
    /// fn dial_onion(net: &mut Net) -> Result<(), Box<dyn std::error::Error>> {
    ///     let address = net.stand_in("example.onion", 7193)?;
    ///     net.dial(DialId(1), address, Duration::from_secs(60));
    ///     Ok(())
    /// }
    /// ```
    pub fn stand_in(&mut self, host: &str, port: u16) -> Result<SocketAddr, NoStandIn> {
        if !self.has_proxy() {
            return Err(NoStandIn::NoProxy);
        }
        Target::name(host, port).map_err(|BadText| NoStandIn::BadName)?;
        if port == 0 {
            return Err(NoStandIn::BadName);
        }
        let names = &mut self.proxied().names;
        for attempt in 0..ATTEMPTS {
            let address = stand_in(host, port, attempt);
            match names.get(&address) {
                Some((known, _)) if known.eq_ignore_ascii_case(host) => return Ok(address),
                Some(_) => {}
                None if names.len() >= NAMES_MAX => return Err(NoStandIn::TooMany),
                None => {
                    names.insert(address, (host.to_owned(), port));
                    return Ok(address);
                }
            }
        }
        Err(NoStandIn::TooMany)
    }

    fn proxied(&mut self) -> &mut Proxied {
        let system = &self.system;
        self.proxied.get_or_insert_with(|| Box::new(Proxied { names: BTreeMap::new(), key: system.seed() }))
    }

    /// Where a dial to `remote` leads at first, and what is said there.
    pub(super) fn way_to(&mut self, remote: SocketAddr) -> Result<(SocketAddr, Option<Box<ProxyDial>>), ProxyFault> {
        if !self.has_proxy() {
            return Ok((remote, None));
        }
        let remote = canonical(remote);
        let is_on_an_interface = matches!(remote.ip(), IpAddr::V6(v6) if v6.is_unicast_link_local());
        let Proxied { names, key } = self.proxied();
        let target = match names.get(&remote) {
            Some((host, port)) => Target::name(host.clone(), *port).map_err(|BadText| ProxyFault::NoTarget)?,
            None if is_stand_in(remote) || is_on_an_interface => return Err(ProxyFault::NoTarget),
            None => Target::address(remote),
        };
        let key = *key;
        // Just seen to be there.
        let proxy = self.config.proxy.as_ref().ok_or(ProxyFault::NoTarget)?;
        let handshake = Handshake::new(proxy, target, key);
        Ok((proxy.address, Some(Box::new(ProxyDial { handshake, local: None }))))
    }

    /// The socket of a dial has connected to the proxy, our end being `local`.
    pub(super) fn begin_proxy(&mut self, id: ConnId, local: SocketAddr) -> Option<SocketAddr> {
        let conn = self.conns.get_mut(id)?;
        conn.flags.writable = true;
        conn.proxy.as_mut()?.local = Some(local);
        self.advance_proxy(id)
    }

    /// Writes and reads as far as it goes. Our end of the connection, once the peer is at the other.
    pub(super) fn advance_proxy(&mut self, id: ConnId) -> Option<SocketAddr> {
        match self.speak_with_proxy(id)? {
            Ok(local) => Some(local),
            Err(reason) => {
                self.remove(id, reason);
                None
            }
        }
    }

    /// `None` when it has to wait.
    fn speak_with_proxy(&mut self, id: ConnId) -> Option<Result<SocketAddr, CloseReason>> {
        let Net { conns, totals, .. } = self;
        let conn = conns.get_mut(id)?;
        // Taken out, for the rest of the connection is needed beside it.
        let mut dial = conn.proxy.take()?;
        let end = speak(conn, &mut dial, totals);
        match end {
            Ok(true) => {
                // What the peer sends is counted from here on.
                conn.counters = Default::default();
                return dial.local.map(Ok);
            }
            Ok(false) => conn.proxy = Some(dial),
            Err(reason) => {
                conn.proxy = Some(dial);
                return Some(Err(reason));
            }
        }
        None
    }
}

/// Says what is to be said and hears what there is. True when the peer is at the other end.
fn speak(conn: &mut Conn, dial: &mut ProxyDial, totals: &mut Totals) -> Result<bool, CloseReason> {
    let handshake = &mut dial.handshake;
    loop {
        while !handshake.unsent().is_empty() && conn.flags.writable {
            totals.writes += 1;
            match conn.stream.write_vectored(&[IoSlice::new(handshake.unsent())]) {
                Ok(0) => return Err(CloseReason::Proxy(handshake.silence(true))),
                Ok(count) => {
                    handshake.wrote(count);
                    totals.bytes_out += count as u64;
                    conn.flags.writable = handshake.unsent().is_empty();
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => conn.flags.writable = false,
                Err(error) => return Err(failure(&error, handshake)),
            }
        }
        if !conn.flags.readable {
            return Ok(false);
        }
        let mut bytes = [0; READ];
        let size = handshake.wanted().min(READ);
        let Some(room) = bytes.get_mut(..size).filter(|room| !room.is_empty()) else { return Ok(false) };
        let count = match read_some(conn, totals, size, |stream| stream.read(room)) {
            Received::Bytes { count, .. } => count,
            Received::Nothing => return Ok(false),
            Received::End | Received::Failed(CloseReason::Io(_)) => {
                return Err(CloseReason::Proxy(handshake.silence(true)));
            }
            Received::Failed(reason) => return Err(reason),
        };
        if handshake.take(&mut bytes.get(..count).unwrap_or_default()).map_err(CloseReason::Proxy)? {
            return Ok(true);
        }
    }
}

fn failure(error: &std::io::Error, handshake: &Handshake) -> CloseReason {
    match dial_reason(error) {
        CloseReason::Io(_) => CloseReason::Proxy(handshake.silence(true)),
        ours => ours,
    }
}

/// What the end of a dial is called that got no further than to the proxy.
pub(super) fn unreached(reason: CloseReason) -> CloseReason {
    match reason {
        CloseReason::Io(kind) => CloseReason::Proxy(ProxyFault::Unreachable(kind)),
        // Nobody listens at the proxy's port, and the system has connected the socket with itself.
        CloseReason::SelfConnection => CloseReason::Proxy(ProxyFault::Unreachable(ErrorKind::ConnectionRefused)),
        other => other,
    }
}
