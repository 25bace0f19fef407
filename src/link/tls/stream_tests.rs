//! Two pipes with TLS between them, in memory: every way in which bytes may be cut, and peers that abuse what TLS allows.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use rustls::{ClientConfig, ClientConnection, ConnectionCommon, ServerConnection};

use crate::close::TlsFault;
use crate::id::{DialId, Direction};
use crate::link::tls::identity::Identity;
use crate::link::tls::trust::Trust;
use crate::link::tls::{Tls, TlsOptions};
use crate::link::{BufferPool, Link, OutboxLimits, Progress, Transport, WriteSide};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::frame::MAX_PAYLOAD;
use crate::wire::{FrameRules, Priority};

#[path = "stream_abuse_tests.rs"]
mod abuse;

static RULES: FrameRules = FrameRules::any(MAX_PAYLOAD);
const OUTBOUND: Direction = Direction::Outbound(DialId(1));
const NOW: Instant = Instant::ZERO;

fn remote() -> SocketAddr {
    "192.0.2.1:9333".parse().unwrap()
}

fn tls(options: TlsOptions) -> Tls {
    Tls::new(&Identity::generate().unwrap(), Trust::Any, options).unwrap()
}

/// One end, its wire and what it received.
struct End {
    link: Link,
    pool: BufferPool,
    wire: Vec<u8>,
    frames: Vec<(u8, Vec<u8>)>,
}

impl End {
    fn new(tls: &Tls, direction: Direction) -> Self {
        let transport = Transport::tls(tls, remote(), direction).unwrap();
        End {
            link: Link { transport, ..Link::default() },
            pool: BufferPool::new(),
            wire: Vec::new(),
            frames: Vec::new(),
        }
    }

    fn pair() -> (Self, Self) {
        let options = TlsOptions::default();
        (End::new(&tls(options), OUTBOUND), End::new(&tls(options), Direction::Inbound))
    }

    /// A pair that has shaken hands, with nothing left to say.
    fn open_pair() -> (Self, Self) {
        let (mut one, mut two) = End::pair();
        converse(&mut one, &mut two, |bytes| bytes.len());
        assert!(!one.link.transport.is_securing() && !two.link.transport.is_securing());
        (one, two)
    }

    fn send(&mut self, kind: u8, payload: &[u8]) {
        let limits = OutboxLimits { hard: 1 << 30, ..OutboxLimits::default() };
        let payload = Bytes::copy_from_slice(payload);
        self.link.outbox.push_shared(Priority::Normal, kind, &payload, &limits, &mut self.pool).unwrap();
    }

    /// Everything queued onto the wire.
    fn flush(&mut self, side: WriteSide) {
        let End { link, pool, wire, .. } = self;
        let flush = link.flush(pool, usize::MAX, side, |slices| {
            slices.iter().for_each(|slice| wire.extend_from_slice(slice));
            Ok(slices.iter().map(|slice| slice.len()).sum())
        });
        assert!(matches!(flush.progress, Progress::Empty), "{flush:?}");
    }

    fn receive(&mut self, bytes: &[u8]) {
        let End { link: Link { transport, inbox, .. }, pool, frames, .. } = self;
        transport.open(&mut bytes.to_vec(), NOW, &mut |plaintext| {
            let mut rest = plaintext;
            while let Some(frame) = inbox.next(&mut rest, &RULES, NOW, pool).unwrap() {
                frames.push((frame.kind, frame.payload.to_vec()));
            }
            true
        });
    }

    fn end(&self) -> Option<Result<(), TlsFault>> {
        self.link.transport.end().map(|end| {
            end.map_err(|reason| match reason {
                crate::close::CloseReason::Tls(fault) => fault,
                other => panic!("{other} is no fault of TLS"),
            })
        })
    }
}

/// Answers how many of the bytes at hand go next.
type Piece = Box<dyn FnMut(&[u8]) -> usize>;

