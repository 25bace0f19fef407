//! The test vectors of `wire::protocol`, section 7, both ways, and a sample of every kind that has none.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use spacetime_network::wire::message::{
    BlockAccepted, Extension, GetHeaders, GetPeers, Handshake, Heartbeat, Ping, ProofSubmission, TxPoolRequest,
};
use spacetime_network::wire::{FrameRules, Hash, Kind, Message, Parse, frame};

/// A message and the whole frame that it is on the wire.
pub(crate) struct Vector {
    pub(crate) name: &'static str,
    pub(crate) hex: &'static str,
    pub(crate) message: Message<'static>,
}

impl Vector {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let digits: Vec<u8> = self.hex.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    }
}

pub(crate) fn vectors() -> Vec<Vector> {
    let counting = core::array::from_fn(|index| index as u8);
    vec![
        Vector {
            name: "handshake-v1",
            hex: "2f000000010100000000f15365000000000b0000006e6f64652d6162633132330f000000537061636574696d652f312e302e30",
            message: Message::Handshake(Handshake {
                version: 1,
                unix_seconds: 1_700_000_000,
                node_id: "node-abc123",
                user_agent: "Spacetime/1.0.0",
                extension: None,
            }),
        },
        Vector { name: "heartbeat", hex: "0100000003", message: Message::Heartbeat(Heartbeat::Opaque(b"")) },
        Vector {
            name: "ping",
            hex: "1100000004080706050403020100f1536500000000",
            message: Message::Ping(Ping { nonce: 0x0102_0304_0506_0708, unix_millis: 1_700_000_000 }),
        },
        Vector {
            name: "get-peers-body",
            hex: "0900000010e803000000000000",
            message: Message::GetPeers(GetPeers::Limited { max: 1000, exclude: vec![] }),
        },
        Vector {
            name: "peers",
            hex: "29000000110200000004000000c0a801648d2000001000000020010db800000000000000000000000128230000",
            message: Message::Peers(vec![
                SocketAddr::from((Ipv4Addr::new(192, 168, 1, 100), 8333)),
                SocketAddr::from((Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 9000)),
            ]),
        },
        Vector {
            name: "get-headers",
            hex: "2600000020000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f00d0070000",
            message: Message::GetHeaders(GetHeaders { locator: Hash(counting), stop: None, max: 2000, more: None }),
        },
        Vector {
            name: "proof-submission",
            hex: "3100000041070000000000000002020202020202020202020202020202020202020202020202020202020202020203000000090807",
            message: Message::ProofSubmission(ProofSubmission { height: 7, miner: [2; 33], proof: &[9, 8, 7] }),
        },
        Vector {
            name: "block-accepted",
            hex: "2900000042aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2a00000000000000",
            message: Message::BlockAccepted(BlockAccepted { hash: Hash([0xaa; 32]), height: 42 }),
        },
        Vector {
            name: "handshake-v2",
            hex: concat!(
                "77000000010200000000f1536500000000010000006e0100000061535458325a00",
                "1111111111111111111111111111111111111111111111111111111111111111",
                "88776655443322118d2005000000000000000900000000000000",
                "2222222222222222222222222222222222222222222222222222222222222222",
            ),
            message: Message::Handshake(Handshake {
                version: 2,
                unix_seconds: 1_700_000_000,
                node_id: "n",
                user_agent: "a",
                extension: Some(Extension {
                    network: Hash([0x11; 32]),
                    nonce: 0x1122_3344_5566_7788,
                    listening_port: 8333,
                    features: 5,
                    best_height: 9,
                    best_hash: Hash([0x22; 32]),
                    seen: None,
                }),
            }),
        },
    ]
}

