//! Pieces and compressed frames: between two that both say that they take them, and nobody else.

use spacetime_network::wire::Message;
use spacetime_network::wire::message::Extension;

use crate::world::{Stranger, World, introduction};

const HOST: &str = "10.0.0.1:8333";

/// Whether a peer in this version and with these bits may send pieces and compressed frames, and what bits the node showed it.
fn agreed(version: u8, features: u64, pieces: bool) -> ([bool; 2], u64) {
    let mut world = World::new();
    let host = world.node("host", HOST, |config| (config.outbound, config.pieces) = (0, pieces));
    let stranger: Stranger = world.stranger(host, "10.0.0.2:1").unwrap();
    let Message::Handshake(mut handshake) = introduction("guest", version, 0) else { unreachable!() };
    if let Some(extension) = handshake.extension.as_mut() {
        extension.features = features;
    }
    world.say(stranger, &Message::Handshake(handshake));
    let mut shown = 0;
    while let Some((kind, payload)) = world.hear(stranger) {
        if let Ok(Message::HandshakeAck(Some(ack))) = Message::decode(kind, &payload) {
            shown = ack.extension.map_or(0, |extension| extension.features);
        }
    }
    let rules: Vec<_> = world.rules.values().collect();
    assert_eq!(rules.len(), 1, "the stranger's connection");
    ([rules[0].has_pieces(), rules[0].has_compressed()], shown)
}

#[test]
fn pieces_and_compressed_frames_pass_between_two_that_both_say_so_in_version_2() {
    let (takes_pieces, takes_compressed) = (Extension::TAKES_PIECES, Extension::TAKES_COMPRESSED);
    let compresses = cfg!(feature = "lz4");
    let both = takes_pieces | takes_compressed;
    let ours = takes_pieces | if compresses { takes_compressed } else { 0 };
    for (features, expected) in [
        (0, [false, false]),
        (takes_pieces, [true, false]),
        (takes_compressed, [false, compresses]),
        (both, [true, compresses]),
        (!both, [false, false]),
    ] {
        let (rules, shown) = agreed(2, features, true);
        assert_eq!((rules, shown & both), (expected, ours), "{features:#x}");
    }
    assert_eq!(agreed(1, both, true), ([false, false], 0), "version 1 has neither");
    let (rules, shown) = agreed(2, both, false);
    assert_eq!((rules[0], shown & takes_pieces), (false, 0), "who is told not to, does not");
}
