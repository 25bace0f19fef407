//! One conversation with a running node, on a loop of our own: dial, greet, ask, leave.
//!
//! The program is here a guest of the engine like any embedder: [`Guest`] is a [`Protocol`], and [`Talk`] turns the loop
//! until what was waited for has come or the time is up. What a node may ask of any peer is answered in the shortest
//! polite way, so that it keeps talking to us.

use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant, SystemTime};

use spacetime_network::close::CloseReason;
use spacetime_network::driver::{self, Driver, Net, Protocol, SendOutcome};
use spacetime_network::id::{ConnId, DialId};
use spacetime_network::time::Now;
use spacetime_network::wire::message::{Extension, Handshake, Ping};
use spacetime_network::wire::{Frame, FrameRules, Hash, Kind, Message, Payload};

use crate::failure::{Failure, one_line};
use crate::value::Endpoint;

/// The highest protocol version that we speak.
const VERSION: i32 = 2;
/// How long leaving may take: what is queued is flushed, then the connection is dropped.
const FAREWELL: Duration = Duration::from_secs(2);

/// What the node said of itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Host {
    /// Its id; `None` when it greets without one.
    pub(crate) node_id: Option<String>,
    /// The protocol version in force.
    pub(crate) version: u8,
    /// Version 2's part of its greeting.
    pub(crate) extension: Option<Extension>,
}

/// A conversation that has begun: both sides have greeted.
#[derive(Debug)]
pub(crate) struct Talk {
    driver: Driver<Guest>,
    endpoint: String,
    timeout: Duration,
}

#[derive(Debug)]
enum State {
    /// The dial is under way.
    Dialing,
    /// Connected; our greeting is out.
    Greeting(ConnId),
    /// Both have greeted.
    Open(ConnId),
    /// Over, or never begun.
    Gone(CloseReason),
}

#[derive(Debug)]
struct Guest {
    state: State,
    greeting: Vec<u8>,
    host: Host,
    /// Frames of this turn that nobody has looked at; emptied after every turn, and a turn reads a bounded amount.
    inbox: VecDeque<(Kind, bytes::Bytes)>,
    /// What the node's last Error frame said.
    complaint: Option<String>,
}

impl Talk {
    /// Connects and greets within `timeout`, which is also the longest wait for each answer.
    pub(crate) fn open(endpoint: &Endpoint, timeout: Duration) -> Result<Self, Failure> {
        let address = endpoint.resolve()?;
        let tried = format!("talk to {endpoint}");
        let local = |error: io::Error| Failure::new(&tried, error, "free some files and memory, then try again");
        let guest = Guest {
            state: State::Dialing,
            greeting: greeting().map_err(local)?,
            host: Host::default(),
            inbox: VecDeque::new(),
            complaint: None,
        };
        let driver = Driver::new(driver::Config::default(), guest).map_err(local)?;
        let mut talk = Talk { driver, endpoint: endpoint.to_string(), timeout };
        talk.driver.with(|_, _, net| net.dial(DialId(0), address, timeout));
        let end = Instant::now() + timeout;
        while !matches!(talk.driver.protocol().state, State::Open(_)) {
            if let State::Gone(reason) = talk.driver.protocol().state {
                return Err(talk.over(&tried, reason));
            }
            if Instant::now() >= end {
                let late = "it does not answer; check the address and that a node is listening there";
                return Err(Failure::plain(tried, late));
            }
            talk.turn(&tried, end)?;
        }
        Ok(talk)
    }

    /// What the node said of itself.
    pub(crate) fn host(&self) -> &Host {
        &self.driver.protocol().host
    }

