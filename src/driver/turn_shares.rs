//! Whose turn it is where there is more to do than a turn holds: the loop's time is shared by source.
//!
//! A protocol says what a frame has cost, in units of work, by [`Net::spend`](super::Net::spend). A connection's slice of a turn
//! ends with its allowance, and what its source has used of late decides who is served first in the next turn: whoever causes
//! much work waits behind all who cause little, and so hinders only himself and his like. That is fair queueing by start times
//! (Goyal, Vin and Cheng, "Start-time fair queueing", 1997), with a clock that drains what was used.
//!
//! Work is counted and not timed, so that the same input leads to the same order on every machine, and in a simulation. A
//! protocol that says nothing, or whose frames are cheap, pays nothing for this: there is no table to look at.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::address::Subnet;
use crate::id::Direction;
use crate::limits::{LOOP_WORK, SLICE_WORK_MIN, WORK_DRAINED_PER_MICRO, WORK_NOTICED, WORK_REMEMBERED};
use crate::time::Instant;

/// Who answers for the work that a connection causes. Those that we dialed each for itself, those that dialed us by subnet, since
/// an address costs a stranger little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Dialed(SocketAddr),
    Inbound(Subnet),
}

impl Source {
    pub(super) fn of(remote: SocketAddr, direction: Direction) -> Self {
        if direction.is_outbound() { Source::Dialed(remote) } else { Source::Inbound(Subnet::of(remote.ip())) }
    }
}

/// What is left of this turn and this slice, and what each source has used.
#[derive(Debug, Default)]
pub(super) struct TurnShares {
    /// What a source has used and the clock has not drained yet. Who has used little is not in it.
    used: BTreeMap<Source, u64>,
    drained_at: Instant,
    turn_left: u32,
    slice_left: u32,
    slice_spent: u64,
}

impl TurnShares {
    pub(super) fn begin_turn(&mut self, now: Instant) {
        self.turn_left = LOOP_WORK;
        if !self.used.is_empty() {
            self.drain(now);
        }
        self.drained_at = now;
    }

    /// Time passes for all sources alike.
    fn drain(&mut self, now: Instant) {
        let micros = u64::try_from(now.since(self.drained_at).as_micros()).unwrap_or(u64::MAX);
        let each = micros.saturating_mul(WORK_DRAINED_PER_MICRO) / (self.used.len() as u64).max(1);
        self.used.retain(|_, used| {
            *used = used.saturating_sub(each);
            *used > 0
        });
    }

    /// How much each of so many connections that wait for service may cause in this turn: equal parts of it, so that whoever has
    /// little to say is served in it wherever it stands, and no more than `most`.
    pub(super) fn slice(waiting: usize, most: u32) -> u32 {
        let part = LOOP_WORK / u32::try_from(waiting.max(1)).unwrap_or(u32::MAX);
        part.max(SLICE_WORK_MIN).min(most)
    }

    /// The slice of the next connection: so many units at most, and no more than the turn has left.
    pub(super) fn begin_slice(&mut self, most: u32) {
        self.slice_left = most.min(self.turn_left);
        self.slice_spent = 0;
    }

    /// Counts work. True when that was the last of the slice.
    #[inline]
    pub(super) fn spend(&mut self, units: u32) -> bool {
        self.slice_spent = self.slice_spent.saturating_add(units.into());
        self.turn_left = self.turn_left.saturating_sub(units);
        self.slice_left = self.slice_left.saturating_sub(units);
        self.slice_left == 0
    }

    /// Is the slice used up, or the turn?
    pub(super) fn is_spent(&self) -> bool {
        self.slice_left == 0
    }

    pub(super) fn is_turn_spent(&self) -> bool {
        self.turn_left == 0
    }

    /// Whoever the slice was for has used what was spent of it.
    #[inline]
    pub(super) fn end_slice(&mut self, source: Option<Source>) {
        let spent = core::mem::take(&mut self.slice_spent);
        if spent >= WORK_NOTICED
            && let Some(source) = source
        {
            let used = self.used.entry(source).or_default();
            *used = used.saturating_add(spent).min(WORK_REMEMBERED);
        }
    }

