//! Who is alive: heartbeats, pings and silence.
//!
//! Every `heartbeat` a Heartbeat goes out, and a Ping to those who know the word; silence of `idle_timeout` or a Ping without its Pong for
//! `ping_timeout` ends the connection. A peer in the middle of a large frame is not silent, and neither is one that takes a large
//! frame from us: before each judgement the driver is asked what the connection has received and sent.

use core::time::Duration;

use crate::close::CloseReason;
use crate::id::ConnId;
use crate::limits::FRAME_RATE;
use crate::proto::clock::PeerClock;
use crate::proto::event::Received;
use crate::proto::node::{Node, moment};
use crate::proto::sync::chain::Chain;
use crate::time::{Instant, Now, UnixTime};
use crate::wire::Message;
use crate::wire::message::{Heartbeat, Ping};

/// How long a connection in doubt may stay silent.
const DOUBT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes per second that a peer must take of a large frame, or the ping behind it is late. A quarter of what is asked of a frame
/// that comes: a system takes bytes from us in pieces of up to a megabyte, and looks are some seconds apart.
const TAKEN_RATE: u64 = FRAME_RATE / 4;
/// Time between two doubts about one connection.
const DOUBT_AGAIN: Duration = Duration::from_secs(5);

/// Was a frame of ours in the way all the time, and did the peer take enough of it?
fn takes(time: Duration, before: Received, now: Received) -> bool {
    let taken = now.sent_bytes.saturating_sub(before.sent_bytes);
    let enough = u128::from(TAKEN_RATE).saturating_mul(time.as_millis()) / 1000;
    taken > 0 && u128::from(taken) >= enough && now.sent_frames == before.sent_frames
}

impl<C: Chain> Node<C> {
    /// The driver's answer. When bytes came since the last look, but no whole frame, the peer is slow and not silent: neither
    /// silence nor a ping that waits behind the frame is held against it. The same when it took bytes of a frame of ours: our
    /// ping is behind it, and counts from when it can have left.
    pub(super) fn on_received(&mut self, now: Now, conn: ConnId, received: Received) {
        if self.sessions.answered(conn)
            && let Some(session) = self.sessions.get_mut(conn)
            && let Some(peer) = session.peer_mut()
        {
            let before = peer.received.replace((now.at, received));
            let sends =
                before.is_some_and(|(_, before)| received.bytes > before.bytes && received.frames == before.frames);
            let takes = before.is_some_and(|(at, before)| takes(now.at.since(at), before, received));
            let waited = core::mem::replace(&mut peer.ping_waits, takes);
            if sends || takes || waited {
                if let Some((_, sent)) = &mut peer.ping {
                    *sent = now.at;
                }
                if takes && let Some(since) = &mut peer.doubted {
                    // What is taken is taken by somebody who is there.
                    *since = now.at;
                }
                session.heard(now.at);
            } else if peer.doubted.is_some() {
                // A part of a frame is a sign of life, whatever whole ones came before the doubt.
                let began_with = *peer.doubted_at.get_or_insert(received.bytes);
                if received.bytes > began_with {
                    session.heard(now.at);
                }
            }
            self.judge_liveness(now, conn);
        }
        self.end_tick(now);
    }

    /// A close, a heartbeat, or nothing yet; then the session is due again when there may be something.
    pub(super) fn judge_liveness(&mut self, now: Now, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(conn) else { return };
        if let Some(deadline) = session.greeting_deadline() {
            if deadline <= now.at && self.admission.has_client_place(conn) {
                // A miner says nothing until it hears where the chain ends.
                if self.let_in_client(now, conn) {
                    self.tell_client(now, conn);
                }
            } else if deadline <= now.at {
                self.close(now, conn, CloseReason::HandshakeTimeout);
            } else {
                self.sessions.reschedule(conn, deadline);
            }
            return;
        }
        let idle_at = session.last_received() + self.config.idle_timeout;
        if session.client().is_some() {
            // It may wait for hours. A write that stalls ends it, or the system, which asks whether the line still stands.
            return self.sessions.reschedule(conn, Instant::NEVER);
        }
        let Some(peer) = session.peer_mut() else { return };
        let ping_at = peer.ping.map_or(Instant::NEVER, |(_, sent)| sent + self.config.ping_timeout);
        let ping_at = peer.doubted.map_or(ping_at, |since| ping_at.min(since + DOUBT_TIMEOUT));
        if idle_at <= now.at {
            return self.close(now, conn, CloseReason::IdleTimeout);
        }
        if ping_at <= now.at {
            return self.close(now, conn, CloseReason::PingTimeout);
        }
        let first = idle_at.min(ping_at);
        if peer.next_heartbeat > now.at {
            let due = first.min(peer.next_heartbeat);
            return self.sessions.reschedule(conn, due);
        }
        peer.next_heartbeat = now.at + self.config.heartbeat;
        // A ping that leaves now has its own deadline, which may be the first one.
        let due = first.min(peer.next_heartbeat).min(now.at + self.config.ping_timeout);
        self.sessions.reschedule(conn, due);
        self.send_heartbeat(now, conn);
    }

