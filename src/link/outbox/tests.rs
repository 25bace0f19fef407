//! The outbox against a naive one that knows every frame and looks at every byte.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::line::Segment;
use super::*;
use crate::limits::{CHUNK, LEDGER_FROM};
use crate::wire::{FrameRules, Parse, frame::parse};

static ANY: FrameRules = FrameRules::any(crate::wire::frame::MAX_PAYLOAD);

#[derive(Clone, Debug)]
enum Move {
    Push {
        rank: usize,
        len: usize,
        shared: bool,
    },
    /// Write at most so many bytes, then block.
    Write(usize),
}

/// Frames in four plain queues; the partial frame is known by the bytes of it that are out.
#[derive(Default)]
struct Naive {
    lines: [VecDeque<Vec<u8>>; 4],
    partial: Option<(Vec<u8>, usize)>,
}

impl Naive {
    fn bytes(&self) -> usize {
        let waiting: usize = self.lines.iter().flatten().map(Vec::len).sum();
        waiting + self.partial.as_ref().map_or(0, |(frame, at)| frame.len() - at)
    }

    fn frames(&self) -> usize {
        self.lines.iter().map(VecDeque::len).sum::<usize>() + usize::from(self.partial.is_some())
    }

    fn push(&mut self, rank: usize, frame: Vec<u8>, hard: usize) -> Result<u32, PushError> {
        if frame.len() > hard {
            return Err(PushError::TooLarge);
        }
        let lower: usize = self.lines[rank + 1..].iter().flatten().map(Vec::len).sum();
        if (self.bytes() + frame.len()).saturating_sub(hard) > lower {
            return Err(PushError::Full);
        }
        let mut dropped = 0;
        for line in (rank + 1..4).rev() {
            while self.bytes() + frame.len() > hard && self.lines[line].pop_front().is_some() {
                dropped += 1;
            }
        }
        self.lines[rank].push_back(frame);
        Ok(dropped)
    }

    /// Bytes were written: they must be the rest of the partial frame, and then complete frames or the start of one,
    /// each the front of its line, and never of a lower line while a critical frame waits.
    fn wrote(&mut self, mut bytes: &[u8]) -> usize {
        let mut complete = 0;
        while !bytes.is_empty() {
            let (frame, at) = self.partial.take().unwrap_or_else(|| {
                // Lengths are chosen so that a frame's first byte alone names its line.
                let rank = usize::from(bytes[0].wrapping_sub(1) % 4);
                assert!(rank == 0 || self.lines[0].is_empty(), "a frame went before a critical one");
                (self.lines[rank].pop_front().expect("a frame that nobody queued"), 0)
            });
            let count = bytes.len().min(frame.len() - at);
            assert_eq!(bytes[..count], frame[at..at + count], "bytes changed or frames interleaved");
            bytes = &bytes[count..];
            if at + count == frame.len() {
                complete += 1;
            } else {
                self.partial = Some((frame, at + count));
            }
        }
        complete
    }
}

fn total(slices: &[IoSlice<'_>]) -> usize {
    slices.iter().map(|slice| slice.len()).sum()
}

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(kind, payload.len()).unwrap().to_vec();
    frame.extend_from_slice(payload);
    frame
}

