//! An identity that is replaced while connections come and go.

use rustls::HandshakeKind;

use super::{anyone, meet, tls};
use crate::link::tls::identity::Identity;
use crate::link::tls::trust::Trust;

/// A renewed certificate needed a restart, and a session of before would have gone on showing the old one.
#[test]
fn a_new_identity_is_shown_to_whoever_comes_next_and_no_session_of_before_is_resumed() {
    let (one, two) = (anyone().1, anyone().1);
    let (former, ours) = (two.id(), one.id());
    assert_eq!(
        (meet(&one, &two).kind, meet(&one, &two).kind),
        (Some(HandshakeKind::Full), Some(HandshakeKind::Resumed))
    );

    let renewed = Identity::generate().unwrap();
    let clone = two.clone();
    clone.replace_identity(&renewed).unwrap();
    assert!(two.id() == renewed.id() && two.id() != former, "a clone is another handle to the same");
    let met = meet(&one, &two);
    assert_eq!((met.kind, met.dialing, met.accepting), (Some(HandshakeKind::Full), Ok(renewed.id()), Ok(ours)));
    let met = meet(&one, &two);
    assert_eq!((met.kind, met.dialing), (Some(HandshakeKind::Resumed), Ok(renewed.id())));

    // The same where the one that dials is renewed.
    let renewed = Identity::generate().unwrap();
    one.replace_identity(&renewed).unwrap();
    let met = meet(&one, &two);
    assert_eq!((met.kind, met.accepting), (Some(HandshakeKind::Full), Ok(renewed.id())));
}

#[test]
fn what_first_use_has_learned_survives_a_new_identity() {
    let (accepting, dialing) = (anyone().1, tls(&Identity::generate().unwrap(), Trust::FirstUse(Default::default())));
    meet(&dialing, &accepting);
    dialing.replace_identity(&Identity::generate().unwrap()).unwrap();
    assert_eq!(dialing.take_changes().unwrap().iter().next().map(|(_, id)| id), Some(accepting.id()));
    assert_eq!(meet(&dialing, &accepting).dialing, Ok(accepting.id()));
}
