//! ProofSubmission: what a miner sends; the proof itself is the chain's business.

use crate::wire::cursor::{Reader, Writer, Written};
use crate::wire::error::DecodeError;
use crate::wire::kind::Kind;

/// The longest proof, in bytes.
pub const MAX_PROOF_LEN: u32 = 1_048_576;

/// A compressed public key, in bytes.
const KEY_LEN: usize = 33;

const _: () = assert!(8 + KEY_LEN + 4 + MAX_PROOF_LEN as usize == Kind::ProofSubmission.max_payload() as usize);

/// A miner's proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofSubmission<'a> {
    /// The block's height; at most `i64::MAX`.
    pub height: u64,
    /// The miner's compressed public key.
    pub miner: [u8; KEY_LEN],
    /// At most 1,048,576 bytes, opaque.
    pub proof: &'a [u8],
}

impl<'a> ProofSubmission<'a> {
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let height = reader.height("height")?;
        let miner = reader.array("miner")?;
        let len = reader.count("proof length", MAX_PROOF_LEN, 1)?;
        Ok(ProofSubmission { height, miner, proof: reader.bytes("proof", len)? })
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Written {
        writer.height("height", self.height)?;
        writer.bytes(&self.miner)?;
        writer.count("proof length", self.proof.len(), MAX_PROOF_LEN)?;
        writer.bytes(self.proof)
    }
}
