//! Round trips: what is encoded is decoded the same, and what is decoded from any bytes is encoded the same.

use core::net::{IpAddr, SocketAddr};

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use spacetime_network::wire::message::{
    BlockAccepted, Extension, GetHeaders, GetPeers, Handshake, Heartbeat, Ping, ProofSubmission, TxPoolRequest,
};
use spacetime_network::wire::{Hash, Kind, Message};

use crate::vectors::{decoded, encoded, samples, vectors};

/// The extension block on the wire: magic, body length, body.
const EXTENSION_LEN: usize = 4 + 2 + 90;

fn round_trips(message: &Message<'_>) {
    let frame = encoded(message);
    assert_eq!(&decoded(&frame), message);
    assert_eq!(frame.len() - 5, message.to_payload().unwrap().len());
}

fn hash() -> impl Strategy<Value = Hash> {
    any::<[u8; 32]>().prop_map(Hash)
}

fn extension() -> impl Strategy<Value = Extension> {
    (hash(), any::<u64>(), any::<u16>(), any::<u64>(), any::<u64>(), hash(), option::of(address())).prop_map(
        |(network, nonce, listening_port, features, best_height, best_hash, seen)| Extension {
            network,
            nonce,
            listening_port,
            features,
            best_height,
            best_hash,
            seen,
        },
    )
}

/// Text of up to `max` characters of one to four bytes, with something in it to see.
fn name(max: usize) -> impl Strategy<Value = String> {
    (vec(any::<char>(), 0..max), any::<Index>(), select(vec!['x', 'é', '漢', '🜂'])).prop_map(|(mut text, at, mark)| {
        let at = at.index(text.len() + 1);
        text.insert(at, mark);
        text.into_iter().collect()
    })
}

fn address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        any::<([u8; 4], u16)>().prop_map(|(ip, port)| SocketAddr::new(IpAddr::from(ip), port)),
        any::<([u8; 16], u16)>().prop_map(|(ip, port)| SocketAddr::new(IpAddr::from(ip), port)),
        any::<([u8; 4], u16)>().prop_map(|([a, b, c, d], port)| {
            let mapped = std::net::Ipv4Addr::new(a, b, c, d).to_ipv6_mapped();
            SocketAddr::new(IpAddr::V6(mapped), port)
        }),
    ]
}

fn height() -> impl Strategy<Value = u64> {
    0..=i64::MAX as u64
}