fn lens() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..200usize, 3 => 0..6000usize, 1 => 60_000..140_000usize]
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let push = (0..4usize, lens(), any::<bool>()).prop_map(|(rank, len, shared)| Move::Push { rank, len, shared });
    let write = prop_oneof![1..40usize, 1..5000usize, 1..400_000usize].prop_map(Move::Write);
    proptest::collection::vec(prop_oneof![3 => push, 1 => write], 1..120)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn agrees_with_the_naive_outbox(moves in moves(), hard in prop_oneof![2_000..20_000usize, 100_000..600_000usize]) {
        let limits = OutboxLimits { hard, high: hard, low: 0 };
        let (mut outbox, mut pool, mut naive) = (Outbox::default(), BufferPool::new(), Naive::default());
        let mut step = 0u8;
        for step_move in moves {
            match step_move {
                Move::Push { rank, len, shared } => {
                    let len = len / 4 * 4 + rank;
                    step = step.wrapping_add(1);
                    let payload: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_mul(31).wrapping_add(step)).collect();
                    let expected = naive.push(rank, frame(rank as u8, &payload), hard);
                    let priority = Priority::ALL[rank];
                    let pushed = if shared {
                        outbox.push_shared(priority, rank as u8, &payload.into(), &limits, &mut pool)
                    } else {
                        outbox.push(priority, rank as u8, &payload, &limits, &mut pool)
                    };
                    prop_assert_eq!(pushed, expected);
                }
                Move::Write(mut room) => {
                    let mut wire = Vec::new();
                    let flush = outbox.flush(&mut pool, usize::MAX, |slices| {
                        if room == 0 {
                            return Err(io::ErrorKind::WouldBlock.into());
                        }
                        assert!(slices.len() <= crate::limits::WRITE_SLICES);
                        let before = wire.len();
                        for slice in slices {
                            let count = room.min(slice.len());
                            wire.extend_from_slice(&slice[..count]);
                            room -= count;
                        }
                        Ok(wire.len() - before)
                    });
                    prop_assert_eq!(flush.bytes, wire.len());
                    prop_assert_eq!(flush.frames, naive.wrote(&wire));
                }
            }
            prop_assert_eq!(outbox.queued_bytes(), naive.bytes());
            prop_assert_eq!(outbox.queued_frames(), naive.frames());
            prop_assert_eq!(outbox.is_empty(), naive.frames() == 0);
        }
        outbox.clear(&mut pool);
        prop_assert_eq!(pool.queued_bytes(), 0);
    }
}

/// Queues `count` frames of `len` bytes in each of the given lines and answers the kinds in the order they leave when
/// each write takes `step` bytes.
fn order(ranks: &[usize], count: usize, len: usize, step: usize) -> Vec<u8> {
    let (mut outbox, mut pool) = (Outbox::default(), BufferPool::new());
    for rank in ranks {
        for _ in 0..count {
            let priority = Priority::ALL[*rank];
            outbox.push(priority, *rank as u8, &vec![0; len], &OutboxLimits::default(), &mut pool).unwrap();
        }
    }
    let mut wire = Vec::new();
    while !outbox.is_empty() {
        let mut room = step;
        outbox.flush(&mut pool, usize::MAX, |slices| {
            let all: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(room).collect();
            let count = room.min(all.len());
            room -= count;
            wire.extend_from_slice(&all[..count]);
            if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
        });
    }
    let (mut rest, mut kinds) = (&wire[..], Vec::new());
    while let Parse::Complete { kind, rest: behind, .. } = parse(rest, &ANY) {
        kinds.push(kind);
        rest = behind;
    }
    assert!(rest.is_empty());
    kinds
}

#[test]
fn what_fits_no_queue_is_too_large_and_what_fits_finds_room_in_an_empty_one() {
    let limits = OutboxLimits { hard: 1000, high: 500, low: 0 };
    let (mut outbox, mut pool) = (Outbox::default(), BufferPool::new());
    assert_eq!(outbox.push(Priority::Low, 1, &[0; 996], &limits, &mut pool), Err(PushError::TooLarge));
    assert_eq!(outbox.push(Priority::Low, 1, &[0; 995], &limits, &mut pool), Ok(0));
    assert_eq!(outbox.push(Priority::Low, 1, b"", &limits, &mut pool), Err(PushError::Full));
    assert_eq!(outbox.push(Priority::Low, 1, &[0; 996], &limits, &mut pool), Err(PushError::TooLarge), "empty or not");
    // The frame's own limit, whatever the queue's.
    let limits = OutboxLimits { hard: usize::MAX, ..limits };
    let (longest, longer) = (MAX_PAYLOAD as usize, Bytes::from(vec![0; MAX_PAYLOAD as usize + 1]));
    assert_eq!(outbox.push_shared(Priority::Low, 1, &longer, &limits, &mut pool), Err(PushError::TooLarge));
    assert_eq!(outbox.push_shared(Priority::Low, 1, &longer.slice(..longest), &limits, &mut pool), Ok(0));
    outbox.clear(&mut pool);
}

