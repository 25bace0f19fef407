//! From sockets that wait to be accepted to connections: within a budget, and asked about first.

use std::io::{self, IoSlice, Read};
use std::net::SocketAddr;

use super::conn::{Conn, ConnState, PendingConn};
use super::listener::{Listener, listener_token};
use super::system::Stream;
use super::timer::Due;
use super::{Admit, Driver, Event, Protocol};
use crate::close::CloseReason;
use crate::id::Direction;

impl<P: Protocol> Driver<P> {
    /// Binds and listens; answers the real address when port 0 was asked for.
    ///
    /// # Errors
    ///
    /// Whatever the system says to the address: in use, not ours, not allowed.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        let mut socket = self.net.system.listen(address, &self.net.config)?;
        let bound = socket.local_addr()?;
        self.net.system.register_acceptor(&mut socket, listener_token(self.listeners.len()))?;
        self.listeners.push(Listener::new(socket));
        Ok(bound)
    }

    /// Takes waiting connections from every listener, up to the turn's budget for each.
    pub(super) fn accept_all(&mut self) {
        for index in 0..self.listeners.len() {
            let budget = self.net.config.turn_accepts;
            for _ in 0..budget {
                let Some(listener) = self.listeners.get_mut(index).filter(|listener| listener.is_waiting()) else {
                    break;
                };
                match listener.accept() {
                    Ok((stream, remote)) => self.admit(stream, remote),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => self.accept_failed(index, &error),
                }
            }
        }
    }

    fn accept_failed(&mut self, index: usize, error: &io::Error) {
        self.net.totals.accept_errors += 1;
        let Some(listener) = self.listeners.get_mut(index) else { return };
        if let Some(pause) = listener.failed(error) {
            let at = self.net.now.at + pause;
            self.net.timers.arm(at, Due::Listener(index));
        }
    }

    fn admit(&mut self, stream: Stream, remote: SocketAddr) {
        // A place is made before the protocol is asked, since it counts those who hold one as well. For a stranger whom it then
        // refuses one is evicted for nothing, but not another before somebody who was admitted has filled the place.
        if self.net.handshakes.len() >= self.net.config.tls_pending
            && let Some(oldest) = self.net.handshakes.eviction_candidate(remote)
        {
            self.evict_handshake(oldest);
        }
        let mut answer = self.protocol.admit(self.net.now, remote, &mut self.net);
        if let Admit::Evict(other) = answer
            && let Some(id) = self.net.handshakes.find(other)
        {
            self.evict_handshake(id);
            answer = self.protocol.admit(self.net.now, remote, &mut self.net);
        }
        let net = &mut self.net;
        let full = net.is_full();
        if answer != Admit::Accept || full {
            net.totals.refused += 1;
            net.totals.refused_limit += u64::from(full);
            net.totals.refused_admit += u64::from(!full);
            match answer {
                Admit::Accept => self.release_admission(remote, CloseReason::LimitReached),
                Admit::TurnAway(frame) => turn_away(stream, if net.config.speaks_tls() { &TLS_ALERT } else { frame }),
                Admit::Refuse | Admit::Evict(_) => {}
            }
            return;
        }
        // The connection may be gone again already; then one of these says so and there is nothing to report.
        let until = net.now.at + net.config.tls_timeout;
        let inserted = stream.set_nodelay().and_then(|()| stream.local_addr()).and_then(|local| {
            let mut conn = Conn::new(stream, ConnState::Connecting, net.config.rules);
            conn.pending = Some(Box::new(PendingConn { direction: Direction::Inbound, remote, until }));
            Ok((net.insert(conn)?, local))
        });
        match inserted {
            Ok((id, local)) => {
                net.totals.accepted += 1;
                self.on_connected(id, local);
            }
            Err(error) => {
                net.totals.refused += 1;
                self.release_admission(remote, CloseReason::Io(error.kind()));
            }
        }
    }

    fn release_admission(&mut self, remote: SocketAddr, reason: CloseReason) {
        self.protocol.handle(self.net.now, Event::AdmissionReleased { remote, reason }, &mut self.net);
    }
}

/// Says one last thing to somebody who was not let in. What it has sent by now is read, for a socket that is closed with bytes
/// unread ends with a reset, which may overtake what was said. Neither call waits, and neither is tried again.
fn turn_away(mut stream: Stream, last: &[u8]) {
    let _ = stream.write_vectored(&[IoSlice::new(last)]);
    let _ = stream.shutdown_write();
    let _ = stream.read(&mut [0; 4096]);
}

/// A plaintext record with the fatal alert user_canceled (RFC 8446, section 6.1): the handshake ends for a reason that is no
/// failure of the protocol.
const TLS_ALERT: [u8; 7] = [21, 3, 3, 0, 2, 2, 90];
