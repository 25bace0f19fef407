//! Whatever tree of blocks is split over whatever peers: one honest peer is enough to end at its tip, and the same world
//! twice does the same.

use core::time::Duration;
use proptest::prelude::*;
use spacetime_network::proto::sync::SyncConfig;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::wire::message::Extension;

use crate::toy::{Nature, Toy};
use crate::world::{Habit, Remote, World, conn};

/// A block: its parent among those before it, counted from the newest, and its work.
type Growth = Vec<(usize, u64)>;

#[derive(Clone, Debug)]
struct Cast {
    growth: Growth,
    /// How much of the growth each peer has, how it behaves, its latency and its version.
    peers: Vec<(usize, Habit, u64, u8)>,
    honest_latency: u64,
    honest_version: u8,
    ours: usize,
    /// Headers that one peer may have stored, of lighter branches and of any.
    room: (usize, usize),
}

fn habit() -> impl Strategy<Value = Habit> {
    prop_oneof![
        Just(Habit::Honest),
        Just(Habit::Withholds),
        Just(Habit::Silent),
        Just(Habit::NotFound),
        Just(Habit::Mutates),
        (1u64..60).prop_map(Habit::Drops),
    ]
}

fn cast() -> impl Strategy<Value = Cast> {
    let growth = prop::collection::vec((prop_oneof![8 => Just(0usize), 1 => 0usize..12], 1u64..4), 1..120);
    let peers = prop::collection::vec((0usize..120, habit(), 1u64..8_000, 1u8..=2), 0..6);
    let room = (1usize..60, 20usize..150);
    (growth, peers, 1u64..3_000, 1u8..=2, 0usize..60, room).prop_map(
        |(growth, peers, honest_latency, honest_version, ours, room)| Cast {
            growth,
            peers,
            honest_latency,
            honest_version,
            ours,
            room,
        },
    )
}

fn grow(growth: &[(usize, u64)]) -> Toy {
    let mut toy = Toy::new();
    let mut names = vec![toy.genesis()];
    for (n, (back, work)) in growth.iter().enumerate() {
        let parent = names[names.len() - 1 - back.min(&(names.len() - 1))];
        names.push(toy.extend(parent, *work, &format!("block {n}"), Nature::Good));
    }
    toy
}

fn play(cast: &Cast) -> World {
    let part = |count: usize| grow(&cast.growth[..count.min(cast.growth.len())]);
    let config = SyncConfig {
        window_blocks: 16,
        headers_per_request: 20,
        headers_unproven: cast.room.0,
        headers_per_peer: cast.room.1,
        ..SyncConfig::default()
    };
    let mut world = World::configured(part(cast.ours), config);
    for (n, (count, habit, latency, version)) in (2..).zip(&cast.peers) {
        let features = match latency % 3 {
            0 => 0,
            1 => Extension::WAITS_WITH_ANSWERS,
            _ => Extension::WAITS_WITH_ANSWERS | Extension::SERVES_RUNS,
        };
        let (latency, each) = (Duration::from_millis(*latency), Duration::ZERO);
        world.connect(n, Remote { chain: part(*count), version: *version, features, latency, each, habit: *habit });
    }
    let latency = Duration::from_millis(cast.honest_latency);
    let honest = Remote { version: cast.honest_version, latency, ..Remote::honest(&part(usize::MAX)) };
    world.connect(1, honest);
    world.run(7_200);
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn one_honest_peer_is_enough(cast in cast()) {
        let world = play(&cast);
        let honest = grow(&cast.growth);
        prop_assert_eq!(world.chain.best().work, honest.best().work);
        prop_assert!(!world.closed.iter().any(|(closed, _)| *closed == conn(1)), "{:?}", world.closed);
        prop_assert!(!world.sync.is_syncing());
        prop_assert_eq!(world.sync.held(), (0, 0));
    }

    #[test]
    fn the_same_inputs_give_the_same_outputs(cast in cast()) {
        prop_assert_eq!(play(&cast).trace, play(&cast).trace);
    }
}
