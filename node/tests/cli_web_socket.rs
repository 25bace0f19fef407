//! WebSocket as an operator and a stranger meet it: two nodes over it, in plain text and in TLS, a raw client, and who is refused.

mod cli_support;
#[path = "cli_support/web.rs"]
mod web;
#[path = "../../tests/web_socket_support/mod.rs"]
mod web_socket_support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

use cli_support::{LoggedNode, RunningNode, program};
use web::{greeting, web_of};
use web_socket_support::RawClient;

fn start(data: &Path, arguments: &[&str]) -> LoggedNode {
    LoggedNode::start(data, &[&["--listen", "127.0.0.1:0"][..], arguments].concat())
}

fn tcp(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

#[test]
fn two_nodes_meet_over_web_socket_and_one_that_listens_plainly_beside() {
    let directory = tempfile::tempdir().unwrap();
    let one = start(&directory.path().join("one"), &["--listen-ws", "127.0.0.1:0", "--mine", "--block-interval", "0"]);
    let (url, _) = web_of(&one.lines);
    assert!(url.starts_with("ws://127.0.0.1:"), "{url}");
    let two = start(&directory.path().join("two"), &["--connect", &url, "--allow-private"]);
    two.says("peer connected");
    two.says("new tip");
    let three = start(&directory.path().join("three"), &["--connect", &one.listening()[0]]);
    three.says("new tip");
    // Where a WebSocket was dialed nobody else is sent.
    let peers = program(&["peers", &two.listening()[0], "--json"]).run().json();
    assert!(!peers.to_string().contains(url.trim_end_matches('/').rsplit(':').next().unwrap()), "{peers}");
    assert!(two.stop().contains("stopped"));
    drop((one, three));
}

#[test]
fn two_nodes_meet_over_web_socket_in_tls_and_know_each_other() {
    let directory = tempfile::tempdir().unwrap();
    let one = start(&directory.path().join("one"), &["--listen-ws", "127.0.0.1:0", "--tls", "any"]);
    let (url, _) = web_of(&one.lines);
    assert!(url.starts_with("wss://127.0.0.1:"), "{url}");
    let id = one.lines.iter().find_map(|line| line.strip_prefix("node ")).unwrap().to_owned();
    let pinned = start(&directory.path().join("two"), &["--connect", &url, "--tls", "pinned", "--pin", &id]);
    pinned.says("peer connected");
    let wrong =
        start(&directory.path().join("three"), &["--connect", &url, "--tls", "pinned", "--pin", &"00".repeat(32)]);
    wrong.says("is not pinned");
    drop((one, pinned, wrong));
}

#[test]
fn a_raw_client_is_greeted_and_what_it_says_of_its_port_is_not_believed() {
    let directory = tempfile::tempdir().unwrap();
    let node = start(&directory.path().join("one"), &["--listen-ws", "127.0.0.1:0", "--allow-private"]);
    let (_, web) = web_of(&node.lines);
    let mut client = RawClient::upgrade(tcp(&web), "");
    client.send(0x82, &greeting(7777));
    let (opcode, content) = client.receive().unwrap();
    assert_eq!((opcode, content[4]), (2, 0x02), "a HandshakeAck in a message of its own");
    node.says("peer connected");
    let peers = program(&["peers", &node.listening()[0], "--json"]).run().json();
    assert!(!peers.to_string().contains("7777"), "{peers}");
    // A text message costs it the connection, and the operator sees why.
    client.send(0x81, b"hello");
    assert_eq!(client.close_code(), Some(1003));
    node.says("text message");
}

#[test]
fn pages_of_other_origins_are_refused_and_what_asks_for_no_upgrade_gets_426() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["--listen-ws", "127.0.0.1:0", "--ws-origin", "https://wallet.example"];
    let node = start(&directory.path().join("one"), &arguments);
    let (_, web) = web_of(&node.lines);
    let head = |origin: &str| RawClient::ask(tcp(&web), "/", &format!("Origin: {origin}\r\n")).1;
    assert!(head("https://evil.example").starts_with("HTTP/1.1 403 "));
    assert!(head("https://wallet.example").starts_with("HTTP/1.1 101 "));
    assert!(head("http://127.0.0.1:8000").starts_with("HTTP/1.1 101 "));
    for _ in 0..20 {
        let mut stream = tcp(&web);
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
    }
    // Nobody was banned for it.
    assert!(program(&["ping", &node.listening()[0], "--count", "1"]).run().code == 0);
    assert!(!node.text().contains("blacklisted"), "{}", node.text());
}

#[test]
fn seventy_silent_sockets_lock_neither_port_out() {
    let directory = tempfile::tempdir().unwrap();
    let node = start(&directory.path().join("one"), &["--listen-ws", "127.0.0.1:0"]);
    let (_, web) = web_of(&node.lines);
    let silent: Vec<TcpStream> = (0..70).map(|_| tcp(&web)).collect();
    let mut client = RawClient::upgrade(tcp(&web), "");
    client.send(0x82, &greeting(0));
    assert_eq!(client.receive().unwrap().1[4], 0x02);
    let ping = program(&["ping", &node.listening()[0], "--count", "1"]).run();
    assert_eq!(ping.code, 0, "{ping:?}");
    drop(silent);
}

#[test]
fn a_stop_says_that_the_node_goes_away() {
    let directory = tempfile::tempdir().unwrap();
    let node =
        RunningNode::start(&directory.path().join("one"), &["--listen", "127.0.0.1:0", "--listen-ws", "127.0.0.1:0"]);
    let (_, web) = web_of(&node.lines);
    let mut client = RawClient::upgrade(tcp(&web), "");
    client.send(0x82, &greeting(0));
    client.receive().unwrap();
    let stopped = std::thread::spawn(move || node.stop_with("-TERM"));
    assert_eq!(client.close_code(), Some(1001));
    drop(client);
    assert_eq!(stopped.join().unwrap().code, 0);
}

#[test]
fn urls_and_origins_that_mean_nothing_are_wrong_usage() {
    let directory = tempfile::tempdir().unwrap();
    for (arguments, part) in [
        (&["--connect", "wss://a.example/"][..], "needs --tls"),
        (&["--connect", "ws://a.example/", "--tls", "any"], "use wss://"),
        (&["--connect", "http://a.example/"], "URL of a WebSocket"),
        (&["--connect", "ws://a b/"], "URL of a WebSocket"),
        (&["--connect", "ws://0.0.0.0:5/"], "stands for every address"),
        (&["--connect", "ws://[ff02::1]:5/"], "multicast"),
        (&["--listen-ws", "ws://127.0.0.1:1/"], "ip:port"),
        (&["--listen-ws", "127.0.0.1:0", "--ws-origin", "example.org"], "an origin"),
        (&["--ws-origin", "https://a.example"], "--listen-ws"),
        (&["--no-listen", "--listen-ws", "127.0.0.1:0"], "--no-listen"),
    ] {
        let done = program(&["run", "--data-dir"]).path(&directory.path().join("x")).args(arguments).run();
        assert!(done.code == 2 && done.stderr.contains(part), "{arguments:?}: {done:?}");
    }
    let done = program(&["ping", "ws://127.0.0.1:1/"]).run();
    assert!(done.code == 2 && done.stderr.contains("only run --connect"), "{done:?}");
}
