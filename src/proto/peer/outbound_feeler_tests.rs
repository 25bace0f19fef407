//! The one connection more than wanted: where it leads, and what it is good for.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use super::tests::{World, nth};
use super::*;

/// A network can be in parts of which none knows of the other. Whoever has enough connections never looked further.
#[test]
fn one_connection_more_goes_to_everybody_in_turn_and_one_of_them_always_stands() {
    let mut world = World::with_feelers(OutboundConfig { outbound: 3, ..Default::default() });
    world.alive = (0..20).map(nth).collect();
    world.hear(0..20);
    world.run(60);
    let mut standing = 0;
    for second in 0..1800 {
        world.run(1);
        assert_eq!(world.pool.automatic(), 3);
        assert!((3..=4).contains(&world.ready.len()), "{} in second {second}", world.ready.len());
        standing += world.ready.len() - 3;
        world.pool.audit().unwrap();
    }
    assert_eq!(standing, 1800, "one goes when the next one stands");
    let met: BTreeSet<SocketAddr> = world.dials.iter().map(|(_, to)| *to).collect();
    assert_eq!(met.len(), 20, "everybody");
    assert!((50..=70).contains(&world.dials.len()), "{} dials", world.dials.len());
}

#[test]
fn a_feeler_that_stands_takes_the_place_of_a_connection_that_is_lost() {
    let mut world = World::with_feelers(OutboundConfig { outbound: 2, ..Default::default() });
    world.alive = (0..3).map(nth).collect();
    world.hear(0..3);
    world.run(120);
    assert_eq!((world.ready.len(), world.pool.automatic(), world.dials.len()), (3, 2, 3), "nobody is left to feel for");
    let lost = *world.ready.keys().next().unwrap();
    world.alive.clear();
    world.close(lost, CloseReason::Io(ErrorKind::ConnectionReset));
    world.run(1);
    assert_eq!((world.ready.len(), world.pool.automatic()), (2, 2));
    world.pool.audit().unwrap();
}

#[test]
fn feelers_that_reach_nobody_are_neither_a_spin_nor_a_flood() {
    let mut world = World::with_feelers(OutboundConfig { outbound: 1, ..Default::default() });
    world.alive.insert(nth(0));
    world.hear(0..1);
    world.run(10);
    world.hear(1..1000);
    let before = world.dials.len();
    world.run(600);
    let dials = world.dials.len() - before;
    assert!((80..=150).contains(&dials), "{dials} dials in ten minutes: one each five seconds");
}

/// A place was free, and five addresses led to hosts that were off: each attempt held the place for the ten seconds that it
/// takes to know (simulated seed 77259).
#[test]
fn an_attempt_that_is_slow_does_not_keep_the_next_one_waiting() {
    let mut world = World::with_feelers(OutboundConfig { outbound: 1, ..Default::default() });
    world.failure = (CloseReason::DialTimeout, 10_000);
    world.alive.insert(nth(5));
    world.hear(0..6);
    world.run(11);
    assert_eq!(world.ready.values().collect::<Vec<_>>(), [&nth(5)]);
}

#[test]
fn when_slow_attempts_succeed_there_is_one_connection_more_and_it_is_the_feeler() {
    let mut world = World::with_feelers(OutboundConfig { outbound: 1, ..Default::default() });
    world.alive = (0..4).map(nth).collect();
    world.delay = 5_000;
    world.hear(0..4);
    world.run(10);
    assert_eq!((world.dials.len(), world.ready.len(), world.pool.automatic()), (3, 2, 1));
    world.pool.audit().unwrap();
}
