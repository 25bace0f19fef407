//! Out of descriptors: the listener rests, and takes who waits as soon as there is room, without a new edge.
//!
//! The limit is the process's, so this test has a process of its own.

use std::fs::File;
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use spacetime_network::close::CloseReason;
use spacetime_network::driver::{Config, Driver, Event, Net, Protocol};
use spacetime_network::id::DialId;
use spacetime_network::time::Now;

#[derive(Default)]
struct Count {
    opened: usize,
    failed: Vec<CloseReason>,
}

impl Protocol for Count {
    type Command = ();

    fn handle(&mut self, _now: Now, event: Event<'_, ()>, _net: &mut Net) {
        match event {
            Event::Opened { .. } => self.opened += 1,
            Event::DialFailed { reason, .. } => self.failed.push(reason),
            _ => {}
        }
    }
}

#[test]
fn those_who_wait_are_accepted_when_descriptors_are_free_again() {
    const WAITING: usize = 20;
    let mut driver = Driver::new(Config::default(), Count::default()).unwrap();
    let address = driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let clients: Vec<TcpStream> = (0..WAITING).map(|_| TcpStream::connect(address).unwrap()).collect();
    let mut fillers: Vec<File> = (0..WAITING).map(|_| File::open("/dev/null").unwrap()).collect();
    let highest = fillers.iter().map(AsRawFd::as_raw_fd).max().unwrap();
    let (_, hard) = rlimit::Resource::NOFILE.get().unwrap();
    rlimit::Resource::NOFILE.set(highest as u64 + 1, hard).unwrap();

    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(400) {
        driver.turn(Some(Duration::from_millis(20))).unwrap();
    }
    let errors = driver.net().totals().accept_errors;
    assert_eq!(driver.protocol().opened, 0);
    assert!((1..=10).contains(&errors), "{errors} errors of accept: the listener spins or sleeps for ever");
    driver.with(|_, _, net| net.dial(DialId(1), address, Duration::from_secs(1)));
    driver.turn(Some(Duration::ZERO)).unwrap();
    assert!(matches!(driver.protocol().failed[..], [CloseReason::LocalResource(_)]));

    // No new client comes; only the timer brings the listener back.
    fillers.clear();
    let limit = Instant::now() + Duration::from_secs(30);
    while driver.protocol().opened < WAITING {
        driver.turn(Some(Duration::from_millis(20))).unwrap();
        assert!(Instant::now() < limit, "{} of {WAITING} were accepted", driver.protocol().opened);
    }
    drop(clients);
}
