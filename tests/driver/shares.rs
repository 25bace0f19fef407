//! The loop's time is shared by source: who causes much work waits behind all who cause little.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use spacetime_network::driver::Driver;
use spacetime_network::limits::{LOOP_WORK, TURN_WORK};

use crate::party::*;

/// What a frame of kind 2 costs.
const DEAR: u32 = 4_000;

/// A driver whose frames of kind 2 cost much, and those of any other kind nothing.
fn dear() -> Driver<Party> {
    let mut driver = party(config());
    driver.protocol_mut().reaction = Box::new(|seen, net| {
        if matches!(seen, Seen::Frame(_, 2, _)) {
            net.spend(DEAR);
        }
    });
    driver
}

fn connect(driver: &mut Driver<Party>, from: [u8; 4]) -> TcpStream {
    let server = driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::from(from), 0)).into()).unwrap();
    let opened = driver.protocol().opened().len();
    socket.connect(&server.into()).unwrap();
    turn_until(driver, |driver| driver.protocol().opened().len() > opened);
    socket.into()
}

fn frames(driver: &Driver<Party>, kind: u8) -> usize {
    driver.protocol().seen.iter().filter(|seen| matches!(seen, Seen::Frame(_, at, _) if *at == kind)).count()
}

/// Ninety connections with a thousand small transactions each, every one within its own limits, held the loop for two seconds, for
/// only frames and bytes were counted. One who had a ping to say waited for all of them.
#[test]
fn one_ping_comes_before_the_rest_of_what_a_crowd_has_to_say_and_no_turn_does_more_work_than_it_may() {
    let mut driver = dear();
    let mut crowd: Vec<TcpStream> = (0..30).map(|n| connect(&mut driver, [127, 0, 9, 1 + n])).collect();
    let mut honest = connect(&mut driver, [127, 0, 10, 1]);
    let junk = frame(2, b"dear").repeat(100);
    crowd.iter_mut().for_each(|stream| stream.write_all(&junk).unwrap());
    // The crowd is known for what it costs once it has been served.
    turn_until(&mut driver, |driver| frames(driver, 2) > 0);
    honest.write_all(&frame(1, b"ping")).unwrap();
    let mut turns = 0;
    while frames(&driver, 1) == 0 {
        let before = driver.net().totals().work;
        driver.turn(Some(Duration::from_millis(10))).unwrap();
        let work = driver.net().totals().work - before;
        assert!(work <= u64::from(LOOP_WORK + DEAR), "{work} units in a turn");
        turns += 1;
        assert!(turns <= 3, "the ping waits for the crowd");
    }
    assert!(frames(&driver, 2) < 30 * 100, "the crowd has been served before it");
    turn_until(&mut driver, |driver| frames(driver, 2) == 30 * 100);
}

/// Whoever had a ping to say waited for a whole slice of each of ninety who came with as little known of them.
#[test]
fn one_ping_does_not_wait_for_a_whole_slice_of_each_of_a_crowd_that_nobody_knows_yet() {
    let mut driver = dear();
    let mut crowd: Vec<TcpStream> = (0..30).map(|n| connect(&mut driver, [127, 0, 20 + n, 1])).collect();
    let mut honest = connect(&mut driver, [127, 0, 10, 1]);
    let junk = frame(2, b"dear").repeat(20);
    crowd.iter_mut().for_each(|stream| stream.write_all(&junk).unwrap());
    honest.write_all(&frame(1, b"ping")).unwrap();
    turn_until(&mut driver, |driver| frames(driver, 1) == 1);
    // One frame of each of them may have come before it, and not the six of a whole slice.
    assert!(frames(&driver, 2) <= 2 * 30, "{} came before the ping", frames(&driver, 2));
    turn_until(&mut driver, |driver| frames(driver, 2) == 30 * 20);
}

#[test]
fn one_connection_gets_no_more_than_its_slice_of_a_turn_and_loses_nothing() {
    let mut driver = dear();
    let mut alone = connect(&mut driver, [127, 0, 9, 1]);
    alone.write_all(&frame(2, b"dear").repeat(100)).unwrap();
    while frames(&driver, 2) < 100 {
        let before = driver.net().totals().work;
        driver.turn(Some(Duration::from_millis(10))).unwrap();
        let work = driver.net().totals().work - before;
        assert!(work < u64::from(TURN_WORK + DEAR), "{work} units in a turn");
    }
    assert_eq!(driver.net().totals().work, u64::from(DEAR) * 100);
}

/// A loop that was held for seconds said nothing of it: an operator saw late pings, and nobody knew whose work it was.
#[test]
fn a_turn_that_took_long_is_counted_with_the_work_that_was_done_in_it() {
    let mut driver = party(config());
    let held = Duration::from_millis(21);
    driver.protocol_mut().reaction = Box::new(move |seen, net| {
        if matches!(seen, Seen::Frame(_, 2, _)) {
            net.spend(DEAR);
            let began = std::time::Instant::now();
            while began.elapsed() < held {}
        }
    });
    let mut peer = connect(&mut driver, [127, 0, 9, 1]);
    let before = driver.net().totals().turns;
    peer.write_all(&frame(2, b"slow")).unwrap();
    turn_until(&mut driver, |driver| frames(driver, 2) == 1);
    let turns = driver.net().totals().turns;
    assert!(turns.count > before.count);
    assert!(turns.above[0] > before.above[0] && turns.above[1] > before.above[1]);
    assert!(turns.worst.time >= held && turns.worst_lately() == turns.worst);
}
