//! What peers and networks do wrong ends one connection, with its reason, and nothing else.

use std::io::Write;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use spacetime_network::close::CloseReason;
use spacetime_network::driver::SendOutcome;
use spacetime_network::id::DialId;
use spacetime_network::wire::{FrameError, Priority};

use crate::party::*;

#[test]
fn an_end_between_frames_is_a_leave_and_one_inside_a_frame_is_not() {
    for (bytes, reason) in [
        (frame(1, b"whole"), CloseReason::RemoteClosed),
        (frame(1, b"whole")[..8].to_vec(), CloseReason::TruncatedFrame),
        (vec![9, 0], CloseReason::TruncatedFrame),
        (frame(1, &[0; 200_000])[..150_000].to_vec(), CloseReason::TruncatedFrame),
    ] {
        let mut driver = party(config());
        let (mut plain, conn) = plain(&mut driver);
        plain.write_all(&bytes).unwrap();
        plain.shutdown(Shutdown::Write).unwrap();
        turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
        assert_eq!(driver.protocol().closed(), [reason]);
        assert_eq!(driver.net().memory(), (0, 0));
        driver.with(|_, _, net| assert_eq!(net.send(conn, Priority::High, 1, b""), SendOutcome::Closed));
    }
}

#[test]
fn malformed_bytes_close_only_their_connection() {
    let mut driver = echo(config());
    let (mut bad, bad_conn) = plain(&mut driver);
    let (mut good, _) = plain(&mut driver);
    bad.write_all(&[0, 0, 0, 0]).unwrap();
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    assert!(driver.protocol().seen.contains(&Seen::Closed(bad_conn, CloseReason::Frame(FrameError::Length(0)))));
    good.write_all(&frame(5, b"still here")).unwrap();
    let back = read_turning(&mut good, &mut driver, |all| all.len() >= 15).unwrap();
    assert_eq!(back, frame(5, b"still here"));
    assert_eq!(driver.net().totals().closes["bad-frame"], 1);
}

#[test]
fn a_last_frame_arrives_although_the_peer_was_still_sending() {
    let mut driver = party(config());
    driver.protocol_mut().last_frame = Some(b"bad frame length");
    let (mut plain, _) = plain(&mut driver);
    // The bytes behind the violation stay unread; closing over them would reset the connection under the last frame.
    write_until_full(&mut plain, &[0; 1 << 20]);
    let all = read_turning(&mut plain, &mut driver, |_| false).unwrap();
    assert_eq!(all, frame(0xff, b"bad frame length"));
    drop(plain);
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    assert_eq!(driver.protocol().closed(), [CloseReason::Frame(FrameError::Length(0))]);
}

#[test]
fn a_peer_that_does_not_read_is_closed_and_its_queue_is_freed() {
    let mut config = config();
    config.write_stall = Duration::from_millis(40);
    let mut driver = party(config);
    let (_plain, conn) = plain(&mut driver);
    driver.with(|_, _, net| {
        let _ = net.send_shared(conn, Priority::High, 1, &vec![0; 16_000_000].into());
    });
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    assert_eq!(driver.protocol().closed(), [CloseReason::WriteTimeout]);
    assert_eq!(driver.net().memory(), (0, 0));
}

#[test]
fn a_frame_that_stops_half_way_is_given_up() {
    for len in [100, 200_000] {
        let mut config = config();
        config.frame_stall = Duration::from_millis(40);
        let mut driver = party(config);
        let (mut plain, _) = plain(&mut driver);
        plain.write_all(&frame(1, &vec![0; len])[..len / 2]).unwrap();
        turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
        assert_eq!(driver.protocol().closed(), [CloseReason::FrameTimeout]);
        assert_eq!(driver.net().memory(), (0, 0));
    }
}

#[test]
fn a_pause_of_ours_is_not_the_peers_delay() {
    let mut config = config();
    config.frame_stall = Duration::from_millis(30);
    let mut driver = party(config);
    let (mut plain, conn) = plain(&mut driver);
    plain.write_all(&frame(1, &[0; 100])[..50]).unwrap();
    turn_until(&mut driver, |driver| driver.net().conn_stats(conn).unwrap().bytes_in == 50);
    driver.with(|_, _, net| net.pause(conn));
    let paused = driver.net().now().at;
    turn_until(&mut driver, |driver| driver.net().now().at.since(paused) > Duration::from_millis(60));
    plain.write_all(&frame(1, &[0; 100])[50..]).unwrap();
    driver.with(|_, _, net| net.resume(conn));
    turn_until(&mut driver, |driver| driver.protocol().frame_count() == 1);
    assert_eq!(driver.protocol().closed(), []);
}

#[test]
fn a_refused_dial_is_an_event() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut driver = party(config());
    driver.with(|_, _, net| net.dial(DialId(7), address, Duration::from_secs(30)));
    turn_until(&mut driver, |driver| !driver.protocol().seen.is_empty());
    let refused = CloseReason::Io(std::io::ErrorKind::ConnectionRefused);
    assert_eq!(driver.protocol().seen, [Seen::DialFailed(DialId(7), refused)]);
    assert_eq!(driver.net().totals().dial_failures, 1);
}

