//! One port served by one loop and by two: echoes of 64 bytes, and streams of 32-byte frames.
//!
//! `cargo bench --bench shards` prints medians of interleaved rounds, and two loops to one. The clients are loops too, one for each
//! of the server's at its best, so on a machine with few cores both sides share them and the ratio says little; from four cores on
//! it says what a second loop is worth. Options: `-- --rounds N --millis N`, and `--test` for one short round.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use spacetime_network::driver::{Config, Driver, Event, Net, Protocol, SendOutcome, Shards};
use spacetime_network::id::{ConnId, DialId};
use spacetime_network::time::Now;
use spacetime_network::wire::{FrameRules, Priority};

static RULES: FrameRules = FrameRules::any(1024);
/// Connections of each client: enough for both loops to have some.
const CONNECTIONS: u64 = 16;
const CLIENTS: usize = 2;

#[derive(Clone, Copy)]
enum Traffic {
    Echo,
    Stream,
}

struct Server {
    traffic: Traffic,
    frames: u64,
    meter: Arc<AtomicU64>,
}

impl Protocol for Server {
    type Command = ();

    fn handle(&mut self, _now: Now, event: Event<'_, ()>, net: &mut Net) {
        match event {
            Event::Frame { conn, frame } => {
                self.frames += 1;
                if let Traffic::Echo = self.traffic {
                    let _ = net.send(conn, Priority::Normal, frame.kind, &frame.payload);
                }
            }
            Event::TurnEnded if self.frames > 0 => {
                self.meter.fetch_add(core::mem::take(&mut self.frames), Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

struct Client(Traffic);

impl Client {
    fn go_on(&self, conn: ConnId, net: &mut Net) {
        match self.0 {
            Traffic::Echo => drop(net.send(conn, Priority::Normal, 1, &[7; 64])),
            Traffic::Stream => {
                // Until it is full, or takes no more because the loop stops.
                while net.queued_bytes(conn) < net.config().outbox.high
                    && matches!(net.send(conn, Priority::Normal, 1, &[7; 32]), SendOutcome::Accepted { .. })
                {
                }
            }
        }
    }
}

impl Protocol for Client {
    type Command = ();

    fn handle(&mut self, _now: Now, event: Event<'_, ()>, net: &mut Net) {
        if let Event::Opened { conn, .. } | Event::Writable { conn } | Event::Frame { conn, .. } = event {
            self.go_on(conn, net);
        }
    }
}

fn config() -> Config {
    let mut config = Config::default();
    config.rules = &RULES;
    config.stop_drain = Duration::ZERO;
    config
}

/// Frames that the server gets in a second.
fn measure(loops: usize, traffic: Traffic, period: Duration) -> f64 {
    let meter = Arc::new(AtomicU64::new(0));
    let loops = NonZeroUsize::new(loops).expect("at least one loop");
    let protocol = |_index| Server { traffic, frames: 0, meter: Arc::clone(&meter) };
    let shards = Shards::listen(loops, "127.0.0.1:0".parse().unwrap(), &config(), protocol).unwrap();
    let (address, server) = (shards.address(), shards.handles());
    let mut threads = vec![thread::spawn(move || drop(shards.run().unwrap()))];
    let mut handles = Vec::new();
    for _ in 0..CLIENTS {
        let mut client = Driver::new(config(), Client(traffic)).unwrap();
        client.with(|_, _, net| (0..CONNECTIONS).for_each(|n| net.dial(DialId(n), address, Duration::from_secs(5))));
        handles.push(client.handle());
        threads.push(thread::spawn(move || client.run().unwrap()));
    }
    thread::sleep(period / 3);
    let (start, before) = (Instant::now(), meter.load(Ordering::Relaxed));
    thread::sleep(period);
    let rate = (meter.load(Ordering::Relaxed) - before) as f64 / start.elapsed().as_secs_f64();
    handles.iter().chain(&server).for_each(|handle| handle.stop());
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(rate > 0.0, "nothing arrived");
    rate
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let option = |name: &str, default: u64| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    if !cfg!(any(target_os = "linux", target_os = "android")) {
        return println!("this system does not share a port");
    }
    let test = args.iter().any(|arg| arg == "--test");
    let rounds = if test { 1 } else { option("--rounds", 9) };
    let period = Duration::from_millis(if test { 20 } else { option("--millis", 300) });
    println!("{:<16} {:>14} {:>14} {:>7}", "frames /s", "one loop", "two loops", "ratio");
    for (name, traffic) in [("echo, 64 B", Traffic::Echo), ("stream, 32 B", Traffic::Stream)] {
        let rounds: Vec<(f64, f64)> =
            (0..rounds).map(|_| (measure(1, traffic, period), measure(2, traffic, period))).collect();
        let of = |value: fn(&(f64, f64)) -> f64| median(rounds.iter().map(value).collect());
        println!(
            "{name:<16} {:>14.0} {:>14.0} {:>7.2}",
            of(|pair| pair.0),
            of(|pair| pair.1),
            of(|pair| pair.1 / pair.0)
        );
    }
}
