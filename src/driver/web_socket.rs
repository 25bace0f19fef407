//! WebSocket where it meets the loop: listeners for it, dials by it, and pings that keep a quiet line open.

#[cfg(feature = "ws")]
use core::time::Duration;
#[cfg(feature = "ws")]
use std::io;
use std::net::SocketAddr;
#[cfg(feature = "ws")]
use std::sync::Arc;

use super::door::Door;
use super::net::Net;
#[cfg(feature = "ws")]
use super::{Driver, Protocol, system::PortUse};
#[cfg(feature = "ws")]
use crate::address::canonical;
use crate::close::TlsFault;
#[cfg(feature = "ws")]
use crate::id::DialId;
use crate::id::{ConnId, Direction};
#[cfg(feature = "ws")]
use crate::limits::WS_PING_AFTER;
use crate::link::Transport;
#[cfg(feature = "ws")]
use crate::link::web_socket::{WebSocketOptions, WebSocketRole, WebSocketTarget};
#[cfg(feature = "ws")]
use crate::rng::Rng;
#[cfg(feature = "ws")]
use crate::time::Instant;

#[cfg(feature = "ws")]
impl<P: Protocol> Driver<P> {
    /// Binds and listens for WebSocket: whoever comes is a connection like any other once its upgrade is done, and holds a place
    /// among those whose handshake is under way until then, as with TLS ([`Config::tls_pending`](super::Config::tls_pending) and
    /// what belongs to it). With [`Config::tls`](super::Config::tls) it is WebSocket in TLS. Answers the real address when port 0
    /// was asked for.
    ///
    /// # Errors
    ///
    /// As [`Driver::listen`].
    pub fn listen_web_socket(&mut self, address: SocketAddr, options: WebSocketOptions) -> io::Result<SocketAddr> {
        self.listen_at(address, PortUse::Alone, Door::WebSocket(Arc::new(options)))
    }
}

#[cfg(feature = "ws")]
impl Net {
    /// [`Net::dial`] over WebSocket. With [`Config::tls`](super::Config::tls) it is WebSocket in TLS.
    pub fn dial_web_socket(&mut self, dial: DialId, remote: SocketAddr, timeout: Duration, target: WebSocketTarget) {
        self.dial_by(dial, remote, timeout, Door::Target(Arc::new(target)));
    }

    /// From now on, [`Net::dial`] speaks WebSocket with these addresses, those of one target: of names, what was looked up. The
    /// addresses that were said before for the same target speak frames again. With no addresses, nothing is kept of it.
    pub fn set_web_socket(&mut self, target: &WebSocketTarget, addresses: &[SocketAddr]) {
        self.web.targets.retain(|_, known| **known != *target);
        let target = Arc::new(target.clone());
        self.web.targets.extend(addresses.iter().map(|address| (canonical(*address), Arc::clone(&target))));
    }

    /// The seed of the masks, and of the keys of upgrades.
    fn next_rng(&mut self) -> Rng {
        let system = &self.system;
        let rng = self.web.rng.get_or_insert_with(|| Rng::from_seed(system.seed()));
        Rng::from_seed(rng.next_u64())
    }

    /// When a quiet WebSocket gets a ping.
    pub(super) fn ping_at(&self, id: ConnId) -> Option<Instant> {
        let conn = self.conns.get(id).filter(|conn| conn.is_open() && conn.link.transport.is_web_socket())?;
        Some(conn.progressed + WS_PING_AFTER)
    }

    /// Pings a WebSocket that has been quiet; answers when it is to be looked at again. Where something waits to be written, the
    /// line is not quiet, and the peer has its time for that.
    pub(super) fn keep_open(&mut self, id: ConnId) -> Option<Instant> {
        let (now, due) = (self.now.at, self.ping_at(id)?);
        if due > now {
            return Some(due);
        }
        let conn = self.conns.get_mut(id)?;
        if conn.link.is_flushed() {
            conn.link.transport.ping();
            conn.link.transport.account(&mut self.pool);
            conn.progressed = now;
            self.mark_dirty_if_queued(id);
        }
        Some(now + WS_PING_AFTER)
    }
}

impl Net {
    /// Does the connection speak WebSocket?
    pub fn is_web_socket(&self, conn: ConnId) -> bool {
        let lent = self.lent.is_some_and(|(lent, _)| lent == conn) && self.web.is_lent;
        lent || self.conns.get(conn).is_some_and(|conn| conn.link.transport.is_web_socket())
    }

    /// Is there something to do before frames flow?
    pub(super) fn secures(&self, door: &Door) -> bool {
        self.config.speaks_tls() || door.is_web_socket()
    }

    /// What lies between the frames and the socket of one who comes by this door.
    pub(super) fn transport(
        &mut self,
        door: Door,
        remote: SocketAddr,
        direction: Direction,
    ) -> Result<Transport, TlsFault> {
        match door {
            Door::Frames => self.config.transport(remote, direction),
            #[cfg(feature = "ws")]
            Door::WebSocket(options) => self.config.web_socket(WebSocketRole::Server(options), remote, direction),
            #[cfg(feature = "ws")]
            Door::Target(target) => {
                let role = WebSocketRole::Client(target, self.next_rng());
                self.config.web_socket(role, remote, direction)
            }
        }
    }

    /// How [`Net::dial`] goes about it.
    pub(super) fn door_to(&self, remote: SocketAddr) -> Door {
        let _ = remote;
        #[cfg(feature = "ws")]
        if let Some(target) = self.web.targets.get(&canonical(remote)) {
            return Door::Target(Arc::clone(target));
        }
        Door::Frames
    }
}
