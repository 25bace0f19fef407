//! Dials through a proxy, on real sockets: whom it is asked for, what a bad one leads to, and that nothing goes past it.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use spacetime_network::address::is_stand_in;
use spacetime_network::close::{CloseReason, ProxyFault};
use spacetime_network::driver::{Config, Driver, NoStandIn, SendOutcome};
use spacetime_network::id::DialId;
use spacetime_network::link::socks::{Credentials, Login, Proxy};
use spacetime_network::wire::Priority;

use crate::party::{Party, Seen, config, echo, frame, listen, party, payload, reacting, turn_both, turn_until};
use crate::socks_support::{Asked, Manner, TestProxy};

const LONG: Duration = Duration::from_secs(60);

fn through(address: SocketAddr, login: Login) -> Config {
    let mut config = config();
    let mut proxy = Proxy::new(address);
    proxy.login = login;
    config.proxy = Some(proxy);
    config
}

fn user(password: &str) -> Login {
    Login::User(Credentials::new("me", password).unwrap())
}

/// One that says something as soon as it is connected.
fn talker(config: Config) -> Driver<Party> {
    reacting(config, |seen, net| {
        if let Seen::Opened(conn) = seen {
            let _ = net.send(*conn, Priority::Normal, 7, &payload(100_000, 3));
        }
    })
}

/// Dials, and answers how that failed.
fn failure(driver: &mut Driver<Party>, to: SocketAddr, timeout: Duration) -> CloseReason {
    let before = driver.protocol().seen.len();
    driver.with(|_, _, net| net.dial(DialId(9), to, timeout));
    turn_until(driver, |driver| driver.protocol().seen.len() > before);
    assert_eq!(driver.net().connections(), 0);
    match driver.protocol().seen[before..] {
        [Seen::DialFailed(DialId(9), reason)] => reason,
        ref other => panic!("{other:?}"),
    }
}

/// Both ends talk through the proxy; answers what that was asked for.
fn talks(manner: Manner, login: Login, name: Option<&str>) -> Vec<Asked> {
    let proxy = TestProxy::start(manner);
    let (mut dialer, mut listener) = (talker(through(proxy.address, login)), echo(config()));
    let address = listen(&mut listener);
    dialer.with(|_, _, net| {
        let to = name.map_or(address, |name| net.stand_in(name, address.port()).unwrap());
        net.dial(DialId(1), to, LONG);
    });
    turn_both(&mut dialer, &mut listener, |dialer, _| dialer.protocol().frame_count() > 0);
    assert_eq!(dialer.protocol().frames(), [(7, payload(100_000, 3))]);
    let conn = dialer.protocol().opened()[0];
    let stats = dialer.net().conn_stats(conn).unwrap();
    assert_eq!(
        (stats.bytes_in, stats.bytes_out),
        (100_005, 100_005),
        "what is said with the proxy is no traffic of the peer's"
    );
    assert_eq!(proxy.left_from(), listener.protocol().admitted, "nobody came past the proxy");
    let mut asked = proxy.asked();
    for asked in &mut asked {
        assert_eq!(std::mem::take(&mut asked.port), address.port());
    }
    asked
}

fn asked(host: &str, login: Option<(&str, &str)>) -> Asked {
    let (user, password) = login.map(|(user, password)| (user.to_owned(), password.to_owned())).unzip();
    Asked { user, password, host: host.to_owned(), port: 0 }
}

#[test]
fn a_peer_is_reached_through_the_proxy_by_address_and_by_name() {
    assert_eq!(talks(Manner::Open, Login::Nobody, None), [asked("127.0.0.1", None)]);
    assert_eq!(talks(Manner::Open, Login::Nobody, Some("node.onion")), [asked("node.onion", None)]);
    assert_eq!(talks(Manner::Slow, Login::Nobody, Some("node.example")), [asked("node.example", None)]);
    assert_eq!(talks(Manner::Open, user("right"), None), [asked("127.0.0.1", None)], "who is not asked says nothing");
    assert_eq!(
        talks(Manner::Password("right"), user("right"), Some("a.example")),
        [asked("a.example", Some(("me", "right")))]
    );
}

