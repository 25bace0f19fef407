//! Downloads over lines of any length: as much is on its way as the line carries, and no more than the other side has room for.

use core::time::Duration;

use spacetime_network::proto::budget::BLOCK_REQUESTS_MAX;
use spacetime_network::proto::sync::SyncConfig;
use spacetime_network::proto::sync::chain::Chain;

use crate::toy::Toy;
use crate::world::{Remote, World, conn};

/// A peer that sends 40,000 blocks a second, so far away.
fn remote(chain: &Toy, millis: u64) -> Remote {
    Remote { latency: Duration::from_millis(millis), each: Duration::from_micros(25), ..Remote::honest(chain) }
}

fn time(theirs: &Toy, remotes: &[Remote]) -> (Duration, World) {
    let mut world = World::new(Toy::new());
    for (n, remote) in (1..).zip(remotes) {
        world.connect(n, remote.clone());
    }
    let time = world.time_to(theirs);
    assert_eq!(world.chain.best(), theirs.best(), "after {time:?}");
    assert_eq!((&world.closed, &world.slow), (&vec![], &vec![]));
    (time, world)
}

/// Sixteen questions at a time took 65 s for 10,000 blocks over a line of 100 ms, whatever it carried.
#[test]
fn the_way_decides_how_soon_blocks_begin_to_come_and_not_how_fast() {
    let theirs = Toy::grown(6_000, "main");
    for millis in [1, 20, 100] {
        let (time, world) = time(&theirs, &[remote(&theirs, millis)]);
        // Headers come one answer after the other, ten of them, and the number in flight doubles eight times.
        let most = Duration::from_millis(600) + Duration::from_millis(millis) * 20;
        assert!(time <= most, "{time:?} at {millis} ms, {most:?} at most");
        assert!(world.asked.values().all(|times| *times == 1), "nothing is asked for twice");
    }
}

#[test]
fn no_more_is_asked_of_a_peer_that_counts_than_waits_there_and_at_its_pace() {
    let theirs = Toy::grown(10_000, "main");
    let counting = Remote { features: 0, ..remote(&theirs, 5) };
    let mut world = World::new(Toy::new());
    world.connect(1, counting);
    let (start, mut most) = (world.now.at, 0);
    while world.chain.best() != theirs.best() {
        let answered = u32::try_from(world.chain.best().height).unwrap();
        let asked = world.asked_of.get(&conn(1)).copied().unwrap_or(0);
        most = most.max(asked.saturating_sub(answered));
        world.run_for(Duration::from_millis(1));
        world.pass_millis(1);
        assert!(world.elapsed() < 60, "it gets on");
    }
    let time = world.now.at.since(start);
    assert!(most <= 64 + 16, "{most} are waited for");
    assert!(time >= Duration::from_millis(1_300), "{time:?}, at 3,000 a second beyond the burst of 6,000");
    assert_eq!((&world.closed, &world.slow), (&vec![], &vec![]));
}

#[test]
fn what_is_on_its_way_is_bounded_whatever_the_line() {
    let theirs = Toy::grown(12_000, "main");
    let mut world = World::new(Toy::new());
    world.connect(1, Remote { each: Duration::ZERO, ..remote(&theirs, 2_000) });
    let mut most = 0;
    for _ in 0..120 {
        let (asked, answered) = (world.asked_of.get(&conn(1)).copied().unwrap_or(0), world.chain.best().height as u32);
        most = most.max(asked - answered);
        world.run(1);
        world.pass_millis(1);
    }
    assert_eq!(world.chain.best(), theirs.best());
    assert!(most > 2_000 && most as usize <= BLOCK_REQUESTS_MAX + 16, "{most}");
}

/// Of two peers each is asked for what its own line carries.
#[test]
fn a_far_peer_and_a_near_one_are_faster_than_either() {
    let theirs = Toy::grown(12_000, "main");
    let slow = |millis| Remote { each: Duration::from_micros(200), ..remote(&theirs, millis) };
    let (near, _) = time(&theirs, &[slow(1)]);
    let (both, world) = time(&theirs, &[slow(1), slow(100)]);
    assert!(both * 10 <= near * 8, "{both:?} from both, {near:?} from the near one");
    let twice = world.asked.values().filter(|times| **times > 1).count();
    assert!(twice <= 400, "{twice} blocks are asked for twice");
}

/// Where the tree was full, 2,000 headers were asked for whenever one block had come and made room for one.
#[test]
fn headers_are_asked_for_when_there_is_room_for_an_answer() {
    let theirs = Toy::grown(6_000, "main");
    let config = SyncConfig { headers_per_peer: 1_000, headers_per_request: 250, ..SyncConfig::default() };
    let mut world = World::configured(Toy::new(), config);
    world.connect(1, remote(&theirs, 2));
    world.time_to(&theirs);
    assert_eq!(world.chain.best(), theirs.best());
    let questions = world.header_questions[&conn(1)];
    assert!(questions <= 6_000 / 250 + 3, "{questions} questions for 24 answers");
}
