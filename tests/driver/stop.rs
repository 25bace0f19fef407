//! Handles from other threads, and the end of the loop.

use std::net::TcpStream;
use std::time::Duration;

use spacetime_network::close::CloseReason;
use spacetime_network::driver::HandleError;
use spacetime_network::id::DialId;
use spacetime_network::wire::Priority;

use crate::party::*;

#[test]
fn commands_from_another_thread_wake_the_loop_and_arrive_in_order() {
    let mut driver = party(config());
    let handle = driver.handle();
    let thread = std::thread::spawn(move || {
        for command in 0..500 {
            handle.send(command).unwrap();
        }
    });
    while driver.protocol().seen.len() < 500 {
        driver.turn(None).unwrap();
    }
    thread.join().unwrap();
    assert_eq!(driver.protocol().seen, (0..500).map(Seen::Command).collect::<Vec<_>>());
}

#[test]
fn a_full_queue_and_an_ended_loop_give_the_command_back() {
    let mut config = config();
    config.commands = 2;
    let mut driver = party(config);
    let handle = driver.handle();
    handle.send(1).unwrap();
    handle.send(2).unwrap();
    assert!(matches!(handle.send(3), Err(HandleError::Full(3))));
    handle.stop();
    driver.run().unwrap();
    assert_eq!(driver.protocol().seen, [Seen::Command(1), Seen::Command(2), Seen::Stopping]);
    assert!(!driver.turn(None).unwrap());
    assert!(matches!(handle.send(4), Err(HandleError::Closed(4))));
}

#[test]
fn a_stop_refuses_newcomers_and_flushes_what_is_queued() {
    let mut driver = reacting(config(), |_, _| {});
    let (mut plain, conn) = plain(&mut driver);
    let address = listen(&mut driver);
    let body = payload(3_000_000, 9);
    driver.with(|_, _, net| {
        let _ = net.send_shared(conn, Priority::High, 1, &body.clone().into());
        net.stop();
        net.stop();
    });
    let all = read_turning(&mut plain, &mut driver, |_| false).unwrap();
    assert!(all == frame(1, &body));
    assert!(TcpStream::connect(address).is_err());
    drop(plain);
    driver.run().unwrap();
    assert_eq!(driver.protocol().closed(), [CloseReason::Shutdown]);
}

#[test]
fn a_stop_ends_dials_and_peers_that_do_not_read() {
    let mut config = config();
    config.stop_drain = Duration::from_millis(50);
    let mut driver = party(config);
    let (_plain, conn) = plain(&mut driver);
    driver.with(|_, _, net| {
        let _ = net.send_shared(conn, Priority::High, 1, &vec![0; 16_000_000].into());
    });
    driver.turn(Some(Duration::ZERO)).unwrap();
    driver.handle().stop();
    turn_until(&mut driver, |driver| driver.protocol().seen.contains(&Seen::Stopping));
    driver.with(|_, _, net| net.dial(DialId(1), "127.0.0.1:1".parse().unwrap(), Duration::from_secs(1)));
    driver.run().unwrap();
    assert_eq!(driver.protocol().closed(), [CloseReason::Shutdown]);
    assert!(driver.protocol().seen.contains(&Seen::DialFailed(DialId(1), CloseReason::Shutdown)));
}

#[test]
fn an_idle_loop_has_no_deadline_and_says_so() {
    let mut driver = party(config());
    let (_plain, _) = plain(&mut driver);
    driver.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(driver.next_timeout(), None);
    driver.with(|_, _, net| net.stop());
    assert_eq!(driver.next_timeout(), Some(Duration::ZERO));
}
