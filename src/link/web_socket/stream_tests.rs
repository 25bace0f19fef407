//! Two ends that talk over a wire that is cut anywhere: frames pass, pings are answered, and both close as they should.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::frames::BINARY;
use super::*;
use crate::link::{Link, OutboxLimits, Transport};
use crate::rng::Rng;
use crate::wire::{FrameRules, Priority};

const NOW: Instant = Instant::ZERO;
static RULES: FrameRules = FrameRules::any(1 << 24);

struct Side {
    link: Link,
    pool: BufferPool,
    wire: Vec<u8>,
    frames: Vec<(u8, Vec<u8>)>,
    now: Instant,
}

impl Side {
    fn new(role: WebSocketRole) -> Self {
        let link = Link { transport: Transport::web_socket(role), ..Link::default() };
        Side { link, pool: BufferPool::new(), wire: Vec::new(), frames: Vec::new(), now: NOW }
    }

    fn server() -> Self {
        Side::new(WebSocketRole::Server(Arc::new(WebSocketOptions::default())))
    }

    fn client() -> Self {
        Side::new(WebSocketRole::Client(Arc::new("node:1/".parse().unwrap()), Rng::from_seed(7)))
    }

    /// Both, open.
    fn pair() -> (Self, Self) {
        let (mut client, mut server) = (Side::client(), Side::server());
        converse(&mut client, &mut server, |left| left);
        assert!(!client.link.transport.is_securing() && !server.link.transport.is_securing());
        (client, server)
    }

    fn send(&mut self, kind: u8, payload: &[u8]) {
        self.send_as(Priority::Normal, kind, payload);
    }

    fn send_as(&mut self, priority: Priority, kind: u8, payload: &[u8]) {
        let limits = OutboxLimits { hard: 1 << 30, ..OutboxLimits::default() };
        let payload = Bytes::copy_from_slice(payload);
        self.link.outbox.push_shared(priority, kind, &payload, &limits, &mut self.pool).unwrap();
    }

    /// One flush, to a writer that takes `room` bytes.
    fn flush_some(&mut self, side: WriteSide, budget: WriteBudget, room: usize) -> Progress {
        let Side { link, pool, wire, .. } = self;
        let mut left = room;
        let flush = link.flush(pool, budget, side, |slices| {
            let before = wire.len();
            for slice in slices {
                let taken = slice.len().min(left);
                left -= taken;
                wire.extend_from_slice(&slice[..taken]);
            }
            if wire.len() == before { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(wire.len() - before) }
        });
        assert!(flush.bytes <= room);
        assert!(pool.queued_bytes() >= link.transport.unsent(), "what waits is in the account");
        flush.progress
    }

    fn flush(&mut self, side: WriteSide) {
        let progress = self.flush_some(side, WriteBudget::About(usize::MAX), usize::MAX);
        assert!(matches!(progress, Progress::Empty), "{progress:?}");
    }

    fn receive(&mut self, bytes: &[u8]) {
        let Side { link: Link { transport, inbox, .. }, pool, frames, now, .. } = self;
        transport.open(&mut bytes.to_vec(), *now, &mut |content| {
            let mut rest = content;
            while let Some(frame) = inbox.next(&mut rest, &RULES, *now, pool).unwrap() {
                frames.push((frame.kind, frame.payload.to_vec()));
            }
            true
        });
        transport.account(pool);
    }

    fn end(&self) -> Option<Result<(), CloseReason>> {
        self.link.transport.end()
    }
}

fn converse(one: &mut Side, two: &mut Side, mut piece: impl FnMut(usize) -> usize) {
    loop {
        one.flush(WriteSide::Open);
        two.flush(WriteSide::Open);
        if one.wire.is_empty() && two.wire.is_empty() {
            return;
        }
        carry(one, two, &mut piece);
        carry(two, one, &mut piece);
    }
}

