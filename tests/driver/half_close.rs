//! A peer that ends its direction and reads on, and one that has all said while the other still talks.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use spacetime_network::close::CloseReason;
use spacetime_network::driver::{Config, Driver, Event, Net, Protocol, SendOutcome};
use spacetime_network::time::Now;
use spacetime_network::wire::{FrameRules, Payload, Priority};

use crate::party::*;

static RULES: FrameRules = FrameRules::any(1 << 20);

/// The echo server of the README, which knows nothing of half-closed connections.
struct Echo;

impl Protocol for Echo {
    type Command = ();

    fn handle(&mut self, _now: Now, event: Event<'_, ()>, net: &mut Net) {
        match event {
            Event::Opened { conn, .. } => net.set_rules(conn, &RULES),
            Event::Frame { conn, frame } => {
                let _dropped_when_full = match &frame.payload {
                    Payload::Lent(bytes) => net.send(conn, Priority::Normal, frame.kind, bytes),
                    Payload::Given(bytes) => net.send_shared(conn, Priority::Normal, frame.kind, bytes),
                };
            }
            _ => {}
        }
    }
}

/// Says all of it, ends its direction, and reads to the end.
fn ask_and_shut(address: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(question)?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The end of reading ended writing too: none of two hundred clients got its answer whole.
#[test]
fn a_client_of_the_echo_server_that_ends_its_direction_gets_its_whole_answer_each_time() {
    let mut driver = Driver::new(Config::default(), Echo).unwrap();
    let address = driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let handle = driver.handle();
    let server = std::thread::spawn(move || driver.run().map(|()| driver.net().memory()));
    for len in [10, 1000, 60_000] {
        let question = frame(7, &payload(len, 1));
        let whole = (0..200).filter(|_| ask_and_shut(address, &question).unwrap() == question).count();
        assert_eq!(whole, 200, "of 200 answers of {len} bytes");
    }
    // More than any socket holds at once.
    let question: Vec<u8> = (0..12).flat_map(|salt| frame(7, &payload(1 << 20, salt))).collect();
    let reader = std::thread::spawn(move || -> io::Result<bool> {
        let mut stream = TcpStream::connect(address)?;
        let mut writer = stream.try_clone()?;
        let mut answer = Vec::new();
        let (mut first, rest) = (vec![0; 1 << 20], question.clone());
        let sender = std::thread::spawn(move || {
            writer.write_all(&rest)?;
            writer.shutdown(Shutdown::Write)
        });
        stream.read_exact(&mut first)?;
        stream.read_to_end(&mut answer)?;
        sender.join().unwrap()?;
        first.extend(answer);
        Ok(first == question)
    });
    assert!(reader.join().unwrap().unwrap(), "an answer of 12 MiB was changed or cut");
    handle.stop();
    assert_eq!(server.join().unwrap().unwrap(), (0, 0));
}

#[test]
fn the_protocol_hears_that_the_peer_will_send_no_more_and_may_still_answer() {
    let mut driver = reacting(config(), |seen, net| {
        if let Seen::HalfClosed(conn) = seen {
            assert_eq!(net.send(*conn, Priority::Normal, 2, b"and goodbye"), SendOutcome::Accepted { dropped: 0 });
        }
    });
    let (mut plain, conn) = plain(&mut driver);
    plain.write_all(&frame(1, b"all")).unwrap();
    plain.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_turning(&mut plain, &mut driver, |_| false).unwrap(), frame(2, b"and goodbye"));
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    let frame = Seen::Frame(conn, 1, b"all".to_vec());
    let closed = Seen::Closed(conn, CloseReason::RemoteClosed);
    assert_eq!(driver.protocol().seen, [Seen::Opened(conn), frame, Seen::HalfClosed(conn), closed]);
}

#[test]
fn an_end_within_a_frame_costs_that_frame_and_not_the_answers_to_those_before() {
    let mut driver = echo(config());
    let (mut plain, _) = plain(&mut driver);
    let whole = frame(1, b"whole");
    plain.write_all(&[&whole[..], &frame(2, b"never finished")[..9]].concat()).unwrap();
    plain.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_turning(&mut plain, &mut driver, |_| false).unwrap(), whole);
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    assert_eq!(driver.protocol().closed(), [CloseReason::TruncatedFrame]);
    assert_eq!(driver.net().memory(), (0, 0));
}

#[test]
fn a_half_closed_peer_that_does_not_read_has_its_place_no_longer_than_the_drain() {
    let mut config = config();
    config.half_close_drain = Duration::from_millis(60);
    let mut driver = party(config);
    let (plain, conn) = plain(&mut driver);
    driver.with(|_, _, net| {
        let _ = net.send_shared(conn, Priority::High, 1, &vec![0; 16_000_000].into());
    });
    plain.shutdown(Shutdown::Write).unwrap();
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    assert_eq!(driver.protocol().closed(), [CloseReason::RemoteClosed]);
    assert_eq!((driver.net().connections(), driver.net().memory()), (0, (0, 0)));
}

