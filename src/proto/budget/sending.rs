//! What one peer is sent unasked: of what others make us pass on, and of what we say ourselves.
//!
//! The peer counts both alike, so both leave by one pace, which is below what it takes. Of that pace our own words have three
//! quarters, and go first: whoever makes us pass on much does not silence us. The rest is for the others, however much we say.

use super::{ANNOUNCEMENTS, MessageRates};
use crate::rate::Pace;
use crate::time::Instant;
use crate::wire::Kind;

/// What one peer may still be sent unasked. We answer for it: without this, a crowd that keeps to its own budgets makes us break
/// the one that we have at our neighbour's.
#[derive(Clone, Debug)]
pub struct SendBudgets {
    left: Vec<Left>,
}

#[derive(Clone, Debug)]
struct Left {
    kind: Kind,
    /// What the peer takes in all.
    all: Pace,
    /// What of it may be our own words.
    own: Pace,
}

impl SendBudgets {
    /// What others say and we pass on, each kind at a pace of its own.
    pub(crate) const PASSED_ON: [Kind; 5] =
        [Kind::Peers, Kind::NewChallenge, Kind::ProofSubmission, Kind::BlockAccepted, Kind::NewBlock];

    /// Full budgets, below these rates.
    pub fn new(rates: &MessageRates, exempt: bool) -> Self {
        let paced = Self::PASSED_ON.iter().filter_map(|kind| Some((*kind, rates.for_sending(*kind, exempt)?)));
        let headers = rates.0.contains_key(&Kind::Headers).then_some((Kind::Headers, ANNOUNCEMENTS));
        let left = paced.chain(headers);
        SendBudgets {
            left: left
                .map(|(kind, rate)| Left { kind, all: Pace::new(rate), own: Pace::new(rate.for_sending()) })
                .collect(),
        }
    }

    /// May one of `kind` that others said leave now? It is charged then. While words of our own wait for this pace, they go
    /// first.
    pub fn take(&mut self, now: Instant, kind: Kind, own_waits: bool) -> bool {
        let Some(left) = self.of(kind) else { return true };
        let own_is_next = own_waits && left.own.ready_at() <= now;
        !own_is_next && left.all.take(now)
    }

    /// When one of `kind` may leave next.
    pub fn ready_at(&self, kind: Kind) -> Instant {
        self.ready_for(kind, 1)
    }

    /// When so many of `kind` may leave at once. For more than ever do, when nothing was sent for a while.
    pub fn ready_for(&self, kind: Kind, places: u32) -> Instant {
        let left = self.left.iter().find(|left| left.kind == kind);
        left.map_or(Instant::ZERO, |left| left.all.ready_for(places))
    }

    /// Takes the place of one of `kind` that we say ourselves.
    ///
    /// # Errors
    ///
    /// None is free: when the next one will be, if others leave it to us.
    pub fn take_own(&mut self, now: Instant, kind: Kind) -> Result<(), Instant> {
        let Some(left) = self.of(kind) else { return Ok(()) };
        let ready_at = left.all.ready_at().max(left.own.ready_at());
        if ready_at > now {
            return Err(ready_at);
        }
        let taken = left.all.take(now) && left.own.take(now);
        debug_assert!(taken, "a pace that is ready gives");
        Ok(())
    }

    fn of(&mut self, kind: Kind) -> Option<&mut Left> {
        self.left.iter_mut().find(|left| left.kind == kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::budget::{Charge, PeerBudgets};

    #[test]
    fn what_we_send_is_taken_by_a_peer_like_us_and_never_a_flood_to_one_that_exempts_nobody() {
        let rates = MessageRates::default();
        for ours in [false, true] {
            for kind in [Kind::Peers, Kind::NewChallenge, Kind::BlockAccepted, Kind::NewBlock, Kind::Headers] {
                let mut sending = SendBudgets::new(&rates, ours);
                let (mut alike, mut strict) = (PeerBudgets::new(&rates, ours), PeerBudgets::new(&rates, false));
                let mut sent = 0;
                for step in 0..40_000 {
                    let at = Instant::from_millis(step * 5);
                    if sending.take(at, kind, false) {
                        sent += 1;
                        assert_eq!(alike.charge(at, kind, 0), Charge::Ok);
                        assert_ne!(strict.charge(at, kind, 0), Charge::Flood, "{}", kind.name());
                    }
                }
                assert!(sent > 50, "{sent}");
            }
        }
        assert!(
            SendBudgets::new(&rates, false).take(Instant::ZERO, Kind::Transaction, true),
            "it has a pace of its own"
        );
    }

    #[test]
    fn neither_our_own_words_nor_those_of_others_take_all_of_what_a_peer_takes() {
        let rates = MessageRates::default();
        for kind in [Kind::NewChallenge, Kind::ProofSubmission, Kind::BlockAccepted] {
            let (mut sending, mut theirs) = (SendBudgets::new(&rates, false), PeerBudgets::new(&rates, false));
            let (mut own, mut others) = (0u32, 0u32);
            // Both would always say something, and others are asked first.
            for step in 0..600_000u64 {
                let at = Instant::from_millis(step);
                let passes = sending.take(at, kind, true);
                let says = sending.take_own(at, kind).is_ok();
                for _ in 0..u8::from(passes) + u8::from(says) {
                    assert_eq!(theirs.charge(at, kind, 0), Charge::Ok);
                }
                (own, others) = (own + u32::from(says), others + u32::from(passes));
            }
            let all = own + others;
            assert!(own * 2 >= all && own * 20 <= all * 17 && others > 0, "{}: {own} of {all}", kind.name());
        }
    }
}
