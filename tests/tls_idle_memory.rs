//! What an idle connection with TLS costs in user memory: counted, not estimated.
//!
//! Both ends live in this process, so each pair is two connections. The limit holds for fresh connections and after a
//! burst in both directions: no buffer is kept, and nothing of the handshake. Sessions that may be resumed are counted too.
//!
//! A crypto library in C takes memory past the counter. So the process's own size is looked at as well, in pages.
#![cfg(any(feature = "tls-aws-lc", feature = "tls-ring"))]
#![allow(unsafe_code, reason = "counting allocations needs a global allocator, and that trait is unsafe")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use spacetime_network::driver::{Config, Driver, Event, Net, Protocol, SendOutcome};
use spacetime_network::id::{ConnId, DialId};
use spacetime_network::link::identity::Identity;
use spacetime_network::link::tls::{Tls, TlsOptions};
use spacetime_network::link::trust::Trust;
use spacetime_network::time::Now;
use spacetime_network::wire::frame::MAX_PAYLOAD;
use spacetime_network::wire::{FrameRules, Priority};

struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator; the counter changes nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static RULES: FrameRules = FrameRules::any(MAX_PAYLOAD);
const PAIRS: usize = 500;
const LIMIT: usize = 6 * 1024;

/// Remembers connections in memory reserved before the count begins.
struct Burst {
    conns: Vec<ConnId>,
    bytes: usize,
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

fn driver() -> Driver<Burst> {
    let mut config = Config::default();
    config.tls = Some(Tls::new(&Identity::generate().unwrap(), Trust::Any, TlsOptions::default()).unwrap());
    config.tls_pending = PAIRS;
    config.tls_rate.burst = PAIRS as u32;
    config.rules = &RULES;
    config.connections = PAIRS;
    Driver::new(config, Burst { conns: Vec::with_capacity(PAIRS), bytes: 0 }).unwrap()
}

/// The process's resident memory in bytes, where the system says.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<usize>().ok()? * 1024)
}

fn turn_until(one: &mut Driver<Burst>, two: &mut Driver<Burst>, done: impl Fn(&Burst, &Burst) -> bool) {
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

#[test]
fn an_idle_connection_with_tls_costs_at_most_6_kib_fresh_and_after_a_burst() {
    rlimit::increase_nofile_limit(4 * PAIRS as u64).unwrap();
    let (mut one, mut two) = (driver(), driver());
    let address = two.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let large = Bytes::from(vec![9; 1 << 20]);
    let (before, pages) = (LIVE.load(Ordering::Relaxed), resident());

    // A few at a time: what a handshake needs for a moment would otherwise be needed for all of them at once.
    for start in (0..PAIRS as u64).step_by(5) {
        let dials = start..start + 5;
        one.with(|_, _, net| dials.clone().for_each(|n| net.dial(DialId(n), address, Duration::from_secs(60))));
        let open = dials.end as usize;
        turn_until(&mut one, &mut two, |one, two| one.conns.len() == open && two.conns.len() == open);
    }
    let fresh = (LIVE.load(Ordering::Relaxed) - before) / (2 * PAIRS);
    if let (Some(before), Some(after)) = (pages, resident()) {
        let each = after.saturating_sub(before) / (2 * PAIRS);
        println!("bytes of the process per idle connection: {each}");
        // Slack for the heap's own pages and for what the handshakes used meanwhile.
        assert!(each <= LIMIT * 3 / 2, "{each} bytes of the process");
    }

    // In groups, so that the test itself stays within the send budget.
    let each = 64 * 251 + large.len();
    for start in (0..PAIRS).step_by(50) {
        burst(&mut one, &large, start..start + 50);
        burst(&mut two, &large, start..start + 50);
        let all = (start + 50) * each;
        turn_until(&mut one, &mut two, |one, two| one.bytes == all && two.bytes == all);
    }
    let pooled = LIVE.load(Ordering::Relaxed) - before;
    // What the loops' pools keep is theirs, bounded, and does not grow with the number of connections.
    let kept = one.net().pooled_bytes() + two.net().pooled_bytes();
    let after = pooled.saturating_sub(kept) / (2 * PAIRS);

    println!("bytes per idle connection: {fresh} fresh, {after} after a burst; pools keep {kept}");
    assert!(fresh <= LIMIT, "{fresh} bytes fresh");
    assert!(after <= LIMIT, "{after} bytes after a burst");
    assert!(kept <= 2 * 8 * 1024 * 1024, "the pools keep {kept} bytes");
}
