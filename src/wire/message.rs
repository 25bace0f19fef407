//! The messages as values, and their two functions: [`Message::decode`] and [`Message::encode`].
//!
//! A message borrows what is opaque to the engine (blocks, transactions, proofs, texts) from the payload it was decoded
//! from; lists are read out into vectors that are never larger than the bytes that were there.

use core::net::SocketAddr;

pub use crate::wire::address::{GetPeers, MAX_EXCLUDED, MAX_PEERS};
pub use crate::wire::block::{BlockAccepted, MAX_RUN};
pub use crate::wire::error::{DecodeError, EncodeError};
pub use crate::wire::handshake::{Extension, Handshake, MAX_NODE_ID_LEN, MAX_USER_AGENT_LEN};
pub use crate::wire::header::{GetHeaders, MAX_HEADERS, MAX_HEADERS_ASKED, MAX_MORE_LOCATORS};
pub use crate::wire::liveness::{Heartbeat, Ping};
pub use crate::wire::proof::{MAX_PROOF_LEN, ProofSubmission};
pub use crate::wire::transaction::{MAX_TX_IDS, TxPoolRequest};

use crate::wire::address::{read_peers, write_peers};
use crate::wire::block::{read_opaque, read_run, read_wanted, write_opaque, write_run, write_wanted};
use crate::wire::cursor::{Reader, Writer, Written};
use crate::wire::frame::{self, HEADER_LEN};
use crate::wire::hash::Hash;
use crate::wire::header::{read_headers, write_headers};
use crate::wire::kind::Kind;
use crate::wire::transaction::{read_ids, write_ids};

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
    /// Asks for several blocks; 1 to 1000.
    GetBlocks(Vec<Hash>),
    /// Blocks that were asked for; 1 to 1000.
    Blocks(Vec<&'a [u8]>),
    /// A short text, only ever logged.
    Error(&'a str),
}

impl<'a> Message<'a> {
    /// The kind that the message travels under.
    #[inline]
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
            Message::GetBlocks(_) => Kind::GetBlocks,
            Message::Blocks(_) => Kind::Blocks,
            Message::Error(_) => Kind::Error,
        }
    }

    /// Reads the payload of a frame of this kind.
    ///
    /// Holds under any rules and under none: a payload above the kind's own maximum is refused before it is looked at.
    /// Encoding what was decoded gives the payload again, byte for byte; of a Handshake or HandshakeAck it gives the
    /// canonical form, without the bytes that every decoder ignores (see [`wire::protocol`](crate::wire::protocol), section 4).
    ///
    /// # Errors
    ///
    /// The first field that breaks the layout of [`wire::protocol`](crate::wire::protocol), section 3. Never panics, whatever the bytes.
    pub fn decode(kind: Kind, payload: &'a [u8]) -> Result<Message<'a>, DecodeError> {
        if u32::try_from(payload.len()).is_ok_and(|len| len <= kind.max_payload()) {
            let mut reader = Reader::new(payload);
            let message = Message::read(kind, &mut reader)?;
            reader.finish()?;
            Ok(message)
        } else {
            Err(DecodeError::OutOfRange("payload"))
        }
    }

    fn read(kind: Kind, reader: &mut Reader<'a>) -> Result<Message<'a>, DecodeError> {
        Ok(match kind {
            Kind::Handshake => Message::Handshake(Handshake::read(reader)?),
            Kind::HandshakeAck if reader.is_empty() => Message::HandshakeAck(None),
            Kind::HandshakeAck => Message::HandshakeAck(Some(Handshake::read(reader)?)),
            Kind::Heartbeat => Message::Heartbeat(Heartbeat::read(reader.remainder())),
            Kind::Ping => Message::Ping(Ping::read(reader)?),
            Kind::Pong => Message::Pong(Ping::read(reader)?),
            Kind::GetPeers => Message::GetPeers(GetPeers::read(reader)?),
            Kind::Peers => Message::Peers(read_peers(reader)?),
            Kind::GetHeaders => Message::GetHeaders(GetHeaders::read(reader)?),
            Kind::Headers => Message::Headers(read_headers(reader)?),
            Kind::GetBlock => Message::GetBlock(reader.hash("hash")?),
            Kind::Block => Message::Block(read_opaque(reader)?),
            Kind::NotFound => Message::NotFound(reader.hash("hash")?),
            Kind::Transaction => Message::Transaction(read_opaque(reader)?),
            Kind::NewBlock => Message::NewBlock(read_opaque(reader)?),
            Kind::TxPoolRequest => Message::TxPoolRequest(TxPoolRequest::read(reader)?),
            Kind::TxPool => Message::TxPool(read_ids(reader)?),
            Kind::NewChallenge => Message::NewChallenge(read_opaque(reader)?),
            Kind::ProofSubmission => Message::ProofSubmission(ProofSubmission::read(reader)?),
            Kind::BlockAccepted => Message::BlockAccepted(BlockAccepted::read(reader)?),
            Kind::GetBlocks => Message::GetBlocks(read_wanted(reader)?),
            Kind::Blocks => Message::Blocks(read_run(reader)?),
            Kind::Error => {
                let text = core::str::from_utf8(reader.remainder());
                Message::Error(text.map_err(|_| DecodeError::Text("text"))?)
            }
        })
    }

    #[inline]
    fn write(&self, writer: &mut Writer<'_>) -> Written {
        match self {
            Message::Handshake(handshake) | Message::HandshakeAck(Some(handshake)) => handshake.write(writer),
            Message::HandshakeAck(None) => Ok(()),
            Message::Heartbeat(heartbeat) => heartbeat.write(writer),
            Message::Ping(ping) | Message::Pong(ping) => ping.write(writer),
            Message::GetPeers(request) => request.write(writer),
            Message::Peers(peers) => write_peers(peers, writer),
            Message::GetHeaders(request) => request.write(writer),
            Message::Headers(headers) => write_headers(headers, writer),
            Message::GetBlock(hash) | Message::NotFound(hash) => writer.hash(hash),
            Message::Block(bytes)
            | Message::Transaction(bytes)
            | Message::NewBlock(bytes)
            | Message::NewChallenge(bytes) => write_opaque(bytes, writer),
            Message::TxPoolRequest(request) => request.write(writer),
            Message::TxPool(ids) => write_ids(ids, writer),
            Message::ProofSubmission(submission) => submission.write(writer),
            Message::BlockAccepted(accepted) => accepted.write(writer),
            Message::GetBlocks(hashes) => write_wanted(hashes, writer),
            Message::Blocks(blocks) => write_run(blocks.iter().copied(), writer),
            Message::Error(text) => writer.bytes(text.as_bytes()),
        }
    }

    /// Writes the payload, without a frame header, at the end of `out`.
    ///
    /// # Errors
    ///
    /// A field that breaks its cap; `out` is then as it was.
    pub fn encode_payload(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let kind = self.kind();
        let start = out.len();
        self.write(&mut Writer::new(out, kind.max_payload())).map_err(|field| {
            out.truncate(start);
            EncodeError { kind, field }
        })
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
    #[inline]
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        // What is opaque has its length already, and its header once.
        match self {
            Message::Transaction(bytes) => encode_opaque(Kind::Transaction, bytes, out),
            Message::Block(bytes) => encode_opaque(Kind::Block, bytes, out),
            Message::NewBlock(bytes) => encode_opaque(Kind::NewBlock, bytes, out),
            Message::NewChallenge(bytes) => encode_opaque(Kind::NewChallenge, bytes, out),
            _ => self.encode_measured(out),
        }
    }

    /// A frame whose length is known when it is written.
    fn encode_measured(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let (kind, start) = (self.kind(), out.len());
        // The header is written when the length is known; its place is kept so that nothing moves afterwards.
        out.extend_from_slice(&[0; HEADER_LEN]);
        let written = self.write(&mut Writer::new(out, kind.max_payload()));
        let header = written.and_then(|()| {
            let len = out.len().saturating_sub(start).saturating_sub(HEADER_LEN);
            frame::header(kind as u8, len).map_err(|_| "payload")
        });
        match (header, out.get_mut(start..).and_then(<[u8]>::first_chunk_mut)) {
            (Ok(header), Some(place)) => {
                *place = header;
                Ok(())
            }
            (header, _) => {
                out.truncate(start);
                Err(EncodeError { kind, field: header.err().unwrap_or("payload") })
            }
        }
    }
}

/// A frame whose payload is these bytes and nothing else, at least one.
#[inline]
fn encode_opaque(kind: Kind, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let fits = !bytes.is_empty() && u32::try_from(bytes.len()).is_ok_and(|len| len <= kind.max_payload());
    let Some(header) = Some(bytes.len()).filter(|_| fits).and_then(|len| frame::header(kind as u8, len).ok()) else {
        return Err(EncodeError { kind, field: "payload" });
    };
    out.extend_from_slice(&header);
    out.extend_from_slice(bytes);
    Ok(())
}
