//! Connections with TLS or WebSocket: from a socket that is connected to a peer that is known, and from records to frames.
//!
//! Budgets come before cryptography. Inbound handshakes are limited in number, in rate and in time, see `handshakes`, and all
//! of them in bytes. A protocol hears of a connection when the peer is known; until then it knows the dial that it asked for,
//! or the address that it admitted.

use std::io::{IoSlice, Read};
use std::net::SocketAddr;

use super::conn::{Conn, ConnState, PendingConn};
use super::door;
use super::edge::{Received, read_some};
use super::net::{Net, Notice};
use super::read::{Finish, Pause, deliver, reason_of_end};
use super::{Driver, Event, Protocol};
use crate::close::{CloseReason, TlsFault, WebSocketFault};
use crate::id::{ConnId, Direction};
use crate::limits::LINGER;
use crate::link::{Inbox, Link, Transport};
use crate::wire::{FrameError, Kind, Parse, frame};

/// Bytes that are read at once from one whose records are small: each has its price, and all that one read brings are opened.
const DENSE_READ: usize = 16 * 1024;

impl<P: Protocol> Driver<P> {
    /// A connection that the protocol does not know is ready for something.
    pub(super) fn advance_pending(&mut self, id: ConnId) {
        match self.net.conns.get(id).map(|conn| &conn.state) {
            Some(ConnState::Connecting) => {
                if let Some(local) = self.net.finish_dial(id) {
                    self.on_connected(id, local);
                    // Whoever speaks first may have done so with the word that the connection stands, and there is no other.
                    if self.net.conns.get(id).is_some_and(Conn::is_securing) {
                        self.secure(id);
                    }
                }
            }
            Some(ConnState::Securing { .. }) => self.secure(id),
            _ => {}
        }
    }

    /// The socket is connected: on to TLS, or to the protocol.
    pub(super) fn on_connected(&mut self, id: ConnId, local: SocketAddr) {
        let net = &mut self.net;
        let Some(conn) = net.conns.get_mut(id) else { return };
        let Some(pending) = conn.pending.as_deref().copied() else { return };
        conn.flags.writable = true;
        let door = core::mem::take(&mut conn.door);
        if !net.secures(&door) {
            return self.announce(id, local);
        }
        if !pending.direction.is_outbound() {
            net.handshakes.enter(pending.until, id, pending.remote);
        }
        let transport = net.transport(door, pending.remote, pending.direction);
        let Some(conn) = net.conns.get_mut(id) else { return };
        if let Err(fault) = conn.start_securing(local, transport) {
            return net.remove(id, CloseReason::Tls(fault));
        }
        conn.link.transport.account(&mut net.pool);
        net.arm(id, pending.until);
        net.mark_dirty_if_queued(id);
    }

    /// Ends a handshake to make room for a newcomer, and tells the protocol at once: it is about to be asked whether there is a
    /// place.
    pub(super) fn evict_handshake(&mut self, id: ConnId) {
        let net = &mut self.net;
        // Where nothing was said yet an alert may be, and tells a dialer of ours that he may come again.
        if let Some(conn) = net.conns.get_mut(id).filter(|conn| conn.counters.bytes_out == 0) {
            net.totals.writes += 1;
            let transport = &conn.link.transport;
            let is_http = transport.is_web_socket() && !transport.has_tls();
            let last = if is_http { door::TURNED_AWAY } else { &TURNED_AWAY };
            let _ = conn.stream.write_vectored(&[IoSlice::new(last)]);
        }
        match net.take_out(id, CloseReason::LimitReached) {
            Some(Notice::Released(remote, reason)) => {
                net.totals.tls_evicted += 1;
                net.handshakes.note_evicted(remote);
                self.protocol.handle(net.now, Event::AdmissionReleased { remote, reason }, net);
            }
            other => net.notices.extend(other),
        }
    }

    /// Tells the protocol that the connection is open.
    fn announce(&mut self, id: ConnId, local: SocketAddr) {
        let net = &mut self.net;
        net.leave_securing(id);
        let Some(pending) = net.conns.open(id) else { return };
        net.note_backpressure(id);
        #[cfg(feature = "ws")]
        if let Some(conn) = net.conns.get_mut(id).filter(|conn| conn.link.transport.is_web_socket()) {
            conn.progressed = net.now.at;
            if let Some(at) = net.ping_at(id) {
                net.arm(id, at);
            }
        }
        let identity = net.conns.get(id).and_then(|conn| conn.link.transport.identity());
        let (remote, direction) = (pending.remote, pending.direction);
        self.protocol.handle(net.now, Event::Opened { conn: id, remote, local, direction, identity }, net);
    }

    /// Reads until the handshake is done or fails, or the socket has no more.
    fn secure(&mut self, id: ConnId) {
        while let Some(shaken) = self.read_handshake(id) {
            match shaken {
                Ok(local) => {
                    let transport = self.net.conns.get(id).map(|conn| &conn.link.transport);
                    let (has_tls, is_web_socket) =
                        transport.map_or((true, false), |transport| (transport.has_tls(), transport.is_web_socket()));
                    self.net.totals.tls_handshakes += u64::from(has_tls);
                    self.net.totals.web_sockets += u64::from(is_web_socket);
                    self.announce(id, local);
                }
                Err(reason) => self.net.end_sealed(id, reason),
            }
        }
        self.net.mark_dirty_if_queued(id);
    }

