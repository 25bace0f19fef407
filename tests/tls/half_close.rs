//! TLS's close_notify ends one direction: a client that another program wrote says all, then reads.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc::channel;
use std::time::Duration;

use proptest::prelude::*;
use rustls::{ClientConnection, StreamOwned};
use spacetime_network::close::{CloseReason, TlsFault};
use spacetime_network::link::tls::identity::Identity;
use spacetime_network::link::tls::trust::Trust;

use crate::party::{Seen, echo, frame, listen, party, payload, turn_until};
use crate::promise::{holds, plans};
use crate::setting::{assert_nothing_left, secured};
use crate::tls_support::{self, By};

/// A client whom nobody knows.
fn client(address: SocketAddr) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    tls_support::client(address, Identity::generate_pkcs8().unwrap())
}

/// Says all, ends its direction, and reads to the server's close_notify.
fn ask_and_end(address: SocketAddr, question: &[u8], by: By) -> io::Result<Vec<u8>> {
    let mut stream = client(address)?;
    stream.write_all(question)?;
    stream.flush()?;
    by.end(&mut stream)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// Two of four clients lost their answers.
#[test]
fn a_client_whose_close_notify_follows_its_frames_gets_its_whole_answer_each_time() {
    let mut driver = echo(secured(Trust::Any));
    let address = listen(&mut driver);
    let handle = driver.handle();
    let server = std::thread::spawn(move || {
        driver.run().unwrap();
        driver
    });
    for by in [By::CloseNotify, By::CloseNotifyAndFin, By::Fin] {
        for len in [10, 60_000, 3_000_000] {
            let question = [frame(7, &payload(len, 1)), frame(8, b"and this")].concat();
            let whole = (0..5).filter(|_| ask_and_end(address, &question, by).unwrap() == question).count();
            assert_eq!(whole, 5, "of 5 answers of {len} bytes to an end by {by:?}");
        }
    }
    handle.stop();
    let driver = server.join().unwrap();
    let closed = driver.protocol().closed();
    let cut = closed.iter().filter(|reason| **reason == CloseReason::Tls(TlsFault::Cut)).count();
    let left = closed.iter().filter(|reason| **reason == CloseReason::RemoteClosed).count();
    assert_eq!((cut, left), (15, 30), "an end without close_notify is still told from one with it: {closed:?}");
    let half_closed = driver.protocol().seen.iter().filter(|seen| matches!(seen, Seen::HalfClosed(_))).count();
    assert_eq!(half_closed, 45);
    assert_nothing_left(&driver);
}

#[test]
fn a_peer_that_goes_on_sending_behind_its_close_notify_has_its_place_no_longer_than_the_drain() {
    let mut config = secured(Trust::Any);
    config.half_close_drain = Duration::from_millis(100);
    let mut driver = party(config);
    let address = listen(&mut driver);
    let client = std::thread::spawn(move || {
        let mut stream = client(address).unwrap();
        stream.write_all(&frame(1, b"all")).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        // It means nothing, and keeps nobody.
        while stream.sock.write_all(&[0; 4096]).is_ok() {}
    });
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    assert_eq!(driver.protocol().frames(), [(1, b"all".to_vec())]);
    assert_eq!(driver.protocol().closed(), [CloseReason::RemoteClosed]);
    assert_nothing_left(&driver);
    client.join().unwrap();
}

/// What the peer sent last and the end of its stream came together: the connection began to close with that end unread, no event
/// told of it again, and it stood until its deadline (simulated seeds 4 and 12 without faults).
#[test]
fn a_peer_whose_end_came_with_its_close_notify_is_gone_at_once() {
    let mut config = secured(Trust::Any);
    config.half_close_drain = Duration::from_secs(3600);
    let mut driver = party(config);
    let address = listen(&mut driver);
    let (shaken, is_shaken) = channel();
    let (go, may_go) = channel();
    let (gone, is_gone) = channel();
    let client = std::thread::spawn(move || {
        let mut stream = client(address).unwrap();
        stream.conn.complete_io(&mut stream.sock).unwrap();
        shaken.send(()).unwrap();
        may_go.recv().unwrap();
        stream.write_all(&frame(1, b"all")).unwrap();
        stream.conn.send_close_notify();
        stream.flush().unwrap();
        stream.sock.shutdown(Shutdown::Write).unwrap();
        gone.send(()).unwrap();
        stream.read_to_end(&mut Vec::new()).unwrap();
    });
    turn_until(&mut driver, |_| is_shaken.try_recv().is_ok());
    // All of it is there before the next look.
    go.send(()).unwrap();
    is_gone.recv().unwrap();
    turn_until(&mut driver, |driver| !driver.protocol().closed().is_empty());
    assert_eq!(driver.protocol().frames(), [(1, b"all".to_vec())]);
    assert_eq!(driver.protocol().closed(), [CloseReason::RemoteClosed]);
    assert_nothing_left(&driver);
    client.join().unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(16) })]

    /// As without TLS, where what is sealed already is in no queue any more.
    #[test]
    fn under_tls_too_whoever_is_refused_is_told_when_to_go_on_or_that_there_is_nobody(plan in plans()) {
        holds(secured(Trust::Any), secured(Trust::Any), &plan);
    }
}
