//! Malformed input of every kind closes that connection, and only that one.

use spacetime_network::wire::message::Ping;
use spacetime_network::wire::{Kind, Message};

use crate::introduction::introduction;
use crate::stranger::Running;

fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32 + 1).to_le_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(payload);
    bytes
}

fn announce(length: u32, kind: u8) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.push(kind);
    bytes
}

fn repeat(len: usize) -> Vec<u8> {
    vec![0xff; len]
}

/// Each with its name; sent after a good handshake in version 2.
fn violations() -> Vec<(String, Vec<u8>)> {
    let mut list: Vec<(String, Vec<u8>)> = vec![
        ("length zero".into(), vec![0; 4]),
        ("length above the limit".into(), (16_777_217u32).to_le_bytes().to_vec()),
        ("length all ones".into(), vec![0xff; 4]),
        ("http".into(), b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("tls".into(), vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00]),
        ("ssh".into(), b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()),
        ("second handshake with another id".into(), frame(1, &handshake("other"))),
        ("ack from a dialer".into(), frame(2, &[])),
        ("block that nobody asked for".into(), frame(0x23, &repeat(200))),
        ("new block that is none".into(), frame(0x31, &repeat(200))),
        ("transaction that is none".into(), frame(0x30, &repeat(20))),
        ("headers that are none".into(), frame(0x21, &[1, 0, 0, 0, 3, 0, 0, 0, 1, 2, 3])),
        ("peers with count -1".into(), frame(0x11, &(-1i32).to_le_bytes())),
        ("peers with count 1001".into(), frame(0x11, &1001i32.to_le_bytes())),
        (
            "peers with an address of five bytes".into(),
            frame(0x11, &[1, 0, 0, 0, 5, 0, 0, 0, 1, 2, 3, 4, 5, 1, 0, 0, 0]),
        ),
        ("peers with port 65536".into(), frame(0x11, &[1, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4, 0, 0, 1, 0])),
        ("get peers that excludes what is not there".into(), frame(0x10, &[1, 0, 0, 0, 232, 3, 0, 0, 1, 2, 3])),
        ("get headers with max 0".into(), frame(0x20, &[0; 37])),
        ("get headers with two for a bool".into(), frame(0x20, &[2; 69])),
        ("pool request with max 0".into(), frame(0x32, &[0, 0, 0, 0, 0])),
        ("proof of negative height".into(), frame(0x41, &repeat(49))),
        ("error that is not text".into(), frame(0xff, &repeat(3))),
    ];
    for kind in Kind::ALL {
        let over = announce(kind.max_payload().saturating_add(2), *kind as u8);
        list.push((format!("{} above its size", kind.name()), over));
        if !matches!(kind, Kind::Heartbeat | Kind::NewChallenge | Kind::Error) {
            list.push((format!("{} of one byte", kind.name()), frame(*kind as u8, &[0xff])));
        }
    }
    for byte in (0..=255u8).filter(|byte| Kind::from_byte(*byte).is_none()) {
        list.push((format!("type 0x{byte:02x}"), announce(11, byte)));
    }
    list
}

fn handshake(id: &str) -> Vec<u8> {
    introduction(id, 2, 0).to_payload().unwrap().to_vec()
}

#[test]
fn every_violation_closes_its_connection_and_no_other() {
    let node = Running::start(|_| {});
    let mut control = node.greet("control", 2);
    for (nonce, (name, bytes)) in violations().into_iter().enumerate() {
        let mut bad = node.greet("bad", 2);
        bad.say_bytes(&bytes);
        let text = bad.hear_end();
        assert!(text.is_some(), "{name}: no Error frame before the end");
        if nonce % 64 == 0 {
            control.say(&Message::Ping(Ping { nonce: nonce as i64, unix_millis: 0 }));
            let pong = control.hear_kind(Kind::Pong);
            assert_eq!(pong[..8], (nonce as i64).to_le_bytes(), "{name}: the control peer is served");
        }
    }
}

#[test]
fn before_the_handshake_a_stranger_gets_a_kilobyte_and_no_more() {
    let node = Running::start(|_| {});
    for (name, bytes) in [
        ("1025 bytes", announce(1026, 1)),
        ("64 KiB", announce(65_536, 1)),
        ("16 MiB", announce(16_777_216, 1)),
        ("a ping", frame(4, &[0; 16])),
        ("a block", announce(1000, 0x23)),
        ("an empty handshake", frame(1, &[])),
        ("a blank id", frame(1, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, b' ', 1, 0, 0, 0, b'a'])),
        ("an id that is not text", frame(1, &[1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0xff, 1, 0, 0, 0, b'a'])),
    ] {
        let mut stranger = node.connect();
        stranger.say_bytes(&bytes);
        assert!(stranger.hear_end().is_some(), "{name}: no Error frame before the end");
    }
    node.greet("still here", 2);
}

/// Ten connections with unfinished blocks of 16 MiB that nobody had asked for held the memory in which an asked one was to arrive.
#[test]
fn a_block_that_nobody_asked_for_is_refused_by_its_header() {
    let node = Running::start(|_| {});
    let mut stranger = node.greet("pushy-2", 2);
    stranger.say_bytes(&announce(16_777_216, Kind::Block as u8));
    assert_eq!(stranger.hear_end().as_deref(), Some("block was not asked for"), "and not a byte of it was sent");
    // In version 1 it is a new block, of which the header decides whether the rest is read.
    let mut stranger = node.greet("pushy-1", 1);
    stranger.say_bytes(&announce(16_777_216, Kind::Block as u8));
    stranger.say_bytes(&[0; 8192]);
    assert_eq!(stranger.hear_end().as_deref(), Some("invalid data"), "and little of it was sent");
    node.greet("still here", 2);
}

#[test]
fn a_stream_cut_anywhere_in_a_frame_leaves_the_node_well() {
    let node = Running::start(|_| {});
    let whole = frame(1, &handshake("cut"));
    for end in 0..whole.len() {
        let mut stranger = node.connect();
        stranger.say_bytes(&whole[..end]);
        stranger.socket.shutdown(std::net::Shutdown::Write).unwrap();
        stranger.hear_end();
    }
    node.greet("still here", 2);
}

/// A health check or a node with another setting was told nothing, or in a language that it does not know.
#[test]
fn a_stranger_at_the_wrong_door_is_told_so_in_its_own_language() {
    use std::io::Read;
    let node = Running::start(|_| {});
    let cases: [(&[u8], &[u8]); 4] = [
        (b"GET /healthz HTTP/1.1\r\nHost: node\r\n\r\n", b"HTTP/1.1 400 Bad Request\r\n"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", b"This is a peer-to-peer node"),
        (&[22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3], &[21, 3, 1, 0, 2, 2, 10]),
        (&[22, 3, 1, 5, 220, 1, 0, 5, 216, 3, 3], &[21, 3, 1, 0, 2, 2, 10]),
    ];
    for round in 0..6 {
        for (says, hears) in cases {
            let mut stranger = node.connect();
            stranger.say_bytes(says);
            let mut answer = Vec::new();
            stranger.socket.read_to_end(&mut answer).unwrap();
            assert!(answer.starts_with(hears), "round {round}: {:?}", String::from_utf8_lossy(&answer));
        }
    }
    node.greet("still here", 2);
}
