//! What the parts of the C# library meet at the built program: without a handshake, without a certificate, and at the wrong end of
//! TLS.

mod cli_support;
#[path = "cli_support/tls.rs"]
mod tls_support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cli_support::{LoggedNode, program};
use tls_support::{Office, borrowed};

const LATER: &str = include_str!("../../tests/csharp/later.txt");

/// A frame that was recorded, by its name.
fn recorded(name: &str) -> Vec<u8> {
    let line = LATER.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
    let hex = &line[name.len() + 1..];
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// The next frame: its type byte and its payload.
fn next(stream: &mut impl Read) -> (u8, Vec<u8>) {
    let mut header = [0; 5];
    stream.read_exact(&mut header).unwrap();
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let mut payload = vec![0; length - 1];
    stream.read_exact(&mut payload).unwrap();
    (header[4], payload)
}

fn dial(node: &LoggedNode) -> TcpStream {
    let stream = TcpStream::connect(&node.listening()[0]).unwrap();
    // It only bounds a hang.
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `s_client`, which shows nothing of itself; `None` where there is no openssl.
fn s_client(address: &str, arguments: &[&str]) -> Option<Killed> {
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-connect", address]).args(arguments);
    match command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
        Ok(child) => Some(Killed(child)),
        Err(error) => {
            eprintln!("skipped: openssl cannot be run here: {error}");
            None
        }
    }
}

#[test]
fn clients_without_a_handshake_are_answered_from_the_ranges_that_are_named_and_listed_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--listen", "127.0.0.1:0", "--handshake-timeout", "1s", "--without-handshake", "127.0.0.0/8"];
    let node = LoggedNode::start(&directory.path().join("node"), &flags);
    // The download begins with a question.
    let mut download = dial(&node);
    download.write_all(&recorded("GetHeaders")).unwrap();
    download.write_all(&recorded("GetPeers")).unwrap();
    assert_eq!(next(&mut download), (0x21, vec![0; 4]));
    assert_eq!(next(&mut download), (0x11, vec![0; 4]));
    let line = node.says("client connected, which does not introduce itself");
    assert!(line.contains("peer_127.0.0.1_") && line.contains("clients=1"), "{line}");
    // The miner says nothing until it hears of the tip, which it does when its handshake is overdue.
    let mut miner = dial(&node);
    let (byte, payload) = next(&mut miner);
    assert_eq!((byte, payload.len()), (0x41, 40));
    drop(download);
    node.says("client disconnected");
    // A handshake makes it a peer.
    miner.write_all(&recorded("Handshake")).unwrap();
    assert_eq!(next(&mut miner).0, 0x02);
    node.says("it has introduced itself, and is a peer now");
}

/// The library dials in TLS, and its users try a browser: where clients need no handshake, they were told of bad frames once, and banned.
#[test]
fn other_protocols_are_answered_in_their_own_words_where_clients_need_no_handshake_too() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--listen", "127.0.0.1:0", "--exempt", "none", "--without-handshake", "127.0.0.0/8"];
    let node = LoggedNode::start(&directory.path().join("node"), &flags);
    let hello = [&[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3][..], &[7; 194]].concat();
    // One address may dial five times at once.
    for _ in 0..2 {
        for (said, begins) in [(&hello[..], &[0x15, 3][..]), (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"HTTP/1.1 400")] {
            let mut stream = dial(&node);
            stream.write_all(said).unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).unwrap();
            assert!(answer.starts_with(begins), "{}", String::from_utf8_lossy(&answer));
        }
    }
    // Nobody was blamed, and nobody banned.
    let mut download = dial(&node);
    download.write_all(&recorded("GetPeers")).unwrap();
    assert_eq!(next(&mut download), (0x11, vec![0; 4]));
}

#[test]
fn without_the_flag_nobody_is_answered_without_a_handshake() {
    let directory = tempfile::tempdir().unwrap();
    let node = LoggedNode::start(&directory.path().join("node"), &["--listen", "127.0.0.1:0"]);
    let mut download = dial(&node);
    download.write_all(&recorded("GetHeaders")).unwrap();
    assert_eq!(next(&mut download).0, 0xff);
    let done = program(&["run", "--without-handshake", "none,10.0.0.0/8"]).run();
    assert_eq!(done.code, 2);
    assert!(done.stderr.contains("--without-handshake none cannot be combined"), "{}", done.stderr);
}

