//! How often each invariant was checked, for one that never was proves nothing, and the first that did not hold: it ends the
//! run.

use core::fmt;

use crate::invariant::{Broken, Invariant};
use crate::time::Instant;

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which.
    pub invariant: Invariant,
    /// When, in simulated time since the start.
    pub at: Instant,
    /// In which event, counted from 1.
    pub event: u64,
    /// At which node.
    pub node: u32,
    /// What was found.
    pub found: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at.as_nanos() as f64 / 1e9;
        write!(
            f,
            "{} is broken at node {}, {seconds:.3} s, event {}: {}; the rule: {}",
            self.invariant.name(),
            self.node,
            self.event,
            self.found,
            self.invariant.text()
        )
    }
}

/// The counts, and the first failure.
#[derive(Debug)]
pub(super) struct Check {
    counts: [u64; Invariant::ALL.len()],
    pub(super) failure: Option<Failure>,
    /// Number of the event under way.
    event: u64,
    at: Instant,
}

impl Check {
    pub(super) fn new() -> Self {
        Check { counts: [0; Invariant::ALL.len()], failure: None, event: 0, at: Instant::ZERO }
    }

    /// The next event is under way.
    pub(super) fn event_begins(&mut self, at: Instant) {
        self.event += 1;
        self.at = at;
    }

    /// Events so far.
    pub(super) fn events(&self) -> u64 {
        self.event
    }

    /// Counts a check; `found` is asked only when it failed.
    pub(super) fn that(&mut self, invariant: Invariant, node: u32, holds: bool, found: impl FnOnce() -> String) {
        self.counts[invariant as usize] += 1;
        if !holds && self.failure.is_none() {
            self.failure = Some(Failure { invariant, at: self.at, event: self.event, node, found: found() });
        }
    }

    /// Counts an audit that looked at these rules and stopped at the first that is broken.
    pub(super) fn audited(&mut self, rules: &[Invariant], node: u32, outcome: Result<(), Broken>) {
        match outcome {
            Ok(()) => rules.iter().for_each(|rule| self.that(*rule, node, true, String::new)),
            Err(Broken { rule, found }) => self.that(rule, node, false, || found),
        }
    }

    /// Takes over what was checked elsewhere, since the last time.
    pub(super) fn take(&mut self, node: u32, tally: &mut Tally) {
        for (count, more) in self.counts.iter_mut().zip(&mut tally.counts) {
            *count += core::mem::take(more);
        }
        if let Some(Broken { rule, found }) = tally.broken.take() {
            self.counts[rule as usize] -= 1;
            self.that(rule, node, false, || found);
        }
    }

    pub(super) fn counts(&self) -> Vec<(Invariant, u64)> {
        Invariant::ALL.iter().map(|invariant| (*invariant, self.counts[*invariant as usize])).collect()
    }
}

/// Checks of one node between two looks of the world.
#[derive(Debug)]
pub(super) struct Tally {
    counts: [u64; Invariant::ALL.len()],
    broken: Option<Broken>,
}

impl Default for Tally {
    fn default() -> Self {
        Tally { counts: [0; Invariant::ALL.len()], broken: None }
    }
}

impl Tally {
    /// As [`Check::that`].
    pub(super) fn that(&mut self, invariant: Invariant, holds: bool, found: impl FnOnce() -> String) {
        self.counts[invariant as usize] += 1;
        if !holds && self.broken.is_none() {
            self.broken = Some(Broken { rule: invariant, found: found() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_stands_and_every_check_counts() {
        let mut check = Check::new();
        check.that(Invariant::S2, 1, true, || unreachable!());
        check.that(Invariant::S2, 2, false, || "first".to_owned());
        check.that(Invariant::L1, 3, false, || "second".to_owned());
        assert_eq!(check.failure.as_ref().unwrap().found, "first");
        assert!(check.failure.as_ref().unwrap().to_string().starts_with("S2 is broken at node 2"));
        assert_eq!(check.counts()[1], (Invariant::S2, 2));
    }

    #[test]
    fn what_a_node_checked_by_itself_counts_once() {
        let (mut check, mut tally) = (Check::new(), Tally::default());
        tally.that(Invariant::S2, true, || unreachable!());
        tally.that(Invariant::S2, false, || "found".to_owned());
        check.take(4, &mut tally);
        check.take(4, &mut tally);
        assert_eq!(check.counts()[1], (Invariant::S2, 2));
        assert_eq!(check.failure.map(|failure| (failure.node, failure.found)), Some((4, "found".to_owned())));
    }
}
