//! What strangers call themselves and say, in everything that the program prints.

mod cli_support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use cli_support::{Done, RunningNode, program, wait_for};
use spacetime_network::wire::message::{Extension, Handshake, Ping};
use spacetime_network::wire::{Hash, Kind, Message};

/// What reads as something else, moves the cursor, sets a title, is not there at all, or begins a line of its own.
const HOSTILE: &str = "evil\u{202e}gnp.exe\u{2066}\u{200b}\u{9b}31m\u{feff}\u{2028}";
/// With controls of C0 too.
const WORSE: &str = "bye\u{1b}]0;title\u{7}\u{1b}[2J\r\nerror: forged\u{202e}";

fn is_unfit(c: char) -> bool {
    let hidden = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    hidden || (c.is_control() && c != '\n')
}

/// Nothing in it steers a terminal, and the hostile text is there to be read.
fn safe(text: &str, escape: &str) {
    assert!(!text.chars().any(is_unfit), "{text:?}");
    assert!(text.contains(escape), "{text}");
}

fn handshake() -> Handshake<'static> {
    let extension = Extension {
        network: Hash::ZERO,
        nonce: 7,
        listening_port: 4242,
        features: 0,
        best_height: 0,
        best_hash: Hash::ZERO,
        seen: None,
    };
    Handshake { version: 2, unix_seconds: 0, node_id: HOSTILE, user_agent: HOSTILE, extension: Some(extension) }
}

fn say(stream: &mut TcpStream, message: &Message<'_>) {
    let payload = message.to_payload().unwrap();
    let length = u32::try_from(payload.len() + 1).unwrap().to_le_bytes();
    stream.write_all(&[&length[..], &[message.kind() as u8], &payload].concat()).unwrap();
}

/// Reads one frame: its type and its payload.
fn frame(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut body = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut body).ok()?;
    Some((body[0], body[1..].to_vec()))
}

/// A node that was visited by a stranger, and how it ended.
fn visited(format: &str) -> (tempfile::TempDir, Done) {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--listen", "127.0.0.1:0", "--allow-private", "--log-level", "debug", "--log-format", format];
    let node = RunningNode::start(directory.path(), &flags);
    let mut stream = TcpStream::connect(&node.listening()[0]).unwrap();
    say(&mut stream, &Message::Handshake(handshake()));
    let (kind, _) = frame(&mut stream).unwrap();
    assert_eq!(kind, Kind::HandshakeAck as u8);
    say(&mut stream, &Message::Error(WORSE));
    // When this is answered, what came before was heard.
    say(&mut stream, &Message::Ping(Ping { nonce: 1, unix_millis: 0 }));
    while frame(&mut stream).unwrap().0 != Kind::Pong as u8 {}
    drop(stream);
    wait_for("the end", || program(&["ping", &node.listening()[0], "--count", "1"]).run().code == 0);
    let done = node.stop_with("-TERM");
    (directory, done)
}

#[test]
fn a_strangers_name_steers_no_terminal_in_the_log_or_among_the_known_peers() {
    let (directory, done) = visited("text");
    safe(&done.stderr, "evil\\u{202e}gnp.exe\\u{2066}\\u{200b}\\u{9b}31m");
    safe(&done.stderr, "]0;title");
    assert!(!done.stderr.lines().any(|line| line.starts_with("error: forged")), "{}", done.stderr);
    let known = program(&["known-peers", "--data-dir"]).path(directory.path()).run();
    safe(&known.stdout, "evil\\u{202e}gnp.exe");
    assert_eq!(known.stdout.lines().filter(|line| line.contains("evil")).count(), 1, "{known:?}");
    let known = program(&["known-peers", "--json", "--data-dir"]).path(directory.path()).run();
    safe(&known.stdout, "evil\\u202egnp.exe");
    assert_eq!(known.json()[HOSTILE]["UserAgent"], HOSTILE, "a script gets the very text");

    let (_, done) = visited("json");
    safe(&done.stderr, "evil\\u202egnp.exe");
    let values: Vec<serde_json::Value> = done
        .stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")))
        .collect();
    assert!(values.iter().any(|value| value["id"] == HOSTILE), "{}", done.stderr);
}

/// A node that answers pings, calls itself what it likes, and complains at the end.
fn stranger(connections: usize) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || {
        for _ in 0..connections {
            let (mut stream, _) = listener.accept().unwrap();
            while let Some((kind, payload)) = frame(&mut stream) {
                match Kind::from_byte(kind) {
                    Some(Kind::Handshake) => say(&mut stream, &Message::HandshakeAck(Some(handshake()))),
                    Some(Kind::Ping) => match Message::decode(Kind::Ping, &payload) {
                        Ok(Message::Ping(ping)) => say(&mut stream, &Message::Pong(ping)),
                        other => panic!("{other:?}"),
                    },
                    _ => {
                        say(&mut stream, &Message::Error(WORSE));
                        break;
                    }
                }
            }
        }
    });
    (address, thread)
}

#[test]
fn a_strangers_name_and_complaint_steer_no_terminal_in_answers_and_errors() {
    let (address, thread) = stranger(3);
    let done = program(&["ping", &address, "--count", "1", "--json"]).run();
    safe(&done.stdout, "evil\\u202egnp.exe");
    assert_eq!(done.json()["node_id"], HOSTILE);
    for command in ["headers", "peers"] {
        let done = program(&[command, &address]).run();
        assert_eq!((done.code, done.stderr.lines().count()), (1, 1), "{done:?}");
        safe(&done.stderr, "forged\\u{202e}");
    }
    thread.join().unwrap();
}

#[test]
fn names_on_the_chain_steer_no_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let name = "a\u{202e}b\u{200b}";
    let flags = ["--listen", "127.0.0.1:0", "--mine", "--block-interval", "0", "--difficulty", "0", "--miner", name];
    let node = RunningNode::start(directory.path(), &flags);
    let address = node.listening()[0].clone();
    let header = || program(&["headers", &address, "--json", "--max", "1"]).run().json()[0]["hash"].clone();
    wait_for("a block", || header().is_string());
    let hash = header().as_str().unwrap().to_owned();
    let block = program(&["block", &address, &hash]).run();
    safe(&block.stdout, "");
    let sent = program(&["send-tx", &address, "--from", name, "--to", name, "--amount", "1"]).run();
    assert_eq!(sent.code, 0, "{sent:?}");
    let pool = program(&["tx-pool", &address]).run();
    safe(&pool.stdout, "");
    assert_eq!(node.stop_with("-TERM").code, 0);
    let chain = program(&["chain", "--balances", "--data-dir"]).path(directory.path()).run();
    safe(&chain.stdout, "a\\u{202e}b\\u{200b}");
    let chain = program(&["chain", "--balances", "--json", "--data-dir"]).path(directory.path()).run();
    safe(&chain.stdout, "a\\u202eb\\u200b");
    assert!(chain.json()["balances"][name].is_number(), "{chain:?}");
}
