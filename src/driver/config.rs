//! The loop's settings, and the check that they make sense together.

use core::time::Duration;
use std::net::SocketAddr;

use super::bandwidth::Bandwidth;
use crate::address::Scope;
use crate::close::TlsFault;
use crate::config::{ConfigCheck, ConfigErrors};
use crate::id::Direction;
use crate::limits;
use crate::link::socks::Proxy;
#[cfg(feature = "tls")]
use crate::link::tls::Tls;
#[cfg(feature = "ws")]
use crate::link::web_socket::WebSocketRole;
use crate::link::{OutboxLimits, Transport};
use crate::rate::Rate;
use crate::wire::FrameRules;

/// Settings of the loop. Start from the default and change what must differ; [`Config::validate`] is called by
/// [`Driver::new`](super::Driver::new).
///
/// Sizes are in bytes. Defaults and their reasons are in [`limits`](crate::limits).
///
/// # Examples
///
/// ```
/// use std::time::Duration;
///
/// use spacetime_network::driver::Config;
/// use spacetime_network::wire::FrameRules;
///
/// static RULES: FrameRules = FrameRules::none().with(1, 64).with(2, 1 << 20);
///
/// let mut config = Config::default();
/// config.rules = &RULES;
/// config.connections = 100;
/// config.outbox.high = 32 << 10;
/// config.write_stall = Duration::from_secs(5);
///
/// // Everything that is wrong, at once, each with its remedy.
/// let errors = config.validate().unwrap_err();
/// assert_eq!(errors.to_string(), "outbox.low must not be above high");
/// config.outbox.low = 16 << 10;
/// assert_eq!(config.validate(), Ok(()));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// What a connection accepts until [`Net::set_rules`](super::Net::set_rules) says otherwise.
    pub rules: &'static FrameRules,
    /// Connections at most, dials under way included. Further ones are closed when they are accepted, but that one which only
    /// [drains](super::Net::close) is ended at once for a newcomer.
    pub connections: usize,
    /// Commands from handles that may wait.
    pub commands: usize,
    /// Connections that the kernel may hold ready before they are accepted.
    pub backlog: i32,
    /// Have the system ask the other side of an accepted connection whether it is still there when nothing came for so long (TCP
    /// keep-alive); four times, and then the connection ends. `None` asks nobody: a protocol that hears of its peers now and then
    /// needs it not.
    pub keep_alive: Option<Duration>,
    /// A listener on an IPv6 address takes IPv4 connections as well.
    pub dual_stack: bool,
    /// The loop's read buffer, in bytes. All connections share it.
    pub read_buffer: usize,
    /// Bytes read from one connection in one turn.
    pub turn_bytes: usize,
    /// Frames delivered from one connection in one turn.
    pub turn_frames: usize,
    /// Units of work that one connection may cause in one turn, by what the protocol says its frames have cost. See
    /// [`Net::spend`](super::Net::spend).
    pub turn_work: u32,
    /// Connections accepted from one listener in one turn.
    pub turn_accepts: usize,
    /// How much one connection may queue: its hard limit, and the high and low watermarks of backpressure.
    pub outbox: OutboxLimits,
    /// Memory for unfinished frames over all connections, in bytes. Above half of it a large frame is read further only
    /// as far as an equal share of the other half goes.
    pub receive_budget: usize,
    /// Memory for queued frames over all connections, in bytes; a payload that many share counts once. Above half
    /// of it a connection queues no more than an equal share of the other half, critical frames excepted.
    pub send_budget: usize,
    /// How many bytes a second may leave and come; changed in a running loop by [`Net::set_bandwidth`](super::Net::set_bandwidth).
    /// Without limits by default.
    pub bandwidth: Bandwidth,
    /// Close a peer that took no byte for this long while something is queued.
    pub write_stall: Duration,
    /// Close a peer that sent no byte of an unfinished frame for this long, or was slower than this and 64 KiB/s.
    pub frame_stall: Duration,
    /// How long a connection may still be written whose peer has ended its direction: what is queued then and what is queued
    /// later must leave by then. A peer that does not read has its place no longer.
    pub half_close_drain: Duration,
    /// How long connections may flush when the loop stops.
    pub stop_drain: Duration,
    /// Dial everybody through this SOCKS5 proxy, and nobody past it; `None` dials them directly. A peer is known by what was dialed,
    /// as without. Names are given to the proxy, see [`Net::stand_in`](super::Net::stand_in). A [node](super::node) then looks no
    /// name up, asks no router for a port and tells nobody where it is.
    pub proxy: Option<Proxy>,
    /// Speak TLS on every connection; `None` speaks plain.
    #[cfg(feature = "tls")]
    #[cfg_attr(docsrs, doc(cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))))]
    pub tls: Option<Tls>,
    /// How long TLS's handshake may take with those who dialed us. Where we dial, it is part of the dial.
    pub tls_timeout: Duration,
    /// Inbound connections whose TLS handshake is under way. For a further one the oldest of the most crowded address or
    /// subnet is closed, when that is more crowded than the newcomer's. Otherwise the newcomer waits.
    pub tls_pending: usize,
    /// Sockets that may wait for such a place, for as long as `tls_timeout`. When that many wait, a further one takes the place of
    /// the oldest of the most crowded. 0 lets nobody wait.
    pub tls_backlog: usize,
    /// Sockets that may wait until the protocol has a place for them, see [`Admit::Wait`](super::Admit::Wait). When that many wait,
    /// the last of the most crowded address or subnet is turned away. 0 lets nobody wait.
    pub admit_waiting: usize,
    /// How long they may.
    pub admit_wait: Duration,
    /// How fast others may begin TLS handshakes. Further ones wait, as long as `tls_timeout` lets them. When half of the burst
    /// is used up, each /24 (IPv6: /48) gets one a second.
    pub tls_rate: Rate,
    /// The same from one address (IPv6: /64); `None` lifts the limit.
    pub tls_rate_per_ip: Option<Rate>,
    /// The same from one /24, or /48 in IPv6; `None` lifts the limit.
    pub tls_rate_per_subnet: Option<Rate>,
    /// Look for work without sleeping for up to this long, as long as recent work came that soon: being woken costs more.
    /// A loop with little to do sleeps at once. `None` always sleeps.
    pub spin: Option<Duration>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            rules: FrameRules::greeting(),
            connections: limits::CONNECTIONS,
            commands: limits::COMMANDS,
            backlog: limits::BACKLOG,
            keep_alive: None,
            dual_stack: false,
            read_buffer: limits::READ_BUFFER,
            turn_bytes: limits::TURN_BYTES,
            turn_frames: limits::TURN_FRAMES,
            turn_work: limits::TURN_WORK,
            turn_accepts: limits::TURN_ACCEPTS,
            outbox: OutboxLimits::default(),
            receive_budget: limits::RECEIVE_BUDGET,
            send_budget: limits::SEND_BUDGET,
            bandwidth: Bandwidth::UNLIMITED,
            write_stall: limits::WRITE_STALL,
            frame_stall: limits::FRAME_STALL,
            half_close_drain: limits::HALF_CLOSE_DRAIN,
            stop_drain: limits::STOP_DRAIN,
            proxy: None,
            #[cfg(feature = "tls")]
            tls: None,
            tls_timeout: limits::TLS_TIMEOUT,
            tls_pending: limits::TLS_PENDING,
            tls_backlog: limits::TLS_BACKLOG,
            admit_waiting: limits::ADMIT_WAITING,
            admit_wait: limits::ADMIT_WAIT,
            tls_rate: Rate::per_second(limits::TLS_RATE, limits::TLS_BURST),
            tls_rate_per_ip: Some(Rate::per_second(limits::TLS_RATE_PER_IP, limits::TLS_BURST_PER_IP)),
            tls_rate_per_subnet: Some(Rate::per_second(limits::TLS_RATE_PER_SUBNET, limits::TLS_BURST_PER_SUBNET)),
            spin: Some(limits::SPIN),
        }
    }
}

