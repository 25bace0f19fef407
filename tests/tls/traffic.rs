//! What passes between two drivers with TLS is what passes between two without.

use std::time::Duration;

use spacetime_network::close::CloseReason;
use spacetime_network::driver::SendOutcome;
use spacetime_network::id::DialId;
use spacetime_network::link::tls::trust::Trust;
use spacetime_network::wire::Priority;
use spacetime_network::wire::frame::MAX_PAYLOAD;

use crate::fill;
use crate::party::{Seen, connect, echo, listen, party, payload, reacting, turn_both};
use crate::setting::{Wire, assert_nothing_left, node, secured};

const SENT: SendOutcome = SendOutcome::Accepted { dropped: 0 };

#[test]
fn frames_of_every_size_pass_both_ways_and_each_end_knows_the_other() {
    let (mut one, one_id) = node();
    let two_config = secured(Trust::Any);
    let two_id = two_config.tls.as_ref().unwrap().id();
    let mut two = echo(two_config);
    let (conn, _) = connect(&mut one, &mut two);
    assert_eq!(one.protocol().identities, [Some(two_id)]);
    assert_eq!(two.protocol().identities, [Some(one_id)]);
    let sizes = [0, 1, 251, 16_379, 16_384, 65_536, 1_000_000, 0, 7, MAX_PAYLOAD as usize];
    for (index, size) in sizes.into_iter().enumerate() {
        one.with(|_, _, net| {
            assert_eq!(net.send(conn, Priority::Normal, index as u8, &payload(size, index as u32)), SENT);
        });
        turn_both(&mut one, &mut two, |one, _| one.protocol().frame_count() > index);
        let frames = one.protocol().frames();
        assert!(frames[index] == (index as u8, payload(size, index as u32)), "{size} bytes");
    }
    let stats = one.net().conn_stats(conn).unwrap();
    assert!(stats.bytes_out > sizes.iter().sum::<usize>() as u64, "the socket's bytes are counted");
    assert_eq!(one.net().memory(), (0, 0), "nothing is held by an idle connection");
    assert_eq!((one.net().totals().tls_handshakes, two.net().totals().tls_handshakes), (1, 1));
}

/// The sum that a protocol filled up to held what TLS had sealed, and the mark behind `Writable` did not: who filled a queue in
/// `Opened`, where the handshake's last words still wait, or in any event while the peer did not read, was never told to go on.
#[test]
fn who_fills_a_queue_from_any_event_hears_when_to_go_on_whichever_side_dialed() {
    for from in fill::PLACES {
        fill::arrives(|| secured(Trust::Any), from, true);
        fill::arrives(|| secured(Trust::Any), from, false);
    }
}

#[test]
fn what_is_sealed_and_not_written_counts_in_every_event() {
    fill::is_one_sum_everywhere(|| secured(Trust::Any));
}

#[test]
fn many_small_frames_pass_in_order_with_the_smallest_budgets() {
    let mut config = secured(Trust::Any);
    (config.turn_frames, config.turn_bytes, config.read_buffer) = (1, 700, 1024);
    let mut two = party(config);
    let (mut one, _) = node();
    let (conn, _) = connect(&mut one, &mut two);
    one.with(|_, _, net| {
        for index in 0..600_u32 {
            assert_eq!(net.send(conn, Priority::Normal, 1, &payload(index as usize % 70, index)), SENT);
        }
    });
    turn_both(&mut one, &mut two, |_, two| two.protocol().frame_count() == 600);
    for (index, (_, got)) in two.protocol().frames().iter().enumerate() {
        assert_eq!(*got, payload(index % 70, index as u32));
    }
}

#[test]
fn a_paused_connection_holds_one_read_at_most_and_loses_nothing() {
    let config = secured(Trust::Any);
    let most = config.read_buffer + 64 * 1024;
    let mut two = reacting(config, |seen, net| {
        if let Seen::Frame(conn, 0, _) = seen {
            net.pause(*conn);
        }
    });
    let (mut one, _) = node();
    let (conn, theirs) = connect(&mut one, &mut two);
    one.with(|_, _, net| {
        for index in 0..2000_u32 {
            assert_eq!(net.send(conn, Priority::Normal, (index != 0) as u8, &payload(5000, index)), SENT);
        }
    });
    turn_both(&mut one, &mut two, |_, two| two.protocol().frame_count() == 1);
    // Whatever it may still take now, it holds no more than that.
    for _ in 0..200 {
        one.turn(Some(Duration::ZERO)).unwrap();
        two.turn(Some(Duration::ZERO)).unwrap();
        assert!(two.net().memory().0 <= 2 * most, "{} bytes are held", two.net().memory().0);
    }
    assert_eq!(two.protocol().frame_count(), 1);
    assert!(one.net().queued_bytes(conn) > 0, "the sender is held back");
    two.with(|_, _, net| net.resume(theirs));
    turn_both(&mut one, &mut two, |_, two| two.protocol().frame_count() == 2000);
    let frames = two.protocol().frames();
    assert!((0..2000).all(|index| frames[index].1 == payload(5000, index as u32)));
}

#[test]
fn a_large_frame_passes_through_a_narrow_wire_byte_by_byte_as_it_was() {
    let (mut one, _) = node();
    let (mut two, _) = node();
    let mut wire = Wire::to(listen(&mut two));
    let address = wire.address();
    one.with(|_, _, net| net.dial(DialId(1), address, Duration::from_secs(60)));
    turn_both(&mut one, &mut two, |one, two| {
        wire.pump();
        !one.protocol().opened().is_empty() && !two.protocol().opened().is_empty()
    });
    let (conn, sender) = (one.protocol().opened()[0], two.protocol().opened()[0]);
    two.with(|_, _, net| assert_eq!(net.send(sender, Priority::Low, 9, &payload(MAX_PAYLOAD as usize, 3)), SENT));
    wire.credit = 0;
    let mut most = 0;
    turn_both(&mut one, &mut two, |one, two| {
        // Now a byte, now a little more than a record, now a read.
        wire.credit += [1, 17_000, 300_000][wire.passed[1] % 3];
        wire.pump();
        most = most.max(two.net().queued_bytes(sender));
        one.protocol().frame_count() == 1
    });
    assert!(one.protocol().frames() == [(9, payload(MAX_PAYLOAD as usize, 3))]);
    assert!(most <= MAX_PAYLOAD as usize + 2 * 64 * 1024, "{most} bytes waited");
    assert_eq!(two.net().queued_bytes(sender), 0);
    assert!(one.net().conn_stats(conn).is_some());
}

#[test]
fn many_dials_at_once_all_stand_and_all_end() {
    let mut config = secured(Trust::Any);
    (config.tls_rate_per_ip, config.tls_rate_per_subnet) = (None, None);
    config.tls_pending = 100;
    let mut two = party(config);
    let (mut one, _) = node();
    let address = listen(&mut two);
    one.with(|_, _, net| (0..80).for_each(|n| net.dial(DialId(n), address, Duration::from_secs(60))));
    turn_both(&mut one, &mut two, |one, two| {
        one.protocol().opened().len() == 80 && two.protocol().opened().len() == 80
    });
    one.with(|party, _, net| {
        for conn in party.opened() {
            net.close(conn, CloseReason::Requested, Duration::from_secs(10));
        }
    });
    turn_both(&mut one, &mut two, |one, two| {
        one.protocol().closed().len() == 80 && two.protocol().closed().len() == 80
    });
    assert!(two.protocol().closed().iter().all(|reason| *reason == CloseReason::RemoteClosed));
    assert_nothing_left(&one);
    assert_nothing_left(&two);
}