/// Messages of the kinds, and of the shapes, that no vector shows.
pub(crate) fn samples() -> Vec<(&'static str, Message<'static>)> {
    let handshake = Handshake { version: 2, unix_seconds: 1, node_id: "id", user_agent: "agent", extension: None };
    vec![
        ("ack", Message::HandshakeAck(Some(handshake))),
        ("ack-empty", Message::HandshakeAck(None)),
        ("heartbeat-status", Message::Heartbeat(Heartbeat::Status { chain_length: 3, node_id: "node" })),
        ("pong", Message::Pong(Ping { nonce: -1, unix_millis: 2 })),
        ("get-peers", Message::GetPeers(GetPeers::All)),
        ("get-peers-limited", Message::GetPeers(GetPeers::Limited { max: 7, exclude: vec!["127.0.0.1:1", "[::1]:2"] })),
        (
            "get-headers-tail",
            Message::GetHeaders(GetHeaders {
                locator: Hash([1; 32]),
                stop: Some(Hash([2; 32])),
                max: 1,
                more: Some(vec![Hash([3; 32]), Hash::ZERO]),
            }),
        ),
        ("headers", Message::Headers(vec![b"one", b"", b"three"])),
        ("get-block", Message::GetBlock(Hash([4; 32]))),
        ("block", Message::Block(b"block")),
        ("not-found", Message::NotFound(Hash([5; 32]))),
        ("transaction", Message::Transaction(b"transaction")),
        ("new-block", Message::NewBlock(b"new block")),
        ("tx-pool-request", Message::TxPoolRequest(TxPoolRequest { max: 100, include_data: true })),
        ("tx-pool", Message::TxPool(vec![Hash([6; 32]), Hash([7; 32])])),
        ("new-challenge", Message::NewChallenge(b"challenge")),
        ("get-blocks", Message::GetBlocks(vec![Hash([8; 32]), Hash([9; 32])])),
        ("blocks", Message::Blocks(vec![b"one block", b"2"])),
        ("error", Message::Error("wrong network")),
    ]
}

pub(crate) fn encoded(message: &Message<'_>) -> Vec<u8> {
    let mut frame = Vec::new();
    message.encode(&mut frame).unwrap();
    frame
}

/// Reads one whole frame under the rules of version 2.
pub(crate) fn decoded(frame: &[u8]) -> Message<'_> {
    let Parse::Complete { kind, payload, rest: [] } = frame::parse(frame, FrameRules::version(2)) else {
        panic!("not one frame: {frame:02x?}")
    };
    Message::decode(Kind::from_byte(kind).unwrap(), payload).unwrap()
}

#[test]
fn the_protocols_vectors_hold_byte_for_byte_in_both_directions() {
    for vector in vectors() {
        let bytes = vector.bytes();
        assert_eq!(encoded(&vector.message), bytes, "{}", vector.name);
        assert_eq!(decoded(&bytes), vector.message, "{}", vector.name);
    }
}

#[test]
fn vectors_and_samples_show_every_kind_and_survive_the_wire() {
    let mut shown: Vec<Kind> = vectors().iter().map(|vector| vector.message.kind()).collect();
    for (name, message) in samples() {
        assert_eq!(decoded(&encoded(&message)), message, "{name}");
        shown.push(message.kind());
    }
    for kind in Kind::ALL {
        assert!(shown.contains(kind), "{} is not shown", kind.name());
    }
}

#[test]
fn a_message_is_appended_and_a_refused_one_leaves_the_buffer_as_it_was() {
    let mut out = vec![1, 2, 3];
    let refused = Message::Block(b"");
    assert_eq!(refused.encode(&mut out).unwrap_err().to_string(), "payload of a Block breaks its limit");
    assert!(refused.encode_payload(&mut out).is_err());
    let half_written = Message::Headers(vec![b"good"; 2001]);
    assert!(half_written.encode(&mut out).is_err());
    let late = Message::BlockAccepted(BlockAccepted { hash: Hash::ZERO, height: u64::MAX });
    assert!(late.encode(&mut out).is_err());
    assert!(late.encode_payload(&mut out).is_err());
    assert_eq!(out, [1, 2, 3]);

    let ping = Message::Ping(Ping { nonce: 1, unix_millis: 2 });
    ping.encode_payload(&mut out).unwrap();
    assert_eq!(out[3..], ping.to_payload().unwrap());
    ping.encode(&mut out).unwrap();
    assert_eq!(out[19..], encoded(&ping));
}
