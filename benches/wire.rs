//! Frames per second and bytes per second of the codec, beside tokio-util's `LengthDelimitedCodec` and a bare slice loop.
//!
//! `cargo bench --bench wire` runs criterion's groups and then prints the ratios of one interleaved run;
//! `cargo bench --bench wire -- ratios` prints the ratios alone. Ratios are medians of rounds in which every rival decodes
//! the same streams in turn, so that a busy machine slows them all.

mod feeder;
mod rivals;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};

use rivals::{
    Answer, Bare, BareEncoding, Decode, Encode, KIND, LengthDelimited, LengthDelimitedEncoding, Ours, OursEncoding,
    Placed,
};

/// Payload sizes, in bytes: latency, a small transaction, a page, a small block.
const SIZES: [usize; 4] = [32, 256, 4096, 65_536];
/// A stream is about this long, in bytes: four reads, and within the second cache level.
const STREAM_LEN: usize = 1 << 18;
/// Rounds of the interleaved run; odd, so that the median is one of them.
const ROUNDS: usize = 301;
/// How long a rival's turn lasts. The same for all and far below a scheduler's time slice: on a busy machine a rival with
/// longer turns would be interrupted in each of them, and the median would show the machine.
const TURN: Duration = Duration::from_micros(300);

/// Frames with payloads of one size, and what a decoder must find in them.
struct Stream {
    payload: Placed,
    frames: usize,
    bytes: Placed,
    answer: Answer,
}

impl Stream {
    fn of(size: usize) -> Self {
        let payload: Vec<u8> = (0..size).map(|index| (index * 31 + 7) as u8).collect();
        let frames = STREAM_LEN.div_ceil(size + 5);
        let bytes = BareEncoding::new().encode(&payload, frames).to_vec();
        let mut answer = Answer::default();
        (0..frames).for_each(|_| answer.add(KIND as u8, &payload));
        Stream { payload: Placed::new(&payload), frames, bytes: Placed::new(&bytes), answer }
    }
}

fn decoders() -> [(&'static str, Box<dyn Decode>); 3] {
    [
        ("spacetime", Box::new(Ours::new())),
        ("length-delimited", Box::new(LengthDelimited::new())),
        ("bare", Box::new(Bare::new())),
    ]
}

fn encoders() -> [(&'static str, Box<dyn Encode>); 3] {
    [
        ("spacetime", Box::new(OursEncoding::new())),
        ("length-delimited", Box::new(LengthDelimitedEncoding::new())),
        ("bare", Box::new(BareEncoding::new())),
    ]
}

fn groups(criterion: &mut Criterion) {
    for size in SIZES {
        let stream = Stream::of(size);
        let throughput =
            Throughput::ElementsAndBytes { elements: stream.frames as u64, bytes: stream.bytes.get().len() as u64 };

        let mut group = criterion.benchmark_group(format!("decode/{size}"));
        group.throughput(throughput.clone());
        for (name, mut decoder) in decoders() {
            group.bench_function(name, |bencher| {
                bencher.iter(|| assert_eq!(decoder.decode(black_box(stream.bytes.get())), stream.answer));
            });
        }
        group.finish();

        let mut group = criterion.benchmark_group(format!("encode/{size}"));
        group.throughput(throughput);
        for (name, mut encoder) in encoders() {
            assert!(
                encoder.encode(stream.payload.get(), stream.frames) == stream.bytes.get(),
                "{name} encodes something else"
            );
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let written = black_box(encoder.encode(black_box(stream.payload.get()), stream.frames));
                    assert_eq!(written.len(), stream.bytes.get().len());
                });
            });
        }
        group.finish();
    }
}

/// Nanoseconds per frame of each rival in each round: one turn per rival and round, the first one changing.
fn interleaved<const N: usize>(frames: usize, mut run: impl FnMut(usize)) -> Vec<[f64; N]> {
    let mut timed = |rival, streams: usize| {
        let start = Instant::now();
        (0..streams).for_each(|_| run(rival));
        start.elapsed()
    };
    let streams: [usize; N] = core::array::from_fn(|rival| {
        // The fastest of a few, after the first has warmed caches and buffers.
        let one = (0..20).map(|_| timed(rival, 1)).min().unwrap_or_default();
        (TURN.as_nanos() / one.as_nanos().max(1)).max(1) as usize
    });
    (0..ROUNDS)
        .map(|round| {
            let mut nanos = [0.0; N];
            for turn in 0..N {
                let rival = (round + turn) % N;
                let elapsed = timed(rival, streams[rival]);
                nanos[rival] = elapsed.as_secs_f64() * 1e9 / (frames * streams[rival]) as f64;
            }
            nanos
        })
        .collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn print_row(size: usize, frame_len: usize, rounds: &[[f64; 3]]) {
    let of = |value: &dyn Fn(&[f64; 3]) -> f64| median(rounds.iter().map(value).collect());
    let (ours, theirs, bare) = (of(&|times| times[0]), of(&|times| times[1]), of(&|times| times[2]));
    println!(
        "{size:>7} {ours:>12.2} {theirs:>18.2} {bare:>10.2} {:>10.2} {:>21.2} {:>9.2}",
        frame_len as f64 / ours,
        of(&|times| times[1] / times[0]),
        of(&|times| times[2] / times[0]),
    );
}

fn ratios() {
    let columns = format!(
        "{:>7} {:>12} {:>18} {:>10} {:>10} {:>21} {:>9}",
        "payload", "spacetime ns", "length-delimited ns", "bare ns", "GB/s", "x length-delimited", "x bare"
    );
    println!("\ndecode: nanoseconds per frame, and how many times as fast spacetime is (medians of {ROUNDS} rounds)");
    println!("{columns}");
    for size in SIZES {
        let (stream, mut rivals) = (Stream::of(size), decoders());
        let rounds = interleaved(stream.frames, |rival| {
            assert_eq!(rivals[rival].1.decode(black_box(stream.bytes.get())), stream.answer);
        });
        print_row(size, size + 5, &rounds);
    }
    println!("\nencode");
    println!("{columns}");
    for size in SIZES {
        let (stream, mut rivals) = (Stream::of(size), encoders());
        let rounds = interleaved(stream.frames, |rival| {
            let written = black_box(rivals[rival].1.encode(black_box(stream.payload.get()), stream.frames));
            assert_eq!(written.len(), stream.bytes.get().len());
        });
        print_row(size, size + 5, &rounds);
    }
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
