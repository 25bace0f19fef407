//! The engine on real loopback sockets beside plain blocking ones, in the same run.
//!
//! `cargo bench --bench loopback` prints medians of interleaved rounds. The rival is what one would write by hand: two
//! `TcpStream`s, 256 KiB buffers, loops that write and parse length prefixes and do nothing else. Absolute numbers vary
//! with the machine and its other users; the ratio is what counts; beside it the ratio of frames per
//! second of processor time, which other users of the machine disturb less.
//!
//! With the feature `ws`, the same over WebSocket beside plain sockets and beside tungstenite: see `web_socket`.
//!
//! Options: `-- --rounds N --millis N` (per measurement), `--size N` for one row (64 for the ping), `--high BYTES` for another high
//! watermark with a quarter of it as the low one, and `--test`, as `cargo test --benches` passes, for one short round.

#[cfg(feature = "ws")]
mod web_socket;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use spacetime_network::driver::{Config, Driver, Event, Handle, Net, Protocol, SendOutcome};
use spacetime_network::id::{ConnId, DialId};
use spacetime_network::time::Now;
use spacetime_network::wire::frame::MAX_PAYLOAD;
use spacetime_network::wire::{FrameRules, Priority};

static RULES: FrameRules = FrameRules::any(MAX_PAYLOAD);
const BUFFER: usize = 256 * 1024;
/// The high watermark that was asked for.
static HIGH: OnceLock<usize> = OnceLock::new();
const SIZES: [usize; 5] = [32, 256, 4 * 1024, 64 * 1024, 1024 * 1024];
/// From here on the engine's sender shares its payload instead of having it copied.
const SHARED_FROM: usize = 4 * 1024;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let option = |name: &str, default: u64| {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let test = args.iter().any(|arg| arg == "--test");
    let rounds = if test { 1 } else { option("--rounds", 9) };
    let period = Duration::from_millis(if test { 20 } else { option("--millis", 300) });

    println!("{:<22} {:>14} {:>14} {:>7} {:>7}", "", "raw /s", "engine /s", "ratio", "per cpu");
    let only = option("--size", 0) as usize;
    if let Some(high) = usize::try_from(option("--high", 0)).ok().filter(|high| *high > 0) {
        let _ = HIGH.set(high);
    }
    for size in SIZES.into_iter().filter(|size| only == 0 || *size == only) {
        let name = format!("one way, {size} B");
        compare(&name, rounds, || raw_stream(size, period), || engine_stream(size, period));
    }
    if only == 0 || only == 64 {
        compare("ping-pong, 64 B", rounds, || raw_ping(period), || engine_ping(period));
    }
    #[cfg(feature = "ws")]
    if only == 0 {
        web_socket::compare_all(rounds, period);
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Counts frames between a warm-up and the end of the period; asserts that the length of each was right.
#[derive(Default)]
struct Meter {
    frames: AtomicU64,
    stop: AtomicBool,
}

impl Meter {
    /// Frames per second over one period, after a third of it has passed unmeasured.
    fn measure(&self, period: Duration) -> Rate {
        thread::sleep(period / 3);
        let (start, cpu, before) = (Instant::now(), cpu_ticks(), self.frames.load(Ordering::Relaxed));
        thread::sleep(period);
        let frames = (self.frames.load(Ordering::Relaxed) - before) as f64;
        let rate = Rate { wall: frames / start.elapsed().as_secs_f64(), cpu: frames / (cpu_ticks() - cpu).max(1.0) };
        self.stop.store(true, Ordering::Relaxed);
        assert!(frames > 0.0, "nothing arrived");
        rate
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// Frames per second of the clock, and per tick of processor time of both ends together.
#[derive(Clone, Copy)]
struct Rate {
    wall: f64,
    cpu: f64,
}

/// Processor time of this process in ticks of 10 ms; zero where the system does not say.
fn cpu_ticks() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum()
}

/// Interleaved rounds of both, and one line of their medians.
fn compare(name: &str, rounds: u64, raw: impl Fn() -> Rate, engine: impl Fn() -> Rate) {
    let rounds: Vec<(Rate, Rate)> = (0..rounds).map(|_| (raw(), engine())).collect();
    let of = |value: fn(&(Rate, Rate)) -> f64| median(rounds.iter().map(value).collect());
    println!(
        "{name:<22} {:>14.0} {:>14.0} {:>7.2} {:>7.2}",
        of(|pair| pair.0.wall),
        of(|pair| pair.1.wall),
        of(|pair| pair.1.wall / pair.0.wall),
        of(|pair| pair.1.cpu / pair.0.cpu),
    );
}

fn frame(size: usize) -> Vec<u8> {
    let mut frame = u32::try_from(size + 1).unwrap().to_le_bytes().to_vec();
    frame.push(1);
    frame.resize(frame.len() + size, 7);
    frame
}

// ---- plain sockets ----

fn raw_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    (client, server)
}

/// Reads frames until the stream ends. A partial frame moves to the front before each read.
fn raw_receive(mut stream: TcpStream, size: usize, mut each_read: impl FnMut(u64)) {
    let mut buffer = vec![0; BUFFER.max(2 * (size + 5))];
    let (mut start, mut end) = (0, 0);
    loop {
        let count = match stream.read(&mut buffer[end..]) {
            Ok(0) | Err(_) => return,
            Ok(count) => count,
        };
        end += count;
        let mut frames = 0;
        while end - start >= 5 {
            let length = u32::from_le_bytes(buffer[start..start + 4].try_into().unwrap()) as usize + 4;
            if end - start < length {
                break;
            }
            assert_eq!(length, size + 5);
            std::hint::black_box(&buffer[start + 5..start + length]);
            start += length;
            frames += 1;
        }
        each_read(frames);
        buffer.copy_within(start..end, 0);
        end -= start;
        start = 0;
    }
}

fn raw_stream(size: usize, period: Duration) -> Rate {
    let (mut client, server) = raw_pair();
    let meter = Arc::new(Meter::default());
    let (sending, receiving) = (Arc::clone(&meter), Arc::clone(&meter));
    let sender = thread::spawn(move || {
        let payload = vec![7u8; size];
        let mut buffer = Vec::with_capacity(BUFFER.max(size + 5));
        while !sending.stopped() {
            buffer.clear();
            while buffer.is_empty() || buffer.len() + size + 5 <= BUFFER {
                buffer.extend_from_slice(&u32::try_from(size + 1).unwrap().to_le_bytes());
                buffer.push(1);
                buffer.extend_from_slice(&payload);
            }
            if client.write_all(&buffer).is_err() {
                return;
            }
        }
    });
    let receiver = thread::spawn(move || {
        raw_receive(server, size, |frames| {
            receiving.frames.fetch_add(frames, Ordering::Relaxed);
        });
    });
    let rate = meter.measure(period);
    sender.join().unwrap();
    receiver.join().unwrap();
    rate
}

fn raw_ping(period: Duration) -> Rate {
    let (mut client, mut server) = raw_pair();
    let meter = Arc::new(Meter::default());
    let pinging = Arc::clone(&meter);
    let ponger = thread::spawn(move || {
        let mut buffer = vec![0; 69];
        while server.read_exact(&mut buffer).is_ok() && server.write_all(&buffer).is_ok() {}
    });
    let pinger = thread::spawn(move || {
        let (ping, mut buffer) = (frame(64), vec![0; 69]);
        while !pinging.stopped() {
            client.write_all(&ping).unwrap();
            client.read_exact(&mut buffer).unwrap();
            pinging.frames.fetch_add(1, Ordering::Relaxed);
        }
    });
    let rate = meter.measure(period);
    pinger.join().unwrap();
    ponger.join().unwrap();
    rate
}

// ---- the engine ----

enum Role {
    Stream,
    Count,
    Ping,
    Pong,
}

struct Bench {
    role: Role,
    payload: Bytes,
    meter: Arc<Meter>,
    frames: u64,
    stopping: bool,
}

impl Bench {
    fn send(&self, conn: ConnId, net: &mut Net) {
        let sent = if self.payload.len() >= SHARED_FROM {
            net.send_shared(conn, Priority::Normal, 1, &self.payload)
        } else {
            net.send(conn, Priority::Normal, 1, &self.payload)
        };
        assert_ne!(sent, SendOutcome::Full);
    }

    fn fill(&self, conn: ConnId, net: &mut Net) {
        let room = net.config().outbox.high.saturating_sub(net.queued_bytes(conn));
        if !self.stopping {
            for _ in 0..room.div_ceil(self.payload.len() + 5) {
                self.send(conn, net);
            }
        }
    }
}

impl Protocol for Bench {
    type Command = ();

    fn handle(&mut self, _now: Now, event: Event<'_, ()>, net: &mut Net) {
        match event {
            Event::Frame { conn, frame } => match self.role {
                Role::Count => {
                    assert_eq!(frame.payload.len(), self.payload.len());
                    std::hint::black_box(&frame.payload[..]);
                    self.frames += 1;
                }
                Role::Ping => {
                    self.meter.frames.fetch_add(1, Ordering::Relaxed);
                    self.send(conn, net);
                }
                Role::Pong => {
                    let _ = net.send(conn, Priority::Normal, frame.kind, &frame.payload);
                }
                Role::Stream => {}
            },
            Event::Opened { conn, .. } => match self.role {
                Role::Stream => self.fill(conn, net),
                Role::Ping => self.send(conn, net),
                Role::Count | Role::Pong => {}
            },
            Event::Writable { conn } => self.fill(conn, net),
            Event::Stopping => self.stopping = true,
            Event::TurnEnded if self.frames > 0 => {
                self.meter.frames.fetch_add(core::mem::take(&mut self.frames), Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

fn engine(role: Role, size: usize, meter: &Arc<Meter>) -> Driver<Bench> {
    let mut config = Config::default();
    config.rules = &RULES;
    config.stop_drain = Duration::ZERO;
    if let Some(high) = HIGH.get() {
        (config.outbox.high, config.outbox.low) = (*high, high / 4);
    }
    let payload = Bytes::from(vec![7; size]);
    let meter = Arc::clone(meter);
    Driver::new(config, Bench { role, payload, meter, frames: 0, stopping: false }).unwrap()
}

fn engine_pair(dialer: Role, listener: Role, size: usize, period: Duration) -> Rate {
    let meter = Arc::new(Meter::default());
    let (mut left, mut right) = (engine(dialer, size, &meter), engine(listener, size, &meter));
    let address: SocketAddr = right.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    left.with(|_, _, net| net.dial(DialId(1), address, Duration::from_secs(5)));
    run_pair(left, right, &meter, period)
}

fn run_pair(left: Driver<Bench>, right: Driver<Bench>, meter: &Meter, period: Duration) -> Rate {
    let handles: Vec<Handle<()>> = vec![left.handle(), right.handle()];
    let threads = [("dialer", left), ("listener", right)].map(|(name, mut driver)| {
        thread::Builder::new().name(name.into()).spawn(move || driver.run().unwrap()).unwrap()
    });
    let rate = meter.measure(period);
    for handle in handles {
        handle.stop();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    rate
}

fn engine_stream(size: usize, period: Duration) -> Rate {
    engine_pair(Role::Stream, Role::Count, size, period)
}

fn engine_ping(period: Duration) -> Rate {
    engine_pair(Role::Ping, Role::Pong, 64, period)
}
