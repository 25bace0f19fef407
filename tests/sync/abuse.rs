//! Peers that lie: about heights, headers, bodies, and what they were asked for.

use bytes::Bytes;
use spacetime_network::close::CloseReason;
use spacetime_network::proto::sync::SyncConfig;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::wire::{Hash, Kind};

use crate::toy::{Nature, Toy};
use crate::world::{Answer, Habit, Remote, World, conn};

#[test]
fn an_invalid_header_in_the_middle_closes_its_teller_and_leaves_nothing() {
    let mut theirs = Toy::grown(1_000, "main");
    theirs.push(1, "bad", Nature::BadHeader);
    theirs.grow(900, "after");
    let mut world = World::new(Toy::new());
    world.connect(1, Remote::honest(&theirs));
    world.run(60);
    assert_eq!(world.closed, [(conn(1), CloseReason::Invalid(Kind::Headers))]);
    assert!(world.asked.is_empty());
    assert_eq!((world.sync.held(), world.sync.deadline()), ((0, 0), None));
}

#[test]
fn a_changed_body_costs_its_sender_and_not_the_block() {
    let theirs = Toy::grown(200, "main");
    let mut world = World::new(Toy::new());
    world.connect(1, Remote::with(&theirs, Habit::Mutates));
    world.connect(2, Remote::honest(&theirs));
    world.run(120);
    assert_eq!(world.chain.best(), theirs.best());
    assert_eq!(world.closed, [(conn(1), CloseReason::Invalid(Kind::Block))]);
}

#[test]
fn a_block_from_one_peer_never_touches_what_another_was_asked_for() {
    let theirs = Toy::grown(1, "main");
    let tip = theirs.best().hash;
    let mut world = World::new(Toy::new());
    let honest = world.connect(1, Remote::with(&theirs, Habit::Withholds));
    world.run(1);
    assert_eq!(world.asked_of[&honest], 1);
    let intruder = world.connect(2, Remote::honest(&theirs));
    let before = world.sync.deadline();
    let good = theirs.block(&tip).unwrap();
    let mut changed = good.to_vec();
    changed.push(1);
    for block in [Bytes::from(changed), Bytes::from_static(b"no block at all"), good.clone()] {
        assert_eq!(world.deliver(intruder, Answer::Block(block)), Err(CloseReason::UnrequestedBlock));
        world.connect(2, Remote::honest(&theirs));
        assert_eq!(world.sync.deadline().map(|at| at <= before.unwrap()), Some(true));
    }
    assert_eq!(world.chain.best().height, 0, "unasked blocks are not submitted");
    assert_eq!(world.deliver(honest, Answer::Block(good)), Ok(()));
    assert_eq!(world.chain.best(), theirs.best());
    assert_eq!(world.asked[&tip], 1);
}

#[test]
fn an_invalid_block_condemns_its_branch_and_all_who_told_it() {
    let good = Toy::grown(20, "main");
    let mut bad = good.clone();
    let root = bad.push(50, "rule breaker", Nature::BadBody);
    bad.grow(5, "after");
    let mut world = World::new(Toy::new());
    world.connect(1, Remote::honest(&bad));
    world.connect(2, Remote::honest(&bad));
    world.connect(3, Remote::honest(&good));
    world.run(120);
    assert_eq!(world.chain.best(), good.best());
    let mut closed = world.closed.clone();
    closed.sort_by_key(|(conn, _)| *conn);
    assert_eq!(closed, [1, 2].map(|n| (conn(n), CloseReason::Invalid(Kind::Block))));
    // Telling it again is recognised without asking for anything.
    let asked = world.asked.clone();
    world.connect(4, Remote::honest(&bad));
    world.run(60);
    assert_eq!(world.closed.last(), Some(&(conn(4), CloseReason::Invalid(Kind::Headers))));
    assert_eq!(world.asked, asked);
    assert_eq!(world.asked[&root], 1);
}

#[test]
fn answers_that_break_their_question_are_violations_and_announcements_are_not() {
    let theirs = Toy::grown(100, "main");
    let run = |from, to, asked: bool| {
        let mut world = World::new(Toy::new());
        let habit = if asked { Habit::Silent } else { Habit::Honest };
        world.connect(1, Remote::with(if asked { &theirs } else { &world.chain }, habit));
        let headers = world.headers_of(&theirs, from, to);
        let result = world.deliver(conn(1), Answer::Headers(headers));
        (result, world.header_questions.get(&conn(1)).copied().unwrap_or(0))
    };
    let violation = Err(CloseReason::BadAnswer(Kind::Headers));
    assert_eq!(run(50, 90, true), (violation, 1), "an answer has to connect");
    assert_eq!(run(50, 52, true), (Ok(()), 1), "a few headers may be an announcement that crosses the question");
    assert_eq!(run(50, 90, false), (Ok(()), 1), "unasked headers that do not connect lead to a question");
    let mut world = World::new(Toy::new());
    world.connect(1, Remote::with(&theirs, Habit::Silent));
    let mut headers = world.headers_of(&theirs, 1, 10);
    headers.remove(5);
    assert_eq!(world.deliver(conn(1), Answer::Headers(headers)), violation);
    let config = SyncConfig { headers_per_request: 10, ..SyncConfig::default() };
    let mut world = World::configured(Toy::new(), config);
    world.connect(1, Remote::with(&theirs, Habit::Silent));
    let headers = world.headers_of(&theirs, 1, 11);
    assert_eq!(world.deliver(conn(1), Answer::Headers(headers)), violation, "more than asked for");
    let mut world = World::new(Toy::new());
    world.connect(1, Remote::honest(&theirs));
    let lie = Answer::NotFound(Hash([1; 32]));
    assert_eq!(world.deliver(conn(1), lie), Err(CloseReason::BadAnswer(Kind::NotFound)));
}

