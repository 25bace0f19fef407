//! OpenSSL on the other side: what we say of ourselves, it reads; what it says of itself, we do.
//!
//! Skipped, with a line that says so, where there is no `openssl` to run.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use spacetime_network::close::{Blame, TlsFault};
use spacetime_network::id::VerifiedId;
use spacetime_network::link::tls::identity::Identity;
use spacetime_network::link::tls::trust::Trust;

use crate::engine::{Do, Engine, Seen};

/// A folder for OpenSSL's files; `None` where it cannot be run.
struct Foreign {
    folder: tempfile::TempDir,
}

impl Foreign {
    fn new() -> Option<Self> {
        match Command::new("openssl").arg("version").output() {
            Ok(version) if version.status.success() => Some(Foreign { folder: tempfile::tempdir().unwrap() }),
            _ => {
                eprintln!("skipped: openssl cannot be run here");
                None
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("openssl");
        command.args(arguments).current_dir(self.folder.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    /// A self-signed certificate in `cert.pem` of a new key in `key.pem`; answers its id as we reckon it.
    fn certificate(&self, algorithm: &[&str]) -> VerifiedId {
        self.run(&[&["genpkey", "-out", "key.pem", "-algorithm"], algorithm].concat());
        self.run(&["req", "-x509", "-key", "key.pem", "-out", "cert.pem", "-subj", "/CN=foreign", "-days", "1"]);
        let read = |name: &str| fs::read(self.path(name)).unwrap();
        Identity::from_pem(&read("cert.pem"), &read("key.pem")).unwrap().id()
    }

    /// `s_client`, to be killed when it was seen enough of.
    fn dial(&self, address: SocketAddr, arguments: &[&str]) -> Killed {
        let address = address.to_string();
        let mut command = self.command(&["s_client", "-quiet", "-connect", &address]);
        Killed(
            command
                .args(arguments)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap(),
        )
    }
}

/// A child that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const OURS: [&str; 6] = ["-cert", "cert.pem", "-key", "key.pem", "-alpn", "spacetime/2"];

fn frame(payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32 + 1).to_le_bytes().to_vec();
    frame.push(7);
    frame.extend_from_slice(payload);
    frame
}

fn anyone() -> Engine {
    Engine::start(&Identity::generate().unwrap(), Trust::Any)
}

#[test]
fn openssl_reads_our_certificate_as_it_is_meant() {
    let Some(foreign) = Foreign::new() else { return };
    let identity = Identity::generate().unwrap();
    fs::write(foreign.path("ours.der"), identity.certificate()).unwrap();
    foreign.run(&["x509", "-inform", "DER", "-in", "ours.der", "-out", "ours.pem"]);
    let text = foreign.run(&["x509", "-in", "ours.pem", "-noout", "-text"]).stdout;
    let text = String::from_utf8(text).unwrap();
    let id = identity.id().to_string();
    for part in ["Version: 3", "ED25519", "Not Before: Jan  1 00:00:00 1975", "Not After : Jan  1 00:00:00 4096", &id] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    // Its own signature, checked by somebody else.
    foreign.run(&["verify", "-check_ss_sig", "-CAfile", "ours.pem", "ours.pem"]);
    fs::write(foreign.path("key.pem"), foreign.run(&["x509", "-in", "ours.pem", "-noout", "-pubkey"]).stdout).unwrap();
    foreign.run(&["pkey", "-pubin", "-in", "key.pem", "-outform", "DER", "-out", "spki.der"]);
    let digest = String::from_utf8(foreign.run(&["dgst", "-sha256", "-r", "spki.der"]).stdout).unwrap();
    assert!(digest.starts_with(&id), "{digest}");
}

#[test]
fn a_client_of_openssl_gets_its_frame_back() {
    let Some(foreign) = Foreign::new() else { return };
    let id = foreign.certificate(&["ed25519"]);
    let engine = Engine::start(&Identity::generate().unwrap(), Trust::Pinned([id].into()));
    let mut client = foreign.dial(engine.address, &OURS);
    let (conn, seen) = engine.opened();
    assert_eq!(seen, id);
    let sent = frame(b"from openssl and back");
    client.0.stdin.as_mut().unwrap().write_all(&sent).unwrap();
    assert_eq!(engine.next(), Seen::Frame(conn, b"from openssl and back".to_vec()));
    let mut echoed = vec![0; sent.len()];
    client.0.stdout.as_mut().unwrap().read_exact(&mut echoed).unwrap();
    assert_eq!(echoed, sent);
}

#[test]
fn a_client_of_openssl_that_is_refused_is_refused_for_what_it_did() {
    let Some(foreign) = Foreign::new() else { return };
    let id = foreign.certificate(&["ed25519"]);
    let engine = anyone();
    let refused = |arguments: &[&str]| {
        let _client = foreign.dial(engine.address, arguments);
        engine.fault()
    };
    let key = ["-cert", "cert.pem", "-key", "key.pem"];
    assert_eq!(refused(&["-alpn", "spacetime/2"]), TlsFault::NoCertificate);
    assert_eq!(refused(&[&key[..], &["-alpn", "h2"]].concat()), TlsFault::WrongService);
    assert_eq!(refused(&key), TlsFault::WrongService);
    assert_eq!(refused(&[&key[..], &["-alpn", "spacetime/3,h2"]].concat()), TlsFault::WrongVersion);
    assert_eq!(refused(&[&OURS[..], &["-tls1_2"]].concat()), TlsFault::NothingInCommon);

    // More certificates than a node has, and then more than anybody needs.
    let one = fs::read_to_string(foreign.path("cert.pem")).unwrap();
    for (count, fault) in [(1, TlsFault::UnfitCertificate), (30, TlsFault::BadCertificate)] {
        fs::write(foreign.path("chain.pem"), one.repeat(count)).unwrap();
        assert_eq!(refused(&[&OURS[..], &["-cert_chain", "chain.pem"]].concat()), fault, "{count} more");
    }

    engine.tls.set_trust(Trust::Pinned([engine.tls.id()].into()));
    assert_eq!(refused(&OURS), TlsFault::UnknownIdentity);
    assert_eq!(engine.tls.refusals().last().unwrap().seen, Some(id));
}

#[test]
fn a_client_of_openssl_with_another_kind_of_key_is_refused() {
    let Some(foreign) = Foreign::new() else { return };
    let engine = anyone();
    for algorithm in [&["RSA", "-pkeyopt", "rsa_keygen_bits:2048"][..], &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]]
    {
        foreign.certificate(algorithm);
        let _client = foreign.dial(engine.address, &OURS);
        let fault = engine.fault();
        // It finds out by itself that it cannot sign in the one way that is accepted, and shows nothing or gives up.
        let expected = [TlsFault::NoCertificate, TlsFault::UnfitCertificate, TlsFault::Alert(40), TlsFault::Cut];
        assert!(expected.contains(&fault), "{algorithm:?}: {fault:?}");
    }
}

/// As .NET's SslStream and browsers come.
#[test]
fn a_client_of_openssl_without_certificate_and_alpn_is_let_in_where_that_is_allowed() {
    let Some(foreign) = Foreign::new() else { return };
    let id = foreign.certificate(&["ed25519"]);
    let engine = Engine::for_anybody(&Identity::generate().unwrap(), Trust::Any);
    for version in ["-tls1_3", "-tls1_2"] {
        let mut client = foreign.dial(engine.address, &[version]);
        let Seen::Opened(conn, None) = engine.next() else { panic!("it is let in, and nobody is proven") };
        let sent = frame(version.as_bytes());
        client.0.stdin.as_mut().unwrap().write_all(&sent).unwrap();
        assert_eq!(engine.next(), Seen::Frame(conn, version.as_bytes().to_vec()));
        let mut echoed = vec![0; sent.len()];
        client.0.stdout.as_mut().unwrap().read_exact(&mut echoed).unwrap();
        assert_eq!(echoed, sent, "{version}");
        drop(client);
        assert!(matches!(engine.next(), Seen::Closed(_)));
    }
    // Who shows something is judged by it.
    let _client = foreign.dial(engine.address, &OURS);
    assert_eq!(engine.opened().1, id);
}

#[test]
fn a_client_of_openssl_without_certificate_is_refused_where_identities_are_compared() {
    let Some(foreign) = Foreign::new() else { return };
    foreign.certificate(&["ed25519"]);
    let engine = Engine::for_anybody(&Identity::generate().unwrap(), Trust::Any);
    let pinned = Trust::Pinned([engine.tls.id()].into());
    for trust in [pinned, Trust::FirstUse(Default::default())] {
        engine.tls.set_trust(trust);
        let _client = foreign.dial(engine.address, &["-alpn", "spacetime/2"]);
        assert_eq!(engine.fault(), TlsFault::NoCertificate);
        let _client = foreign.dial(engine.address, &[]);
        assert_eq!(engine.fault(), TlsFault::NoCertificate);
    }
    engine.tls.set_trust(Trust::Any);
    let _client = foreign.dial(engine.address, &["-alpn", "h2"]);
    assert_eq!(engine.fault(), TlsFault::WrongService);
}

/// The C# library's listener begins TLS as a client. It was said to have broken the protocol, and blamed.
#[test]
fn a_listener_that_begins_as_a_client_is_incompatible_and_not_to_blame() {
    let Some(foreign) = Foreign::new() else { return };
    let engine = anyone();
    let hello = {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = foreign.dial(listener.local_addr().unwrap(), &[]);
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = vec![0; 4096];
        let count = stream.read(&mut bytes).unwrap();
        bytes.truncate(count);
        bytes
    };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    engine.dial(listener.local_addr().unwrap());
    let (mut stream, _) = listener.accept().unwrap();
    stream.write_all(&hello).unwrap();
    let fault = engine.fault();
    assert_eq!((fault, fault.blame()), (TlsFault::AlsoClient, Blame::Incompatible));
    // From one who dials us a second hello is none of that.
    let mut stream = TcpStream::connect(engine.address).unwrap();
    stream.write_all(&[&hello[..], &hello].concat()).unwrap();
    assert_ne!(engine.fault(), TlsFault::AlsoClient);
}

/// `s_server`, and where it listens.
fn serve(foreign: &Foreign, arguments: &[&str]) -> (Killed, BufReader<std::process::ChildStdout>, SocketAddr) {
    let mut command = foreign.command(&["s_server", "-accept", "127.0.0.1:0", "-cert", "cert.pem", "-key", "key.pem"]);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut server = Killed(command.spawn().unwrap());
    let mut output = BufReader::new(server.0.stdout.take().unwrap());
    loop {
        let mut line = String::new();
        assert_ne!(output.read_line(&mut line).unwrap(), 0, "s_server has left");
        if let Some(address) = line.strip_prefix("ACCEPT ") {
            return (server, output, address.trim_end().parse().unwrap());
        }
    }
}

#[test]
fn a_server_of_openssl_knows_us_and_we_know_it() {
    let Some(foreign) = Foreign::new() else { return };
    let id = foreign.certificate(&["ed25519"]);
    let engine = Engine::start(&Identity::generate().unwrap(), Trust::Pinned([id].into()));
    let (_server, mut output, address) = serve(&foreign, &["-Verify", "1", "-alpn", "spacetime/2"]);
    engine.dial(address);
    let (conn, seen) = engine.opened();
    assert_eq!(seen, id);
    engine.tell(Do::Send(conn, b"\nhello to openssl\n".to_vec()));
    let mut text = String::new();
    while !text.contains("hello to openssl") {
        let mut line = Vec::new();
        assert_ne!(output.read_until(b'\n', &mut line).unwrap(), 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&line));
    }
    assert!(text.contains(&engine.tls.id().to_string()[..16]), "it shows who we are: {text}");
}

#[test]
fn a_server_of_openssl_that_we_do_not_trust_is_refused() {
    let Some(foreign) = Foreign::new() else { return };
    let id = foreign.certificate(&["ed25519"]);
    let engine =
        Engine::start(&Identity::generate().unwrap(), Trust::Pinned([Identity::generate().unwrap().id()].into()));
    let refused = |arguments: &[&str]| {
        let (_server, _output, address) = serve(&foreign, arguments);
        engine.dial(address);
        engine.fault()
    };
    assert_eq!(refused(&["-Verify", "1", "-alpn", "spacetime/2"]), TlsFault::UnknownIdentity);
    assert_eq!(engine.tls.refusals().last().unwrap().seen, Some(id));
    engine.tls.set_trust(Trust::Any);
    assert_eq!(refused(&["-Verify", "1"]), TlsFault::WrongService);
    assert_eq!(refused(&["-Verify", "1", "-alpn", "h2"]), TlsFault::Alert(120));
    assert_eq!(refused(&["-Verify", "1", "-alpn", "spacetime/2", "-tls1_2"]), TlsFault::Alert(70));
    foreign.certificate(&["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]);
    assert_eq!(refused(&["-Verify", "1", "-alpn", "spacetime/2"]), TlsFault::Alert(40));
}

/// The file that other tools write is the file that we read.
#[test]
fn a_key_made_by_openssl_is_a_node_key() {
    let Some(foreign) = Foreign::new() else { return };
    foreign.run(&["genpkey", "-algorithm", "ed25519", "-outform", "DER", "-out", "key.der"]);
    let identity = Identity::from_pkcs8(&read(&foreign.path("key.der"))).unwrap();
    foreign.run(&["pkey", "-inform", "DER", "-in", "key.der", "-pubout", "-outform", "DER", "-out", "spki.der"]);
    let digest = foreign.run(&["dgst", "-sha256", "-r", "spki.der"]).stdout;
    assert!(String::from_utf8(digest).unwrap().starts_with(&identity.id().to_string()));
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap()
}
