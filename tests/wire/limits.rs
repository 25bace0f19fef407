//! Every cap of `wire::protocol`, section 3, at the limit and one past it, in both directions.

use core::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use spacetime_network::wire::message::{
    BlockAccepted, GetHeaders, GetPeers, Handshake, Heartbeat, ProofSubmission, TxPoolRequest,
};
use spacetime_network::wire::{DecodeError, EncodeError, Hash, Kind, Message};

use DecodeError::{OutOfRange, Text, Trailing, Truncated};

const MAX_PAYLOAD: usize = 16_777_215;

fn int(number: i32) -> [u8; 4] {
    number.to_le_bytes()
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[track_caller]
fn accepts(kind: Kind, payload: &[u8]) {
    let message = Message::decode(kind, payload).unwrap();
    assert!(message.to_payload().unwrap() == payload, "encoding gives other bytes");
}

#[track_caller]
fn refuses(kind: Kind, payload: &[u8], error: DecodeError) {
    assert_eq!(Message::decode(kind, payload).err(), Some(error));
}

#[track_caller]
fn sends(message: &Message<'_>) {
    let payload = message.to_payload().unwrap();
    assert!(payload.len() <= message.kind().max_payload() as usize);
    assert_eq!(Message::decode(message.kind(), &payload).as_ref(), Ok(message));
}

#[track_caller]
fn cannot_send(message: &Message<'_>, field: &'static str) {
    let mut out = vec![7];
    assert_eq!(message.encode(&mut out), Err(EncodeError { kind: message.kind(), field }));
    assert_eq!(message.encode_payload(&mut out), Err(EncodeError { kind: message.kind(), field }));
    assert_eq!(out, [7]);
}

fn named<'a>(node_id: &'a str, user_agent: &'a str) -> Message<'a> {
    Message::Handshake(Handshake { version: 1, unix_seconds: 0, node_id, user_agent, extension: None })
}

#[test]
fn names_in_a_handshake() {
    let (id, agent) = ("x".repeat(129), "é".repeat(129));
    sends(&named(&id[..1], &agent[..2]));
    sends(&named(&id[..128], &agent[..256]));
    cannot_send(&named(&id, "a"), "node id");
    cannot_send(&named("n", &agent), "user agent");
    for blank in ["", " ", "\t\n ", "\u{a0}\u{2003}"] {
        cannot_send(&named(blank, "a"), "node id");
        cannot_send(&named("n", blank), "user agent");
    }

    let start = join(&[&int(1), &[0; 8]]);
    let with = |id_len: i32, id: &[u8], agent_len: i32, agent: &[u8]| {
        join(&[&start, &int(id_len), id, &int(agent_len), agent])
    };
    for kind in [Kind::Handshake, Kind::HandshakeAck] {
        accepts(kind, &with(128, &[b'x'; 128], 256, &[b'x'; 256]));
        for len in [i32::MIN, -1, 0, 129, i32::MAX] {
            refuses(kind, &with(len, &[b'x'; 129], 1, b"a"), OutOfRange("node id"));
        }
        for len in [i32::MIN, -1, 0, 257, i32::MAX] {
            refuses(kind, &with(1, b"n", len, &[b'x'; 257]), OutOfRange("user agent"));
        }
        refuses(kind, &with(2, b"\xff\xff", 1, b"a"), Text("node id"));
        refuses(kind, &with(2, b" \n", 1, b"a"), Text("node id"));
        refuses(kind, &with(1, b"n", 2, b"\xc3("), Text("user agent"));
        refuses(kind, &with(1, b"n", 3, "\u{2003}".as_bytes()), Text("user agent"));
        let whole = with(1, b"n", 1, b"a");
        for len in usize::from(kind == Kind::HandshakeAck)..whole.len() {
            let error = Message::decode(kind, &whole[..len]).unwrap_err();
            assert!(matches!(error, Truncated(_)), "{len}: {error}");
        }
        let mut padded = whole;
        padded.resize(1024, 0);
        assert!(Message::decode(kind, &padded).is_ok());
        padded.push(0);
        refuses(kind, &padded, OutOfRange("payload"));
    }
    assert_eq!(Message::decode(Kind::HandshakeAck, b""), Ok(Message::HandshakeAck(None)));
    refuses(Kind::Handshake, b"", Truncated("version"));
}

#[test]
fn a_heartbeat_is_a_status_when_it_is_one_to_the_last_byte() {
    let status = |length: i64, id_len: u16, id: &[u8]| join(&[&length.to_le_bytes(), &id_len.to_le_bytes(), id]);
    let read = |payload: &[u8]| match Message::decode(Kind::Heartbeat, payload) {
        Ok(Message::Heartbeat(Heartbeat::Status { chain_length, node_id })) => Some((chain_length, node_id.to_owned())),
        Ok(Message::Heartbeat(Heartbeat::Opaque(bytes))) if bytes == payload => None,
        other => panic!("{other:?}"),
    };
    assert_eq!(read(&status(0, 1, b"n")), Some((0, "n".to_owned())));
    assert_eq!(read(&status(i64::MAX, 128, &[b'x'; 128])), Some((i64::MAX, "x".repeat(128))));
    assert_eq!(read(&status(-1, 1, b"n")), None);
    assert_eq!(read(&status(1, 1, b"nn")), None);
    assert_eq!(read(&status(1, 2, b"n")), None);
    assert_eq!(read(&status(1, 0, b"")), None);
    assert_eq!(read(&status(1, 1, b" ")), None);
    assert_eq!(read(&status(1, 1, b"\xff")), None);
    assert_eq!(read(&status(1, 129, &[b'x'; 129])), None);

    accepts(Kind::Heartbeat, &[1; 1024]);
    refuses(Kind::Heartbeat, &[1; 1025], OutOfRange("payload"));
    cannot_send(&Message::Heartbeat(Heartbeat::Opaque(&[1; 1025])), "payload");
    cannot_send(&Message::Heartbeat(Heartbeat::Status { chain_length: -1, node_id: "n" }), "chain length");
    cannot_send(&Message::Heartbeat(Heartbeat::Status { chain_length: 1, node_id: "" }), "node id");
}

#[test]
fn payloads_of_one_length() {
    for (kind, len) in [
        (Kind::Ping, 16),
        (Kind::Pong, 16),
        (Kind::GetBlock, 32),
        (Kind::NotFound, 32),
        (Kind::BlockAccepted, 40),
        (Kind::TxPoolRequest, 5),
    ] {
        let payload = vec![1; len];
        accepts(kind, &payload);
        assert!(matches!(Message::decode(kind, &payload[1..]), Err(Truncated(_))), "{}", kind.name());
        refuses(kind, &vec![1; len + 1], OutOfRange("payload"));
    }
}

#[test]
fn limits_and_exclusions_of_get_peers() {
    let limited = |max, exclude| Message::GetPeers(GetPeers::Limited { max, exclude });
    sends(&limited(1, vec![]));
    sends(&limited(1000, vec!["127.0.0.1:8333"; 1000]));
    cannot_send(&limited(0, vec![]), "max");
    cannot_send(&limited(1001, vec![]), "max");
    cannot_send(&limited(1, vec![""; 1001]), "exclusion count");
    let long = "x".repeat(65_536 - 8 - 3);
    sends(&limited(1, vec![&long]));
    let longer = "x".repeat(long.len() + 1);
    cannot_send(&limited(1, vec![&longer]), "payload");

    for max in [i32::MIN, -1, 0, 1001, i32::MAX] {
        refuses(Kind::GetPeers, &join(&[&int(max), &int(0)]), OutOfRange("max"));
    }
    for count in [i32::MIN, -1, 1001, i32::MAX] {
        refuses(Kind::GetPeers, &join(&[&int(1), &int(count), &[0; 1001]]), OutOfRange("exclusion count"));
    }
    refuses(Kind::GetPeers, &join(&[&int(1), &int(1000), &[0; 3]]), Truncated("exclusion count"));
    refuses(Kind::GetPeers, &join(&[&int(1), &int(1), &[2, b'a']]), Truncated("exclusion"));
    refuses(Kind::GetPeers, &join(&[&int(1), &int(1), &[1, 0xff]]), Text("exclusion"));
    refuses(Kind::GetPeers, &join(&[&int(1), &int(1), &[0x81, 0x00, b'a']]), OutOfRange("exclusion"));
    refuses(Kind::GetPeers, &join(&[&int(1), &int(0), &[0]]), Trailing);
    refuses(Kind::GetPeers, &[1], Truncated("max"));
}

#[test]
fn addresses_and_ports_of_peers() {
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 65_535));
    let mapped = SocketAddr::from((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 1));
    sends(&Message::Peers(vec![]));
    sends(&Message::Peers(vec![v4, v6, mapped]));
    sends(&Message::Peers(vec![v6; 1000]));
    assert_eq!(Message::Peers(vec![v6; 1000]).to_payload().unwrap().len(), 24_004);
    cannot_send(&Message::Peers(vec![v4; 1001]), "count");

    let one = |len: i32, ip: &[u8], port: i32| join(&[&int(1), &int(len), ip, &int(port)]);
    accepts(Kind::Peers, &one(4, &[1; 4], 0));
    accepts(Kind::Peers, &one(4, &[1; 4], 65_535));
    accepts(Kind::Peers, &one(16, &[1; 16], 65_535));
    for port in [i32::MIN, -1, 65_536, i32::MAX] {
        refuses(Kind::Peers, &one(4, &[1; 4], port), OutOfRange("port"));
        refuses(Kind::Peers, &one(16, &[1; 16], port), OutOfRange("port"));
    }
    for len in [i32::MIN, -1, 0, 3, 5, 15, 17, i32::MAX] {
        refuses(Kind::Peers, &one(len, &[1; 17], 1), OutOfRange("address length"));
    }
    for count in [i32::MIN, -1, 1001, i32::MAX] {
        refuses(Kind::Peers, &join(&[&int(count), &[0; 12]]), OutOfRange("count"));
    }
    refuses(Kind::Peers, &join(&[&int(1000), &[0; 100]]), Truncated("count"));
    refuses(Kind::Peers, &one(16, &[1; 4], 1), Truncated("address"));
    refuses(Kind::Peers, &join(&[&one(4, &[1; 4], 1), &[0]]), Trailing);
    refuses(Kind::Peers, b"", Truncated("count"));
}

