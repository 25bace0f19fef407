//! Branches that leave our chain far below its tip: followed when they are heavier, whatever their depth; never stored on trust.

use std::time::Duration;

use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::proto::sync::{DeepBranch, SyncConfig};
use spacetime_network::wire::Hash;

use crate::toy::{Nature, Toy};
use crate::world::{Habit, Remote, World, conn};

/// Headers that wait to be believed at most, beside those in the tree: 16 bits at 128 headers each, and an answer.
const AHEAD_MAX: usize = 16 * 128 + 2_000;

fn news(world: &World) -> Vec<DeepBranch> {
    world.branches.iter().map(|(.., news)| *news).collect()
}

/// A fork of 106,000 blocks against 150,000 ended nowhere, without a word: whoever told it was dropped after 100,000 headers,
/// which were still lighter than our chain.
#[test]
fn a_fork_longer_than_what_is_stored_on_trust_ends_on_the_heavier_chain() {
    for version in [1, 2] {
        let (ours, theirs) = (Toy::grown(300, "ours"), Toy::grown(450, "theirs"));
        let limits = SyncConfig {
            headers_unproven: 100,
            headers_per_peer: 100,
            headers_max: 150,
            headers_per_request: 50,
            ..SyncConfig::default()
        };
        let mut world = World::configured(ours, limits);
        world.connect(1, Remote { version, ..Remote::honest(&theirs) });
        world.run(120);
        assert_eq!(world.chain.best(), theirs.best(), "{:?}", world.branches);
        assert_eq!(news(&world), [DeepBranch::Counted, DeepBranch::Proven]);
        assert_eq!(
            world.branches[1],
            (conn(1), 0, 350, DeepBranch::Proven),
            "proven with the answer that outweighs ours"
        );
        let branches = world.sync.branch_progress();
        assert_eq!(
            (branches.told, branches.furthest, branches.counting),
            (700, 700, None),
            "what was counted was told twice"
        );
        assert_eq!(world.asked.values().filter(|times| **times > 1).count(), 0, "each block is asked for once");
        assert!(world.progress.iter().all(|(height, target)| height <= target), "{:?}", world.progress);
        assert_eq!((world.sync.held(), world.closed.len()), ((0, 0), 0));
    }
}

#[test]
fn a_deep_fork_is_followed_a_piece_at_a_time_within_the_limits_of_the_tree() {
    let (ours, theirs) = (Toy::grown(6_000, "ours"), Toy::grown(9_000, "theirs"));
    let limits =
        SyncConfig { headers_unproven: 2_000, headers_per_peer: 2_500, headers_max: 3_000, ..SyncConfig::default() };
    let mut world = World::configured(ours, limits);
    world.connect(1, Remote::with(&theirs, Habit::Drops(2)));
    world.connect(2, Remote::honest(&theirs));
    world.run(3_600);
    assert_eq!(world.chain.best(), theirs.best(), "{:?}", world.branches);
    assert!(world.most_held.0 <= 3_000 + 2 * AHEAD_MAX, "{:?}", world.most_held);
    assert!(news(&world).contains(&DeepBranch::Proven) && world.closed.is_empty(), "{:?}", world.branches);
}

/// Of a branch with less work than ours nothing is kept, however long it is, and its teller is told so once.
#[test]
fn a_long_branch_that_is_lighter_is_counted_once_and_leaves_nothing_behind() {
    let mut ours = Toy::new();
    ours.push(1_000_000, "heavy", Nature::Good);
    let mut light = Toy::grown(10_000, "light");
    let limits = SyncConfig { headers_unproven: 1_000, ..SyncConfig::default() };
    let mut world = World::configured(ours.clone(), limits);
    world.connect(1, Remote::honest(&light));
    world.run(120);
    assert_eq!((world.chain.best(), world.sync.held()), (ours.best(), (0, 0)));
    assert_eq!(news(&world), [DeepBranch::Counted, DeepBranch::Lighter]);
    assert!(world.most_held.0 <= 3_000 && world.asked.is_empty(), "{:?}", world.most_held);
    let questions = world.header_questions[&conn(1)];
    assert!(questions <= 7, "{questions} questions for 10,000 headers");

    // It grows: what was counted is not told again.
    for _ in 0..5 {
        light.grow(1, "light");
        world.remotes.get_mut(&conn(1)).unwrap().chain = light.clone();
        world.announce(conn(1), Some(light.best().height), None);
        world.live(60);
    }
    assert!(world.header_questions[&conn(1)] <= questions + 10, "{:?}", world.header_questions);
    assert_eq!(news(&world), [DeepBranch::Counted, DeepBranch::Lighter], "said once");

    // Until it is the heavier one.
    light.push(2_000_000, "light", Nature::Good);
    world.remotes.get_mut(&conn(1)).unwrap().chain = light.clone();
    world.announce(conn(1), Some(light.best().height), None);
    world.run(600);
    assert_eq!(world.chain.best(), light.best());
}

