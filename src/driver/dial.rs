//! Dials: started without blocking, finished when the socket says so.
//!
//! A non-blocking connect has ended when the socket is writable; whether it succeeded is what `SO_ERROR` and then the
//! peer's address say. A kernel may connect a socket with itself, when the target is a local port that nobody listens on
//! and that it happens to choose as the source; that is found here, before a protocol talks to itself.

use core::time::Duration;
use std::io;
use std::net::SocketAddr;

use super::conn::{Conn, ConnState, PendingConn};
use super::door::Door;
use super::errno::dial_reason;
use super::net::{Net, Phase};
use super::proxy::unreached;
use super::system::Stream;
use crate::close::CloseReason;
use crate::id::{ConnId, DialId, Direction};

impl Net {
    /// Starts a dial; the answer is always an event, never an error here. Where there is a [proxy](super::Config::proxy), it leads
    /// through that, and both have the time of the one.
    pub fn dial(&mut self, dial: DialId, remote: SocketAddr, timeout: Duration) {
        let door = self.door_to(remote);
        self.dial_by(dial, remote, timeout, door);
    }

    pub(super) fn dial_by(&mut self, dial: DialId, remote: SocketAddr, timeout: Duration, door: Door) {
        self.totals.dialed += 1;
        if self.phase == Phase::Stopping {
            return self.fail_dial(dial, remote, CloseReason::Shutdown);
        }
        if let Some(id) = self.oldest_drain() {
            self.cut_drain(id);
        }
        if self.is_full() {
            return self.fail_dial(dial, remote, CloseReason::LimitReached);
        }
        let until = self.now.at + timeout;
        let (first, proxy) = match self.way_to(remote) {
            Ok(way) => way,
            Err(fault) => return self.fail_dial(dial, remote, CloseReason::Proxy(fault)),
        };
        let is_proxied = proxy.is_some();
        let started = self.system.connect(first).and_then(|stream| {
            let mut conn = Conn::new(stream, ConnState::Connecting, self.config.rules);
            (conn.door, conn.proxy) = (door, proxy);
            conn.introduce(PendingConn { direction: Direction::Outbound(dial), remote, until, told: false });
            self.insert(conn)
        });
        match started {
            Ok(id) => self.arm(id, until),
            Err(error) if is_proxied => self.fail_dial(dial, remote, unreached(dial_reason(&error))),
            Err(error) => self.fail_dial(dial, remote, dial_reason(&error)),
        }
    }
}

impl Net {
    /// The socket of a dial is ready for something. Our address, once it is connected with whom was dialed.
    pub(super) fn finish_dial(&mut self, id: ConnId) -> Option<SocketAddr> {
        let conn = self.conns.get_mut(id).filter(|conn| conn.is_connecting())?;
        if conn.proxy.as_ref().is_some_and(|proxy| proxy.is_begun()) {
            return self.advance_proxy(id);
        }
        let is_proxied = conn.proxy.is_some();
        let reason = match ends(&conn.stream) {
            Ok(Some((local, peer))) if local == peer => CloseReason::SelfConnection,
            Ok(Some((local, _))) => {
                // A socket that refuses is about to fail anyway.
                let _ = conn.stream.set_nodelay();
                return if is_proxied { self.begin_proxy(id, local) } else { Some(local) };
            }
            Ok(None) => return None,
            Err(error) => dial_reason(&error),
        };
        self.remove(id, if is_proxied { unreached(reason) } else { reason });
        None
    }
}

/// Our address and the peer's, once connected.
fn ends(stream: &Stream) -> io::Result<Option<(SocketAddr, SocketAddr)>> {
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    match stream.peer_addr() {
        Ok(peer) => Ok(Some((stream.local_addr()?, peer))),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(None),
        Err(error) => Err(error),
    }
}