    /// Sends `request` and gives each frame that comes to `accept` until it answers `Some`. `what` completes "ask for".
    pub(crate) fn ask<T>(
        &mut self,
        what: &str,
        request: &Message<'_>,
        accept: impl FnMut(&Message<'_>) -> Option<T>,
    ) -> Result<T, Failure> {
        let tried = format!("ask {} for {what}", self.endpoint);
        self.say(&tried, request)?;
        let answer = self.listen(&tried, self.timeout, accept)?;
        answer.ok_or_else(|| Failure::plain(tried, "no answer came in time; try a longer --timeout"))
    }

    /// Gives each frame that comes to `accept` until it answers `Some`; `None` when `patience` is at its end before.
    pub(crate) fn listen<T>(
        &mut self,
        tried: &str,
        patience: Duration,
        mut accept: impl FnMut(&Message<'_>) -> Option<T>,
    ) -> Result<Option<T>, Failure> {
        let end = Instant::now() + patience;
        loop {
            while let Some((kind, payload)) = self.driver.protocol_mut().inbox.pop_front() {
                // The guest has decoded it before: an error cannot come back here.
                if let Some(answer) = Message::decode(kind, &payload).ok().as_ref().and_then(&mut accept) {
                    return Ok(Some(answer));
                }
            }
            if let State::Gone(reason) = self.driver.protocol().state {
                return Err(self.over(tried, reason));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            self.turn(tried, end)?;
        }
    }

    /// Waits until everything that was said has left, so that nothing more urgent can overtake it.
    pub(crate) fn flush(&mut self, tried: &str) -> Result<(), Failure> {
        let end = Instant::now() + self.timeout;
        loop {
            if let State::Gone(reason) = self.driver.protocol().state {
                return Err(self.over(tried, reason));
            }
            let queued = self.driver.with(|guest, _, net| match guest.state {
                State::Open(conn) => net.conn_stats(conn).map_or(0, |stats| stats.queued_bytes),
                _ => 0,
            });
            if queued == 0 {
                return Ok(());
            }
            if Instant::now() >= end {
                return Err(Failure::plain(tried, "the node does not read; try a longer --timeout"));
            }
            self.turn(tried, end)?;
        }
    }

    /// Sends a frame; it leaves with the next turn of the loop.
    pub(crate) fn say(&mut self, tried: &str, message: &Message<'_>) -> Result<(), Failure> {
        let payload = message.to_payload().map_err(|error| Failure::new(tried, error, "ask for less"))?;
        let outcome = self.driver.with(|guest, _, net| match guest.state {
            State::Open(conn) => Some(net.send_shared(conn, message.kind().priority(), message.kind() as u8, &payload)),
            _ => None,
        });
        match (outcome, &self.driver.protocol().state) {
            (Some(SendOutcome::Accepted { .. }), _) => Ok(()),
            (None, State::Gone(reason)) => Err(self.over(tried, *reason)),
            _ => Err(Failure::new(tried, "the frame could not be queued", "send less at a time")),
        }
    }

    /// Keeps the conversation alive for `duration`, looking at nothing.
    pub(crate) fn idle(&mut self, tried: &str, duration: Duration) -> Result<(), Failure> {
        self.listen(tried, duration, |_| None::<()>).map(drop)
    }

    /// Flushes what is queued and closes the connection.
    pub(crate) fn leave(mut self) {
        self.driver.with(|guest, _, net| {
            if let State::Open(conn) | State::Greeting(conn) = guest.state {
                net.close(conn, CloseReason::Done, FAREWELL);
            }
        });
        let end = Instant::now() + FAREWELL;
        while !matches!(self.driver.protocol().state, State::Gone(_)) && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now());
            if self.driver.turn(Some(left)).is_err() {
                return;
            }
            self.driver.protocol_mut().inbox.clear();
        }
    }

    /// One turn of the loop, which waits no longer than until `end`.
    fn turn(&mut self, tried: &str, end: Instant) -> Result<(), Failure> {
        let left = end.saturating_duration_since(Instant::now());
        self.driver.turn(Some(left)).map(drop).map_err(|error| Failure::plain(tried, error))
    }

    /// The conversation ended before its purpose was fulfilled.
    fn over(&self, tried: &str, reason: CloseReason) -> Failure {
        if let Some(text) = &self.driver.protocol().complaint {
            return Failure::new(tried, format!("the node left, saying \"{text}\""), "look into the node's log");
        }
        let remedy = match reason {
            CloseReason::Io(io::ErrorKind::ConnectionRefused) => "check the address and that a node is listening there",
            CloseReason::DialTimeout | CloseReason::Io(_) => "check the address and the network between",
            CloseReason::RemoteClosed => "it may be full, stopping or not a spacetime node",
            CloseReason::LocalResource(_) => "free some files and memory, then try again",
            _ => "check that it is a spacetime node",
        };
        Failure::new(tried, reason, remedy)
    }
}

fn greeting() -> io::Result<Vec<u8>> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let nonce = u64::from_le_bytes(random);
    let handshake = Handshake {
        version: VERSION,
        unix_seconds: unix_millis() / 1000,
        node_id: &format!("guest-{nonce:016x}"),
        user_agent: concat!("spacetime-node/", env!("CARGO_PKG_VERSION"), " (guest)"),
        extension: Some(Extension {
            network: Hash::ZERO,
            nonce,
            listening_port: 0,
            features: 0,
            best_height: 0,
            best_hash: Hash::ZERO,
        }),
    };
    let mut payload = Vec::new();
    Message::Handshake(handshake).encode_payload(&mut payload).map_err(io::Error::other)?;
    Ok(payload)
}

