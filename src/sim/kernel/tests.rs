//! The virtual kernel against what Linux does: each test is one habit that the loop relies on.

use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::*;
use crate::driver::{Kernel, Readiness};

const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(45, 0, 0, 7)), 8333);
const THERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(45, 0, 1, 7)), 40_000);

fn machine(calls: Calls) -> Machine {
    Machine::new(HERE.ip(), calls, 4096, Rng::from_seed(1))
}

fn pipe(number: u32) -> PipeId {
    PipeId::numbered(number)
}

fn news(machine: &mut Machine) -> Vec<Readiness> {
    let mut events = Vec::new();
    machine.poll(&mut events).unwrap();
    events
}

fn read(machine: &mut Machine, socket: SocketId, len: usize) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; len];
    let count = machine.read(socket, &mut [IoSliceMut::new(&mut buffer)])?;
    buffer.truncate(count);
    Ok(buffer)
}

/// An accepted connection under token 3.
fn connection(machine: &mut Machine) -> SocketId {
    let listener = machine.listen(HERE, 4).unwrap();
    assert!(matches!(machine.knock(THERE, HERE.port(), pipe(1)), Knock::Accepted(_)));
    let (socket, remote) = machine.accept(listener).unwrap();
    assert_eq!(remote, THERE);
    machine.register(socket, 3).unwrap();
    assert_eq!(news(machine), [Readiness { token: 3, writable: true, ..Readiness::default() }]);
    socket
}

#[test]
fn news_comes_once_for_each_arrival() {
    let mut machine = machine(Calls::QUIET);
    let socket = connection(&mut machine);
    machine.deliver(socket, vec![1, 2, 3], false);
    let arrived = Readiness { token: 3, readable: true, writable: true, ..Readiness::default() };
    assert_eq!(news(&mut machine), [arrived]);
    assert_eq!(news(&mut machine), [], "an edge, not a level");
    machine.deliver(socket, vec![4], true);
    assert_eq!(news(&mut machine), [Readiness { ended: true, ..arrived }]);
    assert_eq!(read(&mut machine, socket, 9).unwrap(), [1, 2, 3, 4]);
    assert_eq!(read(&mut machine, socket, 9).unwrap(), [0u8; 0], "the end");
}

#[test]
fn a_short_read_brings_news_of_the_rest() {
    let mut machine = machine(Calls { short_read: 1000, ..Calls::QUIET });
    let socket = connection(&mut machine);
    machine.deliver(socket, vec![7; 100], false);
    let mut got = 0;
    for _ in 0..100 {
        for event in news(&mut machine) {
            assert!(event.readable);
            got += read(&mut machine, socket, 4096).unwrap().len();
        }
    }
    assert_eq!(got, 100);
}

#[test]
fn a_read_ends_at_an_urgent_mark_and_nothing_tells_of_the_rest() {
    let mut machine = machine(Calls { urgent: 1000, ..Calls::QUIET });
    let socket = connection(&mut machine);
    let all: Vec<u8> = (0..200).collect();
    machine.deliver(socket, all[..100].to_vec(), false);
    machine.deliver(socket, all[100..].to_vec(), false);
    let told = Readiness { token: 3, readable: true, writable: true, ended: false, urgent: true };
    assert_eq!(news(&mut machine), [told]);
    let before = read(&mut machine, socket, 4096).unwrap();
    assert!((100..200).contains(&before.len()), "the later of two marks counts: {}", before.len());
    assert_eq!(news(&mut machine), []);
    let behind = read(&mut machine, socket, 4096).unwrap();
    assert_eq!([before, behind].concat(), all, "the marked byte is one of the stream");
    assert_eq!(read(&mut machine, socket, 9).unwrap_err().kind(), ErrorKind::WouldBlock);
}

/// As mio's poll(2) and its Windows have it.
#[test]
fn an_unarmed_selector_is_silent_until_a_call_is_refused() {
    let mut machine = machine(Calls { unarmed: 1, ..Calls::QUIET });
    assert!(!machine.tells_every_arrival());
    let socket = connection(&mut machine);
    machine.deliver(socket, vec![1; 10], false);
    assert_eq!(news(&mut machine), [Readiness { token: 3, readable: true, ..Readiness::default() }]);
    assert_eq!(read(&mut machine, socket, 100).unwrap().len(), 10);
    machine.deliver(socket, vec![2; 10], false);
    assert_eq!(news(&mut machine), [], "a short read is no reason to look again");
    assert_eq!(read(&mut machine, socket, 100).unwrap().len(), 10);
    assert_eq!(read(&mut machine, socket, 100).unwrap_err().kind(), ErrorKind::WouldBlock);
    machine.deliver(socket, vec![3; 10], false);
    // Both directions are armed again, and what is so is told at once.
    let both = Readiness { token: 3, readable: true, writable: true, ..Readiness::default() };
    assert_eq!(news(&mut machine), [both]);
    machine.fail(socket, ErrorKind::ConnectionReset);
    assert!(news(&mut machine)[0].ended, "a failure is told in any case");
}

