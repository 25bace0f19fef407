//! WebSocket on real sockets: an echo that is asked by a raw client, by our own dialer, in plain text and in TLS.

mod socks_support;
mod web_socket_support;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::Duration;

use socks_support::{Manner, TestProxy};
use spacetime_network::close::{CloseReason, TlsFault, WebSocketFault};
use spacetime_network::driver::{Config, Driver, Event, Handle, Net, Protocol};
use spacetime_network::id::{ConnId, DialId, Direction};
use spacetime_network::link::socks::Proxy;
use spacetime_network::link::tls::identity::Identity;
use spacetime_network::link::tls::trust::Trust;
use spacetime_network::link::tls::{Tls, TlsOptions};
use spacetime_network::link::web_socket::{WebSocketOptions, WebSocketTarget};
use spacetime_network::time::Now;
use spacetime_network::wire::{FrameRules, Priority};
use web_socket_support::{RawClient, masked};

static RULES: FrameRules = FrameRules::any(1 << 22);

/// Says back what it hears, and notes how connections ended.
#[derive(Default)]
struct Echo {
    ended: Vec<&'static str>,
    released: Vec<&'static str>,
    opened: usize,
    web_sockets: usize,
}

impl Protocol for Echo {
    type Command = ();

    fn handle(&mut self, _now: Now, event: Event<'_, ()>, net: &mut Net) {
        match event {
            Event::Opened { conn, .. } => {
                self.opened += 1;
                self.web_sockets += usize::from(net.is_web_socket(conn));
            }
            Event::Frame { conn, frame } => {
                assert!(
                    net.send(conn, Priority::Normal, frame.kind, &frame.payload)
                        != spacetime_network::driver::SendOutcome::Closed
                );
            }
            Event::Closed { reason, .. } => self.ended.push(reason.label()),
            Event::AdmissionReleased { reason, .. } => self.released.push(reason.label()),
            _ => {}
        }
    }
}

/// A loop on a thread of its own, until it is stopped.
struct Server {
    web: SocketAddr,
    plain: SocketAddr,
    handle: Handle<()>,
    thread: JoinHandle<Driver<Echo>>,
}

impl Server {
    fn start(config: Config) -> Self {
        let mut config = config;
        config.rules = &RULES;
        let mut driver = Driver::new(config, Echo::default()).unwrap();
        let plain = driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let web = driver.listen_web_socket("127.0.0.1:0".parse().unwrap(), WebSocketOptions::default()).unwrap();
        let handle = driver.handle();
        let thread = std::thread::spawn(move || {
            driver.run().unwrap();
            driver
        });
        Server { web, plain, handle, thread }
    }

    fn stop(self) -> Driver<Echo> {
        self.handle.stop();
        self.thread.join().unwrap()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.web).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }
}

/// A frame of the wire protocol.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    [&spacetime_network::wire::frame::header(kind, payload.len()).unwrap()[..], payload].concat()
}

#[test]
fn a_client_of_any_make_is_a_peer_like_any_other() {
    let server = Server::start(Config::default());
    let mut client = RawClient::upgrade(server.connect(), "");
    client.send(0x82, &frame(7, b"hello"));
    assert_eq!(client.receive(), Some((2, frame(7, b"hello"))));
    // Any packing and any split.
    let two = [frame(1, b"one"), frame(2, &[9; 300])].concat();
    client.send(0x02, &two[..4]);
    client.send(0x89, b"between");
    client.send(0x00, &two[4..10]);
    client.send(0x80, &two[10..]);
    assert_eq!(client.receive(), Some((10, b"between".to_vec())));
    assert_eq!(client.receive(), Some((2, frame(1, b"one"))));
    assert_eq!(client.receive(), Some((2, frame(2, &[9; 300]))));
    let large: Vec<u8> = (0..3_000_000u32).map(|n| (n * 31) as u8).collect();
    client.send(0x82, &frame(3, &large));
    assert_eq!(client.receive(), Some((2, frame(3, &large))));
    // It closes, and is answered with the same code before the end of the stream.
    client.send(0x88, &1000u16.to_be_bytes());
    assert_eq!(client.close_code(), Some(1000));
    assert_eq!(client.receive(), None);
    drop(client);
    let mut driver = server.stop();
    let echo = driver.protocol_mut();
    assert_eq!((echo.opened, echo.web_sockets), (1, 1));
    assert_eq!(echo.ended, ["remote-closed"]);
    assert_eq!(driver.net().totals().web_sockets, 1);
    assert_eq!(driver.net().memory(), (0, 0));
}

