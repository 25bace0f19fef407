//! Frames as both sides of the bench say them: greetings, and the shortest polite answers to what a node asks.

use std::net::Ipv4Addr;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use spacetime_network::time::UnixTime;
use spacetime_network::wire::message::{Extension, Handshake, Ping};
use spacetime_network::wire::{Hash, Message};

/// The `index`th address that attackers come from: each is in a subnet of its own, and the first 230 in a /16 of their own.
pub(crate) fn source(index: usize) -> Ipv4Addr {
    let (low, high) = (1 + index % 230, 1 + index / 230);
    Ipv4Addr::new(127, low as u8, high as u8, 1)
}

/// The `index`th address that honest ones come from. No attacker has one.
pub(crate) fn honest(index: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 240 + (index % 10) as u8, 1 + (index / 10) as u8, 1)
}

/// Is this an address of an honest one, as a log has it?
pub(crate) fn is_honest(address: &str) -> bool {
    let second = address.strip_prefix("127.").and_then(|rest| rest.split('.').next()?.parse::<u8>().ok());
    second == Some(0) || second.is_some_and(|second| second >= 240)
}

/// The wall clock.
pub(crate) fn now() -> UnixTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixTime::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A whole frame.
pub(crate) fn frame(message: &Message<'_>) -> Bytes {
    let mut out = Vec::new();
    message.encode(&mut out).unwrap();
    out.into()
}

/// What one says of oneself.
#[derive(Clone, Debug)]
pub(crate) struct Greeting {
    pub(crate) id: String,
    pub(crate) port: u16,
    pub(crate) height: u64,
    pub(crate) best: Hash,
}

impl Greeting {
    /// One who has nothing and listens nowhere.
    pub(crate) fn of(id: impl Into<String>) -> Greeting {
        Greeting { id: id.into(), port: 0, height: 0, best: Hash::ZERO }
    }

    fn handshake(&self) -> Handshake<'_> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).unwrap();
        let extension = Extension {
            network: Hash::ZERO,
            nonce: u64::from_le_bytes(random),
            listening_port: self.port,
            // Else each is asked for its pool, and offered ours.
            features: Extension::OFFERS_TRANSACTIONS,
            best_height: self.height,
            best_hash: self.best,
            seen: None,
        };
        let unix_seconds = now().as_millis() / 1000;
        Handshake { version: 2, unix_seconds, node_id: &self.id, user_agent: "bench", extension: Some(extension) }
    }

    /// As who dials says it.
    pub(crate) fn frame(&self) -> Bytes {
        frame(&Message::Handshake(self.handshake()))
    }

    /// As who was dialed says it.
    pub(crate) fn answer(&self) -> Bytes {
        frame(&Message::HandshakeAck(Some(self.handshake())))
    }
}

/// What one who has nothing answers to a question; `None` to what is none.
pub(crate) fn courtesy(message: &Message<'_>) -> Option<Bytes> {
    let answer = match message {
        Message::Ping(Ping { nonce, unix_millis }) => Message::Pong(Ping { nonce: *nonce, unix_millis: *unix_millis }),
        Message::GetPeers(_) => Message::Peers(Vec::new()),
        Message::GetHeaders(_) => Message::Headers(Vec::new()),
        Message::TxPoolRequest(_) => Message::TxPool(Vec::new()),
        Message::GetBlock(hash) => Message::NotFound(*hash),
        _ => return None,
    };
    Some(frame(&answer))
}