/// Brings a piece of what one has said to the other.
fn carry(from: &mut Side, to: &mut Side, piece: &mut impl FnMut(usize) -> usize) {
    let count = piece(from.wire.len()).min(from.wire.len());
    let bytes: Vec<u8> = from.wire.drain(..count).collect();
    to.receive(&bytes);
}

/// Opcodes and contents on a wire, unmasked.
fn messages(wire: &[u8], end: End) -> Vec<(u8, Vec<u8>)> {
    let mut bytes = wire.to_vec();
    let (mut all, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let opcode = bytes[at] & 15;
        assert_eq!(bytes[at] >> 4, 8, "each is whole, and has no reserved bits");
        assert_eq!(bytes[at + 1] >> 7 == 1, end == End::Client, "clients mask, and servers do not");
        let (len, mut head) = match bytes[at + 1] & 127 {
            126 => (usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]])), 4),
            127 => (u64::from_be_bytes(bytes[at + 2..at + 10].try_into().unwrap()) as usize, 10),
            short => (usize::from(short), 2),
        };
        let mut key = [0; 4];
        if end == End::Client {
            key.copy_from_slice(&bytes[at + head..at + head + 4]);
            head += 4;
        }
        mask::apply(&mut bytes[at + head..at + head + len], key, 0);
        all.push((opcode, bytes[at + head..at + head + len].to_vec()));
        at += head + len;
    }
    all
}

#[test]
fn each_frame_is_a_message_of_its_own_and_comes_as_it_was_sent() {
    let (mut client, mut server) = Side::pair();
    let sizes = [0, 1, 100, 121, 122, 4000, 65_530, 65_531, 70_000, 1 << 20];
    for end in [End::Client, End::Server] {
        let (from, to) = if end == End::Client { (&mut client, &mut server) } else { (&mut server, &mut client) };
        for (kind, size) in (0u8..).zip(sizes) {
            from.send(kind, &vec![kind ^ 0x5a; size]);
        }
        from.flush(WriteSide::Open);
        let seen = messages(&from.wire, end);
        assert_eq!(seen.len(), sizes.len());
        for ((opcode, content), size) in seen.iter().zip(sizes) {
            assert_eq!((*opcode, content.len()), (BINARY, size + 5));
        }
        let wire = core::mem::take(&mut from.wire);
        to.receive(&wire);
        let lens: Vec<usize> = to.frames.iter().map(|(_, payload)| payload.len()).collect();
        assert_eq!(lens, sizes);
        assert!(
            (0u8..).zip(&to.frames).all(|(n, (kind, payload))| *kind == n && payload.iter().all(|b| *b == n ^ 0x5a))
        );
        assert_eq!((from.pool.queued_bytes(), to.link.held()), (0, 0), "idle means empty");
    }
}

#[test]
fn a_ping_is_answered_once_and_no_heap_of_answers_grows() {
    let (mut client, mut server) = Side::pair();
    let Transport::WebSocket(stream) = &mut client.link.transport else { panic!() };
    stream.core.say(PING, b"are you there");
    converse(&mut client, &mut server, |left| left);
    let Transport::WebSocket(stream) = &mut client.link.transport else { panic!() };
    for _ in 0..60 {
        stream.core.say(PING, &[7; 125]);
    }
    client.flush(WriteSide::Open);
    let wire = core::mem::take(&mut client.wire);
    server.receive(&wire);
    assert!(server.link.transport.unsent() <= ANSWERS_MAX + CONTROL_MAX + 2, "{}", server.link.transport.unsent());
    server.flush(WriteSide::Open);
    assert!(
        messages(&server.wire, End::Server).iter().all(|(opcode, content)| (*opcode, content.len()) == (PONG, 125))
    );
    assert_eq!(server.end(), None);
}