#[test]
fn limits_and_locators_of_get_headers() {
    let asked =
        |max, more| Message::GetHeaders(GetHeaders { locator: Hash::ZERO, stop: Some(Hash([1; 32])), max, more });
    sends(&asked(1, None));
    sends(&asked(2000, Some(vec![])));
    sends(&asked(16_000, Some(vec![Hash([2; 32]); 64])));
    assert_eq!(asked(1, Some(vec![Hash::ZERO; 64])).to_payload().unwrap().len(), 2_119);
    cannot_send(&asked(0, None), "max");
    cannot_send(&asked(16_001, None), "max");
    cannot_send(&asked(1, Some(vec![Hash::ZERO; 65])), "locator count");

    let raw = |stop: &[u8], max: i32, tail: &[u8]| join(&[&[3; 32], stop, &int(max), tail]);
    accepts(Kind::GetHeaders, &raw(&[0], 1, b""));
    accepts(Kind::GetHeaders, &raw(&[0], 1, &[0, 0]));
    accepts(Kind::GetHeaders, &raw(&[1; 33], 16_000, b""));
    refuses(Kind::GetHeaders, &raw(&[2; 33], 1, b""), OutOfRange("stop flag"));
    for max in [i32::MIN, -1, 0, 16_001, i32::MAX] {
        refuses(Kind::GetHeaders, &raw(&[0], max, b""), OutOfRange("max"));
    }
    refuses(Kind::GetHeaders, &raw(&[0], 1, &[1]), Truncated("locator count"));
    refuses(Kind::GetHeaders, &raw(&[0], 1, &join(&[&[1, 0], &[4; 31]])), Truncated("locator count"));
    refuses(Kind::GetHeaders, &raw(&[0], 1, &join(&[&[65, 0], &[4; 65 * 31]])), OutOfRange("locator count"));
    refuses(Kind::GetHeaders, &raw(&[0], 1, &join(&[&[1, 0], &[4; 33]])), Trailing);
    refuses(Kind::GetHeaders, &[0; 31], Truncated("locator"));
}

