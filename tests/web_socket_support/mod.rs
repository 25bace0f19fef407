//! A client of WebSocket that knows nothing of ours: it writes and reads bytes as RFC 6455 has them, over whatever it is given.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::{Read, Write};

/// One end that dials, masked or not as the test wants it.
pub(crate) struct RawClient<S> {
    pub(crate) stream: S,
    read: Vec<u8>,
}

/// A frame as it came: opcode and content.
pub(crate) type Message = (u8, Vec<u8>);

impl<S: Read + Write> RawClient<S> {
    /// Asks for an upgrade, with these lines besides, and expects to get it.
    pub(crate) fn upgrade(stream: S, lines: &str) -> Self {
        let (client, head) = RawClient::ask(stream, "/", lines);
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), "{head}");
        client
    }

    /// Asks for an upgrade; answers the head that comes.
    pub(crate) fn ask(mut stream: S, path: &str, lines: &str) -> (Self, String) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{lines}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            stream.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        (RawClient { stream, read: Vec::new() }, String::from_utf8(head).unwrap())
    }

    /// Sends one frame with this first byte, masked.
    pub(crate) fn send(&mut self, first: u8, content: &[u8]) {
        self.stream.write_all(&masked(first, content)).unwrap();
    }

    /// The next frame; `None` at the end of the stream.
    pub(crate) fn receive(&mut self) -> Option<Message> {
        loop {
            if let Some((message, used)) = parse(&self.read) {
                self.read.drain(..used);
                return Some(message);
            }
            let mut bytes = [0; 64 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) | Err(_) => return None,
                Ok(count) => self.read.extend_from_slice(&bytes[..count]),
            }
        }
    }

    /// The code of the close frame that comes, whatever comes before; `None` where the stream ends without.
    pub(crate) fn close_code(&mut self) -> Option<u16> {
        while let Some((opcode, content)) = self.receive() {
            if opcode == 8 {
                return Some(u16::from_be_bytes([content[0], content[1]]));
            }
        }
        None
    }
}

/// A frame with a mask.
pub(crate) fn masked(first: u8, content: &[u8]) -> Vec<u8> {
    let key = [0xa1, 0x07, 0x5c, 0xee];
    let mut bytes = vec![first];
    match content.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        medium @ 126..=65_535 => {
            bytes.push(0xfe);
            bytes.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            bytes.push(0xff);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&key);
    bytes.extend(content.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The first frame of a server, if it is whole, and its length. Each is a message of its own and has no mask.
fn parse(bytes: &[u8]) -> Option<(Message, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert!(first >> 4 == 8 && second < 128, "{first:x} {second:x}");
    let (len, head) = match second {
        126 => (usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
        127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()) as usize, 10),
        short => (usize::from(short), 2),
    };
    let content = bytes.get(head..head + len)?.to_vec();
    Some(((first & 15, content), head + len))
}
