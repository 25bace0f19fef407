//! Handshakes that fail: who is told what, and that nothing is left of them.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use spacetime_network::close::{Blame, CloseReason, TlsFault};
use spacetime_network::driver::{Config, Driver};
use spacetime_network::id::DialId;
use spacetime_network::link::tls::trust::Trust;
use spacetime_network::wire::{Foreign, FrameError, FrameRules};

use crate::party::{Party, Seen, config, frame, listen, party, read_turning, turn_both, turn_until};
use crate::setting::{assert_nothing_left, node, secured, tls};

/// Trusts one identity that is nobody's.
fn distrustful() -> Config {
    let nobody = tls(Trust::Any).id();
    secured(Trust::Pinned(BTreeSet::from([nobody])))
}

fn dial_failures(driver: &Driver<Party>) -> Vec<CloseReason> {
    let failures = driver.protocol().seen.iter();
    failures.filter_map(|seen| if let Seen::DialFailed(_, why) = seen { Some(*why) } else { None }).collect()
}

#[test]
fn a_dialer_that_distrusts_says_why_on_both_sides_and_no_protocol_sees_a_connection() {
    let mut one = party(distrustful());
    let (mut two, _) = node();
    let address = listen(&mut two);
    one.with(|_, _, net| net.dial(DialId(7), address, Duration::from_secs(60)));
    turn_both(&mut one, &mut two, |one, two| !dial_failures(one).is_empty() && !two.protocol().released.is_empty());
    assert_eq!(one.protocol().seen, [Seen::DialFailed(DialId(7), CloseReason::Tls(TlsFault::UnknownIdentity))]);
    assert!(two.protocol().seen.is_empty());
    // The alert arrived, so the other side can say more than that the stream ended.
    assert!(matches!(two.protocol().released[..], [CloseReason::Tls(TlsFault::Alert(_))]), "{:?}", two.protocol());
    assert_eq!(two.net().totals().tls_failures.values().sum::<u64>(), 1);
    assert_nothing_left(&one);
    assert_nothing_left(&two);
}

#[test]
fn a_listener_that_distrusts_never_shows_the_stranger_to_its_protocol() {
    let (mut one, _) = node();
    let mut two = party(distrustful());
    let address = listen(&mut two);
    one.with(|_, _, net| net.dial(DialId(7), address, Duration::from_secs(60)));
    turn_both(&mut one, &mut two, |one, two| {
        !one.protocol().closed().is_empty() && !two.protocol().released.is_empty()
    });
    assert!(two.protocol().seen.is_empty());
    assert_eq!(two.protocol().released, [CloseReason::Tls(TlsFault::UnknownIdentity)]);
    // In TLS 1.3 the dialer is done first and hears of the refusal behind it.
    assert!(matches!(one.protocol().closed()[..], [CloseReason::Tls(TlsFault::Alert(_))]), "{:?}", one.protocol());
    assert_nothing_left(&one);
    assert_nothing_left(&two);
}

#[test]
fn what_is_not_tls_is_turned_away_from_a_tls_port_at_once() {
    let (mut two, _) = node();
    let address = listen(&mut two);
    let hello = frame(1, &[0; 50]);
    for (count, bytes) in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"SSH-2.0-OpenSSH_9.0\r\n", &hello].iter().enumerate() {
        let mut stranger = TcpStream::connect(address).unwrap();
        stranger.write_all(bytes).unwrap();
        turn_until(&mut two, |two| two.protocol().released.len() > count);
        assert_eq!(two.protocol().released.last(), Some(&CloseReason::Tls(TlsFault::NotTls)));
        // An end or a reset, and not a byte before it.
        assert!(matches!(stranger.read(&mut [0; 64]), Ok(0) | Err(_)));
    }
    assert!(two.protocol().seen.is_empty());
    assert_eq!(two.net().totals().tls_failures.values().sum::<u64>(), 3);
    assert_nothing_left(&two);
}

