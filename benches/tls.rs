//! What TLS costs: bulk beside bare rustls on the same records and beside the plain link, handshakes, idle memory.
//!
//! `cargo bench --bench tls` runs criterion's groups and then prints the ratios of one interleaved run;
//! `cargo bench --bench tls -- ratios` prints the ratios alone. Everything is in memory, both ends on one thread: queues, seals,
//! copies once as a socket would, opens and parses. Ratios are medians of rounds in which all rivals carry the same frames
//! in turn, so that a busy machine slows them all.

mod secured;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use secured::bare::BareRustls;
use secured::ours::{Ours, handshake};
use secured::{Carry, memory};

/// Payload sizes, in bytes: a small transaction, a record, a block's part.
const SIZES: [usize; 3] = [256, 16_384, 65_536];
/// A stream is about this long, in bytes: what a loop reads and writes in one turn.
const STREAM_LEN: usize = 1 << 20;
/// Rounds of the interleaved run; odd, so that the median is one of them.
const ROUNDS: usize = 201;
/// Handshakes for one figure.
const HANDSHAKES: u32 = 500;
/// Idle connections that are weighed, two for each pair.
const PAIRS: usize = 100;

const NAMES: [&str; 3] = ["tls", "bare rustls", "plain"];

fn rivals(size: usize) -> [Box<dyn Carry>; 3] {
    let frames = STREAM_LEN.div_ceil(size + 5);
    [
        Box::new(Ours::secured(size, frames)),
        Box::new(BareRustls::new(size, frames)),
        Box::new(Ours::plain(size, frames)),
    ]
}

fn groups(criterion: &mut Criterion) {
    for size in SIZES {
        let mut group = criterion.benchmark_group(format!("bulk/{size}"));
        group.throughput(Throughput::Bytes((STREAM_LEN.div_ceil(size + 5) * (size + 5)) as u64));
        for (name, mut rival) in NAMES.into_iter().zip(rivals(size)) {
            group.bench_function(name, |bencher| bencher.iter(|| rival.carry()));
        }
        group.finish();
    }
    let mut group = criterion.benchmark_group("handshake");
    for (name, resumption) in [("full", false), ("resumed", true)] {
        let pair = secured::ours::parties(resumption);
        group.bench_function(name, |bencher| bencher.iter(|| black_box(handshake(&pair))));
    }
    group.finish();
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ratios() {
    println!("\nbulk: MB/s of frames through both ends, medians of {ROUNDS} rounds");
    println!(
        "{:>8} {:>9} {:>12} {:>9} {:>14} {:>8}",
        "payload", "tls", "bare rustls", "plain", "x bare rustls", "x plain"
    );
    for size in SIZES {
        let mut rivals = rivals(size);
        let bytes = (STREAM_LEN.div_ceil(size + 5) * (size + 5)) as f64;
        let rounds: Vec<[f64; 3]> = (0..ROUNDS)
            .map(|round| {
                let mut speeds = [0.0; 3];
                for turn in 0..3 {
                    let rival = (round + turn) % 3;
                    let start = Instant::now();
                    rivals[rival].carry();
                    speeds[rival] = bytes / start.elapsed().as_secs_f64() / 1e6;
                }
                speeds
            })
            .collect();
        let of = |value: &dyn Fn(&[f64; 3]) -> f64| median(rounds.iter().map(value).collect());
        println!(
            "{size:>8} {:>9.0} {:>12.0} {:>9.0} {:>14.2} {:>8.2}",
            of(&|speeds| speeds[0]),
            of(&|speeds| speeds[1]),
            of(&|speeds| speeds[2]),
            of(&|speeds| speeds[0] / speeds[1]),
            of(&|speeds| speeds[0] / speeds[2]),
        );
    }

    println!("\nhandshakes per second, both ends on one thread, each proving its identity");
    for (name, resumption) in [("full", false), ("resumed", true)] {
        let pair = secured::ours::parties(resumption);
        let bytes = handshake(&pair);
        let start = Instant::now();
        for _ in 0..HANDSHAKES {
            black_box(handshake(&pair));
        }
        let each: Duration = start.elapsed() / HANDSHAKES;
        println!("{name:>8} {:>8.0}  ({bytes:?} bytes there and back)", 1.0 / each.as_secs_f64());
    }

    let parties = secured::ours::parties(false);
    let before = memory::live();
    let idle: Vec<_> = (0..PAIRS).map(|_| secured::ours::connect(&parties)).collect();
    let each = (memory::live() - before) / (2 * PAIRS);
    println!("\nan idle connection's link: {each} bytes, what a crypto library in C keeps for it not counted");
    drop(black_box(idle));
}

fn main() {
    let has = |flag: &str| std::env::args().skip(1).any(|argument| argument == flag);
    if !has("ratios") {
        let mut criterion = Criterion::default().configure_from_args();
        groups(&mut criterion);
        criterion.final_summary();
    }
    // Without `--bench`, as under `cargo test --benches`, criterion checks the answers only, and so does this.
    if has("ratios") || has("--bench") && !has("--test") && !has("--list") {
        ratios();
    }
}