    pub(super) fn send_heartbeat(&mut self, now: Now, conn: ConnId) {
        let chain_length = i64::try_from(self.chain.best().height.saturating_add(1)).unwrap_or(i64::MAX);
        let node_id = self.config.node_id.clone();
        self.send(conn, &Message::Heartbeat(Heartbeat::Status { chain_length, node_id: &node_id }));
        let Some(session) = self.sessions.get_mut(conn) else { return };
        let last_received = session.last_received();
        let Some(peer) = session.peer_mut() else { return };
        let (id, ask) = (peer.known_as.clone(), peer.speech.may_be_pinged() && peer.ping.is_none());
        let nonce = (self.rng.next_u64() >> 1) as i64;
        if ask {
            peer.ping = Some((nonce, now.at));
        }
        self.peers.update_last_seen(&id, moment(now, last_received));
        if ask {
            self.send(conn, &Message::Ping(Ping { nonce, unix_millis: now.unix.as_millis() }));
        }
        // The word that a queue has room may never come when others filled what all share.
        self.on_writable(now, conn);
    }

    /// Another connection claims this peer's id. It may be the peer itself, back from a crash that left this connection
    /// half-open; a ping that must be answered soon tells, and so does every other byte.
    pub(super) fn doubt(&mut self, now: Now, conn: ConnId) {
        let peer = self.sessions.peer_mut(conn);
        let Some(peer) = peer.filter(|peer| peer.version >= 2 && peer.doubted.is_none()) else { return };
        // Who claims the id again and again must not make us use up our budget at the peer.
        if peer.next_doubt > now.at {
            return;
        }
        (peer.doubted, peer.next_doubt) = (Some(now.at), now.at + DOUBT_AGAIN);
        (peer.doubted_at, peer.next_heartbeat) = (None, now.at);
        self.judge_liveness(now, conn);
        // Due again at once, so that the driver says what has come by now.
        self.sessions.reschedule(conn, now.at);
    }

    pub(super) fn on_ping(&mut self, now: Now, conn: ConnId, ping: &Ping) {
        if let Some(peer) = self.sessions.asker_mut(conn) {
            peer.speech.answered_ping(now.at, ping.nonce);
        }
        self.send(conn, &Message::Pong(Ping { nonce: ping.nonce, unix_millis: now.unix.as_millis() }));
    }

    /// A ping of a version 1 peer that is an answer in truth: to a ping of ours, or the echo of a pong. It costs nothing, for we
    /// asked for it, and is not answered, or the two would go on for ever.
    pub(super) fn on_echo(&mut self, now: Now, conn: ConnId, ping: &Ping) -> bool {
        let peer = self.sessions.asker_mut(conn);
        let Some(peer) = peer.filter(|peer| peer.speech.is_version_1()) else { return false };
        if peer.ping.is_some_and(|(nonce, _)| nonce == ping.nonce) {
            self.on_pong(now, conn, ping);
            return true;
        }
        peer.speech.takes_echo(now.at, ping.nonce)
    }

    pub(super) fn on_pong(&mut self, now: Now, conn: ConnId, pong: &Ping) {
        let Some(peer) = self.sessions.peer_mut(conn) else { return };
        // A pong to no ping of ours is dropped: it may answer one that a slow link delayed.
        if let Some((_, sent)) = peer.ping.filter(|(expected, _)| *expected == pong.nonce) {
            let round_trip = now.at.since(sent);
            peer.round_trip = Some(round_trip);
            self.counters.round_trips.record(round_trip);
            // What it said is half a round trip old.
            peer.clock = Some(PeerClock::read(sent + round_trip / 2, UnixTime::from_millis(pong.unix_millis)));
            peer.ping = None;
        }
    }
}
