//! What happens when nothing happens: liveness, dials, staleness and saving.
//!
//! Liveness in steps: every `heartbeat` a Heartbeat goes out, and a Ping to version 2; silence of `idle_timeout` or a
//! Ping without its Pong for `ping_timeout` ends the connection. A peer in the middle of a large frame is not silent.

use core::net::{IpAddr, SocketAddr};
use core::time::Duration;
use std::collections::BTreeSet;

use crate::address::Origin;
use crate::close::CloseReason;
use crate::id::ConnId;
use crate::proto::event::{Output, Received};
use crate::proto::node::{Node, Timer, moment};
use crate::proto::peer::outbound::DialContext;
use crate::proto::session::SessionState;
use crate::proto::sync::chain::Chain;
use crate::time::{Instant, Now};
use crate::wire::Message;
use crate::wire::message::{Heartbeat, Ping};

/// With fewer addresses than this in the book, a peer we dialed is asked for more.
const ADDRESSES_WANTED: usize = 64;
/// A driver that does not say within this what a connection has received has nothing to say in the peer's favour.
const COUNT_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection in doubt may stay silent.
const DOUBT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time between two doubts about one connection.
const DOUBT_AGAIN: Duration = Duration::from_secs(5);
/// Time between two rounds of housekeeping.
const HOUSEKEEPING: Duration = Duration::from_secs(10);

impl<C: Chain> Node<C> {
    pub(super) fn on_tick(&mut self, now: Now) {
        while let Some((at, timer)) = self.timers.first().copied() {
            if at > now.at {
                break;
            }
            self.timers.pop_first();
            match timer {
                Timer::Housekeeping => {
                    self.keep_house(now);
                    self.timers.insert((now.at + HOUSEKEEPING, Timer::Housekeeping));
                }
                Timer::Save => {
                    if !buggify!(self, DelaySave) {
                        self.outputs.push_back(Output::SavePeers);
                    }
                    self.timers.insert((now.at + self.config.save_interval, Timer::Save));
                }
                Timer::Session(conn) => self.on_session_due(now, conn),
                Timer::Pace(conn) => {
                    self.send_waiting(now, conn);
                    self.on_writable(now, conn);
                }
            }
        }
        self.end_tick(now);
    }

    /// What comes last in a tick: nobody is held to a question of the sync's whose silence has not been judged.
    fn end_tick(&mut self, now: Now) {
        if self.counting == 0 {
            self.sync.handle_tick(now, &mut self.chain);
        }
    }

    /// Before a peer is judged by its silence, the driver says what has come of a frame that is not complete yet.
    fn on_session_due(&mut self, now: Now, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        if let Some(peer) = session.peer_mut().filter(|peer| !peer.counting) {
            peer.counting = true;
            self.counting += 1;
            session.timer = now.at + COUNT_TIMEOUT;
            self.timers.insert((session.timer, Timer::Session(conn)));
            self.outputs.push_back(Output::CountReceived { conn });
        } else {
            if let Some(peer) = session.peer_mut().filter(|peer| peer.counting) {
                peer.counting = false;
                self.counting -= 1;
            }
            self.judge_liveness(now, conn);
        }
    }

