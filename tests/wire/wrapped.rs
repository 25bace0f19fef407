//! The vectors of `wire::protocol`, section 14: what carries other frames.

use std::collections::BTreeMap;

use bytes::Bytes;
use spacetime_network::limits::PIECE_DATA;
use spacetime_network::link::{BufferPool, Inbox, Outbox, OutboxLimits};
use spacetime_network::time::Instant;
use spacetime_network::wire::compressed::{COMPRESSED, Envelope};
use spacetime_network::wire::pieces::{GIVEN_UP, PIECE, Piece, read_given_up};
use spacetime_network::wire::{Agreed, FrameRules, Kind, Parse, Priority, frame};

const PAGE: &str = include_str!("../../src/wire/protocol.md");

fn rules() -> &'static FrameRules {
    FrameRules::agreed(Agreed { runs: true, blocks: true, pieces: true, compressed: true })
}

fn vectors() -> BTreeMap<&'static str, Vec<u8>> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with("14. Compression and pieces")).unwrap();
    let block = section.split("### Test vectors").nth(1).unwrap().split("```").nth(1).unwrap();
    let lines: Vec<&str> = block.strip_prefix("text\n").unwrap().lines().collect();
    let digits = |hex: &str| -> Vec<u8> { hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect() };
    let bytes = |hex| digits(hex).chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    lines.chunks(2).map(|pair| (pair[0].split_once(':').unwrap().0, bytes(pair[1]))).collect()
}

#[test]
fn a_frame_that_is_cut_leaves_as_the_page_says_and_comes_whole() {
    let vectors = vectors();
    let block: Bytes = (0..70_000u32).map(|at| (at % 251) as u8).collect();
    let expected: Vec<u8> = block
        .chunks(PIECE_DATA)
        .zip(["first-piece", "further-piece", "further-piece", "further-piece", "last-piece"])
        .flat_map(|(data, head)| [&vectors[head][..], data].concat())
        .collect();
    let (mut outbox, mut pool, mut wire) = (Outbox::default(), BufferPool::new(), Vec::new());
    outbox.push_in_pieces(Priority::Normal, Kind::Block as u8, &block, &OutboxLimits::default(), &mut pool).unwrap();
    outbox.flush(&mut pool, usize::MAX, |slices| {
        slices.iter().for_each(|slice| wire.extend_from_slice(slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    });
    assert!(wire == expected);
    let (mut inbox, mut input) = (Inbox::default(), &wire[..]);
    let frame = inbox.next(&mut input, rules(), Instant::ZERO, &mut pool).unwrap().unwrap();
    assert!(frame.kind == Kind::Block as u8 && *frame.payload == *block);
    let first = [&vectors["first-piece"][5..], &block[..PIECE_DATA]].concat();
    let piece = Piece { line: 1, begins: Some((0x23, 70_000)), data: &block[..PIECE_DATA] };
    assert_eq!((vectors["first-piece"][4], Piece::read(&first)), (PIECE, Ok(piece)));
    let given_up = &vectors["given-up"];
    assert_eq!((given_up[4], read_given_up(&given_up[5..])), (GIVEN_UP, Ok(1)));
}

#[test]
fn a_compressed_frame_says_what_is_in_it() {
    let bytes = &vectors()["compressed"];
    let Parse::Complete { kind: COMPRESSED, payload, rest: [] } = frame::parse(bytes, rules()) else { panic!() };
    let envelope = Envelope::read(payload, rules()).unwrap();
    assert_eq!((envelope.kind, envelope.len, envelope.block.len()), (Kind::Transaction as u8, 1024, 14));
}

#[test]
fn what_was_not_agreed_on_is_of_no_type() {
    for (pieces, compressed) in [(false, false), (true, false), (false, true), (true, true)] {
        for (runs, blocks) in [(false, false), (true, false), (false, true), (true, true)] {
            let rules = FrameRules::agreed(Agreed { runs, blocks, pieces, compressed });
            let takes = |byte: u8| rules.max_payload(byte).is_some();
            assert_eq!([takes(0x52), takes(0x53), takes(0x54)], [compressed, pieces, pieces]);
            let (block, run) = (Kind::Block as u8, Kind::Blocks as u8);
            assert_eq!([takes(block), takes(run), takes(Kind::GetBlocks as u8)], [blocks, blocks && runs, runs]);
            assert_eq!((rules.has_pieces(), rules.has_compressed()), (pieces, compressed));
        }
    }
    let old = [
        (FrameRules::version(2), true, true),
        (FrameRules::version_without_blocks(2), true, false),
        (FrameRules::version_without_runs(2), false, true),
        (FrameRules::version_without_runs_and_blocks(2), false, false),
    ];
    for (rules, runs, blocks) in old {
        assert!(rules == FrameRules::agreed(Agreed { runs, blocks, pieces: false, compressed: false }));
    }
}
