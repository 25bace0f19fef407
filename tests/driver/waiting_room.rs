//! Sockets that wait until the protocol has a place for them.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use spacetime_network::driver::Driver;

use crate::party::*;

/// A driver whose protocol has so many places, and lets others wait.
fn with_places(places: usize, waiting: usize, wait: Duration) -> Driver<Party> {
    let mut config = config();
    (config.admit_waiting, config.admit_wait) = (waiting, wait);
    let mut driver = party(config);
    (driver.protocol_mut().places, driver.protocol_mut().waits) = (Some(places), true);
    driver
}

fn last_word(stranger: &mut TcpStream) -> String {
    let mut text = String::new();
    stranger.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn whoever_waits_comes_in_as_soon_as_there_is_a_place_and_in_the_order_of_coming() {
    let mut driver = with_places(2, 100, Duration::from_secs(3600));
    let address = listen(&mut driver);
    let strangers: Vec<TcpStream> = (0..10).map(|_| TcpStream::connect(address).unwrap()).collect();
    turn_until(&mut driver, |driver| driver.net().totals().admit_waited == 8);
    assert_eq!(driver.protocol().admitted.len(), 2);
    assert_eq!(
        driver.next_timeout().map(|wait| wait < Duration::from_millis(300)),
        Some(true),
        "and is asked about again"
    );
    driver.protocol_mut().places = Some(3);
    turn_until(&mut driver, |driver| driver.protocol().opened().len() == 5);
    driver.protocol_mut().places = Some(100);
    turn_until(&mut driver, |driver| driver.protocol().opened().len() == 10);
    let ports: Vec<_> = strangers.iter().map(|stranger| stranger.local_addr().unwrap()).collect();
    assert_eq!(driver.protocol().admitted, ports);
    let totals = driver.net().totals();
    assert_eq!((totals.accepted, totals.refused, totals.admit_waited), (10, 0, 8));
    // The timer of the last question is found to be for nobody.
    turn_until(&mut driver, |driver| driver.next_timeout().is_none());
}

#[test]
fn whoever_has_waited_in_vain_is_told_so_and_so_is_one_too_many() {
    let mut driver = with_places(0, 2, Duration::from_millis(100));
    let address = listen(&mut driver);
    let mut strangers: Vec<TcpStream> = (0..3).map(|_| TcpStream::connect(address).unwrap()).collect();
    turn_until(&mut driver, |driver| driver.protocol().in_vain.len() == 3);
    let ports: Vec<_> = strangers.iter().map(|stranger| stranger.local_addr().unwrap()).collect();
    assert_eq!(
        driver.protocol().in_vain,
        [ports[2], ports[0], ports[1]],
        "the one too many at once, then by their time"
    );
    assert!(strangers.iter_mut().all(|stranger| last_word(stranger) == "full"));
    let totals = driver.net().totals();
    assert_eq!((totals.refused, totals.refused_admit, totals.accepted), (3, 3, 0));
}

#[test]
fn a_stop_ends_the_waiting() {
    let mut driver = with_places(0, 8, Duration::from_secs(3600));
    let address = listen(&mut driver);
    let mut stranger = TcpStream::connect(address).unwrap();
    turn_until(&mut driver, |driver| driver.net().totals().admit_waited == 1);
    driver.handle().stop();
    driver.run().unwrap();
    assert_eq!(stranger.read(&mut [0; 8]).unwrap(), 0);
}