#[test]
fn a_full_send_buffer_blocks_and_room_is_news() {
    let mut machine = machine(Calls::QUIET);
    let socket = connection(&mut machine);
    let bytes = [5u8; 5000];
    assert_eq!(machine.write(socket, &[IoSlice::new(&bytes)]).unwrap(), 4096);
    assert_eq!(machine.write(socket, &[IoSlice::new(&bytes)]).unwrap_err().kind(), ErrorKind::WouldBlock);
    machine.send(socket, 100);
    assert_eq!(news(&mut machine), [], "not for the first few bytes");
    machine.send(socket, 2000);
    assert_eq!(news(&mut machine).len(), 1);
    assert!(machine.write(socket, &[IoSlice::new(&bytes)]).unwrap() > 0);
}

#[test]
fn a_reset_leaves_what_arrived_to_be_read_and_then_says_so_once() {
    let mut machine = machine(Calls::QUIET);
    let socket = connection(&mut machine);
    machine.deliver(socket, vec![1], false);
    machine.fail(socket, ErrorKind::ConnectionReset);
    assert_eq!(read(&mut machine, socket, 9).unwrap(), [1]);
    assert_eq!(read(&mut machine, socket, 9).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(read(&mut machine, socket, 9).unwrap(), [0u8; 0]);
    assert_eq!(machine.write(socket, &[IoSlice::new(&[1])]).unwrap_err().kind(), ErrorKind::BrokenPipe);
}

#[test]
fn without_descriptors_nobody_is_accepted_until_one_is_closed() {
    let mut machine = machine(Calls { descriptors: 2, ..Calls::QUIET });
    let socket = connection(&mut machine);
    assert_eq!(machine.open(), 2);
    assert!(matches!(machine.knock(THERE, HERE.port(), pipe(2)), Knock::Accepted(_)), "the kernel accepts in any case");
    assert_eq!(machine.accept(0).unwrap_err().raw_os_error(), Some(EMFILE));
    assert_eq!(machine.connect(THERE).unwrap_err().raw_os_error(), Some(EMFILE));
    assert_eq!(machine.waited(), None, "there is no descriptor for it");
    machine.close(socket);
    machine.sim_time = Instant::from_millis(1500);
    assert_eq!(machine.waited(), Some(Duration::from_millis(1500)));
    machine.accept(0).unwrap();
    assert_eq!((machine.waited(), machine.open()), (None, 2));
}

#[test]
fn a_full_backlog_ignores_and_no_listener_refuses() {
    let mut machine = machine(Calls::QUIET);
    assert_eq!(machine.knock(THERE, HERE.port(), pipe(1)), Knock::Refused);
    let listener = machine.listen(HERE, 1).unwrap();
    assert!(matches!(machine.knock(THERE, HERE.port(), pipe(1)), Knock::Accepted(_)));
    assert_eq!(machine.knock(THERE, HERE.port(), pipe(2)), Knock::Ignored);
    machine.close(listener);
    let mut signals = Vec::new();
    machine.take_signals(&mut signals);
    assert!(matches!(signals[..], [Signal::Gone { abort: true, .. }]), "who waited is reset: {signals:?}");
    assert_eq!((machine.open(), machine.waited()), (0, None));
}

#[test]
fn closing_with_unread_bytes_resets_and_otherwise_sends_the_rest() {
    for (unread, aborts) in [(false, false), (true, true)] {
        let mut machine = machine(Calls::QUIET);
        let socket = connection(&mut machine);
        if unread {
            machine.deliver(socket, vec![1], false);
        }
        machine.write(socket, &[IoSlice::new(&[9, 9])]).unwrap();
        machine.close(socket);
        let mut signals = Vec::new();
        machine.take_signals(&mut signals);
        let Some(Signal::Gone { rest, abort, .. }) = signals.pop() else { panic!("{signals:?}") };
        assert_eq!((rest, abort), (vec![9, 9], aborts));
    }
}

#[test]
fn every_fault_of_a_call_comes_up() {
    let all = Calls {
        read_error: 300,
        write_error: 300,
        accept_error: 500,
        connect_error: 500,
        spurious: 500,
        stale: 500,
        reorder: 500,
        defer: 500,
        interrupt: 300,
        short_write: 500,
        ..Calls::QUIET
    };
    let mut machine = machine(all);
    let listener = machine.listen(HERE, 4).unwrap();
    machine.register(listener, 1).unwrap();
    for round in 0..200 {
        let dialed = machine.connect(THERE);
        machine.knock(THERE, HERE.port(), pipe(round));
        machine.knock(THERE, HERE.port(), pipe(round + 1000));
        let accepted = machine.accept(listener);
        if let Ok((socket, _)) = accepted {
            machine.register(socket, 10 + socket as usize).unwrap();
            machine.deliver(socket, vec![1; 10], false);
            let _ = machine.read(socket, &mut [IoSliceMut::new(&mut [0; 10])]);
            let _ = machine.write(socket, &[IoSlice::new(&[0; 10])]);
            let _ = machine.poll(&mut Vec::new());
            machine.close(socket);
        }
        if let Ok(socket) = dialed {
            machine.close(socket);
        }
    }
    for fault in [
        "read error",
        "write error",
        "accept error",
        "connect error",
        "spurious event",
        "stale event",
        "reordered events",
        "deferred events",
        "interrupted wait",
        "short write",
    ] {
        assert!(machine.injected.contains_key(fault), "{fault}: {:?}", machine.injected);
    }
}
