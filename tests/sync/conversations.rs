//! Downloads from peers that are honest, slow, silent or gone.

use core::time::Duration;
use spacetime_network::close::CloseReason;
use spacetime_network::proto::sync::chain::{Chain, Verdict};
use spacetime_network::proto::sync::{SyncConfig, answer_get_headers};
use spacetime_network::wire::message::GetHeaders;
use spacetime_network::wire::{Hash, Message};

use crate::toy::{HEADER_LEN, Nature, Toy};
use crate::world::{Answer, Habit, Remote, World, conn};

#[test]
fn a_fresh_node_gets_five_thousand_blocks_from_one_peer_and_then_rests() {
    for version in [1, 2] {
        let theirs = Toy::grown(5_000, "main");
        let mut world = World::new(Toy::new());
        world.connect(1, Remote { version, ..Remote::honest(&theirs) });
        world.run(600);
        assert_eq!(world.chain.best(), theirs.best());
        assert!(world.asked.values().all(|times| *times == 1));
        assert_eq!(world.useful[&conn(1)], 5_000);
        assert_eq!((world.sync.deadline(), world.sync.held()), (None, (0, 0)));
        assert!(!world.sync.is_syncing());
        assert_eq!(world.progress.last(), Some(&(5_000, 5_000)));
        assert!(world.header_questions[&conn(1)] <= 4);
    }
}

#[test]
fn one_of_four_peers_that_stalls_costs_little_and_is_closed() {
    let theirs = Toy::grown(2_000, "main");
    let time = |habits: [Habit; 4]| {
        let mut world = World::new(Toy::new());
        for (n, habit) in (1..).zip(habits) {
            world.connect(n, Remote::with(&theirs, habit));
        }
        while world.chain.best() != theirs.best() && world.elapsed() < 300 {
            world.live(1);
        }
        assert_eq!(world.chain.best(), theirs.best());
        let elapsed = world.elapsed();
        (elapsed, world)
    };
    let honest = [Habit::Honest; 4];
    let (_, all_honest) = time(honest);
    assert!(all_honest.slow.is_empty());
    assert_eq!(all_honest.asked_of.len(), 4, "the work is shared");
    let (elapsed, stalling) = time([Habit::Withholds, Habit::Honest, Habit::Honest, Habit::Honest]);
    assert!(elapsed <= 3, "{elapsed} s");
    assert!(stalling.asked.values().sum::<u32>() <= 2_050, "few blocks are asked for twice");
    let mut stalling = stalling;
    stalling.run(60);
    assert_eq!((stalling.slow, stalling.closed), (vec![conn(1)], vec![]), "and what it owes is counted in the end");
}

#[test]
fn a_lighter_branch_is_left_for_a_heavier_one_whatever_the_peers_version() {
    for version in [1, 2] {
        let mut ours = Toy::grown(3_000, "common");
        let mut theirs = ours.clone();
        ours.grow(50, "ours");
        theirs.grow(60, "theirs");
        let mut world = World::new(ours);
        world.connect(1, Remote { version, ..Remote::honest(&theirs) });
        world.run(600);
        assert_eq!(world.chain.best(), theirs.best());
        assert_eq!(world.asked.len(), 60, "only the branch is fetched");
        assert_eq!(world.closed, []);
    }
}

#[test]
fn a_branch_that_is_not_heavier_is_not_fetched_and_not_remembered() {
    let mut ours = Toy::grown(100, "common");
    let mut theirs = ours.clone();
    ours.grow(20, "ours");
    theirs.grow(20, "theirs");
    let mut world = World::new(ours.clone());
    world.connect(1, Remote::honest(&theirs));
    world.connect(2, Remote::version_1(&theirs));
    world.run(600);
    assert_eq!(world.chain.best(), ours.best());
    assert!(world.asked.is_empty());
    assert_eq!(world.sync.held(), (0, 0));
    assert_eq!(world.sync.deadline(), None);
}

#[test]
fn work_decides_and_not_height() {
    let mut ours = Toy::grown(10, "common");
    let mut theirs = ours.clone();
    ours.grow(20, "long");
    theirs.push(100, "heavy", Nature::Good);
    let mut world = World::new(ours);
    world.connect(1, Remote::honest(&theirs));
    world.run(60);
    assert_eq!(world.chain.best(), theirs.best());
}