#[test]
fn each_destination_is_asked_for_under_a_user_of_its_own() {
    let proxy = TestProxy::start(Manner::Open);
    let mut dialer = party(through(proxy.address, Login::PerDestination));
    let mut listener = echo(config());
    let port = listen(&mut listener).port();
    for (dial, name) in ["a.example", "b.example", "a.example"].into_iter().enumerate() {
        dialer.with(|_, _, net| {
            let to = net.stand_in(name, port).unwrap();
            net.dial(DialId(dial as u64), to, LONG);
        });
        turn_both(&mut dialer, &mut listener, |dialer, _| dialer.protocol().opened().len() == dial + 1);
    }
    let users: Vec<_> = proxy.asked().into_iter().map(|asked| asked.user.unwrap()).collect();
    assert!(users[0] == users[2] && users[0] != users[1], "{users:?}");
}

#[test]
fn what_comes_with_the_proxys_answer_is_the_peers_first_word() {
    // A frame and the beginning of another one, which the real peer then ends.
    let proxy = TestProxy::start(Manner::Eager(b"\x03\x00\x00\x00\x08hi\x04\x00\x00\x00\x09yo"));
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut dialer = party(through(proxy.address, Login::Nobody));
    dialer.with(|_, _, net| net.dial(DialId(1), peer.local_addr().unwrap(), LONG));
    turn_until(&mut dialer, |dialer| dialer.protocol().frame_count() == 1);
    let (mut stream, _) = peer.accept().unwrap();
    stream.write_all(b"u").unwrap();
    turn_until(&mut dialer, |dialer| dialer.protocol().frame_count() == 2);
    assert_eq!(dialer.protocol().frames(), [(8, b"hi".to_vec()), (9, b"you".to_vec())]);
}

