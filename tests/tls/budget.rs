//! Limits that stand before any cryptography.

use std::io::Write;
use std::net::TcpStream;
use std::time::Duration;

use spacetime_network::close::{CloseReason, TlsFault};
use spacetime_network::id::DialId;
use spacetime_network::link::trust::Trust;
use spacetime_network::proto::rate::Rate;

use crate::party::{listen, party, turn_both, turn_until};
use crate::setting::{assert_nothing_left, node, secured};

#[test]
fn further_handshakes_are_closed_at_accept_until_one_is_over() {
    let mut config = secured(Trust::Any);
    config.tls_pending = 3;
    let mut two = party(config);
    let address = listen(&mut two);
    let mut silent: Vec<TcpStream> = (0..5).map(|_| TcpStream::connect(address).unwrap()).collect();
    turn_until(&mut two, |two| two.net().totals().refused_tls == 2);
    assert_eq!((two.net().totals().accepted, two.net().totals().refused), (3, 2));
    // One that was taken leaves; its place is free again.
    silent.clear();
    turn_until(&mut two, |two| two.protocol().released.len() == 3);
    let (mut one, _) = node();
    one.with(|_, _, net| net.dial(DialId(1), address, Duration::from_secs(60)));
    turn_both(&mut one, &mut two, |one, two| {
        !one.protocol().opened().is_empty() && !two.protocol().opened().is_empty()
    });
    // An open connection takes no place either.
    let _silent: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    turn_until(&mut two, |two| two.net().totals().accepted == 7);
    assert_eq!(two.net().totals().refused_tls, 2);
}

#[test]
fn handshakes_that_come_too_fast_are_closed_at_accept() {
    let mut config = secured(Trust::Any);
    config.tls_rate = Rate::per(1, Duration::from_secs(3600), 2);
    let mut two = party(config);
    let address = listen(&mut two);
    for _ in 0..4 {
        drop(TcpStream::connect(address).unwrap());
    }
    turn_until(&mut two, |two| two.net().totals().refused_tls == 2 && two.protocol().released.len() == 2);
    assert_nothing_left(&two);
}

#[test]
fn a_refused_handshake_asks_nobody_for_admission() {
    let mut config = secured(Trust::Any);
    config.tls_rate = Rate::per(1, Duration::from_secs(3600), 1);
    let mut two = party(config);
    two.protocol_mut().admits = false;
    let address = listen(&mut two);
    // The first is asked about and refused, which takes nothing from the rate of handshakes.
    for _ in 0..3 {
        drop(TcpStream::connect(address).unwrap());
    }
    turn_until(&mut two, |two| two.net().totals().refused_admit == 3);
    assert_eq!(two.net().totals().refused_tls, 0);
    assert!(two.protocol().released.is_empty(), "what was not admitted is not released");
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