#[test]
fn what_is_no_upgrade_is_answered_in_http_and_frees_its_place() {
    let server = Server::start(Config::default());
    let ask = |request: &[u8]| {
        let mut stream = server.connect();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    };
    assert!(ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 426 "));
    assert!(ask(b"GET /favicon.ico HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(ask(&frame(7, b"plain frames at the wrong port")).starts_with("HTTP/1.1 400 "));
    let (_, head) = RawClient::ask(server.connect(), "/", "Origin: https://evil.example\r\n");
    assert!(head.starts_with("HTTP/1.1 403 "), "{head}");
    let mut cut = server.connect();
    cut.write_all(b"GET / HT").unwrap();
    cut.shutdown(Shutdown::Write).unwrap();
    assert_eq!(cut.read_to_end(&mut Vec::new()).unwrap(), 0);
    // A plain peer beside them.
    let mut plain = TcpStream::connect(server.plain).unwrap();
    plain.write_all(&frame(5, b"plain")).unwrap();
    let mut answer = vec![0; frame(5, b"plain").len()];
    plain.read_exact(&mut answer).unwrap();
    assert_eq!(answer, frame(5, b"plain"));
    drop(plain);
    let mut driver = server.stop();
    let released: BTreeMap<&str, usize> =
        driver.protocol_mut().released.iter().fold(BTreeMap::new(), |mut all, label| {
            *all.entry(*label).or_default() += 1;
            all
        });
    assert_eq!(released, BTreeMap::from([("ws-cut", 1), ("ws-not-an-upgrade", 3), ("ws-origin-refused", 1)]));
    assert_eq!(driver.protocol_mut().web_sockets, 0);
}

#[test]
fn whoever_breaks_the_rules_is_closed_with_the_code_that_says_which() {
    let server = Server::start(Config::default());
    for (bytes, code) in [
        (masked(0x81, b"text"), 1003),
        (masked(0x83, b""), 1002),
        (masked(0x80, b"of nothing"), 1002),
        (masked(0x88, &[3, 0xe8, 0xff]), 1007),
        (vec![0x82, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 3, 4], 1009),
        (vec![0x82, 1, b'x'], 1002),
        (masked(0x89, b"p").repeat(200), 1008),
    ] {
        let mut client = RawClient::upgrade(server.connect(), "");
        client.stream.write_all(&bytes).unwrap();
        assert_eq!(client.close_code(), Some(code));
        assert_eq!(client.receive(), None, "and the stream ends");
    }
    let mut driver = server.stop();
    let ended = &driver.protocol_mut().ended;
    assert_eq!(ended.len(), 7);
    assert!(ended.iter().all(|label| label.starts_with("ws-")), "{ended:?}");
}

/// Proxies cut what is quiet for half a minute. A protocol of an embedder's own may say nothing for hours.
#[test]
fn a_quiet_web_socket_is_pinged_before_a_proxy_cuts_it() {
    let server = Server::start(Config::default());
    let mut client = RawClient::upgrade(server.connect(), "");
    client.stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    assert_eq!(client.receive(), Some((9, Vec::new())));
    client.send(0x8a, b"");
    client.send(0x82, &frame(7, b"still here"));
    assert_eq!(client.receive(), Some((2, frame(7, b"still here"))));
    drop(client);
    server.stop();
}

#[test]
fn a_stop_says_that_we_go_away() {
    let server = Server::start(Config::default());
    let mut client = RawClient::upgrade(server.connect(), "");
    client.send(0x82, &frame(1, b"x"));
    assert!(client.receive().is_some());
    server.handle.stop();
    assert_eq!(client.close_code(), Some(1001));
    drop(client);
    server.stop();
}

/// More silent sockets than there are places for upgrades.
#[test]
fn silent_sockets_lock_nobody_out() {
    let server = Server::start(Config::default());
    let silent: Vec<TcpStream> = (0..70).map(|_| server.connect()).collect();
    let mut client = RawClient::upgrade(server.connect(), "");
    client.send(0x82, &frame(1, b"still here"));
    assert_eq!(client.receive(), Some((2, frame(1, b"still here"))));
    drop((silent, client));
    server.stop();
}

/// Dials, says something and waits for the echo.
struct Dialer {
    target: Option<(SocketAddr, WebSocketTarget)>,
    conn: Option<ConnId>,
    heard: Vec<Vec<u8>>,
    failed: Option<CloseReason>,
    is_web_socket: bool,
    has_identity: bool,
}

impl Protocol for Dialer {
    type Command = ();

    fn handle(&mut self, _now: Now, event: Event<'_, ()>, net: &mut Net) {
        match event {
            Event::TurnEnded => {
                if let Some((remote, target)) = self.target.take() {
                    net.dial_web_socket(DialId(1), remote, Duration::from_secs(30), target);
                }
            }
            Event::Opened { conn, direction, identity, .. } => {
                assert_eq!(direction, Direction::Outbound(DialId(1)));
                self.conn = Some(conn);
                (self.is_web_socket, self.has_identity) = (net.is_web_socket(conn), identity.is_some());
                for size in [0, 100, 5_000, 1_000_000] {
                    let _ = net.send(conn, Priority::Normal, 4, &vec![size as u8 ^ 3; size]);
                }
            }
            Event::Frame { frame, .. } => self.heard.push(frame.payload.to_vec()),
            Event::DialFailed { reason, .. } => self.failed = Some(reason),
            _ => {}
        }
    }
}

fn dial(config: Config, remote: SocketAddr, target: &str) -> Driver<Dialer> {
    let mut config = config;
    config.rules = &RULES;
    let target = Some((remote, target.parse().unwrap()));
    let dialer = Dialer { target, conn: None, heard: vec![], failed: None, is_web_socket: false, has_identity: false };
    let mut driver = Driver::new(config, dialer).unwrap();
    while driver.protocol().failed.is_none() && driver.protocol().heard.len() < 4 {
        driver.turn(Some(Duration::from_millis(10))).unwrap();
    }
    driver
}

fn check_heard(dialer: &Dialer) {
    let sizes: Vec<usize> = dialer.heard.iter().map(Vec::len).collect();
    assert_eq!(sizes, [0, 100, 5_000, 1_000_000]);
    assert!(dialer.heard.iter().all(|heard| heard.iter().all(|byte| *byte == heard.len() as u8 ^ 3)));
    assert!(dialer.is_web_socket);
}

#[test]
fn we_dial_over_web_socket_as_well() {
    let server = Server::start(Config::default());
    let driver = dial(Config::default(), server.web, "node.example:80/");
    check_heard(driver.protocol());
    assert!(!driver.protocol().has_identity);
    drop(driver);
    let driver = dial(Config::default(), server.web, "node.example:80/elsewhere");
    assert_eq!(driver.protocol().failed, Some(CloseReason::WebSocket(WebSocketFault::Refused(404))));
    server.stop();
}

#[test]
fn inside_of_tls_both_ends_prove_who_they_are() {
    let tls = || Tls::new(&Identity::generate().unwrap(), Trust::Any, TlsOptions::default()).unwrap();
    let secured = || {
        let mut config = Config::default();
        config.tls = Some(tls());
        config
    };
    let server = Server::start(secured());
    let driver = dial(secured(), server.web, "node.example:443/");
    check_heard(driver.protocol());
    assert!(driver.protocol().has_identity);
    drop(driver);
    // Without TLS, the first bytes are no hello.
    let driver = dial(Config::default(), server.web, "node.example:443/");
    let failed = driver.protocol().failed;
    assert!(
        matches!(failed, Some(CloseReason::WebSocket(WebSocketFault::BadUpgrade | WebSocketFault::Cut))),
        "{failed:?}"
    );
    let driver = server.stop();
    assert_eq!(driver.net().totals().web_sockets, 1);
}

/// The request of the upgrade waited behind a handshake that had failed, and the loop turned without a pause until the end of the
/// linger. The simulator found it.
#[test]
fn a_dial_that_tls_refuses_keeps_no_loop_busy() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut hello = [0; 4096];
        assert!(stream.read(&mut hello).unwrap() > 0);
        // Fatal: no application protocol.
        stream.write_all(&[21, 3, 3, 0, 2, 2, 120]).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        while stream.read(&mut hello).is_ok_and(|count| count > 0) {}
    });
    let mut config = Config::default();
    config.rules = &RULES;
    config.tls = Some(Tls::new(&Identity::generate().unwrap(), Trust::Any, TlsOptions::default()).unwrap());
    let target = Some((remote, "node.example:443/".parse().unwrap()));
    let dialer = Dialer { target, conn: None, heard: vec![], failed: None, is_web_socket: false, has_identity: false };
    let mut driver = Driver::new(config, dialer).unwrap();
    // It dials at the end of this one.
    driver.turn(Some(Duration::ZERO)).unwrap();
    let mut turns = 0;
    while driver.protocol().failed.is_none() {
        driver.turn(Some(Duration::from_secs(60))).unwrap();
        turns += 1;
    }
    assert_eq!(driver.protocol().failed, Some(CloseReason::Tls(TlsFault::Alert(120))));
    assert!(turns < 50, "{turns} turns");
    drop(driver);
    server.join().unwrap();
}

