//! How connections with TLS end: with a close_notify, without, by the clock, by a stop.

use std::time::Duration;

use spacetime_network::close::{Blame, CloseReason, TlsFault};
use spacetime_network::driver::{Driver, SendOutcome};
use spacetime_network::id::{ConnId, DialId};
use spacetime_network::link::tls::trust::Trust;
use spacetime_network::wire::{FrameError, FrameRules, Priority};

use crate::party::{Party, connect, listen, party, payload, turn_both, turn_until};
use crate::setting::{Wire, assert_nothing_left, node, secured};

const SENT: SendOutcome = SendOutcome::Accepted { dropped: 0 };

/// Two nodes, the wire between them, and the connection by its name on either side.
fn over_a_wire(one: &mut Driver<Party>, two: &mut Driver<Party>) -> (Wire, ConnId, ConnId) {
    let mut wire = Wire::to(listen(two));
    let address = wire.address();
    one.with(|_, _, net| net.dial(DialId(1), address, Duration::from_secs(60)));
    turn_both(one, two, |one, two| {
        wire.pump();
        !one.protocol().opened().is_empty() && !two.protocol().opened().is_empty()
    });
    (wire, one.protocol().opened()[0], two.protocol().opened()[0])
}

#[test]
fn a_graceful_close_flushes_sends_close_notify_and_is_told_from_a_cut() {
    let (mut one, _) = node();
    let (mut two, _) = node();
    let (conn, _) = connect(&mut one, &mut two);
    one.with(|_, _, net| {
        assert_eq!(net.send(conn, Priority::Normal, 1, &payload(3_000_000, 1)), SENT);
        net.close(conn, CloseReason::Requested, Duration::from_secs(30));
    });
    turn_both(&mut one, &mut two, |one, two| {
        !one.protocol().closed().is_empty() && !two.protocol().closed().is_empty()
    });
    assert!(two.protocol().frames() == [(1, payload(3_000_000, 1))]);
    assert_eq!(two.protocol().closed(), [CloseReason::RemoteClosed]);
    assert_eq!(one.protocol().closed(), [CloseReason::Requested]);
    assert_nothing_left(&one);
    assert_nothing_left(&two);
}

#[test]
fn a_close_without_drain_sends_close_notify_when_there_is_room_for_it() {
    let (mut one, _) = node();
    let (mut two, _) = node();
    let (_, conn) = connect(&mut one, &mut two);
    // The side that was dialed: it has nothing unread, which would turn the close into a reset.
    two.with(|_, _, net| net.close(conn, CloseReason::Done, Duration::ZERO));
    turn_both(&mut one, &mut two, |one, _| !one.protocol().closed().is_empty());
    assert_eq!(one.protocol().closed(), [CloseReason::RemoteClosed]);
}

#[test]
fn a_stream_that_ends_between_two_frames_without_a_close_notify_was_cut() {
    let (mut one, _) = node();
    let (mut two, _) = node();
    let (mut wire, _, sender) = over_a_wire(&mut one, &mut two);
    two.with(|_, _, net| assert_eq!(net.send(sender, Priority::Normal, 1, b"whole"), SENT));
    turn_both(&mut one, &mut two, |one, _| {
        wire.pump();
        one.protocol().frame_count() == 1
    });
    wire.cut();
    turn_until(&mut one, |one| !one.protocol().closed().is_empty());
    let reason = CloseReason::Tls(TlsFault::Cut);
    assert_eq!(one.protocol().closed(), [reason]);
    assert_eq!(reason.blame(), Blame::Lost);
    assert_nothing_left(&one);
}

#[test]
fn a_stream_that_ends_within_a_frame_is_truncated_as_without_tls() {
    let (mut one, _) = node();
    let (mut two, _) = node();
    let (mut wire, _, sender) = over_a_wire(&mut one, &mut two);
    two.with(|_, _, net| assert_eq!(net.send(sender, Priority::Normal, 1, &payload(100_000, 0)), SENT));
    wire.credit = 40_000;
    turn_both(&mut one, &mut two, |_, _| {
        wire.pump();
        wire.credit == 0
    });
    wire.cut();
    turn_until(&mut one, |one| !one.protocol().closed().is_empty());
    assert_eq!(one.protocol().closed(), [CloseReason::TruncatedFrame]);
    assert_nothing_left(&one);
}