#[test]
fn what_was_lost_with_a_peer_is_asked_of_another() {
    let theirs = Toy::grown(500, "main");
    let mut world = World::new(Toy::new());
    let leaving = world.connect(1, Remote::with(&theirs, Habit::Withholds));
    world.run(1);
    assert!(world.asked_of[&leaving] > 0);
    world.disconnect(leaving);
    assert_eq!(world.sync.held(), (0, 0), "nobody else told these headers");
    assert_eq!(world.sync.deadline(), None);
    world.connect(2, Remote::honest(&theirs));
    world.run(600);
    assert_eq!(world.chain.best(), theirs.best());
    assert_eq!(world.slow, []);
}

#[test]
fn a_peer_without_the_blocks_is_left_alone_and_another_one_asked() {
    let theirs = Toy::grown(300, "main");
    let mut world = World::new(Toy::new());
    world.connect(1, Remote::with(&theirs, Habit::NotFound));
    world.connect(2, Remote::honest(&theirs));
    world.run(600);
    assert_eq!(world.chain.best(), theirs.best());
    assert_eq!((world.closed.len(), world.slow.len()), (0, 0));
}

#[test]
fn when_nobody_has_a_block_it_is_asked_for_seldom_and_still_found_later() {
    let theirs = Toy::grown(3, "main");
    let mut world = World::new(Toy::new());
    world.connect(1, Remote::with(&theirs, Habit::NotFound));
    world.run(600);
    assert!(world.asked.values().all(|times| *times <= 11), "{:?}", world.asked);
    assert!(world.sync.is_syncing());
    world.remotes.get_mut(&conn(1)).unwrap().habit = Habit::Honest;
    world.run(120);
    assert_eq!(world.chain.best(), theirs.best());
}

#[test]
fn a_withheld_heavier_branch_does_not_keep_us_from_the_honest_one() {
    let common = Toy::grown(10, "common");
    let (mut honest, mut withheld) = (common.clone(), common.clone());
    honest.grow(20, "honest");
    withheld.grow(30, "withheld");
    let mut world = World::new(Toy::new());
    world.connect(1, Remote::with(&withheld, Habit::Withholds));
    world.connect(2, Remote::honest(&honest));
    world.run(120);
    assert_eq!(world.chain.best(), honest.best());
    world.run(600);
    assert_eq!(world.closed, [(conn(1), CloseReason::RequestTimeout)]);
    assert_eq!((world.sync.deadline(), world.sync.is_syncing()), (None, false));
}

#[test]
fn a_silent_peer_is_slow_three_times_and_then_closed() {
    let theirs = Toy::grown(3, "main");
    let mut world = World::new(Toy::new());
    world.connect(1, Remote::with(&theirs, Habit::Silent));
    world.run(600);
    assert_eq!(world.slow, [conn(1); 3]);
    assert_eq!(world.closed, [(conn(1), CloseReason::RequestTimeout)]);
    assert_eq!(world.elapsed(), 90);
}

#[test]
fn a_block_that_comes_after_its_deadline_is_no_violation() {
    let theirs = Toy::grown(40, "main");
    let mut world = World::new(Toy::new());
    let latency = Duration::from_secs(40);
    let config = SyncConfig { headers_deadline: latency * 2, ..SyncConfig::default() };
    world.sync = spacetime_network::proto::sync::SyncManager::new(config);
    world.connect(1, Remote { latency, ..Remote::honest(&theirs) });
    world.run(3_600);
    assert_eq!(world.chain.best(), theirs.best());
    assert_eq!(world.closed, []);
    assert!(!world.slow.is_empty());
}

