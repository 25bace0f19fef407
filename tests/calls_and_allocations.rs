//! What a frame costs the system and the allocator: counted, not timed.
//!
//! Both ends live in this process and are turned in turns, so that each count is of exactly what was done.

#[path = "memory_support/counting.rs"]
#[allow(dead_code, reason = "what is held is weighed elsewhere")]
mod counting;

use std::time::Duration;

use counting::allocations;
use spacetime_network::driver::{Config, Driver, Event, Net, Protocol, SendOutcome, Totals};
use spacetime_network::id::{ConnId, DialId};
use spacetime_network::time::Now;
use spacetime_network::wire::frame::MAX_PAYLOAD;
use spacetime_network::wire::{FrameRules, Priority};

static RULES: FrameRules = FrameRules::any(MAX_PAYLOAD);

enum Role {
    Ping,
    Pong,
    /// Fills its queue up to the high watermark whenever it is told to.
    Source,
    Count,
}

struct Party {
    role: Role,
    conn: Option<ConnId>,
    frames: u64,
}

fn send(conn: ConnId, kind: u8, payload: &[u8], net: &mut Net) {
    assert_eq!(net.send(conn, Priority::Normal, kind, payload), SendOutcome::Accepted { dropped: 0 });
}

fn fill(conn: ConnId, net: &mut Net) {
    while net.queued_bytes(conn) < net.config().outbox.high {
        send(conn, 1, &[7; 32], net);
    }
}

impl Protocol for Party {
    type Command = ();

    fn handle(&mut self, _now: Now, event: Event<'_, ()>, net: &mut Net) {
        match event {
            Event::Opened { conn, .. } => {
                self.conn = Some(conn);
                match self.role {
                    Role::Ping => send(conn, 1, &[7; 32], net),
                    Role::Source => fill(conn, net),
                    Role::Pong | Role::Count => {}
                }
            }
            Event::Writable { conn } => fill(conn, net),
            Event::Frame { conn, frame } => {
                self.frames += 1;
                if matches!(self.role, Role::Ping | Role::Pong) {
                    send(conn, frame.kind, &frame.payload, net);
                }
            }
            Event::Closed { reason, .. } => panic!("the connection was lost: {reason}"),
            _ => {}
        }
    }
}

fn driver(role: Role) -> Driver<Party> {
    let mut config = Config::default();
    config.rules = &RULES;
    config.spin = None;
    Driver::new(config, Party { role, conn: None, frames: 0 }).unwrap()
}

struct Pair(Driver<Party>, Driver<Party>);

impl Pair {
    fn new(dialer: Role, listener: Role) -> Self {
        let (mut one, mut two) = (driver(dialer), driver(listener));
        let address = two.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        one.with(|_, _, net| net.dial(DialId(1), address, Duration::from_secs(60)));
        Pair(one, two)
    }

    /// Turns both until the second has seen so many frames.
    fn until(&mut self, frames: u64) {
        let limit = std::time::Instant::now() + Duration::from_secs(60);
        while self.1.protocol().frames < frames {
            self.0.turn(Some(Duration::ZERO)).unwrap();
            self.1.turn(Some(Duration::ZERO)).unwrap();
            assert!(std::time::Instant::now() < limit, "it never came");
        }
    }
}

/// Calls to read and to write.
fn calls(before: &Totals, after: &Totals) -> (u64, u64) {
    (after.reads - before.reads, after.writes - before.writes)
}

/// The plan of a whole vectored write, a fresh chunk and a second look at a socket that is empty were once part of each answer.
fn an_echo_is_one_read_and_one_write_and_allocates_nothing() {
    let mut pair = Pair::new(Role::Ping, Role::Pong);
    pair.until(100);
    let (before, seen, allocated) = (pair.1.net().totals().clone(), pair.1.protocol().frames, allocations());
    pair.until(seen + 1000);
    let (after, frames, allocated) =
        (pair.1.net().totals(), pair.1.protocol().frames - seen, allocations() - allocated);
    // Where the system tells of every arrival, a read that leaves room is the last.
    let second_look = if cfg!(any(target_os = "linux", target_os = "android")) { 0 } else { frames };
    assert_eq!(calls(&before, after), (frames + second_look, frames));
    assert_eq!(allocated, 0, "of both ends, in {frames} round trips");
}

fn a_stream_of_small_frames_takes_one_call_for_twenty_at_most_and_allocates_nothing() {
    let mut pair = Pair::new(Role::Source, Role::Count);
    // The lists and chunks of the pools have grown to their size by then.
    pair.until(200_000);
    let (source, sink) = (pair.0.net().totals().clone(), pair.1.net().totals().clone());
    let (seen, allocated) = (pair.1.protocol().frames, allocations());
    pair.until(seen + 200_000);
    let (frames, allocated) = (pair.1.protocol().frames - seen, allocations() - allocated);
    let (_, writes) = calls(&source, pair.0.net().totals());
    let (reads, _) = calls(&sink, pair.1.net().totals());
    println!("{frames} frames of 32 bytes: {writes} writes, {reads} reads, {allocated} allocations");
    assert!(20 * (reads + writes) <= frames, "{writes} writes and {reads} reads for {frames} frames");
    assert_eq!(allocated, 0, "in {frames} frames");
}

/// One test, so that nothing else makes the loop wait.
#[test]
fn an_echo_is_two_calls_a_stream_of_small_frames_few_and_neither_allocates() {
    an_echo_is_one_read_and_one_write_and_allocates_nothing();
    a_stream_of_small_frames_takes_one_call_for_twenty_at_most_and_allocates_nothing();
}