    /// One read of a handshake: our address when it is done, the reason when it failed, `None` when it needs more than
    /// there is.
    fn read_handshake(&mut self, id: ConnId) -> Option<Result<SocketAddr, CloseReason>> {
        let Driver { net, buffer, .. } = self;
        loop {
            let conn = net.conns.get_mut(id)?;
            let ConnState::Securing { local } = &conn.state else { return None };
            let local = **local;
            if !conn.flags.readable {
                return None;
            }
            let position = conn.counters.bytes_in;
            // The first bytes are what the processor works for; until then a stranger costs it nothing.
            let inbound = |pending: &PendingConn| !pending.direction.is_outbound();
            let stranger = conn.pending.as_deref().copied().filter(|pending| position == 0 && inbound(pending));
            if let Some(stranger) = stranger
                && !net.handshakes.may_begin(&net.config, stranger.remote, net.now.at)
            {
                net.throttle(id, stranger);
                return None;
            }
            let size = buffer.len().min(conn.link.transport.room());
            let room = buffer.room(position, size);
            let count = match read_some(conn, &mut net.totals, size, |stream| stream.read(room)) {
                Received::Bytes { count, .. } => count,
                Received::Nothing => return None,
                Received::End => return Some(Err(conn.link.transport.cut())),
                Received::Failed(reason) => return Some(Err(reason)),
            };
            if let Some(stranger) = stranger {
                net.handshakes.begin(&net.config, (stranger.until, id), stranger.remote, net.now.at);
            }
            let held = conn.link.held();
            let Link { inbox, transport, .. } = &mut conn.link;
            // Frames may follow the handshake at once; they wait until the protocol knows who sends them.
            transport.open(buffer.filled_mut(position, count), net.now.at, &mut |mut plaintext| {
                inbox.stash(&mut plaintext, &mut net.pool);
                true
            });
            transport.account(&mut net.pool);
            let work = transport.take_work();
            net.shares.spend(work);
            net.totals.work += u64::from(work);
            net.receive.charge(conn.link.held());
            net.receive.release(held);
            if let Some(Err(reason)) = conn.link.transport.end() {
                if reason == CloseReason::Tls(TlsFault::NotTls) && stranger.is_some() {
                    return Some(Err(answer_without_tls(conn, buffer.filled(position, count))));
                }
                return Some(Err(reason));
            }
            if !conn.link.transport.is_securing() {
                return Some(Ok(local));
            }
        }
    }

    /// As for a plain connection: reads, opens and delivers within the connection's budgets. Records are opened as they
    /// come, so that a pause leaves the plaintext of one read at most.
    pub(super) fn read_sealed(&mut self, id: ConnId, inbox: &mut Inbox) -> Pause {
        let (mut frames_left, mut bytes_left) = self.net.turn_budget();
        if inbox.has_stash()
            && let Some(pause) = deliver(&mut self.protocol, &mut self.net, id, inbox, &[], &mut frames_left)
        {
            return pause;
        }
        if self.net.conns.get(id).is_some_and(|conn| conn.link.transport.end().is_none()) {
            match self.net.download_share(id) {
                0 => return Pause::Throttled,
                share => bytes_left = bytes_left.min(share),
            }
        }
        let Some(conn) = self.net.conns.get_mut(id) else { return Pause::Protocol };
        // Taken out, as the inbox is: the protocol may do anything to the connection meanwhile.
        let mut transport = core::mem::take(&mut conn.link.transport);
        self.net.lent = Some((id, transport.unsent()));
        self.net.web.is_lent = transport.is_web_socket();
        let pause = self.read_records(id, &mut transport, inbox, (frames_left, bytes_left));
        self.net.lent = None;
        match self.net.conns.get_mut(id) {
            Some(conn) => {
                conn.link.transport = transport;
                self.net.note_backpressure(id);
                self.net.mark_dirty_if_queued(id);
            }
            None => transport.clear(&mut self.net.pool),
        }
        pause
    }

