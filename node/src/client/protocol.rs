//! Our side of a conversation with a node, as a [`Protocol`]: it greets, keeps what comes for whoever asked, and answers
//! what any peer may be asked in the shortest polite way, so that the node keeps talking to us.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use spacetime_network::close::CloseReason;
use spacetime_network::driver::{self, Net, Protocol};
use spacetime_network::id::{ConnId, VerifiedId};
use spacetime_network::time::Now;
use spacetime_network::wire::dialect::{Meaning, ReadError};
use spacetime_network::wire::message::{Extension, Handshake, Ping};
use spacetime_network::wire::{Dialect, Frame, FrameRules, Hash, Kind, Message};

use crate::client::blocking::unix_millis;
use crate::failure::one_line;

/// The highest protocol version that we speak.
const VERSION: i32 = 2;
/// What a question runs, as it says.
const CLIENT_AGENT: &str = concat!("spacetime-node/", env!("CARGO_PKG_VERSION"), " (client)");

/// Whether a peer that says that it runs this is a question, which leaves when it is answered. It is a claim, good enough to decide
/// how loudly its coming and going is told.
pub(crate) fn is_client(user_agent: &str) -> bool {
    user_agent.starts_with("spacetime-node/") && user_agent.ends_with(" (client)")
}

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

/// How far the conversation is.
#[derive(Debug)]
pub(super) enum State {
    /// The dial is under way.
    Dialing,
    /// Connected; our greeting is out.
    Greeting(ConnId),
    /// Both have greeted.
    Open(ConnId),
    /// Over, or never begun.
    Gone(CloseReason),
}

/// A peer for the length of a question.
#[derive(Debug)]
pub(super) struct ClientProtocol {
    pub(super) state: State,
    greeting: Vec<u8>,
    /// How the node speaks.
    dialect: Dialect,
    pub(super) host: Host,
    /// Who we are under TLS.
    identity: Option<VerifiedId>,
    /// Who the node is, as TLS has proven.
    proven: Option<VerifiedId>,
    /// Frames of this turn that nobody has looked at; emptied after every turn, and a turn reads a bounded amount.
    pub(super) inbox: VecDeque<(Kind, bytes::Bytes)>,
    /// What the node's last Error frame said.
    pub(super) complaint: Option<String>,
}

fn greeting(identity: Option<VerifiedId>) -> io::Result<Vec<u8>> {
    let mut random = [0; 8];
    getrandom::fill(&mut random).map_err(io::Error::other)?;
    let nonce = u64::from_le_bytes(random);
    let handshake = Handshake {
        version: VERSION,
        unix_seconds: unix_millis() / 1000,
        node_id: &identity.map_or_else(|| format!("client-{nonce:016x}"), |identity| identity.to_string()),
        user_agent: CLIENT_AGENT,
        extension: Some(Extension {
            network: Hash::ZERO,
            nonce,
            listening_port: 0,
            features: Extension::ASKS_ONLY,
            best_height: 0,
            best_hash: Hash::ZERO,
            seen: None,
        }),
    };
    let mut payload = Vec::new();
    Message::Handshake(handshake).encode_payload(&mut payload).map_err(io::Error::other)?;
    Ok(payload)
}

impl ClientProtocol {
    /// A client that is about to dial, under the identity that TLS will prove.
    pub(super) fn new(identity: Option<VerifiedId>) -> io::Result<Self> {
        Ok(ClientProtocol {
            state: State::Dialing,
            greeting: greeting(identity)?,
            dialect: Dialect::Current,
            host: Host::default(),
            identity,
            proven: None,
            inbox: VecDeque::new(),
            complaint: None,
        })
    }

    fn frame(&mut self, conn: ConnId, frame: Frame<'_>, net: &mut Net) -> Result<(), CloseReason> {
        let message = match self.dialect.read(frame.kind, &frame.payload) {
            Ok(Meaning::Said(message)) => message,
            // Nothing that was asked for.
            Ok(Meaning::Ambiguous) | Err(ReadError::Type(_)) => return Ok(()),
            Err(ReadError::Payload(kind, error)) => return Err(CloseReason::Payload(kind, error)),
        };
        let kind = message.kind();
        match (&self.state, &message) {
            (_, Message::Error(text)) => self.complaint = Some(one_line(text)),
            (State::Greeting(_), Message::HandshakeAck(theirs)) => {
                self.host = host(theirs.as_ref(), self.proven)?;
                self.dialect = Dialect::of_version(self.host.version).after(&message);
                net.set_rules(conn, FrameRules::version(self.host.version));
                self.state = State::Open(conn);
            }
            // The answer would be answered by a later revision of the C# library, and that again, for ever.
            (State::Open(_), Message::Ping(_)) if self.dialect.is_version_1() => {}
            (State::Open(_), message) => match courtesy(message) {
                Some(answer) => reply(conn, self.dialect, &answer, net),
                None => self.inbox.push_back((kind, frame.payload.into_bytes())),
            },
            _ => return Err(CloseReason::Unexpected(kind)),
        }
        Ok(())
    }
}

