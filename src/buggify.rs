//! Rare but legal behaviour at named points, so that a simulation meets it often.
//!
//! A correct network must survive all of it: none of these points does what a busy, small or slow node could not do by itself. In
//! a run each point is enabled with one chance in four, so that the combinations vary, and then hit at one visit of twenty.
//! FoundationDB has the idea and the name.

use std::collections::BTreeMap;

use crate::rng::Rng;

/// One point in so many is enabled in a run.
const ENABLED_ONE_IN: u64 = 4;
/// Of a thousand visits, an enabled point is hit at so many, unless somebody says otherwise.
const HITS_PER_THOUSAND: u64 = 50;

macro_rules! points {
    ($($name:ident = $label:literal, $text:literal;)*) => {
        /// A place in the code that may misbehave.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Point { $(#[doc = $text] $name,)* }

        impl Point {
            /// All of them.
            pub const ALL: &'static [Point] = &[$(Point::$name,)*];

            /// A word for reports.
            pub const fn label(self) -> &'static str {
                match self { $(Point::$name => $label,)* }
            }
        }
    };
}

points! {
    WorstSyncPeer = "worst-sync-peer", "The block is asked of the busiest and latest peer that has it.";
    DelaySave = "delay-save", "The known peers are saved one round later.";
    EvictNow = "evict-now", "An inbound peer gives way to a newcomer though there is room.";
    RelayLater = "relay-later", "A transaction waits for the next turn of a peer's pace though that has room.";
    FewHeaders = "few-headers", "A GetHeaders is answered with half of what it may be answered with.";
    TimeoutNow = "timeout-now", "A request for a block is late as soon as it is sent.";
    WriteOneByte = "write-one-byte", "A connection's turn may write one byte, so that it ends after one call.";
    ReadOneByte = "read-one-byte", "A connection's turn ends after one byte is read, or what a large frame misses.";
    OneFrame = "one-frame", "A connection's turn ends after one frame.";
    SendRefused = "send-refused", "A frame finds the memory for queues full.";
}

/// Which points are enabled in this run, and how often they were hit.
#[derive(Clone, Debug)]
pub struct Buggify {
    rng: Rng,
    enabled: Vec<Point>,
    per_thousand: u64,
    hits: BTreeMap<Point, u64>,
}

impl Buggify {
    /// The run that `seed` names.
    pub fn new(seed: u64) -> Self {
        let mut rng = Rng::from_seed(seed);
        let enabled = Point::ALL.iter().copied().filter(|_| rng.chance(1, ENABLED_ONE_IN)).collect();
        Buggify { rng, enabled, per_thousand: HITS_PER_THOUSAND, hits: BTreeMap::new() }
    }

    /// The same, with so many hits in a thousand visits of an enabled point.
    #[must_use]
    pub fn with_rate(self, per_thousand: u64) -> Self {
        Buggify { per_thousand, ..self }
    }

    /// A run in which just these points are enabled.
    pub fn only(seed: u64, points: &[Point]) -> Self {
        let (rng, enabled) = (Rng::from_seed(seed), points.to_vec());
        Buggify { rng, enabled, per_thousand: HITS_PER_THOUSAND, hits: BTreeMap::new() }
    }

    /// The same points for another part of the same run, with choices of its own.
    pub fn fork(&mut self) -> Self {
        let (rng, enabled) = (Rng::from_seed(self.rng.next_u64()), self.enabled.clone());
        Buggify { rng, enabled, per_thousand: self.per_thousand, hits: BTreeMap::new() }
    }

    /// Misbehave at this visit?
    pub fn hit(&mut self, point: Point) -> bool {
        let hit = self.enabled.contains(&point) && self.rng.chance(self.per_thousand, 1000);
        if hit {
            *self.hits.entry(point).or_default() += 1;
        }
        hit
    }

    /// How often each point was hit.
    pub fn hits(&self) -> &BTreeMap<Point, u64> {
        &self.hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_points_is_enabled_and_hit_at_one_visit_in_twenty() {
        let (mut enabled, mut hits) = (0, 0);
        for seed in 0..1000 {
            let mut buggify = Buggify::new(seed);
            enabled += buggify.enabled.len();
            hits += (0..20).filter(|_| buggify.hit(Point::FewHeaders)).count() as u64;
            assert_eq!(buggify.hits().get(&Point::TimeoutNow), None);
        }
        let expected = 1000 * Point::ALL.len() / 4;
        assert!((expected * 9 / 10..expected * 11 / 10).contains(&enabled), "{enabled}");
        assert!((200..300).contains(&hits), "{hits} of 250");
    }

    #[test]
    fn the_same_seed_hits_at_the_same_visits_and_a_fork_at_its_own() {
        let visits = |mut buggify: Buggify| (0..500).map(|_| buggify.hit(Point::EvictNow)).collect::<Vec<_>>();
        let run = || Buggify::only(7, &[Point::EvictNow]);
        assert_eq!(visits(run()), visits(run()));
        let mut parent = run();
        let fork = parent.fork();
        assert_ne!(visits(fork.clone()), visits(parent));
        assert!(visits(fork).contains(&true));
    }
}
