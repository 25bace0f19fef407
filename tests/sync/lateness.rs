//! Downloads beside peers that hold up others: how much that costs, and whom.

use core::time::Duration;

use crate::toy::Toy;
use crate::world::{Habit, Remote, World, conn};
use spacetime_network::proto::sync::SyncConfig;
use spacetime_network::proto::sync::chain::Chain;

/// A peer that is near, and sends 4,000 blocks a second if it does.
fn near(chain: &Toy, habit: Habit) -> Remote {
    Remote { latency: Duration::from_millis(5), each: Duration::from_micros(250), ..Remote::with(chain, habit) }
}

/// How long the blocks take from one honest peer, which is the last to connect, beside others.
fn time_beside(theirs: &Toy, others: &[Habit]) -> (Duration, World) {
    let mut world = World::new(Toy::new());
    for (n, habit) in (2..).zip(others) {
        world.connect(n, near(theirs, *habit));
    }
    world.connect(1, near(theirs, Habit::Honest));
    let time = world.time_to(theirs);
    assert_eq!(world.chain.best(), theirs.best(), "after {time:?} beside {others:?}");
    (time, world)
}

/// One peer that told headers and never a block cost 59 s of a download of 2 s, and four of them stopped it for good: of all that each
/// was asked for only the one late block was asked of others, five seconds and more went by for each, and that time doubled for
/// everybody.
#[test]
fn peers_that_never_send_their_blocks_cost_a_download_a_moment() {
    let theirs = Toy::grown(6_000, "main");
    let (alone, _) = time_beside(&theirs, &[]);
    for others in [1, 4] {
        let (time, world) = time_beside(&theirs, &vec![Habit::Withholds; others]);
        assert!(time <= alone * 5 / 4, "{time:?} beside {others}, {alone:?} alone");
        let in_vain: u32 = (2..6).filter_map(|n| world.asked_of.get(&conn(n))).sum();
        assert!(in_vain <= 4 * others as u32, "{in_vain} blocks are asked of {others}");
    }
}

/// Four who had been asked for the first blocks before anybody else was there held up an honest one for seven seconds of a download of
/// one: with large blocks there is soon no more to be had of him, and that nothing came then was taken for the pace of the download.
#[test]
fn that_nothing_comes_for_those_who_are_silent_is_no_slower_download() {
    let theirs = Toy::grown(100, &"main".repeat(16 * 1024));
    // Room for sixteen blocks.
    let config = || SyncConfig { window_bytes: 1 << 20, bytes_in_flight: 256 * 1024, ..SyncConfig::default() };
    let honest = || Remote { each: Duration::from_millis(12), ..near(&theirs, Habit::Honest) };
    let download = |others: u32| {
        let mut world = World::configured(Toy::new(), config());
        for n in 2..2 + others {
            world.connect(n, near(&theirs, Habit::Withholds));
        }
        world.run_for(Duration::from_secs(2));
        world.connect(1, honest());
        let time = world.time_to(&theirs);
        assert_eq!(world.chain.best(), theirs.best(), "after {time:?} beside {others}");
        time
    };
    let (alone, beside) = (download(0), download(4));
    assert!(beside <= alone + Duration::from_millis(700), "{beside:?} beside four, {alone:?} alone");
}

/// A block that nobody else is asked for holds up all that come after it, whoever else it answers.
#[test]
fn who_answers_all_but_some_blocks_holds_up_others_only_for_a_moment() {
    let theirs = Toy::grown(6_000, "main");
    let (alone, _) = time_beside(&theirs, &[]);
    let (time, world) = time_beside(&theirs, &[Habit::Keeps(16)]);
    assert!(time <= alone * 5 / 4, "{time:?} beside one, {alone:?} alone");
    assert_eq!(world.closed, []);
}

/// It was enough to connect anew to have a clean record.
#[test]
fn who_was_late_is_asked_last_on_a_new_connection_too() {
    let theirs = Toy::grown(6_000, "main");
    let (alone, _) = time_beside(&theirs, &[]);
    let mut world = World::new(Toy::new());
    world.connect(1, near(&theirs, Habit::Honest));
    let mut next = 10;
    let mut stalling: Vec<u32> = Vec::new();
    let start = world.now.at;
    while world.chain.best() != theirs.best() && world.elapsed() < 100 {
        stalling.drain(..).for_each(|n| world.disconnect(conn(n)));
        for place in 1..=4 {
            // The same four addresses again and again.
            stalling.push(next * 250 + place);
            world.connect(next * 250 + place, near(&theirs, Habit::Withholds));
        }
        next += 1;
        world.run_for(Duration::from_millis(200));
    }
    let time = world.now.at.since(start);
    assert!(time <= alone * 3 / 2 + Duration::from_millis(200), "{time:?} beside four, {alone:?} alone");
    let in_vain: u32 = world.asked_of.iter().filter(|(asked, _)| **asked != conn(1)).map(|(_, count)| count).sum();
    assert!(in_vain <= 16, "{in_vain} blocks are asked of four addresses");
}

#[test]
fn a_slow_line_is_no_fault_and_is_used_when_there_is_no_other() {
    let theirs = Toy::grown(3_000, "main");
    let mut world = World::new(Toy::new());
    world.connect(1, Remote { latency: Duration::from_millis(1_500), ..Remote::honest(&theirs) });
    world.connect(2, near(&theirs, Habit::Honest));
    assert!(world.time_to(&theirs) <= Duration::from_secs(10));
    world.disconnect(conn(2));
    world.run(300);
    assert_eq!((&world.closed, &world.slow), (&vec![], &vec![]));
    let theirs = Toy::grown(3_100, "main");
    world.remotes.insert(conn(1), Remote { latency: Duration::from_millis(1_500), ..Remote::honest(&theirs) });
    world.announce(conn(1), Some(3_100), Some(theirs.best().hash));
    world.run(120);
    assert_eq!((world.chain.best(), world.closed, world.slow), (theirs.best(), vec![], vec![]));
}

/// Blocks were judged by how long small ones take when a large one came.
#[test]
fn a_block_that_takes_longer_than_those_before_is_asked_of_few() {
    let theirs = Toy::grown(4_000, "main");
    let mut world = World::new(Toy::new());
    for n in 1..=8 {
        world.connect(n, near(&theirs, Habit::Honest));
    }
    // Eight seconds of anybody's line.
    let large = theirs.at(2_500);
    world.large = Some((large, Duration::from_secs(8)));
    let time = world.time_to(&theirs);
    assert_eq!(world.chain.best(), theirs.best(), "{time:?}");
    assert_eq!((&world.closed, &world.slow), (&vec![], &vec![]));
    assert!(world.asked[&large] <= 5, "it is asked for {} times", world.asked[&large]);
    let twice = world.asked.values().filter(|times| **times > 1).count();
    assert!(twice <= 1_000, "{twice} blocks are asked for more than once");
    assert!(time <= Duration::from_secs(20), "{time:?}");
}
