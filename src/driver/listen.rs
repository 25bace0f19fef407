//! From sockets that wait to be accepted to connections: within a budget, and asked about first.

use std::io::{self, IoSlice, Read};
use std::net::SocketAddr;

use super::conn::{Conn, ConnState, PendingConn};
use super::door::{self, Door};
use super::listener::{Listener, listener_token};
use super::net::Net;
use super::system::{PortUse, Stream};
use super::timer::Due;
use super::tls::TURNED_AWAY;
use super::waiting_room::Waiting;
use super::{Admit, Driver, Event, Protocol};
use crate::close::CloseReason;
use crate::id::{ConnId, Direction};
use crate::limits::{ADMIT_PAUSE, ADMIT_RETRY, TLS_SILENCE};
use crate::time::Instant;

impl<P: Protocol> Driver<P> {
    /// Binds and listens; answers the real address when port 0 was asked for.
    ///
    /// # Errors
    ///
    /// Whatever the system says to the address: in use, not ours, not allowed.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<SocketAddr> {
        self.listen_on(address, PortUse::Alone)
    }

    /// The same, of a port that may be shared with other loops.
    pub(super) fn listen_on(&mut self, address: SocketAddr, port: PortUse) -> io::Result<SocketAddr> {
        self.listen_at(address, port, Door::Frames)
    }

    /// The same, for those who come by this door.
    pub(super) fn listen_at(&mut self, address: SocketAddr, port: PortUse, door: Door) -> io::Result<SocketAddr> {
        let mut socket = self.net.system.listen(address, &self.net.config, port)?;
        let bound = socket.local_addr()?;
        self.net.system.register_acceptor(&mut socket, listener_token(self.listeners.len()))?;
        self.listeners.push(Listener::new(socket, door));
        Ok(bound)
    }

    /// Takes waiting connections from every listener, up to the turn's budget for each; before them those that waited for a place
    /// which is free now.
    pub(super) fn accept_all(&mut self) {
        while self.net.has_place_for_backlog()
            && let Some((stream, remote, door)) = self.net.backlog.pop()
        {
            self.admit(stream, remote, door);
        }
        for index in 0..self.listeners.len() {
            let budget = self.net.config.turn_accepts;
            for _ in 0..budget {
                let Some(listener) = self.listeners.get_mut(index).filter(|listener| listener.is_waiting()) else {
                    break;
                };
                match listener.accept() {
                    Ok((stream, remote)) => {
                        let door = listener.door().clone();
                        self.take_in(stream, remote, door);
                    }
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

    /// Sees to a place for a newcomer, or has him wait for one.
    ///
    /// A place is made before the protocol is asked, since it counts those who hold one as well. For a stranger whom it then
    /// refuses one is evicted for nothing, but not another before somebody who was admitted has filled the place.
    fn take_in(&mut self, stream: Stream, remote: SocketAddr, door: Door) {
        let net = &mut self.net;
        // Whoever shakes no hands needs no such place.
        let is_taken = net.secures(&door) && net.handshakes.len() >= net.config.tls_pending;
        let Some(victim) = net.handshakes.eviction_candidate(remote).filter(|_| is_taken) else {
            return self.admit(stream, remote, door);
        };
        if victim.crowds_more {
            self.evict_handshake(victim.conn);
            return self.admit(stream, remote, door);
        }
        let has_room = net.backlog.len() < net.config.tls_backlog && !net.is_full();
        net.wait_for_place(stream, remote, door);
        if !has_room {
            self.evict_handshake(victim.conn);
            if let Some((stream, remote, door)) = self.net.backlog.pop() {
                self.admit(stream, remote, door);
            }
        }
    }

    /// Those who wait for a place have waited for a while: whoever holds one and is silent gives way, and whoever has begun and
    /// does not go on. One that waits for us, unread, does neither.
    pub(super) fn check_backlog(&mut self) {
        let Driver { net, .. } = self;
        let (now, timeout) = (net.now.at, net.config.tls_timeout);
        for (stream, door) in net.backlog.give_up(now) {
            net.totals.refused += 1;
            net.totals.refused_limit += 1;
            turn_away(stream, net.last_word(&TURNED_AWAY, &door));
        }
        if net.backlog.is_empty() {
            return;
        }
        net.timers.arm(now + TLS_SILENCE, Due::Backlog);
        let stalled = net
            .handshakes
            .stalled(now + timeout.saturating_sub(TLS_SILENCE), now + timeout.saturating_sub(timeout / 2));
        let unread = |id: &ConnId| net.conns.get(*id).is_some_and(|conn| conn.flags.readable);
        let give_way: Vec<ConnId> = stalled.into_iter().filter(|id| !unread(id)).take(net.backlog.len()).collect();
        for id in give_way {
            self.evict_handshake(id);
        }
    }

    /// Something has happened, and a place may be free: the protocol is asked about those whom it told to wait, unless it was
    /// asked a moment ago.
    pub(super) fn attend_waiting_room(&mut self) {
        if self.net.waiting_room.is_empty() {
            return;
        }
        let next = self.net.waiting_room.asked_at + ADMIT_PAUSE;
        if self.net.now.at < next {
            self.net.look_at_waiting_room(next);
        } else {
            self.check_waiting_room();
        }
    }

    /// Asks about those who wait, in their order, until there is no place for one; those whose time is up are turned away.
    fn check_waiting_room(&mut self) {
        let now = self.net.now.at;
        while let Some(overdue) = self.net.waiting_room.take_overdue(now) {
            self.turn_away_waiting(overdue);
        }
        for _ in 0..self.net.config.turn_accepts {
            let Some(first) = self.net.waiting_room.take_first() else { break };
            let is_in = self.ask_about(first.stream, (first.remote, first.door), Some(first.until));
            if !is_in {
                break;
            }
        }
        self.net.waiting_room.asked_at = now;
        if !self.net.waiting_room.is_empty() {
            self.net.look_at_waiting_room(now + ADMIT_RETRY);
        }
    }

    /// Has a socket wait for the protocol, behind the others, or before them when it has waited already.
    fn wait_for_protocol(&mut self, waiting: Waiting, again: bool) {
        let net = &mut self.net;
        if again {
            return net.waiting_room.put_back(waiting);
        }
        net.look_at_waiting_room(net.now.at + ADMIT_RETRY);
        net.totals.admit_waited += 1;
        if let Some(last) = net.waiting_room.enter(waiting, net.config.admit_waiting) {
            self.turn_away_waiting(last);
        }
    }

    fn turn_away_waiting(&mut self, waiting: Waiting) {
        let Waiting { stream, remote, door, last, .. } = waiting;
        self.net.totals.refused += 1;
        self.net.totals.refused_admit += 1;
        self.protocol.handle(self.net.now, Event::WaitedInVain { remote, last }, &mut self.net);
        turn_away(stream, self.net.last_word(last, &door));
    }

    fn admit(&mut self, stream: Stream, remote: SocketAddr, door: Door) {
        self.ask_about(stream, (remote, door), None);
    }

    /// Asks the protocol about an address, and does as it says. `waits_until` is of one who waits already. False when he still does.
    fn ask_about(&mut self, stream: Stream, (remote, door): (SocketAddr, Door), waits_until: Option<Instant>) -> bool {
        let mut answer = self.protocol.admit(self.net.now, remote, &mut self.net);
        if let Admit::Evict(other) = answer
            && let Some(id) = self.net.handshakes.find(other)
        {
            self.evict_handshake(id);
            answer = self.protocol.admit(self.net.now, remote, &mut self.net);
        }
        let net = &mut self.net;
        if answer == Admit::Accept
            && let Some(id) = net.oldest_drain()
        {
            // What was queued in this turn gets its one attempt.
            net.flush(id);
            net.cut_drain(id);
        }
        let full = net.is_full();
        if let Admit::Wait(last) = answer
            && !full
        {
            let until = waits_until.unwrap_or(net.now.at + net.config.admit_wait);
            self.wait_for_protocol(Waiting { stream, remote, door, last, until }, waits_until.is_some());
            return false;
        }
        if answer != Admit::Accept || full {
            net.totals.refused += 1;
            net.totals.refused_limit += u64::from(full);
            net.totals.refused_admit += u64::from(!full);
            match answer {
                Admit::Accept => self.release_admission(remote, CloseReason::LimitReached),
                Admit::TurnAway(last) | Admit::Wait(last) => turn_away(stream, net.last_word(last, &door)),
                Admit::Refuse | Admit::Evict(_) => {}
            }
            return true;
        }
        // The connection may be gone again already; then one of these says so and there is nothing to report.
        let until = net.now.at + net.config.tls_timeout;
        let keep_alive = net.config.keep_alive;
        let ready = stream.set_nodelay().and_then(|()| keep_alive.map_or(Ok(()), |idle| stream.set_keep_alive(idle)));
        let inserted = ready.and_then(|()| stream.local_addr()).and_then(|local| {
            let mut conn = Conn::new(stream, ConnState::Connecting, net.config.rules);
            conn.door = door;
            conn.introduce(PendingConn { direction: Direction::Inbound, remote, until, told: false });
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
        true
    }

    fn release_admission(&mut self, remote: SocketAddr, reason: CloseReason) {
        self.protocol.handle(self.net.now, Event::AdmissionReleased { remote, reason }, &mut self.net);
    }
}

impl Net {
    /// Does somebody wait for a place that is free?
    pub(super) fn has_place_for_backlog(&self) -> bool {
        !self.backlog.is_empty() && self.handshakes.len() < self.config.tls_pending
    }

    /// Sees to it that those who wait are looked at by then.
    fn look_at_waiting_room(&mut self, at: Instant) {
        if self.waiting_room.due.is_none_or(|due| at < due) {
            self.waiting_room.due = Some(at);
            self.timers.arm(at, Due::WaitingRoom);
        }
    }

    /// What is said to somebody who is turned away: under TLS an alert, for nothing else can be said there.
    fn last_word(&self, plain: &'static [u8], door: &Door) -> &'static [u8] {
        match (self.config.speaks_tls(), door.is_web_socket()) {
            (true, _) => &TURNED_AWAY,
            (false, true) => door::TURNED_AWAY,
            (false, false) => plain,
        }
    }

    fn wait_for_place(&mut self, stream: Stream, remote: SocketAddr, door: Door) {
        if self.backlog.is_empty() {
            self.timers.arm(self.now.at + TLS_SILENCE, Due::Backlog);
        }
        self.backlog.push(stream, remote, door, self.now.at + self.config.tls_timeout);
        self.totals.tls_waited += 1;
    }
}

/// Says one last thing to somebody who was not let in. What it has sent by now is read, for a socket that is closed with bytes
/// unread ends with a reset, which may overtake what was said. Neither call waits, and neither is tried again.
fn turn_away(mut stream: Stream, last: &[u8]) {
    let _ = stream.write_vectored(&[IoSlice::new(last)]);
    let _ = stream.shutdown_write();
    let _ = stream.read(&mut [0; 4096]);
}
