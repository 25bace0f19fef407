//! The messages as values, and their two functions: [`Message::decode`] and [`Message::encode`].
//!
//! A message borrows what is opaque to the engine (blocks, transactions, proofs, texts) from the payload it was decoded
//! from; lists are read out into vectors that are never larger than the bytes that were there.

use core::fmt;
use core::net::SocketAddr;

use crate::wire::hash::Hash;
use crate::wire::kind::Kind;

/// What a [`Frame`](crate::wire::Frame) says. One variant per [`Kind`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// The dialer's introduction.
    Handshake(Handshake<'a>),
    /// The acceptor's introduction; `None` when it sent an empty one, as later revisions of the C# library do.
    HandshakeAck(Option<Handshake<'a>>),
    /// "Still here".
    Heartbeat(Heartbeat<'a>),
    /// A question whose answer measures the round trip.
    Ping(Ping),
    /// The answer, with the same nonce.
    Pong(Ping),
    /// Asks for addresses.
    GetPeers(GetPeers<'a>),
    /// Addresses; at most 1000. Sixteen-byte addresses stay IPv6, mapped ones too.
    Peers(Vec<SocketAddr>),
    /// Asks for headers.
    GetHeaders(GetHeaders),
    /// Headers, opaque; at most 2000.
    Headers(Vec<&'a [u8]>),
    /// Asks for a block.
    GetBlock(Hash),
    /// A block that was asked for.
    Block(&'a [u8]),
    /// "I do not have it".
    NotFound(Hash),
    /// A transaction.
    Transaction(&'a [u8]),
    /// A new block, whole.
    NewBlock(&'a [u8]),
    /// Asks for the waiting transactions.
    TxPoolRequest(TxPoolRequest),
    /// Ids of waiting transactions; at most 50,000.
    TxPool(Vec<Hash>),
    /// A challenge, opaque.
    NewChallenge(&'a [u8]),
    /// A miner's proof.
    ProofSubmission(ProofSubmission<'a>),
    /// "This block is now part of the chain".
    BlockAccepted(BlockAccepted),
    /// A short text, only ever logged.
    Error(&'a str),
}

/// Who a node is: the payload of Handshake and HandshakeAck.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake<'a> {
    /// The highest protocol version the sender speaks.
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
}

/// "Still here".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heartbeat<'a> {
    /// Ours: the chain's length and the sender's id.
    Status {
        /// Number of blocks, genesis included. Not negative.
        chain_length: i64,
        /// The sender's id.
        node_id: &'a str,
    },
    /// Empty, or anything else of at most 1024 bytes.
    Opaque(&'a [u8]),
}

/// The payload of Ping and Pong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ping {
    /// Repeated by the answer.
    pub nonce: i64,
    /// The sender's wall clock, in milliseconds since the epoch.
    pub unix_millis: i64,
}

/// Asks for addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GetPeers<'a> {
    /// The empty payload: at most 1000, none excluded.
    All,
    /// With a limit and addresses that are not wanted.
    Limited {
        /// 1 to 1000.
        max: u32,
        /// At most 1000 texts `ip:port`, as sent.
        exclude: Vec<&'a str>,
    },
}

/// Asks for headers after the first locator hash that is on the answerer's best chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetHeaders {
    /// The main locator hash; zero means genesis.
    pub locator: Hash,
    /// Where to stop, if anywhere.
    pub stop: Option<Hash>,
    /// 1 to 2000.
    pub max: u32,
    /// Version 2: at most 64 further locator hashes, newest first. `None` when the tail is absent.
    pub more: Option<Vec<Hash>>,
}

/// Asks for the waiting transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TxPoolRequest {
    /// At least 1.
    pub max: u32,
    /// With the transactions themselves, or only their ids.
    pub include_data: bool,
}

/// A miner's proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofSubmission<'a> {
    /// The block's height; at most `i64::MAX`.
    pub height: u64,
    /// The miner's compressed public key.
    pub miner: [u8; 33],
    /// At most 1,048,576 bytes, opaque.
    pub proof: &'a [u8],
}

/// "This block is now part of the chain".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockAccepted {
    /// The block.
    pub hash: Hash,
    /// Its height; at most `i64::MAX`.
    pub height: u64,
}

/// Why a payload is not the message that its type byte promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// The payload ends before the field does.
    Truncated(&'static str),
    /// Bytes are left over.
    Trailing,
    /// A number is outside its range.
    OutOfRange(&'static str),
    /// A text is not UTF-8, empty, or only white space where it must not be.
    Text(&'static str),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Truncated(field) => write!(f, "{field} is cut short"),
            DecodeError::Trailing => f.write_str("bytes are left over"),
            DecodeError::OutOfRange(field) => write!(f, "{field} is out of range"),
            DecodeError::Text(field) => write!(f, "{field} is not acceptable text"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Why a message cannot be sent: a field breaks the cap that every receiver would enforce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EncodeError {
    /// The message.
    pub kind: Kind,
    /// The field, or "payload".
    pub field: &'static str,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of a {} breaks its limit", self.field, self.kind.name())
    }
}

impl std::error::Error for EncodeError {}

impl<'a> Message<'a> {
    /// The kind that the message travels under.
    pub const fn kind(&self) -> Kind {
        match self {
            Message::Handshake(_) => Kind::Handshake,
            Message::HandshakeAck(_) => Kind::HandshakeAck,
            Message::Heartbeat(_) => Kind::Heartbeat,
            Message::Ping(_) => Kind::Ping,
            Message::Pong(_) => Kind::Pong,
            Message::GetPeers(_) => Kind::GetPeers,
            Message::Peers(_) => Kind::Peers,
            Message::GetHeaders(_) => Kind::GetHeaders,
            Message::Headers(_) => Kind::Headers,
            Message::GetBlock(_) => Kind::GetBlock,
            Message::Block(_) => Kind::Block,
            Message::NotFound(_) => Kind::NotFound,
            Message::Transaction(_) => Kind::Transaction,
            Message::NewBlock(_) => Kind::NewBlock,
            Message::TxPoolRequest(_) => Kind::TxPoolRequest,
            Message::TxPool(_) => Kind::TxPool,
            Message::NewChallenge(_) => Kind::NewChallenge,
            Message::ProofSubmission(_) => Kind::ProofSubmission,
            Message::BlockAccepted(_) => Kind::BlockAccepted,
            Message::Error(_) => Kind::Error,
        }
    }

    /// Reads the payload of a frame of this kind.
    ///
    /// # Errors
    ///
    /// The first field that breaks the layout of protocol section 3. Never panics, whatever the bytes.
    pub fn decode(kind: Kind, payload: &'a [u8]) -> Result<Message<'a>, DecodeError> {
        let _ = (kind, payload);
        Err(DecodeError::Trailing)
    }

    /// Writes the payload, without a frame header, at the end of `out`.
    ///
    /// # Errors
    ///
    /// A field that breaks its cap; `out` is then as it was.
    pub fn encode_payload(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let _ = out;
        Err(EncodeError { kind: self.kind(), field: "payload" })
    }

    /// The payload in a buffer of its own, to send to many.
    ///
    /// # Errors
    ///
    /// A field that breaks its cap.
    pub fn to_payload(&self) -> Result<bytes::Bytes, EncodeError> {
        let mut out = Vec::new();
        self.encode_payload(&mut out)?;
        Ok(out.into())
    }

    /// Writes the whole frame, header and payload, at the end of `out`.
    ///
    /// # Errors
    ///
    /// A field that breaks its cap; `out` is then as it was.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let _ = out;
        Err(EncodeError { kind: self.kind(), field: "payload" })
    }
}
