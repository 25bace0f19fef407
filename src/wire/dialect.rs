//! What a type byte means between whom: version 2, and the two revisions of the C# library that both announce version 1.
//!
//! A pure map, there and back: (dialect, type byte, payload) to a kind, and a kind to the type byte under which the other side knows
//! it, if it has a word for it at all. When which of them is spoken is the session's business. The source is section 9 of
//! [`wire::protocol`](crate::wire::protocol).

use crate::wire::frame::{FrameError, FrameRules};
use crate::wire::kind::Kind;
use crate::wire::message::{DecodeError, GetPeers, Message};

/// The type byte of a NewChallenge, and of a later revision's ProofSubmission.
const CHALLENGE: u8 = Kind::NewChallenge as u8;
/// The type byte of a ProofSubmission, and of a later revision's BlockAccepted.
const PROOF: u8 = Kind::ProofSubmission as u8;
/// How long a BlockAccepted is. A ProofSubmission is longer.
const ACCEPTED_LEN: usize = Kind::BlockAccepted.max_payload() as usize;
/// A ProofSubmission without a proof, in bytes: a later revision cannot read it.
const EMPTY_PROOF_LEN: usize = 8 + 33 + 4;

const _: () = assert!(ACCEPTED_LEN < EMPTY_PROOF_LEN, "a length tells one from the other");

/// How the other side of a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// Version 2: what [`Kind`] says.
    Current,
    /// Version 1, by whom is not known yet: both revisions greet alike.
    Unknown,
    /// Version 1 as the first revision of the C# library has it, and a node of ours that is set to version 1.
    First,
    /// Version 1 as its later revisions have it.
    Later,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meaning<'a> {
    /// This.
    Said(Message<'a>),
    /// A challenge of the first revision or a proof of a later one: both can be read in it, and it is not known who speaks.
    Ambiguous,
}

impl Dialect {
    /// What is known of a side when the version in force is.
    pub const fn of_version(version: u8) -> Self {
        if version >= 2 { Dialect::Current } else { Dialect::Unknown }
    }

    /// Is version 1 in force?
    pub const fn is_version_1(self) -> bool {
        !matches!(self, Dialect::Current)
    }

    /// Which frames may come. The cap of 0x40 is that of the larger message that it may be.
    pub const fn rules(self) -> &'static FrameRules {
        match self {
            Dialect::Current => FrameRules::version(2),
            Dialect::Unknown | Dialect::Later => FrameRules::version(1),
            Dialect::First => &FIRST,
        }
    }

    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// A type byte that means nothing here, or the kind that it means and what breaks its layout.
    pub fn read(self, byte: u8, payload: &[u8]) -> Result<Meaning<'_>, ReadError> {
        let kind = match (self, byte) {
            (Dialect::Current, _) => Kind::from_byte(byte),
            (_, PROOF) if payload.len() == ACCEPTED_LEN => Some(Kind::BlockAccepted),
            (Dialect::Later, CHALLENGE) => Some(Kind::ProofSubmission),
            (Dialect::Unknown, CHALLENGE) if Message::decode(Kind::ProofSubmission, payload).is_ok() => {
                return Ok(Meaning::Ambiguous);
            }
            _ => Kind::from_byte(byte).filter(|kind| kind.is_said_in_version_1()),
        };
        let kind = kind.ok_or(ReadError::Type(FrameError::UnknownType(byte)))?;
        Message::decode(kind, payload).map(Meaning::Said).map_err(|error| ReadError::Payload(kind, error))
    }

    /// What is known of the other side once it has said this: a dialect that was shown is kept.
    #[must_use]
    pub fn after(self, message: &Message<'_>) -> Self {
        if self != Dialect::Unknown {
            return self;
        }
        match message {
            Message::HandshakeAck(None) | Message::Ping(_) | Message::Pong(_) | Message::TxPoolRequest(_) => {
                Dialect::Later
            }
            Message::HandshakeAck(Some(_)) | Message::GetPeers(GetPeers::All) => Dialect::First,
            Message::Heartbeat(heartbeat) if !heartbeat.is_empty() => Dialect::First,
            // Anybody's frames are passed on, or look so.
            _ => Dialect::Unknown,
        }
    }

    /// Under which type byte the other side reads a message of this kind and payload; `None` when it cannot read it, or it is not
    /// known whether it can.
    pub fn type_byte(self, kind: Kind, payload: &[u8]) -> Option<u8> {
        match (self, kind) {
            (Dialect::Current, _) => Some(kind as u8),
            (_, Kind::GetPeers) if payload.is_empty() => None,
            (Dialect::Unknown, Kind::NewChallenge | Kind::ProofSubmission | Kind::BlockAccepted) => None,
            (Dialect::First, Kind::BlockAccepted) | (Dialect::Later, Kind::NewChallenge) => None,
            (Dialect::Later, Kind::ProofSubmission) => (payload.len() > EMPTY_PROOF_LEN).then_some(CHALLENGE),
            (Dialect::Later, Kind::BlockAccepted) => Some(PROOF),
            _ => kind.is_said_in_version_1().then_some(kind as u8),
        }
    }
}

/// Why a frame says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadError {
    /// Its type byte means nothing here.
    Type(FrameError),
    /// It breaks the layout of what its type byte means.
    Payload(Kind, DecodeError),
}