#[test]
fn counts_and_lengths_of_headers() {
    sends(&Message::Headers(vec![]));
    sends(&Message::Headers(vec![b"h"; 2000]));
    cannot_send(&Message::Headers(vec![b"h"; 2001]), "count");
    let largest = vec![0; MAX_PAYLOAD - 8];
    sends(&Message::Headers(vec![&largest]));
    cannot_send(&Message::Headers(vec![&largest, b""]), "payload");

    for count in [i32::MIN, -1, 2001, i32::MAX] {
        refuses(Kind::Headers, &join(&[&int(count), &[0; 8_004]]), OutOfRange("count"));
    }
    refuses(Kind::Headers, &join(&[&int(2000), &[0; 7_999]]), Truncated("count"));
    accepts(Kind::Headers, &join(&[&int(2000), &[0; 8_000]]));
    refuses(Kind::Headers, &join(&[&int(1), &int(-1), b"h"]), OutOfRange("header length"));
    refuses(Kind::Headers, &join(&[&int(1), &int(2), b"h"]), Truncated("header"));
    refuses(Kind::Headers, &join(&[&int(1), &int(i32::MAX), b"h"]), Truncated("header"));
    refuses(Kind::Headers, &join(&[&int(1), &int(1), b"hh"]), Trailing);
}

