//! How fast a new node has a chain: blocks per second from 1, 2 and 4 peers, of many small blocks and of few large ones, near, far
//! away, and among some that give none or wrong ones; beside what the same bytes take through a bare socket and into the store alone. And how many transactions pass through a
//! line of three nodes.
//!
//! Everything runs in this process, on loopback and in a temporary directory, so a machine with few processors shares them between
//! those who give and the one that takes: compare the rows of one run with each other, and not with those of another machine.
//!
//! `cargo bench -p spacetime-node --bench sync -- all`, or some of `small`, `large` and `relay`; with `--quick` a small part of it, for
//! seeing that it works. Without a word it plays nothing.

#![allow(missing_docs, reason = "a program")]

mod chains;
mod host;
mod lines;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use spacetime_network::chain::{ReferenceChain, Transaction};
use spacetime_network::proto::Command;
use spacetime_network::proto::sync::chain::Chain;
use spacetime_network::time::UnixTime;

use crate::chains::{Made, params};
use crate::host::Host;
use crate::lines::Manner;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of a transaction that is relayed.
const TRANSFER: usize = 256;

/// Those that dial a downloading node and give it nothing.
const STRANGERS: u8 = 4;

/// A chain to download, and from whom.
struct Case {
    what: &'static str,
    count: usize,
    len: usize,
    peers: &'static [usize],
    /// Round trips in milliseconds, with one peer and with as many as there are.
    far: &'static [u64],
    /// Play it among those who give no block or a wrong one, too? Of a few blocks silent strangers are asked for all, and nobody shows
    /// how fast they could come: that takes half a minute.
    among_others: bool,
}

const ALL: [Case; 2] = [
    Case { what: "small", count: 100_000, len: 183, peers: &[1, 2, 3, 4], far: &[20, 100, 300], among_others: true },
    Case { what: "large", count: 100, len: 4_000_000, peers: &[1, 2, 4], far: &[100], among_others: true },
];
const QUICK: [Case; 2] = [
    Case { what: "small", count: 5_000, len: 183, peers: &[1, 2], far: &[20], among_others: true },
    Case { what: "large", count: 4, len: 4_000_000, peers: &[1], far: &[], among_others: false },
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let quick = words.iter().any(|word| word == "--quick");
    let wants = |what: &str| words.iter().any(|word| word == what || word == "all");
    if !["small", "large", "relay"].into_iter().any(wants) {
        println!("say what to play: all, or some of small, large and relay; and --quick for a small part of it");
        return;
    }
    for case in if quick { &QUICK } else { &ALL }.iter().filter(|case| wants(case.what)) {
        downloads(case);
    }
    if wants("relay") {
        relay(if quick { 1_000 } else { 10_000 });
    }
}

fn downloads(case: &Case) {
    let directory = tempfile::tempdir().unwrap();
    let served = directory.path().join("served");
    let made = chains::make(&served, case.count, case.len);
    println!("{}: {} blocks, {:.1} MB", case.what, case.count, made.bytes() as f64 / 1e6);
    row(case.what, "a bare socket", &made, lines::bare(&made.blocks));
    row(case.what, "the store alone", &made, chains::store_alone(&directory.path().join("alone"), &made));
    let most = *case.peers.last().unwrap_or(&1);
    for peers in case.peers {
        let took = download(directory.path(), &made, *peers, Duration::ZERO, Beside::Nobody);
        row(case.what, &format!("{peers} peer(s)"), &made, took);
    }
    let besides = [
        ("beside a silent one", Beside::Dialed(Manner::Silent)),
        ("beside a liar", Beside::Dialed(Manner::Lying)),
        ("and 4 silent strangers", Beside::SilentStrangers),
    ];
    for (who, beside) in besides.into_iter().filter(|_| case.among_others) {
        for peers in [1, most] {
            let took = download(directory.path(), &made, peers, Duration::ZERO, beside);
            row(case.what, &format!("{peers} peer(s) {who}"), &made, took);
        }
    }
    for millis in case.far {
        for peers in [1, most] {
            let took = download(directory.path(), &made, peers, Duration::from_millis(*millis), Beside::Nobody);
            row(case.what, &format!("{peers} peer(s), {millis} ms away"), &made, took);
        }
    }
}