/// What the first revision may send.
static FIRST: FrameRules = FrameRules::of_version(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::hash::Hash;
    use crate::wire::message::{BlockAccepted, Heartbeat, Ping, ProofSubmission, TxPoolRequest};

    const VERSION_1: [Dialect; 3] = [Dialect::Unknown, Dialect::First, Dialect::Later];

    fn proof(len: usize) -> Vec<u8> {
        let proof = vec![7; len];
        let message = Message::ProofSubmission(ProofSubmission { height: 1, miner: [2; 33], proof: &proof });
        message.to_payload().unwrap().to_vec()
    }

    fn kind(dialect: Dialect, byte: u8, payload: &[u8]) -> Option<Kind> {
        match dialect.read(byte, payload) {
            Ok(Meaning::Said(message)) => Some(message.kind()),
            Ok(Meaning::Ambiguous) | Err(ReadError::Type(_)) => None,
            Err(ReadError::Payload(kind, _)) => Some(kind),
        }
    }

    /// Whatever can be said to somebody is read by him as what was meant, in each dialect.
    #[test]
    fn what_is_said_in_a_dialect_is_read_in_it_as_what_was_meant() {
        let accepted = Message::BlockAccepted(BlockAccepted { hash: Hash([1; 32]), height: 9 }).to_payload().unwrap();
        let samples: [(Kind, Vec<u8>); 4] = [
            (Kind::NewChallenge, b"challenge".to_vec()),
            (Kind::ProofSubmission, proof(3)),
            (Kind::BlockAccepted, accepted.to_vec()),
            (Kind::Transaction, vec![1]),
        ];
        for dialect in [Dialect::Current, Dialect::Unknown, Dialect::First, Dialect::Later] {
            for (meant, payload) in &samples {
                if let Some(byte) = dialect.type_byte(*meant, payload) {
                    assert_eq!(kind(dialect, byte, payload), Some(*meant), "{dialect:?}");
                    assert!(dialect.rules().max_payload(byte).is_some_and(|max| max as usize >= payload.len()));
                }
            }
        }
        let said = |dialect: Dialect| samples.each_ref().map(|(kind, payload)| dialect.type_byte(*kind, payload));
        assert_eq!(said(Dialect::Current), [Some(0x40), Some(0x41), Some(0x42), Some(0x30)]);
        assert_eq!(said(Dialect::Unknown), [None, None, None, Some(0x30)]);
        assert_eq!(said(Dialect::First), [Some(0x40), Some(0x41), None, Some(0x30)]);
        assert_eq!(said(Dialect::Later), [None, Some(0x40), Some(0x41), Some(0x30)]);
        assert_eq!(Dialect::Later.type_byte(Kind::ProofSubmission, &proof(0)), None, "it cannot read an empty proof");
    }

    #[test]
    fn a_version_1_peer_never_gets_a_type_that_no_revision_has() {
        for dialect in VERSION_1 {
            for kind in [Kind::NotFound, Kind::TxPool, Kind::GetBlocks, Kind::Blocks] {
                assert_eq!(dialect.type_byte(kind, &[0; 40]), None, "{dialect:?}");
                assert_eq!(dialect.rules().max_payload(kind as u8), None, "{dialect:?}");
            }
            assert_eq!(dialect.rules().max_payload(Kind::BlockAccepted as u8), None);
            assert_eq!(dialect.type_byte(Kind::GetPeers, &[]), None, "a later one cannot read it");
        }
    }

    #[test]
    fn forty_bytes_tell_an_acceptance_from_a_proof() {
        for dialect in VERSION_1 {
            assert_eq!(kind(dialect, 0x41, &[0; 40]), Some(Kind::BlockAccepted));
            for len in [0, 39, 41, 44, 45, 100] {
                assert_eq!(kind(dialect, 0x41, &vec![0; len]), Some(Kind::ProofSubmission), "{len}");
            }
        }
        assert_eq!(kind(Dialect::Current, 0x41, &[0; 40]), Some(Kind::ProofSubmission));
    }

    #[test]
    fn the_first_thing_that_shows_a_dialect_decides() {
        let ping = Ping { nonce: 1, unix_millis: 2 };
        let later = [
            Message::HandshakeAck(None),
            Message::Ping(ping),
            Message::Pong(ping),
            Message::TxPoolRequest(TxPoolRequest { max: 1, include_data: true }),
        ];
        let first = [Message::GetPeers(GetPeers::All), Message::Heartbeat(Heartbeat::Opaque(&[1]))];
        let neither = [
            Message::GetPeers(GetPeers::everybody()),
            Message::Heartbeat(Heartbeat::Opaque(&[])),
            Message::NewChallenge(b"c"),
            Message::BlockAccepted(BlockAccepted { hash: Hash::ZERO, height: 0 }),
        ];
        for (messages, shown) in [(&later[..], Dialect::Later), (&first, Dialect::First), (&neither, Dialect::Unknown)]
        {
            for message in messages {
                assert_eq!(Dialect::Unknown.after(message), shown, "{message:?}");
                for before in [Dialect::Current, Dialect::First, Dialect::Later] {
                    assert_eq!(before.after(message), before, "what was shown holds");
                }
            }
        }
    }

    #[test]
    fn only_where_nobody_knows_who_speaks_a_proof_under_the_type_of_a_challenge_is_neither() {
        let read = |dialect: Dialect, payload: &[u8]| kind(dialect, 0x40, payload);
        assert_eq!(Dialect::Unknown.read(0x40, &proof(3)), Ok(Meaning::Ambiguous));
        assert_eq!(read(Dialect::First, &proof(3)), Some(Kind::NewChallenge));
        assert_eq!(read(Dialect::Later, &proof(3)), Some(Kind::ProofSubmission));
        let mut over = proof(3);
        over.push(0);
        assert_eq!(read(Dialect::Unknown, &over), Some(Kind::NewChallenge));
        let large = vec![0xff; Kind::NewChallenge.max_payload() as usize + 1];
        assert!(matches!(Dialect::Unknown.read(0x40, &large), Err(ReadError::Payload(Kind::NewChallenge, _))));
        assert!(Dialect::First.rules().max_payload(0x40) < Dialect::Unknown.rules().max_payload(0x40));
    }
}
