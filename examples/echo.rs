//! An echo server on the two lower layers: a protocol of its own, no blockchain words.
//!
//! `echo` checks itself and ends; `echo 127.0.0.1:7000` serves until it is stopped.
//!
//! A client that sends and does not read is not read either: when its outbox is above its high mark the connection is
//! paused, and resumed when the outbox has drained.

use spacetime_network::driver::{Config, Driver, Event, Net, Protocol, SendOutcome};
use spacetime_network::time::Now;
use spacetime_network::wire::{FrameRules, Payload, Priority};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

static RULES: FrameRules = FrameRules::any(1 << 20);

struct Echo;

impl Protocol for Echo {
    type Command = ();

    fn handle(&mut self, _now: Now, event: Event<'_, ()>, net: &mut Net) {
        match event {
            Event::Frame { conn, frame } => {
                let sent = match &frame.payload {
                    Payload::Lent(payload) => net.send(conn, Priority::Normal, frame.kind, payload),
                    Payload::Given(payload) => net.send_shared(conn, Priority::Normal, frame.kind, payload),
                };
                assert_ne!(sent, SendOutcome::Full, "paused long before");
                if net.queued_bytes(conn) >= net.config().outbox.high {
                    net.pause(conn);
                }
            }
            Event::Writable { conn } => net.resume(conn),
            _ => {}
        }
    }
}

fn main() -> io::Result<()> {
    let argument = std::env::args().nth(1);
    let address = argument.clone().unwrap_or_else(|| "127.0.0.1:0".into());
    let mut config = Config::default();
    config.rules = &RULES;
    let mut driver = Driver::new(config, Echo)?;
    let address = driver.listen(address.parse().map_err(io::Error::other)?)?;
    println!("echo on {address}");
    if argument.is_none() {
        let handle = driver.handle();
        let client = std::thread::spawn(move || {
            let checked = check(address);
            handle.stop();
            checked
        });
        driver.run()?;
        return client.join().map_err(|_| io::Error::other("the client failed"))?;
    }
    driver.run()
}

/// A client on plain blocking sockets, so that it shares no code with what it checks.
fn check(address: SocketAddr) -> io::Result<()> {
    let stream = TcpStream::connect(address)?;
    let mut writer = stream.try_clone()?;
    let sizes = || (0..2_000_u32).map(|n| (n * 7919) % 6_000).chain([0, 65_535, 65_536, 1 << 20]);
    let frame = |n: u32| {
        let mut frame = (n + 1).to_le_bytes().to_vec();
        frame.push(0x42);
        frame.extend((0..n).map(|at| (at % 251) as u8));
        frame
    };
    let sender = std::thread::spawn(move || sizes().try_for_each(|n| writer.write_all(&frame(n))));
    let mut reader = stream;
    for n in sizes() {
        let expected = frame(n);
        let mut echoed = vec![0; expected.len()];
        reader.read_exact(&mut echoed)?;
        assert!(echoed == expected, "a frame of {n} bytes came back changed");
    }
    sender.join().map_err(|_| io::Error::other("the sender failed"))??;
    println!("{} frames came back as they were sent", sizes().count());
    Ok(())
}
