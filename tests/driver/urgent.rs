//! Urgent data: a byte of the stream like the others, and a mark at which a read ends early.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use socket2::SockRef;
use spacetime_network::close::CloseReason;
use spacetime_network::id::DialId;
use spacetime_network::wire::Priority;

use crate::party::*;

/// Sends bytes of which one, in the middle, is urgent.
fn send_with_urgent(plain: &mut TcpStream, bytes: &[u8], urgent_at: usize) {
    plain.write_all(&bytes[..urgent_at]).unwrap();
    assert_eq!(SockRef::from(&*plain).send_out_of_band(&bytes[urgent_at..=urgent_at]).unwrap(), 1);
    plain.write_all(&bytes[urgent_at + 1..]).unwrap();
}

/// The first read ended at the mark, was taken for the last byte that was there, and the second ping stayed unanswered until
/// something else came.
#[test]
fn urgent_data_between_two_frames_hides_neither_of_them() {
    let mut driver = echo(config());
    let pings = [frame(1, b"first"), frame(1, b"second")].concat();
    let first = frame(1, b"first").len();
    // The last byte of the first, the first byte of the second, and bytes within both.
    for urgent_at in [first - 1, first, 2, first + 3, 0] {
        let (mut plain, _) = plain(&mut driver);
        send_with_urgent(&mut plain, &pings, urgent_at);
        let answers = read_turning(&mut plain, &mut driver, |all| all.len() >= pings.len()).unwrap();
        assert_eq!(answers, pings, "with byte {urgent_at} urgent");
    }
}

#[test]
fn urgent_data_from_a_peer_that_we_dialed_is_read_in_line_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut driver = echo(config());
    driver.with(|_, _, net| net.dial(DialId(1), listener.local_addr().unwrap(), Duration::from_secs(60)));
    let (mut plain, _) = listener.accept().unwrap();
    turn_until(&mut driver, |driver| !driver.protocol().opened().is_empty());
    let pings = [frame(1, b"first"), frame(1, b"second")].concat();
    for _ in 0..3 {
        send_with_urgent(&mut plain, &pings, 7);
        let answers = read_turning(&mut plain, &mut driver, |all| all.len() >= pings.len()).unwrap();
        assert_eq!(answers, pings);
        plain.set_nonblocking(false).unwrap();
    }
}

#[test]
fn urgent_data_on_a_connection_that_is_being_closed_does_not_hide_its_end() {
    let mut driver = party(config());
    let (mut plain, conn) = plain(&mut driver);
    driver.with(|_, _, net| {
        let _ = net.send(conn, Priority::Normal, 1, b"last");
        net.close(conn, CloseReason::Requested, Duration::from_secs(60));
    });
    send_with_urgent(&mut plain, &[7; 100], 50);
    assert_eq!(read_turning(&mut plain, &mut driver, |_| false).unwrap(), frame(1, b"last"));
    drop(plain);
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    assert_eq!(driver.protocol().closed(), [CloseReason::Requested]);
}