#[test]
fn lies_about_the_height_cost_one_question_at_a_time_and_never_move_the_target() {
    let honest = Toy::grown(10, "main");
    let mut world = World::new(honest.clone());
    world.connect(1, Remote::honest(&honest));
    for second in 0..600u64 {
        world.announce(conn(1), Some(1 << 62), None);
        world.announce(conn(1), Some(second), Some(Hash([7; 32])));
        world.live(1);
        assert_eq!((world.sync.target_height(), world.sync.is_syncing()), (10, false));
    }
    assert!(world.header_questions[&conn(1)] <= 600 / 10 + 5, "{:?}", world.header_questions);
    assert_eq!(world.closed, []);
}

#[test]
fn the_same_full_answer_again_and_again_ends_the_questions() {
    let ours = Toy::grown(5_000, "main");
    let mut world = World::new(ours.clone());
    world.connect(1, Remote { habit: Habit::Silent, ..Remote::version_1(&ours) });
    let same = world.headers_of(&ours, 1, 2_000);
    for _ in 0..50 {
        assert_eq!(world.deliver(conn(1), Answer::Headers(same.clone())), Ok(()));
        world.pass(1);
    }
    assert!(
        world.header_questions[&conn(1)] <= 27,
        "each pair of equal answers ends a walk: {:?}",
        world.header_questions
    );
    assert_eq!(world.sync.held(), (0, 0));
}

#[test]
fn memory_stays_within_its_limits_and_a_light_long_chain_is_dropped() {
    let mut ours = Toy::new();
    ours.push(1_000_000, "heavy", Nature::Good);
    let light = Toy::grown(6_000, "light");
    let config = SyncConfig { headers_per_peer: 3_000, headers_max: 5_000, ..SyncConfig::default() };
    let mut world = World::configured(ours.clone(), config.clone());
    for n in 1..=4 {
        world.connect(n, Remote::honest(&light));
    }
    world.run(600);
    assert!(world.most_held.0 <= 5_000, "{:?}", world.most_held);
    assert_eq!((world.sync.held(), world.sync.deadline()), ((0, 0), None));

    // The same limits do not keep a longer chain from being fetched, piece by piece.
    let mut world = World::configured(Toy::new(), SyncConfig { headers_max: 3_000, ..config });
    world.connect(1, Remote::honest(&light));
    world.connect(2, Remote::version_1(&light));
    world.run(600);
    assert_eq!(world.chain.best(), light.best());
    assert!(world.most_held.0 <= 3_000);
}

#[test]
fn waiting_blocks_stay_within_their_bytes() {
    let mut theirs = Toy::new();
    let body = "x".repeat(10_000);
    theirs.grow(300, &body);
    let config = SyncConfig { window_bytes: 100_000, ..SyncConfig::default() };
    let mut world = World::configured(Toy::new(), config);
    world.connect(1, Remote::with(&theirs, Habit::Drops(20)));
    for n in 2..=4 {
        world.connect(n, Remote::honest(&theirs));
    }
    world.run(3_600);
    assert_eq!(world.chain.best(), theirs.best());
    assert!(world.most_held.1 <= 110_100, "{:?}", world.most_held);
}

#[test]
fn the_largest_hoarder_makes_room_for_a_newcomer() {
    let mut ours = Toy::new();
    ours.push(5_000, "heavy", Nature::Good);
    let mut hoard = Toy::grown(2_500, "hoard");
    let mut honest = Toy::new();
    honest.push(9_000, "honest", Nature::Good);
    hoard.grow(1, "end");
    let config =
        SyncConfig { headers_max: 2_000, headers_per_peer: 2_000, headers_per_request: 1_000, ..SyncConfig::default() };
    let mut world = World::configured(ours, config);
    world.connect(1, Remote::honest(&hoard));
    world.run(1);
    world.connect(2, Remote::honest(&honest));
    world.run(60);
    assert_eq!(world.chain.best(), honest.best());
}

/// Six branches of 4,300 headers, told by sixty-four connections that let them overtake each other by two: with 54 KB of headers
/// they held the loop for 8.7 s, for each change of the branch walked 4,096 headers for each tip of each peer.
#[test]
fn branches_that_overtake_each_other_cost_a_few_steps_for_each_tip_and_not_their_length() {
    const BRANCHES: u32 = 6;
    let mut branches: Vec<Toy> = (0..BRANCHES).map(|n| Toy::grown(4_300, &format!("branch {n}"))).collect();
    let mut world = World::new(Toy::new());
    for n in 0..BRANCHES * 4 {
        world.connect(n, Remote::with(&branches[(n % BRANCHES) as usize], Habit::Withholds));
    }
    world.run(25);
    assert!(world.sync.held().0 >= 4_300 * BRANCHES as usize, "{} headers are held", world.sync.held().0);
    let (mut most, mut height) = (0, 4_300);
    for round in 0..60 {
        let n = round % BRANCHES;
        let branch = &mut branches[n as usize];
        let from = branch.best().height as usize + 1;
        height += 2;
        branch.grow(height - branch.best().height, &format!("branch {n}"));
        let headers = world.headers_of(&branches[n as usize], from, height as usize);
        let length = headers.len() as u32;
        world.sync.take_work();
        world.deliver(conn(n), Answer::Headers(headers)).unwrap();
        most = most.max(world.sync.take_work() - length * 8);
        let followed = world.sync.target_height();
        assert!(followed == height, "the heaviest is followed, {followed} of {height}");
    }
    assert!(most < 3_000, "{most} units of work for a change of branch");
}