proptest! {
    #[test]
    fn handshake(version: i32, unix_seconds: i64, id in name(31), agent in name(63), extension in option::of(extension())) {
        let handshake = Handshake { version, unix_seconds, node_id: &id, user_agent: &agent, extension };
        round_trips(&Message::Handshake(handshake));
    }

    #[test]
    fn handshake_ack(version: i32, id in name(31), agent in name(63), extension in option::of(extension()), empty: bool) {
        let handshake = Handshake { version, unix_seconds: 0, node_id: &id, user_agent: &agent, extension };
        round_trips(&Message::HandshakeAck((!empty).then_some(handshake)));
    }

    #[test]
    fn heartbeat_with_status(chain_length in 0..=i64::MAX, id in name(31)) {
        round_trips(&Message::Heartbeat(Heartbeat::Status { chain_length, node_id: &id }));
    }

    #[test]
    fn heartbeat_of_any_bytes(bytes in vec(any::<u8>(), 0..=1024)) {
        prop_assert_eq!(Message::decode(Kind::Heartbeat, &bytes).unwrap().to_payload().unwrap(), bytes);
    }

    #[test]
    fn ping(nonce: i64, unix_millis: i64) {
        round_trips(&Message::Ping(Ping { nonce, unix_millis }));
    }

    #[test]
    fn pong(nonce: i64, unix_millis: i64) {
        round_trips(&Message::Pong(Ping { nonce, unix_millis }));
    }

    #[test]
    fn get_peers(max in 1..=1000u32, exclude in vec(any::<String>(), 0..40), long in 0..300usize, all: bool) {
        let long = "x".repeat(long);
        let exclude = exclude.iter().map(String::as_str).chain([long.as_str()]).collect();
        round_trips(&Message::GetPeers(if all { GetPeers::All } else { GetPeers::Limited { max, exclude } }));
    }

    #[test]
    fn peers(peers in vec(address(), 0..=40)) {
        round_trips(&Message::Peers(peers));
    }

    #[test]
    fn get_headers(
        locator in hash(), stop in option::of(hash()), max in 1..=2000u32, more in option::of(vec(hash(), 0..=64)),
    ) {
        round_trips(&Message::GetHeaders(GetHeaders { locator, stop, max, more }));
    }

    #[test]
    fn headers(headers in vec(vec(any::<u8>(), 0..200), 0..40)) {
        round_trips(&Message::Headers(headers.iter().map(Vec::as_slice).collect()));
    }

    #[test]
    fn messages_of_one_hash(hash in hash()) {
        round_trips(&Message::GetBlock(hash));
        round_trips(&Message::NotFound(hash));
    }

    #[test]
    fn block(bytes in vec(any::<u8>(), 1..3000)) {
        round_trips(&Message::Block(&bytes));
    }

    #[test]
    fn get_blocks(hashes in vec(hash(), 1..100)) {
        round_trips(&Message::GetBlocks(hashes));
    }

    #[test]
    fn blocks(blocks in vec(vec(any::<u8>(), 1..200), 1..40)) {
        round_trips(&Message::Blocks(blocks.iter().map(Vec::as_slice).collect()));
    }

    #[test]
    fn new_block(bytes in vec(any::<u8>(), 1..3000)) {
        round_trips(&Message::NewBlock(&bytes));
    }

    #[test]
    fn transaction(bytes in vec(any::<u8>(), 1..3000)) {
        round_trips(&Message::Transaction(&bytes));
    }

    #[test]
    fn new_challenge(bytes in vec(any::<u8>(), 1..=4096)) {
        round_trips(&Message::NewChallenge(&bytes));
    }

    #[test]
    fn tx_pool_request(max in 1..=i32::MAX as u32, include_data: bool) {
        round_trips(&Message::TxPoolRequest(TxPoolRequest { max, include_data }));
    }

    #[test]
    fn tx_pool(ids in vec(hash(), 0..100)) {
        round_trips(&Message::TxPool(ids));
    }

    #[test]
    fn proof_submission(height in height(), key: [u8; 32], first: u8, proof in vec(any::<u8>(), 0..500)) {
        let mut miner = [first; 33];
        miner[1..].copy_from_slice(&key);
        round_trips(&Message::ProofSubmission(ProofSubmission { height, miner, proof: &proof }));
    }

    #[test]
    fn block_accepted(hash in hash(), height in height()) {
        round_trips(&Message::BlockAccepted(BlockAccepted { hash, height }));
    }

    #[test]
    fn error(text in name(250)) {
        round_trips(&Message::Error(&text));
    }

    #[test]
    fn any_bytes_are_refused_or_encoded_again_the_same(
        kind in select(Kind::ALL), payload in vec(any::<u8>(), 0..300),
    ) {
        is_refused_or_the_same(kind, &payload)?;
    }

    #[test]
    fn damaged_messages_are_refused_or_encoded_again_the_same(
        sample in any::<Index>(),
        other in select(Kind::ALL),
        stays in prop::bool::weighted(0.8),
        damage in vec((any::<Index>(), any::<u8>(), 0..4u8), 0..4),
        cut in option::weighted(0.2, any::<Index>()),
    ) {
        let mut all: Vec<Message<'_>> = vectors().into_iter().map(|vector| vector.message).collect();
        all.extend(samples().into_iter().map(|(_, message)| message));
        let message = sample.get(&all);
        let mut payload = message.to_payload().unwrap().to_vec();
        for (at, byte, how) in damage {
            let at = at.index(payload.len() + 1);
            match how {
                0 => payload.insert(at, byte),
                1 if at < payload.len() => { payload.remove(at); }
                2 if at < payload.len() => payload[at] ^= 1 << (byte % 8),
                _ if at < payload.len() => payload[at] = byte,
                _ => payload.push(byte),
            }
        }
        if let Some(cut) = cut {
            payload.truncate(cut.index(payload.len() + 1));
        }
        is_refused_or_the_same(if stays { message.kind() } else { other }, &payload)?;
    }
}

