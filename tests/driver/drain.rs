//! Connections that only say their last word: they hold no descriptor that somebody else needs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use spacetime_network::close::CloseReason;
use spacetime_network::driver::{Config, Driver};
use spacetime_network::id::DialId;
use spacetime_network::wire::{FrameError, FrameRules};

use crate::party::*;

static SHORT: FrameRules = FrameRules::any(16);
/// A length that no frame has.
const STRANGE: [u8; 5] = [0xff, 0xff, 0xff, 0x7f, 0x77];

/// A loop of three connections that says its last word to whoever breaks its rules, and gives it a while to arrive.
fn strict() -> (Driver<Party>, SocketAddr) {
    let config: Config = {
        let mut config = config();
        (config.rules, config.connections) = (&SHORT, 3);
        config
    };
    let mut driver = party(config);
    driver.protocol_mut().last_frame = Some(b"no");
    let address = listen(&mut driver);
    (driver, address)
}

/// Strangers who break the rules, and do not take their end.
fn breakers(driver: &mut Driver<Party>, address: SocketAddr, count: usize) -> Vec<TcpStream> {
    let strangers: Vec<TcpStream> = (0..count).map(|_| TcpStream::connect(address).unwrap()).collect();
    for mut stranger in &strangers {
        stranger.write_all(&STRANGE).unwrap();
    }
    turn_until(driver, |driver| driver.net().totals().frames_out as usize == count);
    strangers
}

fn last_word(stranger: &mut TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    stranger.read_to_end(&mut said).unwrap();
    said
}

/// Sockets that lingered for their last word kept every newcomer out.
#[test]
fn a_newcomer_gets_the_descriptor_of_whoever_drains_longest_and_no_more_than_there_are() {
    let (mut driver, address) = strict();
    let mut strangers = breakers(&mut driver, address, 3);
    assert_eq!((driver.net().connections(), driver.net().totals().drains_cut), (3, 0), "as long as nobody needs it");
    let _newcomers: Vec<TcpStream> = (0..2).map(|_| TcpStream::connect(address).unwrap()).collect();
    turn_until(&mut driver, |driver| driver.protocol().opened().len() == 5);
    assert_eq!((driver.net().connections(), driver.net().totals().drains_cut), (3, 2));
    // One who dials needs one as well.
    driver.with(|_, _, net| net.dial(DialId(1), address, Duration::from_secs(60)));
    assert_eq!((driver.net().connections(), driver.net().totals().drains_cut), (2, 3));
    turn_until(&mut driver, |driver| driver.protocol().closed().len() == 3);
    let reason = CloseReason::Frame(FrameError::Length(0x7fff_ffff));
    assert_eq!(driver.protocol().closed(), vec![reason; 3], "for what they did, and once each");
    for stranger in &mut strangers {
        assert_eq!(last_word(stranger), frame(0xff, b"no"), "they hear why all the same");
    }
}

/// Two hundred strange lengths at once, on a loop of three connections: each hears why, and the one behind them gets in.
#[test]
fn a_flood_of_strange_lengths_keeps_nobody_out_who_comes_behind_it() {
    let (mut driver, address) = strict();
    let mut strangers: Vec<TcpStream> = Vec::new();
    for _ in 0..100 {
        strangers.push(TcpStream::connect(address).unwrap());
        strangers.last_mut().unwrap().write_all(&STRANGE).unwrap();
        strangers.push(TcpStream::connect(address).unwrap());
        strangers.last_mut().unwrap().write_all(&STRANGE).unwrap();
        driver.turn(Some(Duration::ZERO)).unwrap();
    }
    let mut honest = TcpStream::connect(address).unwrap();
    honest.write_all(&frame(7, b"ping")).unwrap();
    turn_until(&mut driver, |driver| driver.protocol().frame_count() == 1);
    assert_eq!(driver.protocol().frames(), [(7, b"ping".to_vec())]);
    assert!(driver.net().connections() <= 3 && driver.net().totals().drains_cut > 100);
}