#[test]
fn more_control_frames_or_empty_ones_than_any_correct_peer_sends_end_it() {
    for frame in [&[0x89, 0x80, 1, 2, 3, 4][..], &[0x8a, 0x80, 1, 2, 3, 4], &[0x82, 0x80, 1, 2, 3, 4]] {
        let (_, mut server) = Side::pair();
        let burst = usize::try_from(CONTROL_RATE.burst).unwrap();
        server.receive(&frame.repeat(burst));
        assert_eq!(server.end(), None);
        server.now = NOW + Duration::from_secs(1);
        server.receive(&frame.repeat(10));
        assert_eq!(server.end(), None, "ten more each second");
        server.receive(frame);
        assert_eq!(server.end(), Some(Err(CloseReason::WebSocket(WebSocketFault::Flooding))));
        server.flush(WriteSide::Open);
        assert_eq!(messages(&server.wire, End::Server).last(), Some(&(CLOSE, 1008u16.to_be_bytes().to_vec())));
    }
}

#[test]
fn whoever_breaks_the_rules_is_told_the_code_and_heard_no_more() {
    let (_, mut server) = Side::pair();
    server.send(3, b"never leaves");
    server.receive(&[0x81, 0x85, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(server.end(), Some(Err(CloseReason::WebSocket(WebSocketFault::Text))));
    server.flush(WriteSide::Open);
    assert_eq!(messages(&server.wire, End::Server), [(CLOSE, 1003u16.to_be_bytes().to_vec())]);
    server.receive(&[0x82, 0x85, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!((server.frames.len(), server.link.held()), (0, 0));
}

#[test]
fn an_orderly_end_says_close_behind_the_last_frame_and_is_answered_with_the_same_code() {
    let (mut client, mut server) = Side::pair();
    server.send(1, b"last words");
    server.link.transport.closes_for(CloseReason::Shutdown);
    assert!(server.link.transport.owes_close_notify());
    server.flush(WriteSide::Closing);
    assert!(!server.link.transport.owes_close_notify());
    let said = messages(&server.wire, End::Server);
    assert_eq!(said.len(), 2);
    assert_eq!(said[1], (CLOSE, 1001u16.to_be_bytes().to_vec()));
    let wire = core::mem::take(&mut server.wire);
    client.receive(&wire);
    assert_eq!((client.frames.len(), client.end()), (1, Some(Ok(()))));
    client.flush(WriteSide::Closing);
    assert_eq!(messages(&client.wire, End::Client), [(CLOSE, 1001u16.to_be_bytes().to_vec())]);
    client.wire.clear();
    client.flush(WriteSide::Closing);
    assert!(client.wire.is_empty(), "it is said once");
}

#[test]
fn a_pong_waits_for_the_end_of_the_message_that_is_half_written() {
    let (_, mut server) = Side::pair();
    server.send(1, &[5; 100_000]);
    let progress = server.flush_some(WriteSide::Open, WriteBudget::About(usize::MAX), 5_000);
    assert!(matches!(progress, Progress::Blocked));
    server.receive(&[0x89, 0x81, 0, 0, 0, 0, b'p']);
    server.flush(WriteSide::Open);
    let seen = messages(&server.wire, End::Server);
    assert_eq!(seen.iter().map(|(opcode, _)| *opcode).collect::<Vec<_>>(), [BINARY, PONG]);
}

#[test]
fn frames_behind_the_upgrade_are_kept_and_what_is_no_upgrade_is_answered() {
    let mut server = Side::server();
    let mut client = Side::client();
    client.flush(WriteSide::Open);
    let mut wire = core::mem::take(&mut client.wire);
    wire.extend_from_slice(&[0x82, 0x85, 0, 0, 0, 0, 1, 0, 0, 0, 9]);
    server.receive(&wire);
    assert!(!server.link.transport.is_securing());
    assert_eq!(server.frames, [(9, Vec::new())]);

    let mut server = Side::server();
    server.receive(b"GET /health HTTP/1.1\r\n\r\n");
    assert_eq!(server.end(), Some(Err(CloseReason::WebSocket(WebSocketFault::NotAnUpgrade))));
    server.flush(WriteSide::Closing);
    assert!(server.wire.starts_with(b"HTTP/1.1 404 "));
}

#[test]
fn an_idle_connection_is_its_own_few_hundred_bytes() {
    let (client, server) = Side::pair();
    for side in [client, server] {
        assert_eq!((side.link.held(), side.link.queued_bytes(), side.pool.queued_bytes()), (0, 0, 0));
    }
    assert!(size_of::<WebSocket>() <= 512, "{}", size_of::<WebSocket>());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The writer takes any part, the offer is cut anywhere, and the other end reads any pieces.
    #[test]
    fn frames_arrive_whole_and_in_order_however_writes_offers_and_reads_are_cut(
        sizes in prop::collection::vec(prop_oneof![0usize..40, 100usize..140, 1000usize..20_000, 65_000usize..70_000], 1..8),
        rooms in prop::collection::vec(prop_oneof![1usize..12, 1usize..300, 1usize..40_000], 1..30),
        exact in any::<bool>(),
        from_server in any::<bool>(),
        ping in any::<bool>(),
    ) {
        let (client, server) = Side::pair();
        let (mut from, mut to) = if from_server { (server, client) } else { (client, server) };
        let sent: Vec<(u8, Vec<u8>)> =
            (0u8..).zip(&sizes).map(|(kind, size)| (kind, (0..*size).map(|n| (n as u8) ^ kind).collect())).collect();
        for (kind, payload) in &sent {
            from.send(*kind, payload);
        }
        for room in rooms.into_iter().chain(core::iter::repeat(1 << 20)) {
            let budget = if exact { WriteBudget::Exactly(room) } else { WriteBudget::About(usize::MAX) };
            if ping && let Transport::WebSocket(stream) = &mut from.link.transport {
                stream.ping();
            }
            let progress = from.flush_some(WriteSide::Open, budget, room);
            prop_assert!(!matches!(progress, Progress::Failed(_)), "{progress:?}");
            let wire = core::mem::take(&mut from.wire);
            for piece in wire.chunks(room) {
                to.now = to.now + Duration::from_secs(1);
                to.receive(piece);
            }
            prop_assert_eq!(to.end(), None);
            if from.link.is_flushed() {
                break;
            }
        }
        prop_assert_eq!(&to.frames, &sent);
        prop_assert_eq!((from.pool.queued_bytes(), to.link.held()), (0, 0));
    }

    /// The socket had taken a message's header and nothing behind it, then a frame of a higher rank went first: the messages after that
    /// one were as long as some bytes in the middle of a frame said. The simulator found it.
    #[test]
    fn frames_arrive_whole_whatever_is_queued_between_two_writes(
        steps in prop::collection::vec(
            (prop_oneof![0usize..40, 100usize..140, 1000usize..20_000], 0usize..4, prop_oneof![4 => 1usize..16, 1 => 1usize..30_000]),
            1..25,
        ),
        from_server in any::<bool>(),
    ) {
        let (client, server) = Side::pair();
        let (mut from, mut to) = if from_server { (server, client) } else { (client, server) };
        let ranks = [Priority::Critical, Priority::High, Priority::Normal, Priority::Low];
        let mut sent = Vec::new();
        for (kind, (size, rank, room)) in (0u8..).zip(steps) {
            let payload: Vec<u8> = (0..size).map(|n| (n as u8) ^ kind).collect();
            from.send_as(ranks[rank], kind, &payload);
            sent.push((kind, payload));
            from.flush_some(WriteSide::Open, WriteBudget::About(usize::MAX), room);
            to.receive(&core::mem::take(&mut from.wire));
            prop_assert_eq!(to.end(), None);
        }
        from.flush(WriteSide::Open);
        to.receive(&core::mem::take(&mut from.wire));
        prop_assert_eq!(to.end(), None);
        to.frames.sort();
        prop_assert_eq!(&to.frames, &sent);
        prop_assert_eq!((from.pool.queued_bytes(), to.link.held()), (0, 0));
    }
}
