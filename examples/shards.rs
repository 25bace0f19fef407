//! An echo server on as many loops as the machine has cores, over one port. It checks itself and ends; Linux only.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;

use spacetime_network::driver::{Config, Event, Net, Protocol, Shards};
use spacetime_network::time::Now;
use spacetime_network::wire::{FrameRules, Priority};

static RULES: FrameRules = FrameRules::any(1024);
const CLIENTS: usize = 64;

#[derive(Default)]
struct Echo {
    opened: usize,
}

impl Protocol for Echo {
    type Command = ();

    fn handle(&mut self, _now: Now, event: Event<'_, ()>, net: &mut Net) {
        match event {
            Event::Opened { .. } => self.opened += 1,
            Event::Frame { conn, frame } => {
                let _ = net.send(conn, Priority::Normal, frame.kind, &frame.payload);
            }
            _ => {}
        }
    }
}

fn main() -> io::Result<()> {
    let mut config = Config::default();
    config.rules = &RULES;
    let count = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let address = "127.0.0.1:0".parse().map_err(io::Error::other)?;
    let shards = Shards::listen(count, address, &config, |_index| Echo::default())?;
    let (address, handles) = (shards.address(), shards.handles());
    let clients = std::thread::spawn(move || {
        let checked = (0..CLIENTS).try_for_each(|n| {
            let mut client = TcpStream::connect(address)?;
            let frame = [3, 0, 0, 0, 0x42, b'#', n as u8];
            client.write_all(&frame)?;
            let mut answer = [0; 7];
            client.read_exact(&mut answer)?;
            assert_eq!(answer, frame);
            Ok::<_, io::Error>(())
        });
        // To stop one is to stop all.
        handles[0].stop();
        checked
    });
    let (protocols, totals) = shards.run()?;
    clients.join().map_err(|_| io::Error::other("the clients failed"))??;
    let opened: Vec<usize> = protocols.iter().map(|one| one.opened).collect();
    println!("{} connections, by loop {opened:?}; {} frames came back", totals.accepted, totals.frames_out);
    Ok(())
}
