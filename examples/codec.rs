//! The codec alone: messages to bytes, bytes in pieces to messages. No sockets, no threads, no node.
//!
//! `cargo run --example codec`

use spacetime_network::wire::message::{BlockAccepted, GetPeers, Ping};
use spacetime_network::wire::{FrameRules, Hash, Kind, Message, Parse, frame};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let sent = [
        Message::Ping(Ping { nonce: 7, unix_millis: 1_700_000_000_000 }),
        Message::GetPeers(GetPeers::Limited { max: 10, exclude: vec!["192.168.1.100:8333"] }),
        Message::BlockAccepted(BlockAccepted { hash: Hash([0xaa; 32]), height: 42 }),
    ];

    // 1. Encode: each message is appended as one whole frame.
    let mut stream = Vec::new();
    for message in &sent {
        message.encode(&mut stream)?;
    }
    println!("{} messages are {} bytes", sent.len(), stream.len());

    // 2. Feed: a stream arrives in pieces that have nothing to do with its frames.
    let (mut held, mut received) = (Vec::new(), 0);
    for piece in stream.chunks(9) {
        held.extend_from_slice(piece);
        let mut input = held.as_slice();

        // 3. Parse until the parser needs more; only "never" is an error.
        loop {
            match frame::parse(input, FrameRules::version(2)) {
                Parse::Complete { kind, payload, rest } => {
                    // 4. Decode: what is opaque stays borrowed from the payload.
                    let kind = Kind::from_byte(kind).ok_or("the rules accept only known types")?;
                    let message = Message::decode(kind, payload)?;
                    println!("{} in {} bytes: {message:?}", kind.name(), payload.len());
                    assert_eq!(sent.get(received), Some(&message));
                    received += 1;
                    input = rest;
                }
                Parse::NeedMore { .. } => break,
                Parse::Never(error) => return Err(error.into()),
            }
        }
        held = input.to_vec();
    }

    assert_eq!(received, sent.len());
    assert!(held.is_empty(), "nothing is left over");
    Ok(())
}
