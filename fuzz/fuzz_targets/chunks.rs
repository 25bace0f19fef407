//! One stream, cut anywhere: the same frames, then the same error, as from the stream in one piece.
//!
//! Input: a count, that many lengths (each one less than the piece it cuts, repeated for ever), then the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spacetime_network::wire::{FrameError, FrameRules, Parse, frame};

#[path = "../../benches/feeder/mod.rs"]
mod feeder;

type Frames = Vec<(u8, Vec<u8>)>;

fuzz_target!(|input: &[u8]| {
    let Some((count, rest)) = input.split_first() else { return };
    let Some((cuts, stream)) = rest.split_at_checked(usize::from(*count)) else { return };
    for rules in [FrameRules::greeting(), FrameRules::version(2)] {
        assert_eq!(in_pieces(stream, cuts, rules), whole(stream, rules));
    }
});

/// The stream in one piece, frame by frame.
fn whole(mut stream: &[u8], rules: &FrameRules) -> (Frames, Option<FrameError>) {
    let mut frames = Frames::new();
    loop {
        match frame::parse(stream, rules) {
            Parse::Complete { kind, payload, rest } => {
                frames.push((kind, payload.to_vec()));
                stream = rest;
            }
            Parse::NeedMore { .. } => return (frames, None),
            Parse::Never(error) => return (frames, Some(error)),
        }
    }
}

fn in_pieces(mut stream: &[u8], cuts: &[u8], rules: &FrameRules) -> (Frames, Option<FrameError>) {
    let (mut feeder, mut frames) = (feeder::Feeder::default(), Frames::new());
    let mut lens = cuts.iter().map(|cut| usize::from(*cut) + 1).cycle();
    while !stream.is_empty() {
        let len = lens.next().unwrap_or(stream.len()).min(stream.len());
        let (piece, rest) = stream.split_at(len);
        stream = rest;
        if let Err(error) = feeder.feed(piece, rules, |kind, payload| frames.push((kind, payload.to_vec()))) {
            return (frames, Some(error));
        }
    }
    (frames, None)
}
