//! The inbox against a decoder that has all bytes at once.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::limits::{FRAME_START, FRESH_BYTES, LARGE_FRAME_STEP, MOVED_AT_ONCE, MOVED_PER_BYTE};
use crate::wire::frame::{HEADER_LEN, MAX_PAYLOAD, header};

static RULES: FrameRules = FrameRules::any(300_000).with(9, 10);

type Frames = Vec<(u8, Vec<u8>)>;

/// All frames, the error behind them, and how many bytes of an unfinished frame are left.
fn naive(mut stream: &[u8]) -> (Frames, Option<FrameError>, usize) {
    let mut frames = Vec::new();
    loop {
        match parse(stream, &RULES) {
            Parse::Complete { kind, payload, rest } => {
                frames.push((kind, payload.to_vec()));
                stream = rest;
            }
            Parse::NeedMore { .. } => return (frames, None, stream.len()),
            Parse::Never(error) => return (frames, Some(error), 0),
        }
    }
}

/// A driver in small: reads in chunks, sometimes straight into the space of a large frame, and delivers at most
/// `budget` frames before it stashes the rest.
struct Reader {
    inbox: Inbox,
    pool: BufferPool,
    frames: Frames,
    received: usize,
    /// Payloads that the protocol keeps, so that their buffers can not be used again.
    kept: Vec<Bytes>,
    /// Large frames of lower kinds are not wanted.
    wanted: u8,
    /// Which were skipped: how many frames were delivered before, the kind and the length.
    skipped: Vec<(usize, u8, usize)>,
}

impl Reader {
    fn new() -> Self {
        Reader {
            inbox: Inbox::default(),
            pool: BufferPool::new(),
            frames: Vec::new(),
            received: 0,
            kept: Vec::new(),
            wanted: 0,
            skipped: Vec::new(),
        }
    }

    fn deliver(&mut self, mut input: &[u8], mut budget: usize) -> Result<bool, FrameError> {
        loop {
            if budget == 0 {
                self.inbox.stash(&mut input, &mut self.pool);
                return Ok(self.inbox.has_stash());
            }
            budget -= 1;
            if let Some((kind, payload)) = self.inbox.next_complete(&mut input, &RULES) {
                self.frames.push((kind, payload.to_vec()));
                continue;
            }
            match self.inbox.next(&mut input, &RULES, Instant::ZERO, &mut self.pool)? {
                Some(frame) => {
                    self.frames.push((frame.kind, frame.payload.to_vec()));
                    if let Payload::Given(payload) = frame.payload {
                        if self.frames.len().is_multiple_of(2) {
                            self.kept.push(payload.clone());
                        }
                        self.pool.recycle(payload);
                    }
                }
                None => {
                    assert!(input.is_empty());
                    if let Some((kind, len, head)) = self.inbox.take_start() {
                        assert!(head.len() >= FRAME_START && head.len() < len && len > LARGE_FRAME_STEP - HEADER_LEN);
                        assert!(head.iter().enumerate().all(|(at, byte)| *byte == (at as u8).wrapping_mul(kind | 1)));
                        if kind < self.wanted {
                            self.inbox.skip(&mut self.pool);
                            assert!(self.inbox.held() == 0 && !self.inbox.is_large() && !self.inbox.is_at_boundary());
                            self.skipped.push((self.frames.len(), kind, len));
                        }
                        assert!(self.inbox.take_start().is_none(), "shown twice");
                    }
                    return Ok(false);
                }
            }
        }
    }

    fn read(&mut self, chunk: &[u8], budget: usize, direct: bool) -> Result<(), FrameError> {
        self.received += chunk.len();
        let mut rest = chunk;
        while direct && !rest.is_empty() {
            let Some(space) = self.inbox.space() else { break };
            let count = space.len().min(rest.len());
            space[..count].copy_from_slice(&rest[..count]);
            self.inbox.advance(count, Instant::ZERO);
            rest = &rest[count..];
        }
        let mut more = self.deliver(rest, budget)?;
        while more {
            more = self.deliver(&[], budget)?;
        }
        Ok(())
    }
}