/// The wall clock, for messages.
pub(crate) fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl Guest {
    fn frame(&mut self, conn: ConnId, frame: Frame<'_>, net: &mut Net) -> Result<(), CloseReason> {
        let Some(kind) = Kind::from_byte(frame.kind) else { return Ok(()) };
        let message = Message::decode(kind, &frame.payload).map_err(|error| CloseReason::Payload(kind, error))?;
        match (&self.state, &message) {
            (_, Message::Error(text)) => self.complaint = Some(one_line(text)),
            (State::Greeting(_), Message::HandshakeAck(theirs)) => {
                self.host = host(theirs.as_ref())?;
                net.set_rules(conn, FrameRules::version(self.host.version));
                self.state = State::Open(conn);
            }
            (State::Open(_), message) => match courtesy(message) {
                Some(answer) => reply(conn, &answer, net),
                None => self.inbox.push_back((kind, keep(frame.payload))),
            },
            _ => return Err(CloseReason::Unexpected(kind)),
        }
        Ok(())
    }
}

fn keep(payload: Payload<'_>) -> bytes::Bytes {
    payload.into_bytes()
}

fn host(theirs: Option<&Handshake<'_>>) -> Result<Host, CloseReason> {
    let Some(theirs) = theirs else { return Ok(Host { node_id: None, version: 1, extension: None }) };
    let version = match (theirs.version, theirs.extension) {
        (version, _) if version < 1 => return Err(CloseReason::VersionTooLow(version)),
        (1, _) | (_, None) => 1,
        _ => 2,
    };
    let extension = if version == 2 { theirs.extension } else { None };
    Ok(Host { node_id: Some(theirs.node_id.to_owned()), version, extension })
}

/// What a guest answers to a host's questions: it has nothing, and says so.
fn courtesy<'a>(message: &Message<'a>) -> Option<Message<'a>> {
    match message {
        Message::Ping(ping) => Some(Message::Pong(Ping { nonce: ping.nonce, unix_millis: ping.unix_millis })),
        Message::GetPeers(_) => Some(Message::Peers(Vec::new())),
        Message::GetHeaders(_) => Some(Message::Headers(Vec::new())),
        Message::TxPoolRequest(_) => Some(Message::TxPool(Vec::new())),
        Message::GetBlock(hash) => Some(Message::NotFound(*hash)),
        _ => None,
    }
}

fn reply(conn: ConnId, answer: &Message<'_>, net: &mut Net) {
    // An answer that does not fit the queue is a courtesy not paid, nothing more.
    if let Ok(payload) = answer.to_payload() {
        let _ = net.send(conn, answer.kind().priority(), answer.kind() as u8, &payload);
    }
}

impl Protocol for Guest {
    type Command = ();

    fn handle(&mut self, _: Now, event: driver::Event<'_, ()>, net: &mut Net) {
        match event {
            driver::Event::Opened { conn, .. } => {
                self.state = State::Greeting(conn);
                let _ = net.send(conn, Kind::Handshake.priority(), Kind::Handshake as u8, &self.greeting);
            }
            driver::Event::DialFailed { reason, .. } | driver::Event::Closed { reason, .. } => {
                self.state = State::Gone(reason);
            }
            driver::Event::Frame { conn, frame } => {
                if let Err(reason) = self.frame(conn, frame, net) {
                    net.close(conn, reason, Duration::ZERO);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn theirs(version: i32, extended: bool) -> Handshake<'static> {
        let extension = Extension {
            network: Hash::ZERO,
            nonce: 1,
            listening_port: 2,
            features: 0,
            best_height: 3,
            best_hash: Hash::ZERO,
        };
        Handshake { version, unix_seconds: 0, node_id: "n", user_agent: "a", extension: extended.then_some(extension) }
    }

    #[test]
    fn the_version_in_force_is_the_smaller_and_two_needs_its_block() {
        assert_eq!(host(Some(&theirs(2, true))).unwrap().version, 2);
        assert_eq!(host(Some(&theirs(9, true))).unwrap().version, 2);
        assert_eq!(host(Some(&theirs(2, false))).unwrap().version, 1);
        assert_eq!(host(Some(&theirs(1, true))).unwrap().version, 1);
        assert_eq!(host(None).unwrap().version, 1);
        assert_eq!(host(Some(&theirs(0, true))).unwrap_err(), CloseReason::VersionTooLow(0));
    }

    #[test]
    fn a_guest_answers_what_any_peer_is_asked_and_keeps_the_rest() {
        let ping = Message::Ping(Ping { nonce: 7, unix_millis: 8 });
        assert_eq!(courtesy(&ping), Some(Message::Pong(Ping { nonce: 7, unix_millis: 8 })));
        assert_eq!(courtesy(&Message::GetBlock(Hash([1; 32]))), Some(Message::NotFound(Hash([1; 32]))));
        assert_eq!(courtesy(&Message::TxPool(vec![])), None);
    }
}
