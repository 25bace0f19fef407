//! Challenges, proofs and acceptances, on a chain that uses none of them.
//!
//! This chain mines by hashing. Whatever has the layout of `wire::protocol`, section 3, passes, so that nodes that use challenges and
//! proofs can meet through ours.

use crate::chain::read;
use crate::proto::sync::chain::Rejection;
use crate::wire::{Hash, Kind};

/// Bytes of a compressed public key.
const MINER_LEN: usize = 33;
/// Bytes of a proof besides the opaque part: height, key, length.
const PROOF_FIXED_LEN: usize = 8 + MINER_LEN + 4;
const MAX_PROOF_LEN: usize = Kind::ProofSubmission.max_payload() as usize - PROOF_FIXED_LEN;
const MAX_CHALLENGE_LEN: usize = Kind::NewChallenge.max_payload() as usize;

/// What a payload says that this chain can judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gossip {
    /// Nothing: a challenge or a proof.
    Opaque,
    /// That a block was accepted at a height.
    Accepted(Hash, u64),
}

/// Reads a payload of one of the three kinds.
pub(super) fn read(kind: Kind, payload: &[u8]) -> Result<Gossip, Rejection> {
    let gossip = match kind {
        Kind::NewChallenge => (1..=MAX_CHALLENGE_LEN).contains(&payload.len()).then_some(Gossip::Opaque),
        Kind::ProofSubmission => proof(payload),
        Kind::BlockAccepted => accepted(payload),
        _ => return Err(Rejection::invalid("not a challenge, a proof or an acceptance")),
    };
    gossip.ok_or(Rejection::invalid("wrong layout"))
}

fn proof(mut payload: &[u8]) -> Option<Gossip> {
    height(&mut payload)?;
    read::slice(&mut payload, MINER_LEN)?;
    let len = usize::try_from(read::u32(&mut payload)?).ok()?;
    (len == payload.len() && len <= MAX_PROOF_LEN).then_some(Gossip::Opaque)
}

fn accepted(mut payload: &[u8]) -> Option<Gossip> {
    let hash = Hash(read::array(&mut payload)?);
    let height = height(&mut payload)?;
    payload.is_empty().then_some(Gossip::Accepted(hash, height))
}

/// An `i64` that is not negative.
fn height(payload: &mut &[u8]) -> Option<u64> {
    read::i64(payload).and_then(|height| u64::try_from(height).ok())
}