#[test]
fn a_dial_that_nobody_answers_times_out() {
    // A listener with no room in its backlog drops the first packet of a connection, as a black hole does.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut driver = party(config());
    driver.with(|_, _, net| (0..8).for_each(|dial| net.dial(DialId(dial), address, Duration::from_millis(60))));
    turn_until(&mut driver, |driver| driver.protocol().seen.len() >= 8);
    let timeouts =
        driver.protocol().seen.iter().filter(|seen| matches!(seen, Seen::DialFailed(_, CloseReason::DialTimeout)));
    assert!(timeouts.count() >= 4);
}

#[test]
fn an_old_name_does_not_reach_the_next_owner_of_its_slot() {
    let mut driver = party(config());
    let (first, old) = plain(&mut driver);
    drop(first);
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    let (_second, new) = plain(&mut driver);
    assert_eq!(old.index(), new.index());
    assert_ne!(old, new);
    driver.with(|_, _, net| {
        assert_eq!(net.send(old, Priority::High, 1, b""), SendOutcome::Closed);
        assert_eq!(net.conn_stats(old), None);
        net.close(old, CloseReason::Requested, Duration::ZERO);
        assert_eq!(net.send(new, Priority::High, 1, b""), SendOutcome::Accepted { dropped: 0 });
    });
}

#[test]
fn a_full_loop_and_an_unwelcome_address_are_refused_and_counted() {
    let mut config = config();
    config.connections = 1;
    let mut driver = party(config);
    let (first, _) = plain(&mut driver);
    let address = listen(&mut driver);
    let _second = TcpStream::connect(address).unwrap();
    turn_until(&mut driver, |driver| driver.net().totals().refused_limit == 1);
    // The protocol had a place for it, and has it back.
    assert_eq!(driver.protocol().admitted.len(), 2);
    assert_eq!(driver.protocol().released, [CloseReason::LimitReached]);
    driver.with(|_, _, net| net.dial(DialId(3), address, Duration::from_secs(1)));
    turn_until(&mut driver, |driver| {
        driver.protocol().seen.contains(&Seen::DialFailed(DialId(3), CloseReason::LimitReached))
    });
    drop(first);
    turn_until(&mut driver, |driver| driver.net().connections() == 0);
    driver.protocol_mut().admits = false;
    let _third = TcpStream::connect(address).unwrap();
    turn_until(&mut driver, |driver| driver.net().totals().refused_admit == 1);
    assert_eq!(driver.net().totals().refused, 2);
    assert_eq!(driver.protocol().opened().len(), 1);
}

#[test]
fn above_the_receive_budget_frames_wait_and_all_arrive() {
    let mut config = config();
    config.receive_budget = 300_000;
    let mut driver = party(config);
    let mut peers: Vec<_> = (0..4).map(|_| plain(&mut driver).0).collect();
    let bytes = frame(1, &payload(250_000, 1));
    // Halves first, so that all of them are under way at once.
    for peer in &mut peers {
        peer.write_all(&bytes[..125_000]).unwrap();
    }
    for _ in 0..20 {
        driver.turn(Some(Duration::from_millis(1))).unwrap();
        assert!(driver.net().memory().0 <= 300_000 + 2 * 256 * 1024);
    }
    for peer in &mut peers {
        assert_eq!(write_until_full(peer, &bytes[125_000..]), 125_005);
    }
    // One may finish above the budget, so that they never wait for each other; then there is room for the next.
    turn_until(&mut driver, |driver| {
        assert!(driver.net().memory().0 <= 300_000 + 2 * 256 * 1024);
        driver.protocol().frame_count() == 4
    });
    assert!(driver.protocol().frames().iter().all(|(_, body)| *body == payload(250_000, 1)));
}

#[test]
fn above_half_of_the_send_budget_and_its_share_a_connection_queues_only_critical_frames() {
    let mut config = config();
    config.outbox.high = 50_000;
    config.outbox.low = 1_000;
    config.send_budget = 130_000;
    let mut driver = party(config);
    let (_plain, conn) = plain(&mut driver);
    driver.with(|_, _, net| {
        for _ in 0..2 {
            let _ = net.send(conn, Priority::High, 1, &[0; 60_000]);
        }
        assert_eq!(net.send(conn, Priority::High, 1, b""), SendOutcome::Full);
        assert_eq!(net.send(conn, Priority::Critical, 1, b""), SendOutcome::Accepted { dropped: 0 });
    });
    assert_eq!(driver.net().totals().refused_frames, 1);
}