/// Carries bytes both ways in pieces until nobody has more to say.
fn converse(one: &mut End, two: &mut End, mut piece: impl FnMut(&[u8]) -> usize) {
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

fn carry(from: &mut End, to: &mut End, piece: &mut impl FnMut(&[u8]) -> usize) {
    let wire = core::mem::take(&mut from.wire);
    let mut rest = &wire[..];
    while !rest.is_empty() {
        let (now, later) = rest.split_at(piece(rest).clamp(1, rest.len()));
        to.receive(now);
        rest = later;
    }
}

fn payload(len: usize, salt: usize) -> Vec<u8> {
    (0..len).map(|at| (at.wrapping_mul(2_654_435_761).wrapping_add(salt) >> 13) as u8).collect()
}

/// Frames to send, in order, and what must arrive.
fn frames(sizes: &[usize]) -> Vec<(u8, Vec<u8>)> {
    sizes.iter().enumerate().map(|(index, size)| (index as u8, payload(*size, index))).collect()
}

fn send_all(end: &mut End, frames: &[(u8, Vec<u8>)]) {
    frames.iter().for_each(|(kind, payload)| end.send(*kind, payload));
}

#[test]
fn the_same_frames_arrive_both_ways_however_the_ciphertext_is_cut() {
    let mut rng = Rng::from_seed(4);
    let sizes = [0, 1, 5, 250, 16_374, 16_379, 16_380, 0, 70_000, 8192, 200_000, 3];
    let mut cuts: Vec<Piece> = vec![
        Box::new(|bytes: &[u8]| bytes.len()),
        Box::new(|_: &[u8]| 1),
        Box::new(|_: &[u8]| 16_384),
        Box::new(move |_: &[u8]| 1 + rng.below(40_000) as usize),
    ];
    for cut in &mut cuts {
        let (mut one, mut two) = End::pair();
        let (there, back) = (frames(&sizes), frames(&sizes[3..]));
        converse(&mut one, &mut two, &mut *cut);
        send_all(&mut one, &there);
        send_all(&mut two, &back);
        converse(&mut one, &mut two, cut);
        assert!(two.frames == there && one.frames == back);
        for end in [&one, &two] {
            assert_eq!((end.link.held(), end.link.queued_bytes(), end.end()), (0, 0, None), "idle means empty");
            assert_eq!(end.pool.queued_bytes(), 0);
        }
    }
}

#[test]
fn the_largest_frame_and_an_empty_one_pass() {
    let (mut one, mut two) = End::open_pair();
    let frames = frames(&[MAX_PAYLOAD as usize, 0]);
    send_all(&mut one, &frames);
    converse(&mut one, &mut two, |_| 256 * 1024);
    assert!(two.frames == frames);
}

#[test]
fn a_short_conversation_is_the_same_for_every_split() {
    let (mut one, mut two) = End::open_pair();
    let talk = frames(&[0, 1, 30, 0, 7]);
    let mut split = 0;
    loop {
        send_all(&mut one, &talk[..3]);
        one.flush(WriteSide::Open);
        send_all(&mut one, &talk[3..]);
        one.flush(WriteSide::Open);
        let wire = core::mem::take(&mut one.wire);
        if split > wire.len() {
            break;
        }
        two.frames.clear();
        two.receive(&wire[..split]);
        two.receive(&wire[split..]);
        assert_eq!(two.frames, talk, "split at {split}");
        split += 1;
    }
    assert!(split > 2 * 22 + 63, "two records were split everywhere");
}

#[test]
fn a_handshake_is_the_same_wherever_its_flights_are_split() {
    let options = TlsOptions::default();
    let (client, server) = (tls(options), tls(options));
    for split in (1..2500).step_by(41) {
        let (mut one, mut two) = (End::new(&client, OUTBOUND), End::new(&server, Direction::Inbound));
        let mut first = true;
        converse(&mut one, &mut two, |bytes| {
            first = !first;
            if first { bytes.len() } else { split }
        });
        assert_eq!((one.end(), two.end()), (None, None), "split at {split}");
        assert_eq!(one.link.transport.identity(), Some(server.id()), "split at {split}");
        assert_eq!(two.link.transport.identity(), Some(client.id()), "split at {split}");
    }
}

#[test]
fn frames_may_follow_the_handshake_in_the_same_bytes() {
    let (mut one, mut two) = End::pair();
    one.flush(WriteSide::Open);
    two.receive(&core::mem::take(&mut one.wire));
    two.flush(WriteSide::Open);
    one.receive(&core::mem::take(&mut two.wire));
    assert!(!one.link.transport.is_securing() && two.link.transport.is_securing());
    one.send(3, &[1, 2, 3]);
    one.flush(WriteSide::Open);
    two.receive(&core::mem::take(&mut one.wire));
    assert!(!two.link.transport.is_securing());
    assert_eq!(two.frames, [(3, vec![1, 2, 3])]);
}

#[test]
fn nothing_that_is_queued_leaves_before_the_handshake_is_done() {
    let (mut one, _) = End::pair();
    one.send(1, &[7; 100]);
    one.flush(WriteSide::Open);
    assert_eq!(one.link.outbox.queued_frames(), 1);
    assert_eq!(one.wire.first(), Some(&22), "a hello and nothing else");
}

#[test]
fn a_writer_that_takes_little_at_a_time_gets_every_byte_once() {
    let (mut one, mut two) = End::open_pair();
    let mut rng = Rng::from_seed(9);
    let sent = frames(&[300_000, 1, 0, 64 * 1024, 16 * 1024 * 1024 - 1, 90]);
    send_all(&mut one, &sent);
    let mut most = 0;
    loop {
        let End { link, pool, wire, .. } = &mut one;
        let mut credit = rng.below(90_000) as usize;
        let before = wire.len();
        let flush = link.flush(pool, 1 << 20, WriteSide::Open, |slices| {
            let len = slices.first().map_or(0, |slice| slice.len());
            let count = len.min(credit);
            if count == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            wire.extend_from_slice(&slices[0][..count]);
            credit -= count;
            Ok(count)
        });
        assert_eq!(flush.bytes, wire.len() - before, "the socket's bytes are counted");
        assert!(pool.queued_bytes() >= link.transport.unsent(), "what waits is in the account");
        most = most.max(link.transport.unsent());
        let wire = core::mem::take(&mut one.wire);
        two.receive(&wire);
        match flush.progress {
            Progress::Empty => break,
            Progress::Blocked | Progress::Budget => {}
            Progress::Failed(error) => panic!("{error}"),
        }
    }
    assert!(two.frames == sent);
    assert!(most > 0 && most <= 64 * 1024 + 4 * 64, "{most} bytes waited");
    assert_eq!((one.pool.queued_bytes(), one.link.transport.unsent()), (0, 0));
}

#[test]
fn close_notify_comes_behind_the_last_frame_and_a_cut_is_not_taken_for_it() {
    let (mut one, mut two) = End::open_pair();
    assert_eq!(two.link.transport.end(), None, "a socket that ends now was cut");
    one.send(1, &[5; 40_000]);
    assert!(one.link.transport.owes_close_notify());
    one.flush(WriteSide::Closing);
    assert!(!one.link.transport.owes_close_notify(), "said once");
    let said = one.wire.len();
    one.flush(WriteSide::Closing);
    assert_eq!(one.wire.len(), said);
    let wire = core::mem::take(&mut one.wire);
    // What comes behind a close_notify means nothing.
    two.receive(&[&wire[..], b"garbage"].concat());
    assert_eq!(two.frames.len(), 1);
    assert_eq!(two.end(), Some(Ok(())));
    // The other direction may still be used, and ends in its turn.
    two.send(2, &[6; 10]);
    two.flush(WriteSide::Closing);
    assert!(!two.wire.is_empty() && !two.link.transport.owes_close_notify());
}

#[test]
fn a_close_notify_that_the_socket_does_not_take_waits() {
    let (mut one, mut two) = End::open_pair();
    one.send(1, &[5; 100]);
    let End { link, pool, .. } = &mut one;
    let flush = link.flush(pool, usize::MAX, WriteSide::Closing, |_| Err(io::ErrorKind::WouldBlock.into()));
    assert!(matches!(flush.progress, Progress::Blocked));
    one.flush(WriteSide::Closing);
    two.receive(&core::mem::take(&mut one.wire));
    assert_eq!((two.frames.len(), two.end()), (1, Some(Ok(()))));
}

#[test]
fn nobody_who_wants_no_more_is_given_more() {
    let (mut one, mut two) = End::open_pair();
    send_all(&mut one, &frames(&[20_000; 10]));
    one.flush(WriteSide::Open);
    let mut calls = 0;
    let mut wire = core::mem::take(&mut one.wire);
    for part in wire.chunks_mut(50_000) {
        two.link.transport.open(part, NOW, &mut |_| {
            calls += 1;
            calls < 2
        });
    }
    assert_eq!((calls, two.link.held()), (2, 0));
    // It may still say its last word.
    two.send(9, b"the last");
    two.flush(WriteSide::Closing);
    one.receive(&two.wire);
    assert_eq!((one.frames.len(), one.end()), (1, Some(Ok(()))));
}

#[test]
fn tls_1_2_passes_the_same_frames() {
    let options = TlsOptions { tls12: true, ..TlsOptions::default() };
    let (client, server) = (tls(options), tls(options));
    // A client that speaks nothing newer, so that both must.
    let ours = client.client(remote()).0;
    let mut config = ClientConfig::builder_with_provider(ours.crypto_provider().clone())
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(abuse::Credulous::like(&ours)))
        .with_client_cert_resolver(Arc::clone(&ours.client_auth_cert_resolver));
    config.alpn_protocols = ours.alpn_protocols.clone();
    let mut foreign = ClientConnection::new(config.into(), "peer.invalid".try_into().unwrap()).unwrap();
    let mut ours = End::new(&server, Direction::Inbound);
    talk_to_buffered(&mut ours, &mut foreign);
    assert_eq!(foreign.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    assert_eq!(ours.link.transport.identity(), Some(client.id()));
}

#[test]
fn a_client_that_uses_the_buffered_interface_understands_us() {
    let (client, server) = (tls(TlsOptions::default()), tls(TlsOptions::default()));
    let (config, name) = client.client(remote());
    let mut foreign = ClientConnection::new(config, name).unwrap();
    let mut ours = End::new(&server, Direction::Inbound);
    talk_to_buffered(&mut ours, &mut foreign);
    assert_eq!(ours.link.transport.identity(), Some(client.id()));
}

#[test]
fn a_server_that_uses_the_buffered_interface_understands_us() {
    let (client, server) = (tls(TlsOptions::default()), tls(TlsOptions::default()));
    let mut foreign = ServerConnection::new(server.server()).unwrap();
    let mut ours = End::new(&client, OUTBOUND);
    talk_to_buffered(&mut ours, &mut foreign);
    assert_eq!(ours.link.transport.identity(), Some(server.id()));
}

/// Sends frames both ways between us and an end that is driven by the library's other interface.
fn talk_to_buffered<D: rustls::SideData>(ours: &mut End, foreign: &mut ConnectionCommon<D>) {
    let sent = frames(&[0, 250, 20_000, 65_536, 1]);
    let mut plain = Vec::new();
    for (kind, payload) in &sent {
        plain.extend_from_slice(&(payload.len() as u32 + 1).to_le_bytes());
        plain.push(*kind);
        plain.extend_from_slice(payload);
    }
    let mut queued = false;
    let mut inbound: VecDeque<u8> = VecDeque::new();
    let (mut to_send, mut received) = (&plain[..], Vec::new());
    for _ in 0..200 {
        ours.flush(WriteSide::Open);
        inbound.extend(core::mem::take(&mut ours.wire));
        while !inbound.is_empty() {
            if foreign.read_tls(&mut inbound).unwrap() == 0 {
                break;
            }
            foreign.process_new_packets().unwrap();
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = foreign.reader().read(&mut buffer) {
                received.extend_from_slice(&buffer[..count]);
            }
        }
        if !foreign.is_handshaking() {
            let count = foreign.writer().write(to_send).unwrap();
            to_send = &to_send[count..];
        }
        let mut wire = Vec::new();
        while foreign.wants_write() {
            foreign.write_tls(&mut wire).unwrap();
        }
        ours.receive(&wire);
        if !ours.link.transport.is_securing() && !queued {
            queued = true;
            send_all(ours, &sent);
        }
    }
    assert!(ours.frames == sent, "we understand it");
    assert!(received == plain, "it understands us");
    foreign.send_close_notify();
    let mut wire = Vec::new();
    foreign.write_tls(&mut wire).unwrap();
    ours.receive(&wire);
    assert_eq!(ours.end(), Some(Ok(())));
}

#[test]
fn an_idle_stream_keeps_no_buffer() {
    let (mut one, mut two) = End::open_pair();
    send_all(&mut one, &frames(&[100_000, 5]));
    converse(&mut one, &mut two, |_| 10_000);
    for end in [one, two] {
        let Transport::Tls(stream) = &end.link.transport else { panic!("it is TLS") };
        assert_eq!((stream.tail.capacity(), stream.unsent.capacity()), (0, 0));
        assert!(stream.handshake.is_none());
    }
}

#[test]
fn the_plain_transport_passes_everything_through() {
    let mut transport = Transport::Plain;
    let mut seen = Vec::new();
    transport.open(&mut [1, 2, 3], NOW, &mut |bytes| {
        seen.extend_from_slice(bytes);
        true
    });
    assert_eq!(seen, [1, 2, 3]);
    assert_eq!((transport.room(), transport.held(), transport.unsent(), transport.end()), (usize::MAX, 0, 0, None));
    assert!(!transport.is_securing() && !transport.owes_close_notify());
}

/// What is said inside a connection is said under the id of now, and nobody believes it of who showed another one.
#[test]
fn a_handshake_that_is_under_way_while_the_id_changes_is_cut_and_an_open_connection_stays() {
    let (ours, theirs) = (tls(TlsOptions::default()), tls(TlsOptions::default()));
    let (mut stands, mut other) = (End::new(&ours, Direction::Inbound), End::new(&theirs, OUTBOUND));
    converse(&mut stands, &mut other, |bytes| bytes.len());
    for direction in [Direction::Inbound, OUTBOUND] {
        let facing = if direction == OUTBOUND { Direction::Inbound } else { OUTBOUND };
        let (mut end, mut peer) = (End::new(&ours, direction), End::new(&theirs, facing));
        peer.flush(WriteSide::Open);
        end.receive(&core::mem::take(&mut peer.wire));
        assert!(end.link.transport.is_securing());
        ours.replace_identity(&Identity::generate().unwrap()).unwrap();
        end.flush(WriteSide::Open);
        peer.receive(&core::mem::take(&mut end.wire));
        peer.flush(WriteSide::Open);
        end.receive(&core::mem::take(&mut peer.wire));
        assert_eq!(end.end(), Some(Err(TlsFault::Cut)), "{direction:?}");
        assert_eq!(TlsFault::Cut.blame(), crate::close::Blame::Lost);
    }
    stands.send(7, b"still here");
    converse(&mut stands, &mut other, |bytes| bytes.len());
    assert_eq!(other.frames, [(7, b"still here".to_vec())]);
}
