//! Any bytes as the answers of a SOCKS5 proxy: what comes of them is the same however they are cut, nothing behind the last answer is
//! taken, and what we say is whole.
//!
//! Input: one byte (the login, and whether an address is asked for), one byte (the length of pieces), the stream.

#![no_main]

use libfuzzer_sys::fuzz_target;
use spacetime_network::close::ProxyFault;
use spacetime_network::link::socks::{Credentials, Handshake, Login, Proxy, Target};

/// The longest conversation: which method, the login, and an answer with the longest name.
const ANSWERS_MAX: usize = 2 + 2 + 5 + 255 + 2;

/// What a stream came to.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    end: Result<bool, ProxyFault>,
    /// Bytes that were taken.
    taken: usize,
    said: Vec<u8>,
}

fn begin(kind: u8) -> Handshake {
    let mut proxy = Proxy::new("127.0.0.1:9050".parse().expect("an address"));
    proxy.login = match kind % 3 {
        0 => Login::Nobody,
        1 => Login::User(Credentials::new("user", "password").expect("they fit")),
        _ => Login::PerDestination,
    };
    let target = match kind / 3 % 3 {
        0 => Target::name("node.onion", 7193).expect("it fits"),
        1 => Target::address("192.0.2.7:7193".parse().expect("an address")),
        _ => Target::address("[2001:db8::7]:7193".parse().expect("an address")),
    };
    Handshake::new(&proxy, target, 7)
}

/// Gives it pieces of this length, or what it wants where there is none.
fn play(kind: u8, stream: &[u8], piece: Option<usize>) -> Outcome {
    let mut handshake = begin(kind);
    let (mut said, mut rest) = (Vec::new(), stream);
    let mut end = Ok(false);
    while end == Ok(false) {
        said.extend_from_slice(handshake.unsent());
        handshake.wrote(handshake.unsent().len());
        assert!(handshake.unsent().is_empty() && handshake.wanted() > 0);
        let len = piece.unwrap_or(handshake.wanted()).min(rest.len());
        if len == 0 {
            break;
        }
        let (mut part, behind) = rest.split_at(len);
        end = handshake.take(&mut part);
        assert!(piece.is_some() || end.is_err() || part.is_empty(), "what is wanted is the proxy's own");
        assert!(part.is_empty() || end != Ok(false));
        rest = &rest[rest.len() - behind.len() - part.len()..];
    }
    said.extend_from_slice(handshake.unsent());
    let taken = stream.len() - rest.len();
    assert!(taken <= ANSWERS_MAX, "{taken} bytes were taken");
    match end {
        Ok(is_done) => assert_eq!(handshake.wanted() == 0, is_done),
        Err(fault) => assert_eq!(handshake.take(&mut &b"\x05\x00"[..]), Err(fault), "an end is for good"),
    }
    Outcome { end, taken, said }
}

fuzz_target!(|input: &[u8]| {
    let [kind, piece, stream @ ..] = input else { return };
    let whole = play(*kind, stream, Some(usize::MAX));
    assert_eq!(whole, play(*kind, stream, Some(usize::from(*piece).max(1))));
    let wanted = play(*kind, stream, None);
    assert_eq!(whole, wanted);
    assert_eq!(whole.said[0], 5);
    if whole.end == Ok(true) {
        assert!(whole.said.ends_with(&7193u16.to_be_bytes()), "it was asked for somebody");
        assert!(whole.taken >= 2 + 7);
    }
});
