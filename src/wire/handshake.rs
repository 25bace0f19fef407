//! Handshake and HandshakeAck: who a node is, and the block that version 2 appends: `wire::protocol`, sections 3 and 4.
//!
//! A version 1 decoder ignores what follows the user agent, so nothing there can make a handshake invalid. The tail is an
//! extension when it starts with the magic, the announced body is there whole and holds at least the fields below; in any
//! other case the handshake has no extension. Fields after them, and bytes after the body, are ignored. Decoding and
//! encoding again thus gives the canonical form: the same handshake without what was ignored.

use core::net::{IpAddr, SocketAddr};

use crate::wire::cursor::{Reader, Writer, Written};
use crate::wire::error::DecodeError;
use crate::wire::hash::Hash;

/// The longest node id, in bytes.
pub const MAX_NODE_ID_LEN: usize = 128;
/// The longest user agent, in bytes.
pub const MAX_USER_AGENT_LEN: usize = 256;

const MAGIC: [u8; 4] = *b"STX2";
/// The extension's fields, in bytes: two hashes, three `u64` and a `u16`.
const BODY_LEN: u16 = 32 + 8 + 2 + 8 + 8 + 32;
/// The longest address behind them.
const SEEN_MAX: u16 = 1 + 16 + 2;

// A greeting with everything at its longest fits into what a stranger may send.
const _: () = assert!(
    4 + 8 + 4 + MAX_NODE_ID_LEN + 4 + MAX_USER_AGENT_LEN + 4 + 2 + BODY_LEN as usize + SEEN_MAX as usize
        <= crate::wire::frame::MAX_GREETING_PAYLOAD as usize
);

/// Who a node is: the payload of Handshake and HandshakeAck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake<'a> {
    /// The highest protocol version the sender speaks. Any number decodes: refusing is the session's decision.
    pub version: i32,
    /// The sender's wall clock, in seconds since the epoch.
    pub unix_seconds: i64,
    /// The sender's id: 1 to 128 bytes, not only white space.
    pub node_id: &'a str,
    /// What the sender runs: 1 to 256 bytes, not only white space.
    pub user_agent: &'a str,
    /// Version 2's additions; without them the sender is treated as version 1.
    pub extension: Option<Extension>,
}

/// What version 2 appends to a handshake, under the magic `STX2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extension {
    /// The chain's genesis hash; zero for any.
    pub network: Hash,
    /// A number of the sending process, by which a node knows itself.
    pub nonce: u64,
    /// The port the sender accepts connections on; 0 for none.
    pub listening_port: u16,
    /// Feature bits; unknown ones are ignored.
    pub features: u64,
    /// The height of the sender's best block.
    pub best_height: u64,
    /// The hash of the sender's best block.
    pub best_hash: Hash,
    /// At which address the sender sees the other side: for one that [asks](Extension::ASKS_ITS_ADDRESS).
    pub seen: Option<SocketAddr>,
}

impl<'a> Handshake<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Handshake {
            version: reader.i32("version")?,
            unix_seconds: reader.i64("time")?,
            node_id: read_name(reader, "node id", MAX_NODE_ID_LEN)?,
            user_agent: read_name(reader, "user agent", MAX_USER_AGENT_LEN)?,
            extension: Extension::read(reader.remainder()),
        })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Written {
        writer.bytes(&self.version.to_le_bytes())?;
        writer.bytes(&self.unix_seconds.to_le_bytes())?;
        write_name(writer, "node id", self.node_id, MAX_NODE_ID_LEN)?;
        write_name(writer, "user agent", self.user_agent, MAX_USER_AGENT_LEN)?;
        self.extension.iter().try_for_each(|extension| extension.write(writer))
    }
}

impl Extension {
    /// The feature bit of a side that asks for the names of a pool and offers, as Transaction, what they lack: it need not be
    /// asked for data.
    pub const OFFERS_TRANSACTIONS: u64 = 1 << 7;
    /// The feature bit of a side that takes more than a thousand transactions a second from another one that sets it:
    /// `wire::protocol`, section 11.
    pub const TAKES_MANY_TRANSACTIONS: u64 = 1 << 8;

    /// The feature bit of a side at which questions for blocks and headers wait for their turn, instead of being lost above a rate:
    /// it may be asked for 8,192 blocks ahead.
    pub const WAITS_WITH_ANSWERS: u64 = 1 << 9;
    /// The feature bit of a side that also answers GetBlocks, and takes Blocks, from another one that sets it. It says nothing
    /// without [`WAITS_WITH_ANSWERS`](Self::WAITS_WITH_ANSWERS).
    pub const SERVES_RUNS: u64 = 1 << 10;

    /// The feature bit of a side that answers a GetHeaders for more than 2000 headers with several Headers, and takes such answers, from
    /// another one that sets it. It says nothing without [`WAITS_WITH_ANSWERS`](Self::WAITS_WITH_ANSWERS).
    pub const TELLS_MANY_HEADERS: u64 = 1 << 11;