fn host(theirs: Option<&Handshake<'_>>, proven: Option<VerifiedId>) -> Result<Host, CloseReason> {
    let proven = proven.map(|identity| identity.to_string());
    let Some(theirs) = theirs else { return Ok(Host { node_id: proven, version: 1, extension: None }) };
    if proven.is_some_and(|proven| proven != theirs.node_id) {
        return Err(CloseReason::IdentityMismatch);
    }
    let version = match (theirs.version, theirs.extension) {
        (version, _) if version < 1 => return Err(CloseReason::VersionTooLow(version)),
        (1, _) | (_, None) => 1,
        _ => 2,
    };
    let extension = if version == 2 { theirs.extension } else { None };
    Ok(Host { node_id: Some(theirs.node_id.to_owned()), version, extension })
}

/// What a client answers to a node's questions: it has nothing, and says so.
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

fn reply(conn: ConnId, dialect: Dialect, answer: &Message<'_>, net: &mut Net) {
    // An answer that does not fit the queue is a courtesy not paid, nothing more; and so is one that cannot be read.
    if let Ok(payload) = answer.to_payload()
        && let Some(byte) = dialect.type_byte(answer.kind(), &payload)
    {
        let _ = net.send(conn, answer.kind().priority(), byte, &payload);
    }
}

impl Protocol for ClientProtocol {
    type Command = ();

    fn handle(&mut self, _: Now, event: driver::Event<'_, ()>, net: &mut Net) {
        match event {
            driver::Event::Opened { conn, identity, .. } => {
                self.proven = identity;
                if identity.is_some() && identity == self.identity {
                    // A node does not talk to itself, and would leave without a word.
                    return net.close(conn, CloseReason::SelfConnection, Duration::ZERO);
                }
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
            seen: None,
        };
        Handshake { version, unix_seconds: 0, node_id: "n", user_agent: "a", extension: extended.then_some(extension) }
    }

    #[test]
    fn the_version_in_force_is_the_smaller_and_two_needs_its_block() {
        assert_eq!(host(Some(&theirs(2, true)), None).unwrap().version, 2);
        assert_eq!(host(Some(&theirs(9, true)), None).unwrap().version, 2);
        assert_eq!(host(Some(&theirs(2, false)), None).unwrap().version, 1);
        assert_eq!(host(Some(&theirs(1, true)), None).unwrap().version, 1);
        assert_eq!(host(None, None).unwrap().version, 1);
        assert_eq!(host(Some(&theirs(0, true)), None).unwrap_err(), CloseReason::VersionTooLow(0));
    }

    #[test]
    fn a_node_must_greet_under_the_id_that_it_has_proven() {
        let proven = VerifiedId::from_bytes([7; 32]);
        assert_eq!(host(Some(&theirs(2, true)), Some(proven)).unwrap_err(), CloseReason::IdentityMismatch);
        let text = proven.to_string();
        let greeting = Handshake { node_id: &text, ..theirs(2, true) };
        assert_eq!(host(Some(&greeting), Some(proven)).unwrap().node_id, Some(text.clone()));
        assert_eq!(host(None, Some(proven)).unwrap().node_id, Some(text));
    }

    #[test]
    fn a_client_is_known_as_one() {
        assert!(is_client(CLIENT_AGENT) && !is_client("spacetime-node/1.0") && !is_client("other (client)"));
    }

    #[test]
    fn a_client_answers_what_any_peer_is_asked_and_keeps_the_rest() {
        let ping = Message::Ping(Ping { nonce: 7, unix_millis: 8 });
        assert_eq!(courtesy(&ping), Some(Message::Pong(Ping { nonce: 7, unix_millis: 8 })));
        assert_eq!(courtesy(&Message::GetBlock(Hash([1; 32]))), Some(Message::NotFound(Hash([1; 32]))));
        assert_eq!(courtesy(&Message::TxPool(vec![])), None);
    }
}