/// A node with TLS answered everybody who came without it by nothing at all, so that nobody's log could say why. Where the rules
/// are those of this crate's protocol it says so, in what the other side speaks.
#[test]
fn what_is_not_tls_is_told_so_in_its_own_language_where_the_protocol_is_ours() {
    let mut with_tls = secured(Trust::Any);
    with_tls.rules = FrameRules::greeting();
    let mut two = party(with_tls);
    let address = listen(&mut two);
    let foreign = |foreign| CloseReason::Frame(FrameError::Foreign(foreign));
    let wants_tls = frame(0xff, b"this node wants TLS");
    let another = frame(0xff, b"not a frame of this protocol");
    // The hello's length reads as the beginning of an SSL 3 record.
    let (hello, like_ssl) = (frame(1, &[0; 50]), frame(1, &[0; 0x0315]));
    for (count, (bytes, reason, answer)) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], foreign(Foreign::HttpRequest), Foreign::HttpRequest.answer()),
        (b"SSH-2.0-OpenSSH_9.0\r\n", foreign(Foreign::Ssh), Foreign::Ssh.answer()),
        (b"EHLO example.org\r\n", foreign(Foreign::Unknown), &another),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 11 22\r\n", foreign(Foreign::ProxyHeader), b""),
        (&hello, CloseReason::Tls(TlsFault::NotTls), &wants_tls),
        (&like_ssl, CloseReason::Tls(TlsFault::NotTls), &wants_tls),
    ]
    .into_iter()
    .enumerate()
    {
        let mut stranger = TcpStream::connect(address).unwrap();
        stranger.write_all(bytes).unwrap();
        let all = read_turning(&mut stranger, &mut two, |_| false).unwrap_or_default();
        assert_eq!(all, answer, "{:?}", bytes.escape_ascii().to_string());
        drop(stranger);
        turn_until(&mut two, |two| two.protocol().released.len() > count);
        assert_eq!(two.protocol().released.last(), Some(&reason));
        assert_eq!(reason.blame(), Blame::Incompatible);
    }
    assert_nothing_left(&two);
}

#[test]
fn a_dial_with_tls_to_a_plain_port_fails_and_the_plain_side_is_told_how_tls_begins() {
    let (mut one, _) = node();
    let mut two = party(config());
    let address = listen(&mut two);
    one.with(|_, _, net| net.dial(DialId(1), address, Duration::from_secs(60)));
    turn_both(&mut one, &mut two, |one, two| !dial_failures(one).is_empty() && !two.protocol().closed().is_empty());
    let closed = two.protocol().closed()[0];
    assert!(matches!(closed, CloseReason::Frame(_)));
    assert!(closed.to_string().contains("TLS"), "{closed}");
    let failure = dial_failures(&one)[0];
    assert_eq!(failure, CloseReason::Tls(TlsFault::Unanswered));
    assert_nothing_left(&one);
}

#[test]
fn a_plain_node_that_answers_a_hello_is_not_taken_for_tls() {
    let (mut one, _) = node();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    one.with(|_, _, net| net.dial(DialId(1), address, Duration::from_secs(60)));
    turn_until(&mut one, |one| one.net().totals().bytes_out > 0);
    let (mut plain, _) = listener.accept().unwrap();
    plain.write_all(&frame(0xff, b"bad frame length")).unwrap();
    turn_until(&mut one, |one| !dial_failures(one).is_empty());
    assert_eq!(dial_failures(&one), [CloseReason::Tls(TlsFault::NotTls)]);
    assert_nothing_left(&one);
}

#[test]
fn a_dial_to_a_socket_that_says_nothing_ends_when_the_dial_does() {
    let (mut one, _) = node();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    one.with(|_, _, net| net.dial(DialId(1), address, Duration::from_millis(100)));
    turn_until(&mut one, |one| !dial_failures(one).is_empty());
    assert_eq!(dial_failures(&one), [CloseReason::Tls(TlsFault::HandshakeTimeout)]);
    assert_nothing_left(&one);
}

