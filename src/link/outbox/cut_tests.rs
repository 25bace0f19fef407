//! Frames that leave in pieces, heard by an inbox: whole, in the order of their lines, and never in the way.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::link::Inbox;
use crate::time::Instant;
use crate::wire::FrameRules;

static RULES: FrameRules = FrameRules::any(MAX_PAYLOAD).with_pieces();

#[derive(Clone, Debug)]
enum Move {
    Push(usize, usize),
    /// Write at most so many bytes, then block.
    Write(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let len = prop_oneof![6 => 8..200usize, 2 => 8..6000usize, 3 => 60_000..300_000usize];
    let push = (0..4usize, len).prop_map(|(rank, len)| Move::Push(rank, len));
    let write = prop_oneof![1..40usize, 1..5000usize, 1..400_000usize].prop_map(Move::Write);
    proptest::collection::vec(prop_oneof![2 => push, 3 => write], 1..100)
}

fn byte(number: u64, at: usize) -> u8 {
    number.to_le_bytes().get(at).copied().unwrap_or((at as u8).wrapping_mul(number as u8 | 1) ^ (at >> 8) as u8)
}

/// Both ends of a line.
#[derive(Default)]
struct Line {
    outbox: Outbox,
    pool: BufferPool,
    inbox: Inbox,
    /// What was heard: numbers, by the lines that they were queued in.
    heard: [Vec<u64>; 4],
    frames: usize,
}

impl Line {
    fn push(&mut self, rank: usize, number: u64, len: usize, limits: &OutboxLimits) -> Result<u32, PushError> {
        let payload: Bytes = (0..len).map(|at| byte(number, at)).collect();
        self.outbox.push_in_pieces(Priority::ALL[rank], rank as u8, &payload, limits, &mut self.pool)
    }

    /// Writes at most so many bytes; answers how many.
    fn write(&mut self, mut room: usize) -> usize {
        let mut wire = Vec::new();
        let flush = self.outbox.flush(&mut self.pool, usize::MAX, |slices| {
            if room == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            assert!(slices.len() <= WRITE_SLICES && !slices.is_empty());
            let before = wire.len();
            for slice in slices {
                let count = room.min(slice.len());
                wire.extend_from_slice(&slice[..count]);
                room -= count;
            }
            Ok(wire.len() - before)
        });
        assert_eq!(flush.bytes, wire.len());
        self.frames += flush.frames;
        let mut input = &wire[..];
        while let Some(frame) = self.inbox.next(&mut input, &RULES, Instant::ZERO, &mut self.pool).unwrap() {
            let number = u64::from_le_bytes(*frame.payload.first_chunk().unwrap());
            assert!(frame.payload.iter().enumerate().all(|(at, is)| *is == byte(number, at)), "bytes changed");
            self.heard[usize::from(frame.kind)].push(number);
        }
        wire.len()
    }

