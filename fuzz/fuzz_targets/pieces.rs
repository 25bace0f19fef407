//! Frames in pieces and whole ones beside them, however they are cut: the frames that a naive list has, and nothing stays.
//!
//! Input: a count, that many lengths of reads (each one less than a multiple of what the next byte says), then moves of three
//! bytes: what, in which line, and how long.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spacetime_network::link::{BufferPool, Inbox};
use spacetime_network::time::Instant;
use spacetime_network::wire::pieces::{GIVEN_UP, MIN_PIECE_DATA, PIECE};
use spacetime_network::wire::{FrameRules, frame};

static RULES: FrameRules = FrameRules::any(300_000).with_pieces();

fn byte(number: u8, at: usize) -> u8 {
    (at as u8).wrapping_mul(number | 1) ^ (at >> 8) as u8 ^ number
}

/// What was said: the bytes, the frames by number and length in the order of their ends, and what is begun.
#[derive(Default)]
struct Said {
    stream: Vec<u8>,
    complete: Vec<(u8, usize)>,
    lines: [Option<(u8, usize, usize)>; 3],
    is_wrong: bool,
}

impl Said {
    fn frame(&mut self, kind: u8, head: &[u8], (number, from, to): (u8, usize, usize)) {
        self.stream.extend(frame::header(kind, head.len() + to - from).unwrap());
        self.stream.extend_from_slice(head);
        self.stream.extend((from..to).map(|at| byte(number, at)));
    }

    /// What is right, and with some moves what is wrong: then nothing follows.
    fn say(&mut self, number: u8, what: u8, line: usize, size: usize) {
        let mark = line as u8 + 1;
        let begun = self.lines[line];
        match (what % 8, begun) {
            (0, _) => {
                self.frame(number, &[], (number, 0, size * 3));
                self.complete.push((number, size * 3));
            }
            (1, _) => {
                self.frame(number, &[], (number, 0, 66_000 + size * 512));
                self.complete.push((number, 66_000 + size * 512));
            }
            (2 | 3, None) => {
                let len = 65_537 + size * 800;
                let head = [&[mark | 0x80, number][..], &(len as u32).to_le_bytes()].concat();
                self.frame(PIECE, &head, (number, 0, MIN_PIECE_DATA));
                self.lines[line] = Some((number, MIN_PIECE_DATA, len));
            }
            (2..=5, Some((number, at, len))) => {
                let end = len.min(at + MIN_PIECE_DATA + size * 128);
                self.frame(PIECE, &[mark], (number, at, end));
                self.lines[line] = (end < len).then_some((number, end, len));
                if end == len {
                    self.complete.push((number, len));
                }
            }
            (6, Some(_)) => {
                self.frame(GIVEN_UP, &[mark], (0, 0, 0));
                self.lines[line] = None;
            }
            (7, _) => {
                // One without bytes is none, and of a line that is not there neither.
                self.frame(PIECE, &[mark | if size.is_multiple_of(2) { 0x80 } else { 0x10 }], (0, 0, 0));
                self.is_wrong = true;
            }
            _ => {
                self.frame(GIVEN_UP, &[mark], (0, 0, 0));
                self.is_wrong = true;
            }
        }
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((count, rest)) = input.split_first() else { return };
    let Some((cuts, moves)) = rest.split_at_checked(usize::from(*count)) else { return };
    let mut said = Said::default();
    for (number, step) in moves.chunks_exact(3).take(60).enumerate() {
        said.say(number as u8, step[0], usize::from(step[1] % 3), step[2].into());
        if said.is_wrong {
            break;
        }
    }
    let read = |cut: &[u8]| (usize::from(cut[0]) + 1) * usize::from(cut.get(1).copied().unwrap_or(1)).max(1);
    let mut reads = cuts.chunks(2).map(read).cycle();
    let (mut inbox, mut pool, mut heard, mut failed) = (Inbox::default(), BufferPool::new(), Vec::new(), false);
    let mut stream = &said.stream[..];
    while !stream.is_empty() && !failed {
        let (mut chunk, behind) = stream.split_at(reads.next().unwrap_or(stream.len()).min(stream.len()));
        stream = behind;
        while let Some(space) = inbox.space().filter(|_| !chunk.is_empty()) {
            let count = space.len().min(chunk.len());
            space[..count].copy_from_slice(&chunk[..count]);
            inbox.advance(count, Instant::ZERO);
            chunk = &chunk[count..];
        }
        loop {
            match inbox.next(&mut chunk, &RULES, Instant::ZERO, &mut pool) {
                Ok(Some(frame)) => {
                    assert!(frame.payload.iter().enumerate().all(|(at, is)| *is == byte(frame.kind, at)));
                    heard.push((frame.kind, frame.payload.len()));
                }
                Ok(None) => break,
                Err(_) => {
                    failed = true;
                    break;
                }
            }
        }
    }
    assert_eq!((heard, failed), (said.complete, said.is_wrong));
    if !failed {
        let is_done = said.lines.iter().all(Option::is_none);
        assert_eq!((inbox.is_at_boundary(), inbox.held() == 0), (is_done, is_done));
    }
});
