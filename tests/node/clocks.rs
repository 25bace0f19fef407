//! A clock that is off is told once, with the difference that was measured, and nothing moves it.

use std::time::Duration;

use spacetime_network::proto::Event;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::wire::Message;

use crate::world::World;

const HOUR: i64 = 3_600_000;

/// Three nodes that `late` dials, and one that dials `late`; all but `late` have the same time.
fn table(ahead: i64) -> (World, usize, [usize; 3]) {
    let mut world = World::new();
    let others = [1, 2, 3].map(|n| world.node(&format!("n{n}"), &format!("10.{n}.0.1:8333"), |_| {}));
    let late = world.node("late", "10.9.0.1:8333", |c| {
        c.connect = [1, 2, 3].map(|n| format!("10.{n}.0.1:8333").parse().unwrap()).to_vec();
    });
    world.clocks.insert(late, ahead);
    (world, late, others)
}

fn clock_events(world: &World, node: usize) -> Vec<Event> {
    let told = world.events.iter().filter(|(at, event)| {
        let clocks = matches!(event, Event::ClockOff { .. } | Event::ClockRight { .. } | Event::HeadersTooEarly { .. });
        *at == node && clocks
    });
    told.map(|(_, event)| event.clone()).collect()
}

/// A node whose clock was three hours late stayed at genesis, without a line at debug: each header was too early.
#[test]
fn a_clock_that_is_three_hours_late_is_one_warning_with_the_difference_and_headers_too_far_ahead_are_told_once() {
    let (mut world, late, others) = table(-3 * HOUR);
    for _ in 0..5 {
        world.mine(others[0]);
    }
    world.advance(Duration::from_secs(1800));
    let events = clock_events(&world, late);
    let off: Vec<_> = events.iter().filter(|event| matches!(event, Event::ClockOff { .. })).collect();
    assert!(
        matches!(off[..], [Event::ClockOff { millis, peers }] if (millis - 3 * HOUR).abs() < 2_000 && (1..=3).contains(peers)),
        "{events:?}"
    );
    let early: Vec<_> = events.iter().filter(|event| matches!(event, Event::HeadersTooEarly { .. })).collect();
    assert!(
        matches!(early[..], [Event::HeadersTooEarly { clock: Some(millis), .. }] if (millis - 3 * HOUR).abs() < 2_000),
        "{events:?}"
    );
    assert_eq!(world.get(late).chain().best().height, 0, "nothing moves our clock");

    // The operator sets it right: one word, and all is well.
    world.clocks.remove(&late);
    world.advance(Duration::from_secs(60));
    world.mine(others[0]);
    world.advance(Duration::from_secs(60));
    let events = clock_events(&world, late);
    assert!(
        matches!(events.last(), Some(Event::ClockRight { millis, peers: 3 }) if millis.abs() < 2_000),
        "{events:?}"
    );
    assert_eq!(events.len(), 3, "{events:?}");
    assert_eq!(world.get(late).chain().best().height, 6);
}

/// The other way round others refuse its blocks, and it mines alone.
#[test]
fn a_clock_that_is_three_hours_early_is_one_warning() {
    let (mut world, early, _) = table(3 * HOUR);
    world.advance(Duration::from_secs(1800));
    let events = clock_events(&world, early);
    assert!(matches!(events[..], [Event::ClockOff { millis, .. }] if (millis + 3 * HOUR).abs() < 2_000), "{events:?}");
}

#[test]
fn a_clock_within_two_hours_is_no_warning() {
    for ahead in [-2 * HOUR + 60_000, 2 * HOUR - 60_000] {
        let (mut world, node, _) = table(ahead);
        world.advance(Duration::from_secs(600));
        assert_eq!(clock_events(&world, node), []);
    }
}

/// Who dials us chooses us: a crowd of them must not make a node doubt its clock.
#[test]
fn the_clocks_of_those_who_dial_us_do_not_count() {
    let (mut world, node, _) = table(0);
    world.advance(Duration::from_secs(30));
    let now = world.now.unix;
    for n in 0..20 {
        // Their greetings say 2023, and the node's clock 2027.
        let stranger = world.peer(node, &format!("10.{}.0.1:1", 100 + n), &format!("s{n}"), 2);
        world.say(stranger, &Message::Pong(spacetime_network::wire::message::Ping { nonce: 1, unix_millis: 0 }));
    }
    world.advance(Duration::from_secs(300));
    assert_eq!(clock_events(&world, node), []);
    assert!(world.now.unix > now);
}

/// One that we dialed may be wrong itself: the median says so.
#[test]
fn one_wrong_clock_among_three_is_not_ours() {
    let (mut world, node, others) = table(0);
    world.clocks.insert(others[1], 5 * HOUR);
    world.advance(Duration::from_secs(10));
    let after_the_first = clock_events(&world, node).len();
    world.advance(Duration::from_secs(1800));
    let events = clock_events(&world, node);
    assert!(after_the_first <= 2 && events.len() == after_the_first, "{events:?}");
    assert!(!matches!(events.last(), Some(Event::ClockOff { .. })), "{events:?}");
    // It finds others to dial, and then it is told, rightly.
    let wrong = clock_events(&world, others[1]);
    assert!(matches!(wrong[..], [Event::ClockOff { millis, .. }] if (millis + 5 * HOUR).abs() < 2_000), "{wrong:?}");
}
