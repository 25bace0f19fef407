//! Any bytes at the front of a WebSocket listener, and any answer to an upgrade of ours: what comes of them is the same however they
//! are cut, is held within a bound, and a refusal is answered in words that are whole.
//!
//! Input: one byte (the side), one byte (the length of pieces), the stream.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use spacetime_network::close::CloseReason;
use spacetime_network::link::web_socket::{WebSocketOptions, WebSocketRole};
use spacetime_network::link::{BufferPool, Link, Progress, Transport, WriteSide};
use spacetime_network::rng::Rng;
use spacetime_network::time::Instant;

/// What a stream came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    end: Option<Result<(), CloseReason>>,
    is_securing: bool,
    content: Vec<u8>,
    said: Vec<u8>,
}

fn play(is_server: bool, stream: &[u8], piece: usize) -> Outcome {
    let role = if is_server {
        WebSocketRole::Server(Arc::new(WebSocketOptions::default()))
    } else {
        WebSocketRole::Client(Arc::new("node:1/".parse().unwrap()), Rng::from_seed(1))
    };
    let mut link = Link { transport: Transport::web_socket(role), ..Link::default() };
    let (mut pool, mut content, mut said) = (BufferPool::new(), Vec::new(), Vec::new());
    for bytes in stream.chunks(piece) {
        link.transport.open(&mut bytes.to_vec(), Instant::ZERO, &mut |plain| {
            content.extend_from_slice(plain);
            true
        });
        link.transport.account(&mut pool);
        assert!(link.held() <= 32 * 1024, "{} bytes are held", link.held());
        if link.transport.end().is_some() {
            break;
        }
    }
    let flush = link.flush(&mut pool, usize::MAX, WriteSide::Open, |slices| {
        slices.iter().for_each(|slice| said.extend_from_slice(slice));
        Ok(slices.iter().map(|slice| slice.len()).sum())
    });
    assert!(matches!(flush.progress, Progress::Empty));
    let (end, is_securing) = (link.transport.end(), link.transport.is_securing());
    link.clear(&mut pool);
    assert_eq!((link.held(), pool.queued_bytes()), (0, 0));
    Outcome { end, is_securing, content, said }
}

fuzz_target!(|input: &[u8]| {
    let [side, piece, stream @ ..] = input else { return };
    let is_server = side % 2 == 0;
    let whole = play(is_server, stream, usize::MAX);
    let cut = play(is_server, stream, usize::from(*piece).max(1));
    // A refusal may be seen sooner when less is there, and is the same.
    assert_eq!(whole, cut);
    if is_server && whole.said.starts_with(b"HTTP/1.1 ") && !whole.said.starts_with(b"HTTP/1.1 101") {
        let text = std::str::from_utf8(&whole.said).expect("we answer in ASCII");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head ends");
        assert!(head.contains(&format!("Content-Length: {}", body.len())));
        assert!(matches!(whole.end, Some(Err(_))));
    }
});
