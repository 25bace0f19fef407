//! The event loop's two memory budgets, and who waits for room in them: backpressure over all connections together.
//!
//! Each connection's own queue has its watermarks. These budgets bound the sum: above half of one, everybody is limited to an
//! equal share of the other half. Who meets the receive budget is not read until its timer wakes it, so that the peer's TCP
//! window closes; who meets the send budget is told when there is room, one at a time.

use std::collections::{BTreeMap, VecDeque};

use super::config::Config;
use super::slab::ConnSlab;
use super::timer::{Due, Timers};
use super::turn_shares::Source;
use crate::id::ConnId;
use crate::limits::{RECEIVE_RETRY, RECEIVE_TURN, SEND_RETRY};
use crate::link::Inbox;
use crate::time::Instant;

/// Is a budget used up for a connection that holds, or would hold, `own` bytes of the `total`? The first half is for
/// whoever comes; the second is divided into equal shares, so that a few who fill the first leave everyone else theirs.
#[inline]
pub(super) const fn is_over(total: usize, budget: usize, own: usize, connections: usize) -> bool {
    let half = free_half(budget);
    // The answer nearly always, and to divide costs more than all else that a frame's push does.
    if total < half {
        return false;
    }
    let share = match half.checked_div(connections) {
        Some(share) => share,
        None => half,
    };
    own > share
}

/// What is for whoever comes. Never nothing: who finds a budget unused may begin, however small that is.
pub(super) const fn free_half(budget: usize) -> usize {
    if budget < 2 { 1 } else { budget / 2 }
}

/// The account of bytes that came and are not delivered.
#[derive(Debug, Default)]
pub(super) struct ReceiveBudget {
    /// What all connections hold; nothing of the one that is being read.
    held: usize,
    /// Who is not read until the timer, each at most once.
    waiters: Vec<ConnId>,
    /// The one connection that may exceed the budget, and until when it need not give way.
    exempt: Option<(ConnId, Instant)>,
    /// Who of those that waited is next to exceed it.
    next: Option<ConnId>,
}

impl ReceiveBudget {
    #[inline]
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// A connection holds so many bytes more.
    #[inline]
    pub(super) fn charge(&mut self, bytes: usize) {
        self.held += bytes;
    }

    /// A connection holds so many bytes less.
    #[inline]
    pub(super) fn release(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.held, "{bytes} bytes are given back, and {} were charged", self.held);
        self.held = self.held.saturating_sub(bytes);
    }

    /// May the connection be read, with an inbox that is not in the account meanwhile? Only large frames wait: the others are
    /// bounded by the read buffer.
    #[inline]
    pub(super) fn admits(
        &mut self,
        id: ConnId,
        inbox: &Inbox,
        config: &Config,
        (now, conns): (Instant, &ConnSlab),
    ) -> bool {
        if !inbox.is_large() {
            return true;
        }
        let own = inbox.held();
        !is_over(self.held + own, config.receive_budget, own, config.connections) || self.exempts(id, now, conns)
    }

    /// True for the one connection that may go on with its large frame above the budget. Without it, frames that together fill the
    /// budget would wait for each other until all of them time out. Whoever does not finish in time gives way when others wait.
    fn exempts(&mut self, id: ConnId, now: Instant, conns: &ConnSlab) -> bool {
        let waits = |id: ConnId| {
            let conn = conns.get(id);
            conn.is_some_and(|conn| conn.is_open() && !conn.flags.paused && conn.link.inbox.is_large())
        };
        match self.exempt {
            Some((other, _)) if other == id => return true,
            Some((other, until)) if waits(other) && (now < until || self.next.is_none_or(|next| next == other)) => {
                return false;
            }
            _ => {}
        }
        // The one whose turn it is asks in this turn or the next.
        if self.next.is_some_and(|next| next != id && waits(next)) {
            return false;
        }
        (self.exempt, self.next) = (Some((id, now + RECEIVE_TURN)), None);
        true
    }

    /// Lets a connection wait until memory may have become free.
    pub(super) fn wait(&mut self, id: ConnId, now: Instant, timers: &mut Timers) {
        if self.waiters.is_empty() {
            timers.arm(now + RECEIVE_RETRY, Due::Receive);
        }
        if !self.waiters.contains(&id) {
            self.waiters.push(id);
        }
    }

    /// Those that waited: all of them try again. Next to exceed the budget is one that we dialed, or else one whose source has
    /// fewest that wait, and of these the one that holds least: whoever fills the memory with frames that he does not finish waits
    /// behind those who came for one.
    pub(super) fn take_waiters(&mut self, conns: &ConnSlab) -> Vec<ConnId> {
        let waiters = core::mem::take(&mut self.waiters);
        let source = |id: &ConnId| conns.get(*id).and_then(|conn| conn.source);
        let mut crowds: BTreeMap<Source, usize> = BTreeMap::new();
        for source in waiters.iter().filter_map(source) {
            *crowds.entry(source).or_default() += 1;
        }
        let holder = self.exempt.map(|(holder, _)| holder);
        let others = waiters.iter().enumerate().filter(|(_, id)| Some(**id) != holder);
        self.next = others
            .filter_map(|(place, id)| {
                let conn = conns.get(*id)?;
                let crowd = conn.source.and_then(|source| crowds.get(&source)).copied().unwrap_or(1);
                let is_inbound = matches!(conn.source, Some(Source::Inbound(_)));
                Some((is_inbound, crowd, conn.link.held(), place, *id))
            })
            .min()
            .map(|(.., id)| id);
        waiters
    }
}