impl Config {
    /// Does every connection begin with TLS?
    pub(super) fn speaks_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    /// The security layer of a connection with `remote`.
    #[cfg_attr(
        not(feature = "tls"),
        allow(unused_variables, clippy::unused_self, reason = "without TLS there is one answer")
    )]
    pub(super) fn transport(&self, remote: SocketAddr, direction: Direction) -> Result<Transport, TlsFault> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return Transport::tls(tls, remote, direction);
        }
        Ok(Transport::Plain)
    }

    /// WebSocket, in TLS where that is set.
    #[cfg(feature = "ws")]
    #[cfg_attr(
        not(feature = "tls"),
        allow(unused_variables, clippy::unused_self, reason = "without TLS there is one answer")
    )]
    pub(super) fn web_socket(
        &self,
        role: WebSocketRole,
        remote: SocketAddr,
        direction: Direction,
    ) -> Result<Transport, TlsFault> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &self.tls {
            return Transport::web_socket_in_tls(role, tls, remote, direction);
        }
        Ok(Transport::web_socket(role))
    }

    /// Checks every setting and every relation between them.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, not only the first.
    pub fn validate(&self) -> Result<(), ConfigErrors> {
        let mut check = ConfigCheck::default();
        let at_least_one = "must be at least 1";
        check.require(self.connections >= 1, "connections", at_least_one);
        check.require(self.connections <= u32::MAX as usize / 2, "connections", "must be below 2^31");
        check.require(self.commands >= 1, "commands", at_least_one);
        check.require(self.backlog >= 1, "backlog", at_least_one);
        check.require(self.read_buffer >= 1024, "read_buffer", "must be at least 1024 bytes");
        check.require(self.turn_bytes >= 1, "turn_bytes", at_least_one);
        check.require(self.turn_frames >= 1, "turn_frames", at_least_one);
        check.require(self.turn_work >= 1, "turn_work", at_least_one);
        check.require(self.turn_accepts >= 1, "turn_accepts", at_least_one);
        check.part("outbox", self.outbox.validate());
        check.require(self.receive_budget >= limits::LARGE_FRAME, "receive_budget", "must be at least 64 KiB");
        check.require(self.send_budget >= self.outbox.high, "send_budget", "must not be below outbox.high");
        check.require(!self.write_stall.is_zero(), "write_stall", "must be longer than zero");
        check.require(!self.frame_stall.is_zero(), "frame_stall", "must be longer than zero");
        check.require(!self.half_close_drain.is_zero(), "half_close_drain", "must be longer than zero");
        let is_there = |proxy: &Proxy| Scope::of_socket(proxy.address) != Scope::Unusable;
        check.require(self.proxy.as_ref().is_none_or(is_there), "proxy.address", "must be one that can be dialed");
        check.require(!self.tls_timeout.is_zero(), "tls_timeout", "must be longer than zero");
        check.require(self.tls_pending >= 1, "tls_pending", at_least_one);
        check.part("tls_rate", self.tls_rate.validate());
        for (name, rate) in
            [("tls_rate_per_ip", self.tls_rate_per_ip), ("tls_rate_per_subnet", self.tls_rate_per_subnet)]
        {
            check.part(name, rate.map_or(Ok(()), |rate| rate.validate()));
        }
        check.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_everything_that_is_wrong_is_named() {
        let mut config = Config::default();
        assert_eq!(config.validate(), Ok(()));
        config.connections = 0;
        config.outbox.low = config.outbox.hard + 1;
        config.tls_rate_per_ip = Some(Rate::per_second(1, 0));
        config.write_stall = Duration::ZERO;
        let errors = config.validate().unwrap_err();
        for setting in ["connections", "outbox.low", "tls_rate_per_ip.burst", "write_stall"] {
            assert!(errors.names(setting), "{setting}: {errors}");
        }
        assert_eq!(errors.iter().count(), 4, "{errors}");
    }
}
