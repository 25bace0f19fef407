//! What compressing a block saves and costs: payments as the demo makes them, and random bytes.
//!
//! `cargo bench --bench compression --features lz4,chain` prints the part that is left, what a core compresses and expands in a
//! second, and how long a block takes over a line, as it is and compressed: sent, and the processor's time on both sides. `-- --test`
//! looks at each once.

use std::hint::black_box;
use std::time::{Duration, Instant};

use spacetime_network::chain::transaction::Transaction;
use spacetime_network::link::lz4;
use spacetime_network::rng::Rng;
use spacetime_network::time::UnixTime;
use spacetime_network::wire::compressed::{Envelope, MAX_EXPANDED};
use spacetime_network::wire::{Agreed, FrameRules, Kind};

const NAMES: [&str; 8] = ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi"];

/// The transactions of a block, as they stand in it.
fn payments(len: usize, rng: &mut Rng) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut at = 1_790_000_000_000i64;
    while bytes.len() < len {
        let name = |number: u64| NAMES[number as usize % NAMES.len()].to_owned();
        at += (rng.next_u64() % 900) as i64;
        let (sender, recipient) = (name(rng.next_u64()), name(rng.next_u64()));
        let (amount, nonce) = (rng.next_u64() % 50 + 1, rng.next_u64());
        let payment =
            Transaction { sender: &sender, recipient: &recipient, amount, time: UnixTime::from_millis(at), nonce };
        let transaction = payment.encode().unwrap();
        bytes.extend((transaction.len() as u32).to_le_bytes());
        bytes.extend(transaction);
    }
    bytes
}

fn time(rounds: u32, mut action: impl FnMut()) -> Duration {
    let start = Instant::now();
    (0..rounds).for_each(|_| action());
    start.elapsed() / rounds
}

fn main() {
    let rounds = if std::env::args().any(|arg| arg == "--test") { 1 } else { 40 };
    let rules = FrameRules::agreed(Agreed { runs: true, blocks: true, pieces: true, compressed: true });
    let mut rng = Rng::from_seed(1);
    for len in [4 << 10, 64 << 10, 512 << 10] {
        let noise: Vec<u8> = (0..len).map(|_| rng.next_u64() as u8).collect();
        for (name, block) in [("payments", payments(len, &mut rng)), ("random", noise)] {
            assert!(block.len() <= MAX_EXPANDED);
            let kind = Kind::Block as u8;
            let packing = time(rounds, || drop(black_box(lz4::pack(kind, black_box(&block)))));
            let rate = |time: Duration| block.len() as f64 / 1e6 / time.as_secs_f64();
            let Some(packed) = lz4::pack(kind, &block) else {
                println!("{name:>8} of {:>4} KiB: left as they are; {:.0} MB/s to find out", len >> 10, rate(packing));
                continue;
            };
            let envelope = Envelope::read(&packed, rules).unwrap();
            let expanding = time(rounds, || drop(black_box(lz4::expand(black_box(&envelope)).unwrap())));
            let part = packed.len() as f64 / block.len() as f64;
            print!("{name:>8} of {:>4} KiB: {:.0} % of the bytes, ", len >> 10, part * 100.0);
            print!("{:.0} MB/s to compress, {:.0} MB/s to expand;", rate(packing), rate(expanding));
            for megabits in [1, 10, 100, 1000] {
                let line = |bytes: usize| Duration::from_secs_f64(bytes as f64 * 8.0 / 1e6 / f64::from(megabits));
                let both = line(packed.len()) + packing + expanding;
                print!(" {megabits} Mbit/s {:.2?} -> {both:.2?};", line(block.len()));
            }
            println!();
        }
    }
}
