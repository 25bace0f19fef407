//! Bans of many: none may be a way out of them for others.

use std::time::Duration;

use bytes::Bytes;
use spacetime_network::address::ExemptRanges;
use spacetime_network::proto::peer::{Ban, BannedBy};
use spacetime_network::proto::{Command, Event};
use spacetime_network::wire::message::GetPeers;
use spacetime_network::wire::{Kind, Message};

use crate::world::World;

const ALICE: &str = "10.0.0.1:8333";
const DAY: Duration = Duration::from_secs(86_400);

/// A node at which one violation is enough, and everybody may come at once.
fn strict(world: &mut World) -> usize {
    world.node("alice", ALICE, |config| {
        config.blacklist.failures = 1;
        let admission = &mut config.admission;
        (admission.rate, admission.rate_per_ip, admission.rate_per_subnet) = (None, None, None);
    })
}

/// Comes and breaks the protocol. Whether it was let in for that.
fn offend(world: &mut World, node: usize, from: &str) -> bool {
    let Some(bad) = world.stranger(node, from) else { return false };
    world.say_raw(bad, Kind::GetBlock as u8, Bytes::from_static(&[1]));
    assert!(world.is_closed(bad), "{from}");
    true
}

fn is_let_in(world: &mut World, node: usize, from: &str) -> bool {
    let stranger = world.stranger(node, from);
    stranger.inspect(|stranger| world.hang_up(*stranger)).is_some()
}

/// 10,000 bans filled the table: nothing was remembered of who came then, and he was never banned.
#[test]
fn bans_that_fill_the_table_keep_nobody_who_comes_then_from_being_banned() {
    let mut world = World::new();
    let alice = strict(&mut world);
    // Each of a /48 of its own.
    let from = |n: usize| format!("[2001:{:x}:{:x}::1]:1", n / 100, n % 100);
    (0..10_000).for_each(|n| assert!(offend(&mut world, alice, &from(n))));
    for n in 10_000..10_200 {
        assert!(offend(&mut world, alice, &from(n)));
        assert!(!is_let_in(&mut world, alice, &from(n)), "address {n} is not banned");
    }
    assert!((9_000..10_200).step_by(60).all(|n| !is_let_in(&mut world, alice, &from(n))), "the newest are in force");
    assert!(is_let_in(&mut world, alice, "[2002::1]:1"), "who did nothing is let in");
    assert_eq!(world.count(alice, |event| matches!(event, Event::Blacklisted { .. })), 10_200);
}

/// Whoever has a /48 has 65,536 of the /64 that were banned one by one.
#[test]
fn many_bans_in_a_subnet_keep_all_of_it_out_for_a_day() {
    for (address, outside) in [("10.8.0.{}:1", "10.8.1.200:1"), ("[2001:db8:1:{}::1]:1", "[2001:db8:2:200::1]:1")] {
        let mut world = World::new();
        let alice = strict(&mut world);
        let from = |n: usize| address.replace("{}", &n.to_string());
        for n in 1..=16 {
            assert!(is_let_in(&mut world, alice, &from(200)), "{} bans are none of all", n - 1);
            assert!(offend(&mut world, alice, &from(n)));
        }
        assert!(!is_let_in(&mut world, alice, &from(200)), "{address}: a neighbour");
        assert!(is_let_in(&mut world, alice, outside), "{outside}");
        world.advance(DAY + Duration::from_secs(1));
        assert!([1, 16, 200].iter().all(|n| is_let_in(&mut world, alice, &from(*n))), "a day later all may come");
    }
}

/// Two nodes that are connected, and a third that alice may hear of.
fn friends(world: &mut World) -> (usize, usize) {
    let alice = strict(world);
    let bob = world.node("bob", "10.0.1.1:8333", |config| config.seeds = vec![ALICE.parse().unwrap()]);
    world.advance(Duration::from_secs(5));
    assert_eq!(world.get(alice).connected().count(), 1);
    (alice, bob)
}

fn ban(world: &mut World, node: usize, who: &str, term: Option<Duration>) {
    let command = Command::Ban { who: who.parse().unwrap(), term, reason: "test".to_owned() };
    world.command(node, command);
}

