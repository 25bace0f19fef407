//! What a node's driver asks of whoever carries its bytes.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::close::CloseReason;
use crate::driver::{Bandwidth, ConnStats, Net, NoStandIn, SendOutcome};
use crate::id::{ConnId, DatagramId, DialId};
#[cfg(feature = "ws")]
use crate::link::web_socket::WebSocketTarget;
use crate::time::Instant;
use crate::wire::{FrameRules, Priority};

/// Who carries a node's bytes: the loop's [`Net`], or somebody in front of it. The calls are those of [`Net`].
pub trait NetApi {
    /// See [`Net::dial`].
    fn dial(&mut self, dial: DialId, remote: SocketAddr, timeout: Duration);
    /// See [`Net::send_shared`].
    fn send_shared(&mut self, conn: ConnId, priority: Priority, kind: u8, payload: &Bytes) -> SendOutcome;
    /// See [`Net::set_rules`].
    fn set_rules(&mut self, conn: ConnId, rules: &'static FrameRules);
    /// See [`Net::close`].
    fn close(&mut self, conn: ConnId, reason: CloseReason, drain: Duration);
    /// See [`Net::hold`].
    fn hold(&mut self, conn: ConnId);
    /// See [`Net::release`].
    fn release(&mut self, conn: ConnId);
    /// See [`Net::conn_stats`].
    fn conn_stats(&self, conn: ConnId) -> Option<ConnStats>;
    /// See [`Net::spend`].
    fn spend(&mut self, units: u32);
    /// See [`Net::has_proxy`].
    fn has_proxy(&self) -> bool {
        false
    }
    /// See [`Net::stand_in`].
    ///
    /// # Errors
    ///
    /// As there.
    fn stand_in(&mut self, _host: &str, _port: u16) -> Result<SocketAddr, NoStandIn> {
        Err(NoStandIn::NoProxy)
    }
    /// See [`Net::is_web_socket`]. A carrier that has none has nothing to say.
    fn is_web_socket(&self, _conn: ConnId) -> bool {
        false
    }
    /// See [`Net::set_web_socket`]. A carrier that dials otherwise ignores it.
    #[cfg(feature = "ws")]
    fn set_web_socket(&mut self, _target: &WebSocketTarget, _addresses: &[SocketAddr]) {}
    /// See [`Net::set_bandwidth`]. A carrier that has no limits ignores it.
    fn set_bandwidth(&mut self, _limits: Bandwidth) {}

    /// See [`Net::open_datagrams`].
    ///
    /// # Errors
    ///
    /// As there; `Unsupported` of a carrier that has none.
    fn open_datagrams(&mut self, _remote: SocketAddr) -> io::Result<(DatagramId, SocketAddr)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// See [`Net::send_datagram`].
    fn send_datagram(&mut self, _socket: DatagramId, _bytes: &[u8]) {}

    /// See [`Net::close_datagrams`].
    fn close_datagrams(&mut self, _socket: DatagramId) {}

    /// See [`Net::delay_stop`]. A carrier whose end waits for nobody ignores it.
    fn delay_stop(&mut self, _until: Option<Instant>) {}

    /// The loop's connections, for whoever [looks](super::Look) at them. A carrier without a loop has none.
    fn net(&self) -> Option<&Net> {
        None
    }
}

impl NetApi for Net {
    fn dial(&mut self, dial: DialId, remote: SocketAddr, timeout: Duration) {
        Net::dial(self, dial, remote, timeout);
    }

    fn send_shared(&mut self, conn: ConnId, priority: Priority, kind: u8, payload: &Bytes) -> SendOutcome {
        Net::send_shared(self, conn, priority, kind, payload)
    }

    fn set_rules(&mut self, conn: ConnId, rules: &'static FrameRules) {
        Net::set_rules(self, conn, rules);
    }

    fn close(&mut self, conn: ConnId, reason: CloseReason, drain: Duration) {
        Net::close(self, conn, reason, drain);
    }

    fn hold(&mut self, conn: ConnId) {
        Net::hold(self, conn);
    }

    fn release(&mut self, conn: ConnId) {
        Net::release(self, conn);
    }

    fn conn_stats(&self, conn: ConnId) -> Option<ConnStats> {
        Net::conn_stats(self, conn)
    }

    fn spend(&mut self, units: u32) {
        Net::spend(self, units);
    }

    fn net(&self) -> Option<&Net> {
        Some(self)
    }

    fn has_proxy(&self) -> bool {
        Net::has_proxy(self)
    }

    fn stand_in(&mut self, host: &str, port: u16) -> Result<SocketAddr, NoStandIn> {
        Net::stand_in(self, host, port)
    }

    fn is_web_socket(&self, conn: ConnId) -> bool {
        Net::is_web_socket(self, conn)
    }

    #[cfg(feature = "ws")]
    fn set_web_socket(&mut self, target: &WebSocketTarget, addresses: &[SocketAddr]) {
        Net::set_web_socket(self, target, addresses);
    }

    fn set_bandwidth(&mut self, limits: Bandwidth) {
        Net::set_bandwidth(self, limits);
    }

    fn open_datagrams(&mut self, remote: SocketAddr) -> io::Result<(DatagramId, SocketAddr)> {
        Net::open_datagrams(self, remote)
    }

    fn send_datagram(&mut self, socket: DatagramId, bytes: &[u8]) {
        Net::send_datagram(self, socket, bytes);
    }

    fn close_datagrams(&mut self, socket: DatagramId) {
        Net::close_datagrams(self, socket);
    }

    fn delay_stop(&mut self, until: Option<Instant>) {
        Net::delay_stop(self, until);
    }
}