#[test]
fn the_three_lower_lines_share_four_to_two_to_one_whatever_a_write_takes() {
    for step in [700, 5_000, 64 * 1024, usize::MAX] {
        let kinds = order(&[3, 2, 1], 3000, 95, step);
        // While all three wait, which lasts until High is through.
        let shared = &kinds[..5000];
        let share = |rank: u8| shared.iter().filter(|kind| **kind == rank).count() as f64 / shared.len() as f64;
        for (rank, expected) in [(1, 4.0 / 7.0), (2, 2.0 / 7.0), (3, 1.0 / 7.0)] {
            assert!((share(rank) - expected).abs() < 0.04, "line {rank} got {} with steps of {step}", share(rank));
        }
    }
}

#[test]
fn frames_larger_than_a_quantum_still_share() {
    let kinds = order(&[3, 1], 28, 100_000, 30_000);
    let low = kinds[..28].iter().filter(|kind| **kind == 3).count();
    assert!((4..=8).contains(&low), "Low got {low} of 28 frames beside High");
}

#[test]
fn critical_frames_go_before_everything_that_has_not_begun() {
    let kinds = order(&[3, 2, 1, 0], 10, 50, usize::MAX);
    assert_eq!(kinds[..10], [0; 10]);
}

#[test]
fn a_small_frame_takes_little_memory_and_an_empty_outbox_none() {
    let (mut outbox, mut pool) = (Outbox::default(), BufferPool::new());
    assert_eq!(size_of::<Outbox>(), size_of::<usize>());
    outbox.push(Priority::Critical, 3, &[0; 20], &OutboxLimits::default(), &mut pool).unwrap();
    let Some(Segment::Packed { bytes, .. }) = outbox.queues.as_ref().unwrap().lines[0].segment(0) else { panic!() };
    assert!(bytes.capacity() <= 256);
    outbox.flush(&mut pool, usize::MAX, |slices| Ok(total(slices)));
    assert!(outbox.queues.is_none());
}

#[test]
fn a_payload_that_many_share_is_charged_once_until_the_last_lets_go() {
    let mut pool = BufferPool::new();
    let block = Bytes::from(vec![1; LEDGER_FROM]);
    let mut outboxes: Vec<Outbox> = (0..10).map(|_| Outbox::default()).collect();
    for outbox in &mut outboxes {
        outbox.push_shared(Priority::High, 1, &block, &OutboxLimits::default(), &mut pool).unwrap();
    }
    assert_eq!(pool.queued_bytes(), LEDGER_FROM + 10 * HEADER_LEN);
    let last = outboxes.pop().unwrap();
    for mut outbox in outboxes {
        outbox.flush(&mut pool, usize::MAX, |slices| Ok(total(slices)));
    }
    assert_eq!(pool.queued_bytes(), LEDGER_FROM + HEADER_LEN);
    let mut last = last;
    last.clear(&mut pool);
    assert_eq!(pool.queued_bytes(), 0);
}

#[test]
fn writing_nothing_is_a_failure_and_interruption_is_not() {
    let (mut outbox, mut pool) = (Outbox::default(), BufferPool::new());
    outbox.push(Priority::Low, 1, &[0; CHUNK], &OutboxLimits::default(), &mut pool).unwrap();
    let mut interrupted = false;
    let flush = outbox.flush(&mut pool, usize::MAX, |_| {
        if interrupted {
            return Ok(0);
        }
        interrupted = true;
        Err(io::ErrorKind::Interrupted.into())
    });
    assert!(interrupted);
    assert!(matches!(flush.progress, Progress::Failed(error) if error.kind() == io::ErrorKind::WriteZero));
}