    /// The driver's answer. When bytes came since the last look, but no whole frame, the peer is slow and not silent: neither
    /// silence nor a ping that waits behind the frame is held against it.
    pub(super) fn on_received(&mut self, now: Now, conn: ConnId, received: Received) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let timer = session.timer;
        let Some(peer) = session.peer_mut().filter(|peer| peer.counting) else { return };
        peer.counting = false;
        self.counting -= 1;
        let before = peer.received.replace(received);
        if before.is_some_and(|before| received.bytes > before.bytes && received.frames == before.frames) {
            if let Some((_, sent)) = &mut peer.ping {
                *sent = now.at;
            }
            session.heard(now.at);
        }
        self.timers.remove(&(timer, Timer::Session(conn)));
        self.judge_liveness(now, conn);
        self.end_tick(now);
    }

    /// A heartbeat, a close, or nothing yet; then the session's timer is set anew.
    fn judge_liveness(&mut self, now: Now, conn: ConnId) {
        let (heartbeat, idle_timeout, ping_timeout) =
            (self.config.heartbeat, self.config.idle_timeout, self.config.ping_timeout);
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let idle_at = session.last_received + idle_timeout;
        let mut beat = false;
        let mut expired = None;
        let next = match &mut session.state {
            SessionState::Closing { .. } => Instant::NEVER,
            SessionState::Greeting { deadline } => {
                if *deadline <= now.at {
                    expired = Some(CloseReason::HandshakeTimeout);
                }
                *deadline
            }
            SessionState::Ready(peer) => {
                let ping_at = peer.ping.map_or(Instant::NEVER, |(_, sent)| sent + ping_timeout);
                let ping_at = peer.doubted.map_or(ping_at, |since| ping_at.min(since + DOUBT_TIMEOUT));
                if idle_at <= now.at {
                    expired = Some(CloseReason::IdleTimeout);
                } else if ping_at <= now.at {
                    expired = Some(CloseReason::PingTimeout);
                } else if peer.next_heartbeat <= now.at {
                    beat = true;
                    peer.next_heartbeat = now.at + heartbeat;
                }
                peer.next_heartbeat.min(idle_at).min(ping_at)
            }
        };
        if let Some(reason) = expired {
            self.close(now, conn, reason);
            return;
        }
        // A ping that leaves now has its own deadline, which may be the first one.
        let next = if beat { next.min(now.at + ping_timeout) } else { next };
        session.timer = next;
        self.timers.insert((next, Timer::Session(conn)));
        if beat {
            self.send_heartbeat(now, conn);
        }
    }

    fn send_heartbeat(&mut self, now: Now, conn: ConnId) {
        let chain_length = i64::try_from(self.chain.best().height.saturating_add(1)).unwrap_or(i64::MAX);
        let node_id = self.config.node_id.clone();
        self.send(conn, &Message::Heartbeat(Heartbeat::Status { chain_length, node_id: &node_id }));
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let last_received = session.last_received;
        let Some(peer) = session.peer_mut() else { return };
        let (id, ask) = (peer.node_id.clone(), peer.version >= 2 && peer.ping.is_none());
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
    /// half-open; a ping that must be answered soon tells.
    pub(super) fn doubt(&mut self, now: Now, conn: ConnId) {
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        let timer = session.timer;
        let Some(peer) = session.peer_mut().filter(|peer| peer.version >= 2 && peer.doubted.is_none()) else { return };
        // Who claims the id again and again must not make us use up our budget at the peer.
        if peer.next_doubt > now.at {
            return;
        }
        (peer.doubted, peer.next_doubt) = (Some(now.at), now.at + DOUBT_AGAIN);
        peer.next_heartbeat = now.at;
        self.timers.remove(&(timer, Timer::Session(conn)));
        self.judge_liveness(now, conn);
    }

    pub(super) fn on_pong(&mut self, now: Now, conn: ConnId, nonce: i64) {
        let Some(peer) = self.sessions.get_mut(&conn).and_then(|s| s.peer_mut()) else { return };
        // A pong to no ping of ours is dropped: it may answer one that a slow link delayed.
        if let Some((_, sent)) = peer.ping.filter(|(expected, _)| *expected == nonce) {
            peer.round_trip = Some(now.at.since(sent));
            peer.ping = None;
        }
    }

    fn keep_house(&mut self, now: Now) {
        for session in self.sessions.values() {
            if let Some(peer) = session.peer() {
                self.peers.update_last_seen(&peer.node_id, moment(now, session.last_received));
            }
        }
        self.peers.drop_stale(now);
        // A blacklisting that is over says nothing, and makes an address fit to be dialed.
        self.outbound.nudge();
        if !self.stopping && self.book.len() < ADDRESSES_WANTED {
            self.ask_someone_for_peers(now);
        }
    }

    /// Too few addresses: asks one of those we dialed, seeds among them. Who has none of these asks whoever came: a node that all
    /// others reached first would never learn of another address.
    fn ask_someone_for_peers(&mut self, now: Now) {
        let ready = || self.sessions.values().filter(|s| s.peer().is_some());
        let mut conns: Vec<ConnId> = ready().filter(|s| s.direction.is_outbound()).map(|s| s.conn).collect();
        if conns.is_empty() {
            conns = ready().map(|s| s.conn).collect();
        }
        if let Some(conn) = self.rng.index(conns.len()).and_then(|i| conns.get(i)) {
            self.ask_for_peers(now, *conn);
        }
    }

    /// Starts the dials that are due, as long as there is room for them.
    pub(super) fn dial_more(&mut self, now: Now) {
        if self.stopping || self.outbound.deadline().is_none_or(|at| at > now.at) {
            return;
        }
        // Nobody connects or leaves in the loop, so that one look at the sessions is enough.
        let dialed = self.sessions.values().filter(|s| s.direction.is_outbound()).map(|s| s.remote);
        let announced = self.sessions.values().filter_map(|s| s.peer()?.address);
        let taken: BTreeSet<SocketAddr> = dialed.chain(announced).collect();
        loop {
            let connected = |address: &SocketAddr| taken.contains(address);
            let (standing, exempt) = (&self.reputation, self.admission.exempt());
            let banned = |ip: IpAddr| !exempt.contains(ip) && standing.is_blacklisted(Origin::of(ip), now.at);
            let context = DialContext {
                book: &mut self.book,
                peers: &self.peers,
                connected,
                banned,
                online: !self.by_id.is_empty(),
                room: self.admission.room_to_dial(self.dials.len()),
            };
            let Some((dial, address)) = self.outbound.next_dial(now, &mut self.rng, context) else { break };
            self.dials.insert(dial, (address, now.at));
            let timeout = self.config.dial_timeout.min(self.config.handshake_timeout);
            self.outputs.push_back(Output::Dial { dial, address, timeout });
        }
    }
}