    fn read_records(
        &mut self,
        id: ConnId,
        transport: &mut Transport,
        inbox: &mut Inbox,
        budget: (usize, usize),
    ) -> Pause {
        let Driver { protocol, net, buffer, .. } = self;
        let (mut frames_left, mut bytes_left) = budget;
        loop {
            match transport.end() {
                None => {}
                Some(Err(reason)) => return Pause::Failed(reason),
                Some(Ok(())) => {
                    let reason = reason_of_end(inbox, CloseReason::RemoteClosed);
                    return Pause::PeerFinished(reason, Finish::OfFrames);
                }
            }
            if bytes_left == 0 {
                return Pause::Budget;
            }
            if !net.receive.admits(id, inbox, &net.config, (net.now.at, &net.conns)) {
                return Pause::OverReceiveBudget;
            }
            let now = net.now.at;
            let Some(conn) = net.conns.get_mut(id) else { return Pause::Protocol };
            let size = buffer.len().min(bytes_left).min(if transport.is_dense() { DENSE_READ } else { usize::MAX });
            let position = conn.counters.bytes_in;
            let room = buffer.room(position, size);
            let (count, drained) = match read_some(conn, &mut net.totals, size, |stream| stream.read(room)) {
                Received::Bytes { count, drained } => (count, drained),
                Received::Nothing => return Pause::Drained,
                Received::End => {
                    let reason = reason_of_end(inbox, transport.cut());
                    return Pause::PeerFinished(reason, Finish::OfStream);
                }
                Received::Failed(reason) => return Pause::Failed(reason),
            };
            debug_assert!(count <= bytes_left, "the room was cut to what is left");
            net.downloaded(id, count);
            bytes_left = bytes_left.saturating_sub(count);
            let mut pause = None;
            transport.open(buffer.filled_mut(position, count), now, &mut |mut plaintext| {
                if pause.is_none() {
                    pause = deliver(protocol, net, id, inbox, plaintext, &mut frames_left);
                } else {
                    inbox.stash(&mut plaintext, &mut net.pool);
                }
                !matches!(pause, Some(Pause::Violation(_))) && net.conns.get(id).is_some_and(Conn::is_open)
            });
            transport.account(&mut net.pool);
            net.spend(transport.take_work());
            if let Some(pause) = pause {
                return pause;
            }
            if net.shares.is_spent() {
                return Pause::Budget;
            }
            if drained && transport.end().is_none() {
                return Pause::Drained;
            }
        }
    }
}

/// Whoever came to a port with TLS and speaks none is told so in what it speaks, as on a port without: else its log could not
/// say why. `bytes` are the first that came. Answers what it was.
fn answer_without_tls(conn: &mut Conn, bytes: &[u8]) -> CloseReason {
    let rules = conn.rules;
    let reason = match frame::parse(bytes, rules) {
        Parse::Never(error @ FrameError::Foreign(_)) => CloseReason::Frame(error),
        _ => CloseReason::Tls(TlsFault::NotTls),
    };
    // In a protocol of an embedder's own we do not know how to say no.
    if !rules.recognises_foreign() {
        return reason;
    }
    if let CloseReason::Frame(FrameError::Foreign(foreign)) = reason
        && !foreign.answer().is_empty()
    {
        conn.link.transport.answer_plainly(foreign.answer());
    } else if let Some(text) = reason.consequence().last_error
        && let Ok(header) = frame::header(Kind::Error as u8, text.len())
    {
        conn.link.transport.answer_plainly(&[&header[..], text.as_bytes()].concat());
    }
    reason
}

impl Net {
    /// The handshake begins when there is a budget for it; until then nothing of it is read.
    fn throttle(&mut self, id: ConnId, stranger: PendingConn) {
        let Some(conn) = self.conns.get_mut(id) else { return };
        if !core::mem::replace(&mut conn.flags.throttled, true) {
            self.totals.tls_throttled += 1;
        }
        self.handshakes.wait((stranger.until, id), stranger.remote, self.now.at, &mut self.timers);
    }

    /// The handshake is over, one way or the other.
    pub(super) fn leave_securing(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(id).filter(|conn| conn.is_securing()) else { return };
        if let Some(PendingConn { direction: Direction::Inbound, until, .. }) = conn.pending.as_deref() {
            self.handshakes.leave(*until, id);
        }
    }

    /// The peer has broken TLS's rules or speaks none, or its stream has failed. The alert or the answer that says why is still
    /// written and has a moment to arrive.
    pub(super) fn end_sealed(&mut self, id: ConnId, reason: CloseReason) {
        let now = self.now.at;
        let Some(conn) = self.conns.get_mut(id) else { return };
        let has_word = match reason {
            CloseReason::Tls(fault) => fault != TlsFault::Cut,
            CloseReason::WebSocket(fault) => fault != WebSocketFault::Cut,
            other => matches!(other, CloseReason::Frame(_)),
        };
        if !has_word || conn.link.transport.unsent() == 0 {
            return self.remove(id, reason);
        }
        conn.link.outbox.clear(&mut self.pool);
        self.leave_securing(id);
        if let Some(mut entry) = self.conns.entry(id) {
            entry.conn.start_draining(reason, now, LINGER);
            if let Some(pending) = entry.conn.pending.as_deref_mut().filter(|pending| !pending.direction.is_outbound())
            {
                // The place that it was admitted to is free; its last word needs none.
                pending.told = true;
                self.notices.push_back(Notice::Released(pending.remote, reason));
            }
            entry.mark_dirty();
            entry.mark_ready();
        }
        self.arm(id, now + LINGER);
    }
}

/// A plaintext record with the fatal alert user_canceled (RFC 8446, section 6.1): the handshake ends for a reason that is no
/// failure of the protocol.
pub(super) const TURNED_AWAY: [u8; 7] = [21, 3, 3, 0, 2, 2, 90];