#[test]
fn a_new_block_is_followed_by_announcement_and_by_gossip() {
    let mut theirs = Toy::grown(30, "main");
    let mut world = World::new(theirs.clone());
    world.connect(1, Remote::honest(&theirs));
    world.run(10);
    assert_eq!(world.header_questions.len(), 0, "the handshake said that there is nothing new");
    // A header on our tip, unasked.
    theirs.grow(1, "main");
    world.remotes.insert(conn(1), Remote::honest(&theirs));
    let header = world.headers_of(&theirs, 31, 31);
    assert_eq!(world.deliver(conn(1), Answer::Headers(header)), Ok(()));
    world.run(10);
    assert_eq!(world.chain.best(), theirs.best());
    // A NewBlock that is two ahead of us, so its parent is unknown.
    theirs.grow(2, "main");
    world.remotes.insert(conn(1), Remote::honest(&theirs));
    world.announce(conn(1), Some(33), Some(theirs.best().hash));
    world.run(10);
    assert_eq!(world.chain.best(), theirs.best());
    // A block that comes by gossip while it is being asked for.
    theirs.grow(1, "main");
    world.remotes.insert(conn(1), Remote::with(&theirs, Habit::Withholds));
    let header = world.headers_of(&theirs, 34, 34);
    assert_eq!(world.deliver(conn(1), Answer::Headers(header)), Ok(()));
    let tip = theirs.best().hash;
    assert_eq!(world.asked[&tip], 1);
    let _ = world.chain.judge(theirs.block(&tip).unwrap());
    world.sync.block_arrived(world.now, tip, &world.chain);
    world.drain();
    assert_eq!((world.sync.deadline(), world.sync.held(), world.sync.is_syncing()), (None, (0, 0), false));
    // The answer to the question that crossed it is owed, not unrequested.
    assert_eq!(world.deliver(conn(1), Answer::Block(theirs.block(&tip).unwrap())), Ok(()));
}

#[test]
fn peers_that_tell_the_same_headers_are_not_all_asked_for_them() {
    let theirs = Toy::grown(10_000, "main");
    let mut world = World::new(Toy::new());
    for n in 1..=8 {
        world.connect(n, Remote::honest(&theirs));
    }
    world.run(600);
    assert_eq!(world.chain.best(), theirs.best());
    assert!(world.header_questions.values().sum::<u32>() <= 20, "{:?}", world.header_questions);
    assert!(world.asked_of.len() == 8, "and all deliver blocks");
}

#[test]
fn verdicts_that_come_later_and_blocks_that_are_ignored_only_delay() {
    let theirs = Toy::grown(40, "main");
    let mut world = World::new(Toy::new());
    world.chain.ignore = 2;
    world.connect(1, Remote::honest(&theirs));
    world.run(5);
    assert_eq!(world.chain.best().height, 0);
    world.run(60);
    assert_eq!(world.chain.best(), theirs.best());

    // In the order of submission, and the other way round, which a chain cannot do with where each needs the one before.
    for first in [true, false] {
        let mut world = World::new(Toy::new());
        world.chain.defer = true;
        world.connect(1, Remote::honest(&theirs));
        world.run(5);
        let mut most = 0;
        while !world.chain.deferred.is_empty() {
            most = most.max(world.chain.deferred.len());
            let at = if first { 0 } else { world.chain.deferred.len() - 1 };
            let (ticket, block) = world.chain.deferred.remove(at);
            let verdict = world.chain.judge(block);
            world.sync.handle_verdict(world.now, ticket, verdict, &mut world.chain);
            world.drain();
            world.run(1);
        }
        assert_eq!(world.chain.best(), theirs.best());
        assert!((2..=8).contains(&most), "{most} are under judgement at once");
        assert!(world.asked.values().all(|times| *times == 1));
        let most = if first { 40 } else { 8 * 40 };
        assert!(world.chain.submitted <= most, "{} submissions for 40 blocks", world.chain.submitted);
    }
}

/// A download that had once outrun the disk waited ten seconds before each sixteen blocks from then on.
#[test]
fn a_chain_that_has_room_again_is_given_blocks_at_once() {
    let theirs = Toy::grown(40, "main");
    let mut world = World::new(Toy::new());
    world.chain.ignore = 1;
    world.connect(1, Remote::honest(&theirs));
    world.run(1);
    assert_eq!(world.chain.best().height, 0);
    world.sync.chain_has_room(world.now, &mut world.chain);
    world.drain();
    world.run(1);
    assert_eq!(world.chain.best(), theirs.best());
}

/// A block that is being judged because somebody pushed it was downloaded once more meanwhile.
#[test]
fn a_block_that_came_another_way_is_not_asked_for_while_it_is_judged() {
    let theirs = Toy::grown(3, "main");
    let mut world = World::new(Toy::new());
    let first = theirs.locator()[2];
    world.sync.block_pending(first);
    world.sync.block_pending(first);
    world.connect(1, Remote::honest(&theirs));
    world.run(2);
    assert!(!world.asked.contains_key(&first) && world.asked.len() == 2);
    world.sync.block_judged(&first);
    world.run(2);
    assert!(!world.asked.contains_key(&first), "there are two copies of it");
    world.sync.block_judged(&first);
    world.run(2);
    assert_eq!((world.asked[&first], world.chain.best()), (1, theirs.best()), "neither was any good");
}

