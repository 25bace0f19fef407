//! The protocol's test vectors against a running node, byte by byte.

use spacetime_network::driver::node::NodeCommand;
use spacetime_network::proto::Command;
use spacetime_network::wire::{Kind, Message};

use crate::stranger::Running;

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

const HANDSHAKE_1: &str =
    "2f000000010100000000f15365000000000b0000006e6f64652d6162633132330f000000537061636574696d652f312e302e30";
const HANDSHAKE_2: &str = "77000000010200000000f1536500000000010000006e0100000061535458325a00\
    1111111111111111111111111111111111111111111111111111111111111111\
    8877665544332211\
    8d20\
    0500000000000000\
    0900000000000000\
    2222222222222222222222222222222222222222222222222222222222222222";
const HEARTBEAT: &str = "0100000003";
const PING: &str = "1100000004080706050403020100f1536500000000";
const PEERS: &str = "29000000110200000004000000c0a801648d2000001000000020010db800000000000000000000000128230000";
const PROOF: &str =
    "3100000041070000000000000002020202020202020202020202020202020202020202020202020202020202020203000000090807";
const ACCEPTED: &str = "2900000042aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2a00000000000000";

#[test]
fn a_version_1_node_is_answered_in_version_1_one_byte_at_a_time() {
    let node = Running::start(|_| {});
    let mut old = node.connect();
    for byte in hex(HANDSHAKE_1) {
        old.say_bytes(&[byte]);
    }
    let (kind, payload) = old.hear().unwrap();
    let Ok(Message::HandshakeAck(Some(ack))) = Message::decode(kind, &payload) else { panic!("not an ack") };
    assert_eq!((ack.version, ack.node_id, ack.extension), (1, "engine", None));
    old.say_bytes(&hex(HEARTBEAT));
    old.say_bytes(&hex(PEERS));
    // Later revisions of the C# library ping; no revision has what is new in version 2.
    old.say_bytes(&hex(PING));
    assert_eq!(old.hear_kind(Kind::Pong)[..8], hex("0807060504030201"));
    old.say_bytes(&hex(ACCEPTED));
    assert_eq!(old.hear_end().as_deref(), Some("unknown message type"));
}

#[test]
fn the_version_2_vector_is_of_another_network() {
    let node = Running::start(|_| {});
    let mut other = node.connect();
    other.say_bytes(&hex(HANDSHAKE_2));
    assert_eq!(other.hear_end().as_deref(), Some("wrong network"));
}

#[test]
fn everything_in_one_write_is_handled_in_order() {
    let node = Running::start(|_| {});
    let mut peer = node.greet("peer", 2);
    let mut burst = hex(HEARTBEAT);
    for _ in 0..5 {
        burst.extend(hex(PING));
    }
    burst.extend(hex(PEERS));
    peer.say_bytes(&burst);
    for _ in 0..5 {
        assert_eq!(peer.hear_kind(Kind::Pong)[..8], hex("0807060504030201"));
    }
}

#[test]
fn gossip_passes_through_unchanged() {
    let node = Running::start(|_| {});
    let mut from = node.greet("from", 2);
    let mut to = node.greet("to", 2);
    from.say_bytes(&hex(PROOF));
    assert_eq!(to.hear_kind(Kind::ProofSubmission), hex(PROOF)[5..]);
    from.say_bytes(&hex(ACCEPTED));
    assert_eq!(to.hear_kind(Kind::BlockAccepted), hex(ACCEPTED)[5..]);
    let challenge = bytes::Bytes::from_static(b"a challenge of our own");
    node.handle.send(NodeCommand::Do(Command::Gossip(Kind::NewChallenge, challenge.clone()))).unwrap();
    assert_eq!(to.hear_kind(Kind::NewChallenge), challenge);
}