/// Who met the send budget with a queue too short to drain to a low watermark, which would tell it when there is room. The
/// account of queued bytes is the buffer pool's, since queues share payloads.
#[derive(Debug, Default)]
pub(super) struct SendBudget {
    /// Longest first, each at most once.
    waiters: VecDeque<ConnId>,
}

impl SendBudget {
    /// Lets a connection wait to hear that there is room.
    pub(super) fn wait(&mut self, id: ConnId, now: Instant, timers: &mut Timers) {
        if self.waiters.contains(&id) {
            return;
        }
        if self.waiters.is_empty() {
            timers.arm(now + SEND_RETRY, Due::Send);
        }
        self.waiters.push_back(id);
    }

    /// Does nobody wait?
    pub(super) fn is_idle(&self) -> bool {
        self.waiters.is_empty()
    }

    /// Does it wait?
    #[cfg(feature = "sim")]
    pub(super) fn is_waiting(&self, id: ConnId) -> bool {
        self.waiters.contains(&id)
    }

    /// Who is to hear that there is room, if there is: the one that waits longest. One at a time, since what it then queues may
    /// use the room up; the next one's timer is armed.
    pub(super) fn wake(
        &mut self,
        has_room: bool,
        lives: impl Fn(ConnId) -> bool,
        now: Instant,
        timers: &mut Timers,
    ) -> Option<ConnId> {
        let woken = if has_room { self.waiters.pop_front() } else { None };
        self.waiters.retain(|id| lives(*id));
        if !self.waiters.is_empty() {
            timers.arm(now + SEND_RETRY, Due::Send);
        }
        woken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(n: u32) -> ConnId {
        ConnId::new(n, 0)
    }

    #[test]
    fn above_half_of_a_budget_everybody_has_an_equal_share_of_the_other_half() {
        assert!(!is_over(499, 1000, 499, 10), "the first half is for whoever comes");
        assert!(is_over(500, 1000, 51, 10) && !is_over(500, 1000, 50, 10));
        assert!(!is_over(0, 1, 99, 10) && is_over(1, 1, 99, 10), "the smallest budget takes one, and then waits");
        assert!(is_over(500, 1000, 501, 0) && !is_over(500, 1000, 500, 0), "nobody to share with");
    }

    #[test]
    fn the_account_of_received_bytes_returns_to_zero() {
        let mut budget = ReceiveBudget::default();
        budget.charge(70);
        budget.charge(30);
        budget.release(70);
        assert_eq!(budget.held(), 30);
        budget.release(30);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    #[cfg(debug_assertions)]
    #[should_panic(expected = "were charged")]
    fn giving_back_what_was_never_charged_is_our_fault_and_is_said() {
        let mut budget = ReceiveBudget::default();
        budget.charge(1);
        budget.release(2);
    }

    #[test]
    fn who_waits_to_be_read_waits_once_and_arms_one_timer() {
        let (mut budget, mut timers) = (ReceiveBudget::default(), Timers::default());
        for n in [1, 2, 1] {
            budget.wait(conn(n), Instant::from_millis(u64::from(n)), &mut timers);
        }
        let due = Instant::from_millis(1) + RECEIVE_RETRY;
        assert_eq!(timers.pop(Instant::NEVER), Some((due, Due::Receive)));
        assert_eq!(timers.next(), None);
        let conns = ConnSlab::default();
        assert_eq!(budget.take_waiters(&conns), [conn(1), conn(2)]);
        assert_eq!(budget.take_waiters(&conns), []);
    }

    #[test]
    fn room_to_send_is_told_to_one_at_a_time_in_turn_and_never_to_nobody() {
        let (mut budget, mut timers) = (SendBudget::default(), Timers::default());
        let at = Instant::from_millis;
        for n in [1, 2, 1, 3] {
            budget.wait(conn(n), at(0), &mut timers);
        }
        assert_eq!(timers.pop(Instant::NEVER), Some((at(0) + SEND_RETRY, Due::Send)));
        assert_eq!(timers.next(), None, "one timer for all of them");
        // No room: nobody hears, and the next look is armed.
        assert_eq!(budget.wake(false, |_| true, at(50), &mut timers), None);
        assert!(timers.pop(Instant::NEVER).is_some());
        // The second is gone meanwhile.
        let lives = |id: ConnId| id != conn(2);
        assert_eq!(budget.wake(true, lives, at(100), &mut timers), Some(conn(1)));
        assert!(timers.pop(Instant::NEVER).is_some());
        assert_eq!(budget.wake(true, lives, at(150), &mut timers), Some(conn(3)));
        assert_eq!(timers.next(), None, "nobody waits, so nothing is armed");
        assert_eq!(budget.wake(true, lives, at(200), &mut timers), None);
    }
}