    fn check(&self) {
        #[cfg(feature = "sim")]
        assert_eq!(self.outbox.charged_bytes(), self.pool.queued_bytes());
        assert_eq!(self.outbox.is_empty(), self.outbox.queued_bytes() == 0);
        assert_eq!(self.outbox.is_empty(), self.outbox.queued_frames() == 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    /// Each line's frames come in their order, those that were not dropped; what is dropped in the middle is given up.
    #[test]
    fn every_frame_that_is_not_dropped_comes_whole_and_in_the_order_of_its_line(
        moves in moves(), hard in prop_oneof![310_000..700_000usize, Just(OUTBOX_HARD)],
    ) {
        let limits = OutboxLimits { hard, high: hard, low: 0 };
        let mut line = Line::default();
        let (mut queued, mut dropped, mut number) = ([const { VecDeque::new() }; 4], 0, 0u64);
        for step in moves {
            match step {
                Move::Push(rank, len) => {
                    number += 1;
                    let before = line.outbox.queued_bytes();
                    match line.push(rank, number, len, &limits) {
                        Ok(count) => {
                            queued[rank].push_back(number);
                            dropped += count as usize;
                        }
                        Err(error) => {
                            prop_assert_eq!(error, PushError::Full);
                            prop_assert_eq!(line.outbox.queued_bytes(), before, "a refusal changes nothing");
                        }
                    }
                }
                Move::Write(room) => {
                    line.write(room);
                }
            }
            line.check();
            prop_assert!(line.outbox.queued_bytes() <= hard);
        }
        while !line.outbox.is_empty() {
            line.write(100_000);
            line.check();
        }
        prop_assert!(line.inbox.is_at_boundary() && line.pool.queued_bytes() == 0);
        let pushed: usize = queued.iter().map(VecDeque::len).sum();
        let heard: usize = line.heard.iter().map(Vec::len).sum();
        prop_assert_eq!(heard, pushed - dropped);
        for (rank, heard) in line.heard.iter().enumerate() {
            let mut rest = queued[rank].iter();
            prop_assert!(heard.iter().all(|number| rest.any(|queued| queued == number)), "line {} out of order", rank);
            prop_assert!(dropped > 0 || heard.len() == queued[rank].len());
        }
    }
}

#[test]
fn what_is_urgent_waits_for_the_rest_of_one_piece() {
    for written in [0, 1, 5, 11, 12, 40_000, 100_000, PIECE_DATA + 11, 3_000_000] {
        let mut line = Line::default();
        let limits = OutboxLimits::default();
        line.push(2, 1, 4 << 20, &limits).unwrap();
        line.write(written);
        for (rank, number) in [(0, 2), (1, 3), (3, 4)] {
            line.push(rank, number, 100, &limits).unwrap();
        }
        let (mut urgent, mut all) = (0, 0);
        while line.heard[1].is_empty() || line.heard[3].is_empty() {
            all += line.write(1);
            urgent += usize::from(line.heard[0].is_empty());
        }
        assert!(urgent <= PIECE_DATA + 16 + 105, "{urgent} bytes go before a pong, with {written} written");
        assert!(all <= 6 * PIECE_DATA, "{all} bytes go before news and a transaction, with {written} written");
        assert!(line.heard[2].is_empty());
        while !line.outbox.is_empty() {
            line.write(usize::MAX);
        }
        assert_eq!((line.heard, line.frames), ([vec![2], vec![3], vec![1], vec![4]], 4), "pieces are no frames");
    }
}

#[test]
fn no_more_is_begun_than_the_other_side_takes_and_nobody_waits_for_ever() {
    for step in [100_000, 700_000, usize::MAX] {
        let (mut line, limits) = (Line::default(), OutboxLimits { hard: usize::MAX, ..OutboxLimits::default() });
        let sizes = [9 << 20, MAX_PAYLOAD as usize, 5 << 20, 7 << 20, 70_000, 8 << 20];
        for (number, len) in sizes.into_iter().enumerate() {
            line.push(1 + number % 3, number as u64, len, &limits).unwrap();
        }
        // The inbox refuses what is too much.
        while !line.outbox.is_empty() {
            assert!(line.write(step) > 0);
        }
        assert_eq!(line.heard, [vec![], vec![0, 3], vec![1, 4], vec![2, 5]]);
    }
}

#[test]
fn a_frame_that_has_begun_gives_way_and_is_given_up() {
    let limits = OutboxLimits { hard: 400_000, high: 400_000, low: 0 };
    for written in [1, 20_000, 100_000, PIECE_DATA + 11] {
        let mut line = Line::default();
        line.push(3, 1, 300_000, &limits).unwrap();
        line.write(written);
        assert_eq!(line.push(2, 2, 350_000, &limits), Ok(1));
        line.check();
        line.push(3, 3, 30_000, &limits).unwrap();
        while !line.outbox.is_empty() {
            line.write(10_000);
            line.check();
        }
        assert!(line.inbox.is_at_boundary() && line.inbox.held() == 0);
        assert_eq!(line.heard, [vec![], vec![], vec![2], vec![3]], "with {written} written");
    }
}

#[test]
fn a_payload_that_many_cut_is_charged_once() {
    let mut pool = BufferPool::new();
    let block = Bytes::from(vec![1; 4 << 20]);
    let mut outboxes: Vec<Outbox> = (0..10).map(|_| Outbox::default()).collect();
    for outbox in &mut outboxes {
        outbox.push_in_pieces(Priority::High, 1, &block, &OutboxLimits::default(), &mut pool).unwrap();
    }
    let (queued, overhead) = (pool.queued_bytes(), cut::wire_len(block.len()) - block.len());
    assert_eq!((queued, overhead), (block.len() + 10 * overhead, 256 * 6 + 5));
    for mut outbox in outboxes {
        outbox.clear(&mut pool);
    }
    assert_eq!(pool.queued_bytes(), 0);
}
