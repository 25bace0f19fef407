//! Frames in pieces, and whole ones beside them, against a naive list of what was said.

use proptest::prelude::*;

use super::*;
use crate::limits::{LARGE_FRAME_STEP, PIECE_DATA};
use crate::wire::frame::{MAX_PAYLOAD, header};
use crate::wire::pieces::{self, LINES, MIN_PIECE_DATA, PieceFault};

static RULES: FrameRules = FrameRules::any(300_000).with(9, 10).with_pieces();

/// One move of whoever sends.
#[derive(Clone, Debug)]
enum Move {
    /// A whole frame, small or large.
    Whole(usize),
    /// A frame begins in a line, with a piece of so many bytes.
    Begin(usize, usize, usize),
    /// The next piece of a line's frame, of so many bytes or what is left.
    Go(usize, usize),
    GiveUp(usize),
    /// Something that is an error.
    Break(usize),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let piece = || prop_oneof![Just(MIN_PIECE_DATA), MIN_PIECE_DATA..60_000usize];
    let whole = prop_oneof![6 => 8..60usize, 2 => 8..9000usize, 1 => 60_000..200_000usize];
    let one = prop_oneof![
        6 => whole.prop_map(Move::Whole),
        5 => (0..LINES, 65_000..300_001usize, piece()).prop_map(|(line, len, piece)| Move::Begin(line, len, piece)),
        20 => (0..LINES, piece()).prop_map(|(line, piece)| Move::Go(line, piece)),
        1 => (0..LINES).prop_map(Move::GiveUp),
        1 => (0..9usize).prop_map(Move::Break),
    ];
    proptest::collection::vec(one, 1..60)
}

/// What was said, and what must be heard of it.
#[derive(Default)]
struct Said {
    stream: Vec<u8>,
    /// Frames by their numbers, which their payloads begin with, in the order of their ends.
    complete: Vec<(u64, usize)>,
    lines: [Option<(u64, usize, usize)>; LINES],
    count: u64,
    error: Option<FrameError>,
}

fn byte(number: u64, at: usize) -> u8 {
    number.to_le_bytes().get(at).copied().unwrap_or((at as u8).wrapping_mul(number as u8 | 1) ^ (at >> 8) as u8)
}

fn bytes(number: u64, from: usize, to: usize) -> Vec<u8> {
    (from..to).map(|at| byte(number, at)).collect()
}

impl Said {
    fn say(&mut self, step: &Move) {
        match *step {
            Move::Whole(len) => {
                self.count += 1;
                self.stream.extend(header(1, len).unwrap());
                self.stream.extend(bytes(self.count, 0, len));
                self.complete.push((self.count, len));
            }
            Move::Begin(line, len, piece) if self.lines[line].is_none() => {
                self.count += 1;
                self.stream.extend(pieces::first_head(line, 2, len, piece));
                self.stream.extend(bytes(self.count, 0, piece));
                self.lines[line] = Some((self.count, piece, len));
            }
            Move::Go(line, piece) => {
                let Some((number, at, len)) = self.lines[line] else { return };
                let end = len.min(at + piece);
                self.stream.extend(pieces::more_head(line, end - at));
                self.stream.extend(bytes(number, at, end));
                self.lines[line] = (end < len).then_some((number, end, len));
                if end == len {
                    self.complete.push((number, len));
                }
            }
            Move::GiveUp(line) if self.lines[line].take().is_some() => self.stream.extend(pieces::given_up(line)),
            Move::Break(how) => self.say_wrong(how),
            Move::Begin(..) | Move::GiveUp(_) => {}
        }
    }