#[test]
fn whoever_met_the_send_budget_is_told_when_there_is_room_although_nothing_of_its_own_drains() {
    let mut config = config();
    config.outbox.high = 50_000;
    config.outbox.low = 1_000;
    config.send_budget = 100_000;
    let mut driver = party(config);
    let (hoarder_plain, hoarder) = plain(&mut driver);
    let (_plain, conn) = plain(&mut driver);
    driver.with(|_, _, net| {
        for _ in 0..2 {
            let _ = net.send(hoarder, Priority::High, 1, &[0; 60_000]);
        }
        assert_eq!(net.send(conn, Priority::High, 1, &[0; 60_000]), SendOutcome::Full);
        net.close(hoarder, CloseReason::Requested, Duration::ZERO);
    });
    drop(hoarder_plain);
    turn_until(&mut driver, |driver| driver.protocol().seen.contains(&Seen::Writable(conn)));
    driver.with(|_, _, net| {
        assert_eq!(net.send(conn, Priority::High, 1, &[0; 60_000]), SendOutcome::Accepted { dropped: 0 });
    });
}

#[test]
fn a_few_who_do_not_read_leave_the_others_their_share_of_the_send_budget() {
    let mut config = config();
    config.connections = 10;
    config.send_budget = 2_000_000;
    let mut driver = party(config);
    let hoarders: Vec<_> = (0..3).map(|_| plain(&mut driver)).collect();
    let (mut good, conn) = plain(&mut driver);
    driver.with(|_, _, net| {
        for (_, hoarder) in &hoarders {
            while net.send(*hoarder, Priority::High, 1, &[0; 60_000]) != SendOutcome::Full {}
        }
        let (_, queued) = net.memory();
        assert!(queued < 1_500_000, "{queued} bytes for three of ten");
        assert_eq!(net.send(conn, Priority::High, 7, &[7; 40_000]), SendOutcome::Accepted { dropped: 0 });
    });
    let all = read_turning(&mut good, &mut driver, |all| all.len() >= 40_005).unwrap();
    assert!(all == frame(7, &[7; 40_000]));
}

/// Seed 500098 of the simulator with small limits: two peers asked for blocks and read none of them, and for half a minute nobody
/// else got a block that was larger than an equal share.
#[test]
fn who_reads_nothing_gives_way_when_others_wait_for_the_memory_that_is_queued_for_him() {
    let mut config = config();
    config.connections = 10;
    config.send_budget = 2_000_000;
    config.spin = None;
    let mut driver = party(config);
    let hoarders: Vec<_> = (0..3).map(|_| plain(&mut driver)).collect();
    let (mut good, conn) = plain(&mut driver);
    // Until the system takes no more for them.
    for _ in 0..100 {
        driver.with(|_, _, net| {
            for (_, hoarder) in &hoarders {
                while net.send(*hoarder, Priority::High, 1, &[0; 60_000]) != SendOutcome::Full {}
            }
        });
        driver.turn(Some(Duration::ZERO)).unwrap();
    }
    driver.with(|_, _, net| {
        assert_eq!(net.send(conn, Priority::High, 7, &[7; 400_000]), SendOutcome::Full, "it is more than its share");
    });
    turn_until(&mut driver, |driver| driver.protocol().seen.contains(&Seen::Writable(conn)));
    driver.with(|_, _, net| {
        assert_eq!(net.send(conn, Priority::High, 7, &[7; 400_000]), SendOutcome::Accepted { dropped: 0 });
    });
    let all = read_turning(&mut good, &mut driver, |all| all.len() >= 400_005).unwrap();
    assert!(all == frame(7, &[7; 400_000]));
    let closed = driver.protocol().closed();
    assert!((1..3).contains(&closed.len()), "no more of them than is needed: {closed:?}");
    assert!(closed.iter().all(|reason| *reason == CloseReason::WriteTimeout));
}

#[test]
fn a_few_who_never_finish_leave_the_others_their_share_of_the_receive_budget() {
    let mut config = config();
    config.connections = 10;
    config.receive_budget = 8 << 20;
    let mut driver = party(config);
    let mut hoarders: Vec<_> = (0..6).map(|_| plain(&mut driver).0).collect();
    let long = &frame(1, &payload(6 << 20, 1))[..5 << 20];
    for hoarder in &mut hoarders {
        let mut sent = 0;
        // As much as the loop takes: until it reads no more of this one.
        for _ in 0..200 {
            sent += write_until_full(hoarder, &long[sent..]);
            driver.turn(Some(Duration::ZERO)).unwrap();
        }
    }
    assert!(driver.net().memory().0 > 4 << 20, "they fill their half");
    // One within its share; and one above, whose turn once came when those who had stalled were given up, half a minute later.
    let mut stay = Vec::new();
    for length in [200_000, 3_000_000] {
        let (mut good, conn) = plain(&mut driver);
        let bytes = frame(7, &payload(length, 7));
        let mut sent = 0;
        turn_until(&mut driver, |driver| {
            sent += write_until_full(&mut good, &bytes[sent..]);
            driver.protocol().seen.iter().any(|seen| matches!(seen, Seen::Frame(of, 7, _) if *of == conn))
        });
        stay.push(good);
    }
    assert!(driver.protocol().closed().is_empty(), "and it did not have to wait for them to be given up");
}
