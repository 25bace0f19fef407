//! Several loops over one port: who gets whom, what is counted, and how all of them end.
#![cfg(any(target_os = "linux", target_os = "android"))]

use std::io::{self, Read, Write};
use std::net::TcpStream;

use spacetime_network::driver::{Event, Net, Protocol, Shards};
use spacetime_network::time::Now;
use spacetime_network::wire::Priority;

use crate::party::{config, frame};

/// Answers each frame with the index of its loop.
struct Shard {
    index: u8,
    opened: usize,
    commands: Vec<u32>,
}

impl Protocol for Shard {
    type Command = u32;

    fn handle(&mut self, _now: Now, event: Event<'_, u32>, net: &mut Net) {
        match event {
            Event::Opened { .. } => self.opened += 1,
            Event::Frame { conn, frame } => {
                let _ = net.send(conn, Priority::Normal, frame.kind, &[self.index]);
            }
            Event::Command(0) => net.stop(),
            Event::Command(word) => self.commands.push(word),
            _ => {}
        }
    }
}

fn shards(count: usize) -> Shards<Shard> {
    let protocol = |index: usize| Shard { index: index as u8, opened: 0, commands: Vec::new() };
    let address = "127.0.0.1:0".parse().unwrap();
    Shards::listen(count.try_into().unwrap(), address, &config(), protocol).unwrap()
}

const CLIENTS: usize = 600;

/// The system gives each loop its part of those who come; with two loops, neither has a fifth more than half.
#[test]
fn who_comes_is_spread_over_the_loops_and_the_sum_knows_of_all() {
    rlimit::increase_nofile_limit(4 * CLIENTS as u64).unwrap();
    let shards = shards(2);
    let (address, handles) = (shards.address(), shards.handles());
    let clients = std::thread::spawn(move || -> io::Result<[usize; 2]> {
        let mut answers = [0; 2];
        let mut open = Vec::new();
        for _ in 0..CLIENTS {
            let mut client = TcpStream::connect(address)?;
            client.write_all(&frame(1, b"who are you?"))?;
            let mut answer = [0; 6];
            client.read_exact(&mut answer)?;
            answers[usize::from(answer[5])] += 1;
            open.push(client);
        }
        handles[1].stop();
        Ok(answers)
    });
    let (protocols, totals) = shards.run().unwrap();
    let answers = clients.join().unwrap().unwrap();
    assert_eq!(answers, [protocols[0].opened, protocols[1].opened]);
    assert_eq!(
        (totals.accepted, totals.frames_in, totals.frames_out),
        (CLIENTS as u64, CLIENTS as u64, CLIENTS as u64)
    );
    let half = CLIENTS / 2;
    assert!(answers.iter().all(|part| part.abs_diff(half) * 5 <= half), "{answers:?} of {CLIENTS}");
}

#[test]
fn a_word_reaches_the_loop_that_it_is_for_and_who_ends_ends_all() {
    let shards = shards(3);
    let handles = shards.handles();
    for (index, handle) in handles.iter().enumerate() {
        handle.send(10 + index as u32).unwrap();
    }
    handles[2].send(0).unwrap();
    let (protocols, _) = shards.run().unwrap();
    assert_eq!(protocols[2].commands, [12]);
    assert!(protocols.iter().enumerate().all(|(index, one)| one.commands == [10 + index as u32]));
}

#[test]
fn a_loop_that_panics_takes_the_others_with_it_and_is_not_hidden() {
    struct Fragile(bool);
    impl Protocol for Fragile {
        type Command = ();
        fn handle(&mut self, _now: Now, event: Event<'_, ()>, _net: &mut Net) {
            assert!(!self.0 || !matches!(event, Event::Command(())), "one of two fails");
        }
    }
    let address = "127.0.0.1:0".parse().unwrap();
    let shards = Shards::listen(2.try_into().unwrap(), address, &config(), |index| Fragile(index == 1)).unwrap();
    shards.handles().iter().for_each(|handle| handle.send(()).unwrap());
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shards.run().map(|_| ())));
    assert!(ended.is_err(), "a panic is not an orderly end");
}
