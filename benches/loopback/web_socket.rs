//! The engine's WebSocket beside its plain connections, and beside tungstenite as one would use it by hand: a thread for each end,
//! blocking sockets, one message for each frame, flushed when 256 KiB are written or nothing more is. Neither side of tungstenite
//! upgrades: only frames are measured.

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use spacetime_network::id::DialId;
use spacetime_network::link::web_socket::{WebSocketOptions, WebSocketTarget};
use tungstenite::protocol::{Role as End, WebSocket, WebSocketConfig};
use tungstenite::{Error, Message};

use super::{BUFFER, Meter, Rate, Role, engine, engine_pair, frame, median, raw_pair, run_pair};

const SIZES: [usize; 3] = [64, 4 * 1024, 1024 * 1024];

/// Who sends: what a server sends is not masked, what a client sends is.
#[derive(Clone, Copy)]
enum From {
    Server,
    Client,
}

/// One line for each size and direction, and one for the echo.
pub(super) fn compare_all(rounds: u64, period: Duration) {
    println!();
    println!(
        "{:<22} {:>14} {:>14} {:>14} {:>9} {:>9}",
        "WebSocket", "plain /s", "ws /s", "rival /s", "of plain", "of rival"
    );
    for size in SIZES {
        for (name, from) in [("unmasked", From::Server), ("masked", From::Client)] {
            let plain = || engine_pair(role(from, true), role(from, false), size, period);
            let ours = || web_pair(role(from, true), role(from, false), size, period);
            line(&format!("{name}, {size} B"), rounds, plain, ours, || rival_stream(from, size, period));
        }
    }
    let plain = || engine_pair(Role::Ping, Role::Pong, 64, period);
    let ours = || web_pair(Role::Ping, Role::Pong, 64, period);
    line("ping-pong, 64 B", rounds, plain, ours, || rival_ping(period));
}

/// What the dialer does, or the listener.
fn role(from: From, is_dialer: bool) -> Role {
    match (from, is_dialer) {
        (From::Client, true) | (From::Server, false) => Role::Stream,
        _ => Role::Count,
    }
}

/// Interleaved rounds of all three, and one line of their medians.
fn line(name: &str, rounds: u64, plain: impl Fn() -> Rate, ours: impl Fn() -> Rate, rival: impl Fn() -> Rate) {
    let rounds: Vec<[f64; 3]> = (0..rounds).map(|_| [plain().wall, ours().wall, rival().wall]).collect();
    let of = |value: &dyn Fn(&[f64; 3]) -> f64| median(rounds.iter().map(value).collect());
    println!(
        "{name:<22} {:>14.0} {:>14.0} {:>14.0} {:>9.2} {:>9.2}",
        of(&|round| round[0]),
        of(&|round| round[1]),
        of(&|round| round[2]),
        of(&|round| round[1] / round[0]),
        of(&|round| round[1] / round[2]),
    );
}

fn web_pair(dialer: Role, listener: Role, size: usize, period: Duration) -> Rate {
    let meter = Arc::new(Meter::default());
    let (mut left, mut right) = (engine(dialer, size, &meter), engine(listener, size, &meter));
    let address = right.listen_web_socket("127.0.0.1:0".parse().unwrap(), WebSocketOptions::default()).unwrap();
    let target = WebSocketTarget::new(address.to_string(), "/").unwrap();
    left.with(|_, _, net| net.dial_web_socket(DialId(1), address, Duration::from_secs(5), target));
    run_pair(left, right, &meter, period)
}

type Rival = WebSocket<TcpStream>;

/// A server's end and a client's.
fn rivals() -> (Rival, Rival) {
    let (client, server) = raw_pair();
    let config = WebSocketConfig::default().write_buffer_size(BUFFER).read_buffer_size(BUFFER);
    (
        WebSocket::from_raw_socket(server, End::Server, Some(config)),
        WebSocket::from_raw_socket(client, End::Client, Some(config)),
    )
}

fn rival_stream(from: From, size: usize, period: Duration) -> Rate {
    let (server, client) = rivals();
    let (mut sender, mut receiver) = match from {
        From::Server => (server, client),
        From::Client => (client, server),
    };
    let meter = Arc::new(Meter::default());
    let (sending, receiving) = (Arc::clone(&meter), Arc::clone(&meter));
    let sends = thread::spawn(move || {
        let frame = Bytes::from(frame(size));
        while !sending.stopped() {
            if sender.write(Message::Binary(frame.clone())).is_err() {
                return;
            }
        }
        let _ = sender.flush();
    });
    let receives = thread::spawn(move || {
        while let Ok(message) = receiver.read() {
            let frame = message.into_data();
            let length = u32::from_le_bytes(frame[..4].try_into().unwrap()) as usize + 4;
            assert!(length == size + 5 && frame.len() == length);
            std::hint::black_box(&frame[5..]);
            receiving.frames.fetch_add(1, Ordering::Relaxed);
        }
    });
    let rate = meter.measure(period);
    sends.join().unwrap();
    receives.join().unwrap();
    rate
}

fn rival_ping(period: Duration) -> Rate {
    let (mut server, mut client) = rivals();
    let meter = Arc::new(Meter::default());
    let pinging = Arc::clone(&meter);
    let mut echo = move || -> Result<(), Error> {
        loop {
            let message = server.read()?;
            server.send(message)?;
        }
    };
    let ponger = thread::spawn(move || assert!(echo().is_err(), "it ends with the stream"));
    let pinger = thread::spawn(move || {
        let ping = Bytes::from(frame(64));
        while !pinging.stopped() {
            client.send(Message::Binary(ping.clone())).unwrap();
            assert_eq!(client.read().unwrap().len(), ping.len());
            pinging.frames.fetch_add(1, Ordering::Relaxed);
        }
    });
    let rate = meter.measure(period);
    pinger.join().unwrap();
    ponger.join().unwrap();
    rate
}