#[test]
fn whom_a_person_bans_is_closed_at_once_and_neither_let_in_nor_dialed_nor_told() {
    let mut world = World::new();
    let (alice, bob) = friends(&mut world);
    ban(&mut world, alice, "10.0.1.0/24", Some(DAY));
    assert_eq!(world.get(alice).connected().count(), 0);
    assert!(!is_let_in(&mut world, alice, "10.0.1.200:1") && is_let_in(&mut world, alice, "10.0.2.200:1"));
    let asker = world.peer(alice, "10.0.3.1:9000", "asker", 2);
    world.say(asker, &Message::GetPeers(GetPeers::All));
    while let Some((kind, payload)) = world.hear(asker) {
        if let Ok(Message::Peers(told)) = Message::decode(kind, &payload) {
            assert!(!told.contains(&"10.0.1.1:8333".parse().unwrap()), "{told:?}");
        }
    }
    let tried = |world: &World| world.count(alice, |event| matches!(event, Event::PeerConnected { .. }));
    let before = tried(&world);
    world.advance(Duration::from_secs(3600));
    assert_eq!(tried(&world), before);
    let bans = world.get(alice).bans(world.now);
    assert_eq!((bans.len(), bans[0].by, bans[0].reason.as_ref()), (1, BannedBy::Operator, "test"));

    world.command(alice, Command::LiftBan("10.0.1.0/24".parse().unwrap()));
    world.advance(Duration::from_secs(3600));
    assert!(world.get(alice).connected().any(|peer| peer.node_id == "bob"), "it is dialed again");
    assert_eq!(world.count(alice, |event| matches!(event, Event::BanLifted { lifted, .. } if lifted.lifted == 1)), 1);
    assert!(world.get(bob).bans(world.now).is_empty());
}

/// A ban that followed the wall clock ended, or never did, when somebody set it.
#[test]
fn a_clock_that_is_set_neither_ends_a_ban_nor_prolongs_it() {
    const YEAR: i64 = 365 * 86_400_000;
    for jump in [YEAR, -YEAR] {
        let mut world = World::new();
        let (alice, _) = friends(&mut world);
        ban(&mut world, alice, "10.0.1.1", Some(DAY));
        world.set_wall_clock(jump);
        world.advance(DAY - Duration::from_secs(10));
        assert!(!is_let_in(&mut world, alice, "10.0.1.1:1"), "{jump}");
        // Saved and restored in the moment of another jump.
        let bans = world.get(alice).bans(world.now);
        assert!(bans[0].remaining.is_some_and(|left| left <= Duration::from_secs(10)), "{bans:?}");
        world.set_wall_clock(-jump);
        world.advance(Duration::from_secs(11));
        assert!(is_let_in(&mut world, alice, "10.0.1.1:1"), "{jump}");
    }
}

#[test]
fn an_exempt_address_and_a_named_peer_stay_whatever_is_banned() {
    let mut world = World::new();
    let alice = world.node("alice", ALICE, |config| {
        config.admission.exempt = ExemptRanges(vec!["10.0.1.0/24".parse().unwrap()]);
        config.connect = vec!["10.0.2.1:8333".parse().unwrap()];
    });
    world.node("bob", "10.0.1.1:8333", |config| config.seeds = vec![ALICE.parse().unwrap()]);
    world.node("carol", "10.0.2.1:8333", |_| ());
    world.advance(Duration::from_secs(5));
    ban(&mut world, alice, "0.0.0.0/0", None);
    world.advance(Duration::from_secs(60));
    let mut peers: Vec<_> = world.get(alice).connected().map(|peer| peer.node_id).collect();
    peers.sort();
    assert_eq!(peers, ["bob", "carol"]);
    assert!(!is_let_in(&mut world, alice, "10.0.3.1:1"));
}

#[test]
fn bans_of_an_earlier_run_hold_from_the_first_moment_and_no_longer_than_they_should() {
    let mut world = World::new();
    let alice = strict(&mut world);
    assert!(offend(&mut world, alice, "10.0.5.1:1"));
    ban(&mut world, alice, "10.0.6.0/24", None);
    world.advance(Duration::from_secs(3600));
    let saved = world.get(alice).bans(world.now);
    let mut reborn = World::new();
    let alice = strict(&mut reborn);
    let tampered = Ban { remaining: Some(Duration::MAX), who: "10.0.7.1".parse().unwrap(), ..saved[1].clone() };
    let now = reborn.now;
    reborn.get_mut(alice).restore_bans(now, saved.into_iter().chain([tampered]));
    for banned in ["10.0.5.1:1", "10.0.6.9:1", "10.0.7.1:1"] {
        assert!(!is_let_in(&mut reborn, alice, banned), "{banned}");
    }
    reborn.advance(DAY - Duration::from_secs(3600));
    assert!(is_let_in(&mut reborn, alice, "10.0.5.1:1") && !is_let_in(&mut reborn, alice, "10.0.7.1:1"));
    reborn.advance(Duration::from_secs(3600));
    assert!(is_let_in(&mut reborn, alice, "10.0.7.1:1"), "no file makes a ban of the rules longer than the rules do");
    assert!(!is_let_in(&mut reborn, alice, "10.0.6.9:1"));
}
