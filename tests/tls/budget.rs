//! Limits that stand before any cryptography.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use spacetime_network::close::{CloseReason, TlsFault};
use spacetime_network::id::DialId;
use spacetime_network::link::tls::trust::Trust;
use spacetime_network::rate::Rate;

use crate::party::{listen, party, turn_both, turn_until};
use crate::setting::{assert_nothing_left, node, secured};

/// Two addresses that said nothing held all places, reopened them as they were closed, and kept everybody else out.
#[test]
fn silent_strangers_keep_nobody_out() {
    let mut config = secured(Trust::Any);
    config.tls_pending = 4;
    let mut two = party(config);
    let address = listen(&mut two);
    let mut silent: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
    turn_until(&mut two, |two| two.net().totals().accepted == 4);
    let (mut one, _) = node();
    one.with(|_, _, net| net.dial(DialId(1), address, Duration::from_secs(60)));
    turn_both(&mut one, &mut two, |one, two| {
        !one.protocol().opened().is_empty() && !two.protocol().opened().is_empty()
    });
    assert_eq!(two.protocol().released, [CloseReason::LimitReached]);
    assert_eq!((two.net().totals().tls_evicted, two.net().totals().refused), (1, 0));
    assert!(two.net().last_throttled_handshake().is_some());
    // The oldest it was, and it was told so by an alert.
    let mut last = Vec::new();
    silent[0].read_to_end(&mut last).unwrap();
    assert_eq!(last, [21, 3, 3, 0, 2, 2, 90]);
    // An open connection takes no place: one more is none too many.
    silent.push(TcpStream::connect(address).unwrap());
    turn_until(&mut two, |two| two.net().totals().accepted == 6);
    assert_eq!(two.net().totals().tls_evicted, 1);
}

/// Thirty-six of them were driven out by those who came a moment later, though nobody crowded more than they all did.
#[test]
fn a_hundred_friends_who_dial_at_once_all_come_in_at_the_defaults() {
    let (mut one, _) = node();
    let (mut two, _) = node();
    let address = listen(&mut two);
    one.with(|_, _, net| (0..100).for_each(|n| net.dial(DialId(n), address, Duration::from_secs(60))));
    turn_both(&mut one, &mut two, |one, two| {
        one.protocol().opened().len() + one.net().totals().dial_failures as usize == 100
            && two.protocol().opened().len() + two.protocol().released.len() == 100
    });
    assert_eq!((one.protocol().opened().len(), two.protocol().opened().len()), (100, 100));
    let totals = two.net().totals();
    assert_eq!((totals.tls_evicted, totals.refused), (0, 0));
    assert!(totals.tls_waited > 0, "there were more than there are places");
}

