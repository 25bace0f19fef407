//! A client of a node that asks all it wants to know, ends its direction and reads.

use std::net::Shutdown;

use spacetime_network::wire::message::{GetPeers, Ping};
use spacetime_network::wire::{Kind, Message};

use crate::stranger::Running;

/// Both answers were lost in two of five: they were queued, and the connection was taken down in the same turn.
#[test]
fn a_ping_and_a_question_before_the_end_of_the_stream_are_answered_each_time() {
    let node = Running::start(|config| config.admission.rate = None);
    for round in 0..50 {
        let mut stranger = node.greet(&format!("asker-{round}"), 2);
        let mut bytes = Vec::new();
        Message::Ping(Ping { nonce: round, unix_millis: 0 }).encode(&mut bytes).unwrap();
        Message::GetPeers(GetPeers::All).encode(&mut bytes).unwrap();
        stranger.say_bytes(&bytes);
        stranger.socket.shutdown(Shutdown::Write).unwrap();
        let (mut pongs, mut peers) = (0, 0);
        while let Ok((kind, _)) = stranger.hear() {
            pongs += usize::from(kind == Kind::Pong);
            peers += usize::from(kind == Kind::Peers);
        }
        assert_eq!((pongs, peers), (1, 1), "in round {round}");
    }
}