/// A dialer that a full node turned away was told of a connection cut without a close_notify, as if somebody stood in between.
#[test]
fn a_dial_that_is_turned_away_before_tls_began_says_so() {
    let (mut one, _) = node();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Closed at once, which resets it if our hello is there; closed after our hello was read; and cut behind the first byte.
    for (n, (reads, says, fault)) in
        [(false, &b""[..], TlsFault::Unanswered), (true, b"", TlsFault::Unanswered), (true, &[22], TlsFault::Cut)]
            .into_iter()
            .enumerate()
    {
        let before = one.net().totals().bytes_out;
        one.with(|_, _, net| net.dial(DialId(n as u64), address, Duration::from_secs(60)));
        let (mut stranger, _) = listener.accept().unwrap();
        if reads {
            turn_until(&mut one, |one| one.net().totals().bytes_out > before);
            let hello = (one.net().totals().bytes_out - before) as usize;
            stranger.read_exact(&mut vec![0; hello]).unwrap();
            stranger.write_all(says).unwrap();
        }
        drop(stranger);
        turn_until(&mut one, |one| dial_failures(one).len() > n);
        assert_eq!(dial_failures(&one)[n], CloseReason::Tls(fault));
    }
    assert!(TlsFault::Unanswered.to_string().contains("try again later"));
    assert_nothing_left(&one);
}

/// Seven bytes kept a connection and its place for ten seconds: TLS's library takes a close_notify before the hello for a warning.
#[test]
fn a_close_notify_before_the_hello_ends_the_connection_at_once() {
    let (mut two, _) = node();
    let address = listen(&mut two);
    let close_notify = [21, 3, 3, 0, 2, 1, 0];
    for (count, at) in [7, 3, 6].into_iter().enumerate() {
        let mut stranger = TcpStream::connect(address).unwrap();
        stranger.write_all(&close_notify[..at]).unwrap();
        let read = two.net().totals().bytes_in;
        turn_until(&mut two, |two| two.net().totals().bytes_in >= read + at as u64);
        stranger.write_all(&close_notify[at..]).unwrap();
        turn_until(&mut two, |two| two.protocol().released.len() > count);
        assert_eq!(two.protocol().released.last(), Some(&CloseReason::Tls(TlsFault::Alert(0))));
        assert!(matches!(stranger.read(&mut [0; 64]), Ok(0) | Err(_)));
    }
    assert_eq!(CloseReason::Tls(TlsFault::Alert(0)).blame(), Blame::Lost);
    assert_nothing_left(&two);
}

/// Whoever spoke no TLS kept the place of a newcomer for as long as the answer to it may take to arrive.
#[test]
fn a_failed_handshake_gives_its_place_back_while_its_last_word_is_on_its_way() {
    let mut config = secured(Trust::Any);
    config.rules = FrameRules::greeting();
    let mut two = party(config);
    two.protocol_mut().places = Some(1);
    let address = listen(&mut two);
    let mut stranger = TcpStream::connect(address).unwrap();
    stranger.write_all(b"not a record of TLS").unwrap();
    turn_until(&mut two, |two| two.net().totals().bytes_in > 0);
    assert_eq!(two.protocol().released.len(), 1, "in the turn that read it");
    assert_eq!(two.net().totals().tls_failures.values().sum::<u64>(), 0, "and its socket is there yet");
    let _newcomer = TcpStream::connect(address).unwrap();
    turn_until(&mut two, |two| two.protocol().admitted.len() == 2);
    drop(stranger);
    turn_until(&mut two, |two| two.net().totals().tls_failures.values().sum::<u64>() == 1);
    assert_eq!(two.protocol().released.len(), 1, "it is told once");
}

#[test]
fn a_stranger_who_leaves_in_the_middle_of_the_handshake_leaves_nothing() {
    let (mut two, _) = node();
    let address = listen(&mut two);
    for (count, bytes) in [&b""[..], &[22, 3, 1], &[22, 3, 1, 0, 200, 1, 0]].iter().enumerate() {
        let mut stranger = TcpStream::connect(address).unwrap();
        stranger.write_all(bytes).unwrap();
        drop(stranger);
        turn_until(&mut two, |two| two.protocol().released.len() > count);
        assert_eq!(two.protocol().released.last(), Some(&CloseReason::Tls(TlsFault::Cut)));
    }
    assert_nothing_left(&two);
}