fn row(what: &str, how: &str, made: &Made, took: Duration) {
    let (blocks, megabytes) = (made.blocks.len() as f64, made.bytes() as f64 / 1e6);
    let seconds = took.as_secs_f64();
    println!(
        "  {what} {how:<32} {seconds:>8.3} s {:>10.0} blocks/s {:>8.1} MB/s",
        blocks / seconds,
        megabytes / seconds
    );
}

/// Who else is there when a node downloads a chain. All say that they have it.
#[derive(Clone, Copy)]
enum Beside {
    Nobody,
    /// One that it dials.
    Dialed(Manner),
    /// Those that dial it, from subnets of their own.
    SilentStrangers,
}

/// How long a node with an empty directory takes from its start until it has the whole chain.
fn download(directory: &Path, made: &Made, peers: usize, round_trip: Duration, beside: Beside) -> Duration {
    let served = directory.join("served");
    let open = || ReferenceChain::open_read_only(params(), &served).unwrap();
    let serves = |number| Host::start(number, open(), Vec::new());
    let mut hosts: Vec<Host> = (0..peers as u64).map(serves).collect();
    let mut addresses: Vec<SocketAddr> = hosts.iter().map(|host| lines::delayed(host.address, round_trip)).collect();
    if let Beside::Dialed(manner) = beside {
        let host = serves(50);
        addresses.insert(0, lines::hostile(host.address, manner, Ipv4Addr::new(127, 50, 0, 1)));
        hosts.push(host);
    }
    let target = tempfile::tempdir_in(directory).unwrap();
    let chain = ReferenceChain::open(params(), &target.path().join("chain")).unwrap();
    let mut began = Instant::now();
    let newcomer = if let Beside::SilentStrangers = beside {
        // They are there first.
        let newcomer = Host::start(100, chain, Vec::new());
        let dials = |number: u8| {
            let from = Ipv4Addr::new(127, 60 + number, 0, 1);
            Host::start(60 + u64::from(number), open(), vec![lines::hostile(newcomer.address, Manner::Silent, from)])
        };
        hosts.extend((0..STRANGERS).map(dials));
        while newcomer.look(|node| node.connected().count()) < usize::from(STRANGERS) {
            std::thread::sleep(Duration::from_millis(1));
        }
        began = Instant::now();
        addresses.into_iter().for_each(|address| newcomer.tell(Command::Connect(address)));
        newcomer
    } else {
        Host::start(100, chain, addresses)
    };
    let took = newcomer.reaches(made.blocks.len() as u64).duration_since(began);
    let tip = newcomer.look(|node| node.chain().best().hash);
    assert_eq!(tip, made.tip, "another chain came");
    took
}

/// Three nodes in a line: how long until the last has what the first was given.
fn relay(count: u64) {
    let last = Host::start(2, ReferenceChain::memory(params()), Vec::new());
    let middle = Host::start(1, ReferenceChain::memory(params()), vec![last.address]);
    let first = Host::start(0, ReferenceChain::memory(params()), vec![middle.address]);
    while [&first, &last].iter().any(|end| end.look(|node| node.connected().count()) == 0) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let time = UnixTime::from_millis(1_790_000_000_000);
    let recipient = "r".repeat(TRANSFER - 29 - 5);
    let began = Instant::now();
    for nonce in 0..count {
        let transfer = Transaction { sender: "alice", recipient: &recipient, amount: 1, time, nonce };
        let bytes = transfer.encode().unwrap();
        assert_eq!(bytes.len(), TRANSFER);
        first.tell(Command::SubmitTransaction(bytes));
    }
    while last.look(|node| node.chain().pool().len()) < count as usize {
        std::thread::sleep(Duration::from_millis(5));
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "relay: {count} transactions of {TRANSFER} bytes through three nodes {seconds:>8.3} s {:>10.0} /s",
        count as f64 / seconds
    );
}