#[test]
fn through_a_proxy_it_is_the_same_in_plain_text_and_in_tls() {
    let tls = || Tls::new(&Identity::generate().unwrap(), Trust::Any, TlsOptions::default()).unwrap();
    let proxy = TestProxy::start(Manner::Slow);
    for is_secure in [false, true] {
        let settings = || {
            let mut config = Config::default();
            config.tls = is_secure.then(tls);
            config
        };
        let server = Server::start(settings());
        let mut config = settings();
        config.proxy = Some(Proxy::new(proxy.address));
        let driver = dial(config, server.web, "node.example:80/");
        check_heard(driver.protocol());
        assert_eq!(driver.protocol().has_identity, is_secure);
        drop(driver);
        server.stop();
    }
    assert_eq!(proxy.asked().len(), 2);
}

#[test]
fn a_known_address_is_dialed_over_web_socket_by_the_common_call() {
    let server = Server::start(Config::default());
    let target: WebSocketTarget = "node.example:80/".parse().unwrap();
    let mut config = Config::default();
    config.rules = &RULES;
    let dialer =
        Dialer { target: None, conn: None, heard: vec![], failed: None, is_web_socket: false, has_identity: false };
    let mut driver = Driver::new(config, dialer).unwrap();
    driver.with(|_, _, net| {
        net.set_web_socket(&target, &[server.web]);
        net.dial(DialId(1), server.web, Duration::from_secs(30));
    });
    while driver.protocol().failed.is_none() && driver.protocol().heard.len() < 4 {
        driver.turn(Some(Duration::from_millis(10))).unwrap();
    }
    check_heard(driver.protocol());
    driver.with(|protocol, _, net| {
        net.set_web_socket(&target, &[]);
        protocol.heard.clear();
        net.dial(DialId(1), server.plain, Duration::from_secs(30));
    });
    while driver.protocol().failed.is_none() && driver.protocol().heard.len() < 4 {
        driver.turn(Some(Duration::from_millis(10))).unwrap();
    }
    assert!(!driver.protocol().is_web_socket);
    drop(driver);
    server.stop();
}