#[test]
fn a_close_notify_counts_after_the_frames_that_a_pause_left_behind() {
    let (mut one, _) = node();
    let config = secured(Trust::Any);
    let mut two = crate::party::reacting(config, |seen, net| {
        if let crate::party::Seen::Frame(conn, 0, _) = seen {
            net.pause(*conn);
        }
    });
    let (conn, theirs) = connect(&mut one, &mut two);
    one.with(|_, _, net| {
        (0..5).for_each(|kind| assert_eq!(net.send(conn, Priority::Normal, kind, b"frame"), SENT));
        net.close(conn, CloseReason::Done, Duration::from_secs(10));
    });
    turn_both(&mut one, &mut two, |one, two| one.protocol().closed().len() == 1 && two.protocol().frame_count() == 1);
    assert!(two.protocol().closed().is_empty());
    two.with(|_, _, net| net.resume(theirs));
    turn_until(&mut two, |two| !two.protocol().closed().is_empty());
    assert_eq!(two.protocol().frame_count(), 5);
    assert_eq!(two.protocol().closed(), [CloseReason::RemoteClosed]);
    assert_nothing_left(&two);
}

#[test]
fn a_peer_that_reads_nothing_is_closed_and_its_ciphertext_freed() {
    let mut config = secured(Trust::Any);
    config.write_stall = Duration::from_millis(300);
    let mut two = party(config);
    let (mut one, _) = node();
    let (mut wire, _, sender) = over_a_wire(&mut one, &mut two);
    wire.credit = 0;
    two.with(|_, _, net| assert_eq!(net.send(sender, Priority::Normal, 1, &payload(16_000_000, 0)), SENT));
    turn_until(&mut two, |two| !two.protocol().closed().is_empty());
    assert_eq!(two.protocol().closed(), [CloseReason::WriteTimeout]);
    assert_nothing_left(&two);
}

#[test]
fn a_record_that_is_never_finished_times_out_like_a_frame() {
    let (mut two, _) = node();
    let mut config = secured(Trust::Any);
    config.frame_stall = Duration::from_millis(200);
    let mut one = party(config);
    let (mut wire, _, sender) = over_a_wire(&mut one, &mut two);
    wire.credit = 3;
    two.with(|_, _, net| assert_eq!(net.send(sender, Priority::Normal, 1, b"never"), SENT));
    turn_both(&mut one, &mut two, |one, _| {
        wire.pump();
        !one.protocol().closed().is_empty()
    });
    assert_eq!(one.protocol().closed(), [CloseReason::FrameTimeout]);
    assert_nothing_left(&one);
}

#[test]
fn a_violation_behind_tls_gets_its_last_error_and_the_close_notify() {
    static STRICT: FrameRules = FrameRules::any(100);
    let mut config = secured(Trust::Any);
    config.rules = &STRICT;
    let mut two = party(config);
    two.protocol_mut().last_frame = Some(b"too large");
    let (mut one, _) = node();
    let (conn, _) = connect(&mut one, &mut two);
    one.with(|_, _, net| assert_eq!(net.send(conn, Priority::Normal, 1, &[0; 200]), SENT));
    turn_both(&mut one, &mut two, |one, two| {
        !one.protocol().closed().is_empty() && !two.protocol().closed().is_empty()
    });
    assert!(matches!(two.protocol().closed()[..], [CloseReason::Frame(FrameError::Oversize { .. })]));
    assert_eq!(one.protocol().frames(), [(0xff, b"too large".to_vec())]);
    assert_eq!(one.protocol().closed(), [CloseReason::RemoteClosed]);
    assert_nothing_left(&two);
}

#[test]
fn a_stop_sends_close_notify_to_all_and_forgets_those_who_still_shake_hands() {
    let (mut one, _) = node();
    let (mut two, _) = node();
    let address = listen(&mut two);
    let silent = std::net::TcpStream::connect(address).unwrap();
    turn_until(&mut two, |two| two.net().totals().accepted == 1);
    one.with(|_, _, net| net.dial(DialId(1), address, Duration::from_secs(60)));
    turn_both(&mut one, &mut two, |_, two| !two.protocol().opened().is_empty());
    two.with(|_, _, net| net.stop());
    let mut stopped = false;
    turn_both(&mut one, &mut two, |one, _| !one.protocol().closed().is_empty());
    while !stopped {
        one.turn(Some(Duration::ZERO)).unwrap();
        stopped = !two.turn(Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(one.protocol().closed(), [CloseReason::RemoteClosed]);
    assert_eq!(two.protocol().closed(), [CloseReason::Shutdown]);
    assert_nothing_left(&two);
    drop(silent);
}
