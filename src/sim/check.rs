//! The invariants: what must hold after every event, and what must hold once the faults have stopped.
//!
//! Each counts how often it was checked, for one that never was proves nothing. The first that is broken ends the run.

use core::fmt;

use crate::time::Instant;

macro_rules! invariants {
    ($($name:ident = $text:literal;)*) => {
        /// One thing that must hold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Invariant { $(#[doc = $text] $name,)* }

        impl Invariant {
            /// All of them.
            pub const ALL: &'static [Invariant] = &[$(Invariant::$name,)*];

            /// Its name: the letter and number of the test plan.
            pub const fn name(self) -> &'static str {
                match self { $(Invariant::$name => stringify!($name),)* }
            }

            /// The one that a text of a node's own audit is about: it begins with the name.
            pub(super) fn of_audit(text: &str) -> Option<Invariant> {
                let name = text.split_once(':')?.0;
                Invariant::ALL.iter().copied().find(|invariant| invariant.name() == name)
            }

            /// What it says.
            pub const fn text(self) -> &'static str {
                match self { $(Invariant::$name => $text,)* }
            }
        }
    };
}

invariants! {
    S1 = "an event causes a bounded number of outputs";
    S2 = "frames are delivered as they were sent, in order within their priority, none after the close";
    S3 = "every connection opens once and closes once, and every dial ends once";
    S4 = "open descriptors are the connections, dials and listeners; none is left after a stop";
    S5 = "connections and queues stay within their limits, and memory within its budgets";
    S6 = "the memory in the auditor is the memory that the connections hold";
    S7 = "at most one connection to one node id";
    S8 = "inbound peers keep to their places, and no two dials go to one group without need";
    S9 = "reputation moves by the rules and for whoever caused it; no honest node is blamed for more than a cut stream, or blacklisted, while no byte is corrupted";
    S10 = "a blacklisted address has no open connection after 1 s, is not dialed, and nobody is told of it";
    S11 = "no object goes back to its sender, nor twice to one peer within five minutes";
    S12 = "the chain's work never decreases";
    S13 = "a block is waited for from the peer that was asked, who is there, and each peer is asked for a bounded number";
    S14 = "headers without blocks are bounded, and each has a peer that claims it";
    S15 = "no peer is sent more in 10 s than its budgets allow, and no frame waits for more than its share of later ones";
    S16 = "timers are not early, and a tick leaves no deadline in the past";
    S17 = "the book of addresses agrees with itself, and no subnet has more than its share of it";
    S18 = "what is loaded after a crash is an earlier state, and none from before the last that was durable";
    S19 = "what counts as seen is bounded for each source, and nothing of it is invalid";
    L1 = "every honest node has the outbound connections it wants or all there are, and a path to every other, within 75 s";
    L2 = "all honest nodes have one tip, the heaviest that any of them had, within 120 s";
    L3 = "a transaction reaches every honest node within 10 s";
    L4 = "a new node that knows one honest address has the chain that was the best when it came, within 120 s and the transfer";
    L5 = "a connection on which nothing arrives is closed in time";
    L6 = "L2 and L3 hold for a node with attackers among its neighbours, where one that it dialed is honest";
    L7 = "an honest newcomer is given an inbound place within 10 s, although attackers hold all of them";
    L8 = "queues are empty and the loops sleep again";
    L9 = "a connection that waits is accepted within 2 s of a descriptor being free";
    L10 = "after an outage of minutes to hours L1 holds again within 75 s, and no honest node has a worse name for it";
}

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
    pub(super) event: u64,
    pub(super) at: Instant,
}

impl Check {
    pub(super) fn new() -> Self {
        Check { counts: [0; Invariant::ALL.len()], failure: None, event: 0, at: Instant::ZERO }
    }

    /// Counts a check; `found` is asked only when it failed.
    pub(super) fn that(&mut self, invariant: Invariant, node: u32, holds: bool, found: impl FnOnce() -> String) {
        self.counts[invariant as usize] += 1;
        if !holds && self.failure.is_none() {
            self.failure = Some(Failure { invariant, at: self.at, event: self.event, node, found: found() });
        }
    }

    /// Takes over what was checked elsewhere, since the last time.
    pub(super) fn take(&mut self, node: u32, tally: &mut Tally) {
        for (count, more) in self.counts.iter_mut().zip(&mut tally.counts) {
            *count += core::mem::take(more);
        }
        if let Some((invariant, found)) = tally.broken.take() {
            self.counts[invariant as usize] -= 1;
            self.that(invariant, node, false, || found);
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
    broken: Option<(Invariant, String)>,
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
            self.broken = Some((invariant, found()));
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
    fn an_audit_names_its_rule() {
        assert_eq!(Invariant::of_audit("S1: x"), Some(Invariant::S1));
        assert_eq!(Invariant::of_audit("S17: the counts: wrong"), Some(Invariant::S17));
        assert_eq!(Invariant::of_audit("S170: no such rule"), None);
        assert_eq!(Invariant::of_audit("no rule"), None);
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