#[test]
fn each_bad_proxy_is_a_fault_of_its_own_and_nobody_is_dialed_past_it() {
    use ProxyFault::*;
    let short = Duration::from_millis(200);
    let mut listener = party(config());
    let to = listen(&mut listener);
    for (manner, login, fault, timeout) in [
        (Manner::Silent, Login::Nobody, Silent, short),
        (Manner::SilentWhenAsked, Login::Nobody, Expired, short),
        (Manner::Says(b"SSH-2.0-OpenSSH_9.2\r\n"), Login::Nobody, NotSocks, LONG),
        (Manner::Says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Login::Nobody, NotSocks, LONG),
        (Manner::Says(b"\x05\x07"), Login::Nobody, Protocol, LONG),
        (Manner::Says(b"\x05\x00\x05\x00\x01"), Login::Nobody, Protocol, LONG),
        (Manner::Leaves, Login::Nobody, Cut, LONG),
        (Manner::LeavesWhenAsked, Login::Nobody, Dropped, LONG),
        (Manner::Password("right"), Login::Nobody, NoMethod, LONG),
        (Manner::Password("right"), user("wrong"), CredentialsRefused, LONG),
        (Manner::Refuses(1), Login::Nobody, Failed, LONG),
        (Manner::Refuses(2), Login::Nobody, NotAllowed, LONG),
        (Manner::Refuses(3), Login::Nobody, NetworkUnreachable, LONG),
        (Manner::Refuses(4), Login::Nobody, HostUnreachable, LONG),
        (Manner::Refuses(5), Login::Nobody, Refused, LONG),
        (Manner::Refuses(6), Login::Nobody, ProxyFault::Expired, LONG),
        (Manner::Refuses(7), Login::Nobody, NoConnect, LONG),
        (Manner::Refuses(8), Login::Nobody, AddressKind, LONG),
        (Manner::Refuses(0xF0), Login::Nobody, Other(0xF0), LONG),
    ] {
        let proxy = TestProxy::start(manner);
        let mut settings = through(proxy.address, login);
        // The one place must be free again each time.
        settings.connections = 1;
        let mut dialer = party(settings);
        for _ in 0..2 {
            assert_eq!(failure(&mut dialer, to, timeout), CloseReason::Proxy(fault), "{manner:?}");
        }
    }
    for _ in 0..10 {
        listener.turn(Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(listener.protocol().admitted, [], "somebody was dialed past the proxy");
}

#[test]
fn a_proxy_that_is_down_is_no_way_and_is_used_again_when_it_is_up() {
    let address = TestProxy::start(Manner::Open).address;
    let mut listener = echo(config());
    let to = listen(&mut listener);
    let mut dialer = talker(through(address, Login::Nobody));
    let down = CloseReason::Proxy(ProxyFault::Unreachable(ErrorKind::ConnectionRefused));
    // What was dropped may still take one.
    while failure(&mut dialer, to, LONG) != down {}
    assert_eq!(failure(&mut dialer, to, LONG), down);
    let _proxy = TestProxy::start_at(address, Manner::Open);
    dialer.with(|_, _, net| net.dial(DialId(1), to, LONG));
    turn_both(&mut dialer, &mut listener, |dialer, _| dialer.protocol().frame_count() > 0);
}

#[test]
fn a_stop_ends_a_dial_that_waits_for_the_proxy() {
    let proxy = TestProxy::start(Manner::Silent);
    let mut dialer = party(through(proxy.address, Login::Nobody));
    dialer.with(|_, _, net| net.dial(DialId(1), "192.0.2.7:7".parse().unwrap(), LONG));
    dialer.turn(Some(Duration::from_millis(20))).unwrap();
    dialer.handle().stop();
    dialer.run().unwrap();
    let end = Seen::DialFailed(DialId(1), CloseReason::Shutdown);
    assert!(dialer.protocol().seen.contains(&end), "{:?}", dialer.protocol().seen);
}

#[test]
fn names_have_an_address_where_there_is_a_proxy_and_what_no_proxy_can_reach_is_not_asked_for() {
    let mut plain = party(config());
    plain.with(|_, _, net| {
        assert_eq!(net.stand_in("a.example", 7), Err(NoStandIn::NoProxy));
        assert!(!net.has_proxy());
    });
    let proxy = TestProxy::start(Manner::Open);
    let mut dialer = party(through(proxy.address, Login::Nobody));
    let known = dialer.with(|_, _, net| {
        let known = net.stand_in("a.example", 7).unwrap();
        assert!(is_stand_in(known));
        assert_eq!(net.stand_in("A.EXAMPLE", 7), Ok(known));
        assert_ne!(net.stand_in("a.example", 8), Ok(known));
        for (host, port) in [("", 7), ("a.example", 0), (&*"x".repeat(256), 7)] {
            assert_eq!(net.stand_in(host, port), Err(NoStandIn::BadName));
        }
        assert!(net.open_datagrams("127.0.0.1:9".parse().unwrap()).is_err(), "they would go past it");
        known
    });
    let unknown = SocketAddr::new("240.0.0.9".parse().unwrap(), 7);
    assert_ne!(unknown, known);
    for nowhere in [unknown, "[fe80::1%1]:7".parse().unwrap()] {
        assert_eq!(failure(&mut dialer, nowhere, LONG), CloseReason::Proxy(ProxyFault::NoTarget), "{nowhere}");
    }
    assert_eq!(proxy.asked(), []);
}

#[test]
fn a_peer_that_leaves_and_a_proxy_that_dies_end_a_connection_like_any_other() {
    let mut proxy = Some(TestProxy::start(Manner::Open));
    let peer = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut dialer = party(through(proxy.as_ref().unwrap().address, Login::Nobody));
    for dial in 0..2 {
        dialer.with(|_, _, net| net.dial(DialId(dial as u64), peer.local_addr().unwrap(), LONG));
        turn_until(&mut dialer, |dialer| dialer.protocol().opened().len() == dial + 1);
        let (mut stream, _) = peer.accept().unwrap();
        let conn = dialer.protocol().opened()[dial];
        let sent = dialer.with(|_, _, net| net.send(conn, Priority::Normal, 7, b"x"));
        assert_eq!(sent, SendOutcome::Accepted { dropped: 0 });
        turn_until(&mut dialer, |dialer| dialer.net().queued_bytes(conn) == 0);
        let mut heard = [0; 6];
        stream.read_exact(&mut heard).unwrap();
        assert_eq!(heard[..], frame(7, b"x"));
        match dial {
            0 => drop(stream),
            _ => drop(proxy.take()),
        }
        turn_until(&mut dialer, |dialer| dialer.protocol().closed().len() == dial + 1);
    }
    let ends = dialer.protocol().closed();
    assert!(ends.iter().all(|end| matches!(end, CloseReason::RemoteClosed | CloseReason::Io(_))), "{ends:?}");
}