    /// Every way to break the rules that this state has; the others say nothing.
    fn say_wrong(&mut self, how: usize) {
        let free = (0..LINES).find(|line| self.lines[*line].is_none());
        let begun = (0..LINES).find_map(|line| self.lines[line].map(|(_, at, len)| (line, len - at)));
        let wrong = |fault| Some(FrameError::Pieces(fault));
        let piece = vec![0; MIN_PIECE_DATA];
        let (head, data, error): (Vec<u8>, &[u8], _) = match (how, free, begun) {
            (0, Some(line), _) => (pieces::more_head(line, MIN_PIECE_DATA).into(), &piece, wrong(PieceFault::NotBegun)),
            (1, Some(line), _) => (pieces::given_up(line).into(), &[], wrong(PieceFault::NotBegun)),
            (2, Some(line), _) => {
                let head = pieces::first_head(line, 9, 70_000, MIN_PIECE_DATA);
                (head.into(), &piece, Some(FrameError::Oversize { kind: 9, len: 70_000 }))
            }
            (3, Some(line), _) => {
                let head = pieces::first_head(line, pieces::PIECE, 20_000, MIN_PIECE_DATA);
                (head.into(), &piece, Some(FrameError::UnknownType(pieces::PIECE)))
            }
            (4, Some(line), _) => {
                let head = pieces::first_head(line, 1, MIN_PIECE_DATA, MIN_PIECE_DATA);
                (head.into(), &piece, wrong(PieceFault::Small))
            }
            (5, _, Some((line, _))) => {
                let head = pieces::first_head(line, 1, 70_000, MIN_PIECE_DATA);
                (head.into(), &piece, wrong(PieceFault::BegunTwice))
            }
            (6, _, Some((line, left))) if left > 100 => {
                (pieces::more_head(line, 100).into(), &piece[..100], wrong(PieceFault::Small))
            }
            (7, _, Some((line, left))) if left < MIN_PIECE_DATA => {
                (pieces::more_head(line, MIN_PIECE_DATA).into(), &piece, wrong(PieceFault::Beyond))
            }
            (8, _, _) => (vec![2, 0, 0, 0, pieces::PIECE, 1], &[], wrong(PieceFault::Layout)),
            _ => return,
        };
        self.stream.extend(head);
        self.stream.extend(data);
        self.error = error;
    }
}

/// Reads in chunks, sometimes straight into the space of a large frame, and stashes what is behind its budget.
struct Reader {
    inbox: Inbox,
    pool: BufferPool,
    heard: Vec<(u64, usize)>,
    received: usize,
    /// Frames of more bytes than this are not wanted when they begin.
    wanted: usize,
    skipped: Vec<u64>,
}

fn number(payload: &[u8]) -> u64 {
    u64::from_le_bytes(*payload.first_chunk().unwrap())
}

impl Reader {
    fn deliver(&mut self, mut input: &[u8], mut budget: usize) -> Result<bool, FrameError> {
        loop {
            if budget == 0 {
                self.inbox.stash(&mut input, &mut self.pool);
                return Ok(self.inbox.has_stash());
            }
            budget -= 1;
            if let Some((_, payload)) = self.inbox.next_complete(&mut input, &RULES) {
                self.heard.push((number(payload), payload.len()));
                continue;
            }
            let Some(frame) = self.inbox.next(&mut input, &RULES, Instant::ZERO, &mut self.pool)? else { break };
            let number = number(&frame.payload);
            assert!(frame.payload.iter().enumerate().all(|(at, is)| *is == byte(number, at)), "bytes changed");
            self.heard.push((number, frame.payload.len()));
            if let Payload::Given(payload) = frame.payload {
                self.pool.recycle(payload);
            }
        }
        assert!(input.is_empty());
        while let Some((_, len, head)) = self.inbox.take_start() {
            let number = number(head);
            assert!(head.iter().enumerate().all(|(at, is)| *is == byte(number, at)));
            if len > self.wanted {
                let held = self.inbox.held();
                self.inbox.skip(&mut self.pool);
                assert!(self.inbox.held() < held, "what nobody wants has its memory back");
                self.skipped.push(number);
            }
        }
        Ok(false)
    }