/// As .NET's SslStream: it trusts an authority, expects a certificate for the address that it dialed, and shows nothing itself.
#[test]
fn openssl_without_certificate_and_alpn_is_a_peer_whose_id_is_a_claim_in_tls_1_3_and_1_2() {
    let directory = tempfile::tempdir().unwrap();
    let office = Office::open(&directory.path().join("office"));
    let flags = office.flags("node", &["127.0.0.1"]);
    let root = directory.path().join("office/root.pem");
    let anybody = ["--listen", "127.0.0.1:0", "--tls-clients", "optional", "--tls-min", "1.2"];
    let node = LoggedNode::start(&directory.path().join("node"), &[&anybody[..], &borrowed(&flags)].concat());
    for version in ["-tls1_3", "-tls1_2"] {
        let trusts = [version, "-CAfile", root.to_str().unwrap(), "-verify_ip", "127.0.0.1", "-verify_return_error"];
        let Some(mut client) = s_client(&node.listening()[0], &trusts) else { return };
        client.0.stdin.as_mut().unwrap().write_all(&recorded("Handshake")).unwrap();
        assert_eq!(next(client.0.stdout.as_mut().unwrap()).0, 0x02, "{version}");
        let line = node.says("peer connected");
        assert!(line.contains("claimed=true") && line.contains("csharp-late"), "{line}");
    }
    let log = node.stop();
    assert_eq!(log.matches("peer connected").count(), 2, "{log}");
}

#[test]
fn by_default_openssl_without_certificate_is_refused_and_so_is_tls_1_2() {
    let directory = tempfile::tempdir().unwrap();
    let node = LoggedNode::start(&directory.path().join("node"), &["--listen", "127.0.0.1:0", "--tls", "any"]);
    let Some(_client) = s_client(&node.listening()[0], &["-alpn", "spacetime/2"]) else { return };
    node.says("it showed no certificate");
    let Some(_client) = s_client(&node.listening()[0], &["-tls1_2"]) else { return };
    node.says("no TLS version");
}

#[test]
fn flags_that_let_anybody_in_are_refused_where_identities_are_compared() {
    for tls in ["off", "first-use", "pinned"] {
        for (flag, value) in [("--tls-clients", "optional"), ("--tls-min", "1.2")] {
            let pin = "00".repeat(32);
            let mut arguments = vec!["run", "--tls", tls, flag, value];
            if tls == "pinned" {
                arguments.extend(["--pin", &pin]);
            }
            let done = program(&arguments).run();
            assert_eq!(done.code, 2, "{arguments:?}: {done:?}");
            assert!(done.stderr.contains(&format!("{flag} {value} needs --tls any or --tls ca")), "{}", done.stderr);
        }
    }
}

/// It was said to have broken the TLS protocol, and was blamed.
#[test]
fn a_listener_that_begins_as_a_tls_client_is_told_so_in_words() {
    let directory = tempfile::tempdir().unwrap();
    let capture = TcpListener::bind("127.0.0.1:0").unwrap();
    let Some(client) = s_client(&capture.local_addr().unwrap().to_string(), &[]) else { return };
    let (mut stream, _) = capture.accept().unwrap();
    // The whole record: it may come in pieces.
    let mut hello = vec![0; 5];
    stream.read_exact(&mut hello).unwrap();
    hello.resize(5 + usize::from(u16::from_be_bytes([hello[3], hello[4]])), 0);
    stream.read_exact(&mut hello[5..]).unwrap();
    drop(client);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let flags = ["--no-listen", "--tls", "any", "--exempt", "none", "--connect", &address];
    let node = LoggedNode::start(&directory.path().join("node"), &flags);
    let mut dialed = Vec::new();
    for _ in 0..2 {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&hello).unwrap();
        dialed.push(stream);
    }
    let line = node.says("is not reached");
    assert!(line.contains("begins TLS as a client, as the C# library's listener does"), "{line}");
    assert!(!node.text().contains("banned") && !node.text().contains("broke the TLS protocol"), "{}", node.text());
}

/// Made by the lines of the README, as an operator types them.
#[test]
fn the_certificate_of_the_readme_is_one_that_openssl_takes_for_the_address() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md")).unwrap();
    let lines: Vec<&str> = readme
        .lines()
        .skip_while(|line| !line.starts_with("openssl req -x509"))
        .take_while(|line| !line.starts_with("spacetime-node"))
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(lines.len(), 5, "{lines:?}");
    let directory = tempfile::tempdir().unwrap();
    if Command::new("openssl").arg("version").output().is_err() {
        return eprintln!("skipped: openssl cannot be run here");
    }
    let script = lines.join("\n").replace("192.0.2.7", "127.0.0.1");
    let made = Command::new("sh").args(["-e", "-c", &script]).current_dir(directory.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--tls",
        "ca",
        "--ca",
        &path("root.pem"),
        "--tls-cert",
        &path("node.crt"),
        "--tls-key",
        &path("node.key"),
        "--tls-clients",
        "optional",
    ];
    let node = LoggedNode::start(&directory.path().join("node"), &flags);
    let trusts = ["-x509_strict", "-CAfile", &path("root.pem"), "-verify_ip", "127.0.0.1", "-verify_return_error"];
    let Some(mut client) = s_client(&node.listening()[0], &trusts) else { return };
    client.0.stdin.as_mut().unwrap().write_all(&recorded("Handshake")).unwrap();
    assert_eq!(next(client.0.stdout.as_mut().unwrap()).0, 0x02);
}
