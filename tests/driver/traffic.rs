//! Frames arrive as they were sent, whatever the sizes, the budgets and the load.

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use spacetime_network::close::CloseReason;
use spacetime_network::driver::{Driver, SendOutcome};
use spacetime_network::id::DialId;
use spacetime_network::wire::{FrameRules, Priority};

use crate::party::*;

#[test]
fn every_size_comes_back_as_it_was_sent() {
    let (mut client, mut server) = (party(config()), echo(config()));
    let (conn, _) = connect(&mut client, &mut server);
    let mut sizes: Vec<usize> = (0..20).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 1]).collect();
    sizes.extend([(1 << 20) - 5, 1 << 20, (1 << 20) + 1, 16_777_215]);
    let frames: Vec<(u8, Vec<u8>)> =
        sizes.iter().enumerate().map(|(at, len)| (at as u8, payload(*len, at as u32))).collect();
    for batch in frames.chunks(16) {
        let before = client.protocol().frame_count();
        client.with(|_, _, net| {
            for (at, (kind, payload)) in batch.iter().enumerate() {
                let sent = if at % 2 == 0 {
                    net.send(conn, Priority::Normal, *kind, payload)
                } else {
                    net.send_shared(conn, Priority::Normal, *kind, &Bytes::copy_from_slice(payload))
                };
                assert_eq!(sent, SendOutcome::Accepted { dropped: 0 });
            }
        });
        turn_both(&mut client, &mut server, |one, _| one.protocol().frame_count() == before + batch.len());
    }
    assert!(client.protocol().frames() == frames);
    let stats = client.net().conn_stats(conn).unwrap();
    assert_eq!((stats.frames_out, stats.frames_in), (frames.len() as u64, frames.len() as u64));
    let total: usize = sizes.iter().map(|len| len + 5).sum();
    assert_eq!((stats.bytes_out, stats.bytes_in), (total as u64, total as u64));
    assert_eq!(client.net().memory(), (0, 0));
    assert_eq!(server.net().memory(), (0, 0));
}

#[test]
fn both_sides_send_at_once_with_full_outboxes_and_neither_waits_for_the_other() {
    let (mut one, mut two) = (party(config()), party(config()));
    let (left, right) = connect(&mut one, &mut two);
    let sent = |salt: u32| (0..20).map(|at| payload(1 << 20, salt + at)).collect::<Vec<_>>();
    for (driver, conn, salt) in [(&mut one, left, 0), (&mut two, right, 100)] {
        driver.with(|_, _, net| {
            for payload in sent(salt) {
                let outcome = net.send_shared(conn, Priority::High, 1, &payload.into());
                assert_eq!(outcome, SendOutcome::Accepted { dropped: 0 });
            }
            let huge = Bytes::from(vec![0; 5 << 20]);
            assert_eq!(net.send_shared(conn, Priority::High, 1, &huge), SendOutcome::Full);
        });
    }
    // Both were above the high watermark and are told that they may go on.
    let is_told = |driver: &Driver<Party>, conn| driver.protocol().seen.contains(&Seen::Writable(conn));
    turn_both(&mut one, &mut two, |one, two| {
        let all = one.protocol().frame_count() == 20 && two.protocol().frame_count() == 20;
        all && is_told(one, left) && is_told(two, right)
    });
    let bodies = |frames: Vec<(u8, Vec<u8>)>| frames.into_iter().map(|(_, body)| body).collect::<Vec<_>>();
    assert!(bodies(one.protocol().frames()) == sent(100));
    assert!(bodies(two.protocol().frames()) == sent(0));
}

#[test]
fn every_budget_gives_the_same_frames() {
    let frames: Vec<Vec<u8>> = [0, 1, 4, 5, 700, 1, 0, 3000, 70_000, 2, 9].iter().map(|len| payload(*len, 3)).collect();
    let stream: Vec<u8> = frames.iter().flat_map(|payload| frame(7, payload)).collect();
    for (turn_bytes, turn_frames, read_buffer) in
        [(1, 1, 1024), (3, 1, 1024), (64, 2, 1024), (1024, 1, 4096), (5000, 3, 1024), (1 << 18, 1, 1 << 18)]
    {
        let mut config = config();
        (config.turn_bytes, config.turn_frames, config.read_buffer) = (turn_bytes, turn_frames, read_buffer);
        let mut driver = party(config);
        let (mut plain, conn) = plain(&mut driver);
        plain.write_all(&stream).unwrap();
        let mut most = 0;
        let mut before = 0;
        turn_until(&mut driver, |driver| {
            let count = driver.protocol().frame_count();
            most = most.max(count - before);
            before = count;
            count == frames.len()
        });
        assert!(most <= turn_frames, "{most} frames in a turn of {turn_frames}");
        assert!(driver.protocol().frames().into_iter().map(|(_, body)| body).eq(frames.iter().cloned()));
        assert_eq!(driver.net().conn_stats(conn).unwrap().held_bytes, 0);
    }
}