    fn read(&mut self, chunk: &[u8], budget: usize) -> Result<(), FrameError> {
        self.received += chunk.len();
        let mut rest = chunk;
        while let Some(space) = self.inbox.space().filter(|_| !rest.is_empty()) {
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

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn whatever_is_cut_and_mixed_the_same_frames_come_and_nothing_stays(
        moves in moves(),
        sizes in proptest::collection::vec(prop_oneof![1..3usize, 1..3000usize, 1..200_000usize], 1..8),
        budgets in proptest::collection::vec(1..6usize, 1..5),
        wanted in prop_oneof![Just(usize::MAX), 60_000..300_000usize],
    ) {
        let mut said = Said::default();
        for step in &moves {
            said.say(step);
            if said.error.is_some() {
                break;
            }
        }
        let (inbox, pool) = (Inbox::default(), BufferPool::new());
        let mut reader = Reader { inbox, pool, heard: Vec::new(), received: 0, wanted, skipped: Vec::new() };
        let (mut rest, mut failed) = (&said.stream[..], None);
        let (mut sizes, mut budgets) = (sizes.into_iter().cycle(), budgets.into_iter().cycle());
        while !rest.is_empty() && failed.is_none() {
            let (chunk, behind) = rest.split_at(sizes.next().unwrap().min(rest.len()));
            rest = behind;
            failed = reader.read(chunk, budgets.next().unwrap()).err();
            let most = 4 * reader.received + 5 * LARGE_FRAME_STEP;
            prop_assert!(failed.is_some() || reader.inbox.held() <= most, "memory ahead of bytes");
        }
        let kept = |(number, _): &(u64, usize)| !reader.skipped.contains(number);
        let complete: Vec<_> = said.complete.iter().copied().filter(kept).collect();
        prop_assert_eq!(&reader.heard, &complete);
        prop_assert_eq!(failed, said.error);
        if failed.is_none() {
            let is_done = said.lines.iter().all(Option::is_none);
            prop_assert_eq!(reader.inbox.is_at_boundary(), is_done);
            prop_assert_eq!(reader.inbox.assembly.is_none(), is_done);
            if is_done {
                prop_assert!(!reader.inbox.is_large() && reader.inbox.held() == 0 && reader.inbox.held.is_none());
            }
        }
    }
}

#[test]
fn more_than_sixteen_mebibytes_are_never_begun() {
    static LARGEST: FrameRules = FrameRules::any(MAX_PAYLOAD).with_pieces();
    let (mut inbox, mut pool) = (Inbox::default(), BufferPool::new());
    let mut begin = |inbox: &mut Inbox, line, len| {
        let piece = [&pieces::first_head(line, 1, len, PIECE_DATA)[..], &[0; PIECE_DATA]].concat();
        inbox.next(&mut &piece[..], &LARGEST, Instant::ZERO, &mut pool).map(|frame| assert!(frame.is_none()))
    };
    assert_eq!(begin(&mut inbox, 0, (16 << 20) - 70_000), Ok(()));
    assert_eq!(begin(&mut inbox, 1, 70_000), Ok(()));
    assert!(inbox.held() <= 4 * LARGE_FRAME_STEP, "a length is a claim");
    assert_eq!(begin(&mut inbox, 2, 20_000), Err(FrameError::Pieces(PieceFault::TooMuch)));
    let (mut inbox, mut pool) = (Inbox::default(), BufferPool::new());
    let piece = [&pieces::first_head(0, 1, 16 << 20, PIECE_DATA)[..], &[0; PIECE_DATA]].concat();
    let answer = inbox.next(&mut &piece[..], &LARGEST, Instant::ZERO, &mut pool).map(|_| ());
    assert_eq!(answer, Err(FrameError::Oversize { kind: 1, len: 16 << 20 }));
}

#[test]
fn the_deadline_of_pieces_follows_the_last_one_and_counts_what_the_connection_brings() {
    let (mut inbox, mut pool) = (Inbox::default(), BufferPool::new());
    let stall = Duration::from_secs(30);
    let second = |n: u64| Instant::from_millis(n * 1000);
    let mut give = |inbox: &mut Inbox, bytes: &[u8], at: Instant| {
        inbox.next(&mut &bytes[..], &RULES, at, &mut pool).unwrap().is_some()
    };
    // A frame of 256 KiB has 30 s and 4 s more in all.
    let data = [0; PIECE_DATA];
    let first = [&pieces::first_head(1, 1, 256 * 1024, PIECE_DATA)[..], &data].concat();
    let more = [&pieces::more_head(1, PIECE_DATA)[..], &data].concat();
    assert!(!give(&mut inbox, &first, second(1)));
    assert_eq!(inbox.deadline(stall), Some(second(31)));
    assert!(!give(&mut inbox, &more, second(3)));
    assert_eq!(inbox.deadline(stall), Some(second(33)));
    assert!(!give(&mut inbox, &more, second(20)));
    assert_eq!(inbox.deadline(stall), Some(second(35)), "the time in all counts from the first piece");
    // What passes between two pieces is no idleness: another four seconds' worth of it.
    let whole = [&header(1, 128 * 1024 - HEADER_LEN).unwrap()[..], &vec![0; 128 * 1024 - HEADER_LEN]].concat();
    assert!(give(&mut inbox, &whole, second(21)) && give(&mut inbox, &whole, second(22)));
    assert_eq!(inbox.deadline(stall), Some(second(39)));
    // A second frame that begins has its own time, and a piece that is cut the one of any small frame.
    let second_first = [&pieces::first_head(0, 1, 128 * 1024, PIECE_DATA)[..], &data].concat();
    assert!(!give(&mut inbox, &second_first, second(23)));
    assert_eq!(inbox.deadline(stall), Some(second(41)));
    assert!(!give(&mut inbox, &more[..100], second(24)));
    assert_eq!(inbox.deadline(stall), Some(second(41)));
    inbox.restart(second(30));
    assert_eq!(inbox.deadline(stall), Some(second(60)));
    inbox.clear(&mut pool);
    assert_eq!((inbox.deadline(stall), inbox.held()), (None, 0));
}
