//! Dials: started without blocking, finished when the socket says so.
//!
//! A non-blocking connect has ended when the socket is writable; whether it succeeded is what `SO_ERROR` and then the
//! peer's address say. A kernel may connect a socket with itself, when the target is a local port that nobody listens on
//! and that it happens to choose as the source; that is found here, before a protocol talks to itself.

use core::time::Duration;
use std::io;
use std::net::SocketAddr;

use super::conn::{Conn, Dialing, Life};
use super::errno::dial_reason;
use super::net::Net;
use super::system::Stream;
use super::{Driver, Event, Protocol};
use crate::close::CloseReason;
use crate::id::{ConnId, DialId, Direction};

impl Net {
    /// Starts a dial; the answer is always an event, never an error here.
    pub fn dial(&mut self, dial: DialId, remote: SocketAddr, timeout: Duration) {
        self.totals.dialed += 1;
        if self.stopping {
            return self.fail_dial(dial, remote, CloseReason::Shutdown);
        }
        if self.is_full() {
            return self.fail_dial(dial, remote, CloseReason::LimitReached);
        }
        let until = self.now.at + timeout;
        let life = Life::Connecting(Box::new(Dialing { dial, remote, until }));
        let started = self.system.connect(remote).and_then(|stream| {
            let conn = Conn::new(stream, life, self.config.rules);
            self.insert(conn)
        });
        match started {
            Ok(id) => self.arm(id, until),
            Err(error) => self.fail_dial(dial, remote, dial_reason(&error)),
        }
    }
}

impl<P: Protocol> Driver<P> {
    /// The socket of a dial is ready for something. True when the connection now stands.
    pub(super) fn finish_dial(&mut self, id: ConnId) -> bool {
        let net = &mut self.net;
        let Some(conn) = net.conn_mut(id) else { return false };
        let Life::Connecting(dialing) = &conn.life else { return false };
        let (dial, remote) = (dialing.dial, dialing.remote);
        let (local, remote) = match ends(&conn.stream) {
            Ok(Some((local, peer))) if local == peer => {
                net.bury(id, CloseReason::SelfConnection);
                return false;
            }
            Ok(Some((local, _))) => (local, remote),
            Ok(None) => return false,
            Err(error) => {
                net.bury(id, dial_reason(&error));
                return false;
            }
        };
        // A socket that refuses is about to fail anyway.
        let _ = conn.stream.set_nodelay();
        conn.life = Life::Open;
        conn.flags.writable = true;
        net.count_opened();
        let direction = Direction::Outbound(dial);
        self.protocol.handle(net.now, Event::Opened { conn: id, remote, local, direction }, net);
        true
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