    /// The feature bit of a dialer that wants to be told at which address it is seen.
    pub const ASKS_ITS_ADDRESS: u64 = 1 << 14;
    /// The feature bit of a dialer that asks something and leaves within seconds, as a health check does: nobody gives way to it.
    pub const ASKS_ONLY: u64 = 1 << 15;
    /// The feature bit of a side that takes frames compressed from another one that sets it, and sends them so: `wire::protocol`,
    /// section 14.
    pub const TAKES_COMPRESSED: u64 = 1 << 12;
    /// The feature bit of a side that takes large frames in pieces from another one that sets it, and sends them so.
    pub const TAKES_PIECES: u64 = 1 << 13;

    /// Whether a side with these feature bits tells many headers in one answer.
    pub(crate) const fn tells_many_headers(features: u64) -> bool {
        const BOTH: u64 = Extension::WAITS_WITH_ANSWERS | Extension::TELLS_MANY_HEADERS;
        features & BOTH == BOTH
    }

    /// Whether a side with these feature bits serves runs.
    pub(crate) const fn serves_runs(features: u64) -> bool {
        const BOTH: u64 = Extension::WAITS_WITH_ANSWERS | Extension::SERVES_RUNS;
        features & BOTH == BOTH
    }

    fn read(tail: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(tail);
        if reader.array("magic").ok()? != MAGIC {
            return None;
        }
        let len = usize::from(reader.u16("body length").ok()?);
        let mut body = Reader::new(reader.bytes("body", len).ok()?);
        Extension::read_body(&mut body).ok()
    }

    fn read_body(body: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Extension {
            network: body.hash("network")?,
            nonce: body.u64("nonce")?,
            listening_port: body.u16("port")?,
            features: body.u64("features")?,
            best_height: body.u64("best height")?,
            best_hash: body.hash("best hash")?,
            // What is behind the fields makes nothing invalid.
            seen: Extension::read_seen(body).ok().flatten(),
        })
    }

    fn read_seen(body: &mut Reader<'_>) -> Result<Option<SocketAddr>, DecodeError> {
        let [len] = body.array("address length")?;
        let ip = match len {
            4 => IpAddr::from(body.array::<4>("address")?),
            16 => IpAddr::from(body.array::<16>("address")?),
            _ => return Ok(None),
        };
        Ok(Some(SocketAddr::new(ip, body.u16("port")?)))
    }

    /// The field behind the others, in bytes; nothing where there is none.
    fn seen_len(&self) -> u16 {
        match self.seen {
            None => 0,
            Some(SocketAddr::V4(_)) => 1 + 4 + 2,
            Some(SocketAddr::V6(_)) => SEEN_MAX,
        }
    }

    fn write(&self, writer: &mut Writer<'_>) -> Written {
        writer.bytes(&MAGIC)?;
        writer.bytes(&(BODY_LEN + self.seen_len()).to_le_bytes())?;
        writer.hash(&self.network)?;
        writer.bytes(&self.nonce.to_le_bytes())?;
        writer.bytes(&self.listening_port.to_le_bytes())?;
        writer.bytes(&self.features.to_le_bytes())?;
        writer.bytes(&self.best_height.to_le_bytes())?;
        writer.hash(&self.best_hash)?;
        let Some(seen) = self.seen else { return Ok(()) };
        match seen.ip() {
            IpAddr::V4(v4) => writer.bytes(&[4]).and_then(|()| writer.bytes(&v4.octets()))?,
            IpAddr::V6(v6) => writer.bytes(&[16]).and_then(|()| writer.bytes(&v6.octets()))?,
        }
        writer.bytes(&seen.port().to_le_bytes())
    }
}

/// True for what may stand as a node id: 1 to 128 bytes, not only white space.
pub(super) fn is_node_id(text: &str) -> bool {
    is_name(text, MAX_NODE_ID_LEN)
}

fn is_name(text: &str, max_len: usize) -> bool {
    text.len() <= max_len && !text.trim().is_empty()
}

fn read_name<'a>(reader: &mut Reader<'a>, field: &'static str, max_len: usize) -> Result<&'a str, DecodeError> {
    let len = usize::try_from(reader.i32(field)?).ok().filter(|len| (1..=max_len).contains(len));
    let text = reader.text(field, len.ok_or(DecodeError::OutOfRange(field))?)?;
    if is_name(text, max_len) { Ok(text) } else { Err(DecodeError::Text(field)) }
}

fn write_name(writer: &mut Writer<'_>, field: &'static str, text: &str, max_len: usize) -> Written {
    if !is_name(text, max_len) {
        return Err(field);
    }
    writer.bytes(&i32::try_from(text.len()).map_err(|_| field)?.to_le_bytes())?;
    writer.bytes(text.as_bytes())
}
