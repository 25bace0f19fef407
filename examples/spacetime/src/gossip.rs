//! Proofs and acceptances that peers pass on.

use spacetime_network::proto::sync::chain::{Rejection, Verdict};
use spacetime_network::wire::{Kind, Message};

use crate::chain::Contest;
use crate::crypto::Hash;
use crate::difficulty::meets;
use crate::format::Proof;
use crate::ledger::Ledger;
use crate::plot::header_fits;

/// The best proof that was passed on for a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BestProof {
    parent: Hash,
    score: Hash,
}

/// What is to be said of a payload whose layout is right.
pub fn check(kind: Kind, payload: &[u8], contest: &Contest, ledger: &Ledger, best: &mut Option<BestProof>) -> Verdict {
    match Message::decode(kind, payload) {
        Ok(Message::ProofSubmission(submission)) => {
            let epoch = i64::try_from(submission.height).unwrap_or(i64::MAX);
            proof(epoch, submission.proof, contest, best)
        }
        Ok(Message::BlockAccepted(accepted)) => match ledger.position(&accepted.hash.0) {
            Some(at) if at.height == accepted.height => Verdict::Accepted { best_changed: false },
            // Who lacks the block passes on any height, and who made it up is not known.
            Some(_) => Verdict::Ignored("accepted at another height"),
            None => Verdict::Ignored("a block that we do not have"),
        },
        Ok(_) => Verdict::Ignored("this chain has no challenges of its own"),
        Err(_) => Verdict::Invalid(Rejection::invalid("malformed")),
    }
}

fn proof(epoch: i64, bytes: &[u8], contest: &Contest, best: &mut Option<BestProof>) -> Verdict {
    let Some(proof) = Proof::decode(bytes) else {
        return Verdict::Invalid(Rejection::invalid("not a proof"));
    };
    // Whatever chain its maker follows, this much must hold.
    if !header_fits(&proof) {
        return Verdict::Invalid(Rejection::invalid("the proof names another plot than its path leads to"));
    }
    if epoch != contest.height {
        return Verdict::Ignored("the proof is not for the next block");
    }
    let score = proof.score(&contest.challenge);
    // The message does not say which block it would follow: the same proof may be good on another tip of this height.
    if !meets(&score, contest.difficulty) {
        return Verdict::Ignored("the proof's score is not below our target");
    }
    if best.is_some_and(|best| best.parent == contest.parent && best.score <= score) {
        return Verdict::Ignored("a better proof is known");
    }
    *best = Some(BestProof { parent: contest.parent, score });
    Verdict::Accepted { best_changed: false }
}