#[test]
fn a_header_is_checked_when_it_comes_and_not_again_with_its_block() {
    let theirs = Toy::grown(300, "main");
    let mut world = World::new(Toy::new());
    world.connect(1, Remote::honest(&theirs));
    world.connect(2, Remote::with(&theirs, Habit::Withholds));
    world.run(600);
    assert_eq!(world.chain.best(), theirs.best());
    assert!(world.asked.values().sum::<u32>() > 300, "what one withholds is asked of the other");
    assert_eq!(world.chain.checked.get(), 2 * 300, "each of the two told all headers");
}

/// The header of a block was looked at again when the block came. If our clock had gone back meanwhile its time was too far
/// ahead, the block was dropped, and the peer that had delivered it was closed for being late.
#[test]
fn a_clock_that_goes_back_during_a_download_costs_nobody_anything() {
    let theirs = Toy::grown(100, "main");
    let mut world = World::new(Toy::new());
    world.connect(1, Remote { latency: Duration::from_secs(1), ..Remote::honest(&theirs) });
    while world.asked.is_empty() {
        world.live(1);
    }
    world.chain.slow_clock = true;
    world.run(600);
    assert_eq!(world.chain.best(), theirs.best());
    assert_eq!((world.closed.len(), world.slow.len()), (0, 0));
}

/// Headers hang from each other, and each counts its children. Of two blocks that a chain got by itself only the upper one
/// was taken out, so that the lower one kept a child for ever.
#[test]
fn blocks_that_the_chain_got_by_itself_leave_no_header_behind() {
    let theirs = Toy::grown(10, "main");
    let mut world = World::new(Toy::new());
    // The heavier branch is followed; the other one is known by its headers only.
    let mut heavier = Toy::new();
    heavier.push(50, "heavy", Nature::Good);
    world.connect(1, Remote::with(&theirs, Habit::Withholds));
    world.connect(2, Remote::with(&heavier, Habit::Withholds));
    world.run(3);
    assert_eq!(world.sync.held().0, 11);
    for height in 1..=2 {
        let block = theirs.block(&theirs.at(height)).unwrap();
        assert!(matches!(world.chain.judge(block), Verdict::Accepted { .. }));
    }
    world.sync.block_arrived(world.now, theirs.at(2), &world.chain);
    world.drain();
    assert_eq!((world.sync.held().0, world.sync.audit()), (9, Ok(())));
    world.disconnect(conn(1));
    world.disconnect(conn(2));
    assert_eq!((world.sync.held().0, world.sync.audit()), (0, Ok(())));
}

#[test]
fn headers_whose_time_has_not_come_are_left_off_without_blame() {
    let mut theirs = Toy::grown(20, "main");
    theirs.push(1, "future", Nature::Early);
    let mut world = World::new(Toy::new());
    world.connect(1, Remote::honest(&theirs));
    world.run(60);
    assert_eq!(world.chain.best().height, 20);
    assert_eq!(world.closed, []);
}

#[test]
fn an_answer_holds_what_was_asked_for_and_at_most_four_mebibytes() {
    let mut theirs = Toy::grown(2_500, "main");
    let ask = |locator, stop, max, more| GetHeaders { locator, stop, max, more };
    for (request, count) in [
        (ask(Hash::ZERO, None, 2_000, None), 2_000),
        (ask(Hash::ZERO, None, u32::MAX, None), 2_000),
        (ask(Hash::ZERO, Some(theirs.at(7)), 100, None), 7),
        (ask(Hash([9; 32]), None, 2_000, Some(vec![theirs.at(2_490)])), 10),
        (ask(theirs.at(2_500), None, 2_000, None), 0),
    ] {
        assert_eq!(answer_get_headers(&theirs, &request).len(), count);
    }

    theirs.padding = 4_096;
    let request = ask(Hash::ZERO, None, 2_000, None);
    let headers = answer_get_headers(&theirs, &request);
    let views = headers.iter().map(|header| header.as_ref()).collect();
    let encoded = Message::Headers(views).to_payload().unwrap().len();
    let one_more = 4 + HEADER_LEN + 4_096;
    assert!(encoded <= 4 << 20 && encoded + one_more > 4 << 20, "{encoded}");
}
