//! How long a pong takes beside a large block on a slow line: with blocks whole, and in pieces.
//!
//! `cargo bench --bench urgent` plays all lines at once, about three minutes: a loop answers pings while it sends a block to a
//! reader that takes so many bytes a second. It prints the longest time from a ping to its pong. `-- --test` plays the shortest.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use socket2::{Domain, Socket, Type};
use spacetime_network::driver::{Config, Driver, Event, Net, Protocol};
use spacetime_network::link::{BufferPool, Inbox};
use spacetime_network::time::{Instant as LoopInstant, Now};
use spacetime_network::wire::frame::{MAX_PAYLOAD, header};
use spacetime_network::wire::{FrameRules, Priority};

static WHOLE: FrameRules = FrameRules::any(MAX_PAYLOAD);
static PIECES: FrameRules = FrameRules::any(MAX_PAYLOAD).with_pieces();

const PING: u8 = 1;
const BLOCK: u8 = 2;
/// What the reader's system may hold, as a line would.
const RECEIVE_BUFFER: usize = 16 * 1024;
const STEP: Duration = Duration::from_millis(5);
const PING_EVERY: Duration = Duration::from_millis(100);

struct Server {
    block: Bytes,
    is_done: bool,
}

impl Protocol for Server {
    type Command = ();

    fn handle(&mut self, _now: Now, event: Event<'_, ()>, net: &mut Net) {
        match event {
            Event::Frame { conn, frame } if frame.kind == PING => {
                let _ = net.send(conn, Priority::Critical, PING, &frame.payload);
            }
            Event::Frame { conn, .. } => {
                let _ = net.send_shared(conn, Priority::Normal, BLOCK, &self.block);
            }
            Event::Closed { .. } => self.is_done = true,
            _ => {}
        }
    }
}

fn say(stream: &mut TcpStream, kind: u8, payload: &[u8]) {
    stream.write_all(&[&header(kind, payload.len()).unwrap()[..], payload].concat()).unwrap();
}

/// Asks for a block, pings, and reads at a rate; answers the longest round trip until the block is there.
fn read(address: SocketAddr, rate: usize, rules: &FrameRules) -> Duration {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(RECEIVE_BUFFER).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut stream = TcpStream::from(socket);
    stream.set_nodelay(true).unwrap();
    stream.set_nonblocking(true).unwrap();
    let (mut inbox, mut pool, mut buffer) = (Inbox::default(), BufferPool::new(), vec![0; 1 << 20]);
    say(&mut stream, BLOCK, b"");
    let start = Instant::now();
    let (mut taken, mut pinged, mut longest, mut has_block) = (0, 0u32, Duration::ZERO, false);
    let mut open = Vec::new();
    while !has_block || !open.is_empty() {
        if !has_block && start.elapsed() >= PING_EVERY * pinged {
            say(&mut stream, PING, &pinged.to_le_bytes());
            open.push((pinged, Instant::now()));
            pinged += 1;
        }
        let due = (start.elapsed().as_secs_f64() * rate as f64) as usize;
        let most = due.saturating_sub(taken).min(buffer.len());
        let mut count = 0;
        if most > 0 {
            match stream.read(&mut buffer[..most]) {
                Ok(0) => panic!("the server has left"),
                Ok(read) => (count, taken) = (read, taken + read),
                // An idle line does not save its time up.
                Err(_) => taken = due,
            }
        }
        let mut input = &buffer[..count];
        while let Some(frame) = inbox.next(&mut input, rules, LoopInstant::ZERO, &mut pool).unwrap() {
            if frame.kind == BLOCK {
                has_block = true;
                continue;
            }
            let number = u32::from_le_bytes(frame.payload[..].try_into().unwrap());
            open.retain(|(ping, sent)| {
                if *ping == number {
                    longest = longest.max(sent.elapsed());
                }
                *ping != number
            });
        }
        thread::sleep(STEP);
    }
    longest
}

/// One block over one line: whole or in pieces.
fn play(block: usize, rate: usize, rules: &'static FrameRules) -> Duration {
    let mut config = Config::default();
    config.rules = rules;
    let server = Server { block: Bytes::from(vec![7; block]), is_done: false };
    let mut driver = Driver::new(config, server).unwrap();
    let address = driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let reader = thread::spawn(move || read(address, rate, rules));
    while !driver.protocol().is_done {
        driver.turn(Some(Duration::from_millis(100))).unwrap();
    }
    reader.join().unwrap()
}

fn main() {
    let is_test = std::env::args().any(|arg| arg == "--test");
    let (rates, blocks): (&[usize], &[usize]) = if is_test {
        (&[10_000_000], &[4 << 20])
    } else {
        (&[100_000, 500_000, 10_000_000], &[4 << 20, (16 << 20) - 1])
    };
    let cases = rates.iter().flat_map(|rate| blocks.iter().map(move |block| (*block, *rate)));
    let played: Vec<_> = cases
        .map(|(block, rate)| {
            let both = [&WHOLE, &PIECES].map(|rules| thread::spawn(move || play(block, rate, rules)));
            (block, rate, both)
        })
        .collect();
    println!("longest pong, ms      whole   in pieces");
    for (block, rate, both) in played {
        let [whole, pieces] = both.map(|player| player.join().unwrap().as_millis());
        let (mebibytes, megabytes) = (block.div_ceil(1 << 20), rate as f64 / 1e6);
        println!("{mebibytes:>2} MiB at {megabytes:>4} MB/s  {whole:>8}  {pieces:>8}");
    }
}
