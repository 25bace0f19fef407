//! The order of events, and when each host has its turns.
//!
//! The order is total: by time, then by the order in which events were scheduled. So a run is the same however often it is
//! played.

use core::cmp::Reverse;
use core::time::Duration;
use std::collections::BinaryHeap;

use super::pipe::{PipeId, Side};
use crate::time::Instant;

/// A turn takes at least so long: the next one of the same host is not before.
const TURN: Duration = Duration::from_micros(50);
/// Who has its turn this much later than it could is frozen, and not merely late.
const FROZEN: Duration = Duration::from_millis(500);

/// What happens at some time.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// A host's process has a turn.
    Turn(u32),
    /// A dial reaches the host at end 1, for the so manieth time.
    Syn(PipeId, u8),
    /// The word that the connection stands reaches end 0.
    Connected(PipeId),
    /// The word that nobody listens reaches end 0.
    Refused(PipeId),
    /// A packet is due at this end, or a clog of this direction is over.
    Arrive(PipeId, Side),
    /// This end may send again.
    Window(PipeId, Side),
    /// A reset reaches this end.
    Reset(PipeId, Side),
    /// A host starts, or starts again.
    Start(u32),
    /// A second has passed: faults are drawn.
    Second,
    /// Somebody mines.
    Mine,
    /// Somebody pays.
    Pay,
    /// Something is done or looked at once in a run.
    Milestone(Milestone),
}

/// What is done or looked at once in a run, from the end of the faults on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Milestone {
    /// The faults stop.
    Heal,
    /// The newcomer comes that every run without a scenario has.
    Join,
    /// Is everybody connected?
    CheckConnected,
    /// The last block is mined.
    MineLast,
    /// Do all have one tip?
    CheckAgreed,
    /// The last payment is made.
    PayLast,
    /// Has the newcomer the chain?
    CheckJoined,
    /// Has everybody heard of the last payment?
    CheckHeard,
    /// Has a newcomer found a place in a full house?
    CheckPlace,
    /// Has a node that started again connected to those whom it knew?
    CheckReturned,
    /// Attackers leave.
    Leave,
    /// Everybody is asked to stop.
    Stop,
    /// Everybody has stopped, and the run ends.
    End,
}

/// When a host's process has its turns.
#[derive(Clone, Copy, Debug)]
struct Turns {
    /// The next one.
    armed: Instant,
    /// None before that: the last one lasts, or the process is frozen.
    not_before: Instant,
}

/// The events to come.
pub(super) struct Schedule {
    now: Instant,
    queue: BinaryHeap<Reverse<(Instant, u64, Slot)>>,
    /// Events scheduled so far.
    scheduled: u64,
    turns: Vec<Turns>,
}

/// An event that has no order of its own for the heap: the sequence numbers differ.
#[derive(Clone, Copy, Debug)]
struct Slot(Event);

impl PartialEq for Slot {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Slot {}

impl PartialOrd for Slot {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Slot {
    fn cmp(&self, _: &Self) -> core::cmp::Ordering {
        core::cmp::Ordering::Equal
    }
}

impl Schedule {
    pub(super) fn new() -> Self {
        Schedule { now: Instant::ZERO, queue: BinaryHeap::new(), scheduled: 0, turns: Vec::new() }
    }

    pub(super) fn now(&self) -> Instant {
        self.now
    }

    /// One more host, which has no turn before it is touched.
    pub(super) fn add_host(&mut self) {
        self.turns.push(Turns { armed: Instant::NEVER, not_before: Instant::ZERO });
    }

    pub(super) fn at(&mut self, at: Instant, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse((at.max(self.now), self.scheduled, Slot(event))));
    }

    pub(super) fn after(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    /// The next event; the clock moves to it.
    pub(super) fn next(&mut self) -> Option<Event> {
        let Reverse((at, _, Slot(event))) = self.queue.pop()?;
        debug_assert!(at >= self.now, "an event at {at:?} comes after {:?}", self.now);
        self.now = at;
        Some(event)
    }

    /// A host has something to do.
    pub(super) fn touch(&mut self, host: u32) {
        self.turn_at(host, self.now);
    }

    /// A host's turn comes no later than that, unless it is frozen.
    pub(super) fn turn_at(&mut self, host: u32, at: Instant) {
        let turns = &mut self.turns[host as usize];
        let at = at.max(self.now).max(turns.not_before);
        if at < turns.armed {
            turns.armed = at;
            self.at(at, Event::Turn(host));
        }
    }

    /// Is it really this host's turn? An event that was overtaken, or met a frozen process, says no.
    pub(super) fn takes_turn(&mut self, host: u32) -> bool {
        let now = self.now;
        let turns = &mut self.turns[host as usize];
        if turns.armed != now {
            return false;
        }
        turns.armed = Instant::NEVER;
        if turns.not_before > now {
            let at = turns.not_before;
            self.turn_at(host, at);
            return false;
        }
        turns.not_before = now + TURN;
        true
    }

    /// The host's process does nothing until then.
    pub(super) fn freeze(&mut self, host: u32, until: Instant) {
        let turns = &mut self.turns[host as usize];
        turns.not_before = turns.not_before.max(until);
    }

    /// The host's process is awake from now on.
    pub(super) fn thaw(&mut self, host: u32) {
        self.turns[host as usize] = Turns { armed: Instant::NEVER, not_before: self.now };
        self.touch(host);
    }

    /// Not merely late.
    pub(super) fn is_frozen(&self, host: u32) -> bool {
        self.turns[host as usize].not_before > self.now + FROZEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_millis(millis)
    }

    /// Takes the next event: the turn that it is of a host, if it is one.
    fn turn(schedule: &mut Schedule) -> Option<(Instant, bool)> {
        match schedule.next()? {
            Event::Turn(host) => Some((schedule.now(), schedule.takes_turn(host))),
            _ => None,
        }
    }

    #[test]
    fn events_come_by_time_and_then_as_they_were_scheduled_and_none_in_the_past() {
        let mut schedule = Schedule::new();
        schedule.at(at(5), Event::Mine);
        schedule.at(at(3), Event::Pay);
        schedule.at(at(3), Event::Second);
        assert!(matches!(schedule.next(), Some(Event::Pay)));
        schedule.at(at(1), Event::Start(7));
        assert!(matches!(schedule.next(), Some(Event::Second)));
        assert!(matches!(schedule.next(), Some(Event::Start(7))));
        assert_eq!(schedule.now(), at(3));
        assert!(matches!(schedule.next(), Some(Event::Mine)) && schedule.next().is_none());
    }

    #[test]
    fn a_host_has_one_turn_however_often_it_is_touched_and_none_while_it_is_frozen() {
        let mut schedule = Schedule::new();
        schedule.add_host();
        schedule.turn_at(0, at(9));
        schedule.touch(0);
        schedule.touch(0);
        assert_eq!(turn(&mut schedule), Some((at(0), true)));
        assert_eq!(turn(&mut schedule), Some((at(9), false)), "an earlier one took its place");
        schedule.freeze(0, at(2000));
        assert!(schedule.is_frozen(0));
        schedule.touch(0);
        assert_eq!(turn(&mut schedule), Some((at(2000), true)));
        schedule.freeze(0, at(9000));
        schedule.thaw(0);
        assert!(!schedule.is_frozen(0));
        assert_eq!(turn(&mut schedule), Some((at(2000), true)));
    }
}