#[test]
fn runs_of_blocks_and_questions_for_them() {
    let asked = |count: usize| Message::GetBlocks(vec![Hash([1; 32]); count]);
    sends(&asked(1));
    sends(&asked(1000));
    assert_eq!(asked(1000).to_payload().unwrap().len(), 32_004);
    cannot_send(&asked(0), "count");
    cannot_send(&asked(1001), "count");
    for count in [i32::MIN, -1, 0, 1001, i32::MAX] {
        refuses(Kind::GetBlocks, &join(&[&int(count), &[0; 64]]), OutOfRange("count"));
        refuses(Kind::Blocks, &join(&[&int(count), &[0; 64]]), OutOfRange("count"));
    }
    refuses(Kind::GetBlocks, &join(&[&int(2), &[0; 63]]), Truncated("count"));
    refuses(Kind::GetBlocks, &join(&[&int(1), &[0; 33]]), Trailing);

    sends(&Message::Blocks(vec![b"b"; 1000]));
    cannot_send(&Message::Blocks(vec![]), "count");
    cannot_send(&Message::Blocks(vec![b"b"; 1001]), "count");
    cannot_send(&Message::Blocks(vec![b"b", b""]), "block length");
    let largest = vec![0; 4_194_304 - 8];
    sends(&Message::Blocks(vec![&largest]));
    cannot_send(&Message::Blocks(vec![&largest, b"b"]), "payload");
    refuses(Kind::Blocks, &join(&[&int(1), &int(4_194_304), &largest, b"b"]), OutOfRange("payload"));
    for len in [i32::MIN, -1, 0, 4_194_305, i32::MAX] {
        refuses(Kind::Blocks, &join(&[&int(1), &int(len), b"b"]), OutOfRange("block length"));
    }
    refuses(Kind::Blocks, &join(&[&int(1), &int(2), b"b"]), Truncated("block"));
    refuses(Kind::Blocks, &join(&[&int(2), &int(5), b"bbbbb"]), Truncated("count"));
    refuses(Kind::Blocks, &join(&[&int(1), &int(1), b"bb"]), Trailing);
}