/// They hold all places and fill the backlog, and go on coming: they drive out themselves, and nobody waits behind them.
#[test]
#[cfg(target_os = "linux")]
fn a_crowd_of_silent_strangers_in_the_backlog_keeps_nobody_from_elsewhere_waiting() {
    let mut config = secured(Trust::Any);
    (config.tls_pending, config.tls_backlog) = (4, 3);
    // Who has begun gives way to nobody for the time it takes.
    config.tls_timeout = Duration::from_secs(3600);
    let mut two = party(config);
    let address = listen(&mut two);
    let mut crowd: Vec<TcpStream> = (0..4).map(|_| TcpStream::connect(address).unwrap()).collect();
    turn_until(&mut two, |two| two.net().totals().accepted == 4);
    crowd.extend((0..3).map(|_| TcpStream::connect(address).unwrap()));
    turn_until(&mut two, |two| two.net().totals().tls_waited == 3);
    let from_elsewhere = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    from_elsewhere.bind(&"127.0.9.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    from_elsewhere.connect(&address.into()).unwrap();
    from_elsewhere.send(&[22, 3, 1]).unwrap();
    let before = two.protocol().admitted.len();
    let elsewhere = from_elsewhere.local_addr().unwrap().as_socket().unwrap();
    turn_until(&mut two, |two| {
        two.protocol().admitted[before..].contains(&elsewhere) && two.net().totals().bytes_in == 3
    });
    // As many as like may come: each costs the crowd one of its own.
    crowd.extend((0..20).map(|_| TcpStream::connect(address).unwrap()));
    turn_until(&mut two, |two| two.net().totals().accepted >= 25);
    let totals = two.net().totals();
    assert!(totals.tls_evicted >= 21, "{} were evicted", totals.tls_evicted);
    assert_eq!(totals.refused, 0);
    from_elsewhere.set_nonblocking(true).unwrap();
    let mut byte = [std::mem::MaybeUninit::uninit()];
    let kept = from_elsewhere.recv(&mut byte).unwrap_err();
    assert_eq!(kept.kind(), std::io::ErrorKind::WouldBlock, "and never that of another address");
}

#[test]
fn whoever_waits_in_vain_is_closed_with_the_time_of_a_handshake() {
    let mut config = secured(Trust::Any);
    (config.tls_pending, config.tls_timeout) = (1, Duration::from_millis(300));
    let mut two = party(config);
    let address = listen(&mut two);
    // A place that is held by somebody who waits for us, and so gives way to nobody before its time.
    let _all: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    turn_until(&mut two, |two| two.protocol().released.len() as u64 + two.net().totals().refused == 3);
    assert_nothing_left(&two);
}

/// The protocol counts those whom it admitted: when it has no place left, it is asked again once one of them has given way.
#[test]
fn a_protocol_without_a_place_gets_one_from_a_handshake_under_way() {
    let mut two = party(secured(Trust::Any));
    two.protocol_mut().places = Some(2);
    let address = listen(&mut two);
    let _silent: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    turn_until(&mut two, |two| two.net().totals().accepted == 3);
    assert_eq!(two.protocol().released, [CloseReason::LimitReached]);
    // Whom it would not have admitted with a place either costs nobody his.
    two.protocol_mut().admits = false;
    two.protocol_mut().places = None;
    let _fourth = TcpStream::connect(address).unwrap();
    turn_until(&mut two, |two| two.net().totals().refused_admit == 1);
    assert_eq!(two.protocol().released.len(), 1);
}

/// Silence used up the budget of handshakes, at no cost to the one who was silent.
#[test]
fn only_those_who_say_something_use_up_the_budget() {
    let mut config = secured(Trust::Any);
    config.tls_rate = Rate::per(1, Duration::from_secs(3600), 1);
    let mut two = party(config);
    let address = listen(&mut two);
    let _silent: Vec<TcpStream> = (0..9).map(|_| TcpStream::connect(address).unwrap()).collect();
    turn_until(&mut two, |two| two.net().totals().accepted == 9);
    let (mut one, _) = node();
    one.with(|_, _, net| net.dial(DialId(1), address, Duration::from_secs(60)));
    turn_both(&mut one, &mut two, |one, two| {
        !one.protocol().opened().is_empty() && !two.protocol().opened().is_empty()
    });
    assert_eq!(two.net().totals().tls_throttled, 0);
}

#[test]
fn handshakes_that_come_too_fast_wait_for_their_turn_and_all_stand_in_the_end() {
    let mut config = secured(Trust::Any);
    config.tls_rate_per_ip = Some(Rate::per(1, Duration::from_millis(50), 2));
    let mut two = party(config);
    let (mut one, _) = node();
    let address = listen(&mut two);
    one.with(|_, _, net| (0..6).for_each(|n| net.dial(DialId(n), address, Duration::from_secs(60))));
    turn_both(&mut one, &mut two, |one, two| one.protocol().opened().len() == 6 && two.protocol().opened().len() == 6);
    assert!(two.net().totals().tls_throttled > 0);
    assert_eq!(two.net().totals().refused, 0);
}

#[test]
fn a_handshake_for_which_there_is_never_a_budget_is_not_read_and_ends_with_its_time() {
    let mut config = secured(Trust::Any);
    config.tls_rate_per_subnet = Some(Rate::per(1, Duration::from_secs(3600), 1));
    config.tls_timeout = Duration::from_millis(200);
    let mut two = party(config);
    let address = listen(&mut two);
    let mut strangers: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    strangers.iter_mut().for_each(|stranger| stranger.write_all(&[22, 3, 1]).unwrap());
    turn_until(&mut two, |two| two.protocol().released.len() == 3);
    assert_eq!(two.protocol().released, [CloseReason::Tls(TlsFault::HandshakeTimeout); 3]);
    assert_eq!((two.net().totals().tls_throttled, two.net().totals().bytes_in), (2, 3));
    assert_nothing_left(&two);
}

#[test]
fn a_stranger_that_says_nothing_is_closed_by_the_clock() {
    let mut config = secured(Trust::Any);
    config.tls_timeout = Duration::from_millis(100);
    let mut two = party(config);
    let address = listen(&mut two);
    let mut silent = TcpStream::connect(address).unwrap();
    // A hello that trickles is no better.
    silent.write_all(&[22, 3, 1, 2, 0, 1]).unwrap();
    turn_until(&mut two, |two| !two.protocol().released.is_empty());
    assert_eq!(two.protocol().released, [CloseReason::Tls(TlsFault::HandshakeTimeout)]);
    assert_nothing_left(&two);
}

#[test]
fn a_handshake_of_more_bytes_than_any_needs_is_closed_unread() {
    let (mut two, _) = node();
    let address = listen(&mut two);
    let mut stranger = TcpStream::connect(address).unwrap();
    // A hello of 65,000 bytes, in records that are as large as they may be.
    let mut flood = vec![22, 3, 1, 0x40, 0, 1, 0, 0xfd, 0xe8];
    flood.resize(5 + 16_384, 0);
    for _ in 0..3 {
        flood.extend_from_slice(&[22, 3, 1, 0x40, 0]);
        flood.resize(flood.len() + 16_384, 0);
    }
    stranger.write_all(&flood).unwrap();
    turn_until(&mut two, |two| !two.protocol().released.is_empty());
    assert_eq!(two.protocol().released, [CloseReason::Tls(TlsFault::HandshakeTooLarge)]);
    assert!(two.net().totals().bytes_in <= 16 * 1024, "the rest was not read");
    assert_nothing_left(&two);
}
