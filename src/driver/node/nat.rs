//! A node's port, forwarded by the router at home: joins the machine that decides with the routing table, sockets and the node.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::net_api::NetApi;
#[cfg(feature = "upnp")]
use super::upnp::Helper;
use crate::address::Scope;
use crate::driver::Event;
use crate::driver::gateway::router;
use crate::id::{DatagramId, Direction};
use crate::mapping::{Mapping, Unmapped, Via};
use crate::nat::{Action, Network, PortMapping, ROUTER_PORT, Settings};
use crate::time::Instant;

/// A stop waits so long at most until nothing is mapped any more.
const RELEASE_WAIT: Duration = Duration::from_millis(2_500);

/// How a router is to be asked for a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRequest {
    /// By which protocols, in this order.
    pub methods: Vec<Via>,
    /// Not before a connection of ours has left from a private address: then there is a router, and it translates addresses.
    pub when_private: bool,
    /// The port of our listener.
    pub port: u16,
    /// For how long at a time; at least a second.
    pub lease: Duration,
}

impl PortRequest {
    /// Every protocol that this build speaks, in the order that suits most: the one that is answered soonest first.
    pub fn all_methods() -> Vec<Via> {
        let mut all = vec![Via::Pcp, Via::NatPmp];
        if cfg!(feature = "upnp") {
            all.push(Via::Upnp);
        }
        all
    }
}

/// What the node is to hear.
pub(super) enum News {
    Mapping(Mapping),
    RouterRestarted,
}

pub(super) struct Nat {
    machine: PortMapping,
    when_private: bool,
    socket: Option<DatagramId>,
    router: Option<IpAddr>,
    is_stopping: bool,
    has_begun: bool,
    #[cfg(feature = "upnp")]
    helper: Helper,
}

impl fmt::Debug for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nat").field("machine", &self.machine).finish_non_exhaustive()
    }
}

impl Nat {
    #[cfg_attr(not(feature = "upnp"), allow(unused_variables, reason = "only a helper's thread wakes the loop"))]
    pub(super) fn new(request: PortRequest, seed: u64, wake: Arc<dyn Fn() + Send + Sync>) -> Self {
        let PortRequest { methods, when_private, port, lease } = request;
        let methods = methods.into_iter().filter(|via| cfg!(feature = "upnp") || *via != Via::Upnp).collect();
        let settings = Settings { methods, internal_port: port, lease: lease.max(Duration::from_secs(1)) };
        Nat {
            machine: PortMapping::new(settings, seed),
            when_private,
            socket: None,
            router: None,
            is_stopping: false,
            has_begun: false,
            #[cfg(feature = "upnp")]
            helper: Helper::new(wake),
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.machine.deadline()
    }

    /// Something happened on the loop. What the node is to hear of it comes back.
    pub(super) fn on_event<C>(&mut self, now: Instant, event: &Event<'_, C>, net: &mut impl NetApi) -> Vec<News> {
        match event {
            Event::Opened { local, direction: Direction::Outbound(_), .. } => self.left_from(now, local.ip()),
            Event::Datagram { socket, bytes } if Some(*socket) == self.socket => self.machine.datagram(now, bytes),
            Event::Timer => self.machine.tick(now),
            Event::Stopping => {
                self.is_stopping = true;
                net.delay_stop(Some(now + RELEASE_WAIT));
                self.machine.stop(now);
            }
            Event::TurnEnded => {
                if !self.when_private && !self.is_stopping {
                    self.machine.start(now);
                }
                self.take_results(now);
            }
            _ => return Vec::new(),
        }
        let mut news = Vec::new();
        if !std::mem::replace(&mut self.has_begun, true) {
            news.push(News::Mapping(self.machine.state()));
        }
        self.carry_out(now, net, &mut news);
        news
    }

    /// What the helper has done meanwhile.
    #[cfg(feature = "upnp")]
    fn take_results(&mut self, now: Instant) {
        while let Some((ticket, result)) = self.helper.take() {
            self.machine.job_done(now, ticket, result);
        }
    }

    #[cfg(not(feature = "upnp"))]
    fn take_results(&mut self, _now: Instant) {}

    /// A connection of ours left from this address.
    fn left_from(&mut self, now: Instant, own: IpAddr) {
        if self.is_stopping || Scope::of(own) == Scope::Loopback {
            return;
        }
        if self.machine.is_dormant() {
            if Scope::of(own) == Scope::Private && own.to_canonical().is_ipv4() {
                self.machine.start(now);
            }
        } else {
            self.machine.seen_own(now, own);
        }
    }

    fn carry_out(&mut self, now: Instant, net: &mut impl NetApi, news: &mut Vec<News>) {
        while let Some(action) = self.machine.poll_action() {
            match action {
                Action::Look => {
                    let network = self.look(net);
                    self.machine.network(now, network);
                }
                Action::Send(datagram) => self.send(datagram.bytes(), net),
                #[cfg(feature = "upnp")]
                Action::Upnp(job) => {
                    let ticket = job.ticket;
                    if !self.helper.give(job) {
                        self.machine.job_done(now, ticket, Err(Unmapped::Silent));
                    }
                }
                #[cfg(not(feature = "upnp"))]
                Action::Upnp(job) => {
                    self.machine.job_done(now, job.ticket, Err(Unmapped::NotSupported(Via::Upnp)));
                }
                Action::Tell(mapping) => news.push(News::Mapping(mapping)),
                Action::RouterRestarted => news.push(News::RouterRestarted),
                Action::Released => net.delay_stop(None),
            }
        }
        if !self.machine.awaits_datagrams() {
            self.hang_up(net);
        }
    }

    /// Where we are: the router by the routing table, and which of our addresses leads there.
    fn look(&mut self, net: &mut impl NetApi) -> Result<Network, Unmapped> {
        self.hang_up(net);
        let router = match router() {
            Ok(Some(router)) => IpAddr::V4(router),
            Ok(None) => return Err(Unmapped::NoRouter),
            Err(error) if error.kind() == io::ErrorKind::Unsupported => return Err(Unmapped::RouterUnknown),
            Err(_) => return Err(Unmapped::NoRouter),
        };
        let (socket, local) =
            net.open_datagrams(SocketAddr::new(router, ROUTER_PORT)).map_err(|_| Unmapped::NoRouter)?;
        (self.socket, self.router) = (Some(socket), Some(router));
        Ok(Network { own: local.ip(), router })
    }

    fn send(&mut self, bytes: &[u8], net: &mut impl NetApi) {
        if self.socket.is_none()
            && let Some(router) = self.router
        {
            // Without one nothing is sent, as if it were lost.
            self.socket = net.open_datagrams(SocketAddr::new(router, ROUTER_PORT)).ok().map(|(socket, _)| socket);
        }
        if let Some(socket) = self.socket {
            net.send_datagram(socket, bytes);
        }
    }

    fn hang_up(&mut self, net: &mut impl NetApi) {
        if let Some(socket) = self.socket.take() {
            net.close_datagrams(socket);
        }
    }
}
