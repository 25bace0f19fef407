//! Two engines.

use std::io::{Read, Write};
use std::net::TcpStream;

use spacetime_network::close::{CloseReason, TlsFault};
use spacetime_network::id::VerifiedId;
use spacetime_network::link::tls::identity::Identity;
use spacetime_network::link::tls::trust::{KnownIdentities, Trust};

use crate::engine::{Do, Engine, Seen};

fn identity() -> Identity {
    Identity::generate().unwrap()
}

fn pinned(pins: &[VerifiedId]) -> Trust {
    Trust::Pinned(pins.iter().copied().collect())
}

/// A frame there and back, then a close_notify that both sides take for an orderly end.
fn talk(dialing: &Engine, accepting: &Engine) {
    dialing.dial(accepting.address);
    let ((here, host), (there, guest)) = (dialing.opened(), accepting.opened());
    assert_eq!((host, guest), (accepting.tls.id(), dialing.tls.id()));
    let payload: Vec<u8> = (0..100_000u32).map(|at| at as u8).collect();
    dialing.tell(Do::Send(here, payload.clone()));
    assert_eq!(accepting.next(), Seen::Frame(there, payload.clone()));
    assert_eq!(dialing.next(), Seen::Frame(here, payload));
    dialing.tell(Do::Leave(here));
    assert_eq!(accepting.next(), Seen::Closed(CloseReason::RemoteClosed));
    assert_eq!(dialing.next(), Seen::Closed(CloseReason::Done));
}

#[test]
fn engines_that_trust_anybody_talk() {
    talk(&Engine::silent(&identity(), Trust::Any), &Engine::start(&identity(), Trust::Any));
}

#[test]
fn engines_that_pin_each_other_talk_and_talk_again() {
    let (one, two) = (identity(), identity());
    let dialing = Engine::silent(&one, pinned(&[two.id()]));
    let accepting = Engine::start(&two, pinned(&[one.id()]));
    // The second and third time on a resumed session.
    for _ in 0..3 {
        talk(&dialing, &accepting);
    }
}

#[test]
fn a_stranger_is_refused_by_whoever_pins() {
    let (one, two, three) = (identity(), identity(), identity());
    let (dialing, accepting) = (Engine::start(&one, pinned(&[three.id()])), Engine::start(&two, Trust::Any));
    dialing.dial(accepting.address);
    assert_eq!((dialing.fault(), accepting.fault()), (TlsFault::UnknownIdentity, TlsFault::Alert(46)));
    let refusal = dialing.tls.refusal(accepting.address).unwrap();
    assert_eq!((refusal.expected, refusal.seen), (Some(three.id()), Some(two.id())));

    accepting.dial(dialing.address);
    assert_eq!((dialing.fault(), accepting.fault()), (TlsFault::UnknownIdentity, TlsFault::Alert(46)));
}

#[test]
fn first_use_holds_an_address_to_its_identity() {
    let us = Engine::silent(&identity(), Trust::FirstUse(KnownIdentities::default()));
    let host = Engine::start(&identity(), Trust::Any);
    talk(&us, &host);
    let known = us.tls.take_changes().unwrap();
    assert_eq!(known.iter().collect::<Vec<_>>(), [(host.address, host.tls.id())]);
    talk(&us, &host);
    assert_eq!(us.tls.take_changes(), None);

    let other = identity().id();
    us.tls.set_trust(Trust::FirstUse([(host.address, other)].into_iter().collect()));
    us.dial(host.address);
    assert_eq!(us.fault(), TlsFault::IdentityChanged);
    let text = us.tls.refusal(host.address).unwrap().to_string();
    assert!(text.contains(&other.to_string()) && text.contains(&host.tls.id().to_string()), "{text}");
}

#[test]
fn a_session_that_is_remembered_does_not_outlive_the_trust_in_it() {
    let (dialing, accepting) = (Engine::silent(&identity(), Trust::Any), Engine::start(&identity(), Trust::Any));
    talk(&dialing, &accepting);
    accepting.tls.set_trust(pinned(&[]));
    dialing.dial(accepting.address);
    assert_eq!(accepting.fault(), TlsFault::UnknownIdentity);
}

#[test]
fn what_is_not_tls_is_refused() {
    let engine = Engine::start(&identity(), Trust::Any);
    for greeting in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"SSH-2.0-client\r\n", &[0x21, 0, 0, 0, 1, 2, 3]] {
        let mut stranger = TcpStream::connect(engine.address).unwrap();
        stranger.write_all(greeting).unwrap();
        assert_eq!(engine.fault(), TlsFault::NotTls);
        // Closed, with or without a reset.
        let _ = stranger.read_to_end(&mut Vec::new());
    }
}

#[test]
fn a_stream_that_ends_before_the_handshake_is_cut() {
    let engine = Engine::start(&identity(), Trust::Any);
    drop(TcpStream::connect(engine.address).unwrap());
    assert_eq!(engine.fault(), TlsFault::Cut);
}