#[test]
fn a_pause_holds_back_the_frames_that_are_read_already_and_the_socket() {
    let mut driver = reacting(config(), |seen, net| match seen {
        Seen::Frame(conn, 1, _) => net.pause(*conn),
        Seen::Command(_) => panic!("not used"),
        _ => {}
    });
    let (mut plain, conn) = plain(&mut driver);
    plain.write_all(&[frame(1, b"stop here"), frame(2, b"later"), frame(3, b"later")].concat()).unwrap();
    turn_until(&mut driver, |driver| driver.protocol().frame_count() == 1);
    plain.write_all(&frame(4, b"last")).unwrap();
    for _ in 0..20 {
        driver.turn(Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(driver.protocol().frame_count(), 1);
    driver.with(|_, _, net| net.resume(conn));
    turn_until(&mut driver, |driver| driver.protocol().frame_count() == 4);
    let kinds: Vec<u8> = driver.protocol().frames().iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [1, 2, 3, 4]);
}

#[test]
fn rules_set_by_a_frame_hold_from_the_next_one_of_the_same_read() {
    static HELLO: FrameRules = FrameRules::none().with(1, 10);
    static TALK: FrameRules = FrameRules::none().with(2, 10);
    let mut config = config();
    config.rules = &HELLO;
    let mut driver = reacting(config, |seen, net| {
        if let Seen::Frame(conn, 1, _) = seen {
            net.set_rules(*conn, &TALK);
        }
    });
    let (mut plain, _) = plain(&mut driver);
    plain.write_all(&[frame(1, b""), frame(2, b"ok"), frame(1, b"again")].concat()).unwrap();
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    assert_eq!(driver.protocol().frame_count(), 2);
    assert!(matches!(driver.protocol().closed()[0], CloseReason::Frame(_)));
}

#[test]
fn a_close_by_a_frame_stops_the_frames_behind_it() {
    let mut driver = reacting(config(), |seen, net| {
        if let Seen::Frame(conn, ..) = seen {
            net.close(*conn, CloseReason::Requested, Duration::ZERO);
            net.close(*conn, CloseReason::Done, Duration::ZERO);
            assert_eq!(net.send(*conn, Priority::Critical, 1, b""), SendOutcome::Closed);
        }
    });
    let (mut plain, conn) = plain(&mut driver);
    plain.write_all(&[frame(1, b""), frame(2, b"")].concat()).unwrap();
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    let expected = [Seen::Opened(conn), Seen::Frame(conn, 1, vec![]), Seen::Closed(conn, CloseReason::Requested)];
    assert_eq!(driver.protocol().seen, expected);
    assert_eq!(driver.net().connections(), 0);
}

/// The timer of a drain of no time came before the flush of the same turn, and the attempt was never made.
#[test]
fn a_close_without_drain_gives_the_queue_its_one_attempt() {
    let mut driver = reacting(config(), |seen, net| {
        if let Seen::Frame(conn, ..) = seen {
            let _ = net.send(*conn, Priority::Critical, 7, b"last word");
            net.close(*conn, CloseReason::Requested, Duration::ZERO);
        }
    });
    let (mut plain, _) = plain(&mut driver);
    plain.write_all(&frame(1, b"")).unwrap();
    let heard = read_turning(&mut plain, &mut driver, |_| false).unwrap();
    assert_eq!(heard, frame(7, b"last word"));
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    assert_eq!(driver.protocol().closed(), [CloseReason::Requested]);
}

#[test]
fn a_loud_peer_starves_neither_a_quiet_one_nor_the_timer() {
    let mut config = config();
    (config.turn_bytes, config.turn_frames) = (8 * 1024, 100);
    let mut driver = party(config);
    let (mut loud, _) = plain(&mut driver);
    let (mut quiet, quiet_conn) = plain(&mut driver);
    let sent = write_until_full(&mut loud, &frame(1, &[0; 27]).repeat(20_000));
    assert!(sent > 200_000, "the system took only {sent} bytes");
    driver.turn(Some(Duration::ZERO)).unwrap();
    quiet.write_all(&frame(2, b"hello")).unwrap();
    driver.protocol_mut().deadline = Some(spacetime_network::time::Instant::ZERO);
    for _ in 0..2 {
        driver.turn(None).unwrap();
    }
    assert!(driver.protocol().seen.contains(&Seen::Frame(quiet_conn, 2, b"hello".to_vec())));
    assert!(driver.protocol().seen.contains(&Seen::Timer));
    assert!(driver.protocol().frame_count() <= 3 * 100 + 1);
    // And the loud one loses nothing by it.
    turn_until(&mut driver, |driver| driver.protocol().frame_count() == sent / 32 + 1);
}

#[test]
fn a_thousand_connections_talk_and_end() {
    const COUNT: usize = 1000;
    rlimit::increase_nofile_limit(3 * COUNT as u64).unwrap();
    let (mut one, mut two) = (config(), config());
    (one.connections, two.connections) = (COUNT + 50, COUNT + 50);
    let mut client = reacting(one, |seen, net| {
        if let Seen::Opened(conn) = seen {
            let _ = net.send(*conn, Priority::Normal, 1, &conn.index().to_le_bytes());
        }
    });
    let mut server = echo(two);
    let address = listen(&mut server);
    client.with(|_, _, net| {
        for dial in 0..COUNT as u64 {
            net.dial(DialId(dial), address, Duration::from_secs(30));
        }
    });
    turn_both(&mut client, &mut server, |client, _| client.protocol().frame_count() == COUNT);
    for seen in &client.protocol().seen {
        if let Seen::Frame(conn, _, payload) = seen {
            assert_eq!(payload[..], conn.index().to_le_bytes());
        }
    }
    assert_eq!((client.net().connections(), server.net().connections()), (COUNT, COUNT));
    client.handle().stop();
    turn_both(&mut client, &mut server, |client, server| {
        client.net().connections() == 0 && server.net().connections() == 0
    });
    assert_eq!(client.protocol().closed(), vec![CloseReason::Shutdown; COUNT]);
    turn_until(&mut server, |server| server.protocol().closed().len() == COUNT);
    assert_eq!(server.protocol().closed(), vec![CloseReason::RemoteClosed; COUNT]);
}
