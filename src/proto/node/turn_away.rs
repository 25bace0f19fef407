//! Who is not let in, and what is said to him: those for whom there is no place hear that, so that they can tell a full node from a
//! dead one; so do those who come too often, or too many from one place, as long as they do not flood; the banned hear nothing.

use core::net::SocketAddr;

use crate::admit::{Admit, CROWDED};
use crate::proto::event::Event;
use crate::proto::node::Node;
use crate::proto::peer::admission::AdmissionRefusal;
use crate::proto::sync::chain::Chain;
use crate::time::Now;
use crate::wire::Kind;

/// What is said where there is no place.
const FULL: &str = "too many connections";
/// What is said by a node that stops.
const STOPPING: &str = "shutting down";
static FULL_FRAME: [u8; 5 + FULL.len()] = error_frame(FULL);
static CROWDED_FRAME: [u8; 5 + CROWDED.len()] = error_frame(CROWDED);
static STOPPING_FRAME: [u8; 5 + STOPPING.len()] = error_frame(STOPPING);

impl<C: Chain> Node<C> {
    /// May this address connect? Asked before anything is allocated for it; a refusal is counted by its reason. Making a place
    /// for it may lead to outputs.
    ///
    /// After [`Admit::Accept`] its place is taken until [`Input::Opened`](crate::proto::Input::Opened) or
    /// [`Input::AdmissionReleased`](crate::proto::Input::AdmissionReleased) comes. After
    /// [`Admit::Evict`], and the input that the other's admission is released, the address is worth another question; after
    /// [`Admit::Wait`] it is whenever a little time has passed, until it has waited long enough, which
    /// [`Input::WaitedInVain`](crate::proto::Input::WaitedInVain) says.
    pub fn admit(&mut self, now: Now, remote: SocketAddr) -> Admit {
        debug_assert!(self.outputs.is_empty(), "all outputs are carried out before the next question");
        if self.stopping {
            return self.turn_away_stopping(remote);
        }
        if self.is_banned(now, remote, None) {
            return self.turn_away_banned(remote);
        }
        if self.admission.admit_client(now.at, remote) {
            return Admit::Accept;
        }
        self.admission.keep_for_dials(self.outbound.dialing());
        let mut answer = self.admission.admit(now.at, remote);
        let made_room = match answer {
            Err(AdmissionRefusal::Pending) => self.evict_pending(now, remote),
            // Our own dials may have taken the last place of all while some are left for inbound ones: the same handshakes hold it.
            Err(AdmissionRefusal::Inbound | AdmissionRefusal::Connections) => self.make_way(now, remote),
            _ => false,
        };
        if made_room {
            answer = self.admission.admit(now.at, remote);
        }
        match answer {
            Ok(()) => {
                self.admission.arriving(now.at, remote);
                Admit::Accept
            }
            Err(refusal) => match self.admission.eviction_candidate(now.at, remote) {
                Some(other) => Admit::Evict(other),
                // Nobody crowds more than he does, or stalls. A greeting follows its connection within a round trip.
                None if refusal == AdmissionRefusal::Pending && self.admission.wait(now.at, remote) => {
                    Admit::Wait(&FULL_FRAME)
                }
                None => self.turn_away(now, remote, refusal),
            },
        }
    }

    /// Nobody is let in any more.
    pub(super) fn turn_away_stopping(&mut self, remote: SocketAddr) -> Admit {
        self.count_refusal(remote, "stopping");
        Admit::TurnAway(&STOPPING_FRAME)
    }

    /// He is not let in for what he did.
    pub(super) fn turn_away_banned(&mut self, remote: SocketAddr) -> Admit {
        self.count_refusal(remote, "blacklisted");
        Admit::Refuse
    }

    /// He is not let in because of a limit.
    pub(super) fn turn_away(&mut self, now: Now, remote: SocketAddr, refusal: AdmissionRefusal) -> Admit {
        self.count_refusal(remote, refusal.label());
        match refusal {
            AdmissionRefusal::Connections | AdmissionRefusal::Inbound | AdmissionRefusal::Pending => {
                Admit::TurnAway(&FULL_FRAME)
            }
            _ if self.admission.may_be_answered(now.at, remote) => Admit::TurnAway(&CROWDED_FRAME),
            _ => Admit::Refuse,
        }
    }

    /// He waited for a place among those who have not introduced themselves.
    pub(super) fn waited_in_vain(&mut self, remote: SocketAddr) {
        self.count_refusal(remote, AdmissionRefusal::Pending.label());
    }

    /// Counts whoever is not let in, and tells of him.
    fn count_refusal(&mut self, remote: SocketAddr, why: &'static str) {
        // Who waited and is refused for another reason, a ban or a stop, waits no more.
        self.admission.waited_in_vain(remote);
        *self.counters.turned_away.entry(why).or_default() += 1;
        self.emit(Event::TurnedAway { remote, why });
    }
}

/// A whole Error frame.
#[allow(clippy::indexing_slicing, reason = "the compiler computes it")]
const fn error_frame<const LEN: usize>(text: &str) -> [u8; LEN] {
    let (text, mut frame) = (text.as_bytes(), [0; LEN]);
    assert!(LEN == 5 + text.len() && LEN < 260);
    frame[0] = (LEN - 4) as u8;
    frame[4] = Kind::Error as u8;
    let mut at = 0;
    while at < text.len() {
        frame[5 + at] = text[at];
        at += 1;
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::close::CloseReason;
    use crate::wire::Message;

    #[test]
    fn what_is_said_at_the_door_is_what_is_said_inside() {
        for (text, frame, reason) in
            [(FULL, &FULL_FRAME[..], CloseReason::LimitReached), (STOPPING, &STOPPING_FRAME, CloseReason::Shutdown)]
        {
            assert_eq!(reason.consequence().last_error, Some(text));
            let payload = Message::Error(text).to_payload().unwrap();
            let length = u32::try_from(payload.len() + 1).unwrap().to_le_bytes();
            assert_eq!(frame, [&length[..], &[Kind::Error as u8], &payload].concat());
        }
        assert!(CROWDED_FRAME.ends_with(CROWDED.as_bytes()) && CROWDED_FRAME.len() == 5 + CROWDED.len());
    }
}