#[test]
fn opaque_payloads_hold_a_byte_at_least_and_their_types_most_at_most() {
    type Make = for<'a> fn(&'a [u8]) -> Message<'a>;
    let makes: [Make; 4] = [
        |bytes| Message::Block(bytes),
        |bytes| Message::NewBlock(bytes),
        |bytes| Message::Transaction(bytes),
        |bytes| Message::NewChallenge(bytes),
    ];
    for make in makes {
        let kind = make(b"").kind();
        cannot_send(&make(b""), "payload");
        refuses(kind, b"", Truncated("payload"));
        sends(&make(b"x"));
        let over = vec![1; kind.max_payload() as usize + 1];
        sends(&make(&over[1..]));
        cannot_send(&make(&over), "payload");
        refuses(kind, &over, OutOfRange("payload"));
    }
}

#[test]
fn the_pool_and_its_request() {
    let asked = |max| Message::TxPoolRequest(TxPoolRequest { max, include_data: false });
    sends(&asked(1));
    sends(&asked(i32::MAX as u32));
    cannot_send(&asked(0), "max");
    cannot_send(&asked(i32::MAX as u32 + 1), "max");
    for max in [i32::MIN, -1, 0] {
        refuses(Kind::TxPoolRequest, &join(&[&int(max), &[0]]), OutOfRange("max"));
    }
    for flag in [2, 255] {
        refuses(Kind::TxPoolRequest, &join(&[&int(1), &[flag]]), OutOfRange("data flag"));
    }

    sends(&Message::TxPool(vec![]));
    sends(&Message::TxPool(vec![Hash([9; 32]); 50_000]));
    cannot_send(&Message::TxPool(vec![Hash([9; 32]); 50_001]), "count");
    for count in [i32::MIN, -1, 50_001, i32::MAX] {
        refuses(Kind::TxPool, &join(&[&int(count), &[0; 64]]), OutOfRange("count"));
    }
    refuses(Kind::TxPool, &join(&[&int(50_000), &[0; 64]]), Truncated("count"));
    refuses(Kind::TxPool, &join(&[&int(1), &[0; 33]]), Trailing);
}

#[test]
fn heights_and_proofs() {
    let proof = vec![5; 1_048_577];
    let submitted = |height, proof| Message::ProofSubmission(ProofSubmission { height, miner: [2; 33], proof });
    sends(&submitted(0, b""));
    sends(&submitted(i64::MAX as u64, &proof[1..]));
    cannot_send(&submitted(i64::MAX as u64 + 1, b""), "height");
    cannot_send(&submitted(0, &proof), "proof length");
    let raw = |height: i64, len: i32, proof: &[u8]| join(&[&height.to_le_bytes(), &[2; 33], &int(len), proof]);
    refuses(Kind::ProofSubmission, &raw(-1, 0, b""), OutOfRange("height"));
    refuses(Kind::ProofSubmission, &raw(i64::MIN, 0, b""), OutOfRange("height"));
    for len in [i32::MIN, -1, 1_048_577, i32::MAX] {
        refuses(Kind::ProofSubmission, &raw(0, len, b"p"), OutOfRange("proof length"));
    }
    refuses(Kind::ProofSubmission, &raw(0, 2, b"p"), Truncated("proof length"));
    refuses(Kind::ProofSubmission, &raw(0, 0, b"p"), Trailing);

    let accepted = |height| Message::BlockAccepted(BlockAccepted { hash: Hash::ZERO, height });
    sends(&accepted(i64::MAX as u64));
    cannot_send(&accepted(i64::MAX as u64 + 1), "height");
    refuses(Kind::BlockAccepted, &join(&[&[0; 32], &(-1i64).to_le_bytes()]), OutOfRange("height"));
}

#[test]
fn an_error_is_text() {
    sends(&Message::Error(""));
    let long = "é".repeat(512);
    sends(&Message::Error(&long));
    cannot_send(&Message::Error(&format!("{long}x")), "payload");
    refuses(Kind::Error, b"\xff", Text("text"));
    refuses(Kind::Error, &[b'x'; 1025], OutOfRange("payload"));
}