/// A limit of bandwidth cuts where it must; what a peer gets is the same.
#[test]
fn an_exact_budget_is_kept_to_the_byte_and_changes_nothing_of_what_leaves() {
    for budget in [1, 2, 5, 6, 100, 4096, 70_000] {
        let (mut outbox, mut pool) = (Outbox::default(), BufferPool::new());
        let limits = OutboxLimits::default();
        let mut expected = 0;
        for (priority, len) in
            [(Priority::Low, 10), (Priority::High, 20_000), (Priority::Normal, 0), (Priority::Low, 300)]
        {
            outbox.push_shared(priority, 1, &Bytes::from(vec![len as u8; len]), &limits, &mut pool).unwrap();
            expected += len + 5;
        }
        let mut got = Vec::new();
        while !outbox.is_empty() {
            let before = got.len();
            let flush = outbox.flush(&mut pool, WriteBudget::Exactly(budget), |slices| {
                slices.iter().for_each(|slice| got.extend_from_slice(slice));
                Ok(total(slices))
            });
            let written = got.len() - before;
            assert_eq!((flush.bytes, written <= budget), (written, true));
            assert!(written == budget || matches!(flush.progress, Progress::Empty), "{budget}: {flush:?}");
        }
        assert_eq!(got.len(), expected);
        let mut input = &got[..];
        let mut lens = Vec::new();
        while !input.is_empty() {
            let len = u32::from_le_bytes(input[..4].try_into().unwrap()) as usize - 1;
            assert!(input[5..5 + len].iter().all(|byte| *byte == len as u8));
            lens.push(len);
            input = &input[5 + len..];
        }
        lens.sort_unstable();
        assert_eq!(lens, [0, 10, 300, 20_000]);
        // A writer that takes less is told apart from a budget that is used up.
        outbox.push(Priority::Low, 1, &[0; 100], &limits, &mut pool).unwrap();
        let flush = outbox.flush(&mut pool, WriteBudget::Exactly(50), |_| Ok(7));
        assert!(matches!(flush.progress, Progress::Blocked), "{flush:?}");
        outbox.clear(&mut pool);
    }
}

#[test]
fn what_is_urgent_are_critical_frames_behind_nothing_large() {
    let (mut outbox, mut pool) = (Outbox::default(), BufferPool::new());
    let limits = OutboxLimits::default();
    assert_eq!((outbox.urgent_bytes(), outbox.has_news()), (0, false));
    outbox.push_shared(Priority::Normal, 1, &Bytes::from(vec![0; 100_000]), &limits, &mut pool).unwrap();
    outbox.push(Priority::Critical, 2, &[0; 16], &limits, &mut pool).unwrap();
    assert_eq!((outbox.urgent_bytes(), outbox.has_news()), (21, false));
    outbox.flush(&mut pool, WriteBudget::Exactly(21 + 50_000), |slices| Ok(total(slices)));
    outbox.push(Priority::Critical, 2, &[0; 16], &limits, &mut pool).unwrap();
    assert_eq!(outbox.urgent_bytes(), 0, "half of a large frame stands before it");
    outbox.flush(&mut pool, WriteBudget::Exactly(40_000), |slices| Ok(total(slices)));
    assert_eq!(outbox.urgent_bytes(), 10_005 + 21, "its end does not");
    outbox.push(Priority::Low, 3, b"", &limits, &mut pool).unwrap();
    assert!(!outbox.has_news(), "what leaves next is the rest of an answer");
    outbox.flush(&mut pool, WriteBudget::Exactly(10_026), |slices| Ok(total(slices)));
    assert!(outbox.has_news());
    outbox.clear(&mut pool);
}