/// One counts a heavy branch with us and then tells another, with less work in each header, to have it stored.
#[test]
fn a_branch_that_is_not_told_again_as_it_was_counted_is_given_up_before_any_of_it_is_stored() {
    let ours = Toy::grown(5_000, "ours");
    let (heavy, other) = (Toy::grown(6_000, "heavy"), Toy::grown(6_000, "other"));
    let limits = SyncConfig { headers_unproven: 1_000, headers_per_request: 250, ..SyncConfig::default() };
    let mut world = World::configured(ours.clone(), limits);
    world.connect(1, Remote { features: 0, ..Remote::honest(&heavy) });
    while !news(&world).contains(&DeepBranch::Proven) {
        world.run(1);
    }
    let best = heavy.best();
    world.remotes.get_mut(&conn(1)).unwrap().chain = other.clone();
    world.run(4);
    assert!(news(&world).contains(&DeepBranch::Changed), "{:?}", world.branches);
    assert_eq!(world.asked.len(), 0, "no block of it was asked for");
    assert_eq!(world.chain.best(), ours.best());
    // It was no lie but another heavy branch: the one who has it is asked anew.
    world.run(600);
    assert_eq!(world.chain.best().work, best.work);
}

/// `run` said "caught up" every 0.6 s while a million blocks were missing: with each answer all that was known by then was here.
#[test]
fn a_deep_branch_that_goes_on_far_above_what_was_proven_is_caught_up_with_once() {
    let (ours, theirs) = (Toy::grown(1_300, "ours"), Toy::grown(9_000, "theirs"));
    let limits = SyncConfig { headers_unproven: 400, headers_per_request: 100, ..SyncConfig::default() };
    let mut world = World::configured(ours, limits);
    // Slow to tell: the blocks are here before the next answer is.
    world.connect(1, Remote { latency: Duration::from_millis(300), ..Remote::honest(&theirs) });
    let mut next = 0;
    while world.chain.best().height < 9_000 {
        assert!(world.elapsed() < 600, "{:?}", world.branches);
        world.run(1);
        if news(&world).contains(&DeepBranch::Proven) && world.chain.best().height < 9_000 {
            let followed = world.sync.followed().expect("there is more");
            assert!(followed.next >= next && followed.next <= followed.end + 1, "{next}, {followed:?}");
            next = followed.next;
        }
    }
    world.run(60);
    assert!(next > 1_300 && world.sync.followed().is_none(), "{next}");
    assert_eq!(world.chain.best(), theirs.best(), "{:?}", world.branches);
    let caught_up: Vec<_> = world.progress.iter().filter(|(height, target)| height >= target).collect();
    assert_eq!(caught_up.last(), Some(&&(9_000, 9_000)));
    assert!(caught_up.iter().all(|(height, _)| [1_300, 9_000].contains(height)), "{caught_up:?}");
}

#[test]
fn who_ends_a_proven_branch_too_soon_has_given_nothing_to_store() {
    let ours = Toy::grown(5_000, "ours");
    let (heavy, part) = (Toy::grown(6_000, "heavy"), Toy::grown(1_800, "heavy"));
    let limits = SyncConfig { headers_unproven: 1_000, headers_per_request: 250, ..SyncConfig::default() };
    let mut world = World::configured(ours.clone(), limits);
    world.connect(1, Remote { features: 0, ..Remote::honest(&heavy) });
    while !news(&world).contains(&DeepBranch::Proven) {
        world.run(1);
    }
    world.remotes.get_mut(&conn(1)).unwrap().chain = part;
    world.run(600);
    assert!(news(&world).contains(&DeepBranch::Changed), "{:?}", world.branches);
    assert_eq!((world.chain.best(), world.asked.len(), world.sync.held()), (ours.best(), 0, (0, 0)));
}

#[test]
fn a_deep_fork_is_followed_although_its_first_teller_leaves_and_we_go_on_growing() {
    let (ours, theirs) = (Toy::grown(4_000, "ours"), Toy::grown(6_000, "theirs"));
    let limits = SyncConfig { headers_unproven: 1_000, headers_per_peer: 1_500, ..SyncConfig::default() };
    let mut world = World::configured(ours, limits);
    world.connect(1, Remote::honest(&theirs));
    let mut grown = 0u32;
    let mut asked: Option<Hash> = None;
    while world.chain.best().work < theirs.best().work {
        world.run(1);
        grown += 1;
        assert!(grown < 1_000, "{:?}", world.branches);
        if grown <= 600 {
            let mined = world.chain.push(1, "ours too", Nature::Good);
            world.sync.block_arrived(world.now, mined, &world.chain);
            world.drain();
        }
        if asked.is_none() && world.asked.len() > 500 {
            asked = world.asked.keys().next().copied();
            world.disconnect(conn(1));
            world.connect(2, Remote::honest(&theirs));
        }
    }
    assert_eq!(world.chain.at(6_000), theirs.best().hash, "{:?}", world.branches);
    assert!(asked.is_some_and(|block| world.chain.position(&block).is_some()), "what the first delivered was kept");
}