#[test]
fn a_connection_is_held_for_answers_that_come_later_until_it_is_released_or_its_time_is_over() {
    let mut config = config();
    config.half_close_drain = Duration::from_secs(60);
    let mut driver = reacting(config.clone(), |seen, net| {
        if let Seen::HalfClosed(conn) = seen {
            net.hold(*conn);
        }
    });
    let (mut plain_one, conn) = plain(&mut driver);
    plain_one.shutdown(Shutdown::Write).unwrap();
    turn_until(&mut driver, |driver| driver.protocol().seen.contains(&Seen::HalfClosed(conn)));
    for _ in 0..5 {
        driver.turn(Some(Duration::ZERO)).unwrap();
    }
    driver.with(|_, _, net| {
        assert_eq!(net.send(conn, Priority::Normal, 2, b"later"), SendOutcome::Accepted { dropped: 0 })
    });
    read_turning(&mut plain_one, &mut driver, |all| all.len() >= 10).unwrap();
    assert_eq!(driver.protocol().closed(), [], "it is held though nothing is queued");
    driver.with(|_, _, net| net.release(conn));
    assert!(read_turning(&mut plain_one, &mut driver, |_| false).unwrap().is_empty());
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());

    config.half_close_drain = Duration::from_millis(60);
    let mut driver = reacting(config, |seen, net| {
        if let Seen::HalfClosed(conn) = seen {
            net.hold(*conn);
        }
    });
    let (plain_two, _) = plain(&mut driver);
    plain_two.shutdown(Shutdown::Write).unwrap();
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    assert_eq!(driver.protocol().closed(), [CloseReason::RemoteClosed], "whoever forgets to release does not keep it");
}

#[test]
fn a_stop_drains_those_who_are_half_closed_as_well() {
    let mut driver = reacting(config(), |seen, net| {
        if let Seen::HalfClosed(conn) = seen {
            net.hold(*conn);
            net.stop();
        }
    });
    let (mut plain, conn) = plain(&mut driver);
    driver
        .with(|_, _, net| assert_eq!(net.send(conn, Priority::Low, 1, b"kept"), SendOutcome::Accepted { dropped: 0 }));
    plain.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_turning(&mut plain, &mut driver, |_| false).unwrap(), frame(1, b"kept"));
    driver.run().unwrap();
    assert_eq!(driver.protocol().closed(), [CloseReason::Shutdown]);
}

/// Of 8 MiB, 4.77 arrived: the socket was closed a moment after the last byte was in its buffer, over what the peer had sent.
#[test]
fn a_drained_close_gives_a_slow_reader_that_still_sends_everything_within_its_deadline() {
    let mut driver = party(config());
    let (mut plain, conn) = plain(&mut driver);
    let body = payload(8 << 20, 3);
    driver.with(|_, _, net| {
        let sent = net.send_shared(conn, Priority::Normal, 1, &body.clone().into());
        assert_eq!(sent, SendOutcome::Accepted { dropped: 0 });
        net.close(conn, CloseReason::Requested, Duration::from_secs(60));
    });
    // By turns of the loop, not of a clock: as slow as it must be for the last bytes to lie in the sender's socket for many turns.
    plain.set_nonblocking(true).unwrap();
    let (mut all, mut buffer, mut turns) = (Vec::new(), vec![0; 8 * 1024], 0);
    loop {
        driver.turn(Some(Duration::ZERO)).unwrap();
        turns += 1;
        let _ = plain.write(&[9; 100]);
        match plain.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => all.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                driver.turn(Some(Duration::from_millis(1))).unwrap();
            }
            Err(error) => panic!("{} of {} bytes arrived, and then: {error}", all.len(), body.len() + 5),
        }
    }
    assert!(all == frame(1, &body), "{} bytes arrived", all.len());
    assert!(turns > 500, "the reader was slow: {turns} turns");
    assert_eq!(driver.protocol().closed(), [], "and the socket is there as long as it may still send");
    drop(plain);
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    assert_eq!(driver.protocol().closed(), [CloseReason::Requested]);
}

#[test]
fn a_peer_that_ends_its_direction_while_it_is_being_closed_still_gets_the_rest() {
    let mut driver = party(config());
    let (mut plain, conn) = plain(&mut driver);
    let body = payload(8 << 20, 4);
    driver.with(|_, _, net| {
        let _ = net.send_shared(conn, Priority::Normal, 1, &body.clone().into());
        net.close(conn, CloseReason::Requested, Duration::from_secs(60));
    });
    plain.write_all(b"whatever").unwrap();
    plain.shutdown(Shutdown::Write).unwrap();
    for _ in 0..20 {
        driver.turn(Some(Duration::ZERO)).unwrap();
    }
    assert!(read_turning(&mut plain, &mut driver, |_| false).unwrap() == frame(1, &body));
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    assert_eq!(driver.protocol().closed(), [CloseReason::Requested]);
}

/// What lingers is part of what the caller allowed: it was a quarter of a second on top of that, however much there was to read.
#[test]
fn a_closed_peer_that_keeps_sending_is_read_within_bounds_and_given_up_at_the_deadline() {
    let mut config = config();
    config.turn_bytes = 4096;
    let mut driver = party(config);
    let (mut loud, conn) = plain(&mut driver);
    let (mut quiet, quiet_conn) = plain(&mut driver);
    driver.with(|_, _, net| net.close(conn, CloseReason::Requested, Duration::from_millis(150)));
    let mut before = driver.net().totals().bytes_in;
    let flood = vec![0; 1 << 20];
    while driver.protocol().closed().is_empty() {
        if driver.net().conn_stats(conn).is_some() {
            write_until_full_or_reset(&mut loud, &flood);
        }
        driver.turn(Some(Duration::from_millis(1))).unwrap();
        let read = driver.net().totals().bytes_in - before;
        assert!(read <= 4096, "{read} bytes were thrown away in one turn");
        before += read;
    }
    assert!(before > 50_000, "it was read all the time: {before} bytes");
    assert_eq!(driver.protocol().closed(), [CloseReason::Requested]);
    quiet.write_all(&frame(3, b"served")).unwrap();
    turn_until(&mut driver, |driver| driver.protocol().seen.contains(&Seen::Frame(quiet_conn, 3, b"served".to_vec())));
}

fn write_until_full_or_reset(stream: &mut TcpStream, bytes: &[u8]) {
    stream.set_nonblocking(true).unwrap();
    while let Ok(1..) = stream.write(bytes) {}
}