    /// True when somebody has used so much that the order of service matters.
    #[inline]
    pub(super) fn is_uneven(&self) -> bool {
        !self.used.is_empty()
    }

    /// By what to serve a source: who has used least comes first, and those that we dialed before those that dialed us.
    pub(super) fn rank(&self, source: Option<Source>) -> (u64, bool) {
        let used = source.and_then(|source| self.used.get(&source)).copied().unwrap_or(0);
        (used, !matches!(source, Some(Source::Dialed(_))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::DialId;

    fn inbound(address: &str) -> Source {
        Source::of(address.parse().unwrap(), Direction::Inbound)
    }

    /// One slice in which everything is used.
    fn take_slice(shares: &mut TurnShares, source: Source, most: u32) -> u64 {
        shares.begin_slice(most);
        let mut spent = 0;
        loop {
            spent += 100;
            if shares.spend(100) {
                break;
            }
        }
        shares.end_slice(Some(source));
        spent
    }

    #[test]
    fn a_subnet_answers_for_all_its_addresses_and_each_peer_that_we_dialed_for_itself() {
        assert_eq!(inbound("192.0.2.1:1"), inbound("192.0.2.250:2"));
        assert_ne!(inbound("192.0.2.1:1"), inbound("192.0.3.1:1"));
        let dialed = |address: &str| Source::of(address.parse().unwrap(), Direction::Outbound(DialId(1)));
        assert_ne!(dialed("192.0.2.1:1"), dialed("192.0.2.2:1"));
    }

    #[test]
    fn a_slice_ends_with_its_allowance_and_all_slices_with_the_turn() {
        let mut shares = TurnShares::default();
        shares.begin_turn(Instant::from_millis(1));
        let mut spent = 0;
        while !shares.is_turn_spent() {
            spent += take_slice(&mut shares, inbound("192.0.2.1:1"), 30_000);
        }
        assert_eq!(spent, u64::from(LOOP_WORK));
        shares.begin_slice(30_000);
        assert!(shares.is_spent(), "nothing is left for a further one");
        shares.begin_turn(Instant::from_millis(2));
        shares.begin_slice(30_000);
        assert!(!shares.is_spent());
    }

    #[test]
    fn those_who_wait_share_the_turn_in_equal_parts_and_none_is_too_small_to_be_noted() {
        assert_eq!([0, 1, 4, 10].map(|waiting| TurnShares::slice(waiting, 25_000)), [25_000, 25_000, 25_000, 10_000]);
        assert_eq!([100, 1_000_000].map(|waiting| TurnShares::slice(waiting, 25_000)), [SLICE_WORK_MIN; 2]);
        assert_eq!(TurnShares::slice(1000, 7), 7, "what is configured is never exceeded");
    }

    #[test]
    fn what_was_used_is_forgotten_in_time_and_little_is_never_noted() {
        let mut shares = TurnShares::default();
        let source = inbound("192.0.2.1:1");
        shares.begin_turn(Instant::from_millis(1000));
        shares.begin_slice(30_000);
        shares.spend(u32::try_from(WORK_NOTICED).unwrap() - 1);
        shares.end_slice(Some(source));
        assert!(!shares.is_uneven());
        // Far more than is remembered, whatever a frame may have cost.
        shares.spend(u32::MAX);
        shares.end_slice(Some(source));
        assert_eq!(shares.used.get(&source), Some(&WORK_REMEMBERED));
        let needed = WORK_REMEMBERED / WORK_DRAINED_PER_MICRO / 1000;
        shares.begin_turn(Instant::from_millis(1000 + needed - 1));
        assert!(shares.is_uneven());
        shares.begin_turn(Instant::from_millis(1000 + needed + 1));
        assert!(!shares.is_uneven());
    }
}