fn stream() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![6 => 0..40usize, 3 => 0..5000usize, 1 => 60_000..300_001usize];
    let valid = (0..9u8, len).prop_map(|(kind, len)| {
        let mut frame = header(kind, len).unwrap().to_vec();
        frame.extend((0..len).map(|at| (at as u8).wrapping_mul(kind | 1)));
        frame
    });
    let hostile = prop_oneof![Just(vec![0, 0, 0, 0]), Just(vec![255; 9]), Just(vec![20, 0, 0, 0, 9, 1])];
    let part = prop_oneof![30 => valid, 1 => hostile];
    (proptest::collection::vec(part, 1..12), any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(parts, cut, is_complete)| {
            let mut stream = parts.concat();
            if !is_complete {
                stream.truncate(cut.index(stream.len() + 1));
            }
            stream
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn any_chunking_and_any_budget_give_the_same_frames(
        stream in stream(),
        sizes in proptest::collection::vec(prop_oneof![1..12usize, 1..3000usize, 1..200_000usize], 1..20),
        budgets in proptest::collection::vec(1..6usize, 1..5),
        direct in any::<bool>(),
        wanted in prop_oneof![Just(0), 1..9u8],
    ) {
        let (mut frames, error, left) = naive(&stream);
        let mut reader = Reader { wanted, ..Reader::new() };
        let (mut rest, mut failed) = (&stream[..], None);
        let mut sizes = sizes.into_iter().cycle();
        let mut budgets = budgets.into_iter().cycle();
        while !rest.is_empty() && failed.is_none() {
            let (chunk, behind) = rest.split_at(sizes.next().unwrap().min(rest.len()));
            rest = behind;
            failed = reader.read(chunk, budgets.next().unwrap(), direct).err();
            if failed.is_none() {
                prop_assert!(reader.inbox.held() <= 2 * reader.received.max(LARGE_FRAME_STEP), "memory ahead of bytes");
            }
        }
        for (number, (at, kind, len)) in reader.skipped.iter().enumerate() {
            if *at < frames.len() {
                let skipped = frames.remove(*at);
                prop_assert_eq!((skipped.0, skipped.1.len()), (*kind, *len));
            } else {
                prop_assert!(left > 0 && number + 1 == reader.skipped.len(), "skipped what never began");
            }
        }
        prop_assert_eq!(&reader.frames, &frames);
        prop_assert_eq!(failed, error);
        if failed.is_none() {
            prop_assert_eq!(reader.inbox.is_at_boundary(), left == 0);
            prop_assert_eq!(reader.inbox.held.is_some(), left > 0);
        }
    }
}

#[test]
fn a_complete_frame_is_lent_and_leaves_nothing_behind() {
    assert_eq!(size_of::<Inbox>(), 2 * size_of::<usize>());
    let (mut inbox, mut pool) = (Inbox::default(), BufferPool::new());
    let bytes = [3, 0, 0, 0, 1, 7, 8];
    let mut input = &bytes[..];
    let frame = inbox.next(&mut input, &RULES, Instant::ZERO, &mut pool).unwrap().unwrap();
    let Payload::Lent(payload) = frame.payload else { panic!("copied") };
    assert_eq!(payload.as_ptr(), bytes[5..].as_ptr());
    assert!(inbox.held.is_none());
}

#[test]
fn a_large_claim_reserves_only_what_arrives() {
    let (mut inbox, mut pool) = (Inbox::default(), BufferPool::new());
    static LARGEST: FrameRules = FrameRules::any(MAX_PAYLOAD);
    let bytes = header(1, MAX_PAYLOAD as usize).unwrap();
    let mut input = &bytes[..];
    assert!(inbox.next(&mut input, &LARGEST, Instant::ZERO, &mut pool).unwrap().is_none());
    let mut received = 0;
    while let Some(space) = inbox.space() {
        let count = space.len().min(10_000);
        inbox.advance(count, Instant::ZERO);
        received += count;
        assert!(inbox.held() <= (4 * received).max(2 * LARGE_FRAME_STEP), "{} for {received}", inbox.held());
        if received > 13_000_000 {
            break;
        }
    }
}

/// A buffer that grew from 8 to 16 MiB was copied and zeroed in one call: four thousand pages that nobody had touched, tens of
/// milliseconds in which nobody else was served.
#[test]
fn no_read_of_a_large_frame_touches_more_memory_than_a_few_times_what_it_brings() {
    let (mut inbox, mut pool) = (Inbox::default(), BufferPool::new());
    static LARGEST: FrameRules = FrameRules::any(MAX_PAYLOAD);
    let len = MAX_PAYLOAD as usize;
    let byte = |at: usize| (at as u8).wrapping_mul(31) ^ (at >> 12) as u8;
    let bytes = header(1, len).unwrap();
    assert!(inbox.next(&mut &bytes[..], &LARGEST, Instant::ZERO, &mut pool).unwrap().is_none());
    let (mut received, mut pieces) = (0, [1usize, 70_000, 256 * 1024, 4_096].into_iter().cycle());
    while let Some(space) = inbox.space() {
        assert!(space.len() <= FRESH_BYTES);
        let count = space.len().min(pieces.next().unwrap());
        space[..count].iter_mut().enumerate().for_each(|(at, to)| *to = byte(received + at));
        let touched = inbox.held.as_ref().unwrap().touched();
        inbox.advance(count, Instant::ZERO);
        received += count;
        let held = inbox.held.as_ref().unwrap();
        let more = held.touched().saturating_sub(touched);
        assert!(more <= MOVED_PER_BYTE * count + MOVED_AT_ONCE, "{more} for {count} at {received}");
        assert!(held.touched() <= 2 * received + FRESH_BYTES, "{} for {received}", held.touched());
    }
    let frame = inbox.next(&mut &[][..], &LARGEST, Instant::ZERO, &mut pool).unwrap().unwrap();
    assert!(frame.payload.len() == len && frame.payload.iter().enumerate().all(|(at, is)| *is == byte(at)));
}

#[test]
fn rules_change_between_two_frames_of_one_read() {
    static FIRST: FrameRules = FrameRules::none().with(1, 4);
    static SECOND: FrameRules = FrameRules::none().with(2, 4);
    let (mut inbox, mut pool) = (Inbox::default(), BufferPool::new());
    let bytes = [1, 0, 0, 0, 1, 1, 0, 0, 0, 2, 1, 0, 0, 0, 1];
    let mut input = &bytes[..];
    let now = Instant::ZERO;
    assert_eq!(inbox.next(&mut input, &FIRST, now, &mut pool).unwrap().unwrap().kind, 1);
    inbox.stash(&mut input, &mut pool);
    assert_eq!(inbox.next(&mut input, &SECOND, now, &mut pool).unwrap().unwrap().kind, 2);
    assert_eq!(inbox.next(&mut input, &SECOND, now, &mut pool).unwrap_err(), FrameError::UnknownType(1));
}

#[test]
fn the_deadline_follows_the_last_byte_but_not_for_ever() {
    let (mut inbox, mut pool) = (Inbox::default(), BufferPool::new());
    let stall = Duration::from_secs(30);
    let second = |n: u64| Instant::from_millis(n * 1000);
    assert_eq!(inbox.deadline(stall), None);
    // A frame of 128 KiB has 30 s and 2 s more in all.
    let mut frame = VecDeque::from(header(1, 128 * 1024 - HEADER_LEN).unwrap().to_vec());
    frame.resize(128 * 1024, 0);
    let mut give = |inbox: &mut Inbox, count: usize, at: Instant| {
        let bytes: Vec<u8> = frame.drain(..count).collect();
        assert!(inbox.next(&mut &bytes[..], &RULES, at, &mut pool).unwrap().is_none());
    };
    give(&mut inbox, 4, second(1));
    assert_eq!(inbox.deadline(stall), Some(second(31)));
    give(&mut inbox, 2, second(2));
    assert_eq!(inbox.deadline(stall), Some(second(32)));
    give(&mut inbox, 1, second(20));
    assert!(inbox.deadline(stall).unwrap() < second(34), "the time in all counts from the first byte");
    inbox.restart(second(20));
    assert_eq!(inbox.deadline(stall), Some(second(50)));
}

#[test]
fn a_stash_is_our_doing_and_has_no_deadline() {
    let (mut inbox, mut pool) = (Inbox::default(), BufferPool::new());
    inbox.stash(&mut &[1, 0, 0, 0, 1, 9][..], &mut pool);
    assert!(inbox.has_stash());
    assert_eq!(inbox.deadline(Duration::from_secs(30)), None);
    let later = Instant::from_millis(5);
    assert!(inbox.next(&mut &[][..], &RULES, later, &mut pool).unwrap().is_some());
    assert!(inbox.next(&mut &[][..], &RULES, later, &mut pool).unwrap().is_none());
    assert!(!inbox.has_stash());
    assert_eq!(inbox.deadline(Duration::from_secs(30)), Some(later + Duration::from_secs(30)));
}
