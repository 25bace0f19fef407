//! The program's questions to nodes that are not quite what it expects: old ones, silent ones and ones that talk nonsense.

mod cli_support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::JoinHandle;

use cli_support::program;

/// HandshakeAck of the version 1 node of `wire::protocol`, section 7: "node-abc123", "Spacetime/1.0.0".
const ACK_V1: &str =
    "2f000000020100000000f15365000000000b0000006e6f64652d6162633132330f000000537061636574696d652f312e302e30";
/// Peers of `wire::protocol`, section 7: 192.168.1.100:8333 and [2001:db8::1]:9000.
const PEERS: &str = "29000000110200000004000000c0a801648d2000001000000020010db800000000000000000000000128230000";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// Someone who takes one connection; answers the address and what was read of it in the end.
fn stranger(talk: impl FnOnce(&mut TcpStream) + Send + 'static) -> (String, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        talk(&mut stream);
        let mut rest = Vec::new();
        // The program may leave in the middle; what came until then counts.
        let _ = stream.read_to_end(&mut rest);
        rest
    });
    (address, thread)
}

/// Reads one frame: its type and its payload.
fn frame(stream: &mut TcpStream) -> (u8, Vec<u8>) {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut body).unwrap();
    (body[0], body[1..].to_vec())
}

#[test]
fn a_node_of_version_1_shares_peers_and_is_never_sent_what_it_does_not_know() {
    let (address, thread) = stranger(|stream| {
        let (kind, greeting) = frame(stream);
        assert_eq!((kind, &greeting[..4]), (0x01, &[2, 0, 0, 0][..]));
        stream.write_all(&bytes(ACK_V1)).unwrap();
        // Up to a thousand, and none is left out: what every revision can read.
        assert_eq!(frame(stream), (0x10, vec![0xe8, 3, 0, 0, 0, 0, 0, 0]));
        stream.write_all(&bytes(PEERS)).unwrap();
    });
    let done = program(&["peers", &address, "--json"]).run();
    assert_eq!(done.json(), serde_json::json!(["192.168.1.100:8333", "[2001:db8::1]:9000"]));
    assert_eq!(thread.join().unwrap(), b"");
}

#[test]
fn a_node_of_version_1_has_no_ping_and_the_program_says_so() {
    for command in ["ping", "tx-pool"] {
        let (address, thread) = stranger(|stream| {
            frame(stream);
            stream.write_all(&bytes(ACK_V1)).unwrap();
        });
        let done = program(&[command, &address]).run();
        assert_eq!(done.code, 1);
        assert!(done.stderr.contains("version 1") && done.stderr.lines().count() == 1, "{done:?}");
        assert_eq!(thread.join().unwrap(), b"");
    }
}

#[test]
fn whatever_a_stranger_answers_the_program_says_in_one_line_that_it_failed() {
    // Each: what the stranger sends before it leaves.
    let error = |text: &[u8]| [&(text.len() as u32 + 1).to_le_bytes()[..], &[0xff], text].concat();
    let answers: [Vec<u8>; 6] = [
        Vec::new(),
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        vec![0, 0, 0, 0],
        bytes("0100000003"),
        error(b"go away\x1b[2J\nnow"),
        [&5u32.to_le_bytes()[..], &[0x02], &[1, 2, 3, 4]].concat(),
    ];
    for answer in answers {
        let (address, thread) = stranger(move |stream| {
            frame(stream);
            stream.write_all(&answer).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
        });
        let done = program(&["headers", &address]).run();
        assert_eq!((done.code, done.stdout.as_str()), (1, ""), "{done:?}");
        assert!(done.stderr.contains(&address) && done.stderr.lines().count() == 1, "{done:?}");
        assert!(!done.stderr.contains('\x1b'), "{done:?}");
        thread.join().unwrap();
    }
}

#[test]
fn a_silent_stranger_is_left_after_the_timeout() {
    let (address, thread) = stranger(|stream| {
        frame(stream);
    });
    let done = program(&["headers", &address, "--timeout", "100ms"]).run();
    assert_eq!(done.code, 1);
    assert!(done.stderr.contains("does not answer"), "{done:?}");
    thread.join().unwrap();
}