fn is_refused_or_the_same(kind: Kind, payload: &[u8]) -> Result<(), TestCaseError> {
    let Ok(message) = Message::decode(kind, payload) else { return Ok(()) };
    prop_assert_eq!(message.kind(), kind);
    let again = message.to_payload().unwrap();
    prop_assert_eq!(&Message::decode(kind, &again).unwrap(), &message);
    match &message {
        Message::Handshake(handshake) | Message::HandshakeAck(Some(handshake)) => {
            prop_assert!(is_canonical_form(payload, &again, handshake.extension.as_ref()));
        }
        _ => prop_assert_eq!(&again[..], payload),
    }
    Ok(())
}

/// The canonical form is the payload without what is ignored: a tail that is no extension, or the body's later fields
/// (whose number the body's length still tells).
fn is_canonical_form(payload: &[u8], again: &[u8], extension: Option<&Extension>) -> bool {
    let Some(extension) = extension else { return payload.starts_with(again) };
    let seen_len = match extension.seen {
        None => 0,
        Some(SocketAddr::V4(_)) => 7,
        Some(SocketAddr::V6(_)) => 19,
    };
    let head = again.len() - EXTENSION_LEN - seen_len + 4;
    let body_len = u16::from_le_bytes([payload[head], payload[head + 1]]);
    payload[..head] == again[..head] && body_len >= 90 && payload[head + 2..].starts_with(&again[head + 2..])
}

#[test]
fn a_handshakes_tail_is_an_extension_or_is_ignored() {
    let all = vectors();
    let whole = all.last().unwrap();
    let Message::Handshake(handshake) = &whole.message else { panic!("the last vector is a handshake") };
    let payload = whole.bytes()[5..].to_vec();
    let bare = payload.len() - EXTENSION_LEN;
    let extension_of = |payload: &[u8]| match Message::decode(Kind::Handshake, payload).unwrap() {
        Message::Handshake(decoded) => {
            assert_eq!((decoded.node_id, decoded.user_agent), ("n", "a"));
            decoded.extension
        }
        other => panic!("{other:?}"),
    };

    for len in bare..payload.len() {
        assert_eq!(extension_of(&payload[..len]), None, "{len} bytes");
    }
    assert_eq!(extension_of(&payload), handshake.extension);

    let with_body_len = |len: u16, mut payload: Vec<u8>| {
        payload[bare + 4..bare + 6].copy_from_slice(&len.to_le_bytes());
        payload
    };
    let longer = [payload.as_slice(), b"later"].concat();
    assert_eq!(extension_of(&longer), handshake.extension, "bytes after the body");
    assert_eq!(extension_of(&with_body_len(95, longer.clone())), handshake.extension, "later fields");
    assert_eq!(extension_of(&with_body_len(96, longer.clone())), None, "a body that is cut short");
    assert_eq!(extension_of(&with_body_len(89, longer)), None, "a body that lacks a byte");

    let seen = |tail: &[u8]| {
        let len = u16::try_from(90 + tail.len()).unwrap();
        extension_of(&with_body_len(len, [payload.as_slice(), tail].concat())).unwrap().seen
    };
    assert_eq!(seen(&[4, 11, 0, 0, 1, 0x19, 0x1c]), Some("11.0.0.1:7193".parse().unwrap()));
    assert_eq!(seen(&[4, 11, 0, 0, 1, 0x19, 0x1c, 9, 9]), Some("11.0.0.1:7193".parse().unwrap()), "and later fields");
    for none in [&[4, 11, 0, 0, 1, 0x19][..], &[0, 0, 0], &[5, 1, 2, 3, 4, 5, 6, 7], &[16, 1, 2]] {
        assert_eq!(seen(none), None, "{none:?}");
    }

    let mut other_magic = payload;
    other_magic[bare + 3] = b'3';
    assert_eq!(extension_of(&other_magic), None, "another magic");
}
