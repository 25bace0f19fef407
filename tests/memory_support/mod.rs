//! Pairs of connections, both ends in this process, and what they hold when nothing happens: before and after a burst.

pub(crate) mod counting;

use std::time::Duration;

use bytes::Bytes;
use counting::live;
use spacetime_network::driver::{Config, Driver, Event, Net, Protocol, SendOutcome};
use spacetime_network::id::ConnId;
use spacetime_network::time::Now;
use spacetime_network::wire::frame::MAX_PAYLOAD;
use spacetime_network::wire::{FrameRules, Priority};

static RULES: FrameRules = FrameRules::any(MAX_PAYLOAD);
/// Connections, each with both ends in this process.
pub(crate) const PAIRS: usize = 500;

/// Remembers connections in memory reserved before the count begins.
pub(crate) struct Burst {
    pub(crate) conns: Vec<ConnId>,
    pub(crate) bytes: usize,
}

impl Protocol for Burst {
    type Command = ();

    fn handle(&mut self, _now: Now, event: Event<'_, ()>, _net: &mut Net) {
        match event {
            Event::Opened { conn, .. } => self.conns.push(conn),
            Event::Frame { frame, .. } => self.bytes += frame.payload.len(),
            Event::Closed { reason, .. } => panic!("a connection was lost: {reason}"),
            _ => {}
        }
    }
}

/// One end of all pairs.
pub(crate) fn driver(mut config: Config) -> Driver<Burst> {
    config.rules = &RULES;
    config.connections = PAIRS;
    Driver::new(config, Burst { conns: Vec::with_capacity(PAIRS), bytes: 0 }).unwrap()
}

pub(crate) fn turn_until(one: &mut Driver<Burst>, two: &mut Driver<Burst>, done: impl Fn(&Burst, &Burst) -> bool) {
    let limit = std::time::Instant::now() + Duration::from_secs(60);
    while !done(one.protocol(), two.protocol()) {
        one.turn(Some(Duration::ZERO)).unwrap();
        two.turn(Some(Duration::ZERO)).unwrap();
        assert!(std::time::Instant::now() < limit, "it never came");
    }
    // Once more, for what the last frames left to be done.
    for driver in [one, two] {
        driver.turn(Some(Duration::ZERO)).unwrap();
        driver.turn(Some(Duration::ZERO)).unwrap();
    }
}

fn burst(driver: &mut Driver<Burst>, large: &Bytes, range: core::ops::Range<usize>) {
    driver.with(|burst, _, net| {
        for conn in &burst.conns[range] {
            for _ in 0..64 {
                assert_eq!(net.send(*conn, Priority::Low, 1, &[5; 251]), SendOutcome::Accepted { dropped: 0 });
            }
            assert_eq!(net.send_shared(*conn, Priority::High, 2, large), SendOutcome::Accepted { dropped: 0 });
        }
    });
}

/// Sends a burst over every connection in both directions, and looks at what each holds afterwards, in bytes: no more than
/// `limit`, of which no loop keeps more than its pool may. `before` is what was allocated before the first of them.
pub(crate) fn weigh_after_a_burst(one: &mut Driver<Burst>, two: &mut Driver<Burst>, before: usize, limit: usize) {
    let large = Bytes::from(vec![9; 1 << 20]);
    let before = before + large.len();
    // In groups, so that the test itself stays within the send budget.
    let each = 64 * 251 + large.len();
    for start in (0..PAIRS).step_by(50) {
        burst(one, &large, start..start + 50);
        burst(two, &large, start..start + 50);
        let all = (start + 50) * each;
        turn_until(one, two, |one, two| one.bytes == all && two.bytes == all);
    }
    let pooled = live() - before;
    // What the loops' pools keep is theirs, bounded, and does not grow with the number of connections.
    let kept = one.net().pooled_bytes() + two.net().pooled_bytes();
    let after = pooled.saturating_sub(kept) / (2 * PAIRS);

    println!("bytes per idle connection: {after} after a burst; pools keep {kept}");
    assert!(after <= limit, "{after} bytes after a burst");
    assert!(kept <= 2 * 8 * 1024 * 1024, "the pools keep {kept} bytes");
}
