//! The rules that the parts of a node keep and that a run of the simulator checks, each with its sentence.
//!
//! They stand below every layer, so that whoever counts a table anew, be it proto's audits, the loop's or the simulator's,
//! names the same rule by the same value. The letters are the test plan's: `S` holds after every event, `L` once the faults
//! have stopped.

use core::fmt;

macro_rules! invariants {
    ($($name:ident = $text:literal;)*) => {
        /// One thing that must hold.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Invariant { $(#[doc = $text] $name,)* }

        impl Invariant {
            /// All of them.
            pub const ALL: &'static [Invariant] = &[$(Invariant::$name,)*];

            /// Its name: the letter and number of the test plan.
            pub const fn name(self) -> &'static str {
                match self { $(Invariant::$name => stringify!($name),)* }
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
    S6 = "the memory that is counted is the memory that the connections hold";
    S7 = "at most one connection to one proven identity, or to one claimed id at one address";
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
    S20 = "whom a node reached it saves, be the peer there or away";
    S21 = "addresses of a family that the machine does not have are dialed a few times a minute at most";
    S22 = "what a frame costs in work is bounded by its length, and that of the block it asks for";
    S23 = "whom the loop refused a frame, for want of room, or whose queue it says is at its high watermark, it owes a word that there is room, or that the connection is closed";
    S24 = "nobody is told of an address at which no dial of the teller found somebody, unless it is the teller's own";
    S25 = "no frame is given to a connection that has used up its work for the turn, and none to any when the turn's is used up";
    L1 = "every honest node has the outbound connections it wants or all there are, and a path to every other, within 75 s";
    L2 = "all honest nodes that have an honest neighbour have one tip, the heaviest that any of them had, within 120 s";
    L3 = "a transaction reaches every honest node within 10 s that has an honest neighbour";
    L4 = "a new node that knows one honest address has the chain that was the best when it came, within 120 s and the transfer";
    L5 = "a connection on which nothing arrives is closed in time";
    L6 = "L2 and L3 hold for a node with attackers among its neighbours, where one that it dialed is honest";
    L7 = "an honest newcomer is given an inbound place within 10 s, although attackers hold all of them, or all that leads there";
    L8 = "queues are empty and the loops sleep again";
    L9 = "a connection that waits is accepted within 2 s of a descriptor being free";
    L10 = "after an outage of minutes to hours L1 holds again within 75 s, and no honest node has a worse name for it";
    L11 = "what a node says itself has gone to every peer that it had then and has still";
    L12 = "all honest nodes that have an honest neighbour have the same transactions waiting";
    L13 = "once attackers have left, nothing is held for them any more";
    L14 = "a block is everywhere within 10 s, although attackers fill a node's memory with frames that they do not finish";
    L15 = "who starts again connects to whom it had reached or was given, and does not leave that to those who only came to it";
}

impl Invariant {
    /// Looks at one instance of the rule; `found` is asked only when it does not hold.
    ///
    /// # Errors
    ///
    /// The rule, and what was found.
    pub fn check(self, holds: bool, found: impl FnOnce() -> String) -> Result<(), Broken> {
        if holds { Ok(()) } else { Err(Broken { rule: self, found: found() }) }
    }
}

/// A rule that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which.
    pub rule: Invariant,
    /// What was found instead.
    pub found: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is broken: {}; the rule: {}", self.rule.name(), self.found, self.rule.text())
    }
}

impl core::error::Error for Broken {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_rule_says_what_was_found_and_what_it_asks_for() {
        assert_eq!(Invariant::S12.check(true, || unreachable!()), Ok(()));
        let broken = Invariant::S12.check(false, || "work fell from 3 to 2".to_owned()).unwrap_err();
        assert_eq!(broken, Broken { rule: Invariant::S12, found: "work fell from 3 to 2".to_owned() });
        let text = "S12 is broken: work fell from 3 to 2; the rule: the chain's work never decreases";
        assert_eq!(broken.to_string(), text);
    }

    #[test]
    fn names_are_those_of_the_variants_and_no_two_rules_say_the_same() {
        let names: Vec<String> = Invariant::ALL.iter().map(|rule| format!("{rule:?}")).collect();
        assert!(Invariant::ALL.iter().zip(&names).all(|(rule, name)| rule.name() == name));
        let texts: std::collections::BTreeSet<_> = Invariant::ALL.iter().map(|rule| rule.text()).collect();
        assert_eq!(texts.len(), Invariant::ALL.len());
    }
}
